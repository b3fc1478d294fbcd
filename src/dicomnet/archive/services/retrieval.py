"""One C-GET or C-MOVE of the node while it is performed: which objects are sent, and what became of them."""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from io import BufferedReader
from time import monotonic

from ...blocking.peer import Peer, PerformanceOn
from ...dimse.messages import Message
from ...drivers.trace import served
from ...encoding.transfer_syntaxes import Transcoding
from ...errors import AssociationClosed, DicomnetError, ServiceRefusal
from ...exchange.operations import Lease
from ...exchange.results import StoreResult
from ...exchange.sendable import Identity, KnownObject
from ...exchange.sending import store_here
from ...exchange.store_requests import sub_operation_elements
from ...exchange.storing import Supply
from ...plurals import counted
from ...services.descriptions import shown
from ...services.registry import NO_SUB_OPERATION_PERFORMED
from ...services.steps import STILL_SEARCHING, Performed, StillSearching
from ...values import frozen
from ..catalogue.query import Located, StoredInstance
from ..storage.store import ObjectName, Storage
from .service import Caller

_log = logging.getLogger(__name__)

# How often the requestor is told how far it is, and how soon its C-CANCEL is seen, in seconds.
_PACE = 0.15
# How often it is told even though nothing happens, so that it does not take us for dead, in seconds.
_SIGN_OF_LIFE = 5.0
# How long objects that are on their way when a C-MOVE is cancelled may take, and the release of the association with
# the destination, in seconds.
_PATIENCE = 2.0
# After how many associations in a row that end before an answer a destination counts as lost.
_LOSSES = 3
# How many results may wait for the association on which the C-MOVE was asked for.
_RESULTS_LIMIT = 4096


@frozen
class _StoredFile:
    """The file of an object in the store."""

    storage: Storage
    name: ObjectName

    def open(self) -> BufferedReader:
        """It, for reading."""
        return self.storage.open(self.name)

    def read(self, length: int) -> bytes | None:
        """All of it, if it is of this length."""
        return self.storage.read(self.name, length)

    def __str__(self) -> str:
        return self.name.instance


def known_object(storage: Storage, found: StoredInstance) -> KnownObject:
    """A stored object that can be sent, as the index knows it."""
    what = Identity(found.sop_class_uid, found.name.instance, found.transfer_syntax_uid)
    return KnownObject(_StoredFile(storage, found.name), what, found.size)


class Retrieval(Iterator[Performed | StillSearching]):
    """The base of both: gives what became of the objects, some at a time.

    Parameters
    ----------
    request
        The request.
    caller
        Who asks for it.
    found
        The objects.
    storage
        Has their files.
    transcoding
        Whether they may be decompressed.

    Attributes
    ----------
    operation
        C-GET or C-MOVE.
    given
        How many objects of which study were taken to be sent.
    length
        How many bytes the files of the objects have that were sent, since somebody set it to 0.
    """

    patience = 1

    def __init__(
        self, request: Message, caller: Caller, found: Located, storage: Storage, transcoding: Transcoding
    ) -> None:
        self.count = found.count
        self.given: Counter[str] = Counter()
        self.supply = Supply(
            (known_object(storage, each) for each in self._counted(found.objects)),
            transcoding,
            sub_operation_elements(request, caller.ae_title),
            self.patience,
        )
        self._association = caller.association
        self._begin = monotonic()
        self._what = f"{request.type.service} of {caller}", f"{found.level} level"
        self._sent = self._failed = 0
        # Of those that failed, how many because nothing more could be sent at all.
        self._cut_off = 0
        # Why what is left cannot even be named.
        self._failure: ServiceRefusal | None = None
        self.operation = request.type.service
        self.length = 0

    @abstractmethod
    def finish(self) -> Performed:
        """Send nothing more: what became of the objects that were on their way."""

    def abort(self) -> None:
        """End at once what is open for it; may be called at any time and more than once."""
        self.supply.drop(AssociationClosed())

    def outcome_of(self, result: StoreResult) -> tuple[int | None, str]:
        """What is counted of a result."""
        ended = self.supply.ended
        if result.is_stored:
            self._sent += 1
            self.length += result.length
        elif ended is not None and result.status is None and result.comment == str(ended):
            # One line for all of them is enough.
            self._failed += 1
            self._cut_off += 1
        else:
            self._failed += 1
            status = "" if result.status is None else f" (status 0x{result.status:04X})"
            instance = ascii(result.sop_instance_uid)[1:-1]
            _log.warning(
                "%s: %s was not sent%s: %s%s",
                self._what[0],
                instance,
                self.to,
                shown(result.comment),
                status,
                extra={**self._association.connection.trace.fields, "object": instance},
            )
        return result.status, result.sop_instance_uid

    @property
    def has_failed(self) -> bool:
        """Whether an object was not sent."""
        return bool(self._failed) or self._failure is not None

    def _counted(self, objects: Iterable[StoredInstance]) -> Iterator[StoredInstance]:
        for each in objects:
            self.given[each.name.study] += 1
            yield each

    def fail(self, comment: str) -> None:
        """What is left cannot be named, and has failed."""
        self._failure = ServiceRefusal(NO_SUB_OPERATION_PERFORMED, comment)

    def end(self) -> Exception:
        """What ends it when all results are there: the failure, but for one after which some objects were sent."""
        return StopIteration() if self._failure is None or self._sent else self._failure

    @property
    def destination(self) -> str:
        """Who is sent the objects, as AE title, host and port; empty where that is who asks."""
        return ""

    @property
    def to(self) -> str:
        """Where the objects go, for the log."""
        return f" to {self.destination}" if self.destination else ""

    def log_end(self) -> None:
        """Say how it ended."""
        who, level = self._what
        if self._cut_off:
            _log.warning(
                "%s: %s not sent%s: %s",
                who,
                counted(self._cut_off, "object"),
                self.to,
                self.supply.ended,
                extra=self._association.connection.trace.fields,
            )
        early = "" if self._sent + self._failed == self.count else "; it ended early"
        if self._failure is not None:
            early += f": {self._failure.comment}"
        _log.info(
            "%s%s, %s: %d of %s sent, %d failed, in %.2f s%s",
            who,
            self.to,
            level,
            self._sent,
            counted(self.count, "object"),
            self._failed,
            monotonic() - self._begin,
            early,
            extra=self._association.connection.trace.fields,
        )


