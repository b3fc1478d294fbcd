"""The library for asyncio: `connect`, `serve` and `Peer`, with the services of the blocking face, awaited."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from .._version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from ..dimse.datasets import MemorySink, Sink, discard
from ..dimse.messages import C_GET_RQ, C_MOVE_RQ, Message, MessageType
from ..drivers.aio.link import Link
from ..drivers.aio.run import Responses
from ..drivers.aio.server import Server
from ..drivers.deadline import Timeouts
from ..drivers.hooks import Phase
from ..drivers.reception import Reception
from ..drivers.transport import listen
from ..encoding.transfer_syntaxes import TRANSFER_SYNTAXES
from ..errors import ServiceRefusal
from ..exchange.addresses import MAXIMUM_LENGTH, PeerAddress, association_request
from ..exchange.contexts import NATIVE, context_for
from ..exchange.messages import echo_request
from ..exchange.n_services import AwaitedNormalizedServices
from ..exchange.receiving import OBJECT_LIMIT, RESPONSE_LIMIT, answering
from ..services import user
from ..services.registry import OPERATIONS, SUCCESS, Shape, is_pending
from ..services.steps import Answer, SubOperation
from ..upper_layer.negotiation import (
    Acceptor,
    Agreement,
    NegotiatedContext,
    SupportedContext,
    accept,
    identification_items,
    refuse_names,
)
from ..values import frozen
from ..wire.fields import ae_title_bytes
from ..wire.pdu import AssociateAC, AssociateRJ, AssociateRQ
from .peer import Peer as Peer
from .peer import open_association
from .results import END, Results

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from ..exchange.n_services import Reply
    from .retrieval import Retrieval

_log = logging.getLogger(__name__)

_LOCAL_LIMIT_EXCEEDED = AssociateRJ(2, 3, 2)

# What is proposed or supported: abstract syntaxes, each with its transfer syntaxes, or with the native ones.
Contexts = Iterable[str] | Mapping[str, Iterable[str]]
# By abstract syntax, whether the requestor of an association wants, or may have, the role of SCU and that of SCP.
Roles = Mapping[str, tuple[bool, bool]]


class Association(AwaitedNormalizedServices):
    """An association that `connect` opened, or that a request came on.

    Use it as an async context manager, which releases it; or call `release`.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def is_established(self) -> bool:
        """Whether requests can be sent."""
        return self._link.phase is Phase.ESTABLISHED

    @property
    def accepted_contexts(self) -> tuple[NegotiatedContext, ...]:
        """The presentation contexts that the peer accepted."""
        return self._link.agreement.accepted

    async def send_c_echo(self) -> Dataset:
        """Verify the connection (PS3.7 section 9.1.5).

        Returns
        -------
        pydicom.dataset.Dataset
            With Status.

        Raises
        ------
        AssociationError, NetworkError
            If the association is over, or ends.
        """
        from ..exchange.messages import status_of

        request = echo_request(self._link.agreement, self._link.next_message_id())
        return status_of(await self._link.run(user.one_reply(request)))

    async def send_c_store(
        self, dataset: Dataset | str | os.PathLike[str], *, priority: int = 2, transcode: str = "never"
    ) -> Dataset:
        """Store an object (PS3.7 section 9.1.1).

        Parameters
        ----------
        dataset
            The object, or the path of its file. A file is sent as it is where its transfer syntax was accepted; a
            native object is otherwise encoded in a native transfer syntax that was, which keeps each value.
        priority
            0 medium, 1 high, 2 low.
        transcode
            ``never``, or ``if-needed`` to have a compressed object decompressed where its transfer syntax was not
            accepted.

        Returns
        -------
        pydicom.dataset.Dataset
            With Status and what else the response says.

        Raises
        ------
        ValueError
            If no accepted presentation context fits, or the object cannot be encoded or decompressed.
        AssociationError, NetworkError
            If the association is over, or ends.
        """
        from ..exchange.messages import status_of, store_request

        link = self._link
        message_id = link.next_message_id()
        request = store_request(link.agreement, dataset, message_id, priority, transcode=transcode)
        return status_of(await link.run(user.one_reply(request)))

    def send_c_find(self, dataset: Dataset, query_model: str, *, priority: int = 2) -> FindResponses:
        """Query (PS3.7 section 9.1.2).

        Parameters
        ----------
        dataset
            The Identifier.
        query_model
            SOP class UID of the information model.
        priority
            0 medium, 1 high, 2 low.

        Yields
        ------
        status : pydicom.dataset.Dataset
            With Status.
        identifier : pydicom.dataset.Dataset or None
            A match, with a status of pending. Left early, the rest of the query is cancelled.

        Raises
        ------
        ValueError
            If the model was not accepted, or the identifier cannot be encoded.
        AssociationError, NetworkError
            If the association is over, or ends.
        """
        from ..exchange.messages import cancel_request, find_request, identifier_of

        link = self._link
        request, context = find_request(
            link.agreement, dataset, query_model, link.next_message_id(), priority
        )
        cancel = cancel_request(context.context_id, request.message_id)
        return FindResponses(lambda: link.iterate(user.many_replies(request), cancel), context, identifier_of)

    def send_c_get(self, dataset: Dataset, query_model: str, *, priority: int = 2) -> FindResponses:
        """Retrieve over this association (PS3.7 section 9.1.3); `connect` was given a handler for C-STORE.

        Parameters
        ----------
        dataset
            The Identifier.
        query_model
            SOP class UID of the information model.
        priority
            0 medium, 1 high, 2 low.

        Yields
        ------
        status : pydicom.dataset.Dataset
            With Status and the numbers of sub-operations.
        identifier : pydicom.dataset.Dataset or None
            With the Failed SOP Instance UID List, where the status is one of warning, failure or cancel. Left early,
            the rest is cancelled.

        Raises
        ------
        ValueError
            If the model was not accepted, or the identifier cannot be encoded.
        AssociationError, NetworkError
            If the association is over, or ends.
        """
        return self._retrieve(C_GET_RQ, dataset, query_model, priority)

    def send_c_move(
        self, dataset: Dataset, move_aet: str, query_model: str, *, priority: int = 2
    ) -> FindResponses:
        """Have the peer send objects to an application entity (PS3.7 section 9.1.4).

        Parameters
        ----------
        dataset
            The Identifier.
        move_aet
            AE title of the destination, which the peer must know.
        query_model
            SOP class UID of the information model.
        priority
            0 medium, 1 high, 2 low.

        Yields
        ------
        status : pydicom.dataset.Dataset
            With Status and the numbers of sub-operations.
        identifier : pydicom.dataset.Dataset or None
            As of `send_c_get`.

        Raises
        ------
        ValueError
            If the model was not accepted, the AE title is not valid, or the identifier cannot be encoded.
        AssociationError, NetworkError
            If the association is over, or ends.
        """
        return self._retrieve(C_MOVE_RQ, dataset, query_model, priority, move_aet)

    def _retrieve(
        self, kind: MessageType, dataset: Dataset, model: str, priority: int, move_aet: str | None = None
    ) -> FindResponses:
        from ..exchange.messages import cancel_request, failed_of, retrieve_request

        link = self._link
        request, context = retrieve_request(
            kind, link.agreement, dataset, model, link.next_message_id(), priority, move_aet
        )
        cancel = cancel_request(context.context_id, request.message_id)
        return FindResponses(lambda: link.iterate(user.many_replies(request), cancel), context, failed_of)

    async def send_c_cancel(self, msg_id: int, query_model: str) -> None:
        """Cancel an operation (PS3.7 section 9.3.2.3). Its final response still has to be read.

        Parameters
        ----------
        msg_id
            Message ID of the request.
        query_model
            SOP class UID of the request.
        """
        from ..exchange.messages import cancel_request

        context = context_for(self._link.agreement, query_model)
        await self._link.interject(cancel_request(context.context_id, msg_id))

    async def _normalized(
        self,
        service: str,
        class_uid: str,
        instance_uid: str | None,
        meta_uid: str | None,
        dataset: Dataset | None = None,
        **parameters: Any,
    ) -> Reply:
        from ..exchange.messages import normalized_request, reply_of

        link = self._link
        request, context = normalized_request(
            link.agreement,
            service,
            class_uid,
            instance_uid,
            link.next_message_id(),
            meta_uid,
            dataset,
            **parameters,
        )
        return reply_of(request, await link.run(user.one_reply(request)), context)

    async def release(self) -> None:
        """Release the association (PS3.8 section 7.2). Does nothing if it is over."""
        if self.is_established:
            await self._link.release()
            await self._link.closed.wait()

    def abort(self) -> None:
        """Abort the association (PS3.8 section 7.3), without waiting for the end. Does nothing if it is over."""
        self._link.abort()

    async def wait_closed(self) -> None:
        """Wait until the connection of an association that is over is closed, for instance before the loop ends."""
        await self._link.closed.wait()

    async def __aenter__(self) -> Association:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.release()
        else:
            self.abort()


