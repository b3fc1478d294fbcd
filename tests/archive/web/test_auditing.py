"""The audit trail says what was done by HTTP, over real sockets."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

from tests.archive.audited import entries
from tests.archive.web.served import address_of, sample, served

from dicomnet import Peer
from dicomnet.archive.audit import AuditPolicy, EventAction, EventKind, EventOutcome
from dicomnet.archive.terms import Terms
from dicomnet.archive.users import UsersFile, new_user
from dicomnet.archive.web.access.policy import WebPolicy

CT = sample("CT_small.dcm")
STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"


def test_what_is_done_by_http_is_recorded(tmp_path: Path) -> None:
    terms = Terms(audit=AuditPolicy(enabled=True), web=WebPolicy(may_delete=True))
    with served(tmp_path, terms=terms) as node:
        with Peer(node.url) as peer:
            assert all(each.is_stored for each in peer.store([CT]))
        assert node.node.holdings.intake.wait_for_all()
        assert node.get("/studies?PatientID=1CT1").status == 200
        for _ in range(40):
            assert node.get(f"{address_of(CT)}/frames/1").status == 200
        assert node.get("/studies/1.2.3").status == 404
        assert node.get(f"/studies/{STUDY}", method="DELETE").status == 204
    came, asked, seen, deleted = entries(tmp_path)
    assert (came.event.kind, came.event.action) == (EventKind.INSTANCES_TRANSFERRED, EventAction.IN)
    assert (came.event.study, came.count, came.event.way) == (STUDY, 1, "HTTP")
    assert (asked.event.kind, asked.event.detail) == (EventKind.QUERY, "/studies?PatientID=1CT1")
    assert (seen.event.kind, seen.event.study, seen.count) == (EventKind.INSTANCES_ACCESSED, STUDY, 40)
    assert (deleted.event.kind, deleted.event.study) == (EventKind.STUDY_DELETED, STUDY)
    assert {each.event.address for each in (came, asked, seen, deleted)} == {"127.0.0.1"}


def test_who_logs_in_and_who_fails_is_recorded(tmp_path: Path) -> None:
    users = UsersFile(tmp_path / "users.toml")
    with users.changing() as (known, _):
        known["alice"] = new_user("alice", "viewer", "a long password")
    terms = Terms(audit=AuditPolicy(enabled=True), web=WebPolicy(users=users))
    with served(tmp_path / "data", terms=terms) as node:
        for password, status in (("wrong", 401), ("a long password", 200)):
            basic = b64encode(f"alice:{password}".encode()).decode()
            assert node.get("/studies", Authorization=f"Basic {basic}").status in (status, 204)
    failed, came, asked = entries(tmp_path / "data")
    assert failed.event.kind is came.event.kind is EventKind.USER_AUTHENTICATION
    assert (failed.event.user, failed.event.outcome) == ("alice", EventOutcome.MINOR_FAILURE)
    assert (came.event.user, came.event.outcome) == ("alice", EventOutcome.SUCCESS)
    assert (asked.event.kind, asked.event.user) == (EventKind.QUERY, "alice")
