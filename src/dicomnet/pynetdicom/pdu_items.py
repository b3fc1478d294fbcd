"""The items of PDUs as events show them to users, with the names that pynetdicom documents: views of ``wire.items``.

They are read, decoded and encoded; what is to be proposed is built of the classes of `pdu_primitives`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from typing import Any, ClassVar, Self

from pydicom.config import IGNORE
from pydicom.uid import UID

from ..values import Buffer
from ..wire import items
from ..wire.fields import uid_from, uid_item
from ..wire.pdu import DICOM_APPLICATION_CONTEXT, PDataTF
from .presentation import PresentationContext
from .user_information import ServiceParameter
from .user_information import view_of as parameter_of

_HEADER_LENGTH = 4
_NOT_SAID = "(not said)"
_CONTEXT_RESULTS = {
    0: "Accepted",
    1: "User Rejected",
    2: "Provider Rejected",
    3: "Abstract Syntax Not Supported",
    4: "Transfer Syntax(es) Not Supported",
}
_IDENTITY_TYPES = {
    1: "user name",
    2: "user name and passcode",
    3: "Kerberos service ticket",
    4: "SAML assertion",
    5: "JSON web token",
}


def known_uid(value: str) -> UID:
    """A UID as the peer sent it, which need not be a valid one."""
    return UID(value, IGNORE)


def _uid_or_none(value: str) -> UID | None:
    return known_uid(value) if value else None


def _uids(values: Iterable[str]) -> list[UID]:
    return [known_uid(value) for value in values]


class Shown:
    """A row: an attribute of a view that shows a field of what is behind it.

    Parameters
    ----------
    field
        The field's name; empty for what is behind the view as a whole.
    convert
        From the field's value to the shown one.
    empty
        The value while nothing is behind the view.
    """

    def __init__(
        self, field: str = "", convert: Callable[[Any], Any] | None = None, empty: Any = None
    ) -> None:
        self.field = field
        self.convert = convert
        self.empty = empty
        self.__doc__ = f"Shows ``{field}``." if field else "The value."

    def __get__(self, view: View | None, owner: type) -> Any:
        if view is None:
            return self
        if view.wire is None:
            return copy(self.empty)
        value = getattr(view.wire, self.field) if self.field else view.wire
        return value if self.convert is None else self.convert(value)

    def __set__(self, view: View, value: object) -> None:
        raise AttributeError("what a PDU says is not changed here; build it of the classes of pdu_primitives")


class View:
    """Shows a PDU, or an item of one.

    Attributes
    ----------
    wire
        What is shown, None before something was decoded.
    """

    def __init__(self) -> None:
        self.wire: Any = None

    @classmethod
    def of(cls, wire: Any) -> Self:
        """The view of a PDU or item of ``wire``."""
        view = cls()
        view.wire = wire
        return view

    def encode(self) -> bytes:
        """As it is sent.

        Raises
        ------
        ValueError
            If nothing was decoded yet, or a value cannot be sent.
        """
        if self.wire is None:
            raise ValueError(f"there is nothing in this {type(self).__name__} yet")
        encoded: bytes = self.wire.encode()
        return encoded

    def __len__(self) -> int:
        return len(self.encode())

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, View):
            return NotImplemented
        return type(self) is type(other) and bool(self.wire == other.wire)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self, indent: str = "") -> list[str]:
        lines = [f"{indent}{type(self).__name__}"]
        shown = dict.fromkeys(
            name for cls in type(self).__mro__ for name, row in vars(cls).items() if isinstance(row, Shown)
        )
        for name in shown:
            value = getattr(self, name)
            views = [each for each in value if isinstance(each, View)] if isinstance(value, list) else []
            if views:
                lines += [line for each in views for line in each._lines(indent + "  ")]
            else:
                lines.append(f"{indent}  {name}: {_short(value)}")
        return lines


def _short(value: Any) -> str:
    if isinstance(value, UID):
        return str(value.name)
    if isinstance(value, bytes) and len(value) > 16:
        return f"{value[:16].hex(' ')} … ({len(value)} bytes)"
    if isinstance(value, list):
        return ", ".join(map(_short, value)) or "(none)"
    return value.hex(" ") if isinstance(value, bytes) else str(value)


class PDUItem(View):
    """An item of a PDU (PS3.8 section 9.3.1)."""

    wire_type: ClassVar[Any] = None

    @property
    def item_type(self) -> int:
        """The item's type."""
        kind: int = self.wire_type.item_type
        return kind

    @property
    def item_length(self) -> int:
        """How many bytes follow the item's header."""
        return len(self.encode()) - _HEADER_LENGTH

    def decode(self, bytestream: Buffer) -> None:
        """Take an encoded item, with its header.

        Raises
        ------
        ProtocolError
            If it is malformed.
        """
        self.wire = self.wire_type.decode(memoryview(bytestream)[_HEADER_LENGTH:])


