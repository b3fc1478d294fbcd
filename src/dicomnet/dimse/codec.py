"""Command sets from and to bytes (PS3.7 section 6.3.1): Implicit VR Little Endian, group 0000, ascending tags.

Which elements a message has stands in `messages`; the plans below are made from those tables.
"""

from __future__ import annotations

import logging
from functools import lru_cache, partial
from operator import call, itemgetter
from struct import Struct, error, unpack
from typing import TYPE_CHECKING, Any, Final

from ..errors import ProtocolError
from .messages import C_GET_RSP, C_MOVE_RSP, MESSAGE_TYPES, UNRECOGNISED
from .parameters import COMMAND_ELEMENTS, DATA_SET_PRESENT, NO_DATA_SET, PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .messages import MessageType
    from .parameters import Parameter

    Encoder = Callable[[Any], bytes]
    Decoder = Callable[[bytes], Any]

_log = logging.getLogger(__name__)

MAX_COMMENT: Final = 64
"""Characters that an LO value, such as Error Comment (0000,0902), may have."""

_MAX_UID: Final = 64
_PRIORITY: Final = "Priority"
_MEDIUM: Final = 0
# Of the fragments of a command set no more bytes are taken; see `assembler`.
_ANY_LENGTH: Final = 1 << 16
_SOP_CLASSES: Final = (PARAMETERS["AffectedSOPClassUID"].tag, PARAMETERS["RequestedSOPClassUID"].tag)
_MAX_AE_TITLE: Final = 16
FAILED_LIST: Final = "FailedSOPInstanceUIDList"
"""A key that the command of a C-GET-RSP or C-MOVE-RSP may have besides the keywords of its type: what Orthanc puts
there, and not into the Identifier. Several UIDs have a backslash between them."""
_FAILED_LIST_TAG: Final = 0x00080058
_HEADER = Struct("<HHL").pack
_US_ELEMENT = Struct("<HHLH").pack
_UL_ELEMENT = Struct("<HHLL").pack
_TAG_AND_LENGTH = Struct("<LL").unpack_from


class UnknownCommand(ProtocolError):
    """A command set whose Command Field (0000,0100) names none of the 23 messages.

    A request can be answered with status 0211H instead of an A-ABORT (PS3.7 Annex C).

    Parameters
    ----------
    command_field
        The value of Command Field.
    message_id
        The value of Message ID (0000,0110), or None where there is none.
    has_data_set
        Whether a data set follows.
    """

    def __init__(self, command_field: int, message_id: int | None, has_data_set: bool) -> None:
        super().__init__(f"command field 0x{command_field:04X} is unknown")
        self.command_field = command_field
        self.message_id = message_id
        self.has_data_set = has_data_set

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.command_field, self.message_id, self.has_data_set)


class MalformedCommand(ProtocolError):
    """A command set that lacks an element which its message must hold, or holds a value that it cannot have.

    A request whose Message ID is known can be answered with a status instead of an A-ABORT.

    Parameters
    ----------
    type
        Which message.
    command
        Its elements, as far as they are known; UIDs as they came.
    has_data_set
        Whether a data set follows.
    malformed, missing
        Keywords of the elements that are wrong, and of those that are not there.
    """

    def __init__(
        self,
        type: MessageType,
        command: dict[str, Any],
        has_data_set: bool,
        malformed: Sequence[str],
        missing: Sequence[str],
    ) -> None:
        if malformed:
            text = f"{', '.join(malformed)} of {type.name} is malformed"
        else:
            text = f"{type.name} lacks {', '.join(missing)}"
        super().__init__(text)
        self.type = type
        self.command = command
        self.has_data_set = has_data_set
        self.malformed = tuple(malformed)
        self.missing = tuple(missing)

    def __reduce__(self) -> tuple[Any, ...]:
        values = self.type, self.command, self.has_data_set, self.malformed, self.missing
        return self.__class__, values

    @property
    def can_be_answered(self) -> bool:
        """Whether there is a response to it, and the Message ID that belongs into that."""
        return self.type.has_response and "MessageID" in self.command


def _encode_us(element: int) -> Encoder:
    return partial(_US_ELEMENT, 0, element, 2)


