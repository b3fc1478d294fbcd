"""What an import said, for tests of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

OUTCOMES = ("stored", "already_there", "quarantined", "refused", "skipped", "missing", "unreadable")
# Above what is read at once, and above what a session keeps in memory.
LARGE = 300_000


class Imported:
    """What an import said.

    Attributes
    ----------
    counts
        The outcomes that there were, with their numbers.
    items
        What it told of each thing.
    """

    def __init__(self, summary: Any, items: list[dict[str, Any]]) -> None:
        self.summary = summary
        self.items = items
        self.counts = {name: summary[name] for name in OUTCOMES if summary[name]}

    def reasons(self, outcome: str) -> dict[str, str]:
        """The reasons of an outcome, by the member, or by the last component of the path."""
        return {
            each["member"] or os.path.basename(each["path"]): each["reason"]
            for each in self.items
            if each["outcome"] == outcome
        }


Import = Callable[..., Imported]
