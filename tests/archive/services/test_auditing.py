"""The audit trail says what peers did, by real associations: one entry for a query, and for each study that moved."""

from __future__ import annotations

from pathlib import Path

import pynetdicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from tests.archive.audited import entries

from dicomnet import Peer
from dicomnet.archive.access import Access
from dicomnet.archive.audit import AuditPolicy, EventAction, EventKind, EventOutcome
from dicomnet.archive.node import Node
from dicomnet.archive.terms import Terms
from dicomnet.values import replace

CT, MR = (Path(str(get_testdata_file(name))) for name in ("CT_small.dcm", "MR_small.dcm"))
CT_STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
ON = Terms(audit=AuditPolicy(enabled=True))


def _node(folder: Path, terms: Terms = ON) -> Node:
    node = Node(folder, address=("127.0.0.1", 0), terms=terms, sync=False)
    node.start()
    return node


def test_what_a_peer_does_is_recorded(tmp_path: Path) -> None:
    node = _node(tmp_path)
    try:
        with Peer(f"NODE@127.0.0.1:{node.address[1]}", calling="CT1") as peer:
            assert all(each.is_stored for each in peer.store([CT, CT, MR]))
            assert len(list(peer.find("study", PatientID="1CT1"))) == 1
            list(peer.get("study", to=tmp_path / "got", StudyInstanceUID=CT_STUDY))
    finally:
        node.shutdown()
    came, other, asked, went = entries(tmp_path)
    assert (came.event.kind, came.event.action) == (EventKind.INSTANCES_TRANSFERRED, EventAction.IN)
    assert (came.event.study, came.event.patient, came.count) == (CT_STUDY, "1CT1", 2)
    assert (came.event.ae_title, came.event.address, came.event.way) == ("CT1", "127.0.0.1", "DIMSE")
    assert (other.count, other.event.patient) == (1, "4MR1")
    assert (asked.event.kind, asked.event.patient) == (EventKind.QUERY, "1CT1")
    assert "PatientID=1CT1" in asked.event.detail
    assert (went.event.action, went.event.study, went.count) == (EventAction.OUT, CT_STUDY, 1)
    assert all(each.event.outcome is EventOutcome.SUCCESS for each in (came, other, asked, went))


def test_a_peer_that_is_turned_away_is_one_alert(tmp_path: Path) -> None:
    node = _node(tmp_path, replace(ON, access=Access(())))
    try:
        for _ in range(3):
            ae = pynetdicom.AE("STRANGER")
            ae.add_requested_context(FIND)
            assert ae.associate("127.0.0.1", node.address[1]).is_rejected
    finally:
        node.shutdown()
    (alert,) = entries(tmp_path)
    assert (alert.event.kind, alert.event.ae_title) == (EventKind.SECURITY_ALERT, "STRANGER")
    assert (alert.event.outcome, alert.count) == (EventOutcome.MINOR_FAILURE, 3)


def test_a_query_that_fails_is_one(tmp_path: Path) -> None:
    node = _node(tmp_path)
    try:
        ae = pynetdicom.AE("STRANGER")
        ae.add_requested_context(FIND)
        association = ae.associate("127.0.0.1", node.address[1])
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "NONSENSE"
        ((status, _),) = association.send_c_find(identifier, FIND)
        assert status.Status >= 0xA000
        association.release()
    finally:
        node.shutdown()
    (asked,) = entries(tmp_path)
    assert (asked.event.kind, asked.event.outcome) == (EventKind.QUERY, EventOutcome.SERIOUS_FAILURE)


def test_nothing_is_recorded_unless_it_is_on(tmp_path: Path) -> None:
    node = _node(tmp_path, Terms())
    try:
        with Peer(f"NODE@127.0.0.1:{node.address[1]}", calling="CT1") as peer:
            assert all(each.is_stored for each in peer.store([CT]))
    finally:
        node.shutdown()
    assert entries(tmp_path) == []
