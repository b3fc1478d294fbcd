"""The store: one folder that holds each object as a DICOM file, whose name is made from validated UIDs.

Files are written in a staging folder, made durable, and only then linked to their name. Nothing is overwritten.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import logging
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from functools import lru_cache
from pathlib import Path
from time import monotonic, sleep
from typing import BinaryIO, Self

from ...drivers.files import read_header
from ...encoding.comparison import Encoded, have_same_content
from ...encoding.file_header import FileHeader
from ...encoding.identity import is_uid
from ...errors import StoreInUse, UnusableObject
from ...values import Buffer, frozen

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
_BUFFERS_PER_CALL = 512
_SUFFIX = ".dcm"
_FLUSH_DATA = getattr(os, "fdatasync", os.fsync)
_STAGING_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# How long to wait for the lock, in seconds: the workers of a node that was killed hold it until they notice.
_LOCK_SECONDS = 0.5
_IN_USE, _AT_REST = b"in use\n", b"at rest\n"


@lru_cache(maxsize=1024)
def _study_folder(study: str) -> str:
    """Path of a study's folder below ``objects``, under two levels of hash so that no folder has too many entries."""
    digest = hashlib.blake2b(study.encode("ascii"), digest_size=2).hexdigest()
    return os.sep.join((digest[:2], digest[2:], study))


@frozen
class ObjectName:
    """The name of an object in the store: the UIDs that its path is made of.

    Parameters
    ----------
    study, series, instance
        Study, Series and SOP Instance UID.

    Raises
    ------
    ValueError
        If one of them is not a valid UID.
    """

    study: str
    series: str
    instance: str

    def __post_init__(self) -> None:
        if not (is_uid(self.study) and is_uid(self.series) and is_uid(self.instance)):
            raise ValueError("the name of an object must consist of valid UIDs")


class Placement(Enum):
    """The outcome of `Storage.place`."""

    NEW = "the file is the first of its name"
    SAME = "the store has the same object already"
    SAME_IN_ANOTHER_FORM = "the store has the same object already, encoded otherwise"
    QUARANTINED = "the store has another object of that name, and keeps this one in quarantine"


