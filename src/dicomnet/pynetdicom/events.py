"""Events and their handlers, under the names that pynetdicom's users know (``evt``)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydicom.config import IGNORE
from pydicom.uid import UID

from ..datasets.codec import create_file_meta, decode_request
from ..dimse.datasets import MemorySink
from ..dimse.messages import Message
from ..encoding.file_header import encode_file_header
from ..upper_layer.negotiation import NegotiatedContext
from . import dimse_primitives
from .presentation import PresentationContextTuple

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileMetaDataset

_log = logging.getLogger(__name__)

Handler = Callable[..., Any]
EventHandlerType = tuple["EventType", Handler] | tuple["EventType", Handler, Sequence[Any]]


class NotificationEvent(NamedTuple):
    """An event that notifies; any number of handlers may be bound to it, and their return values are ignored.

    Parameters
    ----------
    name
        The name that it has in this module.
    description
        What happened, in words.
    """

    name: str
    description: str

    @property
    def is_notification(self) -> bool:
        """Whether it only notifies, which is True."""
        return True

    @property
    def is_intervention(self) -> bool:
        """Whether it asks for an answer, which is False."""
        return False

    def __str__(self) -> str:
        return self.name


class InterventionEvent(NamedTuple):
    """An event that asks; one handler is bound to it, and what it returns is the answer.

    Parameters
    ----------
    name
        The name that it has in this module.
    description
        What happened, in words.
    """

    name: str
    description: str

    @property
    def is_notification(self) -> bool:
        """Whether it only notifies, which is False."""
        return False

    @property
    def is_intervention(self) -> bool:
        """Whether it asks for an answer, which is True."""
        return True

    def __str__(self) -> str:
        return self.name


EventType = NotificationEvent | InterventionEvent

EVT_ABORTED = NotificationEvent("EVT_ABORTED", "the association was aborted")
EVT_ACCEPTED = NotificationEvent("EVT_ACCEPTED", "the association was accepted")
EVT_ACSE_RECV = NotificationEvent("EVT_ACSE_RECV", "an ACSE primitive was received")
EVT_ACSE_SENT = NotificationEvent("EVT_ACSE_SENT", "an ACSE primitive was sent")
EVT_CONN_CLOSE = NotificationEvent("EVT_CONN_CLOSE", "the transport connection was closed")
EVT_CONN_OPEN = NotificationEvent("EVT_CONN_OPEN", "the transport connection was opened")
EVT_DATA_RECV = NotificationEvent("EVT_DATA_RECV", "bytes were received")
EVT_DATA_SENT = NotificationEvent("EVT_DATA_SENT", "bytes were sent")
EVT_DIMSE_RECV = NotificationEvent("EVT_DIMSE_RECV", "a DIMSE message was received")
EVT_DIMSE_SENT = NotificationEvent("EVT_DIMSE_SENT", "a DIMSE message was sent")
EVT_ESTABLISHED = NotificationEvent("EVT_ESTABLISHED", "the association was established")
EVT_FSM_TRANSITION = NotificationEvent("EVT_FSM_TRANSITION", "the state machine is about to change its state")
EVT_PDU_RECV = NotificationEvent("EVT_PDU_RECV", "a PDU was received")
EVT_PDU_SENT = NotificationEvent("EVT_PDU_SENT", "a PDU was sent")
EVT_REJECTED = NotificationEvent("EVT_REJECTED", "the association was rejected")
EVT_RELEASED = NotificationEvent("EVT_RELEASED", "the association was released")
EVT_REQUESTED = NotificationEvent("EVT_REQUESTED", "an association was requested")

EVT_ASYNC_OPS = InterventionEvent("EVT_ASYNC_OPS", "an asynchronous operations window was proposed")
EVT_SOP_COMMON = InterventionEvent("EVT_SOP_COMMON", "common extended negotiation was proposed")
EVT_SOP_EXTENDED = InterventionEvent("EVT_SOP_EXTENDED", "extended negotiation was proposed")
EVT_USER_ID = InterventionEvent("EVT_USER_ID", "a user identity was given")
EVT_C_ECHO = InterventionEvent("EVT_C_ECHO", "a C-ECHO request was received")
EVT_C_FIND = InterventionEvent("EVT_C_FIND", "a C-FIND request was received")
EVT_C_GET = InterventionEvent("EVT_C_GET", "a C-GET request was received")
EVT_C_MOVE = InterventionEvent("EVT_C_MOVE", "a C-MOVE request was received")
EVT_C_STORE = InterventionEvent("EVT_C_STORE", "a C-STORE request was received")
EVT_N_ACTION = InterventionEvent("EVT_N_ACTION", "an N-ACTION request was received")
EVT_N_CREATE = InterventionEvent("EVT_N_CREATE", "an N-CREATE request was received")
EVT_N_DELETE = InterventionEvent("EVT_N_DELETE", "an N-DELETE request was received")
EVT_N_EVENT_REPORT = InterventionEvent("EVT_N_EVENT_REPORT", "an N-EVENT-REPORT request was received")
EVT_N_GET = InterventionEvent("EVT_N_GET", "an N-GET request was received")
EVT_N_SET = InterventionEvent("EVT_N_SET", "an N-SET request was received")

EVENTS: dict[str, EventType] = {
    name: value
    for name, value in list(globals().items())
    if isinstance(value, NotificationEvent | InterventionEvent)
}


class Event:
    """The argument of a handler: an event on an association, with its attributes.

    Parameters
    ----------
    assoc
        The association on which it happened.
    event
        Which event.
    attrs
        Further attributes: ``request``, ``context``, ``message``, ``pdu``, ``data``, ``address`` … as the event has.
    """

    def __init__(self, assoc: Any, event: EventType, attrs: dict[str, Any] | None = None) -> None:
        self.assoc = assoc
        self._event = event
        self.timestamp = datetime.now()
        self._cache: dict[str, Any] = {}
        if attrs and ("assoc" in attrs or "_event" in attrs):
            raise AttributeError("'assoc' and 'event' are not for use as attributes of an event")
        self.__dict__.update(attrs or {})

    @property
    def event(self) -> EventType:
        """Which event."""
        return self._event

    @property
    def dataset(self) -> Dataset:
        """The decoded data set of a C-STORE request. The same object each time.

        Raises
        ------
        AttributeError
            For another event, or where an ``open_sink`` of the program took the data set and has no ``content``.
        """
        return self._decoded("DataSet", "dataset")

    @property
    def identifier(self) -> Dataset:
        """The decoded Identifier of a C-FIND, C-GET or C-MOVE request.

        Raises
        ------
        ServiceRefusal
            With status 0xC000, if it does not parse to its end.
        """
        return self._decoded("Identifier", "identifier")

    @property
    def action_information(self) -> Dataset:
        """The decoded Action Information of an N-ACTION request.

        Raises
        ------
        ServiceRefusal
            With status 0x0110, if it does not parse to its end.
        """
        return self._decoded("ActionInformation", "action_information")

    @property
    def attribute_list(self) -> Dataset:
        """The decoded Attribute List of an N-CREATE request.

        Raises
        ------
        ServiceRefusal
            With status 0x0110, if it does not parse to its end.
        """
        return self._decoded("AttributeList", "attribute_list")

    @property
    def event_information(self) -> Dataset:
        """The decoded Event Information of an N-EVENT-REPORT request.

        Raises
        ------
        ServiceRefusal
            With status 0x0110, if it does not parse to its end.
        """
        return self._decoded("EventInformation", "event_information")

    @property
    def modification_list(self) -> Dataset:
        """The decoded Modification List of an N-SET request.

        Raises
        ------
        ServiceRefusal
            With status 0x0110, if it does not parse to its end.
        """
        return self._decoded("ModificationList", "modification_list")

    @property
    def dataset_path(self) -> Path:
        """The file that holds the data set of a C-STORE request, until the handler returns.

        Raises
        ------
        AttributeError
            For another event, or without ``_config.STORE_RECV_CHUNKED_DATASET``.
        """
        path = getattr(self._sink("dataset_path"), "path", None)
        if path is None:
            raise AttributeError("set _config.STORE_RECV_CHUNKED_DATASET to have data sets in files")
        return Path(path)

    @property
    def file_meta(self) -> FileMetaDataset:
        """File meta information for the data set of a C-STORE request (PS3.10 section 7.1)."""
        request = self._of("AffectedSOPInstanceUID", "file_meta")
        return create_file_meta(
            sop_class_uid=request.AffectedSOPClassUID,
            sop_instance_uid=request.AffectedSOPInstanceUID,
            transfer_syntax=self.context.transfer_syntax,
        )

    def encoded_dataset(self, include_meta: bool = True) -> bytes:
        """The data set of a C-STORE request as it was received.

        Parameters
        ----------
        include_meta
            Put a preamble and file meta information in front, so that the result is a whole file.
        """
        if "_message" in self.__dict__:
            content = bytes(self._sink("encoded_dataset").content)
            command = self._message.command
            uids = command["AffectedSOPClassUID"], command["AffectedSOPInstanceUID"]
        else:
            request = self._of("DataSet", "encoded_dataset")
            content = request.DataSet.getvalue() if request.DataSet is not None else b""
            uids = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
        if not include_meta:
            return content
        return encode_file_header(*uids, str(self.context.transfer_syntax)) + content

    @property
    def message_id(self) -> int:
        """The Message ID of the request."""
        value: int = self._of("MessageID", "message_id").MessageID
        return value

    @property
    def move_destination(self) -> str:
        """The Move Destination of a C-MOVE request."""
        value: str = self._of("MoveDestination", "move_destination").MoveDestination
        return value

    @property
    def action_type(self) -> int:
        """The Action Type ID of an N-ACTION request."""
        value: int = self._of("ActionTypeID", "action_type").ActionTypeID
        return value

    @property
    def event_type(self) -> int:
        """The Event Type ID of an N-EVENT-REPORT request."""
        value: int = self._of("EventTypeID", "event_type").EventTypeID
        return value

    @property
    def attribute_identifiers(self) -> list[Any]:
        """The tags of the Attribute Identifier List of an N-GET request, none for all."""
        value = self._of("AttributeIdentifierList", "attribute_identifiers").AttributeIdentifierList
        if value is None:
            return []
        return list(value) if isinstance(value, list) else [value]

    @property
    def is_cancelled(self) -> bool:
        """Whether the peer has cancelled the C-FIND, C-GET or C-MOVE request; False for another event."""
        check: Callable[[], bool] | None = self.__dict__.get("_is_cancelled")
        return check is not None and check()

    def _of(self, keyword: str, attribute: str) -> Any:
        request = self.__dict__.get("request")
        if request is None or not hasattr(request, keyword):
            raise AttributeError(f"{self._event.name} has no '{attribute}'")
        return request

    def _sink(self, attribute: str) -> Any:
        message = self.__dict__.get("_message")
        if message is None or message.type.service != "C-STORE":
            raise AttributeError(f"{self._event.name} has no '{attribute}'")
        return message.data

    def _decoded(self, keyword: str, attribute: str) -> Dataset:
        if keyword not in self._cache:
            encoded = getattr(self._of(keyword, attribute), keyword)
            sink = self._message.data if "_message" in self.__dict__ else None
            if sink is not None and not isinstance(sink, MemorySink):
                encoded = self._elsewhere(sink)
            encoded = encoded or BytesIO()
            whole = encoded.getvalue() if isinstance(encoded, BytesIO) else encoded
            self._cache[keyword] = decode_request(whole, str(self.context.transfer_syntax), keyword)
        value: Dataset = self._cache[keyword]
        return value

    def _elsewhere(self, sink: Any) -> bytes:
        content: bytes | None = getattr(sink, "content", None)
        if content is None:
            raise AttributeError("the data set is where the program's own sink put it")
        return content

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def _succeed(event: Event) -> int:
    """Answer C-ECHO with success."""
    return 0x0000


def _not_bound(event: Event) -> None:
    """Refuse: no handler is bound to the event."""
    raise NotImplementedError(f"no handler is bound to {event.event.name}")


_DEFAULT_HANDLERS: dict[EventType, Handler] = {
    event: _not_bound for event in EVENTS.values() if event.is_intervention
} | {EVT_C_ECHO: _succeed}


def get_default_handler(event: InterventionEvent) -> Handler:
    """The handler that answers an event to which the program has bound none.

    C-ECHO succeeds; the other services fail with the status that their standard has for it, and what is negotiated
    is not granted. Notifications have no default handlers.

    Raises
    ------
    KeyError
        If it is a notification event.
    """
    return _DEFAULT_HANDLERS[event]


class Bindings:
    """The handlers that are bound to an association or a server."""

    def __init__(self, handlers: Iterable[EventHandlerType] = ()) -> None:
        self._interventions: dict[EventType, tuple[Handler, Sequence[Any] | None]] = {}
        self._notifications: dict[EventType, list[tuple[Handler, Sequence[Any] | None]]] = {}
        # The names of the notification events that have a handler; the hot path looks here first.
        self.names: set[str] = set()
        for event, handler, *args in handlers:
            self.bind(event, handler, args[0] if args else None)

    def copy(self) -> Bindings:
        """The same handlers, to be changed independently."""
        bindings = Bindings()
        bindings._interventions = dict(self._interventions)
        bindings._notifications = {event: list(bound) for event, bound in self._notifications.items()}
        bindings.names = set(self.names)
        return bindings

    def bind(self, event: EventType, handler: Handler, args: Sequence[Any] | None = None) -> None:
        """Bind a handler, with further arguments to call it with."""
        if args is not None and not isinstance(args, Sequence):
            raise TypeError("the further arguments of a handler must be given as a list")
        if isinstance(event, InterventionEvent):
            self._interventions[event] = (handler, args)
            return
        bound = self._notifications.setdefault(event, [])
        if (handler, args) not in bound:
            # A new list: another thread may be going through the old one.
            self._notifications[event] = [*bound, (handler, args)]
        self.names.add(event.name)

    def unbind(self, event: EventType, handler: Handler) -> None:
        """Remove a handler; one that is not bound is ignored."""
        if isinstance(event, InterventionEvent):
            if event in self._interventions and self._interventions[event][0] == handler:
                del self._interventions[event]
            return
        left = [(known, args) for known, args in self._notifications.get(event, ()) if known != handler]
        self._notifications[event] = left
        if not left:
            self.names.discard(event.name)

    def events(self) -> list[EventType]:
        """The events that have a handler, among them all intervention events, which have a default one."""
        notified = [event for event, bound in self._notifications.items() if bound]
        return sorted([*_DEFAULT_HANDLERS, *notified], key=lambda event: event.name)

    def handlers(self, event: EventType) -> Any:
        """A list of handlers and arguments for a notification event; one pair for an intervention event."""
        if isinstance(event, InterventionEvent):
            return self._interventions.get(event, (get_default_handler(event), None))
        return list(self._notifications.get(event, ()))

    def intervention(self, event: EventType) -> tuple[Handler, Sequence[Any] | None] | None:
        """The user's handler that answers an event, and its further arguments."""
        return self._interventions.get(event)

    def trigger(self, assoc: Any, event: EventType, attrs: dict[str, Any] | None = None) -> None:
        """Call the handlers of a notification event. One that raises is logged, and the others are called."""
        _notify(self._notifications.get(event, ()), assoc, event, attrs)


