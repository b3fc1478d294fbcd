"""`getscu`: retrieval over the one association (C-GET)."""

from __future__ import annotations

import logging
from argparse import Namespace

from ..exchange.results import Receipt
from ..pynetdicom.association import Association
from ..pynetdicom.presentation import StoragePresentationContexts, build_context, build_role
from . import models
from .findscu import log_identifier
from .identifier import build_identifier
from .options import CALLING, KEYS, OUTPUT, PEER, RETRIEVE_NEGOTIATION, Tool, scu_defaults
from .receiving import store_handler
from .requestor import Arrived, converse, follow


def run(options: Namespace) -> int:
    """Run the tool and return its exit status."""
    identifier = build_identifier(options)
    model = models.GET_MODELS[options.model]
    receipt = Receipt()

    def talk(assoc: Association) -> int:
        log_identifier("the request", identifier)
        return follow(assoc.send_c_get(identifier, model), "C-GET", Arrived(receipt))

    # The objects come back over the association, so we are the SCP of storage (PS3.4 section C.5.3.1).
    roles = [build_role(each.abstract_syntax or "", scp_role=True) for each in StoragePresentationContexts]
    return converse(
        options,
        [build_context(model), *StoragePresentationContexts],
        talk,
        negotiation=[*roles, *models.negotiation(options, model)],
        handlers=[store_handler(options, receipt)],
    )


TOOL = Tool(
    "Retrieve objects from a peer over the one association (C-GET).",
    "getscu -S -k QueryRetrieveLevel=STUDY -k StudyInstanceUID=1.2.3 -od study 127.0.0.1 11112",
    (PEER, CALLING, models.RETRIEVE, KEYS, RETRIEVE_NEGOTIATION, OUTPUT),
    run,
    scu_defaults("GETSCU") | models.DEFAULT,
    logging.INFO,
)
