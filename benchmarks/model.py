"""The parts of a benchmark: groups of cases, each of which measures one or more metrics of one subject."""

from __future__ import annotations

import itertools
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
    count
        How many objects that time is for, if it is to be shown how many that are in a second.
    """

    key: str
    title: str
    unit: str
    count: int = 0


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
        self._numbers = itertools.count(1)
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

    def kept(self, name: str, *, on_disk: bool = True) -> Path:
        """An empty folder that is there until the end of the session.

        Where many files have just been removed, ext4 takes longer for new ones.
        """
        folder = (self._disk if on_disk else self._ram) / f"{name}-{next(self._numbers):03}"
        folder.mkdir()
        return folder


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
    """The measurements of one case: the values of each metric, one for each run.

    Parameters
    ----------
    failure
        Why it could not be measured.
    absence
        What is not installed, where that is why it was not measured.
    """

    case: Case
    values: dict[str, list[float]] = field(default_factory=dict)
    failure: str = ""
    absence: str = ""
