"""What a service of the node consists of, and what it knows of a caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ...dimse.datasets import Sink
from ...dimse.messages import Message
from ...upper_layer.negotiation import NegotiatedContext, SupportedContext
from ...values import frozen
from ...wire.items import SOPClassExtendedNegotiation

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from ...drivers.blocking.link import Link


@frozen
class Caller:
    """The other side of an association.

    Parameters
    ----------
    ae_title, address
        Its AE title, as it says, and its host.
    agreed
        What was agreed with it by SOP class extended negotiation: for each SOP class what the service made of it.
    association
        The association.
    on_identifier
        Told the identifier of each query once it is decoded; None for nobody.
    """

    ae_title: str
    address: str
    agreed: Mapping[str, Any]
    association: Link
    on_identifier: Callable[[Dataset], None] | None = None

    def __str__(self) -> str:
        return f"{ascii(self.ae_title)[1:-1]} ({self.address})"


class Service(Protocol):
    """A service: its row in the node."""

    @property
    def operation(self) -> str:
        """The operation that it performs, such as C-FIND."""
        ...

    @property
    def contexts(self) -> Mapping[str, SupportedContext]:
        """Its SOP classes, each with the transfer syntaxes."""
        ...

    def agree(self, proposed: SOPClassExtendedNegotiation) -> tuple[Any, bytes] | None:
        """What is agreed for one of its SOP classes, and the answer; None if nothing is answered."""
        ...

    def open_sink(self, message: Message, context: NegotiatedContext, caller: Caller) -> Sink:
        """Where the data set of a request goes.

        Raises
        ------
        ServiceRefusal
            If the request is refused.
        """
        ...

    def handle(self, message: Message, context: NegotiatedContext, caller: Caller) -> Any:
        """Perform a request: what `drivers.hooks.Hooks.handle` gives.

        Raises
        ------
        ServiceRefusal
            If the request is refused.
        """
        ...


NATIVE = SupportedContext(("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"))
