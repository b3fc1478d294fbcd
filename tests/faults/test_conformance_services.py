"""What PS3.4 asks of the service classes, by the rows that no other test names; in both drivers."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit
from tests.associations import associated, ct_image, query
from tests.interop.normalized import OUR_SCPS as NORMALIZED_SCPS
from tests.interop.normalized import OUR_SCUS as NORMALIZED_SCUS
from tests.interop.normalized import Asked, Call, Reply, data
from tests.interop.peers import aio_server
from tests.retrieving import MOVE, PENDING, SCPS, SCUS, ae_scp, image
from tests.sockets import (
    CT_IMAGE_STORAGE,
    PATIENT_ROOT_FIND,
    VERIFICATION,
    RawPeer,
    echo_pdus,
    find_pdus,
    message_pdus,
    raw_server,
    status_of,
)

from dicomnet import AE, Peer, aio, build_context, evt
from dicomnet.archive.node import Node
from dicomnet.dimse.codec import decode_command
from dicomnet.dimse.messages import N_ACTION_RQ, N_EVENT_REPORT_RSP, Message
from dicomnet.pynetdicom.sop_class import (
    ModalityPerformedProcedureStep,
    ModalityWorklistInformationModelFind,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)
from dicomnet.services.sop_classes import SOP_CLASSES
from dicomnet.wire.items import ImplementationClassUID, MaximumLength, ProposedContext
from dicomnet.wire.pdu import AssociateRQ

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
COMMITMENT, COMMITMENT_INSTANCE = str(StorageCommitmentPushModel), str(StorageCommitmentPushModelInstance)
MPPS = str(ModalityPerformedProcedureStep)
WORKLIST = str(ModalityWorklistInformationModelFind)
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"

by_scu = pytest.mark.parametrize("scu", NORMALIZED_SCUS.values(), ids=NORMALIZED_SCUS.keys())
by_scp = pytest.mark.parametrize("scp", NORMALIZED_SCPS.values(), ids=NORMALIZED_SCPS.keys())


# -- requests of one message ID


def action(message_id: int, type_id: int) -> bytes:
    command = {
        "RequestedSOPClassUID": COMMITMENT,
        "MessageID": message_id,
        "RequestedSOPInstanceUID": COMMITMENT_INSTANCE,
        "ActionTypeID": type_id,
    }
    return message_pdus(Message(N_ACTION_RQ, command, 1, b"\x08\x00\x95\x11\x04\x00\x00\x001.2\0"))


@contextlib.contextmanager
def reporting_ae(started: list[int]) -> Iterator[int]:
    """An SCP in whose handler for an action of type 1 a report to the peer is outstanding."""

    def on_action(event: Any) -> tuple[int, None]:
        started.append(event.action_type)
        if event.action_type == 1:
            event.assoc.send_n_event_report(data(), 1, COMMITMENT, COMMITMENT_INSTANCE)
        return 0x0000, None

    ae = AE()
    ae.add_supported_context(COMMITMENT)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_ACTION, on_action)])
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@contextlib.contextmanager
def reporting_aio(started: list[int]) -> Iterator[int]:
    async def on_action(request: aio.Request) -> tuple[int, None]:
        action_type = request.message.command["ActionTypeID"]
        started.append(action_type)
        if action_type == 1:
            await request.association.send_n_event_report(None, 1, COMMITMENT, COMMITMENT_INSTANCE)
        return 0x0000, None

    with aio_server([COMMITMENT], {"N-ACTION": on_action}) as port:
        yield port


@pytest.mark.parametrize("serving", [reporting_ae, reporting_aio])
def test_a_message_id_that_is_in_use_is_refused(
    serving: Callable[[list[int]], contextlib.AbstractContextManager[int]],
) -> None:
    """M006: 0210H for a request of the same ID as one that is being performed, which is not disturbed."""
    started: list[int] = []
    with serving(started) as port, RawPeer.connect(port) as peer:
        contexts = (ProposedContext(1, COMMITMENT, (IMPLICIT,)),)
        items = (MaximumLength(16384), ImplementationClassUID("1.2.3"))
        peer.send(AssociateRQ("SCP", "RAW", contexts, items).encode())
        assert peer.read_pdu()[0] == 2
        peer.send(action(5, 1))
        _, report, has_data = decode_command(peer.read_pdu()[12:])
        assert not has_data
        assert started == [1]
        peer.send(action(5, 2))
        pdu = peer.read_pdu()
        assert status_of(pdu) == 0x0210
        assert decode_command(pdu[12:])[1]["MessageIDBeingRespondedTo"] == 5
        peer.send(action(6, 3))
        assert status_of(peer.read_pdu()) == 0x0000
        answer = {"MessageIDBeingRespondedTo": report["MessageID"], "Status": 0}
        peer.send(message_pdus(Message(N_EVENT_REPORT_RSP, answer, 1)))
        pdu = peer.read_pdu()
        assert status_of(pdu) == 0x0000
        assert decode_command(pdu[12:])[1]["MessageIDBeingRespondedTo"] == 5
        # What has been performed has freed its ID.
        peer.send(action(5, 4))
        assert status_of(peer.read_pdu()) == 0x0000
    assert started == [1, 3, 4]


# -- normalized services: statuses and what goes with them


def ask(scu: Any, scp: Any, uid: str, answer: Callable[[Asked], Any], *calls: Call) -> list[Reply]:
    with scp([uid], answer) as port:
        replies: list[Reply] = scu(port, [uid], list(calls))
    return replies


@by_scu
@by_scp
def test_failures_of_the_normalized_services_reach_their_user(scu: Any, scp: Any) -> None:
    """M024 M025 M027: a duplicate instance, unknown class, instance, action or event type, and a conflict."""
    statuses = [0x0111, 0x0112, 0x0118, 0x0119, 0x0123, 0x0113, 0x0112, 0x0112]
    given = data(PatientID="X")
    calls: list[Call] = [
        ("send_n_create", (given, MPPS, "1.2.3"), {}),
        ("send_n_set", (given, MPPS, "1.2.3"), {}),
        ("send_n_set", (given, MPPS, "1.2.3"), {}),
        ("send_n_set", (given, MPPS, "1.2.3"), {}),
        ("send_n_action", (given, 9, COMMITMENT, "1.2.3"), {}),
        ("send_n_event_report", (given, 9, COMMITMENT, "1.2.3"), {}),
        ("send_n_get", ([], PRINTER, "1.2.3"), {}),
        ("send_n_delete", (FILM_SESSION, "1.2.3"), {}),
    ]
    waiting = iter(statuses)

    def answer(asked: Asked) -> Any:
        status = data(Status=next(waiting), ErrorComment="as a test wants it")
        return status if asked.service == "N-DELETE" else (status, None)

    uids = [MPPS, COMMITMENT, PRINTER, FILM_SESSION]
    with scp(uids, answer) as port:
        replies: list[Reply] = scu(port, uids, calls)
    assert [status["Status"] for status, _ in replies] == statuses
    assert all(status["ErrorComment"] == "as a test wants it" and reply is None for status, reply in replies)


PRINTER, FILM_SESSION = "1.2.840.10008.5.1.1.16", "1.2.840.10008.5.1.1.1"


@by_scu
@by_scp
def test_an_n_get_asks_for_some_attributes_or_for_all(scu: Any, scp: Any) -> None:
    """M026: an empty list asks for all; what is unknown gives a warning, with the attributes that are known."""
    known = {0x21100010: ("PrinterStatus", "NORMAL"), 0x21100030: ("PrinterName", "P1")}

    def answer(asked: Asked) -> Any:
        tags = asked.tags or tuple(known)
        found = data(**dict(known[tag] for tag in tags if tag in known))
        unknown = [tag for tag in tags if tag not in known]
        status = data(Status=0x0107, AttributeIdentifierList=unknown) if unknown else 0x0000
        return status, found

    some, every, other = ask(
        scu,
        scp,
        PRINTER,
        answer,
        ("send_n_get", ([0x21100010], PRINTER, "1.2.3"), {}),
        ("send_n_get", ([], PRINTER, "1.2.3"), {}),
        ("send_n_get", ([0x21100030, 0x00100010], PRINTER, "1.2.3"), {}),
    )
    assert (some[0]["Status"], some[1]) == (0, {"PrinterStatus": "NORMAL"})
    assert (every[0]["Status"], every[1]) == (0, {"PrinterStatus": "NORMAL", "PrinterName": "P1"})
    assert (other[0]["Status"], other[1]) == (0x0107, {"PrinterName": "P1"})


# -- storage commitment


def item(instance: int, reason: int | None = None) -> Dataset:
    found = data(ReferencedSOPClassUID=CT_IMAGE_STORAGE, ReferencedSOPInstanceUID=f"1.2.3.{instance}")
    if reason is not None:
        found.FailureReason = reason
    return found


FAILURES = (0x0110, 0x0112, 0x0213, 0x0122, 0x0119, 0x0131)


@by_scu
@by_scp
def test_a_report_of_failures_tells_what_became_of_each_object(scu: Any, scp: Any) -> None:
    """S040 S041 S042: 0000 for the request; then event type 2, whose two lists are all that was asked for."""
    got: list[Asked] = []

    def answer(asked: Asked) -> Any:
        got.append(asked)
        return 0x0000, None

    wanted = [item(number) for number in range(8)]
    failed = [item(2 + number, reason) for number, reason in enumerate(FAILURES)]
    request = data(TransactionUID="1.2.9", ReferencedSOPSequence=wanted)
    report = data(TransactionUID="1.2.9", ReferencedSOPSequence=wanted[:2], FailedSOPSequence=failed)
    replies = ask(
        scu,
        scp,
        COMMITMENT,
        answer,
        ("send_n_action", (request, 1, COMMITMENT, COMMITMENT_INSTANCE), {}),
        ("send_n_event_report", (report, 2, COMMITMENT, COMMITMENT_INSTANCE), {}),
    )
    assert [status["Status"] for status, _ in replies] == [0, 0]
    asked, told = got
    assert (asked.service, asked.type_id, told.service, told.type_id) == (
        "N-ACTION",
        1,
        "N-EVENT-REPORT",
        2,
    )
    assert asked.dataset is not None
    assert told.dataset is not None
    assert asked.dataset["TransactionUID"] == told.dataset["TransactionUID"] == "1.2.9"
    both = [*told.dataset["ReferencedSOPSequence"], *told.dataset["FailedSOPSequence"]]
    uids = [each.ReferencedSOPInstanceUID for each in asked.dataset["ReferencedSOPSequence"]]
    assert [each.ReferencedSOPInstanceUID for each in both] == uids
    assert tuple(each.FailureReason for each in told.dataset["FailedSOPSequence"]) == FAILURES


# -- modality performed procedure step

IDENTITY = 0x00100010, 0x00100020


class Steps:
    """An SCP's handler as a user of the library writes it, after PS3.4 section F.7.2."""

    def __init__(self) -> None:
        self.steps: dict[str, dict[str, Any]] = {}

    def __call__(self, asked: Asked) -> Any:
        values = asked.dataset or {}
        if asked.service == "N-CREATE":
            return self._create(asked.instance, values)
        step = self.steps.get(asked.instance or "")
        if step is None:
            return 0x0112, None
        if step["PerformedProcedureStepStatus"] != "IN PROGRESS":
            comment = "Performed Procedure Step Object may no longer be updated"
            return data(Status=0x0110, ErrorID=0xA710, ErrorComment=comment), None
        if "PatientName" in values:
            return data(Status=0x0105, AttributeIdentifierList=[IDENTITY[0]]), None
        merged = step | values
        if merged["PerformedProcedureStepStatus"] == "COMPLETED" and not merged.get(
            "PerformedSeriesSequence"
        ):
            return data(Status=0x0121), None
        self.steps[asked.instance or ""] = merged
        return 0x0000, None

    def _create(self, instance: str | None, values: dict[str, Any]) -> Any:
        if instance is None:
            return 0x0120, None
        if instance in self.steps:
            return 0x0111, None
        if values.get("PerformedProcedureStepStatus") != "IN PROGRESS":
            return 0x0106, None
        self.steps[instance] = values
        return 0x0000, None


