"""One thread that waits on all idle sockets, and a pool of threads that serve those which speak."""

from __future__ import annotations

import heapq
import itertools
import logging
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from ...values import mutable

_log = logging.getLogger(__name__)

# How long a socket that lingers is left alone, in seconds.
_LINGER = 0.05
# How many deadlines of what is over may be kept.
_OUTDATED = 8


class WatcherClosed(RuntimeError):
    """Nothing is waited for any more."""


@mutable
class Watch:
    """A socket that is waited for, once.

    Parameters
    ----------
    ready
        Called in the watcher's thread when the socket can be read; must not block.
    expired
        Called in the watcher's thread when the deadline passes first; must not block.
    deadline
        A time of the monotonic clock in seconds, or None.
    """

    sock: socket.socket
    ready: Callable[[], None]
    expired: Callable[[], None]
    deadline: float | None = None
    is_active: bool = False
    is_registered: bool = False
    is_lingering: bool = False
    since: float = 0.0


class Watcher:
    """Waits on many sockets in one thread, which starts with the first of them and ends with `close`.

    Parameters
    ----------
    name
        Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._deadlines: list[tuple[float, int, Watch]] = []
        # How many of them are not waited for any more.
        self._outdated = 0
        self._order = itertools.count()
        self._lingering: deque[Watch] = deque()
        self._thread: threading.Thread | None = None
        self._wait_until: float | None = None
        self._closed = False
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        # Where the selector is plain select(), a socket added during the wait is not noticed by it.
        self._must_wake = isinstance(self._selector, selectors.SelectSelector)

    def watch(
        self,
        sock: socket.socket,
        ready: Callable[[], None],
        expired: Callable[[], None],
        deadline: float | None = None,
        *,
        writable: bool = False,
    ) -> Watch:
        """Wait for a socket, once; see `Watch`.

        Raises
        ------
        WatcherClosed
            After `close`.
        """
        watch = Watch(sock, ready, expired, deadline, is_active=True)
        with self._lock:
            self._check_running()
            self._register(watch, writable)
            wait_until = self._wait_until
            is_awake = self._thread is threading.current_thread()
        if is_awake:
            return watch
        if self._must_wake or (deadline is not None and (wait_until is None or deadline < wait_until)):
            self._wake()
        return watch

    def linger(self, watch: Watch) -> None:
        """Wait for a socket that is likely to be used again at once.

        It is left alone for a moment first, so that an exchange that follows closely pays nothing for the wait that
        it ends. May be called again with the same watch, after `forget` or when it was served.

        Raises
        ------
        WatcherClosed
            After `close`.
        """
        with self._lock:
            self._check_running()
            watch.is_active = True
            watch.since = monotonic()
            if watch.is_lingering:
                return
            watch.is_lingering = True
            self._lingering.append(watch)
            if len(self._lingering) > 1:
                return
        self._wake()

    def forget(self, watch: Watch) -> bool:
        """Stop waiting for a socket; False where it was already served."""
        with self._lock:
            return self._end(watch)

    def close(self) -> None:
        """Stop the thread. Sockets that were watched are left as they are."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._wake()
        if thread is None:
            self._give_up()
        elif thread is not threading.current_thread():
            thread.join()

    def _give_up(self) -> None:
        self._selector.close()
        self._wake_receiver.close()
        self._wake_sender.close()

    def _check_running(self) -> None:
        if self._closed:
            raise WatcherClosed
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _register(self, watch: Watch, writable: bool = False) -> None:
        if watch.deadline is not None:
            heapq.heappush(self._deadlines, (watch.deadline, next(self._order), watch))
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writable else 0)
        self._selector.register(watch.sock, events, watch)
        watch.is_registered = True

    def _register_quiet(self) -> None:
        """Begin to wait for the sockets that nobody has used for a moment."""
        now = monotonic()
        for _ in range(len(self._lingering)):
            watch = self._lingering.popleft()
            if now - watch.since < _LINGER:
                # Also where it is in use just now: the next exchange then need not wake this thread.
                self._lingering.append(watch)
                continue
            watch.is_lingering = False
            if watch.is_active:
                self._register(watch)

    def _end(self, watch: Watch) -> bool:
        if not watch.is_active or self._closed:
            return False
        watch.is_active = False
        if watch.is_registered:
            watch.is_registered = False
            self._selector.unregister(watch.sock)
            if watch.deadline is not None:
                self._outdated += 1
                if self._outdated > _OUTDATED and 2 * self._outdated > len(self._deadlines):
                    self._forget_outdated()
        return True

    def _forget_outdated(self) -> None:
        # In place of others that come first, they would keep what they were for until their time has come.
        self._deadlines = [entry for entry in self._deadlines if self._is_current(entry)]
        heapq.heapify(self._deadlines)
        self._outdated = 0

    def _wake(self) -> None:
        try:
            self._wake_sender.send(b"\0")
        except (BlockingIOError, OSError):
            # Full: the thread has a wake-up waiting. Closed: there is no thread any more.
            return

    def _run(self) -> None:
        while self._serve(self._selector.select(self._next_timeout())):
            pass
        self._give_up()

    def _serve(self, ready: list[tuple[selectors.SelectorKey, int]]) -> bool:
        """Make the calls for what is ready or due; False after `close`. Holds nothing while the next is waited for."""
        if any(key.data is None for key, _ in ready):
            # Before what it announced is looked at, or the announcement of the next would be lost.
            self._drain_wake_ups()
        with self._lock:
            if self._closed:
                return False
            self._register_quiet()
            watches = [key.data for key, _ in ready if key.data is not None]
            calls = [watch.ready for watch in watches if self._end(watch)]
            calls += [watch.expired for watch in self._due() if self._end(watch)]
        for call in calls:
            try:
                call()
            except Exception:  # noqa: BLE001
                # One connection's failure must not end the service of all the others.
                _log.exception("a connection could not be served")
        return True

    def _next_timeout(self) -> float | None:
        with self._lock:
            # It may be outdated, which costs a turn when its time comes; but later ones need not wake this thread.
            self._wait_until = self._deadlines[0][0] if self._deadlines else None
            left = None if self._wait_until is None else max(0.0, self._wait_until - monotonic())
            if self._lingering:
                return _LINGER if left is None else min(left, _LINGER)
            return left

    @staticmethod
    def _is_current(entry: tuple[float, int, Watch]) -> bool:
        """Whether a deadline is still that of its watch, which may have been used again since."""
        return entry[2].is_registered and entry[2].deadline == entry[0]

    def _due(self) -> list[Watch]:
        now = monotonic()
        due = []
        while self._deadlines and self._deadlines[0][0] <= now:
            entry = heapq.heappop(self._deadlines)
            # Those that are current are counted when they end, which is next.
            self._outdated -= 1
            if self._is_current(entry):
                due.append(entry[2])
        return due

    def _drain_wake_ups(self) -> None:
        try:
            while self._wake_receiver.recv(4096):
                pass
        except BlockingIOError:
            return


