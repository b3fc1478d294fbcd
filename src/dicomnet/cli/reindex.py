"""`dicomnet reindex`: make the index of an archive anew from its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..plurals import counted
from .arguments import Parser
from .tasks import Shown, add_archive_options, run_task

if TYPE_CHECKING:
    from argparse import Namespace


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Throw the index of an archive away, and make it anew from the files, by the node that runs with it or, if\n"
        "none does, here. The node goes on receiving; it answers queries and retrievals with status 0xA700 until the\n"
        "index is complete. If this command is interrupted, the node goes on, or the next one does.",
        "dicomnet reindex --data /srv/dicom\ndicomnet reindex --config /etc/dicomnet.toml",
    )
    add_archive_options(parser)
    parser.add_argument("--json", action="store_true", help="a line of JSON at the end")


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    shown = Shown("indexing", "objects", lambda summary: f"indexed {counted(summary['indexed'], 'object')}")
    return run_task(options, "reindex", "reindex", lambda settings: {}, shown)
