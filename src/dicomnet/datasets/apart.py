"""Processes apart, for what may end its process or use it up: decoders, as GDCM does over a damaged frame.

A process is started when there is a first request, answers one after the other, and ends when it was idle for a while,
or with the one that started it.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import BytesIO
from multiprocessing.spawn import get_executable
from time import monotonic, sleep
from typing import IO, Any, BinaryIO, Protocol
from weakref import WeakSet

from ..errors import UnusableObject
from ..values import frozen
from .confinement import Limits, allow_processor_time, confine

_CHUNK = 1 << 20
# The longest head of an answer, in bytes.
_HEAD = 1 << 16
_SIGKILL, _SIGXCPU = 9, 24
# What a process says when it has loaded what it needs.
_READY = b"ready\n"
# Another process is started when requests have waited so long for one that is busy, in seconds: what the start takes.
_PATIENCE = 0.5
# How often it is looked whether a process has taken too long, in seconds.
_LOOK = 0.1
# What is asked for is found where this process finds it, and nothing in the current folder is taken for it.
_CODE = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from dicomnet.datasets.apart import answer_requests
answer_requests(*json.loads(sys.argv[2]))
"""
# A thread of a library takes address space for a stack, and does little for one frame. What a frame took of memory is
# kept for the next one, as far as glibc has it: to get it anew, page by page, takes as long as to render.
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": f"{32 << 20}",
    "MALLOC_TRIM_THRESHOLD_": f"{128 << 20}",
}

Question = Mapping[str, Any]
Answer = dict[str, Any]
Result = bytes | memoryview


class Answering(Protocol):
    """What a process does for a request: from the question and its content the answer, and the content of that."""

    def __call__(self, question: Answer, content: BinaryIO) -> tuple[Answer, Result]:
        """Raises UnusableObject, with what is wrong; then the answer has it as `error`."""
        ...


class Ended(Exception):
    """A process has ended over a request.

    Parameters
    ----------
    status
        Its exit status, or the number of the signal below zero.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status

    @property
    def was_too_much(self) -> bool:
        """Whether it was ended for what it used."""
        return self.status in (-_SIGKILL, -_SIGXCPU)

    def __str__(self) -> str:
        ended = f"signal {-self.status}" if self.status < 0 else f"exit status {self.status}"
        return f"the decoder ended its process over it ({ended})"


class _Deadlines:
    """When processes have to have answered: one that has not is killed within a moment.

    A thread sees to that, as long as there are requests: one for each of them takes as long to start as they take.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[subprocess.Popen[bytes], float] = {}
        self._has_thread = False

    def set(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        """Kill a process after some seconds, unless `clear` is called before."""
        with self._lock:
            self._ends[process] = monotonic() + seconds
            if not self._has_thread:
                self._has_thread = True
                threading.Thread(target=self._watch, name="dicomnet-deadlines", daemon=True).start()

    def clear(self, process: subprocess.Popen[bytes]) -> None:
        """Let a process be; it is not killed any more when this returns."""
        with self._lock:
            del self._ends[process]

    def _watch(self) -> None:
        while True:
            sleep(_LOOK)
            with self._lock:
                if not self._ends:
                    # A thread that waited would be in the way of a fork.
                    self._has_thread = False
                    return
                now = monotonic()
                for process, end in self._ends.items():
                    if now >= end:
                        process.kill()


@frozen
class Kind:
    """A kind of process.

    Parameters
    ----------
    answers
        What answers its requests: the module and the name in it, with a colon between.
    idle_seconds
        How long it waits for another request before it ends.
    seconds
        How long it may take for one.
    limits
        What it may use besides; it is given files then, which have a descriptor, and not contents, and can reach
        nothing else. None for a process that may do all that this one may.
    largest
        The most bytes of an answer of one that is limited.
    """

    answers: str
    idle_seconds: float
    seconds: float
    limits: Limits | None = None
    largest: int = 0


class Process:
    """A process that answers one request at a time.

    Parameters
    ----------
    kind
        What it is for.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._files: socket.socket | None = None
        theirs: list[int] = []
        limits = None
        if kind.limits is not None:
            self._files, other = socket.socketpair()
            theirs = [other.fileno()]
            limits = [kind.limits.memory, kind.limits.processor_seconds]
        arguments = [kind.answers, kind.idle_seconds, limits, *theirs]
        try:
            self._process = subprocess.Popen(
                # The interpreter, also where the program that Python is a part of has another name.
                [
                    os.fsdecode(get_executable()),
                    "-I",
                    "-c",
                    _CODE,
                    json.dumps(sys.path),
                    json.dumps(arguments),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # Ctrl-C is for the one who started it.
                start_new_session=True,
                pass_fds=theirs,
                env=os.environ if kind.limits is None else {**os.environ, **_ENVIRONMENT},
            )
        except BaseException:
            if self._files is not None:
                self._files.close()
            raise
        finally:
            if theirs:
                other.close()
        self.has_answered = False
        self._is_ready = False
        assert self._process.stdout is not None
        _widen(self._process.stdout)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def await_ready(self) -> None:
        """Wait until it has loaded what it needs; raises `Ended` if it ends before."""
        _DEADLINES.set(self._process, self._kind.seconds)
        try:
            self._read_ready()
        finally:
            _DEADLINES.clear(self._process)

    def _read_ready(self) -> None:
        assert self._process.stdout is not None
        if not self._is_ready and self._process.stdout.readline(len(_READY)) != _READY:
            self._process.kill()
            raise Ended(self.end())
        self._is_ready = True

    def ask(self, question: Question, content: BinaryIO, sink: BinaryIO) -> Answer:
        """Have a request answered.

        Parameters
        ----------
        question
            What is asked.
        content
            What it is about: read to its end, or passed on as a descriptor, see `Kind`.
        sink
            Is given the content of the answer.

        Returns
        -------
        dict
            What was answered; of a process that is limited also, as `is_confined`, what `confine` said.

        Raises
        ------
        Ended
            If the process ends before it has answered, or takes too long.
        """
        to, answers = self._process.stdin, self._process.stdout
        assert to is not None
        assert answers is not None
        given = b"" if self._files is not None else content.read()
        _DEADLINES.set(self._process, self._kind.seconds)
        try:
            if self._files is not None:
                socket.send_fds(self._files, [b"\0"], [content.fileno()])
            to.write(json.dumps({**question, "length": len(given)}).encode() + b"\n")
            to.write(given)
            to.flush()
            self._read_ready()
            line = answers.readline(_HEAD)
            answer: Answer = json.loads(line) if line.endswith(b"\n") else {}
            left = answer.get("length", 0)
            if self._kind.limits is not None and not (
                isinstance(left, int) and 0 <= left <= self._kind.largest
            ):
                # Whatever had the process, it is no decoder any more.
                self._process.kill()
                answer, left = {}, 0
            while left and (block := answers.read(min(left, _CHUNK))):
                sink.write(block)
                left -= len(block)
        except OSError as error:
            # Of the pipe: what the sink raises has another number.
            if not isinstance(error, (BrokenPipeError, ConnectionResetError)):
                raise
            answer, left = {}, 0
        finally:
            _DEADLINES.clear(self._process)
        if not answer or left:
            raise Ended(self.end())
        self.has_answered = True
        return answer

    def end(self) -> int:
        """End it, if it has not; its exit status, or the number of the signal below zero."""
        for pipe in (self._process.stdin, self._process.stdout, self._files):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        try:
            return self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe take a picture at once: with 64 KiB, as it has else, writer and reader wait for each other."""
    if sys.platform == "linux":
        import fcntl

        # A user may have so much for pipes.
        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _CHUNK)


