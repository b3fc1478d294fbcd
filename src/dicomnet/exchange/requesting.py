"""The side of an association that only asks: callbacks that perform nothing for the peer."""

from __future__ import annotations

from typing import Any

from ..dimse.datasets import MemorySink, Sink
from ..dimse.messages import Message
from ..drivers.hooks import Phase, WithoutRetrieval
from ..errors import ServiceRefusal
from ..services.registry import SOP_CLASS_NOT_SUPPORTED
from ..upper_layer.negotiation import Agreement, NegotiatedContext
from ..wire.pdu import AssociateAC, AssociateRJ, AssociateRQ

RESPONSE_LIMIT = 64 << 20


class RequestorHooks(WithoutRetrieval):
    """The hooks of an association that only asks: nothing is performed for the peer."""

    stores = None

    def negotiate(self, request: AssociateRQ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        """Never asked of a requestor."""
        raise TypeError("a requestor does not answer association requests")

    def open_sink(self, message: Message, context: NegotiatedContext) -> Sink:
        """Keep the data sets of responses in memory, up to a limit."""
        return MemorySink(RESPONSE_LIMIT)

    def handle(self, message: Message, context: NegotiatedContext) -> Any:
        """Refuse what the peer asks for."""
        raise ServiceRefusal(SOP_CLASS_NOT_SUPPORTED)

    def next_answer(self, answers: Any) -> None:
        """There are no answers."""

    def refused(self, message: Message, refusal: ServiceRefusal) -> None:
        """Do nothing: the response says it."""

    def phase_changed(self, phase: Phase) -> None:
        """Do nothing."""

    def closed(self) -> None:
        """Do nothing."""
