"""The store: one folder that holds every object as a DICOM file, under names that are made from validated UIDs.

Files are written in a staging folder, made durable, and only then linked to their name. Nothing is overwritten.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from functools import lru_cache
from pathlib import Path
from time import monotonic, sleep
from typing import BinaryIO, Self

from ..drivers.files import read_header
from ..encoding.comparison import Encoded, have_same_content
from ..encoding.file_header import FileHeader
from ..encoding.identity import is_uid
from ..errors import StoreInUse, UnusableObject
from ..values import Buffer, frozen

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_BLOCK = 1 << 20
_BUFFERS_PER_CALL = 512
_SUFFIX = ".dcm"
_FLUSH_DATA = getattr(os, "fdatasync", os.fsync)
_STAGING_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# How long to wait for the lock, in seconds: the workers of a node that was killed hold it until they have noticed.
_PATIENCE = 0.5
_IN_USE, _AT_REST = b"in use\n", b"at rest\n"


@lru_cache(maxsize=1024)
def _spread(study: str) -> str:
    """The folders of a study, spread over two levels so that none of them gets too many."""
    spread = hashlib.blake2b(study.encode("ascii"), digest_size=2).hexdigest()
    return os.sep.join((spread[:2], spread[2:], study))


@frozen
class ObjectName:
    """What names an object in the store.

    Parameters
    ----------
    study, series, instance
        Study, Series and SOP Instance UID.

    Raises
    ------
    ValueError
        If one of them is no UID.
    """

    study: str
    series: str
    instance: str

    def __post_init__(self) -> None:
        if not (is_uid(self.study) and is_uid(self.series) and is_uid(self.instance)):
            raise ValueError("an object can only be named by UIDs")


class Placement(Enum):
    """What became of a staged file."""

    NEW = "it was the first of its name"
    SAME = "the store has the same object already"
    SAME_IN_ANOTHER_FORM = "the store has the same object already, encoded otherwise"
    QUARANTINED = "the store has another object of that name, and keeps this one in quarantine"


class StagedFile:
    """A file that is being written, and that nobody sees yet. It is gone unless it is placed."""

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = os.open(path, _STAGING_FLAGS, 0o640)

    @property
    def descriptor(self) -> int:
        """The open file."""
        return self._descriptor

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Append buffers, with as few system calls as possible.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        left = sum(map(len, buffers))
        while left:
            written = _write_some(self._descriptor, buffers)
            left -= written
            if left:
                buffers = _behind(buffers, written)

    def discard(self) -> None:
        """Close the file and remove its name in the staging folder. Does nothing the second time."""
        if self._descriptor < 0:
            return
        # It is closed whatever `close` says, and its number soon that of another file.
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

    Below it are ``objects/ab/cd/<study>/<series>/<instance>.dcm``, where ``ab`` and ``cd`` come from a hash of the
    Study Instance UID; ``quarantine/<instance>/<hash>.dcm`` with the objects that came under the name of another;
    ``staging``, emptied when the store is opened; and ``lock``.

    Parameters
    ----------
    root
        The folder; made if it is not there.
    sync
        Whether to wait until the medium has what is placed. Without it an object survives the end of the process, but
        not a power cut.

    Attributes
    ----------
    was_unclean
        Whether the last process ended without `close`, or without having recovered.
    needs_recovery
        Whether an index may lack something of the store; the next process then finds `was_unclean`.

    Raises
    ------
    StoreInUse
        If another process has it open.
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
        self._lock = self._take()
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
        """Let go of the store. It counts as cleanly closed unless `needs_recovery` was set. May be called twice."""
        if self._lock < 0:
            return
        if not self.needs_recovery:
            self._mark(_AT_REST)
        os.close(self._lock)
        self._lock = -1

    def path(self, name: ObjectName) -> str:
        """Where an object lies, whether it is there or not."""
        return f"{self._series_folder(name)}{os.sep}{name.instance}{_SUFFIX}"

    def stage(self) -> StagedFile:
        """A new file in the staging folder, on the file system of the store.

        Raises
        ------
        OSError
            If it cannot be made.
        """
        return StagedFile(f"{self._staging}{os.sep}{os.getpid()}-{next(self._numbers)}")

    def forget_staged(self, process: int) -> None:
        """Remove what a process that is gone has left in the staging folder; a later one may have its number."""
        with os.scandir(self._staging) as left:
            for entry in left:
                if entry.name.startswith(f"{process}-"):
                    os.unlink(entry.path)

    def place(self, staged: StagedFile, name: ObjectName) -> Placement:
        """Give a staged file its name, unless that is taken. The staged file is discarded.

        When this returns the content is on the medium, whichever the answer is; the name is there after `settle`.

        Raises
        ------
        OSError
            If something cannot be written. A file of that name may then be there, whole; see `needs_recovery`.
        """
        try:
            self._flush_data(staged.descriptor)
            try:
                return self._put(staged, name)
            except FileNotFoundError:
                # Somebody has removed folders that were known to be there.
                with self._folders:
                    self._durable.clear()
                return self._put(staged, name)
        finally:
            try:
                staged.discard()
            except OSError:
                # It may have its name, and is refused.
                self.needs_recovery = True
                raise

    def settle(self, names: Iterable[ObjectName]) -> None:
        """Wait until the medium has the names of placed objects, whoever has placed them.

        Raises
        ------
        OSError
            If it cannot be written. The files may be there all the same, whole; see `needs_recovery`.
        """
        for folder in {self._series_folder(name) for name in names}:
            self._flush_folder_or_owe(folder)

    def _put(self, staged: StagedFile, name: ObjectName) -> Placement:
        folder = self._series_folder(name)
        self._make_durable(folder)
        target = f"{folder}{os.sep}{name.instance}{_SUFFIX}"
        try:
            _link(staged.path, target)
        except FileExistsError:
            placement = _compared(staged.path, target)
            if placement is Placement.QUARANTINED:
                self._keep_apart(staged.path, name.instance)
            return placement
        return Placement.NEW

    def quarantine(self, name: ObjectName) -> None:
        """Move a placed object into quarantine, for instance because it was stored under another study before.

        Raises
        ------
        OSError
            If it cannot be moved.
        """
        path = self.path(name)
        try:
            self._keep_apart(path, name.instance)
        except FileNotFoundError:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._flush_folder_or_owe(os.path.dirname(path))

    def objects(self) -> Iterator[tuple[tuple[str, str], list[str]]]:
        """Every series of the store: its Study and Series Instance UID, and the SOP Instance UIDs in it."""
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
        self._mark(_IN_USE)
        for folder in (self._objects, self._quarantine, self._staging):
            os.makedirs(folder, exist_ok=True)
        self._flush_folder(str(self.root))
        with os.scandir(self._staging) as left:
            for entry in left:
                os.unlink(entry.path)

    def _take(self) -> int:
        lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o640)
        end = monotonic() + _PATIENCE
        while True:
            try:
                # The system frees the lock of a process that is gone, so no lock is ever stale.
                _lock(lock)
                return lock
            except OSError as error:
                is_taken = error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
                if is_taken and monotonic() < end:
                    sleep(_PATIENCE / 50)
                    continue
                os.close(lock)
                if is_taken:
                    raise StoreInUse(str(self.root)) from None
                raise

    def _mark(self, state: bytes) -> None:
        os.pwrite(self._lock, state, 0)
        os.ftruncate(self._lock, len(state))
        if self.sync:
            os.fsync(self._lock)

    def _series_folder(self, name: ObjectName) -> str:
        return f"{self._objects}{os.sep}{_spread(name.study)}{os.sep}{name.series}"

    def _keep_apart(self, path: str, instance: str) -> None:
        folder = os.path.join(self._quarantine, instance)
        self._make_durable(folder)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with contextlib.suppress(FileExistsError):
            _link(path, os.path.join(folder, digest + _SUFFIX))
        self._flush_folder(folder)

    def _make_durable(self, folder: str) -> None:
        """Make a folder and those above it; return only when the medium has them all."""
        if folder in self._durable:
            return
        parent = os.path.dirname(folder)
        if folder not in (self._objects, self._quarantine):
            self._make_durable(parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o750)
        # Another process or thread may have made it and not yet flushed it, so this is never left out.
        self._flush_folder(parent)
        with self._folders:
            if len(self._durable) > 100_000:
                self._durable.clear()
            self._durable.add(folder)

    def _flush_data(self, descriptor: int) -> None:
        if self.sync:
            _FLUSH_DATA(descriptor)

    def _flush_folder_or_owe(self, folder: str) -> None:
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
        If it is no DICOM file, or damaged.
    OSError
        If it cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        header, _ = read_header(file)
    if not header.transfer_syntax_uid:
        raise UnusableObject("the file has no file meta information")
    return header


def _link(source: str, target: str) -> None:
    """Give a file a second name; never replaces a file."""
    if sys.platform == "win32":
        os.rename(source, target)
    else:
        os.link(source, target)


def _behind(buffers: Sequence[Buffer], count: int) -> list[Buffer]:
    """Buffers without their first bytes."""
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
