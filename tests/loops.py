"""Helpers for tests of asyncio: a loop for each test that must leave nothing behind, and peers made of streams."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from dicomnet.upper_layer.negotiation import (
    Acceptor,
    SupportedContext,
    accept,
    identification_items,
)
from dicomnet.wire.pdu import AssociateRQ, decode_pdu

Part = TypeVar("Part")

# How long a test may take before it fails, in seconds; far more than it needs, and less than the deadlines of 30 s.
PATIENCE = 25.0


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in a loop of its own, which has no other task when it ends."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def watched() -> None:
            async with asyncio.timeout(PATIENCE):
                await test(*args, **kwargs)
            gc.collect()
            await until(lambda: len(asyncio.all_tasks()) == 1, "no task is left")

        asyncio.run(watched())
        gc.collect()

    return run


async def until(condition: Callable[[], bool], what: str = "") -> None:
    """Wait for a condition; fails if it does not come true in time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE / 2.5
    while not condition():
        assert loop.time() < end, what or condition
        await asyncio.sleep(0.002)


async def over_time(parts: Iterable[Part], seconds: float) -> AsyncIterator[Part]:
    """Hand out parts as a slow line does, one each time that some seconds have passed."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    for count, part in enumerate(parts, 1):
        yield part
        is_due = asyncio.Event()
        loop.call_at(begin + count * seconds, is_due.set)
        await is_due.wait()


class StreamPeer:
    """A peer that says exactly what a test tells it to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> StreamPeer:
        """A client of the loopback interface."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, data: bytes) -> None:
        """Write all of it, some time."""
        self.writer.write(data)

    async def read_pdu(self) -> bytes:
        """The next whole PDU; shorter or empty where the connection ends before."""
        try:
            header = await self.reader.readexactly(6)
            return header + await self.reader.readexactly(int.from_bytes(header[2:], "big"))
        except asyncio.IncompleteReadError as error:
            return error.partial
        except ConnectionError:
            return b""

    async def read_to_end(self) -> bytes:
        """Everything until the connection ends, in whatever way."""
        parts = []
        with contextlib.suppress(ConnectionError):
            while part := await self.reader.read(65536):
                parts.append(part)
        return b"".join(parts)

    async def accept(self, maximum_length: int = 16384, window: int = 1) -> AssociateRQ:
        """Accept what is proposed, with the first transfer syntax of each context."""
        pdu = await self.read_pdu()
        asked = decode_pdu(pdu[0], memoryview(pdu)[6:])
        assert isinstance(asked, AssociateRQ)
        supported = {c.abstract_syntax: SupportedContext(c.transfer_syntaxes) for c in asked.contexts}
        items = identification_items(maximum_length, "1.2.3", None)
        given, _ = accept(asked, Acceptor(supported, items, performed_window=window))
        self.send(given.encode())
        return asked

    def reset(self) -> None:
        """Close at once."""
        self.writer.transport.abort()

    async def __aenter__(self) -> StreamPeer:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def stream_server(serve: Callable[[StreamPeer], Awaitable[None]]) -> AsyncIterator[int]:
    """A server on a free port, each connection served on its own; gives its port."""
    failures: list[BaseException] = []
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            async with StreamPeer(reader, writer) as peer:
                await serve(peer)
        except asyncio.CancelledError:
            return
        except Exception as error:  # noqa: BLE001
            failures.append(error)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await until(lambda: not tasks, "the peers have ended")
    if failures:
        raise failures[0]
