"""Worker processes on one port: shared out, replaced, ended, and nothing left of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.associations import associated
from tests.processes import children_of, is_alive, wait_for_the_end
from tests.sockets import VERIFICATION
from tests.support import free_port, is_listening, wait_until

from dicomnet import AE, build_context
from dicomnet.drivers.blocking.workers import Worker, WorkerProcesses

PROGRAM = Path(__file__).with_name("workers_program.py")
CONTEXTS = [build_context(VERIFICATION)]


@dataclass
class Program:
    """The running program; it has two servers on two ports."""

    process: subprocess.Popen[str]
    ports: list[int]
    log: Path

    def served_by(self, count: int) -> list[int]:
        """The worker of each association, as soon as there were so many."""
        found: list[str] = []

        def are_known() -> bool:
            found[:] = self.log.read_text().splitlines() if self.log.exists() else []
            return len(found) == count

        wait_until(are_known)
        return [int(line) for line in found]

    def finish(self) -> str:
        """Let it do what it does at the end, and return what it says."""
        return self.process.communicate("\n", 20)[0]

    def workers(self, port: int = 0) -> tuple[int, list[int]]:
        """The supervisor and the workers of one of the servers."""
        wait_until(lambda: len(children_of(self.process.pid)) == len(self.ports))
        supervisor = children_of(self.process.pid)[port]
        wait_until(lambda: len(children_of(supervisor)) == 2)
        return supervisor, children_of(supervisor)

    def everything(self) -> list[int]:
        """All processes but the program's own."""
        return [each for n in range(len(self.ports)) for each in (self.workers(n)[0], *self.workers(n)[1])]


@contextmanager
def program(folder: Path, then: str = "shutdown", count: int = 2) -> Iterator[Program]:
    log = folder / "served.txt"
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), str(count), str(log), then],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if then in ("block", "early"):
                ports = [free_port()]
                process.stdin.write(f"{ports[0]}\n")
                process.stdin.flush()
                if then == "block":
                    wait_until(lambda: is_listening(ports[0]))
            else:
                ports = [int(port) for port in process.stdout.readline().split()]
            yield Program(process, ports, log)
        finally:
            process.kill()


def test_connections_go_to_the_worker_that_has_the_fewest(tmp_path: Path) -> None:
    with program(tmp_path) as served, ExitStack() as stack:
        for _ in range(8):
            assoc = stack.enter_context(associated(served.ports[0], contexts=CONTEXTS))
            assert assoc.send_c_echo().Status == 0
        shares = sorted(Counter(served.served_by(8)).values())
        # Four each, unless a worker got no processor for 50 ms.
        assert len(shares) == 2
        assert shares[0] >= 2


def test_many_at_once_are_all_served(tmp_path: Path) -> None:
    statuses: list[int] = []

    def call(port: int) -> None:
        with associated(port, contexts=CONTEXTS) as assoc:
            statuses.append(assoc.send_c_echo().Status)
            assoc.release()

    with program(tmp_path) as served:
        threads = [threading.Thread(target=call, args=(served.ports[n % 2],)) for n in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [0] * 10


def test_a_worker_that_dies_is_replaced_and_the_others_go_on(tmp_path: Path) -> None:
    with program(tmp_path) as served, ExitStack() as stack:
        _, before = served.workers()
        first, second = (
            stack.enter_context(associated(served.ports[0], contexts=CONTEXTS)) for _ in range(2)
        )
        killed, other = served.served_by(2)
        assert {killed, other} == set(before)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: first.is_aborted)
        assert second.send_c_echo().Status == 0
        wait_until(lambda: killed not in served.workers()[1])
        # On a busy machine the other worker may take one more, but not all of them.
        for count in range(3, 9):
            another = stack.enter_context(associated(served.ports[0], contexts=CONTEXTS))
            assert another.send_c_echo().Status == 0
            if served.served_by(count)[-1] not in before:
                break
        assert served.served_by(count)[-1] not in before


def test_shutdown_leaves_nothing(tmp_path: Path) -> None:
    """Though one server is forked from a process that has another one already."""
    with program(tmp_path) as served:
        every = served.everything()
        with associated(served.ports[0], contexts=CONTEXTS) as assoc:
            assert assoc.send_c_echo().Status == 0
            assert served.finish() == "0 descriptors, 0 children are left\n"
            wait_until(lambda: assoc.is_aborted)
        assert served.process.returncode == 0
        assert not any(map(is_alive, every))
        assert not any(map(is_listening, served.ports))