def _encode_ui(element: int, codec: str = "ascii", most: int = _MAX_UID) -> Encoder:
    def encode(value: str) -> bytes:
        raw = value.encode(codec)
        length = len(raw)
        if length > most:
            raise ValueError(f"a UID has at most {most} characters")
        if length & 1:
            return _HEADER(0, element, length + 1) + raw + b"\0"
        return _HEADER(0, element, length) + raw if length else b""

    if element not in _SOP_CLASSES:
        return encode
    # There are few SOP classes, and as many instances as there are messages.
    cached = lru_cache(maxsize=256)(encode)
    # What strangers send must not fill the memory.
    return cached if most == _MAX_UID else lambda value: (cached if len(value) <= _MAX_UID else encode)(value)


def _encode_ui_as_it_came(element: int) -> Encoder:
    """For responses, which repeat the UIDs of their requests, whatever those are."""
    return _encode_ui(element, "latin-1", _ANY_LENGTH)


def _encode_ae(element: int) -> Encoder:
    def encode(value: str) -> bytes:
        if len(value) > _MAX_AE_TITLE or "\\" in value or not (value.isascii() and value.isprintable()):
            raise ValueError("an AE title has at most 16 printable ASCII characters and no backslash")
        return _encode_text(element, value) if value.strip(" ") else b""

    return encode


def _encode_lo(element: int) -> Encoder:
    def encode(value: str) -> bytes:
        plain = (c if " " <= c <= "~" and c != "\\" else "?" for c in value[:MAX_COMMENT])
        return _encode_text(element, "".join(plain)) if value else b""

    return encode


def _encode_text(element: int, value: str) -> bytes:
    raw = value.encode("ascii")
    if len(raw) & 1:
        raw += b" "
    return _HEADER(0, element, len(raw)) + raw


def _encode_at(element: int) -> Encoder:
    def encode(value: Iterable[int]) -> bytes:
        halves = [half for tag in value for half in (tag >> 16, tag & 0xFFFF)]
        if not halves:
            return b""
        return Struct(f"<HHL{len(halves)}H").pack(0, element, 2 * len(halves), *halves)

    return encode


def _decode_us(value: bytes) -> int | None:
    if len(value) != 2:
        if not value:
            return None
        raise ValueError
    return value[0] | value[1] << 8


def _decode_ui(value: bytes) -> str | None:
    text = value.decode("ascii").rstrip(" \0")
    if len(text) > _MAX_UID:
        raise ValueError
    return text or None


def _decode_ui_as_it_came(value: bytes) -> str | None:
    return value.decode("latin-1").rstrip(" \0") or None


def _decode_text(value: bytes) -> str | None:
    return value.decode("latin-1").strip(" \0") or None


def _decode_at(value: bytes) -> list[int] | None:
    if len(value) % 4:
        raise ValueError
    halves = unpack(f"<{len(value) // 2}H", value)
    return [group << 16 | element for group, element in zip(halves[::2], halves[1::2], strict=True)] or None


_ENCODERS: Mapping[str, Callable[[int], Encoder]] = {
    "US": _encode_us,
    "UI": _encode_ui,
    "AE": _encode_ae,
    "LO": _encode_lo,
    "AT": _encode_at,
}
_ENCODERS_OF_RESPONSES = {**_ENCODERS, "UI": _encode_ui_as_it_came}
_DECODERS: Mapping[str, Decoder] = {
    "US": _decode_us,
    "UI": _decode_ui,
    "AE": _decode_text,
    "LO": _decode_text,
    "AT": _decode_at,
}
_COMMAND_FIELD = PARAMETERS["CommandField"].tag
_DATA_SET_TYPE = PARAMETERS["CommandDataSetType"].tag

# A segment is a run of rows and the constant element after it. Three make a command set: the rows below Command
# Field, those below Command Data Set Type, and those above it.
_Segment = tuple[tuple[tuple[str, "Encoder", bool], ...], bytes]


_OF_REQUESTS, _OF_RESPONSES = (
    {p.keyword: by_vr[p.vr](p.tag) for p in COMMAND_ELEMENTS if p.vr != "UL"}
    for by_vr in (_ENCODERS, _ENCODERS_OF_RESPONSES)
)


def _segments(message_type: MessageType, has_data_set: bool) -> tuple[_Segment, ...]:
    encoders = _OF_RESPONSES if message_type.is_response else _OF_REQUESTS

    def rows(above: int, below: int) -> tuple[tuple[str, Encoder, bool], ...]:
        fields = [f for f in message_type.parameters if above < f.parameter.tag < below]
        return tuple((f.parameter.keyword, encoders[f.parameter.keyword], f.is_required) for f in fields)

    data_set_type = DATA_SET_PRESENT if has_data_set else NO_DATA_SET
    return (
        (rows(-1, _COMMAND_FIELD), encoders["CommandField"](message_type.command_field)),
        (rows(_COMMAND_FIELD, _DATA_SET_TYPE), encoders["CommandDataSetType"](data_set_type)),
        (rows(_DATA_SET_TYPE, 0x10000), b""),
    )


