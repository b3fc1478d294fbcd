"""What was written by others, brought to the medium."""

from __future__ import annotations

import os


def flush_file(path: str) -> None:
    """Return when the content of a file is on the medium, whoever wrote it.

    Raises
    ------
    OSError
        If there is no such file, or it may not be there.
    """
    _flush(path, os.O_RDWR)


def flush_folder(folder: str) -> None:
    """Return when the names in a folder are on the medium.

    Raises
    ------
    OSError
        If there is no such folder, or they may not be there.
    """
    if os.name != "nt":
        _flush(folder, os.O_RDONLY | os.O_DIRECTORY)


def _flush(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
