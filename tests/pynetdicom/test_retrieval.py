"""C-GET and C-MOVE in both faces: what handlers yield, cancelling, and destinations that fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.associations import associated, serving_ae
from tests.retrieving import (
    GET,
    MODELS,
    MOVE,
    PENDING,
    SCPS,
    SCUS,
    Response,
    ae_scp,
    answering,
    broken,
    counts,
    destination,
    identifier,
    image,
    of_pynetdicom,
    read,
    retrieve_by_ae,
    scps,
    slowly,
    stored,
    two_images,
)
from tests.scripted import accepting
from tests.sockets import (
    ABORT_BY_USER,
    CT_IMAGE_STORAGE,
    IMPLICIT_VR_LE,
    MR_IMAGE_STORAGE,
    VERIFICATION,
    RawPeer,
    raw_server,
)
from tests.support import wait_until

from dicomnet import AE, aio, build_context, build_role, evt
from dicomnet.errors import ServiceRefusal

SERVICES = ("C-GET", "C-MOVE")
scus = pytest.mark.parametrize("scu", SCUS.values(), ids=SCUS.keys())
services = pytest.mark.parametrize("service", SERVICES)


@scps
@scus
@services
def test_the_objects_arrive(scp: Any, scu: Any, service: str) -> None:
    """S038."""
    got: list[str] = []

    def keep(uid: str) -> int:
        got.append(uid)
        return 0

    with destination(keep) as port, scp(answering(service, two_images, port)) as scp_port:
        responses = scu(scp_port, service, keep)
    assert got == ["1.2.3.1", "1.2.3.2"]
    assert responses == [
        Response(0xFF00, {"Remaining": 1, "Completed": 1, "Failed": 0, "Warning": 0}, None),
        Response(0xFF00, {"Remaining": 0, "Completed": 2, "Failed": 0, "Warning": 0}, None),
        Response(0x0000, {"Completed": 2, "Failed": 0, "Warning": 0}, None),
    ]


@scps
@services
def test_a_file_is_sent_as_it_is(scp: Any, service: str, tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    # Odd elements behind the pixels, which pydicom would not write so.
    image(1).save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes() + bytes.fromhex("e07f1000 04000000 01020304"))
    data_set = path.read_bytes()
    got: list[bytes] = []

    def store(event: evt.Event) -> int:
        got.append(event.encoded_dataset(include_meta=False))
        return 0

    def parts(request: Any) -> Iterator[Any]:
        yield 2
        yield PENDING, path
        yield PENDING, str(path)

    with (
        serving_ae([(evt.EVT_C_STORE, store)]) as server,
        scp(answering(service, parts, server.server_address[1])) as scp_port,
        associated(
            scp_port,
            [(evt.EVT_C_STORE, store)],
            contexts=[build_context(uid) for uid in MODELS.values()]
            + [build_context(CT_IMAGE_STORAGE, IMPLICIT_VR_LE)],
            ext_neg=[build_role(CT_IMAGE_STORAGE, scp_role=True)],
        ) as assoc,
    ):
        found = (
            assoc.send_c_get(identifier(), GET)
            if service == "C-GET"
            else assoc.send_c_move(identifier(), "X", MOVE)
        )
        assert [status.Status for status, _ in found] == [0xFF00, 0xFF00, 0x0000]
    assert len(got) == 2
    assert all(data_set.endswith(each) and each for each in got)
    assert all(len(data_set) - len(each) < 500 for each in got)


@services
def test_an_asynchronous_generator(service: str) -> None:
    def handler(request: aio.Request) -> Any:
        first = [] if service == "C-GET" else [("127.0.0.1", port)]
        return slowly([*first, *two_images(request)])

    with destination() as port, SCPS["aio"]({service: handler}) as scp_port:
        assert counts(retrieve_by_ae(scp_port, service)[-1]) == (2, 0, 0)


def test_the_originator_and_the_priority_of_a_move() -> None:
    seen: list[Any] = []

    def store(event: evt.Event) -> int:
        seen.append(event.request)
        return 0

    for scp in SCPS.values():
        with serving_ae([(evt.EVT_C_STORE, store)]) as server:
            handlers = answering("C-MOVE", two_images, server.server_address[1])
            contexts = [build_context(MOVE)]
            with scp(handlers) as port, associated(port, contexts=contexts) as assoc:
                list(assoc.send_c_move(identifier(), "DESTINATION", MOVE, msg_id=77, priority=1))
    assert len(seen) == 4
    for request in seen:
        assert request.Priority == 1
        assert request.MoveOriginatorApplicationEntityTitle == "CLIENT"
        assert request.MoveOriginatorMessageID == 77
    assert len({request.MessageID for request in seen[:2]}) == 2


def test_the_event_of_a_move() -> None:
    seen: list[Any] = []

    def handler(event: evt.Event) -> Iterator[Any]:
        seen.append(
            (event.identifier.PatientID, event.move_destination, event.message_id, event.is_cancelled)
        )
        seen.append((event.event, event.request.Priority, event.context.abstract_syntax))
        yield None, None

    contexts = [build_context(MOVE)]
    with ae_scp({"C-MOVE": handler}) as port, associated(port, contexts=contexts) as assoc:
        list(assoc.send_c_move(identifier(), "WHERE", MOVE, msg_id=9))
    assert seen == [("1", "WHERE", 9, False), (evt.EVT_C_MOVE, 2, MOVE)]


def status(code: int, **elements: Any) -> Dataset:
    dataset = Dataset()
    dataset.Status = code
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def list_of(*uids: str) -> Dataset:
    dataset = Dataset()
    dataset.FailedSOPInstanceUIDList = list(uids)
    return dataset


def without_uid() -> Dataset:
    dataset = image(1)
    del dataset.SOPInstanceUID
    return dataset


class Case:
    """What a handler yields, and what is answered."""

    def __init__(self, parts: list[Any], final: int, ended: tuple[int, ...] | None = None) -> None:
        self.parts = parts
        self.final = final
        self.ended = ended

    def __call__(self, request: Any) -> Iterator[Any]:
        for part in self.parts:
            yield part() if part is broken else part


# Status and counts as in pynetdicom.
CASES = {
    "all": Case([1, (PENDING, image(1))], 0x0000, (1, 0, 0)),
    "with success": Case([1, (PENDING, image(1)), (0x0000, None)], 0x0000, (1, 0, 0)),
    "too many": Case([1, (PENDING, image(1)), (PENDING, image(2))], 0x0000, (1, 0, 0)),
    "none": Case([0], 0x0000, (0, 0, 0)),
    "none, and one more": Case([0, (PENDING, image(1))], 0x0000, (0, 0, 0)),
    "less than none": Case([-1], 0x0000, (0, 0, 0)),
    "no number": Case(["x"], -2),
    "nothing": Case([], -2),
    "raises at the number": Case([broken], -2),
    "raises at the first": Case([2, broken], -1, (0, 2, 0)),
    "raises later": Case([2, (PENDING, image(1)), broken], -1, (1, 1, 0)),
    "not a status": Case([2, ("x", image(1))], 0xC002, (0, 2, 0)),
    "without a status": Case([2, (Dataset(), image(1))], 0xC001, (0, 2, 0)),
    "no SOP Instance UID": Case([2, (PENDING, without_uid()), (PENDING, image(2))], 0xB000, (1, 1, 0)),
    "no object": Case([2, (PENDING, 7), (PENDING, image(2))], 0xB000),
    "a data set as status": Case([1, (status(0xFF00), image(1))], 0x0000, (1, 0, 0)),
    "no context": Case([1, (PENDING, image(1, MR_IMAGE_STORAGE))], 0xA702, (0, 1, 0)),
    "failure": Case([2, (PENDING, image(1)), (0xA702, None)], 0xA702, (1, 1, 0)),
    "failure with a list": Case([2, (PENDING, image(1)), (0xC001, list_of("1.9"))], 0xC001, (1, 1, 0)),
    "failure at once": Case([2, (0xA900, None)], 0xA900, (0, 2, 0)),
    "warning": Case([2, (PENDING, image(1)), (0xB000, list_of("1.9"))], 0xB000, (1, 1, 0)),
    "cancel": Case([2, (PENDING, image(1)), (0xFE00, list_of("1.9"))], 0xFE00, (1, 0, 0)),
    "cancel without a list": Case([2, (PENDING, image(1)), (0xFE00, None)], 0xFE00, (1, 0, 0)),
}
FAILED = {"C-GET": {-1: 0xC411, -2: 0xC413}, "C-MOVE": {-1: 0xC511, -2: 0xC513}}


@scps
@services
@pytest.mark.parametrize("name", CASES)
def test_what_a_handler_yields_becomes_what_it_becomes_in_pynetdicom(
    scp: Any, service: str, name: str
) -> None:
    case = CASES[name]
    expected = FAILED[service].get(case.final, case.final)
    with destination() as port:
        handlers = answering(service, case, port)
        with scp(handlers) as scp_port:
            final = retrieve_by_ae(scp_port, service)[-1]
        if scp is SCPS["AE"]:
            assert expected == of_pynetdicom(service, handlers[service], case.ended)
    assert final.status == expected
    assert case.ended is None or counts(final) == case.ended
    if name in ("failure with a list", "warning", "cancel"):
        assert final.failed == ("1.9",)


@scps
@services
@pytest.mark.parametrize(
    ("parts", "ended"),
    [
        ([3, (PENDING, image(1))], (1, 2, 0)),
        ([3, (PENDING, image(1)), (0x0000, None)], (1, 2, 0)),
        ([2, (PENDING, None), (PENDING, image(1))], (1, 1, 0)),
    ],
)
def test_what_was_counted_and_not_given_has_failed(
    scp: Any, service: str, parts: list[Any], ended: tuple[int, ...]
) -> None:
    """pynetdicom says success then."""
    with destination() as port, scp(answering(service, Case(parts, 0), port)) as scp_port:
        final = retrieve_by_ae(scp_port, service)[-1]
    assert (final.status, counts(final)) == (0xB000, ended)


@scps
@services
def test_a_pair_is_needed(scp: Any, service: str) -> None:
    """pynetdicom aborts the association then."""
    with destination() as port, scp(answering(service, Case([1, PENDING], 0), port)) as scp_port:
        final = retrieve_by_ae(scp_port, service)[-1]
    assert final.status == FAILED[service][-1]


@scps
@services
def test_without_a_handler(scp: Any, service: str) -> None:
    with scp({}) as port:
        (final,) = retrieve_by_ae(port, service)
    assert final.status == FAILED[service][-1]


@scps
@services
def test_a_handler_may_refuse_with_a_status(scp: Any, service: str) -> None:
    """S033."""

    def refuse(request: Any) -> Iterator[Any]:
        if not request.is_cancelled:
            raise ServiceRefusal(0xA701, "cannot count")
        yield 1

    with destination() as port, scp(answering(service, refuse, port)) as scp_port:
        (final,) = retrieve_by_ae(scp_port, service)
    assert final == Response(0xA701, {}, ())


@scps
def test_a_handler_is_closed_at_the_end(scp: Any) -> None:
    closed = threading.Event()

    def handler(request: Any) -> Iterator[Any]:
        try:
            yield 1
            yield PENDING, image(1)
            yield PENDING, image(2)
        finally:
            closed.set()

    with scp({"C-GET": handler}) as port:
        assert retrieve_by_ae(port, "C-GET")[-1].status == 0x0000
        assert closed.wait(10)


@scps
@scus
@pytest.mark.parametrize(
    ("answers", "final", "ended", "failed"),
    [
        ([0xB000, 0x0000], 0xB000, (1, 0, 1), ()),
        ([0xB007, 0xB006], 0xB000, (0, 0, 2), ()),
        ([0xA700, 0x0000], 0xB000, (1, 1, 0), ("1.2.3.1",)),
        ([0xC000, 0xA900], 0xA702, (0, 2, 0), ("1.2.3.1", "1.2.3.2")),
    ],
)
@services
def test_statuses_of_the_objects_are_counted(
    scp: Any,
    scu: Any,
    service: str,
    answers: list[int],
    final: int,
    ended: tuple[int, ...],
    failed: tuple[str, ...],
) -> None:
    """M020 S032."""
    left = list(answers)

    def store(uid: str) -> int:
        return left.pop(0)

    with destination(store) as port, scp(answering(service, two_images, port)) as scp_port:
        last = scu(scp_port, service, store)[-1]
    assert (last.status, counts(last), last.failed) == (final, ended, failed)


@scps
@scus
def test_a_handler_of_the_scu_that_raises_fails_its_object_only(scp: Any, scu: Any) -> None:
    def store(uid: str) -> int:
        if uid == "1.2.3.1":
            raise RuntimeError("broken")
        return 0

    with scp({"C-GET": two_images}) as port:
        last = scu(port, "C-GET", store)[-1]
    assert (last.status, counts(last), last.failed) == (0xB000, (1, 1, 0), ("1.2.3.1",))


@scps
@scus
def test_an_object_without_a_context_is_a_failed_sub_operation(scp: Any, scu: Any) -> None:
    """S037."""

    def parts(request: Any) -> Iterator[Any]:
        yield 3
        yield PENDING, image(1, MR_IMAGE_STORAGE)
        yield PENDING, image(2)
        yield PENDING, image(3, syntax="1.2.840.10008.1.2.4.50")

    with scp({"C-GET": parts}) as port:
        last = scu(port, "C-GET")[-1]
    assert (last.status, counts(last), last.failed) == (0xB000, (1, 2, 0), ("1.2.3.1", "1.2.3.3"))


@scps
def test_without_role_selection_no_object_can_be_sent(scp: Any) -> None:
    """S037."""
    contexts = [build_context(GET), build_context(CT_IMAGE_STORAGE, IMPLICIT_VR_LE)]
    with scp({"C-GET": two_images}) as port, associated(port, contexts=contexts) as assoc:
        responses = [read(*each) for each in assoc.send_c_get(identifier(), GET)]
        assert responses[-1].status == 0xA702
        assert assoc.is_established


@scps
def test_a_request_from_inside_an_iteration(scp: Any) -> None:
    """It gets its own response, and no object of the C-GET is lost."""
    got: list[str] = []

    def store(event: evt.Event) -> int:
        got.append(event.request.AffectedSOPInstanceUID)
        return 0

    contexts = [build_context(uid) for uid in MODELS.values()]
    contexts += [build_context(CT_IMAGE_STORAGE, IMPLICIT_VR_LE)]
    roles = [build_role(CT_IMAGE_STORAGE, scp_role=True)]
    with destination() as port:
        handlers = {"C-GET": two_images, **answering("C-MOVE", two_images, port)}
        with (
            scp(handlers) as scp_port,
            associated(
                scp_port, [(evt.EVT_C_STORE, store)], contexts=contexts, ext_neg=roles, properties={}
            ) as assoc,
        ):
            statuses: list[int] = []
            for outer, _ in assoc.send_c_get(identifier(), GET, msg_id=1):
                inner = [each.Status for each, _ in assoc.send_c_move(identifier(), "X", MOVE, msg_id=2)]
                assert inner == [0xFF00, 0xFF00, 0x0000]
                statuses.append(outer.Status)
            assert statuses == [0xFF00, 0xFF00, 0x0000]
    assert got == ["1.2.3.1", "1.2.3.2"]


def test_a_handler_of_the_scp_may_ask_elsewhere_in_between() -> None:
    with serving_ae() as other:

        def parts(event: evt.Event) -> Iterator[Any]:
            yield 2
            for number in (1, 2):
                with associated(other) as assoc:
                    assert assoc.send_c_echo().Status == 0
                    assoc.release()
                yield PENDING, image(number)

        with ae_scp({"C-GET": parts}) as port:
            assert counts(retrieve_by_ae(port, "C-GET")[-1]) == (2, 0, 0)


def test_a_handler_of_the_scu_may_ask_the_peer() -> None:
    """A C-STORE handler that sends a C-ECHO on the association of the C-GET."""
    answers: list[int] = []

    def store(event: evt.Event) -> int:
        answers.append(event.assoc.send_c_echo(msg_id=500).Status)
        return 0

    ae = AE("SCP")
    ae.add_supported_context(VERIFICATION)
    ae.add_supported_context(GET)
    ae.add_supported_context(CT_IMAGE_STORAGE, scu_role=True, scp_role=True)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_GET, two_images)])
    assert server is not None
    contexts = [build_context(uid) for uid in (VERIFICATION, GET, CT_IMAGE_STORAGE)]
    roles = [build_role(CT_IMAGE_STORAGE, scp_role=True)]
    try:
        with associated(server, [(evt.EVT_C_STORE, store)], contexts=contexts, ext_neg=roles) as assoc:
            final = [read(*each) for each in assoc.send_c_get(identifier(), GET)][-1]
    finally:
        ae.shutdown()
    assert (final.status, counts(final), answers) == (0x0000, (2, 0, 0), [0, 0])


def endless(request: Any) -> Iterator[Any]:
    yield 60_000
    for number in range(1, 60_001):
        yield PENDING, image(number)


@scps
@scus
@services
def test_a_cancel_in_the_middle(scp: Any, scu: Any, service: str) -> None:
    """S033 S038."""
    with destination() as port, scp(answering(service, endless, port)) as scp_port:
        final = scu(scp_port, service, stored, lambda count: count == 2)[-1]
    assert final.status == 0xFE00
    assert sum(final.counts.values()) == 60_000
    assert final.counts["Completed"] >= 2
    assert final.counts["Remaining"] > 50_000


@scps
@scus
@services
def test_a_cancel_while_the_handler_is_producing(scp: Any, scu: Any, service: str) -> None:
    """The handler sees it, and what it gives then is not sent."""

    def parts(request: Any) -> Iterator[Any]:
        yield 3
        yield PENDING, image(1)
        wait_until(lambda: request.is_cancelled)
        yield PENDING, image(2)

    with destination() as port, scp(answering(service, parts, port)) as scp_port:
        final = scu(scp_port, service, stored, lambda count: count == 1)[-1]
    assert final.status == 0xFE00
    assert final.counts == {"Remaining": 2, "Completed": 1, "Failed": 0, "Warning": 0}


@scps
@services
def test_a_loop_that_is_left_cancels(scp: Any, service: str) -> None:
    contexts = [build_context(uid) for uid in MODELS.values()]
    contexts += [build_context(CT_IMAGE_STORAGE, IMPLICIT_VR_LE)]
    roles = [build_role(CT_IMAGE_STORAGE, scp_role=True)]
    handlers: Any = [(evt.EVT_C_STORE, lambda event: 0)]
    with (
        destination() as port,
        scp(answering(service, endless, port)) as scp_port,
        associated(scp_port, handlers, contexts=contexts, ext_neg=roles) as assoc,
    ):
        found = (
            assoc.send_c_get(identifier(), GET)
            if service == "C-GET"
            else assoc.send_c_move(identifier(), "X", MOVE)
        )
        for _ in found:
            break
        del found
        assoc.release()
        assert assoc.is_released


def test_a_retrieve_without_an_accepted_context_is_the_callers_mistake() -> None:
    with serving_ae() as server, associated(server) as assoc:
        with pytest.raises(ValueError):
            assoc.send_c_get(identifier(), GET)
        with pytest.raises(ValueError):
            assoc.send_c_move(identifier(), "X", MOVE)
        assoc.release()
        with pytest.raises(RuntimeError):
            assoc.send_c_get(identifier(), GET)


@pytest.mark.parametrize("title", ["", " ", "A" * 17, "a\\b", None])
def test_a_destination_that_is_no_ae_title_is_the_callers_mistake(title: Any) -> None:
    with ae_scp({}) as port, associated(port, contexts=[build_context(MOVE)]) as assoc:
        with pytest.raises((ValueError, TypeError)):
            assoc.send_c_move(identifier(), title, MOVE)
        assert assoc.is_established


@services
def test_a_silent_peer_costs_the_dimse_time_out(service: str) -> None:
    """pynetdicom's process may freeze then (its issue 1004)."""
    with (
        raw_server(accepting(RawPeer.read_to_end)) as port,
        associated(
            port,
            contexts=[build_context(uid) for uid in MODELS.values()],
            # The second is how long the peer may take to close after the A-ABORT.
            properties={"dimse_timeout": 0.2, "acse_timeout": 2},
        ) as assoc,
    ):
        found = (
            assoc.send_c_get(identifier(), GET)
            if service == "C-GET"
            else assoc.send_c_move(identifier(), "X", MOVE)
        )
        assert list(found) == [(Dataset(), None)]
        assert assoc.is_aborted