def _encoding_plans() -> dict[tuple[int, bool], tuple[_Segment, ...]]:
    def choices(message_type: MessageType) -> tuple[bool, ...]:
        if message_type.data_set_required:
            return (True,)
        return (False, True) if message_type.data_set else (False,)

    return {(t.command_field, has): _segments(t, has) for t in MESSAGE_TYPES.values() for has in choices(t)}


def _wire_order(tag: int) -> int:
    """The tag as its four bytes on the wire read as one little-endian number."""
    return tag >> 16 | (tag & 0xFFFF) << 16


def _decoding_plans() -> dict[int, dict[int, tuple[str, Decoder]]]:
    decode_sop_class = lru_cache(maxsize=64)(_decode_ui)

    def plan(parameters: Iterable[Parameter]) -> dict[int, tuple[str, Decoder]]:
        return {
            _wire_order(p.tag): (p.keyword, decode_sop_class if p.tag in _SOP_CLASSES else _DECODERS[p.vr])
            for p in parameters
        }

    plans = {t.command_field: plan(row.parameter for row in t.parameters) for t in MESSAGE_TYPES.values()}
    for response in (C_GET_RSP, C_MOVE_RSP):
        plans[response.command_field][_wire_order(_FAILED_LIST_TAG)] = FAILED_LIST, _decode_text
    return plans


_ENCODING = _encoding_plans()
_DECODING = _decoding_plans()
_WIRE_COMMAND_FIELD = _wire_order(_COMMAND_FIELD)
_WIRE_DATA_SET_TYPE = _wire_order(_DATA_SET_TYPE)
_WIRE_MESSAGE_ID = _wire_order(PARAMETERS["MessageID"].tag)


def encode_command(type: MessageType, command: Mapping[str, Any], has_data_set: bool) -> bytes:
    """Encode a command set, with Command Group Length, Command Field and Command Data Set Type.

    Parameters
    ----------
    type
        Which message.
    command
        Keyword to value, see `dicomnet.dimse.messages.Message`. An element whose value is None or empty is left
        out. Of an LO value, 64 characters are sent, and a question mark for each that LO does not allow.
    has_data_set
        Whether a data set will follow.

    Raises
    ------
    ValueError
        Where an element is missing, is not one of this message, or has a value that it cannot have, or
        where this message must not or must be followed by a data set.
    """
    kind = (type, has_data_set, *command)
    form = _forms.get(kind)
    if form is not None and (encoded := form.encode(command)) is not None:
        return encoded
    segments = _ENCODING.get((type.command_field, has_data_set))
    if segments is None and type.service is UNRECOGNISED:
        segments = _segments(type, has_data_set)
    if segments is None:
        raise ValueError(f"{type.name} {'has no' if has_data_set else 'must have a'} data set")
    parts = []
    count = 0
    keyword = ""
    try:
        for rows, constant in segments:
            for keyword, encode, is_required in rows:
                value = command.get(keyword)
                part = b"" if value is None else encode(value)
                if part:
                    parts.append(part)
                    count += 1
                elif is_required:
                    raise ValueError("a value is required")
            parts.append(constant)
    except (ValueError, TypeError, AttributeError, error) as cause:
        raise ValueError(f"{keyword} of {type.name} cannot be encoded: {cause}") from cause
    if count != len(command):
        _refuse_foreign(type, command)
    elif count > 1 and len(_forms) < _MOST_FORMS and type.service is not UNRECOGNISED:
        _forms[kind] = _Form(segments, command)
    body = b"".join(parts)
    return _UL_ELEMENT(0, 0, 4, len(body)) + body


def _refuse_foreign(type: MessageType, command: Mapping[str, Any]) -> None:
    for keyword, value in command.items():
        if value is not None and keyword not in type.keywords:
            raise ValueError(f"{keyword} is not an element of {type.name}")


