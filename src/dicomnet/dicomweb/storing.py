"""Storing of objects (STOW-RS, PS3.18 section 10.5): several in a body, and one that fails costs itself only."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from ..dimse.datasets import Source
from ..drivers.files import StoredObject
from ..drivers.http import Head
from ..errors import (
    AssociationClosed,
    ConnectionLost,
    DeadlineExceeded,
    DicomnetError,
    HTTPRefusal,
    NetworkError,
    ProtocolError,
    UnusableObject,
)
from ..exchange.operations import Operation, Pause, Report
from ..exchange.results import StoreResult, describe_status, failed_result, result_of
from ..exchange.retrying import is_out_of_resources
from ..exchange.sendable import KnownObject, Sendable
from ..exchange.store_requests import needs_padding, padded
from ..exchange.storing import FIRST_LOOK, SCAN_AHEAD, Supply
from ..plurals import counted
from ..services.statuses import FAILURE, category
from ..services.steps import Work
from ..values import mutable
from .asking import JSON, LONGEST_WAIT, Session, ask, media_type, read_all, read_json, rest
from .bodies import Objects
from .lanes import side_by_side
from .refusals import PASSING, PROCESSING_FAILURE, refusal

_log = logging.getLogger(__name__)

# How many objects, and bytes, one body has at most; a larger object has one of its own.
MOST_OBJECTS, MOST_BYTES = 128, 32 << 20
# Codes that mean the service, or us, and no object.
_FINAL = frozenset((401, 403, 404, 405, 407, 410, 501))
# Those whose body may say what became of each object; and what bodies may be.
_TOLD = frozenset((400, 409, 415, 500, 503))
_XML = ("application/dicom+xml", "application/xml", "text/xml")
_REFERENCED, _FAILED_SEQUENCE, _OTHERS = "00081199", "00081198", "0008119A"
_INSTANCE, _WARNING_REASON, _FAILURE_REASON = "00081155", "00081196", "00081197"
# What the standard says of reasons beyond those of C-STORE (Table I.2-2).
_REASONS = {
    0xC122: "the peer does not take its transfer syntax",
    0x0122: "the peer does not take its SOP class",
}
# How many bodies in a row may get no answer in time. Halving finds an object that is too much for a peer; one that has
# stopped would cost the time for an answer with each.
_MOST_SILENCES = 3
_SHORTEST_NAP, _LONGEST_NAP, _TOLD_FROM = 0.002, 0.2, 10.0


def store(session: Session, supply: Supply, jobs: int) -> Operation[None]:
    """Store files (STOW-RS). Reports a `StoreResult` for each.

    Parameters
    ----------
    supply
        The files.
    jobs
        How many requests there may be at a time.

    Raises
    ------
    NetworkError, HTTPRefusal, ProtocolError
        If the service cannot be used at all. Later failures are in the results.
    """
    upload = Upload(session, supply)
    try:
        yield from side_by_side(upload.lane, jobs, upload.stop)
    finally:
        # Left early, nothing more is sent.
        upload.stop()


@mutable
class _Sending:
    """An object on its way.

    Parameters
    ----------
    stored
        The object.
    data
        Its data set.
    losses
        How many connections it has cost.
    refusals
        How often it was refused for want of resources.
    """

    stored: StoredObject
    data: Source
    losses: int = 0
    refusals: int = 0

    @property
    def uid(self) -> str:
        """Its SOP Instance UID."""
        return self.stored.header.sop_instance_uid


Pending = deque[list[_Sending]]


class Upload:
    """One store over several requests. May be shared between threads.

    Parameters
    ----------
    session
        The service.
    supply
        The files.
    """

    def __init__(self, session: Session, supply: Supply) -> None:
        self._session = session
        self._supply = supply
        self._lock = threading.Lock()
        self._objects: deque[Sendable] = deque()
        self._look = FIRST_LOOK
        self._has_answer = False
        self._silences = 0
        self._most_objects, self._most_bytes = MOST_OBJECTS, MOST_BYTES
        rate = None if supply.pacing is None else supply.pacing.rate
        if rate is not None and rate.is_bytes:
            # What is sent at once takes a second at most, so that it is not far from even.
            self._most_bytes = max(1, min(MOST_BYTES, int(rate.amount)))
        elif rate is not None:
            self._most_objects = max(1, min(MOST_OBJECTS, int(rate.amount)))

    def stop(self) -> None:
        """Send nothing more."""
        self._supply.end(AssociationClosed())

    def lane(self) -> Operation[None]:
        """Send what there is, one body after the other."""
        while True:
            results, objects = yield Work(self._next)
            for result in results:
                yield Report(result)
            if not objects and not results:
                return
            # What is sent once more comes before anything else.
            pending: Pending = deque([objects] if objects else [])
            while pending:
                yield from self._send(pending.popleft(), pending)

    def _next(self) -> tuple[list[StoreResult], list[_Sending]]:
        """The objects of the next body, and results of files that are not sent; nothing after the last. Reads files."""
        results: list[StoreResult] = []
        taken: dict[str, _Sending] = {}
        length = 0
        with self._lock:
            while len(taken) < self._most_objects:
                if not self._objects:
                    part = None if results else self._supply.part(self._look)
                    self._look = SCAN_AHEAD
                    if part is None:
                        break
                    results += part[0]
                    for plan in part[1]:
                        self._objects.extend(plan.objects)
                    continue
                if self._supply.ended is not None:
                    each = self._objects.popleft()
                    if not self._supply.is_dropped:
                        results.append(failed_result(each, self._supply.ended))
                    continue
                each = self._objects[0]
                try:
                    stored = each.read(whole=False)[0] if isinstance(each, KnownObject) else each
                    uid = stored.header.sop_instance_uid
                    # Of two with one UID, the response would not say which of them it means.
                    if taken and (uid in taken or length + stored.length > self._most_bytes):
                        break
                    taken[uid] = _Sending(stored, padded(stored) if needs_padding(stored) else stored.data)
                    length += stored.length
                except UnusableObject as error:
                    results.append(failed_result(each, error))
                self._objects.popleft()
        return results, list(taken.values())

    def _send(self, objects: list[_Sending], pending: Pending) -> Operation[None]:
        """Send objects in one body. Where that fails, they may be pending again, in two."""
        supply = self._supply
        yield from self._rest()
        if supply.ended is not None:
            yield from self._fail(objects, supply.ended)
            return
        body = Objects([(each.stored.header, each.data) for each in objects])
        begun = supply.now()
        try:
            head = yield from self._post(body, objects)
            outcomes = yield from self._outcomes(head)
        except UnusableObject as error:
            if body.unusable is None:
                raise
            number, cause = body.unusable
            _log.info("%s: %s", objects[number].stored.file, error)
            yield from self._fail([objects.pop(number)], cause)
            if objects:
                pending.appendleft(objects)
        except HTTPRefusal as error:
            yield from self._refused(objects, error, body.length, begun, pending)
        except (ConnectionLost, DeadlineExceeded) as error:
            self._silences += isinstance(error, DeadlineExceeded)
            is_silent = self._silences > _MOST_SILENCES
            if isinstance(error, DeadlineExceeded) and (error.stage != "message" or is_silent):
                yield from self._unreachable(objects, error, begun, pending)
            else:
                yield from self._lost(objects, error, pending)
        except (NetworkError, ProtocolError) as error:
            yield from self._unreachable(objects, error, begun, pending)
        else:
            self._silences = 0
            yield from self._answered(objects, head.status, outcomes, begun, pending)

    def _post(self, body: Objects, objects: Sequence[_Sending]) -> Operation[Head]:
        pacing = self._supply.pacing
        if pacing is not None:
            for each in objects:
                pacing.took(each.stored.length)
        return (
            yield from ask(
                self._session,
                "/studies",
                JSON,
                body=body,
                content_type=body.content_type,
                patience=len(objects),
                tries=0,
                accepted=_TOLD,
            )
        )

    def _outcomes(self, head: Head) -> Operation[dict[str, tuple[int, str]]]:
        """What a response says of each object, by SOP Instance UID; raises HTTPRefusal if it says nothing."""
        content = yield from read_all()
        is_failure = head.status >= 300
        kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content.strip() and (not is_failure or kind in (JSON, "application/json", *_XML)):
            name = media_type(head, (JSON, "application/json", *_XML)).name
            outcomes: dict[str, tuple[int, str]] | None = yield Work(
                partial(read_response, content, name in _XML)
            )
            if outcomes is not None and (outcomes or not is_failure):
                return outcomes
        if is_failure:
            raise refusal(head, content[: 1 << 16], has_credentials=self._session.credentials is not None)
        return {}

    def _answered(
        self,
        objects: list[_Sending],
        code: int,
        outcomes: Mapping[str, tuple[int, str]],
        begun: float,
        pending: Pending,
    ) -> Operation[None]:
        self._has_answer = True
        supply = self._supply
        again: list[_Sending] = []
        untold: list[_Sending] = []
        exhausted = ""
        for each in objects:
            outcome = outcomes.get(each.uid)
            if outcome is None:
                untold.append(each)
                continue
            status, comment = outcome
            if (
                is_out_of_resources(status)
                and supply.retry is not None
                and each.refusals < supply.retry.tries
            ):
                each.refusals += 1
                again.append(each)
                exhausted = f"{each.stored.file}: {comment}"
                continue
            if supply.retry is not None:
                supply.retry.progressed()
            yield Report(result_of(each.stored, status, comment))
        if again and supply.tries_again(exhausted, begun):
            pending.appendleft(again)
        elif again:
            for each in again:
                yield Report(result_of(each.stored, *outcomes[each.uid]))
        if untold and len(objects) > 1:
            pending.extendleft([each] for each in reversed(untold))
        elif untold:
            comment = f"the peer answered with HTTP status {code}, and not whether it has stored the object"
            yield Report(result_of(untold[0].stored, None, comment))

    def _refused(
        self, objects: list[_Sending], error: HTTPRefusal, length: int, begun: float, pending: Pending
    ) -> Operation[None]:
        """A whole body was refused, and nothing was said of its objects."""
        self._silences = 0
        if error.code in _FINAL or 300 <= error.code < 400:
            yield from self._unreachable(objects, error, begun, pending)
        elif error.code in PASSING or error.code == 507:
            self._has_answer = True
            wait = error.retry_after or 0.0
            if self._supply.tries_again(error, begun, wait):
                pending.appendleft(objects)
                return
            if self._may_wait(objects, wait):
                # Where nobody has said how long it is waited for, it has one more try.
                yield from rest(
                    max(wait, 0.1), lambda: self._session.is_closed or self._supply.ended is not None
                )
                pending.appendleft(objects)
                return
            for each in objects:
                yield Report(result_of(each.stored, error.status, str(error)))
        elif len(objects) > 1:
            self._has_answer = True
            if error.code == 413:
                self._most_bytes = max(1, min(self._most_bytes, length // 2))
            _halve(objects, error, pending)
        else:
            self._has_answer = True
            yield Report(result_of(objects[0].stored, error.status, str(error)))

    def _may_wait(self, objects: Sequence[_Sending], seconds: float) -> bool:
        for each in objects:
            each.refusals += 1
        is_over = self._supply.retry is not None or self._supply.ended is not None
        return not is_over and seconds <= LONGEST_WAIT and objects[0].refusals <= self._session.retries

    def _lost(self, objects: list[_Sending], error: NetworkError, pending: Pending) -> Operation[None]:
        """The connection was lost while a body was sent, or before the answer: one of its objects may be the cause."""
        if len(objects) > 1:
            _halve(objects, error, pending)
            return
        (each,) = objects
        each.losses += 1
        retry = self._supply.retry
        if each.losses <= max(self._session.retries, 0 if retry is None else retry.tries):
            pending.appendleft(objects)
        else:
            # The others get results from now on, whatever becomes of them.
            self._has_answer = True
            yield from self._fail(objects, error)

    def _unreachable(
        self, objects: list[_Sending], error: DicomnetError, begun: float, pending: Pending
    ) -> Operation[None]:
        """The service cannot be reached, or is none that takes objects of ours."""
        supply = self._supply
        is_passing = isinstance(error, NetworkError)
        if is_passing and supply.tries_again(error, begun):
            pending.appendleft(objects)
            return
        if not self._has_answer and supply.patience is None and supply.retry is None and supply.ended is None:
            supply.end(error)
            raise error
        supply.end(error)
        yield from self._fail(objects, error)

    def _fail(self, objects: Sequence[_Sending], error: DicomnetError) -> Operation[None]:
        if self._supply.is_dropped:
            return
        status = error.status if isinstance(error, HTTPRefusal) else None
        for each in objects:
            yield Report(result_of(each.stored, status, str(error)))

    def _rest(self) -> Operation[None]:
        """Wait until something may be sent."""
        supply = self._supply
        if (wait := supply.wait()) > _TOLD_FROM:
            supply.tell(f"nothing is sent until {datetime.now() + timedelta(seconds=wait):%H:%M}")
        while wait := supply.wait():
            yield Pause(min(max(wait, _SHORTEST_NAP), _LONGEST_NAP))


def _halve(objects: list[_Sending], error: DicomnetError, pending: Pending) -> None:
    _log.info("%s sent once more, in two parts: %s", counted(len(objects), "object"), error)
    middle = len(objects) // 2
    pending.extendleft((objects[middle:], objects[:middle]))


def read_response(content: bytes, is_xml: bool = False) -> dict[str, tuple[int, str]] | None:
    """What a Store Instances Response Module says of each object (PS3.18 Annex I).

    Parameters
    ----------
    content
        It, as JSON or XML.

    Returns
    -------
    dict or None
        Status and comment by SOP Instance UID; None where it is no such module.

    Raises
    ------
    ProtocolError
        If it is neither JSON nor XML.
    """
    what = "the peer's answer to a store"
    if is_xml:
        from ..datasets.xml_model import from_xml

        try:
            model: Any = from_xml(content)
        except ValueError as error:
            raise ProtocolError(f"{what} cannot be read: {type(error).__name__}") from error
    else:
        model = read_json(content, what)
    if isinstance(model, list) and len(model) == 1:
        # Some put it into a list, as the matches of a query.
        model = model[0]
    if not isinstance(model, dict):
        return None
    outcomes: dict[str, tuple[int, str]] = {}
    for item in _items(model, _REFERENCED):
        status = _number(_first(item, _WARNING_REASON))
        outcomes[str(_first(item, _INSTANCE))] = status, _words(status) if status else ""
    for item in _items(model, _FAILED_SEQUENCE):
        status = _number(_first(item, _FAILURE_REASON))
        # Some give reasons that are warnings elsewhere, such as B007. The object is not stored all the same.
        is_reason = category(status) == FAILURE
        comment = _words(status if is_reason else PROCESSING_FAILURE)
        if status and not is_reason:
            comment = f"{comment} (Failure Reason {status})"
        outcomes[str(_first(item, _INSTANCE))] = status if is_reason else PROCESSING_FAILURE, comment
    for item in _items(model, _OTHERS):
        _log.warning("the peer says that something has failed: %s", _first(item, _FAILURE_REASON))
    is_module = any(name in model for name in (_REFERENCED, _FAILED_SEQUENCE, _OTHERS, "00081190"))
    return outcomes if is_module else None


def _words(status: int) -> str:
    return _REASONS.get(status) or describe_status(status, "Storage", "C-STORE")


def _number(value: Any) -> int:
    """A status; XML has it as text. 0 where it is none."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 6:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _items(model: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    element = model.get(tag)
    value = element.get("Value") if isinstance(element, dict) else None
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _first(item: dict[str, Any], tag: str) -> Any:
    element = item.get(tag)
    value = element.get("Value") if isinstance(element, dict) else None
    return value[0] if isinstance(value, list) and value else None
