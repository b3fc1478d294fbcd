"""The medium that files are on: what was written by others is brought there, and whether it keeps anything."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

_IN_MEMORY = frozenset(("tmpfs", "ramfs"))
# Linux: flushes one file system; elsewhere all are flushed.
_SYNCFS = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if os.name == "posix" else None


def is_in_memory(folder: str | Path) -> bool:
    """Whether a folder is on a RAM disk, as far as the system says: nothing there survives a power cut."""
    return file_system(folder) in _IN_MEMORY


def file_system(folder: str | Path) -> str:
    """The type of the file system that a folder is on, such as ext4; empty where the system does not say it."""
    device = os.stat(folder).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError):
        # See proc_pid_mountinfo(5).
        for line in Path("/proc/self/mountinfo").read_bytes().decode(errors="replace").splitlines():
            mount, _, source = line.partition(" - ")
            if mount.split(" ")[2] == number:
                return source.partition(" ")[0]
    return ""


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


def flush_file_system(folder: str) -> None:
    """Return when all that was written to the file system of a folder is on the medium.

    Raises
    ------
    OSError
        If there is no such folder, or something may not be there.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if _SYNCFS is None:
            os.sync()
        elif _SYNCFS(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)
    finally:
        os.close(descriptor)


def _flush(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
