"""Retrieval of the rows of a list, one after the other: what is asked, what is asked again, and when to give up."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..datasets.levels import LEVEL_OF, Level
from ..encoding.identity import is_uid
from ..errors import (
    AssociationError,
    AssociationRejected,
    ConnectionFailed,
    DicomnetError,
    JournalUnusable,
    NetworkError,
    NoAcceptedContext,
    ProtocolError,
    ServiceRefusal,
)
from ..exchange.operations import Operation, Pause, Report, gather, intercept
from ..exchange.results import RetrieveProgress
from ..plurals import counted
from ..services.steps import Work
from ..values import field, frozen, mutable
from .folder import Folder, KeptOut
from .journal import Series
from .lists import Row
from .selecting import Agreement, Selection, agreement, text_values

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset

    from ..exchange.pacing import Pacing

Value = TypeVar("Value")

# How many objects are asked for at once, where not all of a series are.
_CHUNK = 50
# How often objects that have arrived get their names, in seconds: each time they wait for the medium.
_TAKE_SECONDS = 0.5
# The longest wait for its time, in seconds, through which an association is kept; and how often it is looked for that.
_KEPT, _NAP = 10.0, 0.2
# The longest pause before a peer is called again that could not be reached, in seconds.
_LONGEST_BACK_OFF = 30.0


class Outcome(Enum):
    """What became of a row."""

    COMPLETE = "complete"
    DUPLICATE = "duplicate"
    INVALID = "invalid"
    NO_MATCH = "no match"
    NO_SERIES = "no series"
    SEVERAL = "several matches"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    NOT_ASKED = "not asked"

    @property
    def is_well(self) -> bool:
        """Whether there is nothing left to do about the row itself."""
        return self in (Outcome.COMPLETE, Outcome.DUPLICATE)


class Source(Protocol):
    """The peer that is asked. What it raises are the exceptions of `dicomnet.errors`."""

    @property
    def name(self) -> str:
        """What stands for the peer in the journal."""
        ...

    def find(self, level: str, keys: Mapping[str, Any]) -> Operation[None]:
        """Query, as `Peer.find`; reports the matches."""
        ...

    def retrieve(
        self, level: str, keys: Mapping[str, Any], classes: Sequence[str], attempt: int, expected: int
    ) -> Operation[Any]:
        """Retrieve objects into the folder for what arrives; reports the progress.

        Parameters
        ----------
        level, keys
            As of `Peer.get`.
        classes
            The SOP class UIDs that the peer has told; empty where it has not.
        attempt
            The how many-th it is, from 1.
        expected
            How many objects that is, as far as the peer has told.
        """
        ...

    def rest(self) -> Operation[None]:
        """Release what is open; the next request opens it again."""
        ...


@frozen
class Terms:
    """How a list is retrieved.

    Parameters
    ----------
    selection
        The series that are retrieved.
    wildcards
        Whether values of rows may be wild cards, lists and ranges.
    all_matches
        Whether all is retrieved where a row matches the studies of several patients.
    recheck
        Whether the peer is asked for rows, too, that are complete.
    attempts
        How often a series is asked for.
    retries
        How often the same is asked again of a peer that cannot be reached, breaks off or has no resources.
    pause
        Seconds before a peer is asked again that has no resources; twice as many each further time.
    pacing
        How fast, and at which times of the day; None for as fast as can be.
    """

    selection: Selection = field(default_factory=Selection)
    wildcards: bool = False
    all_matches: bool = False
    recheck: bool = False
    attempts: int = 3
    retries: int = 5
    pause: float = 30.0
    pacing: Pacing | None = None


@mutable
class Result:
    """What became of a row.

    Parameters
    ----------
    row
        The row.
    outcome
        In a word.
    words
        In words, where there is more to say.
    studies
        The Study Instance UIDs of what it matched.
    series
        How many series were to be retrieved.
    expected, here
        How many objects are to be here, and are.
    retrieved
        How many of them came in this run.
    """

    row: Row
    outcome: Outcome
    words: str = ""
    studies: Sequence[str] = ()
    series: int = 0
    expected: int = 0
    here: int = 0
    retrieved: int = 0


@frozen
class Event:
    """Something that happened.

    Parameters
    ----------
    kind
        ``row``, ``series``, ``object``, ``kept_out`` or ``pause``.
    values
        What there is to say of it.
    """

    kind: str
    values: Mapping[str, object]


class Rows:
    """The rows of a list while they are retrieved, maybe by several fetchers side by side.

    Parameters
    ----------
    rows
        The rows.

    Attributes
    ----------
    results
        What became of each so far.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.results = [Result(row, Outcome.NOT_ASKED) for row in rows]
        self._numbers = iter(range(len(rows)))
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def next(self) -> int | None:
        """The number of the next row; None where there is none any more."""
        with self._lock:
            return next(self._numbers, None)

    def first_line(self, key: str, line: int) -> int | None:
        """The line of the row with the same key before this one; None for the first of them."""
        with self._lock:
            known = self._seen.get(key)
            if known is None:
                self._seen[key] = line
            return known

    def stop(self) -> None:
        """Begin with no further row."""
        with self._lock:
            self._numbers = iter(range(0))


