"""`dicomnet echo`: verification (C-ECHO)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .arguments import OK, Parser, count
from .requestor import add_peer_options, open_peer

if TYPE_CHECKING:
    from argparse import Namespace


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Verify that a peer answers: open an association, send C-ECHO, and print how long the answer took. A DICOMweb\n"
        "service is asked for one study.",
        "dicomnet echo PACS@127.0.0.1:11112\ndicomnet echo --tls --tls-ca hospital.pem PACS@pacs.example:2762\n"
        "dicomnet echo https://pacs.example/dicom-web --token-file token",
    )
    add_peer_options(parser, over_http=True)
    parser.add_argument(
        "--repeat", type=count, default=1, metavar="N", help="send N requests on one association (1)"
    )


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    with open_peer(options) as peer:
        for _ in range(options.repeat):
            duration = peer.echo()
            if not options.quiet:
                print(f"{peer.address} answered in {duration * 1000:.2f} ms")
    return OK
