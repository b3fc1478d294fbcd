"""The user's side of an association: what the drivers call for negotiation, requests and changes of phase."""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol

from ..dimse.datasets import Sink
from ..dimse.messages import Message
from ..errors import ServiceRefusal
from ..services.steps import Stores, SubOperation
from ..upper_layer.negotiation import NegotiatedContext
from ..wire.pdu import AssociateRQ


class Phase(Enum):
    """Where an association is in its life."""

    NEW = "new"
    ESTABLISHED = "established"
    REJECTED = "rejected"
    RELEASED = "released"
    ABORTED = "aborted"


class Hooks(Protocol):
    """The user's side of an association.

    In the blocking driver its calls may block, but for `phase_changed` and `closed`. In the asyncio driver they are
    made in the event loop and must not block, but what `negotiate`, `handle`, `next_answer`, `store` and `finish`
    return may be awaitable. `Stores.place` and `Stores.settle` write and sync files: there they may be coroutine
    functions, and plain functions run in a thread.
    """

    def negotiate(self, request: AssociateRQ) -> Any:
        """Answer a request, as the association acceptor: A-ASSOCIATE-AC and `Agreement`, or A-ASSOCIATE-RJ."""
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
        """The next of many replies, an `Answer`, or None after the last; of a `Retrieval` what `Next` gives."""
        ...

    def store(self, retrieval: Any, sub_operation: SubOperation) -> Any:
        """Send an object for a C-GET or C-MOVE: the `Message` that answers, see `Store`."""
        ...

    def finish(self, retrieval: Any) -> Any:
        """Let go of the handler and the destination of a C-GET or C-MOVE: what `Finish` gives."""
        ...

    def refused(self, message: Message, refusal: ServiceRefusal) -> None:
        """A request is answered with a refusal, whoever refused it; must neither block nor raise."""
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
