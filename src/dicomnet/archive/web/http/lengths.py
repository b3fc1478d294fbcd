"""Answers to clients of HTTP/1.0, who know no bodies in chunks (RFC 9112 section 6.1)."""

from __future__ import annotations

from tempfile import SpooledTemporaryFile
from typing import IO

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import Problem, problem_response
from .threads import in_thread

# How much of a body is kept in memory, and how much of it is sent at once, in bytes.
_IN_MEMORY, _AT_ONCE = 1 << 20, 1 << 18


class WithLengths:
    """An application whose answers have a length where the client speaks HTTP/1.0.

    Without one the end of the connection would be that of the answer, and one that is cut off would look like a whole
    one. So a body of which nobody knows the length beforehand is written to a file first.

    Parameters
    ----------
    application
        The application.
    """

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["http_version"] != "1.0" or scope["method"] == "HEAD":
            await self._application(scope, receive, send)
            return
        with SpooledTemporaryFile(_IN_MEMORY) as body:
            answer = _Answer(send, body)
            await self._application(scope, receive, answer.send)
            if answer.is_unfinished:
                problem = Problem(
                    500, "the answer could not be made to its end; the log of the archive says why"
                )
                await problem_response(problem)(scope, receive, send)


class _Answer:
    """An answer, whose head waits for all of its body where it has no length."""

    def __init__(self, send: Send, body: IO[bytes]) -> None:
        self._send = send
        self._body = body
        self._head: Message | None = None

    @property
    def is_unfinished(self) -> bool:
        """Whether it waits for more, and nothing of it was sent."""
        return self._head is not None

    async def send(self, message: Message) -> None:
        """Take a part of it."""
        if message["type"] == "http.response.start" and "content-length" not in Headers(
            raw=message["headers"]
        ):
            self._head = message
        elif self._head is None:
            await self._send(message)
        else:
            await in_thread(self._body.write, message.get("body", b""))
            if not message.get("more_body", False):
                head, self._head = self._head, None
                await self._send_all(head)

    async def _send_all(self, head: Message) -> None:
        MutableHeaders(scope=head)["content-length"] = str(self._body.tell())
        await self._send(head)
        self._body.seek(0)
        while block := await in_thread(self._body.read, _AT_ONCE):
            await self._send({"type": "http.response.body", "body": block, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})
