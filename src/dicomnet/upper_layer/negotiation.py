"""Association negotiation (PS3.8 section 7.1.1, PS3.7 Annex D.3) as pure functions of what was proposed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import TypeVar

from ..encoding.identity import fits_command, is_uid
from ..values import field, frozen
from ..wire.fields import MAXIMUM_ITEM_LENGTH, note
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

# What is sent to a peer that does not say what it takes, or says what it cannot mean: no implementation takes less.
_SAFE_MAXIMUM = 1 << 14
# A P-DATA-TF that has room for two bytes of a message (PS3.8 Annex E.1).
_LEAST_MAXIMUM = 8
# Stands in a rejection, where it is not significant, if nothing better was proposed.
_IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"


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
        The transfer syntaxes that were proposed, as they came.
    is_role_unanswered
        Whether this side asked for the role of SCP and the peer said nothing to that. The default roles hold then, but
        many such peers take the role of SCU all the same.
    """

    context_id: int
    abstract_syntax: str
    result: int
    transfer_syntax: str = ""
    as_scu: bool = False
    as_scp: bool = False
    proposed: tuple[str, ...] = ()
    is_role_unanswered: bool = False

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
    to_send
        Those of the transfer syntaxes that are chosen first, in this order, where the requestor only wants to be SCP:
        what is sent to it then must have the one that was chosen, and most objects can have these.
    """

    transfer_syntaxes: tuple[str, ...]
    scu_role: bool | None = None
    scp_role: bool | None = None
    is_ordered: bool = False
    to_send: tuple[str, ...] = ()

    def choose(self, proposed: tuple[str, ...], asked: RoleSelection | None = None) -> str | None:
        """The transfer syntax to accept for a context, or None if none of those proposed is supported.

        Parameters
        ----------
        asked
            The roles that the requestor wants, None where it says nothing of them.
        """
        if asked is not None and asked.scp_role and not asked.scu_role:
            for syntax in self.to_send:
                if syntax in proposed:
                    return syntax
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
    faults
        What was wrong with the peer's PDU, in words: each cost one item or one context, and is to be logged.
    """

    contexts: Mapping[int, NegotiatedContext]
    peer_maximum_length: int = 0
    invoked: int = 1
    performed: int = 1
    user_items: tuple[UserItem, ...] = field(default=(), repr=False)
    faults: tuple[str, ...] = field(default=(), repr=False, compare=False)

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

    A context that the answer leaves out, gives two results for, or accepts with a transfer syntax that was not
    proposed, is unusable.
    """
    faults = list(answer.faults)
    if answer.application_context != DICOM_APPLICATION_CONTEXT:
        note(faults, f"the application context is {answer.application_context!a}: not looked at")
    results = _results(answer, {each.context_id for each in request.contexts}, faults)
    asked_roles = _roles(request.user_items)
    answered_roles = _roles(answer.user_items)
    unanswered = 0
    contexts = {}
    for proposed in request.contexts:
        result = results.get(proposed.context_id)
        code = result.result if result else Result.NO_REASON
        transfer_syntax = result.transfer_syntax if result and code == Result.ACCEPTANCE else ""
        if code == Result.ACCEPTANCE and transfer_syntax not in proposed.transfer_syntaxes:
            note(
                faults,
                f"context {proposed.context_id} is accepted with the transfer syntax {transfer_syntax[:70]!a}, which"
                " was not proposed: not used",
            )
            code, transfer_syntax = Result.NO_REASON, ""
        accepted = code == Result.ACCEPTANCE
        asked_role = asked_roles.get(proposed.abstract_syntax)
        answered_role = answered_roles.get(proposed.abstract_syntax)
        as_scu, as_scp, is_unanswered = True, False, False
        # An answer to what was not asked is ignored (PS3.7 Annex D.3.3.4).
        if asked_role is not None and answered_role is not None:
            as_scu = asked_role.scu_role and answered_role.scu_role
            as_scp = asked_role.scp_role and answered_role.scp_role
        elif asked_role is not None:
            is_unanswered = accepted and asked_role.scp_role
            unanswered += is_unanswered
        contexts[proposed.context_id] = NegotiatedContext(
            proposed.context_id,
            proposed.abstract_syntax,
            code,
            transfer_syntax,
            accepted and as_scu,
            accepted and as_scp,
            proposed.transfer_syntaxes,
            is_unanswered,
        )
    if unanswered:
        note(
            faults,
            f"the role of SCP, which was asked for in {unanswered} of the accepted contexts, has no answer: what the"
            " peer sends there is taken all the same",
        )
    window = first_of(answer.user_items, AsynchronousOperationsWindow)
    asked = first_of(request.user_items, AsynchronousOperationsWindow)
    invoked, performed = (window.invoked, window.performed) if window and asked else (1, 1)
    maximum = _peer_maximum(answer.user_items, faults)
    return Agreement(contexts, maximum, invoked, performed, answer.user_items, tuple(faults))


def _results(answer: AssociateAC, proposed: set[int], faults: list[str]) -> dict[int, ContextResult]:
    """The results by context ID, without those that contradict each other."""
    results: dict[int, ContextResult] = {}
    contradicted = set()
    for result in answer.contexts:
        context_id = result.context_id
        if context_id not in proposed:
            note(faults, f"context {context_id} has a result and was not proposed: left out")
        elif results.setdefault(context_id, result) != result:
            note(faults, f"context {context_id} has two results: not used")
            contradicted.add(context_id)
    return {context_id: each for context_id, each in results.items() if context_id not in contradicted}


def _roles(items: tuple[UserItem, ...]) -> dict[str, RoleSelection]:
    """Role selection by SOP class; where there are two of one, the first counts."""
    return {item.sop_class: item for item in reversed(items_of(items, RoleSelection))}


def _proposed_roles(items: tuple[UserItem, ...], faults: list[str]) -> dict[str, RoleSelection]:
    """The roles that a requestor proposes, without items for none: PS3.7 section D.3.3.4 has SCU, SCP and both."""
    proposed = _roles(items)
    for sop_class in [uid for uid, item in proposed.items() if not (item.scu_role or item.scp_role)]:
        note(faults, f"the role selection of {sop_class[:70]!a} is for no role: not looked at")
        del proposed[sop_class]
    return proposed


def _peer_maximum(items: tuple[UserItem, ...], faults: list[str]) -> int:
    maximum = first_of(items, MaximumLength)
    length = maximum.maximum_length if maximum else None
    if length == 0 or (length is not None and length >= _LEAST_MAXIMUM):
        return length
    said = "not known" if length is None else f"{length}, which leaves no room for data"
    note(faults, f"the maximum length is {said}: {_SAFE_MAXIMUM} is taken for it")
    return _SAFE_MAXIMUM


def supports_version(request: AssociateRQ) -> bool:
    """Whether the requestor supports version 1 of the protocol; only bit 0 is tested (PS3.8 section 9.3.2)."""
    return bool(request.protocol_version & 1)


def refuse_names(
    request: AssociateRQ, *, called: Iterable[str] = (), calling: Iterable[str] = ()
) -> AssociateRJ | None:
    """Check the AE titles, the application context name and whether a request proposes anything (PS3.8 Table 9-21).

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
    # A title must not be blank or have control characters (PS3.8 section 9.3.2).
    if not _is_title(request.calling_ae_title) or (calling and request.calling_ae_title not in calling):
        return AssociateRJ(1, 1, 3)
    if not _is_title(request.called_ae_title) or (called and request.called_ae_title not in called):
        return AssociateRJ(1, 1, 7)
    # An A-ASSOCIATE-AC has at least one result (PS3.8 section 9.3.3).
    return None if request.contexts else AssociateRJ(1, 1, 1)


