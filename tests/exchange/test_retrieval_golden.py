"""What DCMTK and pynetdicom said to each other in a C-GET and a C-MOVE, said to our SCP: it answers the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.associations import serving_ae
from tests.retrieving import PENDING
from tests.sockets import RawPeer

from dicomnet import AE, evt
from dicomnet.dimse.codec import decode_command
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.wire.items import RoleSelection
from dicomnet.wire.pdu import AssociateAC, decode_pdu

GOLDEN = Path(__file__).parents[1] / "golden"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
STUDY_ROOT = {"C-GET": "1.2.840.10008.5.1.4.1.2.2.3", "C-MOVE": "1.2.840.10008.5.1.4.1.2.2.2"}
SYNTAXES = {"dcmtk": "1.2.840.10008.1.2.1", "pynetdicom": "1.2.840.10008.1.2"}


def pdus(name: str, *kinds: str) -> list[bytes]:
    """The recorded PDUs of one side, of these kinds."""
    return [
        path.read_bytes()
        for path in sorted(GOLDEN.glob(f"{name}-[0-9][0-9]-*.bin"))
        if path.stem.split("-", name.count("-") + 2)[-1] in kinds
    ]


def command_of(pdu: bytes) -> dict[str, Any]:
    """The command set that a P-DATA-TF holds in its first value."""
    return dict(decode_command(pdu[12 : 10 + int.from_bytes(pdu[6:10], "big")])[1])


def without_remaining(command: dict[str, Any]) -> dict[str, Any]:
    """pynetdicom sends the number of the remaining ones in final responses too."""
    is_final = command["Status"] != PENDING
    return {k: v for k, v in command.items() if not (is_final and k == "NumberOfRemainingSuboperations")}


def objects(peer: str, folder: Path) -> list[Path]:
    """What was sent then, as files."""
    source = f"{peer}-get-acceptor"
    paths = []
    for request, data in zip(pdus(source, "c-store-rq"), pdus(source, "data-set"), strict=False):
        command = command_of(request)
        uid = command["AffectedSOPInstanceUID"]
        path = folder / f"{uid}.dcm"
        path.write_bytes(encode_file_header(SECONDARY_CAPTURE, uid, SYNTAXES[peer]) + data[12:])
        paths.append(path)
    return paths


def scp(service: str, peer: str, handler: Any) -> tuple[AE, int]:
    ae = AE("ACCEPTOR")
    ae.add_supported_context(STUDY_ROOT[service], SYNTAXES[peer])
    ae.add_supported_context(SECONDARY_CAPTURE, SYNTAXES[peer], scu_role=True, scp_role=True)
    event = evt.EVENTS[f"EVT_{service.replace('-', '_')}"]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(event, handler)])
    assert server is not None
    return ae, server.server_address[1]


@pytest.mark.parametrize("peer", SYNTAXES)
def test_a_recorded_c_get(peer: str, tmp_path: Path) -> None:
    paths = objects(peer, tmp_path)
    asked, answers = f"{peer}-get-requestor", f"{peer}-get-acceptor"

    def handler(event: evt.Event) -> Iterator[Any]:
        yield len(paths)
        for path in paths:
            yield PENDING, path

    ae, port = scp("C-GET", peer, handler)
    (request,) = pdus(asked, "a-associate-rq")
    stores, responses = pdus(answers, "c-store-rq"), pdus(answers, "c-get-rsp")
    store_responses = pdus(asked, "c-store-rsp")
    try:
        with RawPeer.connect(port) as raw:
            raw.send(request)
            answer = raw.read_pdu()
            accepted = decode_pdu(answer[0], memoryview(answer)[6:])
            assert isinstance(accepted, AssociateAC)
            assert RoleSelection(SECONDARY_CAPTURE, False, True) in accepted.user_items
            raw.send(b"".join([*pdus(asked, "c-get-rq"), pdus(asked, "data-set")[0]]))
            for path, theirs in zip(paths, stores, strict=True):
                ours = raw.read_pdu()
                sent = command_of(ours)
                assert sent | {"MessageID": 0} == command_of(theirs) | {"MessageID": 0}
                # The context is the one that was used then.
                assert ours[10] == theirs[10]
                assert path.read_bytes().endswith(raw.read_pdu()[12:])
                reply = store_responses.pop(0)
                raw.send(reply.replace(*_message_id(reply, sent["MessageID"])))
                assert command_of(raw.read_pdu()) == command_of(responses.pop(0))
            (final,) = responses
            assert command_of(raw.read_pdu()) == without_remaining(command_of(final))
            raw.send(pdus(asked, "a-release-rq")[0])
            assert raw.read_pdu() == pdus(answers, "a-release-rp")[0]
    finally:
        ae.shutdown()


def _message_id(reply: bytes, message_id: int) -> tuple[bytes, bytes]:
    """How to change the Message ID Being Responded To of a recorded response."""
    element = bytes.fromhex("0000 2001 02000000")
    at = reply.index(element) + len(element)
    return element + reply[at : at + 2], element + message_id.to_bytes(2, "little")


@pytest.mark.parametrize("peer", SYNTAXES)
def test_a_recorded_c_move(peer: str, tmp_path: Path) -> None:
    path, *_ = objects(peer, tmp_path)
    asked, answers = f"{peer}-move-requestor", f"{peer}-move-acceptor"
    stored: list[Any] = []

    def store(event: evt.Event) -> int:
        stored.append(event.request)
        return 0x0000

    with serving_ae([(evt.EVT_C_STORE, store)], uids=[SECONDARY_CAPTURE]) as destination:

        def handler(event: evt.Event) -> Iterator[Any]:
            yield "127.0.0.1", destination.server_address[1]
            yield 1
            yield PENDING, path

        ae, port = scp("C-MOVE", peer, handler)
        try:
            with RawPeer.connect(port) as raw:
                raw.send(pdus(asked, "a-associate-rq")[0])
                raw.read_pdu()
                raw.send(b"".join([*pdus(asked, "c-move-rq"), pdus(asked, "data-set")[0]]))
                for response in pdus(answers, "c-move-rsp"):
                    assert command_of(raw.read_pdu()) == without_remaining(command_of(response))
        finally:
            ae.shutdown()
    (request,) = stored
    theirs = command_of(pdus(f"{peer}-move-store-requestor", "c-store-rq")[0])
    assert request.AffectedSOPInstanceUID == theirs["AffectedSOPInstanceUID"]
    assert request.Priority == theirs["Priority"]
    assert request.MoveOriginatorMessageID == theirs["MoveOriginatorMessageID"]
    # PS3.7 section 9.1.1.1.7: of who invoked the C-MOVE. pynetdicom names itself instead.
    assert request.MoveOriginatorApplicationEntityTitle == "REQUESTOR"
    if peer == "dcmtk":
        assert theirs["MoveOriginatorApplicationEntityTitle"] == "REQUESTOR"