@by_scu
@by_scp
def test_a_performed_procedure_step_goes_through_its_states(scu: Any, scp: Any) -> None:
    """S050 S051 S052 S053: each refusal reaches the modality with its error ID, and the association goes on."""
    progress = data(PerformedProcedureStepStatus="IN PROGRESS", PerformedSeriesSequence=[])
    done = data(PerformedProcedureStepStatus="COMPLETED")
    series = data(PerformedSeriesSequence=[data(SeriesInstanceUID="1.2.3")])
    calls: list[tuple[str, Dataset, str | None, int]] = [
        ("send_n_create", done, "1.2.3", 0x0106),
        ("send_n_create", progress, None, 0x0120),
        ("send_n_create", progress, "1.2.3", 0x0000),
        ("send_n_create", progress, "1.2.3", 0x0111),
        ("send_n_set", progress, "1.2.4", 0x0112),
        ("send_n_set", data(PatientName="Doe^Jane"), "1.2.3", 0x0105),
        ("send_n_set", done, "1.2.3", 0x0121),
        ("send_n_set", series, "1.2.3", 0x0000),
        ("send_n_set", done, "1.2.3", 0x0000),
        ("send_n_set", progress, "1.2.3", 0x0110),
    ]
    steps = Steps()
    replies = ask(
        scu,
        scp,
        MPPS,
        steps,
        *((name, (given, MPPS, uid), {}) for name, given, uid, _ in calls),
    )
    assert [status["Status"] for status, _ in replies] == [status for *_, status in calls]
    assert replies[-1][0]["ErrorID"] == 0xA710
    assert replies[-1][0]["ErrorComment"].endswith("no longer be updated")
    assert steps.steps["1.2.3"]["PerformedProcedureStepStatus"] == "COMPLETED"


