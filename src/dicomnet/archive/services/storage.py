"""Storage: C-STORE (PS3.4 annex B)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from ...dimse.messages import Message
from ...encoding.transfer_syntaxes import PREFERRED_NATIVE, TRANSFER_SYNTAXES
from ...errors import ServiceRefusal
from ...services.registry import OPERATIONS, SUCCESS
from ...services.service_names import ServiceName
from ...services.sop_classes import SOP_CLASSES
from ...services.steps import Answer
from ...upper_layer.negotiation import NegotiatedContext, SupportedContext
from ...wire.items import SOPClassExtendedNegotiation
from ..entries import C_STORE_WAY, Source
from ..holdings import Holdings
from ..intake import KEPT_IN_QUARANTINE, QUARANTINE_COMMENT, Session
from ..storage.store import ObjectName
from .service import Caller

_log = logging.getLogger(__name__)

OnStored = Callable[[str, int, ObjectName | None], None]

_ANSWERS = {
    SUCCESS: Answer(SUCCESS),
    KEPT_IN_QUARANTINE: Answer(KEPT_IN_QUARANTINE, elements={"ErrorComment": QUARANTINE_COMMENT}),
}


_STORAGE_CLASSES = [uid for uid, row in SOP_CLASSES.items() if row.service is ServiceName.STORAGE]


class StorageService:
    """The service that stores objects of all storage classes, in any transfer syntax that is known.

    Parameters
    ----------
    holdings
        Where they are stored.
    on_stored
        Called after each request with the SOP Instance UID, the status, and the name of the object, None where it has
        none; None for nobody.
    gives_out
        Whether there is C-GET, for which the requestor has the role of SCP.
    """

    operation = "C-STORE"

    def __init__(self, holdings: Holdings, on_stored: OnStored | None, *, gives_out: bool = False) -> None:
        syntaxes = tuple(TRANSFER_SYNTAXES)
        context = (
            SupportedContext(syntaxes, True, True, to_send=PREFERRED_NATIVE)
            if gives_out
            else SupportedContext(syntaxes)
        )
        self.contexts: Mapping[str, SupportedContext] = dict.fromkeys(_STORAGE_CLASSES, context)
        self._holdings = holdings
        self._on_stored = on_stored

    def agree(self, proposed: SOPClassExtendedNegotiation) -> None:
        """Nothing is agreed: the level of support is what the conformance statement says."""

    def open_sink(self, message: Message, context: NegotiatedContext, caller: Caller) -> Session:
        """A session of the intake."""
        return self._holdings.intake.open(
            context.abstract_syntax,
            message.command["AffectedSOPInstanceUID"],
            context.transfer_syntax,
            Source(caller.ae_title, caller.address, C_STORE_WAY),
        )

    def handle(self, message: Message, context: NegotiatedContext, caller: Caller) -> Any:
        """Requests of this service are performed together, see `settle`."""
        raise ServiceRefusal(OPERATIONS[self.operation].handler_failed)

    def place(self, requests: Sequence[Message]) -> None:
        """Check objects that came, before all of those under way have come."""
        for session in _sessions(requests):
            session.place()

    def settle(self, requests: Sequence[Message]) -> list[Answer | ServiceRefusal]:
        """Store objects together, and give the answers."""
        sessions = _sessions(requests)
        try:
            outcomes = self._holdings.intake.commit(sessions)
        except BaseException:
            self._tell(sessions, [OPERATIONS[self.operation].handler_failed] * len(sessions))
            raise
        self._tell(sessions, outcomes)
        return [each if isinstance(each, ServiceRefusal) else _ANSWERS[each] for each in outcomes]

    def _tell(self, sessions: Sequence[Session], outcomes: Sequence[int | ServiceRefusal]) -> None:
        if self._on_stored is None:
            return
        for session, outcome in zip(sessions, outcomes, strict=True):
            status = outcome.status if isinstance(outcome, ServiceRefusal) else outcome
            try:
                self._on_stored(session.sop_instance, status, session.name)
            except Exception:  # noqa: BLE001
                # What is stored is answered, whatever becomes of the news.
                about = {"object": session.sop_instance}
                _log.exception("nobody could be told that %s was stored", session.sop_instance, extra=about)


def _sessions(requests: Sequence[Message]) -> list[Session]:
    sessions = [request.data for request in requests]
    if not all(isinstance(each, Session) for each in sessions):
        raise TypeError("a C-STORE request is stored by a session of the intake")
    return cast(list[Session], sessions)