def _is_title(title: str) -> bool:
    """Whether it can be a title; bytes above 7EH are letters of some encoding, and none of those is known here."""
    return bool(title) and not any(character < " " or character == "\x7f" for character in title)


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
    invoked_window
        How many operations the acceptor would like to have outstanding itself.
    refuses
        A predicate on the UID of an abstract syntax that is supported: whether this requestor may not use it, which the
        result "user rejection" says. None refuses none.
    """

    supported: Mapping[str, SupportedContext]
    identification: tuple[UserItem, ...]
    accepts_unknown: Callable[[str], bool] | None = None
    performed_window: int = 1
    refuses: Callable[[str], bool] | None = None
    invoked_window: int = 1


def accept(
    request: AssociateRQ,
    acceptor: Acceptor,
    *,
    window: AsynchronousOperationsWindow | None = None,
    extended: Iterable[SOPClassExtendedNegotiation] = (),
    identity: UserIdentityAC | None = None,
) -> tuple[AssociateAC, Agreement]:
    """Negotiate as the acceptor.

    Each proposed context has a result (PS3.8 section 7.1.1.14), also one that can only be refused. Where an ID is
    proposed twice, the first one that can be accepted counts.

    Parameters
    ----------
    request
        The A-ASSOCIATE-RQ.
    acceptor
        What we support.
    window
        The asynchronous operations window to grant. By default as much as the requestor asks for, up to
        `Acceptor.performed_window`, and of its own up to `Acceptor.invoked_window`.
    extended
        The answers to SOP class extended negotiation.
    identity
        The answer to user identity negotiation, if the requestor asked for one.

    Returns
    -------
    tuple
        The A-ASSOCIATE-AC to send, and the agreement as the acceptor sees it.
    """
    faults = list(request.faults)
    asked_roles = _proposed_roles(request.user_items, faults)
    granted_roles: dict[str, RoleSelection] = {}
    contexts: dict[int, NegotiatedContext] = {}
    for proposed in request.contexts:
        earlier = contexts.get(proposed.context_id)
        if earlier is not None:
            note(faults, f"context {proposed.context_id} is proposed more than once: it has one result")
            if earlier.is_accepted:
                continue
        context, role = _accept_context(proposed, acceptor, asked_roles.get(proposed.abstract_syntax))
        if not context.is_accepted:
            _note_what_is_bad(proposed, faults)
        if earlier is None or context.is_accepted:
            contexts[context.context_id] = context
        if role is not None:
            granted_roles[role.sop_class] = role
    asked = first_of(request.user_items, AsynchronousOperationsWindow)
    granted = window or (_granted_window(asked, acceptor) if asked else None)
    items: tuple[UserItem, ...] = (*acceptor.identification, *granted_roles.values())
    items += (granted,) if granted else ()
    answers: list[UserItem] = [*((identity,) if identity else ()), *extended]
    if answers:
        items += _fitting(answers, items, faults)
    for item in items_of(request.user_items, SOPClassExtendedNegotiation):
        if not is_uid(item.sop_class):
            note(faults, f"an extended negotiation has the SOP class {item.sop_class[:70]!a}: not answered")
    answer = AssociateAC(
        tuple(
            ContextResult.answering(c.context_id, c.result, c.transfer_syntax or _any_uid(c.proposed))
            for c in contexts.values()
        ),
        items,
        request.as_received or bytes(64),
    )
    invoked, performed = (granted.performed, granted.invoked) if granted else (1, 1)
    maximum = _peer_maximum(request.user_items, faults)
    return answer, Agreement(contexts, maximum, invoked, performed, request.user_items, tuple(faults))


def _fitting(
    answers: list[UserItem], others: tuple[UserItem, ...], faults: list[str]
) -> tuple[UserItem, ...]:
    """The answers of handlers that the User Information Item has room for besides other items."""
    room = MAXIMUM_ITEM_LENGTH - sum(len(item.encode()) for item in others)
    fitting = []
    for answer in answers:
        try:
            size = len(answer.encode())
        except ValueError:
            size = room + 1
        if size <= room:
            room -= size
            fitting.append(answer)
        else:
            note(faults, f"there is no room to answer with a {type(answer).__name__}: left out")
    return tuple(fitting)


def _note_what_is_bad(proposed: ProposedContext, faults: list[str]) -> None:
    """Say why a context was refused, where that is not just a matter of what is supported."""
    context_id, abstract = proposed.context_id, proposed.abstract_syntax
    bad = [uid for uid in proposed.transfer_syntaxes if not is_uid(uid)]
    if context_id % 2 == 0:
        note(faults, f"context {context_id} has an even ID: refused")
    elif not is_uid(abstract):
        note(faults, f"context {context_id} has the abstract syntax {abstract[:70]!a}: refused")
    elif bad or not proposed.transfer_syntaxes:
        which = f"the transfer syntax {bad[0][:70]!a}" if bad else "no transfer syntax"
        note(faults, f"context {context_id} has {which}: refused")


def _any_uid(proposed: tuple[str, ...]) -> str:
    return next(filter(is_uid, proposed), _IMPLICIT_VR_LITTLE_ENDIAN)


def _granted_window(asked: AsynchronousOperationsWindow, acceptor: Acceptor) -> AsynchronousOperationsWindow:
    """The window to grant: never more than was asked for, in either direction. 0 asks for no limit, and is one."""
    return AsynchronousOperationsWindow(
        _smaller(asked.invoked, acceptor.performed_window), _smaller(asked.performed, acceptor.invoked_window)
    )


def _smaller(one: int, other: int) -> int:
    return min(one, other) if one and other else one or other


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
    if proposed.context_id % 2 == 0:
        # No ID that the standard has (PS3.8 section 9.3.2.2), but the peer's for the result that it waits for.
        return conclude(Result.NO_REASON), None
    # A handler may support all that was proposed, as it came.
    supported = acceptor.supported.get(uid) if fits_command(uid) else None
    if supported is None:
        if acceptor.accepts_unknown is None or not is_uid(uid) or not acceptor.accepts_unknown(uid):
            return conclude(Result.ABSTRACT_SYNTAX_NOT_SUPPORTED), None
        supported = SupportedContext(tuple(filter(is_uid, proposed.transfer_syntaxes)), True, True)
    if acceptor.refuses is not None and acceptor.refuses(uid):
        return conclude(Result.USER_REJECTION), None
    transfer_syntax = supported.choose(proposed.transfer_syntaxes, asked)
    if transfer_syntax is not None and not fits_command(transfer_syntax):
        transfer_syntax = supported.choose(tuple(filter(fits_command, proposed.transfer_syntaxes)))
    if transfer_syntax is None:
        return conclude(Result.TRANSFER_SYNTAXES_NOT_SUPPORTED), None
    if asked is None or (supported.scu_role is None and supported.scp_role is None):
        return conclude(Result.ACCEPTANCE, transfer_syntax), None
    scu = asked.scu_role and bool(supported.scu_role)
    scp = asked.scp_role and bool(supported.scp_role)
    if not (scu or scp):
        return conclude(Result.USER_REJECTION), None
    return conclude(Result.ACCEPTANCE, transfer_syntax, scu, scp), RoleSelection(uid, scu, scp)
