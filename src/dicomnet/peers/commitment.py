"""Storage commitment (PS3.4 Annex J): what is asked of a peer, its reports, and what they mean for each object."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any

from .._version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from ..dimse.messages import C_ECHO_RQ, N_EVENT_REPORT_RQ, Message
from ..drivers.deadline import Timeouts
from ..drivers.hooks import Phase
from ..errors import AssociationClosed, DeadlineExceeded, ServiceRefusal
from ..exchange.addresses import MAXIMUM_LENGTH
from ..exchange.contexts import NATIVE, STORAGE_COMMITMENT, VERIFICATION
from ..exchange.handling import answering
from ..exchange.operations import Lease, Leave, Open, Operation, Pause, Report, Run
from ..exchange.requesting import RequestorHooks
from ..exchange.results import StoreResult, check_status
from ..services import user
from ..services.registry import PROCESSING_FAILURE, SUCCESS
from ..services.steps import Answer, Work
from ..upper_layer.negotiation import (
    Acceptor,
    Agreement,
    NegotiatedContext,
    SupportedContext,
    accept,
    identification_items,
)
from ..values import frozen
from ..wire.pdu import AssociateAC, AssociateRJ, AssociateRQ

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_INSTANCE = "1.2.840.10008.1.20.1.1"
_REQUEST_COMMITMENT = 1
_NO_SUCH_EVENT_TYPE, _INVALID_ARGUMENT, _NO_SUCH_SOP_CLASS = 0x0113, 0x0115, 0x0118
# Of a report: all are committed, or failures exist (PS3.4 section J.3.3).
_EVENT_TYPES = (1, 2)
# How many objects are asked for in one transaction.
_TOGETHER = 1000
# How long it is waited before it is looked for a report again, in seconds.
_NAP = 0.02
# How long a peer has to release the association on which a report came, in seconds.
_RELEASE_SECONDS = 5.0
# Failure Reason (0008,1197), PS3.4 section J.3.3.1.2 and PS3.3 section C.14.1.1.
REASONS = {
    0x0110: "processing failed",
    0x0112: "the peer does not have the object",
    0x0119: "the peer has it with another SOP class",
    0x0122: "the peer does not support its SOP class",
    0x0131: "the transaction UID is in use",
    0x0213: "the peer has no room for it",
}

# An object that is to be committed: its SOP Class UID and SOP Instance UID, or the result of its store.
Reference = tuple[str, str] | StoreResult


@frozen
class Commitment:
    """What a peer has reported of an object.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid
        UIDs.
    is_committed
        Whether the peer commits itself to keep it.
    reason
        The Failure Reason, where the peer gives one.
    comment
        Why not, in words; empty where it is committed.
    """

    sop_class_uid: str
    sop_instance_uid: str
    is_committed: bool
    reason: int | None = None
    comment: str = ""


@frozen
class _Report:
    """A report on a transaction.

    Parameters
    ----------
    committed
        SOP Class UID by SOP Instance UID of the objects that the peer keeps; empty if it gives none.
    failed
        Failure Reason by SOP Instance UID for the others; None if the peer gives no reason.
    """

    committed: dict[str, str]
    failed: dict[str, int | None]

    @classmethod
    def read(cls, information: Dataset) -> _Report:
        """That of an Event Information."""

        def items(keyword: str) -> Iterable[Dataset]:
            found: Iterable[Dataset] = information.get(keyword) or ()
            return found

        return cls(
            {
                str(each.get("ReferencedSOPInstanceUID")): str(each.get("ReferencedSOPClassUID") or "")
                for each in items("ReferencedSOPSequence")
            },
            {
                str(each.get("ReferencedSOPInstanceUID")): each.get("FailureReason")
                for each in items("FailedSOPSequence")
            },
        )

    def of(self, sop_class: str, instance: str) -> Commitment:
        """What it says of an object. One that is named as kept and as failed is not committed."""
        said = self.committed.get(instance)
        if said in ("", sop_class) and instance not in self.failed:
            return Commitment(sop_class, instance, True)
        reason = self.failed.get(instance)
        if reason is not None:
            words = REASONS.get(reason, "a reason that the standard does not define")
            return Commitment(sop_class, instance, False, reason, f"{words} (0x{reason:04X})")
        if instance in self.failed:
            words = "the peer gives no reason"
        elif said is None:
            words = "the report does not name it"
        else:
            words = f"{REASONS[0x0119]}, {ascii(said)[1:-1]}"
        return Commitment(sop_class, instance, False, None, words)


class Inbox:
    """The reports that have come, whichever association brought them.

    Attributes
    ----------
    refused
        Why reports were refused, in words.
    is_over
        Whether the association of the request is over.
    """

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.is_over = False
        self._reports: dict[str, _Report | None] = {}
        self._lock = threading.Lock()

    def expect(self, transaction: str) -> None:
        """A report of this transaction may come from now on, and of no other."""
        with self._lock:
            self._reports = {transaction: None}

    def take(self, transaction: str) -> _Report | None:
        """The report of a transaction, None as long as there is none."""
        with self._lock:
            return self._reports.get(transaction)

    def answer(self, message: Message, context: NegotiatedContext) -> Answer:
        """Perform an N-EVENT-REPORT.

        Raises
        ------
        ServiceRefusal
            If it is damaged: with status 0x0110.
        """
        from ..datasets.codec import decode_whole

        sop_class = str(message.command.get("AffectedSOPClassUID") or "")
        if sop_class.strip(" ") != STORAGE_COMMITMENT:
            # Another service may report, too, and its report says nothing of what is kept.
            self.refused.append(
                f"its SOP class is {ascii(sop_class)[1:-1] or 'missing'}, and not that of storage commitment"
            )
            return Answer(_NO_SUCH_SOP_CLASS)
        sink = message.data
        content = getattr(sink, "content", b"")
        try:
            information = decode_whole(content, context.transfer_syntax)
        except ServiceRefusal as error:
            self.refused.append(f"it is cut off or damaged: {error.comment}")
            raise ServiceRefusal(PROCESSING_FAILURE, error.comment) from error
        with self._lock:
            transaction = str(information.get("TransactionUID"))
            if transaction not in self._reports:
                return Answer(_INVALID_ARGUMENT)
            kind = message.command.get("EventTypeID")
            if kind not in _EVENT_TYPES:
                self.refused.append(f"a report of storage commitment has no Event Type {kind}")
                return Answer(_NO_SUCH_EVENT_TYPE)
            self._reports[transaction] = _Report.read(information)
        return Answer(SUCCESS)


class _Hooks(RequestorHooks):
    """The hooks of the association of the request, on which the report may come."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def handle(self, message: Message, context: NegotiatedContext) -> Any:
        if message.type is not N_EVENT_REPORT_RQ:
            return super().handle(message, context)
        with answering("N-EVENT-REPORT"):
            return self._inbox.answer(message, context)

    def phase_changed(self, phase: Phase) -> None:
        self._inbox.is_over = phase in (Phase.RELEASED, Phase.ABORTED)


