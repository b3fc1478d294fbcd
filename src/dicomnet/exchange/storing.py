"""The objects of a store on their way: files that are looked at, plans of what one association takes, and a queue."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, NoReturn

from ..dimse.datasets import Source
from ..dimse.messages import Message
from ..drivers.files import StoredObject
from ..encoding.transfer_syntaxes import Transcoding
from ..errors import AssociationRejected, DeadlineExceeded, DicomnetError, NoAcceptedContext, UnusableObject
from ..services.steps import Work
from ..upper_layer.negotiation import Agreement, NegotiatedContext
from ..values import field, mutable
from ..wire.pdu import MAXIMUM_CONTEXTS
from .contexts import (
    Pair,
    Proposal,
    context_for,
    pair_of,
    propose,
    substitute_context,
)
from .files import Look, examine
from .pacing import Pacing
from .results import StoreResult, failed_result, store_result
from .retrying import OBJECTS, Retry, is_out_of_resources
from .sendable import SMALL_FILE, WHOLE_FILE, KnownObject, Sendable
from .store_requests import STORE_ELEMENTS, file_in, file_request

_log = logging.getLogger(__name__)

# How many files are looked at before the first association is asked for. The others are looked at while objects are on
# their way, so that the peer does not wait meanwhile.
FIRST_LOOK = 256
# How many are looked at together meanwhile, since asyncio does that in a thread.
LOOK_TOGETHER = 8
# How many of the next objects may have their data sets made ahead.
MADE_AHEAD = 4
# How many are looked at together where nothing is on its way, and how many may be put aside.
SCAN_AHEAD = 4096


class Supply:
    """The files of a store, looked at a part at a time. May be shared between threads.

    Parameters
    ----------
    files
        Their paths, objects of which it is known what they are, or results that are known.
    transcoding
        Whether compressed objects may be decompressed.
    elements
        The elements of each C-STORE-RQ that are not about its object.
    patience
        After how many associations in a row that were lost before an answer the peer counts as lost, and nothing more
        is sent; so it does at once where no association can be opened. None for a peer that is tried again, and where
        it is an error if the first association cannot be opened.
    pacing
        How fast and when they are sent; None for as fast as can be.
    retry
        How often a peer is tried again that cannot be reached, ends associations or is out of resources; None for once.
    tell
        Called with a sentence, mostly by another thread, when nothing is sent for a while; once for each.

    Attributes
    ----------
    ended
        Why nothing more is to be sent, None as long as more may be.
    is_dropped
        Whether nothing is to be said of what is not sent.
    """

    def __init__(
        self,
        files: Iterable[str | StoredObject | KnownObject | StoreResult],
        transcoding: Transcoding,
        elements: Mapping[str, Any] = STORE_ELEMENTS,
        patience: int | None = None,
        pacing: Pacing | None = None,
        retry: Retry | None = None,
        tell: Callable[[str], None] = _log.info,
    ) -> None:
        self.elements = elements
        self.pacing = pacing
        self.retry = retry
        self._tell = tell
        self._told = ""
        self.patience = patience
        self.is_dropped = False
        self._losses = self._overdue = 0
        self._files = iter(files)
        self._transcoding = transcoding
        # What was looked at and has no place in the plan that is being sent.
        self._aside: deque[Sendable] = deque()
        # What went wrong while objects were on their way.
        self._failure: Exception | None = None
        # The plan that further objects may be added to while it is being sent.
        self._open_plan: StorePlan | None = None
        self._is_exhausted = False
        self.ended: DicomnetError | None = None
        self._lock = threading.Lock()

    def end(self, error: DicomnetError) -> None:
        """Nothing more is to be sent: what was not looked at yet has failed. The first reason stays."""
        self.ended = self.ended or error

    def tell(self, sentence: str) -> None:
        """Say that nothing is sent for a while, unless that was said last."""
        if sentence != self._told:
            self._told = sentence
            self._tell(sentence)

    def drop(self, error: DicomnetError) -> None:
        """Nothing more is to be sent, and what is left has not failed: nothing is said of it."""
        self.is_dropped = True
        self.end(error)

    def lost(self, error: DicomnetError, begun: float, *, has_answer: bool) -> None:
        """An association was lost.

        Parameters
        ----------
        begun
            As of `tries_again`.
        has_answer
            Whether the peer had answered on it.
        """
        self._losses = 1 if has_answer else self._losses + 1
        if self.patience is not None and self._losses >= self.patience:
            self.end(error)
        # A peer may end each association after some objects: that is no outage yet.
        retry = None if has_answer else self.retry
        if retry is not None and not self.tries_again(error, begun) and retry.gave_up():
            self.end(error)

    def answered(self) -> None:
        """The peer has answered an object."""
        self._overdue = 0

    def overdue(self, error: DicomnetError) -> None:
        """The time for a response was over, and what waited for it has failed after all its tries.

        Where that happens several times in a row, the others would take as long: a peer that accepts associations and
        is silent then would cost two time-outs for each object.
        """
        self._overdue += 1
        if self.retry is None and self._overdue >= OBJECTS:
            self.end(error)

    def unreachable(self, error: DicomnetError) -> None:
        """No association can be opened."""
        if self.patience is not None or self.retry is not None:
            self.end(error)

    def now(self) -> float:
        """When something is begun, for `tries_again`."""
        return 0.0 if self.retry is None else self.retry.now()

    def tries_again(self, cause: object, begun: float, least: float = 0.0) -> bool:
        """Whether the peer is tried again, after a wait that has begun.

        Parameters
        ----------
        cause
            What is wrong with it: an error, or words. One that no further try mends is not tried again.
        begun
            When that was begun which has failed.
        least
            How many seconds the peer wants to be left alone.
        """
        if self.retry is None or self.ended is not None:
            return False
        is_final = isinstance(cause, AssociationRejected) and not cause.is_transient
        return not is_final and self.retry.failed(cause, begun, self.tell, least)

    def wait(self) -> float:
        """For how many seconds nothing may be sent; 0 where something may be, and where nothing ever will."""
        if self.ended is not None:
            return 0.0
        pacing, retry = self.pacing, self.retry
        wait = 0.0 if pacing is None else pacing.wait()
        return wait if retry is None else max(wait, retry.wait())

    def part(self, count: int) -> tuple[list[StoreResult], list[StorePlan]] | None:
        """Look at the next files: what is skipped of them, and plans for what is to be sent; None after the last.

        Raises
        ------
        FileNotFoundError
            If a path does not exist; and whatever else the paths raise that the caller gave.
        """
        if self.is_dropped:
            return None
        if self._failure is not None and not self._aside:
            raise self._failure
        further = 0 if self._failure is not None else max(0, count - len(self._aside))
        looked = [examine(each)[0] for each in islice(self._files, further)]
        self._is_exhausted = self._is_exhausted or len(looked) < further
        part = [*self._aside, *looked]
        self._aside.clear()
        if not part:
            return None
        if self.ended is not None:
            return [u if isinstance(u, StoreResult) else failed_result(u, self.ended) for u in part], []
        plans: list[StorePlan] = []
        for stored in part:
            if not isinstance(stored, StoreResult) and not any(plan.takes(stored) for plan in plans):
                plans.append(StorePlan(self._transcoding))
                plans[-1].takes(stored)
        self._open_plan = plans[-1] if plans else None
        return [unit for unit in part if isinstance(unit, StoreResult)], plans

    def has_more(self, plan: StorePlan) -> bool:
        """Whether `more` may find something for a plan: only for the last one of a part."""
        is_open = plan is self._open_plan and len(self._aside) < SCAN_AHEAD
        return is_open and not self._is_exhausted and self.ended is None and self._failure is None

    def more(self, plan: StorePlan) -> Look | None:
        """Look on for an object that a plan proposes the contexts of; or what is skipped before it.

        What needs other contexts is put aside for later parts. None where that is much, and after the last file.
        A path that fails is for `part` to raise, when what is on its way has been answered.
        """
        while self.has_more(plan):
            try:
                with self._lock:
                    path = next(self._files, None)
                if path is None:
                    self._is_exhausted = True
                    return None
                look = examine(path, SMALL_FILE)
            except Exception as error:  # noqa: BLE001
                # The paths may come from the caller's own generator, which raises what it likes.
                self._failure = error
                return None
            unit = look[0]
            if isinstance(unit, StoreResult) or pair_of(unit) in plan.pairs:
                return look
            self._aside.append(unit)
        return None


@mutable
class Waiting:
    """An object that waits to be sent.

    Parameters
    ----------
    stored
        The object.
    losses
        How many associations it has cost.
    refusals
        How often it was refused for want of resources.
    content
        Its data set as it is stored, where that was read already.
    is_begun
        Whether somebody has begun to make its data set ahead.
    made
        That data set, or why there is none, with the transfer syntax that it is for.
    is_taken
        Whether it waits no longer.
    """

    stored: Sendable
    losses: int = 0
    refusals: int = 0
    content: memoryview | None = None
    is_begun: bool = False
    made: tuple[str, Source | UnusableObject] | None = None
    is_taken: bool = False

    def data_in(self, context: NegotiatedContext) -> Source | Work:
        """Its data set in the transfer syntax of a context, or the work to make it. It is kept here no longer."""
        made, content = self.made, self.content
        self.made = self.content = None
        if made is None or made[0] != context.transfer_syntax:
            return file_in(context, self.stored, content)
        data = made[1]
        return Work(partial(_refuse, data)) if isinstance(data, UnusableObject) else data

    def make_ahead(self, context: NegotiatedContext) -> Work | None:
        """The work to make its data set for a context, before it is its turn; None where that is not worth it."""
        length = self.stored.length
        if length is None or length > WHOLE_FILE:
            return None
        data = file_in(context, self.stored, self.content)
        if not isinstance(data, Work):
            return None
        self.is_begun = True
        return Work(partial(self._make, context.transfer_syntax, data.function))

    def _make(self, transfer_syntax: str, function: Callable[[], Source]) -> None:
        made: Source | UnusableObject
        try:
            made = function()
        except UnusableObject as error:
            made = error
        # Another association may have taken it meanwhile.
        if not self.is_taken:
            self.made = transfer_syntax, made


def _refuse(error: UnusableObject) -> NoReturn:
    raise error


class StoreQueue:
    """The objects of one plan: those that wait to be sent, and results. None is lost, and none holds up the others.

    Several associations may send from one queue, in different threads, with a `Transmission` each.

    Parameters
    ----------
    plan
        What is to be sent.
    retries
        How often an object is sent again that was outstanding when its association was lost. An end that it met on an
        association after others is not counted, since a peer may end each association after some.
    supply
        Gives further objects of the plan, and knows when nothing more is to be sent.
    """

    def __init__(self, plan: StorePlan, retries: int, supply: Supply | None = None) -> None:
        self.proposal = plan.proposal
        self.transcoding = plan.transcoding
        self._had_losses = False
        self._plan = plan
        self._supply = Supply((), plan.transcoding) if supply is None else supply
        self.retry = self._supply.retry
        # An outage may meet the same object more than once.
        self._retries = retries if self.retry is None else max(retries, self.retry.tries)
        self._waiting: deque[Waiting] = deque(map(Waiting, plan.objects))
        # Those that were outstanding when an association was lost. One of them may have been the cause, so they are
        # sent one at a time.
        self._suspects: deque[Waiting] = deque()
        self._results: deque[StoreResult] = deque()
        self._failure: DicomnetError | None = None

    @property
    def has_objects(self) -> bool:
        """Whether an object waits."""
        return bool(self._waiting or self._suspects)

    @property
    def can_look(self) -> bool:
        """Whether `look_on` may find further objects."""
        return self.ended is None and self._supply.has_more(self._plan)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, and nothing more is to be looked at."""
        return not (self.has_objects or self.can_look)

    @property
    def ended(self) -> DicomnetError | None:
        """Why nothing more is to be sent, None as long as more may be."""
        return self._failure or self._supply.ended

    @property
    def elements(self) -> Mapping[str, Any]:
        """The elements of each C-STORE-RQ that are not about its object."""
        return self._supply.elements

    def wait(self) -> float:
        """For how many seconds nothing may be sent; 0 where something may be, and where nothing ever will."""
        return 0.0 if self.ended is not None else self._supply.wait()

    def tell(self, sentence: str) -> None:
        """See `Supply.tell`."""
        self._supply.tell(sentence)

    def took(self, waiting: Waiting) -> None:
        """An object is sent."""
        if self._supply.pacing is not None:
            self._supply.pacing.took(waiting.stored.length or 0)

    def lost(self, error: DicomnetError, begun: float, *, has_answer: bool) -> None:
        """An association was lost, see `Supply.lost`."""
        self._supply.lost(error, begun, has_answer=has_answer)

    def unreachable(self, error: DicomnetError) -> None:
        """No association can be opened: what waits has failed, and where the peer counts as lost, all that is left."""
        self.fail(error)
        self._supply.unreachable(error)

    def look_on(self) -> None:
        """Look at the next files. Reads them."""
        for _ in range(LOOK_TOGETHER):
            look = self._supply.more(self._plan) if self.ended is None else None
            if look is None:
                return
            unit, content = look
            if isinstance(unit, StoreResult):
                self._results.append(unit)
            else:
                self._waiting.append(Waiting(unit, content=content))

    def take(self, *, is_careful: bool) -> Waiting | None:
        """The next object to send, None where none waits.

        Parameters
        ----------
        is_careful
            Whether it may be one that was outstanding when an association was lost.
        """
        try:
            if is_careful and self._suspects:
                taken = self._suspects.popleft()
            elif self._waiting:
                taken = self._waiting.popleft()
            else:
                return None
        except IndexError:
            # Another association has taken the last one at this moment.
            return self.take(is_careful=is_careful)
        taken.is_taken = True
        return taken

    def next_to_make(self) -> Waiting | None:
        """One of the next objects whose data set nobody has begun to make; None where there are enough others."""
        try:
            for at in range(MADE_AHEAD):
                waiting = self._waiting[at]
                if not waiting.is_begun:
                    return waiting
        except IndexError:
            # There are no more, or another association has taken the last one at this moment.
            return None
        return None

    def put_back(self, objects: Sequence[Waiting]) -> None:
        """Objects of which nothing was learnt come first again, each where it was before."""
        for each in reversed(objects):
            each.is_taken = each.is_begun = False
            (self._suspects if each.losses else self._waiting).appendleft(each)

    def blame(self, objects: Sequence[Waiting], error: DicomnetError) -> None:
        """Objects were outstanding when an association was lost: each is sent again, or has failed too often."""
        has_failed = False
        for each in reversed(objects):
            self._had_losses = True
            if each.losses >= self._retries or self.ended is not None:
                has_failed = True
                self.report(failed_result(each.stored, error))
            else:
                self._suspects.appendleft(Waiting(each.stored, each.losses + 1, each.refusals))
        if has_failed and isinstance(error, DeadlineExceeded):
            self._supply.overdue(error)

    def now(self) -> float:
        """See `Supply.now`."""
        return self._supply.now()

    def tries_again(self, cause: object, begun: float) -> bool:
        """See `Supply.tries_again`."""
        return self._supply.tries_again(cause, begun)

    def answered(self, waiting: Waiting, result: StoreResult, begun: float) -> None:
        """An object was answered: that is its result, unless it is to be sent again.

        Parameters
        ----------
        begun
            As of `tries_again`.
        """
        retry = self.retry
        self._supply.answered()
        if retry is not None:
            if not is_out_of_resources(result.status or 0):
                retry.progressed()
            elif waiting.refusals < retry.tries and self.tries_again(
                f"{result.path}: {result.comment}", begun
            ):
                # It comes first again: where it is taken, the peer has resources.
                self._waiting.appendleft(Waiting(waiting.stored, waiting.losses, waiting.refusals + 1))
                return
        self.report(result)

    @property
    def has_losses(self) -> bool:
        """Whether objects were lost, so that one is sent at a time. With a peer whose outages are waited for, only as
        long as one of them is left: the cause was the peer, mostly."""
        return bool(self._suspects) or (self.retry is None and self._had_losses)

    def fail(self, error: DicomnetError) -> None:
        """Send nothing more: everything that waits has failed."""
        self._failure = self._failure or error
        while (waiting := self.take(is_careful=True)) is not None:
            if not self._supply.is_dropped:
                self.report(failed_result(waiting.stored, error))

    def report(self, result: StoreResult) -> None:
        """A result is there, for whoever takes it."""
        self._results.append(result)

    def take_result(self) -> StoreResult | None:
        """The next result, None where none is there."""
        try:
            return self._results.popleft() if self._results else None
        except IndexError:
            # Another association has taken the last one at this moment.
            return None


