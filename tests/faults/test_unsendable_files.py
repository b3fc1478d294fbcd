"""A file that is DICOM and cannot be sent has failed, and fails the command; what is not DICOM at all is skipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.blocking.test_lanes import Store, store_blocking, store_in_loop
from tests.blocking.test_peer import scripted, succeed, write_file
from tests.cli.command import run

from dicomnet.drivers.files import StoredObject
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.exchange.files import look_at
from dicomnet.exchange.results import StoreResult

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"


def element(group: int, number: int, value: bytes) -> bytes:
    tag = group.to_bytes(2, "little") + number.to_bytes(2, "little")
    return tag + len(value).to_bytes(4, "little") + value


SOP_CLASS, SOP_INSTANCE = element(8, 0x16, CT.encode() + b"\0"), element(8, 0x18, b"1.2.3\0")
PATIENT = element(0x10, 0x10, b"A^B ")
NAMELESS = encode_file_header(CT, "", IMPLICIT)
START = bytes(128) + b"DICM"

UNSENDABLE = {
    "no instance": (NAMELESS + SOP_CLASS + PATIENT, "it has no SOP Instance UID"),
    "no instance, no file meta information": (SOP_CLASS + PATIENT, "it has no SOP Instance UID"),
    "empty instance": (NAMELESS + SOP_CLASS + element(8, 0x18, b"") + PATIENT, "it has no SOP Instance UID"),
    "an instance of NULs": (NAMELESS + SOP_CLASS + element(8, 0x18, bytes(4)), "it has no SOP Instance UID"),
    "no class": (encode_file_header("", "1.2.3", IMPLICIT) + SOP_INSTANCE, "it has no SOP Class UID"),
    "no class, no file meta information": (SOP_INSTANCE + PATIENT, "it has no SOP Class UID"),
    "no UID at all": (encode_file_header("", "", IMPLICIT) + PATIENT, "it has no SOP Class UID"),
    "no data set": (encode_file_header(CT, "1.2.3", IMPLICIT), "the file has no data set"),
    "no transfer syntax": (encode_file_header(CT, "1.2.3", "") + PATIENT, "its transfer syntax is not known"),
    "damaged file meta information": (START + b"\2\0\0\0UN\0\0\xff\xff\xff\x7f" + bytes(99), "damaged"),
    "cut off": (NAMELESS[:-5], "cut off"),
    "a UID that is none": (encode_file_header("1.2.x", "1.2.3", IMPLICIT) + PATIENT, "not a UID"),
}
FOREIGN = {
    "text": b"Study of today\n" * 20,
    "empty": b"",
    "short": b"\x08\0",
    "the same first bytes": b"\x08\x00" + bytes(range(200)),
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(300),
    "looks like group 2": b"\2\0\0\0UN\0\0\xff\xff\xff\x7f" + bytes(99),
}


@pytest.fixture(params=[store_blocking, store_in_loop])
def store(request: pytest.FixtureRequest) -> Store:
    """Stores with one peer or the other, and gives the results."""
    chosen: Store = request.param
    return chosen


def look(path: Path, content: bytes) -> StoreResult:
    path.write_bytes(content)
    found, _ = look_at(str(path))
    assert not isinstance(found, StoredObject)
    return found


@pytest.mark.parametrize("kind", UNSENDABLE)
def test_a_dicom_file_that_cannot_be_sent_was_skipped(kind: str, tmp_path: Path) -> None:
    content, cause = UNSENDABLE[kind]
    found = look(tmp_path / "file", content)
    assert not found.is_skipped
    assert cause in found.comment


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_not_dicom_is_skipped(kind: str, tmp_path: Path) -> None:
    found = look(tmp_path / "file", FOREIGN[kind])
    assert found.is_skipped, found.comment
    assert found.comment


def fill(folder: Path) -> dict[str, str]:
    """A folder with a good file and all others; the outcome of each by its name."""
    write_file(folder, "1.2.3")
    outcomes = {"1.2.3.dcm": "stored"}
    for number, (content, _) in enumerate(UNSENDABLE.values()):
        (folder / f"unsendable{number}").write_bytes(content)
        outcomes[f"unsendable{number}"] = "failed"
    for number, content in enumerate(FOREIGN.values()):
        (folder / f"foreign{number}").write_bytes(content)
        outcomes[f"foreign{number}"] = "skipped"
    return outcomes


def test_they_hold_up_no_other_file(store: Store, tmp_path: Path) -> None:
    outcomes = fill(tmp_path)
    with scripted(succeed) as (port, _):
        results = store(port, [tmp_path])
    got = {
        Path(each.path).name: "stored" if each.is_stored else "skipped" if each.is_skipped else "failed"
        for each in results
    }
    assert got == outcomes


def test_the_command_fails_and_names_them(tmp_path: Path) -> None:
    outcomes = fill(tmp_path)
    with scripted(succeed) as (port, _):
        peer = f"127.0.0.1:{port}"
        done = run("store", peer, str(tmp_path), "--json")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert {Path(line["path"]).name: line["outcome"] for line in lines} == outcomes
        assert done.returncode == 1
        bad, good = tmp_path / "unsendable0", tmp_path / "1.2.3.dcm"
        done = run("store", peer, str(bad), str(good))
        assert done.returncode == 1
        assert f"failed: {bad}: it has no SOP Instance UID\n" in done.stderr
        assert done.stdout.startswith("sent 1 (0 with warnings), skipped 0, failed 1: ")
        # What is not DICOM is skipped as before, in a folder and by its name.
        done = run("store", peer, str(tmp_path / "foreign0"), str(good))
        assert done.returncode == 0
        assert done.stdout.startswith("sent 1 (0 with warnings), skipped 1, failed 0: ")
