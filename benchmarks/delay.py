"""A proxy that delays each byte in both directions: a line with a long round trip and a high bandwidth.

Arguments: ``PORT TARGET_PORT SECONDS``. A round trip takes twice the seconds.
"""

from __future__ import annotations

import asyncio
import sys

from .processes import HOST

_BLOCK = 1 << 18
# The most blocks that are under way; then the sender has to wait.
_ON_THE_WAY = 1024


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_ON_THE_WAY)

    async def deliver() -> None:
        while True:
            due, block = await on_the_way.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not block:
                break
            writer.write(block)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(deliver())
        block = b"."
        while block:
            block = await reader.read(_BLOCK)
            await on_the_way.put((loop.time() + seconds, block))


async def _proxy(port: int, target: int, seconds: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, target, limit=_BLOCK)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_carry(reader, back, seconds))
                tasks.create_task(_carry(there, writer, seconds))
        except* ConnectionError:
            # One side has closed its connection; the other is closed below.
            pass
        finally:
            writer.close()
            back.close()

    async with await asyncio.start_server(connected, HOST, port, limit=_BLOCK) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_proxy(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
