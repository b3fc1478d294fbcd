"""The user information that an association negotiates (PS3.7 Annex D.3, PS3.8 Annex D).

Each item of ``wire.items`` has two classes here: one that users build, whose body lists the parameters as rows, and
the sub-item that events show, which is read-only. `pdu_primitives` and `pdu_items` have them under their names.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, Self, TypeVar, overload

from pydicom.config import IGNORE
from pydicom.uid import UID

from ..wire import items
from .utils import set_ae, set_uid
from .views import NOT_SAID, PDUItem, Shown, known_uid, known_uids

Got = TypeVar("Got")
Given = TypeVar("Given")

_IDENTITY_TYPES = {
    1: "user name",
    2: "user name and passcode",
    3: "Kerberos service ticket",
    4: "SAML assertion",
    5: "JSON web token",
}


class Parameter(Generic[Got, Given]):
    """A descriptor for one parameter of a user information item, or of a primitive of `pdu_primitives`.

    Parameters
    ----------
    name
        Its name in PS3.7 or PS3.8.
    field
        The field of the wire item that holds it.
    default
        Its value before one is set.
    is_required
        Whether the item cannot be sent while the value is None.
    is_secret
        Whether the value may not be shown.
    """

    def __init__(
        self,
        name: str,
        field: str = "",
        default: Any = None,
        *,
        is_required: bool = False,
        is_secret: bool = False,
    ) -> None:
        self.name = name
        self.field = field
        self.default = default
        self.is_required = is_required
        self.is_secret = is_secret

    def __set_name__(self, owner: type[Parameters], attribute: str) -> None:
        self.attribute = attribute
        self.__doc__ = self.name

    @overload
    def __get__(self, view: None, owner: type) -> Self: ...
    @overload
    def __get__(self, view: Parameters, owner: type) -> Got: ...
    def __get__(self, view: Parameters | None, owner: type) -> Self | Got:
        if view is None:
            return self
        held: Got = vars(view)[self.attribute]
        return held

    def __set__(self, view: Parameters, value: Given) -> None:
        vars(view)[self.attribute] = self.check(value)

    def check(self, value: Given) -> Got:
        """The value to hold where a user gives ``value``; raises TypeError or ValueError."""
        raise NotImplementedError

    def received(self, value: Any) -> Any:
        """The value to hold where a wire item has ``value``."""
        return value

    def sent(self, value: Any) -> Any:
        """The value of the wire item where ``value`` is held."""
        return value

    def wrong_type(self, expected: str, value: object) -> TypeError:
        """The error to raise for a value that is not what is expected."""
        return TypeError(f"{self.name} takes {expected}, and got a value of type {type(value).__name__}")


class Number(Parameter[int, int]):
    """An unsigned integer of ``bits`` bits."""

    def __init__(self, name: str, field: str, default: int, bits: int) -> None:
        super().__init__(name, field, default)
        self.most = (1 << bits) - 1

    def check(self, value: int) -> int:
        if not isinstance(value, int):
            raise self.wrong_type("an int", value)
        if not 0 <= value <= self.most:
            raise ValueError(f"{self.name} is from 0 to {self.most}, and cannot be {value}")
        return value


class IdentityType(Parameter[int | None, int | None]):
    """1 user name, 2 user name and passcode, 3 Kerberos ticket, 4 SAML assertion, 5 JSON web token, or None."""

    def check(self, value: int | None) -> int | None:
        if value is None:
            return None
        if not isinstance(value, int):
            raise self.wrong_type("an int or None", value)
        if not 1 <= value <= 5:
            raise ValueError(f"{self.name} is from 1 to 5, and cannot be {value}")
        return value


class Flag(Parameter[bool, bool]):
    """Yes or no."""

    def check(self, value: bool) -> bool:
        if not isinstance(value, bool):
            raise self.wrong_type("a bool", value)
        return value


class Role(Parameter[bool | None, bool | None]):
    """Yes, no, or None, which is sent as no."""

    def check(self, value: bool | None) -> bool | None:
        if value is not None and not isinstance(value, bool):
            raise self.wrong_type("a bool or None", value)
        return value

    def sent(self, value: Any) -> bool:
        return bool(value)


class Octets(Parameter[bytes | None, bytes | None]):
    """Bytes that another standard or the service class defines, or None."""

    def check(self, value: bytes | None) -> bytes | None:
        if value is not None and not isinstance(value, bytes):
            raise self.wrong_type("bytes or None", value)
        return value


class Name(Parameter[str | None, str | None]):
    """Up to 16 printable ASCII characters, or None."""

    def check(self, value: str | None) -> str | None:
        return set_ae(value, self.name)


class Identifier(Parameter[UID | None, str | bytes | UID | None]):
    """A UID or None."""

    def check(self, value: str | bytes | UID | None) -> UID | None:
        return set_uid(value, self.name)

    def received(self, value: Any) -> UID:
        return UID(value, IGNORE)

    def sent(self, value: Any) -> str:
        return str(value)


class Identifiers(Parameter[list[UID], list[UID] | list[str] | list[bytes]]):
    """A list of UIDs, which may be empty."""

    def check(self, value: list[UID] | list[str] | list[bytes]) -> list[UID]:
        if not isinstance(value, list):
            raise self.wrong_type("a list of UIDs", value)
        uids = [set_uid(uid, self.name, allow_empty=False, allow_none=False) for uid in value]
        return [uid for uid in uids if uid]

    def received(self, value: Any) -> list[UID]:
        return [UID(uid, IGNORE) for uid in value]

    def sent(self, value: Any) -> tuple[str, ...]:
        return tuple(str(uid) for uid in value)


class Parameters:
    """Base of a class whose attributes are rows: each holds a value, at first the row's default."""

    parameters: ClassVar[tuple[Parameter[Any, Any], ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.parameters = tuple(row for row in vars(cls).values() if isinstance(row, Parameter))

    def __init__(self) -> None:
        own = vars(self)
        for row in self.parameters:
            own[row.attribute] = row.default.copy() if isinstance(row.default, list) else row.default

    def __repr__(self) -> str:
        shown = (f"{row.attribute}={_shown(row, vars(self)[row.attribute])}" for row in self.parameters)
        return f"{type(self).__name__}({', '.join(shown)})"


class ServiceParameter(Parameters):
    """Base of the items of user information: to the wire item and back.

    Two are equal if they are of one class and hold the same values.
    """

    item_type: ClassVar[type[Any]]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ServiceParameter):
            return NotImplemented
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def to_item(self) -> items.UserItem:
        """The wire item that holds these values.

        Raises
        ------
        ValueError
            If a value is missing without which the item cannot be sent.
        """
        fields = {}
        for row in self.parameters:
            value = vars(self)[row.attribute]
            if value is None and row.is_required:
                raise ValueError(f"{row.name} has no value")
            fields[row.field] = row.sent(value)
        item: items.UserItem = self.item_type(**fields)
        return item

    def from_primitive(self) -> UserInformationSubItem:
        """The sub-item that conveys these values; ValueError if one is missing."""
        item = self.to_item()
        return SUB_ITEMS[type(item)].of(item)

    @classmethod
    def from_item(cls, item: items.UserItem) -> Self:
        """The view of a wire item, with the values as the peer sent them."""
        view = cls()
        for row in cls.parameters:
            vars(view)[row.attribute] = row.received(getattr(item, row.field))
        return view


def _shown(row: Parameter[Any, Any], value: Any) -> str:
    if row.is_secret and value:
        return f"<{len(value)} bytes>"
    return str(list(map(str, value))) if isinstance(value, list) else repr(value)


class MaximumLengthNotification(ServiceParameter):
    """The largest P-DATA-TF PDU that this side takes (PS3.8 Annex D.1).

    Attributes
    ----------
    maximum_length_received : int
        In bytes, 0 for no limit.
    """

    item_type = items.MaximumLength
    maximum_length_received = Number("Maximum Length Received", "maximum_length", 16382, bits=32)


class ImplementationClassUIDNotification(ServiceParameter):
    """Which implementation this side is (PS3.7 Annex D.3.3.2).

    Attributes
    ----------
    implementation_class_uid : pydicom.uid.UID
        Required.
    """

    item_type = items.ImplementationClassUID
    implementation_class_uid = Identifier("Implementation Class UID", "uid", is_required=True)


class ImplementationVersionNameNotification(ServiceParameter):
    """Which version of the implementation this side is (PS3.7 Annex D.3.3.2).

    Attributes
    ----------
    implementation_version_name : str
        1 to 16 printable ASCII characters, required.
    """

    item_type = items.ImplementationVersionName
    implementation_version_name = Name("Implementation Version Name", "name", is_required=True)


class AsynchronousOperationsWindowNegotiation(ServiceParameter):
    """How many operations may be outstanding at once (PS3.7 Annex D.3.3.3).

    Attributes
    ----------
    maximum_number_operations_invoked : int
        By the association requestor, 0 for no limit.
    maximum_number_operations_performed : int
        By the association acceptor, 0 for no limit.
    """

    item_type = items.AsynchronousOperationsWindow
    maximum_number_operations_invoked = Number(
        "Maximum Number Operations Invoked", "invoked", default=1, bits=16
    )
    maximum_number_operations_performed = Number(
        "Maximum Number Operations Performed", "performed", default=1, bits=16
    )


class SCP_SCU_RoleSelectionNegotiation(ServiceParameter):
    """Which roles the association requestor takes for a SOP class (PS3.7 Annex D.3.3.4).

    Attributes
    ----------
    sop_class_uid : pydicom.uid.UID
        Required.
    scu_role, scp_role : bool or None
        At least one must be True.
    """

    item_type = items.RoleSelection
    sop_class_uid = Identifier("SOP Class UID", "sop_class", is_required=True)
    scu_role = Role("SCU Role", "scu_role")
    scp_role = Role("SCP Role", "scp_role")

    def to_item(self) -> items.UserItem:
        """The wire item that holds these values.

        Raises
        ------
        ValueError
            If the SOP class is missing, or neither role is taken.
        """
        item = super().to_item()
        if not (self.scu_role or self.scp_role):
            raise ValueError(f"neither the SCU nor the SCP role is proposed for {self.sop_class_uid}")
        return item


def build_role(
    uid: str | UID, scu_role: bool = False, scp_role: bool = False
) -> SCP_SCU_RoleSelectionNegotiation:
    """A role selection to propose, for instance the SCP role for the storage SOP classes of a C-GET.

    Parameters
    ----------
    uid
        SOP Class UID.
    scu_role, scp_role
        Whether the requestor takes that role.

    Raises
    ------
    TypeError
        If one of them is of another type.
    ValueError
        If the first cannot be a UID.
    """
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid = UID(uid)
    role.scu_role = scu_role
    role.scp_role = scp_role
    return role


class SOPClassExtendedNegotiation(ServiceParameter):
    """Negotiation that the service class defines for a SOP class (PS3.7 Annex D.3.3.5).

    Attributes
    ----------
    sop_class_uid : pydicom.uid.UID
        Required.
    service_class_application_information : bytes
        Defined by the service class, required.
    """

    item_type = items.SOPClassExtendedNegotiation
    sop_class_uid = Identifier("SOP Class UID", "sop_class", is_required=True)
    service_class_application_information = Octets(
        "Service Class Application Information", "application_information", is_required=True
    )


class SOPClassCommonExtendedNegotiation(ServiceParameter):
    """The service class and the general SOP classes that a SOP class belongs to (PS3.7 Annex D.3.3.6).

    Attributes
    ----------
    sop_class_uid, service_class_uid : pydicom.uid.UID
        Required.
    related_general_sop_class_identification : list of pydicom.uid.UID
        May be empty.
    """

    item_type = items.SOPClassCommonExtendedNegotiation
    sop_class_uid = Identifier("SOP Class UID", "sop_class", is_required=True)
    service_class_uid = Identifier("Service Class UID", "service_class", is_required=True)
    related_general_sop_class_identification = Identifiers(
        "Related General SOP Class Identification", "related_general_sop_classes", default=[]
    )


class UserIdentityNegotiation(ServiceParameter):
    """Who uses the association, or the acceptor's answer to that (PS3.7 Annex D.3.3.7).

    Attributes
    ----------
    user_identity_type : int
        1 user name, 2 user name and passcode, 3 Kerberos ticket, 4 SAML assertion, 5 JSON web token. Required
        in a request.
    positive_response_requested : bool
        Whether the acceptor shall answer.
    primary_field : bytes
        The user name, ticket, assertion or token. Required in a request.
    secondary_field : bytes
        The passcode, required with type 2.
    server_response : bytes
        What makes this an answer: the Kerberos server ticket, SAML response or JSON web token, or empty.
    """

    item_type = items.UserIdentityRQ
    user_identity_type = IdentityType("User Identity Type", "identity_type", is_required=True)
    positive_response_requested = Flag(
        "Positive Response Requested", "positive_response_requested", default=False
    )
    primary_field = Octets("Primary Field", "primary_field", is_required=True, is_secret=True)
    secondary_field = Octets("Secondary Field", "secondary_field", default=b"", is_secret=True)
    server_response = Octets("Server Response", "server_response", is_secret=True)

    def to_item(self) -> items.UserItem:
        """The wire item that holds these values: an answer if there is a server response, else a request.

        Raises
        ------
        ValueError
            If a value is missing without which the item cannot be sent.
        """
        if self.server_response is not None:
            return items.UserIdentityAC(self.server_response)
        if self.user_identity_type is None or self.primary_field is None:
            raise ValueError("User Identity Type and Primary Field have no value")
        if self.user_identity_type == 2 and not self.secondary_field:
            raise ValueError("Secondary Field has no value, and User Identity Type 2 needs a passcode there")
        return items.UserIdentityRQ(
            self.user_identity_type,
            self.primary_field,
            self.secondary_field or b"",
            self.positive_response_requested,
        )

    @classmethod
    def from_item(cls, item: items.UserItem) -> Self:
        """The view of a wire item of either kind, with the values as the peer sent them."""
        view = cls()
        for row in cls.parameters:
            if hasattr(item, row.field):
                vars(view)[row.attribute] = getattr(item, row.field)
        return view


_VIEWS: dict[type[items.UserItem], type[ServiceParameter]] = {
    view.item_type: view
    for view in (
        MaximumLengthNotification,
        ImplementationClassUIDNotification,
        ImplementationVersionNameNotification,
        AsynchronousOperationsWindowNegotiation,
        SCP_SCU_RoleSelectionNegotiation,
        SOPClassExtendedNegotiation,
        SOPClassCommonExtendedNegotiation,
        UserIdentityNegotiation,
    )
} | {items.UserIdentityAC: UserIdentityNegotiation}


def view_of(item: items.UserItem) -> ServiceParameter:
    """The view of a wire item, of the class that fits it."""
    return _VIEWS[type(item)].from_item(item)


class UserInformationSubItem(PDUItem):
    """A sub-item of the User Information Item."""

    def from_primitive(self, primitive: ServiceParameter) -> None:
        """Show the sub-item that conveys an item of `pdu_primitives`.

        Raises
        ------
        TypeError
            If it is of another kind.
        ValueError
            If a value is missing.
        """
        wire = primitive.to_item()
        if not isinstance(wire, self.wire_type):
            raise TypeError(f"a {type(primitive).__name__} is not a {type(self).__name__}")
        self.wire = wire

    def to_primitive(self) -> ServiceParameter:
        """The item of `pdu_primitives`; ValueError if nothing was decoded yet."""
        if self.wire is None:
            raise ValueError(f"there is nothing in this {type(self).__name__} yet")
        return view_of(self.wire)


class MaximumLengthSubItem(UserInformationSubItem):
    """Maximum Length Sub-item (PS3.8 Annex D.1)."""

    wire_type = items.MaximumLength
    maximum_length_received = Shown("maximum_length")


class ImplementationClassUIDSubItem(UserInformationSubItem):
    """Implementation Class UID Sub-item (PS3.7 Annex D.3.3.2.1)."""

    wire_type = items.ImplementationClassUID
    implementation_class_uid = Shown("uid", known_uid)


class ImplementationVersionNameSubItem(UserInformationSubItem):
    """Implementation Version Name Sub-item (PS3.7 Annex D.3.3.2.3)."""

    wire_type = items.ImplementationVersionName
    implementation_version_name = Shown("name")


class AsynchronousOperationsWindowSubItem(UserInformationSubItem):
    """Asynchronous Operations Window Sub-item (PS3.7 Annex D.3.3.3)."""

    wire_type = items.AsynchronousOperationsWindow
    maximum_number_operations_invoked = max_operations_invoked = Shown("invoked")
    maximum_number_operations_performed = max_operations_performed = Shown("performed")


class SCP_SCU_RoleSelectionSubItem(UserInformationSubItem):
    """SCP/SCU Role Selection Sub-item (PS3.7 Annex D.3.3.4)."""

    wire_type = items.RoleSelection
    sop_class_uid = uid = Shown("sop_class", known_uid)
    uid_length = Shown("sop_class", len, empty=0)
    scu_role = scu = Shown("scu_role", int)
    scp_role = scp = Shown("scp_role", int)


class SOPClassExtendedNegotiationSubItem(UserInformationSubItem):
    """SOP Class Extended Negotiation Sub-item (PS3.7 Annex D.3.3.5)."""

    wire_type = items.SOPClassExtendedNegotiation
    sop_class_uid = uid = Shown("sop_class", known_uid)
    sop_class_uid_length = Shown("sop_class", len, empty=0)
    service_class_application_information = app_info = Shown("application_information")


class SOPClassCommonExtendedNegotiationSubItem(UserInformationSubItem):
    """SOP Class Common Extended Negotiation Sub-item (PS3.7 Annex D.3.3.6)."""

    wire_type = items.SOPClassCommonExtendedNegotiation
    sub_item_version = Shown("version", empty=0)
    sop_class_uid = Shown("sop_class", known_uid)
    sop_class_uid_length = Shown("sop_class", len, empty=0)
    service_class_uid = Shown("service_class", known_uid)
    service_class_uid_length = Shown("service_class", len, empty=0)
    related_general_sop_class_identification = Shown("related_general_sop_classes", known_uids, empty=[])
    related_general_sop_class_identification_length = Shown(
        "related_general_sop_classes", lambda uids: sum(2 + len(uid) for uid in uids), empty=0
    )


class UserIdentitySubItemRQ(UserInformationSubItem):
    """User Identity Sub-item of a request (PS3.7 Annex D.3.3.7.1). Its text does not say who the user is."""

    wire_type = items.UserIdentityRQ
    user_identity_type = id_type = Shown("identity_type")
    id_type_str = Shown("identity_type", lambda code: _IDENTITY_TYPES.get(code, NOT_SAID), empty=NOT_SAID)
    positive_response_requested = Shown("positive_response_requested", int)
    response_requested = Shown("positive_response_requested")
    primary_field = primary = Shown("primary_field")
    primary_field_length = Shown("primary_field", len, empty=0)
    secondary_field = secondary = Shown("secondary_field", empty=b"")
    secondary_field_length = Shown("secondary_field", len, empty=0)

    def _lines(self, indent: str = "") -> list[str]:
        return [f"{indent}{type(self).__name__}", f"{indent}  user_identity_type: {self.id_type_str}"]


class UserIdentitySubItemAC(UserInformationSubItem):
    """User Identity Sub-item of an acceptance (PS3.7 Annex D.3.3.7.2). Its text leaves out the response."""

    wire_type = items.UserIdentityAC
    server_response = response = Shown("server_response")
    server_response_length = Shown("server_response", len, empty=0)

    def _lines(self, indent: str = "") -> list[str]:
        return [
            f"{indent}{type(self).__name__}",
            f"{indent}  server_response_length: {self.server_response_length}",
        ]


SUB_ITEMS: dict[type[items.UserItem], type[UserInformationSubItem]] = {
    view.wire_type: view for view in UserInformationSubItem.__subclasses__()
}
