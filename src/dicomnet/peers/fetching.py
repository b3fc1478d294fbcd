"""`Peer.fetch`: what is open while a list is retrieved, and closed in the end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..drivers.deadline import Timeouts
from ..exchange.operations import Operation
from ..fetching.fetcher import Rows, Terms
from ..fetching.folder import REPORT, Folder
from ..fetching.lists import Row, read_list, row_of, usable
from ..fetching.names import DEFAULT_LAYOUT, Layout
from ..fetching.receiver import Receiver
from ..fetching.reports import write_report
from ..values import frozen
from .sources import Sources

Listed = str | os.PathLike[str] | Iterable[Mapping[str, str]]


def rows_of(listed: Listed, *, wildcards: bool) -> Sequence[Row]:
    """The rows of a list: a file, or keys by keyword.

    Raises
    ------
    ListError
        If the file is not a list, or a keyword cannot be asked for; a ValueError.
    OSError
        If the file cannot be read.
    """
    if isinstance(listed, str | os.PathLike):
        return read_list(Path(listed).read_bytes(), {}, wildcards=wildcards).rows
    return [
        row_of(number, [(usable(name, name), value) for name, value in keys.items()], wildcards=wildcards)
        for number, keys in enumerate(listed, 1)
    ]


@frozen
class Fetching:
    """The retrieval of a list, as a caller asks for it.

    Parameters
    ----------
    peer
        The peer.
    listed
        The list.
    to
        The folder for the files.
    layout
        How they are named; None for the usual way.
    terms
        How it is retrieved.
    jobs
        How many rows are retrieved side by side.
    move
        For C-MOVE our AE title as the destination; None for C-GET.
    receiver
        Where we listen for what a C-MOVE sends.
    """

    peer: Any
    listed: Listed
    to: str | os.PathLike[str]
    layout: str | None
    terms: Terms
    jobs: int
    move: str | None
    receiver: tuple[str, int]

    def begin(self, stack: ExitStack) -> tuple[Rows, list[Operation[None]]]:
        """Open what is needed: the rows, and what is to be performed side by side.

        Parameters
        ----------
        stack
            Closes it again, and writes the report.
        """
        rows = Rows(rows_of(self.listed, wildcards=self.terms.wildcards))
        root = Path(self.to)
        folder = stack.enter_context(Folder(root, Layout.parse(self.layout or DEFAULT_LAYOUT)))
        receiver = None
        if self.move is not None:
            timeouts: Timeouts = self.peer.timeouts
            receiver = Receiver(folder.incoming, self.receiver, self.move, timeouts, self.terms.pacing)
            stack.enter_context(receiver)
        stack.callback(lambda: write_report(root / REPORT, rows.results))
        sources = Sources(self.peer, folder, receiver, 30.0, self.terms.pacing)
        return rows, [each.run(rows) for each in sources.fetchers(self.terms, self.jobs)]
