"""What a procedure may yield. A procedure is a generator; a driver performs each step and sends its outcome back in.

A step that fails is raised inside the procedure: ServiceRefusal for a handler's no, NetworkError and AssociationError
for the end of the association.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from ..dimse.datasets import Source
from ..dimse.messages import Message
from ..errors import ServiceRefusal
from ..upper_layer.negotiation import NegotiatedContext
from ..values import field, frozen, mutable

Outcome = TypeVar("Outcome")


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


@mutable
class PlaceStores:
    """Do of C-STORE requests what they share with no others. Outcome: None; what goes wrong is told by the settling."""

    requests: Sequence[Message]


@mutable
class MoreStores:
    """Take, without waiting, the C-STORE requests that are there and may share the rest with those before them.

    Outcome: each with its presentation context; none where it is time to settle.
    """


@mutable
class SettleStores:
    """Do the rest of C-STORE requests. Outcome: for each its `Answer`, or why it is refused."""

    requests: Sequence[Message]


@mutable
class Next:
    """Get the next answer of a handler that has many. Outcome: an `Answer`, or None after the last.

    Of a `Retrieval` it is a `SubOperation`, an `Answer` that ends it, or None after the last.
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


@mutable
class Store:
    """Send an object by C-STORE: on the same association for a C-GET, for a C-MOVE on one to the destination.

    Outcome: the `Message` that answers. Raises ServiceRefusal where nothing more can be sent.
    """

    retrieval: Retrieval
    sub_operation: SubOperation


@mutable
class Finish:
    """Nothing more is sent for a retrieval: let go of its handler and its destination. Outcome: None."""

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
        elements["ErrorComment"] = refusal.comment
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
