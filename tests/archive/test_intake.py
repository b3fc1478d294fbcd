from __future__ import annotations

import errno
import hashlib
import os
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import time
from typing import Any

import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from sqlalchemy import select
from tests.archive.archives import (
    NAME,
    Encode,
    Make,
    Put,
    Send,
    Sent,
    files_of,
    indexed_in,
    new_archive,
    new_archive_on,
    objects_of,
    staged_in,
    status_of,
    statuses_of,
)
from tests.archive.conftest import SENDER
from tests.archive.stores import KINDS
from tests.sockets import descriptors
from tests.support import wait_until
from tests.tracing import Call, calls_of

from dicomnet.archive import journal as journal_module
from dicomnet.archive.catalogue import schema
from dicomnet.archive.conflicts import OtherContent
from dicomnet.archive.entries import Catalogue, Source
from dicomnet.archive.intake import SPILL_LENGTH, Intake
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.store import ObjectName
from dicomnet.encoding.file_header import decode_file_header
from dicomnet.errors import ServiceRefusal

CT = "1.2.840.10008.5.1.4.1.1.2"

Files = Callable[[Path], list[str]]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("pixels", [16, SPILL_LENGTH - 1000, SPILL_LENGTH, SPILL_LENGTH * 3])
@pytest.mark.parametrize("fragment", [1000, 16_384, 1 << 20])
def test_the_data_set_is_kept_as_received(
    tmp_path: Path, make: Make, encode: Encode, put: Put, syntax: str, pixels: int, fragment: int
) -> None:
    """S003."""
    data = encode(make(PixelData=bytes(range(250)) * (pixels // 250)), syntax)
    with (
        LocalFolder(tmp_path, sync=False) as local,
        Intake(local, storage := FolderStorage.of(local)) as intake,
    ):
        assert put(intake, data, syntax=syntax, fragment=fragment) == 0
        assert intake.wait_for_all()
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
    with (
        LocalFolder(tmp_path, sync=False) as local,
        Intake(local, storage := FolderStorage.of(local)) as intake,
    ):
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
            assert intake.wait_for_all()
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
    with LocalFolder(tmp_path) as local, Intake(local, FolderStorage.of(local)) as intake:
        assert status_of(lambda: put(intake, encode(make(**attributes)))) == status
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
    with LocalFolder(tmp_path / "store") as local, Intake(local, FolderStorage.of(local)) as intake:
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            data = encode(make(**{keyword: mark.decode()}))
            field = len(mark + b"\0").to_bytes(2, "little") + mark + b"\0"
            assert data.count(field) == 1
            data = data.replace(field, len(padded).to_bytes(2, "little") + padded)
            instance = uid.decode("latin-1") if keyword == "SOPInstanceUID" else NAME.instance
            assert status_of(partial(put, intake, data, instance=instance)) in (
                0x0117,
                0xA900,
            )
        assert status_of(lambda: put(intake, encode(make()), sop_class=uid.decode("latin-1"))) == 0xA900
    assert files(tmp_path) == ["canary", "store/lock"]
    assert (tmp_path / "canary").read_text() == "sings"


@pytest.mark.parametrize("pixels", [16, SPILL_LENGTH * 2])
def test_a_damaged_object_leaves_nothing(
    tmp_path: Path, make: Make, encode: Encode, put: Put, files: Files, pixels: int
) -> None:
    """S002."""
    data = encode(make(PixelData=bytes(pixels)))
    with LocalFolder(tmp_path) as local, Intake(local, FolderStorage.of(local)) as intake:
        assert status_of(lambda: put(intake, data[:-1])) == 0xC000
        assert status_of(lambda: put(intake, b"")) in (0xA900, 0xC000)
        session = intake.open(CT, NAME.instance, ExplicitVRLittleEndian)
        session.write(memoryview(data))
        session.abort()
        session.abort()
        assert staged_in(tmp_path) == []
    assert files(tmp_path) == ["lock"]


@pytest.mark.parametrize("pixels", [16, SPILL_LENGTH * 2])
def test_the_same_again_and_another_one(
    tmp_path: Path, make: Make, encode: Encode, put: Put, pixels: int
) -> None:
    """S004. Also at once, when the first one has no file yet."""
    with LocalFolder(tmp_path) as local, Intake(local, storage := FolderStorage.of(local)) as intake:
        first = encode(make(PixelData=bytes(pixels)))
        assert put(intake, first) == 0
        assert put(intake, first) == 0
        assert put(intake, encode(make(PatientName="Other", PixelData=bytes(pixels)))) == 0xB000
        assert intake.wait_for_all()
        assert Path(storage.path(NAME)).read_bytes().endswith(first)
        assert len(list(storage.quarantined())) == 1


@pytest.mark.parametrize("pixels", [16, SPILL_LENGTH * 2])
def test_sixteen_senders_of_one_object(
    tmp_path: Path, make: Make, encode: Encode, put: Put, pixels: int
) -> None:
    """S004."""
    data = encode(make(PixelData=bytes(pixels)))
    with LocalFolder(tmp_path) as local, Intake(local, storage := FolderStorage.of(local)) as intake:
        found: list[int] = []
        threads = [threading.Thread(target=lambda: found.append(put(intake, data))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [0] * 16
        assert intake.wait_for_all()
        assert objects_of(storage) == [(("1.2.3", "1.2.3.4"), ["1.2.3.4.5"])]
        assert list(storage.quarantined()) == []
        assert staged_in(tmp_path) == []


FULL = """
import resource, sys, os
from dicomnet.archive.intake import Intake
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.errors import ServiceRefusal
data = open(sys.argv[2], "rb").read()
local = LocalFolder(sys.argv[1])
storage = FolderStorage.of(local)
intake = Intake(local, storage)
def put():
    session = intake.open("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5", "1.2.840.10008.1.2.1")
    try:
        for at in range(0, len(data), 65536):
            session.write(memoryview(data)[at:at + 65536])
        return session.commit()
    except ServiceRefusal as refusal:
        assert sys.argv[1] not in str(refusal)
        return refusal.status
def staged():
    return sum(os.stat(f"{sys.argv[1]}/staging/{name}").st_size > 0 for name in os.listdir(sys.argv[1] + "/staging"))
before = len(os.listdir("/proc/self/fd"))
kind = resource.RLIMIT_FSIZE if sys.argv[3] == "space" else resource.RLIMIT_NOFILE
limits = resource.getrlimit(kind)
resource.setrlimit(kind, (len(data) // 2 if sys.argv[3] == "space" else before, limits[1]))
print(hex(put()), staged() if sys.argv[3] == "space" else 0)
resource.setrlimit(kind, limits)
print(staged(), hex(put()), intake.close(), len(os.listdir("/proc/self/fd")) - before)
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
    assert done.stdout.splitlines() == ["0xa700 0", "0 0x0 True 0"]


@pytest.mark.parametrize("pixels", [16, SPILL_LENGTH * 2])
def test_a_folder_of_the_journal_that_cannot_be_made(
    tmp_path: Path, make: Make, encode: Encode, put: Put, pixels: int
) -> None:
    data = encode(make(PixelData=bytes(pixels)))
    with LocalFolder(tmp_path) as local, Intake(local, storage := FolderStorage.of(local)) as intake:
        (tmp_path / "journal").write_text("in the way")
        assert status_of(lambda: put(intake, data)) == 0xA700
        assert staged_in(tmp_path) == []
        os.unlink(tmp_path / "journal")
        assert put(intake, data) == 0
        assert intake.wait_for_all()
        assert Path(storage.path(NAME)).read_bytes().endswith(data)


@pytest.mark.parametrize("pixels", [16, SPILL_LENGTH * 2])
def test_a_folder_of_objects_that_cannot_be_written_keeps_nobody_out(
    tmp_path: Path, make: Make, encode: Encode, put: Put, pixels: int
) -> None:
    """The object is acknowledged, as the journal has it, and filed when that is possible again."""
    data = encode(make(PixelData=bytes(pixels)))
    with LocalFolder(tmp_path) as local, Intake(local, storage := FolderStorage.of(local)) as intake:
        os.rename(tmp_path / "objects", tmp_path / "away")
        (tmp_path / "objects").write_text("in the way")
        assert put(intake, data) == 0
        assert not intake.wait_for_all()
        os.unlink(tmp_path / "objects")
        os.rename(tmp_path / "away", tmp_path / "objects")
        wait_until(intake.wait_for_all, 10, "it is filed")
        assert Path(storage.path(NAME)).read_bytes().endswith(data)
        assert put(intake, data) == 0


def test_what_is_acknowledged_survives_kill_9(tmp_path: Path, make: Make, encode: Encode, put: Put) -> None:
    """S001."""
    script = (
        "import sys, hashlib\n"
        "from dicomnet.archive.intake import Intake\n"
        "from dicomnet.archive.local import LocalFolder\n"
        "from dicomnet.archive.storage.folder import FolderStorage\n"
        "data = open(sys.argv[2], 'rb').read(); local = LocalFolder(sys.argv[1])\n"
        "intake = Intake(local, FolderStorage.of(local))\n"
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
    with (
        LocalFolder(tmp_path / "store") as local,
        Intake(local, storage := FolderStorage.of(local)) as intake,
    ):
        intake.recover()
        for uid, digest in acknowledged:
            whole = Path(storage.path(ObjectName("1.2.3", "1.2.3.4", uid))).read_bytes()
            assert hashlib.sha256(whole[decode_file_header(whole).offset :]).hexdigest() == digest


def test_a_session_is_used_once(tmp_path: Path, make: Make, encode: Encode) -> None:
    data = memoryview(encode(make()))
    with LocalFolder(tmp_path) as local, Intake(local, FolderStorage.of(local)) as intake:
        done = intake.open(CT, NAME.instance, ExplicitVRLittleEndian)
        done.write(data)
        assert done.commit() == 0
        dropped = intake.open(CT, NAME.instance, ExplicitVRLittleEndian)
        dropped.abort()
        for session in (done, dropped):
            with pytest.raises(ValueError):
                session.write(data)
            with pytest.raises(ValueError):
                session.commit()


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


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(
    st.lists(st.lists(SENT, min_size=1, max_size=8), min_size=1, max_size=3),
    st.integers(0, 8),
    st.sampled_from(OtherContent),
)
@example([[OBJECT, OBJECT, Sent(2), OBJECT]], 2, OtherContent.KEEP_FIRST)
@example([[OBJECT, OTHER, OTHER, Sent(2), OBJECT]], 2, OtherContent.KEEP_FIRST)
@example([[OBJECT, OTHER, OTHER, Sent(2), OBJECT]], 2, OtherContent.REPLACE)
@example([[OBJECT, OTHER, OTHER, Sent(2), OBJECT]], 2, OtherContent.REFUSE)
@example([[OBJECT, ELSEWHERE, Sent(2), ELSEWHERE, OBJECT], [ELSEWHERE, OBJECT]], 2, OtherContent.KEEP_FIRST)
@example([[OBJECT, ELSEWHERE, Sent(2), ELSEWHERE, OBJECT], [ELSEWHERE, OBJECT]], 2, OtherContent.REPLACE)
@example([[OBJECT, ELSEWHERE, Sent(2), ELSEWHERE, OBJECT], [ELSEWHERE, OBJECT]], 2, OtherContent.REFUSE)
@example(
    [[OBJECT], [ELSEWHERE, Sent(2, study=2), Sent(3, fault="cut"), Sent(4, is_large=True)]],
    3,
    OtherContent.KEEP_FIRST,
)
@example(
    [[Sent(number % 3 + 1, fault=fault) for number, fault in enumerate(["", "cut", "", "class", "study"])]],
    0,
    OtherContent.KEEP_FIRST,
)
@example(
    [[Sent(number, is_large=number % 2 == 0, fault="cut" if number % 3 else "") for number in range(1, 9)]],
    8,
    OtherContent.KEEP_FIRST,
)
def test_objects_that_are_committed_together_are_each_for_itself(
    kind: str,
    make: Make,
    encode: Encode,
    send: Send,
    groups: list[list[Sent]],
    places: int,
    other_content: OtherContent,
) -> None:
    """The answers and the archive are those of one after another, also where some are placed before the others came."""
    good = {
        OtherContent.KEEP_FIRST: (0, 0xB000),
        OtherContent.REPLACE: (0,),
        OtherContent.REFUSE: (0, 0x0111),
    }
    before = descriptors()
    with (
        new_archive_on(KINDS[kind](), other_content=other_content) as together,
        new_archive_on(KINDS[kind](), other_content=other_content) as alone,
    ):
        for group in groups:
            sessions = [sent.session(together.intake, make, encode, send) for sent in group]
            for session in sessions[: places % (len(sessions) + 1)]:
                session.place()
            outcomes = statuses_of(together.intake.commit(sessions))
            expected = [status_of(sent.session(alone.intake, make, encode, send).commit) for sent in group]
            assert outcomes == expected
            found = [archive.contents() for archive in (together, alone)]
            if other_content is OtherContent.REPLACE:
                # What is said of a study that loses objects depends on which of them were filed at a time.
                for archive, contents in zip((together, alone), found, strict=True):
                    contents["rows"] = indexed_in(archive.index)
            assert found[0] == found[1]
            for sent, outcome in zip(group, outcomes, strict=True):
                assert outcome in {"": good[other_content], "cut": (0xC000,)}.get(sent.fault, (0xA900,))
        contents = together.contents()
        # What is in the index is in the store, once, and nothing else is.
        objects = [uid for _, instances in objects_of(together.storage) for uid in instances]
        assert len(objects) == len(set(objects)) == len(contents["rows"])
        assert contents["staged"] == []
        assert contents["needs recovery"] is False
    assert descriptors() <= before


@pytest.mark.parametrize("is_large", [False, True])
def test_the_index_knows_who_sent_an_object_and_what_its_file_was(
    make: Make, encode: Encode, send: Send, is_large: bool
) -> None:
    begun = time()
    with new_archive() as archive:
        session = Sent(1, is_large=is_large).session(archive.intake, make, encode, send)
        assert session.commit() == 0
        assert archive.intake.wait_for_all()
        (whole,) = files_of(archive.root).values()
        of, who = schema.instance.c, schema.source.c
        with archive.index.reading() as connection:
            row = connection.execute(
                select(
                    of.size, of.digest, of.stored_at, of.location, who.ae_title, who.address, who.way
                ).join(schema.source, who.id == of.source)
            ).one()
    assert row[:2] == (len(whole), hashlib.sha256(whole).hexdigest())
    assert begun - 1 <= row.stored_at / 1000 <= time() + 1
    assert row.location is None
    assert Source(*row[4:]) == SENDER


def test_nothing_is_committed() -> None:
    with new_archive() as archive:
        assert archive.intake.commit([]) == []
        with (
            LocalFolder(archive.root / "other", sync=False) as local,
            Intake(local, FolderStorage.of(local)) as intake,
        ):
            assert intake.commit([]) == []


def test_objects_together_need_no_more_descriptors_than_one(
    tmp_path: Path, make: Make, encode: Encode
) -> None:
    """Those that wait in memory for their turn have no file yet."""
    (tmp_path / "object").write_bytes(encode(make(SOPInstanceUID="1.2.3.4.55")))
    script = """
import os, resource, sys
from dicomnet.archive.intake import Intake
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
data = open(sys.argv[2], "rb").read()
local = LocalFolder(sys.argv[1])
intake = Intake(local, FolderStorage.of(local))
def group(first):
    for number in range(first, first + 16):
        uid = f"1.2.3.4.{number}"
        session = intake.open("1.2.840.10008.5.1.4.1.1.2", uid, "1.2.840.10008.1.2.1")
        session.write(memoryview(data.replace(b"1.2.3.4.55", uid.encode())))
        yield session
sessions = list(group(10))
used = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (used + 3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
print(intake.commit(sessions), intake.commit(list(group(30))), intake.wait_for_all())
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "store", tmp_path / "object"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == f"{[0] * 16} {[0] * 16} True"


def test_a_journal_that_cannot_be_flushed(
    make: Make, encode: Encode, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the group is acknowledged or kept, and whoever sends it again gets it in."""
    group = [Sent(number, series=1 + number % 2, is_large=number % 3 == 0) for number in range(1, 7)]
    flush = os.fdatasync

    def fail(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".segment"):
            raise OSError(errno.EIO, "the medium is broken")
        flush(descriptor)

    with new_archive(sync=True) as archive:
        intake = archive.intake
        assert send(intake, Sent(7).data(make, encode), instance=Sent(7).uid).commit() == 0
        before = archive.contents()
        sessions = [sent.session(intake, make, encode, send) for sent in group]
        with monkeypatch.context() as patch:
            patch.setattr(journal_module, "_flush_data", fail)
            assert statuses_of(intake.commit(sessions)) == [0xA700] * 6
        assert archive.contents() == before
        numbers = [record.description for record in journal_module.read(archive.local.journals / "0")]
        assert len(numbers) == 1
        again = [sent.session(intake, make, encode, send) for sent in group]
        assert statuses_of(intake.commit(again)) == [0] * 6
        contents = archive.contents()
        assert (len(contents["rows"]), len(contents["files"]), contents["staged"]) == (7, 7, [])


def test_an_index_that_is_locked_keeps_nobody_out(make: Make, encode: Encode, send: Send) -> None:
    group = [Sent(number, study=1 + number % 2, is_large=number % 3 == 0) for number in range(1, 7)]
    with new_archive() as archive:
        intake = archive.intake
        sessions = [sent.session(intake, make, encode, send) for sent in [*group, Sent(7, fault="cut")]]
        other = sqlite3.connect(archive.root / "index.sqlite", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        assert statuses_of(intake.commit(sessions)) == [*[0] * 6, 0xC000]
        assert not intake.wait_for_all()
        assert not archive.local.needs_recovery
        other.execute("ROLLBACK")
        other.close()
        wait_until(intake.wait_for_all, 10, "the index was written")
        contents = archive.contents()
        assert (len(contents["rows"]), len(contents["files"]), contents["staged"]) == (6, 6, [])
        assert contents["needs recovery"] is False


def test_an_index_that_cannot_be_read_refuses_all_of_a_group(
    make: Make, encode: Encode, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether another object has one of the UIDs is not known then."""
    group = [Sent(number, is_large=number % 2 == 0) for number in range(1, 5)]
    with new_archive() as archive:
        intake = archive.intake
        other = sqlite3.connect(archive.root / "index.sqlite", isolation_level=None)
        other.execute("ALTER TABLE instance RENAME TO away")
        sessions = [sent.session(intake, make, encode, send) for sent in group]
        assert statuses_of(intake.commit(sessions)) == [0xA700] * 4
        other.execute("ALTER TABLE away RENAME TO instance")
        other.close()
        contents = archive.contents()
        assert (contents["rows"], contents["files"], contents["staged"]) == ([], {}, [])
        again = [sent.session(intake, make, encode, send) for sent in group]
        assert statuses_of(intake.commit(again)) == [0] * 4
        assert len(archive.contents()["rows"]) == 4


def test_an_index_with_a_defect_leaves_nothing_open(
    tmp_path: Path, make: Make, encode: Encode, send: Send, broken_index: Catalogue
) -> None:
    group = [Sent(1), Sent(2, is_large=True), Sent(3, is_large=True, fault="cut"), Sent(4, fault="cut")]
    with (
        LocalFolder(tmp_path) as local,
        Intake(local, storage := FolderStorage.of(local), broken_index) as intake,
    ):
        before = descriptors()
        sessions = [sent.session(intake, make, encode, send) for sent in group]
        with pytest.raises(LookupError, match="2 objects"):
            intake.commit(sessions)
        assert staged_in(tmp_path) == []
        assert descriptors() <= before
        assert objects_of(storage) == []
        assert not local.needs_recovery
        for session in sessions:
            with pytest.raises(ValueError):
                session.commit()
        # And nobody has to wait for the UIDs of those.
        intake.catalogue = None
        again = [sent.session(intake, make, encode, send) for sent in group[:2]]
        assert statuses_of(intake.commit(again)) == [0, 0]


def test_what_was_placed_and_never_committed_leaves_nothing(make: Make, encode: Encode, send: Send) -> None:
    """Its association ended in between."""
    with new_archive(sync=True) as archive:
        for sent in (
            Sent(1),
            Sent(2, is_large=True),
            Sent(3, fault="cut"),
            Sent(4, is_large=True, fault="cut"),
        ):
            session = sent.session(archive.intake, make, encode, send)
            session.place()
            session.place()
            session.abort()
            with pytest.raises(ValueError):
                session.place()
        contents = archive.contents()
        assert (contents["rows"], contents["files"], contents["staged"]) == ([], {}, [])
        assert contents["needs recovery"] is False
        assert not archive.local.journals.exists()
        assert Sent(1).session(archive.intake, make, encode, send).commit() == 0


def test_a_session_that_is_over_among_others(tmp_path: Path, make: Make, encode: Encode, send: Send) -> None:
    with LocalFolder(tmp_path) as local, Intake(local, FolderStorage.of(local)) as intake:
        before = descriptors()
        sessions = [
            sent.session(intake, make, encode, send) for sent in (Sent(1), Sent(2), Sent(3, is_large=True))
        ]
        sessions[1].abort()
        with pytest.raises(ValueError, match="over"):
            intake.commit(sessions)
        assert staged_in(tmp_path) == []
        assert descriptors() <= before


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", FORMS)
@pytest.mark.parametrize("pixels", [64, 3 * SPILL_LENGTH])
def test_the_same_object_in_another_form_is_the_same_object(
    kind: str, make: Make, encode: Encode, put: Put, first: str, pixels: int
) -> None:
    """One copy, in the form that came first, and the index says so."""
    whole = {"PixelData": bytes(range(16)) * (pixels // 16)}
    forms = _forms(make, encode, **whole)
    others = [_forms(make, encode, **whole | change) for change in ({"PatientID": "P2"}, {"Rows": 3})]
    others.append(_forms(make, encode, PixelData=whole["PixelData"][:-1] + b"\0"))
    with new_archive_on(KINDS[kind]()) as archive:
        intake = archive.intake
        assert put(intake, forms[first], syntax=first) == 0
        before = archive.contents()
        for syntax, data in forms.items():
            assert put(intake, data, syntax=syntax) == 0
        assert archive.contents() == before
        assert len(before["files"]) == len(before["rows"]) == 1
        for syntax in FORMS:
            for other in others:
                assert status_of(partial(put, intake, other[syntax], syntax=syntax)) == 0xB000
        kept = next(path for path in before["files"] if path.startswith("objects"))
        assert archive.contents()["files"][kept] == before["files"][kept]
        assert archive.contents()["rows"] == before["rows"]
        assert len(list(archive.storage.quarantined())) == len(others) * len(FORMS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("turn", range(3))
def test_sixteen_senders_of_one_object_in_four_forms(
    kind: str, make: Make, encode: Encode, put: Put, turn: int
) -> None:
    """The row of the index tells the transfer syntax of the file, whichever thread comes first."""
    forms = _forms(make, encode)
    with new_archive_on(KINDS[kind]()) as archive:
        intake = archive.intake
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
        assert not archive.local.needs_recovery


def test_a_damaged_file_of_the_store_is_no_form_of_an_object(make: Make, encode: Encode, put: Put) -> None:
    """What somebody has cut off in the store is another object than the one that comes, and nothing raises."""
    forms = _forms(make, encode)
    with new_archive() as archive:
        intake = archive.intake
        assert put(intake, forms[EXPLICIT]) == 0
        assert intake.wait_for_all()
        path = archive.storage.path(NAME)
        for length in (os.path.getsize(path) - 1, 400, 200, 100, 0):
            os.truncate(path, length)
            assert status_of(lambda: put(intake, forms[IMPLICIT], syntax=IMPLICIT)) == 0xB000


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        (b"\0", "zeros behind the last element"),
        (bytes(4096), "zeros behind the last element"),
        (b"\2\0\x10\0UI\4\0" + b"1.2\0", "file meta information"),
        (b"\0\0\0\x09US\2\0\0\0", "elements of a command set"),
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
    with (
        LocalFolder(tmp_path / "tolerant", sync=False) as local,
        Intake(local, FolderStorage.of(local)) as intake,
    ):
        assert put(intake, data) == 0
        assert intake.wait_for_all()
        (warning,) = [each for each in caplog.records if each.levelname == "WARNING"]
        assert words in warning.getMessage()
        assert make().SOPInstanceUID in warning.getMessage()
        (kept,) = [path for path in (tmp_path / "tolerant" / "objects").rglob("*") if path.is_file()]
        assert kept.read_bytes().endswith(data)
        # The same once more is the same object.
        assert put(intake, data) == 0
    with (
        LocalFolder(tmp_path / "strict", sync=False) as local,
        Intake(local, FolderStorage.of(local), is_strict=True) as intake,
        pytest.raises(ServiceRefusal) as refusal,
    ):
        put(intake, data)
    assert refusal.value.status == 0xC000


TRACED = """
import os, sys
from pathlib import Path
from dicomnet.archive import journal
from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.intake import Intake
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
# So that segments are full soon, and used again.
journal.SEGMENT_LENGTH = 1 << 12
root = Path(sys.argv[1])
small, large = ((root / name).read_bytes() for name in ("small", "large"))
local, index = LocalFolder(root / "store"), Index(root / "store" / "index.sqlite")
intake = Intake(local, FolderStorage.of(local), index)
def put(number, data):
    sys.stderr.write(f"begin {number}.")
    uid = f"1.2.3.4.{number}"
    session = intake.open("1.2.840.10008.5.1.4.1.1.2", uid, "1.2.840.10008.1.2.1")
    session.write(memoryview(data.replace(b"1.2.3.4.55", uid.encode())))
    assert session.commit() == 0
    sys.stderr.write(f"acknowledged {number}.")
    assert intake.wait_for_all()
    sys.stderr.write(f"filed {number}.")
for number in range(10, 50):
    put(number, small)
put(50, large)
sys.stderr.write("begin close.")
assert intake.close()
"""


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, make: Make, encode: Encode) -> list[Call]:
    """The system calls of a process that stores objects in memory, then a large one."""
    folder = tmp_path_factory.mktemp("traced")
    for name, pixels in (("small", 16), ("large", 2 * SPILL_LENGTH)):
        (folder / name).write_bytes(encode(make(SOPInstanceUID="1.2.3.4.55", PixelData=bytes(pixels))))
    names = "trace=fdatasync,fsync,syncfs,link,linkat,unlink,write,pwrite64,pwritev2,writev,openat"
    subprocess.run(
        [
            "strace",
            "-fy",
            "-s",
            "4096",
            "-e",
            names,
            "-o",
            folder / "trace",
            sys.executable,
            "-c",
            TRACED,
            folder,
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return [call for call in calls_of(folder / "trace") if call.has_succeeded]


def _between(calls: list[Call], begin: str, end: str) -> list[Call]:
    """The calls that were begun after one text was written, and had ended before another one was."""
    [first] = [call for call in calls if call.name == "write" and begin in call.text]
    [last] = [call for call in calls if call.name == "write" and end in call.text]
    return [call for call in calls if first.end < call.begin and call.end < last.begin]


def _flushes(calls: list[Call]) -> list[Call]:
    return [call for call in calls if call.name in ("fdatasync", "fsync", "syncfs")]


def test_one_flush_of_the_journal_is_on_the_way_to_an_answer(traced: list[Call]) -> None:
    """S001. All of the record is written before it; what else has to be flushed is flushed behind the answer."""
    # The first one makes the journal, and others the further segments.
    usual = 0
    for number in range(10, 50):
        calls = _between(traced, f"begin {number}.", f"acknowledged {number}.")
        records = [call for call in calls if call.name == "pwritev2" and ".segment" in call.text]
        assert f"1.2.3.4.{number}" in records[-1].text
        flushes = _flushes(calls)
        behind = [call for call in flushes if call.path == records[-1].path and records[-1].end < call.begin]
        assert "fdatasync" in [call.name for call in behind]
        # The thread that files may just be making a segment free.
        usual += len(flushes) == 1
    assert usual > 10


def test_a_large_object_is_on_the_medium_before_its_record_is(traced: list[Call]) -> None:
    """S001. Its staged file has the content, and a name that survives, when the journal says that it is there."""
    calls = _between(traced, "filed 49.", "acknowledged 50.")
    written = [call for call in calls if call.name == "writev" and "/staging/" in call.text]
    path = written[0].path
    [made] = [
        call for call in traced if call.name == "openat" and f'{path}"' in call.text and "O_EXCL" in call.text
    ]
    assert any(
        call.path == path.parent and made.end < call.begin < written[0].begin for call in _flushes(traced)
    )
    [flushed] = [call for call in _flushes(calls) if call.path == path]
    assert written[-1].end < flushed.begin
    [record] = [call for call in calls if call.name == "pwritev2" and path.name in call.text]
    assert flushed.end < record.begin
    assert any(call.path == record.path and record.end < call.begin for call in _flushes(calls))


def test_a_segment_is_used_again_when_what_was_in_it_is_durable_elsewhere(traced: list[Call]) -> None:
    """First the files, then the index, and only then the mark that frees the segment, which is durable, too."""
    marks = [
        call
        for call in traced
        if call.name == "pwrite64" and ".segment" in call.text and call.text.endswith(", 28, 0) = 28")
    ]
    assert len({call.path for call in marks}) < len(marks), "one is used again, and freed again"
    linked = {
        call.text.split('"')[3].rpartition("/")[2]: call for call in traced if call.name.startswith("link")
    }
    last: dict[Path, int] = {}
    for mark in marks:
        before = [call for call in traced if last.get(mark.path, -1) < call.begin and call.end < mark.begin]
        synced = [call for call in before if call.name == "syncfs"][-1]
        indexed = [call for call in before if call.name == "fsync" and "index.sqlite" in call.text][-1]
        assert synced.end < indexed.begin <= indexed.end < mark.begin
        records = [call for call in before if call.name == "pwritev2" and call.path == mark.path]
        instances = {instance for call in records for instance in re.findall(r"1\.2\.3\.4\.\d\d", call.text)}
        assert len(instances) > 2
        assert all(linked[f"{instance}.dcm"].end < synced.begin for instance in instances)
        after = [call for call in traced if call.begin > mark.end]
        flushed = next(call for call in after if call.name == "fdatasync" and call.path == mark.path)
        assert not [
            call
            for call in after
            if call.path == mark.path and call.name == "pwritev2" and call.begin < flushed.end
        ]
        last[mark.path] = mark.end


def test_the_journal_is_removed_when_all_is_durable(traced: list[Call]) -> None:
    [begin] = [call for call in traced if call.name == "write" and "begin close." in call.text]
    calls = [call for call in traced if call.begin > begin.end]
    removed = [call for call in calls if call.name == "unlink" and ".segment" in call.text]
    assert removed
    synced = [call for call in calls if call.name == "syncfs"]
    indexed = [call for call in calls if call.name == "fsync" and "index.sqlite" in call.text]
    # A segment that has just been full may be freed in the same way before.
    assert synced[-1].end < indexed[-1].begin
    assert indexed[-1].end < removed[0].begin
    assert not list(Path(removed[0].text.split('"')[1]).parent.parent.glob("*"))


@pytest.fixture
def memory_disk() -> Iterator[Path]:
    """A folder on a RAM disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_on_a_ram_disk_an_object_has_its_file_when_it_is_acknowledged(
    memory_disk: Path, make: Make, encode: Encode, put: Put, send: Send
) -> None:
    """There is nothing to flush, and so nothing to gain by a journal, which costs as much as the file."""
    data = [
        encode(make(PixelData=bytes(length), SOPInstanceUID=f"1.2.3.{length}")) for length in (16, 99_000)
    ]
    with LocalFolder(memory_disk) as local, Intake(local, FolderStorage.of(local)) as intake:
        for each, length in zip(data, (16, 99_000), strict=True):
            name = ObjectName(NAME.study, NAME.series, f"1.2.3.{length}")
            assert put(intake, each, instance=name.instance) == 0
            assert Path(FolderStorage.of(local).path(name)).read_bytes().endswith(each)
            assert put(intake, each, instance=name.instance) == 0
            other = encode(make(PixelData=bytes(length), SOPInstanceUID=name.instance, PatientID="other"))
            assert put(intake, other, instance=name.instance) == 0xB000
        assert not local.journals.exists()
        assert intake.wait_for_all()
        # An index that is made later has to be compared with them.
        assert local.needs_recovery
    assert not list((memory_disk / "staging").iterdir())


def test_on_a_ram_disk_an_object_that_has_no_room_is_refused_alone(
    memory_disk: Path, make: Make, encode: Encode, send: Send
) -> None:
    lengths = (16, 30_000, 18)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with LocalFolder(memory_disk) as local, Intake(local, FolderStorage.of(local)) as intake:
        sessions = [
            send(
                intake,
                encode(make(PixelData=bytes(length), SOPInstanceUID=f"1.2.3.{length}")),
                instance=f"1.2.3.{length}",
            )
            for length in lengths
        ]
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        try:
            outcomes = intake.commit(sessions)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert statuses_of(outcomes) == [0, 0xA700, 0]
        [(_, instances)] = objects_of(FolderStorage.of(local))
        assert set(instances) == {"1.2.3.16", "1.2.3.18"}
