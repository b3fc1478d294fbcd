"""`dicomnet serve`: an archive node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Parser
from .listening import add_listening_options, listen

if TYPE_CHECKING:
    from argparse import Namespace

DEFAULT_FOLDER = Path("dicomnet-data")


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Run an archive node: store what peers send (C-STORE), index it, and answer queries (C-FIND) and C-ECHO.",
        "dicomnet serve --data /srv/dicom --port 11112\ndicomnet serve --aet ARCHIVE --bind 10.0.0.5 --allow-public",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=DEFAULT_FOLDER,
        metavar="DIR",
        help="where objects and index are kept; created if it does not exist (./%(default)s)",
    )
    add_listening_options(parser)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    return listen(options.data, options, has_index=True)
