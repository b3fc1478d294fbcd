"""The parts of a benchmark: groups of cases, each of which measures one or more metrics of one subject."""

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
    """A measured number; lower is better.

    Parameters
    ----------
    key
        Its name in the record.
    title
        Its name for people.
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
        A folder on a RAM disk.
    disk
        A folder on a disk.
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
    """One subject performing the task of a group.

    Parameters
    ----------
    subject
        Name of the subject, in a few words.
    measure
        Performs the task once; returns the values by key of the metric, without those that this subject lacks.
    note
        What a reader must know to interpret the numbers.
    is_slow
        Whether it is so slow that it is measured only once.
    """

    subject: str
    measure: Measure
    note: str = ""
    is_slow: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that perform the same task.

    Parameters
    ----------
    key
        A letter, with a suffix that distinguishes groups of the same letter.
    title
        The task.
    metrics
        The metrics of each case.
    cases
        The cases; the others are compared with the first one.
    option
        The option that includes the group; empty if it is always measured.
    """

    key: str
    title: str
    metrics: tuple[Metric, ...]
    cases: tuple[Case, ...]
    option: str = ""


@dataclass(slots=True)
class Result:
    """The measurements of one case: the values of each metric, one for each run."""

    case: Case
    values: dict[str, list[float]] = field(default_factory=dict)
    failure: str = ""