class _UIDItem(PDUItem):
    """An item that is nothing but a UID."""

    kind: ClassVar[int] = 0

    @property
    def item_type(self) -> int:
        """The item's type."""
        return self.kind

    def encode(self) -> bytes:
        """As it is sent; ValueError if nothing was decoded yet."""
        if self.wire is None:
            raise ValueError(f"there is nothing in this {type(self).__name__} yet")
        return uid_item(self.kind, self.wire)

    def decode(self, bytestream: Buffer) -> None:
        """Take an encoded item, with its header."""
        self.wire = uid_from(memoryview(bytestream)[_HEADER_LENGTH:])


class ApplicationContextItem(_UIDItem):
    """Application Context Item (PS3.8 section 9.3.2.1)."""

    kind = items.APPLICATION_CONTEXT
    application_context_name = Shown(convert=known_uid)

    def __init__(self) -> None:
        super().__init__()
        self.wire = DICOM_APPLICATION_CONTEXT


class AbstractSyntaxSubItem(_UIDItem):
    """Abstract Syntax Sub-item (PS3.8 section 9.3.2.2.1)."""

    kind = items.ABSTRACT_SYNTAX
    abstract_syntax_name = abstract_syntax = Shown(convert=known_uid)


class TransferSyntaxSubItem(_UIDItem):
    """Transfer Syntax Sub-item (PS3.8 section 9.3.2.2.2)."""

    kind = items.TRANSFER_SYNTAX
    transfer_syntax_name = transfer_syntax = Shown(convert=_uid_or_none)


class PresentationContextItemRQ(PDUItem):
    """Presentation Context Item of an A-ASSOCIATE-RQ (PS3.8 section 9.3.2.2)."""

    wire_type = items.ProposedContext
    presentation_context_id = context_id = Shown("context_id")
    abstract_syntax = Shown("abstract_syntax", known_uid)
    transfer_syntax = Shown("transfer_syntaxes", _uids, empty=[])

    @property
    def abstract_transfer_syntax_sub_items(self) -> list[AbstractSyntaxSubItem | TransferSyntaxSubItem]:
        """The abstract syntax and the transfer syntaxes as items."""
        if self.wire is None:
            return []
        abstract = AbstractSyntaxSubItem.of(self.wire.abstract_syntax)
        return [abstract, *map(TransferSyntaxSubItem.of, self.wire.transfer_syntaxes)]

    def from_primitive(self, primitive: PresentationContext) -> None:
        """Take a proposed presentation context; ValueError if it cannot be sent."""
        self.wire = primitive.to_item(primitive.context_id or 1)

    def to_primitive(self) -> PresentationContext:
        """The proposed presentation context, as it came."""
        context = PresentationContext()
        context._context_id = self.context_id
        context._abstract_syntax = self.abstract_syntax
        context._transfer_syntax = self.transfer_syntax
        return context


class PresentationContextItemAC(PDUItem):
    """Presentation Context Item of an A-ASSOCIATE-AC (PS3.8 section 9.3.3.2)."""

    wire_type = items.ContextResult
    presentation_context_id = context_id = Shown("context_id")
    result_reason = result = Shown("result", int)
    result_str = Shown("result", _CONTEXT_RESULTS.get, empty=_NOT_SAID)
    transfer_syntax = Shown("transfer_syntax", _uid_or_none)

    @property
    def transfer_syntax_sub_item(self) -> list[TransferSyntaxSubItem]:
        """The transfer syntax as an item, in a list; that of a rejected context may say nothing."""
        return [] if self.wire is None else [TransferSyntaxSubItem.of(self.wire.transfer_syntax)]

    def from_primitive(self, primitive: PresentationContext) -> None:
        """Take a negotiated presentation context; ValueError if it has no ID or no result."""
        if primitive.context_id is None or primitive.result is None:
            raise ValueError("the presentation context has no ID or no result")
        syntax = next(iter(primitive.transfer_syntax), "")
        self.wire = items.ContextResult(primitive.context_id, primitive.result, str(syntax))

    def to_primitive(self) -> PresentationContext:
        """The negotiated presentation context, as it came."""
        context = PresentationContext()
        context._context_id = self.context_id
        context.result = self.result
        context._transfer_syntax = [self.transfer_syntax] if self.transfer_syntax else []
        return context


class _UserItem(PDUItem):
    """A sub-item of the User Information Item."""

    def from_primitive(self, primitive: ServiceParameter) -> None:
        """Take an item of `pdu_primitives`.

        Raises
        ------
        TypeError
            If it is of another kind.
        ValueError
            If a value is missing.
        """
        wire = primitive.to_item()
        if not isinstance(wire, self.wire_type):
            raise TypeError(f"a {type(primitive).__name__} is no {type(self).__name__}")
        self.wire = wire

    def to_primitive(self) -> ServiceParameter:
        """The item of `pdu_primitives`; ValueError if nothing was decoded yet."""
        if self.wire is None:
            raise ValueError(f"there is nothing in this {type(self).__name__} yet")
        return parameter_of(self.wire)


