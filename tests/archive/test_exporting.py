"""Export: copies of what is stored, byte for byte; nothing is replaced without being asked, or there by half."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnet.archive.exporting import Export, FolderTarget, Target, Written, ZipTarget
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.store import ObjectName
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.encoding.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from dicomnet.errors import UnusableObject


def _name(number: int) -> ObjectName:
    return ObjectName("1.2.3", "1.2.3.4", f"1.2.3.4.{number}")


@pytest.fixture
def storage(
    tmp_path: Path, make: Callable[..., Dataset], encode: Callable[..., bytes]
) -> Iterator[FolderStorage]:
    """A store with three objects, one of them long."""
    with LocalFolder(tmp_path / "store") as local:
        opened = FolderStorage.of(local)
        for number in range(3):
            data_set = make(
                SOPInstanceUID=_name(number).instance, PixelData=bytes(3_000_000 if number == 2 else 2)
            )
            header = encode_file_header(
                data_set.SOPClassUID, data_set.SOPInstanceUID, EXPLICIT_VR_LITTLE_ENDIAN
            )
            assert opened.keep(_name(number), (header, encode(data_set)))
        yield opened


def _content(storage: FolderStorage, number: int) -> bytes:
    return Path(storage.path(_name(number))).read_bytes()


def _below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_objects_are_copied_under_their_uids(tmp_path: Path, storage: FolderStorage) -> None:
    out = tmp_path / "a" / "b"
    export = Export(storage, FolderTarget(out, replaces=False))
    for number in range(3):
        size = len(_content(storage, number))
        path = out / "1.2.3" / "1.2.3.4" / f"1.2.3.4.{number}.dcm"
        assert export.copy(_name(number), size) == (Written.WRITTEN, str(path), size)
    export.finish()
    assert _below(out) == {
        f"1.2.3/1.2.3.4/1.2.3.4.{number}.dcm": _content(storage, number) for number in range(3)
    }


def test_files_that_are_there_are_replaced_only_if_that_is_wanted(
    tmp_path: Path, storage: FolderStorage
) -> None:
    export = Export(storage, FolderTarget(tmp_path / "out", replaces=False))
    for number in range(3):
        export.copy(_name(number), None)
    folder = tmp_path / "out" / "1.2.3" / "1.2.3.4"
    changed = bytearray(_content(storage, 2))
    changed[2_000_000] ^= 1
    (folder / "1.2.3.4.2.dcm").write_bytes(changed)
    (folder / "1.2.3.4.1.dcm").unlink()
    (folder / "1.2.3.4.1.dcm").symlink_to(tmp_path / "nowhere")
    outcomes = [export.copy(_name(number), None)[0] for number in range(3)]
    assert outcomes == [Written.SAME, Written.IN_THE_WAY, Written.IN_THE_WAY]
    assert (folder / "1.2.3.4.2.dcm").read_bytes() == changed
    export = Export(storage, FolderTarget(tmp_path / "out", replaces=True))
    assert {export.copy(_name(number), None)[0] for number in range(3)} == {Written.WRITTEN}
    assert list(_below(folder).values()) == [
        _content(storage, int(name.split(".")[4])) for name in _below(folder)
    ]
    assert not (tmp_path / "nowhere").exists()


def test_what_an_interrupted_export_has_left_is_not_in_the_way(
    tmp_path: Path, storage: FolderStorage
) -> None:
    folder = tmp_path / "out" / "1.2.3" / "1.2.3.4"
    folder.mkdir(parents=True)
    (folder / "1.2.3.4.0.dcm.part").symlink_to(tmp_path / "elsewhere")
    assert Export(storage, FolderTarget(tmp_path / "out", replaces=False)).copy(_name(0), None)
    assert _below(folder) == {"1.2.3.4.0.dcm": _content(storage, 0)}
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("is_zip", [False, True])
@pytest.mark.parametrize("damage", ["gone", "short", "folder"])
def test_an_object_that_cannot_be_read_leaves_nothing(
    tmp_path: Path, storage: FolderStorage, damage: str, is_zip: bool
) -> None:
    path = Path(storage.path(_name(0)))
    size = path.stat().st_size
    if damage == "short":
        os.truncate(path, size - 1)
    else:
        path.unlink()
        if damage == "folder":
            path.mkdir()
    out = tmp_path / "out"
    target: Target = ZipTarget(out, replaces=False) if is_zip else FolderTarget(out, replaces=False)
    export = Export(storage, target)
    why = {"gone": "is missing", "short": f"{size - 1} bytes instead of {size}", "folder": "cannot be read"}
    with pytest.raises(UnusableObject, match=why[damage]):
        export.copy(_name(0), size)
    export.copy(_name(1), None)
    export.finish()
    target.close()
    if is_zip:
        assert zipfile.ZipFile(out).namelist() == ["1.2.3/1.2.3.4/1.2.3.4.1.dcm"]
    else:
        assert list(_below(out)) == ["1.2.3/1.2.3.4/1.2.3.4.1.dcm"]


def test_a_zip_file_is_there_when_it_is_complete(tmp_path: Path, storage: FolderStorage) -> None:
    path = tmp_path / "out.zip"
    target = ZipTarget(path, replaces=False)
    export = Export(storage, target)
    for number in range(3):
        assert export.copy(_name(number), None)[0] is Written.WRITTEN
    assert not path.exists()
    export.finish()
    target.close()
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        assert {name: file.read(name) for name in file.namelist()} == {
            f"1.2.3/1.2.3.4/1.2.3.4.{number}.dcm": _content(storage, number) for number in range(3)
        }
    with pytest.raises(FileExistsError):
        ZipTarget(path, replaces=False)
    given_up = ZipTarget(path, replaces=True)
    Export(storage, given_up).copy(_name(0), None)
    given_up.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.zip", "store"]
    assert len(zipfile.ZipFile(path).namelist()) == 3


def test_a_file_set_has_a_dicomdir_of_what_was_written(tmp_path: Path, storage: FolderStorage) -> None:
    export = Export(storage, FolderTarget(tmp_path / "out", replaces=False), is_file_set=True)
    export.copy(_name(0), None)
    with pytest.raises(UnusableObject, match="removed"):
        export.copy(_name(9), None)
    export.copy(_name(2), None)
    export.finish()
    records = dcmread(tmp_path / "out" / "DICOMDIR").DirectoryRecordSequence
    files = {
        record.ReferencedSOPInstanceUIDInFile: tmp_path.joinpath("out", *record.ReferencedFileID)
        for record in records
        if record.DirectoryRecordType == "IMAGE"
    }
    assert {uid: path.read_bytes() for uid, path in files.items()} == {
        _name(number).instance: _content(storage, number) for number in (0, 2)
    }


def test_without_an_object_there_is_no_dicomdir(tmp_path: Path, storage: FolderStorage) -> None:
    export = Export(storage, FolderTarget(tmp_path / "out", replaces=False), is_file_set=True)
    with pytest.raises(UnusableObject):
        export.copy(_name(9), None)
    export.finish()
    assert not (tmp_path / "out").exists()
