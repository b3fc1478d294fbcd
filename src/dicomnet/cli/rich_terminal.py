"""Tables and progress displayed by rich, an optional dependency; only `terminal` imports this module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)
from rich.table import Table
from rich.text import Text

from .progress import Progress
from .words import printable

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


def write_rich_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table to standard output, a terminal that is wide enough for it."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for heading in headings:
        table.add_column(Text(heading), no_wrap=True)
    for row in rows:
        # As Text, since rich would look for markup in a str.
        table.add_row(*map(Text, row))
    Console().print(table)


class RichProgress(Progress):
    """A progress bar on standard error.

    Parameters
    ----------
    doing
        Name of the activity, in one word.
    total
        How many files or objects there are; None if `reach` reports it later.
    """

    def __init__(self, doing: str, total: int | None) -> None:
        self._bar = Bar(
            TextColumn(doing),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[size]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._size = 0
        self._task = self._bar.add_task("", total=total, size="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, size: int) -> None:
        self._size += size
        self._bar.update(self._task, advance=1, size=f"{self._size / 1e6:.1f} MB")

    def reach(self, done: int, total: int | None) -> None:
        self._bar.update(self._task, completed=done, total=total)

    def note(self, text: str) -> None:
        self._bar.update(self._task, size=text)

    def say(self, text: str) -> None:
        self._bar.console.print(Text(printable(text)), soft_wrap=True)
