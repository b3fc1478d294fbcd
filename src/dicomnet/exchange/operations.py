"""The operations of a `Peer` as generators: each yields the steps it needs, and a face performs them in its own way.

An operation uses one association at a time. A step that fails is raised inside the operation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from ..dimse.messages import C_GET_RQ, C_MOVE_RQ, Message, MessageType
from ..drivers.deadline import Timeouts
from ..drivers.hooks import Hooks
from ..errors import AssociationError, NetworkError, NoAcceptedContext, ProtocolError
from ..services import user
from ..services.registry import PENDING
from ..services.steps import Procedure, Work
from ..upper_layer.negotiation import Agreement, NegotiatedContext
from ..values import mutable
from ..wire.pdu import AssociateRQ
from .contexts import NATIVE, VERIFICATION, Proposal
from .requests import echo_request
from .results import Receipt, RetrieveProgress, check_status, is_done

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from ..drivers.http import Request
    from .lanes import SharedLanes
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

    @property
    def is_known_to_work(self) -> bool:
        """Whether the peer answers on it, or has done so in an earlier operation."""
        return self.is_reused or self.has_answer


@mutable
class Use:
    """Leave the present association for one that proposes just this, idle or new. Outcome: its `Lease`."""

    proposal: Proposal
    window: int = 1


@mutable
class Open:
    """Open an association for this operation alone, which is released at its end. Outcome: its `Lease`.

    Parameters
    ----------
    timeouts
        Its deadlines, None for those of the peer.
    """

    request: AssociateRQ
    hooks: Hooks
    timeouts: Timeouts | None = None


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
    """Let go of the association. Outcome: None.

    Parameters
    ----------
    is_final
        Whether it is released, as are those that are idle. Else it is kept for whoever uses one next.
    is_proven
        Whether the peer is known to answer on it. One that is not is kept only where there is no other.
    """

    is_final: bool = False
    is_proven: bool = True


@mutable
class Pause:
    """Do nothing for a while. Outcome: None.

    Parameters
    ----------
    seconds
        How long.
    """

    seconds: float


@mutable
class Report:
    """Hand a result to the caller, who takes the next one when it suits. Outcome: None."""

    result: Any


@mutable
class Spawn:
    """Perform one more lane beside this operation. Outcome: None.

    Parameters
    ----------
    lanes
        What it shares with others.
    course
        Makes what a lane does.
    """

    lanes: SharedLanes[Any]
    course: Callable[[], Generator[Any, Any, None]]


@mutable
class Wait:
    """Wait for other lanes until an attempt succeeds. Outcome: what it gives then.

    Parameters
    ----------
    attempt
        Called while no other lane changes anything; gives None as long as it has to wait.
    """

    attempt: Callable[[], Any]


@mutable
class Ask:
    """Send a request of HTTP, and want no more of the response before. Outcome: the `Head` of its response."""

    request: Request


@mutable
class Read:
    """Wait for what comes next of the body of that response. Outcome: bytes, empty at its end."""


@mutable
class Hand:
    """Give an object that has arrived by HTTP to the hooks of a retrieval. Outcome: None.

    Parameters
    ----------
    hooks
        They keep it, or hand it over.
    message, context
        The object as a C-STORE-RQ would have brought it.
    """

    hooks: Hooks
    message: Message
    context: NegotiatedContext


NEXT, LEAVE, RELEASE, READ = Next(), Leave(), Leave(is_final=True), Read()

Step = Use | Open | Run | Begin | Next | Leave | Pause | Report | Spawn | Wait | Work | Ask | Read | Hand
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


def find(identifier: Dataset, model: str, limit: int | None = None) -> Operation[None]:
    """Query (C-FIND). Reports the matches; those that cannot be read are an error after the last one.

    Parameters
    ----------
    limit
        After how many matches the rest is cancelled.
    """
    from .messages import cancel_request, find_request, identifier_of

    def attempt(lease: Lease) -> Operation[None]:
        request, context = find_request(lease.agreement, identifier, model, lease.next_message_id())
        cancel = cancel_request(context.context_id, request.message_id)
        yield Begin(user.many_replies(request), cancel)
        damages: list[ProtocolError] = []
        count = 0
        while count != limit and (response := (yield NEXT)) is not None:
            lease.has_answer = True
            try:
                match = identifier_of(response, context)
            except ProtocolError as error:
                # It costs itself; the others are handed out before it is raised.
                _log.warning("a match is left out: %s", error)
                damages.append(error)
                continue
            if match is not None:
                count += 1
                yield Report(match)
            else:
                check_status(response, "Query/Retrieve")
        if len(damages) > 1:
            raise ProtocolError(f"{damages[0]} (and {len(damages) - 1} more)") from damages[0]
        if damages:
            raise damages[0]

    return _with_retry(((model, NATIVE),), attempt)


def normalized(
    kind: str, class_uid: str, instance_uid: str, data_set: Dataset, service: str
) -> Operation[Message]:
    """Have a normalized service performed (PS3.7 chapter 10); returns the response.

    Parameters
    ----------
    kind
        For instance ``N-CREATE``.
    class_uid, instance_uid
        What it is about.
    data_set
        What is said of that.
    service
        The service class, for the words of a refusal.

    Raises
    ------
    ServiceRefusal
        If the peer answers with a status that is neither success nor warning.
    """
    from .messages import normalized_request

    def attempt(lease: Lease) -> Operation[Message]:
        request, _ = normalized_request(
            lease.agreement, kind, class_uid, instance_uid, lease.next_message_id(), dataset=data_set
        )
        response: Message = yield Run(user.one_reply(request))
        if not is_done(response.status):
            check_status(response, service)
        return response

    return _with_retry(((class_uid, NATIVE),), attempt)


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


def intercept(operation: Operation[Outcome], take: Callable[[Any], Operation[None]]) -> Operation[Outcome]:
    """Perform an operation inside another one.

    Parameters
    ----------
    take
        Performed with each result that it reports.
    """
    resume: Callable[[Any], Step] = operation.send
    outcome: Any = None
    try:
        while True:
            step = resume(outcome)
            resume, outcome = operation.send, None
            if isinstance(step, Report):
                yield from take(step.result)
                continue
            try:
                outcome = yield step
            except Exception as error:  # noqa: BLE001
                # Whatever a step raises is for the inner operation.
                resume, outcome = operation.throw, error
    except StopIteration as stop:
        value: Outcome = stop.value
        return value
    finally:
        operation.close()


def gather(operation: Operation[Outcome], results: list[Any]) -> Operation[Outcome]:
    """Perform an operation inside another one.

    Parameters
    ----------
    results
        Is given what the operation reports, also where it fails in the end.
    """

    def take(result: Any) -> Operation[None]:
        results.append(result)
        yield from ()

    return intercept(operation, take)