# -- storage


@pytest.mark.parametrize("scp", ["AE", "aio"])
@pytest.mark.parametrize("status", [0x0000, 0xA700, 0xA9FF, 0xB000, 0xB006, 0xB007, 0xC123, 0x0117, 0x0122])
def test_a_storage_scp_answers_with_the_statuses_of_its_service_class(scp: str, status: int) -> None:
    """S002: Table B.2-1; the user gets them as they are, with the comment."""

    def store(request: Any) -> int:
        return status

    with contextlib.ExitStack() as stack:
        if scp == "AE":
            port = stack.enter_context(ae_scp({"C-STORE": store}))
        else:
            port = stack.enter_context(aio_server([CT_IMAGE_STORAGE], {"C-STORE": store}))
        contexts = [build_context(CT_IMAGE_STORAGE, IMPLICIT)]
        assoc = stack.enter_context(associated(port, contexts=contexts))
        assert assoc.send_c_store(ct_image()).Status == status
        assert assoc.is_established


@pytest.mark.parametrize("scp", SCPS.values(), ids=SCPS.keys())
@pytest.mark.parametrize("scu", SCUS.values(), ids=SCUS.keys())
def test_a_compressed_object_is_not_changed_to_be_retrieved(scp: Any, scu: Any, tmp_path: Path) -> None:
    """S005: without a context for its transfer syntax its sub-operation fails; the native one beside it arrives."""
    compressed = tmp_path / "compressed.dcm"
    dataset = image(2, syntax=JPEGBaseline8Bit)
    dataset.save_as(compressed, enforce_file_format=True)
    got: list[str] = []

    def give(request: Any) -> Iterator[Any]:
        yield 2
        yield PENDING, compressed
        yield PENDING, image(1)

    def keep(uid: str) -> int:
        got.append(uid)
        return 0

    with scp({"C-GET": give}) as port:
        final = scu(port, "C-GET", keep)[-1]
    assert got == ["1.2.3.1"]
    assert (final.status, final.failed) == (0xB000, ("1.2.3.2",))


