"""What a benchmark is made of: groups of cases, each of which measures one or more metrics of one subject."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .datasets import ObjectMaker

OURS = "dicomnet"


@dataclass(frozen=True, slots=True)
class Metric:
    """One number that is measured; the lower, the better.

    Parameters
    ----------
    key
        Its name in the record.
    title
        What it is.
    unit
        Its unit.
    """

    key: str
    title: str
    unit: str


class Workspace:
    """The folders of one session.

    Parameters
    ----------
    ram
        On a RAM disk.
    disk
        On a disk.
    """

    def __init__(self, ram: Path, disk: Path) -> None:
        self._ram = ram
        self._disk = disk
        self.objects = ObjectMaker(ram / "objects")

    @contextmanager
    def destination(self, name: str = "received", *, on_disk: bool = False) -> Iterator[Path]:
        """An empty folder, removed afterwards."""
        folder = (self._disk if on_disk else self._ram) / name
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


Measure = Callable[[Workspace], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Case:
    """One subject's way of doing what a group measures.

    Parameters
    ----------
    subject
        Who, in a few words.
    measure
        Does it once; gives the metrics by key. A metric that this subject does not have is left out.
    note
        What must be known to read the numbers.
    is_slow
        Whether once is enough.
    """

    subject: str
    measure: Measure
    note: str = ""
    is_slow: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that do the same.

    Parameters
    ----------
    key
        A letter, and what tells groups of one letter apart.
    title
        What is done.
    metrics
        What is measured of each case.
    cases
        The first one is what the others are compared with.
    option
        The option without which it is left out; empty for those that are always there.
    """

    key: str
    title: str
    metrics: tuple[Metric, ...]
    cases: tuple[Case, ...]
    option: str = ""


@dataclass(slots=True)
class Result:
    """What was measured of one case: the values of each metric, one a run."""

    case: Case
    values: dict[str, list[float]] = field(default_factory=dict)
    failure: str = ""
