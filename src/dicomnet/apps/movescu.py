"""`movescu`: has a peer send objects to a destination (C-MOVE), which may be this process."""

from __future__ import annotations

import logging
from argparse import Namespace

from ..cli.arguments import FAILED, ae_title, port
from ..exchange.results import Receipt
from ..pynetdicom.association import Association
from ..pynetdicom.events import EVT_DATA_RECV, Event
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
from .requestor import application_entity, converse, follow
from .storescp import storage_contexts


def run(options: Namespace) -> int:
    """Run the tool and return its exit status."""
    identifier = build_identifier(options)
    model = models.MOVE_MODELS[options.model]
    receipt = Receipt()

    arrived = 0

    def count(event: Event) -> None:
        nonlocal arrived
        arrived += len(event.data)

    def talk(assoc: Association) -> int:
        log_identifier("the request", identifier)
        if options.store:
            # A peer need not respond before it has sent all.
            assoc.state.set_timeouts(progress=lambda: arrived)
        return follow(assoc.send_c_move(identifier, options.move_aet, model), "C-MOVE")

    negotiation = models.negotiation(options, model)
    destination = application_entity(options.store_aet, options)
    if options.store:
        destination.start_server(
            ("", options.store_port),
            block=False,
            evt_handlers=[store_handler(options, receipt), (EVT_DATA_RECV, count)],
            contexts=storage_contexts(),
        )
    with destination:
        status = converse(options, [build_context(model)], talk, negotiation=negotiation)
    return FAILED if receipt.failures else status


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
