"""`storescp`: a storage SCP that writes each object to a file, all in one folder."""

from __future__ import annotations

from argparse import Namespace

from ..encoding.transfer_syntaxes import ALL_TRANSFER_SYNTAXES, DEFAULT_TRANSFER_SYNTAXES
from ..exchange.contexts import VERIFICATION
from ..pynetdicom.presentation import (
    AllStoragePresentationContexts,
    PresentationContext,
    build_context,
)
from .options import (
    LISTENING,
    LISTENING_PORT,
    OUTPUT,
    PREFERRED_SYNTAX,
    Group,
    Tool,
    flag,
    scp_defaults,
    supported,
)
from .receiving import serve, store_handler
from .requestor import application_entity


def storage_contexts(syntaxes: list[str] = ALL_TRANSFER_SYNTAXES) -> list[PresentationContext]:
    """All storage SOP classes, in any of some transfer syntaxes, since objects are kept as they come."""
    return [build_context(each.abstract_syntax or "", syntaxes) for each in AllStoragePresentationContexts]


def run(options: Namespace) -> int:
    """Run the tool and return its exit status."""
    ae = application_entity(options.ae_title, options)
    ae.supported_contexts = storage_contexts(supported(options, ALL_TRANSFER_SYNTAXES))
    if not options.no_echo:
        ae.add_supported_context(VERIFICATION, supported(options, DEFAULT_TRANSFER_SYNTAXES))
    return serve(ae, (options.bind_address, options.port), [store_handler(options)])


TOOL = Tool(
    "Receive objects (C-STORE) and write each to a file in one folder.",
    "storescp -v -od received 11112",
    (
        LISTENING_PORT,
        LISTENING,
        PREFERRED_SYNTAX,
        OUTPUT,
        Group("more", (flag("--no-echo", help="do not answer verification requests (C-ECHO)"),)),
    ),
    run,
    scp_defaults("STORESCP"),
)
