from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomnet.archive.intake import SPILL_LENGTH, Intake
from dicomnet.archive.storage import ObjectName, Storage
from dicomnet.dimse.file_format import decode_file_header
from dicomnet.errors import ServiceRefusal

NAME = ObjectName("1.2.3", "1.2.3.4", "1.2.3.4.5")
CT = "1.2.840.10008.5.1.4.1.1.2"

Make = Callable[..., Dataset]
Encode = Callable[..., bytes]
Put = Callable[..., int]
Files = Callable[[Path], list[str]]


def _status(call: Callable[[], int]) -> int:
    try:
        return call()
    except ServiceRefusal as refusal:
        return refusal.status


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
from dicomnet.archive.storage import Storage
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
        "from dicomnet.archive.storage import Storage\n"
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
