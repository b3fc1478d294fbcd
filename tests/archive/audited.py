"""What tests of the audit trail have in common."""

from __future__ import annotations

from pathlib import Path

from dicomnet.archive.audit import AuditEntry, EventAction, EventKind
from dicomnet.archive.ledger.audits import AuditFilter
from dicomnet.archive.ledger.ledger import Ledger, ledger_url

# What each node that has the trail on records of itself.
_OWN = {
    (EventKind.APPLICATION_ACTIVITY, EventAction.START),
    (EventKind.APPLICATION_ACTIVITY, EventAction.STOP),
    (EventKind.SECURITY_ALERT, EventAction.RECORDING_STARTED),
}


def entries(folder: Path) -> list[AuditEntry]:
    """What the trail of an archive says of others than the node, the oldest first."""
    with Ledger(ledger_url(folder)) as ledger:
        found = [entry for _, entry in ledger.audits.find(AuditFilter())]
    return [each for each in found if (each.event.kind, each.event.action) not in _OWN][::-1]