class FindResponses:
    """What `Association.send_c_find`, `send_c_get` and `send_c_move` give: an asynchronous iterator.

    Dropped or closed early, it cancels the operation.
    """

    def __init__(
        self,
        begin: Callable[[], Awaitable[Responses]],
        context: NegotiatedContext,
        identify: Callable[[Message, NegotiatedContext], Dataset | None],
    ) -> None:
        from ..exchange.messages import status_of

        self._begin = begin
        self._context = context
        self._identify = identify
        self._status_of = status_of
        self._responses: Responses | None = None
        self._is_closed = False

    def __aiter__(self) -> FindResponses:
        return self

    async def __anext__(self) -> tuple[Dataset, Dataset | None]:
        if self._is_closed:
            raise StopAsyncIteration
        if self._responses is None:
            self._responses = await self._begin()
        response = await anext(self._responses)
        return self._status_of(response), self._identify(response, self._context)

    async def aclose(self) -> None:
        """Want no more of them."""
        self._is_closed = True
        if self._responses is not None:
            self._responses.close()


async def connect(
    address: str,
    contexts: Contexts,
    *,
    calling: str = "DICOMNET",
    tls: ssl.SSLContext | None = None,
    timeouts: Timeouts | None = None,
    handlers: Mapping[str, Handler] | None = None,
    roles: Roles | None = None,
    open_sink: OpenSink | None = None,
) -> Association:
    """Request an association.

    Parameters
    ----------
    address
        ``[AET@]host:port``; an IPv6 address in brackets.
    contexts
        Abstract syntax UIDs to propose, or a mapping of them to transfer syntax UIDs.
    calling
        Our AE title.
    tls
        A client's TLS context.
    timeouts
        One deadline a stage, in seconds.
    handlers
        By DIMSE service, for what the peer asks for: the C-STOREs of a C-GET, or N-EVENT-REPORT. See `serve`.
    roles
        The roles to propose, where that is not the one of SCU alone (PS3.7 Annex D.3.3.4): for a C-GET, that of SCP
        of the storage SOP classes.
    open_sink
        Gives the object that takes the data set of a C-STORE request as it arrives, instead of memory.

    Raises
    ------
    ConnectionFailed, TLSFailed, DeadlineExceeded
        If the peer cannot be reached.
    AssociationRejected, AssociationAborted
        If it does not accept.
    ValueError
        If an address or AE title is not valid.
    """
    peer = PeerAddress.parse(address)
    ae_title_bytes(calling, "the calling AE title")
    request = association_request(peer, calling, _pairs(contexts), 1, roles)
    hooks = _RequestorHooks(dict(handlers or {}), open_sink, request)
    hooks.link = await open_association(peer, request, tls, timeouts or Timeouts(), hooks)
    return Association(hooks.link)


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


