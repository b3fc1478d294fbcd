"""A node under a service manager: what it says on NOTIFY_SOCKET, and that it runs without one."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic_ns
from uuid import uuid4

import pytest
from tests.settings.nodes import configured
from tests.support import TOOL_ENVIRONMENT

from dicomnet.cli.service_manager import ServiceManager


@contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    """A socket as a service manager has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        heard.settimeout(20)
        yield heard


def fields(heard: socket.socket) -> dict[str, str]:
    """What the next datagram says."""
    message = heard.recv(65536).decode()
    assert message.endswith("\n")
    return dict(line.split("=", 1) for line in message.splitlines())


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("is_abstract", [False, True])
def test_a_node_says_when_it_serves_reloads_and_stops(
    tmp_path: Path, workers: int, is_abstract: bool
) -> None:
    address = f"@dicomnet-{uuid4()}" if is_abstract else str(tmp_path / "notify")
    content = f"server.drain = 7\nserver.workers = {workers}\n"
    with manager(address) as heard:
        environment = {**TOOL_ENVIRONMENT, "NOTIFY_SOCKET": address}
        with configured(tmp_path, content, environment=environment) as node:
            ready = fields(heard)
            assert ready == {
                "READY": "1",
                "STATUS": f"listening on DICOMNET@127.0.0.1:{node.port}, storing in {node.store}",
            }
            before = monotonic_ns() // 1000
            node.process.send_signal(signal.SIGHUP)
            reloads = fields(heard)
            assert reloads["RELOADING"] == "1"
            assert before <= int(reloads["MONOTONIC_USEC"]) <= monotonic_ns() // 1000
            assert fields(heard) == ready
            assert node.end() == 0
            stops = fields(heard)
            assert stops["STOPPING"] == "1"
            # Longer than associations may drain.
            assert int(stops["EXTEND_TIMEOUT_USEC"]) > 7_000_000
            heard.setblocking(False)
            with pytest.raises(BlockingIOError):
                heard.recv(1)


def test_a_manager_that_is_gone_costs_a_line_in_the_log(tmp_path: Path) -> None:
    address = str(tmp_path / "nobody")
    with configured(tmp_path, "", environment={**TOOL_ENVIRONMENT, "NOTIFY_SOCKET": address}) as node:
        node.wait_for(f"the service manager at {address} (NOTIFY_SOCKET) cannot be told READY: no such file")
        assert node.end() == 0


def test_without_a_manager_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    ServiceManager("").is_ready("listening")
    assert caplog.text == ""
