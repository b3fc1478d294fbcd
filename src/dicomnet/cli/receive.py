"""`dicomnet receive`: a storage SCP without an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Parser
from .configuration import config_file
from .listening import Served, listen
from .settings import add_config_options, add_setting_options, read_settings

if TYPE_CHECKING:
    from argparse import Namespace


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Store what peers send (C-STORE) into a folder, as study/series/instance.dcm below two levels of folders.\n"
        "There is no index, and queries are not answered.\n"
        "What options do not say, environment variables do, and then the file, as of dicomnet serve.",
        "dicomnet receive incoming/ --port 11112\ndicomnet receive incoming/ --port 0 --aet WORKSTATION -v\n"
        "dicomnet receive incoming/ --config /etc/dicomnet.toml",
    )
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="where to store; created if it does not exist"
    )
    add_config_options(parser)
    add_setting_options(parser, has_index=False)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    return listen(
        Served(
            "receive",
            lambda: read_settings(options).without_index(),
            "store",
            options.folder,
            has_index=False,
            has_file=config_file(options) is not None,
            is_verbose=options.verbose or options.debug,
        )
    )
