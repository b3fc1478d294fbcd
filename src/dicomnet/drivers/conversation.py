"""Which messages of an association belong together, in both drivers: responses and their requests, C-CANCELs and what
they cancel, and what waits to be served. Pure bookkeeping: nothing here waits."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Iterable

from ..dimse.datasets import discard
from ..dimse.messages import C_CANCEL_RQ, Message, MessageType
from ..errors import ProtocolError
from ..services.registry import is_pending
from ..wire.fields import UNEXPECTED_PDU
from ..wire.pdu import Abort
from .connection import STRAY_LIMIT, Happening, ProviderAbort
from .trace import Trace

# How many happenings may wait while a request is performed, before the peer has to wait too.
INBOX_LIMIT = 64


class Conversation:
    """The messages of one association.

    Parameters
    ----------
    trace
        Names the peer in the log.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.inbox: deque[Happening] = deque()
        self._responses: dict[int, deque[Message]] = {}
        # By message ID, what kind of message answers the request.
        self._awaited: dict[int, MessageType] = {}
        self._strays = 0
        self._abandoned: set[int] = set()
        self._performing: set[int] = set()
        self._cancelled: set[int] = set()
        self._last_message_id = 0

    @property
    def is_full(self) -> bool:
        """Whether the peer has to wait until something is taken out of the inbox."""
        return len(self.inbox) >= INBOX_LIMIT

    def next_message_id(self) -> int:
        """A message ID that no outstanding request of ours has."""
        while True:
            self._last_message_id = self._last_message_id % 65535 + 1
            if self._last_message_id not in self._awaited:
                return self._last_message_id

    def free_message_id(self, wanted: int) -> int:
        """This message ID, or another one if an outstanding request of ours has it (PS3.7 section 9.1.1.1.1)."""
        return self.next_message_id() if wanted in self._awaited else wanted

    def expect(self, request: Message) -> None:
        """A request goes out, and responses to it are to come."""
        self._awaited[request.message_id] = request.type.response

    def forget(self, message_ids: Iterable[int]) -> None:
        """No response is to come for these requests, or none that matters."""
        for message_id in message_ids:
            self._awaited.pop(message_id, None)
            if self._abandoned:
                self._abandoned.discard(message_id)
            if self._responses:
                for response in self._responses.pop(message_id, ()):
                    discard(response.data)

    def abandon(self, message_ids: Collection[int]) -> None:
        """Nobody takes the responses any more; those that still come are dropped, up to the final one."""
        outstanding = {each: self._awaited[each] for each in message_ids if each in self._awaited}
        self.forget(message_ids)
        self._awaited |= outstanding
        self._abandoned |= outstanding.keys()

    def awaits(self, message_ids: Collection[int]) -> bool:
        """Whether the final response to one of these requests has not arrived."""
        here = {
            each.message_id
            for each in self.inbox
            if isinstance(each, Message) and each.type.is_response and not is_pending(each.status)
        }
        return any(each in self._awaited and each not in here for each in message_ids)

    @property
    def is_awaiting(self) -> bool:
        """Whether final responses are to come that somebody takes."""
        return any(each not in self._abandoned for each in self._awaited)

    @property
    def has_abandoned(self) -> bool:
        """Whether final responses are to come that nobody takes."""
        return bool(self._abandoned)

    def take_response(self, message_ids: Collection[int]) -> Message | None:
        """A response to one of these requests, if there is one."""
        if not self._responses:
            return None
        for message_id in message_ids:
            if waiting := self._responses.get(message_id):
                response = waiting.popleft()
                if not waiting:
                    del self._responses[message_id]
                return response
        return None

    def has_early_response(self, message_ids: Collection[int]) -> bool:
        """Whether the first in the inbox is a response to one of these requests, and not the last that is awaited."""
        first = self.inbox[0] if self.inbox else None
        return (
            isinstance(first, Message)
            and first.type.is_response
            and first.message_id in message_ids
            and (len(self._awaited) > 1 or is_pending(first.status))
        )

    def match_response(self, response: Message) -> bool:
        """A response came: whether somebody waits for it. After the final one nobody does any more."""
        message_id = response.message_id
        if self._awaited.get(message_id) is not response.type:
            discard(response.data)
            self._strays += 1
            self._trace.say(
                logging.WARNING,
                "ignored a %s that answers no request (Message ID %d)",
                response.type.name,
                message_id,
            )
            return False
        is_final = not is_pending(response.status)
        if is_final:
            del self._awaited[message_id]
        if message_id not in self._abandoned:
            return True
        discard(response.data)
        if is_final:
            self._abandoned.discard(message_id)
        return False

    def keep_answer(self, response: Message) -> None:
        """Keep, for the one who asked, a response that somebody waits for."""
        self._responses.setdefault(response.message_id, deque()).append(response)

    def keep_response(self, response: Message) -> None:
        """A response came: keep it for the one who asked, if somebody did."""
        if self.match_response(response):
            self.keep_answer(response)

    def check_strays(self) -> None:
        """Raise ProtocolError if too many responses came that answer no request."""
        if self._strays > STRAY_LIMIT:
            raise ProtocolError("the peer goes on answering what was not asked", UNEXPECTED_PDU)

    def take_arrived(self, message_ids: Collection[int]) -> list[Message]:
        """The responses to these requests that came before the end of the association."""
        for happening in [each for each in self.inbox if isinstance(each, Message)]:
            if happening.type.is_response and happening.message_id in message_ids:
                self.inbox.remove(happening)
                self.keep_response(happening)
        return list(iter(lambda: self.take_response(message_ids), None))

    def begin(self, message_id: int) -> bool:
        """A request is being performed from now on, and can be cancelled; False if one of its message ID is already."""
        if message_id in self._performing:
            return False
        self._performing.add(message_id)
        return True

    def begin_next(self, kind: MessageType, limit: int) -> list[Message]:
        """Begin the requests of a kind that are first in the inbox, up to a limit, and take them out."""
        begun: list[Message] = []
        while self.inbox and len(begun) < limit:
            first = self.inbox[0]
            if not isinstance(first, Message) or first.type is not kind or not self.begin(first.message_id):
                break
            begun.append(first)
            self.inbox.popleft()
        return begun

    def finish(self, requests: Iterable[Message]) -> None:
        """Requests have been performed, or have failed."""
        for request in requests:
            self._performing.discard(request.message_id)
            self._cancelled.discard(request.message_id)

    def is_cancelled(self, message_id: int) -> bool:
        """Whether the peer has cancelled a request that is being performed."""
        return message_id in self._cancelled

    def arrived(self, happening: Happening) -> None:
        """Put what arrived in the inbox, but for a C-CANCEL, which takes effect at once."""
        if isinstance(happening, Message) and happening.type is C_CANCEL_RQ:
            self._cancel(happening.message_id)
        else:
            self.inbox.append(happening)

    def end(self) -> Abort | ProviderAbort | None:
        """The end of the association, if it waits in the inbox."""
        for happening in self.inbox:
            if isinstance(happening, Abort | ProviderAbort):
                return happening
        return None

    def drop_requests(self) -> None:
        """Forget the requests that wait: nobody will perform them."""
        for happening in [each for each in self.inbox if isinstance(each, Message)]:
            if not happening.type.is_response:
                self.inbox.remove(happening)
                discard(happening.data)

    def _cancel(self, message_id: int) -> None:
        # What it cancels may be over, and then there is nothing to do (PS3.7 section 9.3.2.3).
        if message_id in self._performing or any(
            isinstance(each, Message) and not each.type.is_response and each.message_id == message_id
            for each in self.inbox
        ):
            self._cancelled.add(message_id)
