"""The primitives of the upper layer service (PS3.8 chapter 7), as events show them.

Each is a view of a PDU of ``wire.pdu``. The items of user information, which belong to A-ASSOCIATE, lie in
`user_information` and can be imported from here.
"""

from __future__ import annotations

import socket
from typing import Any, Generic, NamedTuple, Self, TypeVar

from pydicom.config import IGNORE
from pydicom.uid import UID

from ..drivers.connection import ProviderAbort
from ..errors import REJECT_REASONS, REJECT_SOURCES
from ..wire.fields import text_from
from ..wire.items import ContextResult, ProposedContext
from ..wire.pdu import (
    DICOM_APPLICATION_CONTEXT,
    PDU,
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    DataValue,
    PDataTF,
    ReleaseRP,
    ReleaseRQ,
)
from .presentation import PresentationContext
from .user_information import (
    AsynchronousOperationsWindowNegotiation as AsynchronousOperationsWindowNegotiation,
)
from .user_information import Identifier, Parameter, Parameters, ServiceParameter, view_of
from .user_information import (
    ImplementationClassUIDNotification as ImplementationClassUIDNotification,
)
from .user_information import (
    ImplementationVersionNameNotification as ImplementationVersionNameNotification,
)
from .user_information import MaximumLengthNotification as MaximumLengthNotification
from .user_information import SCP_SCU_RoleSelectionNegotiation as SCP_SCU_RoleSelectionNegotiation
from .user_information import SOPClassCommonExtendedNegotiation as SOPClassCommonExtendedNegotiation
from .user_information import SOPClassExtendedNegotiation as SOPClassExtendedNegotiation
from .user_information import UserIdentityNegotiation as UserIdentityNegotiation
from .utils import set_ae
from .views import NOT_SAID

Element = TypeVar("Element")

_RESULTS = {0: "accepted", 1: "rejected permanently", 2: "rejected for now"}
_SERVICE_PROVIDER = 2
_COMMAND, _LAST = 1, 2


class _AddressFields(NamedTuple):
    address: str
    port: int
    flowinfo: int = 0
    scope_id: int = 0


class AddressInformation(_AddressFields):
    """A transport address (PS3.8 section 9.1.1).

    Parameters
    ----------
    address
        IP address, or a host name, of which the address is looked up; empty for every IPv4 address.
    port
        TCP port.
    flowinfo, scope_id
        Of an IPv6 address.

    Raises
    ------
    socket.gaierror
        If the host name is not known.
    """

    __slots__ = ()

    def __new__(cls, address: str, port: int, flowinfo: int = 0, scope_id: int = 0) -> Self:
        return super().__new__(cls, _looked_up(address), port, flowinfo, scope_id)

    @classmethod
    def as_given(cls, host: str, port: int) -> Self:
        """With a host name as it is, which is not looked up."""
        return cls._make((host, port, 0, 0))

    @property
    def is_ipv6(self) -> bool:
        """Whether the address is one of IPv6."""
        return ":" in self.address

    @property
    def is_ipv4(self) -> bool:
        """Whether the address is one of IPv4, or a host name."""
        return not self.is_ipv6

    @property
    def as_tuple(self) -> tuple[str, int] | tuple[str, int, int, int]:
        """The address in the form that the functions of `socket` need."""
        if self.is_ipv6:
            return self.address, self.port, self.flowinfo, self.scope_id
        return self.address, self.port

    @property
    def address_family(self) -> int:
        """``socket.AF_INET6`` or ``socket.AF_INET``."""
        return socket.AF_INET6 if self.is_ipv6 else socket.AF_INET

    @classmethod
    def from_addr_port(cls, addr: str | tuple[str, int, int], port: int) -> Self:
        """From a host and a port.

        Parameters
        ----------
        addr
            Host name or IP address; of IPv6 also with flow info and scope ID.
        port
            TCP port.
        """
        return cls(addr, port) if isinstance(addr, str) else cls(addr[0], port, *addr[1:])

    @classmethod
    def from_tuple(cls, address_info: tuple[str, int] | tuple[str, int, int, int]) -> Self:
        """From what the functions of `socket` give."""
        return cls(*address_info)


