"""The upkeep of an archive: its index is kept in line with the files, and what journals still have is filed.

A node does this behind its service; one process of an archive has it, in a thread of its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from ..errors import DatabaseFailure, IndexUnusable, ServiceRefusal
from .intake import Intake

if TYPE_CHECKING:
    from sqlalchemy import URL

    from .catalogue.index import Index
    from .catalogue.recovery import Findings

_log = logging.getLogger(__name__)

INDEX_NAME = "index.sqlite"
# What is done at each look, if it is time for it; it stops where what it is given says so.
Chore = Callable[[Callable[[], bool]], None]
# How long to wait before what could not be done is tried again, and how often the index is looked at, in seconds.
_RETRY, _LOOK = 30.0, 1.0


def open_index(url: Path | str | URL, keys: Sequence[str] | None = None) -> Index:
    """Open the index of a store. One that is damaged or of another version is thrown away, and a new one is begun.

    Parameters
    ----------
    url
        As of `Index`.
    keys
        The attributes to keep besides those that are always kept, as for `Node`; None for those that it kept up to now.

    Raises
    ------
    DatabaseFailure
        If it cannot be used now.
    """
    from .catalogue.index import Index, discard
    from .catalogue.kept import configured

    kept = None if keys is None else configured(keys)
    try:
        index = Index(url, kept=kept)
        if index.is_damaged:
            index.renew()
            index.was_damaged = True
        return index
    except IndexUnusable as error:
        _log.warning("%s", error)
        discard(url)
        index = Index(url, kept=kept)
        index.was_damaged = isinstance(error.__cause__, DatabaseFailure)
        return index


def bring_in_line(
    index: Index, intake: Intake, is_stopped: Callable[[], bool] = lambda: False
) -> Findings | None:
    """Bring an index in line with the files of its store, unless it is known to be.

    Parameters
    ----------
    index, intake
        The index, and the intake of its archive, which knows where files go that cannot be indexed.
    is_stopped
        Asked now and then whether to stop; the rest is then done at the next call.

    Returns
    -------
    Findings
        What was set right; None if nothing was to be done, or not all of it was.

    Raises
    ------
    ServiceRefusal
        With status 0xA700, if the index cannot be read or written now.
    """
    from .catalogue.recovery import Findings, Recovery

    local = intake.local
    if index.is_complete and not local.needs_recovery:
        return None
    recovery = Recovery(index, intake.storage, intake.conflicts, is_stopped)
    # What turns out meanwhile not to be in the index sets it again.
    local.needs_recovery = False
    is_done = False
    try:
        is_done = recovery.run()
    finally:
        if not is_done:
            local.needs_recovery = True
    if not is_done:
        return None
    index.complete()
    if recovery.findings != Findings():
        _log.warning("the index was brought in line with the files: %s", recovery.findings)
    return recovery.findings


class Upkeep:
    """The thread that has the upkeep.

    Parameters
    ----------
    intake, index
        The archive.
    chores
        What else is to be done, see `Chore`.
    """

    def __init__(self, intake: Intake, index: Index, chores: Sequence[Chore] = ()) -> None:
        from .catalogue.filling import Filling

        self._intake = intake
        self._index = index
        self._chores = chores
        self._filling = Filling(index, intake.storage)
        # When what journals of processes that ended still have is tried again.
        self._next_rest = 0.0
        # An object that cannot be indexed meanwhile is looked for at the next start, not by one walk after the other.
        self._is_in_line = False
        self._is_filled = False
        self._is_to_be_checked = intake.local.was_killed
        self._is_stopping = threading.Event()
        # From Python 3.13 on, one that was made before a fork cannot be started behind it.
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="dicomnet-upkeep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it; what is not done is done at the next start."""
        self._is_stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            try:
                self._look_after()
            except (ServiceRefusal, DatabaseFailure, IndexUnusable, OSError) as error:
                if self._is_stopping.is_set():
                    return
                _log.error("the upkeep of the archive is tried again in %d s: %s", _RETRY, error)
                self._is_stopping.wait(_RETRY)
            except Exception:  # noqa: BLE001
                _log.exception("the upkeep of the archive has failed, and is tried again in %d s", _RETRY)
                self._is_stopping.wait(_RETRY)
            self._is_stopping.wait(_LOOK)

    def _look_after(self) -> None:
        index = self._index
        if index.is_damaged:
            _log.error("the index is damaged; a new one is made from the files")
            index.renew()
        if not self._is_in_line or not index.is_complete:
            bring_in_line(index, self._intake, self._is_stopping.is_set)
            self._is_in_line = index.is_complete
        if monotonic() >= self._next_rest:
            self._next_rest = monotonic() + _RETRY
            self._intake.recover_rest()
        if not self._is_filled:
            self._filling.run(self._is_stopping)
            self._is_filled = True
        for chore in self._chores:
            chore(self._is_stopping.is_set)
        if self._is_to_be_checked:
            begun = monotonic()
            if index.check(self._is_stopping.is_set):
                self._is_to_be_checked = False
                _log.info("the index is whole; reading it took %.0f s", monotonic() - begun)
