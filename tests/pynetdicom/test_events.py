"""Events: bindings, notifications and interventions."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Any

import pydicom
import pynetdicom
import pytest
from pydicom.uid import UID
from pynetdicom import evt as their_evt
from tests.associations import associated, ct_image, match, query, serving_ae
from tests.sockets import (
    CT_IMAGE_STORAGE,
    IMPLICIT_VR_LE,
    PATIENT_ROOT_FIND,
    RELEASE_RQ,
    RawPeer,
    echo_pdus,
    request_pdu,
)
from tests.support import wait_until

from dicomnet import _config, evt
from dicomnet.pynetdicom.association import Association
from dicomnet.pynetdicom.events import (
    Bindings,
    Event,
    InterventionEvent,
    NotificationEvent,
    get_default_handler,
    trigger,
)
from dicomnet.pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

Seen = list[Event]


def test_the_events_are_those_of_pynetdicom() -> None:
    theirs = {name: getattr(their_evt, name) for name in dir(their_evt) if name.startswith("EVT_")}
    assert set(evt.EVENTS) == set(theirs)
    for name, event in evt.EVENTS.items():
        assert getattr(evt, name) is event
        assert event.is_intervention == theirs[name].is_intervention
        assert event.is_notification == theirs[name].is_notification
        assert str(event) == name
    assert Counter(type(event) for event in evt.EVENTS.values()) == {
        InterventionEvent: 15,
        NotificationEvent: 17,
    }


INTERVENTIONS = [event for event in evt.EVENTS.values() if isinstance(event, InterventionEvent)]


def handler(event: Event) -> int:
    return 0


def other(event: Event) -> int:
    return 0


def test_bindings_are_kept_as_in_pynetdicom() -> None:
    ae = pynetdicom.AE()
    ae.add_supported_context("1.2.840.10008.1.1")
    theirs = ae.make_server(("127.0.0.1", 0))
    ours = Bindings()
    try:
        for name in ("EVT_CONN_OPEN", "EVT_C_ECHO"):
            for act, given in (
                ("bind", (handler,)),
                ("bind", (handler,)),
                ("bind", (other, ["argument"])),
                ("bind", (handler, ["argument"])),
                ("unbind", (other,)),
                ("bind", (other, ["x", 1])),
                ("unbind", (handler,)),
            ):
                getattr(theirs, act)(getattr(their_evt, name), *given)
                getattr(ours, act)(evt.EVENTS[name], *given)
                expected: Any = theirs.get_handlers(getattr(their_evt, name))
                known = (
                    [pair for pair in expected if pair[0] in (handler, other)]
                    if name == "EVT_CONN_OPEN"
                    else expected
                )
                assert ours.handlers(evt.EVENTS[name]) == known
    finally:
        theirs.server_close()
    assert ours.events() == sorted([*INTERVENTIONS, evt.EVT_CONN_OPEN], key=str)
    ours.unbind(evt.EVT_CONN_OPEN, other)
    assert "EVT_CONN_OPEN" not in ours.names


def test_arguments_that_are_no_list_are_refused() -> None:
    with pytest.raises(TypeError):
        Bindings().bind(evt.EVT_C_ECHO, handler, 5)  # type: ignore[arg-type]


def test_copies_of_bindings_are_independent() -> None:
    bindings = Bindings([(evt.EVT_CONN_OPEN, handler), (evt.EVT_C_ECHO, handler, ["x"])])
    copy = bindings.copy()
    copy.unbind(evt.EVT_CONN_OPEN, handler)
    copy.unbind(evt.EVT_C_ECHO, handler)
    assert evt.EVT_CONN_OPEN in bindings.events()
    assert bindings.handlers(evt.EVT_C_ECHO) == (handler, ["x"])
    assert copy.events() == sorted(INTERVENTIONS, key=str)
    assert copy.handlers(evt.EVT_C_ECHO) == (get_default_handler(evt.EVT_C_ECHO), None)
    assert (bindings.names, copy.names) == ({"EVT_CONN_OPEN"}, set())


ATTRIBUTES: dict[str, set[str]] = {
    "EVT_CONN_OPEN": {"address"},
    "EVT_CONN_CLOSE": {"address"},
    "EVT_DATA_RECV": {"data"},
    "EVT_DATA_SENT": {"data"},
    "EVT_PDU_RECV": {"pdu"},
    "EVT_PDU_SENT": {"pdu"},
    "EVT_DIMSE_RECV": {"message"},
    "EVT_DIMSE_SENT": {"message"},
    "EVT_FSM_TRANSITION": {"action", "current_state", "fsm_event", "next_state"},
}


def watch(seen: Seen, *names: str) -> list[Any]:
    return [(evt.EVENTS[name], seen.append) for name in names]


def names_of(seen: Seen) -> list[str]:
    return [event.event.name for event in seen]


@pytest.mark.parametrize("side", ["requestor", "acceptor"])
def test_notifications_come_in_order_with_their_attributes(side: str) -> None:
    seen: Seen = []
    life = (
        "EVT_CONN_OPEN",
        "EVT_REQUESTED",
        "EVT_ACCEPTED",
        "EVT_ESTABLISHED",
        "EVT_RELEASED",
        "EVT_CONN_CLOSE",
    )
    handlers = watch(seen, *life, *(name for name in ATTRIBUTES if name not in life))
    ours, theirs = (handlers, []) if side == "acceptor" else ([], handlers)
    with serving_ae(ours) as server, associated(server, theirs) as assoc:
        assoc.send_c_echo()
        assoc.release()
        wait_until(lambda: "EVT_CONN_CLOSE" in names_of(seen))
    order = [name for name in names_of(seen) if name in life]
    # The requestor asks before there is a connection.
    expected = list(life) if side == "acceptor" else [life[1], life[0], *life[2:]]
    assert order == expected
    counts = Counter(names_of(seen))
    assert counts["EVT_DIMSE_RECV"] == counts["EVT_DIMSE_SENT"] == 1
    assert counts["EVT_PDU_RECV"] == counts["EVT_PDU_SENT"] == 3
    for event in seen:
        assert isinstance(event.assoc, Association)
        assert isinstance(event.timestamp, datetime)
        for attribute in ATTRIBUTES.get(event.event.name, ()):
            assert getattr(event, attribute) is not None
    stream = {
        name: b"".join(event.data for event in seen if event.event.name == name)
        for name in ("EVT_DATA_RECV", "EVT_DATA_SENT")
    }
    pdus = {
        name: b"".join(event.pdu.encode() for event in seen if event.event.name == name)
        for name in ("EVT_PDU_RECV", "EVT_PDU_SENT")
    }
    assert stream["EVT_DATA_RECV"] == pdus["EVT_PDU_RECV"]
    assert stream["EVT_DATA_SENT"] == pdus["EVT_PDU_SENT"]


def test_a_transition_has_the_names_of_the_standard() -> None:
    seen: Seen = []
    with serving_ae() as server, associated(server, watch(seen, "EVT_FSM_TRANSITION")) as assoc:
        assoc.release()
    assert [(e.current_state, e.fsm_event, e.next_state) for e in seen[:3]] == [
        ("Sta1", "Evt1", "Sta4"),
        ("Sta4", "Evt2", "Sta5"),
        ("Sta5", "Evt3", "Sta6"),
    ]


@pytest.mark.parametrize("who", ["requestor", "acceptor"])
def test_an_abort_is_told_on_both_sides(who: str) -> None:
    mine: Seen = []
    theirs: Seen = []
    with serving_ae(watch(theirs, "EVT_ABORTED", "EVT_CONN_CLOSE")) as server:
        with associated(server, watch(mine, "EVT_ABORTED", "EVT_CONN_CLOSE")) as assoc:
            wait_until(lambda: any(a.is_established for a in server.active_associations))
            (assoc if who == "requestor" else server.active_associations[0]).abort()
            wait_until(lambda: names_of(mine) == names_of(theirs) == ["EVT_ABORTED", "EVT_CONN_CLOSE"])
            assert assoc.is_aborted


def test_a_rejection_is_told_on_both_sides() -> None:
    mine: Seen = []
    theirs: Seen = []
    with serving_ae(watch(theirs, "EVT_REJECTED", "EVT_ACCEPTED"), require_called_aet=True) as server:
        with associated(server, watch(mine, "EVT_REJECTED", "EVT_ACCEPTED"), must_be_established=False):
            wait_until(lambda: names_of(mine) == names_of(theirs) == ["EVT_REJECTED"])


def test_a_notification_handler_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    seen: Seen = []

    def fail(event: Event) -> None:
        raise ValueError("a bug in a handler")

    handlers = [(evt.EVT_DIMSE_RECV, fail), (evt.EVT_DIMSE_RECV, seen.append)]
    with serving_ae(handlers) as server, associated(server) as assoc:
        assert assoc.send_c_echo().Status == 0
    assert len(seen) == 1
    assert "a bug in a handler" in caplog.text


def test_handlers_get_their_further_arguments() -> None:
    got: list[tuple[object, ...]] = []

    def echo(event: Event, *arguments: object) -> int:
        got.append(arguments)
        return 0

    with serving_ae([(evt.EVT_C_ECHO, echo, ["one", 2]), (evt.EVT_CONN_OPEN, echo, [3])]) as server:
        with associated(server) as assoc:
            assert assoc.send_c_echo().Status == 0
    assert got == [(3,), ("one", 2)]


def test_handlers_are_bound_and_unbound_while_it_runs() -> None:
    calls: Seen = []

    def refuse(event: Event) -> int:
        calls.append(event)
        return 0x0122

    with serving_ae() as server, associated(server) as assoc:
        assert assoc.send_c_echo().Status == 0
        server.bind(evt.EVT_C_ECHO, refuse)
        assert assoc.send_c_echo().Status == 0x0122
        server.unbind(evt.EVT_C_ECHO, refuse)
        assert assoc.send_c_echo().Status == 0
        seen: Seen = []
        assoc.bind(evt.EVT_DIMSE_RECV, seen.append)
        assert assoc.get_events() == sorted([*INTERVENTIONS, evt.EVT_DIMSE_RECV], key=str)
        assert assoc.get_handlers(evt.EVT_DIMSE_RECV) == [(seen.append, None)]
        assoc.send_c_echo()
        assoc.unbind(evt.EVT_DIMSE_RECV, seen.append)
        assoc.send_c_echo()
        assert (len(calls), len(seen)) == (1, 1)


def test_a_store_event_has_the_object_in_all_its_forms() -> None:
    """M022 M023."""
    image = ct_image(1000)
    events: Seen = []
    results: list[Any] = []

    def store(event: Event) -> int:
        events.append(event)
        meta = event.file_meta
        results.append((event.dataset, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID))
        results.append(pydicom.dcmread(pydicom.filebase.DicomBytesIO(event.encoded_dataset())))
        results.append(event.encoded_dataset(include_meta=False))
        assert event.dataset is event.dataset
        return 0

    with serving_ae([(evt.EVT_C_STORE, store)]) as server, associated(server) as assoc:
        assert (
            assoc.send_c_store(image, msg_id=77, priority=1, originator_aet="MOVER", originator_id=5).Status
            == 0
        )
    (event,) = events
    assert event.message_id == 77
    assert event.context.context_id == 3
    assert event.context.abstract_syntax == CT_IMAGE_STORAGE
    assert event.context.transfer_syntax == IMPLICIT_VR_LE
    request = event.request
    assert (request.Priority, request.MoveOriginatorMessageID) == (1, 5)
    assert request.MoveOriginatorApplicationEntityTitle == "MOVER"
    assert request.AffectedSOPInstanceUID == "1.2.3.4"
    assert request.DataSet.getvalue() == results[2]
    (dataset, instance, syntax), whole = results[:2]
    assert (dataset.PatientName, instance, syntax) == ("Test^Image", "1.2.3.4", IMPLICIT_VR_LE)
    assert whole.PixelData == image.PixelData == dataset.PixelData
    for name in (
        "identifier",
        "dataset_path",
        "move_destination",
        "action_type",
        "event_type",
        "attribute_list",
    ):
        with pytest.raises(AttributeError):
            getattr(event, name)


def test_a_find_event_has_the_query() -> None:
    events: Seen = []

    def find(event: Event) -> Any:
        events.append(event)
        assert event.identifier.QueryRetrieveLevel == "PATIENT"
        assert event.is_cancelled is False
        yield 0xFF00, match()

    with serving_ae([(evt.EVT_C_FIND, find)]) as server, associated(server) as assoc:
        list(assoc.send_c_find(query(), PATIENT_ROOT_FIND, msg_id=3))
    assert events[0].message_id == 3
    with pytest.raises(AttributeError):
        events[0].dataset  # noqa: B018


def test_an_echo_event_has_no_data_set() -> None:
    events: Seen = []

    def echo(event: Event) -> int:
        events.append(event)
        return 0

    with serving_ae([(evt.EVT_C_ECHO, echo)]) as server, associated(server) as assoc:
        assoc.send_c_echo(msg_id=9)
    assert events[0].message_id == 9
    for name in ("dataset", "identifier", "file_meta", "dataset_path"):
        with pytest.raises(AttributeError):
            getattr(events[0], name)
    with pytest.raises(AttributeError):
        events[0].encoded_dataset()


def test_a_data_set_may_go_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomnet._config.STORE_RECV_CHUNKED_DATASET", True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen: list[Any] = []

    def store(event: Event) -> int:
        path = event.dataset_path
        assert isinstance(path, Path)
        seen.append((path, pydicom.dcmread(path), event.encoded_dataset()))
        assert event.encoded_dataset() == path.read_bytes()
        return 0

    image = ct_image(300_000)
    with serving_ae([(evt.EVT_C_STORE, store)]) as server, associated(server) as assoc:
        assert assoc.send_c_store(image).Status == 0
        ((path, read, _),) = seen
        assert read.PixelData == image.PixelData
        assert read.file_meta.TransferSyntaxUID == IMPLICIT_VR_LE
        wait_until(lambda: not path.exists())


def negotiate(items: list[Any], handlers: list[Any], established: bool = True) -> tuple[list[Any], bool]:
    with serving_ae(handlers) as server:
        with associated(server, ext_neg=items, must_be_established=False) as assoc:
            assert assoc.is_established is established
            return list(assoc.acceptor.user_information), assoc.is_rejected


@pytest.mark.parametrize(
    ("asked", "answer", "expected"),
    [
        ((5, 4), (3, 3), (3, 3)),
        ((5, 4), (9, 9), (5, 4)),
        ((5, 0), (0, 7), (5, 7)),
        ((0, 0), (0, 0), (0, 0)),
        ((5, 4), (-1, 1), (1, 1)),
        ((5, 4), None, (1, 1)),
        ((5, 4), ("x", 1), (1, 1)),
    ],
)
def test_a_window_is_asked_about_and_never_granted_wider(
    asked: tuple[int, int], answer: Any, expected: tuple[int, int]
) -> None:
    """Q002: the number granted is equal or less than the one proposed (PS3.7 D.3.3.3)."""
    item = AsynchronousOperationsWindowNegotiation()
    item.maximum_number_operations_invoked, item.maximum_number_operations_performed = asked
    seen: Seen = []

    def window(event: Event) -> Any:
        seen.append(event)
        return answer

    answers, _ = negotiate([item], [(evt.EVT_ASYNC_OPS, window)])
    assert (seen[0].nr_invoked, seen[0].nr_performed) == asked
    (granted,) = [a for a in answers if isinstance(a, AsynchronousOperationsWindowNegotiation)]
    got = granted.maximum_number_operations_invoked, granted.maximum_number_operations_performed
    assert got == expected


def test_the_default_handlers_are_known_as_in_pynetdicom() -> None:
    for event in evt.EVENTS.values():
        theirs = getattr(their_evt, event.name)
        if isinstance(event, NotificationEvent):
            with pytest.raises(KeyError):
                get_default_handler(event)  # type: ignore[arg-type]
            with pytest.raises(KeyError):
                their_evt.get_default_handler(theirs)
        else:
            assert callable(get_default_handler(event))
    with serving_ae() as server, associated(server) as assoc:
        for event in INTERVENTIONS:
            assert (
                server.get_handlers(event) == assoc.get_handlers(event) == (get_default_handler(event), None)
            )
        # Bound by a user they answer what they answer unbound.
        for event in (evt.EVT_C_ECHO, evt.EVT_C_STORE):
            server.bind(event, get_default_handler(event))
        assert assoc.send_c_echo().Status == 0
        assert assoc.send_c_store(ct_image()).Status == 0xC211


marker: ContextVar[str] = ContextVar("marker", default="unset")


@pytest.mark.parametrize("passes", [True, False])
def test_handlers_run_in_the_context_of_who_started_the_server(
    monkeypatch: pytest.MonkeyPatch, passes: bool
) -> None:
    monkeypatch.setattr(_config, "PASS_CONTEXTVARS", passes)
    seen: list[str] = []

    def requested(event: Event) -> None:
        seen.append(marker.get())
        if passes:
            marker.set("set by the first handler")

    def store(event: Event) -> int:
        seen.append(marker.get())
        return 0

    def find(event: Event) -> Any:
        seen.append(marker.get())
        yield 0xFF00, match()

    token = marker.set("set by the program")
    handlers: list[Any] = [(evt.EVT_REQUESTED, requested), (evt.EVT_C_STORE, store), (evt.EVT_C_FIND, find)]
    try:
        with serving_ae(handlers) as server, associated(server) as assoc:
            assert assoc.send_c_store(ct_image()).Status == 0
            assert [status.Status for status, _ in assoc.send_c_find(query(), PATIENT_ROOT_FIND)] == [
                0xFF00,
                0,
            ]
    finally:
        marker.reset(token)
    expected = ["set by the program", "set by the first handler", "set by the first handler"]
    assert seen == (expected if passes else ["unset"] * 3)
    assert marker.get() == "unset"


def test_extended_negotiation_is_asked_about_and_answered() -> None:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = UID(PATIENT_ROOT_FIND)
    item.service_class_application_information = b"\x01\x01"
    seen: Seen = []

    def extended(event: Event) -> dict[UID, bytes]:
        seen.append(event)
        return {UID(PATIENT_ROOT_FIND): b"\x01\x00"}

    answers, _ = negotiate([item], [(evt.EVT_SOP_EXTENDED, extended)])
    assert seen[0].app_info == {PATIENT_ROOT_FIND: b"\x01\x01"}
    (granted,) = [a for a in answers if isinstance(a, SOPClassExtendedNegotiation)]
    assert granted.service_class_application_information == b"\x01\x00"
    # Without a handler there is no answer.
    assert not [a for a in negotiate([item], [])[0] if isinstance(a, SOPClassExtendedNegotiation)]


@pytest.mark.parametrize("garbage", [None, 5, {"x": 1}, ValueError("a bug")])
def test_garbage_from_a_negotiation_handler_grants_nothing(garbage: object) -> None:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = UID(PATIENT_ROOT_FIND)
    item.service_class_application_information = b"\x01"

    def extended(event: Event) -> object:
        if isinstance(garbage, Exception):
            raise garbage
        return garbage

    answers, _ = negotiate([item], [(evt.EVT_SOP_EXTENDED, extended)])
    assert not [a for a in answers if isinstance(a, SOPClassExtendedNegotiation)]


def test_common_extended_negotiation_is_asked_about() -> None:
    item = SOPClassCommonExtendedNegotiation()
    item.sop_class_uid = UID(CT_IMAGE_STORAGE)
    item.service_class_uid = UID("1.2.840.10008.4.2")
    seen: Seen = []

    def common(event: Event) -> dict[UID, Any]:
        seen.append(event)
        return {}

    negotiate([item], [(evt.EVT_SOP_COMMON, common)])
    assert list(seen[0].items) == [CT_IMAGE_STORAGE]
    assert seen[0].items[UID(CT_IMAGE_STORAGE)].service_class_uid == "1.2.840.10008.4.2"


@pytest.mark.parametrize("wants_answer", [True, False])
def test_a_user_is_asked_about_and_answered(wants_answer: bool) -> None:
    item = UserIdentityNegotiation()
    item.user_identity_type = 2
    item.primary_field, item.secondary_field = b"user", b"secret"
    item.positive_response_requested = wants_answer
    seen: Seen = []

    def user(event: Event) -> tuple[bool, bytes | None]:
        seen.append(event)
        return True, b"welcome"

    negotiate([item], [(evt.EVT_USER_ID, user)])
    assert (seen[0].user_id_type, seen[0].primary_field, seen[0].secondary_field) == (2, b"user", b"secret")


@pytest.mark.parametrize("wants_answer", [True, False])
@pytest.mark.parametrize("identity_type", [1, 2, 3, 4, 5])
def test_each_kind_of_user_identity_is_answered_as_the_standard_says(
    identity_type: int, wants_answer: bool
) -> None:
    """Q007: an answer only where one is asked for, and an empty one to a user name (PS3.7 D.3.3.7.2)."""
    item = UserIdentityNegotiation()
    item.user_identity_type = identity_type
    item.primary_field, item.positive_response_requested = b"user", wants_answer
    if identity_type == 2:
        item.secondary_field = b"secret"
    answers, _ = negotiate([item], [(evt.EVT_USER_ID, lambda event: (True, b"welcome"))])
    given = [a.server_response for a in answers if isinstance(a, UserIdentityNegotiation)]
    assert given == ([b"welcome" if identity_type > 2 else b""] if wants_answer else [])


@pytest.mark.parametrize("answer", [(False, None), None, ValueError("a bug")])
def test_a_user_who_is_not_known_is_rejected(answer: object) -> None:
    item = UserIdentityNegotiation()
    item.user_identity_type = 1
    item.primary_field = b"user"

    def user(event: Event) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert negotiate([item], [(evt.EVT_USER_ID, user)], established=False)[1]


def test_an_event_takes_no_attributes_of_its_own_names() -> None:
    for name in ("assoc", "_event"):
        with pytest.raises(AttributeError):
            Event(None, evt.EVT_C_ECHO, {name: 1})


def test_triggering_an_intervention_that_nobody_answers_is_an_error() -> None:
    with serving_ae() as server, associated(server) as assoc:
        with pytest.raises(NotImplementedError):
            trigger(assoc, evt.EVT_C_FIND)
        assert trigger(assoc, evt.EVT_C_ECHO) == 0x0000
        assoc.bind(evt.EVT_C_ECHO, lambda event: event.number, None)
        assert trigger(assoc, evt.EVT_C_ECHO, {"number": 4}) == 4


def test_a_peer_that_never_associates_is_no_association() -> None:
    seen: Seen = []
    names = ("EVT_CONN_OPEN", "EVT_CONN_CLOSE", "EVT_REQUESTED", "EVT_ESTABLISHED")
    with serving_ae(watch(seen, *names)) as server:
        with RawPeer.connect(server.server_address[1]) as peer:
            wait_until(lambda: names_of(seen) == ["EVT_CONN_OPEN"])
            assert seen[0].address[0] == "127.0.0.1"
            assert seen[0].address[1] == peer.sock.getsockname()[1]
        wait_until(lambda: names_of(seen) == ["EVT_CONN_OPEN", "EVT_CONN_CLOSE"])


def test_what_is_notified_does_not_change_what_is_done() -> None:
    seen: Seen = []
    with serving_ae(watch(seen, *ATTRIBUTES)) as server, RawPeer.connect(server.server_address[1]) as peer:
        peer.send(request_pdu())
        assert peer.read_pdu()[0] == 2
        peer.send(echo_pdus() + RELEASE_RQ)
        assert [peer.read_pdu()[0] for _ in range(2)] == [4, 6]
