"""The SCU's procedures: from a request to its last response."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..dimse.messages import Message
from ..errors import UnusableObject
from ..values import replace
from .registry import is_pending
from .steps import Deliver, Procedure, Receive, Send, Work


def one_reply(request: Message) -> Procedure[Message]:
    """Send a request, whose data set may still be `Work`, and wait for its response."""
    if isinstance(request.data, Work):
        request = replace(request, data=(yield request.data))
    yield Send(request)
    response: Message = yield Receive((request.message_id,))
    return response


def many_replies(request: Message) -> Procedure[None]:
    """Send a request and deliver its responses, the final one included."""
    yield Send(request)
    while True:
        response: Message = yield Receive((request.message_id,))
        yield Deliver(response)
        if not is_pending(response.status):
            return


def pipeline(
    requests: Iterable[Message | Work],
    window: int,
    unusable: Callable[[Message, UnusableObject], None],
    ahead: Callable[[], Work | None] = lambda: None,
) -> Procedure[None]:
    """Send requests with up to ``window`` of them outstanding, and deliver each response (PS3.7 Annex D.3.3.3).

    Parameters
    ----------
    requests
        Taken one at a time, when there is room for it. Their data sets may still be `Work`; so may be what has to be
        done before the next one can be taken.
    window
        At least 1; the granted number of operations that may be outstanding.
    unusable
        Told of a request whose data set could not be read, before anything of it was sent.
    ahead
        Gives work on what comes next, to be done before a response is waited for, while the peer has something to do.
    """
    outstanding: set[int] = set()
    for request in requests:
        if isinstance(request, Work):
            yield request
            continue
        try:
            if isinstance(request.data, Work):
                # What was made is kept no longer than it takes to send it.
                yield Send(replace(request, data=(yield request.data)))
            else:
                yield Send(request)
        except UnusableObject as error:
            unusable(request, error)
            continue
        outstanding.add(request.message_id)
        if len(outstanding) >= window and (work := ahead()) is not None:
            yield work
        while len(outstanding) >= window:
            yield from _deliver_one(outstanding)
    while outstanding:
        yield from _deliver_one(outstanding)


def _deliver_one(outstanding: set[int]) -> Procedure[None]:
    response: Message = yield Receive(outstanding)
    outstanding.discard(response.message_id)
    yield Deliver(response)
