"""The items of the A-ASSOCIATE PDUs (PS3.8 sections 9.3.2 and 9.3.3, PS3.7 Annex D.3.3).

The items that hold just a UID (0x10, 0x30, 0x40) have no class; they are fields of the PDU or item that contains them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol, Self

from ..errors import ProtocolError
from ..values import field, frozen
from .fields import (
    Cursor,
    block16,
    check_range,
    check_uid,
    item,
    note,
    received,
    text_from,
    uid16,
    uid_from,
    uid_item,
)

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
        Odd, 1 to 255; of a peer any byte.
    abstract_syntax
        UID. Of a peer as it came: empty where there is none, and with a backslash between several.
    transfer_syntaxes
        UIDs, at least one; of a peer any, as they came.
    """

    item_type: ClassVar[int] = 0x20
    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_context_id(self.context_id)
        check_uid(self.abstract_syntax, "an abstract syntax")
        if not self.transfer_syntaxes:
            raise ValueError("a presentation context needs at least one transfer syntax")
        for uid in self.transfer_syntaxes:
            check_uid(uid, "a transfer syntax")

    def encode(self) -> bytes:
        return item(
            self.item_type,
            bytes((self.context_id, 0, 0, 0)),
            uid_item(ABSTRACT_SYNTAX, self.abstract_syntax),
            *(uid_item(TRANSFER_SYNTAX, uid) for uid in self.transfer_syntaxes),
        )

    @classmethod
    def decode(cls, content: memoryview, faults: list[str] | None = None) -> Self:
        """From the bytes behind the item's header; raises ProtocolError where there is no ID.

        Parameters
        ----------
        faults
            Takes what is wrong and was left out.
        """
        cursor = Cursor(content, "a presentation context item")
        context_id = cursor.u8()
        abstract: list[str] = []
        transfer: list[str] = []
        for sub_type, sub_content in _intact_items(cursor, 3, f"context {context_id}", faults):
            if sub_type == ABSTRACT_SYNTAX:
                abstract.append(uid_from(sub_content))
            elif sub_type == TRANSFER_SYNTAX:
                transfer.append(uid_from(sub_content))
        return received(cls, context_id, _one_of(abstract), tuple([uid for uid in transfer if uid]))


@frozen
class ContextResult:
    """Presentation Context Item of an A-ASSOCIATE-AC (PS3.8 section 9.3.3.2).

    Parameters
    ----------
    context_id
        Odd, 1 to 255; of a peer any byte.
    result
        0 acceptance, 1 user rejection, 2 no reason, 3 abstract syntax not supported, 4 transfer syntaxes not
        supported.
    transfer_syntax
        UID; significant only where the result is 0. Of a peer as it came, with a backslash between several.
    """

    item_type: ClassVar[int] = 0x21
    context_id: int
    result: int
    transfer_syntax: str

    def __post_init__(self) -> None:
        _check_context_id(self.context_id)
        check_range(self.result, 0, 0xFF, "the result of a presentation context")
        # A rejected context still carries one transfer syntax sub-item (section 9.3.3.2), whatever its value.
        if self.transfer_syntax:
            check_uid(self.transfer_syntax, "a transfer syntax")

    @classmethod
    def answering(cls, context_id: int, result: int, transfer_syntax: str) -> Self:
        """The result of a context that a peer proposed, under the ID that it gave."""
        if context_id % 2:
            return cls(context_id, result, transfer_syntax)
        return received(cls, context_id, result, transfer_syntax)

    def encode(self) -> bytes:
        return item(
            self.item_type,
            bytes((self.context_id, 0, self.result, 0)),
            uid_item(TRANSFER_SYNTAX, self.transfer_syntax),
        )

    @classmethod
    def decode(cls, content: memoryview, faults: list[str] | None = None) -> Self:
        """From the bytes behind the item's header; raises ProtocolError where there is no ID or no result.

        Parameters
        ----------
        faults
            Takes what is wrong and was left out.
        """
        cursor = Cursor(content, "a presentation context item")
        context_id = cursor.u8()
        cursor.skip(1)
        result = cursor.u8()
        transfer: list[str] = []
        if result == 0:
            for sub_type, sub_content in _intact_items(cursor, 1, f"context {context_id}", faults):
                if sub_type == TRANSFER_SYNTAX:
                    transfer.append(uid_from(sub_content))
        return received(cls, context_id, result, _one_of(transfer))


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
        _check_length(content, 4, "the maximum length sub-item")
        return cls(int.from_bytes(content, "big"))


