"""What a check of an archive may find, in one table, and the report of it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

from ...errors import DicomnetError
from ...values import frozen
from ..storage.store import ObjectName
from .task import Reporter, TaskStopped, in_words


@frozen
class Kind:
    """A kind of findings.

    Parameters
    ----------
    what
        What is wrong, without any value of an object.
    repair
        What a repair does; empty where nothing can be done.
    is_damage
        Whether something is wrong; else it is only told.
    """

    what: str
    repair: str = ""
    is_damage: bool = True


_TO_QUARANTINE = "the file is moved to quarantine with the reason, and its row is removed"
_FROM_FILE = "the row is written anew from the file"

KINDS: Mapping[str, Kind] = {
    "file-missing": Kind(
        "the index has an object whose file is not there",
        "its row is removed, and the ledger keeps that it is lost",
    ),
    "row-missing": Kind("a file has no row in the index: no query finds it", "it is indexed"),
    "row-elsewhere": Kind(
        "the index has an object in another study or series than its file says", _FROM_FILE
    ),
    "row-size": Kind("the index has another size of a file than it has", _FROM_FILE),
    "row-differs": Kind("the index says of an object what its file does not say", _FROM_FILE),
    "rows-adrift": Kind(
        "rows of the index belong to nothing, or name nothing",
        "they are removed; files have all that was in them",
    ),
    "study-counts": Kind("the numbers of series and objects of a study are wrong", "they are counted anew"),
    "empty-file": Kind("a file is empty", _TO_QUARANTINE),
    "cut-off": Kind("a file is shorter than it was when it was received", _TO_QUARANTINE),
    "changed": Kind("the content of a file is not what was received (SHA-256)", _TO_QUARANTINE),
    "not-readable-as-object": Kind(
        "a file is not a DICOM object from its first byte to its last", _TO_QUARANTINE
    ),
    "other-object": Kind("a file has the name of another object than the one in it", _TO_QUARANTINE),
    "other-folder": Kind(
        "a file is not in the folder of its study and series",
        "it is moved there; if another file is there, or it is not what was received, to quarantine",
    ),
    "second-file": Kind(
        "a file has the SOP Instance UID of another one, which is the indexed one", _TO_QUARANTINE
    ),
    "quarantine-unrecorded": Kind("a file in quarantine is not in the ledger", "it is entered"),
    "quarantine-missing": Kind(
        "the ledger has an object in quarantine that is not there", "the ledger keeps that it is lost"
    ),
    "version-unrecorded": Kind("a file among the versions is not in the ledger", "it is entered"),
    "version-missing": Kind("the ledger has a version of an object that is not there"),
    "trash-unrecorded": Kind("a file in the trash is not in the ledger", "it is entered"),
    "trash-missing": Kind(
        "the ledger has an object in the trash that is not there", "the ledger keeps that it is lost"
    ),
    "set-aside-changed": Kind(
        "the content of a file in quarantine, in the trash or among the versions has changed"
    ),
    "stray": Kind("a file does not belong where it is", "it is moved to the folder strays, below its path"),
    "unfiled": Kind("acknowledged objects cannot be filed now; the intake journal keeps them"),
    "not-in-line": Kind(
        "the index was brought in line with the files before the check, as after a stop that was not clean"
    ),
    "index-damaged": Kind("the database of the index is damaged", "the index is made anew from the files"),
    "ledger-damaged": Kind("the database of the ledger is damaged"),
    "unreadable": Kind("a file or folder cannot be read; nothing is changed because of it"),
    "contradiction": Kind("objects of one study contradict each other", is_damage=False),
}

# More than this part of all, and than this number, are not gone but by a file system that is not mounted.
_LIKELY_PART, _LIKELY_NUMBER = 10, 100


def is_likely(gone: int, total: int) -> bool:
    """Whether so many of all may be gone for good."""
    return gone <= max(_LIKELY_NUMBER, total // _LIKELY_PART)


# What became of a finding: nothing was to be done, or could be; it was repaired; the file is in quarantine; what the
# archive had is gone; a backup has what it had before.
FOUND, LEFT, REPAIRED, QUARANTINED, LOST, KEPT = "found", "left", "repaired", "quarantined", "lost", "kept"


class Findings:
    """The collector of findings: each is reported at once, and counted.

    Parameters
    ----------
    reporter
        Where they are reported.
    is_repairing
        Whether they are to be set right.

    Attributes
    ----------
    counts, outcomes
        How many there are by kind, and by what became of them.
    """

    def __init__(self, reporter: Reporter, *, is_repairing: bool) -> None:
        self._reporter = reporter
        self.is_repairing = is_repairing
        self.counts: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self._unread: set[str] = set()

    @property
    def is_damaged(self) -> bool:
        """Whether anything is wrong."""
        return any(KINDS[kind].is_damage for kind in self.counts)

    def found(
        self,
        kind: str,
        *,
        name: ObjectName | None = None,
        path: str | None = None,
        detail: str = "",
        repair: Callable[[], str] | None = None,
        **more: Any,
    ) -> str:
        """Report a finding, after it has been set right if that is asked for; returns what became of it.

        Parameters
        ----------
        kind
            One of `KINDS`.
        name
            The object that it is about.
        path
            The file or folder.
        detail
            What else is known, without any value of an object.
        repair
            Sets it right, and returns what became of it.
        **more
            What else is reported, in values that JSON has.
        """
        outcome = FOUND
        if self.is_repairing and KINDS[kind].is_damage:
            outcome = LEFT
            if repair is not None:
                try:
                    with unbroken():
                        outcome = repair()
                except TaskStopped:
                    raise
                except (DicomnetError, OSError) as error:
                    cause = in_words(error)
                    detail = f"{detail}; {cause}" if detail else cause
        self.tell(kind, outcome, name=name, path=path, detail=detail, **more)
        return outcome

    def tell(
        self,
        kind: str,
        outcome: str,
        *,
        name: ObjectName | None = None,
        path: str | None = None,
        detail: str = "",
        **more: Any,
    ) -> None:
        """Report a finding of which it is known what became of it; parameters as of `found`."""
        self.counts[kind] += 1
        self.outcomes[outcome] += 1
        uids = {}
        if name is not None:
            uids = {
                "study_instance_uid": name.study,
                "series_instance_uid": name.series,
                "sop_instance_uid": name.instance,
            }
        said = {**uids, "path": path, "detail": detail or None, **more}
        self._reporter.item(
            finding=kind,
            what=KINDS[kind].what,
            **{key: value for key, value in said.items() if value is not None},
            outcome=outcome,
        )

    def cannot_read(self, error: OSError) -> None:
        """Report a file or folder that cannot be read, once."""
        path = str(error.filename or "")
        if path not in self._unread:
            self._unread.add(path)
            self.found("unreadable", path=path or None, detail=error.strerror or str(error))

    def is_below_unread(self, path: str) -> bool:
        """Whether a file is in a folder that cannot be read."""
        return any(path.startswith(f"{each}/") for each in self._unread)


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """Within the block, Ctrl-C waits for its end, so that nothing is half done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda *received: waiting.append(received))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting and callable(before):
        before(*waiting[0])
