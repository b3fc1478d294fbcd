"""The terms of a node: what it may change while it runs, for associations that begin then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..drivers.deadline import Timeouts
from ..exchange.addresses import MAXIMUM_LENGTH
from ..exchange.logs import Log
from ..values import field, frozen
from .access import EVERYBODY, Access
from .audit import AuditPolicy
from .catalogue.options import QueryPolicy
from .conflicts import OtherContent
from .retention import RetentionPolicy
from .services.retrieve import RetrievePolicy
from .watch.policy import WatchPolicy
from .web.access.policy import WebPolicy

if TYPE_CHECKING:
    from ..drivers.tls import ServerCertificate
    from ..settings.example import Shown


@frozen
class Terms:
    """What a node may change while it runs.

    Parameters
    ----------
    called_titles
        The AE titles by which it may be called; none means any title.
    access
        Who may do what.
    timeouts
        The deadline of each stage, in seconds.
    maximum_associations
        How many associations may be open at once, in each worker process.
    window
        How many C-STORE requests a peer may have outstanding.
    accepts_private
        Whether it accepts unknown SOP classes, such as private ones, and stores their objects.
    excess
        How many bytes longer than announced a P-DATA-TF may be, which is logged; 0 ends such an association.
    other_content
        What becomes of an object whose SOP Instance UID a stored object with other content has. It holds at once.
    queries
        What queries may do. It holds at once.
    retrieval
        What may be retrieved, and which move destinations there are. It holds at once.
    watch
        From when on it says that it is not well. It holds at once.
    web
        What DICOMweb allows. It holds at once.
    retention
        The rules by which studies are removed. It holds at once.
    audit
        What is recorded of who does what. It holds at once.
    tls
        What it shows in TLS handshakes; None leaves that as it is.
    log
        What is logged; None leaves that as it is.
    shown
        The settings that these terms come from, without secrets, for people to read.
    """

    called_titles: tuple[str, ...] = ()
    access: Access = EVERYBODY
    timeouts: Timeouts = field(default_factory=Timeouts)
    maximum_associations: int = 256
    window: int = 16
    accepts_private: bool = False
    excess: int = MAXIMUM_LENGTH
    other_content: OtherContent = OtherContent.KEEP_FIRST
    queries: QueryPolicy = field(default_factory=QueryPolicy)
    retrieval: RetrievePolicy = field(default_factory=RetrievePolicy)
    watch: WatchPolicy = field(default_factory=WatchPolicy)
    web: WebPolicy = field(default_factory=WebPolicy)
    retention: RetentionPolicy = field(default_factory=RetentionPolicy)
    audit: AuditPolicy = field(default_factory=AuditPolicy)
    tls: ServerCertificate | None = None
    log: Log | None = None
    shown: tuple[Shown, ...] = ()