def test_a_program_that_ends_takes_its_workers_with_it(tmp_path: Path) -> None:
    with program(tmp_path, "leave") as served:
        every = served.everything()
        served.finish()
        wait_for_the_end(every)


def test_a_program_that_is_killed_takes_its_workers_with_it(tmp_path: Path) -> None:
    with program(tmp_path) as served, associated(served.ports[0], contexts=CONTEXTS) as assoc:
        every = served.everything()
        served.process.kill()
        wait_for_the_end(every)
        wait_until(lambda: assoc.is_aborted)
        for port in served.ports:
            with socket.create_server(("127.0.0.1", port)):
                pass


def test_a_lost_supervisor_ends_the_server(tmp_path: Path) -> None:
    with program(tmp_path, "block") as served:
        supervisor, workers = served.workers()
        os.kill(supervisor, signal.SIGKILL)
        wait_for_the_end(workers)
        assert served.process.wait(20) == 1
        assert not is_listening(served.ports[0])


def test_ctrl_c_ends_the_server(tmp_path: Path) -> None:
    with program(tmp_path, "block") as served:
        supervisor, workers = served.workers()
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(20) == 1  # with "the server has ended", behind `start_server`
        assert not any(map(is_alive, [supervisor, *workers]))


def test_a_signals_handler_may_shut_down(tmp_path: Path) -> None:
    """It runs in the thread that serves, and waited for that thread for ever."""
    with program(tmp_path, "block") as served:
        supervisor, workers = served.workers()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(20) == 1  # with "the server has ended"
        assert not any(map(is_alive, [supervisor, *workers]))


def test_a_signal_that_comes_while_the_workers_are_started(tmp_path: Path) -> None:
    """The server was not told, and served for ever."""
    with program(tmp_path, "early") as served:
        assert served.process.wait(20) == 1  # with "the server has ended"


def test_workers_do_not_end_by_signals_meant_for_the_program(tmp_path: Path) -> None:
    """A terminal sends Ctrl-C to all of them; the program decides."""
    with program(tmp_path) as served:
        supervisor, workers = served.workers()
        for each in (supervisor, *workers):
            os.kill(each, signal.SIGINT)
            os.kill(each, signal.SIGTERM)
        with associated(served.ports[0], contexts=CONTEXTS) as assoc:
            assert assoc.send_c_echo().Status == 0
        assert served.workers() == (supervisor, workers)


def test_workers_that_die_again_and_again_are_replaced_more_slowly(tmp_path: Path) -> None:
    script = (
        "import sys, os, time, logging; logging.basicConfig(level=logging.ERROR)\n"
        "from dicomnet.drivers.blocking.workers import WorkerProcesses\n"
        "def work(worker):\n"
        "    os.write(1, f'{time.monotonic()}\\n'.encode()); os._exit(3)\n"
        "workers = WorkerProcesses(('127.0.0.1', 0), 1, work)\n"
        "workers.start(); sys.stdin.readline(); sys.exit(workers.shutdown())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        times = [float(process.stdout.readline()) for _ in range(4)]
        _, said = process.communicate("\n", 20)
    assert times[2] - times[1] > 0.9
    assert times[3] - times[2] > 1.9
    assert said.count("ended with status 3") >= 3
    assert process.returncode == 0  # that is False: not all of them ended in order


def test_what_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """X22."""
    ae = AE()
    ae.add_supported_context(VERIFICATION)
    with pytest.raises(ValueError, match="at least 1"):
        ae.make_server(("127.0.0.1", 0), workers=0)
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="before any thread"):
            ae.start_server(("127.0.0.1", 0), block=False, workers=2)
    finally:
        done.set()
        thread.join()
    monkeypatch.delattr(os, "fork")
    with pytest.raises(RuntimeError, match="fork"):
        ae.start_server(("127.0.0.1", 0), block=False, workers=2)


def test_workers_that_were_never_started_can_be_shut_down() -> None:
    def work(worker: Worker) -> bool:
        raise AssertionError(worker)

    workers = WorkerProcesses(("127.0.0.1", 0), 2, work)
    assert workers.shutdown()
    assert not is_listening(workers.address[1])
