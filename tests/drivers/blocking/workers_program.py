"""A program that serves with worker processes, as a user writes it; started by the tests.

Arguments: how many workers, a file that gets the process ID of a worker for each association, and what to do when a
line comes in: ``shutdown`` and check that nothing is left, ``leave`` without it, or ``block`` from the start, where
SIGTERM shuts down; it comes by itself as soon as there is a second process with ``early``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from dicomnet import AE, evt
from dicomnet.drivers.blocking import workers
from dicomnet.pynetdicom.events import Event, EventHandlerType

VERIFICATION = "1.2.840.10008.1.1"


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def note(event: Event, path: str) -> None:
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")


def echo(event: Event) -> int:
    if event.assoc.requestor.ae_title == "KILLER":
        os._exit(3)
    return 0


def main() -> None:
    count, path, then = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    before = descriptors()
    ae = AE("SERVER")
    ae.add_supported_context(VERIFICATION)
    handlers: list[EventHandlerType] = [(evt.EVT_ESTABLISHED, note, [path]), (evt.EVT_C_ECHO, echo)]
    if then == "early":
        fork = workers._fork

        def fork_and_end(run: Callable[[], int]) -> int:
            process = fork(run)
            os.kill(os.getpid(), signal.SIGTERM)
            return process

        workers._fork = fork_and_end
    if then in ("block", "early"):
        port = int(sys.stdin.readline())
        signal.signal(signal.SIGTERM, lambda *_: ae.shutdown())
        ae.start_server(("127.0.0.1", port), evt_handlers=handlers, workers=count)
        raise SystemExit("the server has ended")
    servers = [
        ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, workers=count) for _ in "ab"
    ]
    print(*(server.server_address[1] for server in servers if server), flush=True)
    sys.stdin.readline()
    if then == "leave":
        return
    ae.shutdown()
    ae.shutdown()
    left = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    print(f"{descriptors() - before} descriptors, {len(''.join(left).split())} children are left", flush=True)


if __name__ == "__main__":
    main()