class MaximumLengthSubItem(_UserItem):
    """Maximum Length Sub-item (PS3.8 Annex D.1)."""

    wire_type = items.MaximumLength
    maximum_length_received = Shown("maximum_length")


class ImplementationClassUIDSubItem(_UserItem):
    """Implementation Class UID Sub-item (PS3.7 Annex D.3.3.2.1)."""

    wire_type = items.ImplementationClassUID
    implementation_class_uid = Shown("uid", known_uid)


class ImplementationVersionNameSubItem(_UserItem):
    """Implementation Version Name Sub-item (PS3.7 Annex D.3.3.2.3)."""

    wire_type = items.ImplementationVersionName
    implementation_version_name = Shown("name")


class AsynchronousOperationsWindowSubItem(_UserItem):
    """Asynchronous Operations Window Sub-item (PS3.7 Annex D.3.3.3)."""

    wire_type = items.AsynchronousOperationsWindow
    maximum_number_operations_invoked = max_operations_invoked = Shown("invoked")
    maximum_number_operations_performed = max_operations_performed = Shown("performed")


class SCP_SCU_RoleSelectionSubItem(_UserItem):
    """SCP/SCU Role Selection Sub-item (PS3.7 Annex D.3.3.4)."""

    wire_type = items.RoleSelection
    sop_class_uid = uid = Shown("sop_class", known_uid)
    uid_length = Shown("sop_class", len, empty=0)
    scu_role = scu = Shown("scu_role", int)
    scp_role = scp = Shown("scp_role", int)


class SOPClassExtendedNegotiationSubItem(_UserItem):
    """SOP Class Extended Negotiation Sub-item (PS3.7 Annex D.3.3.5)."""

    wire_type = items.SOPClassExtendedNegotiation
    sop_class_uid = uid = Shown("sop_class", known_uid)
    sop_class_uid_length = Shown("sop_class", len, empty=0)
    service_class_application_information = app_info = Shown("application_information")


class SOPClassCommonExtendedNegotiationSubItem(_UserItem):
    """SOP Class Common Extended Negotiation Sub-item (PS3.7 Annex D.3.3.6)."""

    wire_type = items.SOPClassCommonExtendedNegotiation
    sub_item_version = Shown("version", empty=0)
    sop_class_uid = Shown("sop_class", known_uid)
    sop_class_uid_length = Shown("sop_class", len, empty=0)
    service_class_uid = Shown("service_class", known_uid)
    service_class_uid_length = Shown("service_class", len, empty=0)
    related_general_sop_class_identification = Shown("related_general_sop_classes", _uids, empty=[])
    related_general_sop_class_identification_length = Shown(
        "related_general_sop_classes", lambda uids: sum(2 + len(uid) for uid in uids), empty=0
    )


class UserIdentitySubItemRQ(_UserItem):
    """User Identity Sub-item of a request (PS3.7 Annex D.3.3.7.1). What it identifies by is in no text of it."""

    wire_type = items.UserIdentityRQ
    user_identity_type = id_type = Shown("identity_type")
    id_type_str = Shown("identity_type", lambda code: _IDENTITY_TYPES.get(code, _NOT_SAID), empty=_NOT_SAID)
    positive_response_requested = Shown("positive_response_requested", int)
    response_requested = Shown("positive_response_requested")
    primary_field = primary = Shown("primary_field")
    primary_field_length = Shown("primary_field", len, empty=0)
    secondary_field = secondary = Shown("secondary_field", empty=b"")
    secondary_field_length = Shown("secondary_field", len, empty=0)

    def _lines(self, indent: str = "") -> list[str]:
        return [f"{indent}{type(self).__name__}", f"{indent}  user_identity_type: {self.id_type_str}"]


class UserIdentitySubItemAC(_UserItem):
    """User Identity Sub-item of an acceptance (PS3.7 Annex D.3.3.7.2). What it answers is in no text of it."""

    wire_type = items.UserIdentityAC
    server_response = response = Shown("server_response")
    server_response_length = Shown("server_response", len, empty=0)

    def _lines(self, indent: str = "") -> list[str]:
        return [
            f"{indent}{type(self).__name__}",
            f"{indent}  server_response_length: {self.server_response_length}",
        ]


_SUB_ITEMS: dict[type[items.UserItem], type[_UserItem]] = {
    view.wire_type: view for view in _UserItem.__subclasses__()
}


