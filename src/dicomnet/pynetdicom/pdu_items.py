"""Views of the items of ``wire.items``, as events show them, with the names that pynetdicom documents.

They are read-only; a program builds its proposals of the classes of `pdu_primitives`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydicom.uid import UID

from ..values import Buffer
from ..wire import items
from ..wire.fields import uid_from, uid_item
from ..wire.pdu import DICOM_APPLICATION_CONTEXT, PDataTF
from .presentation import PresentationContext
from .user_information import SUB_ITEMS, ServiceParameter, UserInformationSubItem
from .user_information import AsynchronousOperationsWindowSubItem as AsynchronousOperationsWindowSubItem
from .user_information import ImplementationClassUIDSubItem as ImplementationClassUIDSubItem
from .user_information import ImplementationVersionNameSubItem as ImplementationVersionNameSubItem
from .user_information import MaximumLengthSubItem as MaximumLengthSubItem
from .user_information import SCP_SCU_RoleSelectionSubItem as SCP_SCU_RoleSelectionSubItem
from .user_information import (
    SOPClassCommonExtendedNegotiationSubItem as SOPClassCommonExtendedNegotiationSubItem,
)
from .user_information import SOPClassExtendedNegotiationSubItem as SOPClassExtendedNegotiationSubItem
from .user_information import UserIdentitySubItemAC as UserIdentitySubItemAC
from .user_information import UserIdentitySubItemRQ as UserIdentitySubItemRQ
from .user_information import view_of as parameter_of
from .views import HEADER_LENGTH, NOT_SAID, Shown, known_uid, known_uids, uid_or_none
from .views import PDUItem as PDUItem

_CONTEXT_RESULTS = {
    0: "Accepted",
    1: "User Rejected",
    2: "Provider Rejected",
    3: "Abstract Syntax Not Supported",
    4: "Transfer Syntax(es) Not Supported",
}


class _UIDItem(PDUItem):
    """An item whose content is a UID."""

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
        self.wire = uid_from(memoryview(bytestream)[HEADER_LENGTH:])


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
    transfer_syntax_name = transfer_syntax = Shown(convert=uid_or_none)


class PresentationContextItemRQ(PDUItem):
    """Presentation Context Item of an A-ASSOCIATE-RQ (PS3.8 section 9.3.2.2)."""

    wire_type = items.ProposedContext
    presentation_context_id = context_id = Shown("context_id")
    abstract_syntax = Shown("abstract_syntax", known_uid)
    transfer_syntax = Shown("transfer_syntaxes", known_uids, empty=[])

    @property
    def abstract_transfer_syntax_sub_items(self) -> list[AbstractSyntaxSubItem | TransferSyntaxSubItem]:
        """The abstract syntax and the transfer syntaxes as items."""
        if self.wire is None:
            return []
        abstract = AbstractSyntaxSubItem.of(self.wire.abstract_syntax)
        return [abstract, *map(TransferSyntaxSubItem.of, self.wire.transfer_syntaxes)]

    def from_primitive(self, primitive: PresentationContext) -> None:
        """Show the item that proposes a presentation context; ValueError if it cannot be sent."""
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
    result_str = Shown("result", _CONTEXT_RESULTS.get, empty=NOT_SAID)
    transfer_syntax = Shown("transfer_syntax", uid_or_none)

    @property
    def transfer_syntax_sub_item(self) -> list[TransferSyntaxSubItem]:
        """The transfer syntax as an item, in a list; that of a rejected context may say nothing."""
        return [] if self.wire is None else [TransferSyntaxSubItem.of(self.wire.transfer_syntax)]

    def from_primitive(self, primitive: PresentationContext) -> None:
        """Show the item of a negotiated presentation context; ValueError if it has no ID or no result."""
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


class _Found:
    """An attribute that shows the first sub-item of a kind, or an attribute of it; None without one."""

    def __init__(self, kind: type[UserInformationSubItem], attribute: str = "") -> None:
        self.kind = kind
        self.attribute = attribute

    def __get__(self, view: UserInformationItem | None, owner: type) -> Any:
        if view is None:
            return self
        found = next(iter(view.of_kind(self.kind)), None)
        return getattr(found, self.attribute) if found is not None and self.attribute else found


class UserInformationItem(PDUItem):
    """User Information Item (PS3.8 section 9.3.2.3)."""

    user_data = Shown(convert=lambda wires: [SUB_ITEMS[type(each)].of(each) for each in wires], empty=[])
    async_ops_window = _Found(AsynchronousOperationsWindowSubItem)
    implementation_class_uid = _Found(ImplementationClassUIDSubItem, "implementation_class_uid")
    implementation_version_name = _Found(ImplementationVersionNameSubItem, "implementation_version_name")
    maximum_length = _Found(MaximumLengthSubItem, "maximum_length_received")

    @property
    def item_type(self) -> int:
        """The item's type."""
        return items.USER_INFORMATION

    def of_kind(self, kind: type[UserInformationSubItem]) -> list[Any]:
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
        """The bytes of the item; ValueError if a value cannot be sent."""
        return items.encode_user_information(self.wire or ())

    def decode(self, bytestream: Buffer) -> None:
        """Show an encoded item, given with its header; ProtocolError if it is malformed."""
        self.wire = items.decode_user_information(memoryview(bytestream)[HEADER_LENGTH:])

    def from_primitive(self, primitive: list[ServiceParameter]) -> None:
        """Show the item that conveys items of `pdu_primitives`; ValueError if a value is missing."""
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
        return None if self.wire is None else self.wire.encode()[HEADER_LENGTH + 1 :]

    data = presentation_data_value

    @property
    def message_control_header_byte(self) -> str:
        """The message control header as eight binary digits; ValueError if nothing was decoded yet."""
        value = self.presentation_data_value
        if value is None:
            raise ValueError("there is no presentation data value yet")
        return f"{value[0]:08b}"

    def decode(self, bytestream: Buffer) -> None:
        """Show an encoded item, given with its length; ProtocolError if it is malformed."""
        (self.wire,) = PDataTF.decode(memoryview(bytestream)).values


PDU_ITEM_TYPES: dict[int, type[PDUItem]] = {
    items.APPLICATION_CONTEXT: ApplicationContextItem,
    items.ProposedContext.item_type: PresentationContextItemRQ,
    items.ContextResult.item_type: PresentationContextItemAC,
    items.ABSTRACT_SYNTAX: AbstractSyntaxSubItem,
    items.TRANSFER_SYNTAX: TransferSyntaxSubItem,
    items.USER_INFORMATION: UserInformationItem,
} | {wire.item_type: view for wire, view in SUB_ITEMS.items()}
"""By item type, the view that shows it."""