class Get(Retrieval):
    """A C-GET: its objects go back on the association that it came on.

    Parameters
    ----------
    request, caller, found, storage, transcoding
        As of `Retrieval`.
    window
        How many C-STORE requests may be outstanding, if the requestor grants it.
    """

    def __init__(
        self,
        request: Message,
        caller: Caller,
        found: Located,
        storage: Storage,
        transcoding: Transcoding,
        window: int,
    ) -> None:
        super().__init__(request, caller, found, storage, transcoding)
        self._message_id = request.message_id
        lease = Lease(self._association.agreement, self._association.next_message_id)
        operation = store_here(self.supply, lease, window)
        self._results = PerformanceOn(self._association, operation).results()
        self._due = 0.0

    def __next__(self) -> Performed:
        outcomes = []
        try:
            for result in self._results:
                outcomes.append(self.outcome_of(result))
                # What arrives beside the answers is known at once.
                if monotonic() >= self._due or self._association.talk.is_cancelled(self._message_id):
                    break
        except ServiceRefusal as refusal:
            # The index cannot be read. What was sent before that counts.
            self.fail(refusal.comment)
        except DicomnetError:
            raise
        except Exception as error:  # noqa: BLE001
            _log.exception("objects cannot be sent")
            self.fail(type(error).__name__)
        if not outcomes:
            raise self.end()
        self._due = monotonic() + _PACE
        return Performed(outcomes)

    def finish(self) -> Performed:
        self.supply.drop(AssociationClosed())
        left = Performed([self.outcome_of(result) for result in self._results])
        self.log_end()
        return left

    def abort(self) -> None:
        super().abort()
        self._results.close()


class Move(Retrieval):
    """A C-MOVE: a thread of its own sends the objects, so that the requestor is heard meanwhile.

    Parameters
    ----------
    request, caller, found, storage, transcoding
        As of `Retrieval`.
    peer
        The destination.
    """

    patience = _LOSSES

    def __init__(
        self,
        request: Message,
        caller: Caller,
        found: Located,
        storage: Storage,
        transcoding: Transcoding,
        peer: Peer,
    ) -> None:
        super().__init__(request, caller, found, storage, transcoding)
        self._peer = peer
        self._results: list[StoreResult] = []
        self._changed = threading.Condition()
        self._is_over = not found.count
        self._told = 0.0
        self._thread = threading.Thread(target=self._send, name="dicomnet-move", daemon=True)
        if not self._is_over:
            self._thread.start()

    @property
    def destination(self) -> str:
        return str(self._peer.address)

    def __next__(self) -> Performed | StillSearching:
        with self._changed:
            if self._told:
                self._changed.wait_for(self._has_to_be_told, _PACE)
            outcomes = self._take()
            is_over = self._is_over
        if not outcomes and is_over:
            raise self.end()
        if not outcomes and monotonic() < self._told + _SIGN_OF_LIFE:
            return STILL_SEARCHING
        self._told = monotonic()
        return Performed(outcomes)

    def finish(self) -> Performed:
        self._stop()
        if self._thread.is_alive() and not self._association.has_ended:
            # It waits for answers, and releases the association with the destination.
            self._thread.join(_PATIENCE)
        self.abort()
        with self._changed:
            left = Performed(self._take())
        self.log_end()
        return left

    def abort(self) -> None:
        self._stop()
        if self._thread.is_alive():
            self._peer.abort()
            self._thread.join(_PATIENCE)

    def _stop(self) -> None:
        with self._changed:
            super().abort()
            # It need not wait for room any more.
            self._changed.notify_all()

    def _has_to_be_told(self) -> bool:
        return self._is_over or len(self._results) >= _RESULTS_LIMIT

    def _take(self) -> list[tuple[int | None, str]]:
        results, self._results = self._results, []
        self._changed.notify_all()
        return [self.outcome_of(each) for each in results]

    def _put(self, result: StoreResult) -> None:
        with self._changed:
            self._results.append(result)
            if len(self._results) >= _RESULTS_LIMIT:
                self._changed.notify_all()
                self._changed.wait_for(self._has_room)

    def _has_room(self) -> bool:
        return len(self._results) < _RESULTS_LIMIT or self.supply.is_dropped

    def _send(self) -> None:
        # A thread of its own has no word of it yet.
        served.set(self._association.connection.trace)
        try:
            with self._peer:
                try:
                    for result in self._peer.store_supply(self.supply):
                        self._put(result)
                except ServiceRefusal as refusal:
                    # The index cannot be read.
                    self.fail(refusal.comment)
                except Exception as error:  # noqa: BLE001
                    _log.exception("objects cannot be sent%s", self.to)
                    self.fail(type(error).__name__)
                finally:
                    self._end()
        except Exception:  # noqa: BLE001
            _log.exception("the association%s was not released", self.to)

    def _end(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
