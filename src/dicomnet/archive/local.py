"""The folder that an archive has on its machine, whatever keeps its objects: lock, journals, and what is staged."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import Self

from ..drivers.medium import flush_folder
from ..errors import StoreInUse
from . import journal
from .storage.staging import STAGING, Staging, naming

if sys.platform == "win32":
    import msvcrt

    def lock_at_once(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def lock_at_once(descriptor: int) -> None:
        """Lock an open file for this process and those that it forks; raises OSError if another one has it."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


# Where files are put that lie where they do not belong.
_STRAYS = "strays"
# The folders of journals: of a process, and what is left of one.
_JOURNAL = re.compile(r"\d+(\.left\d+)?")
# What locking says where another process has the lock.
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
# How long to wait for the lock, in seconds: the workers of a node that was killed hold it until they notice.
_LOCK_SECONDS = 0.5
# What the lock file says in its first line. Where the process that had the store was killed, the journal has what is
# to be done; only objects that no index knows take a comparison of all files with the index.
_IN_USE, _AT_REST, _UNINDEXED = b"in use\n", b"at rest\n", b"unindexed\n"


def process_to_signal(root: Path) -> int:
    """The process that has an archive and reads its configuration again at SIGHUP; 0 if there is none.

    Parameters
    ----------
    root
        The folder of the archive.

    Raises
    ------
    OSError
        If it has no lock file, or that cannot be read.
    """
    lock = os.open(root / "lock", os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        try:
            lock_at_once(lock)
        except OSError as error:
            if error.errno not in _HELD:
                raise
            second = os.pread(lock, 64, 0).splitlines()[1:2]
            return int(second[0]) if second and second[0].isdigit() else 0
        return 0
    finally:
        os.close(lock)


def set_stray_aside(root: Path, location: str) -> str:
    """Move a stray file or folder to ``strays`` in the folder of an archive, below the path that it has there.

    Parameters
    ----------
    root
        The folder of the archive.
    location
        Where it is, below that folder, with slashes.

    Returns
    -------
    str
        Where it is then.

    Raises
    ------
    OSError
        If it cannot be moved.
    """
    target = root / _STRAYS / location
    target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    while os.path.lexists(target):
        target = target.with_name(f"{target.name}.again")
    # Which copies it where it has to.
    shutil.move(root / location, target)
    return target.relative_to(root).as_posix()


class LocalFolder:
    """The folder of an archive, locked for this process and those that it forks.

    It holds ``staging``; ``journal``, see `archive.journal`; and ``lock``, which also says how the archive was left.

    Parameters
    ----------
    root
        The folder; created if it does not exist.
    sync
        Whether to wait until written data are on the medium. Without, an object survives the end of the process but
        not a power cut.

    Attributes
    ----------
    staging, journals, claims
        The staging folder; the folder of the journals; the file of claims, see `archive.claims`.
    was_unclean
        Whether the last process that had the archive left objects that an index may lack.
    was_killed
        Whether it did not end in order, as far as is known.

    Raises
    ------
    StoreInUse
        If another process has the archive open.
    OSError
        If the folder cannot be used.
    """

    def __init__(self, root: str | os.PathLike[str], *, sync: bool = True) -> None:
        self.root = Path(root)
        self.sync = sync
        self.journals = self.root / "journal"
        self.claims = self.root / "claims"
        self.staging = Staging(self.root / STAGING, sync=sync)
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = self._acquire_lock()
        self._listener = 0
        state = self._read_state()
        self.was_unclean = state == _UNINDEXED
        self.was_killed = state not in (b"", _AT_REST)
        self._needs_recovery = self.was_unclean
        try:
            self._write_state(_UNINDEXED if self._needs_recovery else _IN_USE)
            (self.root / STAGING).mkdir(exist_ok=True)
            if sync:
                flush_folder(str(self.root))
        except OSError:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def needs_recovery(self) -> bool:
        """Whether an index may lack objects of the store."""
        return self._needs_recovery

    @needs_recovery.setter
    def needs_recovery(self, value: bool) -> None:
        if value is not self._needs_recovery:
            self._needs_recovery = value
            # Whoever comes after a kill has to know.
            self._write_state(_UNINDEXED if value else _IN_USE)

    def close(self) -> None:
        """Unlock it, and mark it as cleanly closed unless `needs_recovery` is set. May be called twice."""
        if self._lock < 0:
            return
        self.staging.close()
        self._listener = 0
        if self._read_state() != _UNINDEXED:
            self._write_state(_AT_REST)
        os.close(self._lock)
        self._lock = -1

    def strays(self) -> list[str]:
        """Where files and folders are, below the folder, that do not belong to what it has besides a store."""
        found = [f"{STAGING}/{name}" for name in self.staging.strays()]
        for folder in sorted(self.journals.iterdir()) if self.journals.is_dir() else ():
            where = f"{self.journals.name}/{folder.name}"
            if _JOURNAL.fullmatch(folder.name) and folder.is_dir():
                found += [f"{where}/{name}" for name in journal.strays(folder)]
            else:
                found.append(where)
        return found

    def take_signals(self) -> None:
        """Let others know that this process, of those that share the lock, reads its configuration again at SIGHUP."""
        self._listener = os.getpid()
        self._write_state(self._read_state())

    def _acquire_lock(self) -> int:
        """Lock the archive; returns the descriptor of the lock file, which also records how it was closed."""
        lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o640)
        end = monotonic() + _LOCK_SECONDS
        while True:
            try:
                # The operating system releases the lock of a process that ends, so a lock is never stale.
                lock_at_once(lock)
                return lock
            except OSError as error:
                is_held = error.errno in _HELD
                if is_held and monotonic() < end:
                    sleep(_LOCK_SECONDS / 50)
                    continue
                os.close(lock)
                if is_held:
                    raise StoreInUse(str(self.root)) from None
                raise

    def _read_state(self) -> bytes:
        first, end, _ = os.pread(self._lock, 64, 0).partition(b"\n")
        return first + end

    def _write_state(self, state: bytes) -> None:
        if self._listener:
            state += b"%d\n" % self._listener
        with naming(str(self.root / "lock")):
            os.pwrite(self._lock, state, 0)
            os.ftruncate(self._lock, len(state))
            if self.sync:
                os.fsync(self._lock)