class StagedFile:
    """A file that is being written in the staging folder. It is deleted unless `Storage.place` gives it a name."""

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = os.open(path, _STAGING_FLAGS, 0o640)

    @property
    def descriptor(self) -> int:
        """The file descriptor, open for reading and writing."""
        return self._descriptor

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Append buffers, with as few system calls as possible.

        Raises
        ------
        OSError
            If they cannot be written; it names the file.
        """
        left = sum(map(len, buffers))
        try:
            while left:
                written = _write_some(self._descriptor, buffers)
                left -= written
                if left:
                    buffers = _without_first(buffers, written)
        except OSError as error:
            # Only what opens a file names it by itself.
            error.filename = self.path
            raise

    def discard(self) -> None:
        """Close the file and remove its name in the staging folder. A second call does nothing."""
        if self._descriptor < 0:
            return
        # Even if `close` fails the descriptor is closed, and its number may soon belong to another file.
        descriptor, self._descriptor = self._descriptor, -1
        try:
            os.close(descriptor)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)


if sys.platform == "win32":

    def _write_some(descriptor: int, buffers: Sequence[Buffer]) -> int:
        return os.write(descriptor, buffers[0])
else:

    def _write_some(descriptor: int, buffers: Sequence[Buffer]) -> int:
        return os.writev(descriptor, buffers[:_BUFFERS_PER_CALL])


class Storage:
    """The folder of a store, locked for this process and those that it forks.

    It holds ``objects/ab/cd/<study>/<series>/<instance>.dcm``, where ``ab`` and ``cd`` are a hash of the Study
    Instance UID; ``quarantine/<instance>/<hash>.dcm``, objects whose SOP Instance UID another object has;
    ``staging``, which is emptied when the store is opened; and ``lock``.

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
        Whether the last process that had the store ended without `close`, or with `needs_recovery` set.
    needs_recovery
        Whether an index may lack objects of the store. The next process then finds `was_unclean` set.

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
        self._staging = str(self.root / "staging")
        self._objects = str(self.root / "objects")
        self._quarantine = str(self.root / "quarantine")
        self._durable: set[str] = set()
        self._folders = threading.Lock()
        self._numbers = itertools.count()
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = self._acquire_lock()
        self.was_unclean = os.pread(self._lock, 64, 0) not in (b"", _AT_REST)
        self.needs_recovery = self.was_unclean
        try:
            self._prepare()
        except OSError:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unlock the store, and mark it as cleanly closed unless `needs_recovery` is set. May be called twice."""
        if self._lock < 0:
            return
        if not self.needs_recovery:
            self._write_state(_AT_REST)
        os.close(self._lock)
        self._lock = -1

    def path(self, name: ObjectName) -> str:
        """The path of an object, whether or not the store has it."""
        return f"{self._series_folder(name)}{os.sep}{name.instance}{_SUFFIX}"

    def stage(self) -> StagedFile:
        """Create a file in the staging folder, on the file system of the store.

        Raises
        ------
        OSError
            If it cannot be created.
        """
        return StagedFile(f"{self._staging}{os.sep}{os.getpid()}-{next(self._numbers)}")

    def forget_staged(self, process: int) -> None:
        """Remove the staged files of a process that has ended, since a later process may get the same process ID."""
        with os.scandir(self._staging) as left:
            for entry in left:
                if entry.name.startswith(f"{process}-"):
                    os.unlink(entry.path)

    def place(self, staged: StagedFile, name: ObjectName) -> Placement:
        """Give a staged file its name in the store, unless the name is in use. The staged file is discarded.

        When this returns, the content is on the medium, whatever the outcome; the name is after `settle`.

        Raises
        ------
        OSError
            If something cannot be written. A complete file of that name may exist all the same; see `needs_recovery`.
        """
        try:
            self._flush_data(staged)
            try:
                return self._link_staged(staged, name)
            except FileNotFoundError:
                # Folders that this process had created or seen were removed from outside.
                with self._folders:
                    self._durable.clear()
                return self._link_staged(staged, name)
        finally:
            try:
                staged.discard()
            except OSError:
                # The object is refused, although it may have its name already.
                self.needs_recovery = True
                raise

    def settle(self, names: Iterable[ObjectName]) -> None:
        """Make the names of placed objects durable; any process may have placed them.

        Raises
        ------
        OSError
            If a folder cannot be flushed. Complete files may exist all the same; see `needs_recovery`.
        """
        for folder in {self._series_folder(name) for name in names}:
            self._flush_folder_or_need_recovery(folder)

    def _link_staged(self, staged: StagedFile, name: ObjectName) -> Placement:
        folder = self._series_folder(name)
        self._make_durable(folder)
        target = f"{folder}{os.sep}{name.instance}{_SUFFIX}"
        try:
            _link(staged.path, target)
        except FileExistsError:
            placement = _compared(staged.path, target)
            if placement is Placement.QUARANTINED:
                self._link_into_quarantine(staged.path, name.instance)
            return placement
        return Placement.NEW

    def quarantine(self, name: ObjectName) -> None:
        """Move an object to quarantine, for instance because another study already has its SOP Instance UID.

        Raises
        ------
        OSError
            If it cannot be moved.
        """
        path = self.path(name)
        try:
            self._link_into_quarantine(path, name.instance)
        except FileNotFoundError:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._flush_folder_or_need_recovery(os.path.dirname(path))

    def objects(self) -> Iterator[tuple[tuple[str, str], list[str]]]:
        """All series of the store, each as (Study and Series Instance UID) and the SOP Instance UIDs in it."""
        for first in _folders(self._objects):
            for second in _folders(first):
                for study in _folders(second):
                    for series in _folders(study):
                        pair = (os.path.basename(study), os.path.basename(series))
                        if is_uid(pair[0]) and is_uid(pair[1]):
                            yield pair, list(_instances(series))

    def quarantined(self) -> Iterator[str]:
        """The paths of the files in quarantine."""
        for folder in _folders(self._quarantine):
            with os.scandir(folder) as entries:
                yield from (entry.path for entry in entries)

    def _prepare(self) -> None:
        self._write_state(_IN_USE)
        for folder in (self._objects, self._quarantine, self._staging):
            os.makedirs(folder, exist_ok=True)
        self._flush_folder(str(self.root))
        with os.scandir(self._staging) as left:
            for entry in left:
                os.unlink(entry.path)

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
        os.pwrite(self._lock, state, 0)
        os.ftruncate(self._lock, len(state))
        if self.sync:
            os.fsync(self._lock)

    def _series_folder(self, name: ObjectName) -> str:
        return f"{self._objects}{os.sep}{_study_folder(name.study)}{os.sep}{name.series}"

    def _link_into_quarantine(self, path: str, instance: str) -> None:
        folder = os.path.join(self._quarantine, instance)
        self._make_durable(folder)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with contextlib.suppress(FileExistsError):
            _link(path, os.path.join(folder, digest + _SUFFIX))
        self._flush_folder(folder)
        _log.warning("a file is kept in quarantine, not stored as SOP instance %s", instance)

    def _make_durable(self, folder: str) -> None:
        """Create a folder and those above it, and return when all of them are on the medium."""
        if folder in self._durable:
            return
        parent = os.path.dirname(folder)
        if folder not in (self._objects, self._quarantine):
            self._make_durable(parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o750)
        # Flush even if the folder exists: another process or thread may have created it and not flushed it yet.
        self._flush_folder(parent)
        with self._folders:
            if len(self._durable) > 100_000:
                self._durable.clear()
            self._durable.add(folder)

    def _flush_data(self, staged: StagedFile) -> None:
        if not self.sync:
            return
        try:
            _FLUSH_DATA(staged.descriptor)
        except OSError as error:
            error.filename = staged.path
            raise

    def _flush_folder_or_need_recovery(self, folder: str) -> None:
        try:
            self._flush_folder(folder)
        except OSError:
            self.needs_recovery = True
            raise

    def _flush_folder(self, folder: str) -> None:
        if not self.sync or sys.platform == "win32":
            return
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_file_header(path: str | os.PathLike[str]) -> FileHeader:
    """Read the preamble and the file meta information of a file.

    Raises
    ------
    UnusableObject
        If it is not a DICOM file, or is damaged.
    OSError
        If it cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        header, _ = read_header(file)
    if not header.transfer_syntax_uid:
        raise UnusableObject("the file has no file meta information")
    return header


