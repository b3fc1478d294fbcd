"""The library for asyncio: `connect`, `serve` and `Peer`, with the services of the blocking face, awaited."""

from __future__ import annotations

from ..exchange.admission import Acceptance as Acceptance
from ..exchange.admission import AssociationRequest as AssociationRequest
from ..exchange.contexts import Contexts as Contexts
from ..exchange.contexts import Roles as Roles
from .association import Association as Association
from .association import FindResponses as FindResponses
from .connect import connect as connect
from .handlers import Handler as Handler
from .handlers import OpenSink as OpenSink
from .handlers import Request as Request
from .peer import Peer as Peer
from .serving import Admit as Admit
from .serving import AssociationServer as AssociationServer
from .serving import serve as serve
