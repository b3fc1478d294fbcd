"""Claims of SOP Instance UIDs, within a process and between processes."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest
from tests.archive.archives import Encode, Make
from tests.support import wait_until

from dicomnet.archive.claims import Claims

HOLDER = """
import sys
from contextlib import nullcontext
from pathlib import Path
from dicomnet.archive.claims import Claims
claims = Claims(Path(sys.argv[1]), nullcontext)
for line in sys.stdin:
    word, instance = line.split()
    if word == "take":
        print(claims.take(instance, float(sys.argv[2])), flush=True)
    else:
        claims.release([instance])
        print("released", flush=True)
"""


class Hurry:
    """How many wait now, and how many have."""

    def __init__(self) -> None:
        self.now = self.ever = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self.now += 1
        self.ever += 1
        try:
            yield
        finally:
            self.now -= 1


class Holder:
    """Another process that takes and releases claims when it is told to."""

    def __init__(self, path: Path, seconds: float = 10.0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, path, str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, words: str) -> None:
        """Tell it something."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{words}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        """What it says next."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    found = Holder(tmp_path / "claims")
    yield found
    found.kill()


@pytest.mark.parametrize("name", [None, "claims"])
def test_the_second_waits_until_the_first_has_released(tmp_path: Path, name: str | None) -> None:
    """And hurries whoever files it."""
    hurry = Hurry()
    claims = Claims(None if name is None else tmp_path / name, hurry)
    assert claims.take("1.2", 0)
    assert claims.take("1.3", 0)
    assert hurry.ever == 0
    begin = monotonic()
    assert not claims.take("1.2", 0.05)
    assert 0.05 <= monotonic() - begin < 5
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(claims.take("1.2", 20)))
    thread.start()
    wait_until(lambda: hurry.now > 0, 10, "it waits")
    claims.release(["1.3"])
    assert found == []
    claims.release(["1.2"])
    thread.join(10)
    assert found == [True]
    assert hurry.now == 0
    assert not claims.take("1.2", 0)
    claims.close()
    claims.close()


def test_one_of_sixteen_has_it_at_a_time(tmp_path: Path) -> None:
    claims = Claims(tmp_path / "claims", Hurry())
    inside: list[int] = []
    most: list[int] = []

    def run(number: int) -> None:
        for _ in range(10):
            assert claims.take("1.2", 20)
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)
            claims.release(["1.2"])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 160
    assert set(most) == {1}
    claims.close()


def test_another_process_waits_too(tmp_path: Path, holder: Holder) -> None:
    claims = Claims(tmp_path / "claims", Hurry())
    holder.tell("take 1.2")
    assert holder.answer() == "True"
    assert not claims.take("1.2", 0.02)
    assert claims.take("1.3", 0)
    # What was not given is not kept.
    holder.tell("release 1.2")
    assert holder.answer() == "released"
    assert claims.take("1.2", 0)
    holder.tell("take 1.2")
    claims.release(["1.2", "1.3"])
    assert holder.answer() == "True"
    assert not claims.take("1.2", 0.02)
    claims.close()


def test_a_claim_ends_with_its_process(tmp_path: Path, holder: Holder) -> None:
    claims = Claims(tmp_path / "claims", Hurry())
    holder.tell("take 1.2")
    assert holder.answer() == "True"
    assert not claims.take("1.2", 0.02)
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(claims.take("1.2", 20)))
    thread.start()
    holder.kill()
    thread.join(10)
    assert found == [True]
    claims.close()


def test_a_child_has_none_of_its_parents_claims(tmp_path: Path) -> None:
    """As workers are forked from a process that may have received something."""
    claims = Claims(tmp_path / "claims", Hurry())
    assert claims.take("1.2", 0)
    child = os.fork()
    if child == 0:
        own = Claims(tmp_path / "claims", Hurry())
        os._exit(10 * own.take("1.2", 0.02) + own.take("1.3", 0))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    claims.close()


def test_a_lock_that_fails_leaves_no_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may have no more locks."""
    claims = Claims(tmp_path / "claims", Hurry())

    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "lockf", fail)
        with pytest.raises(OSError, match=os.strerror(errno.ENOLCK)):
            claims.take("1.2", 0)
    assert claims.take("1.2", 0)
    claims.close()


GROUPS = """
import os, sys, threading
from pathlib import Path
from dicomnet.archive.filing import Progress
from dicomnet.archive.intake import Intake
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
root, data = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
local = LocalFolder(root, sync=False)
storage = FolderStorage.of(local)
uids = [f"1.2.3.4.{number}" for number in range(10, 26)]
progress = Progress(3)
def groups(process):
    local.staging.process = process
    with Intake(local, storage, progress=progress, process=process) as intake:
        # In opposite orders, again and again, by two threads of each process.
        def run(step):
            for _ in range(15):
                sessions = []
                for uid in uids[::step]:
                    session = intake.open("1.2.840.10008.5.1.4.1.1.2", uid, "1.2.840.10008.1.2.1")
                    session.write(memoryview(data.replace(b"1.2.3.4.55", uid.encode())))
                    sessions.append(session)
                assert intake.commit(sessions) == [0] * len(uids)
        threads = [threading.Thread(target=run, args=(step,)) for step in (1, -1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
children = []
for process in (1, 2):
    child = os.fork()
    if child == 0:
        try:
            groups(process)
        except BaseException:
            os._exit(1)
        os._exit(0)
    children.append(child)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
print([len(list(storage.instances(*series))) for series in storage.series()], len(list(storage.quarantined())))
"""


def test_groups_in_opposite_order_do_not_wait_for_each_other(
    tmp_path: Path, make: Make, encode: Encode
) -> None:
    """Two processes and two threads of each send the same objects, in both orders."""
    (tmp_path / "object").write_bytes(encode(make(SOPInstanceUID="1.2.3.4.55")))
    begin = monotonic()
    done = subprocess.run(
        [sys.executable, "-c", GROUPS, tmp_path / "store", tmp_path / "object"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["[0, 0]", "[16] 0"], done.stderr
    assert "waits" not in done.stderr
    assert monotonic() - begin < 30
