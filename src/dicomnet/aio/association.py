"""`Association` in asyncio: what can be asked on one association, whichever side requested it."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..dimse.messages import C_GET_RQ, C_MOVE_RQ, Message, MessageType
from ..drivers.aio.link import Link
from ..drivers.aio.run import Responses
from ..drivers.hooks import Phase
from ..errors import ProtocolError
from ..exchange.contexts import context_for
from ..exchange.n_services import AwaitedNormalizedServices
from ..exchange.requests import echo_request
from ..services import user
from ..services.registry import is_pending
from ..upper_layer.negotiation import NegotiatedContext
from .opening import wait_closed

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from ..exchange.n_services import Reply

_log = logging.getLogger(__name__)


class Association(AwaitedNormalizedServices):
    """An association that `connect` opened, or that a request came on.

    Use it as an async context manager, which releases it and leaves no connection behind; or call `release`.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    def __repr__(self) -> str:
        return f"<Association, {self._link.phase.value}>"

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
            A match, with a status of pending; None where it cannot be read, which is logged. Left early, the rest of
            the query is cancelled.

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
            With the Failed SOP Instance UID List, where the status is one of warning, failure or cancel, or where the
            peer sent one beside success. Left early, the rest is cancelled.

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
        try:
            if kind is None:
                await self.release()
            else:
                self.abort()
        finally:
            await wait_closed(self._link)


class FindResponses:
    """The responses to a C-FIND, C-GET or C-MOVE, an asynchronous iterator of status and identifier.

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

    def __repr__(self) -> str:
        return f"<FindResponses, {'closed' if self._is_closed else 'open'}>"

    def __aiter__(self) -> FindResponses:
        return self

    async def __anext__(self) -> tuple[Dataset, Dataset | None]:
        if self._is_closed:
            raise StopAsyncIteration
        if self._responses is None:
            self._responses = await self._begin()
        response = await anext(self._responses)
        identifier: Dataset | None = None
        try:
            identifier = self._identify(response, self._context)
        except ProtocolError as error:
            if not is_pending(response.status):
                raise
            # One match that cannot be read costs itself.
            _log.error("%s", error)
        return self._status_of(response), identifier

    async def aclose(self) -> None:
        """Want no more of them."""
        self._is_closed = True
        if self._responses is not None:
            self._responses.close()
