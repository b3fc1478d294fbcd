"""What a procedure may yield. A procedure is a generator; a driver performs each step and sends its outcome back in.

A step that fails is raised inside the procedure: ServiceRefusal for a handler's no, NetworkError and AssociationError
for the end of the association.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from ..dimse.datasets import Source
from ..dimse.messages import Message
from ..errors import ServiceRefusal
from ..upper_layer.negotiation import NegotiatedContext
from ..values import field, frozen, mutable

Outcome = TypeVar("Outcome")

# How many messages one turn takes at most: of responses, since requests may go out between them and the user waits to
# hear of the first; of requests, since their sender waits for an answer.
TOGETHER = 16
# Few large objects fit the inbox, so with fewer than `_FEW` waiting we read on until `_LIMIT` requests are together,
# half the usual window, so that their sender can go on; for at most `_TIME` seconds, and only while more is coming.
_FEW = 2
_LIMIT = 8
_TIME = 0.01
# What is here already is taken `_PART` at a time, for at most `_PATIENCE` seconds: where the medium is slow, a sender
# must not wait for all of it before it hears of the first.
_PART = 4
_PATIENCE = 0.1


@mutable
class Send:
    """Write a message. Outcome: None.

    Parameters
    ----------
    more
        Whether more follows at once, so that the driver may let the network coalesce them.
    """

    message: Message
    more: bool = False


@mutable
class Respond:
    """Write responses without data sets, in one go. Outcome: None."""

    responses: Sequence[Message]


@mutable
class Receive:
    """Wait for a response to one of these requests of ours. Outcome: the `Message`."""

    message_ids: Collection[int]


@mutable
class Deliver:
    """Hand a response to the user, who takes the next one when it suits. Outcome: None."""

    message: Message


@mutable
class Handle:
    """Call the user's handler for a request. Outcome: an `Answer`, or what `Next` takes, or a `Retrieval`."""

    message: Message
    context: NegotiatedContext


class Stores(Protocol):
    """Performs C-STORE requests in two parts, the second for several at once."""

    def place(self, requests: Sequence[Message]) -> Any:
        """First half of storing: the work of each object alone (check, write, name). `settle` reports what failed."""
        ...

    def settle(self, requests: Sequence[Message]) -> Any:
        """Second half, for requests that were placed: for each its `Answer`, or the `ServiceRefusal`."""
        ...


class Batch:
    """C-STORE requests that are settled together; knows when it is time for that, but waits for nothing.

    Parameters
    ----------
    stores
        Performs them.
    first
        The first of them.
    now
        The time of its arrival, in seconds of any clock.
    waiting
        How many messages wait behind it; None where the peer sends no other before it has the response.
    """

    def __init__(self, stores: Stores, first: Message, now: float, waiting: int | None) -> None:
        self.stores = stores
        self.requests = [first]
        self._given = 0
        self._end = now + _PATIENCE
        self._read_until = now if waiting is None or waiting >= _FEW else now + _TIME

    def reads_on(self, now: float) -> bool:
        """Whether it is worth the while to look for further requests in the network, where none are here."""
        return 0 < self._given < _LIMIT and now < self._read_until

    def room(self, now: float) -> int:
        """How many further requests may be added; none where it is time to settle."""
        if self._given >= TOGETHER or (self._given and now >= self._end):
            return 0
        return self._given + _PART - len(self.requests)

    def add(self, requests: Iterable[Message]) -> None:
        """Add requests that came behind the others."""
        self.requests += requests

    def take_part(self) -> Sequence[Message]:
        """Those that were added since the last time."""
        part = self.requests[self._given :]
        self._given = len(self.requests)
        return part


@mutable
class PlaceStores:
    """Call `Stores.place` for requests of a batch. Outcome: None."""

    batch: Batch
    requests: Sequence[Message]


Part = Sequence[tuple[Message, NegotiatedContext]]


@mutable
class MoreStores:
    """Take, without waiting, the C-STORE requests that are here and may be settled with those of a batch.

    Outcome: each with its presentation context; none where it is time to settle.
    """

    batch: Batch


@mutable
class SettleStores:
    """Call `Stores.settle` for requests of a batch. Outcome: for each its `Answer`, or why it is refused."""

    batch: Batch
    requests: Sequence[Message]


class StillSearching:
    """What a handler gives that has no answer yet: the driver looks for a C-CANCEL and the end, and asks again."""


STILL_SEARCHING = StillSearching()


@mutable
class Next:
    """Get the next answer of a handler that has many. Outcome: an `Answer`, `STILL_SEARCHING`, or None after the last.

    Of a `Retrieval` it is a `SubOperation` that is to be performed, or what became of some that the floor above
    performs by itself (`Performed`, or `STILL_SEARCHING`); or an `Answer` that ends it, or None after the last.
    """

    answers: Any


@mutable
class Cancelled:
    """Look, without waiting, whether the peer has sent a C-CANCEL. Outcome: bool."""

    message_id: int


@mutable
class Work:
    """Call a function that takes long and does no networking. Outcome: what it returns."""

    function: Callable[[], Any]


class Retrieval(Protocol):
    """What performs a C-GET or C-MOVE on the floor above: the objects that are to be sent, and a way to send them."""

    @property
    def count(self) -> int:
        """How many sub-operations there will be."""
        ...

    def abort(self) -> None:
        """End at once what is open for it; may be called at any time and more than once."""
        ...


@frozen
class SubOperation:
    """An object that is to be sent for a C-GET or C-MOVE.

    Parameters
    ----------
    source
        The object, as the floor above knows it.
    sop_instance_uid
        UID; empty where it is not known.
    """

    source: Any
    sop_instance_uid: str = ""


@frozen
class Performed:
    """Sub-operations of a C-GET or C-MOVE that are over; the requestor is told how far it is.

    Parameters
    ----------
    outcomes
        For each the status of its C-STORE response, None where there is none, and the SOP Instance UID.
    """

    outcomes: Sequence[tuple[int | None, str]]


@mutable
class Store:
    """Send an object by C-STORE: on the same association for a C-GET, for a C-MOVE on one to the destination.

    Outcome: the `Message` that answers. Raises ServiceRefusal where nothing more can be sent.
    """

    retrieval: Retrieval
    sub_operation: SubOperation


@mutable
class Finish:
    """Nothing more is sent for a retrieval: let go of its handler and its destination.

    Outcome: None, or what became meanwhile of sub-operations that were on their way (`Performed`).
    """

    retrieval: Retrieval


@mutable
class Answer:
    """What a handler answers.

    Parameters
    ----------
    status
        Of the response.
    data
        The encoded data set of the response.
    elements
        Further elements of the command set by keyword, for instance ErrorComment.
    failed
        UIDs for the Failed SOP Instance UID List of a C-GET or C-MOVE, besides those that are known to have failed.
    """

    status: int
    data: Source | None = None
    elements: Mapping[str, Any] = field(default_factory=dict)
    failed: tuple[str, ...] = ()


def answer_of(refusal: ServiceRefusal) -> Answer:
    """The response that a refusal becomes."""
    elements: dict[str, object] = {}
    if refusal.comment:
        # It is LO.
        elements["ErrorComment"] = refusal.comment[:64]
    if refusal.offending:
        elements["OffendingElement"] = list(refusal.offending)
    return Answer(refusal.status, None, elements)


Step = (
    Send
    | Respond
    | Receive
    | Deliver
    | Handle
    | PlaceStores
    | MoreStores
    | SettleStores
    | Next
    | Cancelled
    | Store
    | Finish
    | Work
)
Procedure = Generator[Step, Any, Outcome]
