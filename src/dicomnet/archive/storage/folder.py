"""The store: one folder that holds each object as a DICOM file, whose name is made from validated UIDs.

Files are written in a staging folder, and only then linked to their name. Nothing is overwritten. They are made durable
many at a time; until then the intake journal has their content.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import itertools
import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from time import monotonic, sleep
from typing import BinaryIO, Self

from ...encoding.identity import is_uid
from ...errors import StoreInUse
from ...values import Buffer
from ..medium import flush_folder
from .comparison import Comparison, compared, is_beginning
from .staging import STAGING_FLAGS, StagedFile, naming, write_all
from .store import ObjectName, SetAside

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_log = logging.getLogger(__name__)

_BLOCK = 1 << 20
_SUFFIX = ".dcm"
# Linux: flushes one file system; elsewhere all are flushed.
_SYNCFS = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if os.name == "posix" else None
# How long to wait for the lock, in seconds: the workers of a node that was killed hold it until they notice.
_LOCK_SECONDS = 0.5
# What the lock file says. Where the process that had the store was killed, the journal has what is to be done; only
# objects that no index knows take a comparison of all files with the index.
_IN_USE, _AT_REST, _UNINDEXED = b"in use\n", b"at rest\n", b"unindexed\n"
# So many names in the staging folder are made durable by one flush.
_STAGED_AHEAD = 8


@lru_cache(maxsize=1024)
def _study_folder(study: str) -> str:
    """Path of a study's folder below ``objects``, under two levels of hash so that no folder has too many entries."""
    digest = hashlib.blake2b(study.encode("ascii"), digest_size=2).hexdigest()
    return os.sep.join((digest[:2], digest[2:], study))


