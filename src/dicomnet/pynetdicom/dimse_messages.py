"""The 23 DIMSE messages as events show them to users: views of `dimse.messages.Message`, made when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar

from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from ..datasets.codec import encode
from ..dimse import messages
from ..dimse.assembler import Assembler
from ..dimse.codec import encode_command
from ..dimse.datasets import FileRange, MemorySink
from ..dimse.messages import Message, MessageType
from ..dimse.parameters import DATA_SET_PRESENT, NO_DATA_SET, PARAMETERS
from ..drivers.reading import open_stream
from ..exchange.answers import plain_value
from ..upper_layer.negotiation import NegotiatedContext
from ..wire.fragmenter import fragment
from ..wire.scanner import Fragment
from . import dimse_primitives
from .pdu_primitives import P_DATA

if TYPE_CHECKING:
    from .dimse_primitives import C_CANCEL, DIMSEPrimitive

_FRAME = ("CommandGroupLength", "CommandField", "CommandDataSetType")
# The longest data set that `DIMSEMessage.decode_msg` puts together, in bytes.
_DATA_SET_LIMIT = 2 << 30


class DIMSEMessage:
    """A DIMSE message (PS3.7 section 6.3).

    Attributes
    ----------
    message_type : MessageType
        Which of the 23 messages this class shows; the base shows none.
    context_id : int or None
        Its presentation context.
    """

    message_type: ClassVar[MessageType | None] = None

    def __init__(self) -> None:
        self.context_id: int | None = None
        self._message: Message | None = None
        self._assembler: Assembler | None = None

    @cached_property
    def command_set(self) -> Dataset:
        """The command set with all its elements; those of a message that is not filled yet are None."""
        kind = self.message_type
        if kind is None:
            return Dataset()
        if self._message is None:
            return _command_set(dict.fromkeys([*_FRAME, *kind.keywords]))
        has_data_set = self._message.data is not None
        frame = {
            "CommandField": kind.command_field,
            "CommandDataSetType": DATA_SET_PRESENT if has_data_set else NO_DATA_SET,
        }
        command_set = _command_set(self._message.command | frame)
        length = len(encode(command_set, True, True) or b"")
        return _command_set({"CommandGroupLength": length, **self._message.command, **frame})

    @cached_property
    def data_set(self) -> BytesIO:
        """The encoded data set; empty without one, and where its sink is not memory."""
        data = None if self._message is None else self._message.data
        if isinstance(data, FileRange):
            with open_stream(data.file) as file:
                file.seek(data.offset)
                return BytesIO(file.read(data.length))
        return BytesIO(data) if isinstance(data, bytes | bytearray | memoryview) else BytesIO()

    def primitive_to_message(self, primitive: DIMSEPrimitive | C_CANCEL) -> None:
        """Fill the message with the values of a primitive.

        Raises
        ------
        ValueError
            If another message conveys it.
        """
        message = primitive.to_message(self.context_id or 1)
        if message.type is not self.message_type:
            raise ValueError(f"the primitive belongs to {message.type.name}, not to {type(self).__name__}")
        self._show(message)

    def message_to_primitive(self) -> DIMSEPrimitive | C_CANCEL:
        """The primitive that this message conveys.

        Raises
        ------
        ValueError
            If this is not one of the 23 messages.
        """
        message = self._to_message()
        kind = getattr(dimse_primitives, message.type.service.replace("-", "_"))
        primitive: DIMSEPrimitive | C_CANCEL = kind.from_message(message)
        return primitive

    def encode_msg(self, context_id: int, max_pdu_length: int) -> Iterator[P_DATA]:
        """The message in parts, each for a PDU of its own (PS3.8 Annex E).

        Parameters
        ----------
        context_id
            The presentation context to send it on.
        max_pdu_length
            The largest PDU-length that the receiver takes, in bytes; 0 is no limit.

        Raises
        ------
        ValueError
            If an element is missing or cannot be encoded.
        """
        self.context_id = context_id
        message = self._to_message()
        data = message.data
        buffers = fragment(
            context_id,
            encode_command(message.type, message.command, data is not None),
            max_pdu_length,
            is_command=True,
        )
        if isinstance(data, bytes):
            buffers += fragment(context_id, data, max_pdu_length, is_command=False)
        for header, value in zip(buffers[::2], buffers[1::2], strict=True):
            part = P_DATA()
            # The last byte of what the fragmenter puts before a fragment is its message control header.
            part.presentation_data_value_list = [[context_id, bytes(header[-1:]) + bytes(value)]]
            yield part

    def decode_msg(self, primitive: P_DATA, assoc: Any = None) -> bool:
        """Add the next part of a received message; with the last one, the class becomes the message's.

        Parameters
        ----------
        assoc
            Accepted for compatibility.

        Returns
        -------
        bool
            Whether the message is complete.

        Raises
        ------
        ProtocolError
            If it is malformed.
        """
        for value in primitive.to_pdu().values:
            if self._assembler is None:
                context = NegotiatedContext(value.context_id, "", 0)
                self._assembler = Assembler(
                    {value.context_id: context}, lambda *_: MemorySink(_DATA_SET_LIMIT)
                )
                self.context_id = value.context_id
            message = self._assembler.add(
                Fragment(value.context_id, value.is_command, value.is_last, memoryview(value.data))
            )
            if message is not None:
                self.__class__ = _CLASSES[message.type]
                self._show(message)
                return True
        return False

    def _show(self, message: Message) -> None:
        data = message.data
        if isinstance(data, MemorySink):
            # The content, not the sink, which is emptied once nobody waits for it.
            data = data.content
        self._message = Message(message.type, message.command, message.context_id, data)
        vars(self).pop("command_set", None)
        vars(self).pop("data_set", None)

    def _to_message(self) -> Message:
        """The message as it is now, with what a user changed in the view."""
        kind = self.message_type
        if kind is None:
            raise ValueError("this is not one of the 23 messages")
        command = {
            each.keyword: plain_value(each)
            for each in self.command_set
            if each.keyword in kind.keywords and each.value is not None
        }
        content = self.data_set.getvalue() if kind.data_set else b""
        has_data_set = self.command_set.get("CommandDataSetType") not in (None, NO_DATA_SET)
        return Message(kind, command, self.context_id or 1, content if content or has_data_set else None)


def _command_set(values: dict[str, Any]) -> Dataset:
    command_set = Dataset()
    for keyword, value in values.items():
        row = PARAMETERS.get(keyword)
        if row is None:
            # It came in the command set, and has no place there.
            continue
        command_set.add(DataElement(row.tag, row.vr, value, validation_mode=IGNORE))
    return command_set


def _message_class(kind: MessageType) -> type[DIMSEMessage]:
    name = kind.name.replace("-", "_")
    section = messages.SERVICES[kind.service].protocol_section
    text = f"A {kind.name} message (PS3.7 section {section})."
    return type(name, (DIMSEMessage,), {"message_type": kind, "__doc__": text, "__module__": __name__})


C_STORE_RQ = _message_class(messages.C_STORE_RQ)
C_STORE_RSP = _message_class(messages.C_STORE_RSP)
C_FIND_RQ = _message_class(messages.C_FIND_RQ)
C_FIND_RSP = _message_class(messages.C_FIND_RSP)
C_GET_RQ = _message_class(messages.C_GET_RQ)
C_GET_RSP = _message_class(messages.C_GET_RSP)
C_MOVE_RQ = _message_class(messages.C_MOVE_RQ)
C_MOVE_RSP = _message_class(messages.C_MOVE_RSP)
C_ECHO_RQ = _message_class(messages.C_ECHO_RQ)
C_ECHO_RSP = _message_class(messages.C_ECHO_RSP)
C_CANCEL_RQ = _message_class(messages.C_CANCEL_RQ)
N_EVENT_REPORT_RQ = _message_class(messages.N_EVENT_REPORT_RQ)
N_EVENT_REPORT_RSP = _message_class(messages.N_EVENT_REPORT_RSP)
N_GET_RQ = _message_class(messages.N_GET_RQ)
N_GET_RSP = _message_class(messages.N_GET_RSP)
N_SET_RQ = _message_class(messages.N_SET_RQ)
N_SET_RSP = _message_class(messages.N_SET_RSP)
N_ACTION_RQ = _message_class(messages.N_ACTION_RQ)
N_ACTION_RSP = _message_class(messages.N_ACTION_RSP)
N_CREATE_RQ = _message_class(messages.N_CREATE_RQ)
N_CREATE_RSP = _message_class(messages.N_CREATE_RSP)
N_DELETE_RQ = _message_class(messages.N_DELETE_RQ)
N_DELETE_RSP = _message_class(messages.N_DELETE_RSP)

_CLASSES: dict[MessageType, type[DIMSEMessage]] = {
    cls.message_type: cls for cls in DIMSEMessage.__subclasses__() if cls.message_type is not None
}


def view_of(message: Message) -> DIMSEMessage:
    """The view of a message."""
    view = _CLASSES[message.type]()
    view.context_id = message.context_id
    view._show(message)
    return view