class WorkerPool:
    """Threads that run short calls. One is started when none is free, and ends when none is needed.

    Parameters
    ----------
    name
        Prefix of the threads' names.
    linger
        How long a free thread waits for the next call, in seconds.
    """

    def __init__(self, name: str, linger: float = 5.0) -> None:
        self._name = name
        self._linger = linger
        self._calls: deque[Callable[[], None]] = deque()
        self._condition = threading.Condition()
        self._free = 0
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def submit(self, call: Callable[[], None]) -> None:
        """Run a call in a thread of the pool."""
        with self._condition:
            self._calls.append(call)
            if self._free >= len(self._calls):
                self._condition.notify()
                return
            # Daemon threads: a program may end while a peer keeps an association busy.
            thread = threading.Thread(
                target=self._run, name=f"{self._name}-{len(self._threads) + 1}", daemon=True
            )
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError as error:
            # The system has no thread to give; the call waits for one of the others, or for the next that starts.
            with self._condition:
                self._threads.discard(thread)
            _log.error("no thread can be started for a connection: %s", error)

    def close(self, timeout: float | None = None) -> None:
        """Let the threads end when their calls do, and wait for that up to ``timeout`` seconds in all."""
        end = None if timeout is None else monotonic() + timeout
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            threads = list(self._threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(None if end is None else max(0.0, end - monotonic()))

    def _run(self) -> None:
        while (call := self._take()) is not None:
            try:
                call()
            except Exception:  # noqa: BLE001
                _log.exception("a connection could not be served")
            del call

    def _take(self) -> Callable[[], None] | None:
        with self._condition:
            if not self._calls and not self._closed:
                self._free += 1
                self._condition.wait_for(lambda: self._calls or self._closed, self._linger)
                self._free -= 1
            if self._calls:
                return self._calls.popleft()
            self._threads.discard(threading.current_thread())
            return None
