"""C-GET and C-MOVE of a node: what is selected, in which form it is sent, and what is agreed on for it."""

from __future__ import annotations

import select
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_role
from pynetdicom import evt as foreign_evt
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from tests.archive.stores import Bucket
from tests.faults.objects import CT_IMAGE_STORAGE, EXPLICIT, study_uid, uid, write_objects
from tests.scripted import Scp
from tests.sockets import IMPLICIT_VR_LE, raw_server
from tests.support import data_set_of, free_port, wait_for_files

from dicomnet.archive.services.retrieve import RetrievePolicy, destinations_of
from dicomnet.archive.storage.store import ObjectName
from dicomnet.dimse.codec import decode_command
from dicomnet.dimse.messages import C_MOVE_RQ
from dicomnet.encoding.transfer_syntaxes import Transcoding
from dicomnet.exchange.addresses import PeerAddress
from dicomnet.services.service_names import ServiceName
from dicomnet.services.sop_classes import SOP_CLASSES

from .retrieving import (
    COUNT,
    GET,
    JPEG,
    MOVE,
    PATIENT_STUDY_ONLY_MOVE,
    data_sets,
    fill,
    final,
    getting,
    moved,
    next_store,
    peer_of,
    raw_retrieval,
    receiver,
    refusal_of,
    running,
)

# -- what is selected


def test_what_a_request_selects_at_each_level_of_each_model(tmp_path: Path, database_url: str) -> None:
    with receiver(tmp_path / "there") as there:
        destination = f"THERE@127.0.0.1:{there.address[1]}"
        with running(tmp_path / "node", destination, database=database_url) as node:
            fill(node, tmp_path, 3)
            fill(node, tmp_path, 2, study=2)
            one, two, series = study_uid(1), study_uid(2), study_uid(1) + ".1"
            rows: list[tuple[str, str | None, dict[str, Any], int]] = [
                ("patient", "patient", {"PatientID": "P1"}, 3),
                ("study", "patient", {"PatientID": "P1", "StudyInstanceUID": one}, 3),
                ("study", "patient", {"StudyInstanceUID": [one, two]}, 5),
                ("study", "study", {"StudyInstanceUID": one}, 3),
                ("study", "study", {"StudyInstanceUID": one, "PatientID": "P2"}, 0),
                ("series", "study", {"StudyInstanceUID": one, "SeriesInstanceUID": series}, 3),
                ("series", "study", {"SeriesInstanceUID": series}, 3),
                ("series", "study", {"StudyInstanceUID": two, "SeriesInstanceUID": series}, 0),
                ("image", "study", {"SOPInstanceUID": [uid(1, 1), uid(1, 3), "1.2.3"]}, 2),
                ("image", "patient", {"PatientID": "P2", "SOPInstanceUID": uid(2, 1)}, 1),
                ("image", "patient", {"PatientID": "P1", "SOPInstanceUID": uid(2, 1)}, 0),
                ("patient", "patient", {"PatientID": "P"}, 0),
            ]
            for level, model, keys, count in rows:
                with peer_of(node) as peer:
                    last = list(peer.move("THERE", level, model=model, **keys))[-1]
                assert (last.status, last.completed, last.failed) == (0, count, 0), (level, model, keys)


