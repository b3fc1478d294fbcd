"""Worker processes that accept on one port: a supervisor forks them, replaces those that die, and ends with its caller.

The supervisor is a process without threads, so that a replacement can be forked from it at any time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import struct
import sys
import threading
import weakref
from collections.abc import Callable
from time import monotonic
from typing import NoReturn, Protocol

from ...values import mutable
from ..transport import ListeningAddress, listen
from .fair_share import ConnectionCounts, FairShare

_log = logging.getLogger(__name__)

IN_ORDER, OUT_OF_ORDER = 0, 1
# What a supervisor and its workers are told: how long associations may go on, in seconds, and then the end; or, where
# that is negative, what follows, whose length in bytes is the second field.
_WORD = struct.Struct("!dI")
_GO_ON = -1.0
_ENDING = frozenset((signal.SIGTERM, signal.SIGINT))
# How long workers may take to end beyond what they may drain, in seconds; then they are killed.
_GRACE = 10.0
# A worker that dies is replaced at once; one after the other, with a growing delay, in seconds.
_LONGEST_DELAY = 30.0
_STEADY_SECONDS = 60.0


class Accepting(Protocol):
    """What accepts connections in a worker process, such as a `Server`."""

    def start(self) -> None:
        """Begin to accept."""
        ...

    def serve_forever(self) -> None:
        """Wait until it is shut down."""
        ...

    def shutdown(self, drain: float = 0.0) -> None:
        """Stop accepting, and end what is open after ``drain`` seconds at the most."""
        ...


class Worker:
    """A worker process, for what is done in it.

    Parameters
    ----------
    listener
        What it accepts on, together with the others.
    control
        Leads to the supervisor.
    share
        What it takes of the connections.
    number
        Its number, from 0; the process in the place of one that died has the same.
    on_told
        As of `WorkerProcesses`.
    """

    def __init__(
        self,
        listener: socket.socket,
        control: socket.socket,
        share: FairShare,
        number: int,
        on_told: OnTold,
    ) -> None:
        self.listener = listener
        self.share = share
        self.number = number
        self._control = control
        self._on_told = on_told

    def serve(self, server: Accepting) -> None:
        """Run a server until the supervisor ends it; where that is gone, the process ends at once."""
        threading.Thread(target=self._obey, args=(server,), name="dicomnet-control", daemon=True).start()
        server.start()
        server.serve_forever()
        self.share.remove()

    def _obey(self, server: Accepting) -> NoReturn:
        with contextlib.suppress(OSError):
            while (heard := _hear(self._control)) is not None:
                drain, told = heard
                if drain == _GO_ON:
                    self._on_told(told)
                else:
                    threading.Thread(target=server.shutdown, args=(drain,), daemon=True).start()
        os._exit(OUT_OF_ORDER)


# Takes what the processes of a server are told.
OnTold = Callable[[bytes], None]
# What is done in a worker process; tells whether it leaves everything in order.
Work = Callable[[Worker], bool]


class WorkerProcesses:
    """Several processes that listen on one address, each with as many threads as it needs (POSIX only).

    A connection is accepted by the worker that has the fewest. The processes end when this one does, however it ends.

    Parameters
    ----------
    address
        Host and port; an empty host is every IPv4 address, port 0 any free port.
    count
        How many workers.
    work
        Runs in each of them.
    on_lost
        Told of the process ID of each worker that did not end in order, in the supervisor's process.
    on_told
        Takes what `tell` says, in a thread of each worker, and before in the supervisor's process, from which the next
        workers are forked; must not raise.

    Raises
    ------
    ValueError
        If ``count`` is less than 1.
    OSError
        If the address cannot be bound.
    RuntimeError
        If this platform cannot fork.
    """

    def __init__(
        self,
        address: ListeningAddress,
        count: int,
        work: Work,
        on_lost: Callable[[int], None] | None = None,
        on_told: OnTold = lambda _: None,
    ) -> None:
        if count < 1:
            raise ValueError("a server has at least 1 worker")
        check_platform()
        self._listener = listen(address)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._count = count
        self._work = work
        self._on_lost = on_lost
        self._on_told = on_told
        self._control: socket.socket | None = None
        self._process = 0
        self._is_in_order = True
        # A signal's handler may shut down in the middle of `serve_forever`, or of `start`.
        self._lock = threading.RLock()
        self._is_over = False
        self._speaking = threading.RLock()

    @property
    def listener(self) -> socket.socket:
        """The socket that the workers accept connections on."""
        return self._listener

    def start(self) -> None:
        """Fork the supervisor, which forks the workers.

        Raises
        ------
        RuntimeError
            If this process has threads: what they are in the middle of would stay so in the workers.
        """
        if threading.active_count() > 1:
            raise RuntimeError(
                "worker processes are forked, which is safe only as long as the process has no second thread;"
                " start the server before any thread"
            )
        here, there = socket.socketpair()

        def supervise() -> int:
            here.close()
            return _Supervisor(
                self._listener, there, self._count, self._work, self._on_lost, self._on_told
            ).run()

        with there:
            try:
                self._process = _fork(supervise)
            except OSError:
                here.close()
                raise
        self._control = here
        self._listener.close()
        _started.add(self)
        if self._is_over:
            self.shutdown()

    def serve_forever(self) -> None:
        """Wait until another thread, or a signal's handler, has shut the workers down, or their supervisor is lost."""
        self._wait()

    def shutdown(self, drain: float = 0.0) -> bool:
        """Stop accepting, and end the associations; see `Server.shutdown`.

        Returns
        -------
        bool
            Whether each worker that there ever was has ended in order.
        """
        self._is_over = True
        if self._control is None:
            self._listener.close()
            return self._is_in_order
        with contextlib.suppress(OSError), self._speaking:
            self._control.sendall(_WORD.pack(drain, 0))
        self._wait()
        self._forget()
        return self._is_in_order

    def tell(self, what: bytes) -> None:
        """Let the supervisor and all workers know something, also those that will be.

        Raises
        ------
        OSError
            If they are gone.
        """
        if self._control is not None:
            with self._speaking:
                self._control.sendall(_WORD.pack(_GO_ON, len(what)) + what)

    def _wait(self) -> None:
        with self._lock:
            if not self._process:
                return
            try:
                status = os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])
            except ChildProcessError:
                if not self._process:
                    # A signal's handler has waited for it meanwhile.
                    return
                # Somebody else in this process has waited for it.
                status = OUT_OF_ORDER
            if status < 0:
                _log.error("the supervisor of the worker processes was ended by signal %d", -status)
            self._is_in_order = status == IN_ORDER
            self._process = 0

    def _forget(self) -> None:
        _started.discard(self)
        if self._control is not None:
            self._control.close()


