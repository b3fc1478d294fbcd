"""What a driver asks of the floor above it."""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol

from ..dimse.datasets import Sink
from ..dimse.messages import Message
from ..services.steps import Answer
from ..upper_layer.negotiation import Agreement, NegotiatedContext
from ..wire.pdu import AssociateAC, AssociateRJ, AssociateRQ


class Phase(Enum):
    """Where an association is in its life."""

    NEW = "new"
    ESTABLISHED = "established"
    REJECTED = "rejected"
    RELEASED = "released"
    ABORTED = "aborted"


class Hooks(Protocol):
    """The user's side of an association. In the blocking driver every call may block, but for `phase_changed`."""

    def negotiate(self, request: AssociateRQ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        """Answer a request, as the association acceptor."""
        ...

    def open_sink(self, message: Message, context: NegotiatedContext) -> Sink:
        """Where the data set of a message goes; may raise ServiceRefusal."""
        ...

    def handle(self, message: Message, context: NegotiatedContext) -> Any:
        """Perform a request: an `Answer`, or for an operation with many replies what `next_answer` takes."""
        ...

    def next_answer(self, answers: Any) -> Answer | None:
        """The next of many replies, None after the last."""
        ...

    def phase_changed(self, phase: Phase) -> None:
        """The association was established, or is over."""
        ...

    def closed(self) -> None:
        """The transport connection is closed; nothing more will be asked."""
        ...
