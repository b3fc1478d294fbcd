"""The files among the paths of a store, and what lies in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator

from ..drivers.files import StoredObject, read_object
from ..drivers.reading import NotDICOM
from ..encoding.file_header import MEDIA_STORAGE_DIRECTORY
from ..errors import UnusableObject
from .requests import check_uids
from .results import StoreResult, failed_result
from .sendable import AnySendable, KnownObject, Sendable

A_DIRECTORY = "a DICOMDIR, which is not for sending"
# How many names of files in one folder are kept at least, where there are more; at most, it is twice as many.
NAMES_TOGETHER = 100_000
# What was found at a path, and the data set where that was read at once.
Look = tuple[Sendable | StoreResult, memoryview | None]


def find_files(
    paths: Iterable[str | os.PathLike[str]],
    without: Collection[tuple[int, int]] = (),
    *,
    keeps_missing: bool = False,
) -> Iterator[str]:
    """The files among paths, and inside those that are folders, in the order of names; links are followed.

    Parameters
    ----------
    paths
        Files and folders.
    without
        Folders that are left out with all that is in them, each by the numbers of its device and its inode.
    keeps_missing
        Whether a path that does not exist is given, too: whoever opens it learns why it cannot be read.

    Raises
    ------
    FileNotFoundError
        If a path does not exist, unless those are kept.
    """
    for path in paths:
        name = os.fspath(path)
        try:
            is_folder = stat.S_ISDIR(os.stat(name).st_mode)
        except OSError:
            if not keeps_missing:
                raise
            is_folder = False
        if not is_folder:
            yield name
            continue
        yield from _inside(name, set(without))


def _inside(top: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    """The files in a folder, and in those in it, but for folders that were seen."""
    left = [top]
    while left:
        folder = left.pop()
        inside = os.path.join(folder, "")
        folders: list[str] = []
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                # A link led back here.
                continue
            seen.add((status.st_dev, status.st_ino))
            for name in _names(folder, folders):
                yield inside + name
        except OSError:
            # Whoever opens it learns why it cannot be read.
            yield folder
        left += [inside + each for each in sorted(folders, reverse=True)]


def _names(folder: str, folders: list[str]) -> Iterator[str]:
    """The names of files in a folder, in their order; before the first one, those of folders in it are put into a list.

    A folder of very many is read again for each part of them, so that memory does not grow with their number.
    """
    names, has_more = _first_names(folder, "", folders)
    while names:
        yield from names
        if not has_more:
            return
        names, has_more = _first_names(folder, names[-1], [])


def _first_names(folder: str, after: str, folders: list[str]) -> tuple[list[str], bool]:
    """The first names of files behind a name, and whether there are more."""
    names: list[str] = []
    # Where enough names are known, none behind this one is among the first.
    last = ""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if after and (name <= after or (last and name > last)):
                continue
            if _is_folder(entry):
                folders.append(name)
            elif not last or name < last:
                names.append(name)
                if len(names) >= 2 * NAMES_TOGETHER:
                    names.sort()
                    del names[NAMES_TOGETHER:]
                    last = names[-1]
    names.sort()
    has_more = bool(last) or len(names) > NAMES_TOGETHER
    return names[:NAMES_TOGETHER], has_more


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def examine(file: str | StoredObject | KnownObject | StoreResult, limit: int = 0) -> Look:
    """As `look_at`, for a file of which it may be known already what it is, or what became of it: that is not looked at
    yet."""
    if isinstance(file, str):
        return look_at(file, limit)
    return (checked(file) if isinstance(file, KnownObject) else file), None


def look_at(path: str, limit: int = 0) -> tuple[StoredObject | StoreResult, memoryview | None]:
    """A file with its header, or the result of skipping it.

    Parameters
    ----------
    limit
        The most bytes of a file whose data set is read at once.
    """
    try:
        stored, content = read_object(path, limit)
    except UnusableObject as error:
        is_skipped = isinstance(error, NotDICOM)
        return StoreResult(path, None, comment=str(error), is_skipped=is_skipped), None
    except OSError as error:
        return StoreResult(path, None, comment=f"cannot be read: {error.strerror}"), None
    if stored.header.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
        return StoreResult(path, None, comment=A_DIRECTORY, is_skipped=True), None
    return checked(stored), content


def checked(stored: AnySendable) -> AnySendable | StoreResult:
    """An object whose UIDs can be sent, or the result of one whose cannot."""
    header = stored.header
    try:
        check_uids(header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid)
    except UnusableObject as error:
        return failed_result(stored, error)
    return stored
