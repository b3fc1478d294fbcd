"""A reporter of tasks that keeps what it is told."""

from __future__ import annotations

from typing import Any

from dicomnet.archive.tasks.task import Reporter


class KeptReporter(Reporter):
    """Keeps what is reported."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[dict[str, Any]] = []
        self.reached: list[tuple[int, int | None]] = []

    def show_progress(self, done: int, total: int | None) -> None:
        self.reached.append((done, total))

    def item(self, **fields: Any) -> None:
        self.items.append(fields)
