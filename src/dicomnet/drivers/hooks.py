"""What a driver asks of the floor above it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Protocol

from ..dimse.datasets import Sink
from ..dimse.messages import Message
from ..errors import ServiceRefusal
from ..services.steps import Answer, SubOperation
from ..upper_layer.negotiation import Agreement, NegotiatedContext
from ..wire.pdu import AssociateAC, AssociateRJ, AssociateRQ


class Stores(Protocol):
    """Performs C-STORE requests in two parts, the second for several at once."""

    def place(self, requests: Sequence[Message]) -> None:
        """Do what requests share with no others. What goes wrong is told by `settle`."""
        ...

    def settle(self, requests: Sequence[Message]) -> Sequence[Answer | ServiceRefusal]:
        """Do the rest for requests that were placed: for each the answer, or why it is refused."""
        ...


class Phase(Enum):
    """Where an association is in its life."""

    NEW = "new"
    ESTABLISHED = "established"
    REJECTED = "rejected"
    RELEASED = "released"
    ABORTED = "aborted"


class Hooks(Protocol):
    """The user's side of an association.

    In the blocking driver its calls may block, but for `phase_changed` and `closed`; in the asyncio driver what
    `handle`, `next_answer`, `store` and `finish` return may be awaitable.
    """

    def negotiate(self, request: AssociateRQ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        """Answer a request, as the association acceptor."""
        ...

    def open_sink(self, message: Message, context: NegotiatedContext) -> Sink:
        """Where the data set of a message goes; may raise ServiceRefusal."""
        ...

    def handle(self, message: Message, context: NegotiatedContext) -> Any:
        """Perform a request: an `Answer`, or for an operation with many replies what `next_answer` takes.

        For a C-GET or C-MOVE that is a `Retrieval`.
        """
        ...

    @property
    def stores(self) -> Stores | None:
        """Performs C-STORE requests in place of `handle`; None where `handle` is to be called for each."""
        ...

    def next_answer(self, answers: Any) -> Any:
        """The next of many replies, an `Answer`, or None after the last; of a `Retrieval` also a `SubOperation`."""
        ...

    def store(self, retrieval: Any, sub_operation: SubOperation) -> Any:
        """Send an object for a C-GET or C-MOVE: the `Message` that answers, see `Store`."""
        ...

    def finish(self, retrieval: Any) -> Any:
        """Let go of the handler and the destination of a C-GET or C-MOVE, see `Finish`."""
        ...

    def phase_changed(self, phase: Phase) -> None:
        """The association was established, or is over."""
        ...

    def closed(self) -> None:
        """The transport connection is closed; nothing more will be asked."""
        ...


class WithoutRetrieval:
    """The part of `Hooks` that is for C-GET and C-MOVE, where neither is performed."""

    def store(self, retrieval: Any, sub_operation: SubOperation) -> Any:
        """Never asked."""
        raise TypeError("neither C-GET nor C-MOVE is performed here")

    def finish(self, retrieval: Any) -> Any:
        """Never asked."""
        raise TypeError("neither C-GET nor C-MOVE is performed here")
