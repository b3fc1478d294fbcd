"""C-GET and C-MOVE as their performer does them: a C-STORE for each object, and responses that count them.

PS3.4 sections C.4.2 and C.4.3, PS3.7 sections 9.1.3 and 9.1.4.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable
from typing import Literal

from ..dimse.messages import Message, respond
from ..encoding.transfer_syntaxes import TransferSyntax, transfer_syntax
from ..errors import AssociationError, NetworkError, ServiceRefusal, UnusableObject
from ..upper_layer.negotiation import NegotiatedContext
from . import statuses
from .registry import (
    CANCELLED,
    NO_SUB_OPERATION_PERFORMED,
    PENDING,
    SOME_SUB_OPERATIONS_FAILED,
    SUCCESS,
)
from .steps import (
    Answer,
    Cancelled,
    Finish,
    Handle,
    Next,
    Performed,
    Procedure,
    Retrieval,
    Send,
    StillSearching,
    Store,
    SubOperation,
    answer_of,
)

_log = logging.getLogger(__name__)

_FAILED_SOP_INSTANCE_UID_LIST = 0x0008, 0x0058
# What a retrieval gives, see `Next`.
_Given = SubOperation | Performed | StillSearching | Answer | None
# How it ends because of a C-CANCEL.
_STOPPED = Answer(CANCELLED)
# The counts are of VR US.
_MOST = 0xFFFF


class Tally:
    """What became of the sub-operations of one C-GET or C-MOVE.

    Parameters
    ----------
    count
        How many there will be.
    """

    def __init__(self, count: int) -> None:
        self.remaining = count
        self.completed = 0
        self.warnings = 0
        self.failures = 0
        self.failed: dict[str, None] = {}

    def add(self, status: int | None, sop_instance_uid: str) -> None:
        """A sub-operation is over.

        Parameters
        ----------
        status
            Of its C-STORE response, None where there is none.
        """
        self.remaining -= 1
        status_class = None if status is None else statuses.category(status)
        if status_class == statuses.SUCCESS:
            self.completed += 1
        elif status_class == statuses.WARNING:
            self.warnings += 1
        else:
            self.failures += 1
            if sop_instance_uid:
                self.failed[sop_instance_uid] = None

    def add_all(self, performed: Performed) -> None:
        """Sub-operations are over."""
        for status, sop_instance_uid in performed.outcomes:
            self.add(status, sop_instance_uid)

    def give_up(self) -> None:
        """What remains will not be sent, and has failed."""
        self.failures += self.remaining
        self.remaining = 0

    @property
    def status(self) -> int:
        """The final status where all are over (PS3.4 sections C.4.2.3.1 and C.4.3.3.1)."""
        if not (self.failures or self.warnings):
            return SUCCESS
        if self.completed or self.warnings:
            return SOME_SUB_OPERATIONS_FAILED
        return NO_SUB_OPERATION_PERFORMED

    def elements(self, *, with_remaining: bool) -> dict[str, int]:
        """The counts as elements of a response; that of the remaining ones has no place in most final ones."""
        counts = {
            "NumberOfCompletedSuboperations": self.completed,
            "NumberOfFailedSuboperations": self.failures,
            "NumberOfWarningSuboperations": self.warnings,
        }
        if with_remaining:
            counts["NumberOfRemainingSuboperations"] = self.remaining
        return {keyword: min(count, _MOST) for keyword, count in counts.items()}


def sub_operations(message: Message, context: NegotiatedContext) -> Procedure[None]:
    """Perform a C-GET or C-MOVE request.

    Parameters
    ----------
    message
        The request with its Identifier.
    context
        The presentation context it came on.
    """
    retrieval: Retrieval = yield Handle(message, context)
    tally = Tally(retrieval.count)
    try:
        final = yield from _send_objects(message, retrieval, tally)
        performed: Performed | None = yield Finish(retrieval)
    finally:
        # What ends the association of the request ends the one to the destination too.
        retrieval.abort()
    if performed is not None:
        tally.add_all(performed)
    if final is _STOPPED and not tally.remaining:
        # All of them were on their way when it was cancelled.
        final = None
    yield Send(_final_response(message, context, tally, final))


def _send_objects(message: Message, retrieval: Retrieval, tally: Tally) -> Procedure[Answer | None]:
    """Send what there is, with pending responses; the outcome is what ended it, None for its regular end."""
    while True:
        answer = yield from _next(retrieval)
        if isinstance(answer, Performed):
            tally.add_all(answer)
        # A cancel that comes after the last object finds nothing to cancel.
        may_be_cancelled = tally.remaining or isinstance(answer, SubOperation | Answer)
        if may_be_cancelled and (yield Cancelled(message.message_id)):
            if isinstance(answer, SubOperation):
                # It was given before the handler could know; one that looks ends in its own way.
                answer = yield from _next(retrieval)
            if isinstance(answer, Answer) and answer.status != SUCCESS:
                return answer
            return _STOPPED
        if isinstance(answer, Performed | StillSearching):
            if isinstance(answer, Performed) and tally.remaining:
                yield Send(respond(message, PENDING, **tally.elements(with_remaining=True)))
            continue
        if not isinstance(answer, SubOperation):
            # Where all are over, what became of them says how it ends (PS3.4 sections C.4.2.2.1 and C.4.3.2.1).
            return answer if tally.remaining or not retrieval.count else None
        if not tally.remaining:
            _log.warning("the handler for %s gives more objects than it counted", message.type.service)
            return None
        refused = None
        try:
            response: Message = yield Store(retrieval, answer)
            tally.add(response.status, answer.sop_instance_uid)
        except ServiceRefusal as refusal:
            refused = answer_of(refusal)
            tally.add(None, answer.sop_instance_uid)
        except (AssociationError, NetworkError, UnusableObject) as error:
            number = tally.completed + tally.warnings + tally.failures + 1
            uid = f" ({ascii(answer.sop_instance_uid)[1:-1]})" if answer.sop_instance_uid else ""
            _log.warning("a sub-operation failed, object %d%s: %s", number, uid, error)
            tally.add(None, answer.sop_instance_uid)
        if refused is not None:
            # What was sent before that counts.
            return None if tally.completed or tally.warnings else refused
        yield Send(respond(message, PENDING, **tally.elements(with_remaining=True)))


def _next(retrieval: Retrieval) -> Procedure[_Given]:
    try:
        given: _Given = yield Next(retrieval)
    except ServiceRefusal as refusal:
        return answer_of(refusal)
    return given


def _final_response(
    message: Message, context: NegotiatedContext, tally: Tally, final: Answer | None
) -> Message:
    status_class = None if final is None else statuses.category(final.status)
    if status_class != statuses.CANCEL:
        tally.give_up()
    if final is None or status_class == statuses.SUCCESS:
        final = Answer(tally.status)
    failed = dict.fromkeys((*tally.failed, *final.failed))
    data = None
    if failed and final.status != SUCCESS:
        data = encode_failed(failed, transfer_syntax(context.transfer_syntax))
    counts = tally.elements(with_remaining=status_class == statuses.CANCEL)
    return respond(message, final.status, data, **{**final.elements, **counts})


def encode_failed(uids: Iterable[str], syntax: TransferSyntax) -> bytes:
    """The Identifier of a response, which is the Failed SOP Instance UID List (PS3.4 section C.4.2.1.4.2).

    Parameters
    ----------
    uids
        At least one.
    syntax
        That of the presentation context.
    """
    value = "\\".join(uids).encode("ascii", "replace")
    value += b"\0" * (len(value) % 2)
    order: Literal["little", "big"] = "little" if syntax.is_little_endian else "big"
    tag = b"".join(part.to_bytes(2, order) for part in _FAILED_SOP_INSTANCE_UID_LIST)
    if syntax.is_implicit:
        header = len(value).to_bytes(4, order)
    elif len(value) <= 0xFFFF:
        header = b"UI" + len(value).to_bytes(2, order)
    else:
        # What is too long for the two bytes of its VR is written as UN (PS3.5 section 6.2.2).
        header = b"UN\0\0" + len(value).to_bytes(4, order)
    encoded = tag + header + value
    if not syntax.is_deflated:
        return encoded
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflate.compress(encoded) + deflate.flush()
    return deflated + b"\0" * (len(deflated) % 2)
