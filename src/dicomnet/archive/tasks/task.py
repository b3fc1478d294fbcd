"""The tasks by name, and how one reports while it is performed."""

from __future__ import annotations

import importlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from ...errors import DicomnetError, ServiceRefusal
from ...values import frozen, replace
from ..audit import COMMAND, AuditEvent, EventAction, EventKind, EventOutcome

if TYPE_CHECKING:
    from ..holdings import Holdings

# How often progress is reported, in seconds.
PACE = 0.2
# The longest text that the audit trail has of a task.
_LONGEST = 1000


class TaskStopped(DicomnetError):
    """A task ends before it is done, as nobody waits for it any more, or the archive is closed."""

    def __str__(self) -> str:
        return "the task was stopped before it was done; what it did stays"


class TaskFailed(DicomnetError):
    """A task cannot be performed, or not to its end.

    Parameters
    ----------
    cause
        Why, and what to do.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause

    def __str__(self) -> str:
        return self.cause


class TaskRefused(TaskFailed):
    """A task cannot be performed as it was asked for, and nothing was done."""


class Reporter(ABC):
    """Where a task reports what it does. It is used by one thread."""

    def __init__(self) -> None:
        self._next = 0.0

    def progress(self, done: int, total: int | None = None) -> None:
        """Say how far the task is; to be called often, as this is how a task learns that it is to stop.

        Parameters
        ----------
        done
            How many of the things are done that it is about.
        total
            How many there are; None where that is not known.

        Raises
        ------
        TaskStopped
            If the task is to stop.
        """
        now = monotonic()
        if now >= self._next:
            self._next = now + PACE
            self.show_progress(done, total)

    @abstractmethod
    def show_progress(self, done: int, total: int | None) -> None:
        """Pass progress on, which is not called too often; raises TaskStopped if the task is to stop."""

    @abstractmethod
    def item(self, **fields: Any) -> None:
        """Say what was found or done with one thing.

        Parameters
        ----------
        **fields
            What is said, in values that JSON has.

        Raises
        ------
        TaskStopped
            If the task is to stop.
        """


# A task: performed with the archive, where it reports, and its own parameters; returns its summary, in JSON's values.
Perform = Callable[..., Mapping[str, Any]]


@frozen
class Task:
    """A task: a row of the table.

    Parameters
    ----------
    home, function
        The module beside this one, and its function that is called as `Perform`.
    is_for_whole_index
        Whether it wants an index that is known to have all objects; else it begins at once.
    may_begin_archive
        Whether the archive's folder is made if there is none.
    """

    home: str
    function: str
    is_for_whole_index: bool = True
    may_begin_archive: bool = False


TASKS: Mapping[str, Task] = {
    "reindex": Task("reindexing", "reindex", is_for_whole_index=False),
    "check": Task("checking", "check", is_for_whole_index=False),
    "import": Task("importing", "import_files", may_begin_archive=True),
    "locate": Task("locating", "find_objects"),
    "delete": Task("deleting", "delete_objects"),
    "undelete": Task("deleting", "undelete_objects"),
    "protect": Task("protecting", "protect"),
    "backup": Task("backing_up", "back_up", is_for_whole_index=False),
    "restore": Task("restoring", "restore", is_for_whole_index=False, may_begin_archive=True),
}


def performer(name: str) -> Perform:
    """The function that performs a task.

    Raises
    ------
    ValueError
        If there is no such task.
    """
    if name not in TASKS:
        raise ValueError(f"there is no task named {name!a}; the archive is of another version")
    task = TASKS[name]
    found: Perform = getattr(importlib.import_module(f".{task.home}", __package__), task.function)
    return found


def performed(
    holdings: Holdings,
    name: str,
    parameters: Mapping[str, Any],
    reporter: Reporter,
    user: str,
    find: Callable[[str], Perform] = performer,
) -> Mapping[str, Any]:
    """Perform a task, of which the audit trail says that it began and how it ended.

    Parameters
    ----------
    holdings
        The archive.
    name, parameters, reporter
        The task, what it takes, and where it reports.
    user
        Who wants it.
    find
        Finds the function that performs a task by its name.

    Returns
    -------
    mapping
        Its summary.
    """
    perform, trail = find(name), holdings.audit
    given = {key: value for key, value in parameters.items() if value}
    started = AuditEvent(
        EventKind.SECURITY_ALERT,
        EventAction.TASK_STARTED,
        user=user,
        way=COMMAND,
        detail=f"task {name}: {json.dumps(given, default=str)}"[:_LONGEST],
    )
    trail.record(started)
    stopped = replace(started, action=EventAction.TASK_STOPPED)
    try:
        summary = perform(holdings, reporter, **parameters)
    except Exception as error:
        words = f"task {name}: {in_words(error)}"[:_LONGEST]
        trail.record(replace(stopped, outcome=EventOutcome.MINOR_FAILURE, detail=words))
        raise
    trail.record(stopped)
    return summary


def in_words(error: Exception) -> str:
    """Why a task, or a part of it, failed."""
    if isinstance(error, ServiceRefusal):
        return error.comment
    if isinstance(error, OSError) and error.strerror is not None and not isinstance(error, DicomnetError):
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return f"{name}{error.strerror}"
    return str(error)
