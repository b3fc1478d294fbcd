"""Handlers of an association in asyncio: each `Request` goes to the function for its service, which answers it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ..dimse.datasets import MemorySink, Sink, discard
from ..dimse.messages import Message
from ..drivers.aio.link import Link
from ..errors import ServiceRefusal
from ..exchange.receiving import OBJECT_LIMIT, RESPONSE_LIMIT, answering
from ..services.registry import OPERATIONS, SUCCESS, Shape, is_pending
from ..services.steps import Answer, SubOperation
from ..upper_layer.negotiation import NegotiatedContext
from ..values import frozen
from .association import Association
from .results import END, Results

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
        """The decoded data set or identifier; empty where the request has none."""
        from ..exchange.messages import decode_from

        return decode_from(self.context, self.data or b"")

    @property
    def association(self) -> Association:
        """The association, for a coroutine to send something of its own on it, such as an N-EVENT-REPORT."""
        return Association(self.link)


# A coroutine function, or a plain function, which runs in a thread. For C-ECHO and C-STORE it returns a status; for
# C-FIND it is an async generator, or returns an iterable, of (status, identifier). For C-GET and C-MOVE it is one too:
# C-MOVE yields (host, port) or (host, port, options) first, then both the number of objects, then (status, object),
# where the object is a data set or the path of a file. For the normalized services it returns a status or, but for
# N-DELETE, a pair of a status and a data set or None.
Handler = Callable[[Request], Any]


OpenSink = Callable[[Message, NegotiatedContext], Sink]


class HandlerHooks:
    """One association's way to the handlers."""

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
        with answering(service):
            answer = await _call(handler, request)
            if operation.shape is Shape.SUB_OPERATIONS:
                from .retrieval import Retrieval

                titles = self._own_title, self._calling
                return await Retrieval.begin(self.link, titles, Results(answer), operation, message)
            if operation.shape is Shape.MANY_REPLIES:
                return _Answers(service, answer, context)
            if service.startswith("N-"):
                from ..exchange.answers import normalized_answer

                return normalized_answer(answer, message, context)
            return Answer(_status(answer))

    def next_answer(self, answers: _Answers | Retrieval) -> Awaitable[Answer | SubOperation | None]:
        return answers.take()

    async def store(self, retrieval: Retrieval, sub_operation: SubOperation) -> Message:
        return await retrieval.store(sub_operation)

    async def finish(self, retrieval: Retrieval) -> None:
        await retrieval.finish()

    def closed(self) -> None:
        return None


def _status(value: Any) -> int:
    if isinstance(value, int) and 0 <= value <= 0xFFFF:
        return int(value)
    raise TypeError(f"a handler must return a status, not {type(value).__name__}")


async def _call(handler: Handler, request: Request) -> Any:
    if inspect.isasyncgenfunction(handler):
        return handler(request)
    if inspect.iscoroutinefunction(handler):
        return await handler(request)
    result = await asyncio.to_thread(handler, request)
    return await result if inspect.isawaitable(result) else result


class _Answers:
    """The answers of a C-FIND handler: an async iterable, an iterable that runs in a thread, or one final status."""

    def __init__(self, service: str, results: Any, context: NegotiatedContext) -> None:
        from ..exchange.messages import encode_for

        self._service = service
        self._encode = partial(encode_for, context)
        if isinstance(results, int):
            results = [(results, None)]
        self._results = Results(results)

    async def take(self) -> Answer | None:
        """The next one, None after the last."""
        with answering(self._service):
            result = await self._results.take()
            if result is END:
                return None
            status, identifier = result
            if not is_pending(_status(status)):
                return Answer(int(status))
            if identifier is None:
                raise ValueError("an answer with a pending status needs an identifier")
            return Answer(int(status), self._encode(identifier))

    async def aclose(self) -> None:
        """Let the handler end, wherever it is."""
        with answering(self._service), suppress(ServiceRefusal):
            await self._results.aclose()