class _Form:
    """A command set whose elements are known, and whose values are to be filled in.

    It makes 65 bytecodes of the 230 in which a C-ECHO-RQ or its response is encoded: one part in 14 of a C-ECHO.

    Parameters
    ----------
    segments
        Of its message.
    command
        One that could be encoded, with no value left out.
    """

    __slots__ = ("_encoders", "_template", "_values_of")

    def __init__(self, segments: Iterable[_Segment], command: Mapping[str, Any]) -> None:
        template = b""
        encoders: list[Encoder] = []
        keywords: list[str] = []
        for rows, constant in segments:
            present = [(keyword, encode) for keyword, encode, _ in rows if keyword in command]
            keywords += (keyword for keyword, _ in present)
            encoders += (encode for _, encode in present)
            template += b"%b" * len(present) + constant.replace(b"%", b"%%")
        self._template = template
        self._encoders = tuple(encoders)
        self._values_of = itemgetter(*keywords)

    def encode(self, command: Mapping[str, Any]) -> bytes | None:
        """The command set, or None where a value is missing or wrong."""
        try:
            parts = tuple(map(call, self._encoders, self._values_of(command)))
        except (ValueError, TypeError, AttributeError, error):
            return None
        if b"" in parts:
            return None
        body = self._template % parts
        return _UL_ELEMENT(0, 0, 4, len(body)) + body


# By the message, whether a data set follows, and the keywords in the order in which they are given. What strangers
# make us answer must not fill the memory.
_forms: dict[tuple[object, ...], _Form] = {}
_MOST_FORMS = 256


def decode_command(data: bytes | bytearray | memoryview) -> tuple[MessageType, dict[str, Any], bool]:
    """Decode a command set.

    An element that the message does not have is skipped, of whatever group it is; an element without a value is taken
    as absent, and so is an optional one whose value makes no sense, unless it says what a request asks for. A Priority
    that is absent or makes no sense is MEDIUM. A UID of a response is kept as it came. Neither the order of the
    elements nor the value of Command Group Length matters.

    Parameters
    ----------
    data
        The command fragments of one message, joined.

    Returns
    -------
    tuple[MessageType, dict[str, Any], bool]
        Which message; its elements, see `dicomnet.dimse.messages.Message`; whether a data set follows.

    Raises
    ------
    UnknownCommand
        Where Command Field names no message.
    MalformedCommand
        Where it lacks an element that the message must hold, or one is malformed.
    ProtocolError
        Where it is no sequence of elements, or does not say which message it is and whether a data set follows.
    """
    for layout in _layouts.get(len(data), ()):
        decoded = layout.decode(data)
        if decoded is not None:
            return decoded
    return _decode_element_by_element(bytes(data))


def _decode_element_by_element(data: bytes) -> tuple[MessageType, dict[str, Any], bool]:
    elements, repeated = _split(data)
    command_field = _decode_frame(elements, _WIRE_COMMAND_FIELD, "CommandField")
    has_data_set = _decode_frame(elements, _WIRE_DATA_SET_TYPE, "CommandDataSetType") != NO_DATA_SET
    message_type = MESSAGE_TYPES.get(command_field)
    if message_type is None:
        message_id = elements.get(_WIRE_MESSAGE_ID) or b""
        known = int.from_bytes(message_id, "little") if len(message_id) == 2 else None
        raise UnknownCommand(command_field, known, has_data_set)
    command, malformed = _decode_values(elements, _DECODING[command_field])
    has_priority = _PRIORITY not in message_type.required or _PRIORITY in command
    if not has_priority:
        # It has no effect here, and some peers leave it out.
        _log.debug("a %s has no valid Priority: taken as MEDIUM", message_type.name)
        command[_PRIORITY] = _MEDIUM
        malformed = [keyword for keyword in malformed if keyword != _PRIORITY]
    faults = [keyword for keyword in malformed if _matters(keyword, message_type)]
    if faults or not command.keys() >= message_type.required:
        missing = message_type.missing(command)
        raise MalformedCommand(message_type, command, has_data_set, faults, missing)
    if len(data) <= _LONGEST_LEARNED and len(command) > 1 and has_priority and not (malformed or repeated):
        layouts = _layouts.setdefault(len(data), [])
        if len(layouts) < _LAYOUTS_A_LENGTH:
            layouts.append(_Layout(elements, message_type, command, has_data_set))
    return message_type, command, has_data_set


def _decode_values(
    elements: Mapping[int, bytes | None], decoders: Mapping[int, tuple[str, Decoder]]
) -> tuple[dict[str, Any], list[str]]:
    """The values by keyword, and the keywords of those that are malformed; a UID is kept all the same."""
    command: dict[str, Any] = {}
    malformed: list[str] = []
    for tag, raw in elements.items():
        row = decoders.get(tag)
        if row is None:
            continue
        keyword, decode = row
        value = None
        if raw is None:
            malformed.append(keyword)
        else:
            try:
                value = decode(raw)
            except ValueError:
                malformed.append(keyword)
                if PARAMETERS[keyword].vr == "UI":
                    value = _decode_ui_as_it_came(raw)
        if value is not None:
            command[keyword] = value
    return command, malformed