class FolderStorage:
    """The folder of a store, locked for this process and those that it forks.

    It holds ``objects/ab/cd/<study>/<series>/<instance>.dcm``, where ``ab`` and ``cd`` are a hash of the Study
    Instance UID; ``quarantine/<instance>/<hash>.dcm``, objects whose SOP Instance UID another object has;
    ``versions/<instance>/<hash>.dcm``, objects whose place another one has taken; ``staging``; ``journal``, see
    `archive.journal`; and ``lock``.

    Parameters
    ----------
    root
        The folder; created if it does not exist.
    sync
        Whether to wait until written data are on the medium. Without, an object survives the end of the process but
        not a power cut.

    Attributes
    ----------
    was_unclean
        Whether the last process that had the store left objects that an index may lack.
    was_killed
        Whether it did not end in order, as far as is known.
    process
        Which of the processes of an archive this one is; the names of its staged files begin with it.

    Raises
    ------
    StoreInUse
        If another process has the store open.
    OSError
        If the folder cannot be used.
    """

    def __init__(self, root: str | os.PathLike[str], *, sync: bool = True) -> None:
        self.root = Path(root)
        self.sync = sync
        self.journals = self.root / "journal"
        self.process = 0
        self._staging = str(self.root / "staging")
        self._objects = str(self.root / "objects")
        self._quarantine = str(self.root / "quarantine")
        self._versions = str(self.root / "versions")
        # Folders that are there, as far as is known; and one folder of each file system that has some of them.
        self._made: set[str] = set()
        self._devices: dict[int, str] = {}
        self._ahead: list[str] = []
        self._folders = threading.Lock()
        # In a container, a process may have the same ID as the one that was killed and has left staged files.
        self._opening = os.urandom(4).hex()
        self._numbers = itertools.count()
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = self._acquire_lock()
        state = os.pread(self._lock, 64, 0)
        self.was_unclean = state == _UNINDEXED
        self.was_killed = state not in (b"", _AT_REST)
        self._needs_recovery = self.was_unclean
        try:
            self._prepare()
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
        """Unlock the store, and mark it as cleanly closed unless `needs_recovery` is set. May be called twice."""
        if self._lock < 0:
            return
        self._forget_ahead()
        if os.pread(self._lock, 64, 0) != _UNINDEXED:
            self._write_state(_AT_REST)
        os.close(self._lock)
        self._lock = -1

    def path(self, name: ObjectName) -> str:
        """The path of an object, whether or not the store has it."""
        return f"{self._series_folder(name)}{os.sep}{name.instance}{_SUFFIX}"

    def has(self, name: ObjectName) -> bool:
        """Whether the store has an object of that name."""
        return os.path.exists(self.path(name))

    def stage(self) -> StagedFile:
        """Create a file in the staging folder, on the file system of the store.

        Raises
        ------
        OSError
            If it cannot be created.
        """
        with self._folders:
            if not self._ahead:
                self._stage_ahead()
            path = self._ahead.pop()
        return StagedFile(path)

    def write_staged(self, content: Sequence[Buffer]) -> str:
        """Stage a file whose content is in the journal; returns its path.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        path = self._next_staged()
        with naming(path):
            descriptor = os.open(path, STAGING_FLAGS | os.O_EXCL, 0o640)
            try:
                try:
                    write_all(descriptor, content)
                finally:
                    os.close(descriptor)
            except OSError:
                os.unlink(path)
                raise
        return path

    def staged(self, name: str) -> str:
        """The path of a file that was staged, by its name in the staging folder."""
        return f"{self._staging}{os.sep}{name}"

    def discard_staged(self, path: str) -> None:
        """Remove a staged file."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def clear_staging(self, process: int | None = None, *, keep: Collection[str] = ()) -> None:
        """Remove the staged files of one process that has ended, or of all, except those with some names."""
        begin = "" if process is None else f"{process}-"
        with os.scandir(self._staging) as left:
            for entry in left:
                if entry.name.startswith(begin) and entry.name not in keep:
                    os.unlink(entry.path)

    def keep(self, name: ObjectName, content: Sequence[Buffer]) -> bool:
        """Give a name to an object, as `keep_staged` does.

        Parameters
        ----------
        content
            The whole file.
        """
        path = self.write_staged(content)
        is_kept = False
        try:
            is_kept = self.keep_staged(name, path)
        finally:
            if not is_kept:
                self.discard_staged(path)
        return is_kept

    def keep_staged(self, name: ObjectName, path: str) -> bool:
        """Give a staged file its name in the store, unless the name is in use. It is then no longer staged.

        It is durable after `make_durable`.

        Returns
        -------
        bool
            False where the name is in use; the staged file is left.

        Raises
        ------
        OSError
            If something cannot be written; the staged file is left.
        """
        target = self.path(name)
        for _ in range(2):
            try:
                self._make(os.path.dirname(target))
                _link(path, target)
            except FileExistsError:
                return False
            except FileNotFoundError:
                if not os.path.exists(path):
                    raise
                # Folders that this process had created or seen were removed from outside.
                with self._folders:
                    self._made.clear()
                continue
            os.unlink(path)
            return True
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), target)

    def replace(self, name: ObjectName, path: str) -> None:
        """Put a staged file in the place of an object; it is then no longer staged. Durable after `make_durable`.

        Raises
        ------
        OSError
            If something cannot be written; the object is as it was.
        """
        target = self.path(name)
        try:
            os.replace(path, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with _copied(path, target) as copy:
                os.replace(copy, target)
            os.unlink(path)

    def compare(self, content: BinaryIO, name: ObjectName) -> Comparison:
        """Compare a file with an object of the store.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        with open(self.path(name), "rb") as kept:
            return compared(content, kept)

    def is_cut_off(self, content: BinaryIO, name: ObjectName) -> bool:
        """Whether an object of the store is only the beginning of a file, as a power cut may leave it.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        with open(self.path(name), "rb") as kept:
            return is_beginning(kept, content)

    def make_durable(self) -> None:
        """Return when all that was kept so far is on the medium, names and contents.

        Raises
        ------
        OSError
            If it may not be.
        """
        if not self.sync:
            return
        with self._folders:
            folders = [self._objects, *self._devices.values()]
        for folder in folders:
            _flush_file_system(folder)

    def quarantine_content(self, instance: str, content: Sequence[Buffer]) -> SetAside:
        """Keep an object in quarantine, durably.

        Parameters
        ----------
        instance
            Its SOP Instance UID.
        content
            The whole file.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        path = self.write_staged(content)
        try:
            return self._set_aside(path, self._quarantine, instance)
        finally:
            os.unlink(path)

    def quarantine_staged(self, instance: str, path: str) -> SetAside:
        """Move a staged file to quarantine, as `quarantine_content` does."""
        kept = self._set_aside(path, self._quarantine, instance)
        os.unlink(path)
        return kept

    def quarantine(self, name: ObjectName) -> SetAside | None:
        """Move an object to quarantine, for instance because another study already has its SOP Instance UID.

        Returns
        -------
        SetAside
            None if the store has no such object.

        Raises
        ------
        OSError
            If it cannot be moved.
        """
        path = self.path(name)
        try:
            kept = self._set_aside(path, self._quarantine, name.instance)
        except FileNotFoundError:
            return None
        self.remove(name)
        return kept

    def keep_version(self, name: ObjectName) -> SetAside:
        """Keep the file of an object among the versions, durably, so that another may take its place.

        Raises
        ------
        OSError
            If it cannot be kept.
        """
        return self._set_aside(self.path(name), self._versions, name.instance)

    def has_version(self, instance: str, digest: str) -> bool:
        """Whether a file with this digest is among the versions of an object."""
        return os.path.exists(os.path.join(self._versions, instance, digest + _SUFFIX))

    def remove(self, name: ObjectName) -> None:
        """Remove an object whose content is kept elsewhere, durably.

        Raises
        ------
        OSError
            If it cannot be removed.
        """
        path = self.path(name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            self._flush_folder(os.path.dirname(path))

    def digest(self, name: ObjectName) -> str:
        """The SHA-256 of the file of an object, as hexadecimal digits; empty if the store has no such object.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        try:
            with open(self.path(name), "rb") as file:
                return _digest(file)
        except FileNotFoundError:
            return ""

    def has_file(self, name: ObjectName, digest: str) -> bool:
        """Whether the store has an object of that name, and its file this digest. Raises as `digest`."""
        return digest != "" and self.digest(name) == digest

    def objects(self) -> Iterator[tuple[tuple[str, str], list[str]]]:
        """All series of the store, each as (Study and Series Instance UID) and the SOP Instance UIDs in it."""
        for study, series in self.series():
            yield (study, series), list(self.instances(study, series))

    def series(self, cannot_read: Callable[[OSError], None] | None = None) -> Iterator[tuple[str, str]]:
        """The Study and Series Instance UIDs of all series in the store.

        Parameters
        ----------
        cannot_read
            Called for a folder that cannot be read, which is passed over then.

        Raises
        ------
        OSError
            If a folder cannot be read, and ``cannot_read`` is None.
        """
        for first in _folders(self._objects, cannot_read):
            for second in _folders(first, cannot_read):
                for study in _folders(second, cannot_read):
                    for series in _folders(study, cannot_read):
                        pair = (os.path.basename(study), os.path.basename(series))
                        if is_uid(pair[0]) and is_uid(pair[1]):
                            yield pair

    def instances(self, study: str, series: str) -> Iterator[str]:
        """The SOP Instance UIDs of the objects in a series.

        Raises
        ------
        OSError
            If its folder cannot be read, or there is none.
        """
        return _instances(f"{self._objects}{os.sep}{_study_folder(study)}{os.sep}{series}")

    def quarantined(self) -> Iterator[str]:
        """The paths of the files in quarantine."""
        for folder in _folders(self._quarantine):
            with os.scandir(folder) as entries:
                yield from (entry.path for entry in entries)

    def _prepare(self) -> None:
        self._write_state(_UNINDEXED if self._needs_recovery else _IN_USE)
        for folder in (self._objects, self._quarantine, self._staging):
            os.makedirs(folder, exist_ok=True)
        self._flush_folder(str(self.root))

    def _acquire_lock(self) -> int:
        """Lock the store; returns the descriptor of the lock file, which also records how the store was closed."""
        lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o640)
        end = monotonic() + _LOCK_SECONDS
        while True:
            try:
                # The operating system releases the lock of a process that ends, so a lock is never stale.
                _lock(lock)
                return lock
            except OSError as error:
                is_held = error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
                if is_held and monotonic() < end:
                    sleep(_LOCK_SECONDS / 50)
                    continue
                os.close(lock)
                if is_held:
                    raise StoreInUse(str(self.root)) from None
                raise

    def _write_state(self, state: bytes) -> None:
        with naming(str(self.root / "lock")):
            os.pwrite(self._lock, state, 0)
            os.ftruncate(self._lock, len(state))
            if self.sync:
                os.fsync(self._lock)

    def _series_folder(self, name: ObjectName) -> str:
        return f"{self._objects}{os.sep}{_study_folder(name.study)}{os.sep}{name.series}"

    def _set_aside(self, path: str, above: str, instance: str) -> SetAside:
        folder = os.path.join(above, instance)
        os.makedirs(folder, mode=0o750, exist_ok=True)
        with open(path, "rb") as file:
            if self.sync:
                os.fsync(file.fileno())
            digest, state = _digest(file), os.fstat(file.fileno())
        kept = os.path.join(folder, digest + _SUFFIX)
        with contextlib.suppress(FileExistsError):
            _link(path, kept)
        for changed in (folder, above, str(self.root)):
            self._flush_folder(changed)
        location = Path(kept).relative_to(self.root).as_posix()
        return SetAside(location, digest, state.st_size, state.st_mtime)

    def _next_staged(self) -> str:
        name = f"{self.process}-{self._opening}-{os.getpid()}-{next(self._numbers)}"
        return f"{self._staging}{os.sep}{name}"

    def _stage_ahead(self) -> None:
        """Make the names of files that will be staged durable, so that flushing one's content is all it takes."""
        for _ in range(_STAGED_AHEAD):
            path = self._next_staged()
            os.close(os.open(path, STAGING_FLAGS | os.O_EXCL, 0o640))
            self._ahead.append(path)
        self._flush_folder(self._staging)

    def _forget_ahead(self) -> None:
        with self._folders:
            for path in self._ahead:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            self._ahead.clear()

    def _make(self, folder: str) -> None:
        if folder in self._made:
            return
        os.makedirs(folder, mode=0o750, exist_ok=True)
        device = os.stat(folder).st_dev
        with self._folders:
            if len(self._made) > 100_000:
                self._made.clear()
            self._made.add(folder)
            # An administrator may have put a part of the archive on another file system.
            self._devices.setdefault(device, folder)

    def _flush_folder(self, folder: str) -> None:
        if self.sync:
            flush_folder(folder)


