"""The operations of a `Peer` as generators: each yields the steps it needs, and a face performs them in its own way.

An operation uses one association at a time. A step that fails is raised inside the operation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from ..dimse.messages import C_GET_RQ, C_MOVE_RQ, Message, MessageType
from ..drivers.hooks import Hooks
from ..errors import AssociationClosed, AssociationError, NetworkError, NoAcceptedContext, ProtocolError
from ..services import user
from ..services.registry import PENDING
from ..services.steps import Procedure, Work
from ..upper_layer.negotiation import Agreement
from ..values import mutable
from ..wire.pdu import AssociateRQ
from .contexts import NATIVE, VERIFICATION, Proposal
from .lanes import Lanes
from .requests import echo_request
from .results import Receipt, RetrieveProgress, check_status
from .storing import FIRST_LOOK, SCAN_AHEAD, StoreQueue, Supply, Transmission

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from .receiving import ReceiverHooks

_log = logging.getLogger(__name__)

Outcome = TypeVar("Outcome")


@mutable
class Lease:
    """An association while an operation uses it.

    Parameters
    ----------
    agreement
        What was negotiated.
    next_message_id
        Gives a message ID that no outstanding request has.
    is_reused
        It was opened for an earlier operation.
    has_answer
        The peer has answered on it since.
    """

    agreement: Agreement
    next_message_id: Callable[[], int]
    is_reused: bool = False
    has_answer: bool = False

    @property
    def is_stale(self) -> bool:
        """Whether it may have been over before this operation, if it is over now."""
        return self.is_reused and not self.has_answer


@mutable
class Use:
    """Leave the present association for one that proposes just this, idle or new. Outcome: its `Lease`."""

    proposal: Proposal
    window: int = 1


@mutable
class Open:
    """Open an association for this operation alone, which is released at its end. Outcome: its `Lease`."""

    request: AssociateRQ
    hooks: Hooks


@mutable
class Run:
    """Run a procedure on the association. Outcome: what it returns."""

    procedure: Procedure[Any]


@mutable
class Begin:
    """Begin a procedure with many responses on the association. Outcome: None.

    Parameters
    ----------
    cancel
        The C-CANCEL-RQ for an operation that is left early.
    """

    procedure: Procedure[None]
    cancel: Message | None = None


@mutable
class Next:
    """Wait for the next response of what was begun. Outcome: the `Message`, None after the last."""


@mutable
class Leave:
    """Let go of the association. Outcome: None."""


@mutable
class Report:
    """Hand a result to the caller, who takes the next one when it suits. Outcome: None."""

    result: Any


@mutable
class Spawn:
    """Perform one more lane beside this operation. Outcome: None."""

    lanes: Lanes


@mutable
class Wait:
    """Wait for other lanes until an attempt succeeds. Outcome: what it gives then.

    Parameters
    ----------
    attempt
        Called while no other lane changes anything; gives None as long as it has to wait.
    """

    attempt: Callable[[], Any]


NEXT, LEAVE = Next(), Leave()

Step = Use | Open | Run | Begin | Next | Leave | Report | Spawn | Wait | Work
Operation = Generator[Step, Any, Outcome]


def _with_retry(proposal: Proposal, attempt: Callable[[Lease], Operation[Outcome]]) -> Operation[Outcome]:
    """Perform an operation, once more if the association it used again turns out to have ended before."""
    while True:
        lease: Lease = yield Use(proposal)
        try:
            return (yield from attempt(lease))
        except NoAcceptedContext:
            # A new association would propose the same.
            raise
        except AssociationError:
            if not lease.is_stale:
                raise


def echo() -> Operation[None]:
    """Verify the peer (C-ECHO). Reports how long the answer took, in seconds."""

    def attempt(lease: Lease) -> Operation[None]:
        request = echo_request(lease.agreement, lease.next_message_id())
        begin = perf_counter()
        response = yield Run(user.one_reply(request))
        duration = perf_counter() - begin
        check_status(response, "Verification")
        yield Report(duration)

    return _with_retry(((VERIFICATION, NATIVE),), attempt)


def find(identifier: Dataset, model: str) -> Operation[None]:
    """Query (C-FIND). Reports the matches."""
    from .messages import cancel_request, find_request, identifier_of

    def attempt(lease: Lease) -> Operation[None]:
        request, context = find_request(lease.agreement, identifier, model, lease.next_message_id())
        cancel = cancel_request(context.context_id, request.message_id)
        yield Begin(user.many_replies(request), cancel)
        while (response := (yield NEXT)) is not None:
            lease.has_answer = True
            match = identifier_of(response, context)
            if match is not None:
                yield Report(match)
            else:
                check_status(response, "Query/Retrieve")

    return _with_retry(((model, NATIVE),), attempt)


def get(
    request: AssociateRQ, hooks: ReceiverHooks, identifier: Dataset, model: str
) -> Operation[RetrieveProgress]:
    """Retrieve over an association of its own (C-GET). Reports the progress.

    Parameters
    ----------
    hooks
        They take the objects.
    """
    lease: Lease = yield Open(request, hooks)
    return (yield from _retrieve(lease, C_GET_RQ, identifier, model, receipt=hooks.receipt))


def move(destination: str, identifier: Dataset, model: str) -> Operation[RetrieveProgress]:
    """Have objects sent to an application entity (C-MOVE). Reports the progress."""

    def attempt(lease: Lease) -> Operation[RetrieveProgress]:
        return _retrieve(lease, C_MOVE_RQ, identifier, model, destination)

    return _with_retry(((model, NATIVE),), attempt)


def _retrieve(
    lease: Lease,
    kind: MessageType,
    identifier: Dataset,
    model: str,
    destination: str | None = None,
    receipt: Receipt | None = None,
) -> Operation[RetrieveProgress]:
    from .messages import cancel_request, failed_uids_of, retrieve_request

    message_id = lease.next_message_id()
    request, context = retrieve_request(
        kind, lease.agreement, identifier, model, message_id, destination=destination
    )
    yield Begin(user.many_replies(request), cancel_request(context.context_id, message_id))
    progress = RetrieveProgress(PENDING)
    while (response := (yield from _next_of(progress, receipt))) is not None:
        lease.has_answer = True
        damage: ProtocolError | None = None
        failed_uids: tuple[str, ...] = ()
        try:
            failed_uids = failed_uids_of(response, context)
        except ProtocolError as error:
            damage = error
        progress = progress.next(response, failed_uids, receipt)
        yield Report(progress)
        if damage is not None:
            # What else the response says is known by now.
            raise damage
    progress.check()
    return progress


def _next_of(progress: RetrieveProgress, receipt: Receipt | None) -> Operation[Message | None]:
    """The next response of a retrieval; where there is none any more, what has arrived since the last is reported."""
    try:
        response: Message | None = yield NEXT
    except (AssociationError, NetworkError):
        if receipt is not None and (known := progress.with_receipt(receipt)) != progress:
            yield Report(known)
        raise
    return response


def store(supply: Supply, window: int, retries: int, jobs: int) -> Operation[None]:
    """Store files (C-STORE). Reports a `StoreResult` for each.

    Parameters
    ----------
    supply
        The files.
    window
        How many requests may be outstanding.
    retries
        How often an object is sent again that was outstanding when its association was lost.
    jobs
        How many associations may be open side by side.
    """
    may_raise = True
    try:
        part = yield Work(partial(supply.part, FIRST_LOOK))
        while part is not None:
            skipped, plans = part
            for result in skipped:
                yield Report(result)
            for plan in plans:
                queue = StoreQueue(plan, retries, supply)
                lanes = min(jobs, len(plan.objects))
                if lanes > 1:
                    yield from store_side_by_side(Lanes(queue, window, lanes), may_raise=may_raise)
                else:
                    yield from _store_one_by_one(queue, window, may_raise=may_raise)
                may_raise = False
            part = yield Work(partial(supply.part, SCAN_AHEAD))
    finally:
        # Left early, nothing more is sent.
        supply.end(AssociationClosed())


def _store_one_by_one(queue: StoreQueue, window: int, *, may_raise: bool) -> Operation[None]:
    while (yield from _has_work(queue)):
        try:
            lease: Lease = yield Use(queue.proposal, window)
        except (NetworkError, AssociationError) as error:
            if may_raise:
                raise
            queue.fail(error)
            break
        may_raise = False
        yield from _send(queue, lease, window)
    yield LEAVE
    queue.fail(queue.ended or AssociationClosed())
    while (result := queue.take_result()) is not None:
        yield Report(result)


def _has_work(queue: StoreQueue) -> Operation[bool]:
    while queue.can_look and not queue.has_objects:
        yield Work(queue.look_on)
    return queue.ended is None and not queue.is_empty


def _send(queue: StoreQueue, lease: Lease, window: int) -> Operation[None]:
    """Send what waits on one association, until nothing does or it is over."""
    sending = Transmission(queue, lease.agreement, lease.next_message_id, window)
    try:
        yield Begin(user.pipeline(sending.requests(), sending.window, sending.unusable))
        while (response := (yield NEXT)) is not None:
            lease.has_answer = True
            sending.answered(response)
            while (result := queue.take_result()) is not None:
                yield Report(result)
    except (NetworkError, AssociationError) as error:
        sending.lost(error, was_stale=lease.is_stale)
    while (result := queue.take_result()) is not None:
        yield Report(result)


def store_side_by_side(lanes: Lanes, *, may_raise: bool) -> Operation[None]:
    """Store the objects of one plan on several associations; the others are opened when there is a first one."""
    yield Spawn(lanes)
    while taken := (yield Wait(lanes.take)):
        yield Report(taken[0])
    lanes.finish(may_raise=may_raise)
    while (result := lanes.queue.take_result()) is not None:
        yield Report(result)


def lane(lanes: Lanes) -> Operation[None]:
    """Send what waits in the queue of some lanes, on one association after the other.

    It ends where it gets none, and leaves its objects to the others. While it has nothing to send it waits, as another
    may lose its association and leave it something.
    """
    queue = lanes.queue
    while True:
        yield from _has_work(queue)
        if not (yield Wait(lanes.begin)):
            return
        try:
            lease: Lease = yield Use(queue.proposal, lanes.window)
        except (NetworkError, AssociationError) as error:
            _log.info("no further association could be opened: %s", error)
            lanes.refusal = error
            yield Wait(lanes.pause)
            return
        for _ in range(lanes.opened()):
            yield Spawn(lanes)
        yield from _send(queue, lease, lanes.window)
        yield LEAVE
        yield Wait(lanes.pause)