# -- query


@pytest.mark.parametrize("serving", ["AE", "aio", "node"])
def test_a_query_without_a_match_has_one_response(serving: str, tmp_path: Path) -> None:
    """S025."""

    def find(request: Any) -> Iterator[Any]:
        return iter(())

    with contextlib.ExitStack() as stack:
        if serving == "node":
            port = stack.enter_context(running(tmp_path))
        else:
            port = stack.enter_context(FIND_SCPS[serving](PATIENT_ROOT_FIND, find))
        peer = stack.enter_context(RawPeer.connect(port))
        contexts = (
            ProposedContext(1, VERIFICATION, (IMPLICIT,)),
            ProposedContext(3, PATIENT_ROOT_FIND, (IMPLICIT,)),
        )
        items = (MaximumLength(16384), ImplementationClassUID("1.2.3"))
        peer.send(AssociateRQ("SCP", "RAW", contexts, items).encode())
        assert peer.read_pdu()[0] == 2
        peer.send(find_pdus(message_id=3, context_id=3) + echo_pdus(4))
        pdu = peer.read_pdu()
        kind, command, has_data = decode_command(pdu[12:])
        assert (kind.command_field, command["Status"], has_data) == (0x8020, 0x0000, False)
        assert decode_command(peer.read_pdu()[12:])[0].command_field == 0x8030


