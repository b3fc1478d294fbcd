"""The library for asyncio: `connect`, `serve` and `Peer`, with the services of the blocking face, awaited."""

from __future__ import annotations

from .association import Association as Association
from .association import AssociationServer as AssociationServer
from .association import Contexts as Contexts
from .association import FindResponses as FindResponses
from .association import Handler as Handler
from .association import OpenSink as OpenSink
from .association import Request as Request
from .association import Roles as Roles
from .association import connect as connect
from .association import serve as serve
from .peer import Peer as Peer
