"""Associations with move destinations, requested by an application entity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..drivers.blocking.link import Link
from ..errors import AssociationClosed
from ..exchange.contexts import Context
from ..exchange.retrieval import Destination, DestinationPlan
from .presentation import build_context

if TYPE_CHECKING:
    from .ae import ApplicationEntity


class AEDestinations:
    """Associations that an application entity requests; the options are those of `AE.associate`.

    Parameters
    ----------
    ae
        Its `requested_contexts` are proposed besides what objects need.
    """

    def __init__(self, ae: ApplicationEntity) -> None:
        self._ae = ae

    def plan(self, destination: Destination) -> DestinationPlan:
        """The contexts among the options and no others, or else those of the application entity."""
        given = destination.options.get("contexts")
        contexts = self._ae.requested_contexts if given is None else given
        proposed = [
            (str(each.abstract_syntax), tuple(str(uid) for uid in each.transfer_syntax)) for each in contexts
        ]
        return DestinationPlan(proposed, is_fixed=given is not None)

    def connect(self, destination: Destination, called: str, contexts: Sequence[Context]) -> Link:
        """An established association."""
        options = {"ae_title": called, **destination.options}
        options["contexts"] = [build_context(uid, list(syntaxes)) for uid, syntaxes in contexts]
        assoc = self._ae.associate(destination.host, destination.port, **options)
        if not assoc.is_established:
            raise assoc.failure or AssociationClosed()
        return assoc._live()
