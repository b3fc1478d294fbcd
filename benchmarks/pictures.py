"""Pictures by HTTP out of the archive node and of Orthanc with its DICOMweb plugin: rendered frames, and thumbnails.

The images are CT slices of 512 × 512 pixels with noise; each server is started anew for each run, with an empty store
that is filled first, and somebody has searched, as those have who look at pictures. One client asks for one picture
after another on one connection; thumbnails are asked for on six.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection

from .model import OURS, Case, Group, Measure, Metric, Workspace
from .orthanc import ORTHANC
from .processes import HOST, at_rest, cpu_of_tree
from .web import CONNECTIONS, IMAGES, SIDE, WebServer, filled

_FIRST = Metric("first", "each for the first time, median", "ms")
_AGAIN = Metric("again", "the same once more, median", "ms")
_CPU = Metric("cpu", "the server's processor time for one of the first", "ms")
_ALL = Metric("all", "all thumbnails", "s", IMAGES)
_ALL_AGAIN = Metric("all_again", "all once more", "s", IMAGES)


@contextmanager
def _searched(workspace: Workspace, subject: str) -> Iterator[WebServer]:
    """A filled server that was searched, and has done what it does then."""
    with filled(workspace, subject) as server:
        connection = HTTPConnection(HOST, server.port, timeout=60)
        server.get(connection, "/dicom-web/studies?limit=25", "application/dicom+json")
        connection.close()
        at_rest((server.pid,))
        yield server


def _rendered(subject: str, accept: str) -> Measure:
    def measure(workspace: Workspace) -> Mapping[str, float]:
        with _searched(workspace, subject) as server:
            return _twice(server, [f"{path}/frames/1/rendered" for path in server.paths[:100]], accept)

    return measure


def _previews(accept: str) -> Measure:
    """Orthanc's own pictures, by its own identifiers."""

    def measure(workspace: Workspace) -> Mapping[str, float]:
        with _searched(workspace, ORTHANC) as server:
            connection = HTTPConnection(HOST, server.port, timeout=60)
            found = json.loads(server.get(connection, "/instances", "application/json"))
            return _twice(server, [f"/instances/{each}/preview" for each in found[:100]], accept)

    return measure


def _twice(server: WebServer, paths: Sequence[str], accept: str) -> Mapping[str, float]:
    used = cpu_of_tree(server.pid)
    first = server.one_after_another(paths, accept)
    used = cpu_of_tree(server.pid) - used
    again = server.one_after_another(paths, accept)
    return {_FIRST.key: first, _AGAIN.key: again, _CPU.key: used / len(paths) * 1e3}


def _thumbnails(subject: str, path_of: Callable[[str], str], *, is_searched: bool = True) -> Measure:
    def measure(workspace: Workspace) -> Mapping[str, float]:
        with (_searched if is_searched else filled)(workspace, subject) as server:
            paths = [path_of(path) for path in server.paths]
            first = server.together(paths, "image/jpeg")
            return {_ALL.key: first, _ALL_AGAIN.key: server.together(paths, "image/jpeg")}

    return measure


def _thumbnail(path: str) -> str:
    return f"{path}/thumbnail"


def groups() -> tuple[Group, ...]:
    """Group n."""
    rendered = tuple(
        Group(
            f"n.{name}",
            f"a CT frame of {SIDE} x {SIDE} pixels as {accept}",
            (_FIRST, _AGAIN, _CPU),
            (
                Case(OURS, _rendered(OURS, accept)),
                Case(f"{ORTHANC} /rendered", _rendered(ORTHANC, accept)),
                Case(f"{ORTHANC} /preview", _previews(accept)),
            ),
        )
        for name, accept in (("jpeg", "image/jpeg"), ("png", "image/png"))
    )
    thumbnails = Group(
        "n.thumbnails",
        f"thumbnails of {IMAGES} images, on {CONNECTIONS} connections",
        (_ALL, _ALL_AGAIN),
        (
            Case(OURS, _thumbnails(OURS, _thumbnail)),
            Case(f"{OURS}, not searched before", _thumbnails(OURS, _thumbnail, is_searched=False)),
            Case(
                f"{ORTHANC} /rendered?viewport",
                _thumbnails(ORTHANC, lambda path: f"{path}/rendered?viewport=200,200"),
            ),
        ),
    )
    return (*rendered, thumbnails)
