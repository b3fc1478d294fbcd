"""The normalized services of an association in both roles: what handlers answer, roles, meta SOP classes, reports."""

from __future__ import annotations

import functools
import json
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pynetdicom
import pytest
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pynetdicom import evt as their_evt
from tests.associations import associated, serving_ae
from tests.sockets import VERIFICATION, RawPeer, raw_server
from tests.support import wait_until

from dicomnet import AE, build_context, build_role, evt
from dicomnet.dimse.codec import decode_command
from dicomnet.errors import NoAcceptedContext, ServiceRefusal
from dicomnet.pynetdicom.association import Association
from dicomnet.pynetdicom.events import Event
from dicomnet.pynetdicom.sop_class import (
    BasicFilmBox,
    BasicFilmSession,
    BasicGrayscalePrintManagementMeta,
    ModalityPerformedProcedureStep,
    Printer,
    PrinterInstance,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)
from dicomnet.upper_layer.negotiation import (
    Acceptor,
    SupportedContext,
    accept,
    identification_items,
)
from dicomnet.wire.pdu import AssociateRQ, decode_pdu

GOLDEN = Path(__file__).parents[1] / "golden"
SERVICES = ("N-ACTION", "N-CREATE", "N-DELETE", "N-EVENT-REPORT", "N-GET", "N-SET")
INSTANCE = "1.2.3"

Reply = tuple[Dataset, Dataset | None]