def _matters(keyword: str, message_type: MessageType) -> bool:
    """Whether a message with a malformed element is malformed itself."""
    vr = PARAMETERS[keyword].vr if keyword in PARAMETERS else ""
    if message_type.is_response:
        return keyword in message_type.required and vr != "UI"
    # Without its UID or its list of tags, a request would ask for something else.
    return keyword in message_type.required or vr in ("UI", "AT")


class _Layout:
    """Where the elements of a command set lie. What a peer sends of one kind differs in its values only.

    It makes 3.1 us of the 5.4 in which a C-STORE-RQ is decoded, and 4.1 of 5.3 for its response: one part in 25 of a
    C-ECHO.

    Parameters
    ----------
    elements
        Of a command set that was decoded.
    type, command, has_data_set
        What it was decoded to.
    """

    __slots__ = (
        "_decoders",
        "_fixed",
        "_fixed_of",
        "_has_data_set",
        "_keywords",
        "_type",
        "_unpack",
        "_values_of",
    )

    def __init__(
        self,
        elements: Mapping[int, bytes | None],
        type: MessageType,
        command: Mapping[str, Any],
        has_data_set: bool,
    ) -> None:
        code = "<"
        fixed: list[tuple[int, int | bytes]] = []
        rows: list[tuple[int, str, Decoder]] = []
        decoders = _DECODING[type.command_field]
        for number, (tag, value) in enumerate(elements.items()):
            raw = value or b""
            keyword, decode = decoders.get(tag, ("", None))
            is_number = decode is _decode_us and keyword in command
            code += "LLH" if is_number else f"LL{len(raw)}s"
            fixed += ((3 * number, tag), (3 * number + 1, len(raw)))
            if decode is not None and keyword in command:
                rows.append((3 * number + 2, keyword, decode))
            elif tag in (_WIRE_COMMAND_FIELD, _WIRE_DATA_SET_TYPE):
                fixed.append((3 * number + 2, raw))
        self._unpack = Struct(code).unpack
        self._fixed_of = itemgetter(*(at for at, _ in fixed))
        self._fixed = tuple(content for _, content in fixed)
        self._values_of = itemgetter(*(at for at, _, _ in rows))
        self._keywords = tuple(keyword for _, keyword, _ in rows)
        # Struct has decoded the numbers.
        self._decoders = tuple(int if decode is _decode_us else decode for _, _, decode in rows)
        self._type = type
        self._has_data_set = has_data_set

    def decode(self, data: bytes | bytearray | memoryview) -> tuple[MessageType, dict[str, Any], bool] | None:
        """The message, or None where it is another one or wrong."""
        found = self._unpack(data)
        if self._fixed_of(found) != self._fixed:
            return None
        try:
            values = tuple(map(call, self._decoders, self._values_of(found)))
        except ValueError:
            return None
        if None in values:
            return None
        return self._type, dict(zip(self._keywords, values, strict=True)), self._has_data_set


# By the length of the command set, in bytes. What strangers send must not fill the memory: neither long ones are
# learned, which may have thousands of elements, nor many of one length.
_layouts: dict[int, list[_Layout]] = {}
_LONGEST_LEARNED = 512
_LAYOUTS_A_LENGTH = 4


def _split(data: bytes) -> tuple[dict[int, bytes | None], bool]:
    """The elements in their order, by `_wire_order` of their tags, and whether one is there more than once.

    The value of one that is there with different values is None.
    """
    elements: dict[int, bytes | None] = {}
    has_repeated = False
    position, end = 0, len(data)
    try:
        while position < end:
            tag, length = _TAG_AND_LENGTH(data, position)
            start = position + 8
            position = start + length
            if position > end:
                raise ProtocolError("the command set ends within an element")
            value: bytes | None = data[start:position]
            if tag in elements:
                has_repeated = True
                value = value if value == elements[tag] else None
            elements[tag] = value
    except error:
        raise ProtocolError("the command set ends within an element") from None
    return elements, has_repeated


def _decode_frame(elements: Mapping[int, bytes | None], tag: int, keyword: str) -> int:
    """Command Field or Command Data Set Type, which every command set has."""
    value = elements.get(tag)
    if value is None or len(value) != 2:
        raise ProtocolError(
            f"{keyword} is {'missing' if tag not in elements or value == b'' else 'malformed'}"
        )
    return value[0] | value[1] << 8
