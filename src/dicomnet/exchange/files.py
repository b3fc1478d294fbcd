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
        unreadable: list[OSError] = []
        seen = set(without)
        for folder, folders, files in os.walk(name, onerror=unreadable.append, followlinks=True):
            try:
                identity = os.stat(folder)
            except OSError as error:
                # It was removed meanwhile.
                unreadable.append(error)
                folders.clear()
                continue
            if (identity.st_dev, identity.st_ino) in seen:
                # A link led back here.
                folders.clear()
                continue
            seen.add((identity.st_dev, identity.st_ino))
            folders.sort()
            inside = os.path.join(folder, "")
            for file in sorted(files):
                yield inside + file
        # Whoever opens these learns why they cannot be read.
        yield from (error.filename for error in unreadable)


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