async def serve(
    address: tuple[str, int],
    contexts: Contexts,
    handlers: Mapping[str, Handler] | None = None,
    *,
    ae_title: str = "DICOMNET",
    require_called: bool = False,
    tls: ssl.SSLContext | None = None,
    timeouts: Timeouts | None = None,
    maximum_associations: int = 256,
    window: int = 16,
    open_sink: OpenSink | None = None,
    roles: Roles | None = None,
) -> AssociationServer:
    """Accept associations in the running event loop.

    Parameters
    ----------
    address
        Host and port; port 0 is any free one.
    contexts
        Abstract syntax UIDs to accept with any known transfer syntax, or a mapping of them to transfer syntax UIDs.
    handlers
        By DIMSE service: ``C-ECHO``, ``C-STORE``, ``C-FIND``, ``C-GET``, ``N-ACTION`` and so on. C-ECHO needs
        none.
    ae_title
        Our AE title.
    require_called
        Whether associations must call it.
    tls
        A server's TLS context.
    timeouts
        One deadline a stage, in seconds.
    maximum_associations
        How many may be open at once.
    window
        How many requests a peer may have outstanding.
    open_sink
        Gives the object that takes the data set of a C-STORE request as it arrives, instead of memory.
    roles
        The roles that a requestor may have if it asks (PS3.7 Annex D.3.3.4); without it, that of SCU alone. A C-GET
        needs both of the storage SOP classes.

    Raises
    ------
    OSError
        If the address cannot be bound.
    """
    server = AssociationServer(
        address,
        {
            uid: SupportedContext(syntaxes, *(roles or {}).get(uid, (None, None)))
            for uid, syntaxes in _pairs(contexts, tuple(TRANSFER_SYNTAXES))
        },
        dict(handlers or {}),
        ae_title=ae_title,
        require_called=require_called,
        tls=tls,
        timeouts=timeouts or Timeouts(),
        maximum_associations=maximum_associations,
        window=window,
        open_sink=open_sink,
    )
    server.start()
    return server