def abort_the_request(peer: RawPeer) -> None:
    peer.read_pdu()
    peer.send(ABORT_BY_USER)


@services
def test_a_peer_that_aborts(service: str) -> None:
    with (
        raw_server(accepting(abort_the_request)) as port,
        associated(port, contexts=[build_context(uid) for uid in MODELS.values()]) as assoc,
    ):
        found = (
            assoc.send_c_get(identifier(), GET)
            if service == "C-GET"
            else assoc.send_c_move(identifier(), "X", MOVE)
        )
        assert list(found) == [(Dataset(), None)]
        assert assoc.is_aborted


def test_objects_that_come_one_at_a_time_have_a_time_out_each() -> None:
    """All of them together take longer than the time-out of a message."""

    def parts(request: Any) -> Iterator[Any]:
        yield 10
        for number in range(1, 11):
            threading.Event().wait(0.2)
            yield PENDING, image(number)

    contexts = [build_context(GET), build_context(CT_IMAGE_STORAGE, IMPLICIT_VR_LE)]
    handlers: Any = [(evt.EVT_C_STORE, lambda event: 0)]
    roles = [build_role(CT_IMAGE_STORAGE, scp_role=True)]
    patient = {"dimse_timeout": 1.6}
    with ae_scp({"C-GET": parts}) as port:
        with associated(port, handlers, contexts=contexts, ext_neg=roles, properties=patient) as assoc:
            final = [read(*each) for each in assoc.send_c_get(identifier(), GET)][-1]
    assert (final.status, counts(final)) == (0x0000, (10, 0, 0))