def _link(source: str, target: str) -> None:
    """Give a file a second name. An existing file is never replaced."""
    if sys.platform == "win32":
        os.rename(source, target)
    else:
        os.link(source, target)


def _without_first(buffers: Sequence[Buffer], count: int) -> list[Buffer]:
    """The buffers without their first `count` bytes."""
    left = list(buffers)
    while count >= len(left[0]):
        count -= len(left.pop(0))
    left[0] = memoryview(left[0])[count:]
    return left


def _compared(one: str, other: str) -> Placement:
    """What becomes of a file whose name another one has; who sent them does not matter."""
    try:
        first, second = read_file_header(one), read_file_header(other)
    except UnusableObject:
        return Placement.QUARANTINED
    syntaxes = first.transfer_syntax_uid, second.transfer_syntax_uid
    with open(one, "rb") as left, open(other, "rb") as right:
        left.seek(first.offset)
        right.seek(second.offset)
        if syntaxes[0] == syntaxes[1] and _have_same_bytes(left, right):
            return Placement.SAME
        left.seek(first.offset)
        right.seek(second.offset)
        if have_same_content(Encoded(left, syntaxes[0]), Encoded(right, syntaxes[1]), _vr_of):
            return Placement.SAME_IN_ANOTHER_FORM
    return Placement.QUARANTINED


def _have_same_bytes(left: BinaryIO, right: BinaryIO) -> bool:
    """Whether what is left of two files is the same."""
    rest, other_rest = (os.fstat(file.fileno()).st_size - file.tell() for file in (left, right))
    if rest != other_rest:
        return False
    while block := left.read(_BLOCK):
        if block != right.read(len(block)):
            return False
    return True


def _vr_of(tag: int) -> str:
    """What the data dictionary says, which a store needs only where objects differ."""
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def _folders(path: str) -> Iterator[str]:
    with os.scandir(path) as entries:
        yield from sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))


def _instances(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name, suffix = os.path.splitext(entry.name)
            if suffix == _SUFFIX and is_uid(name) and entry.is_file(follow_symlinks=False):
                yield name


def object_path(root: str | os.PathLike[str], name: ObjectName) -> str:
    """The path of an object below the folder of a store, which need not be open."""
    return os.path.join(root, "objects", _study_folder(name.study), name.series, name.instance + _SUFFIX)
