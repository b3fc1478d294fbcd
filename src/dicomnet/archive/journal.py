"""The intake journal: what is in it and flushed survives a power cut, with one flush for all who wait at the time.

It consists of segments, files of one length that are written over and over: a flush of what is written in place moves
data only, neither a length nor a name, which takes half of the time that a new file takes. A segment is free again when
everything in it has been filed.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from zlib import crc32

from ..drivers.medium import flush_folder
from ..values import Buffer, frozen, mutable

_log = logging.getLogger(__name__)

SEGMENT_LENGTH = 8 << 20
# How many segments may wait for records that are not filed for long.
_HELD_UP = 4

# Magic, number of the record, length of its description, length of its content, checksum of all but this header.
_HEADER = struct.Struct("<8sQIII")
_MAGIC = b"dcmjrnl1"
_NOTHING = bytes(_HEADER.size)
_BLOCK = bytes(1 << 20)
_SUFFIX = ".segment"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_flush_data = getattr(os, "fdatasync", os.fsync)


@frozen
class Record:
    """A record as it is read again.

    Parameters
    ----------
    number
        Its number; a later record has a higher one.
    description, content
        What `Journal.append` was given.
    """

    number: int
    description: bytes
    content: bytes


@mutable
class Segment:
    """A file of the journal.

    Parameters
    ----------
    path, descriptor
        The file.
    end
        Where the next record begins, in bytes.
    open_records
        How many records in it have not been filed.
    is_needless
        Whether it has only records that are not to be read again.
    """

    path: str
    descriptor: int
    end: int = 0
    open_records: int = 0
    is_needless: bool = False


@frozen
class Position:
    """Where a record is: the segment it lies in, and its number."""

    segment: Segment
    number: int


class Journal:
    """The journal of one process. It may be shared between threads.

    Parameters
    ----------
    folder
        Where its segments are; created when the first record is appended.
    sync
        Whether `flush` waits until the records are on the medium.
    """

    def __init__(self, folder: str | os.PathLike[str], *, sync: bool = True) -> None:
        self._folder = Path(folder)
        self._sync = sync
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._names = itertools.count()
        self._segment: Segment | None = None
        self._free: list[Segment] = []
        # Segments that are full; they wait until what is in them has been filed.
        self._full: list[Segment] = []
        self._appended = self._flushed = 0
        # Up to which record all lie in segments that were flushed when they were full. That counts once no other flush
        # is under way, as the one that fails may be another than the one that finds out.
        self._sealed = 0
        # Numbers of records that may not be on the medium, and are not read again.
        self._revoked: list[range] = []
        self._is_closed = False

    def append(self, description: bytes, content: Sequence[Buffer]) -> Position:
        """Append a record; it is durable after a `flush`.

        Parameters
        ----------
        description, content
            What it consists of, together not longer than `SEGMENT_LENGTH` less 4 KiB.

        Raises
        ------
        OSError
            If it cannot be written. It is then not in the journal.
        """
        length = sum(map(len, content))
        checksum = crc32(description)
        for part in content:
            checksum = crc32(part, checksum)
        whole = _HEADER.size + len(description) + length
        with self._lock:
            segment = self._segment_for(whole)
            # Only what was written has a number, as a gap would end the reading.
            number = self._appended + 1
            header = _HEADER.pack(_MAGIC, number, len(description), length, checksum)
            _write(segment.descriptor, (header, description, *content), segment.end, whole)
            segment.end += whole
            segment.open_records += 1
            self._appended = number
        return Position(segment, number)

    def flush(self, number: int) -> None:
        """Return when all records up to a number are on the medium.

        Raises
        ------
        OSError
            If they may not be.
        """
        if self._flushed < number:
            # Whoever comes first flushes for all that have appended by then.
            with self._flushing:
                with self._lock:
                    self._flushed = max(self._flushed, self._sealed)
                if self._flushed < number:
                    self._flush()
        if self._revoked and any(number in each for each in self._revoked):
            raise OSError(errno.EIO, "it could not be flushed")

    def _flush(self) -> None:
        with self._lock:
            upto, segment = self._appended, self._segment
        if self._sync and segment is not None:
            try:
                _flush_data(segment.descriptor)
            except OSError:
                with self._lock:
                    self._revoke(segment)
                raise
        # With the lock, as the segment may just have been found out to be broken when it was full.
        with self._lock:
            self._flushed = upto

    @property
    def is_held_up(self) -> bool:
        """Whether segments wait that would be free, but for a few records."""
        return len(self._full) >= _HELD_UP

    def filed(self, positions: Sequence[Position]) -> list[Segment]:
        """Records have been filed.

        Returns
        -------
        list
            The segments that are thereby done with. They are to be recycled once what was filed is durable.
        """
        with self._lock:
            for position in positions:
                position.segment.open_records -= 1
            # Only from the oldest on: what is read again must not be older than what is not.
            done = list(itertools.takewhile(lambda segment: not segment.open_records, self._full))
            del self._full[: len(done)]
        return done

    def refused(self, positions: Sequence[Position]) -> None:
        """Records were not acknowledged."""
        with self._flushing, self._lock:
            for position in positions:
                position.segment.open_records -= 1
            # While the medium is broken, each further record is in a segment of its own.
            needless = [each for each in self._full if each.is_needless and not each.open_records]
            self._full = [each for each in self._full if each not in needless]
        for segment in needless:
            os.close(segment.descriptor)
            with contextlib.suppress(OSError):
                os.unlink(segment.path)

    def recycle(self, segments: Sequence[Segment]) -> None:
        """Make segments free whose content is durable elsewhere.

        Raises
        ------
        OSError
            If one cannot be marked as free; it and those after it are done with at the next call of `filed`.
        """
        for at, segment in enumerate(segments):
            try:
                os.pwrite(segment.descriptor, _NOTHING, 0)
                if self._sync:
                    _flush_data(segment.descriptor)
            except OSError:
                with self._lock:
                    self._full[:0] = segments[at:]
                raise
            segment.end = 0
            with self._lock:
                self._free.append(segment)

    def close(self, *, is_filed: bool) -> None:
        """Close the journal.

        Parameters
        ----------
        is_filed
            Whether all records have been filed durably, so that none has to be read again. The segments are removed.
        """
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            segments = [*self._free, *self._full, *([self._segment] if self._segment is not None else [])]
            self._segment, self._free, self._full = None, [], []
        for segment in segments:
            os.close(segment.descriptor)
        if is_filed:
            remove(self._folder)

    def _segment_for(self, length: int) -> Segment:
        segment = self._segment
        if segment is None or segment.end + length > SEGMENT_LENGTH:
            fresh = self._free.pop() if self._free else self._create()
            if segment is not None:
                try:
                    if self._sync:
                        # A flush looks at the present segment only.
                        _flush_data(segment.descriptor)
                except OSError:
                    self._free.append(fresh)
                    self._revoke(segment)
                    raise
                self._sealed = self._appended
                self._full.append(segment)
            self._segment = segment = fresh
        return segment

    def _create(self) -> Segment:
        if self._is_closed:
            raise ValueError("the journal is closed")
        is_first = not self._folder.exists()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = str(self._folder / f"{next(self._names)}{_SUFFIX}")
        descriptor = os.open(path, _FLAGS, 0o640)
        try:
            for at in range(0, SEGMENT_LENGTH, len(_BLOCK)):
                _write(descriptor, (_BLOCK,), at, len(_BLOCK))
            if self._sync:
                os.fsync(descriptor)
                flush_folder(str(self._folder))
                if is_first:
                    flush_folder(str(self._folder.parent))
                    flush_folder(str(self._folder.parent.parent))
        except OSError:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
        return Segment(path, descriptor)

    def _revoke(self, segment: Segment) -> None:
        """After a flush that failed: what was not acknowledged is not to be read again. Called with the lock held."""
        self._sealed = min(self._sealed, self._flushed)
        found = [
            (record.number, at)
            for record, at in _records(segment.descriptor)
            if record.number > self._flushed
        ]
        if found:
            first, position = found[0]
            with contextlib.suppress(OSError):
                os.pwrite(segment.descriptor, _NOTHING, position)
            if self._revoked and self._revoked[-1].stop == first:
                first = self._revoked.pop().start
            self._revoked.append(range(first, found[-1][0] + 1))
            segment.is_needless = position == 0
        if segment is self._segment:
            # Whether the medium has what was written since is not known, so nothing more is written behind it.
            self._segment = None
            self._full.append(segment)


def read(folder: str | os.PathLike[str]) -> Iterator[Record]:
    """The records that a process left in its journal, in their order.

    Raises
    ------
    OSError
        If a segment cannot be read.
    """
    found: list[tuple[int, str]] = []
    for path in _segments(folder):
        with _opened(path) as descriptor:
            first = next(_records(descriptor), None)
        if first is not None:
            found.append((first[0].number, path))
    for _, path in sorted(found):
        with _opened(path) as descriptor:
            for record, _ in _records(descriptor):
                yield record


def remove(folder: str | os.PathLike[str]) -> None:
    """Remove the journal of a process whose records have all been filed durably."""
    for path in _segments(folder):
        os.unlink(path)
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def strays(folder: str | os.PathLike[str]) -> list[str]:
    """The names of files and folders in the folder of a journal that are not its segments."""
    try:
        return sorted(entry.name for entry in os.scandir(folder) if not entry.name.endswith(_SUFFIX))
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _segments(folder: str | os.PathLike[str]) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(folder) if entry.name.endswith(_SUFFIX)]
    except FileNotFoundError:
        return []


def _records(descriptor: int) -> Iterator[tuple[Record, int]]:
    """The records of a segment, each with where it begins. What was left by an earlier use ends them."""
    at, expected = 0, None
    while at + _HEADER.size <= SEGMENT_LENGTH:
        header = os.pread(descriptor, _HEADER.size, at)
        if len(header) < _HEADER.size:
            return
        magic, number, described, length, checksum = _HEADER.unpack(header)
        if magic != _MAGIC or (expected is not None and number != expected):
            return
        body = os.pread(descriptor, described + length, at + _HEADER.size)
        if len(body) < described + length or crc32(body) != checksum:
            return
        yield Record(number, body[:described], body[described:]), at
        at += _HEADER.size + described + length
        expected = number + 1


def _write(descriptor: int, buffers: Sequence[Buffer], at: int, length: int) -> None:
    if hasattr(os, "pwritev"):
        written = os.pwritev(descriptor, buffers, at)
        if written == length:
            return
    data = b"".join(buffers)
    done = 0
    while done < length:
        done += os.pwrite(descriptor, data[done:], at + done)
