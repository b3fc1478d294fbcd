"""The same outcome by an association and over HTTP: exit status, what is written, and what is in the folder."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import CT, MR
from tests.dicomweb.test_retrieving import Encode, Make
from tests.grids import grid
from tests.support import data_set_of, free_port, serving, wait_until
from tests.web import content

from dicomnet import Peer
from dicomnet.cli.main import main

CT_UID = "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
CT_STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
CT_SERIES = "1.3.6.1.4.1.5962.1.3.1.1.20040119072730.12322"
# How long it took, and what follows from that.
_TIMES = re.compile(r"[\d.]+ (?:ms|s|kB|MB)\b|[\d.]+ (?:MB|objects)/s")


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A node with two objects: by an association, and over HTTP."""
    with serving(tmp_path_factory.mktemp("node"), "--http", "0") as node:
        output = node.store.parent / "output.txt"
        told = re.compile(r"DICOMweb: (http://.*)\n")
        wait_until(lambda: told.search(output.read_text()) is not None, 20, "it says where DICOMweb is")
        found = told.search(output.read_text())
        assert found is not None
        assert _run("store", node.address, CT, MR)[0] == 0
        yield node.address, found[1]
        node.end()


def _run(*arguments: Any) -> tuple[int, str, str]:
    """Exit status, output and complaints of a command, in this process: each start of another one takes its time."""
    output, complaints = StringIO(), StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(complaints):
        status = main([str(each) for each in arguments])
    return status, output.getvalue(), complaints.getvalue()


def _words(text: str, address: str) -> str:
    return _TIMES.sub("…", text.replace(address, "PEER"))


Lines = Callable[[list[dict[str, Any]]], Any]


def _fields(*names: str) -> Lines:
    return lambda lines: [{name: line[name] for name in names} for line in lines]


def _last(lines: list[dict[str, Any]]) -> Any:
    return lines[-1]


def _kinds(lines: list[dict[str, Any]]) -> Any:
    """What happened, but for the lengths of files: the header tells who sent them."""
    left_out = ("bytes", "report")
    return [{name: value for name, value in line.items() if name not in left_out} for line in lines]


STUDY_KEYS = ("PatientID", "PatientName", "StudyDate", "StudyInstanceUID", "NumberOfStudyRelatedInstances")
KEYS = (f"StudyInstanceUID={CT_STUDY}", f"SeriesInstanceUID={CT_SERIES}", f"SOPInstanceUID={CT_UID}")
OBJECT = [word for key in KEYS for word in ("-k", key)]
# Exit status, command and arguments; and which part of its JSON is the same by both ways, None for all that is written.
OUTCOMES: dict[str, tuple[int, list[str], Lines | None]] = {
    "it answers": (0, ["echo", "PEER"], None),
    "nobody answers": (1, ["echo", "NOBODY"], None),
    "stored": (0, ["store", "PEER", "{files}/ct.dcm"], None),
    "stored and skipped": (
        0,
        ["store", "PEER", "{files}", "--json"],
        _fields("path", "outcome", "status", "bytes"),
    ),
    "nothing to store": (1, ["store", "PEER", "{files}/note.txt"], None),
    "damaged": (
        1,
        ["store", "PEER", "{damaged}", "--json"],
        _fields("path", "outcome", "status", "sop_instance_uid"),
    ),
    "nobody stores": (1, ["store", "NOBODY", "{files}/ct.dcm"], None),
    "found": (0, ["find", "PEER", "--sort", "PatientID"], _fields(*STUDY_KEYS)),
    "found as a table": (0, ["find", "PEER", "--csv", "--sort", "PatientID"], None),
    "found by a name": (0, ["find", "PEER", "-k", "PatientName=Comp*CT1", "--csv"], None),
    "found by a date": (0, ["find", "PEER", "-k", "StudyDate=20040101-20040201", "--csv"], None),
    "found at all levels": (0, ["find", "PEER", "-k", "PatientID=1CT1", "--all-levels", "--csv"], None),
    "found series": (0, ["find", "PEER", "-L", "series", "-k", "Modality=CT", "--csv"], None),
    "found one": (0, ["find", "PEER", "--limit", "1", "--csv", "-k", "PatientID=1CT1"], None),
    "found nothing": (0, ["find", "PEER", "-k", "PatientID=nobody"], None),
    "found nothing for a table": (0, ["find", "PEER", "-k", "PatientID=nobody", "--csv"], None),
    "no such keyword": (2, ["find", "PEER", "-k", "NoSuchKeyword=1"], None),
    "nobody is asked": (1, ["find", "NOBODY"], None),
    "retrieved": (0, ["get", "PEER", "-k", f"StudyInstanceUID={CT_STUDY}", "--to", "{to}"], None),
    "retrieved, in JSON": (
        0,
        ["get", "PEER", "-k", f"StudyInstanceUID={CT_STUDY}", "--to", "{to}", "--json"],
        _last,
    ),
    "one object": (0, ["get", "PEER", "-L", "image", *OBJECT, "--to", "{to}", "--json"], _last),
    "nothing is named": (2, ["get", "PEER", "--to", "{to}"], None),
    "nobody gives": (1, ["get", "NOBODY", "-k", f"StudyInstanceUID={CT_STUDY}", "--to", "{to}"], None),
    "fetched": (0, ["fetch", "PEER", "-k", "PatientID=1CT1", "--to", "{to}"], _kinds),
    "fetched nothing": (1, ["fetch", "PEER", "-k", "PatientID=nobody", "--to", "{to}"], _kinds),
    "diagnosed": (0, ["diagnose", "PEER", "-q"], None),
}