def data(**elements: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def unencodable() -> Dataset:
    dataset = Dataset()
    dataset[0x00280010] = DataElement(0x00280010, "US", "many", validation_mode=IGNORE)
    return dataset


def plain(dataset: Dataset | None) -> Any:
    """Keyword to value, or None."""
    return None if dataset is None else {element.keyword: element.value for element in dataset}


def send(assoc: Any, service: str, uid: str = BasicFilmSession, **meta: str) -> Reply:
    """Any of the six, with some data set; also of pynetdicom's associations."""
    given = data(PatientID="X")
    if service == "N-DELETE":
        return assoc.send_n_delete(uid, INSTANCE, **meta), None
    first: dict[str, tuple[Any, ...]] = {
        "N-ACTION": (given, 7),
        "N-CREATE": (given,),
        "N-EVENT-REPORT": (given, 7),
        "N-GET": ([0x00100020],),
        "N-SET": (given,),
    }
    method = getattr(assoc, "send_" + service.lower().replace("-", "_"))
    reply: Reply = method(*first[service], uid, INSTANCE, **meta)
    return reply


def give(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def event_of(service: str) -> Any:
    return evt.EVENTS["EVT_" + service.replace("-", "_")]


ANSWERS: dict[str, Any] = {
    "success": (0x0000, data(PatientName="A")),
    "success without a data set": (0x0000, None),
    "success with an empty one": (0x0000, Dataset()),
    "failure": (0x0110, data(PatientName="A")),
    "warning": (0xB600, data(PatientName="A")),
    "warning of Annex C": (0x0107, data(PatientName="A")),
    "warning without a data set": (0xB600, None),
    "status data set": (data(Status=0x0112, ErrorComment="gone", ErrorID=5), None),
    "status data set and data set": (data(Status=0x0000, ErrorComment="well"), data(PatientName="A")),
    "another instance": (data(Status=0x0000, AffectedSOPInstanceUID="1.2.9"), None),
    "unknown attributes": (data(Status=0x0107, AttributeIdentifierList=[0x00100010, 0x00100020]), None),
    "pending": (0xFF00, data(PatientName="A")),
    "unknown status": (0x1234, data(PatientName="A")),
    "a list": [0x0000, None],
    "None for a status": (None, None),
    "text for a status": ("x", None),
    "no status": (Dataset(), None),
    "exception": ValueError("a bug in the handler"),
    "not encodable": (0x0000, unencodable()),
    "text for a data set": (0x0000, "x"),
}
DELETIONS: dict[str, Any] = {
    "success": 0x0000,
    "failure": 0x0112,
    "status data set": data(Status=0x0112, ErrorComment="gone", ErrorID=5),
    "a pair": (0x0000, None),
    "None": None,
    "no status": Dataset(),
    "exception": ValueError("a bug in the handler"),
}
CASES = [
    (service, name) for service in SERVICES for name in (DELETIONS if service == "N-DELETE" else ANSWERS)
]
# Where pynetdicom's tables leave something out that PS3.7 has.
OURS_ONLY = {
    ("N-ACTION", "unknown attributes"),
    ("N-CREATE", "unknown attributes"),
    ("N-EVENT-REPORT", "unknown attributes"),
    ("N-DELETE", "no status"),
}


@pytest.fixture(scope="module")
def answering() -> Iterator[tuple[list[Any], int, int]]:
    """What handlers answer next, and the ports of our server and pynetdicom's, whose handlers do."""
    answer: list[Any] = [None]
    theirs = pynetdicom.AE()
    theirs.add_supported_context(BasicFilmSession)
    bound: Any = [
        (getattr(their_evt, event_of(each).name), lambda event: give(answer[0])) for each in SERVICES
    ]
    server = theirs.start_server(("127.0.0.1", 0), block=False, evt_handlers=bound)
    assert server is not None
    handlers = [(event_of(each), lambda event: give(answer[0])) for each in SERVICES]
    with serving_ae(handlers, uids=[BasicFilmSession, VERIFICATION]) as ours:
        yield answer, ours.server_address[1], server.server_address[1]
    theirs.shutdown()


@pytest.mark.parametrize(("service", "name"), CASES)
def test_an_answer_becomes_what_it_becomes_in_pynetdicom(
    answering: tuple[list[Any], int, int], service: str, name: str
) -> None:
    answer, ours, theirs = answering
    answer[0] = (DELETIONS if service == "N-DELETE" else ANSWERS)[name]
    got = []
    for port in (ours, theirs):
        with associated(port, contexts=[build_context(BasicFilmSession)]) as assoc:
            status, reply = send(assoc, service)
            got.append([plain(status), plain(reply)])
            assoc.release()
    for status, _ in got:
        # The type of an event is told with a reply only (PS3.7 section 10.1.1.1.5), and our comment where a handler
        # is wrong.
        status.pop("EventTypeID", None)
        if status["Status"] in (0xC001, 0xC002):
            status.pop("ErrorComment", None)
    if (service, name) not in OURS_ONLY:
        assert got[0] == got[1]
    elif name == "unknown attributes":
        assert got[0][0]["Status"] == got[1][0]["Status"] == 0x0107
    else:
        assert got[0][0]["Status"] == 0xC001


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (0x0000, 0x0000),
        (0x0112, 0x0112),
        (data(Status=0x0113), 0x0113),
        (None, 0xC002),
        ((0x0000, None, None), 0xC002),
        ((-1, None), 0xC002),
        ((70000, None), 0xC002),
        (data(PatientID="X"), 0xC001),
        (ServiceRefusal(0x0124, "no"), 0x0124),
    ],
)
@pytest.mark.parametrize("service", [each for each in SERVICES if each != "N-DELETE"])
def test_an_answer_that_ends_pynetdicoms_association_is_a_status(
    answering: tuple[list[Any], int, int], service: str, answer: Any, status: int
) -> None:
    """A status alone will do; whatever else is no pair has a status of its own, and the association goes on."""
    answers, ours, _ = answering
    answers[0] = answer
    contexts = [build_context(BasicFilmSession), build_context(VERIFICATION)]
    with associated(ours, contexts=contexts) as assoc:
        assert send(assoc, service)[0].Status == status
        assert assoc.send_c_echo().Status == 0


@pytest.mark.parametrize("service", SERVICES)
def test_without_a_handler_a_service_fails(service: str) -> None:
    with serving_ae(uids=[BasicFilmSession]) as server:
        with associated(server, contexts=[build_context(BasicFilmSession)]) as assoc:
            status, reply = send(assoc, service)
            assert (status.Status, reply) == (0x0110, None)