def request_event(
    assoc: Any,
    event: EventType,
    message: Message,
    context: NegotiatedContext,
    is_cancelled: Callable[[], bool],
) -> Event:
    """The event for a received request; its data set is decoded at the first access."""
    primitive = getattr(dimse_primitives, message.type.service.replace("-", "_"))
    data = message.data
    view = Message(message.type, message.command, message.context_id)
    if isinstance(data, MemorySink):
        view.data = data.content
    elif data is not None:
        view.data = b""
    return Event(
        assoc,
        event,
        {
            "request": primitive.from_message(view),
            "context": PresentationContextTuple(
                context.context_id, UID(context.abstract_syntax, IGNORE), UID(context.transfer_syntax, IGNORE)
            ),
            "_message": message,
            "_is_cancelled": is_cancelled,
        },
    )


def trigger(assoc: Any, event: EventType, attrs: dict[str, Any] | None = None) -> Any:
    """Trigger an event on an association: all handlers of a notification, or the one of an intervention event."""
    bound = assoc.get_handlers(event)
    if isinstance(event, NotificationEvent):
        _notify(bound, assoc, event, attrs)
        return None
    handler, args = bound
    return handler(Event(assoc, event, attrs), *(args or ()))


def _notify(
    bound: Iterable[tuple[Handler, Sequence[Any] | None]],
    assoc: Any,
    event: EventType,
    attrs: dict[str, Any] | None,
) -> None:
    for handler, args in bound:
        try:
            handler(Event(assoc, event, attrs), *(args or ()))
        except Exception:  # noqa: BLE001
            _log.exception("the handler for %s failed", event.name)
