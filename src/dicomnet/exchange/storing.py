"""What `Peer` keeps in both drivers: its associations, and the objects of a store on their way."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from ..dimse.messages import Message
from ..drivers.files import StoredObject
from ..encoding.transfer_syntaxes import Transcoding
from ..errors import DicomnetError, NoAcceptedContext, UnusableObject
from ..upper_layer.negotiation import Agreement, NegotiatedContext
from ..values import field, mutable
from .contexts import (
    MAXIMUM_CONTEXTS,
    Pair,
    Proposal,
    context_for,
    pair_of,
    propose,
    substitute_context,
)
from .files import Look, look_at, scan
from .messages import file_request
from .results import StoreResult, failed_result, store_result

AnyLink = TypeVar("AnyLink")

# How many results may wait for whoever takes them before nothing more is sent.
RESULTS_LIMIT = 256
# How many files are looked at before the first association is asked for. The others are looked at while objects are on
# their way, so that the peer does not wait meanwhile.
FIRST_LOOK = 256
# How many are looked at together where that cannot be, and how many may be put aside.
SCAN_AHEAD = 4096
# The largest file, in bytes, that is read at once where it is looked at to be sent next.
SMALL_FILE = 1 << 16


class Pool(Generic[AnyLink]):
    """The open associations of a peer: those in use, and idle ones by what they proposed.

    May be shared between threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: set[AnyLink] = set()
        self._idle: dict[Proposal, AnyLink] = {}

    def take(self, proposal: Proposal) -> AnyLink | None:
        """An idle one that proposed just this, which is in use from now on."""
        with self._lock:
            link = self._idle.pop(proposal, None)
            if link is not None:
                self._busy.add(link)
            return link

    def add(self, link: AnyLink) -> None:
        """A new one, in use."""
        self._busy.add(link)

    def give_back(self, proposal: Proposal, link: AnyLink) -> list[AnyLink]:
        """It is idle now, and the only one: the others are to be released."""
        with self._lock:
            if link not in self._busy:
                return [link]
            self._busy.discard(link)
            others = list(self._idle.values())
            self._idle = {proposal: link}
            return others

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
            return [*idle, *busy]


class Supply:
    """The files of a store, looked at a part at a time. May be shared between threads.

    Parameters
    ----------
    files
        Their paths.
    transcoding
        Whether compressed objects may be decompressed.

    Attributes
    ----------
    ended
        Why nothing more is to be sent, None as long as more may be.
    """

    def __init__(self, files: Iterable[str], transcoding: Transcoding) -> None:
        self._files = iter(files)
        self._transcoding = transcoding
        # What was looked at and has no place in the plan that is being sent.
        self._aside: deque[StoredObject] = deque()
        # What went wrong while objects were on their way.
        self._failure: Exception | None = None
        self.ended: DicomnetError | None = None
        self._lock = threading.Lock()

    def end(self, error: DicomnetError) -> None:
        """Nothing more is to be sent: what was not looked at yet has failed."""
        self.ended = error

    def part(self, count: int) -> tuple[list[StoreResult], list[StorePlan]] | None:
        """Look at the next files: what is skipped of them, and plans for what is to be sent; None after the last.

        Raises
        ------
        FileNotFoundError
            If a path does not exist; and whatever else the paths raise that the caller gave.
        """
        if self._failure is not None and not self._aside:
            raise self._failure
        further = 0 if self._failure is not None else max(0, count - len(self._aside))
        part = [*self._aside, *scan(islice(self._files, further))]
        self._aside.clear()
        if not part:
            return None
        if self.ended is not None:
            return [failed_result(u, self.ended) if isinstance(u, StoredObject) else u for u in part], []
        plans: list[StorePlan] = []
        for stored in part:
            if isinstance(stored, StoredObject) and not any(plan.takes(stored) for plan in plans):
                plans.append(StorePlan(self._transcoding))
                plans[-1].takes(stored)
        return [unit for unit in part if isinstance(unit, StoreResult)], plans

    def more(self, plan: StorePlan) -> Look | None:
        """Look on for an object that a plan proposes the contexts of; or what is skipped before it.

        What needs other contexts is put aside for later parts. None where that is much, and after the last file.
        A path that fails is for `part` to raise, when what is on its way has been answered.
        """
        while len(self._aside) < SCAN_AHEAD and self.ended is None and self._failure is None:
            try:
                with self._lock:
                    path = next(self._files, None)
                if path is None:
                    return None
                look = look_at(path, SMALL_FILE)
            except Exception as error:  # noqa: BLE001
                # The paths may come from the caller's own generator, which raises what it likes.
                self._failure = error
                return None
            unit = look[0]
            if isinstance(unit, StoreResult) or pair_of(unit) in plan.pairs:
                return look
            self._aside.append(unit)
        return None


