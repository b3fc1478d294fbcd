"""The options of the tools: each is a row of a table, and a tool names the groups that it has."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from typing import Any

from .._version import __version__
from ..cli.arguments import Parser, ae_title, port, seconds
from ..encoding.transfer_syntaxes import DEFAULT_TRANSFER_SYNTAXES
from ..values import frozen

IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
)
QUIET = logging.CRITICAL + 1
LEVELS = {
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}
EXIT_STATUS = """\
exit status:
  0  all went well
  1  something failed
  2  the command line is wrong
"""


def number(text: str) -> int:
    """Parse a number of bytes; 0 is no limit."""
    if not text.isascii() or not text.isdecimal() or int(text) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes")
    return int(text)


@frozen
class Row:
    """An option or argument.

    Parameters
    ----------
    flags
        How it is typed.
    help
        What it is for.
    keywords
        Further arguments of ``add_argument``.
    """

    flags: tuple[str, ...]
    help: str
    keywords: dict[str, Any]


def row(*flags: str, help: str, **keywords: Any) -> Row:
    """A row."""
    return Row(flags, help, keywords)


def flag(*flags: str, help: str, **keywords: Any) -> Row:
    """A row for what is on or off."""
    return Row(flags, help, {"action": "store_true", **keywords})


def choice(dest: str, value: Any, *flags: str, help: str) -> Row:
    """A row for one of several that exclude each other."""
    return Row(flags, help, {"action": "store_const", "dest": dest, "const": value})


@frozen
class Group:
    """Rows that belong together.

    Parameters
    ----------
    title
        Their heading in the help.
    rows
        The rows.
    excludes
        Whether at most one of them may be given.
    """

    title: str
    rows: tuple[Row, ...]
    excludes: bool = False


@frozen
class Tool:
    """One of the tools.

    Parameters
    ----------
    summary
        What it does, in a line.
    example
        A command line.
    groups
        Its options.
    run
        Performs it; gives the exit status.
    defaults
        Default values, by the name that the option has in the namespace.
    level
        What is logged without an option for it.
    """

    summary: str
    example: str
    groups: tuple[Group, ...]
    run: Callable[[argparse.Namespace], int]
    defaults: dict[str, Any]
    level: int = logging.ERROR


GENERAL = Group(
    "general",
    (
        flag("-q", "--quiet", help="say nothing, not even what failed"),
        flag("-v", "--verbose", help="say what happens"),
        flag("-d", "--debug", help="say all that is known; no data sets"),
        row(
            "-ll",
            "--log-level",
            help=f"how much to say: {', '.join(LEVELS)}",
            choices=LEVELS,
            metavar="LEVEL",
        ),
    ),
    excludes=True,
)
LOG = Group(
    "log",
    (
        flag(
            "--log-identifiers",
            help="with -d, also log the keys and values of queries and their matches: patients' data",
        ),
    ),
)
PEER = Group(
    "arguments",
    (
        row("addr", help="host name or IP address of the peer"),
        row("port", help="the peer's TCP port", type=port),
    ),
)
LISTENING_PORT = Group("arguments", (row("port", help="the TCP port to listen on", type=port),))

LIMITS = (
    row(
        "-ta",
        "--acse-timeout",
        help="longest time for negotiation and release",
        type=seconds,
        metavar="SECONDS",
    ),
    row("-td", "--dimse-timeout", help="longest wait for a DIMSE message", type=seconds, metavar="SECONDS"),
    row(
        "-tn",
        "--network-timeout",
        help="longest time in which nothing happens",
        type=seconds,
        metavar="SECONDS",
    ),
    row("-pdu", "--max-pdu", help="largest PDU to take, 0 for no limit", type=number, metavar="BYTES"),
)
_NETWORK = {"acse_timeout": 30, "dimse_timeout": 30, "network_timeout": 30, "max_pdu": 16382}


def scu_defaults(calling_aet: str) -> dict[str, Any]:
    """The defaults of an SCU's network options."""
    return {"calling_aet": calling_aet, "called_aet": "ANY-SCP", **_NETWORK}


def scp_defaults(aet: str) -> dict[str, Any]:
    """The defaults of an SCP's network options."""
    return {"ae_title": aet, **_NETWORK}


