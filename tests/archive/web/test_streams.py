"""Bodies that are read while they are sent, and what becomes of them where they cannot be."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.archive.web.served import Served, address_of, sample, served
from tests.archive.web.test_connections import rest_of

from dicomnet.archive.web.http.streams import read_ahead
from dicomnet.errors import UnusableObject

IMPLICIT_LE = "1.2.840.10008.1.2"
CONVERTED = f'application/dicom; transfer-syntax="{IMPLICIT_LE}"'


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[tuple[Served, str]]:
    with served(tmp_path / "store") as node:
        node.store([sample("CT_small.dcm")])
        yield node, address_of(sample("CT_small.dcm"))


def test_one_who_is_cancelled_while_something_is_read_ends_the_iterator() -> None:
    """As often as he is: a scope of anyio does so at each await, and the iterator stayed open."""
    is_reading, may_go_on, is_closed = threading.Event(), threading.Event(), threading.Event()

    def chunks() -> Iterator[bytes]:
        try:
            yield b"1" * (1 << 19)
            is_reading.set()
            assert may_go_on.wait(20)
            yield b"2"
        finally:
            is_closed.set()

    async def read() -> None:
        async def wait() -> None:
            async for _ in read_ahead(chunks()):
                pass

        reading = asyncio.create_task(wait())
        await asyncio.to_thread(is_reading.wait, 20)
        while not reading.done():
            reading.cancel()
            await asyncio.sleep(0)
        assert not is_closed.is_set()
        may_go_on.set()
        assert await asyncio.to_thread(is_closed.wait, 20)

    asyncio.run(read())


def test_chunks_come_in_order_and_an_error_behind_them() -> None:
    def chunks() -> Iterator[bytes]:
        for number in range(50):
            yield bytes([number]) * 100_000
        raise UnusableObject("it ends here")

    found: list[object] = []

    async def read() -> None:
        async for chunk in read_ahead(chunks()):
            found.append(chunk)  # noqa: PERF401

    with pytest.raises(UnusableObject, match="it ends here"):
        asyncio.run(read())
    assert found == [bytes([number]) * 100_000 for number in range(50)]


def asked(node: Served, path: str, method: str = "GET") -> tuple[bytes, dict[str, str], bytes]:
    """The status line, the head and the body of an answer to a client of HTTP/1.0."""
    with socket.create_connection(node.address, 20) as client:
        client.sendall(f"{method} /dicom-web{path} HTTP/1.0\r\nAccept: {CONVERTED}, */*\r\n\r\n".encode())
        head, _, body = rest_of(client).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status.encode(), dict(line.lower().split(": ", 1) for line in lines), body


def test_a_client_of_http_1_0_gets_no_chunks(archive: tuple[Served, str]) -> None:
    """Their lengths stood within the object."""
    node, path = archive
    expected = node.get(path, CONVERTED)
    assert expected.headers["transfer-encoding"] == "chunked"
    status, fields, body = asked(node, path)
    assert status.endswith(b" 200 OK")
    assert "transfer-encoding" not in fields
    assert fields["content-length"] == str(len(expected.body))
    assert body == expected.body


def test_a_client_of_http_1_0_gets_no_half_of_an_object(archive: tuple[Served, str]) -> None:
    node, path = archive
    study = path.partition("/series")[0]
    node.store([sample("MR_small.dcm")])
    (file,) = node.node.holdings.local.root.rglob(f"{path.rpartition('/')[2]}.dcm")
    file.write_bytes(file.read_bytes()[:2000] + b"\xff" * 38_000)
    status, _, body = asked(node, f"{study}/metadata")
    assert b" 500 " in status
    assert b"cannot be given out" in body


@pytest.mark.parametrize("accept", [CONVERTED, "application/zip", "*/*"])
def test_a_head_tells_no_length_that_the_body_has_not(archive: tuple[Served, str], accept: str) -> None:
    """Where it was not known, it said 0."""
    node, path = archive
    for each in (path, f"{path}/metadata", f"{path}/rendered"):
        if "/" in each.removeprefix(path) and accept != "*/*":
            continue
        head, body = node.get(each, accept, "HEAD"), node.get(each, accept)
        assert head.status == body.status == 200
        assert head.body == b""
        assert head.headers.get("content-length") in (None, str(len(body.body)))


@pytest.mark.parametrize("below", ["", "/metadata"])
@pytest.mark.parametrize("is_multipart", [False, True])
def test_an_object_that_is_cut_off_is_answered_with_an_error(
    archive: tuple[Served, str], below: str, is_multipart: bool
) -> None:
    """It was answered with 200, and the end of the connection."""
    node, path = archive
    (file,) = node.node.holdings.local.root.rglob(f"{path.rpartition('/')[2]}.dcm")
    file.write_bytes(file.read_bytes()[:-1000])
    kind = "application/dicom+xml" if below else "application/dicom"
    accept = f'multipart/related; type="{kind}"; transfer-syntax=*' if is_multipart else "*/*"
    answer = node.get(f"{path}{below}", accept)
    assert answer.status == 500
    assert answer.body.startswith(b"what is stored here cannot be given out: ")
    assert b"/objects/" not in answer.body


@pytest.mark.parametrize("below", ["", "/frames/1", "/pixeldata"])
@pytest.mark.parametrize("is_multipart", [False, True])
def test_pixels_that_cannot_be_decompressed_are_answered_with_an_error(
    tmp_path: Path, below: str, is_multipart: bool
) -> None:
    content = bytearray(sample("JPEG2000.dcm").read_bytes())
    at = content.index(b"\xff\x4f\xff\x51")
    content[at:-100] = bytes(len(content) - 100 - at)
    (tmp_path / "damaged.dcm").write_bytes(content)
    path = address_of(sample("JPEG2000.dcm"))
    kind = "application/octet-stream" if below else "application/dicom"
    accept = f'multipart/related; type="{kind}"' if is_multipart else kind
    with served(tmp_path / "store") as node:
        node.store([tmp_path / "damaged.dcm"])
        answer = node.get(f"{path}{below}", f"{accept}; transfer-syntax=1.2.840.10008.1.2.1")
        assert answer.status == 500
        assert answer.body.startswith(b"what is stored here cannot be given out: ")
        # Its bytes are given out as they are.
        assert node.get(path, "application/dicom; transfer-syntax=*").body.endswith(content[-100:])
