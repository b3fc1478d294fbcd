"""The open associations of a peer, shared by its operations."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

from .contexts import Proposal

AnyLink = TypeVar("AnyLink")


class Pool(Generic[AnyLink]):
    """The open associations of a peer: those in use, and idle ones by what they proposed.

    May be shared between threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: set[AnyLink] = set()
        self._idle: dict[Proposal, AnyLink] = {}
        self._ending: list[AnyLink] = []

    def take(self, proposal: Proposal) -> AnyLink | None:
        """An idle one that proposed just this, which is in use from now on."""
        with self._lock:
            link = self._idle.pop(proposal, None)
            if link is not None:
                self._busy.add(link)
            return link

    def add(self, link: AnyLink) -> AnyLink:
        """Take in a new one, which is in use; the same one is returned."""
        self._busy.add(link)
        return link

    def give_back(self, proposal: Proposal, link: AnyLink, *, is_proven: bool = True) -> list[AnyLink]:
        """It is idle now, and the only one: the others are to be released.

        Parameters
        ----------
        is_proven
            Whether the peer is known to answer on it. One that is not takes no other's place: it is to be released.
        """
        with self._lock:
            if link not in self._busy:
                return [link]
            self._busy.discard(link)
            if self._idle and not is_proven:
                return [link]
            others = list(self._idle.values())
            self._idle = {proposal: link}
            return others

    @property
    def busy(self) -> list[AnyLink]:
        """Those in use."""
        with self._lock:
            return list(self._busy)

    def lose(self, link: AnyLink) -> None:
        """It is over."""
        self._busy.discard(link)

    def take_idle(self) -> list[AnyLink]:
        """All that are idle, to be released."""
        with self._lock:
            idle, self._idle = self._idle, {}
            return list(idle.values())

    def clear(self) -> list[AnyLink]:
        """All of them, to be ended."""
        idle = self.take_idle()
        with self._lock:
            busy, self._busy = self._busy, set()
            self._ending = [*idle, *busy]
            return list(self._ending)

    @property
    def ending(self) -> list[AnyLink]:
        """Those that `clear` gave last: some may be in the middle of their release."""
        with self._lock:
            return list(self._ending)
