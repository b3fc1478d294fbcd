"""Peers by AE title and transport address, and the association requests that go to them."""

from __future__ import annotations

import pytest

from dicomnet import Peer, aio
from dicomnet.drivers.transport import Address
from dicomnet.exchange.addresses import PeerAddress, association_request
from dicomnet.wire.items import AsynchronousOperationsWindow, RoleSelection
from dicomnet.wire.pdu import AssociateRQ, decode_pdu


@pytest.mark.parametrize(
    ("text", "title", "host", "port"),
    [
        ("PACS@10.0.0.1:104", "PACS", "10.0.0.1", 104),
        ("pacs.example:11112", "ANY-SCP", "pacs.example", 11112),
        ("A B@[::1]:1", "A B", "::1", 1),
        ("A@B@host:65535", None, "host", 65535),
    ],
)
def test_addresses(text: str, title: str | None, host: str, port: int) -> None:
    peer = PeerAddress.parse(text)
    assert (peer.address.host, peer.address.port) == (host, port)
    assert peer.ae_title == (title or "A@B")
    assert PeerAddress.parse(str(peer)) == peer


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:", ":104", "host:0", "host:65536", "host:٣", "::1:104", "@host:104", "A\\B@h:1"],
)
def test_texts_that_are_no_address(text: str) -> None:
    with pytest.raises(ValueError):
        PeerAddress.parse(text)


def test_a_peer_takes_an_address_that_is_parsed_already() -> None:
    """An AE title may hold what the text of an address gives another meaning."""
    address = PeerAddress("A@B", Address("::1", 104))
    for kind in (Peer, aio.Peer):
        assert kind(address).address is address
        assert kind(str(address)).address == address


@pytest.mark.parametrize("window", [0, 1, 16])
def test_an_association_request(window: int) -> None:
    peer = PeerAddress.parse("PACS@host:104")
    uid, syntaxes = "1.2.840.10008.1.1", ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
    request = association_request(peer, "ME", [(uid, syntaxes)] * 3, window, {uid: (False, True)})
    encoded = request.encode()
    read = decode_pdu(encoded[0], memoryview(encoded)[6:])
    assert isinstance(read, AssociateRQ)
    assert (read.called_ae_title, read.calling_ae_title) == ("PACS", "ME")
    assert [each.context_id for each in read.contexts] == [1, 3, 5]
    assert {(each.abstract_syntax, each.transfer_syntaxes) for each in read.contexts} == {(uid, syntaxes)}
    assert [each for each in read.user_items if isinstance(each, RoleSelection)] == [
        RoleSelection(uid, False, True)
    ]
    windows = [each for each in read.user_items if isinstance(each, AsynchronousOperationsWindow)]
    assert windows == ([] if window == 1 else [AsynchronousOperationsWindow(window, 1)])
    kinds = [each.item_type for each in read.user_items]
    assert kinds == sorted(kinds)