@pytest.mark.parametrize(
    ("answer", "asked", "status", "uid"),
    [
        ((0x0000, data(AffectedSOPInstanceUID="1.2.9", PatientID="A")), None, 0x0000, "1.2.9"),
        ((data(Status=0, AffectedSOPInstanceUID="1.2.9"), data(PatientID="A")), None, 0x0000, "1.2.9"),
        ((0x0000, data(PatientID="A")), None, 0x0110, None),
        ((0x0000, None), None, 0x0110, None),
        ((0x0112, None), None, 0x0112, None),
        # What was asked for is what it is called, and the status need not tell it.
        ((0x0000, data(AffectedSOPInstanceUID="1.2.9", PatientID="A")), "1.2.8", 0x0000, None),
    ],
)
def test_the_instance_uid_that_a_peer_chooses(
    answer: Any, asked: str | None, status: int, uid: str | None
) -> None:
    """M024: PS3.7 section 10.1.5.1.4; it goes in the command set, and the Attribute List does not have it."""
    with serving_ae([(evt.EVT_N_CREATE, lambda event: answer)], uids=[BasicFilmSession]) as server:
        with associated(server, contexts=[build_context(BasicFilmSession)]) as assoc:
            got, attributes = assoc.send_n_create(None, BasicFilmSession, asked)
    assert got.Status == status
    assert got.get("AffectedSOPInstanceUID") == uid
    assert plain(attributes) == ({"PatientID": "A"} if status == 0 else None)


def test_what_an_event_tells() -> None:
    got: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    names = {
        "N-ACTION": ("action_type", "action_information"),
        "N-CREATE": ("attribute_list",),
        "N-EVENT-REPORT": ("event_type", "event_information"),
        "N-GET": ("attribute_identifiers",),
        "N-SET": ("modification_list",),
        "N-DELETE": (),
    }

    def handle(event: Event, service: str) -> Any:
        told = {name: getattr(event, name) for name in names[service]}
        assert all(
            getattr(event, name) is value for name, value in told.items() if isinstance(value, Dataset)
        )
        with pytest.raises(AttributeError):
            _ = event.dataset
        got.put({name: plain(v) if isinstance(v, Dataset) else v for name, v in told.items()})
        assert event.message_id == 1
        return 0x0000

    handlers: list[Any] = [(event_of(each), handle, [each]) for each in SERVICES]
    with serving_ae(handlers, uids=[BasicFilmSession]) as server:
        with associated(server, contexts=[build_context(BasicFilmSession)]) as assoc:
            for service in SERVICES:
                assert send(assoc, service)[0].Status == 0x0000
            assoc.send_n_action(None, 1, BasicFilmSession, INSTANCE)
            assoc.send_n_get([], BasicFilmSession, INSTANCE)
            assoc.send_n_get([0x00100010, 0x00100020], BasicFilmSession, INSTANCE)
    assert [got.get(timeout=10) for _ in range(9)] == [
        {"action_type": 7, "action_information": {"PatientID": "X"}},
        {"attribute_list": {"PatientID": "X"}},
        {},
        {"event_type": 7, "event_information": {"PatientID": "X"}},
        {"attribute_identifiers": [0x00100020]},
        {"modification_list": {"PatientID": "X"}},
        {"action_type": 1, "action_information": {}},
        {"attribute_identifiers": []},
        {"attribute_identifiers": [0x00100010, 0x00100020]},
    ]


@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda a: a.send_n_action(None, 1, "1.2.3.4", INSTANCE), NoAcceptedContext),
        (lambda a: a.send_n_event_report(None, 1, "1.2.3.4", INSTANCE), NoAcceptedContext),
        (lambda a: a.send_n_get([], BasicFilmSession, INSTANCE, meta_uid="1.2.3.4"), NoAcceptedContext),
        (lambda a: a.send_n_action(unencodable(), 1, BasicFilmSession, INSTANCE), ValueError),
        (lambda a: a.send_n_action("x", 1, BasicFilmSession, INSTANCE), ValueError),
        (lambda a: a.send_n_set(None, BasicFilmSession, INSTANCE), ValueError),
        (lambda a: a.send_n_set(Dataset(), BasicFilmSession, INSTANCE), ValueError),
        (lambda a: a.send_n_get(["zz"], BasicFilmSession, INSTANCE), ValueError),
        (lambda a: a.send_n_delete(BasicFilmSession, "1" * 65), ValueError),
        (lambda a: a.send_n_delete(BasicFilmSession, ""), ValueError),
        (lambda a: a.send_n_delete(BasicFilmSession, None), ValueError),
        (lambda a: a.send_n_delete(BasicFilmSession, 5), TypeError),
        (lambda a: a.send_n_delete(BasicFilmSession, INSTANCE, msg_id=70000), ValueError),
        (lambda a: a.send_n_delete(BasicFilmSession, INSTANCE, msg_id="1"), TypeError),
        (lambda a: a.send_n_action(None, "x", BasicFilmSession, INSTANCE), TypeError),
        (lambda a: a.send_n_action(None, 70000, BasicFilmSession, INSTANCE), ValueError),
        (lambda a: a.send_n_action(None, None, BasicFilmSession, INSTANCE), ValueError),
        (lambda a: a.send_n_event_report(None, None, BasicFilmSession, INSTANCE), ValueError),
    ],
)
def test_a_mistake_of_the_callers_raises_and_sends_nothing(
    answering: tuple[list[Any], int, int], call: Callable[[Association], Any], error: type[Exception]
) -> None:
    answers, ours, _ = answering
    answers[0] = 0x0000
    with associated(ours, contexts=[build_context(BasicFilmSession)]) as assoc:
        with pytest.raises(error):
            call(assoc)
        assert send(assoc, "N-GET")[0].Status == 0