def check_platform() -> None:
    """Raise RuntimeError where there can be no worker processes."""
    if not hasattr(os, "fork"):
        raise RuntimeError("worker processes need fork, which this platform does not have; use workers=1")


_started: weakref.WeakSet[WorkerProcesses] = weakref.WeakSet()


def _begin_anew() -> None:
    """A forked process must not keep alive the workers of its parent."""
    for each in list(_started):
        each._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


@mutable
class _Slot:
    """The place of a worker, and the process that has it; 0 where there is none at the moment."""

    number: int
    process: int = 0
    control: socket.socket | None = None
    since: float = 0.0
    due: float = 0.0
    deaths: int = 0


class _Supervisor:
    """Forks workers and waits for them, in a process of its own that has no threads."""

    def __init__(
        self,
        listener: socket.socket,
        control: socket.socket,
        count: int,
        work: Work,
        on_lost: Callable[[int], None] | None,
        on_told: OnTold,
    ) -> None:
        self._listener = listener
        self._control = control
        self._work = work
        self._on_lost = on_lost
        self._on_told = on_told
        self._counts = ConnectionCounts(count)
        self._slots = [_Slot(number) for number in range(count)]
        self._children, self._wake = socket.socketpair()
        self._is_in_order = True
        # When workers that still run are killed; None as long as they may run.
        self._limit: float | None = None

    def run(self) -> int:
        """Supervise until the caller ends it, or has ended; returns the exit status."""
        self._children.setblocking(False)
        self._wake.setblocking(False)
        signal.signal(signal.SIGCHLD, _note)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        selector = selectors.PollSelector()
        selector.register(self._control, selectors.EVENT_READ)
        selector.register(self._children, selectors.EVENT_READ)
        while self._limit is None or any(slot.process for slot in self._slots):
            for key, _ in selector.select(self._proceed()):
                if key.fileobj is self._children:
                    with contextlib.suppress(BlockingIOError):
                        self._children.recv(4096)
                elif not self._obey():
                    return OUT_OF_ORDER
            self._reap()
        return IN_ORDER if self._is_in_order else OUT_OF_ORDER

    def _proceed(self) -> float | None:
        """Do what is due now; returns the seconds until something is again, None for never."""
        now = monotonic()
        if self._limit is not None:
            if now >= self._limit:
                self._kill()
                return None
            return self._limit - now
        for slot in self._slots:
            if not slot.process and slot.due <= now:
                self._start(slot)
        return min((max(0.0, slot.due - now) for slot in self._slots if not slot.process), default=None)

    def _obey(self) -> bool:
        """Hand on what the caller says; False if there is no caller any more."""
        heard = _hear(self._control)
        if heard is None:
            self._kill()
            for slot in self._slots:
                if slot.process:
                    os.waitpid(slot.process, 0)
            return False
        drain, told = heard
        if drain == _GO_ON:
            self._on_told(told)
        else:
            self._limit = monotonic() + drain + _GRACE
            self._listener.close()
        word = _WORD.pack(drain, len(told)) + told
        for slot in self._slots:
            if slot.control is not None:
                with contextlib.suppress(OSError):
                    slot.control.sendall(word)
        return True

    def _kill(self) -> None:
        for slot in self._slots:
            if slot.process:
                os.kill(slot.process, signal.SIGKILL)

    def _start(self, slot: _Slot) -> None:
        here, there = socket.socketpair()
        slot.since = monotonic()
        slot.control = here
        # Counted from now on, so that those which start first do not take everything.
        self._counts.set(slot.number, 0)

        def work() -> int:
            for other in self._slots:
                if other.control is not None:
                    other.control.close()
            for each in (self._control, self._children, self._wake):
                each.close()
            share = FairShare(self._counts, slot.number)
            is_in_order = self._work(Worker(self._listener, there, share, slot.number, self._on_told))
            return IN_ORDER if is_in_order else OUT_OF_ORDER

        with there:
            try:
                slot.process = _fork(work)
            except OSError as error:
                _log.error("a worker process could not be started: %s", error)
                self._vacate(slot)

    def _reap(self) -> None:
        for slot in self._slots:
            if not slot.process:
                continue
            process, status = os.waitpid(slot.process, os.WNOHANG)
            if process:
                self._ended(slot, os.waitstatus_to_exitcode(status))

    def _ended(self, slot: _Slot, status: int) -> None:
        if status != IN_ORDER:
            self._is_in_order = False
            try:
                if self._on_lost is not None:
                    self._on_lost(slot.process)
            except OSError as error:
                _log.error("what worker process %d left cannot be removed: %s", slot.process, error)
        if self._limit is None or status < 0:
            how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
            _log.error("worker process %d %s", slot.process, how)
        self._vacate(slot)

    def _vacate(self, slot: _Slot) -> None:
        self._counts.remove(slot.number)
        slot.process = 0
        if slot.control is not None:
            slot.control.close()
            slot.control = None
        now = monotonic()
        if now - slot.since >= _STEADY_SECONDS:
            slot.deaths = 0
        slot.deaths += 1
        # 0, 1, 2, 4 … seconds: what kills each worker at once must not keep the machine busy with forking.
        slot.due = now + (min(2.0 ** (slot.deaths - 2), _LONGEST_DELAY) if slot.deaths > 1 else 0.0)


