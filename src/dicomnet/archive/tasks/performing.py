"""Performing a task from outside of a node: in this process, or by the node that has the archive."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import StoreInUse
from ..conflicts import OtherContent
from ..holdings import Holdings
from ..upkeep import bring_in_line
from .control import ask
from .task import TASKS, Reporter, performed


def perform(
    folder: Path,
    name: str,
    parameters: Mapping[str, Any],
    reporter: Reporter,
    *,
    user: str = "",
    database: str | None = None,
    is_strict: bool = False,
    other_content: OtherContent = OtherContent.KEEP_FIRST,
) -> Mapping[str, Any]:
    """Perform a task with an archive.

    Parameters
    ----------
    folder
        The folder of the archive.
    name, parameters
        The task, and what it takes besides archive and reporter, in values that JSON has.
    reporter
        Where it reports.
    user
        Who wants it; a node that has the archive knows that by itself.
    database, is_strict, other_content
        As of `Holdings`; a node that has the archive goes by its own.

    Returns
    -------
    mapping
        Its summary.

    Raises
    ------
    FileNotFoundError
        If there is no archive.
    DicomnetError, OSError
        If the archive cannot be used, or the task fails.
    """
    task = TASKS[name]
    if not task.may_begin_archive and not (folder / "lock").exists():
        raise FileNotFoundError(f"{folder} is not the folder of an archive: it has no file named lock")
    try:
        holdings = Holdings(folder, database=database, is_strict=is_strict, other_content=other_content)
    except StoreInUse:
        return ask(folder, name, parameters, reporter)
    with holdings:
        assert holdings.index is not None
        if task.is_for_whole_index:
            bring_in_line(holdings.index, holdings.intake)
        return performed(holdings, name, parameters, reporter, user)
