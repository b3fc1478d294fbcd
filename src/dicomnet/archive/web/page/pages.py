"""The pages of a node: all that is at ``/`` and not DICOMweb."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute

from ...holdings import Holdings
from ...terms import Terms
from .browsing import Browsing
from .site import Site


class Pages:
    """The service that answers people: its routes are relative to ``/``.

    Parameters
    ----------
    holdings
        What the node has; there is an index.
    """

    def __init__(self, holdings: Holdings) -> None:
        self._site = Site(holdings)
        self.routes: Sequence[BaseRoute] = [self._site.static_route, *Browsing(self._site).routes]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        self._site.terms = terms
