"""Starts `dicomnet` in forked children of a process that has imported everything, so that 50 starts take no minute.

Reads lines of JSON, ``[arguments, file for the output]``, and answers each with the child's process ID.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from dicomnet.cli.main import main


def run(arguments: list[str], output: str) -> None:
    """Be the child; does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(target, 1)
    os.dup2(target, 2)
    status = 70
    try:
        status = main(arguments)
    finally:
        sys.stdout.flush()
        os._exit(status)


def serve() -> None:
    """Fork until the input ends."""
    # Nobody waits for the children.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while line := sys.stdin.readline():
        arguments, output = json.loads(line)
        child = os.fork()
        if child == 0:
            run(arguments, output)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
