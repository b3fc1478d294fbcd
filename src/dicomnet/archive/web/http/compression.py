"""Compression of what is text, for clients that accept it (RFC 9110 section 12.5.3)."""

from __future__ import annotations

import zlib
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .threads import in_thread

# A shorter response is not compressed, nor one that is not text; what is longer is so in a thread. Pages are not: they
# have tokens of forms, which the lengths of compressed texts could give away bit by bit (BREACH).
_SHORTEST, _LONG = 1_000, 1 << 16
_KINDS = (
    "application/dicom+json",
    "application/json",
    "application/javascript",
    "image/svg+xml",
    "text/css",
    "text/javascript",
    "text/plain",
)
# That of the most text in a second; others make it little shorter.
_LEVEL = 1
_GZIP = 16 + zlib.MAX_WBITS


class Compression:
    """An application whose responses are compressed where that pays.

    Parameters
    ----------
    application
        The application.
    """

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        accepts = accepts_gzip(Headers(scope=scope).get("accept-encoding", ""))
        await self._application(scope, receive, _Response(send, accepts).send)


def accepts_gzip(header: str) -> bool:
    """Whether a client takes gzip, by its Accept-Encoding."""
    for each in header.lower().split(","):
        coding, _, parameters = each.partition(";")
        if coding.strip() in ("gzip", "*"):
            quality = parameters.replace(" ", "").partition("q=")[2] or "1"
            return quality.strip("0.") != ""
    return False


class _Response:
    """A response on its way, whose head waits for the first bytes of the body."""

    def __init__(self, send: Send, accepts: bool) -> None:
        self._send = send
        self._accepts = accepts
        self._head: MutableMapping[str, Any] | None = None
        self._compressor: Any = None

    async def send(self, message: Message) -> None:
        """Take a part of it."""
        if message["type"] == "http.response.start":
            if not self._may_be_compressed(message):
                await self._send(message)
            else:
                self._head = message
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._head is not None:
            head, self._head = self._head, None
            if self._accepts and (more or len(body) >= _SHORTEST):
                self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
                _say_compressed(head)
            await self._send(head)
        if self._compressor is not None:
            body = await (
                in_thread(self._compressed, body, more) if len(body) > _LONG else self._soon(body, more)
            )
        if body or not more:
            await self._send({"type": "http.response.body", "body": body, "more_body": more})

    def _may_be_compressed(self, head: Message) -> bool:
        """Whether the client could have it compressed; then caches are told so."""
        headers = MutableHeaders(scope=head)
        kind = headers.get("content-type", "")
        if "content-encoding" in headers or "content-range" in headers or not kind.startswith(_KINDS):
            return False
        if headers.get("vary") != "Accept-Encoding":
            headers.add_vary_header("Accept-Encoding")
        return True

    async def _soon(self, body: bytes, more: bool) -> bytes:
        return self._compressed(body, more)

    def _compressed(self, body: bytes, more: bool) -> bytes:
        compressed: bytes = self._compressor.compress(body)
        # What has been found is shown, and not kept until there is more of it.
        compressed += self._compressor.flush(zlib.Z_SYNC_FLUSH if more else zlib.Z_FINISH)
        return compressed


def _say_compressed(head: Message) -> None:
    headers = MutableHeaders(scope=head)
    headers["content-encoding"] = "gzip"
    del headers["content-length"]
    tag = headers.get("etag", "")
    if tag.startswith('"'):
        # Its bytes are other ones.
        headers["etag"] = f"W/{tag}"
