"""Views of the seven PDUs of ``wire.pdu``, as events show them, with the names that pynetdicom documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pydicom.uid import UID

from ..errors import ABORT_REASONS, REJECT_REASONS, REJECT_RESULTS, REJECT_SOURCES
from ..values import Buffer
from ..wire import pdu as wire
from ..wire.fields import text_from
from .pdu_items import PDU_ITEM_TYPES as PDU_ITEM_TYPES
from .pdu_items import (
    ApplicationContextItem,
    PresentationContextItemAC,
    PresentationContextItemRQ,
    PresentationDataValueItem,
    UserInformationItem,
)
from .pdu_primitives import A_RELEASE, Primitive, primitive_of
from .views import NOT_SAID, PDUItem, Shown, View

_ABORT_SOURCES = {0: "the service user", 2: "the service provider"}


class PDU(View):
    """A protocol data unit (PS3.8 section 9.3)."""

    wire_type: ClassVar[Any] = None

    def __init__(self, primitive: Any = None) -> None:
        super().__init__()
        if primitive is not None:
            self.from_primitive(primitive)

    @property
    def pdu_type(self) -> int:
        """The PDU's type."""
        kind: int = self.wire_type.pdu_type
        return kind

    @property
    def pdu_length(self) -> int:
        """The number of bytes that follow the PDU's header."""
        return len(self.encode()) - wire.HEADER_LENGTH

    def decode(self, bytestream: Buffer) -> None:
        """Show an encoded PDU, given with its header.

        Raises
        ------
        ProtocolError
            If it is malformed.
        """
        self.wire = self.wire_type.decode(memoryview(bytestream)[wire.HEADER_LENGTH :])

    def from_primitive(self, primitive: Primitive) -> None:
        """Show the PDU that conveys a primitive of `pdu_primitives`.

        Raises
        ------
        ValueError
            If another PDU conveys it, or a value is missing.
        """
        conveyed = primitive.to_pdu()
        if not isinstance(conveyed, self.wire_type):
            raise ValueError(f"this primitive is not conveyed by {type(self).__name__}")
        self.wire = conveyed

    def to_primitive(self) -> Any:
        """The primitive of `pdu_primitives`; ValueError if nothing was decoded yet."""
        if self.wire is None:
            raise ValueError(f"there is nothing in this {type(self).__name__} yet")
        return primitive_of(self.wire)


class _Associate(PDU):
    """Base of A-ASSOCIATE-RQ and A-ASSOCIATE-AC."""

    context_item: ClassVar[type[PDUItem]]
    protocol_version = Shown("protocol_version", empty=1)

    @property
    def variable_items(self) -> list[PDUItem]:
        """The application context, the presentation contexts and the user information as items."""
        if self.wire is None:
            return []
        application = ApplicationContextItem.of(self.wire.application_context)
        user = UserInformationItem.of(self.wire.user_items)
        return [application, *self.presentation_context, user]

    @property
    def application_context_name(self) -> UID | None:
        """The application context name, None before something was decoded."""
        name: UID | None = None
        if self.wire is not None:
            name = ApplicationContextItem.of(self.wire.application_context).application_context_name
        return name

    @property
    def presentation_context(self) -> list[Any]:
        """The presentation contexts as items."""
        return [] if self.wire is None else [self.context_item.of(each) for each in self.wire.contexts]

    @property
    def user_information(self) -> UserInformationItem | None:
        """The user information as an item, None before something was decoded."""
        return None if self.wire is None else UserInformationItem.of(self.wire.user_items)

    def _lines(self, indent: str = "") -> list[str]:
        below = [line for each in self.variable_items for line in each._lines(indent + "  ")]
        return super()._lines(indent) + below


class A_ASSOCIATE_RQ(_Associate):
    """A-ASSOCIATE-RQ (PS3.8 section 9.3.2)."""

    wire_type = wire.AssociateRQ
    context_item = PresentationContextItemRQ
    called_ae_title = Shown("called_ae_title", empty="Default")
    calling_ae_title = Shown("calling_ae_title", empty="Default")


