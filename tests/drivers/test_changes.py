"""What threads wait for: an interrupt of one of them, at whatever moment, keeps none of the others waiting."""

from __future__ import annotations

import subprocess
import sys
import threading

from dicomnet.drivers.blocking.changes import Changes

_INTERRUPTED = """
import faulthandler, sys, threading
from itertools import count
from time import sleep
from dicomnet.drivers.blocking.changes import Changes

def trace(frame, event, value):
    # The interpreter looks for signals where a function begins, and behind each call.
    global left
    left -= event in ("call", "c_return")
    if left < 0:
        sys.setprofile(None)
        raise KeyboardInterrupt

def other():
    # Another thread that changes the state, and waits for the answer.
    global asked
    while not (changes._waiting or is_over):
        sleep(0.001)
    with changes.lock:
        asked += 1
        changes.notify_all()
        while asked != answered and not is_over:
            changes.wait()

def answer():
    global answered
    with changes.lock:
        while not asked:
            changes.wait()
        answered = asked
        changes.notify_all()

# What hangs is told, and ends.
faulthandler.dump_traceback_later(60, exit=True)
for turn in count():
    changes, asked, answered, is_over, left = Changes(), 0, 0, False, turn
    thread = threading.Thread(target=other)
    thread.start()
    try:
        sys.setprofile(trace)
        answer()
        sys.setprofile(None)
        is_whole = True
    except KeyboardInterrupt:
        is_whole = False
    with changes.lock:
        is_over = True
        changes.notify_all()
    thread.join()
    # The lock is free, for others, too.
    taken = threading.Thread(target=lambda: changes.lock.__enter__())
    taken.start()
    taken.join()
    if is_whole:
        break
print(turn)
"""


def test_an_interrupt_anywhere_keeps_nobody_waiting() -> None:
    """A condition of the standard library stayed locked, and a store that Ctrl-C ended waited for its threads."""
    done = subprocess.run([sys.executable, "-c", _INTERRUPTED], capture_output=True, text=True, timeout=90)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 5


def test_a_wait_ends_with_its_time() -> None:
    changes = Changes()
    with changes.lock:
        changes.wait(0.01)
        changes.wait(0)
    assert not changes._waiting


def test_all_who_wait_go_on() -> None:
    changes = Changes()
    state = [0, 0]

    def follow() -> None:
        with changes.lock:
            state[0] += 1
            changes.notify_all()
            while not state[1]:
                changes.wait()
            state[0] -= 1
            changes.notify_all()

    threads = [threading.Thread(target=follow) for _ in range(5)]
    for each in threads:
        each.start()
    with changes.lock:
        while state[0] < 5:
            changes.wait()
        state[1] = 1
        changes.notify_all()
        while state[0]:
            changes.wait()
    for each in threads:
        each.join()