def test_nothing_is_sent_on_an_association_that_is_over(answering: tuple[list[Any], int, int]) -> None:
    with associated(answering[1], contexts=[build_context(BasicFilmSession)]) as assoc:
        assoc.release()
        for service in SERVICES:
            with pytest.raises(RuntimeError):
                send(assoc, service)


def test_an_association_that_ends_leaves_an_empty_status() -> None:
    def end(event: Event) -> int:
        event.assoc.abort()
        return 0

    handlers: list[Any] = [(event_of(each), end) for each in SERVICES]
    with serving_ae(handlers, uids=[BasicFilmSession]) as server:
        for service in SERVICES:
            with associated(server, contexts=[build_context(BasicFilmSession)]) as assoc:
                assert send(assoc, service) == (Dataset(), None)


def test_a_context_may_stand_for_several_sop_classes() -> None:
    """PS3.4 section H.3: the requests name the SOP classes that the meta SOP class stands for."""
    got: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def handle(event: Event) -> int:
        named = getattr(event.request, "RequestedSOPClassUID", None) or event.request.AffectedSOPClassUID
        got.put((str(named), str(event.context.abstract_syntax)))
        return 0

    meta = BasicGrayscalePrintManagementMeta
    handlers: list[Any] = [(event_of(each), handle) for each in SERVICES]
    with serving_ae(handlers, uids=[meta]) as server:
        with associated(server, contexts=[build_context(meta)]) as assoc:
            for service in SERVICES:
                assert send(assoc, service, BasicFilmBox, meta_uid=meta)[0].Status == 0
                assert got.get(timeout=10) == (BasicFilmBox, meta)
                with pytest.raises(NoAcceptedContext):
                    send(assoc, service, BasicFilmBox)


Handlers = list[Any]


