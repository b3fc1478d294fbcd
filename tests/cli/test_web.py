"""The commands over DICOMweb: what they ask, what they write, and that secrets are seen nowhere."""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from tests.cli.command import complaint, run
from tests.dicomweb.test_storing import takes_all
from tests.grids import grid
from tests.support import dicomnet, free_port, run_tool
from tests.web import STUDY, Asked, Says, content, instance, instances, listed, match, multipart, web

from dicomnet.cli.main import main

Make = Callable[..., Dataset]
Encode = Callable[..., bytes]


def answers(stored: list[bytes]) -> Callable[[Asked], Says]:
    """A whole service."""

    def answer(asked: Asked) -> Says:
        steps = asked.path.split("/")
        if asked.method == "POST":
            return takes_all(asked)
        if steps[-1] == "studies":
            return listed(
                [match(StudyInstanceUID=STUDY, PatientID="P1", PatientName="Doe^Jane", StudyDate="20240102")]
            )
        if steps[-1] == "series":
            return listed([match(StudyInstanceUID=STUDY, SeriesInstanceUID="1.2.3.4", Modality="CT")])
        if steps[-1] == "instances":
            return listed(instances(len(stored)))
        if steps[-2] == "instances":
            return multipart([stored[int(steps[-1].rpartition(".")[2])]])
        return multipart(stored)

    return answer


@pytest.fixture
def stored(make: Make, encode: Encode) -> list[bytes]:
    made = [make(SOPInstanceUID=instance(number)) for number in range(3)]
    return [content(each, encode(each)) for each in made]


def test_echo(stored: list[bytes]) -> None:
    with web(answers(stored)) as server:
        result = run("echo", server.url, "--repeat", "2")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(f"{server.url} answered in ") == 2


def test_find(stored: list[bytes]) -> None:
    with web(answers(stored)) as server:
        result = run("find", server.url, "-k", "PatientName=Doe*")
        deep = run("find", server.url, "-L", "series", "-k", "StudyDate=20240102", "-k", "Modality=CT")
    assert json.loads(result.stdout)["PatientName"] == "Doe^Jane"
    assert json.loads(deep.stdout)["Modality"] == "CT"
    assert "PatientName=Doe*" in server.targets[0]


def test_get_and_resume(stored: list[bytes], tmp_path: Path) -> None:
    arguments = ("get", "-k", f"StudyInstanceUID={STUDY}", "--to", str(tmp_path), "--jobs", "2")
    with web(answers(stored)) as server:
        first = run(*arguments, server.url)
        assert first.returncode == 0, first.stderr
        assert first.stdout.startswith("retrieved 3; ")
        (tmp_path / f"{instance(1)}.dcm").unlink()
        again = run(*arguments, server.url, "--resume", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout.splitlines()[-1])["received"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{instance(number)}.dcm" for number in range(3)
    ]


