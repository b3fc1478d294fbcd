"""Verification: C-ECHO (PS3.4 annex A)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ...dimse.datasets import MemorySink
from ...dimse.messages import Message
from ...exchange.contexts import VERIFICATION
from ...services.registry import SUCCESS
from ...services.steps import Answer
from ...upper_layer.negotiation import NegotiatedContext, SupportedContext
from ...wire.items import SOPClassExtendedNegotiation
from .service import NATIVE, Caller

# No data set belongs to a C-ECHO.
_LIMIT = 1 << 10


class VerificationService:
    """The service that answers."""

    operation = "C-ECHO"
    contexts: ClassVar[Mapping[str, SupportedContext]] = {VERIFICATION: NATIVE}

    def agree(self, proposed: SOPClassExtendedNegotiation) -> None:
        """Nothing can be agreed."""

    def open_sink(self, message: Message, context: NegotiatedContext, caller: Caller) -> MemorySink:
        """Where a data set goes that should not be there."""
        return MemorySink(_LIMIT)

    def handle(self, message: Message, context: NegotiatedContext, caller: Caller) -> Answer:
        """Success."""
        return Answer(SUCCESS)
