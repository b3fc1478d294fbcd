"""Each test has a kind, and one that says it is quick but opens a socket or starts a process fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import KINDS, kind_of

HERE = Path(__file__).parent

# A body that a quick test must not have, and what is said of it.
OFFENDERS: dict[str, tuple[str, str]] = {
    "a TCP socket": ("socket.socket()", "opened a socket (socket.__new__)"),
    "a UDP socket": ("socket.socket(type=socket.SOCK_DGRAM)", "opened a socket (socket.__new__)"),
    "a server": ("socket.create_server(('127.0.0.1', 0))", "opened a socket (socket.__new__)"),
    "a Unix socket that is bound": (
        "socket.socket(socket.AF_UNIX).bind(str(tmp_path / 'socket'))",
        "bound a socket (socket.bind)",
    ),
    "a name that is looked up": (
        "socket.getaddrinfo('localhost', 1)",
        "looked up a host name (socket.getaddrinfo)",
    ),
    "an error that is caught": (
        "with contextlib.suppress(BaseException):\n        socket.socket()",
        "opened a socket (socket.__new__)",
    ),
    "in a thread": (
        "t = threading.Thread(target=lambda: quiet(socket.socket))\n    t.start()\n    t.join()",
        "opened a socket (socket.__new__)",
    ),
    "a server of asyncio": (
        "async def f():\n        await asyncio.start_server(print, '127.0.0.1', 0)\n    asyncio.run(f())",
        "opened a socket (socket.__new__)",
    ),
    "a program": ("subprocess.run(['true'])", "started a process (subprocess.Popen)"),
    "a shell": ("os.system('true')", "started a process (os.system)"),
    "a fork": ("os.fork() or os._exit(0)", "started a process (os.fork)"),
    "a process of multiprocessing": (
        "multiprocessing.get_context('fork').Process(target=print).start()",
        "started a process (os.fork)",
    ),
    "in a fixture of the session": ("request.getfixturevalue('served')", "opened a socket (socket.__new__)"),
}
ALLOWED = {
    "files": "(tmp_path / 'file').write_text('x')",
    "a loop of asyncio": "asyncio.run(asyncio.sleep(0))",
    "a pair of sockets": "[each.close() for each in socket.socketpair()]",
    "a thread": "t = threading.Thread(target=print)\n    t.start()\n    t.join()",
}
PROGRAM = """
import asyncio, contextlib, multiprocessing, os, socket, subprocess, threading
import pytest

def quiet(function):
    with contextlib.suppress(BaseException):
        function()

@pytest.fixture(scope="session")
def served():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener
"""
CONFTEST = """
from tests.guard import Guard

def pytest_configure(config):
    config.addinivalue_line("markers", "quick: as in ours")
    config.pluginmanager.register(Guard())
"""


def run(folder: Path, tests: dict[str, str], mark: str = "@pytest.mark.quick") -> str:
    """Run tests that are made of bodies, each with a name, and give what pytest says of them."""
    (folder / "conftest.py").write_text(CONFTEST)
    bodies = [f"{mark}\ndef test_{name}(tmp_path, request):\n    {body}\n" for name, body in tests.items()]
    (folder / "test_planted.py").write_text("\n".join([PROGRAM, *bodies]))
    arguments = ["-q", "-rA", "-p", "no:cacheprovider", "-p", "no:schemathesis", "--rootdir", str(folder)]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, str(folder)],
        cwd=HERE.parent,
        env={**os.environ, "COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
    ).stdout


def test_an_offender_fails_with_a_sentence_that_names_what_it_did(tmp_path: Path) -> None:
    named = {f"offender_{number}": body for number, (body, _) in enumerate(OFFENDERS.values())}
    output = run(tmp_path, named)
    said = {
        line.partition("::test_")[2].partition(" - ")[0]: line
        for line in output.splitlines()
        if line.startswith(("FAILED", "ERROR"))
    }
    assert said.keys() == named.keys(), output
    for name, (_, sentence) in zip(named, OFFENDERS.values(), strict=True):
        assert f"a quick test {sentence}" in said[name]


def test_what_stays_in_the_process_is_allowed(tmp_path: Path) -> None:
    named = {f"allowed_{number}": body for number, body in enumerate(ALLOWED.values())}
    assert f"{len(named)} passed" in run(tmp_path, named)


def test_other_kinds_are_not_watched(tmp_path: Path) -> None:
    assert "1 passed" in run(tmp_path, {"other": "socket.socket().close()"}, mark="")


def test_a_socket_of_an_earlier_tests_thread_is_not_blamed_on_a_quick_test(tmp_path: Path) -> None:
    tests = {
        "earlier": (
            "global go, done, thread\n    go, done = threading.Event(), threading.Event()\n"
            "    def work():\n        go.wait()\n        socket.socket().close()\n        done.set()\n"
            "    thread = threading.Thread(target=work)\n    thread.start()"
        )
    }
    late = "@pytest.mark.quick\ndef test_quick():\n    go.set()\n    assert done.wait(10)\n"
    tests["earlier"] += f"\n\n{late}"
    assert "2 passed" in run(tmp_path, tests, mark="")


@pytest.mark.parametrize("entry", sorted(KINDS))
def test_each_entry_names_something_and_changes_its_kind(entry: str) -> None:
    file, _, test = entry.partition("::")
    path = HERE / file
    assert path.exists()
    assert not test or f"def {test}(" in path.read_text()
    if entry:
        above = file if test else file.rpartition("/")[0]
        assert kind_of(above, "") != KINDS[entry]


@pytest.mark.parametrize(
    ("file", "test", "kind"),
    [
        ("wire/test_pdu.py", "test_any[1]", "quick"),
        ("wire/deeper/test_new.py", "test_any", "quick"),
        ("new/test_new.py", "test_any", "local"),
        ("test_new.py", "test_any", "local"),
        ("test_house.py", "test_the_drivers_start_without_pydicom", "local"),
        ("test_house.py", "test_file_keeps_the_house_rule[dicomnet]", "quick"),
        ("archive/test_intake.py", "test_out_of_resources[131072-descriptors]", "local"),
        ("faults/test_kill.py", "test_any", "slow"),
    ],
)
def test_the_nearest_entry_counts(file: str, test: str, kind: str) -> None:
    assert kind_of(file, test) == kind
