"""The pages of a node: all that is at ``/`` and not DICOMweb."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.routing import BaseRoute

from ...activity import Activity
from ...holdings import Holdings
from ...terms import Terms
from .acting import Acting
from .browsing import Browsing
from .running import Running
from .set_aside import SetAside
from .site import Site
from .trail import TrailPage


class Pages:
    """The service that answers people: its routes are relative to ``/``.

    Parameters
    ----------
    holdings, ae_title
        As of `Site`.
    activity
        What goes on in the node.
    prepare
        As of `Browsing`.

    Attributes
    ----------
    show
        Makes a page, as `Site.page` does.
    """

    def __init__(
        self, holdings: Holdings, ae_title: str, activity: Activity, prepare: Callable[[], None]
    ) -> None:
        self._site = Site(holdings, ae_title)
        self.show = self._site.page
        browsing = Browsing(self._site, prepare)
        self.routes: Sequence[BaseRoute] = [
            self._site.static_route,
            *browsing.routes,
            *Acting(self._site, browsing).routes,
            *SetAside(self._site).routes,
            *Running(self._site, activity).routes,
            *TrailPage(self._site).routes,
        ]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        self._site.terms = terms
