"""Words for people: lines, tables and progress on a terminal. With rich if it is installed, plainly without."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, TextIO

from ..errors import DicomnetError, NoAcceptedContext, ServiceRefusal

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

# How often plain progress is written, in seconds.
_REFRESH = 0.1


def printable(text: str) -> str:
    """A text from outside, with what could steer a terminal made visible."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def complain(text: str) -> None:
    """Write a line to standard error."""
    print(printable(text), file=sys.stderr)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody is looking; a process may have no such stream at all."""
    return stream is not None and not stream.closed and stream.isatty()


def reason(error: DicomnetError | OSError) -> str:
    """Why something failed, in words."""
    if isinstance(error, ServiceRefusal):
        return f"the peer answered with {error}"
    if isinstance(error, NoAcceptedContext):
        from ..services.sop_classes import SOP_CLASSES

        row = SOP_CLASSES.get(error.abstract_syntax)
        return str(error) if row is None else f"{error} ({row.keyword})"
    if isinstance(error, DicomnetError) or error.strerror is None:
        return str(error)
    words = error.strerror[:1].lower() + error.strerror[1:]
    return words if error.filename is None else f"{os.fsdecode(error.filename)}: {words}"


def write_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output, or where that is too narrow for it, a paragraph a row; the cells are printable."""
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


class Progress:
    """How far a command is, shown to nobody; the base of those that show it.

    Lines must be written by `say`, so that they do not mix with what is shown.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def advance(self, size: int) -> None:
        """One more file is done.

        Parameters
        ----------
        size
            Its bytes.
        """

    def reach(self, done: int, total: int) -> None:
        """So many are done.

        Parameters
        ----------
        total
            How many there are, as far as is known.
        """

    def say(self, text: str) -> None:
        """Write a line to standard error."""
        complain(text)


class PlainProgress(Progress):
    """A counter on standard error, which is a terminal.

    Parameters
    ----------
    total
        How many things there are, None where that is to be told.
    what
        What they are.
    """

    def __init__(self, total: int | None, what: str = "files") -> None:
        self._total = total
        self._what = what
        self._done = 0
        self._shown_at = 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def advance(self, size: int) -> None:
        self._done += 1
        self._show()

    def reach(self, done: int, total: int) -> None:
        self._done, self._total = done, total
        self._show()

    def say(self, text: str) -> None:
        self._clear()
        complain(text)

    def _show(self) -> None:
        now = monotonic()
        if now - self._shown_at >= _REFRESH:
            self._shown_at = now
            sys.stderr.write(f"\r{self._done} of {self._total} {self._what}")
            sys.stderr.flush()

    def _clear(self) -> None:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def progress_on_terminal(doing: str, total: int | None, what: str = "files") -> Progress:
    """Progress on standard error, which is a terminal.

    Parameters
    ----------
    doing
        What is done, in a word.
    total, what
        As of `PlainProgress`.
    """
    try:
        from .rich_terminal import RichProgress
    except ImportError:
        return PlainProgress(total, what)
    return RichProgress(doing, total)
