"""The subjects that are measured: their servers and clients, as commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .model import OURS
from .processes import HOST, Absent, Command, Failed, python, run

PYNETDICOM = "pynetdicom"
FLOOR = "bare sockets"
# DCMTK leaves Nagle's algorithm on unless its environment says otherwise.
TUNED = {"TCP_NODELAY": "1"}
HAS_AIO = find_spec("dicomnet.aio") is not None

# Commands of servers, from the port and the folder to receive into.
Server = Callable[[int, Path], Command]
# Commands of clients, from the port and the folder with the objects.
Sender = Callable[[int, Path], Command]
# Programs of clients, from the port, the folder with the objects, and one with a single object that is sent first.
InnerSender = Callable[[int, Path, Path], Command]


@dataclass(frozen=True, slots=True)
class Client:
    """A client that sends objects.

    Parameters
    ----------
    command
        The command that sends a folder.
    inner
        A program that prints the time inside its association, in seconds; None if that is derived from two commands.
    """

    command: Sender | None
    inner: InnerSender | None = None


def _dcmtk_server(environment: dict[str, str], *options: str) -> Server:
    return lambda port, folder: Command(
        ("storescp", "-q", *options, "-od", str(folder), str(port)), environment
    )


def _dcmtk_client(environment: dict[str, str]) -> Client:
    return Client(
        lambda port, folder: Command(
            ("storescu", "-q", "-xe", "-R", "+sd", HOST, str(port), str(folder)), environment
        )
    )


def program(name: str, library: str, port: int, *rest: object) -> Command:
    """The command of one of `benchmarks.programs`."""
    return python("-m", "benchmarks.programs", name, library, port, *rest)


def _inner(name: str, library: str) -> InnerSender:
    return lambda port, folder, first: program(name, library, port, folder, first)


def _floor(what: str) -> Callable[[int, Path], Command]:
    return lambda port, folder: python("-m", "benchmarks.floor", what, port, folder)


def _our_server(*options: object) -> Server:
    return lambda port, folder: python(
        "-m", "dicomnet", "receive", folder, "--port", port, "--quiet", *options
    )


def pydcm_server(interpreter: Path | None) -> Server:
    """pydcm's native server, run by an interpreter that has it; the command raises `Absent` without one."""

    def command(port: int, folder: Path) -> Command:
        if interpreter is None:
            raise Absent("pydcm is not installed, or --pydcm does not say where")
        try:
            run(Command((str(interpreter), "-c", "import pydcm.dimse")))
        except (Failed, FileNotFoundError):
            raise Absent("the interpreter of --pydcm has no pydcm") from None
        program = Path(__file__).with_name("pydcm_server.py")
        return Command((str(interpreter), str(program), str(port), str(folder)), TUNED)

    return command


SERVERS: dict[str, Server] = {
    OURS: _our_server(),
    f"{OURS} --workers 2": _our_server("--workers", 2),
    f"{OURS} serve": lambda port, folder: python(
        "-m", "dicomnet", "serve", "--data", folder, "--port", port, "--quiet"
    ),
    PYNETDICOM: lambda port, folder: python(
        "-m", "pynetdicom", "storescp", "-q", "-ba", HOST, "-od", folder, port
    ),
    "DCMTK": _dcmtk_server({}),
    "DCMTK NODELAY": _dcmtk_server(TUNED),
    "DCMTK NODELAY +B": _dcmtk_server(TUNED, "+B"),
    "DCMTK NODELAY +B --fork": _dcmtk_server(TUNED, "+B", "--fork"),
    FLOOR: _floor("serve"),
}

CLIENTS: dict[str, Client] = {
    OURS: Client(
        lambda port, folder: python("-m", "dicomnet", "store", f"{HOST}:{port}", folder, "--quiet"),
        _inner("peer-store", OURS),
    ),
    f"{OURS} aio": Client(None, _inner("aio-store", OURS)),
    f"{OURS} AE": Client(None, _inner("store", OURS)),
    PYNETDICOM: Client(
        lambda port, folder: python("-m", "pynetdicom", "storescu", "-q", "-cx", HOST, port, folder),
        _inner("store", PYNETDICOM),
    ),
    "DCMTK": _dcmtk_client({}),
    "DCMTK NODELAY": _dcmtk_client(TUNED),
    FLOOR: Client(_floor("store"), lambda port, folder, first: _floor("store")(port, folder)),
}
