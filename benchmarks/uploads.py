"""Objects that come by STOW-RS into the archive node and into Orthanc with its DICOMweb plugin, both durable.

All objects are in one request, as a body of which the client knows the length. Each run has a new store on the disk.
The client is the same for both; it has made the body before, and counts what the answer says to be stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from time import perf_counter

from .model import OURS, Case, Group, Measure, Metric, Workspace
from .orthanc import ORTHANC
from .processes import HOST, Failed, cpu_of_tree
from .web import STARTED

_BOUNDARY = "boundary-of-a-benchmark"
_REFERENCED = "00081199"


@dataclass(frozen=True, slots=True)
class _Load:
    """Objects of one length.

    Parameters
    ----------
    name
        Of the group.
    count, length
        How many, and of how many bytes.
    """

    name: str
    count: int
    length: int

    def body(self, workspace: Workspace) -> bytes:
        """All of them as the parts of a body."""
        files = sorted(workspace.objects.folder(self.count, self.length).rglob("*"))
        head = f"\r\n--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        parts = b"".join(head + path.read_bytes() for path in files if path.is_file())
        return parts + f"\r\n--{_BOUNDARY}--\r\n".encode()


_LOADS = (_Load("small", 2000, 4_000), _Load("medium", 2000, 40_000), _Load("ct", 400, 500_000))


def _upload(subject: str, load: _Load) -> Measure:
    def measure(workspace: Workspace) -> Mapping[str, float]:
        body = load.body(workspace)
        with STARTED[subject](workspace) as (pid, _, port):
            used = cpu_of_tree(pid)
            began = perf_counter()
            stored = _store(port, body)
            seconds = perf_counter() - began
            used = cpu_of_tree(pid) - used
        if stored != load.count:
            raise Failed(f"{stored} of {load.count} objects were stored")
        return {"answered": seconds, "cpu": used / load.count * 1e3}

    return measure


def _store(port: int, body: bytes) -> int:
    """Send a body; how many objects were stored by the answer to it."""
    connection = HTTPConnection(HOST, port, timeout=600)
    kind = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
    headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
    connection.request("POST", "/dicom-web/studies", body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    if response.status != 200:
        raise Failed(f"the upload is answered with {response.status}")
    return len(json.loads(content)[_REFERENCED]["Value"])


def groups() -> tuple[Group, ...]:
    """Group o."""
    return tuple(
        Group(
            f"o.{load.name}",
            f"{load.count} x {load.length / 1000:g} KB by one STOW-RS request",
            (
                Metric("answered", "until the answer is there", "s", load.count),
                Metric("cpu", "the server's processor time an object until then", "ms"),
            ),
            tuple(Case(subject, _upload(subject, load)) for subject in (OURS, ORTHANC)),
        )
        for load in _LOADS
    )
