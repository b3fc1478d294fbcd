"""Handlers of an association in asyncio: each `Request` goes to the function for its service, which answers it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..dimse.datasets import MemorySink, Sink, discard
from ..dimse.messages import Message
from ..drivers.aio.link import Link
from ..errors import ServiceRefusal
from ..exchange.handling import END, answering
from ..exchange.receiving import OBJECT_LIMIT
from ..exchange.requesting import RESPONSE_LIMIT
from ..services.registry import OPERATIONS, SUCCESS, Shape
from ..services.steps import Answer, SubOperation
from ..upper_layer.negotiation import NegotiatedContext
from ..values import frozen
from .association import Association
from .results import Results

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from .retrieval import Retrieval


@frozen
class Request:
    """A request that a handler answers.

    Parameters
    ----------
    calling, called
        AE titles of the association.
    message
        The request with its command set.
    context
        The presentation context it came on.
    link
        The association.
    """

    calling: str
    called: str
    message: Message
    context: NegotiatedContext
    link: Link

    def __repr__(self) -> str:
        # Its keys and values are patients' data.
        return f"<Request {self.message.type.service} of {self.calling}>"

    @property
    def is_cancelled(self) -> bool:
        """Whether the peer has cancelled it (C-CANCEL), or is gone. May be asked for in any thread."""
        return self.link.is_cancelled(self.message.message_id)

    @property
    def data(self) -> Any:
        """The encoded data set, or the sink that took it."""
        data = self.message.data
        return data.content if isinstance(data, MemorySink) else data

    @property
    def dataset(self) -> Dataset:
        """The decoded data set or identifier; empty where the request has none.

        Raises
        ------
        ServiceRefusal
            If it is not the object of a C-STORE and does not parse to its end: with status 0xC000 for an identifier,
            with 0x0110 for the information of a normalized service.
        """
        from ..datasets.codec import decode_request

        keyword = self.message.type.data_set or "DataSet"
        return decode_request(self.data or b"", self.context.transfer_syntax, keyword)

    @property
    def association(self) -> Association:
        """The association, for a coroutine to send something of its own on it, such as an N-EVENT-REPORT."""
        return Association(self.link)


# A coroutine function, or a plain function, which runs in a thread. For C-ECHO and C-STORE it returns a status; for
# C-FIND it is an async generator, or returns an iterable, of (status, identifier). A status is a number, or a data set
# with Status and further elements of the response, such as ErrorComment. For C-GET and C-MOVE it is one too:
# C-MOVE yields (host, port) or (host, port, options) first, then both the number of objects, then (status, object),
# where the object is a data set or the path of a file. For the normalized services it returns a status or, but for
# N-DELETE, a pair of a status and a data set or None.
Handler = Callable[[Request], Any]


OpenSink = Callable[[Message, NegotiatedContext], Sink]


class HandlerHooks:
    """Callbacks from the driver's `Link` of one association to the user's handlers."""

    link: Link
    stores = None

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        open_user_sink: OpenSink | None,
        own_title: str,
        calling: str,
        called: str,
    ) -> None:
        self._handlers = handlers
        self._open_user_sink = open_user_sink
        self._own_title = own_title
        self._calling, self._called = calling, called

    def attach(self, link: Link) -> None:
        """Take the link of the association that the handlers are for."""
        self.link = link

    def open_sink(self, message: Message, context: NegotiatedContext) -> Sink:
        if self._open_user_sink is not None and message.type.service == "C-STORE":
            return self._open_user_sink(message, context)
        return MemorySink(RESPONSE_LIMIT if message.type.is_response else OBJECT_LIMIT)

    async def handle(self, message: Message, context: NegotiatedContext) -> Any:
        service = message.type.service
        handler = self._handlers.get(service)
        if handler is None:
            discard(message.data)
            if service == "C-ECHO":
                return Answer(SUCCESS)
            raise ServiceRefusal(OPERATIONS[service].handler_failed, "the operation is not offered")
        operation = OPERATIONS[service]
        request = Request(self._calling, self._called, message, context, self.link)
        from ..exchange.answers import composite_answer, normalized_answer

        with answering(service):
            answer = await call(handler, request)
            if operation.shape is Shape.SUB_OPERATIONS:
                from .retrieval import Retrieval

                titles = self._own_title, self._calling
                return await Retrieval.begin(self.link, titles, Results(answer), operation, message)
            if operation.shape is Shape.MANY_REPLIES:
                return _Answers(message, answer, context)
            if service.startswith("N-"):
                return normalized_answer(answer, message, context)
            return composite_answer(answer, None, message, context)

    def refused(self, message: Message, refusal: ServiceRefusal) -> None:
        """Do nothing: the response says it."""

    def next_answer(self, answers: _Answers | Retrieval) -> Awaitable[Answer | SubOperation | None]:
        return answers.take()

    async def store(self, retrieval: Retrieval, sub_operation: SubOperation) -> Message:
        response: Message = await retrieval.store(sub_operation)
        return response

    async def finish(self, retrieval: Retrieval) -> None:
        await retrieval.finish()

    def closed(self) -> None:
        return None


async def call(handler: Callable[[Any], Any], request: Any) -> Any:
    """Call a handler. A plain function runs in a thread."""
    if inspect.isasyncgenfunction(handler):
        return handler(request)
    if inspect.iscoroutinefunction(handler):
        return await handler(request)
    result = await asyncio.to_thread(handler, request)
    return await result if inspect.isawaitable(result) else result


class _Answers:
    """The answers of a C-FIND handler: an async iterable, an iterable that runs in a thread, or one final status."""

    def __init__(self, message: Message, results: Any, context: NegotiatedContext) -> None:
        from pydicom.dataset import Dataset

        self._message = message
        self._context = context
        if isinstance(results, int | Dataset):
            results = [(results, None)]
        self._results = Results(results)

    async def take(self) -> Answer | None:
        """The next one, None after the last."""
        from ..exchange.answers import composite_answer

        with answering(self._message.type.service):
            result = await self._results.take()
            if result is END:
                return None
            status, identifier = result
            return composite_answer(status, identifier, self._message, self._context)

    async def aclose(self) -> None:
        """Let the handler end, wherever it is."""
        with answering(self._message.type.service), suppress(ServiceRefusal):
            await self._results.aclose()
