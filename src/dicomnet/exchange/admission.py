"""Whether an association is accepted: what an acceptor's own handler sees of the request, and what it may answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ..encoding.identity import is_uid
from ..errors import REJECT_REASONS, REJECT_RESULTS, AssociationRejected
from ..upper_layer.negotiation import first_of, items_of
from ..values import field, frozen
from ..wire.items import (
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
)
from ..wire.pdu import AssociateRJ, AssociateRQ

_log = logging.getLogger(__name__)

# What is answered where the handler fails: rejected permanently, by the service user, with no reason given.
_HANDLER_FAILED = AssociateRJ(1, 1, 1)
# The types of user identity that have a server response: ticket, assertion and token (PS3.7 Annex D.3.3.7.2).
_WITH_RESPONSE = (3, 4, 5)


@frozen
class AssociationRequest:
    """A request for an association, as the ``admit`` handler of a server sees it.

    Parameters
    ----------
    address
        The peer's host and port.
    pdu
        The A-ASSOCIATE-RQ (PS3.8 section 9.3.2), with all that was proposed.
    """

    address: tuple[str, int]
    pdu: AssociateRQ

    @property
    def calling(self) -> str:
        """The calling AE title."""
        return self.pdu.calling_ae_title

    @property
    def called(self) -> str:
        """The called AE title."""
        return self.pdu.called_ae_title

    @property
    def identity(self) -> UserIdentityRQ | None:
        """The user identity (PS3.7 Annex D.3.3.7), None where the peer named none."""
        return first_of(self.pdu.user_items, UserIdentityRQ)

    @property
    def extended(self) -> Mapping[str, bytes]:
        """SOP class extended negotiation (PS3.7 Annex D.3.3.5): SOP class UID to application information."""
        items = items_of(self.pdu.user_items, SOPClassExtendedNegotiation)
        return {item.sop_class: item.application_information for item in items}

    @property
    def common_extended(self) -> tuple[SOPClassCommonExtendedNegotiation, ...]:
        """SOP class common extended negotiation (PS3.7 Annex D.3.3.6), which has no answer."""
        return tuple(items_of(self.pdu.user_items, SOPClassCommonExtendedNegotiation))


@frozen
class Acceptance:
    """The answers of an ``admit`` handler to user identity and extended negotiation.

    Parameters
    ----------
    identity
        The server response to the user identity (PS3.7 Annex D.3.3.7.2), which says that it was verified; empty for a
        user name. It is sent where the peer asked for it. None leaves the identity unanswered.
    extended
        The answers to SOP class extended negotiation: SOP class UID to application information. Those that the peer
        did not ask for are not sent.
    """

    identity: bytes | None = field(default=None, repr=False)
    extended: Mapping[str, bytes] = field(default_factory=dict)


def rejection_of(error: Exception) -> AssociateRJ:
    """The A-ASSOCIATE-RJ for what a handler raised: its `AssociationRejected`, or a failure of its own."""
    if isinstance(error, AssociationRejected):
        if error.result in REJECT_RESULTS and (error.source, error.reason) in REJECT_REASONS:
            return AssociateRJ(error.result, error.source, error.reason)
        _log.error("the standard has no such rejection as the handler asks for: %s", error)
    else:
        _log.error("the handler for an association request failed", exc_info=error)
    return _HANDLER_FAILED


def identity_item(request: AssociateRQ, response: bytes | None) -> UserIdentityAC | None:
    """The answer to user identity negotiation (PS3.7 Annex D.3.3.7.2), None where none is sent.

    Parameters
    ----------
    response
        The server response, None where the identity was not verified.
    """
    asked = first_of(request.user_items, UserIdentityRQ)
    if asked is None or response is None or not asked.positive_response_requested:
        return None
    return UserIdentityAC(response if asked.identity_type in _WITH_RESPONSE else b"")


def extended_items(
    request: AssociateRQ, answers: Mapping[str, bytes]
) -> tuple[SOPClassExtendedNegotiation, ...]:
    """The answers to SOP class extended negotiation, where it was asked for.

    A handler may answer all that was asked; what the peer did not name by a UID gets no answer.

    Raises
    ------
    ValueError
        If one of them cannot be encoded.
    """
    extended = items_of(request.user_items, SOPClassExtendedNegotiation)
    asked = {item.sop_class for item in extended if is_uid(item.sop_class)}
    items = [
        SOPClassExtendedNegotiation(str(uid), bytes(information))
        for uid, information in answers.items()
        if uid in asked
    ]
    for item in items:
        item.encode()
    return tuple(items)
