"""A server of HTTP that does what a test tells it to, and calls of a `Peer` in both faces."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnet import Peer, aio
from dicomnet.encoding.file_header import encode_file_header

JSON = "application/dicom+json"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
STUDY, SERIES = "1.2.3", "1.2.3.4"


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Any
    body: bytes = b""
    target: str = ""

    @property
    def objects(self) -> list[Dataset]:
        """The objects of a multipart body, as Python's own reader of mail and pydicom read them."""
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = message_from_bytes(head + self.body, policy=HTTP).iter_parts()
        contents: list[Any] = [part.get_payload(decode=True) for part in parts]
        return [dcmread(BytesIO(each)) for each in contents]


@dataclass
class Says:
    """What is answered."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    # After how many bytes of the body the connection ends; None for all of it.
    cut: int | None = None


Answer = Callable[[Asked], Says | None]


class Web:
    """A server of HTTP/1.1.

    Parameters
    ----------
    answer
        Gives what is answered to a request; None ends the connection.
    """

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = urlsplit(self.path)
                asked = Asked(self.command, parts.path, parse_qs(parts.query), self.headers, body, self.path)
                web.asked.append(asked)
                says = answer(asked)
                if says is None:
                    self.close_connection = True
                    return
                self.send_response(says.status)
                for name, value in says.headers.items():
                    self.send_header(name, value)
                if says.status != 204:
                    self.send_header("Content-Length", str(len(says.body)))
                self.end_headers()
                self.wfile.write(says.body[: says.cut])
                self.close_connection = self.close_connection or says.cut is not None

            do_GET = do_POST = do_DELETE = do

            def log_message(self, format: str, *arguments: Any) -> None:
                """Nothing is written."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that hangs up is no failure of a test."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.scheme = "http" if tls is None else "https"

    @property
    def url(self) -> str:
        """The address of the service."""
        return f"{self.scheme}://127.0.0.1:{self._server.server_address[1]}/dicom-web"

    @property
    def targets(self) -> list[str]:
        """What was asked for, in order."""
        return [each.target.removeprefix("/dicom-web") for each in self.asked]

    def __enter__(self) -> Web:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def listed(models: Iterable[Any], **headers: str) -> Says:
    """An answer of JSON models."""
    return Says(200, json.dumps(list(models)).encode(), {"Content-Type": JSON, **headers})


def match(**values: Any) -> dict[str, Any]:
    """A match as JSON model, made by pydicom."""
    data_set = Dataset()
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    model: dict[str, Any] = data_set.to_json_dict()
    return model


def instance(number: int, series: str = SERIES) -> str:
    """The UID of an object."""
    return f"{series}.{number}"


def instances(count: int) -> list[dict[str, Any]]:
    """The matches of a query for the objects of the study."""
    return [
        match(StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, SOPInstanceUID=instance(number))
        for number in range(count)
    ]


def content(data_set: Dataset, encoded: bytes, uid: str | None = None) -> bytes:
    """A DICOM file."""
    return encode_file_header(data_set.SOPClassUID, uid or data_set.SOPInstanceUID, EXPLICIT_LE) + encoded


def multipart(files: Iterable[bytes], *, is_closed: bool = True) -> Says:
    """An answer with files, as PS3.18 section 8.6.1.2 has it."""
    parts = b"".join(b"--=b\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files)
    kind = 'multipart/related; type="application/dicom"; boundary="=b"'
    return Says(200, parts + (b"--=b--\r\n" if is_closed else b""), {"Content-Type": kind})


@contextlib.contextmanager
def web(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    """A server that answers so."""
    with Web(answer, tls) as server:
        yield server


@contextlib.contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does this with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threads.append(threading.Thread(target=serve, args=(connection,)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/dicom-web"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for each in threads:
                each.join()


@contextlib.contextmanager
def saying(*answers: bytes | None) -> Iterator[str]:
    """A server that says one of these to each request and ends the connection; from then on the last one."""
    left = list(answers)
    lock = threading.Lock()

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            asked = connection.recv(65536)
            while asked and b"\r\n\r\n" not in asked:
                asked += connection.recv(65536)
            with lock:
                answer = left.pop(0) if len(left) > 1 else left[0]
            connection.sendall(answer or b"")

    with serving(serve) as url:
        yield url


def called(url: str, use: Callable[[Any], Any], **options: Any) -> list[Any]:
    """What a call of `dicomnet.Peer` gives one by one, and what it raises, as the last."""
    found: list[Any] = []
    try:
        with Peer(url, **options) as peer:
            found.extend(_each(use(peer)))
    except Exception as error:  # noqa: BLE001
        found.append(error)
    return found


def _each(results: Any) -> Iterator[Any]:
    if isinstance(results, float):
        yield results
    else:
        yield from results


def awaited(url: str, use: Callable[[Any], Any], **options: Any) -> list[Any]:
    """The same of `dicomnet.aio.Peer`."""
    found: list[Any] = []

    async def run() -> None:
        async with aio.Peer(url, **options) as peer:
            results = use(peer)
            if hasattr(results, "__aiter__"):
                async for each in results:
                    # One by one: what came before an error counts.
                    found.append(each)  # noqa: PERF401
            else:
                found.append(await results)

    try:
        asyncio.run(run())
    except Exception as error:  # noqa: BLE001
        found.append(error)
    return found


FACES = {"calls": called, "await": awaited}
