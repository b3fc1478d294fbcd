"""The two sides of an association: AE titles, addresses, presentation contexts and extended negotiation."""

from __future__ import annotations

from typing import Any, TypeVar

from pydicom.uid import UID

from .._version import IMPLEMENTATION_CLASS_UID
from ..wire.pdu import AssociateAC, AssociateRJ, AssociateRQ
from .pdu_primitives import A_ASSOCIATE, AddressInformation
from .presentation import PresentationContext
from .user_information import (
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    ServiceParameter,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from .utils import title_of

Item = TypeVar("Item", bound=ServiceParameter)

DEFAULT_MAXIMUM_LENGTH = 16382

_IDENTIFICATION = (
    MaximumLengthNotification,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
)
_EXTENDED = (
    SCP_SCU_RoleSelectionNegotiation,
    AsynchronousOperationsWindowNegotiation,
    UserIdentityNegotiation,
    SOPClassExtendedNegotiation,
    SOPClassCommonExtendedNegotiation,
)
# The names of the lists of presentation contexts: the side's own, and those of its A-ASSOCIATE PDU (PS3.8 7.1.1.13).
_LISTS = {"requestor": ("requested", "pcdl"), "acceptor": ("supported", "pcdrl")}


class _Identification:
    """An attribute that shows a value of an identification item; it can be set before negotiation.

    Parameters
    ----------
    kind
        The class of the item.
    attribute
        Its attribute.
    """

    def __init__(self, kind: type[ServiceParameter], attribute: str) -> None:
        self.kind = kind
        self.attribute = attribute

    def __get__(self, user: ServiceUser | None, owner: type) -> Any:
        if user is None:
            return self
        item = next(iter(user._items_of(self.kind)), None)
        return None if item is None else getattr(item, self.attribute)

    def __set__(self, user: ServiceUser, value: object) -> None:
        user._check_writeable()
        item = self.kind()
        setattr(item, self.attribute, value)
        others = [each for each in user._given_items() if not isinstance(each, self.kind)]
        user._items = others if value is None else [*others, item]


class ServiceUser:
    """One of the two sides of an association.

    Parameters
    ----------
    assoc
        The association.
    mode
        ``requestor`` or ``acceptor``.

    Attributes
    ----------
    assoc : Association or None
        The association.
    address_info : AddressInformation or None
        Its transport address, where it is known.
    maximum_length : int or None
        The largest PDU-length of a P-DATA-TF that it takes, in bytes; 0 is no limit.
    implementation_class_uid : pydicom.uid.UID or None
        The implementation (PS3.7 Annex D.3.3.2).
    implementation_version_name : str or None
        The version of the implementation.

    Raises
    ------
    ValueError
        If ``mode`` is something else.
    """

    maximum_length = _Identification(MaximumLengthNotification, "maximum_length_received")
    implementation_class_uid = _Identification(ImplementationClassUIDNotification, "implementation_class_uid")
    implementation_version_name = _Identification(
        ImplementationVersionNameNotification, "implementation_version_name"
    )

    def __init__(self, assoc: Any, mode: str) -> None:
        if mode not in _LISTS:
            raise ValueError(f"the mode of a service user is 'requestor' or 'acceptor', not {mode!r}")
        self.assoc = assoc
        self._mode = mode
        self.address_info: AddressInformation | None = None
        self._ae_title = ""
        self._contexts: list[PresentationContext] = []
        self._common: dict[UID, tuple[UID, list[UID]]] = {}
        self._pdu: AssociateRQ | AssociateAC | AssociateRJ | None = None
        self._request: AssociateRQ | None = None
        self._primitive: A_ASSOCIATE | None = None
        # Made at the first access, which most associations never see.
        self._items: list[ServiceParameter] | None = None

    def negotiated(
        self, pdu: AssociateRQ | AssociateAC | AssociateRJ, request: AssociateRQ | None = None
    ) -> None:
        """Fill in the A-ASSOCIATE PDU of this side, which cannot be changed from now on.

        Parameters
        ----------
        pdu
            The PDU.
        request
            The request that the PDU answers.
        """
        if isinstance(pdu, AssociateRQ):
            self._ae_title = pdu.calling_ae_title
        self._pdu, self._request, self._primitive = pdu, request, None

    @property
    def primitive(self) -> A_ASSOCIATE | None:
        """Its A-ASSOCIATE primitive, None before negotiation."""
        if self._primitive is None and self._pdu is not None:
            self._primitive = A_ASSOCIATE.from_pdu(self._pdu, self._request)
        return self._primitive

    @property
    def writeable(self) -> bool:
        """Whether it can be changed, which negotiation ends."""
        return self._pdu is None

    def _check_writeable(self) -> None:
        if not self.writeable:
            raise RuntimeError("a service user cannot be changed once negotiation has begun")

    @property
    def mode(self) -> str:
        """``requestor`` or ``acceptor``."""
        return self._mode

    @property
    def is_acceptor(self) -> bool:
        """Whether it is the side that was asked for the association (PS3.8 section 7.1)."""
        return self._mode == "acceptor"

    @property
    def is_requestor(self) -> bool:
        """Whether it is the side that requested the association (PS3.8 section 7.1)."""
        return self._mode == "requestor"

    @property
    def ae_title(self) -> str:
        """Its AE title, empty where it is not known yet.

        Raises
        ------
        RuntimeError
            When set after negotiation has begun.
        TypeError, ValueError
            When set to what cannot be an AE title.
        """
        return self._ae_title

    @ae_title.setter
    def ae_title(self, value: str | bytes) -> None:
        self._check_writeable()
        self._ae_title = title_of(value, "AE title")

    @property
    def address(self) -> str:
        """Its host name or IP address; ValueError where that is not known."""
        return self._known_address().address

    @property
    def port(self) -> int:
        """Its TCP port; ValueError where that is not known."""
        return self._known_address().port

    def _known_address(self) -> AddressInformation:
        if self.address_info is None:
            raise ValueError(f"the address of the {self._mode} is not known")
        return self.address_info

    @property
    def info(self) -> dict[str, Any]:
        """AE title, address, port, mode and, once it is negotiated, the maximum length as ``pdv_size``."""
        known = self.address_info
        info = {
            "ae_title": self._ae_title,
            "address": known and known.address,
            "port": known and known.port,
            "mode": self._mode,
        }
        return info if self.writeable else info | {"pdv_size": self.maximum_length}

    def get_contexts(self, cx_type: str) -> list[PresentationContext]:
        """One of its lists of presentation contexts.

        Parameters
        ----------
        cx_type
            ``requested`` or ``pcdl`` of a requestor, ``supported`` or ``pcdrl`` of an acceptor: what it was given,
            or what its A-ASSOCIATE PDU has.

        Raises
        ------
        ValueError
            If there is no such list, or not yet.
        """
        own, negotiated = _LISTS[self._mode]
        if cx_type == own and (self._contexts or self.writeable):
            return self._contexts
        primitive = self.primitive
        if cx_type != negotiated or primitive is None:
            raise ValueError(f"the {self._mode} has no list of presentation contexts called {cx_type!r}")
        if self.is_requestor:
            return primitive.presentation_context_definition_list
        return primitive.presentation_context_definition_results_list

    @property
    def requested_contexts(self) -> list[PresentationContext]:
        """The presentation contexts that the requestor proposes.

        Raises
        ------
        ValueError
            If this is the acceptor.
        AttributeError
            When set, if this is the acceptor.
        RuntimeError
            When set after negotiation has begun.
        """
        return self._listed("requestor")

    @requested_contexts.setter
    def requested_contexts(self, contexts: list[PresentationContext]) -> None:
        self._list(contexts, "requestor")

    @property
    def supported_contexts(self) -> list[PresentationContext]:
        """The presentation contexts that the acceptor supports; of a peer, its results.

        Raises
        ------
        ValueError
            If this is the requestor.
        AttributeError
            When set, if this is the requestor.
        RuntimeError
            When set after negotiation has begun.
        """
        return self._listed("acceptor")

    @supported_contexts.setter
    def supported_contexts(self, contexts: list[PresentationContext]) -> None:
        self._list(contexts, "acceptor")

    def _listed(self, mode: str) -> list[PresentationContext]:
        own, negotiated = _LISTS[mode]
        return self.get_contexts(own if self._contexts or self.writeable else negotiated)

    def _list(self, contexts: list[PresentationContext], mode: str) -> None:
        if mode != self._mode:
            raise AttributeError(f"only the {mode} has {_LISTS[mode][0]} presentation contexts")
        self._check_writeable()
        self._contexts = contexts

    @property
    def user_information(self) -> list[ServiceParameter]:
        """The items of its user information."""
        primitive = self.primitive
        if primitive is not None:
            return primitive.user_information
        items = self._given_items()
        return [each for kind in _IDENTIFICATION + _EXTENDED for each in items if isinstance(each, kind)]

    def _given_items(self) -> list[ServiceParameter]:
        """The items that it has before negotiation."""
        if self._items is None:
            length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
            length.maximum_length_received = DEFAULT_MAXIMUM_LENGTH
            implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
            self._items = [length, implementation]
        return self._items

    def _items_of(self, kind: type[Item]) -> list[Item]:
        return [each for each in self.user_information if isinstance(each, kind)]

    @property
    def extended_negotiation(self) -> list[ServiceParameter]:
        """The items of extended negotiation."""
        return [each for each in self.user_information if isinstance(each, _EXTENDED)]

    def add_negotiation_item(self, item: ServiceParameter) -> None:
        """Add an item of extended negotiation.

        Raises
        ------
        RuntimeError
            If negotiation has begun.
        TypeError
            If it is not such an item.
        """
        self._check_writeable()
        self._given_items().append(_extended(item))

    def remove_negotiation_item(self, item: ServiceParameter) -> None:
        """Remove an item of extended negotiation; one that is not there is ignored.

        Raises
        ------
        RuntimeError
            If negotiation has begun.
        TypeError
            If it is not such an item.
        """
        self._check_writeable()
        if _extended(item) in self._given_items():
            self._given_items().remove(item)

    def reset_negotiation_items(self) -> None:
        """Remove all items of extended negotiation; RuntimeError if negotiation has begun."""
        self._check_writeable()
        self._items = [each for each in self._given_items() if not isinstance(each, _EXTENDED)]

    @property
    def asynchronous_operations(self) -> tuple[int, int]:
        """How many operations may be invoked and performed at once, 0 being no limit (PS3.7 Annex D.3.3.3).

        (1, 1) where nothing was said.
        """
        for item in self._items_of(AsynchronousOperationsWindowNegotiation):
            return item.maximum_number_operations_invoked, item.maximum_number_operations_performed
        return 1, 1

    @property
    def role_selection(self) -> dict[UID, SCP_SCU_RoleSelectionNegotiation]:
        """Role selection by SOP Class UID (PS3.7 Annex D.3.3.4)."""
        items = self._items_of(SCP_SCU_RoleSelectionNegotiation)
        return {item.sop_class_uid: item for item in items if item.sop_class_uid is not None}

    @property
    def sop_class_extended(self) -> dict[UID, bytes | None]:
        """Service class application information by SOP Class UID (PS3.7 Annex D.3.3.5)."""
        items = self._items_of(SOPClassExtendedNegotiation)
        return {
            item.sop_class_uid: item.service_class_application_information
            for item in items
            if item.sop_class_uid is not None
        }

    @property
    def sop_class_common_extended(self) -> dict[UID, SOPClassCommonExtendedNegotiation]:
        """SOP class common extended negotiation by SOP Class UID (PS3.7 Annex D.3.3.6)."""
        items = self._items_of(SOPClassCommonExtendedNegotiation)
        return {item.sop_class_uid: item for item in items if item.sop_class_uid is not None}

    @property
    def accepted_common_extended(self) -> dict[UID, tuple[UID, list[UID]]]:
        """The common extended negotiation that this acceptor accepted.

        By SOP Class UID: the Service Class UID and the Related General SOP Class UIDs.

        Raises
        ------
        RuntimeError
            If this is the requestor.
        """
        if self.is_requestor:
            raise RuntimeError("only the acceptor accepts common extended negotiation")
        return dict(self._common)

    def accept_common(self, items: dict[UID, SOPClassCommonExtendedNegotiation]) -> None:
        """Set the common extended negotiation that is accepted."""
        self._common = {
            uid: (item.service_class_uid or UID(""), item.related_general_sop_class_identification)
            for uid, item in items.items()
        }

    @property
    def user_identity(self) -> UserIdentityNegotiation | None:
        """The identity of the user, or the acceptor's answer to it; None without one (PS3.7 Annex D.3.3.7)."""
        return next(iter(self._items_of(UserIdentityNegotiation)), None)


def _extended(item: ServiceParameter) -> ServiceParameter:
    if not isinstance(item, _EXTENDED):
        raise TypeError(f"{type(item).__name__} is not an item of extended negotiation")
    return item
