"""Identifiers and information of requests that are damaged: what is left of one says something else than was meant."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.associations import serving_ae
from tests.interop.peers import aio_server
from tests.retrieving import GET, MOVE, SCPS
from tests.sockets import IMPLICIT_VR_LE, PATIENT_ROOT_FIND, RawPeer, request_pdu

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


COMMITMENT, PROCEDURE_STEP = "1.2.840.10008.1.20.1", "1.2.840.10008.3.1.2.3.3"
# Command field, SOP class, the parameters that are needed, and where an AE's handler reads the data set.
NORMALIZED: dict[str, tuple[int, str, dict[str, Any], str]] = {
    "N-ACTION": (0x130, COMMITMENT, {"RequestedInstance": b"1.2.3", "ActionType": 1}, "action_information"),
    "N-EVENT-REPORT": (
        0x100,
        COMMITMENT,
        {"AffectedInstance": b"1.2.3", "EventType": 1},
        "event_information",
    ),
    "N-SET": (0x120, PROCEDURE_STEP, {"RequestedInstance": b"1.2.3"}, "modification_list"),
    "N-CREATE": (0x140, PROCEDURE_STEP, {"AffectedInstance": b"1.2.3"}, "attribute_list"),
}
REFERENCE = element(0x00081150, b"1.2\0") + element(0x00081155, b"1.2.3\0")
ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, len(REFERENCE)) + REFERENCE
INFORMATION = element(0x00081195, b"1.2.3\0") + element(0x00081199, ITEM * 2)
CUT = {
    "inside of the last value": INFORMATION[:-3],
    "behind the first item": INFORMATION[: -len(ITEM)],
    "inside of a header": INFORMATION[: -len(REFERENCE) - 4],
    "behind a tag": INFORMATION + b"\x40\0\x52\2",
    "in a sequence without a length": element(0x00081195, b"1.2\0")
    + b"\x08\0\x99\x11\xff\xff\xff\xff"
    + ITEM,
}


@pytest.mark.parametrize("service", NORMALIZED)
@pytest.mark.parametrize("face", ["AE", "aio"])
def test_a_handler_got_what_was_left_of_the_information_of_a_request(face: str, service: str) -> None:
    field, uid, parameters, attribute = NORMALIZED[service]
    seen: list[int] = []

    def handler(request: Any) -> Any:
        dataset = getattr(request, attribute) if face == "AE" else request.dataset
        seen.append(len(dataset.ReferencedSOPSequence))
        return 0, None

    prefix = "Affected" if "AffectedInstance" in parameters else "Requested"
    given = {f"{prefix}Class": uid.encode(), **parameters}
    with performing(face, uid, service, handler) as port, RawPeer.connect(port) as peer:
        peer.send(request_pdu((1, uid)))
        assert peer.read_pdu()[0] == 2
        for number, data in enumerate([INFORMATION, *CUT.values()]):
            peer.send(pdus(1, data, Field=field, ID=number + 1, **given))
            assert Answered.of(peer.read_pdu()).status == (0x0110 if number else 0)
    assert seen == [2]


@contextmanager
def performing(face: str, uid: str, service: str, handler: Any) -> Iterator[int]:
    """A server that performs one operation; gives its port."""
    if face == "aio":
        with aio_server({uid: [IMPLICIT_VR_LE]}, {service: handler}) as port:
            yield port
        return
    with serving_ae([(evt.EVENTS[f"EVT_{service.replace('-', '_')}"], handler)], uids=(uid,)) as server:
        yield server.server_address[1]
