"""What is counted of one association: how it was answered and how it ended, and its requests with their times."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from ...dimse.messages import (
    C_ECHO_RQ,
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    Message,
    MessageType,
)
from ...drivers.hooks import Phase
from ...errors import AssociationAborted, AssociationReleased, DicomnetError, TLSFailed
from ...services import statuses
from ...services.registry import DUPLICATE_INVOCATION, PENDING, PENDING_UNSUPPORTED_KEYS
from ...services.steps import Performed
from ...values import frozen
from ...wire.pdu import CALLING_TITLE_NOT_RECOGNIZED, LOCAL_LIMIT_EXCEEDED, AssociateRJ
from . import series
from .counts import Counts
from .series import Family, place

if TYPE_CHECKING:
    from ...drivers.blocking.link import Link
    from ..services.retrieval import Retrieval

# PS3.8 Table 9-21.
_REJECTIONS = {
    CALLING_TITLE_NOT_RECOGNIZED: series.REJECTED_CALLING,
    AssociateRJ(1, 1, 7): series.REJECTED_CALLED,
    LOCAL_LIMIT_EXCEEDED: series.REJECTED_LIMIT,
}
_CLASS_OF = {
    statuses.SUCCESS: series.SUCCESS,
    statuses.WARNING: series.WARNING,
    statuses.CANCEL: series.CANCEL,
}
_OPERATIONS = {"C-GET": series.GET, "C-MOVE": series.MOVE}
_MATCHES, _RECEIVED, _SENT = place(series.MATCHES), place(series.RECEIVED), place(series.SENT)


def class_of(status: int | None) -> str:
    """The class of a status as a label has it; failure for none, and for one that the standard does not define."""
    return series.FAILURE if status is None else _CLASS_OF.get(statuses.category(status), series.FAILURE)


@frozen
class _Timed:
    """Where requests of one kind are counted.

    Parameters
    ----------
    places
        Of the histogram of each class of statuses.
    bounds
        The upper limits of its buckets, in seconds.
    success
        That of the places which most come to.
    total
        How far behind a place the sum is.
    matches
        Where its pending responses are counted; -1 for nowhere.
    has_length
        Whether the lengths of its data sets are counted.
    """

    places: Mapping[str, int]
    bounds: Sequence[float]
    success: int
    total: int
    matches: int = -1
    has_length: bool = False

    @classmethod
    def of(cls, family: Family, *labels: str, matches: int = -1) -> _Timed:
        """Those of a family."""
        places = {each: place(family, *labels, each) for each in series.CLASSES}
        return cls(
            places,
            family.bounds,
            places[series.SUCCESS],
            family.width - 1,
            matches,
            has_length=family is series.STORE,
        )


_TIMED: Mapping[MessageType, _Timed] = {
    C_ECHO_RQ: _Timed.of(series.ECHO),
    C_STORE_RQ: _Timed.of(series.STORE),
    C_FIND_RQ: _Timed.of(series.FIND, matches=_MATCHES),
    C_GET_RQ: _Timed.of(series.RETRIEVE, series.GET),
    C_MOVE_RQ: _Timed.of(series.RETRIEVE, series.MOVE),
}
_ANSWERED: Mapping[MessageType, _Timed] = {request.response: timed for request, timed in _TIMED.items()}


class Tally:
    """Counts what happens on one association. It is the meter of its `Connection`.

    Parameters
    ----------
    counts
        Where it is counted.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._memory, self._sums = counts.memory, counts.sums
        self._acquire, self._release = counts.lock.acquire, counts.lock.release
        self._link: Link
        # By Message ID, when its last byte came, and the length of its data set.
        self._begun: dict[int, tuple[float, int]] = {}
        self._peer = 0
        self._is_open = False

    def opened(self, link: Link) -> None:
        """The connection is there."""
        self._link = link

    def came(self, message: Message, now: float, length: int) -> None:
        """A message came. Each object passes here and by `goes`: both have to be fast."""
        if message.type in _TIMED:
            self._begun[message.command["MessageID"]] = now, length

    def goes(self, message: Message) -> None:
        """A message is about to be written."""
        timed = _ANSWERED.get(message.type)
        if timed is None:
            return
        command = message.command
        at = timed.success
        if status := command["Status"]:
            at = self._place_of(timed, status)
        begun = None if at < 0 else self._begun.pop(command["MessageIDBeingRespondedTo"], None)
        if begun is None:
            return
        took = monotonic() - begun[0]
        bucket, total = at + bisect_left(timed.bounds, took), at + timed.total
        # A "with" would take twice as long.
        self._acquire()
        try:
            self._memory[bucket] += 1
            self._sums[total] += took
            if timed.has_length:
                self._memory[_RECEIVED] += begun[1]
        finally:
            self._release()

    def performed(self, retrieval: Retrieval, performed: Performed) -> None:
        """Sub-operations of a C-GET or C-MOVE are over."""
        operation = _OPERATIONS[retrieval.operation]
        for status, _ in performed.outcomes:
            result = class_of(status)
            # A C-STORE is not cancelled.
            result = series.FAILURE if result == series.CANCEL else result
            self._counts.add(place(series.SUB_OPERATIONS, operation, result))
        length, retrieval.length = retrieval.length, 0
        self._counts.add(_SENT, length)

    def entered(self, phase: Phase) -> None:
        """The association was established, or is over."""
        connection, failure = self._link.connection, self._link.failure
        if connection.request is None:
            if isinstance(failure, TLSFailed):
                self._counts.add(place(series.HANDSHAKES))
            return
        if self._is_open:
            self._is_open = False
            self._counts.closed()
            self._counts.add(place(series.ENDED, _end(phase, failure), peer=self._peer))
            return
        self._peer = self._counts.peers.number_of(connection.request.calling_ae_title)
        result = series.NOT_ANSWERED
        if phase is Phase.ESTABLISHED:
            self._is_open = True
            self._counts.opened()
            result = series.ACCEPTED
        elif isinstance(connection.answer, AssociateRJ):
            result = _REJECTIONS.get(connection.answer, series.REJECTED_OTHER)
        self._counts.add(place(series.REQUESTS, result, peer=self._peer))

    def _place_of(self, timed: _Timed, status: int) -> int:
        """Where a response other than success is counted; -1 if the request goes on."""
        if status in (PENDING, PENDING_UNSUPPORTED_KEYS):
            if timed.matches >= 0:
                self._counts.add(timed.matches)
            return -1
        # Its Message ID is that of another one, which is still to be answered.
        return -1 if status == DUPLICATE_INVOCATION else timed.places[class_of(status)]


def _end(phase: Phase, failure: DicomnetError | None) -> str:
    """How an association ended that was established."""
    if phase is Phase.RELEASED or isinstance(failure, AssociationReleased):
        return series.RELEASED
    if not isinstance(failure, AssociationAborted):
        return series.ABORTED_BY_US
    if failure.source is not None:
        return series.ABORTED_BY_PEER
    return series.ABORTED_BY_US if failure.cause else series.LOST
