"""The library for asyncio: `connect`, `serve` and `Peer`, with the services of the blocking face, awaited."""

from __future__ import annotations

from ..exchange.admission import Acceptance, AssociationRequest
from ..exchange.contexts import Contexts, Roles
from .association import Association, FindResponses
from .connect import connect
from .handlers import Handler, OpenSink, Request
from .peer import Peer
from .serving import Admit, AssociationServer, serve

__all__ = [
    "Acceptance",
    "Admit",
    "Association",
    "AssociationRequest",
    "AssociationServer",
    "Contexts",
    "FindResponses",
    "Handler",
    "OpenSink",
    "Peer",
    "Request",
    "Roles",
    "connect",
    "serve",
]
