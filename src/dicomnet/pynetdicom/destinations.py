"""Associations with move destinations, requested by an application entity."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..drivers.blocking.link import Link
from ..errors import AssociationClosed
from ..exchange.contexts import Context
from ..exchange.retrieval import Destination, DestinationPlan
from .association import Association
from .presentation import PresentationContext, build_context


class AEDestinations:
    """Requests associations with move destinations; their options are those of `AE.associate`.

    Parameters
    ----------
    associate
        `AE.associate` of the application entity.
    requested_contexts
        Gives its `AE.requested_contexts`, which are proposed besides what objects need.
    """

    def __init__(
        self,
        associate: Callable[..., Association],
        requested_contexts: Callable[[], Sequence[PresentationContext]],
    ) -> None:
        self._associate = associate
        self._requested_contexts = requested_contexts

    def plan(self, destination: Destination) -> DestinationPlan:
        """The contexts among the options and no others, or else those of the application entity."""
        given = destination.options.get("contexts")
        contexts = self._requested_contexts() if given is None else given
        proposed = [
            (str(each.abstract_syntax), tuple(str(uid) for uid in each.transfer_syntax)) for each in contexts
        ]
        return DestinationPlan(proposed, is_fixed=given is not None)

    def connect(self, destination: Destination, called: str, contexts: Sequence[Context]) -> Link:
        """An established association."""
        options = {"ae_title": called, **destination.options}
        options["contexts"] = [build_context(uid, list(syntaxes)) for uid, syntaxes in contexts]
        assoc = self._associate(destination.host, destination.port, **options)
        if not assoc.is_established:
            raise assoc.failure or AssociationClosed()
        return assoc.state.live()