class _Found:
    """A row: what the first sub-item of a kind says, None where there is none."""

    def __init__(self, kind: type[_UserItem], attribute: str = "") -> None:
        self.kind = kind
        self.attribute = attribute

    def __get__(self, view: UserInformationItem | None, owner: type) -> Any:
        if view is None:
            return self
        found = next(iter(view.of_kind(self.kind)), None)
        return getattr(found, self.attribute) if found is not None and self.attribute else found


class UserInformationItem(PDUItem):
    """User Information Item (PS3.8 section 9.3.2.3)."""

    user_data = Shown(convert=lambda wires: [_SUB_ITEMS[type(each)].of(each) for each in wires], empty=[])
    async_ops_window = _Found(AsynchronousOperationsWindowSubItem)
    implementation_class_uid = _Found(ImplementationClassUIDSubItem, "implementation_class_uid")
    implementation_version_name = _Found(ImplementationVersionNameSubItem, "implementation_version_name")
    maximum_length = _Found(MaximumLengthSubItem, "maximum_length_received")

    @property
    def item_type(self) -> int:
        """The item's type."""
        return items.USER_INFORMATION

    def of_kind(self, kind: type[_UserItem]) -> list[Any]:
        """The sub-items of one kind."""
        return [each for each in self.user_data if isinstance(each, kind)]

    @property
    def common_ext_neg(self) -> list[SOPClassCommonExtendedNegotiationSubItem]:
        """SOP class common extended negotiation."""
        return self.of_kind(SOPClassCommonExtendedNegotiationSubItem)

    @property
    def ext_neg(self) -> list[SOPClassExtendedNegotiationSubItem]:
        """SOP class extended negotiation."""
        return self.of_kind(SOPClassExtendedNegotiationSubItem)

    @property
    def role_selection(self) -> dict[UID, SCP_SCU_RoleSelectionSubItem]:
        """Role selection by SOP Class UID."""
        return {each.uid: each for each in self.of_kind(SCP_SCU_RoleSelectionSubItem)}

    @property
    def user_identity(self) -> UserIdentitySubItemRQ | UserIdentitySubItemAC | None:
        """User identity, or the answer to it."""
        found = self.of_kind(UserIdentitySubItemRQ) or self.of_kind(UserIdentitySubItemAC)
        return found[0] if found else None

    def encode(self) -> bytes:
        """As it is sent; ValueError if a value cannot be sent."""
        return items.encode_user_information(self.wire or ())

    def decode(self, bytestream: Buffer) -> None:
        """Take an encoded item, with its header; ProtocolError if it is malformed."""
        self.wire = items.decode_user_information(memoryview(bytestream)[_HEADER_LENGTH:])

    def from_primitive(self, primitive: list[ServiceParameter]) -> None:
        """Take items of `pdu_primitives`; ValueError if a value is missing."""
        self.wire = tuple(each.to_item() for each in primitive)

    def to_primitive(self) -> list[ServiceParameter]:
        """The items of `pdu_primitives`."""
        return [parameter_of(each) for each in self.wire or ()]


class PresentationDataValueItem(PDUItem):
    """Presentation Data Value Item (PS3.8 section 9.3.5.1). It has no type."""

    presentation_context_id = context_id = Shown("context_id")

    @property
    def item_type(self) -> int:
        """Raises NotImplementedError: this item has no type."""
        raise NotImplementedError("a presentation data value item has no type")

    @property
    def presentation_data_value(self) -> bytes | None:
        """The message control header (PS3.8 Annex E.2) and the fragment."""
        return None if self.wire is None else self.wire.encode()[_HEADER_LENGTH + 1 :]

    data = presentation_data_value

    @property
    def message_control_header_byte(self) -> str:
        """The message control header as eight binary digits; ValueError if nothing was decoded yet."""
        value = self.presentation_data_value
        if value is None:
            raise ValueError("there is no presentation data value yet")
        return f"{value[0]:08b}"

    def decode(self, bytestream: Buffer) -> None:
        """Take an encoded item, with its length; ProtocolError if it is malformed."""
        (self.wire,) = PDataTF.decode(memoryview(bytestream)).values


PDU_ITEM_TYPES: dict[int, type[PDUItem]] = {
    items.APPLICATION_CONTEXT: ApplicationContextItem,
    items.ProposedContext.item_type: PresentationContextItemRQ,
    items.ContextResult.item_type: PresentationContextItemAC,
    items.ABSTRACT_SYNTAX: AbstractSyntaxSubItem,
    items.TRANSFER_SYNTAX: TransferSyntaxSubItem,
    items.USER_INFORMATION: UserInformationItem,
} | {wire.item_type: view for wire, view in _SUB_ITEMS.items()}
"""By item type, the view that shows it."""


def sub_item_of(parameter: ServiceParameter) -> PDUItem:
    """The sub-item that conveys an item of `pdu_primitives`; ValueError if a value is missing."""
    wire = parameter.to_item()
    return _SUB_ITEMS[type(wire)].of(wire)
