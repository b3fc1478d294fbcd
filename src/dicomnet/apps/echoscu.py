"""`echoscu`: verification (C-ECHO)."""

from __future__ import annotations

from argparse import Namespace

from ..cli.arguments import count
from ..exchange.contexts import VERIFICATION
from ..pynetdicom.association import Association
from ..pynetdicom.presentation import build_context
from .options import CALLING, PEER, PROPOSED_SYNTAX, Group, Tool, flag, proposed, row, scu_defaults
from .requestor import converse, outcome


def run(options: Namespace) -> int:
    """Run the tool and return its exit status."""

    def talk(assoc: Association) -> int:
        failed = 0
        for number in range(options.repeat):
            failed |= outcome(assoc.send_c_echo(number % 0xFFFF + 1), "C-ECHO")
            if not assoc.is_established:
                break
        if options.abort:
            assoc.abort()
        return failed

    return converse(options, [build_context(VERIFICATION, proposed(options))], talk)


TOOL = Tool(
    "Verify that a peer answers (C-ECHO).",
    "echoscu -aec PACS 127.0.0.1 11112",
    (
        PEER,
        CALLING,
        PROPOSED_SYNTAX,
        Group(
            "more",
            (
                row("--repeat", help="send N requests", type=count, metavar="N"),
                flag("--abort", help="abort the association instead of releasing it"),
            ),
        ),
    ),
    run,
    scu_defaults("ECHOSCU") | {"repeat": 1},
)