class _ListeningHooks(RequestorHooks):
    """The hooks of an association that the peer has opened to report."""

    def __init__(self, inbox: Inbox, acceptor: Acceptor) -> None:
        self._inbox = inbox
        self._acceptor = acceptor

    def negotiate(self, request: AssociateRQ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        # By whatever title it calls: a report counts by its transaction.
        return accept(request, self._acceptor)

    def handle(self, message: Message, context: NegotiatedContext) -> Any:
        if message.type is C_ECHO_RQ:
            return Answer(SUCCESS)
        if message.type is not N_EVENT_REPORT_RQ:
            return super().handle(message, context)
        with answering("N-EVENT-REPORT"):
            return self._inbox.answer(message, context)


class ReportListener:
    """Listens for reports on associations that peers open.

    Parameters
    ----------
    address
        Host and port to listen on.
    timeouts
        One deadline a stage.
    inbox
        Takes the reports.

    Raises
    ------
    OSError
        If the address cannot be bound.
    """

    def __init__(self, address: tuple[str, int], timeouts: Timeouts, inbox: Inbox) -> None:
        from ..drivers.blocking.server import Server
        from ..drivers.reception import Reception
        from ..drivers.transport import listen

        acceptor = Acceptor(
            {
                VERIFICATION: SupportedContext(NATIVE),
                STORAGE_COMMITMENT: SupportedContext(NATIVE, scu_role=False, scp_role=True),
            },
            identification_items(MAXIMUM_LENGTH, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME),
        )

        def receive(peer: tuple[str, int]) -> Reception:
            return Reception(_ListeningHooks(inbox, acceptor), timeouts, MAXIMUM_LENGTH)

        self._server = Server(listen(address), receive)
        self._server.start()

    def close(self) -> None:
        """Stop; a peer that has our response to a report may release its association first."""
        self._server.shutdown(_RELEASE_SECONDS)


def commit(
    request: AssociateRQ,
    objects: Iterable[Reference],
    wait: float,
    timeouts: Timeouts,
    listen: tuple[str, int] | None,
    inbox: Inbox,
) -> Operation[None]:
    """Ask for commitment, and wait for the reports. Reports a `Commitment` for each object.

    Parameters
    ----------
    request
        For an association.
    objects
        Taken as many at a time as are in a transaction; what is there twice is asked for once a transaction.
    wait
        How long to wait for each report, in seconds; 0 is without end.
    timeouts
        Of the association that waits for its report.
    listen
        Where to listen for reports on other associations; None for reports on the same one.
    inbox
        Takes what comes.

    Raises
    ------
    DeadlineExceeded, AssociationClosed
        If no report has come.
    """
    left = iter(objects)
    listener: ReportListener | None = None
    lease: Lease | None = None
    if listen is not None:
        listener = yield Work(lambda: ReportListener(listen, timeouts, inbox))
    try:
        while part := (yield Work(lambda: list(_pairs(islice(left, _TOGETHER))))):
            if lease is None or inbox.is_over:
                yield Leave(is_final=True)
                lease = yield Open(request, _Hooks(inbox), timeouts)
            report = yield from _transaction(lease, part, inbox, wait, is_elsewhere=listener is not None)
            for sop_class, instance in part:
                yield Report(report.of(sop_class, instance))
    finally:
        if listener is not None:
            listener.close()


def _pairs(objects: Iterable[Reference]) -> Iterator[tuple[str, str]]:
    for each in objects:
        yield (each.sop_class_uid, each.sop_instance_uid) if isinstance(each, StoreResult) else each


def _transaction(
    lease: Lease, part: list[tuple[str, str]], inbox: Inbox, wait: float, *, is_elsewhere: bool
) -> Operation[_Report]:
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    from ..exchange.messages import normalized_request

    information = Dataset()
    transaction = str(generate_uid(None))
    information.TransactionUID = transaction
    references = []
    for sop_class, instance in dict.fromkeys(part):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        references.append(item)
    information.ReferencedSOPSequence = references
    inbox.expect(transaction)
    message, _ = normalized_request(
        lease.agreement,
        "N-ACTION",
        STORAGE_COMMITMENT,
        _INSTANCE,
        lease.next_message_id(),
        dataset=information,
        ActionTypeID=_REQUEST_COMMITMENT,
    )
    begin = monotonic()
    check_status((yield Run(user.one_reply(message))), "Storage Commitment")
    while True:
        # Before it is looked for the report, as that may be the last that comes.
        is_over = inbox.is_over
        if (report := inbox.take(transaction)) is not None:
            return report
        if is_over and not is_elsewhere:
            raise AssociationClosed()
        if wait and monotonic() - begin >= wait:
            raise DeadlineExceeded("report", wait)
        yield Pause(_NAP)
