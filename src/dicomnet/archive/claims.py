"""Claims of SOP Instance UIDs, so that of two objects with one UID the second waits until the first is filed."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from hashlib import blake2b
from pathlib import Path
from time import monotonic, sleep

if sys.platform != "win32":
    import fcntl

_LOOK = 0.002


class Claims:
    """The SOP Instance UIDs of objects that are being stored: whoever stores another with the same one waits.

    Parameters
    ----------
    path
        A file in which other processes see them, as locks that end with the process; None if there is no other process.
    hurrying
        Gives a block within which those that are stored are filed at once.
    """

    def __init__(self, path: Path | None, hurrying: Callable[[], AbstractContextManager[None]]) -> None:
        self._hurrying = hurrying
        self._changed = threading.Condition()
        self._taken: set[str] = set()
        self._file = None if path is None else os.open(path, os.O_RDWR | os.O_CREAT, 0o640)

    def take(self, instance: str, seconds: float) -> bool:
        """Claim a UID; False if somebody else has it all the time.

        Raises
        ------
        OSError
            If it cannot be seen whether another process has it.
        """
        end = monotonic() + seconds
        with self._changed:
            is_free = instance not in self._taken
            if is_free:
                self._taken.add(instance)
        if not is_free:
            with self._hurrying(), self._changed:
                if not self._changed.wait_for(lambda: instance not in self._taken, seconds):
                    return False
                self._taken.add(instance)
        is_claimed = False
        try:
            is_claimed = self._file is None or _has_locked_by(self._file, instance, end)
        finally:
            if not is_claimed:
                self._forget([instance])
        return is_claimed

    def release(self, instances: Sequence[str]) -> None:
        """Give UIDs back."""
        if self._file is not None:
            for instance in instances:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _place_of(instance))
        self._forget(instances)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _forget(self, instances: Sequence[str]) -> None:
        with self._changed:
            self._taken.difference_update(instances)
            self._changed.notify_all()


def _place_of(instance: str) -> int:
    """The byte of the file of claims that stands for a UID."""
    return int.from_bytes(blake2b(instance.encode(), digest_size=7).digest(), "big")


def _has_locked_by(file: int, instance: str, end: float) -> bool:
    while not _has_locked(file, instance):
        if monotonic() >= end:
            return False
        sleep(_LOOK)
    return True


def _has_locked(file: int, instance: str) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place_of(instance))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
