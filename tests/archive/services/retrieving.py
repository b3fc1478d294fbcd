"""Nodes that give out what they have, and requestors of it, for the tests of retrieval."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.faults.objects import CT_IMAGE_STORAGE, EXPLICIT, study_uid, write_objects
from tests.scripted import Arrived
from tests.sockets import IMPLICIT_VR_LE, RawPeer, message_pdus
from tests.support import data_set_of

from dicomnet import Peer
from dicomnet.archive.node import Node
from dicomnet.archive.services.retrieve import RetrievePolicy, destinations_of
from dicomnet.archive.terms import Terms
from dicomnet.datasets.codec import encode
from dicomnet.dimse.codec import decode_command
from dicomnet.dimse.messages import C_GET_RQ, C_MOVE_RQ, Message
from dicomnet.drivers.deadline import Timeouts
from dicomnet.errors import ServiceRefusal
from dicomnet.exchange.results import RetrieveProgress
from dicomnet.wire.items import AsynchronousOperationsWindow, ProposedContext, RoleSelection
from dicomnet.wire.pdu import AssociateRQ

GET, MOVE = "1.2.840.10008.5.1.4.1.2.2.3", "1.2.840.10008.5.1.4.1.2.2.2"
PATIENT_MOVE, PATIENT_STUDY_ONLY_MOVE = "1.2.840.10008.5.1.4.1.2.1.2", "1.2.840.10008.5.1.4.1.2.3.2"
JPEG = "1.2.840.10008.1.2.4.90"
COUNT = 20


@contextmanager
def running(folder: Path, *destinations: str, **options: Any) -> Iterator[Node]:
    """A node with move destinations; further options are those of `RetrievePolicy`, ``timeouts`` and ``database``."""
    timeouts, database = options.pop("timeouts", None), options.pop("database", None)
    policy = RetrievePolicy(destinations_of(destinations), **options)
    terms = Terms(retrieval=policy, timeouts=timeouts or Timeouts())
    node = Node(folder, address=("127.0.0.1", 0), terms=terms, sync=False, database=database)
    node.start()
    try:
        yield node
    finally:
        node.shutdown()


def fill(node: Node, folder: Path, count: int = COUNT, study: int = 1, length: int = 64) -> list[Path]:
    """Store objects of one study."""
    paths = write_objects(folder / str(study), study, count, length)
    with peer_of(node) as peer:
        assert all(result.is_stored for result in peer.store(paths))
    return paths


def peer_of(node: Node) -> Peer:
    return Peer(f"NODE@127.0.0.1:{node.address[1]}", calling="ASKING")


def moved(node: Node, level: str = "study", to: str = "THERE", **keys: Any) -> list[RetrieveProgress]:
    """The responses of a C-MOVE, by default of the study that `fill` makes."""
    with peer_of(node) as peer:
        found: list[RetrieveProgress] = []
        try:
            found += peer.move(to, level, **(keys or {"StudyInstanceUID": study_uid(1)}))
        except ServiceRefusal as refusal:
            if not found or found[-1].status != refusal.status:
                raise
        return found


def final(responses: list[RetrieveProgress]) -> tuple[int, int | None, int | None, int | None]:
    """Status, and how many were completed, failed and have warnings."""
    last = responses[-1]
    return last.status, last.completed, last.failed, last.warnings


def refusal_of(node: Node, level: str = "study", to: str = "THERE", **keys: Any) -> ServiceRefusal:
    with pytest.raises(ServiceRefusal) as refused, peer_of(node) as peer:
        list(peer.move(to, level, **keys))
    return refused.value


def data_sets(folder: Path) -> dict[str, bytes]:
    return {path.stem: data_set_of(path) for path in folder.rglob("*.dcm")}


@contextmanager
def receiver(folder: Path) -> Iterator[Node]:
    node = Node(folder, address=("127.0.0.1", 0), has_index=False, sync=False)
    node.start()
    try:
        yield node
    finally:
        node.shutdown()


def raw_retrieval(
    node: Node,
    kind: Any,
    model: str,
    *,
    priority: int = 0,
    message_id: int = 1,
    level: str = "STUDY",
    on_peer: Callable[[RawPeer], None] = lambda peer: None,
) -> list[dict[str, Any]]:
    """A retrieval by bytes; the command sets of its responses."""
    with RawPeer.connect(node.address[1]) as peer:
        peer.send(AssociateRQ("NODE", "RAW", (ProposedContext(1, model, (IMPLICIT_VR_LE,)),), ()).encode())
        assert peer.read_pdu()[:1] == b"\x02"
        keys = Dataset()
        keys.QueryRetrieveLevel, keys.StudyInstanceUID = level, study_uid(1)
        command = {"AffectedSOPClassUID": model, "MessageID": message_id, "Priority": priority}
        if kind is C_MOVE_RQ:
            command["MoveDestination"] = "THERE"
        peer.send(message_pdus(Message(kind, command, 1, encode(keys, True, True))))
        on_peer(peer)
        responses: list[dict[str, Any]] = []
        while (pdu := peer.read_pdu())[:1] == b"\x04":
            if pdu[11] & 1:
                responses.append(decode_command(pdu[12:])[1])
                if responses[-1]["Status"] != 0xFF00:
                    break
        return responses


class Getting(RawPeer):
    """The requestor of a C-GET, and the PDU that it read last."""

    last = b""

    def read_pdu(self) -> bytes:
        self.last = super().read_pdu()
        return self.last


@contextmanager
def getting(node: Node, window: int | None) -> Iterator[Getting]:
    """A requestor that has asked for the study, and takes so many C-STORE requests at once."""
    items: tuple[Any, ...] = (RoleSelection(CT_IMAGE_STORAGE, False, True),)
    if window is not None:
        items = (AsynchronousOperationsWindow(1, window), *items)
    contexts = (
        ProposedContext(1, GET, (IMPLICIT_VR_LE,)),
        ProposedContext(3, CT_IMAGE_STORAGE, (EXPLICIT,)),
    )
    with Getting.connect(node.address[1]) as peer:
        assert isinstance(peer, Getting)
        peer.send(AssociateRQ("NODE", "RAW", contexts, items).encode())
        assert peer.read_pdu()[:1] == b"\x02"
        keys = Dataset()
        keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", study_uid(1)
        command = {"AffectedSOPClassUID": GET, "MessageID": 1, "Priority": 0}
        peer.send(message_pdus(Message(C_GET_RQ, command, 1, encode(keys, True, True))))
        yield peer


def next_store(peer: Getting) -> Arrived | None:
    """The next C-STORE request; None at the final response."""
    request: Arrived | None = None
    while (pdu := peer.read_pdu())[:1] == b"\x04":
        if pdu[11] & 1 and pdu[10] == 1:
            if decode_command(pdu[12:])[1]["Status"] != 0xFF00:
                return None
        elif pdu[11] & 1:
            request = Arrived(0, 0, pdu[10], pdu)
        elif pdu[11] & 2:
            return request
    raise AssertionError(f"the association ended: {pdu!r}")
