"""Callbacks into an association: the 17 notification events and what handlers answer, against pynetdicom 3.0.4."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from threading import Thread
from types import ModuleType
from typing import Any

import pynetdicom
import pynetdicom.events
import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt as their_evt
from tests.associations import associated, ct_image, match, query, serving_ae
from tests.sockets import (
    CT_IMAGE_STORAGE,
    MR_IMAGE_STORAGE,
    PATIENT_ROOT_FIND,
    VERIFICATION,
    RawPeer,
    raw_server,
    request_pdu,
)
from tests.support import free_port, wait_until

import dicomnet
import dicomnet.pynetdicom.events
from dicomnet import build_context, evt
from dicomnet.errors import (
    ServiceRefusal,
)
from dicomnet.pynetdicom.events import Event
from dicomnet.pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, A_P_ABORT
from dicomnet.pynetdicom.sop_class import uid_to_sop_class
from dicomnet.wire.items import ContextResult, ImplementationClassUID, MaximumLength
from dicomnet.wire.pdu import Abort, AssociateAC

SIDES = ("requestor", "acceptor")
CONTEXTS = (VERIFICATION, CT_IMAGE_STORAGE, PATIENT_ROOT_FIND)
NOTIFICATIONS = tuple(name for name, event in dicomnet.evt.EVENTS.items() if event.is_notification)
ENDS = {"EVT_RELEASED", "EVT_ABORTED", "EVT_REJECTED"}
PENDING = 0xFF00


@dataclass(frozen=True)
class Told:
    """An event, and what it says in terms that both libraries have."""

    name: str
    detail: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Library:
    """One of the two libraries."""

    package: ModuleType
    events: ModuleType


OURS = Library(dicomnet, dicomnet.pynetdicom.events)
THEIRS = Library(pynetdicom, pynetdicom.events)


def detail_of(event: Any) -> tuple[Any, ...]:
    """The documented attributes of an event."""
    name = event.event.name
    if name.startswith("EVT_ACSE"):
        return primitive_detail(event.primitive)
    if name.startswith("EVT_DIMSE"):
        message = event.message
        primitive = message.message_to_primitive()
        return (
            type(message).__name__,
            message.context_id,
            message.command_set.CommandField,
            message.command_set.CommandDataSetType == 0x0101,
            message.command_set.get("Status"),
            bool(message.data_set and message.data_set.getvalue()),
            type(primitive).__name__,
            [each.keyword for each in message.command_set],
        )
    if name.startswith("EVT_PDU"):
        return (event.pdu.pdu_type,)
    if name == "EVT_FSM_TRANSITION":
        return event.current_state, event.fsm_event, event.action, event.next_state
    if name.startswith("EVT_CONN"):
        return (event.address[0],)
    if name.startswith("EVT_DATA"):
        return (bool(event.data),)
    return ()


def primitive_detail(primitive: Any) -> tuple[Any, ...]:
    """What a primitive says."""
    kind = type(primitive).__name__
    if kind == "A_ASSOCIATE":
        return (
            kind,
            primitive.result,
            primitive.diagnostic,
            primitive.called_ae_title if not primitive.result else None,
            len(primitive.presentation_context_definition_list),
            [(cx.context_id, cx.result) for cx in primitive.presentation_context_definition_results_list],
        )
    attributes = {"A_RELEASE": "result", "A_ABORT": "abort_source", "A_P_ABORT": "provider_reason"}
    return kind, getattr(primitive, attributes[kind])


Record = dict[str, list[Told]]
Client = Callable[[Library, Any, Any], None]


def echo(_library: Library, assoc: Any, _server: Any) -> None:
    assert assoc.send_c_echo().Status == 0
    assoc.release()


def store(_library: Library, assoc: Any, _server: Any) -> None:
    assert assoc.send_c_store(ct_image(40_000)).Status == 0
    assoc.release()


def find_and_cancel(_library: Library, assoc: Any, _server: Any) -> None:
    statuses = []
    for status, _ in assoc.send_c_find(query(), PATIENT_ROOT_FIND):
        statuses.append(status.Status)
        if status.Status == PENDING:
            assoc.send_c_cancel(1, query_model=uid_to_sop_class(PATIENT_ROOT_FIND))
    assert statuses == [PENDING, 0xFE00]
    assoc.release()


def nothing(_library: Library, assoc: Any, _server: Any) -> None:
    assert assoc.is_rejected


def abort(_library: Library, assoc: Any, server: Any) -> None:
    wait_until(lambda: any(each.is_established for each in server.active_associations))
    assoc.abort()


SCENARIOS: dict[str, tuple[Client, dict[str, Any]]] = {
    "echo": (echo, {}),
    "store": (store, {}),
    "find and cancel": (find_and_cancel, {}),
    "reject": (nothing, {"require_called_aet": True}),
    "abort": (abort, {}),
}


def found(event: Any) -> Iterator[tuple[int, Any]]:
    yield PENDING, match()
    wait_until(lambda: bool(event.is_cancelled))
    yield 0xFE00, None


@contextlib.contextmanager
def serving(library: Library, handlers: list[Any], properties: dict[str, Any]) -> Iterator[Any]:
    ae = library.package.AE("SERVER")
    for name, value in properties.items():
        setattr(ae, name, value)
    for uid in CONTEXTS:
        ae.add_supported_context(uid)
    try:
        yield ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    finally:
        ae.shutdown()


def watching(library: Library, told: list[Told]) -> list[Any]:
    def tell(event: Any) -> None:
        told.append(Told(event.event.name, detail_of(event)))

    return [(getattr(library.events, name), tell) for name in NOTIFICATIONS]


def is_over(told: list[Told]) -> bool:
    names = {each.name for each in told}
    return bool(names & ENDS) and "EVT_CONN_CLOSE" in names


@cache
def record(library: Library, scenario: str) -> Record:
    """What both sides are told in a scenario."""
    told = play(library, scenario)
    # pynetdicom may notice that the connection is closed before it reads the A-ABORT that came first.
    while library is THEIRS and scenario == "abort" and Told("EVT_PDU_RECV", (7,)) not in told["acceptor"]:
        told = play(library, scenario)
    return told


def play(library: Library, scenario: str) -> Record:
    """Run a scenario with handlers for all notifications on both sides."""
    client, properties = SCENARIOS[scenario]
    told: Record = {side: [] for side in SIDES}
    performed = [(library.events.EVT_C_STORE, lambda _: 0), (library.events.EVT_C_FIND, found)]
    with serving(library, watching(library, told["acceptor"]) + performed, properties) as server:
        ae = library.package.AE("CLIENT")
        for uid in CONTEXTS:
            ae.add_requested_context(uid)
        port = server.server_address[1]
        assoc = ae.associate("127.0.0.1", port, evt_handlers=watching(library, told["requestor"]))
        client(library, assoc, server)
        wait_until(lambda: all(is_over(each) for each in told.values()))
        # What the end of the server tells belongs to no scenario.
        return {side: list(each) for side, each in told.items()}


def without_data_transitions(told: list[Told]) -> list[Told]:
    return [
        each for each in told if each.name != "EVT_FSM_TRANSITION" or each.detail[2] not in ("DT-1", "DT-2")
    ]


def without_bytes(told: list[Told]) -> list[Told]:
    return [each for each in told if not each.name.startswith("EVT_DATA")]


# What differs on purpose, with the reason, and what takes it out of both records.
DIFFERENCES: dict[str, Callable[[list[Told]], list[Told]]] = {
    "P-DATA in Sta6 and Sta7 goes past the state machine, so its transitions DT-1 and DT-2, which lead from Sta6 to "
    "Sta6, are not told": without_data_transitions,
    "bytes are told as they are read and written, many PDUs at once; pynetdicom reads and writes each for itself": (
        without_bytes
    ),
}
# Threads race in pynetdicom, and PDUs here wait to be written together; so what is ordered is each of these alone.
ORDERED = {
    "life, primitives and messages": (
        *("EVT_REQUESTED", "EVT_ACCEPTED", "EVT_ESTABLISHED", "EVT_REJECTED", "EVT_RELEASED", "EVT_ABORTED"),
        *("EVT_CONN_OPEN", "EVT_ACSE_RECV", "EVT_ACSE_SENT", "EVT_DIMSE_RECV", "EVT_DIMSE_SENT"),
    ),
    "connection": ("EVT_CONN_OPEN", "EVT_CONN_CLOSE"),
    "PDUs received": ("EVT_PDU_RECV",),
    "PDUs sent": ("EVT_PDU_SENT",),
    "state machine": ("EVT_FSM_TRANSITION",),
}


def test_each_notification_is_in_an_order_or_a_difference() -> None:
    ordered = {name for names in ORDERED.values() for name in names}
    assert set(NOTIFICATIONS) - ordered == {"EVT_DATA_RECV", "EVT_DATA_SENT"}
    assert ordered < set(NOTIFICATIONS)


@pytest.mark.parametrize("order", ORDERED)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_both_sides_are_told_what_pynetdicom_tells(scenario: str, side: str, order: str) -> None:
    def part(library: Library) -> list[Told]:
        told = record(library, scenario)[side]
        for take_out in DIFFERENCES.values():
            told = take_out(told)
        return [each for each in told if each.name in ORDERED[order]]

    assert part(OURS) == part(THEIRS)


@pytest.mark.parametrize("side", SIDES)
def test_every_notification_is_told_to_both_sides(side: str) -> None:
    names = {each.name for scenario in SCENARIOS for each in record(OURS, scenario)[side]}
    assert names == set(NOTIFICATIONS)


def lifeline(told: list[Told]) -> list[Told]:
    return [each for each in told if each.name in ORDERED["life, primitives and messages"]]


ASKED = [Told("EVT_ACSE_SENT", ("A_ASSOCIATE", None, None, "ANY-SCP", 1, [])), Told("EVT_REQUESTED")]
LOST = [Told("EVT_ACSE_RECV", ("A_P_ABORT", 0)), Told("EVT_ABORTED")]


def requestor_told(port: int) -> list[Told]:
    """What a requestor is told that sends a C-ECHO to what listens on a port."""
    told: list[Told] = []
    ae = dicomnet.AE("CLIENT")
    ae.add_requested_context(VERIFICATION)
    assoc = ae.associate("127.0.0.1", port, evt_handlers=watching(OURS, told))
    if assoc.is_established:
        assoc.send_c_echo()
    assoc.join()
    return told


def test_a_peer_that_is_not_there_ends_the_association_by_the_provider() -> None:
    assert requestor_told(free_port()) == ASKED + LOST


def answering(last_words: bytes) -> Callable[[RawPeer], None]:
    """A peer that accepts, says something instead of an answer to the first message, and closes."""

    def serve(peer: RawPeer) -> None:
        request = peer.read_pdu()
        accepted = ContextResult(1, 0, "1.2.840.10008.1.2")
        items = (MaximumLength(16384), ImplementationClassUID("1.2.3"))
        peer.send(AssociateAC((accepted,), items, request[10:74]).encode())
        peer.read_pdu()
        peer.send(last_words)

    return serve


@pytest.mark.parametrize(
    ("last_words", "primitive"),
    [
        (b"", ("A_P_ABORT", 0)),
        (Abort(0).encode(), ("A_ABORT", 0)),
        (Abort(2, 6).encode(), ("A_P_ABORT", 6)),
        (b"\x09\x00\x00\x00\x00\x04abcd", ("A_P_ABORT", 1)),
        (b"\x06\x00\x00\x00\x00\x04abcd", ("A_P_ABORT", 2)),
    ],
    ids=["closed", "aborted", "aborted by the provider", "unknown PDU", "unexpected PDU"],
)
def test_an_end_without_release_is_told_once_as_the_primitive_that_it_is(
    last_words: bytes, primitive: tuple[Any, ...]
) -> None:
    with raw_server(answering(last_words)) as port:
        told = lifeline(requestor_told(port))
    assert told[-2:] == [Told("EVT_ACSE_RECV", primitive), Told("EVT_ABORTED")]
    assert sum(each.name in ("EVT_ACSE_RECV", "EVT_ACSE_SENT") for each in told) == 3


@pytest.mark.parametrize("side", SIDES)
def test_the_aborting_side_sends_the_primitive_and_the_other_one_receives_it(side: str) -> None:
    told: Record = {each: [] for each in SIDES}
    with serving(OURS, watching(OURS, told["acceptor"]), {}) as server:
        ae = dicomnet.AE("CLIENT")
        ae.add_requested_context(VERIFICATION)
        assoc = ae.associate(
            "127.0.0.1", server.server_address[1], evt_handlers=watching(OURS, told["requestor"])
        )
        wait_until(lambda: any(each.is_established for each in server.active_associations))
        (assoc if side == "requestor" else server.active_associations[0]).abort()
        wait_until(lambda: all(is_over(each) for each in told.values()))
    for each in SIDES:
        name = "EVT_ACSE_SENT" if each == side else "EVT_ACSE_RECV"
        assert lifeline(told[each])[-2:] == [Told(name, ("A_ABORT", 0)), Told("EVT_ABORTED")]


def test_an_abort_beside_a_busy_handler_is_told_once() -> None:
    told: list[Told] = []

    def busy(event: Any) -> int:
        wait_until(lambda: event.assoc.is_aborted)
        return 0

    handlers = [*watching(OURS, told), (dicomnet.evt.EVT_C_ECHO, busy)]
    with serving(OURS, handlers, {}) as server:
        ae = dicomnet.AE("CLIENT")
        ae.add_requested_context(VERIFICATION)

        def abort_when_busy() -> None:
            wait_until(lambda: any(each.name == "EVT_DIMSE_RECV" for each in told))
            server.active_associations[0].abort()

        assoc = ae.associate("127.0.0.1", server.server_address[1])
        aborting = Thread(target=abort_when_busy)
        aborting.start()
        assoc.send_c_echo()
        aborting.join()
        wait_until(lambda: is_over(told))
    primitives = [each for each in told if each.name.startswith("EVT_ACSE")]
    assert primitives[2:] == [Told("EVT_ACSE_SENT", ("A_ABORT", 0))]


def test_events_carry_views_of_the_primitives() -> None:
    seen: list[Any] = []
    handlers = [
        (dicomnet.evt.EVT_ACSE_RECV, seen.append),
        (dicomnet.evt.EVT_ACSE_SENT, seen.append),
    ]
    with serving(OURS, handlers, {}) as server:
        ae = dicomnet.AE("CLIENT")
        ae.add_requested_context(VERIFICATION)
        ae.associate("127.0.0.1", server.server_address[1]).abort()
        wait_until(lambda: len(seen) == 3)
    asked, answered, ended = (event.primitive for event in seen)
    assert [type(each) for each in (asked, answered, ended)] == [A_ASSOCIATE, A_ASSOCIATE, A_ABORT]
    assert [each.abstract_syntax for each in asked.presentation_context_definition_list] == [VERIFICATION]
    # The PDU does not say it again, but whoever looks at the results wants to know.
    assert [each.abstract_syntax for each in answered.presentation_context_definition_results_list] == [
        VERIFICATION
    ]
    assert answered.maximum_length_received == 16382
    assert A_P_ABORT not in [type(event.primitive) for event in seen]


def status(**elements: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


# What handlers return, with the statuses that pynetdicom 3.0.4 sends for it.
ANSWERS: dict[str, Any] = {
    "success": 0x0000,
    "failure": 0xA700,
    "warning": 0xB000,
    "unknown status": 0x1234,
    "None": None,
    "text": "x",
    "no status": Dataset(),
    "status with comment": status(Status=0xA700, ErrorComment="no room"),
    "status with offending elements": status(Status=0xA900, OffendingElement=[0x00100010, 0x00100020]),
    "status with one offending element": status(Status=0xA900, OffendingElement=0x00100010),
    "status with elements of its own": status(Status=0x0000, PatientName="x"),
    "exception": ValueError("a bug in the handler"),
}


def give(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def elements(response: Dataset) -> dict[str, Any]:
    return {element.keyword: element.value for element in response}


def their_status(answer: Any) -> Dataset:
    """What pynetdicom makes of the same handler."""
    ae = pynetdicom.AE()
    ae.add_supported_context(CT_IMAGE_STORAGE)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(their_evt.EVT_C_STORE, lambda event: give(answer))]
    )
    assert server is not None
    try:
        port = server.server_address[1]
        with associated(port, contexts=[build_context(CT_IMAGE_STORAGE)]) as assoc:
            response = assoc.send_c_store(ct_image())
            assoc.release()
            return response
    finally:
        ae.shutdown()


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_of_a_store_handler_becomes_what_it_becomes_in_pynetdicom(name: str) -> None:
    answer = ANSWERS[name]
    with serving_ae([(evt.EVT_C_STORE, lambda event: give(answer))]) as server:
        with associated(server) as assoc:
            ours = elements(assoc.send_c_store(ct_image()))
            # The association goes on.
            assert assoc.send_c_echo().Status == 0
    theirs = elements(their_status(answer))
    if name not in ("None", "text", "no status"):
        assert ours == theirs
    # Where the handler is wrong, a comment of ours tells the peer.
    assert ours["Status"] == theirs["Status"]


@pytest.mark.parametrize("answer", [-1, 70000, 3.5, (0,), status(Status=0xA900, ErrorComment=["a", "b"])])
def test_an_answer_that_cannot_be_sent_does_not_end_the_association(answer: object) -> None:
    """It aborted the association."""
    with serving_ae([(evt.EVT_C_STORE, lambda event: answer)]) as server, associated(server) as assoc:
        assert assoc.send_c_store(ct_image()).Status in (0xC002, 0xA900)
        assert assoc.send_c_echo().Status == 0


@pytest.mark.parametrize("answer", [None, "x", 3.5, -1, 70000, Dataset(), ValueError("a bug")])
def test_an_echo_succeeds_whatever_its_handler_does(answer: object) -> None:
    """M012: PS3.7 section 9.1.5: there is no other status that a handler's mistake could become."""
    with serving_ae([(evt.EVT_C_ECHO, lambda event: give(answer))]) as server, associated(server) as assoc:
        assert assoc.send_c_echo().Status == 0


