"""Import of media: a DICOMDIR stands for its files, by whatever names they are there, and those that are missing are
named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import ANY

import pytest
from pydicom.data import get_testdata_file
from pydicom.fileset import FileSet
from tests.archive.tasks.imports import Import
from tests.faults.objects import write_objects
from tests.support import stored

from dicomnet.archive.tasks.searching import search
from dicomnet.exchange.candidate import Finding

DIRECTORIES = Path(get_testdata_file("DICOMDIR") or "").parent


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """The folder of a File-set of pydicom's, with a file beside that does not belong to it."""
    folder = tmp_path / "media"
    shutil.copytree(DIRECTORIES / "TINY_ALPHA", folder, ignore=shutil.ignore_patterns("README"))
    write_objects(folder, 1, 1)
    return folder


def _members(media: Path) -> dict[str, Path]:
    """The files of a File-set by their SOP Instance UIDs, as pydicom finds them."""
    file_set = FileSet(media / "DICOMDIR")
    try:
        return {str(each.SOPInstanceUID): Path(each.path) for each in file_set}
    finally:
        # It waits for the garbage collection otherwise, and complains.
        file_set._stage["t"].cleanup()


def test_the_files_of_a_dicomdir_are_stored_and_nothing_else(
    tmp_path: Path, media: Path, run: Import
) -> None:
    expected = set(_members(media))
    assert run(media / "DICOMDIR").counts == {"stored": len(expected)}
    assert set(stored(tmp_path / "store")) == expected
    # A folder is searched as a whole.
    assert run(media).counts == {"stored": 1, "already_there": len(expected), "skipped": 1}


@pytest.mark.parametrize("change", [str.lower, lambda name: f"{name};1", lambda name: f"{name.lower()}.;1"])
def test_names_as_other_systems_show_them(
    tmp_path: Path, media: Path, run: Import, change: Callable[[str], str]
) -> None:
    expected = set(_members(media))
    for path in sorted(media.rglob("*"), reverse=True):
        path.rename(path.with_name(change(path.name)))
    (directory,) = (each for each in media.iterdir() if each.name.upper().startswith("DICOMDIR"))
    assert run(directory).counts == {"stored": len(expected)}
    assert set(stored(tmp_path / "store")) == expected


def test_files_that_are_missing_are_named(media: Path, run: Import) -> None:
    gone, folder = list(_members(media).values())[:2]
    gone.unlink()
    folder.unlink()
    folder.mkdir()
    for path in (media / "DICOMDIR", media):
        found = run(path)
        assert found.counts["missing"] == 2
        assert {each["path"] for each in found.items if each["outcome"] == "missing"} == {
            str(gone),
            str(folder),
        }
        assert set(found.reasons("missing").values()) == {"DICOMDIR refers to it"}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("DICOMDIR-bigEnd", None),
        ("DICOMDIR-implicit", None),
        ("DICOMDIR-nooffset", "a damaged DICOMDIR: an item is longer than its sequence"),
        ("DICOMDIR-nopatient", None),
        ("DICOMDIR-reordered", None),
    ],
)
def test_each_dicomdir_of_pydicoms_is_read(
    tmp_path: Path, run: Import, name: str, damage: str | None
) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    shutil.copy(DIRECTORIES / name, folder / "DICOMDIR")
    for each in DIRECTORIES.iterdir():
        if each.is_dir():
            (folder / each.name).symlink_to(each)
    found = run(folder / "DICOMDIR")
    assert found.counts == {"stored": 31, **({"unreadable": 1} if damage else {})}, found.items[:3]
    assert found.reasons("unreadable").get("DICOMDIR") == damage


def test_a_dicomdir_that_leads_out_of_its_folder_finds_nothing(
    tmp_path: Path, media: Path, run: Import
) -> None:
    content = (media / "DICOMDIR").read_bytes()
    (name,) = {path.relative_to(media).parts[0] for path in _members(media).values()}
    shutil.copytree(media / name, tmp_path / name)
    shutil.rmtree(media / name)
    for other in ("..", "../" + name, "/etc", "."):
        padded = other.ljust(len(name)).encode()
        (media / "DICOMDIR").write_bytes(content.replace(name.encode(), padded[: len(name)]))
        assert set(run(media / "DICOMDIR").counts) == {"missing"}


def test_of_a_dicomdir_that_is_cut_off_what_is_there_counts(media: Path, run: Import) -> None:
    expected = _members(media)
    content = (media / "DICOMDIR").read_bytes()
    (media / "DICOMDIR").write_bytes(content[: len(content) // 2])
    found = run(media / "DICOMDIR")
    assert found.reasons("unreadable")["DICOMDIR"].startswith("a damaged DICOMDIR: ")
    assert 0 < found.counts["stored"] < len(expected)
    found = run(media)
    assert found.counts == {"stored": ANY, "already_there": ANY, "skipped": 1}
    assert "damaged" in found.reasons("skipped")["DICOMDIR"]


def test_what_the_user_of_the_process_may_not_read_is_named() -> None:
    """A node has another user than the one who types the command."""
    with TemporaryDirectory() as name, as_nobody(Path(name)) as user:
        folder = Path(name)
        paths = write_objects(folder / "in", 1, 2)
        (folder / "in" / "closed").mkdir(mode=0)
        paths[0].chmod(0)
        (folder / "archive").mkdir()
        found = list(search([f"{name}/in", str(paths[0]), f"{name}/in/closed/x"], folder / "archive"))
        reasons = [(each.place.path, each.reason) for each in found if isinstance(each, Finding)]
        why = f"the user {user} may not read it"
        assert reasons == [
            (str(paths[0]), why),
            (f"{name}/in/closed", why),
            (str(paths[0]), why),
            (f"{name}/in/closed/x", why),
        ]
        assert len(found) == 5
        (folder / "in" / "closed").chmod(0o700)


@contextmanager
def as_nobody(folder: Path) -> Iterator[str]:
    """A user who may not read everything, and has a folder."""
    import pwd

    before = os.geteuid()
    if before == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, -1)
        os.seteuid(nobody.pw_uid)
    try:
        yield pwd.getpwuid(os.geteuid()).pw_name
    finally:
        os.seteuid(before)