def _hear(control: socket.socket) -> tuple[float, bytes] | None:
    """The next that is said; None if nobody is there to say anything."""
    head = _read(control, _WORD.size)
    if len(head) < _WORD.size:
        return None
    drain, length = _WORD.unpack(head)
    told = _read(control, length)
    return None if len(told) < length else (drain, told)


def _read(control: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length and (more := control.recv(length - len(content))):
        content += more
    return content


def _note(number: int, frame: object) -> None:
    """A signal's handler that does nothing; other than SIG_IGN, it is not handed on to programs that a handler runs."""


def _fork(run: Callable[[], int]) -> int:
    """Fork. The child does nothing but this call, whose value is its exit status; gives its process ID."""
    sys.stdout.flush()
    sys.stderr.flush()
    # A signal for the whole process group must not reach the child while it has its parent's handlers.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*_ENDING, signal.SIGCHLD))
    try:
        child = os.fork()
        if child:
            return child
        _be(run, before)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _be(run: Callable[[], int], mask: set[int | signal.Signals]) -> NoReturn:
    """Be a forked child."""
    status = OUT_OF_ORDER
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in _ENDING:
            signal.signal(each, _note)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        status = run()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001
        _log.exception("a process of the server has failed")
    finally:
        # The caller's frames and what it does at its exit are not this process's.
        os._exit(status)
