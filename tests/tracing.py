"""The system calls of a process, as strace tells of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(?: resumed>|\()(.*)")
_UNFINISHED = " <unfinished ...>"


@dataclass(frozen=True, slots=True)
class Call:
    """A system call.

    Parameters
    ----------
    text
        Its arguments and its result; a file descriptor has the path of its file behind it.
    begin, end
        Numbers that order the beginnings and ends of all calls, of all threads.
    """

    name: str
    text: str
    begin: int
    end: int

    @property
    def path(self) -> Path:
        """The path of the file descriptor that is its first argument."""
        return Path(self.text.partition("<")[2].partition(">")[0])

    @property
    def has_succeeded(self) -> bool:
        """Whether it has returned without an error."""
        result = re.search(r"\) += (-?\d+)", self.text)
        return result is not None and int(result[1]) >= 0


def tracer(trace: Path, names: Sequence[str], strings: int = 65536) -> list[str]:
    """The command line that runs another one as its own process, and tells of these system calls in a file.

    Of each string it has so many bytes.
    """
    which = f"trace={','.join(names)}"
    return [
        "strace",
        "-D",
        "-f",
        "-y",
        "-s",
        str(strings),
        "-e",
        which,
        "-e",
        "signal=none",
        "-o",
        str(trace),
    ]


def is_complete(trace: Path, process: int) -> bool:
    """Whether the process has ended, and strace has told of all that it did."""
    return f"\n{process} +++ exited with" in re.sub(" +", " ", trace.read_text())


def calls_of(trace: Path) -> list[Call]:
    """The calls that have returned, in the order of their ends."""
    calls = []
    begun: dict[tuple[str, str], tuple[int, str]] = {}
    for number, line in enumerate(trace.read_text().splitlines()):
        found = _LINE.match(line)
        if found is None:
            continue
        process, name, text = found.groups()
        if text.endswith(_UNFINISHED):
            begun[process, name] = (number, text.removesuffix(_UNFINISHED))
            continue
        begin, head = begun.pop((process, name), (number, ""))
        calls.append(Call(name, head + text, begin, number))
    return calls
