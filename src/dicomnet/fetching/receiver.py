"""The receiver of what a peer sends for a C-MOVE, into a folder."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from .._version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from ..dimse.messages import C_ECHO_RQ, Message
from ..drivers.blocking.arriving import wait_for_late_objects
from ..drivers.blocking.changes import Changes
from ..drivers.blocking.server import Server
from ..drivers.deadline import Timeouts
from ..drivers.reception import Reception
from ..drivers.transport import listen
from ..errors import ServiceRefusal
from ..exchange.addresses import MAXIMUM_LENGTH
from ..exchange.contexts import NATIVE, VERIFICATION
from ..exchange.pacing import Pacing
from ..exchange.receiving import ReceiverHooks
from ..services.registry import SUCCESS
from ..services.service_classes import may_be_storage
from ..services.steps import Answer
from ..upper_layer.negotiation import (
    Acceptor,
    Agreement,
    NegotiatedContext,
    SupportedContext,
    accept,
    identification_items,
    refuse_names,
)
from ..wire.pdu import AssociateAC, AssociateRJ, AssociateRQ


class Receiver:
    """Listens for objects, and keeps each in a folder under its SOP Instance UID.

    Parameters
    ----------
    folder
        The folder.
    address
        Host and port to listen on.
    ae_title
        The AE title that is called.
    timeouts
        One deadline a stage.
    pacing
        How fast objects may come; None for as fast as can be.

    Raises
    ------
    OSError
        If the address cannot be bound.
    """

    def __init__(
        self,
        folder: Path,
        address: tuple[str, int],
        ae_title: str,
        timeouts: Timeouts,
        pacing: Pacing | None = None,
    ) -> None:
        self.ae_title = ae_title
        self.count = 0
        self.failures: list[Exception] = []
        self._folder = folder
        self._pacing = pacing
        self._timeouts = timeouts
        self._changed = Changes()
        self._acceptor = Acceptor(
            {VERIFICATION: SupportedContext(NATIVE)},
            identification_items(MAXIMUM_LENGTH, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME),
            may_be_storage,
        )
        self._server = Server(listen(address), self._receive)

    def __enter__(self) -> Receiver:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    @property
    def address(self) -> tuple[str, int]:
        """The host and port it listens on."""
        return self._server.address

    def progress(self) -> object:
        """A measure that changes while objects arrive, also within a large one."""
        sizes = 0
        with contextlib.suppress(OSError), os.scandir(self._folder) as files:
            # The others are counted.
            for each in (each for each in files if each.name.endswith(".part")):
                # One may be complete, and have its name, before it is looked at.
                with contextlib.suppress(OSError):
                    sizes += each.stat().st_size
        return self.count, len(self.failures), sizes

    def wait(self, count: int, limit: float | None) -> None:
        """Wait until so many objects have arrived or were refused, or nothing has come for ``limit`` seconds."""
        wait_for_late_objects(
            self._changed, lambda: self.count + len(self.failures) >= count, self.progress, limit
        )

    def negotiate(self, request: AssociateRQ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        """Answer the request for an association."""
        refused = refuse_names(request, called=(self.ae_title,))
        return refused or accept(request, self._acceptor)

    def arrived(self) -> None:
        """An object has its file in the folder."""
        with self._changed.lock:
            self.count += 1
            self._changed.notify_all()

    def failed(self, error: Exception) -> None:
        """An object was refused."""
        with self._changed.lock:
            self.failures.append(error)
            self._changed.notify_all()

    def _receive(self, peer: tuple[str, int]) -> Reception:
        hooks = _Hooks(self, self._folder)
        hooks.pacing = self._pacing
        return Reception(hooks, self._timeouts, MAXIMUM_LENGTH)


class _Hooks(ReceiverHooks):
    """The hooks of an association that brings objects."""

    def __init__(self, receiver: Receiver, folder: Path) -> None:
        super().__init__("", folder, None)
        self._receiver = receiver

    def negotiate(self, request: AssociateRQ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        self._source = request.calling_ae_title
        return self._receiver.negotiate(request)

    def handle(self, message: Message, context: NegotiatedContext) -> Any:
        if message.type is C_ECHO_RQ:
            return Answer(SUCCESS)
        answer = super().handle(message, context)
        self._receiver.arrived()
        return answer

    def refused(self, message: Message, refusal: ServiceRefusal) -> None:
        super().refused(message, refusal)
        cause = refusal.__cause__
        self._receiver.failed(cause if isinstance(cause, Exception) else refusal)