@pytest.mark.parametrize("answer", [0x0122, 0x0210, status(Status=0x0122)])
def test_an_echo_may_be_refused_all_the_same(answer: object) -> None:
    with serving_ae([(evt.EVT_C_ECHO, lambda event: answer)]) as server, associated(server) as assoc:
        wanted = answer.Status if isinstance(answer, Dataset) else answer
        assert assoc.send_c_echo().Status == wanted


FINDINGS: dict[str, tuple[Any, list[int]]] = {
    "nothing": ([], [0x0000]),
    "one": ([(0xFF00, match())], [0xFF00, 0x0000]),
    "one and success": ([(0xFF00, match()), (0x0000, None)], [0xFF00, 0x0000]),
    "unsupported keys": ([(0xFF01, match())], [0xFF01, 0x0000]),
    "status data set": ([(status(Status=0xFF00), match())], [0xFF00, 0x0000]),
    "pending without a match": ([(0xFF00, None)], [0xC312]),
    "then pending without a match": ([(0xFF00, match()), (0xFF00, None)], [0xFF00, 0xC312]),
    "a match that is none": ([(0xFF00, "x")], [0xC312]),
    "failure": ([(0xA700, None)], [0xA700]),
    "failure with a match": ([(0xA700, match())], [0xA700]),
    "cancel": ([(0xFE00, None), (0xFF00, match())], [0xFE00]),
    "unknown status": ([(0x1234, None)], [0x1234]),
    "text for a status": ([("x", match())], [0xC002]),
    "impossible status": ([(70000, None)], [0xC002]),
    "no status": ([(Dataset(), match())], [0xC001]),
    "no pair": ([5], [0xC311]),
    "three": ([(0xFF00, match(), 1)], [0xC311]),
    "exception": ([ValueError("a bug in the handler")], [0xC311]),
    "exception after a match": ([(0xFF00, match()), ValueError("a bug")], [0xFF00, 0xC311]),
    "refusal": ([ServiceRefusal(0xA700, "no")], [0xA700]),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_what_a_find_handler_yields_becomes_its_responses(name: str) -> None:
    """M016."""
    results, expected = FINDINGS[name]

    def find(event: Event) -> Iterator[Any]:
        for result in results:
            yield give(result)

    with serving_ae([(evt.EVT_C_FIND, find)]) as server, associated(server) as assoc:
        responses = list(assoc.send_c_find(query(), PATIENT_ROOT_FIND))
        assert [response.Status for response, _ in responses] == expected
        # PS3.4 section C.4.1: a pending response has an Identifier, the final one has none.
        assert [identifier is not None for _, identifier in responses] == [
            value in (0xFF00, 0xFF01) for value in expected
        ]
        assert assoc.send_c_echo().Status == 0


@pytest.mark.parametrize("answer", [None, ValueError("a bug"), 5])
def test_a_find_handler_that_is_no_generator(answer: object) -> None:
    expected = [0x0000] if answer is None else [0xC311]
    with serving_ae([(evt.EVT_C_FIND, lambda event: give(answer))]) as server, associated(server) as assoc:
        assert [s.Status for s, _ in assoc.send_c_find(query(), PATIENT_ROOT_FIND)] == expected
        assert assoc.send_c_echo().Status == 0


def test_without_a_handler_services_fail_and_echo_succeeds() -> None:
    """S062."""
    with serving_ae() as server, associated(server) as assoc:
        assert assoc.send_c_echo().Status == 0x0000
        assert assoc.send_c_store(ct_image()).Status == 0xC211
        assert [s.Status for s, _ in assoc.send_c_find(query(), PATIENT_ROOT_FIND)] == [0xC311]
        assert assoc.is_established


def test_an_error_comment_does_not_tell_what_the_exception_said() -> None:
    """M019."""
    secret = "Doe^Jane was not found in /srv/archive"
    with serving_ae([(evt.EVT_C_STORE, lambda event: give(ValueError(secret)))]) as server:
        with associated(server) as assoc:
            assert "Doe" not in str(assoc.send_c_store(ct_image()))


def test_a_sop_class_that_is_not_the_contexts_is_refused() -> None:
    """M009."""
    from tests.sockets import status_of, store_pdus

    with serving_ae([(evt.EVT_C_STORE, lambda event: 0)]) as server:
        with RawPeer.connect(server.server_address[1]) as peer:
            peer.send(request_pdu((1, CT_IMAGE_STORAGE)))
            peer.read_pdu()
            peer.send(store_pdus(b"\x10\x00\x20\x00\x02\x00\x00\x00ID", sop_class=MR_IMAGE_STORAGE))
            assert status_of(peer.read_pdu()) == 0x0122