@contextlib.contextmanager
def find_ae(uid: str, handler: Callable[[Any], Any]) -> Iterator[int]:
    ae = AE("SCP")
    for each in (VERIFICATION, uid):
        ae.add_supported_context(each)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, handler)])
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@contextlib.contextmanager
def find_aio(uid: str, handler: Callable[[Any], Any]) -> Iterator[int]:
    with aio_server([VERIFICATION, uid], {"C-FIND": handler}) as port:
        yield port


FIND_SCPS = {"AE": find_ae, "aio": find_aio}


@contextlib.contextmanager
def running(folder: Path) -> Iterator[int]:
    """An archive node."""
    node = Node(folder / "node", address=("127.0.0.1", 0), sync=False)
    node.start()
    try:
        yield node.address[1]
    finally:
        node.shutdown()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[int]:
    """A node with three studies of two series each."""
    with running(tmp_path) as port:
        paths = []
        for study, (date, clock) in enumerate(
            [("20200101", "235900"), ("20200102", "120000"), ("20200103", "000100")]
        ):
            for series in range(2):
                found = ct_image()
                found.SOPInstanceUID = f"1.2.{study}.{series}.1"
                found.StudyInstanceUID, found.SeriesInstanceUID = f"1.2.{study}", f"1.2.{study}.{series}"
                found.StudyDate, found.StudyTime, found.PatientID = date, clock, "P1"
                found.AccessionNumber = "" if study else "A1"
                path = tmp_path / f"{study}{series}.dcm"
                found.save_as(path, enforce_file_format=True)
                paths.append(path)
        with Peer(f"127.0.0.1:{port}") as peer:
            assert [result.status for result in peer.store(paths)] == [0] * 6
        yield port


def ask_node(port: int, identifier: Dataset) -> list[tuple[int, Dataset | None]]:
    ae = AE()
    assoc = ae.associate("127.0.0.1", port, [build_context(STUDY_ROOT_FIND)])
    assert assoc.is_established
    replies = [
        (int(status.Status), match) for status, match in assoc.send_c_find(identifier, STUDY_ROOT_FIND)
    ]
    assert assoc.is_established
    assert not assoc.acceptor.sop_class_extended
    assoc.release()
    return replies


def test_what_was_not_granted_is_not_done(node: int) -> None:
    """S012 S018 S020 S024: neither relational, nor combined date-time, nor empty value matching, nor time zones.

    Nobody asked for it; what is done by agreement stands in tests/archive/catalogue/test_options.py.
    """
    relational = data(QueryRetrieveLevel="SERIES", SeriesInstanceUID="1.2.0.1")
    assert ask_node(node, relational) == [(0xA900, None)]

    def studies(**keys: str) -> tuple[set[int], list[str]]:
        found = ask_node(node, data(QueryRetrieveLevel="STUDY", StudyInstanceUID="", **keys))
        uids = sorted(str(match.StudyInstanceUID) for _, match in found if match is not None)
        return {status for status, _ in found}, uids

    # Combined, all three would match; each on its own, one does.
    assert studies(StudyDate="20200101-20200103", StudyTime="1000-1300")[1] == ["1.2.1"]
    assert studies(AccessionNumber='""')[1] == []
    zoned = data(QueryRetrieveLevel="STUDY", StudyInstanceUID="", StudyDate="20200101", StudyTime="235900")
    zoned.TimezoneOffsetFromUTC = "+0800"
    (status, match), final = ask_node(node, zoned)
    assert (status, final) == (0xFF00, (0x0000, None))
    assert match is not None
    assert (match.StudyInstanceUID, match.StudyTime) == ("1.2.0", "235900")
    assert "TimezoneOffsetFromUTC" not in match


