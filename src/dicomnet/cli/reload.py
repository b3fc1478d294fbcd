"""`dicomnet reload`: have a running node read its configuration again."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from ..archive.local import process_to_signal
from .arguments import FAILED, OK, Parser
from .settings import add_config_options, read_settings
from .words import complain, printable

if TYPE_CHECKING:
    from argparse import Namespace


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Have the node that runs with a configuration read it again, as SIGHUP does. Its open associations go on; if\n"
        "the configuration is wrong, nothing is changed. The node's log says what was, and what waits for a start.",
        "dicomnet reload --config /etc/dicomnet.toml\ndicomnet reload --data /srv/dicom",
    )
    add_config_options(parser)
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the node's folder, instead of the one that the configuration has",
    )


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    folder: Path = options.data or read_settings(options)["storage.folder"]
    process = process_to_signal(folder)
    if not process:
        where = printable(str(folder))
        complain(f"dicomnet reload: no node that was started with a configuration has {where}")
        return FAILED
    os.kill(process, signal.SIGHUP)
    if not options.quiet:
        print(f"process {process} reads its configuration again; its log says what is changed")
    return OK
