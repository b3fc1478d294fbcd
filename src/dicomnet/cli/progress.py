"""The progress of a command: the interface that commands report to, without a display."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .words import complain

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Progress:
    """Progress that is not displayed; the base class of those that display it.

    Lines must be written with `say`, so that they do not mix with the display.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def advance(self, size: int) -> None:
        """Report that one more file is done.

        Parameters
        ----------
        size
            Size of the file in bytes.
        """

    def reach(self, done: int, total: int | None) -> None:
        """Report how many files or objects are done.

        Parameters
        ----------
        done
            The number of those that are done.
        total
            How many there are, as far as is known; None where it is not.
        """

    def note(self, text: str) -> None:
        """Report what there is to say besides, in a few words.

        Parameters
        ----------
        text
            The words, which take the place of those before.
        """

    def say(self, text: str) -> None:
        """Write a line to standard error."""
        complain(text)
