"""Which files a store finds, and what it says of those that it does not send."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.associations import ct_image

from dicomnet.drivers.files import StoredObject
from dicomnet.exchange import files
from dicomnet.exchange.files import find_files
from dicomnet.exchange.results import StoreResult
from dicomnet.exchange.searching import scan


def test_files_come_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a/3", "c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [str(Path(each).relative_to(tmp_path)) for each in find_files([tmp_path])]
    assert found == ["c", "a/3", "b/1", "b/2"]
    with pytest.raises(FileNotFoundError):
        list(find_files([tmp_path / "nothing"]))


@pytest.mark.parametrize("count", [1, 5, 9, 10, 11, 19, 20, 21, 64])
def test_a_folder_of_very_many_files_is_read_in_parts(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All their names were kept: a million files in one folder took 130 MB."""
    monkeypatch.setattr(files, "NAMES_TOGETHER", 10)
    names = [f"{number * 7919 % 1000:03}" for number in range(count)]
    for name in names:
        (tmp_path / name).touch()
    for name in ("0folder", "50folder", "folder"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").touch()
    inside = [f"{name}/a" for name in ("0folder", "50folder", "folder")]
    found = [str(Path(each).relative_to(tmp_path)) for each in find_files([tmp_path])]
    assert found == [*sorted(names), *inside]


def test_what_can_be_sent_and_what_not(tmp_path: Path) -> None:
    image = ct_image(10)
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(tmp_path / "image", enforce_file_format=True)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("text")
    (tmp_path / "folder").mkdir()
    found = list(scan(str(tmp_path / name) for name in ("image", "pipe", "text", "folder", "nothing")))
    assert isinstance(found[0], StoredObject)
    assert [type(each) for each in found[1:]] == [StoreResult] * 4
    assert [each.is_skipped for each in found[1:] if isinstance(each, StoreResult)] == [
        True,
        True,
        False,
        False,
    ]


def test_linked_folders_were_passed_over(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"")
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "all" / "self").symlink_to(tmp_path / "all")
    assert list(find_files([tmp_path / "all"])) == [str(tmp_path / "all" / "link" / "a")]