def _link(source: str, target: str) -> None:
    """Give a file a second name. An existing file is never replaced."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with _copied(source, target) as copy:
            os.link(copy, target)


@contextlib.contextmanager
def _copied(source: str, target: str) -> Iterator[str]:
    """A durable copy of a file on another file system, beside the name that it is to have."""
    copy = f"{target}.{os.getpid()}.part"
    try:
        shutil.copyfile(source, copy)
        with open(copy, "rb") as file:
            os.fsync(file.fileno())
        yield copy
        flush_folder(os.path.dirname(target))
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(copy)


def _digest(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _flush_file_system(folder: str) -> None:
    """Return when all that was written to the file system of a folder is on the medium."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if _SYNCFS is None:
            os.sync()
        elif _SYNCFS(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)
    finally:
        os.close(descriptor)


def _folders(path: str, cannot_read: Callable[[OSError], None] | None = None) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir())
    except OSError as error:
        if cannot_read is None:
            raise
        cannot_read(error)
        return []


def _instances(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name, suffix = os.path.splitext(entry.name)
            if suffix == _SUFFIX and is_uid(name) and entry.is_file(follow_symlinks=False):
                yield name


def object_path(root: str | os.PathLike[str], name: ObjectName) -> str:
    """The path of an object below the folder of a store, which need not be open."""
    return os.path.join(root, "objects", _study_folder(name.study), name.series, name.instance + _SUFFIX)