def _looked_up(host: str) -> str:
    if ":" in host or (host and host.replace(".", "").isdecimal()):
        return host
    if not host:
        return "0.0.0.0"
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    # IPv4 first, which is what peers in hospitals listen on.
    addresses = sorted(found, key=lambda each: each[0] != socket.AF_INET)
    return str(addresses[0][4][0])


class Choice(Parameter[int | None, int | None]):
    """A code of a few, or None before it is set."""

    def __init__(self, name: str, *codes: int) -> None:
        super().__init__(name)
        self.codes = codes

    def check(self, value: int | None) -> int | None:
        if value is not None and value not in self.codes:
            raise ValueError(f"{self.name} is one of {', '.join(map(str, self.codes))}")
        return value


class NecessaryChoice(Choice):
    """One of a few codes; ValueError is raised for None, and where it is read before it is set."""

    def check(self, value: int | None) -> int | None:
        if value is None:
            raise ValueError(f"{self.name} cannot be None")
        return super().check(value)

    def __get__(self, view: Parameters | None, owner: type) -> Any:
        if view is not None and vars(view)[self.attribute] is None:
            raise ValueError(f"{self.name} has no value")
        return super().__get__(view, owner)


class ReleaseResult(Parameter[str | None, str | None]):
    """``affirmative`` in a response, None in a request."""

    def check(self, value: str | None) -> str | None:
        if value not in (None, "affirmative"):
            raise ValueError(f"{self.name} is 'affirmative' or None")
        return value


class Title(Parameter[str, str]):
    """An AE title of 1 to 16 characters."""

    def check(self, value: str) -> str:
        return set_ae(value, self.name, allow_empty=False, allow_none=False) or ""


class PresentationAddress(Parameter[AddressInformation | None, AddressInformation | None]):
    """A transport address, or None where it is not known."""

    def check(self, value: AddressInformation | None) -> AddressInformation | None:
        if value is not None and not isinstance(value, AddressInformation):
            raise self.wrong_type("an AddressInformation or None", value)
        return value


class ListOf(Parameter[list[Element], list[Element]], Generic[Element]):
    """A list of objects of one class; those of other classes are left out."""

    def __init__(self, name: str, kind: type[Element]) -> None:
        super().__init__(name, default=[])
        self.kind = kind

    def check(self, value: list[Element]) -> list[Element]:
        if not isinstance(value, list):
            raise self.wrong_type("a list", value)
        return [each for each in value if isinstance(each, self.kind)]


class DataValues(Parameter[list[Any], list[Any]]):
    """A list of pairs: presentation context ID, and message control header with fragment as bytes."""

    def check(self, value: list[Any]) -> list[Any]:
        if not isinstance(value, list):
            raise self.wrong_type("a list", value)
        for pair in value:
            match pair:
                case [int(), bytes()]:
                    continue
                case _:
                    raise TypeError(f"{self.name} takes pairs of int and bytes")
        return value


