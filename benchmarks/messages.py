"""C-ECHO, associations, C-FIND, and the time that a command takes until it is ready to send."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from statistics import median
from time import perf_counter

from .model import OURS, Case, Group, Measure, Metric, Workspace
from .processes import HOST, Command, Failed, end, free_port, python, run, serving, start
from .subjects import FLOOR, HAS_AIO, PYNETDICOM, SERVERS, TUNED, program

_PER_ECHO = Metric("echo", "a round trip", "us")
_PER_ASSOCIATION = Metric("association", "connect, associate, C-ECHO, release", "ms")
_PER_QUERY = Metric("query", "the whole query inside its association", "s")
_UNTIL_REQUEST = Metric("start", "process start to the first byte at the peer", "ms")
_MATCHES = 10_000
_STARTS_A_RUN = 5

# Commands of clients, from the port and a number.
_Client = Callable[[int, int], Command]


def _serve(port: int, library: str, matches: int = 0, name: str = "serve") -> Command:
    return program(name, library, port, matches, 100)


def _timed(
    metric: Metric,
    library: str,
    name: str,
    count: int,
    scale: float,
    *,
    server: str = "serve",
    matches: int = 0,
) -> Measure:
    """A case in which one of our programs runs against a library's server; the metric is its time times ``scale``."""

    def measure(workspace: Workspace) -> Mapping[str, float]:
        port = free_port()
        with serving(_serve(port, library, matches, server), port):
            return {metric.key: float(run(program(name, library, port, count)).output) * scale}

    return measure


def _dcmtk_echo(environment: dict[str, str], count: int) -> Measure:
    def measure(workspace: Workspace) -> Mapping[str, float]:
        port = free_port()
        server = "DCMTK NODELAY" if environment else "DCMTK"
        with ExitStack() as stack:
            folder = stack.enter_context(workspace.destination())
            stack.enter_context(serving(SERVERS[server](port, folder), port))
            many, one = (
                run(Command(("echoscu", "-q", "--repeat", str(n), HOST, str(port)), environment)).seconds
                for n in (count + 1, 1)
            )
        return {_PER_ECHO.key: (many - one) / count * 1e6}

    return measure


def _dcmtk_association(environment: dict[str, str], count: int) -> Measure:
    def measure(workspace: Workspace) -> Mapping[str, float]:
        port = free_port()
        server = "DCMTK NODELAY" if environment else "DCMTK"
        with ExitStack() as stack:
            folder = stack.enter_context(workspace.destination())
            stack.enter_context(serving(SERVERS[server](port, folder), port))
            command = Command(("echoscu", "-q", HOST, str(port)), environment)
            total = sum(run(command).seconds for _ in range(count))
        return {_PER_ASSOCIATION.key: total / count * 1e3}

    return measure


def _floor_echo(count: int) -> Measure:
    def measure(workspace: Workspace) -> Mapping[str, float]:
        port = free_port()
        with ExitStack() as stack:
            folder = stack.enter_context(workspace.destination())
            stack.enter_context(serving(python("-m", "benchmarks.floor", "serve", port, folder), port))
            seconds = float(run(python("-m", "benchmarks.floor", "echo", port, count)).output)
        return {_PER_ECHO.key: seconds / count * 1e6}

    return measure


def _first_byte(command: Callable[[int], Command]) -> Measure:
    def measure(workspace: Workspace) -> Mapping[str, float]:
        return {_UNTIL_REQUEST.key: median(_until_request(command) for _ in range(_STARTS_A_RUN)) * 1e3}

    return measure


def _until_request(command: Callable[[int], Command]) -> float:
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(20)
        begin = perf_counter()
        process = start(command(listener.getsockname()[1]))
        try:
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(20)
                if not sock.recv(1):
                    raise Failed("the client sent nothing")
                return perf_counter() - begin
        finally:
            end(process)


def _echo_cases(quick: bool) -> tuple[Case, ...]:
    count, some = (2000, 200) if quick else (5000, 500)

    def case(subject: str, library: str, name: str, number: int) -> Case:
        measure = _timed(_PER_ECHO, library, name, number, 1e6 / number)
        return Case(subject, measure, f"{number} echoes")

    derived = "; command with --repeat less one without"
    return (
        case(f"{OURS} (Peer)", OURS, "peer-echo", count),
        *((case(f"{OURS} (aio)", OURS, "aio-echo", count),) if HAS_AIO else ()),
        case(f"{OURS} (AE)", OURS, "echo", count),
        case(PYNETDICOM, PYNETDICOM, "echo", some),
        Case("DCMTK", _dcmtk_echo({}, 20), f"20 echoes{derived}", is_slow=True),
        Case("DCMTK NODELAY", _dcmtk_echo(TUNED, count), f"{count} echoes{derived}"),
        Case(FLOOR, _floor_echo(count), f"{count} round trips of 80 bytes"),
    )


def _association_cases(quick: bool) -> tuple[Case, ...]:
    count, some = (200, 20) if quick else (500, 50)
    return tuple(
        Case(
            f"{library}",
            _timed(_PER_ASSOCIATION, library, "associations", number, 1e3 / number),
            f"{number} associations of one process",
        )
        for library, number in ((OURS, count), (PYNETDICOM, some))
    ) + tuple(
        Case(
            subject,
            _dcmtk_association(environment, 10),
            "echoscu: a process for each",
            is_slow=not environment,
        )
        for subject, environment in (("DCMTK", {}), ("DCMTK NODELAY", TUNED))
    )


def _find_cases(quick: bool) -> tuple[Case, ...]:
    few = 300 if quick else 1000

    def case(subject: str, library: str, name: str, count: int, server: str = "serve") -> Case:
        measure = _timed(_PER_QUERY, library, name, count, _MATCHES / count, server=server, matches=count)
        is_all = count == _MATCHES
        return Case(subject, measure, "" if is_all else f"{count} of {_MATCHES} matches, scaled", not is_all)

    return (
        case(f"{OURS} (AE)", OURS, "find", _MATCHES),
        case(f"{OURS} (Peer)", OURS, "peer-find", _MATCHES),
        *((case(f"{OURS} (aio)", OURS, "aio-find", _MATCHES, "aio-serve"),) if HAS_AIO else ()),
        case(PYNETDICOM, PYNETDICOM, "find", few),
    )


_START_CASES = tuple(
    Case(subject, _first_byte(command))
    for subject, command in (
        (f"{OURS} echo", lambda port: python("-m", "dicomnet", "echo", f"{HOST}:{port}")),
        (f"{PYNETDICOM} echoscu", lambda port: python("-m", "pynetdicom", "echoscu", HOST, port)),
        ("DCMTK echoscu", lambda port: Command(("echoscu", HOST, str(port)))),
        (
            f"{FLOOR}: python, import socket, send",
            lambda port: python(
                "-c", f"import socket; socket.create_connection(({HOST!r}, {port})).sendall(b'.')"
            ),
        ),
    )
)


def groups(quick: bool) -> tuple[Group, ...]:
    """Groups a, b, f and g."""
    return (
        Group("a", "C-ECHO on an open association", (_PER_ECHO,), _echo_cases(quick)),
        Group("b", "associations, one after another", (_PER_ASSOCIATION,), _association_cases(quick)),
        Group("f", f"C-FIND with {_MATCHES} matches of 12 attributes", (_PER_QUERY,), _find_cases(quick)),
        Group("g", "start-up of a command", (_UNTIL_REQUEST,), _START_CASES),
    )
