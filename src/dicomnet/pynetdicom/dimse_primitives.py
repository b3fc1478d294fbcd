"""The twelve DIMSE primitives, a class each; its body lists the attributes, the tables of `dimse.messages` the rest.

A primitive is the user's view of a message: request and response in one object, with checked attributes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, overload

from pydicom.config import IGNORE
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from .. import _config
from ..dimse import messages
from ..dimse.messages import MESSAGE_TYPES, RESPONSE, Message
from ..dimse.parameters import DATA_SET_PARAMETERS, PARAMETERS
from .utils import set_ae, set_uid, text_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..dimse.messages import Service

LOGGER = logging.getLogger(__name__)

Got = TypeVar("Got")
Given = TypeVar("Given")
Tags = BaseTag | list[BaseTag]


class Attribute(Generic[Got, Given]):
    """An attribute of a primitive: what it takes, what it holds, and what it is before it is set.

    The base takes any value as it is. The name of the attribute is the keyword of its parameter.

    Parameters
    ----------
    default
        The value before one is set.
    """

    def __init__(self, default: Got | None = None) -> None:
        self.default = default

    def __set_name__(self, owner: type, keyword: str) -> None:
        self.keyword = self.held_as = keyword
        self.name = (PARAMETERS.get(keyword) or DATA_SET_PARAMETERS[keyword]).name
        self.__doc__ = f"{self.name}, see PS3.7 chapters 9 and 10 and Annex C."

    @overload
    def __get__(self, primitive: None, owner: type) -> Self: ...
    @overload
    def __get__(self, primitive: object, owner: type) -> Got | None: ...
    def __get__(self, primitive: object | None, owner: type) -> Self | Got | None:
        if primitive is None:
            return self
        return vars(primitive).get(self.held_as, self.default)

    def __set__(self, primitive: object, value: Given) -> None:
        vars(primitive)[self.held_as] = self.check(value)

    def check(self, value: Given) -> Got | None:
        """The value to hold where `value` is given; raises ValueError or TypeError."""
        held: Any = value
        return held  # type: ignore[no-any-return]


class Number(Attribute[int, int | None]):
    """An integer from `least` to `most`, each where there is one.

    Raises ValueError outside these limits, and TypeError for something that is not an int.
    """

    def __init__(self, least: int | None = None, most: int | None = None) -> None:
        super().__init__()
        self.least = least
        self.most = most

    def check(self, value: int | None) -> int | None:
        if value is None:
            return None
        if not isinstance(value, int):
            raise TypeError(
                f"{self.name} takes an int or None, and got a value of type {type(value).__name__}"
            )
        if self.least is not None and value < self.least:
            raise ValueError(f"{self.name} cannot be {value}, the least is {self.least}")
        if self.most is not None and value > self.most:
            raise ValueError(f"{self.name} cannot be {value}, the most is {self.most}")
        return value


class MessageNumber(Number):
    """A Message ID: 0 to 65535."""

    def __init__(self) -> None:
        super().__init__(0, 0xFFFF)


class PriorityCode(Attribute[int, int]):
    """0 (medium), 1 (high) or 2 (low), which is the default; anything else raises ValueError."""

    def __init__(self) -> None:
        super().__init__(2)

    def check(self, value: int) -> int:
        if value not in (0, 1, 2):
            LOGGER.warning("%s is left unchanged, because it was given an impossible value", self.name)
            raise ValueError(f"{self.name} is 0 (medium), 1 (high) or 2 (low)")
        return value


class UniqueIdentifier(Attribute[UID, str | bytes | None]):
    """A UID, see `dicomnet.pynetdicom.utils.set_uid`; an empty one counts as None."""

    def check(self, value: str | bytes | None) -> UID | None:
        return set_uid(value, self.name) or None


class Title(Attribute[str, str | bytes | None]):
    """An AE title that may not be empty, see `dicomnet.pynetdicom.utils.set_ae`. Bytes are deprecated."""

    def check(self, value: str | bytes | None) -> str | None:
        return set_ae(text_of(value, self.name, 4), self.name, allow_empty=False)


class TolerantTitle(Title):
    """An AE title that may be empty; one that cannot be sent is logged and counts as None."""

    def check(self, value: str | bytes | None) -> str | None:
        title = text_of(value, self.name, 4)
        try:
            return set_ae(title, self.name)
        except ValueError as error:
            LOGGER.error("%s is left out: %s", self.name, error)
            return None


class EncodedDataSet(Attribute[BytesIO, BytesIO | None]):
    """An encoded data set as BytesIO, held as it is given; anything else raises TypeError.

    Parameters
    ----------
    shared
        The attribute that is the same data set under another name: a primitive has one, of its request or response.
    """

    def __init__(self, shared: str = "") -> None:
        super().__init__()
        self.shared = shared

    def __set_name__(self, owner: type, keyword: str) -> None:
        super().__set_name__(owner, keyword)
        self.held_as = self.shared or keyword

    def check(self, value: BytesIO | None) -> BytesIO | None:
        if value is None or isinstance(value, BytesIO):
            return value
        raise TypeError(
            f"{self.name} takes a BytesIO or None, and got a value of type {type(value).__name__}"
        )


class TagList(Attribute[Tags, Any]):
    """Tags in any form that `pydicom.tag.Tag` takes, one or a sequence of them; a single one is held alone.

    Raises ValueError for something that is not a tag, and OverflowError for a number that is too large for one.
    """

    def check(self, value: Any) -> Tags | None:
        if value is None:
            return None
        try:
            return _alone([Tag(item) for item in value]) if isinstance(value, Sequence) else Tag(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.name} takes tags, one or a sequence of them, or None") from error


class Anything(Attribute[Any, Any]):
    """A value that is not checked."""


def _alone(tags: list[BaseTag]) -> Tags:
    return tags[0] if len(tags) == 1 else tags


def _sent_title(value: str) -> str:
    return value if _config.USE_SHORT_DIMSE_AET or not value.strip() else value.ljust(16)


def _sent_tags(value: Any) -> list[int]:
    is_list = isinstance(value, Sequence) and not isinstance(value, (str, tuple))
    return [Tag(item) for item in value] if is_list else [Tag(value)]


_RECEIVED: dict[str, Callable[[Any], Any]] = {
    "UI": lambda value: UID(value, IGNORE),
    "AT": lambda value: _alone([BaseTag(tag) for tag in value]),
}
"""From a message's value to an attribute's, by VR; the others are the same in both."""

_SENT: dict[str, Callable[[Any], Any]] = {"UI": str, "AE": _sent_title, "AT": _sent_tags}
"""From an attribute's value to a message's, by VR."""


class _MessageView:
    """Base of every primitive: attributes that come from and go to a `Message`."""

    _service: ClassVar[Service | None] = None

    _context_id: int | None = None
    _dataset_path: Path | tuple[Path, int] | None = None
    _dataset_file: Any = None

    def __init_subclass__(cls, service: Service | None = None) -> None:
        if service is None:
            return
        cls._service = service
        _PRIMITIVES[service.name] = cls
        table = service.parameter_table().replace("\n", "\n    ")
        legend = "\n    ".join(f"{sign:4}  {meaning}" for sign, meaning in messages.USAGES.items())
        sections = f"PS3.7 sections {service.service_section} and {service.protocol_section}."
        cls.__doc__ = f"{cls.__doc__}\n\n    {sections}\n\n    {table}\n\n    {legend}\n    "

    @classmethod
    def from_message(cls, message: Message) -> Self:
        """The primitive that shows a message, with the values as the peer sent them.

        A data set in memory becomes a BytesIO; one that lies elsewhere is shown as an empty BytesIO.

        Raises
        ------
        ValueError
            Where the message belongs to another service than this class.
        """
        kind = _PRIMITIVES[message.type.service] if cls._service is None else cls
        primitive = kind()
        if not isinstance(primitive, cls) or kind._service is not messages.SERVICES[message.type.service]:
            raise ValueError(f"{cls.__name__} cannot show a {message.type.name} message")
        held = vars(primitive)
        for keyword, value in message.command.items():
            if keyword not in PARAMETERS:
                # It came in the command set, and has no place there.
                continue
            convert = _RECEIVED.get(PARAMETERS[keyword].vr)
            held[keyword] = convert(value) if convert else value
        if message.type.data_set is not None and message.data is not None:
            setattr(primitive, message.type.data_set, _as_bytes_io(message.data))
        primitive._context_id = message.context_id
        return primitive

    def to_message(self, context_id: int) -> Message:
        """The message that conveys this primitive: a response if it has a Message ID Being Responded To.

        Parameters
        ----------
        context_id
            The presentation context to send it on.

        Raises
        ------
        TypeError
            For a class that is not one of the twelve.
        """
        if self._service is None:
            raise TypeError(f"{type(self).__name__} belongs to no DIMSE service")
        message_type = MESSAGE_TYPES[self._service.command_field]
        if getattr(self, "MessageIDBeingRespondedTo", None) is not None:
            message_type = MESSAGE_TYPES.get(self._service.command_field | RESPONSE, message_type)
        command = {}
        for row in message_type.parameters:
            value = getattr(self, row.parameter.keyword, None)
            if value is not None:
                convert = _SENT.get(row.parameter.vr)
                command[row.parameter.keyword] = convert(value) if convert else value
        data = getattr(self, message_type.data_set, None) if message_type.data_set else None
        return Message(message_type, command, context_id, None if data is None else data.getvalue())


_PRIMITIVES: dict[str, type[Any]] = {}


def _as_bytes_io(data: object) -> BytesIO:
    if isinstance(data, BytesIO):
        return data
    return BytesIO(data) if isinstance(data, (bytes, bytearray, memoryview)) else BytesIO()


class DIMSEPrimitive(_MessageView):
    """Base of the primitives of the confirmed services."""

    REQUEST_KEYWORDS: ClassVar[tuple[str, ...]] = ()
    RESPONSE_KEYWORDS: ClassVar[tuple[str, ...]] = ("MessageIDBeingRespondedTo", "Status")
    STATUS_OPTIONAL_KEYWORDS: ClassVar[tuple[str, ...]] = ()

    MessageID = MessageNumber()
    MessageIDBeingRespondedTo = MessageNumber()
    AffectedSOPClassUID = UniqueIdentifier()
    Status = Number()

    @property
    def is_valid_request(self) -> bool:
        """Whether each attribute of `REQUEST_KEYWORDS` has a value."""
        return all(getattr(self, keyword) is not None for keyword in self.REQUEST_KEYWORDS)

    @property
    def is_valid_response(self) -> bool:
        """Whether each attribute of `RESPONSE_KEYWORDS` has a value."""
        return all(getattr(self, keyword) is not None for keyword in self.RESPONSE_KEYWORDS)

    @property
    def msg_type(self) -> str:
        """The name of the class as PS3.7 writes it, for instance ``C-STORE``."""
        return type(self).__name__.replace("_", "-")


class C_ECHO(DIMSEPrimitive, service=messages.C_ECHO):
    """Verify that the peer answers."""

    REQUEST_KEYWORDS = ("MessageID", "AffectedSOPClassUID")
    STATUS_OPTIONAL_KEYWORDS = ("ErrorComment",)

    ErrorComment = Anything()


class C_STORE(DIMSEPrimitive, service=messages.C_STORE):
    """Store a composite SOP instance."""

    REQUEST_KEYWORDS = ("MessageID", "AffectedSOPClassUID", "AffectedSOPInstanceUID", "Priority", "DataSet")
    STATUS_OPTIONAL_KEYWORDS = ("OffendingElement", "ErrorComment")

    AffectedSOPInstanceUID = UniqueIdentifier()
    Priority = PriorityCode()
    MoveOriginatorApplicationEntityTitle = TolerantTitle()
    MoveOriginatorMessageID = MessageNumber()
    DataSet = EncodedDataSet()
    OffendingElement = Anything()
    ErrorComment = Anything()


class C_FIND(DIMSEPrimitive, service=messages.C_FIND):
    """Match attributes against the SOP instances that the peer knows."""

    REQUEST_KEYWORDS = ("MessageID", "AffectedSOPClassUID", "Priority", "Identifier")
    STATUS_OPTIONAL_KEYWORDS = ("OffendingElement", "ErrorComment")

    Priority = PriorityCode()
    Identifier = EncodedDataSet()
    OffendingElement = Anything()
    ErrorComment = Anything()


class C_GET(DIMSEPrimitive, service=messages.C_GET):
    """Retrieve the SOP instances that match, over the same association."""

    REQUEST_KEYWORDS = ("MessageID", "AffectedSOPClassUID", "Priority", "Identifier")
    STATUS_OPTIONAL_KEYWORDS = (
        "ErrorComment",
        "OffendingElement",
        "NumberOfRemainingSuboperations",
        "NumberOfCompletedSuboperations",
        "NumberOfFailedSuboperations",
        "NumberOfWarningSuboperations",
    )

    Priority = PriorityCode()
    Identifier = EncodedDataSet()
    NumberOfRemainingSuboperations = Number(0)
    NumberOfCompletedSuboperations = Number(0)
    NumberOfFailedSuboperations = Number(0)
    NumberOfWarningSuboperations = Number(0)
    OffendingElement = Anything()
    ErrorComment = Anything()


class C_MOVE(DIMSEPrimitive, service=messages.C_MOVE):
    """Have the peer send the SOP instances that match to a third application entity."""

    REQUEST_KEYWORDS = ("MessageID", "AffectedSOPClassUID", "Priority", "Identifier", "MoveDestination")
    STATUS_OPTIONAL_KEYWORDS = C_GET.STATUS_OPTIONAL_KEYWORDS

    Priority = PriorityCode()
    MoveDestination = Title()
    Identifier = EncodedDataSet()
    NumberOfRemainingSuboperations = Number(0)
    NumberOfCompletedSuboperations = Number(0)
    NumberOfFailedSuboperations = Number(0)
    NumberOfWarningSuboperations = Number(0)
    OffendingElement = Anything()
    ErrorComment = Anything()


class C_CANCEL(_MessageView, service=messages.C_CANCEL):
    """Ask that a C-FIND, C-GET or C-MOVE end early; nothing confirms it."""

    MessageIDBeingRespondedTo = MessageNumber()


class N_EVENT_REPORT(DIMSEPrimitive, service=messages.N_EVENT_REPORT):
    """Report an event about a SOP instance."""

    REQUEST_KEYWORDS = ("MessageID", "AffectedSOPClassUID", "EventTypeID", "AffectedSOPInstanceUID")
    STATUS_OPTIONAL_KEYWORDS = (
        "AffectedSOPClassUID",
        "AffectedSOPInstanceUID",
        "EventTypeID",
        "ErrorComment",
        "ErrorID",
    )

    AffectedSOPInstanceUID = UniqueIdentifier()
    EventTypeID = Number()
    EventInformation = EncodedDataSet()
    EventReply = EncodedDataSet("EventInformation")
    ErrorComment = Anything()
    ErrorID = Anything()


class N_GET(DIMSEPrimitive, service=messages.N_GET):
    """Get attributes of a SOP instance."""

    REQUEST_KEYWORDS = ("MessageID", "RequestedSOPClassUID", "RequestedSOPInstanceUID")
    STATUS_OPTIONAL_KEYWORDS = ("AttributeIdentifierList", "ErrorComment", "ErrorID")

    RequestedSOPClassUID = UniqueIdentifier()
    RequestedSOPInstanceUID = UniqueIdentifier()
    AttributeIdentifierList = TagList()
    AffectedSOPInstanceUID = UniqueIdentifier()
    AttributeList = EncodedDataSet()
    ErrorComment = Anything()
    ErrorID = Anything()


class N_SET(DIMSEPrimitive, service=messages.N_SET):
    """Modify attributes of a SOP instance."""

    REQUEST_KEYWORDS = ("MessageID", "RequestedSOPClassUID", "RequestedSOPInstanceUID", "ModificationList")
    STATUS_OPTIONAL_KEYWORDS = ("ErrorComment", "ErrorID", "AttributeIdentifierList")

    RequestedSOPClassUID = UniqueIdentifier()
    RequestedSOPInstanceUID = UniqueIdentifier()
    ModificationList = EncodedDataSet()
    AffectedSOPInstanceUID = UniqueIdentifier()
    AttributeList = EncodedDataSet("ModificationList")
    AttributeIdentifierList = Anything()
    ErrorComment = Anything()
    ErrorID = Anything()


class N_ACTION(DIMSEPrimitive, service=messages.N_ACTION):
    """Have an action performed on a SOP instance."""

    REQUEST_KEYWORDS = ("MessageID", "RequestedSOPClassUID", "RequestedSOPInstanceUID", "ActionTypeID")
    STATUS_OPTIONAL_KEYWORDS = ("ErrorComment", "ErrorID", "AttributeIdentifierList")

    RequestedSOPClassUID = UniqueIdentifier()
    RequestedSOPInstanceUID = UniqueIdentifier()
    ActionTypeID = Number()
    ActionInformation = EncodedDataSet()
    AffectedSOPInstanceUID = UniqueIdentifier()
    ActionReply = EncodedDataSet("ActionInformation")
    AttributeIdentifierList = Anything()
    ErrorComment = Anything()
    ErrorID = Anything()


class N_CREATE(DIMSEPrimitive, service=messages.N_CREATE):
    """Create a SOP instance."""

    REQUEST_KEYWORDS = ("MessageID", "AffectedSOPClassUID")
    STATUS_OPTIONAL_KEYWORDS = ("ErrorComment", "ErrorID")

    AffectedSOPInstanceUID = UniqueIdentifier()
    AttributeList = EncodedDataSet()
    ErrorComment = Anything()
    ErrorID = Anything()


class N_DELETE(DIMSEPrimitive, service=messages.N_DELETE):
    """Delete a SOP instance."""

    REQUEST_KEYWORDS = ("MessageID", "RequestedSOPClassUID", "RequestedSOPInstanceUID")
    STATUS_OPTIONAL_KEYWORDS = ("ErrorComment", "ErrorID")

    RequestedSOPClassUID = UniqueIdentifier()
    RequestedSOPInstanceUID = UniqueIdentifier()
    AffectedSOPInstanceUID = UniqueIdentifier()
    ErrorComment = Anything()
    ErrorID = Anything()
