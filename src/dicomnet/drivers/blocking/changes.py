"""What threads wait for that share a state, of which one may be the main thread, which Ctrl-C interrupts anywhere."""

from __future__ import annotations

import threading
from contextlib import suppress
from queue import Empty, SimpleQueue


class Changes:
    """A state that threads share, and wait for a change of; as a `threading.Condition`, but for interrupts.

    That one takes and gives back its lock in functions of Python. Where an exception comes out of a signal's handler in
    the middle of one, the lock stays taken, and the other threads wait for ever. Here the interpreter takes it itself:

        with changes.lock:
            while not ...:
                changes.wait()

    Attributes
    ----------
    lock
        Whoever looks at the state, changes it, waits or notifies has it.
    """

    def __init__(self) -> None:
        # Of an owner that has it no longer it raises, where a plain lock would be unlocked for somebody else.
        self.lock = threading.RLock()
        self._waiting: list[SimpleQueue[None]] = []

    def wait(self, limit: float | None = None) -> None:
        """Let go of the lock until another thread notifies, or for so many seconds; it has to be taken once."""
        token: SimpleQueue[None] = SimpleQueue()
        self._waiting.append(token)
        try:
            try:
                self.lock.release()
                with suppress(Empty):
                    token.get(timeout=limit)
            finally:
                self.lock.acquire()
        finally:
            self._waiting.remove(token)

    def notify_all(self) -> None:
        """Let all go on who wait."""
        # They leave the list themselves: one that was taken off it by somebody who is interrupted would wait for ever.
        for each in self._waiting:
            each.put(None)
