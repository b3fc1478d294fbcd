"""What lies below DICOMweb: TLS with certificates of both sides, HTTP/2, deadlines, and others."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest
from pydicom.dataset import Dataset
from tests.dicomweb.test_storing import takes_all
from tests.sockets import Certificates, make_certificates
from tests.web import (
    FACES,
    STUDY,
    Asked,
    Says,
    content,
    instance,
    instances,
    listed,
    match,
    multipart,
    serving,
    web,
)

from dicomnet import Timeouts
from dicomnet.errors import ConnectionFailed, ConnectionLost, DeadlineExceeded, ProtocolError, TLSFailed

Call = Callable[..., list[Any]]


@pytest.fixture(params=FACES)
def call(request: pytest.FixtureRequest) -> Call:
    face: Call = FACES[request.param]
    return face


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def nothing(asked: Asked) -> Says:
    return listed([])


def named(url: str) -> str:
    """The address with the name that the certificate is for."""
    return url.replace("127.0.0.1", "localhost")


def echo(peer: Any) -> Any:
    return peer.echo()


def test_tls_with_an_authority_of_the_hospital(call: Call, certificates: Certificates) -> None:
    with web(nothing, certificates.server()) as server:
        (seconds,) = call(named(server.url), echo, tls=certificates.client())
        assert seconds > 0
        # The system does not know that authority.
        (error,) = call(named(server.url), echo)
        assert isinstance(error, TLSFailed)
        assert "not trusted" in str(error)
        # The certificate is for a name.
        (error,) = call(server.url, echo, tls=certificates.client())
        assert isinstance(error, TLSFailed)
    assert len(server.asked) == 1


def test_a_certificate_of_ours(call: Call, certificates: Certificates) -> None:
    with web(nothing, certificates.server(mutual=True)) as server:
        (seconds,) = call(named(server.url), echo, tls=certificates.client(mutual=True))
        assert seconds > 0
        (error,) = call(named(server.url), echo, tls=certificates.client(), retries=0)
        assert isinstance(error, TLSFailed), error
        assert "certificate" in str(error)
    assert len(server.asked) == 1


def test_only_one_side_speaks_tls(call: Call, certificates: Certificates) -> None:
    with web(nothing) as plain:
        (error,) = call(plain.url.replace("http:", "https:"), echo)
        assert isinstance(error, TLSFailed)
        assert "does not speak TLS" in str(error)
    with web(nothing, certificates.server()) as secured:
        (error,) = call(secured.url.replace("https:", "http:"), echo, retries=0)
        assert isinstance(error, ConnectionLost | ProtocolError)


def test_a_peer_that_does_not_answer(call: Call) -> None:
    def mute(connection: socket.socket) -> None:
        with connection:
            while connection.recv(4096):
                pass

    with serving(mute) as url:
        (error,) = call(url, echo, timeouts=Timeouts(message=0.2))
    assert isinstance(error, DeadlineExceeded)
    assert (error.stage, error.seconds) == ("message", 0.2)


def test_a_peer_whose_answer_never_ends(call: Call) -> None:
    """It sends a byte now and then, which does not earn it any time to speak of."""

    def trickle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            connection.settimeout(0.05)
            while True:
                connection.sendall(b" ")
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(1):
                        return

    with serving(trickle) as url:
        (error,) = call(url, echo, timeouts=Timeouts(message=0.5))
    assert isinstance(error, DeadlineExceeded)


SPOKEN = {
    "an association's rejection": b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x01",
    "mail": b"220 mail.example ESMTP\r\n\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 200_000,
}


@pytest.mark.parametrize("name", SPOKEN)
def test_a_peer_that_speaks_something_else(call: Call, name: str) -> None:
    def say(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            connection.sendall(SPOKEN[name])

    with serving(say) as url:
        (error,) = call(url, echo, retries=0)
    assert isinstance(error, ProtocolError), error
    assert "HTTP" in str(error)


def test_a_name_that_nobody_has(call: Call) -> None:
    (error,) = call("http://nobody.invalid/dicom-web", echo)
    assert isinstance(error, ConnectionFailed)
    assert (error.host, error.cause) == ("nobody.invalid", "the host name is not known")


class Second:
    """A server of HTTP/2 over TLS, and of nothing else, made of h2, that answers as a `Web`."""

    def __init__(self, answer: Callable[[Asked], Says], context: ssl.SSLContext) -> None:
        context.set_alpn_protocols(["h2"])
        self._context = context
        self._answer = answer

    def serve(self, plain: socket.socket) -> None:
        # Whoever was told to go may still have sent something.
        ended = contextlib.suppress(OSError, h2.exceptions.ProtocolError)
        with ended, self._context.wrap_socket(plain, server_side=True) as connection:
            self._talk(connection)

    def answered(self, http: h2.connection.H2Connection, stream: int) -> bool:
        """Whether a request gets its answer; else this has ended its stream."""
        return True

    def _talk(self, connection: ssl.SSLSocket) -> None:
        http = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        http.initiate_connection()
        connection.sendall(http.data_to_send())
        asked: dict[int, Asked] = {}
        whole: list[int] = []
        unsent: dict[int, bytes] = {}
        while data := connection.recv(65536):
            for event in http.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    fields = {str(name): str(value) for name, value in event.headers}
                    path, _, query = fields[":path"].partition("?")
                    names = {"Content-Type": fields.get("content-type", "")}
                    asked[event.stream_id] = Asked(fields[":method"], path, {}, names, target=query)
                elif isinstance(event, h2.events.DataReceived):
                    asked[event.stream_id].body += event.data
                    http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    whole.append(event.stream_id)
            for stream in filter(partial(self.answered, http), whole):
                says = self._answer(asked.pop(stream))
                http.send_headers(stream, [(":status", str(says.status)), *_lower(says)])
                unsent[stream] = says.body
            whole.clear()
            for stream in list(unsent):
                while stream in unsent and (room := http.local_flow_control_window(stream)) > 0:
                    size = min(room, http.max_outbound_frame_size)
                    part, unsent[stream] = unsent[stream][:size], unsent[stream][size:]
                    http.send_data(stream, part, end_stream=not unsent[stream])
                    if not unsent[stream]:
                        del unsent[stream]
            connection.sendall(http.data_to_send())


def _lower(says: Says) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in says.headers.items()]


def test_http_2_where_it_is_offered(
    call: Call,
    certificates: Certificates,
    make: Callable[..., Dataset],
    encode: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    """Several requests at a time, and objects go both ways."""
    objects = [make(SOPInstanceUID=instance(number), PixelData=bytes(300_000)) for number in range(4)]
    stored = [content(each, encode(each)) for each in objects]
    for number, each in enumerate(stored):
        (tmp_path / f"{number}.dcm").write_bytes(each)

    def answer(asked: Asked) -> Says:
        if asked.method == "POST":
            return takes_all(asked)
        if asked.path.endswith("/studies"):
            return listed([match(StudyInstanceUID=STUDY)])
        if asked.path.endswith("/instances"):
            return listed(instances(4))
        return multipart(stored)

    to = tmp_path / "got"
    with served(Second(answer, certificates.server())) as url:
        results = call(url, lambda peer: peer.store([tmp_path]), tls=certificates.client())
        assert [each.status for each in results] == [0] * 4
    with served(Second(answer, certificates.server())) as url:
        *_, last = call(
            url,
            lambda peer: peer.get("study", to=to, StudyInstanceUID=STUDY),
            tls=certificates.client(),
            jobs=2,
        )
        assert last.is_complete, last


@contextlib.contextmanager
def served(second: Second) -> Iterator[str]:
    with serving(second.serve) as url:
        yield url.replace("http://127.0.0.1", "https://localhost")


def reset(http: h2.connection.H2Connection, stream: int) -> None:
    http.reset_stream(stream, error_code=7)


def go_away(http: h2.connection.H2Connection, stream: int) -> None:
    http.close_connection(last_stream_id=0)


def begin_and_reset(http: h2.connection.H2Connection, stream: int) -> None:
    http.send_headers(stream, [(":status", "200"), ("content-type", "application/dicom+json")])
    http.send_data(stream, b'[{"0020')
    http.reset_stream(stream, error_code=2)


@pytest.mark.parametrize("end", [reset, go_away, begin_and_reset])
def test_a_stream_that_the_peer_ended_was_taken_for_a_refused_certificate(
    call: Call, certificates: Certificates, end: Callable[[h2.connection.H2Connection, int], None]
) -> None:
    """The same request is made again: the peer has not answered it."""
    ended: list[int] = []

    class Ending(Second):
        def answered(self, http: h2.connection.H2Connection, stream: int) -> bool:
            if ended:
                return True
            ended.append(stream)
            end(http, stream)
            return False

    def answer(asked: Asked) -> Says:
        return listed([match(StudyInstanceUID=STUDY)])

    with served(Ending(answer, certificates.server())) as url:
        (found,) = call(url, lambda peer: peer.find("study"), tls=certificates.client())
    assert found.StudyInstanceUID == STUDY
    assert len(ended) == 1


def test_an_answer_to_a_query_that_was_cut_off_was_not_asked_for_again(call: Call) -> None:
    def answer(asked: Asked) -> Says:
        says = listed([match(StudyInstanceUID=STUDY)])
        return Says(200, says.body, says.headers, cut=9 if len(server.asked) == 1 else None)

    with web(answer) as server:
        (found,) = call(server.url, lambda peer: peer.find("study"))
    assert found.StudyInstanceUID == STUDY
    assert len(server.asked) == 2