def test_the_node_takes_no_service_that_it_does_not_perform(node: int) -> None:
    """S044: storage commitment among them, so nothing is promised that is not durable."""
    uids = [COMMITMENT, MPPS, WORKLIST]
    assoc = AE().associate("127.0.0.1", node, [build_context(uid) for uid in (VERIFICATION, *uids)])
    assert [str(each.abstract_syntax) for each in assoc.accepted_contexts] == [VERIFICATION]
    assert {each.result for each in assoc.rejected_contexts} == {3}
    assoc.release()
    assert {SOP_CLASSES[uid].service.name for uid in uids} == {
        "STORAGE_COMMITMENT",
        "PROCEDURE_STEP",
        "BASIC_WORKLIST_MANAGEMENT",
    }


@pytest.mark.parametrize("scp", FIND_SCPS)
@pytest.mark.parametrize("scu", ["AE", "aio"])
def test_a_worklist_may_depend_on_who_asks(scp: str, scu: str) -> None:
    """S060 S061: the handler knows the calling AE; identifiers have no level, and sequence keys arrive whole."""
    levels: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def find(request: Any) -> Iterator[Any]:
        if isinstance(request, aio.Request):
            calling, asked = request.calling, request.dataset
        else:
            calling, asked = request.assoc.requestor.ae_title, request.identifier
        levels.put("QueryRetrieveLevel" in asked)
        assert asked.ScheduledProcedureStepSequence[0].Modality == "CT"
        for station in ("CT1", "CT2"):
            if station == calling:
                step = data(ScheduledStationAETitle=station, Modality="CT")
                yield 0xFF00, data(PatientName=f"For^{station}", ScheduledProcedureStepSequence=[step])

    asked = data(PatientName="", ScheduledProcedureStepSequence=[data(Modality="CT")])

    async def ask_by_aio(port: int, title: str) -> list[Any]:
        async with await aio.connect(f"SCP@127.0.0.1:{port}", [WORKLIST], calling=title) as assoc:
            return [each async for each in assoc.send_c_find(asked, WORKLIST)]

    with FIND_SCPS[scp](WORKLIST, find) as port:
        for title, names in (("CT1", ["For^CT1"]), ("CT2", ["For^CT2"]), ("MR1", [])):
            if scu == "aio":
                replies = asyncio.run(ask_by_aio(port, title))
            else:
                assoc = AE(title).associate("127.0.0.1", port, [build_context(WORKLIST)])
                replies = list(assoc.send_c_find(asked, WORKLIST))
                assoc.release()
            assert [str(match.PatientName) for _, match in replies if match] == names
            assert replies[-1][0].Status == 0x0000
            assert not levels.get(timeout=5)


# -- retrieval


@pytest.mark.parametrize("scp", SCPS.values(), ids=SCPS.keys())
def test_no_address_is_taken_from_the_peer(scp: Any) -> None:
    """S030 S035: a destination is an AE title that the handler looks up, whatever its text looks like."""
    connected: list[RawPeer] = []
    asked: list[str] = []

    def move(request: Any) -> Iterator[Any]:
        if isinstance(request, aio.Request):
            asked.append(request.message.command["MoveDestination"])
        else:
            asked.append(request.move_destination)
        yield None, None

    with raw_server(connected.append) as elsewhere, scp({"C-MOVE": move}) as port:
        title = f"127.0.0.1:{elsewhere}"
        with associated(port, contexts=[build_context(MOVE)]) as assoc:
            ((status, _),) = assoc.send_c_move(query(), title, MOVE)
            assert status.Status == 0xA801
            assert "NumberOfCompletedSuboperations" not in status or not status.NumberOfCompletedSuboperations
        assert asked == [title]
        # Whoever connected before is served first.
        with RawPeer.connect(elsewhere) as last:
            last.read_to_end()
    assert len(connected) == 1
