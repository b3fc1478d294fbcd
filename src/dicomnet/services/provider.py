"""The SCP's procedures: from a received request to its last response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..dimse.datasets import Malformed, Refused, discard
from ..dimse.messages import Message, respond
from ..errors import ServiceRefusal
from ..upper_layer.negotiation import NegotiatedContext
from .registry import (
    CANCELLED,
    DUPLICATE_INVOCATION,
    INVALID_SOP_INSTANCE,
    MISTYPED_ARGUMENT,
    MORE_THAN_ONE_MATCH,
    NO_SUCH_SOP_CLASS,
    OPERATIONS,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    UNRECOGNISED_OPERATION,
    Operation,
    Performer,
    Shape,
    is_pending,
)
from .service_classes import finds_one_match, offers
from .steps import (
    Answer,
    Batch,
    Cancelled,
    Handle,
    MoreStores,
    Next,
    PlaceStores,
    Procedure,
    Respond,
    Send,
    SettleStores,
    StillSearching,
    answer_of,
)

OnRefused = Callable[[Message, ServiceRefusal], object]


def provide(message: Message, context: NegotiatedContext, on_refused: OnRefused) -> Procedure[None]:
    """Perform a request (PS3.7 chapters 9 and 10).

    Parameters
    ----------
    message
        The request with its data set.
    context
        The presentation context it came on.
    on_refused
        Called with the request and the refusal, where it is answered with one.
    """
    operation = OPERATIONS.get(message.type.service)
    try:
        if operation is None:
            discard(message.data)
            raise ServiceRefusal(UNRECOGNISED_OPERATION, "the operation is unknown")
        _check(message, context, operation)
        if operation.shape is Shape.ONE_REPLY:
            answer = yield Handle(message, context)
            yield Send(_response(message, answer))
        elif operation.shape is Shape.SUB_OPERATIONS:
            # A requestor starts without it.
            from .suboperations import sub_operations

            yield from sub_operations(message, context)
        elif finds_one_match(context.abstract_syntax):
            yield from _one_match(message, context)
        else:
            yield from _many_replies(message, context)
    except ServiceRefusal as refusal:
        on_refused(message, refusal)
        yield Send(_response(message, answer_of(refusal)))


def provide_stores(batch: Batch, on_refused: OnRefused) -> Procedure[None]:
    """Perform the C-STORE requests of a batch, those that join it meanwhile included, and answer them in order.

    ``on_refused`` is called as that of `provide`.
    """
    operation = OPERATIONS["C-STORE"]
    taken: list[Message] = []
    refused: dict[int, ServiceRefusal] = {}
    try:
        while requests := (yield MoreStores(batch)):
            sound = []
            for message, context in requests:
                taken.append(message)
                try:
                    _check(message, context, operation)
                    sound.append(message)
                except ServiceRefusal as refusal:
                    refused[message.message_id] = refusal
            yield PlaceStores(batch, sound)
        sound = [each for each in taken if each.message_id not in refused]
        outcomes = iter((yield SettleStores(batch, sound)))
        responses = []
        for message in taken:
            outcome = refused.get(message.message_id) or next(outcomes)
            if isinstance(outcome, ServiceRefusal):
                on_refused(message, outcome)
                outcome = answer_of(outcome)
            responses.append(_response(message, outcome))
        yield Respond(responses)
    except ServiceRefusal as refusal:
        for message in taken:
            discard(message.data)
            refused.setdefault(message.message_id, refusal)
            on_refused(message, refused[message.message_id])
        yield Respond([_response(each, answer_of(refused[each.message_id])) for each in taken])
    except BaseException:
        for message in taken:
            discard(message.data)
        raise


def refuse_duplicate(message: Message, on_refused: OnRefused) -> Procedure[None]:
    """Refuse a request whose Message ID is that of one being performed (PS3.7 Annex C, status 0210H)."""
    discard(message.data)
    on_refused(message, ServiceRefusal(DUPLICATE_INVOCATION, "its Message ID is that of a request under way"))
    yield Send(respond(message, DUPLICATE_INVOCATION))


def _check(message: Message, context: NegotiatedContext, operation: Operation) -> None:
    if isinstance(message.data, Refused):
        raise message.data.refusal
    service = message.type.service
    if isinstance(message.data, Malformed):
        raise _refusal_of(message.data, service)
    if not (context.as_scp or context.is_role_unanswered or operation.performer is Performer.EITHER):
        discard(message.data)
        raise ServiceRefusal(
            SOP_CLASS_NOT_SUPPORTED, "the peer was not given the role of SCU for this SOP class"
        )
    if service.startswith("C-"):
        # Not so the normalized services: the SOP class of a context may stand for several (PS3.4 H.3 and CC.3.1).
        sop_class = message.command.get("AffectedSOPClassUID", context.abstract_syntax)
        # Some peers put spaces before a UID.
        if sop_class.lstrip(" ") != context.abstract_syntax:
            discard(message.data)
            comment = "the SOP class is not that of the presentation context"
            raise ServiceRefusal(SOP_CLASS_NOT_SUPPORTED, comment)
    if not offers(context.abstract_syntax, service):
        discard(message.data)
        raise ServiceRefusal(UNRECOGNISED_OPERATION, f"the SOP class has no {service}")
    if message.data is None and message.type.data_set_required:
        raise ServiceRefusal(MISTYPED_ARGUMENT, "the request has no data set")


def _refusal_of(malformed: Malformed, service: str) -> ServiceRefusal:
    """The refusal of a request for an element of its command set (PS3.7 Annex C)."""
    status = MISTYPED_ARGUMENT
    if malformed.keyword.endswith("SOPInstanceUID"):
        status = INVALID_SOP_INSTANCE
    elif malformed.keyword.endswith("SOPClassUID"):
        status = SOP_CLASS_NOT_SUPPORTED if service.startswith("C-") else NO_SUCH_SOP_CLASS
    return ServiceRefusal(status, malformed.comment)


def _response(message: Message, answer: Answer) -> Message:
    return respond(message, answer.status, answer.data, **answer.elements)


def _many_replies(message: Message, context: NegotiatedContext) -> Procedure[None]:
    answers = yield Handle(message, context)
    is_first = True
    while True:
        answer = yield Next(answers)
        if (yield Cancelled(message.message_id)):
            answer = yield from _cancelled(answer, answers)
        elif isinstance(answer, StillSearching):
            continue
        elif answer is None:
            answer = Answer(SUCCESS)
        pending = is_pending(answer.status)
        # The first match is not held up; those behind it may share segments.
        yield Send(_response(message, answer), more=pending and not is_first)
        is_first = False
        if not pending:
            return


def _cancelled(answer: Answer | StillSearching | None, answers: Any) -> Procedure[Answer]:
    """What ends a query that was cancelled: the handler, if it looks for that itself, or else we."""
    if isinstance(answer, Answer) and is_pending(answer.status):
        # It was made before the handler could know.
        answer = yield Next(answers)
    return answer if isinstance(answer, Answer) and not is_pending(answer.status) else Answer(CANCELLED)


def _one_match(message: Message, context: NegotiatedContext) -> Procedure[None]:
    """A match is sent only when it is known to be the only one (PS3.4 Annex Q)."""
    answers = yield Handle(message, context)
    match, final = (yield Next(answers)), None
    if match is None or not is_pending(match.status):
        match, final = None, match
    else:
        final = yield Next(answers)
    if (yield Cancelled(message.message_id)):
        match, final = None, Answer(CANCELLED)
    elif final is not None and is_pending(final.status):
        match, final = None, Answer(MORE_THAN_ONE_MATCH)
    if match is not None:
        yield Send(_response(message, match), more=True)
    yield Send(_response(message, final or Answer(SUCCESS)))
