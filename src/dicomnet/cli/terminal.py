"""Tables and progress on a terminal: displayed by rich if it is installed, otherwise as plain text."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from .progress import Progress
from .words import complain

if TYPE_CHECKING:
    from types import TracebackType

# The shortest time between two updates of plain progress, in seconds.
_REFRESH = 0.1


def write_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table to standard output, or one paragraph for each row if the terminal is too narrow for a table.

    The cells must be printable.
    """
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    if sum(widths) + 2 * len(widths) > os.get_terminal_size(sys.stdout.fileno()).columns:
        width = max(map(len, headings))
        paragraphs = [
            "\n".join(
                f"{heading:{width}}  {cell}" for heading, cell in zip(headings, row, strict=True) if cell
            )
            for row in rows
        ]
        print("\n\n".join(paragraphs))
        return
    try:
        from .rich_terminal import write_rich_table
    except ImportError:
        for row in (headings, ["-" * width for width in widths], *rows):
            print("  ".join(map(str.ljust, row, widths)).rstrip())
    else:
        write_rich_table(headings, rows)


class PlainProgress(Progress):
    """A counter on standard error, which is a terminal.

    Parameters
    ----------
    total
        How many files or objects there are; None if `reach` reports it later.
    what
        What they are called.
    """

    def __init__(self, total: int | None, what: str = "files") -> None:
        self._total = total
        self._what = what
        self._done = 0
        self._note = ""
        self._shown_at = 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def advance(self, size: int) -> None:
        self._done += 1
        self._show()

    def reach(self, done: int, total: int | None) -> None:
        self._done, self._total = done, total
        self._show()

    def note(self, text: str) -> None:
        self._note = f"; {text}"

    def say(self, text: str) -> None:
        self._clear()
        complain(text)

    def _show(self) -> None:
        now = monotonic()
        if now - self._shown_at >= _REFRESH:
            self._shown_at = now
            of_all = "" if self._total is None else f" of {self._total}"
            sys.stderr.write(f"\r{self._done}{of_all} {self._what}{self._note}\x1b[K")
            sys.stderr.flush()

    def _clear(self) -> None:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def progress_on_terminal(doing: str, total: int | None, what: str = "files") -> Progress:
    """The best available display of progress on standard error, which is a terminal.

    Parameters
    ----------
    doing
        Name of the activity, in one word.
    total, what
        See `PlainProgress`.
    """
    try:
        from .rich_terminal import RichProgress
    except ImportError:
        return PlainProgress(total, what)
    return RichProgress(doing, total)