CALLING = Group(
    "network",
    (
        row("-aet", "--calling-aet", help="our AE title", type=ae_title, metavar="AET"),
        row(
            "-aec",
            "--called-aet",
            help="the peer's AE title",
            type=ae_title,
            metavar="AET",
        ),
        *LIMITS,
    ),
)
LISTENING = Group(
    "network",
    (
        row("-aet", "--ae-title", help="our AE title", type=ae_title, metavar="AET"),
        *LIMITS,
        row(
            "-ba",
            "--bind-address",
            help="the address to listen on, all of this machine if left out",
            default="",
            metavar="ADDRESS",
        ),
    ),
)
PROPOSED_SYNTAX = Group(
    "transfer syntax to propose",
    (
        choice(
            "syntaxes", [EXPLICIT_LITTLE], "-xe", "--request-little", help="only Explicit VR Little Endian"
        ),
        choice("syntaxes", [EXPLICIT_BIG], "-xb", "--request-big", help="only Explicit VR Big Endian"),
        choice(
            "syntaxes", [IMPLICIT_LITTLE], "-xi", "--request-implicit", help="only Implicit VR Little Endian"
        ),
    ),
    excludes=True,
)
PREFERRED_SYNTAX = Group(
    "transfer syntax to prefer",
    (
        choice("preferred", [EXPLICIT_LITTLE, EXPLICIT_BIG], "-x=", "--prefer-uncompr", help="Explicit VR"),
        choice("preferred", [EXPLICIT_LITTLE], "-xe", "--prefer-little", help="Explicit VR Little Endian"),
        choice("preferred", [EXPLICIT_BIG], "-xb", "--prefer-big", help="Explicit VR Big Endian"),
        choice(
            "preferred", [IMPLICIT_LITTLE], "-xi", "--implicit", help="take only Implicit VR Little Endian"
        ),
    ),
    excludes=True,
)
KEYS = Group(
    "query",
    (
        row(
            "-k",
            "--keyword",
            help="a key as KEYWORD=VALUE, (gggg,eeee)=VALUE or SEQUENCE[0].KEYWORD=VALUE; may be given again",
            action="append",
            default=[],
            metavar="KEY",
            dest="keys",
        ),
        row("-f", "--file", help="a DICOM file to take keys from; -k goes before it", metavar="FILE"),
    ),
)
RETRIEVE_NEGOTIATION = Group(
    "extended negotiation",
    (
        flag("--relational-retrieval", help="ask for relational retrieval"),
        flag("--enhanced-conversion", help="ask for conversion of enhanced multi-frame images"),
    ),
)
OUTPUT = Group(
    "output",
    (
        row(
            "-od",
            "--output-directory",
            help="where to write received objects, here if left out",
            default=".",
            metavar="DIR",
        ),
        flag("--ignore", help="receive objects, but do not write them"),
    ),
)


def proposed(options: argparse.Namespace) -> list[str]:
    """The transfer syntaxes that an SCU proposes."""
    # Some peers choose the first one, so the order is that of pynetdicom's tools.
    explicit_first = [
        EXPLICIT_LITTLE,
        *(each for each in DEFAULT_TRANSFER_SYNTAXES if each != EXPLICIT_LITTLE),
    ]
    return list(options.syntaxes or explicit_first)


def supported(options: argparse.Namespace, known: list[str]) -> list[str]:
    """The transfer syntaxes that an SCP accepts, the best first."""
    preferred: list[str] = options.preferred or []
    others = [] if preferred == [IMPLICIT_LITTLE] else map(str, known)
    return list(dict.fromkeys([*preferred, *others]))


def build_parser(name: str, tool: Tool) -> Parser:
    """The parser of a tool."""
    parser = Parser(name, tool.summary, EXIT_STATUS)
    parser.explain(tool.summary, tool.example)
    # Its users' scripts may shorten long options.
    parser.allow_abbrev = True
    parser.add_argument("--version", action="version", version=f"{name} of dicomnet {__version__}")
    for group in (GENERAL, LOG, *tool.groups):
        section: Any = parser.add_argument_group(group.title)
        if group.excludes:
            section = section.add_mutually_exclusive_group()
        for each in group.rows:
            action = section.add_argument(*each.flags, **each.keywords, help=each.help)
            if action.nargs != 0 and action.dest in tool.defaults:
                action.help = f"{each.help} (%(default)s)"
    parser.set_defaults(**tool.defaults)
    return parser


def level_of(options: argparse.Namespace, default: int) -> int:
    """How much is logged."""
    if options.log_level:
        return LEVELS[options.log_level]
    return (
        QUIET
        if options.quiet
        else (logging.DEBUG if options.debug else logging.INFO if options.verbose else default)
    )
