"""Presentation contexts (PS3.8 section 9.3.2.2), and ready-made lists of them, one for each service class."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import NamedTuple

from pydicom.config import IGNORE
from pydicom.uid import UID

from ..encoding.transfer_syntaxes import DEFAULT_TRANSFER_SYNTAXES
from ..services.service_classes import may_be_storage
from ..services.service_names import ServiceName
from ..services.sop_classes import COMMON_STORAGE, SOP_CLASSES
from ..upper_layer.negotiation import (
    Acceptor,
    Agreement,
    NegotiatedContext,
    SupportedContext,
    accept,
    conclude_as_requestor,
    items_of,
)
from ..wire.items import ContextResult, ProposedContext, RoleSelection, UserItem
from ..wire.pdu import AssociateAC, AssociateRQ
from .user_information import SCP_SCU_RoleSelectionNegotiation
from .user_information import build_role as build_role
from .utils import set_uid, validate_uid

LOGGER = logging.getLogger(__name__)

Roles = Mapping[UID, tuple[bool, bool]] | Mapping[str, tuple[bool, bool]]

_STATUSES = {
    None: "Pending",
    0: "Accepted",
    1: "User Rejected",
    2: "Provider Rejected",
    3: "Abstract Syntax Not Supported",
    4: "Transfer Syntax(es) Not Supported",
}
_ROLES = {
    (True, True): "SCU and SCP",
    (True, False): "SCU only",
    (False, True): "SCP only",
    (False, False): "(none)",
}


class PresentationContextTuple(NamedTuple):
    """An accepted presentation context.

    Parameters
    ----------
    context_id
        Odd, 1 to 255.
    abstract_syntax
        The UID of the SOP class.
    transfer_syntax
        The UID of the encoding of its data sets.
    """

    context_id: int
    abstract_syntax: UID
    transfer_syntax: UID


class PresentationContext:
    """An abstract syntax with transfer syntaxes for it: requested, supported, or negotiated.

    Attributes
    ----------
    result : int or None
        None before negotiation, then the result of PS3.8 Table 9-18, 0 being acceptance.
    """

    __slots__ = (
        # Programs hang notes of their own on it.
        "__dict__",
        "__weakref__",
        "_abstract_syntax",
        "_as_scp",
        "_as_scu",
        "_context_id",
        "_scp_role",
        "_scu_role",
        "_transfer_syntax",
        "result",
    )

    def __init__(self) -> None:
        self._context_id: int | None = None
        self._abstract_syntax: UID | None = None
        self._transfer_syntax: list[UID] = []
        self.result: int | None = None
        self._scu_role: bool | None = None
        self._scp_role: bool | None = None
        self._as_scu: bool | None = None
        self._as_scp: bool | None = None

    @classmethod
    def from_negotiated(cls, negotiated: NegotiatedContext) -> PresentationContext:
        """The view of what negotiation came to.

        Its transfer syntax is the accepted one; of a context that was not accepted, what was proposed.
        """
        context = cls()
        accepted = (negotiated.transfer_syntax,) if negotiated.is_accepted else negotiated.proposed
        context._context_id = negotiated.context_id
        context._abstract_syntax = UID(negotiated.abstract_syntax, IGNORE)
        context._transfer_syntax = [UID(uid, IGNORE) for uid in accepted]
        context.result = negotiated.result
        context._as_scu = negotiated.as_scu
        context._as_scp = negotiated.as_scp
        return context

    def copy(self) -> PresentationContext:
        """The same context, to be changed independently."""
        context = copy(self)
        context._transfer_syntax = list(self._transfer_syntax)
        return context

    def with_id(self, context_id: int) -> PresentationContext:
        """The same context with an ID, to be changed independently."""
        context = self.copy()
        context._context_id = context_id
        return context

    def to_item(self, context_id: int) -> ProposedContext:
        """The item of an A-ASSOCIATE-RQ that proposes this context.

        Parameters
        ----------
        context_id
            Odd, 1 to 255.

        Raises
        ------
        ValueError
            If there is no abstract syntax or no transfer syntax.
        """
        transfer_syntaxes = tuple(str(uid) for uid in self._transfer_syntax)
        return ProposedContext(context_id, str(self._abstract_syntax or ""), transfer_syntaxes)

    @property
    def context_id(self) -> int | None:
        """Presentation context ID: odd, 1 to 255, or None before it has one.

        Raises
        ------
        TypeError
            When set to something that is not an int.
        ValueError
            When set to another int.
        """
        return self._context_id

    @context_id.setter
    def context_id(self, value: int | None) -> None:
        if value is not None:
            if not isinstance(value, int):
                raise TypeError(f"a presentation context ID is an int, not {type(value).__name__}")
            if not 1 <= value <= 255 or value % 2 == 0:
                raise ValueError(f"a presentation context ID is odd and from 1 to 255, and cannot be {value}")
        self._context_id = value

    @property
    def abstract_syntax(self) -> UID | None:
        """UID of the abstract syntax, which for DICOM services is a SOP class.

        Raises
        ------
        TypeError
            When set to something that is not a str, bytes or UID.
        ValueError
            When set to something that cannot be a UID.
        """
        return self._abstract_syntax

    @abstract_syntax.setter
    def abstract_syntax(self, uid: str | bytes | UID) -> None:
        self._abstract_syntax = set_uid(uid, "abstract_syntax", allow_none=False)

    @property
    def transfer_syntax(self) -> list[UID]:
        """UIDs of the transfer syntaxes, the preferred ones first.

        Raises
        ------
        TypeError
            When set to something that is not a list.
        ValueError
            When set to a list with something that cannot be a UID.
        """
        return self._transfer_syntax

    @transfer_syntax.setter
    def transfer_syntax(self, syntaxes: list[str] | list[bytes] | list[UID]) -> None:
        if not isinstance(syntaxes, list):
            raise TypeError(f"transfer_syntax takes a list, not {type(syntaxes).__name__}")
        self._transfer_syntax = []
        for syntax in syntaxes:
            self.add_transfer_syntax(syntax)

    def add_transfer_syntax(self, syntax: str | bytes | UID | None) -> None:
        """Add a transfer syntax behind the others, unless it is there already.

        Parameters
        ----------
        syntax
            UID. None is ignored; something that is not a str, bytes or UID is logged and ignored.

        Raises
        ------
        ValueError
            If it cannot be a UID.
        """
        if syntax is None:
            return
        if isinstance(syntax, bytes):
            syntax = syntax.decode("ascii")
        if not isinstance(syntax, str):
            LOGGER.error(  # type: ignore[unreachable]
                "a transfer syntax of type %s is left out", type(syntax).__name__
            )
            return
        uid = UID(syntax)
        if not uid or not validate_uid(uid):
            raise ValueError(f"a transfer syntax cannot have the UID {syntax!r}")
        if uid in self._transfer_syntax:
            return
        if not uid.is_valid or uid.type not in ("", "Transfer Syntax"):
            LOGGER.warning("%s is not a known transfer syntax; adding it anyway", uid)
        self._transfer_syntax.append(uid)

    @property
    def scu_role(self) -> bool | None:
        """As an acceptor: whether the requestor may be SCU, None to leave role selection unanswered.

        Raises
        ------
        TypeError
            When set to something else.
        """
        return self._scu_role

    @scu_role.setter
    def scu_role(self, value: bool | None) -> None:
        self._scu_role = _role(value)

    @property
    def scp_role(self) -> bool | None:
        """As an acceptor: whether the requestor may be SCP, None to leave role selection unanswered.

        Raises
        ------
        TypeError
            When set to something else.
        """
        return self._scp_role

    @scp_role.setter
    def scp_role(self, value: bool | None) -> None:
        self._scp_role = _role(value)

    @property
    def as_scu(self) -> bool | None:
        """Whether this side may be SCU, None before negotiation."""
        return self._as_scu

    @property
    def as_scp(self) -> bool | None:
        """Whether this side may be SCP, None before negotiation."""
        return self._as_scp

    @property
    def as_tuple(self) -> PresentationContextTuple:
        """The context with its first transfer syntax, which is the accepted one after negotiation.

        Raises
        ------
        IndexError
            If there is no transfer syntax.
        """
        # An accepted context has all three.
        return PresentationContextTuple(
            self._context_id,  # type: ignore[arg-type]
            self._abstract_syntax,  # type: ignore[arg-type]
            self._transfer_syntax[0],
        )

    @property
    def status(self) -> str:
        """The result in words."""
        return _STATUSES.get(self.result, "Unknown")

    def _values(self) -> tuple[object, ...]:
        return (
            self._context_id,
            self._abstract_syntax,
            self._transfer_syntax,
            self.result,
            self._scu_role,
            self._scp_role,
            self._as_scu,
            self._as_scp,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PresentationContext):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((self._context_id, self._abstract_syntax))

    def __repr__(self) -> str:
        return "(none)" if self._abstract_syntax is None else self._abstract_syntax.name

    def __str__(self) -> str:
        lines = []
        if self._context_id is not None:
            lines.append(f"ID: {self._context_id}")
        if self._abstract_syntax is not None:
            lines.append(f"Abstract Syntax: {self._abstract_syntax.name}")
        lines.append("Transfer Syntax(es):")
        lines += [f"    ={uid.name}" for uid in self._transfer_syntax] or ["    (none)"]
        if self.result is not None:
            lines.append(f"Result: {self.status}")
        if self._as_scu is not None and self._as_scp is not None:
            lines.append(f"Role: {_ROLES[self._as_scu, self._as_scp]}")
        return "\n".join(lines)


def _role(value: bool | None) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"a role is True, False or None, not {value!r}")
    return value


def build_context(
    abstract_syntax: str | UID, transfer_syntax: str | UID | list[str] | list[UID] | None = None
) -> PresentationContext:
    """A presentation context.

    Parameters
    ----------
    abstract_syntax
        UID.
    transfer_syntax
        One UID or a list of them; by default ``DEFAULT_TRANSFER_SYNTAXES``.

    Raises
    ------
    TypeError
        If one of them is of another type.
    ValueError
        If one of them cannot be a UID.
    """
    context = PresentationContext()
    context.abstract_syntax = UID(abstract_syntax)
    if transfer_syntax is None:
        context._transfer_syntax = list(_DEFAULT)
    elif isinstance(transfer_syntax, str):
        context.transfer_syntax = [transfer_syntax]
    else:
        context.transfer_syntax = transfer_syntax
    return context


Supported = dict[str, SupportedContext]
"""By abstract syntax, what is accepted."""


def supported_by(contexts: Iterable[PresentationContext]) -> Supported:
    """Presentation contexts in the form that `accept` needs."""
    return {
        str(context.abstract_syntax): SupportedContext(
            tuple(map(str, context.transfer_syntax)), context.scu_role, context.scp_role, is_ordered=True
        )
        for context in contexts
    }


def negotiate_as_acceptor(
    rq_contexts: Sequence[PresentationContext],
    ac_contexts: Sequence[PresentationContext],
    roles: Roles | None = None,
) -> tuple[list[PresentationContext], list[SCP_SCU_RoleSelectionNegotiation]]:
    """What an acceptor answers to proposed presentation contexts (PS3.8 section 7.1.1.14).

    Parameters
    ----------
    rq_contexts
        The proposed contexts, with IDs.
    ac_contexts
        The supported contexts, each with its abstract syntax.
    roles
        By abstract syntax, whether the requestor asks for the roles of SCU and SCP.

    Returns
    -------
    list of PresentationContext, list of SCP_SCU_RoleSelectionNegotiation
        The results by context ID, as the acceptor sees them, and the answer to role selection.
    """
    return _accepted(rq_contexts, ac_contexts, roles, None)


def negotiate_unrestricted(
    rq_contexts: Sequence[PresentationContext],
    ac_contexts: Sequence[PresentationContext],
    roles: Roles | None = None,
) -> tuple[list[PresentationContext], list[SCP_SCU_RoleSelectionNegotiation]]:
    """The same with ``_config.UNRESTRICTED_STORAGE_SERVICE``: what may be a storage SOP class is accepted too."""
    return _accepted(rq_contexts, ac_contexts, roles, may_be_storage)


def _accepted(
    rq_contexts: Sequence[PresentationContext],
    ac_contexts: Sequence[PresentationContext],
    roles: Roles | None,
    unknown: Callable[[str], bool] | None,
) -> tuple[list[PresentationContext], list[SCP_SCU_RoleSelectionNegotiation]]:
    if not rq_contexts:
        return [], []
    answer, agreement = accept(_request(rq_contexts, roles), Acceptor(supported_by(ac_contexts), (), unknown))
    granted = [
        SCP_SCU_RoleSelectionNegotiation.from_item(each)
        for each in items_of(answer.user_items, RoleSelection)
    ]
    return _views(agreement), granted


def negotiate_as_requestor(
    rq_contexts: Sequence[PresentationContext],
    ac_contexts: Sequence[PresentationContext],
    roles: Roles | None = None,
) -> list[PresentationContext]:
    """What a requestor concludes from the answer to the contexts that it proposed (PS3.8 section 7.1.1.14).

    Parameters
    ----------
    rq_contexts
        The proposed contexts, with IDs, and with roles where they were asked for.
    ac_contexts
        The results, with IDs.
    roles
        By abstract syntax, the roles of SCU and SCP that the acceptor grants.

    Raises
    ------
    ValueError
        If nothing was proposed.
    """
    if not rq_contexts:
        raise ValueError("there is no proposed presentation context")
    asked = {
        each.abstract_syntax or "": (bool(each.scu_role), bool(each.scp_role))
        for each in rq_contexts
        if each.scu_role is not None or each.scp_role is not None
    }
    results = [
        ContextResult(each.context_id or 0, each.result or 0, next(iter(map(str, each.transfer_syntax)), ""))
        for each in ac_contexts
    ]
    answer = AssociateAC(tuple(results), _role_items(roles))
    return _views(conclude_as_requestor(_request(rq_contexts, asked), answer))


def _request(contexts: Sequence[PresentationContext], roles: Roles | None) -> AssociateRQ:
    proposed = tuple(each.to_item(each.context_id or 0) for each in contexts)
    return AssociateRQ("ACCEPTOR", "REQUESTOR", proposed, _role_items(roles))


def _role_items(roles: Roles | None) -> tuple[UserItem, ...]:
    return tuple(RoleSelection(str(uid), bool(scu), bool(scp)) for uid, (scu, scp) in (roles or {}).items())


def _views(agreement: Agreement) -> list[PresentationContext]:
    by_id = sorted(agreement.contexts.values(), key=lambda each: each.context_id)
    return [PresentationContext.from_negotiated(each) for each in by_id]


_DEFAULT = tuple(UID(uid) for uid in DEFAULT_TRANSFER_SYNTAXES)

_SERVICES = {
    "AllStoragePresentationContexts": ServiceName.STORAGE,
    "ApplicationEventLoggingPresentationContexts": ServiceName.APPLICATION_EVENT_LOGGING,
    "BasicWorklistManagementPresentationContexts": ServiceName.BASIC_WORKLIST_MANAGEMENT,
    "ColorPalettePresentationContexts": ServiceName.COLOR_PALETTE_QUERY_RETRIEVE,
    "DefinedProcedureProtocolPresentationContexts": ServiceName.DEFINED_PROCEDURE_PROTOCOL_QUERY_RETRIEVE,
    "DisplaySystemPresentationContexts": ServiceName.DISPLAY_SYSTEM_MANAGEMENT,
    "HangingProtocolPresentationContexts": ServiceName.HANGING_PROTOCOL_QUERY_RETRIEVE,
    "ImplantTemplatePresentationContexts": ServiceName.IMPLANT_TEMPLATE_QUERY_RETRIEVE,
    "InstanceAvailabilityPresentationContexts": ServiceName.INSTANCE_AVAILABILITY_NOTIFICATION,
    "MediaCreationManagementPresentationContexts": ServiceName.MEDIA_CREATION_MANAGEMENT,
    "MediaStoragePresentationContexts": ServiceName.MEDIA_STORAGE,
    "ModalityPerformedPresentationContexts": ServiceName.PROCEDURE_STEP,
    "NonPatientObjectPresentationContexts": ServiceName.NON_PATIENT_OBJECT_STORAGE,
    "PrintManagementPresentationContexts": ServiceName.PRINT_MANAGEMENT,
    "ProcedureStepPresentationContexts": ServiceName.PROCEDURE_STEP,
    "ProtocolApprovalPresentationContexts": ServiceName.PROTOCOL_APPROVAL_QUERY_RETRIEVE,
    "QueryRetrievePresentationContexts": ServiceName.QUERY_RETRIEVE,
    "RTMachineVerificationPresentationContexts": ServiceName.RT_MACHINE_VERIFICATION,
    "RelevantPatientInformationPresentationContexts": ServiceName.RELEVANT_PATIENT_INFORMATION_QUERY,
    "StorageCommitmentPresentationContexts": ServiceName.STORAGE_COMMITMENT,
    "SubstanceAdministrationPresentationContexts": ServiceName.SUBSTANCE_ADMINISTRATION_QUERY,
    "UnifiedProcedurePresentationContexts": ServiceName.UNIFIED_PROCEDURE_STEP,
    "VerificationPresentationContexts": ServiceName.VERIFICATION,
}
CONTEXT_LISTS: tuple[str, ...] = (*_SERVICES, "StoragePresentationContexts")
"""The names of the ready-made lists, each of which is made when it is first asked for."""

__all__ = [
    "DEFAULT_TRANSFER_SYNTAXES",
    "PresentationContext",
    "PresentationContextTuple",
    "build_context",
    "build_role",
    "negotiate_as_acceptor",
    "negotiate_as_requestor",
    "negotiate_unrestricted",
    *CONTEXT_LISTS,
]


def __getattr__(name: str) -> list[PresentationContext]:
    if name == "StoragePresentationContexts":
        uids = list(COMMON_STORAGE)
    elif name in _SERVICES:
        service = _SERVICES[name]
        uids = [row.uid for row in SOP_CLASSES.values() if row.service is service and row.is_listed]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    contexts = globals()[name] = [build_context(uid) for uid in uids]
    return contexts


def __dir__() -> list[str]:
    return sorted({*globals(), *CONTEXT_LISTS})