class Transmission:
    """The objects of a queue that are sent on one association: those that were sent and not answered yet.

    Parameters
    ----------
    queue
        Gives the objects, and takes the results.
    agreement
        What was negotiated.
    next_message_id
        Gives a message ID that no outstanding request has.
    window
        How many requests may be outstanding at most; the peer may grant fewer.
    is_proven
        Whether the association may begin with an object that was outstanding when another was lost. Else it begins
        with one that was not, so that it is known what is to blame if this one is lost, too.

    Attributes
    ----------
    window
        How many requests may be outstanding. After a loss it is one, so that an object which makes the peer fail is
        known, and the others get through.
    is_held
        Whether the requests have ended because the next object may not be sent yet.
    begun
        When the present requests were begun, see `Supply.tries_again`.
    """

    def __init__(
        self,
        queue: StoreQueue,
        agreement: Agreement,
        next_message_id: Callable[[], int],
        window: int,
        *,
        is_proven: bool = True,
    ) -> None:
        self._queue = queue
        self._is_proven = is_proven
        self._agreement = agreement
        self._next_message_id = next_message_id
        self._is_careful = queue.has_losses
        self._most = min(agreement.invoked or window, window)
        self.window = 1 if self._is_careful else self._most
        self.is_held = False
        self.begun = 0.0
        self._unanswered: dict[int, Waiting] = {}
        self._contexts: dict[Pair, NegotiatedContext] = {}
        # Whether the data set of the last object had to be made; of files that are sent as they are, none has.
        self._is_making = False
        # Whether the peer has had others after those that were outstanding when an association was lost. What another
        # lane has lost since then may be sent at the moment when the peer has had enough of this association.
        self._has_moved_on = False

    def renew(self) -> None:
        """Begin with further requests, when all that were sent are answered."""
        self.begun = self._queue.now()
        if self._is_careful and not self._queue.has_losses:
            self._is_careful = False
            self.window = self._most

    def requests(self) -> Iterator[Message | Work]:
        """The requests, each made when there is room for it; between them, the work of looking at the next files."""
        queue = self._queue
        contexts = self._contexts
        self.is_held = False
        while queue.ended is None:
            if (queue.has_objects and queue.wait()) or (self._is_careful and not queue.has_losses):
                self.is_held = True
                return
            waiting = self._take()
            if waiting is None:
                if not queue.can_look:
                    return
                yield Work(queue.look_on)
                continue
            stored = waiting.stored
            pair = pair_of(stored)
            context = contexts.get(pair)
            if context is None:
                try:
                    context = contexts[pair] = self._context_for(stored)
                except NoAcceptedContext as error:
                    queue.report(failed_result(stored, error))
                    continue
            message_id = self._next_message_id()
            self._unanswered[message_id] = waiting
            queue.took(waiting)
            data = waiting.data_in(context)
            self._is_making = waiting.is_begun or isinstance(data, Work)
            yield file_request(stored, context, message_id, data, queue.elements)

    def ahead(self) -> Work | None:
        """Work on what comes next, to be done while the peer is busy: its data set is made, or further files looked at.

        None where nothing can be done before a response has come.
        """
        queue = self._queue
        if not queue.has_objects:
            return Work(queue.look_on) if queue.can_look else None
        waiting = queue.next_to_make() if self._is_making else None
        context = None if waiting is None else self._contexts.get(pair_of(waiting.stored))
        return None if waiting is None or context is None else waiting.make_ahead(context)

    def _take(self) -> Waiting | None:
        first = None if self._is_proven else self._queue.take(is_careful=False)
        taken = first or self._queue.take(is_careful=self._is_careful)
        if first is None and taken is not None and not taken.losses:
            self._has_moved_on = True
        return taken

    def _context_for(self, stored: Sendable) -> NegotiatedContext:
        pair = pair_of(stored)
        try:
            return context_for(self._agreement, *pair)
        except NoAcceptedContext:
            instance = stored.header.sop_instance_uid
            return substitute_context(self._agreement, pair, instance, self._queue.transcoding)

    def answered(self, response: Message) -> None:
        """A response has come."""
        self._is_proven = True
        waiting = self._unanswered.pop(response.message_id)
        self._queue.answered(waiting, store_result(waiting.stored, response), self.begun)

    def unusable(self, request: Message, error: UnusableObject) -> None:
        """An object could not be read when it was to be sent."""
        self._queue.report(failed_result(self._unanswered.pop(request.message_id).stored, error))

    def lost(self, error: DicomnetError, *, may_blame: bool = True) -> None:
        """The association is over before everything was answered.

        Parameters
        ----------
        may_blame
            Whether an object may be the cause; not where the association had ended before this use of it.
        """
        queue, outstanding = self._queue, list(self._unanswered.values())
        self._unanswered.clear()
        is_chance = self._has_moved_on and bool(outstanding) and all(each.losses for each in outstanding)
        if queue.ended is None and (is_chance or not may_blame):
            queue.put_back(outstanding)
            return
        if not outstanding and queue.ended is None:
            # A peer that ends each association before the first request must not be tried for ever.
            first = queue.take(is_careful=self._is_careful)
            outstanding = [] if first is None else [first]
        queue.blame(outstanding, error)


@mutable
class StorePlan:
    """Objects to be sent, in groups that each need no more contexts than an association has room for.

    Parameters
    ----------
    transcoding
        Whether compressed objects may be decompressed.
    """

    transcoding: Transcoding = Transcoding.NEVER
    objects: list[Sendable] = field(default_factory=list)
    pairs: dict[Pair, None] = field(default_factory=dict)
    proposal: Proposal = ()

    def takes(self, stored: Sendable) -> bool:
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
