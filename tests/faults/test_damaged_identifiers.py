"""Identifiers of requests that are damaged: nothing is searched for, since without its key a query selects all."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from tests.retrieving import GET, MOVE, SCPS
from tests.sockets import PATIENT_ROOT_FIND, RawPeer, request_pdu

from dicomnet import AE, evt

from .test_bad_values import Answered, element, node, pdus

LEVEL = element(0x00080052, b"PATIENT ")
DAMAGED = {
    "a header cut off": LEVEL + struct.pack("<HHH", 0x10, 0x20, 6),
    "a tag alone": LEVEL + b"\x10\0\x20\0",
    "longer than there is": LEVEL + struct.pack("<HHL", 0x10, 0x20, 900) + b"NOBODY",
    "one byte too few": LEVEL + struct.pack("<HHL", 0x10, 0x20, 6) + b"NOBOD",
    "the level too long": struct.pack("<HHL", 8, 0x52, 90) + b"PATIENT ",
    "explicit VR": b"\x08\0\x52\0CS\x08\0PATIENT \x10\0\x20\0LO\x06\0NOBODY",
    "garbage": b"\x99" * 41,
}
SERVICES = {"C-FIND": (0x20, PATIENT_ROOT_FIND), "C-GET": (0x10, GET), "C-MOVE": (0x21, MOVE)}
damages = pytest.mark.parametrize("damage", DAMAGED)


def ask(port: int, service: str, data: bytes) -> list[int]:
    """The statuses of the responses."""
    field, uid = SERVICES[service]
    given = {"Destination": b"X "} if service == "C-MOVE" else {}
    with RawPeer.connect(port) as peer:
        peer.send(request_pdu((1, uid)))
        assert peer.read_pdu()[0] == 2
        peer.send(pdus(1, data, Field=field, ID=7, Priority=0, AffectedClass=uid.encode(), **given))
        statuses = [Answered.of(peer.read_pdu()).status]
        while statuses[-1] in (0xFF00, 0xFF01):
            statuses.append(Answered.of(peer.read_pdu()).status)
    return statuses


@damages
def test_the_node_searched_for_what_was_left_of_an_identifier(damage: str, tmp_path: Path) -> None:
    with node(tmp_path) as port:
        assert ask(port, "C-FIND", LEVEL + element(0x00100020, b"NOBODY")) == [0x0000]
        assert ask(port, "C-FIND", DAMAGED[damage]) == [0xC000]


@damages
@pytest.mark.parametrize("service", ["C-GET", "C-MOVE"])
@pytest.mark.parametrize("scp", SCPS)
def test_a_handler_got_what_was_left_of_an_identifier(scp: str, service: str, damage: str) -> None:
    seen: list[Any] = []

    def handler(request: Any) -> Any:
        seen.append(request.identifier if scp == "AE" else request.dataset)
        yield 0xFF00, seen[-1]

    with SCPS[scp]({service: handler}) as port:
        (status,) = ask(port, service, DAMAGED[damage])
    assert not seen
    assert status & 0xF000 == 0xC000


@damages
def test_a_handler_of_queries_got_what_was_left_of_an_identifier(damage: str) -> None:
    seen: list[Any] = []

    def handler(event: evt.Event) -> Any:
        seen.append(event.identifier)
        yield 0xFF00, seen[-1]

    ae = AE()
    ae.add_supported_context(PATIENT_ROOT_FIND)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, handler)])
    assert server is not None
    try:
        assert ask(server.server_address[1], "C-FIND", DAMAGED[damage]) == [0xC000]
    finally:
        server.shutdown()
    assert not seen