class StoreQueue:
    """The objects of one plan: waiting, sent but not answered, and done.

    None is lost when an association is, and none holds up the others. Several associations that send the same plan
    side by side have a queue each, see `beside`; these may be used from different threads.

    Parameters
    ----------
    plan
        What is to be sent.
    window
        How many requests we would have outstanding.
    retries
        How often an object is sent again that was outstanding when its association was lost.
    supply
        Gives further objects of the plan, each looked at when there is room for it.
    """

    def __init__(self, plan: StorePlan, window: int, retries: int, supply: Supply | None = None) -> None:
        self.proposal = plan.proposal
        self._plan = plan
        self._supply = supply
        self._transcoding = plan.transcoding
        self._waiting = deque(plan.objects)
        # Those that were outstanding when an association was lost; one of them may have been the cause.
        self._doubtful: deque[StoredObject] = deque()
        self._is_careful = True
        self._end: list[DicomnetError] = []
        self._unanswered: dict[int, StoredObject] = {}
        self._done: deque[StoreResult] = deque()
        # By identity, with as many entries as associations it cost; these also keep the identity from a new object.
        self._losses: dict[int, list[StoredObject]] = {}
        self._window = window
        self._retries = retries

    def beside(self) -> StoreQueue:
        """One for another association. What waits and what is done, the two have in common."""
        # A store over one association starts without it.
        from copy import copy

        other = copy(self)
        other._unanswered = {}
        return other

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to send."""
        if not (self._waiting or self._doubtful) and (stored := self._take_new()[0]) is not None:
            # What waits may have to wait long, and is read when its turn comes.
            self._waiting.append(stored)
        return not (self._waiting or self._doubtful)

    def window(self, agreement: Agreement) -> int:
        """How many requests may be outstanding now.

        After a loss it is one, so that an object which makes the peer fail is known, and the others get through.
        """
        self._is_careful = bool(self._losses)
        if self._is_careful:
            return 1
        return agreement.invoked or self._window

    def requests(self, agreement: Agreement, next_message_id: Callable[[], int]) -> Iterator[Message]:
        """The requests, each made when there is room for it."""
        contexts: dict[Pair, NegotiatedContext] = {}
        while True:
            stored, content = self._take()
            if stored is None:
                return
            pair = pair_of(stored)
            context = contexts.get(pair)
            if context is None:
                try:
                    context = contexts[pair] = self._context_for(agreement, stored)
                except NoAcceptedContext as error:
                    self._done.append(failed_result(stored, error))
                    continue
            message_id = next_message_id()
            self._unanswered[message_id] = stored
            yield file_request(stored, context, message_id, content)

    def _context_for(self, agreement: Agreement, stored: StoredObject) -> NegotiatedContext:
        pair = pair_of(stored)
        try:
            return context_for(agreement, *pair)
        except NoAcceptedContext:
            return substitute_context(agreement, pair, stored.header.sop_instance_uid, self._transcoding)

    def answered(self, response: Message) -> None:
        """A response came."""
        self._done.append(store_result(self._unanswered.pop(response.message_id), response))

    def unusable(self, request: Message, error: UnusableObject) -> None:
        """An object could not be read when its turn came."""
        self._done.append(failed_result(self._unanswered.pop(request.message_id), error))

    def lost(self, error: DicomnetError, *, was_stale: bool = False) -> None:
        """The association ended: what was outstanding is sent again, or has failed too often.

        Parameters
        ----------
        was_stale
            It had ended before this use of it, so no object is to blame.
        """
        outstanding = list(self._unanswered.values())
        self._unanswered.clear()
        if self._end:
            self._done.extend(failed_result(stored, error) for stored in outstanding)
            return
        if was_stale:
            self._waiting.extendleft(reversed(outstanding))
            return
        if not outstanding and (first := self._take()[0]) is not None:
            # A peer that ends each association before the first request must not be tried for ever.
            outstanding = [first]
        for stored in reversed(outstanding):
            losses = self._losses.setdefault(id(stored), [])
            losses.append(stored)
            if len(losses) > self._retries:
                self._done.append(failed_result(stored, error))
            else:
                self._doubtful.appendleft(stored)

    def fail(self, error: DicomnetError) -> None:
        """No association is to be had: everything that waits has failed, and nothing is sent again."""
        self._end.append(error)
        self._is_careful = True
        while (stored := self._take()[0]) is not None:
            self._done.append(failed_result(stored, error))

    def results(self) -> Iterator[StoreResult]:
        """What is done and was not handed out yet."""
        while self._done:
            try:
                result = self._done.popleft()
            except IndexError:
                return
            yield result

    def _take(self) -> tuple[StoredObject | None, memoryview | None]:
        """The next object to send, and its data set where that was read at once."""
        try:
            if self._doubtful and self._is_careful:
                return self._doubtful.popleft(), None
            if self._waiting:
                return self._waiting.popleft(), None
        except IndexError:
            # Another association has taken the last one at this moment.
            return self._take()
        return self._take_new()

    def _take_new(self) -> tuple[StoredObject | None, memoryview | None]:
        while self._supply is not None and not self._end:
            look = self._supply.more(self._plan)
            if look is None:
                break
            unit, content = look
            if isinstance(unit, StoredObject):
                return unit, content
            self._done.append(unit)
        return None, None


@mutable
class StorePlan:
    """Objects to be sent, in groups that each need no more contexts than an association has room for.

    Parameters
    ----------
    transcoding
        Whether compressed objects may be decompressed.
    """

    transcoding: Transcoding = Transcoding.NEVER
    objects: list[StoredObject] = field(default_factory=list)
    pairs: dict[Pair, None] = field(default_factory=dict)
    proposal: Proposal = ()

    def takes(self, stored: StoredObject) -> bool:
        """Add an object, unless its context finds no room."""
        pair = pair_of(stored)
        if pair not in self.pairs:
            proposal = propose((*self.pairs, pair), self.transcoding)
            if len(proposal) > MAXIMUM_CONTEXTS:
                return False
            self.pairs[pair] = None
            self.proposal = proposal
        self.objects.append(stored)
        return True


def checked_jobs(jobs: int) -> int:
    """A number of associations side by side.

    Raises
    ------
    ValueError
        If it is less than 1.
    """
    if jobs < 1:
        raise ValueError("there is at least 1 association to store with")
    return jobs
