"""Retrieval of objects (WADO-RS, PS3.18 section 10.4): as they are stored, and what is missing once more."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.levels import UNIQUE_KEYS, Level
from ..datasets.queries import build_identifier
from ..drivers.files import open_object
from ..drivers.http import Head
from ..drivers.reading import open_stream
from ..drivers.scanning import scan_stream
from ..encoding.identity import is_uid
from ..errors import (
    ConnectionLost,
    DeadlineExceeded,
    DicomnetError,
    HTTPRefusal,
    NetworkError,
    ProtocolError,
    ServiceRefusal,
    UnusableObject,
)
from ..exchange.operations import READ, Operation, Report, gather
from ..exchange.receiving import IDENTIFYING_UIDS, ReceiverHooks, require_object
from ..exchange.results import RetrieveProgress
from ..plurals import counted
from ..services.registry import PENDING, SUCCESS
from ..services.steps import Work
from ..values import frozen
from .asking import Session, ask, is_measured, media_type, rest
from .lanes import side_by_side
from .multipart_reading import MultipartReader, MultipartUnreadable, PartBegins
from .parts import Arrival
from .refusals import NO_SUCH_INSTANCE, PROCESSING_FAILURE
from .searching import find

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_log = logging.getLogger(__name__)

_STUDY, _SERIES, _INSTANCE = 0x0020000D, 0x0020000E, 0x00080018
_DICOM = "application/dicom"
# As it is stored, whatever its transfer syntax (section 8.7.3.5.2); and for servers that do not know that.
_ACCEPT = f'multipart/related; type="{_DICOM}"; transfer-syntax=*'
_ACCEPT_PLAIN = f'multipart/related; type="{_DICOM}"'
# Refusals of a search by a server that does not offer it at this level, or has nothing.
_NO_SEARCH = frozenset((400, 404, 405, 406, 501))
# How many UIDs a query names at most: addresses must not be long.
_MOST_UIDS = 50
_WARNING, _FAILED = 0xB000, 0xA702
# How many refusals in a row are not those of single objects any more.
_PATIENCE = 10


@frozen
class Place:
    """Where an object, a series or a study is.

    Parameters
    ----------
    study, series, instance
        UIDs; empty for what is above.
    """

    study: str
    series: str = ""
    instance: str = ""

    @property
    def resource(self) -> str:
        """The path of it."""
        steps = (("studies", self.study), ("series", self.series), ("instances", self.instance))
        return "".join(f"/{name}/{uid}" for name, uid in steps if uid)


def get(
    session: Session, hooks: ReceiverHooks, identifier: Dataset, here: Path | None = None
) -> Operation[RetrieveProgress]:
    """Retrieve objects (WADO-RS). Reports the progress.

    Parameters
    ----------
    hooks
        They take the objects.
    identifier
        The unique keys of what is wanted.
    here
        A folder: what is there whole is not asked for again. None asks for all.

    Raises
    ------
    ValueError
        If the keys do not say what is wanted.
    NetworkError, HTTPRefusal, ProtocolError
        If it cannot be retrieved.
    ServiceRefusal
        If nothing of it was.
    """
    retrieval = _Retrieval(session, hooks)
    yield from retrieval.look(identifier)
    if here is not None:
        yield Work(partial(retrieval.leave_out, here))
    yield from retrieval.all()
    left = 1 + session.retries
    while left > 0 and retrieval.can_ask_again:
        before = retrieval.kept
        yield from retrieval.missing_ones()
        # As long as something comes, it is worth another try.
        left = left - 1 if retrieval.kept == before else 1 + session.retries
    progress = retrieval.progress(is_final=True)
    yield Report(progress)
    if retrieval.failure is not None and (progress.status == _FAILED or retrieval.is_broken):
        raise retrieval.failure
    progress.check()
    return progress


class _Retrieval:
    """What several requests of one retrieval share.

    Parameters
    ----------
    session
        The service.
    hooks
        They take the objects.
    """

    def __init__(self, session: Session, hooks: ReceiverHooks) -> None:
        self._session = session
        self._hooks = hooks
        # The objects that are wanted; empty where the service does not tell.
        self._wanted: dict[str, Place] = {}
        # Whether it tells all of them.
        self._is_listed = True
        # What was named and is not there.
        self._absences: list[HTTPRefusal] = []
        self._targets: deque[Place] = deque()
        # What is here from an earlier retrieval.
        self._here: set[str] = set()
        # What came of studies and series in part only.
        self._partial: DicomnetError | None = None
        self._failures_in_a_row = 0
        # What the last request that failed came to.
        self.failure: DicomnetError | None = None
        self._accept = _ACCEPT

    @property
    def is_broken(self) -> bool:
        """Whether something failed of which it is not known what is missing, or that no further request mends."""
        return self.failure is not None and (
            not self._wanted or (isinstance(self.failure, NetworkError) and bool(self._missing()))
        )

    @property
    def _gap(self) -> DicomnetError | None:
        """Why objects may be missing that nobody knows of: an answer was not whole, and the list may not be, either."""
        is_listed = self._is_listed and self._hooks.receipt.kept <= self._wanted.keys()
        return None if is_listed else self._partial

    @property
    def can_ask_again(self) -> bool:
        """Whether objects are missing, and further requests may bring them."""
        is_full = any(isinstance(each.error, OSError) for each in self._hooks.receipt.failures)
        is_over = is_full or self._session.is_closed or self._is_hopeless
        return bool(self._missing()) and not is_over

    @property
    def _is_hopeless(self) -> bool:
        """Whether what failed last fails for other objects as well."""
        error = self.failure
        if isinstance(error, HTTPRefusal):
            return error.code in (401, 403) or self._failures_in_a_row > _PATIENCE
        if isinstance(error, ProtocolError):
            return not self._hooks.receipt.kept
        return isinstance(error, NetworkError) and not isinstance(error, ConnectionLost | DeadlineExceeded)

    @property
    def kept(self) -> int:
        """How many objects have come and were taken."""
        return len(self._hooks.receipt.kept)

    def _missing(self) -> list[Place]:
        kept = self._hooks.receipt.kept
        return [place for uid, place in self._wanted.items() if uid not in kept and uid not in self._here]

    # -- what there is

    def look(self, identifier: Dataset) -> Operation[None]:
        """Find out which objects are wanted."""
        level = Level[str(identifier.QueryRetrieveLevel)]
        given = {each: _values(identifier, each) for each in Level}
        if not given[level]:
            raise ValueError(f"{UNIQUE_KEYS[level]} has to say what is wanted")
        for each in (Level.STUDY, Level.SERIES, Level.IMAGE):
            wrong = next((uid for uid in given[each] if not is_uid(uid)), None)
            if wrong is not None:
                raise ValueError(f"{UNIQUE_KEYS[each]} is not a UID: {wrong[:64]!a}")
        if level is Level.PATIENT:
            given[Level.STUDY] = yield from self._studies_of(given[Level.PATIENT])
        depth = max(level, Level.STUDY)
        for keys in _queries(given, depth):
            yield from self._list(keys, given, depth)
        tags = {Level.STUDY: _STUDY, Level.SERIES: _SERIES, Level.IMAGE: _INSTANCE}
        self._hooks.expect(
            {tags[each]: frozenset(given[each]) for each in tags if given[each] and each <= depth}
        )
        if not self._targets and self._absences:
            raise self._absences[0]

    def _studies_of(self, patients: Iterable[str]) -> Operation[list[str]]:
        found: dict[str, None] = {}
        for patient in patients:
            keys = {"PatientID": patient, "StudyInstanceUID": None}
            matches: list[Dataset] = []
            yield from gather(find(self._session, build_identifier("study", keys)), matches)
            # One that was matched in some other way is another patient.
            own = [each for each in matches if str(each.get("PatientID") or "") == patient]
            found.update((str(each.get("StudyInstanceUID") or ""), None) for each in own)
        studies = [uid for uid in found if is_uid(uid)]
        if not studies:
            raise HTTPRefusal(404, NO_SUCH_INSTANCE, "the peer has no study of this patient")
        return studies

    def _list(
        self, keys: Mapping[str, Any], given: Mapping[Level, list[str]], depth: Level
    ) -> Operation[None]:
        """Ask for the objects of a part of what is wanted."""
        study, series = str(keys["StudyInstanceUID"] or ""), str(keys["SeriesInstanceUID"] or "")
        place = Place(study, series if study else "")
        has_path = bool(study and (series or depth is Level.STUDY))
        matches: list[Dataset] = []
        try:
            asked = dict.fromkeys(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")) | dict(keys)
            yield from gather(find(self._session, build_identifier("image", asked)), matches)
        except (HTTPRefusal, ProtocolError) as error:
            if not has_path or (isinstance(error, HTTPRefusal) and error.code not in _NO_SEARCH):
                raise
            self._is_listed = False
            _log.info("the peer does not list all objects: %s", error)
        found = [at for at in map(_place_of, matches) if _is_asked(at, given, depth)]
        self._wanted.update((at.instance, at) for at in found)
        if depth is Level.IMAGE:
            targets = found
            if has_path and len(given[Level.SERIES]) == 1:
                # It may not list all it has.
                known = {at.instance for at in found}
                uids = keys.get("SOPInstanceUID") or given[Level.IMAGE]
                targets = found + [Place(study, series, uid) for uid in uids if uid not in known]
        elif has_path:
            targets = [place]
        else:
            targets = list(dict.fromkeys(Place(at.study, at.series) for at in found))
        self._targets.extend(targets)
        if not targets:
            self._absences.append(
                HTTPRefusal(404, NO_SUCH_INSTANCE, "the peer finds nothing with these keys")
            )

    def leave_out(self, folder: Path) -> None:
        """Leave out what is in a folder already, whole. Reads it."""
        there = {uid for uid in self._wanted if _is_whole(folder / f"{uid}.dcm", uid)}
        if not there:
            return
        self._here |= there
        self._targets.clear()
        left = self._missing()
        untouched = {place.series for place in self._wanted.values()} - {
            self._wanted[uid].series for uid in there
        }
        series = dict.fromkeys(Place(each.study, each.series) for each in left if each.series in untouched)
        self._targets.extend(series)
        self._targets.extend(each for each in left if each.series not in untouched)

    # -- its retrieval

    def all(self) -> Operation[None]:
        """Retrieve what is wanted: with several requests at a time, series by series."""
        jobs = self._session.jobs
        if jobs > 1 and len(self._targets) < jobs and not any(each.instance for each in self._targets):
            series = dict.fromkeys(Place(each.study, each.series) for each in self._missing())
            untold = [each for each in self._targets if not any(one.study == each.study for one in series)]
            self._targets = deque([*series, *untold])
        yield from self._retrieve()

    def missing_ones(self) -> Operation[None]:
        """Retrieve what has not come, object by object."""
        missing = self._missing()
        _log.info("%s not here whole, and asked for one by one", counted(len(missing), "object"))
        receipt = self._hooks.receipt
        uids = {each.instance for each in missing}
        receipt.failures[:] = [each for each in receipt.failures if each.sop_instance_uid not in uids]
        self.failure = None
        self._targets = deque(missing)
        yield from self._retrieve()

    def _retrieve(self) -> Operation[None]:
        count = min(self._session.jobs, len(self._targets))
        yield from side_by_side(self._lane, count, self._targets.clear)

    def _lane(self) -> Operation[None]:
        while not self._session.is_closed:
            try:
                target = self._targets.popleft()
            except IndexError:
                return
            try:
                yield from self._target(target)
                self._failures_in_a_row = 0
            except (HTTPRefusal, NetworkError, ProtocolError) as error:
                _log.info("%s: %s", target.resource, error)
                self.failure = error
                if not target.instance:
                    self._partial = error
                self._failures_in_a_row += 1
                if self._is_hopeless:
                    self._targets.clear()

    def _target(self, target: Place) -> Operation[None]:
        """Retrieve one study, series or object."""
        try:
            head = yield from ask(self._session, target.resource, self._accept)
        except HTTPRefusal as refusal:
            if refusal.code not in (400, 406) or self._accept == _ACCEPT_PLAIN:
                raise
            # It may not know transfer-syntax=*, and has its own choice then.
            head = yield from ask(self._session, target.resource, _ACCEPT_PLAIN)
            self._accept = _ACCEPT_PLAIN
        parts = 0 if head.status == 204 else (yield from self._read(head))
        if head.status == 206:
            raise HTTPRefusal(206, PROCESSING_FAILURE, "the peer gives only a part of what was asked for")
        if not parts:
            raise HTTPRefusal(head.status, NO_SUCH_INSTANCE, "the peer answers without any object")

    def _read(self, head: Head) -> Operation[int]:
        """Take the objects of an answer. Outcome: how many parts it had."""
        kind = media_type(head, ("multipart/related", _DICOM))
        if kind.name == _DICOM:
            if not is_measured(head):
                raise ProtocolError(
                    "the peer gives an object without its length, or compressed: nobody could tell if it came whole"
                )
            return (yield from self._read_one())
        try:
            reader = MultipartReader(kind.boundary)
            return (yield from self._read_parts(reader))
        except MultipartUnreadable as error:
            raise ProtocolError(f"the peer's answer cannot be read: {error}") from error

    def _chunk(self) -> Operation[bytes]:
        """What comes next of an answer, which is read no faster than it may come; empty at its end."""
        pacing = self._hooks.pacing
        while pacing is not None and (wait := pacing.rest()) > 0 and not self._session.is_closed:
            yield from rest(wait, lambda: self._session.is_closed)
        chunk: bytes = yield READ
        if pacing is not None:
            pacing.took_some(len(chunk))
        return chunk

    def _has_come(self) -> Operation[None]:
        """An object has come, or what was none."""
        if self._hooks.pacing is not None:
            self._hooks.pacing.took_one()
        yield Report(self.progress())

    def _read_one(self) -> Operation[int]:
        arrival = Arrival(self._hooks)
        try:
            while chunk := (yield from self._chunk()):
                arrival.write(memoryview(chunk))
            yield from arrival.end()
        finally:
            arrival.abort()
        yield from self._has_come()
        return 1

    def _read_parts(self, reader: MultipartReader) -> Operation[int]:
        arrival: Arrival | None = None
        count = 0
        try:
            while chunk := (yield from self._chunk()):
                for event in reader.feed(chunk):
                    if isinstance(event, PartBegins):
                        arrival = Arrival(self._hooks)
                    elif isinstance(event, memoryview):
                        assert arrival is not None
                        arrival.write(event)
                    else:
                        assert arrival is not None
                        yield from arrival.end()
                        arrival = None
                        count += 1
                        yield from self._has_come()
        finally:
            if arrival is not None:
                arrival.abort()
        if not reader.is_closed:
            raise ConnectionLost("its last part is missing")
        return count

    # -- how far it is

    def progress(self, *, is_final: bool = False) -> RetrieveProgress:
        """How far it is."""
        receipt = self._hooks.receipt
        kept, failures = len(receipt.kept), tuple(receipt.failures)
        missing = self._missing()
        if not is_final:
            remaining = len(missing) if self._wanted else None
            return RetrieveProgress(PENDING, remaining, kept, 0, 0, received=kept, local_failures=failures)
        failed = max(len(missing), len(failures)) + len(self._absences)
        if (self.failure is not None and not self._wanted) or self._gap is not None:
            # Nobody knows how many.
            failed = max(failed, 1)
        status, comment = SUCCESS, ""
        if failed:
            status = _WARNING if kept or self._here else _FAILED
            cause = next(iter((*self._absences, *filter(None, (self.failure, self._gap)))), None)
            comment = "not all objects have come whole" if cause is None else str(cause)
        uids = tuple(each.instance for each in missing)
        return RetrieveProgress(status, None, kept, failed, 0, uids, comment, kept, failures)


def _values(identifier: Dataset, level: Level) -> list[str]:
    value = identifier.get(UNIQUE_KEYS[level])
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else [str(each) for each in value]


def _place_of(match: Dataset) -> Place:
    return Place(
        *(str(match.get(UNIQUE_KEYS[each]) or "") for each in (Level.STUDY, Level.SERIES, Level.IMAGE))
    )


def _is_asked(at: Place, given: Mapping[Level, list[str]], depth: Level) -> bool:
    """Whether an object is one that is wanted, by what a server says of it: some pass over keys."""
    levels = ((Level.STUDY, at.study), (Level.SERIES, at.series), (Level.IMAGE, at.instance))
    return all(
        is_uid(uid) and (each > depth or not given[each] or uid in given[each]) for each, uid in levels
    )


def _queries(given: Mapping[Level, list[str]], depth: Level) -> Iterator[dict[str, Any]]:
    """What is asked to find out the objects: below each study, and series, that is named."""
    for study in given[Level.STUDY] or [""]:
        for series in (given[Level.SERIES] if depth >= Level.SERIES else []) or [""]:
            keys: dict[str, Any] = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
            instances = given[Level.IMAGE] if depth is Level.IMAGE else []
            if study and series and len(instances) > _MOST_UIDS:
                yield keys
                continue
            for begin in range(0, max(len(instances), 1), _MOST_UIDS):
                yield {**keys, "SOPInstanceUID": instances[begin : begin + _MOST_UIDS] or None}


def _is_whole(path: Path, instance: str) -> bool:
    """Whether a file has this object, from its beginning to its end."""
    from ..encoding.scan import HeaderScanner

    try:
        stored = open_object(path)
        with open_stream(os.fspath(path)) as stream:
            header = scan_stream(
                HeaderScanner(IDENTIFYING_UIDS),
                stream,
                stored.header.offset,
                stored.header.transfer_syntax_uid,
            )
        require_object(header, stored.header.sop_class_uid, instance)
    except (OSError, UnusableObject, ServiceRefusal):
        return False
    return True