@frozen
class ImplementationClassUID:
    """Implementation Class UID Sub-item (PS3.7 Annex D.3.3.2.1)."""

    item_type: ClassVar[int] = 0x52
    uid: str

    def __post_init__(self) -> None:
        check_uid(self.uid, "the implementation class UID")

    def encode(self) -> bytes:
        return uid_item(self.item_type, self.uid)

    @classmethod
    def decode(cls, content: memoryview) -> Self:
        return received(cls, uid_from(content))


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
        what = "the asynchronous operations window sub-item"
        _check_length(content, 4, what)
        cursor = Cursor(content, what)
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

    def __post_init__(self) -> None:
        check_uid(self.sop_class, "the SOP class of a role selection")

    def encode(self) -> bytes:
        return item(self.item_type, uid16(self.sop_class), bytes((self.scu_role, self.scp_role)))

    @classmethod
    def decode(cls, content: memoryview) -> Self:
        cursor = Cursor(content, "a role selection sub-item")
        uid, scu, scp = cursor.uid16(), cursor.u8(), cursor.u8()
        if scu > 1 or scp > 1:
            raise ProtocolError(
                f"a role selection sub-item has the roles {scu} and {scp}, which must be 0 or 1"
            )
        return received(cls, uid, bool(scu), bool(scp))


@frozen
class ImplementationVersionName:
    """Implementation Version Name Sub-item (PS3.7 Annex D.3.3.2.3), 1 to 16 characters."""

    item_type: ClassVar[int] = 0x55
    name: str

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= 16 or not self.name.isascii():
            raise ValueError(
                f"the implementation version name must have 1 to 16 ASCII characters, not {self.name!r}"
            )

    def encode(self) -> bytes:
        return item(self.item_type, self.name.encode("latin-1"))

    @classmethod
    def decode(cls, content: memoryview) -> Self:
        return received(cls, text_from(content))


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

    def __post_init__(self) -> None:
        check_uid(self.sop_class, "the SOP class of an extended negotiation")

    def encode(self) -> bytes:
        return item(self.item_type, uid16(self.sop_class), self.application_information)

    @classmethod
    def decode(cls, content: memoryview) -> Self:
        cursor = Cursor(content, "an extended negotiation sub-item")
        return received(cls, cursor.uid16(), bytes(cursor.rest()))


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

    def __post_init__(self) -> None:
        check_uid(self.sop_class, "the SOP class of a common extended negotiation")
        check_uid(self.service_class, "the service class of a common extended negotiation")
        for uid in self.related_general_sop_classes:
            check_uid(uid, "a related general SOP class")

    def encode(self) -> bytes:
        related = b"".join(map(uid16, self.related_general_sop_classes))
        return item(self.item_type, uid16(self.sop_class), uid16(self.service_class), block16(related))

    @classmethod
    def decode(cls, content: memoryview) -> Self:
        what = "a common extended negotiation sub-item"
        cursor = Cursor(content, what)
        sop_class = cursor.uid16()
        service_class = cursor.uid16()
        return received(cls, sop_class, service_class, tuple(_uid_list(Cursor(cursor.block16(), what))))


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


def decode_user_information(content: memoryview, faults: list[str] | None = None) -> tuple[UserItem, ...]:
    """The known sub-items that are sound; unknown ones are skipped (PS3.8 Annex D.2).

    Parameters
    ----------
    faults
        Takes what is wrong and was left out.
    """
    cursor = Cursor(content, "the user information item")
    items: list[UserItem] = []
    for sub_type, sub_content in _intact_items(cursor, 0, "the user information", faults):
        if sub_type not in USER_ITEMS:
            continue
        try:
            items.append(USER_ITEMS[sub_type].decode(sub_content))
        except ProtocolError as error:
            if faults is not None:
                note(faults, f"{error}: left out")
    return tuple(items)


def _intact_items(
    cursor: Cursor, begin: int, what: str, faults: list[str] | None
) -> Iterator[tuple[int, memoryview]]:
    """The sub-items from ``begin`` up to the end, or up to one that passes it."""
    try:
        cursor.skip(begin)
        yield from cursor.items()
    except ProtocolError:
        if faults is not None:
            note(faults, f"{what} has a sub-item that passes its end: left out")


def _one_of(values: list[str]) -> str:
    """The value that stands where one is expected, empty for none; of several, all, which together equal none."""
    return values[0] if len(values) == 1 else "\\".join(dict.fromkeys(filter(None, values)))


def _check_length(content: memoryview, length: int, what: str) -> None:
    if len(content) != length:
        raise ProtocolError(f"{what} has a length of {len(content)}, not {length}")


def _uid_list(cursor: Cursor) -> Iterator[str]:
    remaining = cursor.rest()
    while remaining:
        part = Cursor(remaining, cursor.what)
        yield part.uid16()
        remaining = part.rest()


def _check_context_id(context_id: int) -> None:
    if not 1 <= context_id <= 255 or context_id % 2 == 0:
        raise ValueError(f"a presentation context ID must be odd and between 1 and 255, not {context_id}")
