"""C-STORE requests that are performed together, in the blocking driver."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from ..dimse.messages import C_STORE_RQ, Message
from ..upper_layer.negotiation import NegotiatedContext
from .conversation import TOGETHER
from .hooks import Stores

if TYPE_CHECKING:
    from .blocking import Link

# Of large objects few are here at once. Others are read then, until there are so many requests to settle together: half
# the usual window, so that their sender can go on. It takes so many seconds at most, and ends when none are coming.
_FEW = 2
_LIMIT = 8
_TIME = 0.01
# What is here already is taken a part at a time, for so many seconds at most: where the medium is slow, a sender must
# not wait for all of it before it hears of the first.
_PART = 4
_PATIENCE = 0.1


class Gathering:
    """A C-STORE request and those that are performed with it.

    Parameters
    ----------
    link
        Whose they are.
    stores
        Performs them.
    first
        Was begun; those right behind it in the inbox are begun here.

    Attributes
    ----------
    stores
        As given.
    first
        The first part of them, each with its presentation context.
    """

    def __init__(self, link: Link, stores: Stores, first: Message) -> None:
        self.stores = stores
        self._link = link
        now = monotonic()
        self._until = now + _TIME if len(link.talk.inbox) < _FEW else 0.0
        self._requests = [first, *link.talk.begin_next(C_STORE_RQ, _PART - 1)]
        self._end = now + _PATIENCE
        self.first = self._with_contexts(self._requests)

    def more(self) -> Sequence[tuple[Message, NegotiatedContext]]:
        """Those that are here by now, without waiting; none where it is time to settle."""
        count, now = len(self._requests), monotonic()
        if count >= TOGETHER or now >= self._end:
            return ()
        link = self._link
        while count < _LIMIT and not link.talk.inbox and monotonic() < self._until:
            # A peer that only sends no more hears the responses still.
            if not link.read_ahead(leaves_end=True):
                break
        more = link.talk.begin_next(C_STORE_RQ, _PART)
        self._requests += more
        return self._with_contexts(more)

    def finish(self) -> None:
        """They have been performed, or have failed."""
        for each in self._requests:
            self._link.talk.finish(each.message_id)

    def _with_contexts(self, requests: Sequence[Message]) -> list[tuple[Message, NegotiatedContext]]:
        contexts = self._link.agreement.contexts
        return [(each, contexts[each.context_id]) for each in requests]
