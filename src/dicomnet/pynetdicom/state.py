"""The state of one association, which several parts of this package share.

`Association` shows it to programs; `AssociationHooks`, the server, the application entity and `providers` read and
change it here, and not in each other.
"""

from __future__ import annotations

import threading
from contextvars import Context
from typing import Any

from ..drivers.blocking.link import Link
from ..drivers.deadline import Timeouts
from ..drivers.hooks import Phase
from ..errors import AssociationClosed, DicomnetError
from ..values import replace
from ..wire.pdu import Abort, AssociateRJ
from .events import Bindings

DEFAULT_TIMEOUTS = Timeouts(connect=None, association=30, message=30, idle=60)
"""The time-outs that pynetdicom's users expect, in seconds."""


class AssociationState:
    """The link, handlers, phase and end of one association.

    Parameters
    ----------
    bindings
        Handlers of events.
    timeouts
        One deadline a stage, in seconds.

    Attributes
    ----------
    link : Link or None
        The driver's side of the association, once there is a transport connection.
    phase : Phase
        The phase of its life of which its handlers have been notified.
    failure : DicomnetError or None
        Why it ended, where that was not by a release.
    rejection : AssociateRJ or None
        The answer to the association request, where a handler rejects it.
    context : contextvars.Context or None
        Where its handlers run, with ``_config.PASS_CONTEXTVARS``.
    finished : threading.Event
        Set when the transport connection is closed.
    """

    def __init__(self, bindings: Bindings, timeouts: Timeouts) -> None:
        self.bindings = bindings
        self.link: Link | None = None
        self.phase = Phase.NEW
        self.failure: DicomnetError | None = None
        self.rejection: AssociateRJ | None = None
        self.context: Context | None = None
        self.finished = threading.Event()
        self._timeouts = timeouts
        self._releases_when_idle = False

    @property
    def timeouts(self) -> Timeouts:
        """One deadline a stage, in seconds; they hold for the link from its next message on."""
        return self._timeouts

    @property
    def releases_when_idle(self) -> bool:
        """Whether an idle association is released, not aborted."""
        return self._releases_when_idle

    @releases_when_idle.setter
    def releases_when_idle(self, value: bool) -> None:
        self._releases_when_idle = value
        self._configure()

    @property
    def is_over(self) -> bool:
        """Whether the association has ended; the peer may leave the transport connection open for a while."""
        return self.finished.is_set() or self.phase not in (Phase.NEW, Phase.ESTABLISHED)

    def set_timeouts(self, **stages: Any) -> None:
        """Change some of the time-outs, by the names that they have in `Timeouts`."""
        self._timeouts = replace(self._timeouts, **stages)
        self._configure()

    def attach(self, link: Link) -> None:
        """Set the link that carries the association, and configure it."""
        self.link = link
        self._configure()

    def _configure(self) -> None:
        if self.link is not None:
            self.link.timeouts = self._timeouts
            self.link.releases_when_idle = self._releases_when_idle

    def live(self) -> Link:
        """The link; AssociationClosed where there never was one."""
        if self.link is None:
            raise AssociationClosed
        return self.link

    def abort(self, pdu: Abort | None = None) -> None:
        """Abort the association, by default as its user (PS3.8 section 7.3). Does nothing if it is over."""
        if self.link is not None and self.phase in (Phase.NEW, Phase.ESTABLISHED):
            self.link.abort(pdu)

    def drop(self) -> None:
        """Close the connection at once, or end an association that has none."""
        if self.link is None:
            self.finished.set()
        else:
            self.link.close()

    def reject(self, answer: AssociateRJ) -> None:
        """Answer the association request with a rejection, once the handler that asks for it returns.

        Raises
        ------
        RuntimeError
            If the association is not being requested any more.
        """
        if self.link is None or self.phase is not Phase.NEW or self.link.phase is not Phase.NEW:
            raise RuntimeError("only an association that this side is being asked for can be rejected")
        self.rejection = answer
