"""The requests that a user agent sends: recorded on their way to a node, kept in a file, and sent again from there.

A file has no host, no port and no object: where an object was sent, its SOP Instance UID stands, and the object is
taken from `objects` when it is sent again.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydicom import dcmread
from tests.web import Asked, Says, Web

FOLDER = Path(__file__).parent / "recorded"
PREFIX = "/dicom-web"
# What a node answers differently for, or might.
_KEPT = (
    "accept",
    "accept-encoding",
    "content-type",
    "range",
    "if-none-match",
    "sec-fetch-site",
    "sec-fetch-mode",
)
# What stands in a file for what is another one each time.
_HOST, _PORT, _TAG = "HOST", "PORT", "ETAG"


class Piece(NamedTuple):
    """A part of a multipart body: what stands before its content, and the SOP Instance UID of the object that is it.

    At the end of the body there is no object.
    """

    before: str
    instance: str


class Request(NamedTuple):
    """A request as it is kept.

    ``target`` is what comes behind the root of DICOMweb. ``headers`` has the host as ``HOST:PORT``, or ``HOST`` where
    the agent left the port out, and ``ETAG`` for the entity tag of what the agent has already.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: Sequence[Piece] = ()

    def content(self, files: Mapping[str, bytes]) -> bytes:
        """The body, with the objects from their files by SOP Instance UID."""
        return b"".join(
            piece.before.encode("latin-1") + (files[piece.instance] if piece.instance else b"")
            for piece in self.body
        )

    def fields(self, address: tuple[str, int]) -> dict[str, str]:
        """The header fields for a node at an address."""
        host, port = address
        return {
            name: value.replace(_HOST, host).replace(_PORT, str(port)) if name == "host" else value
            for name, value in self.headers.items()
        }


def written(requests: Iterable[Request]) -> str:
    """Requests as the text of a file."""
    rows = [
        {**request._asdict(), "body": [piece._asdict() for piece in request.body]} for request in requests
    ]
    return json.dumps(rows, indent=1) + "\n"


def kept(agent: str) -> list[Request]:
    """What was recorded of an agent."""
    rows = json.loads((FOLDER / f"{agent}.json").read_text())
    return [Request(**{**row, "body": [Piece(**piece) for piece in row["body"]]}) for row in rows]


class Recorder:
    """Stands between agents and a node.

    Parameters
    ----------
    web
        Takes their requests.
    """

    def __init__(self, web: Web) -> None:
        self._web = web
        self.url = web.url
        self.origin = web.url.removesuffix(PREFIX)

    @property
    def requests(self) -> list[Request]:
        """What was asked of DICOMweb, in the order in which it came; what changes nothing only once."""
        found = [_request(asked) for asked in self._web.asked if asked.path.startswith(PREFIX)]
        return [
            request
            for number, request in enumerate(found)
            if request.method != "GET" or request not in found[:number]
        ]


@contextmanager
def recorder(address: tuple[str, int]) -> Iterator[Recorder]:
    """Something that records what it passes on to a node."""

    def pass_on(asked: Asked) -> Says:
        fields = dict(asked.headers)
        # Without the port, the node would take its own for it, and addresses in its answers would lead past us.
        fields["Host"] = urlsplit(web.url).netloc
        connection = HTTPConnection(*address, timeout=60)
        try:
            connection.request(asked.method, asked.target, asked.body or None, fields)
            response = connection.getresponse()
            given = {
                name: value
                for name, value in response.getheaders()
                if name.lower() not in ("transfer-encoding", "content-length", "connection")
            }
            return Says(response.status, response.read(), given)
        finally:
            connection.close()

    with Web(pass_on) as web:
        yield Recorder(web)


def _request(asked: Asked) -> Request:
    headers = {name: asked.headers[name] for name in _KEPT if name in asked.headers}
    if "if-none-match" in headers:
        headers["if-none-match"] = _TAG
    headers["host"] = f"{_HOST}:{_PORT}" if ":" in asked.headers["Host"] else _HOST
    return Request(
        asked.method, asked.target.removeprefix(PREFIX), headers, _pieces(asked.body) if asked.body else ()
    )


def _pieces(body: bytes) -> list[Piece]:
    """What is sent to be stored, taken apart at the objects in it."""
    delimiter, _, _ = body.removeprefix(b"\r\n").partition(b"\r\n")
    found = []
    before, *parts = body.split(delimiter)
    for part in parts:
        head, blank, content = part.partition(b"\r\n\r\n")
        instance = ""
        if content:
            # What separates the object from the next delimiter belongs to that.
            instance = str(dcmread(BytesIO(content), stop_before_pixels=True).SOPInstanceUID)
        found.append(Piece((before + delimiter + head + blank).decode("latin-1"), instance))
        before = b"\r\n" if content else b""
    return found


def answered(address: tuple[str, int], request: Request, files: Mapping[str, bytes]) -> Any:
    """Send a request again; gives the response of `http.client` and its body."""
    fields = request.fields(address)
    connection = HTTPConnection(*address, timeout=60)
    try:
        if "if-none-match" in fields:
            asked_first = {name: value for name, value in fields.items() if name != "if-none-match"}
            connection.request(request.method, PREFIX + request.target, headers=asked_first)
            response = connection.getresponse()
            response.read()
            fields["if-none-match"] = response.headers["ETag"]
        connection.request(
            request.method,
            PREFIX + request.target,
            request.content(files) if request.body else None,
            fields,
        )
        response = connection.getresponse()
        body = response.read()
        return response, gzip.decompress(body) if response.headers["Content-Encoding"] == "gzip" else body
    finally:
        connection.close()
