"""Text for people: made safe for a terminal, and errors in words."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def printable(text: str) -> str:
    """Text from outside, with what could steer a terminal made visible."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def complain(text: str) -> None:
    """Write a line to standard error."""
    # In one piece, as the threads of the log write there, too.
    print(f"{printable(text)}\n", end="", file=sys.stderr)


def complain_of_missing(command: str, error: ModuleNotFoundError, extra: str = "archive") -> None:
    """Write a line to standard error about a library that a command needs and cannot find.

    Parameters
    ----------
    extra
        What of ours brings it.
    """
    missing = (error.name or "").partition(".")[0]
    extras = "archive,postgresql" if missing == "psycopg" else extra
    complain(f"dicomnet {command}: {missing} is not installed; run pip install 'dicomnet[{extras}]'")


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal; None stands for a stream that the process does not have."""
    return stream is not None and not stream.closed and stream.isatty()


def current_user() -> str:
    """Who runs this command, for the ledger: the user of the operating system, and behind sudo the one before."""
    import getpass

    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        # In a container there may be no name for him.
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    before = os.environ.get("SUDO_USER")
    return f"{before} as {user}" if before and before != user else user
