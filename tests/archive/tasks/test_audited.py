"""What an administrator has done with an archive is in its audit trail, with who wanted it."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from tests.archive.audited import entries

from dicomnet.archive.audit import AuditEntry, AuditEvent, AuditPolicy, EventAction, EventKind, EventOutcome
from dicomnet.archive.auditing import record_beside
from dicomnet.archive.holdings import Holdings
from dicomnet.archive.ledger.ledger import Ledger, ledger_url
from dicomnet.archive.tasks.control import Control
from dicomnet.archive.tasks.performing import perform
from dicomnet.archive.tasks.task import Reporter, TaskRefused

CT = Path(str(get_testdata_file("CT_small.dcm")))
STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
_K, _A = EventKind, EventAction


class Silent(Reporter):
    """Says nothing."""

    def show_progress(self, done: int, total: int | None) -> None:
        pass

    def item(self, **fields: Any) -> None:
        pass


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The folder of an archive whose node had the trail on."""
    folder = tmp_path / "archive"
    Holdings(folder).close()
    with Ledger(ledger_url(folder)) as ledger:
        ledger.audits.set_recording(is_on=True)
    return folder


def _do(archive: Path, name: str, **parameters: Any) -> Mapping[str, Any]:
    return perform(archive, name, parameters, Silent(), user="alice")


def _of(found: list[AuditEntry], kind: EventKind, *actions: EventAction) -> list[AuditEntry]:
    return [each for each in found if each.event.kind is kind and each.event.action in actions]


def test_what_is_imported_deleted_brought_back_and_protected(archive: Path) -> None:
    _do(archive, "import", paths=[str(CT)])
    _do(archive, "delete", uids=[STUDY], actor="alice", reason="by mistake", keep=3600.0)
    _do(archive, "undelete", last=True, actor="alice")
    _do(archive, "protect", patient="1CT1", actor="alice", reason="a trial")
    _do(archive, "delete", uids=[STUDY], actor="alice")
    with pytest.raises(TaskRefused):
        _do(archive, "protect", patient="nobody", actor="alice", remove=True)
    found = entries(archive)
    (came,) = _of(found, _K.IMPORT, _A.NONE)
    assert (came.event.study, came.event.patient, came.event.other) == (STUDY, "1CT1", str(CT))
    gone, refused = _of(found, _K.STUDY_DELETED, _A.NONE, _A.FOR_GOOD)
    assert (gone.event.user, gone.event.patient, gone.event.way) == ("alice", "1CT1", "command")
    assert (gone.event.outcome, gone.event.detail.endswith(", by mistake")) == (EventOutcome.SUCCESS, True)
    assert refused.event.outcome is EventOutcome.SERIOUS_FAILURE
    (back,) = _of(found, _K.INSTANCES_ACCESSED, _A.RESTORED)
    assert (back.event.user, back.event.study, back.count) == ("alice", STUDY, 1)
    (protected,) = _of(found, _K.SECURITY_ALERT, _A.PROTECTION)
    assert "1CT1 is protected: a trial" in protected.event.detail
    tasks = _of(found, _K.SECURITY_ALERT, _A.TASK_STARTED, _A.TASK_STOPPED)
    assert [each.event.detail.split()[1].rstrip(":") for each in tasks] == [
        name for name in ("import", "delete", "undelete", "protect", "delete", "protect") for _ in range(2)
    ]
    assert [each.event.outcome for each in tasks][-2:] == [EventOutcome.SUCCESS, EventOutcome.MINOR_FAILURE]
    assert {each.event.user for each in tasks} == {"alice"}
    assert all(each.is_over for each in found)


def test_a_task_of_the_node_is_of_whom_the_kernel_says(archive: Path) -> None:
    with Holdings(archive) as holdings:
        holdings.audit.policy = AuditPolicy(enabled=True)
        control = Control(holdings)
        control.start()
        try:
            # Its lock is taken, so that the node is asked.
            _do(archive, "protect")
        finally:
            control.close()
    started, stopped = _of(entries(archive), _K.SECURITY_ALERT, _A.TASK_STARTED, _A.TASK_STOPPED)
    who = pwd.getpwuid(os.getuid()).pw_name if hasattr(socket, "SO_PEERCRED") else ""
    assert (started.event.user, stopped.event.user) == (who, who)


def test_nothing_is_recorded_where_the_node_had_the_trail_off(archive: Path) -> None:
    with Ledger(ledger_url(archive)) as ledger:
        ledger.audits.set_recording(is_on=False)
    _do(archive, "import", paths=[str(CT)])
    record_beside(archive, None, [(AuditEvent(_K.EXPORT), 1)])
    assert entries(archive) == []


def test_what_a_command_does_beside_the_node_is_recorded(archive: Path, tmp_path: Path) -> None:
    record_beside(archive, None, [(AuditEvent(_K.EXPORT, study="1.2"), 7)])
    (entry,) = entries(archive)
    assert (entry.event.study, entry.count, entry.is_over) == ("1.2", 7, True)
    # Where there is no ledger, none is made.
    record_beside(tmp_path, None, [(AuditEvent(_K.EXPORT), 1)])
    assert not list(tmp_path.glob("ledger*"))
