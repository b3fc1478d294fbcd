"""Whom the node takes a client for, behind proxies that it trusts and behind those that it does not."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

import pytest

from dicomnet.archive.web.access.policy import WebPolicy
from dicomnet.archive.web.access.proxies import address_of, is_secure

POLICY = WebPolicy(proxies=(ip_network("10.0.0.0/24"), ip_network("fd00::/64")))


def scope(peer: str, name: str, values: Sequence[str]) -> dict[str, object]:
    """What a server says of a request."""
    headers = [(name.encode(), value.encode("latin-1")) for value in values]
    return {"type": "http", "client": (peer, 50000), "scheme": "http", "headers": headers}


@pytest.mark.parametrize(
    ("peer", "said", "address"),
    [
        ("192.0.2.7", [], "192.0.2.7"),
        # Nobody else is believed.
        ("192.0.2.7", ["127.0.0.1"], "192.0.2.7"),
        ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["127.0.0.1, 192.0.2.7"], "192.0.2.7"),
        # HAProxy has a field of its own, behind the one that the client has made up.
        ("10.0.0.1", ["127.0.0.1", "192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["127.0.0.1, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", ["10.0.0.3"], "10.0.0.3"),
        ("10.0.0.1", [" 192.0.2.7:4711 "], "192.0.2.7"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        # A socket for both families shows a peer of IPv4 so.
        ("::ffff:10.0.0.1", ["::ffff:192.0.2.7"], "192.0.2.7"),
        ("::ffff:192.0.2.7", ["127.0.0.1"], "192.0.2.7"),
        # What is no address is nobody's: neither a way around what counts failures, nor a text for the log.
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7, \x1b[31mx"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7,"], "10.0.0.1"),
        ("10.0.0.1", ["127.0.0.1/8"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
    ],
)
def test_the_address_of_a_client(peer: str, said: list[str], address: str) -> None:
    assert address_of(scope(peer, "x-forwarded-for", said), POLICY) == address


@pytest.mark.parametrize(
    ("peer", "said", "secure"),
    [
        ("10.0.0.1", ["https"], True),
        ("10.0.0.1", ["HTTPS"], True),
        ("10.0.0.1", ["http"], False),
        ("10.0.0.1", [], False),
        ("10.0.0.1", ["https", "http"], False),
        ("192.0.2.7", ["https"], False),
    ],
)
def test_whether_a_client_uses_tls(peer: str, said: list[str], secure: bool) -> None:
    assert is_secure(scope(peer, "x-forwarded-proto", said), POLICY) is secure