class Constant:
    """A parameter that has only one value."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __get__(self, view: object, owner: type) -> str:
        return self.value

    def __set__(self, view: object, value: object) -> None:
        raise AttributeError(f"this is always {self.value!r}")


class A_ASSOCIATE(Parameters):
    """Establish an association (PS3.8 section 7.1): a request, or with `result` its response.

    Attributes
    ----------
    application_context_name : pydicom.uid.UID or None
    calling_ae_title, called_ae_title : str
        1 to 16 characters, ``DEFAULT`` before they are set.
    calling_presentation_address, called_presentation_address : AddressInformation or None
    user_information : list
        Of the classes of `user_information`.
    presentation_context_definition_list : list of PresentationContext
        What is proposed, in a request.
    presentation_context_definition_results_list : list of PresentationContext
        The results, in a response that accepts.
    result : int or None
        0 accepted, 1 rejected permanently, 2 rejected for now; None in a request.
    result_source : int or None
        1 service user, 2 service provider (ACSE), 3 service provider (presentation).
    diagnostic : int or None
        The reason of a rejection, see PS3.8 Table 9-21.
    mode, presentation_requirements, session_requirements : str
        Have one value each.
    """

    mode = Constant("normal")
    presentation_requirements = Constant("Presentation Kernel")
    session_requirements = Constant("")
    application_context_name = Identifier("Application Context Name")
    calling_ae_title = Title("Calling AE Title", default="DEFAULT")
    called_ae_title = Title("Called AE Title", default="DEFAULT")
    calling_presentation_address = PresentationAddress("Calling Presentation Address")
    called_presentation_address = PresentationAddress("Called Presentation Address")
    user_information = ListOf("User Information", ServiceParameter)
    presentation_context_definition_list = ListOf("Presentation Context Definition List", PresentationContext)
    presentation_context_definition_results_list = ListOf(
        "Presentation Context Definition Result List", PresentationContext
    )
    result = Choice("Result", 0, 1, 2)
    result_source = Choice("Result Source", 1, 2, 3)
    diagnostic = Choice("Diagnostic", 1, 2, 3, 7)

    @property
    def responding_ae_title(self) -> str:
        """The same as `called_ae_title`."""
        return self.called_ae_title

    @property
    def responding_presentation_address(self) -> AddressInformation | None:
        """The same as `called_presentation_address`."""
        return self.called_presentation_address

    @property
    def maximum_length_received(self) -> int | None:
        """Maximum Length Received of the user information, in bytes, or None where it is not there.

        Raises
        ------
        TypeError, ValueError
            When set to something that it cannot be.
        """
        item = self._item(MaximumLengthNotification)
        return None if item is None else item.maximum_length_received

    @maximum_length_received.setter
    def maximum_length_received(self, value: int) -> None:
        self._set(MaximumLengthNotification, "maximum_length_received", value)

    @property
    def implementation_class_uid(self) -> UID:
        """Implementation Class UID of the user information.

        Raises
        ------
        ValueError
            If it is not there, or is set to what cannot be a UID.
        TypeError
            When set to something else.
        """
        item = self._item(ImplementationClassUIDNotification)
        if item is None or item.implementation_class_uid is None:
            raise ValueError("Implementation Class UID has no value")
        return item.implementation_class_uid

    @implementation_class_uid.setter
    def implementation_class_uid(self, value: str | bytes | UID) -> None:
        if value is None:
            raise ValueError("Implementation Class UID cannot be None")
        self._set(ImplementationClassUIDNotification, "implementation_class_uid", value)

    @property
    def result_str(self) -> str:
        """`result` in words."""
        return NOT_SAID if self.result is None else _RESULTS[self.result]

    @property
    def source_str(self) -> str:
        """`result_source` in words."""
        return NOT_SAID if self.result_source is None else REJECT_SOURCES[self.result_source]

    @property
    def reason_str(self) -> str:
        """`diagnostic` in words."""
        source, reason = self.result_source, self.diagnostic
        return (
            NOT_SAID if source is None or reason is None else REJECT_REASONS.get((source, reason), NOT_SAID)
        )

    def _item(self, kind: type[Element]) -> Element | None:
        return next((item for item in self.user_information if isinstance(item, kind)), None)

    def _set(self, kind: type[ServiceParameter], attribute: str, value: object) -> None:
        item = self._item(kind)
        if item is not None:
            setattr(item, attribute, value)
            return
        item = kind()
        setattr(item, attribute, value)
        self.user_information.append(item)

    @classmethod
    def from_pdu(
        cls, pdu: AssociateRQ | AssociateAC | AssociateRJ, request: AssociateRQ | None = None
    ) -> Self:
        """The view of a PDU, with the values as they were sent.

        Parameters
        ----------
        request
            What an answer answers; its abstract syntaxes are shown with the results.
        """
        view = cls()
        held = vars(view)
        if isinstance(pdu, AssociateRJ):
            held.update(result=pdu.result, result_source=pdu.source, diagnostic=pdu.reason)
            return view
        titles = (
            (pdu.called_ae_title, pdu.calling_ae_title)
            if isinstance(pdu, AssociateRQ)
            else (text_from(memoryview(pdu.reserved)[:16]), text_from(memoryview(pdu.reserved)[16:32]))
        )
        held.update(
            (name, title)
            for name, title in zip(("called_ae_title", "calling_ae_title"), titles, strict=True)
            if title
        )
        held["application_context_name"] = UID(pdu.application_context, IGNORE)
        held["user_information"] = [view_of(item) for item in pdu.user_items]
        if isinstance(pdu, AssociateRQ):
            held["presentation_context_definition_list"] = [_proposed(item) for item in pdu.contexts]
            return view
        names = {each.context_id: each.abstract_syntax for each in request.contexts} if request else {}
        held.update(
            presentation_context_definition_results_list=[
                _concluded(item, names.get(item.context_id)) for item in pdu.contexts
            ],
            result=0,
            result_source=1,
        )
        return view

    def to_pdu(self) -> AssociateRQ | AssociateAC | AssociateRJ:
        """The PDU that conveys this primitive, by its `result`.

        Raises
        ------
        ValueError
            If a value is missing without which it cannot be sent.
        """
        if self.result in (1, 2):
            if self.result_source is None or self.diagnostic is None:
                raise ValueError("a rejection needs a Result Source and a Diagnostic")
            return AssociateRJ(self.result, self.result_source, self.diagnostic)
        items = tuple(item.to_item() for item in self.user_information)
        context_name = str(self.application_context_name or DICOM_APPLICATION_CONTEXT)
        if self.result is None:
            proposed = tuple(
                each.to_item(each.context_id or 2 * index + 1)
                for index, each in enumerate(self.presentation_context_definition_list)
            )
            return AssociateRQ(self.called_ae_title, self.calling_ae_title, proposed, items, context_name)
        titles = (
            self.called_ae_title.encode("ascii").ljust(16),
            self.calling_ae_title.encode("ascii").ljust(16),
        )
        results = tuple(_result(each) for each in self.presentation_context_definition_results_list)
        return AssociateAC(results, items, b"".join(titles) + bytes(32), context_name)


def _proposed(item: ProposedContext) -> PresentationContext:
    context = _concluded(item, item.abstract_syntax)
    context._transfer_syntax = [UID(uid, IGNORE) for uid in item.transfer_syntaxes]
    return context


def _concluded(item: ProposedContext | ContextResult, abstract_syntax: str | None) -> PresentationContext:
    context = PresentationContext()
    context._context_id = item.context_id
    context._abstract_syntax = None if abstract_syntax is None else UID(abstract_syntax, IGNORE)
    if isinstance(item, ContextResult):
        context.result = int(item.result)
        context._transfer_syntax = [UID(item.transfer_syntax, IGNORE)] if item.transfer_syntax else []
    return context


def _result(context: PresentationContext) -> ContextResult:
    if context.context_id is None or context.result is None:
        raise ValueError("a presentation context of a response needs its ID and its result")
    return ContextResult(context.context_id, context.result, str(next(iter(context.transfer_syntax), "")))


class A_RELEASE(Parameters):
    """Release an association in order (PS3.8 section 7.2): a request, or with `result` its response.

    Attributes
    ----------
    reason : str
        Always ``normal``.
    result : str or None
        ``affirmative`` in a response, None in a request.
    """

    reason = Constant("normal")
    result = ReleaseResult("Result")

    @classmethod
    def from_pdu(cls, pdu: ReleaseRQ | ReleaseRP) -> Self:
        """The view of a PDU."""
        view = cls()
        view.result = "affirmative" if isinstance(pdu, ReleaseRP) else None
        return view

    def to_pdu(self) -> ReleaseRQ | ReleaseRP:
        """The PDU that conveys this primitive."""
        return ReleaseRQ() if self.result is None else ReleaseRP()


class A_ABORT(Parameters):
    """Abort an association by its user (PS3.8 section 7.3).

    Attributes
    ----------
    abort_source : int
        0 service user, 2 service provider. Reading it raises ValueError before it is set.
    """

    abort_source = NecessaryChoice("Abort Source", 0, 1, 2)

    @classmethod
    def from_pdu(cls, pdu: Abort) -> Self:
        """The view of a PDU."""
        view = cls()
        vars(view)["abort_source"] = pdu.source
        return view

    def to_pdu(self) -> Abort:
        """The PDU that conveys this primitive; raises ValueError where there is no source."""
        return Abort(self.abort_source)


class A_P_ABORT(Parameters):
    """The upper layer aborts an association (PS3.8 section 7.4): a fault was found, or the connection is gone.

    Attributes
    ----------
    provider_reason : int
        0 no reason, 1 unrecognised PDU, 2 unexpected PDU, 4 unrecognised parameter, 5 unexpected parameter,
        6 invalid parameter value. Reading it raises ValueError before it is set.
    """

    provider_reason = NecessaryChoice("Provider Reason", 0, 1, 2, 4, 5, 6)

    @classmethod
    def from_pdu(cls, pdu: Abort | ProviderAbort) -> Self:
        """The view of the peer's PDU, or of what this side found."""
        view = cls()
        fault = pdu.error if isinstance(pdu, ProviderAbort) else pdu
        vars(view)["provider_reason"] = 0 if fault is None else fault.reason
        return view

    def to_pdu(self) -> Abort:
        """The PDU that conveys this primitive; raises ValueError where there is no reason."""
        return Abort(_SERVICE_PROVIDER, self.provider_reason)