@pytest.mark.parametrize(
    ("level", "keys", "offending"),
    [
        ("patient", {"PatientID": None}, 0x00100020),
        ("patient", {"PatientID": "*"}, 0x00100020),
        ("patient", {"PatientID": "P*"}, 0x00100020),
        ("patient", {"PatientID": "P?"}, 0x00100020),
        ("study", {"PatientID": "P1"}, 0x0020000D),
        ("study", {"StudyInstanceUID": None, "PatientID": "P1"}, 0x0020000D),
        ("study", {"StudyInstanceUID": "*"}, 0x0020000D),
        ("study", {"StudyInstanceUID": study_uid(1), "PatientID": "P*"}, 0x00100020),
        ("series", {"StudyInstanceUID": study_uid(1)}, 0x0020000E),
        ("image", {"StudyInstanceUID": study_uid(1), "SeriesInstanceUID": study_uid(1) + ".1"}, 0x00080018),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_nothing_is_retrieved_by_accident(
    tmp_path: Path, level: str, keys: dict[str, Any], offending: int
) -> None:
    """PS3.4 section C.4.2.1.4.1: the unique key of the level has a value, and none a wild card."""
    with running(tmp_path / "node", f"THERE@127.0.0.1:{free_port()}") as node:
        fill(node, tmp_path, 1)
        refusal = refusal_of(node, level, **keys)
    assert refusal.status == 0xA900
    assert "unique key" in refusal.comment


def test_a_level_that_the_model_does_not_have(tmp_path: Path) -> None:
    with running(tmp_path, f"THERE@127.0.0.1:{free_port()}") as node:
        ae = AE()
        ae.add_requested_context(PATIENT_STUDY_ONLY_MOVE)
        association = ae.associate("127.0.0.1", node.address[1])
        statuses = []
        for level in ("SERIES", "STUDY"):
            keys = Dataset()
            keys.QueryRetrieveLevel, keys.StudyInstanceUID, keys.SeriesInstanceUID = level, "1.2", "1.2.3"
            found = association.send_c_move(keys, "THERE", PATIENT_STUDY_ONLY_MOVE)
            statuses += [status.Status for status, _ in found]
        association.release()
    assert statuses == [0xA900, 0x0000]


@pytest.mark.parametrize(("asked", "answer"), [(b"\1", b"\1"), (b"\0", b"\0"), (b"\1\1", b"\1\0")])
def test_relational_retrieval_is_agreed_on(tmp_path: Path, asked: bytes, answer: bytes) -> None:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = MOVE, asked
    with running(tmp_path) as node:
        ae = AE()
        ae.add_requested_context(MOVE)
        association = ae.associate("127.0.0.1", node.address[1], ext_neg=[item])
        assert association.acceptor.sop_class_extended == {MOVE: answer}
        association.release()


def test_only_destinations_from_the_configuration(tmp_path: Path) -> None:
    with running(tmp_path / "node", f"THERE@127.0.0.1:{free_port()}") as node:
        fill(node, tmp_path, 1)
        assert refusal_of(node, to="ELSEWHERE", StudyInstanceUID=study_uid(1)).status == 0xA801
    for wrong in (["127.0.0.1:104"], ["A@127.0.0.1:104", "A@127.0.0.1:105"], ["A@127.0.0.1"]):
        with pytest.raises(ValueError, match=r"AE title|is not a peer"):
            destinations_of(wrong)
    with pytest.raises(ValueError, match="at least 1"):
        RetrievePolicy(jobs=0)


# -- what is sent


@pytest.mark.parametrize("jobs", [1, 3])
def test_objects_are_sent_as_they_are_stored(tmp_path: Path, jobs: int) -> None:
    """Small ones, which are read at once, and one that has to be read in parts."""
    with receiver(tmp_path / "there") as there:
        with running(tmp_path / "node", f"THERE@127.0.0.1:{there.address[1]}", jobs=jobs) as node:
            fill(node, tmp_path, 300)
            fill(node, tmp_path, 2, study=2, length=3_000_000)
            assert final(moved(node, StudyInstanceUID=[study_uid(1), study_uid(2)])) == (0, 302, 0, 0)
            with peer_of(node) as peer:
                got = list(peer.get("patient", PatientID="P2", to=tmp_path / "got"))[-1]
        wait_for_files(tmp_path / "there", 302)
    stored = data_sets(tmp_path / "node" / "objects")
    assert data_sets(tmp_path / "there" / "objects") == stored
    assert (got.status, got.completed, got.received) == (0, 2, 2)
    assert data_sets(tmp_path / "got") == {name: stored[name] for name in (uid(2, 1), uid(2, 2))}


def test_a_store_without_paths_gives_its_objects_out(tmp_path: Path) -> None:
    """Both the small ones and those that are read while they are sent."""
    with receiver(tmp_path / "there") as there:
        with running(tmp_path / "node", f"THERE@127.0.0.1:{there.address[1]}") as node:
            fill(node, tmp_path, 3)
            fill(node, tmp_path, 2, study=2, length=3_000_000)
            wait_for_files(tmp_path / "node", 5)
            memory = Bucket().open(node.holdings.local)
            for series in node.holdings.storage.series():
                for instance in node.holdings.storage.instances(*series):
                    path = next((tmp_path / "node").rglob(f"{instance}.dcm"))
                    memory.keep(ObjectName(*series, instance), [path.read_bytes()])
                    path.unlink()
            node.holdings.storage = memory
            assert final(moved(node, StudyInstanceUID=[study_uid(1), study_uid(2)])) == (0, 5, 0, 0)
        wait_for_files(tmp_path / "there", 5)
    there_now = data_sets(tmp_path / "there" / "objects")
    assert there_now == {
        path_uid: data_set_of(path)
        for study in (1, 2)
        for number, path in enumerate(sorted((tmp_path / str(study)).iterdir()), 1)
        for path_uid in [uid(study, number)]
    }


def test_who_asked_for_a_move_and_its_priority_are_told(tmp_path: Path) -> None:
    scp = Scp(lambda request: request.response())
    with raw_server(scp.serve) as port, running(tmp_path / "node", f"THERE@127.0.0.1:{port}") as node:
        fill(node, tmp_path, 2)
        responses = raw_retrieval(node, C_MOVE_RQ, MOVE, priority=1, message_id=77)
        assert scp.released.wait(10)
    assert responses[-1]["Status"] == 0
    (asked,) = scp.proposed
    assert (asked.calling_ae_title, asked.called_ae_title) == ("DICOMNET", "THERE")
    for each in scp.arrived:
        assert each.command["Priority"] == 1
        assert each.command["MoveOriginatorApplicationEntityTitle"] == "RAW"
        assert each.command["MoveOriginatorMessageID"] == 77


def test_more_kinds_of_objects_than_an_association_has_contexts_for(tmp_path: Path) -> None:
    """Each has a SOP class of its own, which needs several contexts."""
    classes = [row.uid for row in SOP_CLASSES.values() if row.service is ServiceName.STORAGE][:140]
    (template,) = write_objects(tmp_path / "template", 1, 1)
    (tmp_path / "files").mkdir()
    for number, sop_class in enumerate(classes):
        data_set = dcmread(template)
        data_set.SOPClassUID = data_set.file_meta.MediaStorageSOPClassUID = UID(sop_class)
        data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = UID(uid(1, number))
        data_set.save_as(tmp_path / "files" / f"{number}.dcm")
    with receiver(tmp_path / "there") as there:
        with running(tmp_path / "node", f"THERE@127.0.0.1:{there.address[1]}") as node:
            with peer_of(node) as peer:
                assert all(result.is_stored for result in peer.store(tmp_path / "files"))
            assert final(moved(node)) == (0, 140, 0, 0)


@pytest.mark.parametrize(
    ("transcoding", "ended"), [(Transcoding.IF_NEEDED, (0, 1, 0, 0)), (Transcoding.NEVER, (0xA702, 0, 1, 0))]
)
@pytest.mark.parametrize("service", ["C-MOVE", "C-GET"])
def test_compressed_objects_to_a_receiver_that_takes_native_ones_only(
    tmp_path: Path, transcoding: Transcoding, ended: tuple[int, ...], service: str
) -> None:
    compressed = Path(str(get_testdata_file("MR_small_RLE.dcm")))
    study = str(dcmread(compressed).StudyInstanceUID)
    got: list[Dataset] = []

    def store(event: Any) -> int:
        got.append(event.dataset)
        return 0x0000

    ae = AE("THERE")
    ae.add_supported_context("1.2.840.10008.5.1.4.1.1.4", [EXPLICIT, IMPLICIT_VR_LE])
    handlers: Any = [(foreign_evt.EVT_C_STORE, store)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    destination = f"THERE@127.0.0.1:{server.server_address[1]}"
    with running(tmp_path, destination, transcoding=transcoding) as node:
        with peer_of(node) as peer:
            assert [result.status for result in peer.store(compressed)] == [0]
        if service == "C-MOVE":
            assert final(moved(node, StudyInstanceUID=study)) == ended
        else:
            asking = AE("ASKING")
            asking.add_requested_context(GET)
            asking.add_requested_context("1.2.840.10008.5.1.4.1.1.4", [EXPLICIT])
            role = build_role("1.2.840.10008.5.1.4.1.1.4", scp_role=True)
            association = asking.associate(
                "127.0.0.1", node.address[1], ext_neg=[role], evt_handlers=handlers
            )
            keys = Dataset()
            keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", study
            status = [status for status, _ in association.send_c_get(keys, GET)][-1]
            association.release()
            names = ("Completed", "Failed", "Warning")
            numbers = [status[f"NumberOf{name}Suboperations"].value for name in names]
            assert (status.Status, *numbers) == ended
    server.shutdown()
    if transcoding is Transcoding.IF_NEEDED:
        native = dcmread(str(get_testdata_file("MR_small.dcm")))
        assert got[0].PixelData == native.PixelData


# -- what a requestor of a C-GET agrees on


def test_the_window_that_a_requestor_grants_is_used(tmp_path: Path) -> None:
    with running(tmp_path / "node") as node:
        fill(node, tmp_path)
        for window, most in ((None, 1), (4, 4), (0, 16)):
            with getting(node, window) as peer:
                outstanding = [next_store(peer) for _ in range(most)]
                # No other comes before one of them is answered.
                assert not select.select([peer.sock], [], [], 0.1)[0]
                for number in range(COUNT):
                    first = outstanding.pop(0)
                    assert first is not None
                    peer.send(first.response())
                    outstanding += [next_store(peer)] if number + most < COUNT else []
                assert next_store(peer) is None
                last = decode_command(peer.last[12:])[1]
            assert (last["Status"], last["NumberOfCompletedSuboperations"]) == (0, COUNT)


def test_a_context_with_compressed_and_native_syntaxes_is_one_for_native_objects(tmp_path: Path) -> None:
    """Where the requestor of a C-GET has them in one context, what it names first would be no use for most objects."""
    with running(tmp_path / "node") as node:
        fill(node, tmp_path, 1)
        ae = AE("ASKING")
        ae.add_requested_context(GET)
        ae.add_requested_context(CT_IMAGE_STORAGE, [JPEG, EXPLICIT, IMPLICIT_VR_LE])
        got = []

        def store(event: Any) -> int:
            got.append(event.context.transfer_syntax)
            return 0x0000

        association = ae.associate(
            "127.0.0.1",
            node.address[1],
            ext_neg=[build_role(CT_IMAGE_STORAGE, scp_role=True)],
            evt_handlers=[(foreign_evt.EVT_C_STORE, store)],
        )
        keys = Dataset()
        keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", study_uid(1)
        statuses = [status.Status for status, _ in association.send_c_get(keys, GET)]
        association.release()
    assert (statuses[-1], got) == (0, [EXPLICIT])


def test_without_the_role_of_scp_nothing_is_sent(tmp_path: Path) -> None:
    """PS3.4 section C.4.3.2: the requestor has to propose it."""
    with running(tmp_path / "node") as node:
        fill(node, tmp_path, 2)
        ae = AE("ASKING")
        ae.add_requested_context(GET)
        ae.add_requested_context(CT_IMAGE_STORAGE, EXPLICIT)
        association = ae.associate("127.0.0.1", node.address[1])
        keys = Dataset()
        keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", study_uid(1)
        status = [status for status, _ in association.send_c_get(keys, GET)][-1]
        association.release()
    assert (status.Status, status.NumberOfFailedSuboperations) == (0xA702, 2)


def test_pending_responses_do_not_come_for_each_object(tmp_path: Path) -> None:
    """One at the beginning of a C-MOVE, and then some in a second."""
    with receiver(tmp_path / "there") as there:
        with running(tmp_path / "node", f"THERE@127.0.0.1:{there.address[1]}") as node:
            fill(node, tmp_path, 500)
            for responses in (
                moved(node),
                list(peer_of(node).get("study", StudyInstanceUID=study_uid(1), to=tmp_path / "got")),
            ):
                assert final(responses) == (0, 500, 0, 0)
                pending = responses[:-1]
                assert 1 <= len(pending) < 100
                for each in pending:
                    assert (each.remaining or 0) + (each.completed or 0) == 500
            assert moved(node)[0].remaining == 500


def test_the_index_cannot_be_read(tmp_path: Path) -> None:
    with running(tmp_path / "node", f"THERE@127.0.0.1:{free_port()}") as node:
        fill(node, tmp_path, 1)
        index, node.holdings.index = node.holdings.index, None
        assert refusal_of(node, StudyInstanceUID=study_uid(1)).status == 0xA701
        node.holdings.index = index


def test_a_destination_may_be_an_address() -> None:
    address = PeerAddress.parse("A@127.0.0.1:104")
    assert destinations_of([address]) == {"A": address}
