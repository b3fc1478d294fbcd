"""`echoscp`: a verification SCP."""

from __future__ import annotations

from argparse import Namespace

from ..encoding.transfer_syntaxes import DEFAULT_TRANSFER_SYNTAXES
from ..exchange.contexts import VERIFICATION
from .options import LISTENING, LISTENING_PORT, PREFERRED_SYNTAX, Tool, scp_defaults, supported
from .receiving import serve
from .requestor import application_entity


def run(options: Namespace) -> int:
    """Run the tool and return its exit status."""
    ae = application_entity(options.ae_title, options)
    ae.add_supported_context(VERIFICATION, supported(options, DEFAULT_TRANSFER_SYNTAXES))
    return serve(ae, (options.bind_address, options.port))


TOOL = Tool(
    "Answer verification requests (C-ECHO).",
    "echoscp -v 11112",
    (LISTENING_PORT, LISTENING, PREFERRED_SYNTAX),
    run,
    scp_defaults("ECHOSCP"),
)