class Processes:
    """The processes of one kind that answer for this one.

    Of many requests for little, one process answers the most while another one would still be starting: so there is
    another one when requests have waited for as long as it takes to start, and nobody waits for that start.

    Parameters
    ----------
    kind
        What they are for.
    most
        How many there are at once; None for as many as there are processors.
    """

    def __init__(self, kind: Kind, most: int | None = None) -> None:
        self._kind = kind
        self._most = most or os.cpu_count() or 1
        self._waited = 0.0
        self._has_one = False
        self._is_closed = False
        self.forget()
        _ALL.add(self)

    def ask(self, question: Question, content: BinaryIO, sink: BinaryIO) -> Answer:
        """Have a request answered by a process that is idle, or a new one; waits where too many are busy.

        Parameters are those of `Process.ask`.

        Raises
        ------
        Ended
            If the process ended over it.
        OSError
            If no process can be started, or the sink cannot be written.
        """
        begin, place = 0 if self._kind.limits else content.tell(), sink.tell()
        while True:
            process = self._taken() or self._started()
            is_new = not process.has_answered
            try:
                answer = process.ask(question, content, sink)
            except Ended as ended:
                self._lost()
                if is_new or ended.status != 0:
                    raise
                # It had been idle for too long just then.
                content.seek(begin)
                sink.seek(place)
                sink.truncate()
            except BaseException:
                process.end()
                self._lost()
                raise
            else:
                self._give(process)
                return answer

    def start(self) -> None:
        """Start a process if there is none, so that the next request finds one."""
        with self._changed:
            if self._count > len(self._idle) or any(each.is_running for each in self._idle):
                return
            self._count += 1
        self._give(self._started())

    def _taken(self) -> Process | None:
        """A process that is idle, when there is one; None where one has to be started, which counts already."""
        with self._changed:
            while True:
                while self._idle:
                    process = self._idle.pop()
                    if process.is_running:
                        return process
                    process.end()
                    self._count -= 1
                if not self._count:
                    self._count += 1
                    return None
                self._wait()

    def _wait(self) -> None:
        """Wait for a change, and have another process where that is due; the lock is held."""
        began = monotonic()
        self._changed.wait(_PATIENCE)
        if self._has_one and self._count < self._most:
            self._waited += monotonic() - began
            if self._waited >= _PATIENCE:
                self._waited = 0.0
                # What does not start is not counted; what does waits for the lock before it counts itself out.
                threading.Thread(target=self._add, name="dicomnet-starts", daemon=True).start()
                self._count += 1

    def _started(self) -> Process:
        try:
            return Process(self._kind)
        except BaseException:
            self._lost()
            raise

    def _add(self) -> None:
        """Start another process, in a thread; where that fails, those that there are go on."""
        with suppress(OSError):
            process = self._started()
            try:
                process.await_ready()
            except Ended:
                self._lost()
            else:
                self._give(process)

    def _give(self, process: Process) -> None:
        with self._changed:
            self._has_one = self._has_one or process.has_answered
            self._idle.append(process)
            if self._is_closed:
                # In the meantime, and whoever closes looks for those that are idle by then only.
                self.close()
            self._changed.notify()

    def _lost(self) -> None:
        with self._changed:
            self._count -= 1
            self._has_one = self._has_one and self._count > 0
            self._changed.notify()

    def forget(self) -> None:
        """After a fork: those processes are another's."""
        self._changed = threading.Condition()
        self._idle: list[Process] = []
        # Those that are busy or start are counted, too.
        self._count = 0
        self._has_one = False
        self._waited = 0.0

    def close(self) -> None:
        """End those that are idle, and those that are busy or start as soon as they are not."""
        with self._changed:
            self._is_closed = True
            while self._idle:
                self._idle.pop().end()
                self._count -= 1


