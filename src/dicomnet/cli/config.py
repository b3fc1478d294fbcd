"""`dicomnet config`: check the configuration of a node, show what holds, or write an example."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..settings.example import example, shown
from .arguments import FAILED, OK, Parser, UsageError
from .configuration import config_file
from .settings import (
    add_config_options,
    add_setting_options,
    given_by,
)
from .terminal import write_table
from .words import complain_of_missing, is_terminal, printable

if TYPE_CHECKING:
    from argparse import Namespace

ACTIONS = ("check", "show", "example")


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "The configuration of an archive node: check a file (a line for each mistake, with the line of the file),\n"
        "show what holds and where each value comes from, or write a complete file in which all is explained.\n"
        "check and show take the options of dicomnet serve, and the environment, as that does.",
        "dicomnet config example > dicomnet.toml\n"
        "dicomnet config check dicomnet.toml\n"
        "dicomnet config show --config dicomnet.toml --port 104",
    )
    parser.add_argument("action", choices=ACTIONS, metavar="ACTION", help="check, show or example")
    parser.add_argument("file", nargs="?", metavar="FILE", help="the file, as by --config")
    parser.add_argument("--json", action="store_true", help="lines of JSON on a terminal, too")
    add_config_options(parser)
    add_setting_options(parser, has_index=True)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    if options.action == "example":
        print(example(), end="")
        return OK
    if options.file is not None:
        options.config = options.file
    file = config_file(options)
    if file is None and options.action == "check":
        raise UsageError("config check needs FILE")
    try:
        import logging

        from ..archive.applied import terms_of
        from ..exchange.logs import log_to_stderr
        from ..settings.reading import read

        settings = read(file, given_by(options, with_output=False))
        if options.action == "check":
            # A host name that is not known now is no mistake, and told.
            log_to_stderr(logging.getLogger("dicomnet"), logging.WARNING)
            terms_of(settings)
    except ModuleNotFoundError as error:
        complain_of_missing("config", error)
        return FAILED
    if options.action == "check":
        if not options.quiet:
            print(f"{printable(str(file))}: nothing is wrong")
        return OK
    rows = list(shown(settings))
    if options.json or not is_terminal(sys.stdout):
        import json

        for row in rows:
            print(json.dumps({"name": row.name, "value": row.value, "from": row.origin}))
    else:
        cells = [[printable(each) for each in (row.name, row.value, row.origin)] for row in rows]
        write_table(["Setting", "Value", "From"], cells)
    return OK
