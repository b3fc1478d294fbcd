"""The items of the A-ASSOCIATE PDUs (PS3.8 sections 9.3.2 and 9.3.3, PS3.7 Annex D.3.3).

The items that hold just a UID (0x10, 0x30, 0x40) have no class; they are fields of the PDU or item that contains them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol, Self

from ..errors import ProtocolError
from ..values import field, frozen
from .fields import Cursor, block16, check_range, item, uid_bytes, uid_from, uid_item

APPLICATION_CONTEXT = 0x10
ABSTRACT_SYNTAX = 0x30
TRANSFER_SYNTAX = 0x40
USER_INFORMATION = 0x50


@frozen
class ProposedContext:
    """Presentation Context Item of an A-ASSOCIATE-RQ (PS3.8 section 9.3.2.2).

    Parameters
    ----------
    context_id
        Odd, 1 to 255.
    abstract_syntax
        UID.
    transfer_syntaxes
        UIDs, at least one.
    """

    item_type: ClassVar[int] = 0x20
    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_context_id(self.context_id)
        uid_bytes(self.abstract_syntax, "an abstract syntax")
        if not self.transfer_syntaxes:
            raise ValueError("a presentation context needs at least one transfer syntax")

    def encode(self) -> bytes:
        return item(
            self.item_type,
            bytes((self.context_id, 0, 0, 0)),
            uid_item(ABSTRACT_SYNTAX, self.abstract_syntax, "an abstract syntax"),
            *(uid_item(TRANSFER_SYNTAX, uid, "a transfer syntax") for uid in self.transfer_syntaxes),
        )

    @classmethod
    def decode(cls, content: memoryview) -> Self:
        cursor = Cursor(content, "a presentation context item")
        context_id = cursor.u8()
        cursor.skip(3)
        abstract: list[str] = []
        transfer: list[str] = []
        for sub_type, sub_content in cursor.items():
            if sub_type == ABSTRACT_SYNTAX:
                abstract.append(uid_from(sub_content, "an abstract syntax sub-item"))
            elif sub_type == TRANSFER_SYNTAX:
                transfer.append(uid_from(sub_content, "a transfer syntax sub-item"))
        if len(abstract) != 1:
            raise ProtocolError(f"a presentation context proposes {len(abstract)} abstract syntaxes, not one")
        with blame_peer():
            return cls(context_id, abstract[0], tuple(uid for uid in transfer if uid))


@frozen
class ContextResult:
    """Presentation Context Item of an A-ASSOCIATE-AC (PS3.8 section 9.3.3.2).

    Parameters
    ----------
    context_id
        Odd, 1 to 255.
    result
        0 acceptance, 1 user rejection, 2 no reason, 3 abstract syntax not supported, 4 transfer syntaxes not
        supported.
    transfer_syntax
        UID; significant only where the result is 0.
    """

    item_type: ClassVar[int] = 0x21
    context_id: int
    result: int
    transfer_syntax: str

    def __post_init__(self) -> None:
        _check_context_id(self.context_id)

    def encode(self) -> bytes:
        # A rejected context still carries one transfer syntax sub-item (section 9.3.3.2), whatever its value.
        syntax = self.transfer_syntax
        name = uid_item(TRANSFER_SYNTAX, syntax, "a transfer syntax") if syntax else item(TRANSFER_SYNTAX)
        return item(self.item_type, bytes((self.context_id, 0, self.result, 0)), name)

    @classmethod
    def decode(cls, content: memoryview) -> Self:
        cursor = Cursor(content, "a presentation context item")
        context_id = cursor.u8()
        cursor.skip(1)
        result = cursor.u8()
        cursor.skip(1)
        transfer: list[str] = []
        if result == 0:
            for sub_type, sub_content in cursor.items():
                if sub_type == TRANSFER_SYNTAX:
                    transfer.append(uid_from(sub_content, "a transfer syntax sub-item"))
            if len(transfer) != 1 or not transfer[0]:
                raise ProtocolError(
                    "an accepted presentation context does not name exactly one transfer syntax"
                )
        with blame_peer():
            return cls(context_id, result, transfer[0] if transfer else "")


class UserItem(Protocol):
    """A sub-item of the User Information Item."""

    item_type: ClassVar[int]

    def encode(self) -> bytes: ...

    @classmethod
    def decode(cls, content: memoryview) -> Self: ...


@frozen
class MaximumLength:
    """Maximum Length Sub-item (PS3.8 Annex D.1).

    Parameters
    ----------
    maximum_length
        The largest PDU-length of a P-DATA-TF that the sender of this item accepts, in bytes; 0 means no limit.
    """

    item_type: ClassVar[int] = 0x51
    maximum_length: int

    def __post_init__(self) -> None:
        check_range(self.maximum_length, 0, 0xFFFFFFFF, "the maximum length")

    def encode(self) -> bytes:
        return item(self.item_type, self.maximum_length.to_bytes(4, "big"))

    @classmethod
    def decode(cls, content: memoryview) -> Self:
        return cls(Cursor(content, "the maximum length sub-item").u32())


@frozen
class ImplementationClassUID:
    """Implementation Class UID Sub-item (PS3.7 Annex D.3.3.2.1)."""

    item_type: ClassVar[int] = 0x52
    uid: str

    def encode(self) -> bytes:
        return uid_item(self.item_type, self.uid, "the implementation class UID")

    @classmethod
    def decode(cls, content: memoryview) -> Self:
        return cls(uid_from(content, "the implementation class UID sub-item"))


@frozen
class AsynchronousOperationsWindow:
    """Asynchronous Operations Window Sub-item (PS3.7 Annex D.3.3.3).

    Parameters
    ----------
    invoked
        How many operations the association requestor may have outstanding; 0 means no limit.
    performed
        How many operations it is willing to perform at once; 0 means no limit.
    """

    item_type: ClassVar[int] = 0x53
    invoked: int
    performed: int

    def __post_init__(self) -> None:
        check_range(self.invoked, 0, 0xFFFF, "the number of operations invoked")
        check_range(self.performed, 0, 0xFFFF, "the number of operations performed")

    def encode(self) -> bytes:
        return item(self.item_type, self.invoked.to_bytes(2, "big"), self.performed.to_bytes(2, "big"))

    @classmethod
    def decode(cls, content: memoryview) -> Self:
        cursor = Cursor(content, "the asynchronous operations window sub-item")
        return cls(cursor.u16(), cursor.u16())


@frozen
class RoleSelection:
    """SCP/SCU Role Selection Sub-item (PS3.7 Annex D.3.3.4).

    Parameters
    ----------
    sop_class
        UID.
    scu_role, scp_role
        Whether the association requestor proposes that role (in a request), or may have it (in an answer).
    """

    item_type: ClassVar[int] = 0x54
    sop_class: str
    scu_role: bool
    scp_role: bool

    def encode(self) -> bytes:
        uid = uid_bytes(self.sop_class, "the SOP class of a role selection")
        return item(self.item_type, block16(uid), bytes((self.scu_role, self.scp_role)))

    @classmethod
    def decode(cls, content: memoryview) -> Self:
        cursor = Cursor(content, "a role selection sub-item")
        return cls(cursor.uid16(), cursor.u8() == 1, cursor.u8() == 1)


@frozen
class ImplementationVersionName:
    """Implementation Version Name Sub-item (PS3.7 Annex D.3.3.2.3), 1 to 16 characters."""

    item_type: ClassVar[int] = 0x55
    name: str

    def encode(self) -> bytes:
        if not 0 < len(self.name) <= 16 or not self.name.isascii():
            raise ValueError(
                f"the implementation version name must have 1 to 16 ASCII characters, not {self.name!r}"
            )
        return item(self.item_type, self.name.encode("ascii"))

    @classmethod
    def decode(cls, content: memoryview) -> Self:
        return cls(bytes(content).rstrip(b"\x00").decode("latin-1").strip())


@frozen
class SOPClassExtendedNegotiation:
    """SOP Class Extended Negotiation Sub-item (PS3.7 Annex D.3.3.5).

    Parameters
    ----------
    sop_class
        UID.
    application_information
        Bytes whose meaning the service class defines.
    """

    item_type: ClassVar[int] = 0x56
    sop_class: str
    application_information: bytes

    def encode(self) -> bytes:
        uid = uid_bytes(self.sop_class, "the SOP class of an extended negotiation")
        return item(self.item_type, block16(uid), self.application_information)

    @classmethod
    def decode(cls, content: memoryview) -> Self:
        cursor = Cursor(content, "an extended negotiation sub-item")
        return cls(cursor.uid16(), bytes(cursor.rest()))


@frozen
class SOPClassCommonExtendedNegotiation:
    """SOP Class Common Extended Negotiation Sub-item (PS3.7 Annex D.3.3.6); it occurs in requests only.

    Parameters
    ----------
    sop_class, service_class
        UIDs.
    related_general_sop_classes
        UIDs.
    version
        Sub-item version, sent in the second byte of the sub-item.
    """

    item_type: ClassVar[int] = 0x57
    sop_class: str
    service_class: str
    related_general_sop_classes: tuple[str, ...] = ()
    version: ClassVar[int] = 0

    def encode(self) -> bytes:
        related = b"".join(
            block16(uid_bytes(uid, "a related general SOP class")) for uid in self.related_general_sop_classes
        )
        return item(
            self.item_type,
            block16(uid_bytes(self.sop_class, "the SOP class of a common extended negotiation")),
            block16(uid_bytes(self.service_class, "the service class of a common extended negotiation")),
            block16(related),
        )

    @classmethod
    def decode(cls, content: memoryview) -> Self:
        what = "a common extended negotiation sub-item"
        cursor = Cursor(content, what)
        sop_class = cursor.uid16()
        service_class = cursor.uid16()
        return cls(sop_class, service_class, tuple(_uid_list(Cursor(cursor.block16(), what))))


@frozen
class UserIdentityRQ:
    """User Identity Sub-item of a request (PS3.7 Annex D.3.3.7.1).

    Parameters
    ----------
    identity_type
        1 user name, 2 user name and passcode, 3 Kerberos ticket, 4 SAML assertion, 5 JSON web token.
    primary_field
        The user name, ticket, assertion or token.
    secondary_field
        The passcode, with type 2 only.
    positive_response_requested
        Whether the acceptor is asked to answer with a user identity sub-item.
    """

    item_type: ClassVar[int] = 0x58
    identity_type: int
    primary_field: bytes
    secondary_field: bytes = b""
    positive_response_requested: bool = False

    def __repr__(self) -> str:
        # Passcodes, tickets and tokens never reach a log.
        return f"UserIdentityRQ(identity_type={self.identity_type}, …)"

    def encode(self) -> bytes:
        return item(
            self.item_type,
            bytes((self.identity_type, self.positive_response_requested)),
            block16(self.primary_field),
            block16(self.secondary_field),
        )

    @classmethod
    def decode(cls, content: memoryview) -> Self:
        cursor = Cursor(content, "the user identity sub-item")
        identity_type = cursor.u8()
        wants_answer = cursor.u8() == 1
        return cls(identity_type, bytes(cursor.block16()), bytes(cursor.block16()), wants_answer)


@frozen
class UserIdentityAC:
    """User Identity Sub-item of an acceptance (PS3.7 Annex D.3.3.7.2)."""

    item_type: ClassVar[int] = 0x59
    server_response: bytes = field(repr=False)  # may be a ticket or an assertion

    def encode(self) -> bytes:
        return item(self.item_type, block16(self.server_response))

    @classmethod
    def decode(cls, content: memoryview) -> Self:
        return cls(bytes(Cursor(content, "the user identity sub-item").block16()))


USER_ITEMS: dict[int, type[UserItem]] = {
    cls.item_type: cls
    for cls in (
        MaximumLength,
        ImplementationClassUID,
        AsynchronousOperationsWindow,
        RoleSelection,
        ImplementationVersionName,
        SOPClassExtendedNegotiation,
        SOPClassCommonExtendedNegotiation,
        UserIdentityRQ,
        UserIdentityAC,
    )
}


def encode_user_information(items: tuple[UserItem, ...]) -> bytes:
    """Encode the User Information Item, with its sub-items in ascending order of type (PS3.8 section 9.3)."""
    return item(USER_INFORMATION, *(each.encode() for each in sorted(items, key=lambda i: i.item_type)))


def decode_user_information(content: memoryview) -> tuple[UserItem, ...]:
    """Decode the content of the User Information Item; unknown sub-items are skipped (PS3.8 Annex D.2)."""
    cursor = Cursor(content, "the user information item")
    return tuple(
        USER_ITEMS[sub_type].decode(sub_content)
        for sub_type, sub_content in cursor.items()
        if sub_type in USER_ITEMS
    )


def _uid_list(cursor: Cursor) -> Iterator[str]:
    remaining = cursor.rest()
    while remaining:
        part = Cursor(remaining, cursor.what)
        yield part.uid16()
        remaining = part.rest()


def _check_context_id(context_id: int) -> None:
    if not 1 <= context_id <= 255 or context_id % 2 == 0:
        raise ValueError(f"a presentation context ID must be odd and between 1 and 255, not {context_id}")


class blame_peer:
    """A context manager for decoders: turns the ValueError of a constructor into a ProtocolError.

    A value that our constructors refuse is the caller's mistake when we send it, but the peer's when we received it.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, ValueError):
            raise ProtocolError("a received item has an invalid value: " + str(error)) from None
