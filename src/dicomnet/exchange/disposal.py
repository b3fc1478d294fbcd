"""Files that a peer has taken or refused are moved or deleted, each only with the content that it had then."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from itertools import count

from .hot_folder import Identity, identity_of, is_being_written

# How a file is called between the moment when it is claimed and the moment when it is gone.
_CLAIMED = ".claimed"


class Changed(Exception):
    """A file is not the one, or not as, it was when it was read, or is open for writing. It is where it was."""


def delete(path: str, identity: Identity) -> None:
    """Delete a file.

    Raises
    ------
    Changed
        If it has changed since.
    OSError
        If it cannot be deleted.
    """
    claimed = _claim(path, identity)
    try:
        os.unlink(claimed)
    except OSError:
        _give_back(claimed, path)
        raise


def move(path: str, identity: Identity, folder: str, name: str) -> str:
    """Move a file into a folder, under a name of its own where there is another one already; the new path is returned.

    Parameters
    ----------
    folder
        Is made where it is missing, with the folders inside that the name has.
    name
        The path in there.

    Raises
    ------
    Changed
        If it has changed since.
    OSError
        If it cannot be moved. It is where it was.
    """
    wanted = os.path.join(folder, name)
    os.makedirs(os.path.dirname(wanted), exist_ok=True)
    claimed = _claim(path, identity)
    try:
        target = _reserve(wanted)
        try:
            _replace(claimed, target)
        except BaseException:
            # An interrupt may come when it has been moved already: the target is all that there is then.
            if os.path.lexists(claimed):
                os.unlink(target)
            raise
    except BaseException:
        _give_back(claimed, path)
        raise
    return target


def _claim(path: str, identity: Identity) -> str:
    """Rename a file, so that no other one can take its place between the last look at it and its end."""
    if identity_of(path) != identity:
        raise Changed
    claimed = _reserve(path + _CLAIMED)
    try:
        os.replace(path, claimed)
    except OSError as error:
        os.unlink(claimed)
        if isinstance(error, FileNotFoundError):
            raise Changed from error
        raise
    # Its new name has changed the last of the times, and nothing else may have.
    found = identity_of(claimed)
    if found is None or found[:-1] != identity[:-1] or is_being_written(claimed):
        _give_back(claimed, path)
        raise Changed
    return claimed


def _give_back(claimed: str, path: str) -> None:
    """Give a file its name again; where another one has that by now, it keeps the one it has."""
    try:
        os.link(claimed, path)
    except FileExistsError:
        return
    except OSError:
        # The file system has no links.
        with suppress(OSError):
            if not os.path.lexists(path):
                os.rename(claimed, path)
        return
    os.unlink(claimed)


def _reserve(wanted: str) -> str:
    """The name, or one like it that is free: an empty file of ours has it now."""
    stem, extension = os.path.splitext(wanted)
    for number in count(1):
        path = wanted if number == 1 else f"{stem} ({number}){extension}"
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            return path
    raise AssertionError


def _replace(source: str, target: str) -> None:
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # Another file system: the file ends only when its copy is on the disk.
        shutil.copy2(source, target)
        with open(target, "rb+") as copy:
            os.fsync(copy.fileno())
        os.unlink(source)