class Commitment:
    """Storage commitment: an SCP that reports when it is told to, and what the SCU was told."""

    def __init__(self) -> None:
        self.reports: queue.SimpleQueue[tuple[int, str, str]] = queue.SimpleQueue()
        self.statuses: queue.SimpleQueue[Dataset] = queue.SimpleQueue()
        self.acceptors: queue.SimpleQueue[Association] = queue.SimpleQueue()

    def report(self, assoc: Any, transaction: str) -> None:
        status, reply = assoc.send_n_event_report(
            data(TransactionUID=transaction),
            1,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        assert plain(reply) == {}
        self.statuses.put(status)

    def on_report(self, event: Any) -> tuple[int, None]:
        thread = threading.current_thread().name
        self.reports.put((event.event_type, str(event.event_information.TransactionUID), thread))
        return 0x0000, None

    def commit(self, assoc: Association, transaction: str) -> Dataset:
        status, _ = assoc.send_n_action(
            data(TransactionUID=transaction),
            1,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        return status

    def check_report(self, transaction: str) -> None:
        assert self.reports.get(timeout=10)[:2] == (1, transaction)
        status = self.statuses.get(timeout=10)
        assert status.Status == 0
        assert status.AffectedSOPInstanceUID == StorageCommitmentPushModelInstance


COMMITMENT = [StorageCommitmentPushModel, VERIFICATION]


def test_a_report_from_within_the_handler() -> None:
    """M029 S040: It comes while the requestor waits for the response to its N-ACTION."""
    commitment = Commitment()

    def on_action(event: Event) -> tuple[int, None]:
        commitment.report(event.assoc, event.action_information.TransactionUID)
        return 0x0000, None

    handlers: Handlers = [(evt.EVT_N_EVENT_REPORT, commitment.on_report)]
    with serving_ae([(evt.EVT_N_ACTION, on_action)], uids=COMMITMENT) as server:
        with associated(server, handlers, contexts=[build_context(each) for each in COMMITMENT]) as assoc:
            for transaction in ("1.2.1", "1.2.2"):
                assert commitment.commit(assoc, transaction).Status == 0
                commitment.check_report(transaction)
            assert assoc.send_c_echo().Status == 0
            assoc.release()
            assert assoc.is_released


def test_a_handler_may_ask_while_its_association_waits() -> None:
    """Both requests are sent with the Message ID that is the default, and their responses cross."""
    commitment = Commitment()
    got: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()

    def on_action(event: Event) -> tuple[int, None]:
        if event.action_type == 1:
            commitment.report(event.assoc, "1.2.1")
        return 0x0000, None

    def on_report(event: Event) -> tuple[int, None]:
        echo = event.assoc.send_c_echo()
        again = send(event.assoc, "N-ACTION", StorageCommitmentPushModel)[0]
        got.put((echo.Status, again.Status))
        return 0x0000, None

    with serving_ae([(evt.EVT_N_ACTION, on_action)], uids=COMMITMENT) as server:
        contexts = [build_context(each) for each in COMMITMENT]
        with associated(server, [(evt.EVT_N_EVENT_REPORT, on_report)], contexts=contexts) as assoc:
            assert commitment.commit(assoc, "1.2.1").Status == 0
            assert got.get(timeout=10) == (0, 0)
            assert commitment.statuses.get(timeout=10).Status == 0


def test_a_report_after_the_handler_reaches_an_idle_requestor() -> None:
    commitment = Commitment()

    def on_action(event: Event) -> tuple[int, None]:
        threading.Thread(
            target=commitment.report, args=(event.assoc, event.action_information.TransactionUID)
        ).start()
        return 0x0000, None

    handlers: Handlers = [(evt.EVT_N_EVENT_REPORT, commitment.on_report)]
    with serving_ae([(evt.EVT_N_ACTION, on_action)], uids=COMMITMENT) as server:
        with associated(server, handlers, contexts=[build_context(each) for each in COMMITMENT]) as assoc:
            for transaction in ("1.2.1", "1.2.2"):
                assert commitment.commit(assoc, transaction).Status == 0
                commitment.check_report(transaction)
            assert assoc.send_c_echo().Status == 0


def test_reports_while_the_requestor_goes_on_asking() -> None:
    """Both sides have requests outstanding; each response finds the one who asked."""
    commitment = Commitment()
    threads: list[threading.Thread] = []

    def on_action(event: Event) -> tuple[int, None]:
        transaction = event.action_information.TransactionUID
        threads.append(threading.Thread(target=commitment.report, args=(event.assoc, transaction)))
        threads[-1].start()
        return 0x0000, None

    handlers: Handlers = [(evt.EVT_N_EVENT_REPORT, commitment.on_report)]
    with serving_ae([(evt.EVT_N_ACTION, on_action)], uids=COMMITMENT) as server:
        with associated(server, handlers, contexts=[build_context(each) for each in COMMITMENT]) as assoc:
            wanted = {f"1.2.{number}" for number in range(20)}
            for transaction in sorted(wanted):
                assert commitment.commit(assoc, transaction).Status == 0
                assert assoc.send_c_echo().Status == 0
            assert {commitment.reports.get(timeout=10)[1] for _ in wanted} == wanted
            assert {commitment.statuses.get(timeout=10).Status for _ in wanted} == {0}
            for thread in threads:
                thread.join(10)
            assoc.release()
            assert assoc.is_released


def test_an_acceptor_reports_unasked() -> None:
    """The requestor has not sent anything yet, and has no thread that waits."""
    commitment = Commitment()
    bound: Handlers = [(evt.EVT_ESTABLISHED, lambda event: commitment.acceptors.put(event.assoc))]
    handlers: Handlers = [(evt.EVT_N_EVENT_REPORT, commitment.on_report)]
    with serving_ae(bound, uids=COMMITMENT) as server:
        with associated(server, handlers, contexts=[build_context(each) for each in COMMITMENT]):
            acceptor = commitment.acceptors.get(timeout=10)
            commitment.report(acceptor, "1.2.7")
            commitment.check_report("1.2.7")


def test_a_report_that_crosses_a_release_gets_no_answer() -> None:
    """PS3.8 section 7.2: what was outstanding is lost, and nobody waits for it."""
    got: queue.SimpleQueue[Reply] = queue.SimpleQueue()
    acceptors: queue.SimpleQueue[Association] = queue.SimpleQueue()
    released = threading.Event()

    def report(assoc: Association) -> None:
        released.wait(10)
        try:
            got.put(send(assoc, "N-EVENT-REPORT", StorageCommitmentPushModel))
        except RuntimeError:
            got.put((Dataset(), None))

    bound: Handlers = [(evt.EVT_ESTABLISHED, lambda event: acceptors.put(event.assoc))]
    with serving_ae(bound, uids=COMMITMENT) as server:
        with associated(server, contexts=[build_context(each) for each in COMMITMENT]) as assoc:
            thread = threading.Thread(target=report, args=(acceptors.get(timeout=10),))
            thread.start()
            released.set()
            assoc.release()
            assert not assoc.is_aborted
            thread.join(10)
            assert got.get(timeout=10)[0].get("Status") in (None, 0x0110)


@pytest.mark.parametrize("service", [each for each in SERVICES if each != "N-EVENT-REPORT"])
def test_an_scp_may_not_ask_an_scu(service: str) -> None:
    acceptors: queue.SimpleQueue[Association] = queue.SimpleQueue()
    bound: Handlers = [(evt.EVT_ESTABLISHED, lambda event: acceptors.put(event.assoc))]
    with serving_ae(bound, uids=[BasicFilmSession]) as server:
        with associated(server, contexts=[build_context(BasicFilmSession)]):
            with pytest.raises(NoAcceptedContext):
                send(acceptors.get(timeout=10), service)


def test_a_request_to_an_scu_is_refused() -> None:
    """By a peer that does not keep to the roles."""
    action = (GOLDEN / "pynetdicom-n-services-requestor-09-n-delete-rq.bin").read_bytes()
    got: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def serve(peer: RawPeer) -> None:
        pdu = peer.read_pdu()
        asked = decode_pdu(pdu[0], memoryview(pdu)[6:])
        assert isinstance(asked, AssociateRQ)
        supported = {c.abstract_syntax: SupportedContext(c.transfer_syntaxes) for c in asked.contexts}
        answer, _ = accept(asked, Acceptor(supported, identification_items(16384, "1.2.3", None)))
        peer.send(answer.encode())
        peer.send(action)
        got.put(peer.read_pdu())
        peer.read_pdu()

    calls: list[Event] = []
    contexts = [build_context(VERIFICATION), build_context(BasicFilmSession)]
    with raw_server(serve) as port:
        with associated(port, [(evt.EVT_N_DELETE, calls.append)], contexts=contexts):
            assert decode_command(got.get(timeout=10)[12:])[1]["Status"] == 0x0122
    assert not calls


@pytest.mark.parametrize("has_role", [True, False])
def test_a_report_on_an_association_that_the_scp_opens(has_role: bool) -> None:
    """M029 S043: With the role of SCP (PS3.4 section J.3.3), and as peers do that do not ask for it."""
    commitment = Commitment()
    uid = StorageCommitmentPushModel
    scu: list[int] = []

    def report(transaction: str) -> None:
        roles = [build_role(uid, scp_role=True)] if has_role else []
        with associated(scu[0], contexts=[build_context(uid)], ext_neg=roles) as assoc:
            (context,) = assoc.accepted_contexts
            assert (context.as_scu, context.as_scp) == (not has_role, has_role)
            if has_role:
                with pytest.raises(NoAcceptedContext):
                    send(assoc, "N-ACTION", uid)
            commitment.report(assoc, transaction)
            assoc.release()

    def on_action(event: Event) -> tuple[int, None]:
        threading.Thread(target=report, args=(event.action_information.TransactionUID,)).start()
        return 0x0000, None

    listener = AE("SCU")
    listener.add_supported_context(uid, scu_role=False, scp_role=True)
    handlers: Handlers = [(evt.EVT_N_EVENT_REPORT, commitment.on_report)]
    waiting = listener.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert waiting is not None
    scu.append(waiting.server_address[1])
    try:
        with serving_ae([(evt.EVT_N_ACTION, on_action)], uids=COMMITMENT) as server:
            with associated(server, contexts=[build_context(uid)]) as assoc:
                assert commitment.commit(assoc, "1.2.5").Status == 0
                assoc.release()
            commitment.check_report("1.2.5")
            wait_until(lambda: not waiting.active_associations)
    finally:
        listener.shutdown()


def entries(sender: str) -> list[dict[str, Any]]:
    index = json.loads((GOLDEN / "index.json").read_text())
    wanted = [e for e in index if e["scenario"] == "pynetdicom-n-services" and e["sender"] == sender]
    return sorted(wanted, key=lambda entry: int(entry["number"]))


def commands(sender: str) -> list[dict[str, Any]]:
    return [e["fields"]["command"] for e in entries(sender) if "command" in e["fields"]]


def test_recorded_requests_get_the_recorded_answers() -> None:
    found = data(PatientName="A")

    def handle(event: Event) -> Any:
        if event.event is evt.EVT_N_DELETE:
            return 0x0112
        return 0x0000, found

    handlers: list[Any] = [(event_of(each), handle) for each in SERVICES]
    uids = [ModalityPerformedProcedureStep, BasicFilmSession, Printer]
    answers = []
    with serving_ae(handlers, uids=uids) as server, RawPeer.connect(server.server_address[1]) as peer:
        for entry in entries("requestor")[:-1]:
            peer.send((GOLDEN / entry["file"]).read_bytes())
            command = entry["fields"].get("command")
            if command is None and "values" not in entry["fields"]:
                peer.read_pdu()
            elif command is None or command["CommandDataSetType"] == 0x0101:
                pdu = peer.read_pdu()
                end = 10 + int.from_bytes(pdu[6:10], "big")
                kind, answer, has_data = decode_command(pdu[12:end])
                if has_data and len(pdu) == end:
                    peer.read_pdu()
                answers.append((kind.command_field, has_data, answer))
    fields = ("CommandGroupLength", "CommandField", "CommandDataSetType")
    expected = [
        (
            each["CommandField"],
            each["CommandDataSetType"] != 0x0101,
            {name: value for name, value in each.items() if name not in fields},
        )
        for each in commands("acceptor")
    ]
    assert answers == expected


def test_our_requests_are_those_that_were_recorded() -> None:
    recorded = commands("requestor")
    got: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def note(event: Event) -> None:
        got.put({element.keyword: element.value for element in event.message.command_set})

    step, session = data(Modality="OT"), data(NumberOfCopies="1")
    uids = [ModalityPerformedProcedureStep, BasicFilmSession, Printer]
    film = recorded[3]["RequestedSOPInstanceUID"]
    instance = recorded[0]["AffectedSOPInstanceUID"]
    with serving_ae(uids=uids) as server:
        contexts = [build_context(uid) for uid in uids]
        with associated(server, [(evt.EVT_DIMSE_SENT, note)], contexts=contexts) as assoc:
            assoc.send_n_create(step, ModalityPerformedProcedureStep, instance, 1)
            assoc.send_n_set(step, ModalityPerformedProcedureStep, instance, 2)
            assoc.send_n_get([0x00100010, 0x21100010], Printer, PrinterInstance, 3)
            assoc.send_n_action(session, 1, BasicFilmSession, film, 4)
            assoc.send_n_delete(BasicFilmSession, film, 5)
            assoc.send_n_event_report(session, 2, Printer, PrinterInstance, 6)
    own = ("CommandGroupLength", "CommandDataSetType")
    strip = functools.partial(filter, lambda pair: pair[0] not in own)
    assert [dict(strip(got.get(timeout=10).items())) for _ in recorded] == [
        dict(strip(each.items())) for each in recorded
    ]
