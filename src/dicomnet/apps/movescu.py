"""`movescu`: has a peer send objects to a destination (C-MOVE), which may be this process."""

from __future__ import annotations

import logging
from argparse import Namespace

from ..cli.arguments import FAILED, ae_title, port
from ..cli.listening import WAIT_SECONDS
from ..drivers.blocking.arriving import wait_for_late_objects
from ..drivers.blocking.changes import Changes
from ..exchange.results import Receipt, RetrieveProgress, is_done
from ..pynetdicom.association import Association
from ..pynetdicom.events import EVT_DATA_RECV, EVT_DIMSE_SENT, Event
from ..pynetdicom.presentation import build_context
from . import models
from .findscu import log_identifier
from .identifier import build_identifier
from .options import (
    CALLING,
    KEYS,
    OUTPUT,
    PEER,
    RETRIEVE_NEGOTIATION,
    Group,
    Tool,
    flag,
    row,
    scu_defaults,
)
from .receiving import store_handler
from .requestor import Arrived, application_entity, converse, follow
from .storescp import storage_contexts

_log = logging.getLogger(__name__)


class Here(Arrived):
    """What arrives at the SCP of this process, counted by its threads.

    Parameters
    ----------
    options
        Those of the tool.
    """

    def __init__(self, options: Namespace) -> None:
        super().__init__(Receipt())
        self.length = 0
        self._is_named = options.store_aet == options.move_aet
        self._limit = options.dimse_timeout
        self._changed = Changes()

    def count(self, event: Event) -> None:
        """Bytes have come."""
        self.length += len(event.data)

    def answered(self, event: Event) -> None:
        """A response was sent, of an object, too."""
        with self._changed.lock:
            self._changed.notify_all()

    def settle(self, progress: RetrieveProgress) -> RetrieveProgress:
        """Wait for objects that are still to come, if this is their destination."""
        kept, failures = self.receipt.kept, self.receipt.failures
        if not (self._is_named or kept or failures):
            return progress
        if not is_done(progress.status):
            return super().settle(progress)
        sent, limit = progress.sent, self._limit or None
        if sent is None:
            # Without a number to reach, a wait without end would have none.
            limit = limit or WAIT_SECONDS
            _log.info("the peer gives no counts; waiting until nothing has come for %g s", limit)
        wait_for_late_objects(
            self._changed,
            lambda: sent is not None and len(kept) + len(failures) >= sent,
            lambda: self.length,
            limit,
        )
        return super().settle(progress)


def run(options: Namespace) -> int:
    """Run the tool and return its exit status."""
    identifier = build_identifier(options)
    model = models.MOVE_MODELS[options.model]
    here = Here(options)

    def talk(assoc: Association) -> int:
        log_identifier("the request", identifier)
        responses = assoc.send_c_move(identifier, options.move_aet, model)
        if not options.store:
            return follow(responses, "C-MOVE")
        # A peer need not respond before it has sent all.
        assoc.state.set_timeouts(progress=lambda: here.length)
        return follow(responses, "C-MOVE", here)

    negotiation = models.negotiation(options, model)
    destination = application_entity(options.store_aet, options)
    if options.store:
        destination.start_server(
            ("", options.store_port),
            block=False,
            evt_handlers=[
                store_handler(options, here.receipt),
                (EVT_DATA_RECV, here.count),
                (EVT_DIMSE_SENT, here.answered),
            ],
            contexts=storage_contexts(),
        )
    with destination:
        status = converse(options, [build_context(model)], talk, negotiation=negotiation)
    return FAILED if here.receipt.failures else status


TOOL = Tool(
    "Have a peer send objects to a destination that it knows (C-MOVE).",
    "movescu -S -k QueryRetrieveLevel=STUDY -k StudyInstanceUID=1.2.3 -aem WORKSTATION 127.0.0.1 11112",
    (
        PEER,
        CALLING,
        models.RETRIEVE,
        KEYS,
        Group(
            "destination",
            (
                row("-aem", "--move-aet", help="its AE title", type=ae_title, metavar="AET"),
                flag("--store", help="be a storage SCP meanwhile, which may be the destination"),
                row("--store-port", help="the port of this SCP", type=port, metavar="PORT"),
                row("--store-aet", help="the AE title of this SCP", type=ae_title, metavar="AET"),
            ),
        ),
        RETRIEVE_NEGOTIATION,
        OUTPUT,
    ),
    run,
    scu_defaults("MOVESCU")
    | models.DEFAULT
    | {"move_aet": "STORESCP", "store_port": 11113, "store_aet": "STORESCP"},
    logging.INFO,
)
