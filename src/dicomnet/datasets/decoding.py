"""Decompression in processes apart: a decoder may end its own one over a damaged frame, as GDCM does.

A process is started when the first object is to be decompressed, does one after the other, and ends when it was idle
for a while, or with the one that started it.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from io import BytesIO
from multiprocessing.spawn import get_executable
from typing import TYPE_CHECKING, BinaryIO

from ..errors import UnusableObject

if TYPE_CHECKING:
    from collections.abc import Callable

# How long a process waits for another object before it ends, and how long it may take for one, in seconds.
_IDLE_SECONDS = 30.0
_LONGEST = 600.0
_CHUNK = 1 << 20
_SIGKILL = 9
# The decoders are found where this process finds them, and nothing in the current folder is taken for one.
_CODE = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from dicomnet.datasets.transcode import decode_requests
decode_requests()
"""


class _Ended(Exception):
    """The process has ended before it answered."""


class _Process:
    """A process that decompresses one object at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            # The interpreter, also where the program that Python is a part of has another name.
            [os.fsdecode(get_executable()), "-I", "-c", _CODE, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the one who started it.
            start_new_session=True,
        )
        self.has_answered = False

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def decompress(self, stream: BinaryIO, description: dict[str, str], sink: BinaryIO) -> None:
        """Have an object decompressed; raises `_Ended`, or UnusableObject where that cannot be."""
        to, answers = self._process.stdin, self._process.stdout
        assert to is not None
        assert answers is not None
        content = stream.read()
        killing = threading.Timer(_LONGEST, self._process.kill)
        killing.daemon = True
        killing.start()
        try:
            to.write(json.dumps({**description, "length": len(content)}).encode() + b"\n")
            to.write(content)
            to.flush()
            line = answers.readline()
            answer = json.loads(line) if line.endswith(b"\n") else {}
            left = answer.get("length", 0)
            while left and (block := answers.read(min(left, _CHUNK))):
                sink.write(block)
                left -= len(block)
        except OSError as error:
            # Of the pipe: what the sink raises has another number.
            if not isinstance(error, BrokenPipeError):
                raise
            raise _Ended from error
        finally:
            killing.cancel()
            killing.join()
        if not answer or left:
            raise _Ended
        self.has_answered = True
        if "error" in answer:
            raise UnusableObject(answer["error"])

    def end(self) -> int:
        """End it, if it has not; its exit status, or the number of the signal below zero."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()
        try:
            return self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class Decoders:
    """The processes that decompress for this one: at most as many at once as there are processors."""

    def __init__(self) -> None:
        self._idle: list[_Process] = []
        self._free = threading.BoundedSemaphore(os.cpu_count() or 1)

    def decompress(
        self, stream: BinaryIO, transfer_syntax: str, sop_class: str, sop_instance: str, sink: BinaryIO
    ) -> None:
        """Write a data set with its pixel data decompressed, in Explicit VR Little Endian.

        Parameters
        ----------
        stream
            The data set.
        transfer_syntax, sop_class, sop_instance
            UIDs of it.
        sink
            Is given the data set.

        Raises
        ------
        UnusableObject
            If it cannot be decompressed; also where the decoder ended its process over it.
        OSError
            If no process can be started, or the sink cannot be written.
        """
        begin, place = stream.tell(), sink.tell()
        description = {"own": transfer_syntax, "sop_class": sop_class, "instance": sop_instance}
        with self._free:
            while True:
                process = self._taken()
                is_new = not process.has_answered
                try:
                    process.decompress(stream, description, sink)
                except _Ended:
                    status = process.end()
                    if is_new or status != 0:
                        raise UnusableObject(_why(status)) from None
                    # It had been idle for too long just then.
                    stream.seek(begin)
                    sink.seek(place)
                    sink.truncate()
                    continue
                except UnusableObject:
                    self._idle.append(process)
                    raise
                except BaseException:
                    process.end()
                    raise
                self._idle.append(process)
                return

    def _taken(self) -> _Process:
        while self._idle:
            with suppress(IndexError):
                process = self._idle.pop()
                if process.is_running:
                    return process
                process.end()
        return _Process()

    def forget(self) -> None:
        """After a fork: those processes are another's."""
        self._idle = []
        self._free = threading.BoundedSemaphore(os.cpu_count() or 1)

    def close(self) -> None:
        """End those that are idle."""
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().end()


def _why(status: int) -> str:
    if status == -_SIGKILL:
        return "its decompression took too long, or too much memory, and was ended"
    ended = f"signal {-status}" if status < 0 else f"exit status {status}"
    return f"the decoder ended its process over it ({ended}); its pixel data is damaged"


def serve(decompress: Callable[[BinaryIO, str, str, str, BinaryIO], None]) -> None:
    """Answer what a `Decoders` of another process asks, by the standard input and output, until it asks no more."""
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    # What decoders print must not come between.
    os.dup2(2, 1)
    while line := _line_in_time(requests):
        asked = json.loads(line)
        content = BytesIO(requests.read(asked["length"]))
        result = BytesIO()
        answer: dict[str, object]
        try:
            decompress(content, asked["own"], asked["sop_class"], asked["instance"], result)
            answer = {"length": result.tell()}
        except UnusableObject as error:
            answer = {"error": error.cause}
        except MemoryError:
            answer = {"error": "there is not enough memory to decompress it"}
        answers.write(json.dumps(answer).encode() + b"\n")
        if "length" in answer:
            answers.write(result.getbuffer())
        answers.flush()


def _line_in_time(requests: BinaryIO) -> bytes:
    """The next line, or an empty one at the end; after a while without any, the process ends."""
    ending = threading.Timer(_IDLE_SECONDS, os._exit, (0,))
    ending.daemon = True
    ending.start()
    try:
        return requests.readline()
    finally:
        ending.cancel()


DECODERS = Decoders()
atexit.register(DECODERS.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=DECODERS.forget)