class AssociationServer:
    """What `serve` returns. Use it as an async context manager, or call `shutdown`."""

    def __init__(
        self,
        address: tuple[str, int],
        supported: Mapping[str, SupportedContext],
        handlers: dict[str, Handler],
        *,
        ae_title: str,
        require_called: bool,
        tls: ssl.SSLContext | None,
        timeouts: Timeouts,
        maximum_associations: int,
        window: int,
        open_sink: OpenSink | None,
    ) -> None:
        self.handlers = handlers
        self.ae_title = ae_title
        self.called = (ae_title,) if require_called else ()
        self.maximum_associations = maximum_associations
        self.open_sink = open_sink
        self.acceptor = Acceptor(
            supported,
            identification_items(MAXIMUM_LENGTH, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME),
            performed_window=window,
        )
        self._timeouts = timeouts
        self._server = Server(listen(address), self._receive, tls=tls)

    @property
    def address(self) -> tuple[str, int]:
        """The host and port it listens on."""
        return self._server.address

    @property
    def established(self) -> int:
        """How many associations are open."""
        return sum(link.phase is Phase.ESTABLISHED for link in self._server.links)

    def start(self) -> None:
        """Begin to accept."""
        self._server.start()

    async def shutdown(self, drain: float = 0.0) -> None:
        """Stop accepting, let associations go on for up to ``drain`` seconds, then abort them."""
        await self._server.shutdown(drain)

    async def __aenter__(self) -> AssociationServer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    def _receive(self, peer: tuple[str, int]) -> Reception:
        hooks = _AcceptorHooks(self, peer)
        return Reception(hooks, self._timeouts, MAXIMUM_LENGTH, opened=hooks.attach)


class _HandlerHooks:
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

    def attach(self, link: Link) -> None:
        """The association that the handlers are for."""
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


class _RequestorHooks(_HandlerHooks):
    """The handlers of an association that `connect` opens."""

    def __init__(
        self, handlers: Mapping[str, Handler], open_user_sink: OpenSink | None, request: AssociateRQ
    ) -> None:
        calling, called = request.calling_ae_title, request.called_ae_title
        super().__init__(handlers, open_user_sink, calling, calling, called)

    def negotiate(self, request: AssociateRQ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        raise TypeError("a requestor does not answer association requests")

    def phase_changed(self, phase: Phase) -> None:
        return None


class _AcceptorHooks(_HandlerHooks):
    """The handlers of an association that a server accepts."""

    def __init__(self, server: AssociationServer, peer: tuple[str, int]) -> None:
        super().__init__(server.handlers, server.open_sink, server.ae_title, "", "")
        self._server = server
        self._peer = peer

    def negotiate(self, request: AssociateRQ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        refused = refuse_names(request, called=self._server.called)
        if refused is not None:
            return refused
        if self._server.established >= self._server.maximum_associations:
            return _LOCAL_LIMIT_EXCEEDED
        self._calling, self._called = request.calling_ae_title, request.called_ae_title
        return accept(request, self._server.acceptor)

    def phase_changed(self, phase: Phase) -> None:
        """Nobody is told."""


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


def _pairs(contexts: Contexts, default: tuple[str, ...] = NATIVE) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if isinstance(contexts, Mapping):
        return tuple((str(uid), tuple(map(str, syntaxes))) for uid, syntaxes in contexts.items())
    return tuple((str(uid), default) for uid in contexts)
