"""Files that a peer has taken or refused are moved or deleted, each only with the content that it had then."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from itertools import count
from secrets import token_hex

from ..drivers.medium import flush_file, flush_folder
from .hot_folder import Identity, identity_of, is_being_written

# How the name of a file ends between the moment when it is claimed and the moment when it is gone, and that of a copy
# which is not whole.
_CLAIMED, _PARTIAL = ".claimed", ".part"


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
    copied = _unused(wanted, _PARTIAL)
    try:
        try:
            return _place(claimed, wanted)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        # Another file system: the file ends only when its copy is on the medium, with its name.
        shutil.copyfile(claimed, copied)
        flush_file(copied)
        # Not each file system has all times and rights.
        with suppress(OSError):
            shutil.copystat(claimed, copied)
        target = _place(copied, wanted)
        # On some shares a folder cannot be flushed.
        with suppress(OSError):
            flush_folder(os.path.dirname(target))
        os.unlink(claimed)
    except BaseException:
        with suppress(OSError):
            os.unlink(copied)
        _give_back(claimed, path)
        raise
    return target


def _claim(path: str, identity: Identity) -> str:
    """Rename a file, so that no other one can take its place between the last look at it and its end."""
    if identity_of(path) != identity:
        raise Changed
    claimed = _unused(path, _CLAIMED)
    try:
        try:
            os.replace(path, claimed)
        except FileNotFoundError as error:
            raise Changed from error
        # Its new name has changed the last of the times, and nothing else may have.
        found = identity_of(claimed)
        if found is None or found[:-1] != identity[:-1] or is_being_written(claimed):
            raise Changed
    except BaseException:
        _give_back(claimed, path)
        raise
    return claimed


def _give_back(claimed: str, path: str) -> None:
    """Give a file its name again, if it is there; where another one has that by now, it keeps the one it has."""
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


def _unused(path: str, end: str) -> str:
    """A name beside that of a file, which nobody else has."""
    return f"{path}.{token_hex(4)}{end}"


def _place(source: str, wanted: str) -> str:
    """Give a file the name, or one like it where that is taken."""
    stem, extension = os.path.splitext(wanted)
    for number in count(1):
        path = wanted if number == 1 else f"{stem} ({number}){extension}"
        try:
            os.link(source, path)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise
            # The file system has no links: the name is taken by an empty file of ours.
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except FileExistsError:
                continue
            try:
                os.replace(source, path)
            except BaseException:
                if os.path.lexists(source):
                    os.unlink(path)
                raise
            return path
        os.unlink(source)
        return path
    raise AssertionError