class _Settled(Exception):
    """Nothing is to be retrieved for a row."""

    def __init__(self, outcome: Outcome, words: str = "", studies: Sequence[str] = ()) -> None:
        super().__init__(outcome, words)
        self.outcome = outcome
        self.words = words
        self.studies = studies


class Fetcher:
    """Retrieves the rows of a list.

    Parameters
    ----------
    source
        The peer.
    folder
        Where the files go.
    terms
        How.
    incoming
        The folder in which this one's objects arrive; that of all, where there is one fetcher.
    """

    def __init__(self, source: Source, folder: Folder, terms: Terms, incoming: Path | None = None) -> None:
        self._source = source
        self._folder = folder
        self._journal = folder.journal
        self._terms = terms
        self._incoming = incoming or folder.incoming
        self._classes: dict[tuple[str, str], set[str]] = {}
        self._retrieved = 0
        self._is_known = False

    def run(self, rows: Rows) -> Operation[None]:
        """Retrieve what rows name; reports each `Event`. Each row's result is noted there.

        Raises
        ------
        ConnectionFailed
            If the peer cannot be reached, and could not after all pauses.
        OSError
            If nothing can be written.
        """
        while (number := rows.next()) is not None:
            row = rows.results[number].row
            key = self._key(row)
            if row.fault:
                rows.results[number] = Result(row, Outcome.INVALID, row.fault)
            elif (line := rows.first_line(key, row.line)) is not None:
                rows.results[number] = Result(row, Outcome.DUPLICATE, f"the same as line {line}")
            else:
                rows.results[number] = yield from self._row(row, key)
            result = rows.results[number]
            values = {
                "line": row.line,
                "outcome": result.outcome.value,
                "words": result.words,
                "keys": dict(row.keys),
                "series": result.series,
                "expected": result.expected,
                "here": result.here,
                "retrieved": result.retrieved,
            }
            yield Report(Event("row", values))

    def _key(self, row: Row) -> str:
        """What stands for a row in the journal: with other terms it is another one."""
        terms = self._terms
        told = [
            self._source.name,
            sorted(row.keys.items()),
            str(terms.selection),
            terms.wildcards,
            terms.all_matches,
        ]
        return json.dumps(told)

    def _row(self, row: Row, key: str) -> Operation[Result]:
        known: Result | None = yield Work(lambda: self._known(row, key))
        if known is not None:
            return known
        self._retrieved = 0
        words = ""
        result: Result
        try:
            chosen = yield from self._patiently(lambda: self._choose(row))
            yield from self._source.rest()
            yield Work(lambda: self._journal.ask(key, chosen))
            for series in chosen:
                words = (yield from self._series(row, series)) or words
        except _Settled as settled:
            result = Result(row, settled.outcome, settled.words, settled.studies)
            yield Work(lambda: self._journal.settle(key, result.outcome.value, result.words))
            return result
        except (ConnectionFailed, JournalUnusable):
            raise
        except (DicomnetError, ValueError) as error:
            yield from self._source.rest()
            words = str(error)
            result = yield Work(lambda: self._count(row, self._journal.asked(key), words))
            if not result.series:
                result.outcome = Outcome.FAILED
        else:
            result = yield Work(lambda: self._count(row, chosen, words))
        result.retrieved = self._retrieved
        yield Work(lambda: self._journal.settle(key, result.outcome.value, result.words))
        return result

    def _known(self, row: Row, key: str) -> Result | None:
        """The result of a row that was complete before, and still is."""
        if self._terms.recheck or self._journal.outcome(key)[0] != Outcome.COMPLETE.value:
            return None
        result = self._count(row, self._journal.asked(key), "")
        return result if result.outcome is Outcome.COMPLETE else None

    def _count(self, row: Row, chosen: Sequence[Series], words: str) -> Result:
        """What is here of the series of a row."""
        expected = here = 0
        is_complete = bool(chosen)
        for series in chosen:
            has = self._folder.has(series)
            missing = max(len(series.named - has), series.expected - len(has))
            expected += series.expected
            here += len(has)
            is_complete = is_complete and missing <= 0 and series.expected > 0
        outcome = Outcome.COMPLETE if is_complete else Outcome.INCOMPLETE
        if not is_complete and not words:
            words = f"here: {here} of {counted(expected, 'object')} that the peer names or counts"
        studies = list(dict.fromkeys(series.study for series in chosen))
        return Result(
            row, outcome, "" if is_complete else words, studies, len(chosen), expected, here, self._retrieved
        )

    def _patiently(self, ask: Callable[[], Operation[Value]]) -> Operation[Value]:
        """Ask, and ask again after a pause where that may help."""
        troubles = 0
        while True:
            try:
                return (yield from ask())
            except (ServiceRefusal, AssociationError, NetworkError) as error:
                troubles += 1
                yield from self._pause(error, troubles)

    def _pause(self, error: DicomnetError, troubles: int) -> Operation[None]:
        """Pause after the so many-th trouble; raises it where that does not help, or no more."""
        yield from self._source.rest()
        # An address at which nobody has answered yet may as well be wrong.
        is_wrong = isinstance(error, ConnectionFailed) and not self._is_known
        self._is_known = self._is_known or isinstance(error, ServiceRefusal)
        if is_wrong or troubles > self._terms.retries or not _may_pass(error):
            raise error
        if isinstance(error, ServiceRefusal):
            seconds = self._terms.pause * 2 ** (troubles - 1)
        else:
            seconds = min(2.0 ** (troubles - 1), _LONGEST_BACK_OFF)
        yield Report(Event("pause", {"seconds": seconds, "words": str(error)}))
        yield Pause(seconds)

    def _pace(self) -> Operation[None]:
        """Wait until the peer may be asked."""
        pacing, is_told = self._terms.pacing, False
        while pacing is not None and (wait := pacing.wait()):
            if wait > _KEPT and not is_told:
                yield from self._source.rest()
                until = datetime.now() + timedelta(seconds=wait)
                words = f"nothing is retrieved until {until:%H:%M}"
                yield Report(Event("pause", {"seconds": round(wait), "words": words}))
                is_told = True
            yield Pause(min(wait, _NAP))

    # -- what there is

    def _find(self, level: str, keys: Mapping[str, Any]) -> Operation[list[Dataset]]:
        """All matches of a query."""
        matches: list[Dataset] = []
        yield from self._pace()
        yield from gather(self._source.find(level, keys), matches)
        self._is_known = True
        return matches

    def _choose(self, row: Row) -> Operation[list[Series]]:
        """Ask for what a row names, down to the objects; raises `_Settled` where that is nothing, or too much."""
        studies = yield from self._studies(row)
        chosen: list[Series] = []
        is_any = False
        untold = set(self._terms.selection.keywords)
        for study in studies:
            for match, series in (yield from self._matching_series(row, study)):
                is_any = True
                untold -= {keyword for keyword in untold if text_values(match, keyword)}
                if not self._terms.selection.takes(match):
                    continue
                found = yield from self._objects(row, study, series, _whole_number(match))
                if found is not None:
                    chosen.append(found)
        if not chosen and is_any and "SOPInstanceUID" not in row.keys:
            words = "none of its series is one of those that are wanted"
            if untold:
                words += f"; the peer does not say {', '.join(sorted(untold))} of any"
            raise _Settled(Outcome.NO_SERIES, words, studies)
        if not chosen:
            raise _Settled(Outcome.NO_MATCH, "the study is there, and nothing in it matches", studies)
        return chosen

    def _studies(self, row: Row) -> Operation[list[str]]:
        keys = {name: value for name, value in row.keys.items() if LEVEL_OF[name] <= Level.STUDY}
        wanted = {"PatientID": None, "PatientBirthDate": None, "StudyInstanceUID": None, **_asked(keys)}
        matches, others, untold, differs = [], 0, "", ""
        for match in (yield from self._find("study", wanted)):
            verdict, keyword = agreement(match, keys)
            if verdict is Agreement.AGREES:
                matches.append(match)
            elif verdict is Agreement.UNTOLD:
                untold = keyword
            else:
                others, differs = others + 1, keyword
        if not matches and untold:
            raise _Settled(
                Outcome.FAILED,
                f"the peer does not say {untold} of what it finds, so nobody knows whether it is meant",
            )
        if not matches:
            # In other letters perhaps, or because the peer passes over the key.
            found = counted(others, "study", "studies")
            words = f"the peer finds {found}, whose {differs} is another one" if others else ""
            raise _Settled(Outcome.NO_MATCH, words)
        uids = list(dict.fromkeys(uid for each in matches for uid in text_values(each, "StudyInstanceUID")))
        if not all(map(is_uid, uids)) or any(not text_values(each, "StudyInstanceUID") for each in matches):
            raise _Settled(Outcome.FAILED, "the peer finds a study and does not say its UID")
        patients = {tuple(text_values(each, "PatientID")) for each in matches}
        births = {value for each in matches for value in text_values(each, "PatientBirthDate")}
        is_doubtful = len(patients) > 1 or len(births) > 1 or patients == {()}
        if len(matches) > 1 and is_doubtful and not self._terms.all_matches:
            found = counted(len(uids), "study", "studies")
            words = f"several patients match, with {found}; --all-matches retrieves them all"
            raise _Settled(Outcome.SEVERAL, words, uids)
        return uids

    def _matching_series(self, row: Row, study: str) -> Operation[list[tuple[Dataset, str]]]:
        keys = {name: value for name, value in row.keys.items() if LEVEL_OF[name] is Level.SERIES}
        wanted = {
            **dict.fromkeys(self._terms.selection.keywords),
            **_asked(keys),
            "StudyInstanceUID": study,
        }
        seen = set()
        matching = []
        for match in (yield from self._find("series", wanted)):
            series = (text_values(match, "SeriesInstanceUID") or [""])[0]
            if (text_values(match, "StudyInstanceUID") or [study]) != [study]:
                continue
            verdict, keyword = agreement(match, keys)
            if verdict is Agreement.UNTOLD:
                raise _Settled(
                    Outcome.FAILED,
                    f"the peer does not say {keyword} of series, so nobody knows which are meant",
                )
            if not is_uid(series):
                raise _Settled(Outcome.FAILED, "the peer finds a series and does not say its UID")
            if verdict is Agreement.AGREES and series not in seen:
                seen.add(series)
                matching.append((match, series))
        return matching

    def _objects(self, row: Row, study: str, series: str, told: int) -> Operation[Series | None]:
        """A series with its objects; None where too few of it are there, or not the one that is wanted."""
        keys: dict[str, Any] = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
        wanted = row.keys.get("SOPInstanceUID")
        named: set[str] = set()
        classes: set[str] = set()
        try:
            for match in (yield from self._find("image", {**keys, "SOPInstanceUID": wanted})):
                if (text_values(match, "SeriesInstanceUID") or [series]) != [series]:
                    continue
                named.update(filter(is_uid, text_values(match, "SOPInstanceUID")))
                classes.update(filter(is_uid, text_values(match, "SOPClassUID")))
        except (ServiceRefusal, ProtocolError) as error:
            if _may_pass(error) or wanted is not None or not told:
                raise
            # A peer without this level: its count is what we have.
            named.clear()
        self._classes[study, series] = classes
        if wanted is not None:
            named &= set(wanted.split("\\"))
            return Series(study, series, False, len(named), frozenset(named)) if named else None
        expected = max(told, len(named))
        if 0 < expected < self._terms.selection.least:
            return None
        return Series(study, series, True, expected, frozenset(named))

    # -- its retrieval

    def _series(self, row: Row, series: Series) -> Operation[str]:
        """Retrieve a series until all of it is here, as often as that may help; gives what went wrong last."""
        troubles, attempt, words = 0, 1, ""
        here: set[str] = yield Work(lambda: self._folder.has(series))
        yield Report(Event("series", _of_series(row, series, len(here))))
        while attempt <= self._terms.attempts and (parts := _parts(series, here, attempt)):
            try:
                for part in parts:
                    words = (yield from self._part(row, series, part, attempt)) or words
            except (ServiceRefusal, AssociationError, NetworkError) as error:
                now: set[str] = yield Work(lambda: self._folder.has(series))
                troubles = 1 if len(now) > len(here) else troubles + 1
                here = now
                yield from self._pause(error, troubles)
                continue
            here = yield Work(lambda: self._folder.has(series))
            attempt += 1
        return "" if not _parts(series, here, 1) else words

    def _part(self, row: Row, series: Series, part: Sequence[str], attempt: int) -> Operation[str]:
        """Retrieve a series, or some of its objects; gives what went wrong, in words."""
        keys: dict[str, Any] = {"StudyInstanceUID": series.study, "SeriesInstanceUID": series.series}
        if part:
            keys["SOPInstanceUID"] = list(part) if len(part) > 1 else part[0]
        level = "image" if part else "series"
        classes = sorted(self._classes.get((series.study, series.series), ()))
        expected = len(part) or series.expected
        last: RetrieveProgress | None = None
        refusal: DicomnetError | None = None
        looked = time.monotonic()

        def follow(progress: RetrieveProgress) -> Operation[None]:
            nonlocal last, looked
            last = progress
            if time.monotonic() - looked >= _TAKE_SECONDS:
                yield from self._take(row)
                looked = time.monotonic()

        yield from self._pace()
        try:
            yield from intercept(self._source.retrieve(level, keys, classes, attempt, expected), follow)
        except (ServiceRefusal, ProtocolError, NoAcceptedContext) as error:
            refusal = error
        except (AssociationError, NetworkError):
            yield from self._take(row)
            raise
        yield from self._take(row)
        for failure in last.local_failures if last is not None else ():
            if isinstance(failure.error, OSError):
                raise failure.error
        if refusal is not None:
            if _may_pass(refusal):
                raise refusal
            return str(refusal)
        if last is None or last.is_complete:
            return ""
        if last.local_failures:
            return str(last.local_failures[0])
        return last.comment or f"the peer says that {last.failed or 'some'} of the objects have failed"

    def _take(self, row: Row) -> Operation[None]:
        for each in (yield Work(lambda: self._folder.take(self._incoming))):
            if isinstance(each, KeptOut):
                values = {"line": row.line, "object": each.object, "words": each.words}
                yield Report(Event("kept_out", values))
                continue
            self._retrieved += 1
            values = {"line": row.line, "object": each.object, "path": each.path, "bytes": each.size}
            yield Report(Event("object", values))


