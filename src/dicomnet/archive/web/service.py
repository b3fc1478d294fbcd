"""What a service of the web face consists of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from starlette.routing import BaseRoute

from ..terms import Terms


class WebService(Protocol):
    """A service: its rows in the table of routes.

    It is made before worker processes are forked, and used in each of them.
    """

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """What it answers, with paths relative to ``/dicom-web``; handlers are coroutines that never block."""
        ...

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        ...


@runtime_checkable
class WithEnd(Protocol):
    """A service that has something of its own in each process that answers, as files or processes."""

    def end(self) -> None:
        """Behind the last request there."""
        ...
