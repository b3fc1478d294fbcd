"""An association as pynetdicom's users know it: flags, `send_c_*` methods and events over a blocking link."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from .. import _config
from ..dimse.messages import C_GET_RQ, C_MOVE_RQ, Message, MessageType
from ..drivers.acse import free_message_id
from ..drivers.deadline import Timeouts
from ..drivers.hooks import Phase
from ..errors import AssociationClosed, AssociationError, DicomnetError, NetworkError, ProtocolError
from ..exchange.contexts import context_for
from ..exchange.messages import (
    cancel_request,
    failed_of,
    find_request,
    identifier_of,
    normalized_request,
    reply_of,
    retrieve_request,
    status_of,
    store_request,
)
from ..exchange.n_services import NormalizedServices
from ..exchange.requests import echo_request
from ..services import user
from ..upper_layer.negotiation import NegotiatedContext
from . import events as evt
from .dimse_primitives import C_FIND, C_GET, C_STORE
from .events import Bindings, Handler
from .presentation import PresentationContext
from .providers import ACSE, DIMSEServiceProvider, DULServiceProvider
from .service_user import ServiceUser as ServiceUser
from .state import DEFAULT_TIMEOUTS, AssociationState
from .utils import set_uid, title_of

_log = logging.getLogger(__name__)

_numbers = itertools.count(1)


class Association(NormalizedServices):
    """An association with a peer.

    Parameters
    ----------
    ae
        The application entity it belongs to.
    mode
        ``requestor`` or ``acceptor``.
    bindings
        Handlers of events.
    timeouts
        One deadline a stage, in seconds.
    transcode
        Whether `send_c_store` may decompress: ``never`` or ``if-needed``.

    Attributes
    ----------
    requestor, acceptor : ServiceUser
        The two sides.
    state : AssociationState
        The link, handlers and phase, for this package's own parts.
    transcode : str
        Whether `send_c_store` may decompress, where a call does not say.
    connection_timeout : float or None
        The time-out of opening its connection, in seconds; None is what the operating system allows.
    """

    def __init__(
        self,
        ae: Any,
        mode: str,
        bindings: Bindings | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        transcode: str = "never",
    ) -> None:
        self._ae = ae
        self._mode = mode
        self.state = AssociationState(bindings or Bindings(), timeouts)
        self.requestor = ServiceUser(self, "requestor")
        self.acceptor = ServiceUser(self, "acceptor")
        self.transcode = transcode
        self.connection_timeout = timeouts.connect
        self._name = ""

    @property
    def ae(self) -> Any:
        """The application entity it belongs to."""
        return self._ae

    @property
    def mode(self) -> str:
        """``requestor`` or ``acceptor``."""
        return self._mode

    @property
    def is_requestor(self) -> bool:
        """Whether this side requested the association (PS3.8 section 7.1)."""
        return self._mode == "requestor"

    @property
    def is_acceptor(self) -> bool:
        """Whether this side was asked for the association (PS3.8 section 7.1)."""
        return self._mode == "acceptor"

    def __repr__(self) -> str:
        flags = ("established", "released", "aborted", "rejected")
        state = next((each for each in flags if getattr(self, f"is_{each}")), "not established")
        return f"<{type(self).__name__} of {self.requestor.ae_title} with {self.acceptor.ae_title}, {state}>"

    @property
    def is_established(self) -> bool:
        """Whether it is negotiated and not over. At most one of these four flags is true."""
        return self.state.phase is Phase.ESTABLISHED

    @property
    def is_released(self) -> bool:
        """Whether it ended by a release."""
        return self.state.phase is Phase.RELEASED

    @property
    def is_aborted(self) -> bool:
        """Whether it was aborted, or its connection was lost or never opened."""
        return self.state.phase is Phase.ABORTED

    @property
    def is_rejected(self) -> bool:
        """Whether the acceptor rejected it."""
        return self.state.phase is Phase.REJECTED

    @property
    def failure(self) -> DicomnetError | None:
        """The error that ended it, None where that was a release."""
        return self.state.failure

    @property
    def local(self) -> dict[str, Any]:
        """This side's AE title, address, port and mode."""
        return (self.requestor if self.is_requestor else self.acceptor).info

    @property
    def remote(self) -> dict[str, Any]:
        """The peer's AE title, address, port and mode."""
        return (self.acceptor if self.is_requestor else self.requestor).info

    @property
    def acse_timeout(self) -> float | None:
        """The time-out of negotiation and of release, in seconds; None is without end."""
        return self.state.timeouts.association

    @acse_timeout.setter
    def acse_timeout(self, value: float | None) -> None:
        self.state.set_timeouts(association=value)

    @property
    def dimse_timeout(self) -> float | None:
        """The time-out of waiting for a DIMSE message, in seconds; None is without end."""
        return self.state.timeouts.message

    @dimse_timeout.setter
    def dimse_timeout(self, value: float | None) -> None:
        self.state.set_timeouts(message=value)

    @property
    def network_timeout(self) -> float | None:
        """The time-out of an idle association, in seconds, from the next message on; None is without end."""
        return self.state.timeouts.idle

    @network_timeout.setter
    def network_timeout(self, value: float | None) -> None:
        self.state.set_timeouts(idle=value)

    @property
    def network_timeout_response(self) -> str:
        """The way an idle association ends after `network_timeout`: ``A-ABORT`` or ``A-RELEASE``."""
        return "A-RELEASE" if self.state.releases_when_idle else "A-ABORT"

    @network_timeout_response.setter
    def network_timeout_response(self, value: str) -> None:
        if value not in ("A-ABORT", "A-RELEASE"):
            raise ValueError("the response to the network time-out is 'A-ABORT' or 'A-RELEASE'")
        self.state.releases_when_idle = value == "A-RELEASE"

    @property
    def accepted_contexts(self) -> list[PresentationContext]:
        """The presentation contexts that were accepted."""
        return [PresentationContext.from_negotiated(c) for c in self._contexts() if c.is_accepted]

    @property
    def rejected_contexts(self) -> list[PresentationContext]:
        """The presentation contexts that were rejected."""
        return [PresentationContext.from_negotiated(c) for c in self._contexts() if not c.is_accepted]

    @property
    def lock(self) -> Any:
        """Held by the thread that uses the association."""
        return self.state.live().lock

    def _contexts(self) -> tuple[NegotiatedContext, ...]:
        link = self.state.link
        agreement = link.connection.agreement if link else None
        return tuple(agreement.contexts.values()) if agreement else ()

    @property
    def acse(self) -> ACSE:
        """Establishing and ending the association."""
        return ACSE(self)

    @property
    def dul(self) -> DULServiceProvider:
        """The upper layer, with the transport connection."""
        return DULServiceProvider(self)

    @property
    def dimse(self) -> DIMSEServiceProvider:
        """The messages."""
        return DIMSEServiceProvider(self)

    @property
    def name(self) -> str:
        """A name for logs; it may be set."""
        if not self._name:
            self._name = f"{self._mode.title()}Association-{next(_numbers)}"
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        self._name = str(value)

    @property
    def daemon(self) -> bool:
        """Whether a program may end while it is open, which is True."""
        return True

    @property
    def ident(self) -> int | None:
        """None: an association is not a thread."""
        return None

    native_id = ident

    def is_alive(self) -> bool:
        """Whether the association, or its transport connection, is still open; not so once it was aborted."""
        return not (self.is_aborted or self.state.finished.is_set())

    def join(self, timeout: float | None = None) -> None:
        """Wait until the transport connection is closed, up to ``timeout`` seconds."""
        self.state.finished.wait(timeout)

    def bind(self, event: evt.EventType, handler: Handler, args: list[Any] | None = None) -> None:
        """Call a handler for an event from now on."""
        self.state.bindings.bind(event, handler, args)

    def unbind(self, event: evt.EventType, handler: Handler) -> None:
        """Stop calling a handler for an event."""
        self.state.bindings.unbind(event, handler)

    def get_events(self) -> list[evt.EventType]:
        """The events that have a handler."""
        return self.state.bindings.events()

    def get_handlers(self, event: evt.EventType) -> Any:
        """The handlers of an event with their arguments."""
        return self.state.bindings.handlers(event)

    def release(self) -> None:
        """Release the association (PS3.8 section 7.2). Does nothing if it is over."""
        if not self.is_established:
            return
        try:
            self.state.live().release()
        except (AssociationError, NetworkError) as error:
            self._failed("the release failed", error)

    def abort(self, block: bool = True) -> None:
        """Abort the association (PS3.8 section 7.3). Does nothing if it is over.

        Parameters
        ----------
        block
            Accepted for compatibility; the call never waits.
        """
        self.state.abort()

    def kill(self) -> None:
        """End the association and its connection at once."""
        self.abort()

    def send_c_echo(self, msg_id: int = 1) -> Dataset:
        """Verify the connection (PS3.7 section 9.1.5).

        Parameters
        ----------
        msg_id
            Message ID, 0 to 65535.

        Returns
        -------
        pydicom.dataset.Dataset
            With Status, or empty if no valid response came.

        Raises
        ------
        RuntimeError
            If the association is not established.
        ValueError
            If no presentation context for verification was accepted.
        """
        self._check_open()
        return self._request(echo_request(self.state.live().agreement, msg_id))

    def send_c_store(
        self,
        dataset: Dataset | str | Path,
        msg_id: int = 1,
        priority: int = 2,
        originator_aet: str | bytes | None = None,
        originator_id: int | None = None,
        *,
        transcode: str | None = None,
    ) -> Dataset:
        """Store an object (PS3.7 section 9.1.1).

        Parameters
        ----------
        dataset
            The object, or the path of its file. A file is sent as it is where its transfer syntax was accepted; a
            native object is otherwise encoded in a native transfer syntax that was, which keeps each value.
        msg_id
            Message ID, 0 to 65535.
        priority
            0 medium, 1 high, 2 low.
        originator_aet, originator_id
            The AE title of the requestor of the C-MOVE that this belongs to, and the C-MOVE's Message ID. A title
            that cannot be sent is left out.
        transcode
            ``never``, or ``if-needed`` to have a compressed object decompressed where its transfer syntax was not
            accepted; None is what `transcode` says.

        Returns
        -------
        pydicom.dataset.Dataset
            With Status and what else the response says, or empty if no valid response came.

        Raises
        ------
        RuntimeError
            If the association is not established.
        ValueError
            If no accepted presentation context fits, the priority is none, or the object cannot be encoded or
            decompressed.
        AttributeError
            If the object has no SOP Class UID, SOP Instance UID or transfer syntax.
        """
        self._check_open()
        agreement = self.state.live().agreement
        request = store_request(
            agreement,
            dataset,
            msg_id,
            C_STORE.Priority.check(priority),
            C_STORE.MoveOriginatorApplicationEntityTitle.check(originator_aet),
            originator_id,
            self.transcode if transcode is None else transcode,
        )
        if _config.ENFORCE_UID_CONFORMANCE:
            for keyword in ("AffectedSOPClassUID", "AffectedSOPInstanceUID"):
                set_uid(request.command[keyword], keyword)
        return self._request(request)

    def send_c_find(
        self, dataset: Dataset, query_model: str | UID, msg_id: int = 1, priority: int = 2
    ) -> Iterator[tuple[Dataset, Dataset | None]]:
        """Query (PS3.7 section 9.1.2). The request is sent at once, the matches are read as they are asked for.

        Parameters
        ----------
        dataset
            The Identifier.
        query_model
            SOP class UID of the information model.
        msg_id
            Message ID, 0 to 65535.
        priority
            0 medium, 1 high, 2 low.

        Yields
        ------
        status : pydicom.dataset.Dataset
            With Status, or empty if no valid response came.
        identifier : pydicom.dataset.Dataset or None
            A match, with a status of pending.

        Raises
        ------
        RuntimeError
            If the association is not established.
        ValueError
            If no presentation context for the model was accepted, or the identifier cannot be encoded.
        """
        self._check_open()
        priority = C_FIND.Priority.check(priority)
        request, context = find_request(self.state.live().agreement, dataset, query_model, msg_id, priority)
        return self._iterate(request, context, identifier_of)

    def send_c_get(
        self, dataset: Dataset, query_model: str | UID, msg_id: int = 1, priority: int = 2
    ) -> Iterator[tuple[Dataset, Dataset | None]]:
        """Retrieve over this association (PS3.7 section 9.1.3). The request is sent at once.

        The objects come as C-STORE requests to the handler of ``EVT_C_STORE`` while the responses are iterated over.
        The SCP role for their SOP classes must have been negotiated: see `dicomnet.build_role`.

        Parameters
        ----------
        dataset
            The Identifier.
        query_model
            SOP class UID of the information model.
        msg_id
            Message ID, 0 to 65535.
        priority
            0 medium, 1 high, 2 low.

        Yields
        ------
        status : pydicom.dataset.Dataset
            With Status and the numbers of sub-operations, or empty if no valid response came.
        identifier : pydicom.dataset.Dataset or None
            With the Failed SOP Instance UID List, where the status is one of warning, failure or cancel, or
            where the peer sent one beside success.

        Raises
        ------
        RuntimeError
            If the association is not established.
        ValueError
            If no presentation context for the model was accepted, or the identifier cannot be encoded.
        """
        return self._retrieve(C_GET_RQ, dataset, query_model, msg_id, priority)

    def send_c_move(
        self,
        dataset: Dataset,
        move_aet: str | bytes,
        query_model: str | UID,
        msg_id: int = 1,
        priority: int = 2,
    ) -> Iterator[tuple[Dataset, Dataset | None]]:
        """Have the peer send objects to an application entity (PS3.7 section 9.1.4). The request is sent at once.

        Parameters
        ----------
        dataset
            The Identifier.
        move_aet
            AE title of the destination, which the peer must know.
        query_model
            SOP class UID of the information model.
        msg_id
            Message ID, 0 to 65535.
        priority
            0 medium, 1 high, 2 low.

        Yields
        ------
        status : pydicom.dataset.Dataset
            With Status and the numbers of sub-operations, or empty if no valid response came.
        identifier : pydicom.dataset.Dataset or None
            With the Failed SOP Instance UID List, where the status is one of warning, failure or cancel, or
            where the peer sent one beside success.

        Raises
        ------
        RuntimeError
            If the association is not established.
        ValueError
            If no presentation context for the model was accepted, the AE title is not valid, or the identifier
            cannot be encoded.
        """
        destination = title_of(move_aet, "move destination")
        return self._retrieve(C_MOVE_RQ, dataset, query_model, msg_id, priority, destination)

    def send_c_cancel(
        self, msg_id: int, context_id: int | None = None, query_model: str | UID | None = None
    ) -> None:
        """Cancel an operation (PS3.7 section 9.3.2.3). Its final response still has to be read.

        Parameters
        ----------
        msg_id
            Message ID of the C-FIND, C-GET or C-MOVE request.
        context_id
            The presentation context of that request, or else
        query_model
            its SOP class UID.

        Raises
        ------
        RuntimeError
            If the association is not established.
        ValueError
            If there is no such presentation context.
        """
        self._check_open()
        if context_id is None:
            if query_model is None:
                raise ValueError("either the context ID or the query model of the request is needed")
            context_id = context_for(self.state.live().agreement, str(query_model)).context_id
        elif context_id not in {c.context_id for c in self._contexts() if c.is_accepted}:
            raise ValueError(f"no accepted presentation context has the ID {context_id}")
        self.state.live().interject(cancel_request(context_id, msg_id))

    def _failed(self, what: str, error: DicomnetError) -> None:
        """Log a failure, which the caller sees as an empty status."""
        _log.error("%s: %s", what, error)

    def _check_open(self) -> None:
        if not self.is_established:
            link = self.state.link
            raise AssociationClosed() if link is None else link.what_closed()

    def _request(self, message: Message) -> Dataset:
        response = self._response(message)
        return Dataset() if response is None else status_of(response)

    def _response(self, message: Message) -> Message | None:
        link = self.state.live()
        # A handler may ask for something while the request during which it was called still waits for its response.
        message.command["MessageID"] = link.talk.free_message_id(message.message_id)
        try:
            return link.run(user.one_reply(message))
        except (AssociationError, NetworkError) as error:
            self._failed(f"no response to the {message.type.name}", error)
            return None

    def _normalized(
        self,
        service: str,
        class_uid: str | UID,
        instance_uid: str | UID | None,
        msg_id: int,
        meta_uid: str | UID | None,
        dataset: Dataset | None = None,
        **parameters: Any,
    ) -> tuple[Dataset, Dataset | None]:
        self._check_open()
        uids = set_uid(class_uid, "the SOP Class UID"), set_uid(instance_uid, "the SOP Instance UID")
        request, context = normalized_request(
            self.state.live().agreement, service, *uids, msg_id, meta_uid, dataset, **parameters
        )
        response = self._response(request)
        return (Dataset(), None) if response is None else reply_of(request, response, context)

    def _retrieve(
        self,
        kind: MessageType,
        dataset: Dataset,
        model: str,
        msg_id: int,
        priority: int,
        move_aet: str | None = None,
    ) -> Iterator[tuple[Dataset, Dataset | None]]:
        self._check_open()
        agreement = self.state.live().agreement
        priority = C_GET.Priority.check(priority)
        request, context = retrieve_request(kind, agreement, dataset, model, msg_id, priority, move_aet)
        return self._iterate(request, context, failed_of)

    def _iterate(
        self,
        request: Message,
        context: NegotiatedContext,
        identify: Callable[[Message, NegotiatedContext], Dataset | None],
    ) -> Iterator[tuple[Dataset, Dataset | None]]:
        link = self.state.live()
        # As in `_response`; but what was left early is over before, and its Message ID is free again.
        wanted = request.message_id
        if link.talk.free_message_id(wanted) != wanted:
            request.command["MessageID"] = link.run(free_message_id(link, wanted))
        cancel = cancel_request(context.context_id, request.message_id)
        responses = link.iterate(user.many_replies(request), cancel)
        return self._answers(responses, context, identify)

    def _answers(
        self,
        responses: Iterator[Message],
        context: NegotiatedContext,
        identify: Callable[[Message, NegotiatedContext], Dataset | None],
    ) -> Iterator[tuple[Dataset, Dataset | None]]:
        try:
            for response in responses:
                identifier: Dataset | None = None
                try:
                    identifier = identify(response, context)
                except ProtocolError as error:
                    _log.error("%s", error)
                yield status_of(response), identifier
        except (AssociationError, NetworkError) as error:
            self._failed("the responses ended early", error)
            yield Dataset(), None
