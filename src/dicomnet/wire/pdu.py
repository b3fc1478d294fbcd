"""The seven protocol data units of PS3.8 section 9.3."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import ClassVar, Protocol, Self, TypeVar

from .. import _config
from ..errors import ProtocolError
from ..values import field, frozen
from .fields import (
    UNRECOGNISED_PDU,
    Cursor,
    ae_title_bytes,
    check_uid,
    note,
    received,
    text_from,
    uid_from,
    uid_item,
)
from .items import (
    APPLICATION_CONTEXT,
    USER_INFORMATION,
    ContextResult,
    ProposedContext,
    UserIdentityAC,
    UserIdentityRQ,
    UserItem,
    decode_user_information,
    encode_user_information,
)

C = TypeVar("C", ProposedContext, ContextResult)

DICOM_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
HEADER_LENGTH = 6
DATA_VALUE_HEADER_LENGTH = 6


class PDU(Protocol):
    """A protocol data unit."""

    pdu_type: ClassVar[int]

    def encode(self) -> bytes:
        """The whole PDU with its header."""
        ...

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """Decode the bytes after the six-byte header; raises ProtocolError if they are not valid."""
        ...


# The most presentation contexts of a request: their IDs are the odd numbers of a byte (PS3.8 Table 9-13).
MAXIMUM_CONTEXTS = 128


@frozen
class AssociateRQ:
    """A-ASSOCIATE-RQ (PS3.8 section 9.3.2).

    Parameters
    ----------
    called_ae_title, calling_ae_title
        1 to 16 characters, without padding; of a peer as they came, up to the first NUL.
    contexts
        Proposed presentation contexts, at least one, each with an ID of its own; of a peer any.
    user_items
        Sub-items of the user information item.
    application_context
        UID; of a peer as it came, empty where there is none.
    protocol_version
        A bit mask; bit 0 stands for version 1.
    as_received
        The 64 bytes of AE titles and reserved field that the A-ASSOCIATE-AC has to repeat.
    faults
        What was wrong in a received PDU and was left out, in words.
    """

    pdu_type: ClassVar[int] = 0x01
    called_ae_title: str
    calling_ae_title: str
    contexts: tuple[ProposedContext, ...]
    user_items: tuple[UserItem, ...]
    application_context: str = DICOM_APPLICATION_CONTEXT
    protocol_version: int = 1
    as_received: bytes = field(default=b"", compare=False, repr=False)
    faults: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        ae_title_bytes(self.called_ae_title, "the called AE title")
        ae_title_bytes(self.calling_ae_title, "the calling AE title")
        check_uid(self.application_context, "the application context")
        if not self.contexts:
            raise ValueError("an association request needs at least one presentation context")
        if len({context.context_id for context in self.contexts}) != len(self.contexts):
            raise ValueError("an association request uses a presentation context ID twice")

    def encode(self) -> bytes:
        if self.as_received:
            return _encode_associate(self, self.as_received, self.contexts)
        titles = ae_title_bytes(self.called_ae_title, "the called AE title") + ae_title_bytes(
            self.calling_ae_title, "the calling AE title"
        )
        return _encode_associate(self, titles + bytes(32), self.contexts)

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        what = "the A-ASSOCIATE-RQ PDU"
        cursor = Cursor(body, what)
        version = cursor.u16()
        cursor.skip(2)
        fixed = cursor.read(64)
        application, contexts, user_items, faults = _decode_variable(cursor, ProposedContext)
        return received(
            cls,
            text_from(fixed[:16]),
            text_from(fixed[16:32]),
            contexts,
            user_items,
            application,
            version,
            bytes(fixed),
            faults,
        )


@frozen
class AssociateAC:
    """A-ASSOCIATE-AC (PS3.8 section 9.3.3).

    Parameters
    ----------
    contexts
        One result for each proposed presentation context.
    user_items
        Sub-items of the user information item.
    reserved
        The 64 bytes that repeat the request's (``as_received``); never tested when received.
    faults
        What was wrong in a received PDU and was left out, in words.
    """

    pdu_type: ClassVar[int] = 0x02
    contexts: tuple[ContextResult, ...]
    user_items: tuple[UserItem, ...]
    reserved: bytes = bytes(64)
    application_context: str = DICOM_APPLICATION_CONTEXT
    protocol_version: int = 1
    faults: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        check_uid(self.application_context, "the application context")
        if len(self.reserved) != 64:
            raise ValueError(f"the reserved field must have 64 bytes, not {len(self.reserved)}")

    def encode(self) -> bytes:
        return _encode_associate(self, self.reserved, self.contexts)

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        cursor = Cursor(body, "the A-ASSOCIATE-AC PDU")
        version = cursor.u16()
        cursor.skip(2)
        reserved = bytes(cursor.read(64))
        application, contexts, user_items, faults = _decode_variable(cursor, ContextResult)
        return received(cls, contexts, user_items, reserved, application, version, faults)


@frozen
class AssociateRJ:
    """A-ASSOCIATE-RJ (PS3.8 section 9.3.4).

    Parameters
    ----------
    result
        1 permanent, 2 transient.
    source
        1 service user, 2 provider (ACSE), 3 provider (presentation).
    reason
        The diagnostic of Table 9-21.
    """

    pdu_type: ClassVar[int] = 0x03
    result: int
    source: int
    reason: int

    def encode(self) -> bytes:
        return _encode_four(self, bytes((0, self.result, self.source, self.reason)))

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        content = _decode_four(body, "the A-ASSOCIATE-RJ PDU")
        return cls(content[1], content[2], content[3])


# The rejection of an association that is one too many, for now (PS3.8 Table 9-21).
LOCAL_LIMIT_EXCEEDED = AssociateRJ(2, 3, 2)
# That of a peer that may do nothing here.
CALLING_TITLE_NOT_RECOGNIZED = AssociateRJ(1, 1, 3)


@frozen
class DataValue:
    """Presentation Data Value Item (PS3.8 section 9.3.5.1 and Annex E).

    Parameters
    ----------
    context_id
        The presentation context.
    is_command
        Whether this is a fragment of a command set; if False, of a data set.
    is_last
        Whether it is the last fragment of that command set or data set.
    data
        The fragment.
    """

    context_id: int
    is_command: bool
    is_last: bool
    data: bytes

    def encode(self) -> bytes:
        return (
            (len(self.data) + 2).to_bytes(4, "big")
            + bytes((self.context_id, self.is_command | self.is_last << 1))
            + self.data
        )


@frozen
class PDataTF:
    """P-DATA-TF (PS3.8 section 9.3.5) as a whole. The scanner and the fragmenter do not use it, for speed."""

    pdu_type: ClassVar[int] = 0x04
    values: tuple[DataValue, ...]

    def encode(self) -> bytes:
        return _with_header(self.pdu_type, b"".join(value.encode() for value in self.values))

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        values = []
        while body:
            cursor = Cursor(body, "the P-DATA-TF PDU")
            length = cursor.u32()
            check_data_value_length(length)
            content = cursor.read(length)
            control = content[1]
            values.append(DataValue(content[0], bool(control & 1), bool(control & 2), bytes(content[2:])))
            body = cursor.rest()
        if not values:
            raise ProtocolError("the P-DATA-TF PDU has no presentation data value")
        return cls(tuple(values))


@frozen
class ReleaseRQ:
    """A-RELEASE-RQ (PS3.8 section 9.3.6)."""

    pdu_type: ClassVar[int] = 0x05

    def encode(self) -> bytes:
        return _encode_four(self, bytes(4))

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        _decode_four(body, "the A-RELEASE-RQ PDU")
        return cls()


@frozen
class ReleaseRP:
    """A-RELEASE-RP (PS3.8 section 9.3.7)."""

    pdu_type: ClassVar[int] = 0x06

    def encode(self) -> bytes:
        return _encode_four(self, bytes(4))

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        _decode_four(body, "the A-RELEASE-RP PDU")
        return cls()


@frozen
class Abort:
    """A-ABORT (PS3.8 section 9.3.8).

    Parameters
    ----------
    source
        0 service user, 2 service provider.
    reason
        Significant with source 2: 0 none, 1 unrecognised PDU, 2 unexpected PDU, 4 unrecognised parameter,
        5 unexpected parameter, 6 invalid parameter value.
    """

    pdu_type: ClassVar[int] = 0x07
    source: int
    reason: int = 0

    def encode(self) -> bytes:
        return _encode_four(self, bytes((0, 0, self.source, self.reason)))

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        content = _decode_four(body, "the A-ABORT PDU")
        return cls(content[2], content[3])


PDU_TYPES: dict[int, type[PDU]] = {
    cls.pdu_type: cls for cls in (AssociateRQ, AssociateAC, AssociateRJ, PDataTF, ReleaseRQ, ReleaseRP, Abort)
}


def decode_pdu(pdu_type: int, body: memoryview) -> PDU:
    """Decode the body of a PDU, without its six-byte header.

    Raises
    ------
    ProtocolError
        If the type is not one of the seven, or the content is not valid.
    """
    cls = PDU_TYPES.get(pdu_type)
    if cls is None:
        raise ProtocolError(f"PDU type 0x{pdu_type:02X} is unknown", UNRECOGNISED_PDU)
    if (cls is AssociateRQ or cls is AssociateAC) and len(body) <= _LONGEST_KEPT:
        return _decode_associate(cls, bytes(body))
    return cls.decode(body)


# The A-ASSOCIATE PDUs that came lately, by their class, content, and what their UIDs were decoded with: a peer begins
# each of its associations with the same bytes, which take 30 us to decode with one context and 1.7 ms with 128, where
# an association as a whole takes less than 1 ms. What strangers send must not fill the memory.
_kept: dict[tuple[type[PDU], bytes, tuple[str, ...]], AssociateRQ | AssociateAC] = {}
_LONGEST_KEPT = 1 << 15
_MOST_KEPT = 16


def _decode_associate(cls: type[AssociateRQ | AssociateAC], body: bytes) -> PDU:
    key = cls, body, tuple(_config.CODECS)
    pdu = _kept.get(key)
    if pdu is None:
        pdu = cls.decode(memoryview(body))
        # Passcodes, tickets and tokens are not kept, nor is what may have one in an item that was left out.
        if not pdu.faults and not any(
            isinstance(each, UserIdentityRQ | UserIdentityAC) for each in pdu.user_items
        ):
            if len(_kept) >= _MOST_KEPT:
                _kept.clear()
            _kept[key] = pdu
    return pdu


def check_data_value_length(length: int) -> None:
    """Raise ProtocolError for a presentation data value too short for its own header."""
    if length < 2:
        raise ProtocolError("a presentation data value is shorter than its header")


def _with_header(pdu_type: int, body: bytes) -> bytes:
    return bytes((pdu_type, 0)) + len(body).to_bytes(4, "big") + body


def _encode_four(pdu: PDU, content: bytes) -> bytes:
    return _with_header(pdu.pdu_type, content)


def _decode_four(body: memoryview, what: str) -> memoryview:
    if len(body) != 4:
        raise ProtocolError(f"{what} has a length of {len(body)}, not 4")
    return body


def _encode_associate(
    pdu: AssociateRQ | AssociateAC, fixed: bytes, contexts: Iterable[ProposedContext | ContextResult]
) -> bytes:
    body = (
        pdu.protocol_version.to_bytes(2, "big") + bytes(2) + fixed,
        uid_item(APPLICATION_CONTEXT, pdu.application_context),
        *(context.encode() for context in contexts),
        encode_user_information(pdu.user_items),
    )
    return _with_header(pdu.pdu_type, b"".join(body))


def _decode_variable(
    cursor: Cursor, context_class: type[C]
) -> tuple[str, tuple[C, ...], tuple[UserItem, ...], tuple[str, ...]]:
    """The application context, the presentation contexts, the user information, and what was left out of them.

    An item that passes the PDU is a ProtocolError, as nobody can know what was meant to follow; what is wrong inside an
    item costs no more than that item.
    """
    applications: list[str] = []
    contexts: list[C] = []
    user_items: list[tuple[UserItem, ...]] = []
    faults: list[str] = []
    for item_type, content in cursor.items():
        if item_type == APPLICATION_CONTEXT:
            applications.append(uid_from(content))
        elif item_type == context_class.item_type:
            try:
                contexts.append(context_class.decode(content, faults))
            except ProtocolError as error:
                note(faults, f"{error}: left out")
        elif item_type == USER_INFORMATION:
            user_items.append(decode_user_information(content, faults))
    for found, what in ((applications, "application context"), (user_items, "user information")):
        if len(found) != 1:
            note(faults, f"there are {len(found)} {what} items, not one")
    # Where there are several, DICOM's own counts, and the first of each sub-item.
    is_ours = DICOM_APPLICATION_CONTEXT in applications
    application = DICOM_APPLICATION_CONTEXT if is_ours else next(iter(applications), "")
    return application, tuple(contexts), tuple(chain.from_iterable(user_items)), tuple(faults)