def answer_requests(
    answers: str, idle_seconds: float, limits: tuple[int, int] | None = None, files: int | None = None
) -> None:
    """Answer by the standard input and output what `Processes` of another process ask, until they ask no more.

    Parameters
    ----------
    answers, idle_seconds
        As of `Kind`.
    limits
        Memory and processor time; None for none.
    files
        Descriptor of the socket that the files come by.
    """
    requests = sys.stdin.buffer
    results = os.fdopen(os.dup(1), "wb")
    # What decoders print must not come between.
    os.dup2(2, 1)
    module, _, name = answers.partition(":")
    answering: Answering = getattr(importlib.import_module(module), name)
    own = None if files is None else socket.socket(fileno=files)
    held = None if limits is None else Limits(*limits)
    # What is said of each answer of one that is limited.
    told = {} if held is None else {"is_confined": confine(held)}
    results.write(_READY)
    results.flush()
    idleness = _Idleness(idle_seconds)
    while line := requests.readline():
        idleness.since = None
        question = json.loads(line)
        answer, content = _answered(
            answering, question, _content(requests, question.pop("length"), own, held)
        )
        results.write(json.dumps({**answer, **told, "length": len(content)}).encode() + b"\n")
        results.write(content)
        results.flush()
        idleness.since = monotonic()


def _content(requests: BinaryIO, length: int, files: socket.socket | None, limits: Limits | None) -> BinaryIO:
    if files is None or limits is None:
        return BytesIO(requests.read(length))
    allow_processor_time(limits)
    _, [descriptor], _, _ = socket.recv_fds(files, 1, 1)
    return open(descriptor, "rb")


def _answered(answering: Answering, question: Answer, content: BinaryIO) -> tuple[Answer, Result]:
    try:
        with content:
            return answering(question, content)
    except UnusableObject as error:
        return {"error": error.cause}, b""
    except MemoryError:
        return {"error": "there is not enough memory to decompress it"}, b""


class _Idleness:
    """Ends this process when no request has come for a while.

    A thread sees to that, for good: one for each wait takes a tenth of the time that a picture takes. It is started
    when the process is confined, so that it is, too.

    Parameters
    ----------
    seconds
        How long the process waits at least.
    """

    def __init__(self, seconds: float) -> None:
        self.since: float | None = monotonic()
        """Since when there is nothing to do; None while there is."""
        self._seconds = seconds
        threading.Thread(target=self._watch, name="dicomnet-idleness", daemon=True).start()

    def _watch(self) -> None:
        while True:
            since, now = self.since, monotonic()
            if since is not None and now >= since + self._seconds:
                os._exit(0)
            sleep(self._seconds if since is None else since + self._seconds - now)


_ALL: WeakSet[Processes] = WeakSet()
_DEADLINES = _Deadlines()


def _of_all(do: Callable[[Processes], None]) -> None:
    for each in list(_ALL):
        do(each)


def _forget() -> None:
    """After a fork: neither processes nor threads came along."""
    global _DEADLINES
    _DEADLINES = _Deadlines()
    _of_all(Processes.forget)


atexit.register(_of_all, Processes.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
