"""What a process apart answers in tests: it tries what it must not, and says what came of it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

_HERE = Path(__file__)
_LIBRARY = ctypes.CDLL(None, use_errno=True)


def _thread() -> str:
    seen: list[str] = []
    thread = threading.Thread(target=seen.append, args=("a thread ran",))
    thread.start()
    thread.join()
    return seen[0]


def _descriptors() -> str:
    """A second descriptor, by duplication, as a pipe would need one."""
    return str(os.dup(0))


def _loop() -> None:
    while True:
        pass


def _sleep() -> None:
    threading.Event().wait()


def _take_longer() -> str:
    """Be at work for longer than a process of the test may be idle."""
    threading.Event().wait(0.5)
    return "done"


TRIES: dict[str, Callable[[BinaryIO], Any]] = {
    "read the file": lambda file: file.read().decode(),
    "run a thread": lambda file: _thread(),
    "open a file": lambda file: _HERE.read_text(),
    "open a file for writing": lambda file: _HERE.with_name("written").write_text(""),
    "make a socket": lambda file: socket.socket(),
    "make a pair of sockets": lambda file: socket.socketpair(),
    "run a program": lambda file: subprocess.run([sys.executable, "-c", ""], check=True),
    "fork": lambda file: os.fork() or os._exit(0),
    "signal its parent": lambda file: os.kill(os.getppid(), signal.SIGCONT),
    "signal its parent's thread": lambda file: _checked(_LIBRARY.syscall(234, os.getppid(), os.getppid(), 0)),
    "remove a file": lambda file: os.unlink(_HERE.with_name("nothing")),
    "limit its parent": lambda file: _limit_parent(),
    "take much memory": lambda file: len(bytearray(8 << 30)),
    "take another descriptor": lambda file: _descriptors(),
    "abort": lambda file: os.abort(),
    "loop": lambda file: _loop(),
    "sleep": lambda file: _sleep(),
    "take longer": lambda file: _take_longer(),
    "exit": lambda file: os._exit(3),
    "answer at length": lambda file: "much",
    "answer below nothing": lambda file: _answer_below_nothing(),
    "print": lambda file: print("noise", flush=True) or "printed",
}


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), "refused")


def _answer_below_nothing() -> None:
    """An answer of its own making, behind which it says nothing and does not end."""
    for descriptor in range(3, 16):
        with suppress(OSError):
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                os.write(descriptor, b'{"length": -1}\n')
    _sleep()


def _limit_parent() -> None:
    import resource

    resource.prlimit(os.getppid(), resource.RLIMIT_CORE)


def answer(question: dict[str, Any], content: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Try what is asked for."""
    try:
        found = TRIES[question["try"]](content)
    except MemoryError:
        raise
    except OSError as error:
        return {"refused": type(error).__name__}, b""
    return {"found": str(found)}, bytes(1 << 20) if question["try"] == "answer at length" else b"content"
