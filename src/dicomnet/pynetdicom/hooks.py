"""Callbacks from the driver's `Link` into an `Association`: negotiation, handlers, flags and notifications."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _config
from ..blocking.retrieval import Destinations, Retrieval
from ..dimse.datasets import MemorySink, Sink, Source, discard
from ..dimse.messages import C_ECHO_RQ, C_STORE_RQ, Message, MessageType
from ..drivers.connection import ProviderAbort
from ..drivers.hooks import Phase
from ..errors import ServiceRefusal
from ..exchange.answers import normalized_answer, split_status
from ..exchange.messages import encode_reply
from ..exchange.receiving import OBJECT_LIMIT, FileSink
from ..services.registry import OPERATIONS, Operation, Shape, is_pending
from ..services.steps import Answer, SubOperation
from ..upper_layer.negotiation import Agreement, NegotiatedContext
from ..wire.pdu import AssociateAC, AssociateRJ, AssociateRQ
from . import events as evt
from . import pdu
from .association import Association
from .dimse_messages import view_of
from .events import request_event
from .pdu_primitives import primitive_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

OpenUserSink = Callable[[Association, Message, NegotiatedContext], Sink]
Negotiate = Callable[[AssociateRQ], tuple[AssociateAC, Agreement] | AssociateRJ]


class AssociationHooks:
    """Connects a link to an association: negotiation, handlers, flags and notifications.

    Parameters
    ----------
    assoc
        The association.
    destinations
        Requests associations with move destinations.
    negotiate
        Answers an association request, for an acceptor.
    open_sink
        Gives the sink for a received data set, instead of memory.
    """

    stores = None

    def __init__(
        self,
        assoc: Association,
        destinations: Destinations,
        *,
        negotiate: Negotiate | None = None,
        open_sink: OpenUserSink | None = None,
    ) -> None:
        self._assoc = assoc
        self._state = assoc.state
        self._destinations = destinations
        self._negotiate = negotiate
        self._open_sink = open_sink
        self.names = self._state.bindings.names
        # With _config.PASS_CONTEXTVARS, handlers run in the context of who asked for the association or the server.
        self._context = self._state.context or (copy_context() if _config.PASS_CONTEXTVARS else None)
        self._is_entered = threading.Lock()

    def _call(self, function: Callable[..., Result], *args: Any) -> Result:
        if self._context is None:
            return function(*args)
        if not self._is_entered.acquire(blocking=False):
            # A context cannot be entered twice: a handler caused this call, or runs beside it.
            return self._context.copy().run(function, *args)
        try:
            return self._context.run(function, *args)
        finally:
            self._is_entered.release()

    def notify(self, name: str, **fields: Any) -> None:
        """Call the handlers of a notification; PDUs and messages are given as pynetdicom's primitives."""
        if name not in self.names:
            return
        if "pdu" in fields and name.startswith("EVT_ACSE"):
            link = self._state.link
            asked = link.connection.request if link else None
            fields = {"primitive": primitive_of(fields["pdu"], asked)}
        elif "pdu" in fields:
            fields = {"pdu": pdu.view_of(fields["pdu"])}
        elif "message" in fields:
            fields = {"message": view_of(fields["message"])}
        elif name in ("EVT_CONN_OPEN", "EVT_CONN_CLOSE"):
            fields = {"address": self._peer()}
        self._call(self._state.bindings.trigger, self._assoc, evt.EVENTS[name], fields)

    def requesting(self, request: AssociateRQ) -> None:
        """Notify of the association request that the requestor is about to send."""
        self.notify("EVT_ACSE_SENT", pdu=request)
        self.notify("EVT_REQUESTED")

    def unreachable(self) -> None:
        """End an association whose transport connection cannot be opened (PS3.8 section 9.2, action AA-4)."""
        self._state.phase = Phase.ABORTED
        self.notify("EVT_ACSE_RECV", pdu=ProviderAbort(None))
        self.notify("EVT_ABORTED")
        self._state.finished.set()

    def negotiate(self, request: AssociateRQ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        """Answer a request, as the association acceptor (PS3.8 section 7.1)."""
        assert self._negotiate is not None
        self._assoc.requestor.negotiated(request)
        self.notify("EVT_REQUESTED")
        if self._state.rejection is not None:
            return self._state.rejection
        answer = self._state.rejection or self._call(self._negotiate, request)
        if self._state.rejection is None and not isinstance(answer, AssociateRJ):
            self._accepting(answer[0], request)
        return self._state.rejection or answer

    def _accepting(self, answer: AssociateAC, request: AssociateRQ) -> None:
        """Set the flags before the answer goes out: who requested it may look at them as soon as it has that."""
        self._assoc.acceptor.negotiated(answer, request)
        if self._state.phase is Phase.NEW:
            self._state.phase = Phase.ESTABLISHED
            link = self._state.live()
            if link.phase is not Phase.NEW:
                # It was aborted meanwhile.
                self._state.phase = link.phase

    def open_sink(self, message: Message, context: NegotiatedContext) -> Sink:
        """The sink for the data set of a message: the user's or a file for a C-STORE-RQ, else memory."""
        if message.type is C_STORE_RQ:
            if self._open_sink is not None:
                return self._open_sink(self._assoc, message, context)
            if _config.STORE_RECV_CHUNKED_DATASET:
                return FileSink(message, context)
        return MemorySink(OBJECT_LIMIT)

    def handle(self, message: Message, context: NegotiatedContext) -> Any:
        """Perform a request by the handler of its event.

        Raises
        ------
        ServiceRefusal
            If there is no handler, or it fails; C-ECHO succeeds even then.
        """
        assoc = self._assoc
        operation = OPERATIONS[message.type.service]
        event = evt.EVENTS[operation.event]
        bound = self._state.bindings.intervention(event)
        if bound is None:
            discard(message.data)
            if message.type is C_ECHO_RQ:
                return Answer(0x0000)
            _log.error("no handler is bound to %s", event.name)
            raise ServiceRefusal(operation.handler_failed)
        handler, args = bound
        link = self._state.live()
        asked = request_event(assoc, event, message, context, lambda: link.is_cancelled(message.message_id))
        try:
            result = self._call(handler, asked, *(args or ()))
            if operation.shape is Shape.SUB_OPERATIONS:
                results = iter(() if result is None else result)
                originator = assoc.requestor.ae_title
                return Retrieval(link, originator, results, operation, message, self._destinations)
            if operation.shape is Shape.MANY_REPLIES:
                return _Answers(
                    iter(() if result is None else result), operation, context, message.type.response
                )
            if message.type.service.startswith("N-"):
                return normalized_answer(result, message, context)
            return _answer(result, None, context, message.type.response)
        except ServiceRefusal:
            raise
        except Exception as error:
            _log.exception("the handler for %s failed", event.name)
            if message.type is C_ECHO_RQ:
                return Answer(0x0000)
            raise ServiceRefusal(operation.handler_failed) from error
        finally:
            if isinstance(message.data, FileSink):
                message.data.abort()

    def next_answer(self, answers: Any) -> Answer | SubOperation | None:
        """The next answer that a handler yields, None after the last."""
        assert isinstance(answers, _Answers | Retrieval)
        answer: Answer | SubOperation | None = self._call(answers.take)
        return answer

    def store(self, retrieval: Any, sub_operation: SubOperation) -> Message:
        """Send an object for a C-GET or C-MOVE."""
        assert isinstance(retrieval, Retrieval)
        response: Message = self._call(retrieval.store, sub_operation)
        return response

    def finish(self, retrieval: Any) -> None:
        """Close the handler and the destination of a C-GET or C-MOVE."""
        assert isinstance(retrieval, Retrieval)
        self._call(retrieval.finish)

    def refused(self, message: Message, refusal: ServiceRefusal) -> None:
        """Do nothing: the response says it."""

    def phase_changed(self, phase: Phase) -> None:
        """Set the association's flags, and notify of its establishment or its end."""
        link = self._state.link
        self._state.failure = link.failure if link else None
        self._state.phase = phase
        answer = link.connection.answer if link else None
        if link is not None and answer is not None and self._assoc.acceptor.writeable:
            self._assoc.acceptor.negotiated(answer, link.connection.request)
        if phase is Phase.ESTABLISHED:
            self.notify("EVT_ACCEPTED")
        self.notify(f"EVT_{phase.name}")

    def closed(self) -> None:
        """Notify of the closed transport connection, and let `Association.join` return."""
        self.notify("EVT_CONN_CLOSE")
        self._state.finished.set()

    def _peer(self) -> tuple[Any, ...] | None:
        """The peer's address as `socket` has it."""
        peer = self._assoc.acceptor if self._assoc.is_requestor else self._assoc.requestor
        return peer.address_info and peer.address_info.as_tuple


class _Answers:
    """The answers of a handler that yields (status, data set)."""

    def __init__(
        self,
        results: Iterator[Any],
        operation: Operation,
        context: NegotiatedContext,
        response: MessageType,
    ) -> None:
        self._results = results
        self._operation = operation
        self._context = context
        self._response = response

    def take(self) -> Answer | None:
        try:
            status, dataset = next(self._results)
        except StopIteration:
            return None
        except ServiceRefusal:
            raise
        except Exception as error:
            _log.exception("the handler for %s failed", self._operation.event)
            raise ServiceRefusal(self._operation.handler_failed) from error
        return _answer(status, dataset, self._context, self._response)


def _answer(
    status: Any, dataset: Dataset | None, context: NegotiatedContext, response: MessageType
) -> Answer:
    """The answer to send for the return value of a handler."""
    code, elements = split_status(status, response)
    data: Source | None = None
    if is_pending(code) and response.data_set is not None:
        try:
            data = encode_reply(context, dataset) if dataset is not None else b""
        except ValueError:
            data = b""
        if not data:
            raise ServiceRefusal(0xC312, "a match could not be encoded")
    return Answer(code, data, elements)
