"""`dicomnet remotes`: the peers that have a name in the configuration."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .arguments import OK, Parser
from .configuration import Configuration, add_config_option
from .terminal import write_table
from .words import complain, is_terminal, printable

if TYPE_CHECKING:
    from argparse import Namespace


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "List the remotes: the peers that the other commands know by a name, from a file or the environment. They\n"
        "are a table on a terminal, and otherwise a line of JSON each.",
        "dicomnet remotes --config /etc/dicomnet.toml\n"
        "dicomnet remotes --json | jq -r 'select(.tls) | .name'",
    )
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="lines of JSON on a terminal, too")


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    configuration = Configuration(options)
    settings = configuration.settings
    if settings is None or not settings.remotes:
        if not options.quiet:
            complain(f"dicomnet remotes: there are none; they are read from {configuration.place}")
        return OK
    remotes = [(settings.remote(name), settings.origin(f"remotes.{name}")) for name in settings.remotes]
    if options.json or not is_terminal(sys.stdout):
        import json

        for each, origin in remotes:
            place = each.peer.address
            line = {
                "name": each.name,
                "ae_title": each.peer.ae_title,
                "host": place.host,
                "port": place.port,
                "tls": each.tls,
                "ca": each.ca,
                "from": origin,
            }
            print(json.dumps(line))
        return OK
    rows = [[each.name, str(each.peer), "yes" if each.tls else "no", origin] for each, origin in remotes]
    write_table(["Name", "Peer", "TLS", "From"], [list(map(printable, row)) for row in rows])
    return OK
