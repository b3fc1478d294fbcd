"""`qrscp`: what is stored is found, by the tools of pynetdicom and of DCMTK, and beside pynetdicom's own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.apps.tools import CT, JPEG_2000, MR, OURS, PACKAGES, command, run, running_scp
from tests.support import data_set_of, run_tool, tool

STUDY_KEYS = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=", "-k", "PatientName=")


def locations(folder: Path) -> tuple[str, ...]:
    """Where to store: pynetdicom's would else choose its own folder."""
    return (
        "--instance-location",
        str(folder / "objects"),
        "--database-location",
        str(folder / "index.sqlite"),
    )


def matches(text: str, keyword: str) -> list[str]:
    """The values of an attribute in what findscu tells, the empty key left out."""
    return sorted(re.findall(rf"^I: \(.{{9}}\) \w\w \[(.*)\] +# 1 {keyword}$", text, re.MULTILINE))


def find(port: int, *arguments: str, package: str = OURS) -> subprocess.CompletedProcess[str]:
    return run("findscu", "127.0.0.1", str(port), *arguments, package=package)


def test_what_is_stored_is_found_as_in_that_of_pynetdicom(tmp_path: Path) -> None:
    found = []
    for package in PACKAGES:
        folder = tmp_path / package
        folder.mkdir()
        with running_scp(folder, "qrscp", *locations(folder), package=package) as port:
            assert run("storescu", "127.0.0.1", str(port), "-cx", CT, MR, JPEG_2000).returncode == 0
            studies = find(port, *STUDY_KEYS).stderr
            one = find(port, *STUDY_KEYS[:3], "-k", "PatientID=4MR1", "-k", "PatientName=").stderr
        found.append([matches(studies, "StudyInstanceUID"), matches(one, "PatientName")])
    assert found[0] == found[1]
    assert (len(found[0][0]), len(found[0][1])) == (3, 1)


@pytest.mark.parametrize("package", PACKAGES)
def test_files_are_kept_byte_for_byte(package: str, tmp_path: Path) -> None:
    with running_scp(tmp_path, "qrscp", *locations(tmp_path)) as port:
        done = run("storescu", "127.0.0.1", str(port), "-cx", CT, JPEG_2000, package=package)
        assert done.returncode == 0, done.stderr
    kept = {data_set_of(path) for path in (tmp_path / "objects").rglob("*.dcm")}
    assert kept == {data_set_of(CT), data_set_of(JPEG_2000)}


def test_dcmtk_stores_and_finds(tmp_path: Path) -> None:
    with running_scp(tmp_path, "qrscp", *locations(tmp_path)) as port:
        address = ("127.0.0.1", str(port))
        assert run_tool([tool("echoscu"), *address]).returncode == 0
        assert run_tool([tool("storescu"), *address, str(CT)]).returncode == 0
        keys = ("-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=1CT*", "-k", "PatientName")
        done = run_tool([tool("findscu"), "-v", "-P", *keys, *address])
    assert "CompressedSamples^CT1" in done.stdout + done.stderr


def test_it_knows_what_it_stored_before(tmp_path: Path) -> None:
    for _ in range(2):
        with running_scp(tmp_path, "qrscp", *locations(tmp_path)) as port:
            before = matches(find(port, *STUDY_KEYS).stderr, "PatientName")
            assert run("storescu", "127.0.0.1", str(port), CT).returncode == 0
    assert before == ["CompressedSamples^CT1"]


def test_the_patient_study_only_model_ends_at_studies(tmp_path: Path) -> None:
    with running_scp(tmp_path, "qrscp", *locations(tmp_path)) as port:
        assert run("storescu", "127.0.0.1", str(port), CT).returncode == 0
        patients = find(port, "-O", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=")
        series = find(port, "-O", "-k", "QueryRetrieveLevel=SERIES", "-k", "SeriesInstanceUID=")
    assert matches(patients.stderr, "PatientID") == ["1CT1"]
    assert "E: C-FIND: 0xA900 (Failure)" in series.stderr


def test_identifiers_are_logged_where_the_option_and_the_configuration_agree(tmp_path: Path) -> None:
    for word, options in (("yes", ["--log-identifiers"]), ("no", ["--log-identifiers"]), ("yes", [])):
        folder = tmp_path / f"{word}{len(options)}"
        folder.mkdir()
        (folder / "node.ini").write_text(f"[DEFAULT]\nlog_identifier: {word}\nae_title: HERE\n")
        with running_scp(folder, "qrscp", "-v", *options, "-c", "node.ini", *locations(folder)) as port:
            assert find(port, *STUDY_KEYS[:3], "-k", "PatientID=SECRET").returncode == 0
        is_logged = word == "yes" and bool(options)
        assert ("SECRET" in (folder / "output.txt").read_text()) is is_logged


def clean(folder: Path, answer: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(OURS, "qrscp", "--clean", *locations(folder)),
        input=answer,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_all_objects_are_deleted_if_that_is_confirmed(tmp_path: Path) -> None:
    with running_scp(tmp_path, "qrscp", *locations(tmp_path)) as port:
        assert run("storescu", "127.0.0.1", str(port), CT).returncode == 0
        busy = clean(tmp_path, "yes\n")
    assert busy.returncode == 1
    assert "another process" in busy.stderr
    for answer in ("no\n", "", "y\n"):
        assert clean(tmp_path, answer).returncode == 1
        assert list((tmp_path / "objects").rglob("*.dcm"))
    (tmp_path / "objects" / "notes.txt").touch()
    assert clean(tmp_path, "yes\n").returncode == 0
    assert not list((tmp_path / "objects").rglob("*.dcm"))
    # What is not of the store is not touched.
    assert (tmp_path / "objects" / "notes.txt").exists()
    with running_scp(tmp_path, "qrscp", *locations(tmp_path)) as port:
        assert matches(find(port, *STUDY_KEYS).stderr, "PatientName") == []


def test_a_store_that_another_has_open(tmp_path: Path) -> None:
    with running_scp(tmp_path, "qrscp", *locations(tmp_path)):
        done = run("qrscp", "--port", "0", "-ba", "127.0.0.1", *locations(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("qrscp: another process")
