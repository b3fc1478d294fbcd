"""What the tests themselves rely on."""

from __future__ import annotations

from pathlib import Path

from tests.support import free_port

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_no_free_port_is_one_that_the_system_gives_to_others() -> None:
    """A server of another test, or a connection, had it before the tool for which it was looked up had begun."""
    # Only Linux says which they are, and others begin no lower.
    first, last = map(int, _RANGE.read_text().split() if _RANGE.exists() else (32_768, 65_535))
    ports = [free_port() for _ in range(100)]
    assert len(set(ports)) == len(ports)
    assert not set(ports) & set(range(first, last + 1))
