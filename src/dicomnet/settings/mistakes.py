"""What is wrong with settings. Apart, as a command that fails for something else need not load their table."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import DicomnetError


class Mistakes(DicomnetError):
    """Settings are wrong.

    Parameters
    ----------
    lines
        A sentence for each mistake, which begins with the place: file and line, variable or option.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("; ".join(self.lines))
