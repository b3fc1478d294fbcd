"""The SCU's procedures: from a request to its last response."""

from __future__ import annotations

from collections.abc import Iterable

from ..dimse.messages import Message
from .registry import is_pending
from .steps import Deliver, Procedure, Receive, Send


def one_reply(request: Message) -> Procedure[Message]:
    """Send a request and wait for its response."""
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


def no_reply(request: Message) -> Procedure[None]:
    """Send a request that has no response, C-CANCEL."""
    yield Send(request)


def pipeline(requests: Iterable[Message], window: int) -> Procedure[None]:
    """Send requests with up to ``window`` of them outstanding, and deliver each response (PS3.7 Annex D.3.3.3).

    Parameters
    ----------
    requests
        Taken one at a time, when there is room for it.
    window
        At least 1; the granted number of operations that may be outstanding.
    """
    outstanding: set[int] = set()
    for request in requests:
        outstanding.add(request.message_id)
        yield Send(request)
        if len(outstanding) >= window:
            response: Message = yield Receive(outstanding)
            outstanding.discard(response.message_id)
            yield Deliver(response)
    while outstanding:
        response = yield Receive(outstanding)
        outstanding.discard(response.message_id)
        yield Deliver(response)
