"""C-GET and C-MOVE with peers, handlers and options that are at fault, in both faces."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.associations import associated, link_of
from tests.retrieving import (
    GET,
    MOVE,
    PENDING,
    SCPS,
    destination,
    identifier,
    image,
    retrieve_by_ae,
)
from tests.sockets import (
    CT_IMAGE_STORAGE,
    IMPLICIT_VR_LE,
    PATIENCE,
    PATIENT_ROOT_FIND,
    RawPeer,
    message_pdus,
)

from dicomnet import AE, build_context, build_role, evt
from dicomnet.datasets.codec import encode
from dicomnet.dimse.codec import decode_command
from dicomnet.dimse.messages import C_MOVE_RQ, Message
from dicomnet.wire.items import ProposedContext
from dicomnet.wire.pdu import AssociateRQ

scps = pytest.mark.parametrize("scp", SCPS.values(), ids=SCPS.keys())


def two_images(request: Any) -> Iterator[Any]:
    yield 2
    for number in (1, 2):
        yield PENDING, image(number)


def moving_to(port: int) -> Callable[[Any], Iterator[Any]]:
    def handler(request: Any) -> Iterator[Any]:
        yield "127.0.0.1", port
        yield from two_images(request)

    return handler


@scps
@pytest.mark.parametrize("title", ["A\\B", "AÉ"])
def test_an_originator_whose_title_has_no_place_in_a_command_gets_its_objects(scp: Any, title: str) -> None:
    """Its C-MOVE ended the association."""
    with destination() as there, scp({"C-MOVE": moving_to(there)}) as port:
        with RawPeer(socket.create_connection(("127.0.0.1", port))) as peer:
            asked = AssociateRQ("SCP", "NOBODY", (ProposedContext(1, MOVE, (IMPLICIT_VR_LE,)),), ())
            peer.send(asked.encode().replace(b"NOBODY", title.encode("latin-1").ljust(6)))
            assert peer.read_pdu()[:1] == b"\x02"
            command = {
                "AffectedSOPClassUID": MOVE,
                "MessageID": 1,
                "Priority": 0,
                "MoveDestination": "DESTINATION",
            }
            data = encode(identifier(), True, True)
            peer.send(message_pdus(Message(C_MOVE_RQ, command, 1, data)))
            responses = [decode_command(peer.read_pdu()[12:])[1]["Status"] for _ in range(3)]
    assert responses == [PENDING, PENDING, 0x0000]


@scps
def test_an_object_that_is_not_answered_in_time_ends_the_association(scp: Any) -> None:
    """In asyncio the next object was sent, and each cost the time-out again."""
    begun, released = threading.Event(), threading.Event()
    arrived: list[str] = []

    def store(event: evt.Event) -> int:
        arrived.append(event.request.AffectedSOPInstanceUID)
        begun.set()
        released.wait(PATIENCE)
        return 0

    contexts = [build_context(GET), build_context(CT_IMAGE_STORAGE, IMPLICIT_VR_LE)]
    roles = [build_role(CT_IMAGE_STORAGE, scp_role=True)]
    with scp({"C-GET": two_images}, dimse_timeout=0.2) as port:
        with associated(port, [(evt.EVT_C_STORE, store)], contexts=contexts, ext_neg=roles) as assoc:
            link = link_of(assoc)
            reader = threading.Thread(target=lambda: list(assoc.send_c_get(identifier(), GET)))
            reader.start()
            assert begun.wait(PATIENCE)
            # The peer's abort is on its way to us while the handler still waits.
            assert select.select([link.channel.sock], [], [], PATIENCE)[0]
            released.set()
            reader.join(PATIENCE)
            assert assoc.is_aborted
    assert len(arrived) == 1


@scps
def test_tls_arguments_that_are_none(scp: Any) -> None:
    """They ended the association of the request."""

    def handler(request: Any) -> Iterator[Any]:
        yield "127.0.0.1", there, {"tls_args": ("a context is missing",)}
        yield from two_images(request)

    with destination() as there, scp({"C-MOVE": handler}) as port:
        assert retrieve_by_ae(port, "C-MOVE")[-1].status == 0xC515


def test_a_handler_may_query_with_the_message_id_of_the_retrieval_it_belongs_to() -> None:
    """Both had Message ID 1, as by default, and the final response of the C-GET answered nobody."""

    def find(event: evt.Event) -> Iterator[Any]:
        for _ in range(3):
            yield PENDING, identifier()

    found: list[list[int]] = []

    def store(event: evt.Event) -> int:
        query = event.assoc.send_c_find(identifier(), PATIENT_ROOT_FIND)
        found.append([status.Status for status, _ in query])
        return 0

    ae = AE("SCP")
    for uid in (GET, PATIENT_ROOT_FIND):
        ae.add_supported_context(uid)
    ae.add_supported_context(CT_IMAGE_STORAGE, scu_role=True, scp_role=True)
    handlers: Any = [(evt.EVT_C_GET, two_images), (evt.EVT_C_FIND, find)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    contexts = [build_context(uid) for uid in (GET, PATIENT_ROOT_FIND, CT_IMAGE_STORAGE)]
    roles = [build_role(CT_IMAGE_STORAGE, scp_role=True)]
    bound: Any = [(evt.EVT_C_STORE, store)]
    patient = {"dimse_timeout": 3}
    try:
        with associated(server, bound, contexts=contexts, ext_neg=roles, properties=patient) as assoc:
            statuses = [status.get("Status") for status, _ in assoc.send_c_get(identifier(), GET)]
    finally:
        ae.shutdown()
    assert statuses == [PENDING, PENDING, 0x0000]
    assert found == [[PENDING] * 3 + [0x0000]] * 2
