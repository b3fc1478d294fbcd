"""`dicomnet serve`: an archive node."""

from __future__ import annotations

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
        "Run an archive node: store what peers send (C-STORE), index it, answer queries (C-FIND) and C-ECHO,\n"
        "and give out what is stored (C-GET, C-MOVE).\n"
        "What options do not say, environment variables do, and then the file; dicomnet config shows what holds.",
        "dicomnet serve --data /srv/dicom --port 11112\n"
        "dicomnet serve --config /etc/dicomnet.toml\n"
        "dicomnet serve --destination WORKSTATION@10.0.0.7:11112\n"
        "dicomnet serve --aet ARCHIVE --bind 10.0.0.5 --allow-public",
    )
    add_config_options(parser)
    add_setting_options(parser, has_index=True)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    return listen(
        Served(
            "serve",
            lambda: read_settings(options),
            "store, query and retrieve",
            has_file=config_file(options) is not None,
            is_verbose=options.verbose or options.debug,
        )
    )
