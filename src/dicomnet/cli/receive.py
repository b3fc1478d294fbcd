"""`dicomnet receive`: a storage SCP without an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Parser
from .listening import Served, listen
from .settings import add_setting_options, settings_by_options

if TYPE_CHECKING:
    from argparse import Namespace


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Store what peers send (C-STORE) into a folder, as study/series/instance.dcm below two levels of folders.\n"
        "There is no index, and queries are not answered.",
        "dicomnet receive incoming/ --port 11112\ndicomnet receive incoming/ --port 0 --aet WORKSTATION -v",
    )
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="where to store; created if it does not exist"
    )
    add_setting_options(parser, has_index=False)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    return listen(
        Served(
            "receive",
            lambda: settings_by_options(options),
            "store",
            options.folder,
            has_index=False,
            is_verbose=options.verbose or options.debug,
        )
    )
