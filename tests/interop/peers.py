"""Foreign SCPs and SCUs, and our own SCUs, under one shape each: what goes in are files, what comes out statuses."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import queue
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pynetdicom import AE as ForeignAE  # noqa: N811
from pynetdicom import evt as foreign_evt
from tests.support import (
    dicomnet,
    free_port,
    is_listening,
    run_tool,
    running_process,
    tool,
    wait_until,
)

from dicomnet import AE, Peer, aio, build_context, evt
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.errors import UnusableObject

from .corpus import MEDIA_STORAGE_DIRECTORY, Sendable, pairs

# File name to status; None where the peer took no context for it.
Statuses = dict[str, int | None]
Send = Callable[[int, Sequence[Sendable]], Statuses]


def contexts_of(wanted: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """The transfer syntaxes of each SOP class."""
    return {
        sop_class: [syntax for _, syntax in group]
        for sop_class, group in itertools.groupby(sorted(wanted), key=lambda pair: pair[0])
    }


# -- our SCUs


def send_by_command(port: int, files: Sequence[Sendable]) -> Statuses:
    """``dicomnet store``."""
    names = [str(each.path) for each in files]
    done = run_tool(dicomnet("store", "--json", f"NODE@127.0.0.1:{port}", *names))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    statuses = {Path(row["path"]).name: row["status"] for row in rows}
    assert done.returncode == any(row["outcome"] == "failed" for row in rows)
    assert len(rows) == len(files), done.stderr
    return statuses


def send_by_peer(port: int, files: Sequence[Sendable]) -> Statuses:
    """`dicomnet.Peer`."""
    with Peer(f"NODE@127.0.0.1:{port}") as peer:
        return {Path(result.path).name: result.status for result in peer.store([each.path for each in files])}


def send_by_ae(port: int, files: Sequence[Sendable]) -> Statuses:
    """`dicomnet.AE`, as a program of pynetdicom does it."""
    contexts = [build_context(each, [syntax]) for each, syntax in pairs()]
    assoc = AE().associate("127.0.0.1", port, contexts)
    assert assoc.is_established
    accepted = {(str(each.abstract_syntax), str(each.transfer_syntax[0])) for each in assoc.accepted_contexts}
    statuses: Statuses = {}
    for each in files:
        statuses[each.path.name] = None
        if (each.sop_class, each.transfer_syntax) in accepted:
            with contextlib.suppress(UnusableObject):
                statuses[each.path.name] = assoc.send_c_store(each.path).Status
    assoc.release()
    return statuses


def send_by_aio_peer(port: int, files: Sequence[Sendable]) -> Statuses:
    """`dicomnet.aio.Peer`."""

    async def send() -> Statuses:
        async with aio.Peer(f"NODE@127.0.0.1:{port}") as peer:
            found = peer.store([each.path for each in files])
            return {Path(result.path).name: result.status async for result in found}

    return asyncio.run(send())


OUR_SCUS: dict[str, Send] = {
    "dicomnet store": send_by_command,
    "Peer": send_by_peer,
    "AE": send_by_ae,
    "aio.Peer": send_by_aio_peer,
}


# -- foreign SCUs, which encode some data sets anew


def write_profile(path: Path) -> None:
    """A profile for `storescu -xf` that proposes what each file needs."""
    syntaxes = sorted({syntax for _, syntax in pairs()})
    lines = ["[[TransferSyntaxes]]"]
    for number, syntax in enumerate(syntaxes):
        lines += [f"[T{number}]", f"TransferSyntax1 = {syntax}"]
    lines += ["[[PresentationContexts]]", "[C]"]
    for number, (sop_class, syntax) in enumerate(pairs(), 1):
        lines.append(f"PresentationContext{number} = {sop_class}\\T{syntaxes.index(syntax)}")
    lines += ["[[Profiles]]", "[ALL]", "PresentationContexts = C"]
    path.write_text("\n".join(lines) + "\n")


_RESPONSE = re.compile(r"Received Store Response \((.*)\)")
_DCMTK_STATUSES = {
    "Success": 0x0000,
    "Warning: CoercionOfDataElements": 0xB000,
    "Error: DataSetDoesNotMatchSOPClass": 0xA900,
    "Error: CannotUnderstand": 0xC000,
}


def send_by_dcmtk(port: int, files: Sequence[Path], folder: Path, *options: str) -> list[int]:
    """DCMTK's storescu; the statuses that it tells of, in the order of the files that it could send."""
    profile = str(folder / "profile.cfg")
    write_profile(Path(profile))
    names = list(map(str, files))
    done = run_tool(
        [tool("storescu"), "-v", "--no-halt", *options, "-xf", profile, "ALL", "127.0.0.1", str(port), *names]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [_DCMTK_STATUSES[found] for found in _RESPONSE.findall(done.stdout + done.stderr)]


def send_by_pynetdicom(port: int, files: Sequence[Path], folder: Path) -> list[int]:
    """pynetdicom's storescu. Where it stops in the middle, though all it sent was answered, it is asked for the rest.

    On a busy machine its threads lose sight of each other once in some thousand objects; the network shows nothing of
    it until it aborts.
    """
    statuses: list[int] = []
    while len(statuses) < len(files):
        names = map(str, files[len(statuses) :])
        done = run_tool(
            [
                sys.executable,
                "-m",
                "pynetdicom",
                "storescu",
                "-v",
                "-cx",
                "-td",
                "10",
                "127.0.0.1",
                str(port),
                *names,
            ],
            cwd=folder,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        output = done.stdout + done.stderr
        found = re.findall(r"Received Store Response \(Status: 0x([0-9A-F]{4})", output)
        assert found, output
        statuses += [int(status, 16) for status in found]
        if "Aborting Association" not in output:
            break
    return statuses


FOREIGN_SCUS = {"DCMTK": send_by_dcmtk, "pynetdicom": send_by_pynetdicom}


# -- foreign SCPs: a port, and a folder with what they received


@contextlib.contextmanager
def dcmtk_storescp(folder: Path) -> Iterator[tuple[int, Path]]:
    """DCMTK's storescp that writes what it reads, each object under a name of its own."""
    received = folder / "received"
    received.mkdir(parents=True)
    port = free_port()
    arguments = [tool("storescp"), "--bit-preserving", "--unique-filenames", "--accept-all", "--promiscuous"]
    with running_process([*arguments, "-od", str(received), str(port)], folder):
        wait_until(lambda: is_listening(port), what="storescp listens")
        yield port, received


@contextlib.contextmanager
def pynetdicom_scp(folder: Path) -> Iterator[tuple[int, Path]]:
    """pynetdicom's AE that writes the encoded data sets."""
    received = folder / "received"
    received.mkdir(parents=True)
    numbers = itertools.count()

    def store(event: Any) -> int:
        (received / f"{next(numbers)}.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    ae = ForeignAE()
    ae.maximum_pdu_size = 0
    for sop_class, syntaxes in contexts_of(pairs()).items():
        if sop_class != MEDIA_STORAGE_DIRECTORY:
            ae.add_supported_context(sop_class, syntaxes)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(foreign_evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        yield server.server_address[1], received
    finally:
        server.shutdown()


FOREIGN_SCPS = {"DCMTK": dcmtk_storescp, "pynetdicom": pynetdicom_scp}


# -- our SCPs, of the same shape


@contextlib.contextmanager
def our_ae_scp(folder: Path) -> Iterator[tuple[int, Path]]:
    """`dicomnet.AE`, as a program of pynetdicom does it."""
    received = folder / "received"
    received.mkdir(parents=True)
    numbers = itertools.count()

    def store(event: evt.Event) -> int:
        (received / f"{next(numbers)}.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    ae = AE()
    for sop_class, syntaxes in contexts_of(pairs()).items():
        if sop_class != MEDIA_STORAGE_DIRECTORY:
            ae.add_supported_context(sop_class, syntaxes)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        yield server.server_address[1], received
    finally:
        server.shutdown()


@contextlib.contextmanager
def our_aio_scp(folder: Path) -> Iterator[tuple[int, Path]]:
    """`dicomnet.aio.serve`, with its event loop in a thread."""
    received = folder / "received"
    received.mkdir(parents=True)
    numbers = itertools.count()

    async def store(request: aio.Request) -> int:
        command = request.message.command
        header = encode_file_header(
            request.context.abstract_syntax,
            command["AffectedSOPInstanceUID"],
            request.context.transfer_syntax,
            request.calling,
        )
        (received / f"{next(numbers)}.dcm").write_bytes(header + bytes(request.data))
        return 0x0000

    supported = {
        sop_class: syntaxes
        for sop_class, syntaxes in contexts_of(pairs()).items()
        if sop_class != MEDIA_STORAGE_DIRECTORY
    }
    with aio_server(supported, {"C-STORE": store}) as port:
        yield port, received


@contextlib.contextmanager
def aio_server(contexts: aio.Contexts, handlers: Mapping[str, aio.Handler], **options: Any) -> Iterator[int]:
    """`dicomnet.aio.serve`, with its event loop in a thread; gives its port."""
    ports: queue.SimpleQueue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = queue.SimpleQueue()

    async def serve() -> None:
        over = asyncio.Event()
        async with await aio.serve(("127.0.0.1", 0), contexts, handlers, **options) as server:
            ports.put((server.address[1], asyncio.get_running_loop(), over))
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    port, loop, over = ports.get(timeout=10)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
    assert not thread.is_alive()


OUR_SCPS = {"AE": our_ae_scp, "aio": our_aio_scp}


# -- an archive


@contextlib.contextmanager
def dcmqrscp(folder: Path, hosts: Mapping[str, int] = MappingProxyType({})) -> Iterator[int]:
    """DCMTK's archive; ``hosts`` are the ports of the AE titles that it can move to."""
    folder.mkdir(parents=True)
    store = folder / "store"
    store.mkdir()
    port = free_port()
    configuration = folder / "dcmqrscp.cfg"
    table = "".join(f"{title.lower()} = ({title}, 127.0.0.1, {at})\n" for title, at in hosts.items())
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        f"HostTable BEGIN\n{table}HostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nNODE {store} RW (200, 1024mb) ANY\nAETable END\n"
    )
    arguments = [tool("dcmqrscp"), "--config", str(configuration)]
    with running_process(arguments, folder):
        wait_until(lambda: is_listening(port), what="dcmqrscp listens")
        yield port
