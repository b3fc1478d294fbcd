"""What a procedure may yield. A procedure is a generator; a driver performs each step and sends its outcome back in.

A step that fails is raised inside the procedure: ServiceRefusal for a handler's no, NetworkError and AssociationError
for the end of the association.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping
from typing import Any, TypeVar

from ..dimse.datasets import Source
from ..dimse.messages import Message
from ..upper_layer.negotiation import NegotiatedContext
from ..values import field, mutable

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
class Receive:
    """Wait for a response to one of these requests of ours. Outcome: the `Message`."""

    message_ids: Collection[int]


@mutable
class Deliver:
    """Hand a response to the user, who takes the next one when it suits. Outcome: None."""

    message: Message


@mutable
class Handle:
    """Call the user's handler for a request. Outcome: an `Answer`, or what `Next` takes."""

    message: Message
    context: NegotiatedContext


@mutable
class Next:
    """Get the next answer of a handler that has many. Outcome: an `Answer`, or None after the last."""

    answers: Any


@mutable
class Cancelled:
    """Look, without waiting, whether the peer has sent a C-CANCEL. Outcome: bool."""

    message_id: int


@mutable
class Work:
    """Call a function that takes long and does no networking. Outcome: what it returns."""

    function: Callable[[], Source]


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
    """

    status: int
    data: Source | None = None
    elements: Mapping[str, Any] = field(default_factory=dict)


Step = Send | Receive | Deliver | Handle | Next | Cancelled | Work
Procedure = Generator[Step, Any, Outcome]
