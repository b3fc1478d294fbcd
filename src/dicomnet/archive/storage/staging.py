"""Files that are being written in the staging folder of a store."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

from ...values import Buffer

_BUFFERS_PER_CALL = 512
_FLUSH_DATA = getattr(os, "fdatasync", os.fsync)
STAGING_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class StagedFile:
    """A file that is being written in the staging folder. Its name there is durable."""

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = os.open(path, STAGING_FLAGS, 0o640)

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
        with naming(self.path):
            write_all(self._descriptor, buffers)

    def finish(self, *, sync: bool) -> None:
        """Close the file, whose content is then complete, and on the medium if it is to be."""
        try:
            if sync:
                with naming(self.path):
                    _FLUSH_DATA(self._descriptor)
        finally:
            # Even if `close` fails the descriptor is closed, and its number may soon belong to another file.
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def discard(self) -> None:
        """Close the file and remove it. A second call does nothing."""
        try:
            if self._descriptor >= 0:
                self.finish(sync=False)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)


if sys.platform == "win32":

    def _write_some(descriptor: int, buffers: Sequence[Buffer]) -> int:
        return os.write(descriptor, buffers[0])
else:

    def _write_some(descriptor: int, buffers: Sequence[Buffer]) -> int:
        return os.writev(descriptor, buffers[:_BUFFERS_PER_CALL])


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Within the block, an error of a file names it; only what opens a file does so by itself."""
    try:
        yield
    except OSError as error:
        error.filename = path
        raise


def write_all(descriptor: int, buffers: Sequence[Buffer]) -> None:
    """Append buffers to a file, with as few system calls as possible.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    left = sum(map(len, buffers))
    while left:
        written = _write_some(descriptor, buffers)
        left -= written
        if left:
            buffers = _without_first(buffers, written)


def _without_first(buffers: Sequence[Buffer], count: int) -> list[Buffer]:
    """The buffers without their first `count` bytes."""
    left = list(buffers)
    while count >= len(left[0]):
        count -= len(left.pop(0))
    left[0] = memoryview(left[0])[count:]
    return left
