"""What tests of DICOMweb send, and how: over real sockets, byte by byte where that matters."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydicom.dataset import Dataset

from dicomnet.archive.node import Node
from dicomnet.datasets.codec import encode_object
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.encoding.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN

BOUNDARY = "boundary.of.a.test"
PATIENCE = 20.0


class Answer(NamedTuple):
    """An answer by HTTP."""

    status: int
    headers: http.client.HTTPMessage
    content: bytes

    @property
    def model(self) -> dict[str, Any]:
        """The JSON in it."""
        found = json.loads(self.content)
        assert isinstance(found, dict)
        return found

    @property
    def stored(self) -> list[str]:
        """SOP Instance UIDs of what was stored."""
        return [each["00081155"]["Value"][0] for each in self._items("00081199")]

    @property
    def failed(self) -> dict[str, int]:
        """The failure reasons of what was not, by SOP Instance UID."""
        return {
            each["00081155"]["Value"][0]: each["00081197"]["Value"][0] for each in self._items("00081198")
        }

    @property
    def other_failures(self) -> list[int]:
        """The failure reasons of what nobody knows the UID of."""
        return [each["00081197"]["Value"][0] for each in self._items("0008119A")]

    @property
    def warnings(self) -> dict[str, int]:
        """The warning reasons, by SOP Instance UID."""
        return {
            each["00081155"]["Value"][0]: each["00081196"]["Value"][0]
            for each in self._items("00081199")
            if "00081196" in each
        }

    def _items(self, sequence: str) -> list[dict[str, Any]]:
        items = self.model.get(sequence, {}).get("Value", [])
        assert isinstance(items, list)
        return items


class WebNode:
    """A node with DICOMweb."""

    def __init__(self, node: Node, folder: Path) -> None:
        assert node.web_address is not None
        self.node = node
        self.folder = folder
        self.address = node.web_address
        self.url = f"http://{self.address[0]}:{self.address[1]}/dicom-web"

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request, and read the answer."""
        return ask(self.address, method, path, body, headers)

    def store(
        self,
        parts: Sequence[bytes | tuple[str, bytes]],
        path: str = "/studies",
        *,
        kind: str = "application/dicom",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Store what is in the parts of a body."""
        return self.ask(
            "POST", path, multipart(parts), {"Content-Type": content_type(kind), **(headers or {})}
        )

    @contextmanager
    def connection(self) -> Iterator[socket.socket]:
        """A plain connection."""
        with socket.create_connection(self.address, PATIENCE) as connection:
            yield connection

    @property
    def objects(self) -> list[str]:
        """SOP Instance UIDs of the files in the store, when all that was acknowledged has its place."""
        assert self.node.holdings.intake.wait_for_all()
        return sorted(path.stem for path in (self.folder / "objects").rglob("*.dcm"))

    @property
    def staged(self) -> list[Path]:
        """What lies in the staging folder and has content."""
        return [path for path in (self.folder / "staging").iterdir() if path.stat().st_size]

    def content(self, instance: str) -> bytes:
        """The file of an object."""
        (path,) = (self.folder / "objects").rglob(f"{instance}.dcm")
        return path.read_bytes()


def ask(
    address: tuple[str, int],
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send a request to a node, and read the answer."""
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
    try:
        connection.request(method, f"/dicom-web{path}", body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def content_type(kind: str = "application/dicom") -> str:
    """The Content-Type of a body with parts."""
    return f'multipart/related; type="{kind}"; boundary={BOUNDARY}'


def multipart(parts: Sequence[bytes | tuple[str, bytes]], *, is_closed: bool = True) -> bytes:
    """A body of parts, each a DICOM file, or a head and a content."""
    made = []
    for part in parts:
        head, content = ("Content-Type: application/dicom", part) if isinstance(part, bytes) else part
        made += [f"\r\n--{BOUNDARY}\r\n{head}\r\n\r\n".encode(), content]
    return b"".join(made) + (f"\r\n--{BOUNDARY}--\r\n".encode() if is_closed else b"")


def file_of(
    data_set: Dataset, syntax: str = EXPLICIT_VR_LITTLE_ENDIAN, encoded: bytes | None = None
) -> bytes:
    """A data set as a DICOM file, just as a node writes it."""
    header = encode_file_header(data_set.SOPClassUID, data_set.SOPInstanceUID, syntax)
    if encoded is None:
        encoded = encode_object(data_set, is_implicit_vr=False, is_little_endian=True)
    return header + encoded