class P_DATA(Parameters):
    """Carry parts of messages (PS3.8 section 7.6).

    Attributes
    ----------
    presentation_data_value_list : list
        Pairs of presentation context ID, and bytes: the message control header (PS3.8 Annex E.2) and a fragment.
    """

    presentation_data_value_list = DataValues("Presentation Data Value List", default=[])

    @classmethod
    def from_pdu(cls, pdu: PDataTF) -> Self:
        """The view of a PDU."""
        view = cls()
        view.presentation_data_value_list = [
            [each.context_id, bytes((each.is_command * _COMMAND | each.is_last * _LAST,)) + each.data]
            for each in pdu.values
        ]
        return view

    def to_pdu(self) -> PDataTF:
        """The PDU that conveys this primitive.

        Raises
        ------
        ValueError
            If a value has no message control header.
        """
        values = []
        for context_id, data in self.presentation_data_value_list:
            if not data:
                raise ValueError("a presentation data value has no message control header")
            values.append(DataValue(context_id, bool(data[0] & _COMMAND), bool(data[0] & _LAST), data[1:]))
        return PDataTF(tuple(values))


Primitive = A_ASSOCIATE | A_RELEASE | A_ABORT | A_P_ABORT | P_DATA

_PRIMITIVES: dict[type[Any], type[Any]] = {
    AssociateRJ: A_ASSOCIATE,
    AssociateRQ: A_ASSOCIATE,
    PDataTF: P_DATA,
    ProviderAbort: A_P_ABORT,
    ReleaseRP: A_RELEASE,
    ReleaseRQ: A_RELEASE,
}


def primitive_of(pdu: PDU | ProviderAbort, request: AssociateRQ | None = None) -> Primitive:
    """The primitive that a PDU conveys.

    Parameters
    ----------
    pdu
        The PDU, or what ended the association without one.
    request
        What an A-ASSOCIATE-AC answers.
    """
    if isinstance(pdu, AssociateAC):
        return A_ASSOCIATE.from_pdu(pdu, request)
    if isinstance(pdu, Abort):
        return A_P_ABORT.from_pdu(pdu) if pdu.source == _SERVICE_PROVIDER else A_ABORT.from_pdu(pdu)
    primitive: Primitive = _PRIMITIVES[type(pdu)].from_pdu(pdu)
    return primitive
