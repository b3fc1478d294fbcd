"""Waiting on many sockets in one thread, and the threads that serve what speaks."""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref
from collections.abc import Iterator
from time import monotonic

import pytest
from tests.support import wait_until

from dicomnet.drivers.blocking.watcher import Watcher, WatcherClosed, WorkerPool


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    made = Watcher("test-watcher")
    yield made
    made.close()


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


class Calls:
    """Counts, with the thread that called."""

    def __init__(self) -> None:
        self.ready: list[str] = []
        self.expired: list[str] = []

    def on_ready(self) -> None:
        self.ready.append(threading.current_thread().name)

    def on_expired(self) -> None:
        self.expired.append(threading.current_thread().name)


def test_a_socket_is_served_once_in_the_watchers_thread(watcher: Watcher) -> None:
    calls = Calls()
    with pair() as (left, right):
        watcher.watch(left, calls.on_ready, calls.on_expired)
        right.send(b"one")
        wait_until(lambda: bool(calls.ready))
        right.send(b"two")
        other = Calls()
        with pair() as (a, b):
            watcher.watch(a, other.on_ready, other.on_expired)
            b.send(b"x")
            wait_until(lambda: bool(other.ready))
    assert calls.ready == ["test-watcher"]
    assert calls.expired == []


def test_a_deadline_that_passes_is_told_instead(watcher: Watcher) -> None:
    calls = Calls()
    with pair() as (left, _):
        watcher.watch(left, calls.on_ready, calls.on_expired, monotonic() + 0.02)
        wait_until(lambda: bool(calls.expired))
        assert calls.ready == []


def test_deadlines_pass_in_their_order(watcher: Watcher) -> None:
    order: list[int] = []
    with contextlib.ExitStack() as stack:
        for number in (3, 1, 2):
            left, _ = stack.enter_context(pair())
            watcher.watch(left, lambda: None, lambda n=number: order.append(n), monotonic() + number / 50)  # type: ignore[misc]
        wait_until(lambda: len(order) == 3)
    assert order == [1, 2, 3]


def test_what_is_forgotten_is_not_served(watcher: Watcher) -> None:
    calls = Calls()
    with pair() as (left, right), pair() as (a, b):
        watch = watcher.watch(left, calls.on_ready, calls.on_expired, monotonic() + 0.01)
        assert watcher.forget(watch)
        assert not watcher.forget(watch)
        right.send(b"x")
        other = Calls()
        watcher.watch(a, other.on_ready, other.on_expired, monotonic() + 0.05)
        wait_until(lambda: bool(other.expired))
        b.close()
        assert calls.ready == calls.expired == []
        watcher.watch(left, calls.on_ready, calls.on_expired)
        wait_until(lambda: bool(calls.ready))


def test_a_call_that_fails_does_not_end_the_service(
    watcher: Watcher, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("a bug")

    calls = Calls()
    with pair() as (left, right), pair() as (a, b):
        watcher.watch(left, fail, fail)
        right.send(b"x")
        wait_until(lambda: "a bug" in caplog.text)
        watcher.watch(a, calls.on_ready, calls.on_expired)
        b.send(b"x")
        wait_until(lambda: bool(calls.ready))


def test_two_thousand_sockets_cost_one_thread(watcher: Watcher) -> None:
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(pair()) for _ in range(200)]
        calls = Calls()
        for left, _ in pairs:
            watcher.watch(left, calls.on_ready, calls.on_expired, monotonic() + 60)
        assert threading.active_count() <= before + 1
        for _, right in pairs:
            right.send(b"x")
        wait_until(lambda: len(calls.ready) == 200)


def test_a_closed_watcher_has_no_thread_and_takes_nothing() -> None:
    watcher = Watcher("test-watcher-closed")
    with pair() as (left, _):
        watcher.watch(left, lambda: None, lambda: None)
        watcher.close()
        assert all(thread.name != "test-watcher-closed" for thread in threading.enumerate())
        with pytest.raises(WatcherClosed):
            watcher.watch(left, lambda: None, lambda: None)


def test_a_watcher_that_never_watched_can_be_closed() -> None:
    Watcher("test-watcher-unused").close()


def test_a_watcher_may_be_closed_by_what_it_calls() -> None:
    """It broke its own selector under itself, which ended its thread with an exception."""
    watcher = Watcher("test-watcher-self")
    with pair() as (left, right):
        watcher.watch(left, watcher.close, lambda: None)
        right.send(b"x")
        wait_until(lambda: all(thread.name != "test-watcher-self" for thread in threading.enumerate()))


def test_workers_run_side_by_side_and_end_when_idle() -> None:
    pool = WorkerPool("test-worker", linger=0.05)
    barrier = threading.Barrier(4, timeout=10)

    def meet() -> None:
        barrier.wait()

    for _ in range(4):
        # Passes only when all four are running at once.
        pool.submit(meet)
    wait_until(lambda: not any(t.name.startswith("test-worker") for t in threading.enumerate()))
    done = threading.Event()
    pool.submit(done.set)
    assert done.wait(10)
    pool.close(10)


def test_a_free_worker_is_used_again() -> None:
    pool = WorkerPool("test-reuse", linger=10)
    names: list[str] = []

    def note() -> None:
        names.append(threading.current_thread().name)

    for count in range(1, 21):
        pool.submit(note)
        wait_until(lambda: len(names) == count and pool._free == 1)  # noqa: B023
    assert len(set(names)) == 1
    pool.close(10)
    assert not any(t.name.startswith("test-reuse") for t in threading.enumerate())


def test_a_call_that_fails_costs_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    pool = WorkerPool("test-failing")

    def fail() -> None:
        raise ValueError("a bug")

    pool.submit(fail)
    wait_until(lambda: "a bug" in caplog.text)
    done = threading.Event()
    pool.submit(done.set)
    assert done.wait(10)
    pool.close(10)


def test_a_call_for_which_no_thread_can_be_started_waits_for_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The error ended the watcher's call: a server whose system had no thread to give accepted nothing ever after."""
    pool = WorkerPool("test-scarce")
    done = [threading.Event(), threading.Event()]
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    pool.submit(done[0].set)
    monkeypatch.setattr(threading.Thread, "start", start)
    assert "no thread can be started" in caplog.text
    pool.submit(done[1].set)
    assert done[0].wait(10)
    assert done[1].wait(10)
    pool.close(10)


def test_closing_waits_no_longer_than_it_may() -> None:
    pool = WorkerPool("test-slow")
    release = threading.Event()

    def wait() -> None:
        release.wait(10)

    pool.submit(wait)
    begin = monotonic()
    pool.close(0.05)
    assert monotonic() - begin < 5
    release.set()
    wait_until(lambda: not any(t.name.startswith("test-slow") for t in threading.enumerate()))


def test_what_is_over_was_kept_until_its_deadline(watcher: Watcher) -> None:
    """Behind one that waits with an earlier deadline; of a busy server, that was all connections of half a minute."""
    gone: list[weakref.ref[Calls]] = []
    now = monotonic()
    with pair() as (left, _), pair() as (other, _):
        first = Calls()
        watcher.watch(left, first.on_ready, first.on_expired, now + 60)
        for _ in range(500):
            calls = Calls()
            gone.append(weakref.ref(calls))
            assert watcher.forget(watcher.watch(other, calls.on_ready, calls.on_expired, now + 90))
        del calls
        assert sum(each() is not None for each in gone) < 20
        last = Calls()
        watcher.watch(other, last.on_ready, last.on_expired, now)
        wait_until(lambda: bool(last.expired))
    assert (first.expired, last.ready) == ([], [])