def _title_at(start: int) -> Callable[[bytes], str]:
    return lambda reserved: text_from(memoryview(reserved)[start : start + 16])


class A_ASSOCIATE_AC(_Associate):
    """A-ASSOCIATE-AC (PS3.8 section 9.3.3). Its AE titles repeat the request's, and are not to be tested."""

    wire_type = wire.AssociateAC
    context_item = PresentationContextItemAC
    reserved_aet = called_ae_title = Shown("reserved", _title_at(0), empty="")
    reserved_aec = calling_ae_title = Shown("reserved", _title_at(16), empty="")


class A_ASSOCIATE_RJ(PDU):
    """A-ASSOCIATE-RJ (PS3.8 section 9.3.4)."""

    wire_type = wire.AssociateRJ
    result = Shown("result")
    source = Shown("source")
    reason_diagnostic = Shown("reason")

    @property
    def result_str(self) -> str:
        """`result` in words; ValueError if the standard does not define it."""
        return _named(REJECT_RESULTS, self.result, "result")

    @property
    def source_str(self) -> str:
        """`source` in words; ValueError if the standard does not define it."""
        return _named(REJECT_SOURCES, self.source, "source")

    @property
    def reason_str(self) -> str:
        """`reason_diagnostic` in words; ValueError if the standard does not define it for this source."""
        return _named(REJECT_REASONS, (self.source, self.reason_diagnostic), "source and reason")


def _named(names: dict[Any, str], code: Any, what: str) -> str:
    if code not in names:
        raise ValueError(f"a rejection cannot have the {what} {code}")
    return names[code]


class P_DATA_TF(PDU):
    """P-DATA-TF (PS3.8 section 9.3.5)."""

    wire_type = wire.PDataTF
    presentation_data_value_items = Shown(
        "values", lambda values: [PresentationDataValueItem.of(each) for each in values], empty=[]
    )


class A_RELEASE_RQ(PDU):
    """A-RELEASE-RQ (PS3.8 section 9.3.6)."""

    wire_type = wire.ReleaseRQ

    def __init__(self, primitive: A_RELEASE | None = None) -> None:
        super().__init__()
        self.wire = self.wire_type()


class A_RELEASE_RP(PDU):
    """A-RELEASE-RP (PS3.8 section 9.3.7)."""

    wire_type = wire.ReleaseRP

    def __init__(self, primitive: A_RELEASE | None = None) -> None:
        super().__init__()
        self.wire = self.wire_type()


class A_ABORT_RQ(PDU):
    """A-ABORT (PS3.8 section 9.3.8)."""

    wire_type = wire.Abort
    source = Shown("source")
    reason_diagnostic = Shown("reason")
    source_str = Shown("source", lambda code: _ABORT_SOURCES.get(code, NOT_SAID), empty=NOT_SAID)

    @property
    def reason_str(self) -> str:
        """`reason_diagnostic` in words, where the source is the service provider."""
        return ABORT_REASONS.get(self.reason_diagnostic, NOT_SAID) if self.source == 2 else NOT_SAID


PDU_TYPES: dict[type[PDU], int] = {
    view: view.wire_type.pdu_type
    for view in (
        A_ASSOCIATE_RQ,
        A_ASSOCIATE_AC,
        A_ASSOCIATE_RJ,
        P_DATA_TF,
        A_RELEASE_RQ,
        A_RELEASE_RP,
        A_ABORT_RQ,
    )
}
"""The type of each PDU."""

_VIEWS: dict[type[Any], type[PDU]] = {view.wire_type: view for view in PDU_TYPES}


def view_of(pdu: wire.PDU) -> PDU:
    """The view of a PDU."""
    return _VIEWS[type(pdu)].of(pdu)
