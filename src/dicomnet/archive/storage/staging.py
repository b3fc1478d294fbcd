"""The staging folder of an archive: files of objects that have no name in the store yet, on this machine.

A large object is written there as it comes, and is durable there until the store gives it its name.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from io import BufferedReader
from pathlib import Path

from ...drivers.buffers import without_first
from ...drivers.medium import flush_file_system, flush_folder
from ...values import Buffer

# The name of the staging folder, in the folder of an archive.
STAGING = "staging"
# The names of files there: the process, what tells it from one with its ID, that ID, and a number.
_NAME = re.compile(r"\d+-[0-9a-f]{8}-\d+-\d+")
_BUFFERS_PER_CALL = 512
# So many names are made durable by one flush.
_STAGED_AHEAD = 8
_FLUSH_DATA = getattr(os, "fdatasync", os.fsync)
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class StagedFile:
    """A file that is being written in the staging folder, or is complete. Its name there is durable.

    Parameters
    ----------
    path
        The file.
    descriptor
        It, open for reading and writing, or only for reading where it has its content; -1 once it is complete.
    """

    __slots__ = ("_descriptor", "_path")

    def __init__(self, path: str, descriptor: int = -1) -> None:
        self._path = path
        self._descriptor = descriptor

    @property
    def name(self) -> str:
        """Its name in the staging folder, by which `Staging.find` finds it again."""
        return os.path.basename(self._path)

    @property
    def descriptor(self) -> int:
        """The file descriptor, open for reading and writing, while the file is not complete."""
        return self._descriptor

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Append buffers, with as few system calls as possible.

        Raises
        ------
        OSError
            If they cannot be written; it names the file.
        """
        with naming(self._path):
            write_all(self._descriptor, buffers)

    def finish(self, *, sync: bool) -> None:
        """Close the file, whose content is then complete, and on the medium if it is to be."""
        try:
            if sync:
                with naming(self._path):
                    _FLUSH_DATA(self._descriptor)
        finally:
            # Even if `close` fails the descriptor is closed, and its number may soon belong to another file.
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def open(self) -> BufferedReader:
        """The file, complete, for reading.

        Raises
        ------
        OSError
            If it cannot be read; FileNotFoundError if it is gone.
        """
        return open(self._path, "rb")

    def discard(self) -> None:
        """Close the file and remove it. A second call does nothing."""
        try:
            if self._descriptor >= 0:
                self.finish(sync=False)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)


class Staging:
    """The staging folder of an archive: objects that have no name in a store yet, or are about to get one.

    Parameters
    ----------
    folder
        The folder; it need not be there until something is staged.
    sync
        Whether names are made durable before they are used.

    Attributes
    ----------
    process
        Which of the processes of an archive this one is; the names of its staged files begin with it.
    """

    def __init__(self, folder: Path, *, sync: bool = True) -> None:
        self.process = 0
        self._folder = str(folder)
        self._sync = sync
        self._ahead: list[str] = []
        self._lock = threading.Lock()
        # In a container, a process may have the same ID as the one that was killed and has left staged files.
        self._opening = os.urandom(4).hex()
        self._numbers = itertools.count()

    def stage(self) -> StagedFile:
        """Create a file to write an object into.

        Raises
        ------
        OSError
            If it cannot be created.
        """
        with self._lock:
            if not self._ahead:
                self._stage_ahead()
            path = self._ahead.pop()
        return StagedFile(path, os.open(path, _FLAGS, 0o640))

    def link(self, path: str) -> StagedFile:
        """Stage a file that lies on the same file system, by giving it a second name, which is not durable yet.

        Parameters
        ----------
        path
            The file; a symbolic link is followed.

        Raises
        ------
        OSError
            If it cannot have a second name here, or cannot be read.
        """
        staged = self._next()
        # The call itself does not follow a link everywhere.
        os.link(os.path.realpath(path), staged)
        try:
            return StagedFile(staged, os.open(staged, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)))
        except OSError:
            os.unlink(staged)
            raise

    def make_durable(self) -> None:
        """Return when all files in the folder are on the medium, names and contents.

        Raises
        ------
        OSError
            If they may not be.
        """
        if self._sync:
            flush_file_system(self._folder)

    def write(self, content: Sequence[Buffer]) -> StagedFile:
        """Stage an object whose content is durable elsewhere.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        path = self._next()
        with naming(path):
            descriptor = os.open(path, _FLAGS | os.O_EXCL, 0o640)
            try:
                try:
                    write_all(descriptor, content)
                finally:
                    os.close(descriptor)
            except OSError:
                os.unlink(path)
                raise
        return StagedFile(path)

    def find(self, name: str) -> StagedFile | None:
        """A file that was staged, by its name; None if there is none of that name any more."""
        path = self.path(name)
        return StagedFile(path) if os.path.exists(path) else None

    def path(self, name: str) -> str:
        """The path of a file, by its name."""
        return f"{self._folder}{os.sep}{name}"

    def clear(self, process: int | None = None, *, keep: Collection[str] = ()) -> None:
        """Remove the staged files of one process that has ended, or of all, except those with some names."""
        begin = "" if process is None else f"{process}-"
        with os.scandir(self._folder) as left:
            for entry in left:
                if entry.name.startswith(begin) and entry.name not in keep:
                    os.unlink(entry.path)

    def strays(self) -> list[str]:
        """The names of files and folders there that this program never makes."""
        with os.scandir(self._folder) as there:
            return sorted(
                entry.name for entry in there if not (_NAME.fullmatch(entry.name) and entry.is_file())
            )

    def close(self) -> None:
        """Remove the names that were made ahead."""
        with self._lock:
            for path in self._ahead:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            self._ahead.clear()

    def _next(self) -> str:
        return self.path(f"{self.process}-{self._opening}-{os.getpid()}-{next(self._numbers)}")

    def _stage_ahead(self) -> None:
        """Make the names of files that will be staged durable, so that flushing one's content is all it takes."""
        for _ in range(_STAGED_AHEAD):
            path = self._next()
            os.close(os.open(path, _FLAGS | os.O_EXCL, 0o640))
            self._ahead.append(path)
        if self._sync:
            flush_folder(self._folder)


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
            buffers = without_first(buffers, written)
