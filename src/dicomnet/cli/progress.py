"""What a command tells of how far it is, whoever shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .words import complain

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


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