def test_store_with_journal_and_report(stored: list[bytes], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    for number, each in enumerate(stored):
        (folder / f"{number}.dcm").write_bytes(each)
    arguments = (str(folder), "--journal", str(tmp_path / "j"), "--report", str(tmp_path / "r.csv"))
    with web(answers(stored)) as server:
        first = run("store", server.url, *arguments, "--jobs", "2")
        again = run("store", server.url, *arguments)
    assert first.returncode == 0, first.stderr
    assert "sent 3 " in first.stdout
    assert "stored before 3" in again.stdout
    assert (tmp_path / "r.csv").read_text().count("stored before") == 3
    assert len(server.asked) == 1


def test_members_of_a_zip_file_were_not_known_to_a_second_run(stored: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, each in enumerate(stored):
            archive.writestr(f"{number}.dcm", each)
    with web(answers(stored)) as server:
        first = run("store", server.url, path, "--journal", tmp_path / "j", "--json")
        again = run("store", server.url, path, "--journal", tmp_path / "j", "--json")
    assert len(server.asked) == 1
    for result, outcome in ((first, "stored"), (again, "stored before")):
        rows = [json.loads(each) for each in result.stdout.splitlines()]
        assert [(each["path"], each["outcome"]) for each in rows] == [(str(path), outcome)] * 3
        assert {each["member"] for each in rows} == {"0.dcm", "1.dcm", "2.dcm"}


def test_fetch(stored: list[bytes], tmp_path: Path) -> None:
    with web(answers(stored)) as server:
        result = run("fetch", server.url, "-k", "PatientID=P1", "--to", str(tmp_path / "to"))
        again = run("fetch", server.url, "-k", "PatientID=P1", "--to", str(tmp_path / "to"))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["objects"] == 3
    assert json.loads(again.stdout.splitlines()[-1])["objects"] == 0
    assert len(list((tmp_path / "to").rglob("*.dcm"))) == 3


def test_diagnose(stored: list[bytes]) -> None:
    with web(answers(stored)) as server:
        result = run("diagnose", server.url, "--json")
    layers = {line["layer"]: line["outcome"] for line in map(json.loads, result.stdout.splitlines())}
    assert layers == {"name": "ok", "TCP": "ok", "TLS": "not used", "HTTP": "ok", "QIDO-RS": "ok"}
    assert result.returncode == 0


DIAGNOSES = {
    "who asks": (Says(401), "QIDO-RS", "--token-file"),
    "a wrong path": (Says(404), "QIDO-RS", "path"),
    "a page": (Says(200, b"<html>", {"Content-Type": "text/html"}), "QIDO-RS", "log in"),
    "hangs up": (None, "HTTP", "https"),
}


@grid("name", DIAGNOSES)
def test_diagnose_names_the_layer_that_fails(name: str) -> None:
    says, layer, words = DIAGNOSES[name]
    with web(lambda asked: says) as server:
        result = run("diagnose", server.url, "--json")
    found = {line["layer"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert result.returncode == 1
    assert found[layer]["outcome"] == "failed"
    assert words in found[layer]["detail"]


SECRETS: dict[str, tuple[list[str], dict[str, str], str]] = {
    "token in a file": (["--token-file", "{file}"], {}, "Bearer s3cret"),
    "token of a command": (["--token-command", "cat {file}"], {}, "Bearer s3cret"),
    "token in the environment": ([], {"DICOMWEB_TOKEN": "s3cret"}, "Bearer s3cret"),
    "password in a file": (["--user", "jane", "--password-file", "{file}"], {}, "Basic amFuZTpzM2NyZXQ="),
    "password of a command": (
        ["--user", "jane", "--password-command", "cat {file}"],
        {},
        "Basic amFuZTpzM2NyZXQ=",
    ),
    "password in the environment": (
        [],
        {"DICOMWEB_USER": "jane", "DICOMWEB_PASSWORD": "s3cret"},
        "Basic amFuZTpzM2NyZXQ=",
    ),
    "the user of an option": (["--user", "jane"], {"DICOMWEB_PASSWORD": "s3cret"}, "Basic amFuZTpzM2NyZXQ="),
    "options before the environment": (
        ["--token-file", "{file}"],
        {"DICOMWEB_TOKEN": "other"},
        "Bearer s3cret",
    ),
}


@grid("name", SECRETS)
def test_secrets_come_from_where_nobody_sees_them(name: str, tmp_path: Path) -> None:
    options, variables, header = SECRETS[name]
    file = tmp_path / "secret"
    file.write_text("s3cret\nand a line that is not meant\n")
    words = [option.format(file=file) for option in options]
    with web(lambda asked: listed([])) as server:
        result = run_tool(dicomnet("find", server.url, "-d", *words), environment={**os.environ, **variables})
    assert result.returncode == 0, result.stderr
    assert server.asked[0].headers["Authorization"] == header
    assert "s3cret" not in result.stdout + result.stderr
    assert header.partition(" ")[2] not in result.stderr


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    with web(lambda asked: listed([])) as server:
        result = run("echo", server.url, "--token-command", "false")
    assert "exit status 1" in complaint(result, 2)
    assert server.asked == []


URL = "https://pacs.example/dicom-web"
MISTAKES = {
    "move": (["move", URL, "-k", "StudyInstanceUID=1.2", "X"], "association"),
    "worklist": (["worklist", URL], "association"),
    "an AE title": (["echo", URL, "--called", "X"], "--called"),
    "both": (
        ["echo", URL, "--token-file", "{file}", "--user", "jane", "--password-file", "{file}"],
        "not both",
    ),
    "a user alone": (["echo", URL, "--user", "jane"], "belong together"),
    "a password alone": (["echo", URL, "--password-file", "{file}"], "belong together"),
    "no file": (["echo", URL, "--token-file", "/nowhere"], "/nowhere"),
    "without TLS": (["echo", "http://pacs.example/x", "--token-file", "{file}"], "without TLS"),
    "TLS by http": (["echo", "http://pacs.example/x", "--tls"], "https"),
    "no TLS by https": (["echo", URL, "--no-tls"], "http"),
    "a password in it": (["echo", "https://jane:s3cret@pacs.example/"], "user or a password"),
    "fetch --move": (["fetch", URL, "-k", "PatientID=1", "--to", "{folder}", "--move", "X"], "C-MOVE"),
    "SOP class": (["get", URL, "-k", "StudyInstanceUID=1.2", "--sop-class", "CTImageStorage"], "--sop-class"),
    "resume": (["get", "X@127.0.0.1:1", "-k", "StudyInstanceUID=1.2", "--resume"], "DICOMweb"),
    "a token for an association": (["echo", "X@127.0.0.1:1", "--token-file", "{file}"], "DICOMweb"),
    "transcode": (["store", URL, "{file}", "--transcode", "if-needed"], "transcode"),
    "contexts": (["diagnose", URL, "--contexts"], "--contexts"),
    "patients": (["find", URL, "-L", "patient", "-k", "PatientID=1"], "patients"),
}


@grid("name", MISTAKES)
def test_mistakes(name: str, tmp_path: Path) -> None:
    arguments, words = MISTAKES[name]
    (tmp_path / "file").write_text("x")
    filled = [each.format(file=tmp_path / "file", folder=tmp_path / "to") for each in arguments]
    # In this process, as each start of another one takes its time.
    with contextlib.redirect_stderr(StringIO()) as written:
        assert main(filled) == 2
    said = written.getvalue()
    assert said.count("\n") == 1
    assert words in said
    assert "s3cret" not in said


def test_without_httpx_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "httpx.py").write_text("raise ModuleNotFoundError('No module named httpx', name='httpx')")
    path = os.pathsep.join([str(tmp_path), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
    result = run_tool(
        dicomnet("echo", f"http://127.0.0.1:{free_port()}/x"), environment={**os.environ, "PYTHONPATH": path}
    )
    assert "pip install 'dicomnet[web]'" in complaint(result, 1)


def test_nobody_listens() -> None:
    said = complaint(run("echo", f"http://127.0.0.1:{free_port()}/dicom-web"), 1)
    assert "connection refused" in said


def test_a_refusal_is_told_in_one_line() -> None:
    with web(lambda asked: Says(403)) as server:
        said = complaint(run("find", server.url), 1)
    assert "HTTP status 403" in said
