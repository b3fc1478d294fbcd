from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_charset_files, get_testdata_files
from pydicom.dataset import Dataset

from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.intake import Intake
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.encoding.file_header import decode_file_header
from dicomnet.errors import ServiceRefusal, UnusableObject


@pytest.fixture
def archive(
    tmp_path: Path, encode: Callable[..., bytes], put: Callable[..., int]
) -> Iterator[tuple[Index, Callable[[Dataset], None]]]:
    """An empty archive, and how to store an object in it."""
    with (
        LocalFolder(tmp_path / "store", sync=False) as local,
        Index(tmp_path / "index") as index,
        Intake(local, FolderStorage.of(local), index) as intake,
    ):

        def store(data_set: Dataset) -> None:
            put(intake, encode(data_set), instance=data_set.SOPInstanceUID)
            assert intake.wait_for_all()

        yield index, store


@pytest.fixture(scope="session")
def real(
    tmp_path_factory: pytest.TempPathFactory, put: Callable[..., int]
) -> Iterator[tuple[Index, list[Dataset]]]:
    """An archive of pydicom's test files, and what pydicom reads in those it took."""
    root = tmp_path_factory.mktemp("real")
    taken: dict[str, Dataset] = {}
    with (
        LocalFolder(root / "store", sync=False) as local,
        Index(root / "index") as index,
        Intake(local, FolderStorage.of(local), index) as intake,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        for path in sorted(map(Path, get_testdata_files() + get_charset_files())):
            if not path.is_file():
                continue
            try:
                whole = path.read_bytes()
                header = decode_file_header(whole)
                if not header.transfer_syntax_uid:
                    continue
                read = pydicom.dcmread(path)
                sop_class, instance = str(read.get("SOPClassUID", "")), str(read.get("SOPInstanceUID", ""))
                syntax = header.transfer_syntax_uid
                if syntax and "." in sop_class:
                    put(intake, whole[header.offset :], sop_class=sop_class, instance=instance, syntax=syntax)
                    taken.setdefault(instance, read)
            except (UnusableObject, ServiceRefusal):
                pass
        assert intake.wait_for_all()
        yield index, list(taken.values())
