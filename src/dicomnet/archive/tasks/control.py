"""The control socket: the way for commands on this machine to the node that has an archive.

It lies in the folder of the archive, and only who may write there can use it. A connection is for one task: its name
and parameters come as one line of JSON, and what it reports goes back as such lines, each with what it is about and its
fields; the last one is the end.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any, BinaryIO

from ...errors import DicomnetError, StoreInUse
from ..holdings import Holdings
from .task import Perform, Reporter, TaskFailed, TaskStopped, in_words, performed, performer

_log = logging.getLogger(__name__)

NAME = "control"
# What a line is about.
PROGRESS, ITEM, END, FAILED = "progress", "item", "end", "failed"
# The longest request, in bytes; a path may have 4,096.
_LONGEST = 1 << 20
# The longest name of a socket that every system takes.
_LONGEST_NAME = 100
# How long a command waits for a node that is starting, and how often it looks, in seconds.
_PATIENCE, _LOOK = 5.0, 0.05
# How long a command that does not read what is reported is waited for, in seconds.
_SEND_SECONDS = 30.0


class Control:
    """The control socket of a node.

    Parameters
    ----------
    holdings
        The archive.
    find
        Finds the function that performs a task by its name, as `performer` does.

    Raises
    ------
    OSError
        If the socket cannot be made.
    """

    def __init__(self, holdings: Holdings, find: Callable[[str], Perform] = performer) -> None:
        self._holdings = holdings
        self._find = find
        self._folder = holdings.local.root
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._is_closing = False
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            # One that a killed node has left; the lock on the archive says that there is no other.
            with _address(self._folder) as address:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._folder / NAME)
                # Whoever may connect may delete, so nobody else may for a moment, either.
                self._listener.bind(address)
                os.chmod(self._folder / NAME, 0o600)
            self._listener.listen()
        except BaseException:
            self._listener.close()
            raise
        # From Python 3.13 on, one that was made before a fork cannot be started behind it.
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to take tasks."""
        self._thread = threading.Thread(target=self._accept, name="dicomnet-tasks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more tasks, and have those that are under way stop at their next report."""
        with self._lock:
            self._is_closing = True
            # This wakes the thread that accepts, and those that wait for a request or until something is read.
            for each in (self._listener, *self._open):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop, and wait for the tasks that are under way."""
        self.stop()
        if self._thread is not None:
            self._thread.join()
        for thread in self._threads:
            thread.join()
        if self._listener.fileno() >= 0:
            # Afterwards, another node may have one there.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._folder / NAME)
            self._listener.close()

    def _accept(self) -> None:
        is_told = False
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if self._is_closing:
                    return
                if not is_told:
                    _log.error("no task can be taken now: %s", error)
                    is_told = True
                sleep(_LOOK)
                continue
            is_told = False
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            with self._lock:
                if self._is_closing:
                    connection.close()
                    return
                self._open.add(connection)
                self._threads = [each for each in self._threads if each.is_alive()]
                self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(_SEND_SECONDS)
        with connection, connection.makefile("rb") as reader:
            try:
                self._perform(connection, reader)
            except OSError:
                # The command is gone; nobody is left to be told.
                pass
            finally:
                with self._lock:
                    self._open.discard(connection)

    def _perform(self, connection: socket.socket, reader: BinaryIO) -> None:
        name = "?"
        try:
            request = json.loads(reader.readline(_LONGEST))
            name, parameters = request["task"], request["parameters"]
            _log.warning("task %s begins", name)
            summary = performed(
                self._holdings, name, parameters, _Sender(connection), _user_of(connection), self._find
            )
        except (DicomnetError, OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("task %s ends: %s", name, in_words(error))
            _send(connection, FAILED, {"cause": in_words(error)})
        except Exception as error:  # noqa: BLE001
            _log.exception("task %s has failed", name)
            _send(connection, FAILED, {"cause": f"the node has failed: {type(error).__name__}; see its log"})
        else:
            _log.warning("task %s is done", name)
            _send(connection, END, summary)


def _user_of(connection: socket.socket) -> str:
    """Who is at the other end, as the kernel says; empty where it does not."""
    if not hasattr(socket, "SO_PEERCRED"):
        return ""
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    try:
        import pwd

        return pwd.getpwuid(user).pw_name
    except (ImportError, KeyError):
        return str(user)


class _Sender(Reporter):
    """Sends what a task reports to the command that asked for it."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection

    def show_progress(self, done: int, total: int | None) -> None:
        self._send(PROGRESS, {"done": done, "total": total})

    def item(self, **fields: Any) -> None:
        self._send(ITEM, fields)

    def _send(self, about: str, fields: Mapping[str, Any]) -> None:
        try:
            _send(self._connection, about, fields)
        except OSError:
            raise TaskStopped from None


def ask(folder: Path, name: str, parameters: Mapping[str, Any], reporter: Reporter) -> Mapping[str, Any]:
    """Have the node that has an archive perform a task.

    Parameters
    ----------
    folder
        The folder of the archive.
    name, parameters
        The task, and what it takes besides archive and reporter.
    reporter
        Where it reports.

    Returns
    -------
    mapping
        Its summary.

    Raises
    ------
    StoreInUse
        If another process than a node has the archive.
    TaskFailed
        If the task fails there, or the node ends.
    OSError
        If the node cannot be reached, for instance since this user may not.
    """
    with _connected(folder) as connection, connection.makefile("rb") as reader:
        connection.sendall(json.dumps({"task": name, "parameters": parameters}).encode() + b"\n")
        for line in reader:
            about, fields = json.loads(line)
            if about == PROGRESS:
                reporter.show_progress(**fields)
            elif about == ITEM:
                reporter.item(**fields)
            elif about == FAILED:
                raise TaskFailed(fields["cause"])
            else:
                summary: Mapping[str, Any] = fields
                return summary
    raise TaskFailed("the node that has the archive has ended before the task was done")


def _connected(folder: Path) -> socket.socket:
    """A connection to the node that has an archive."""
    if not hasattr(socket, "AF_UNIX"):
        raise StoreInUse(str(folder))
    end = monotonic() + _PATIENCE
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            with _address(folder) as address:
                connection.connect(address)
            return connection
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            # A node that starts has the archive a moment before it can be asked.
            if monotonic() >= end:
                raise StoreInUse(str(folder)) from None
            sleep(_LOOK)
        except BaseException:
            connection.close()
            raise


@contextlib.contextmanager
def _address(folder: Path) -> Iterator[str]:
    """The address of the control socket; one that is too long for an address is reached through its folder."""
    path = os.fspath(folder / NAME)
    if len(os.fsencode(path)) <= _LONGEST_NAME:
        yield path
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)


def _send(connection: socket.socket, about: str, fields: Mapping[str, Any]) -> None:
    connection.sendall(json.dumps([about, fields]).encode() + b"\n")
