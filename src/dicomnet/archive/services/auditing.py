"""What of an association goes into the audit trail: the one place for all of DIMSE."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ...dimse.datasets import MemorySink
from ...dimse.messages import C_FIND_RQ, C_STORE_RQ, Message
from ...errors import ServiceRefusal
from ...services.registry import OPERATIONS
from ...services.steps import Answer, Stores
from ...upper_layer.negotiation import NegotiatedContext
from ...values import replace
from ...wire.pdu import AssociateRQ
from ..access import NOT_AUTHORIZED
from ..audit import DIMSE, AuditEvent, EventAction, EventKind, EventOutcome
from ..auditing import AuditTrail, Entry
from ..intake import Session, study_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from .retrieval import Retrieval

# The longest identifier that is kept, and the longest text of its keys that is kept.
_LONGEST, _LONGEST_TEXT = 8192, 1000
_QUERY, _TRANSFER = EventKind.QUERY, EventKind.INSTANCES_TRANSFERRED


class AssociationAudit:
    """Tells the audit trail what is done on an association.

    Parameters
    ----------
    trail
        The audit trail.
    ae_title, address
        Of the peer.
    """

    def __init__(self, trail: AuditTrail, ae_title: str, address: str) -> None:
        self._trail = trail
        self._who = AuditEvent(EventKind.QUERY, ae_title=ae_title, address=address, way=DIMSE)
        # The transfers of the association, one for each study.
        self._transfers: dict[tuple[EventAction, str, str, str], Entry] = {}
        self._queries: dict[int, Entry] = {}
        self._query: Entry | None = None
        self._told: dict[Retrieval, Counter[str]] = {}

    def asked(self, message: Message, context: NegotiatedContext) -> None:
        """A query begins."""
        if message.type is C_FIND_RQ and isinstance(message.data, MemorySink):
            # What is encoded is short, and what was decoded to ask the index need not be so once more.
            encoded = bytes(message.data.content[: _LONGEST + 1])
            is_kept = len(encoded) <= _LONGEST
            event = replace(
                self._who,
                kind=_QUERY,
                detail=message.type.service,
                sop_class=context.abstract_syntax,
                syntax=context.transfer_syntax,
                query=b64encode(encoded).decode() if is_kept else "",
            )
            self._queries[message.message_id] = self._query = self._trail.begin(event)

    def identified(self, identifier: Dataset) -> None:
        """The identifier of the query that began last is decoded, and is not changed any more."""
        if self._query is not None:
            self._query.describe = partial(_keys, identifier)

    def answered(self) -> None:
        """All that a request had to be answered with was given; requests are answered one after another."""
        while self._queries:
            self._trail.end(self._queries.popitem()[1])
        self._query = None

    def closed(self) -> None:
        """The association is over."""
        self.answered()
        while self._transfers:
            self._trail.end(self._transfers.popitem()[1])

    def stored(self, studies: Mapping[str, int]) -> None:
        """Objects of studies were stored."""
        for study, count in studies.items():
            self._transferred(EventAction.IN, study, "C-STORE", count)

    def performed(self, retrieval: Retrieval, *, is_over: bool = False) -> None:
        """A retrieval has sent objects, or is over."""
        told = self._told.setdefault(retrieval, Counter())
        for study, count in list(retrieval.given.items()):
            more = count - told[study]
            if more or retrieval.has_failed:
                self._transferred(
                    EventAction.OUT,
                    study,
                    retrieval.operation,
                    more,
                    retrieval.destination,
                    has_failed=retrieval.has_failed,
                )
                told[study] = count
        if is_over:
            del self._told[retrieval]

    def refused(self, message: Message, refusal: ServiceRefusal) -> None:
        """A request was refused."""
        service = message.type.service
        why = f"{service}: status 0x{refusal.status:04X}"
        if refusal.comment:
            why = f"{why}, {refusal.comment}"
        query = self._queries.pop(message.message_id, None)
        if refusal.status == NOT_AUTHORIZED:
            self._trail.record_together(
                replace(
                    self._who,
                    kind=EventKind.SECURITY_ALERT,
                    action=EventAction.NOT_ALLOWED,
                    outcome=EventOutcome.MINOR_FAILURE,
                    detail=why,
                )
            )
        elif query is not None and message.type is C_FIND_RQ:
            failed = self._trail.again(query, 0, outcome=EventOutcome.SERIOUS_FAILURE)
            if failed.describe is None:
                failed.describe = partial(dict, detail=why)
            self._trail.end(failed)
        elif service in OPERATIONS and service in ("C-STORE", "C-FIND", "C-GET", "C-MOVE"):
            kind = _QUERY if message.type is C_FIND_RQ else _TRANSFER
            is_in = message.type is C_STORE_RQ
            action = EventAction.NONE if kind is _QUERY else EventAction.IN if is_in else EventAction.OUT
            outcome = EventOutcome.SERIOUS_FAILURE
            self._trail.record_together(
                replace(self._who, kind=kind, action=action, outcome=outcome, detail=why)
            )

    def _transferred(
        self,
        action: EventAction,
        study: str,
        how: str,
        count: int,
        other: str = "",
        *,
        has_failed: bool = False,
    ) -> None:
        key = action, study, how, other
        entry = self._transfers.get(key)
        if entry is None:
            event = replace(self._who, kind=_TRANSFER, action=action, study=study, detail=how, other=other)
            entry = self._trail.begin(event, count)
        elif count:
            entry = self._trail.again(entry, count)
        if has_failed and entry.event.outcome is EventOutcome.SUCCESS:
            entry = self._trail.again(entry, 0, outcome=EventOutcome.MINOR_FAILURE)
        self._transfers[key] = entry


class AuditedStores:
    """The service that stores objects, as an association has it whose stores are recorded.

    Parameters
    ----------
    stores
        The service.
    audit
        Told what was stored.
    """

    def __init__(self, stores: Stores, audit: AssociationAudit) -> None:
        self._stores = stores
        self._audit = audit

    def place(self, requests: Sequence[Message]) -> None:
        """Check objects that came."""
        self._stores.place(requests)

    def settle(self, requests: Sequence[Message]) -> Sequence[Answer | ServiceRefusal]:
        """Store objects together, and give the answers."""
        studies = [study_of(each.data) if isinstance(each.data, Session) else "" for each in requests]
        answers: Sequence[Answer | ServiceRefusal] = self._stores.settle(requests)
        stored = Counter(
            study
            for study, answer in zip(studies, answers, strict=True)
            if not isinstance(answer, ServiceRefusal)
        )
        self._audit.stored(stored)
        return answers


def association_refused(trail: AuditTrail, request: AssociateRQ, address: str, why: str) -> None:
    """Record that an association was refused."""
    trail.record_together(
        AuditEvent(
            EventKind.SECURITY_ALERT,
            outcome=EventOutcome.MINOR_FAILURE,
            ae_title=request.calling_ae_title,
            address=address,
            way=DIMSE,
            detail=f"association refused: {why}",
        )
    )


def _keys(identifier: Dataset) -> Mapping[str, str]:
    """What is recorded of the identifier of a query."""
    keys = {each.keyword or str(each.tag): str(each.value) for each in identifier if each.value}
    text = ", ".join(f"{name}={value}" for name, value in keys.items())
    return {
        "study": keys.get("StudyInstanceUID", ""),
        "patient": keys.get("PatientID", ""),
        "detail": f"C-FIND: {text}"[:_LONGEST_TEXT],
    }
