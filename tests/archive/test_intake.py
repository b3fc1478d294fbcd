from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from sqlalchemy import select
from tests.sockets import descriptors

from dicomnet.archive.catalogue import schema
from dicomnet.archive.catalogue.index import Index, Recovery
from dicomnet.archive.intake import SPILL_LENGTH, Catalogue, Intake, Session
from dicomnet.archive.storage.files import ObjectName, Storage
from dicomnet.encoding.file_header import decode_file_header
from dicomnet.errors import ServiceRefusal

NAME = ObjectName("1.2.3", "1.2.3.4", "1.2.3.4.5")
CT = "1.2.840.10008.5.1.4.1.1.2"

Make = Callable[..., Dataset]
Encode = Callable[..., bytes]
Put = Callable[..., int]
Send = Callable[..., Session]
Files = Callable[[Path], list[str]]


def _status(call: Callable[[], int]) -> int:
    try:
        return call()
    except ServiceRefusal as refusal:
        return refusal.status


def _statuses(outcomes: Sequence[int | ServiceRefusal]) -> list[int]:
    return [each.status if isinstance(each, ServiceRefusal) else each for each in outcomes]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("pixels", [16, SPILL_LENGTH - 1000, SPILL_LENGTH, SPILL_LENGTH * 3])
@pytest.mark.parametrize("fragment", [1000, 16_384, 1 << 20])
def test_the_data_set_is_kept_as_received(
    tmp_path: Path, make: Make, encode: Encode, put: Put, syntax: str, pixels: int, fragment: int
) -> None:
    """S003."""
    data = encode(make(PixelData=bytes(range(250)) * (pixels // 250)), syntax)
    with Storage(tmp_path, sync=False) as storage:
        assert put(Intake(storage), data, syntax=syntax, fragment=fragment) == 0
        whole = Path(storage.path(NAME)).read_bytes()
    assert whole[:128] == bytes(128)
    header = decode_file_header(whole)
    assert whole[header.offset :] == data
    read = pydicom.dcmread(storage.path(NAME))
    assert read.file_meta.MediaStorageSOPClassUID == read.SOPClassUID == CT
    assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID == NAME.instance
    assert read.file_meta.TransferSyntaxUID == syntax
    assert read.file_meta.FileMetaInformationVersion == b"\x00\x01"
    assert read.file_meta.SourceApplicationEntityTitle == "SENDER"
    assert read.file_meta.FileMetaInformationGroupLength == header.offset - 144
    dump = subprocess.run(["dcmdump", storage.path(NAME)], capture_output=True, text=True, check=True)
    assert "E:" not in dump.stderr


def test_files_of_pydicom_survive(tmp_path: Path, put: Put) -> None:
    """S003."""
    with Storage(tmp_path, sync=False) as storage:
        intake = Intake(storage)
        for file in ("CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "reportsi.dcm", "image_dfl.dcm"):
            found = get_testdata_file(file)
            assert isinstance(found, str)
            whole = Path(found).read_bytes()
            header = decode_file_header(whole)
            data = whole[header.offset :]
            read = pydicom.dcmread(found)
            status = put(
                intake,
                data,
                sop_class=read.SOPClassUID,
                instance=read.SOPInstanceUID,
                syntax=header.transfer_syntax_uid,
            )
            assert status == 0
            stored = storage.path(
                ObjectName(read.StudyInstanceUID, read.SeriesInstanceUID, read.SOPInstanceUID)
            )
            assert Path(stored).read_bytes().endswith(data)
            assert pydicom.dcmread(stored) == read


@pytest.mark.parametrize(
    ("attributes", "status"),
    [
        ({"SOPInstanceUID": "1.2.3.4.6"}, 0xA900),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, 0xA900),
        ({"SOPInstanceUID": None}, 0xA900),
        ({"StudyInstanceUID": None}, 0xA900),
        ({"StudyInstanceUID": ""}, 0xA900),
        ({"SeriesInstanceUID": None}, 0xA900),
    ],
)
def test_an_object_must_match_its_command(
    tmp_path: Path,
    make: Make,
    encode: Encode,
    put: Put,
    files: Files,
    attributes: dict[str, str | None],
    status: int,
) -> None:
    """S002 S006."""
    with Storage(tmp_path) as storage:
        assert _status(lambda: put(Intake(storage), encode(make(**attributes)))) == status
        assert files(tmp_path) == ["lock"]


HOSTILE = [
    b"../../x",
    b"../../../../canary",
    b"/tmp/x",
    b"1" * 66,
    b"1.2\0.3",
    b"\xc3\xa4.1",
    b"..",
    b".",
    b"$(touch x)",
]


@pytest.mark.parametrize("uid", HOSTILE)
def test_no_uid_of_a_peer_leaves_the_store(
    tmp_path: Path, make: Make, encode: Encode, put: Put, files: Files, uid: bytes
) -> None:
    (tmp_path / "canary").write_text("sings")
    padded = uid + bytes(len(uid) % 2)
    mark = b"9.8.7"
    with Storage(tmp_path / "store") as storage:
        intake = Intake(storage)
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            data = encode(make(**{keyword: mark.decode()}))
            field = len(mark + b"\0").to_bytes(2, "little") + mark + b"\0"
            assert data.count(field) == 1
            data = data.replace(field, len(padded).to_bytes(2, "little") + padded)
            instance = uid.decode("latin-1") if keyword == "SOPInstanceUID" else NAME.instance
            assert _status(partial(put, intake, data, instance=instance)) in (
                0x0117,
                0xA900,
            )
        assert _status(lambda: put(intake, encode(make()), sop_class=uid.decode("latin-1"))) == 0xA900
    assert files(tmp_path) == ["canary", "store/lock"]
    assert (tmp_path / "canary").read_text() == "sings"


@pytest.mark.parametrize("pixels", [16, SPILL_LENGTH * 2])
def test_a_damaged_object_leaves_nothing(
    tmp_path: Path, make: Make, encode: Encode, put: Put, files: Files, pixels: int
) -> None:
    """S002."""
    data = encode(make(PixelData=bytes(pixels)))
    with Storage(tmp_path) as storage:
        assert _status(lambda: put(Intake(storage), data[:-1])) == 0xC000
        assert _status(lambda: put(Intake(storage), b"")) in (0xA900, 0xC000)
        session = Intake(storage).open(CT, NAME.instance, ExplicitVRLittleEndian)
        session.write(memoryview(data))
        session.abort()
        session.abort()
        assert files(tmp_path) == ["lock"]


def test_the_same_again_and_another_one(tmp_path: Path, make: Make, encode: Encode, put: Put) -> None:
    """S004."""
    with Storage(tmp_path) as storage:
        intake = Intake(storage)
        first = encode(make())
        assert put(intake, first) == 0
        assert put(intake, first) == 0
        assert _status(lambda: put(intake, encode(make(PatientName="Other")))) == 0x0111
        assert Path(storage.path(NAME)).read_bytes().endswith(first)
        assert len(list(storage.quarantined())) == 1


def test_sixteen_senders_of_one_object(tmp_path: Path, make: Make, encode: Encode, put: Put) -> None:
    """S004."""
    data = encode(make())
    with Storage(tmp_path) as storage:
        intake = Intake(storage)
        found: list[int] = []
        threads = [threading.Thread(target=lambda: found.append(put(intake, data))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [0] * 16
        assert list(storage.objects()) == [(("1.2.3", "1.2.3.4"), ["1.2.3.4.5"])]
        assert list(storage.quarantined()) == []


FULL = """
import resource, sys, os
from dicomnet.archive.intake import Intake
from dicomnet.archive.storage.files import Storage
from dicomnet.errors import ServiceRefusal
data = open(sys.argv[2], "rb").read()
storage = Storage(sys.argv[1])
intake = Intake(storage)
def put():
    session = intake.open("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5", "1.2.840.10008.1.2.1")
    try:
        for at in range(0, len(data), 65536):
            session.write(memoryview(data)[at:at + 65536])
        return session.commit()
    except ServiceRefusal as refusal:
        assert sys.argv[1] not in str(refusal)
        return refusal.status
before = len(os.listdir("/proc/self/fd"))
kind = resource.RLIMIT_FSIZE if sys.argv[3] == "space" else resource.RLIMIT_NOFILE
limits = resource.getrlimit(kind)
resource.setrlimit(kind, (len(data) // 2 if sys.argv[3] == "space" else before, limits[1]))
print(hex(put()), len(os.listdir(sys.argv[1] + "/staging")) if sys.argv[3] == "space" else 0)
resource.setrlimit(kind, limits)
print(len(os.listdir(sys.argv[1] + "/staging")), len(os.listdir("/proc/self/fd")) - before, hex(put()))
"""


@pytest.mark.parametrize("kind", ["space", "descriptors"])
@pytest.mark.parametrize("pixels", [20_000, SPILL_LENGTH * 2])
def test_out_of_resources(tmp_path: Path, make: Make, encode: Encode, kind: str, pixels: int) -> None:
    """S002."""
    (tmp_path / "object").write_bytes(encode(make(PixelData=bytes(pixels))))
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "store", tmp_path / "object", kind],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["0xa700 0", "0 0 0x0"]


def test_a_folder_that_cannot_be_written(tmp_path: Path, make: Make, encode: Encode, put: Put) -> None:
    with Storage(tmp_path) as storage:
        os.rename(tmp_path / "objects", tmp_path / "away")
        (tmp_path / "objects").write_text("in the way")
        assert _status(lambda: put(Intake(storage), encode(make()))) == 0xA700
        os.unlink(tmp_path / "objects")
        os.rename(tmp_path / "away", tmp_path / "objects")
        assert put(Intake(storage), encode(make())) == 0


def test_what_is_acknowledged_survives_kill_9(tmp_path: Path, make: Make, encode: Encode, put: Put) -> None:
    """S001."""
    script = (
        "import sys, hashlib\n"
        "from dicomnet.archive.intake import Intake\n"
        "from dicomnet.archive.storage.files import Storage\n"
        "data = open(sys.argv[2], 'rb').read(); intake = Intake(Storage(sys.argv[1]))\n"
        "for number in range(100000):\n"
        "    uid = f'1.2.3.4.{number:05}'; one = data.replace(b'1.2.3.4.55555', uid.encode())\n"
        "    session = intake.open('1.2.840.10008.5.1.4.1.1.2', uid, '1.2.840.10008.1.2.1')\n"
        "    session.write(memoryview(one)); session.commit()\n"
        "    print(uid, hashlib.sha256(one).hexdigest(), flush=True)\n"
    )
    (tmp_path / "object").write_bytes(encode(make(SOPInstanceUID="1.2.3.4.55555")))
    acknowledged: list[list[str]] = []
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "store", tmp_path / "object"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        acknowledged += [process.stdout.readline().split() for _ in range(50)]
        process.kill()
        acknowledged += [
            line.split() for line in process.stdout.read().splitlines() if len(line) == 13 + 1 + 64
        ]
    with Storage(tmp_path / "store") as storage:
        assert storage.was_unclean
        for uid, digest in acknowledged:
            whole = Path(storage.path(ObjectName("1.2.3", "1.2.3.4", uid))).read_bytes()
            assert hashlib.sha256(whole[decode_file_header(whole).offset :]).hexdigest() == digest


def test_a_session_is_used_once(tmp_path: Path, make: Make, encode: Encode) -> None:
    data = memoryview(encode(make()))
    with Storage(tmp_path) as storage:
        done = Intake(storage).open(CT, NAME.instance, ExplicitVRLittleEndian)
        done.write(data)
        assert done.commit() == 0
        dropped = Intake(storage).open(CT, NAME.instance, ExplicitVRLittleEndian)
        dropped.abort()
        for session in (done, dropped):
            with pytest.raises(ValueError):
                session.write(data)
            with pytest.raises(ValueError):
                session.commit()


# -- several at once


@dataclass(frozen=True, slots=True)
class Sent:
    """An object that is sent: what it says it is, and what is wrong with it."""

    instance: int = 1
    study: int = 1
    series: int = 1
    patient: str = "A"
    is_large: bool = False
    fault: str = ""

    @property
    def uid(self) -> str:
        return f"1.2.3.{self.instance}"

    def session(self, intake: Intake, make: Make, encode: Encode, send: Send) -> Session:
        """It on its way into a store, complete."""
        data = encode(
            make(
                SOPInstanceUID=f"{self.uid}.1" if self.fault == "instance" else self.uid,
                SOPClassUID="1.2.840.10008.5.1.4.1.1.4" if self.fault == "class" else CT,
                StudyInstanceUID=None if self.fault == "study" else f"1.3.{self.study}",
                SeriesInstanceUID=f"1.4.{self.series}",
                PatientID=self.patient,
                PixelData=bytes(2 * SPILL_LENGTH if self.is_large else 16),
            )
        )
        return send(intake, data[:-1] if self.fault == "cut" else data, instance=self.uid)


@dataclass(frozen=True, slots=True)
class Archive:
    """A store with an index, in a folder of its own."""

    root: Path
    storage: Storage
    index: Index

    def contents(self) -> dict[str, Any]:
        """All of it that is not an accident of its making."""
        with self.index.reading() as connection:
            of = schema
            rows = connection.execute(
                select(of.patient, of.study, of.series, of.instance)
                .join(of.study, of.study.c.parent == of.patient.c.id)
                .join(of.series, of.series.c.parent == of.study.c.id)
                .join(of.instance, of.instance.c.parent == of.series.c.id)
            ).all()
        numbers = ("id", "id_1", "id_2", "id_3", "parent", "parent_1", "parent_2")
        return {
            "rows": sorted(
                str([each for key, each in row._mapping.items() if key not in numbers]) for row in rows
            ),
            "files": {
                str(path.relative_to(self.root)): path.read_bytes()
                for folder in ("objects", "quarantine")
                for path in (self.root / folder).rglob("*.dcm")
            },
            "staged": list((self.root / "staging").iterdir()),
            "needs recovery": self.storage.needs_recovery,
        }


@contextmanager
def _archive() -> Iterator[Archive]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Storage(folder, sync=False) as storage,
        Index(Path(folder) / "index.sqlite", wait_seconds=0.2) as index,
    ):
        yield Archive(Path(folder), storage, index)


SENT = st.builds(
    Sent,
    instance=st.integers(1, 4),
    study=st.integers(1, 2),
    series=st.integers(1, 2),
    patient=st.sampled_from("AB"),
    is_large=st.booleans(),
    fault=st.sampled_from(["", "", "", "cut", "instance", "class", "study"]),
)
OBJECT = Sent()
OTHER, ELSEWHERE = Sent(patient="B"), Sent(study=2)


@settings(max_examples=25)
@given(st.lists(st.lists(SENT, min_size=1, max_size=8), min_size=1, max_size=3), st.integers(0, 8))
@example([[OBJECT, OBJECT, Sent(2), OBJECT]], 2)
@example([[OBJECT, OTHER, OTHER, Sent(2), OBJECT]], 2)
@example([[OBJECT, ELSEWHERE, Sent(2), ELSEWHERE, OBJECT], [ELSEWHERE, OBJECT]], 2)
@example([[OBJECT], [ELSEWHERE, Sent(2, study=2), Sent(3, fault="cut"), Sent(4, is_large=True)]], 3)
@example(
    [[Sent(number % 3 + 1, fault=fault) for number, fault in enumerate(["", "cut", "", "class", "study"])]],
    0,
)
@example(
    [[Sent(number, is_large=number % 2 == 0, fault="cut" if number % 3 else "") for number in range(1, 9)]],
    8,
)
def test_objects_that_are_committed_together_are_each_for_itself(
    make: Make, encode: Encode, send: Send, groups: list[list[Sent]], places: int
) -> None:
    """The answers and the archive are those of one after another, also where some are placed before the others came."""
    before = descriptors()
    with _archive() as together, _archive() as alone:
        for group in groups:
            intake = Intake(together.storage, together.index)
            sessions = [sent.session(intake, make, encode, send) for sent in group]
            for session in sessions[: places % (len(sessions) + 1)]:
                session.place()
            outcomes = _statuses(intake.commit(sessions))
            assert not intake.under_way
            intake = Intake(alone.storage, alone.index)
            expected = [_status(sent.session(intake, make, encode, send).commit) for sent in group]
            assert outcomes == expected
            assert together.contents() == alone.contents()
            for sent, outcome in zip(group, outcomes, strict=True):
                assert outcome in {"": (0, 0x0111), "cut": (0xC000,)}.get(sent.fault, (0xA900,))
        contents = together.contents()
        # What is in the index is in the store, once, and nothing else is.
        objects = [uid for _, instances in together.storage.objects() for uid in instances]
        assert len(objects) == len(set(objects)) == len(contents["rows"])
        assert contents["staged"] == []
        assert contents["needs recovery"] is False
    assert descriptors() == before


def test_nothing_is_committed() -> None:
    with _archive() as archive:
        assert Intake(archive.storage, archive.index).commit([]) == []
        assert Intake(archive.storage).commit([]) == []


def test_objects_together_need_no_more_descriptors_than_one(
    tmp_path: Path, make: Make, encode: Encode
) -> None:
    """Those that wait in memory for their turn have no file yet."""
    (tmp_path / "object").write_bytes(encode(make(SOPInstanceUID="1.2.3.4.55")))
    script = """
import os, resource, sys
from dicomnet.archive.intake import Intake
from dicomnet.archive.storage.files import Storage
data = open(sys.argv[2], "rb").read()
intake = Intake(Storage(sys.argv[1]))
def group(first):
    for number in range(first, first + 16):
        uid = f"1.2.3.4.{number}"
        session = intake.open("1.2.840.10008.5.1.4.1.1.2", uid, "1.2.840.10008.1.2.1")
        session.write(memoryview(data.replace(b"1.2.3.4.55", uid.encode())))
        yield session
sessions = list(group(10))
used = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (used + 3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
print(intake.commit(sessions), intake.commit(list(group(30))))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "store", tmp_path / "object"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == f"{[0] * 16} {[0] * 16}"


@pytest.mark.parametrize("bad", ["1.4.1", "1.4.2"])
def test_a_folder_that_cannot_be_flushed(
    make: Make, encode: Encode, send: Send, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    """Nothing of the group is acknowledged, and the index catches up at the next start."""
    flush = os.fsync

    def fail(descriptor: int) -> None:
        if os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")) == bad:
            raise OSError(errno.EIO, "the medium is broken")
        flush(descriptor)

    group = [Sent(number, series=1 + number % 2, is_large=number % 3 == 0) for number in range(1, 7)]
    with _archive() as archive:
        archive.storage.sync = True
        intake = Intake(archive.storage, archive.index)
        sessions = [sent.session(intake, make, encode, send) for sent in group]
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            assert _statuses(intake.commit(sessions)) == [0xA700] * 6
        contents = archive.contents()
        assert (contents["rows"], contents["staged"], contents["needs recovery"]) == ([], [], True)
        # Whoever sends them again gets them in.
        assert (
            _statuses(intake.commit([sent.session(intake, make, encode, send) for sent in group])) == [0] * 6
        )
        assert archive.index.recover(archive.storage) == Recovery(0, 0, 0)
        assert len(list((archive.root / "objects").rglob("*.dcm"))) == 6


def test_an_index_that_is_locked_refuses_all_of_a_group(make: Make, encode: Encode, send: Send) -> None:
    group = [Sent(number, study=1 + number % 2, is_large=number % 3 == 0) for number in range(1, 7)]
    with _archive() as archive:
        intake = Intake(archive.storage, archive.index)
        sessions = [sent.session(intake, make, encode, send) for sent in [*group, Sent(7, fault="cut")]]
        other = sqlite3.connect(archive.index.path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        assert _statuses(intake.commit(sessions)) == [*[0xA700] * 6, 0xC000]
        other.execute("ROLLBACK")
        other.close()
        contents = archive.contents()
        assert (contents["rows"], contents["staged"], contents["needs recovery"]) == ([], [], True)
        archive.index.recover(archive.storage)
        contents = archive.contents()
        assert contents["needs recovery"] is False
        assert len(contents["rows"]) == 6


def test_an_index_with_a_defect_leaves_nothing_open(
    tmp_path: Path, make: Make, encode: Encode, send: Send, broken_index: Catalogue
) -> None:
    group = [Sent(1), Sent(2, is_large=True), Sent(3, is_large=True, fault="cut"), Sent(4, fault="cut")]
    with Storage(tmp_path) as storage:
        intake = Intake(storage, broken_index)
        before = descriptors()
        sessions = [sent.session(intake, make, encode, send) for sent in group]
        with pytest.raises(LookupError, match="2 objects"):
            intake.commit(sessions)
        assert not list((tmp_path / "staging").iterdir())
        assert descriptors() == before
        # Two have their names, and nobody has indexed them.
        assert storage.needs_recovery
        for session in sessions:
            with pytest.raises(ValueError):
                session.commit()


def test_what_was_placed_and_never_committed_is_found_at_the_next_start(
    make: Make, encode: Encode, send: Send
) -> None:
    """Its association ended in between."""
    with _archive() as archive:
        intake = Intake(archive.storage, archive.index)
        placed, refused = (
            sent.session(intake, make, encode, send) for sent in (Sent(1), Sent(2, fault="cut"))
        )
        refused.place()
        assert intake.under_way
        refused.abort()
        assert not intake.under_way
        assert not archive.storage.needs_recovery
        placed.place()
        placed.place()
        assert intake.under_way
        placed.abort()
        assert not intake.under_way
        contents = archive.contents()
        assert (contents["rows"], contents["staged"], contents["needs recovery"]) == ([], [], True)
        assert archive.index.recover(archive.storage) == Recovery(1, 0, 0)
        with pytest.raises(ValueError):
            placed.place()


def test_a_session_that_is_over_among_others(tmp_path: Path, make: Make, encode: Encode, send: Send) -> None:
    with Storage(tmp_path) as storage:
        intake = Intake(storage)
        before = descriptors()
        sessions = [
            sent.session(intake, make, encode, send) for sent in (Sent(1), Sent(2), Sent(3, is_large=True))
        ]
        sessions[1].abort()
        with pytest.raises(ValueError, match="over"):
            intake.commit(sessions)
        assert not list((tmp_path / "staging").iterdir())
        assert descriptors() == before


# -- the same object in another form

IMPLICIT, EXPLICIT, BIG, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".1.99"))
FORMS = (IMPLICIT, EXPLICIT, BIG, DEFLATED)


def _forms(make: Make, encode: Encode, **attributes: Any) -> dict[str, bytes]:
    """An object in all native transfer syntaxes; pydicom does not swap words."""
    pixels = attributes.pop("PixelData", bytes(range(16)) * 4)
    swapped = b"".join(pixels[at : at + 2][::-1] for at in range(0, len(pixels), 2))
    return {
        syntax: encode(make(PixelData=swapped if syntax == BIG else pixels, **attributes), syntax)
        for syntax in FORMS
    }


@pytest.mark.parametrize("first", FORMS)
@pytest.mark.parametrize("pixels", [64, 3 * SPILL_LENGTH])
def test_the_same_object_in_another_form_is_the_same_object(
    make: Make, encode: Encode, put: Put, first: str, pixels: int
) -> None:
    """One copy, in the form that came first, and the index says so."""
    whole = {"PixelData": bytes(range(16)) * (pixels // 16)}
    forms = _forms(make, encode, **whole)
    others = [_forms(make, encode, **whole | change) for change in ({"PatientID": "P2"}, {"Rows": 3})]
    others.append(_forms(make, encode, PixelData=whole["PixelData"][:-1] + b"\0"))
    with _archive() as archive:
        intake = Intake(archive.storage, archive.index)
        assert put(intake, forms[first], syntax=first) == 0
        before = archive.contents()
        for syntax, data in forms.items():
            assert put(intake, data, syntax=syntax) == 0
        assert archive.contents() == before
        assert len(before["files"]) == len(before["rows"]) == 1
        for syntax in FORMS:
            for other in others:
                assert _status(partial(put, intake, other[syntax], syntax=syntax)) == 0x0111
        kept = next(path for path in before["files"] if path.startswith("objects"))
        assert archive.contents()["files"][kept] == before["files"][kept]
        assert archive.contents()["rows"] == before["rows"]
        assert len(list(archive.storage.quarantined())) == len(others) * len(FORMS)


@pytest.mark.parametrize("turn", range(3))
def test_sixteen_senders_of_one_object_in_four_forms(make: Make, encode: Encode, put: Put, turn: int) -> None:
    """The row of the index tells the transfer syntax of the file, whichever thread comes first."""
    forms = _forms(make, encode)
    with _archive() as archive:
        intake = Intake(archive.storage, archive.index)
        found: list[int] = []
        start = threading.Barrier(16)

        def run(number: int) -> None:
            syntax = FORMS[(number + turn) % 4]
            start.wait()
            found.append(put(intake, forms[syntax], syntax=syntax))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [0] * 16
        [row] = archive.contents()["rows"]
        [(_, kept)] = archive.contents()["files"].items()
        assert f"'{decode_file_header(kept).transfer_syntax_uid}'" in row
        assert archive.contents()["staged"] == []
        assert not archive.storage.needs_recovery


def test_a_damaged_file_of_the_store_is_no_form_of_an_object(make: Make, encode: Encode, put: Put) -> None:
    """What somebody has cut off in the store is another object than the one that comes, and nothing raises."""
    forms = _forms(make, encode)
    with _archive() as archive:
        intake = Intake(archive.storage, archive.index)
        assert put(intake, forms[EXPLICIT]) == 0
        path = archive.storage.path(NAME)
        for length in (os.path.getsize(path) - 1, 400, 200, 100, 0):
            os.truncate(path, length)
            assert _status(lambda: put(intake, forms[IMPLICIT], syntax=IMPLICIT)) == 0x0111


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        (b"\0", "zeros behind the last element"),
        (bytes(4096), "zeros behind the last element"),
        (b"\2\0\x10\0UI\4\0" + b"1.2\0", "file meta information"),
        (b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\4\0\0\0abcd", "have no end"),
    ],
)
def test_an_irregular_object_is_stored_as_it_came_with_one_warning(
    rest: bytes,
    words: str,
    tmp_path: Path,
    make: Make,
    encode: Encode,
    put: Put,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It was refused with 0xC000, though none of its elements was lost."""
    data = encode(make()) + rest
    with Storage(tmp_path / "tolerant", sync=False) as storage:
        assert put(Intake(storage), data) == 0
        (warning,) = [each for each in caplog.records if each.levelname == "WARNING"]
        assert words in warning.getMessage()
        assert make().SOPInstanceUID in warning.getMessage()
        (kept,) = [path for path in (tmp_path / "tolerant" / "objects").rglob("*") if path.is_file()]
        assert kept.read_bytes().endswith(data)
        # The same once more is the same object.
        assert put(Intake(storage), data) == 0
    with Storage(tmp_path / "strict", sync=False) as storage, pytest.raises(ServiceRefusal) as refusal:
        put(Intake(storage, is_strict=True), data)
    assert refusal.value.status == 0xC000