@grid("name", OUTCOMES)
def test_the_same_outcome_by_both_ways(
    name: str, addresses: tuple[str, str], make: Make, encode: Encode, tmp_path: Path
) -> None:
    expected, arguments, lines = OUTCOMES[name]
    files = tmp_path / "files"
    files.mkdir(exist_ok=True)
    (files / "ct.dcm").write_bytes(CT.read_bytes())
    (files / "note.txt").write_text("no DICOM")
    damaged = tmp_path / "damaged.dcm"
    made = make()
    damaged.write_bytes(content(made, encode(made)[:-4]))
    outcomes = []
    nobody = f"127.0.0.1:{free_port()}"
    for way, address in zip(("dimse", "http"), addresses, strict=True):
        to = tmp_path / f"{way} {list(OUTCOMES).index(name)}"
        is_web = way == "http"
        filled = {
            "PEER": address,
            "NOBODY": f"http://{nobody}/dicom-web" if is_web else nobody,
        }
        words = [filled.get(each) or each.format(files=files, damaged=damaged, to=to) for each in arguments]
        status, output, complaints = _run(*words)
        assert status == expected, (way, output, complaints)
        # A line at most says what was wrong.
        assert "Traceback" not in complaints
        told: Any = _words(output, address)
        if lines is not None:
            told = lines([json.loads(line) for line in output.splitlines()])
        elif arguments[0] == "diagnose":
            told = ""
        found = {each.relative_to(to): data_set_of(each) for each in to.rglob("*.dcm")}
        outcomes.append((told, found, bool(complaints) if lines is None else None))
    assert outcomes[0] == outcomes[1]


def test_a_commitment_over_http_was_asked_for_when_all_was_stored(addresses: tuple[str, str]) -> None:
    status, output, complaints = _run("store", addresses[1], CT, "--commit")
    assert (status, output) == (2, "")
    assert "storage commitment" in complaints
    assert complaints.count("\n") == 1


def test_what_needs_an_association_was_an_error_of_python_over_http() -> None:
    peer = Peer("http://127.0.0.1:1/dicom-web")
    for use in (
        lambda: list(peer.commit([("1.2", "1.3")])),
        lambda: list(peer.worklist()),
        lambda: peer.mpps(Modality="CT", StudyInstanceUID="1.2", PatientID="1").__enter__(),
    ):
        with pytest.raises(ValueError, match="DICOMweb"):
            use()
