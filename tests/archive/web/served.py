"""Archives that answer by HTTP over a real socket, filled by C-STORE."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import pydicom
from pydicom.data import get_testdata_file

from dicomnet import Peer
from dicomnet.archive.node import Node
from dicomnet.archive.terms import Terms
from dicomnet.drivers.transport import listen


def sample(name: str) -> Path:
    """A file that comes with pydicom."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path)


def address_of(path: Path) -> str:
    """The address of the object in a file."""
    data_set = pydicom.dcmread(path, stop_before_pixels=True)
    return (
        f"/studies/{data_set.StudyInstanceUID}/series/{data_set.SeriesInstanceUID}"
        f"/instances/{data_set.SOPInstanceUID}"
    )


class Answer(NamedTuple):
    """A response: status, header fields by lower-case name, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def parts(self) -> list[tuple[dict[str, str], bytes]]:
        """The parts of a multipart body, each with its header fields."""
        boundary = self.headers["content-type"].rpartition("boundary=")[2].encode()
        assert self.body.startswith(b"\r\n--" + boundary)
        assert self.body.endswith(b"\r\n--" + boundary + b"--\r\n")
        found = []
        rest = self.body[len(boundary) + 4 :]
        while not rest.startswith(b"--"):
            head, _, rest = rest.partition(b"\r\n\r\n")
            lines = head.decode().strip().split("\r\n")
            fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            length = (
                int(fields["content-length"])
                if "content-length" in fields
                else rest.index(b"\r\n--" + boundary)
            )
            found.append((fields, rest[:length]))
            rest = rest[length:]
            assert rest.startswith(b"\r\n--" + boundary)
            rest = rest[len(boundary) + 4 :]
        return found


class Served:
    """A node with its port for HTTP.

    Parameters
    ----------
    node
        It.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        assert node.web_address is not None
        self.address = node.web_address
        self.url = f"http://127.0.0.1:{self.address[1]}/dicom-web"

    def store(self, paths: Sequence[Path]) -> None:
        """Store files by C-STORE; they are in the index at the end."""
        with Peer(f"NODE@127.0.0.1:{self.node.address[1]}", calling="WEB") as peer:
            results = list(peer.store(paths))
        assert all(result.is_stored for result in results), results
        assert self.node.holdings.intake.wait_for_all()

    def get(self, path: str, accept: str | None = None, method: str = "GET", **headers: str) -> Answer:
        """Ask for something below the root of DICOMweb."""
        return self.ask(f"/dicom-web{path}", accept, method, **headers)

    def ask(self, path: str, accept: str | None = None, method: str = "GET", **headers: str) -> Answer:
        """Ask for something of the node."""
        connection = HTTPConnection("127.0.0.1", self.address[1], timeout=30)
        try:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            if accept is not None:
                fields["Accept"] = accept
            connection.request(method, path, headers=fields)
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())
        finally:
            connection.close()


@contextmanager
def served(folder: Path, *, terms: Terms | None = None, **options: Any) -> Iterator[Served]:
    """A node in a folder; further options are those of `Node`."""
    node = Node(
        folder,
        address=("127.0.0.1", 0),
        web=listen(("127.0.0.1", 0)),
        sync=False,
        terms=terms or Terms(),
        **options,
    )
    node.start()
    try:
        yield Served(node)
    finally:
        node.shutdown()
