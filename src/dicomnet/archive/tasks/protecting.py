"""The task of protecting patients, whose objects are then not deleted, and of taking that back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..audit import COMMAND, AuditEvent, EventAction, EventKind
from ..catalogue.inspection import Inspection
from ..deletion import Protection
from ..holdings import Holdings
from .task import Reporter, TaskRefused


def protect(
    holdings: Holdings,
    reporter: Reporter,
    *,
    patient: str = "",
    issuer: str = "",
    reason: str = "",
    actor: str = "",
    remove: bool = False,
) -> Mapping[str, Any]:
    """Protect a patient, take that back, or say who is protected.

    Parameters
    ----------
    holdings
        The archive.
    reporter
        Told each protection that holds, where no patient is given.
    patient, issuer
        Patient ID and its issuer, empty for any. Without a patient nothing is changed.
    reason, actor
        Why, and who wants it.
    remove
        Whether the protection is taken back.

    Returns
    -------
    mapping
        ``protected``: how many are after that; ``has_changed``: whether anything has; ``studies``: how many studies the
        archive has by now of which an object says that Patient ID, whatever the issuer.

    Raises
    ------
    TaskRefused
        If a protection is to be taken back that there is none of.
    DatabaseFailure
        If the ledger cannot be read or written.
    """
    assert holdings.ledger is not None
    protections = holdings.ledger.opened.protections
    has_changed = False
    if remove:
        has_changed = protections.end(patient, issuer, actor)
        if not has_changed:
            raise TaskRefused(
                "this patient is not protected, or by another issuer; dicomnet protect lists who is"
            )
    elif patient:
        has_changed = protections.begin(Protection(patient, issuer, reason, actor))
    if has_changed:
        words = "is not protected any more" if remove else f"is protected: {reason}"
        holdings.audit.record(
            AuditEvent(
                EventKind.SECURITY_ALERT,
                EventAction.PROTECTION,
                user=actor,
                way=COMMAND,
                patient=patient,
                detail=f"patient {patient} {words}",
            )
        )
    holding = list(protections.all())
    for each in holding if not patient else ():
        reporter.item(
            patient_id=each.patient,
            issuer=each.issuer or None,
            reason=each.reason or None,
            actor=each.actor,
            since=None if each.begun_at is None else each.begun_at.isoformat(timespec="seconds"),
        )
    index = holdings.index
    assert index is not None
    studies = Inspection(index).count_of_patient(patient) if patient else 0
    return {"protected": len(holding), "has_changed": has_changed, "studies": studies}
