"""Association negotiation (PS3.8 section 7.1.1, PS3.7 Annex D.3) as pure functions of what was proposed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import TypeVar

from ..values import field, frozen
from ..wire.items import (
    AsynchronousOperationsWindow,
    ContextResult,
    ImplementationClassUID,
    ImplementationVersionName,
    MaximumLength,
    ProposedContext,
    RoleSelection,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserItem,
)
from ..wire.pdu import DICOM_APPLICATION_CONTEXT, AssociateAC, AssociateRJ, AssociateRQ

Item = TypeVar("Item", bound=UserItem)


class Result(IntEnum):
    """The result of a proposed presentation context (PS3.8 Table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@frozen
class NegotiatedContext:
    """A presentation context after negotiation, seen from one side.

    Parameters
    ----------
    context_id
        Odd, 1 to 255.
    abstract_syntax
        UID.
    result
        A `Result`; with any but acceptance the context is unusable.
    transfer_syntax
        UID of the accepted transfer syntax; empty if the context was not accepted.
    as_scu, as_scp
        The roles that this side may have.
    proposed
        UIDs of the transfer syntaxes that were proposed.
    """

    context_id: int
    abstract_syntax: str
    result: int
    transfer_syntax: str = ""
    as_scu: bool = False
    as_scp: bool = False
    proposed: tuple[str, ...] = ()

    @property
    def is_accepted(self) -> bool:
        """Whether the context was accepted, and so can be used."""
        return self.result == Result.ACCEPTANCE


@frozen
class SupportedContext:
    """The transfer syntaxes and roles that an acceptor supports for one abstract syntax.

    Parameters
    ----------
    transfer_syntaxes
        UIDs.
    scu_role, scp_role
        Whether the *requestor* may have that role if it proposes it; None leaves role selection unanswered.
    is_ordered
        Whether the order of the acceptor's own transfer syntaxes decides which one is chosen. By default the order of
        the proposal does.
    """

    transfer_syntaxes: tuple[str, ...]
    scu_role: bool | None = None
    scp_role: bool | None = None
    is_ordered: bool = False

    def choose(self, proposed: tuple[str, ...]) -> str | None:
        """The transfer syntax to accept for a context, or None if none of those proposed is supported."""
        first, second = proposed, self.transfer_syntaxes
        if self.is_ordered:
            first, second = second, first
        usable = set(second)
        return next((each for each in first if each in usable), None)


@frozen
class Agreement:
    """The outcome of a negotiation, which holds for the life of the association.

    Parameters
    ----------
    contexts
        All proposed contexts by presentation context ID, also those that were not accepted.
    peer_maximum_length
        The largest PDU-length of a P-DATA-TF that the peer accepts, in bytes; 0 means no limit.
    invoked
        How many operations this side may have outstanding; 0 means no limit.
    performed
        How many operations the peer may have outstanding here; 0 means no limit.
    user_items
        The user information sub-items that the peer sent.
    """

    contexts: Mapping[int, NegotiatedContext]
    peer_maximum_length: int = 0
    invoked: int = 1
    performed: int = 1
    user_items: tuple[UserItem, ...] = field(default=(), repr=False)

    accepted: tuple[NegotiatedContext, ...] = field(init=False, repr=False)
    """The accepted contexts, in the order of their IDs."""
    _by_syntax: Mapping[str, tuple[NegotiatedContext, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        accepted = tuple(context for context in self.contexts.values() if context.is_accepted)
        by_syntax: dict[str, tuple[NegotiatedContext, ...]] = {}
        for context in accepted:
            by_syntax[context.abstract_syntax] = (*by_syntax.get(context.abstract_syntax, ()), context)
        object.__setattr__(self, "accepted", accepted)
        object.__setattr__(self, "_by_syntax", by_syntax)

    def contexts_for(self, abstract_syntax: str) -> tuple[NegotiatedContext, ...]:
        """The accepted contexts of one abstract syntax; there may be several (PS3.8 section 7.1.1.13)."""
        return self._by_syntax.get(abstract_syntax, ())


def items_of(items: Iterable[UserItem], kind: type[Item]) -> tuple[Item, ...]:
    """The user information sub-items of one kind."""
    return tuple([item for item in items if isinstance(item, kind)])


def first_of(items: Iterable[UserItem], kind: type[Item]) -> Item | None:
    """The first user information sub-item of one kind."""
    for item in items:
        if isinstance(item, kind):
            return item
    return None


@lru_cache(16)
def identification_items(
    maximum_length: int, implementation_class_uid: str, implementation_version_name: str | None
) -> tuple[UserItem, ...]:
    """The sub-items that every A-ASSOCIATE-RQ and -AC carries (PS3.8 Annex D.1, PS3.7 Annex D.3.3.2)."""
    items: list[UserItem] = [MaximumLength(maximum_length), ImplementationClassUID(implementation_class_uid)]
    if implementation_version_name:
        items.append(ImplementationVersionName(implementation_version_name))
    return tuple(items)


def conclude_as_requestor(request: AssociateRQ, answer: AssociateAC) -> Agreement:
    """The agreement that the requestor concludes from its A-ASSOCIATE-RQ and the A-ASSOCIATE-AC.

    A context that the answer leaves out, or accepts with a transfer syntax that was not proposed, is unusable.
    """
    results = {result.context_id: result for result in answer.contexts}
    roles = _agreed_roles(request, answer)
    contexts = {}
    for proposed in request.contexts:
        result = results.get(proposed.context_id)
        code = result.result if result else Result.NO_REASON
        transfer_syntax = result.transfer_syntax if result and code == Result.ACCEPTANCE else ""
        if code == Result.ACCEPTANCE and transfer_syntax not in proposed.transfer_syntaxes:
            code, transfer_syntax = Result.NO_REASON, ""
        as_scu, as_scp = roles.get(proposed.abstract_syntax, (True, False))
        accepted = code == Result.ACCEPTANCE
        contexts[proposed.context_id] = NegotiatedContext(
            proposed.context_id,
            proposed.abstract_syntax,
            code,
            transfer_syntax,
            accepted and as_scu,
            accepted and as_scp,
            proposed.transfer_syntaxes,
        )
    window = first_of(answer.user_items, AsynchronousOperationsWindow)
    asked = first_of(request.user_items, AsynchronousOperationsWindow)
    invoked, performed = (window.invoked, window.performed) if window and asked else (1, 1)
    return Agreement(contexts, _peer_maximum(answer.user_items), invoked, performed, answer.user_items)


def _agreed_roles(request: AssociateRQ, answer: AssociateAC) -> dict[str, tuple[bool, bool]]:
    """The (SCU, SCP) roles by SOP class. An answer about a role that was not proposed is ignored (PS3.7 D.3.3.4)."""
    asked = {item.sop_class: item for item in items_of(request.user_items, RoleSelection)}
    return {
        item.sop_class: (
            item.scu_role and asked[item.sop_class].scu_role,
            item.scp_role and asked[item.sop_class].scp_role,
        )
        for item in items_of(answer.user_items, RoleSelection)
        if item.sop_class in asked
    }


def _peer_maximum(items: tuple[UserItem, ...]) -> int:
    maximum = first_of(items, MaximumLength)
    return maximum.maximum_length if maximum else 0


def supports_version(request: AssociateRQ) -> bool:
    """Whether the requestor supports version 1 of the protocol; only bit 0 is tested (PS3.8 section 9.3.2)."""
    return bool(request.protocol_version & 1)


def refuse_names(
    request: AssociateRQ, *, called: Iterable[str] = (), calling: Iterable[str] = ()
) -> AssociateRJ | None:
    """Check the AE titles and the application context name of a request.

    Parameters
    ----------
    request
        The A-ASSOCIATE-RQ.
    called, calling
        The AE titles that are allowed; if empty, any title is.

    Returns
    -------
    AssociateRJ or None
        The rejection, with the reason of PS3.8 Table 9-21; None if there is nothing to object to.
    """
    called = {title.strip() for title in called}
    calling = {title.strip() for title in calling}
    if request.application_context != DICOM_APPLICATION_CONTEXT:
        return AssociateRJ(1, 1, 2)
    # A title must not be blank or have control characters (PS3.8 section 9.3.2), and both titles are logged.
    if not _is_title(request.calling_ae_title) or (calling and request.calling_ae_title not in calling):
        return AssociateRJ(1, 1, 3)
    if not _is_title(request.called_ae_title) or (called and request.called_ae_title not in called):
        return AssociateRJ(1, 1, 7)
    return None


def _is_title(title: str) -> bool:
    return bool(title) and title.isprintable()


@frozen
class Acceptor:
    """What an acceptor supports.

    Parameters
    ----------
    supported
        The supported contexts by abstract syntax UID.
    identification
        The sub-items of `identification_items`.
    accepts_unknown
        A predicate on the UID of an abstract syntax that is not in ``supported``: whether it is accepted all the
        same, with any transfer syntax and role. None accepts none.
    performed_window
        How many operations the acceptor is willing to perform at once; 0 means no limit.
    """

    supported: Mapping[str, SupportedContext]
    identification: tuple[UserItem, ...]
    accepts_unknown: Callable[[str], bool] | None = None
    performed_window: int = 1


def accept(
    request: AssociateRQ,
    acceptor: Acceptor,
    *,
    window: AsynchronousOperationsWindow | None = None,
    extended: Iterable[SOPClassExtendedNegotiation] = (),
    identity: UserIdentityAC | None = None,
) -> tuple[AssociateAC, Agreement]:
    """Negotiate as the acceptor.

    Parameters
    ----------
    request
        The A-ASSOCIATE-RQ.
    acceptor
        What we support.
    window
        The asynchronous operations window to grant. By default as much as the requestor asks for, up to
        `Acceptor.performed_window`.
    extended
        The answers to SOP class extended negotiation.
    identity
        The answer to user identity negotiation, if the requestor asked for one.

    Returns
    -------
    tuple
        The A-ASSOCIATE-AC to send, and the agreement as the acceptor sees it.
    """
    asked_roles = {item.sop_class: item for item in items_of(request.user_items, RoleSelection)}
    granted_roles: dict[str, RoleSelection] = {}
    contexts: dict[int, NegotiatedContext] = {}
    for proposed in request.contexts:
        context, role = _accept_context(proposed, acceptor, asked_roles.get(proposed.abstract_syntax))
        contexts[context.context_id] = context
        if role is not None:
            granted_roles[role.sop_class] = role
    asked = first_of(request.user_items, AsynchronousOperationsWindow)
    granted = window or (_granted_window(asked, acceptor.performed_window) if asked else None)
    answers: list[UserItem | None] = [*granted_roles.values(), granted, *extended, identity]
    items = acceptor.identification + tuple(item for item in answers if item is not None)
    answer = AssociateAC(
        tuple(
            ContextResult(c.context_id, c.result, c.transfer_syntax or c.proposed[0])
            for c in contexts.values()
        ),
        items,
        request.as_received or bytes(64),
    )
    invoked, performed = (granted.performed, granted.invoked) if granted else (1, 1)
    return answer, Agreement(
        contexts, _peer_maximum(request.user_items), invoked, performed, request.user_items
    )


def _granted_window(asked: AsynchronousOperationsWindow, limit: int) -> AsynchronousOperationsWindow:
    """The window to grant: never more than was asked for (0 asks for no limit), and one in the reverse direction."""
    invoked = min(asked.invoked, limit) if asked.invoked and limit else asked.invoked or limit
    return AsynchronousOperationsWindow(invoked, 1)


def _accept_context(
    proposed: ProposedContext, acceptor: Acceptor, asked: RoleSelection | None
) -> tuple[NegotiatedContext, RoleSelection | None]:
    def conclude(
        result: Result, transfer_syntax: str = "", scu: bool = True, scp: bool = False
    ) -> NegotiatedContext:
        accepted = result == Result.ACCEPTANCE
        # The roles are the requestor's; the acceptor has the other ones.
        return NegotiatedContext(
            proposed.context_id,
            proposed.abstract_syntax,
            result,
            transfer_syntax,
            accepted and scp,
            accepted and scu,
            proposed.transfer_syntaxes,
        )

    uid = proposed.abstract_syntax
    supported = acceptor.supported.get(uid)
    if supported is None:
        if acceptor.accepts_unknown is None or not acceptor.accepts_unknown(uid):
            return conclude(Result.ABSTRACT_SYNTAX_NOT_SUPPORTED), None
        supported = SupportedContext(proposed.transfer_syntaxes, True, True)
    transfer_syntax = supported.choose(proposed.transfer_syntaxes)
    if transfer_syntax is None:
        return conclude(Result.TRANSFER_SYNTAXES_NOT_SUPPORTED), None
    if asked is None or (supported.scu_role is None and supported.scp_role is None):
        return conclude(Result.ACCEPTANCE, transfer_syntax), None
    scu = asked.scu_role and bool(supported.scu_role)
    scp = asked.scp_role and bool(supported.scp_role)
    if not (scu or scp):
        return conclude(Result.USER_REJECTION), None
    return conclude(Result.ACCEPTANCE, transfer_syntax, scu, scp), RoleSelection(uid, scu, scp)
