"""C-STORE requests that are performed together, in the blocking driver."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from ...dimse.messages import C_STORE_RQ, Message
from ...upper_layer.negotiation import NegotiatedContext
from ..conversation import TOGETHER
from ..hooks import Stores

if TYPE_CHECKING:
    from .link import Link

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
    """A C-STORE request and those that are settled with it.

    Parameters
    ----------
    link
        Whose they are.
    stores
        Performs them.
    first
        Was begun; those behind it are begun here.
    """

    def __init__(self, link: Link, stores: Stores, first: Message) -> None:
        self.stores = stores
        self._link = link
        self._requests = [first]
        self._given = 0
        now = monotonic()
        self._end = now + _PATIENCE
        # A peer without a window sends the next one when it has heard of this one.
        may_come = link.agreement.performed != 1 and len(link.talk.inbox) < _FEW
        self._read_until = now + _TIME if may_come else 0.0

    def more(self) -> Sequence[tuple[Message, NegotiatedContext]]:
        """Those that are here by now, without waiting, each with its context; none where it is time to settle."""
        link, requests, given = self._link, self._requests, self._given
        if given >= TOGETHER or (given and monotonic() >= self._end):
            return ()
        while 0 < given < _LIMIT and not link.talk.inbox and monotonic() < self._read_until:
            # A peer that only sends no more hears the responses still.
            if not link.read_ahead(leaves_end=True):
                break
        requests += link.talk.begin_next(C_STORE_RQ, given + _PART - len(requests))
        self._given = len(requests)
        contexts = link.agreement.contexts
        return [(each, contexts[each.context_id]) for each in requests[given:]]

    def finish(self) -> None:
        """They have been performed, or have failed."""
        for each in self._requests:
            self._link.talk.finish(each.message_id)
