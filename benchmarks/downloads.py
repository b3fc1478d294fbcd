"""What comes out of the archive node and of Orthanc with its DICOMweb plugin by WADO-RS: a study, and its metadata.

Each server is started anew for each run, with an empty store that is filled first. The client is the same for both; it
keeps nothing of what it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection
from time import perf_counter

from .model import OURS, Case, Group, Metric, Workspace
from .orthanc import ORTHANC
from .processes import HOST, Failed, cpu_of_tree
from .web import IMAGES, SIDE, WebServer, filled

_FILES = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_JSON = "application/dicom+json"
_TOGETHER, _BUFFER = 16, 1 << 20
_ALL = Metric("all", "until all of it is there", "s", IMAGES)
_CPU = Metric("cpu", "the server's processor time an object", "ms")
_FIRST = Metric("first", "when it is asked for first", "ms")
_AGAIN = Metric("again", "once more", "ms")
_EACH = Metric(
    "each", f"{_TOGETHER} clients at once, each with a study, its metadata and a picture", "s", _TOGETHER
)


def _read(server: WebServer, path: str, accept: str) -> int:
    """How many bytes an answer has, on a connection of its own; raises `Failed` if it is none or not complete."""
    connection = HTTPConnection(HOST, server.port, timeout=600)
    connection.request("GET", path, headers={"Accept": accept})
    answer = connection.getresponse()
    buffer = memoryview(bytearray(_BUFFER))
    length = 0
    while count := answer.readinto(buffer):
        length += count
    connection.close()
    if answer.status != 200 or not length:
        raise Failed(f"{path} is answered with {answer.status} and {length} bytes")
    return length


def _study(server: WebServer) -> Mapping[str, float]:
    used = cpu_of_tree(server.pid)
    began = perf_counter()
    length = _read(server, server.study, _FILES)
    seconds = perf_counter() - began
    used = cpu_of_tree(server.pid) - used
    if length < IMAGES * SIDE * SIDE * 2:
        raise Failed(f"the study has {length} bytes only")
    return {_ALL.key: seconds, _CPU.key: used / IMAGES * 1e3}


def _metadata(server: WebServer) -> Mapping[str, float]:
    times = []
    for _ in range(2):
        began = perf_counter()
        _read(server, f"{server.study}/metadata", _JSON)
        times.append((perf_counter() - began) * 1e3)
    return dict(zip((_FIRST.key, _AGAIN.key), times, strict=True))


def _together(server: WebServer) -> Mapping[str, float]:
    def ask(number: int) -> None:
        _read(server, server.study, _FILES)
        _read(server, f"{server.study}/metadata", _JSON)
        _read(server, f"{server.paths[number]}/frames/1/rendered", "image/jpeg")

    began = perf_counter()
    with ThreadPoolExecutor(_TOGETHER) as threads:
        list(threads.map(ask, range(_TOGETHER)))
    return {_EACH.key: perf_counter() - began}


def _cases(measure: Callable[[WebServer], Mapping[str, float]]) -> tuple[Case, ...]:
    def of(subject: str, workspace: Workspace) -> Mapping[str, float]:
        with filled(workspace, subject) as server:
            return measure(server)

    return tuple(Case(subject, partial(of, subject)) for subject in (OURS, ORTHANC))


def groups() -> tuple[Group, ...]:
    """Group r."""
    images = f"{IMAGES} CT images of 0.5 MB"
    return (
        Group("r.study", f"a study of {images} by WADO-RS", (_ALL, _CPU), _cases(_study)),
        Group("r.metadata", f"the metadata of {images} in JSON", (_FIRST, _AGAIN), _cases(_metadata)),
        Group("r.together", f"{_TOGETHER} clients at once, of {images}", (_EACH,), _cases(_together)),
    )
