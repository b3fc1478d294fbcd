"""How a server answers an association request (PS3.8 section 7.1, PS3.7 Annex D.3), with the handlers of its events."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from weakref import WeakSet

from .. import _config
from ..drivers.deadline import Timeouts
from ..encoding.identity import is_uid
from ..services.service_classes import may_be_storage
from ..upper_layer.negotiation import (
    Acceptor,
    Agreement,
    accept,
    first_of,
    identification_items,
    items_of,
    refuse_names,
)
from ..values import frozen
from ..wire.items import (
    AsynchronousOperationsWindow,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
)
from ..wire.pdu import LOCAL_LIMIT_EXCEEDED, AssociateAC, AssociateRJ, AssociateRQ
from . import events as evt
from .association import Association
from .destinations import AEDestinations
from .presentation import PresentationContext, Supported
from .state import AssociationState
from .user_information import view_of
from .views import known_uid

_log = logging.getLogger(__name__)

_ANSWERED_IDENTITIES = (3, 4, 5)
_USER_IDENTITY_REFUSED = AssociateRJ(2, 2, 1)


class AcceptedAssociations:
    """Counts the associations that the servers of one application entity have accepted and that are not over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: WeakSet[AssociationState] = WeakSet()

    def admit(self, state: AssociationState, limit: int) -> bool:
        """Count one more, from a valid request to its end; False if there are ``limit`` already."""
        with self._lock:
            if sum(not each.is_over for each in self._states) >= limit:
                return False
            self._states.add(state)
            return True


@frozen
class AcceptorSettings:
    """The settings by which an application entity accepts associations, at one moment.

    Parameters
    ----------
    timeouts
        One deadline a stage, in seconds.
    transcode
        Whether objects may be decompressed: ``never`` or ``if-needed``.
    maximum_pdu_size
        The largest PDU-length that it takes, in bytes; 0 is no limit.
    implementation_class_uid, implementation_version_name
        Its identification (PS3.7 Annex D.3.3.2).
    require_called_aet
        Whether a request must call it by its title.
    require_calling_aet
        The AE titles that may request associations, none for all.
    maximum_associations
        How many its servers may have accepted at once.
    accepted
        Those that they have accepted.
    destinations
        Requests associations with move destinations.
    """

    timeouts: Timeouts
    transcode: str
    maximum_pdu_size: int
    implementation_class_uid: str
    implementation_version_name: str | None
    require_called_aet: bool
    require_calling_aet: tuple[str, ...]
    maximum_associations: int
    accepted: AcceptedAssociations
    destinations: AEDestinations


def answer_request(
    assoc: Association,
    request: AssociateRQ,
    settings: AcceptorSettings,
    ae_title: str,
    supported: Callable[[list[PresentationContext]], Supported],
) -> tuple[AssociateAC, Agreement] | AssociateRJ:
    """Accept or reject an association request.

    Parameters
    ----------
    assoc
        The association; handlers may have changed what its acceptor supports.
    request
        The request.
    settings
        Of the application entity.
    ae_title
        The AE title that is called here.
    supported
        Converts what the acceptor supports.
    """
    refused = refuse_names(
        request,
        called=(ae_title,) if settings.require_called_aet else (),
        calling=settings.require_calling_aet,
    )
    if refused is not None:
        return refused
    if not settings.accepted.admit(assoc.state, settings.maximum_associations):
        return LOCAL_LIMIT_EXCEEDED
    identity = _ask_identity(assoc, request)
    if isinstance(identity, AssociateRJ):
        return identity
    identification = identification_items(
        settings.maximum_pdu_size, settings.implementation_class_uid, settings.implementation_version_name
    )
    unknown = may_be_storage if _config.UNRESTRICTED_STORAGE_SERVICE else None
    return accept(
        request,
        Acceptor(supported(assoc.acceptor.supported_contexts), identification, unknown),
        window=_ask_window(assoc, request),
        extended=_ask_extended(assoc, request),
        identity=identity,
    )


def _ask_identity(assoc: Association, request: AssociateRQ) -> UserIdentityAC | AssociateRJ | None:
    item = first_of(request.user_items, UserIdentityRQ)
    if item is None or not _has_handler(assoc, evt.EVT_USER_ID):
        return None
    attrs = {
        "user_id_type": item.identity_type,
        "primary_field": item.primary_field,
        "secondary_field": item.secondary_field,
    }
    try:
        is_verified, response = evt.trigger(assoc, evt.EVT_USER_ID, attrs)
    except Exception:  # noqa: BLE001
        _log.exception("the handler for EVT_USER_ID failed, so the association is rejected")
        return _USER_IDENTITY_REFUSED
    if not is_verified:
        return _USER_IDENTITY_REFUSED
    if not item.positive_response_requested:
        return None
    # The response to a user name, with or without a passcode, is empty (PS3.7 Annex D.3.3.7.2).
    has_response = item.identity_type in _ANSWERED_IDENTITIES and isinstance(response, bytes)
    return UserIdentityAC(response if has_response else b"")


def _ask_window(assoc: Association, request: AssociateRQ) -> AsynchronousOperationsWindow | None:
    item = first_of(request.user_items, AsynchronousOperationsWindow)
    if item is None or not _has_handler(assoc, evt.EVT_ASYNC_OPS):
        return None
    attrs = {"nr_invoked": item.invoked, "nr_performed": item.performed}
    try:
        invoked, performed = evt.trigger(assoc, evt.EVT_ASYNC_OPS, attrs)
        return AsynchronousOperationsWindow(_least(item.invoked, invoked), _least(item.performed, performed))
    except Exception:  # noqa: BLE001
        _log.exception("the handler for EVT_ASYNC_OPS failed, so the window is 1")
        return AsynchronousOperationsWindow(1, 1)


def _least(asked: int, granted: int) -> int:
    """The smaller of the two, where 0 is no limit (PS3.7 Annex D.3.3.3)."""
    return min(asked, granted) or max(asked, granted)


def _ask_extended(assoc: Association, request: AssociateRQ) -> tuple[SOPClassExtendedNegotiation, ...]:
    common = items_of(request.user_items, SOPClassCommonExtendedNegotiation)
    if common and _has_handler(assoc, evt.EVT_SOP_COMMON):
        views = {known_uid(item.sop_class): view_of(item) for item in common}
        try:
            assoc.acceptor.accept_common(evt.trigger(assoc, evt.EVT_SOP_COMMON, {"items": views}))
        except Exception:  # noqa: BLE001
            _log.exception("the handler for EVT_SOP_COMMON failed")
    extended = items_of(request.user_items, SOPClassExtendedNegotiation)
    if not extended or not _has_handler(assoc, evt.EVT_SOP_EXTENDED):
        return ()
    asked = {known_uid(item.sop_class): item.application_information for item in extended}
    # A handler may answer all that was asked; what the peer did not name by a UID gets no answer.
    answerable = set(filter(is_uid, asked))
    try:
        answers = evt.trigger(assoc, evt.EVT_SOP_EXTENDED, {"app_info": asked})
        items = [
            SOPClassExtendedNegotiation(str(uid), info) for uid, info in answers.items() if uid in answerable
        ]
        # An answer that cannot be encoded is the handler's mistake too.
        for item in items:
            item.encode()
        return tuple(items)
    except Exception:  # noqa: BLE001
        _log.exception("the handler for EVT_SOP_EXTENDED failed")
        return ()


def _has_handler(assoc: Association, event: evt.EventType) -> bool:
    return assoc.state.bindings.intervention(event) is not None
