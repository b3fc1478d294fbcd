"""A node with its pages, and a plain client that visits them over a real socket."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import urlencode

from pydicom.dataset import Dataset

from dicomnet import Peer
from dicomnet.archive.node import Node
from dicomnet.archive.terms import Terms
from dicomnet.datasets.codec import encode_object
from dicomnet.drivers.transport import listen
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.encoding.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN


class Visit(NamedTuple):
    """A page as it came."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def elements(self) -> list[tuple[str, dict[str, str]]]:
        """The elements of the page by an HTML parser, each with its attributes."""
        parser = _Elements()
        parser.feed(self.text)
        return parser.found

    @property
    def shown(self) -> str:
        """What a reader reads of it."""
        parser = _Elements()
        parser.feed(self.text)
        return " ".join(" ".join(parser.texts).split())

    def links(self, pattern: str) -> list[str]:
        """Where links lead whose addresses match."""
        return [
            attributes["href"]
            for name, attributes in self.elements
            if name == "a" and re.fullmatch(pattern, attributes.get("href", ""))
        ]


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


class Visited:
    """A node with its pages.

    Parameters
    ----------
    node
        It.
    """

    def __init__(self, node: Node) -> None:
        assert node.web_address is not None
        self.node = node
        self.port = node.web_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def store(self, objects: Iterable[Path | Dataset]) -> None:
        """Store objects by C-STORE, one after the other."""
        with (
            TemporaryDirectory() as folder,
            Peer(f"NODE@127.0.0.1:{self.node.address[1]}", calling="PAGE") as peer,
        ):
            paths = [
                each if isinstance(each, Path) else written(each, Path(folder) / f"{number}")
                for number, each in enumerate(objects)
            ]
            results = [result for path in paths for result in peer.store([path])]
        assert all(result.is_stored for result in results), results
        assert self.node.holdings.intake.wait_for_all()

    def visit(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Visit:
        """Ask for a page."""
        return visit(self.port, path, method, body, **headers)

    def send_form(self, page: str, path: str, fields: Mapping[str, str], **headers: str) -> Visit:
        """Send a form as a browser that has loaded a page of ours; with `Cookie`, that of a session."""
        session = headers.pop("Cookie", "")
        loaded = self.visit(page, Cookie=session) if session else self.visit(page)
        cookie = "; ".join(filter(None, (loaded.headers["set-cookie"].partition(";")[0], session)))
        token = re.search(r'data-token="([0-9a-f]+)"', loaded.text)
        assert token is not None
        body = urlencode({"token": token[1], **fields}).encode()
        return self.visit(path, "POST", body, **{"Cookie": cookie, "Origin": self.url, **headers})


def visit(port: int, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Visit:
    """Ask a node for a page."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, fields)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Visit(response.status, found, response.read().decode(errors="replace"))
    finally:
        connection.close()


def written(data_set: Dataset, path: Path) -> Path:
    """A data set as a file."""
    syntax = EXPLICIT_VR_LITTLE_ENDIAN
    header = encode_file_header(data_set.SOPClassUID, data_set.SOPInstanceUID, syntax)
    path.write_bytes(header + encode_object(data_set, is_implicit_vr=False, is_little_endian=True))
    return path


@contextmanager
def visited(folder: Path, terms: Terms | None = None, **options: Any) -> Iterator[Visited]:
    """A node in a folder; further options are those of `Node`."""
    listener = listen(("127.0.0.1", 0))
    node = Node(folder, address=("127.0.0.1", 0), web=listener, sync=False, terms=terms or Terms(), **options)
    node.start()
    try:
        yield Visited(node)
    finally:
        node.shutdown()
