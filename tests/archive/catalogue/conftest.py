from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.intake import Intake
from dicomnet.archive.storage.files import Storage


@pytest.fixture
def archive(
    tmp_path: Path, encode: Callable[..., bytes], put: Callable[..., int]
) -> Iterator[tuple[Index, Callable[[Dataset], None]]]:
    """An empty archive, and how to store an object in it."""
    with (
        Storage(tmp_path / "store", sync=False) as storage,
        Index(tmp_path / "index") as index,
        Intake(storage, index) as intake,
    ):

        def store(data_set: Dataset) -> None:
            put(intake, encode(data_set), instance=data_set.SOPInstanceUID)
            assert intake.wait_for_all()

        yield index, store
