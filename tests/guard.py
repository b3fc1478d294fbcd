"""The guard of quick tests: one that opens a socket or starts a process fails, with a sentence that says which.

An audit hook of the interpreter sees both wherever they are done: in the test, in a fixture, in what is tested, in a
thread of its own. A pair of Unix sockets is allowed: it is a pipe within the process, and each asyncio loop has one.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Generator
from typing import Any

import pytest

_PROCESS = "started a process"
# What an event of the interpreter means; events that are not here are nothing to the guard.
_MEANINGS: dict[str, str] = {
    "socket.__new__": "opened a socket",
    "socket.bind": "bound a socket",
    "socket.connect": "connected a socket",
    "socket.getaddrinfo": "looked up a host name",
    "socket.gethostbyname": "looked up a host name",
    "subprocess.Popen": _PROCESS,
    "os.exec": _PROCESS,
    "os.fork": _PROCESS,
    "os.forkpty": _PROCESS,
    "os.posix_spawn": _PROCESS,
    "os.spawn": _PROCESS,
    "os.system": _PROCESS,
}
_PAIRED = getattr(socket, "AF_UNIX", None)


class Guard:
    """A plugin of pytest that watches tests with the mark ``quick``."""

    def __init__(self) -> None:
        # What the test did that it must not do; None while no quick test runs.
        self._found: list[str] | None = None
        self._others: frozenset[threading.Thread] = frozenset()
        sys.addaudithook(self._audit)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        # Threads that tests before this one left waiting go on in their own name.
        self._others = frozenset(threading.enumerate()) - {threading.current_thread()}
        return (yield from self._watch(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._watch(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._watch(item))

    def _watch(self, item: pytest.Item) -> Generator[None, Any, Any]:
        if item.get_closest_marker("quick") is None:
            return (yield)
        self._found = found = list[str]()
        try:
            result = yield
        finally:
            self._found = None
        # The test may have caught what the hook raised, or have done it in a thread.
        if found:
            pytest.fail(found[0], pytrace=False)
        return result

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        found = self._found
        if found is None or event not in _MEANINGS or threading.current_thread() in self._others:
            return
        if event == "socket.__new__" and arguments[1] == _PAIRED:
            return
        found.append(
            f"a quick test {_MEANINGS[event]} ({event}); such tests are listed with another kind in tests/conftest.py"
        )
        pytest.fail(found[-1])
