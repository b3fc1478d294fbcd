"""A file that is DICOM and cannot be sent has failed, and fails the command; what is not DICOM at all is skipped."""

from __future__ import annotations

import json
import zipfile
import zlib
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
WHOLE = encode_file_header(CT, "1.2.3", IMPLICIT) + SOP_CLASS + SOP_INSTANCE
ITEM = b"\xfe\xff\0\xe0\x0c\0\0\0"
OPEN_ITEM = b"\xfe\xff\0\xe0\xff\xff\xff\xff"
OPEN_SEQUENCE = b"\x08\0\x40\x11\xff\xff\xff\xff"
CUT_OFF = "the data set is cut off: an element, item or sequence in it has no end"
DEFLATED = "the deflated data set ends too early"
FRAGMENTS = (
    encode_file_header(CT, "1.2.3", "1.2.840.10008.1.2.4.50")
    + b"\x10\0\x10\0PN\4\0A^B \xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\0\0\0\0"
    + (b"\xfe\xff\0\xe0" + (4000).to_bytes(4, "little") + bytes(4000)) * 30
    + b"\xfe\xff\xdd\xe0\0\0\0\0"
)


def _deflated(content: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(content) + deflater.flush()


# What looks odd and has all that it says.
WHOLE_ONES = {
    "the end of a line behind it": WHOLE + PATIENT + b"\r\n",
    "zeros behind it": WHOLE + PATIENT + bytes(20),
    "trailing padding": WHOLE
    + PATIENT
    + element(0x7FE0, 0x10, bytes(600_000))
    + element(0xFFFC, 0xFFFC, bytes(90)),
    "fragments": FRAGMENTS,
    "fragments without a delimiter": FRAGMENTS[:-8],
    "a deflated data set": encode_file_header(CT, "1.2.3", "1.2.840.10008.1.2.1.99")
    + _deflated(b"\x10\0\x10\0PN\4\0A^B "),
    "implicit VR where its transfer syntax is explicit": encode_file_header(
        CT, "1.2.3", "1.2.840.10008.1.2.1"
    )
    + SOP_CLASS
    + SOP_INSTANCE
    + PATIENT,
    "another fault than an early end": WHOLE + PATIENT + b"\x04\0\0\0" + bytes(20),
}

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
    "an element is cut off": (WHOLE + PATIENT[:-1], CUT_OFF),
    "the header of an element is cut off": (
        encode_file_header(CT, "1.2.3", "1.2.840.10008.1.2.1")
        + b"\x10\0\x10\0PN\4\0A^B \xe0\x7f\x10\0OW\0\0\2\0",
        CUT_OFF,
    ),
    "pixel data is cut off": (WHOLE + PATIENT + element(0x7FE0, 0x10, bytes(600_000))[:-1], CUT_OFF),
    "small pixel data is cut off": (WHOLE + PATIENT + element(0x7FE0, 0x10, bytes(60_000))[:-100], CUT_OFF),
    "a sequence is cut off": (
        WHOLE + element(8, 0x1140, ITEM + element(8, 0x1155, b"1.2\0"))[:-2],
        CUT_OFF,
    ),
    "an open sequence is cut off": (
        WHOLE + b"\x08\0\x40\x11\xff\xff\xff\xff" + ITEM + element(8, 0x1155, b"1.2\0")[:-2],
        CUT_OFF,
    ),
    "a sequence has no end": (WHOLE + OPEN_SEQUENCE + ITEM + element(8, 0x1155, b"1.2\0"), CUT_OFF),
    "an item has no end": (WHOLE + OPEN_SEQUENCE + OPEN_ITEM + element(8, 0x1155, b"1.2\0"), CUT_OFF),
    "an item has no end in a sequence that has one": (
        WHOLE
        + OPEN_SEQUENCE
        + OPEN_ITEM
        + element(8, 0x1155, b"1.2\0")
        + b"\xfe\xff\xdd\xe0\0\0\0\0"
        + PATIENT,
        CUT_OFF,
    ),
    "big endian, cut off": (
        encode_file_header(CT, "1.2.3", "1.2.840.10008.1.2.2") + b"\0\x10\0\x10PN\0\x08A^B",
        CUT_OFF,
    ),
    "fragments are cut off": (FRAGMENTS[:-8] + b"\xfe\xff\0\xe0\4\0\0\0ab", CUT_OFF),
    "one of many fragments is cut off": (FRAGMENTS[:-300], CUT_OFF),
    "a deflated data set is cut off": (
        encode_file_header(CT, "1.2.3", "1.2.840.10008.1.2.1.99")
        + _deflated(b"\x10\0\x10\0PN\4\0A^B " + b"".join(b"\x10\0\x20\0LO\4\0%04d" % n for n in range(99)))[
            :-9
        ],
        DEFLATED,
    ),
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


@pytest.mark.parametrize("kind", WHOLE_ONES)
def test_what_is_not_cut_off_is_sent(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(WHOLE_ONES[kind])
    for limit in (0, 1 << 16):
        for _ in range(3):
            found, _ = look_at(str(path), limit)
            assert isinstance(found, StoredObject), found.comment


@pytest.mark.parametrize("kind", [kind for kind, row in UNSENDABLE.items() if row[1] in (CUT_OFF, DEFLATED)])
def test_a_file_of_a_known_series_that_is_cut_off_is_seen(kind: str, tmp_path: Path) -> None:
    """Also where others of its kind were whole, small files are read at once, and it is in an archive."""
    for content in WHOLE_ONES.values():
        (tmp_path / "file").write_bytes(content)
        look_at(str(tmp_path / "file"))
    (tmp_path / "file").write_bytes(UNSENDABLE[kind][0])
    found, _ = look_at(str(tmp_path / "file"), 1 << 16)
    assert not isinstance(found, StoredObject)
    assert found.comment == UNSENDABLE[kind][1]


def test_a_member_of_an_archive_that_is_cut_off_was_sent(store: Store, tmp_path: Path) -> None:
    good = write_file(tmp_path / "..", "1.2.3.4")
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.write(good, "good.dcm")
        for kind in ("an element is cut off", "pixel data is cut off", "small pixel data is cut off"):
            archive.writestr(kind, UNSENDABLE[kind][0])
    with scripted(succeed) as (port, _):
        results = store(port, [tmp_path / "study.zip"])
    assert [each.member for each in results if each.is_stored] == ["good.dcm"]
    assert {each.comment for each in results if not each.is_stored} == {CUT_OFF}


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
