"""What a peer sees on the wire of an acceptor, by the rows of PS3.7 and PS3.8 that no other test shows byte by byte."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tests.associations import associated, match, serving_ae
from tests.sockets import (
    CT_IMAGE_STORAGE,
    PATIENT_ROOT_FIND,
    QUERY,
    VERIFICATION,
    RawPeer,
    cancel_pdus,
    echo_pdus,
    find_pdus,
    request_pdu,
    status_of,
    store_pdus,
)
from tests.support import wait_until

from dicomnet import evt
from dicomnet.dimse.codec import decode_command, encode_command
from dicomnet.dimse.messages import C_ECHO_RQ, C_STORE_RQ
from dicomnet.pynetdicom.events import Event
from dicomnet.pynetdicom.transport import AssociationServer
from dicomnet.wire.fragmenter import fragment
from dicomnet.wire.pdu import Abort

CONTEXTS = ((1, VERIFICATION), (3, CT_IMAGE_STORAGE), (5, PATIENT_ROOT_FIND))
DATA_SET = b"\x10\x00\x20\x00\x02\x00\x00\x00ID"


@contextlib.contextmanager
def established(server: AssociationServer) -> Iterator[RawPeer]:
    with RawPeer.connect(server.server_address[1]) as peer:
        peer.send(request_pdu(*CONTEXTS))
        assert peer.read_pdu()[0] == 2
        yield peer


def command_of(pdu: bytes) -> dict[str, Any]:
    return dict(decode_command(pdu[12:])[1])


def command_pdu(context_id: int, encoded: bytes) -> bytes:
    return b"".join(fragment(context_id, encoded, 16384, is_command=True))


def test_a_response_belongs_to_its_request() -> None:
    """M005 M007: it has the context, the message ID, the class and the instance of the request."""
    with serving_ae([(evt.EVT_C_STORE, lambda event: 0xB007)]) as server, established(server) as peer:
        for message_id in (1, 65535, 0):
            peer.send(store_pdus(DATA_SET, context_id=3, message_id=message_id))
            pdu = peer.read_pdu()
            command = command_of(pdu)
            assert pdu[10] == 3
            assert decode_command(pdu[12:])[0].command_field == 0x8001
            assert command["MessageIDBeingRespondedTo"] == message_id
            assert command["AffectedSOPClassUID"] == CT_IMAGE_STORAGE
            assert command["AffectedSOPInstanceUID"] == "1.2.3.4.5"
            assert command["Status"] == 0xB007


def test_an_echo_is_answered_without_a_data_set() -> None:
    """M012."""
    with serving_ae([(evt.EVT_C_ECHO, lambda event: None)]) as server, established(server) as peer:
        peer.send(echo_pdus(7))
        pdu = peer.read_pdu()
        _, command, has_data = decode_command(pdu[12:])
        assert (command["Status"], has_data, pdu[11]) == (0, False, 3)


def test_matches_have_identifiers_and_the_final_response_has_none() -> None:
    """M016."""

    def find(event: Event) -> Iterator[tuple[int, Any]]:
        yield 0xFF00, match()
        yield 0xFF01, match()

    with serving_ae([(evt.EVT_C_FIND, find)]) as server, established(server) as peer:
        peer.send(find_pdus(QUERY, context_id=5))
        seen: list[tuple[int, bool]] = []
        while not seen or seen[-1][0] & 0xFF00 == 0xFF00:
            pdu = peer.read_pdu()
            _, command, has_data = decode_command(pdu[12 : 10 + int.from_bytes(pdu[6:10], "big")])
            seen.append((command["Status"], has_data))
            if has_data and len(pdu) == 10 + int.from_bytes(pdu[6:10], "big"):
                peer.read_pdu()
        assert seen == [(0xFF00, True), (0xFF01, True), (0x0000, False)]


def test_a_cancel_of_nothing_has_no_response() -> None:
    """M013."""
    with serving_ae() as server, established(server) as peer:
        peer.send(cancel_pdus(99, 5) + echo_pdus(8))
        assert command_of(peer.read_pdu())["MessageIDBeingRespondedTo"] == 8


@pytest.mark.parametrize(
    ("keyword", "status"),
    [
        ("AffectedSOPClassUID", 0x0122),
        ("AffectedSOPInstanceUID", 0x0117),
        ("MessageID", None),
    ],
)
def test_a_request_without_a_mandatory_element_is_refused(keyword: str, status: int | None) -> None:
    """M010: and nothing is performed. Only one that cannot be answered ends the association.

    A Priority that is missing has no effect, and some peers leave it out.
    """
    seen: list[Event] = []
    command: dict[str, Any] = {
        "AffectedSOPClassUID": CT_IMAGE_STORAGE,
        "MessageID": 1,
        "Priority": 0,
        "AffectedSOPInstanceUID": "1.2.3",
    }
    whole = encode_command(C_STORE_RQ, command, True)
    tags = {
        "AffectedSOPClassUID": 0x02,
        "MessageID": 0x110,
        "Priority": 0x700,
        "AffectedSOPInstanceUID": 0x1000,
    }
    at = 0
    while int.from_bytes(whole[at + 2 : at + 4], "little") != tags[keyword]:
        at += 8 + int.from_bytes(whole[at + 4 : at + 8], "little")
    end = at + 8 + int.from_bytes(whole[at + 4 : at + 8], "little")
    with serving_ae([(evt.EVT_C_STORE, seen.append)]) as server, established(server) as peer:
        peer.send(command_pdu(3, whole[:at] + whole[end:]))
        if status is None:
            assert peer.read_pdu() == Abort(2, 6).encode()
            wait_until(lambda: not any(each.is_established for each in server.active_associations))
        else:
            peer.send(b"".join(fragment(3, DATA_SET, 16384, is_command=False)))
            assert command_of(peer.read_pdu())["Status"] == status
            peer.send(echo_pdus(2))
            assert command_of(peer.read_pdu())["Status"] == 0x0000
    assert seen == []


@pytest.mark.parametrize("priority", [0, 1, 2, 3, 0xFFFF])
def test_any_priority_is_taken(priority: int) -> None:
    """M023."""
    whole = store_pdus(DATA_SET, context_id=3)
    at = whole.index(b"\x00\x00\x00\x07\x02\x00\x00\x00") + 8
    changed = whole[:at] + priority.to_bytes(2, "little") + whole[at + 2 :]
    with serving_ae([(evt.EVT_C_STORE, lambda event: 0)]) as server, established(server) as peer:
        peer.send(changed)
        assert status_of(peer.read_pdu()) == 0


@pytest.mark.parametrize("context_id", [3, 7, 2])
def test_a_message_on_another_context_is_refused_or_ends_the_association(context_id: int) -> None:
    """P054 M009: of another SOP class, not proposed, or even."""
    encoded = encode_command(C_ECHO_RQ, {"AffectedSOPClassUID": VERIFICATION, "MessageID": 1}, False)
    with serving_ae() as server, established(server) as peer:
        peer.send(command_pdu(1, encoded).replace(b"\x01\x03", bytes((context_id, 3)), 1))
        pdu = peer.read_pdu()
        if context_id == 3:
            assert status_of(pdu) == 0x0122
            peer.send(echo_pdus())
            assert status_of(peer.read_pdu()) == 0
        else:
            assert pdu == Abort(2, 6).encode()


def test_requests_of_one_id_are_each_answered_in_their_order() -> None:
    """M006: what waits behind a request is not outstanding here before it is performed."""
    numbers = iter(range(3))
    with serving_ae([(evt.EVT_C_STORE, lambda event: 0xB000 + next(numbers))]) as server:
        with established(server) as peer:
            peer.send(store_pdus(DATA_SET, context_id=3) * 3)
            assert [status_of(peer.read_pdu()) for _ in range(3)] == [0xB000, 0xB001, 0xB002]


def test_small_segments_are_not_held_back() -> None:
    """P025: Nagle's algorithm is off on both sides."""
    options: list[int] = []

    def established_(event: Event) -> None:
        dul: Any = event.assoc.dul
        options.append(dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    handlers = [(evt.EVT_ESTABLISHED, established_)]
    with serving_ae(handlers) as server, associated(server, handlers):
        wait_until(lambda: len(options) == 2)
    assert all(options)