def _asked(keys: Mapping[str, str]) -> dict[str, Any]:
    """Keys as the query takes them."""
    return {
        name: value.split("\\") if name.endswith("UID") and "\\" in value else value
        for name, value in keys.items()
    }


def _whole_number(match: Dataset) -> int:
    """How many objects a series has, as the peer says; 0 where it does not."""
    for text in text_values(match, "NumberOfSeriesRelatedInstances"):
        if text.isascii() and text.isdecimal():
            return int(text)
    return 0


def _parts(series: Series, here: set[str], attempt: int) -> list[Sequence[str]]:
    """What is to be asked for: lists of objects, an empty one for the whole series, none where all is here."""
    missing = sorted(series.named - here)
    if not missing and len(here) >= series.expected > 0:
        return []
    if not missing and here and attempt > 2:
        # All that the peer names is here; what else it counts does not come by asking for all of it again and again.
        return []
    if series.is_whole and (not missing or (attempt == 1 and not here)):
        return [[]]
    chunk = 1 if attempt > 2 else _CHUNK
    return [missing[begin : begin + chunk] for begin in range(0, len(missing), chunk)]


def _may_pass(error: DicomnetError) -> bool:
    """Whether the same request may succeed after a while."""
    if isinstance(error, ServiceRefusal):
        return error.status & 0xFF00 == 0xA700
    if isinstance(error, AssociationRejected):
        # Transient, as one says that has too many associations (PS3.8 Table 9-21).
        return error.result == 2
    return isinstance(error, NetworkError | AssociationError) and not isinstance(error, NoAcceptedContext)


def _of_series(row: Row, series: Series, here: int) -> dict[str, object]:
    return {
        "line": row.line,
        "study": series.study,
        "series": series.series,
        "expected": series.expected,
        "here": here,
    }
