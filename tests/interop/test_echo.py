"""C-ECHO with DCMTK and pynetdicom in both directions, by both drivers and the node; Orthanc has tests of its own."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pynetdicom import AE as ForeignAE  # noqa: N811
from tests.support import (
    dicomnet,
    free_port,
    is_listening,
    run_tool,
    running_process,
    tool,
    wait_until,
)

from dicomnet import AE, Peer, aio
from dicomnet.archive.node import Node

from .peers import aio_server

VERIFICATION = "1.2.840.10008.1.1"

# -- our SCUs; each fails where the answer is not success


def echo_by_command(port: int) -> None:
    """``dicomnet echo``."""
    done = run_tool(dicomnet("echo", f"NODE@127.0.0.1:{port}"))
    assert done.returncode == 0, done.stderr


def echo_by_peer(port: int) -> None:
    """`dicomnet.Peer`."""
    with Peer(f"NODE@127.0.0.1:{port}") as peer:
        peer.echo()


def echo_by_aio_peer(port: int) -> None:
    """`dicomnet.aio.Peer`."""

    async def echo() -> None:
        async with aio.Peer(f"NODE@127.0.0.1:{port}") as peer:
            await peer.echo()

    asyncio.run(echo())


def echo_by_ae(port: int) -> None:
    """`dicomnet.AE`, as a program of pynetdicom does it."""
    ae = AE()
    ae.add_requested_context(VERIFICATION)
    assoc = ae.associate("127.0.0.1", port, ae_title="NODE")
    assert assoc.is_established
    assert assoc.send_c_echo().Status == 0x0000
    assoc.release()
    assert assoc.is_released


OUR_SCUS: dict[str, Callable[[int], None]] = {
    "dicomnet echo": echo_by_command,
    "Peer": echo_by_peer,
    "aio.Peer": echo_by_aio_peer,
    "AE": echo_by_ae,
}

# -- our SCPs

Scp = Callable[[Path], contextlib.AbstractContextManager[int]]


@contextlib.contextmanager
def node_scp(folder: Path) -> Iterator[int]:
    """The archive node."""
    node = Node(folder / "node", address=("127.0.0.1", 0), sync=False)
    node.start()
    try:
        yield node.address[1]
    finally:
        node.shutdown()


@contextlib.contextmanager
def ae_scp(folder: Path) -> Iterator[int]:
    """`dicomnet.AE`."""
    with _started(AE()) as port:
        yield port


@contextlib.contextmanager
def _started(ae: AE | ForeignAE) -> Iterator[int]:
    ae.add_supported_context(VERIFICATION)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def aio_scp(folder: Path) -> contextlib.AbstractContextManager[int]:
    """`dicomnet.aio.serve`."""
    return aio_server([VERIFICATION], {})


OUR_SCPS: dict[str, Scp] = {"node": node_scp, "AE": ae_scp, "aio": aio_scp}

# -- foreign SCPs


@contextlib.contextmanager
def dcmtk_scp(folder: Path) -> Iterator[int]:
    """DCMTK's storescp."""
    port = free_port()
    with running_process([tool("storescp"), "--ignore", str(port)], folder):
        wait_until(lambda: is_listening(port), what="storescp listens")
        yield port


@contextlib.contextmanager
def pynetdicom_scp(folder: Path) -> Iterator[int]:
    """pynetdicom's AE."""
    with _started(ForeignAE()) as port:
        yield port


FOREIGN_SCPS: dict[str, Scp] = {"DCMTK": dcmtk_scp, "pynetdicom": pynetdicom_scp}

# -- foreign SCUs

FOREIGN_SCUS = {
    "DCMTK": lambda: [tool("echoscu"), "-v", "--repeat", "3"],
    "pynetdicom": lambda: [sys.executable, "-m", "pynetdicom", "echoscu", "-v", "--repeat", "3"],
}


@pytest.mark.parametrize("scp", OUR_SCPS | FOREIGN_SCPS)
@pytest.mark.parametrize("scu", OUR_SCUS)
def test_our_scu(scu: str, scp: str, tmp_path: Path) -> None:
    with (OUR_SCPS | FOREIGN_SCPS)[scp](tmp_path) as port:
        OUR_SCUS[scu](port)


@pytest.mark.parametrize("scp", OUR_SCPS)
@pytest.mark.parametrize("scu", FOREIGN_SCUS)
def test_our_scp(scu: str, scp: str, tmp_path: Path) -> None:
    with OUR_SCPS[scp](tmp_path) as port:
        done = run_tool([*FOREIGN_SCUS[scu](), "127.0.0.1", str(port)])
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert output.count("Success") == 3, output
