"""Starts `dicomnet` in forked children of a process that has imported everything, so that 50 starts take no minute.

Reads lines of JSON, ``[arguments, file for the output, options of strace]``, and answers each with the child's process
ID. Each child leads a process group. Where there are options of strace, that has it before it begins.
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

from dicomnet.cli.main import main

# Of prctl(2): every process of this user may trace this one.
_PR_SET_PTRACER, _ANY = 0x59616D61, -1


def run(arguments: list[str], output: str, tracing: list[str]) -> None:
    """Be the child; does not return."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(target, 1)
    os.dup2(target, 2)
    status = 70
    try:
        if tracing:
            be_traced(tracing)
        status = main(arguments)
    finally:
        sys.stdout.flush()
        os._exit(status)


def be_traced(options: list[str]) -> None:
    """Have strace attach to this process, as a process that is not its child."""
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_long(_ANY), 0, 0, 0)
    words = ["strace", "-f", "-q", "-o", "/dev/null", *options, "-p", str(os.getpid())]
    subprocess.run(
        ["sh", "-c", f"{shlex.join(words)} &"], stdin=subprocess.DEVNULL, start_new_session=True, check=True
    )
    end = monotonic() + 10
    while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
        if monotonic() > end:
            raise TimeoutError("strace does not attach")
        sleep(0.002)


def serve() -> None:
    """Fork until the input ends."""
    # Nobody waits for the children.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while line := sys.stdin.readline():
        arguments, output, tracing = json.loads(line)
        child = os.fork()
        if child == 0:
            run(arguments, output, tracing)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
