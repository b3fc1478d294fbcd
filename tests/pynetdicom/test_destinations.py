"""Move destinations of both faces: how associations with them are requested, and what becomes of the objects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.associations import associated, serving_ae
from tests.retrieving import (
    JPEG,
    MOVE,
    PENDING,
    SCPS,
    Response,
    ae_scp,
    answering,
    broken,
    counts,
    destination,
    identifier,
    image,
    of_pynetdicom,
    retrieve_by_ae,
    scps,
    two_images,
)
from tests.sockets import (
    CT_IMAGE_STORAGE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    MR_IMAGE_STORAGE,
    make_certificates,
)
from tests.support import free_port, wait_until

from dicomnet import AE, build_context, evt
from dicomnet.drivers.files import StoredObject
from dicomnet.encoding.file_header import FileHeader
from dicomnet.errors import ServiceRefusal, UnusableObject
from dicomnet.exchange.contexts import NATIVE
from dicomnet.exchange.retrieval import DestinationPlan
from dicomnet.services.sop_classes import COMMON_STORAGE
from dicomnet.services.steps import SubOperation
from dicomnet.upper_layer.negotiation import (
    Agreement,
    NegotiatedContext,
)


@scps
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((None, None), 0xA801),
        ((None, None, None), 0xA801),
        ((None, 104), 0xA801),
        (("127.0.0.1",), 0xC515),
        ("xx", 0xC515),
        (7, 0xC515),
        (("a", "b"), 0xC515),
        (broken, 0xC514),
    ],
)
def test_a_destination_that_is_none(scp: Any, value: Any, expected: int) -> None:
    """S030: The statuses are those of pynetdicom."""

    def handler(request: Any) -> Iterator[Any]:
        yield value() if callable(value) else value
        yield 1

    with scp({"C-MOVE": handler}) as port:
        responses = retrieve_by_ae(port, "C-MOVE")
    if scp is SCPS["AE"]:
        assert of_pynetdicom("C-MOVE", handler, None) == expected
    assert [each.status for each in responses] == [expected]
    assert responses[0].failed == ()


@scps
def test_a_handler_that_ends_before_the_destination(scp: Any) -> None:
    def handler(request: Any) -> Iterator[Any]:
        yield from ()

    with scp({"C-MOVE": handler}) as port:
        assert retrieve_by_ae(port, "C-MOVE") == [Response(0xC514, {}, ())]


@scps
def test_a_destination_that_cannot_be_reached(scp: Any) -> None:
    """S030."""
    with scp(answering("C-MOVE", two_images, free_port())) as port:
        responses = retrieve_by_ae(port, "C-MOVE")
    assert [each.status for each in responses] == [0xA801]
    assert counts(responses[0]) == (0, 2, 0)
    assert responses[0].failed == ("1.2.3.1",)


@scps
def test_a_destination_that_rejects(scp: Any) -> None:
    ae = AE("OTHER")
    ae.require_called_aet = True
    ae.add_supported_context(CT_IMAGE_STORAGE)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    try:
        with scp(answering("C-MOVE", two_images, server.server_address[1])) as port:
            responses = retrieve_by_ae(port, "C-MOVE")
    finally:
        ae.shutdown()
    assert [each.status for each in responses] == [0xA801]


@scps
def test_a_destination_that_refuses_the_class_of_an_object(scp: Any) -> None:
    def parts(request: Any) -> Iterator[Any]:
        yield 3
        yield PENDING, image(1, MR_IMAGE_STORAGE)
        yield PENDING, image(2)
        yield PENDING, image(3, syntax="1.2.840.10008.1.2.4.50")

    with destination() as port, scp(answering("C-MOVE", parts, port)) as scp_port:
        final = retrieve_by_ae(scp_port, "C-MOVE")[-1]
    assert (final.status, counts(final), final.failed) == (0xB000, (1, 2, 0), ("1.2.3.1", "1.2.3.3"))


def five_images(request: Any) -> Iterator[Any]:
    yield 5
    for number in range(1, 6):
        yield PENDING, image(number)


def aborting(at: Callable[[int], bool]) -> Any:
    """A storage SCP that aborts for some objects, by their number."""

    def store(event: evt.Event) -> int:
        if at(int(event.request.AffectedSOPInstanceUID.rpartition(".")[2])):
            event.assoc.abort()
        return 0

    return serving_ae([(evt.EVT_C_STORE, store)])


@scps
def test_a_destination_that_aborts_midway(scp: Any) -> None:
    """S036: The object that it was for has failed; the others go over a new association."""
    with (
        aborting(lambda number: number == 3) as server,
        scp(answering("C-MOVE", five_images, server.server_address[1])) as port,
    ):
        final = retrieve_by_ae(port, "C-MOVE")[-1]
    assert (final.status, counts(final), final.failed) == (0xB000, (4, 1, 0), ("1.2.3.3",))


@scps
def test_a_destination_that_aborts_for_each_object(scp: Any) -> None:
    """It is given up after a few."""
    with (
        aborting(lambda number: True) as server,
        scp(answering("C-MOVE", five_images, server.server_address[1])) as port,
    ):
        responses = retrieve_by_ae(port, "C-MOVE")
    assert responses[-1].status == 0xA702
    assert counts(responses[-1]) == (0, 5, 0)
    assert len(responses) == 3


@scps
def test_a_destination_that_goes_away(scp: Any) -> None:
    """S036."""
    ae = AE()
    ae.add_supported_context(CT_IMAGE_STORAGE)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0)])
    assert server is not None

    def parts(request: Any) -> Iterator[Any]:
        yield 3
        yield PENDING, image(1)
        ae.shutdown()
        yield PENDING, image(2)
        yield PENDING, image(3)

    with scp(answering("C-MOVE", parts, server.server_address[1])) as port:
        final = retrieve_by_ae(port, "C-MOVE")[-1]
    assert (final.status, counts(final)) == (0xB000, (1, 2, 0))


@scps
def test_the_destination_is_aborted_when_the_requestor_is_gone(scp: Any) -> None:
    ended = threading.Event()
    may_go_on = threading.Event()

    def parts(request: Any) -> Iterator[Any]:
        yield 2
        yield PENDING, image(1)
        may_go_on.wait(10)
        yield PENDING, image(2)

    handlers: Any = [(evt.EVT_C_STORE, lambda event: 0), (evt.EVT_ABORTED, lambda event: ended.set())]
    handlers.append((evt.EVT_RELEASED, lambda event: ended.set()))
    with serving_ae(handlers) as server, scp(answering("C-MOVE", parts, server.server_address[1])) as port:
        with associated(port, contexts=[build_context(MOVE)]) as assoc:
            for _ in assoc.send_c_move(identifier(), "X", MOVE):
                assoc.abort()
                break
        may_go_on.set()
        assert ended.wait(10)
        # The SCP serves the next one.
        assert counts(retrieve_by_ae(port, "C-MOVE")[-1]) == (2, 0, 0)


@scps
def test_a_destination_with_tls(scp: Any, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    handlers: Any = [(evt.EVT_C_STORE, lambda event: 0)]
    with serving_ae(handlers, tls=certificates.server()) as server:

        def handler(request: Any) -> Iterator[Any]:
            yield "localhost", server.server_address[1], {"tls_args": (certificates.client(), "localhost")}
            yield from two_images(request)

        with scp({"C-MOVE": handler}) as port:
            assert counts(retrieve_by_ae(port, "C-MOVE")[-1]) == (2, 0, 0)


def test_the_options_of_a_destination() -> None:
    """They are those of `AE.associate`; contexts that are given are the only ones."""
    called: list[Any] = []

    def parts(request: Any) -> Iterator[Any]:
        yield 2
        yield PENDING, image(1)
        yield PENDING, image(2, MR_IMAGE_STORAGE)

    def accepted(event: evt.Event) -> None:
        assert event.assoc.requestor.primitive is not None
        called.append(event.assoc.requestor.primitive.called_ae_title)
        called.append([each.abstract_syntax for each in event.assoc.requestor.requested_contexts])

    handlers: Any = [(evt.EVT_C_STORE, lambda event: 0), (evt.EVT_ACCEPTED, accepted)]
    with serving_ae(handlers, uids=(CT_IMAGE_STORAGE, MR_IMAGE_STORAGE)) as server:

        def handler(request: Any) -> Iterator[Any]:
            options = {"ae_title": "NAMED", "contexts": [build_context(CT_IMAGE_STORAGE)]}
            yield "127.0.0.1", server.server_address[1], options
            yield from parts(request)

        with ae_scp({"C-MOVE": handler}) as port:
            final = retrieve_by_ae(port, "C-MOVE")[-1]
    assert (final.status, counts(final), final.failed) == (0xB000, (1, 1, 0), ("1.2.3.2",))
    assert called == ["NAMED", [CT_IMAGE_STORAGE]]


def test_options_that_associate_does_not_take() -> None:
    def handler(request: Any) -> Iterator[Any]:
        yield "127.0.0.1", 104, {"no_such_option": 1}
        yield from two_images(request)

    with ae_scp({"C-MOVE": handler}) as port:
        assert retrieve_by_ae(port, "C-MOVE")[-1].status == 0xC515


@scps
def test_a_new_need_is_negotiated_on_a_new_association(scp: Any) -> None:
    """The first one proposes the common storage classes, so that most needs are there already."""
    private = "1.2.826.0.1.3680043.9.9999.1"
    associations: list[Any] = []

    def parts(request: Any) -> Iterator[Any]:
        yield 5
        for number, uid in enumerate(
            (CT_IMAGE_STORAGE, MR_IMAGE_STORAGE, private, CT_IMAGE_STORAGE, private)
        ):
            yield PENDING, image(number + 1, uid)

    handlers: Any = [
        (evt.EVT_C_STORE, lambda event: 0),
        (evt.EVT_ACCEPTED, lambda event: associations.append(event.assoc)),
    ]
    with serving_ae(handlers, uids=(CT_IMAGE_STORAGE, MR_IMAGE_STORAGE, private)) as server:
        with scp(answering("C-MOVE", parts, server.server_address[1])) as port:
            final = retrieve_by_ae(port, "C-MOVE")[-1]
        assert (final.status, counts(final)) == (0x0000, (5, 0, 0))
        assert len(associations) == 2
        wait_until(lambda: all(each.is_released for each in associations))


def agreed(*contexts: tuple[str, str]) -> Agreement:
    """An agreement with these abstract and transfer syntaxes."""
    return Agreement(
        {
            number: NegotiatedContext(number, uid, 0, syntax, True, False)
            for number, (uid, syntax) in enumerate(contexts)
        }
    )


def object_of(sop_class: str, syntax: str = JPEG) -> SubOperation:
    return SubOperation(image(1, sop_class, syntax), "1.2.3.1")


def file_of(sop_class: str, syntax: str) -> SubOperation:
    return SubOperation(StoredObject("path", FileHeader(sop_class, "1.2.3.1", syntax, 0), 2), "1.2.3.1")


class TestDestinationPlan:
    def test_the_common_storage_classes_are_proposed_first(self) -> None:
        plan = DestinationPlan()
        assert plan.learn(object_of(CT_IMAGE_STORAGE, EXPLICIT_VR_LE), None)
        assert plan.proposals[:2] == [
            (CT_IMAGE_STORAGE, (EXPLICIT_VR_LE,)),
            (CT_IMAGE_STORAGE, NATIVE),
        ]
        assert {uid for uid, _ in plan.proposals} == set(COMMON_STORAGE)
        assert len(plan.proposals) == len(COMMON_STORAGE) + 1

    def test_a_data_set_may_be_encoded_in_any_native_transfer_syntax(self) -> None:
        plan = DestinationPlan()
        agreement = agreed((MR_IMAGE_STORAGE, IMPLICIT_VR_LE))
        assert not plan.learn(object_of(MR_IMAGE_STORAGE, EXPLICIT_VR_LE), agreement)
        assert plan.learn(object_of(MR_IMAGE_STORAGE), agreement)

    def test_a_file_wants_to_be_sent_as_it_is(self) -> None:
        plan = DestinationPlan()
        agreement = agreed((MR_IMAGE_STORAGE, IMPLICIT_VR_LE))
        assert not plan.learn(file_of(MR_IMAGE_STORAGE, IMPLICIT_VR_LE), agreement)
        assert plan.learn(file_of(MR_IMAGE_STORAGE, EXPLICIT_VR_LE), agreement)
        # It was asked for once, and refused.
        assert not plan.learn(file_of(MR_IMAGE_STORAGE, EXPLICIT_VR_LE), agreement)

    def test_what_cannot_be_sent_needs_nothing(self) -> None:
        plan = DestinationPlan()
        assert not plan.learn(SubOperation(UnusableObject("no")), None)
        assert not plan.learn(SubOperation(Dataset()), None)
        assert not plan.learn(file_of("no uid", IMPLICIT_VR_LE), None)

    def test_there_are_never_more_than_an_association_has_room_for(self) -> None:
        plan = DestinationPlan()
        for number in range(200):
            assert plan.learn(object_of(f"1.2.{number + 1}"), None)
            assert len(plan.proposals) <= 128
        assert plan.proposals[0][0] == "1.2.200"
        # What found no room any more is proposed again when it is needed again.
        assert plan.learn(object_of("1.2.1"), None)

    def test_given_contexts_are_all(self) -> None:
        plan = DestinationPlan([("1.2.3", NATIVE)], is_fixed=True)
        assert not plan.learn(object_of("1.2.4"), None)
        assert plan.proposals == [("1.2.3", NATIVE)]

    def test_losses_in_a_row_end_it(self) -> None:
        plan = DestinationPlan()
        for _ in range(3):
            plan.lost()
            plan.lost()
            plan.answered()
        plan.lost()
        plan.lost()
        with pytest.raises(ServiceRefusal):
            plan.lost()
