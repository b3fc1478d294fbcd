"""`dicomnet serve`: an archive node."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import Parser, UsageError, count
from .listening import add_listening_options, listen

if TYPE_CHECKING:
    from argparse import Namespace

DEFAULT_FOLDER = Path("dicomnet-data")
_ANYBODY_MAY = "store, query and retrieve"
# The values of `archive.conflicts.OtherContent`.
CONFLICTS = ("keep-first", "replace", "refuse")
# The values of `encoding.transfer_syntaxes.Transcoding`.
DECOMPRESS = ("never", "if-needed")
# The fields of `archive.catalogue.options.QueryOptions` that a node can do.
WAYS = ("relational", "combined", "fuzzy", "timezone", "empty", "multiple")


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Run an archive node: store what peers send (C-STORE), index it, answer queries (C-FIND) and C-ECHO,\nand give"
        " out what is stored (C-GET, C-MOVE).",
        "dicomnet serve --data /srv/dicom --port 11112\n"
        "dicomnet serve --destination WORKSTATION@10.0.0.7:11112\n"
        "dicomnet serve --aet ARCHIVE --bind 10.0.0.5 --allow-public",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=DEFAULT_FOLDER,
        metavar="DIR",
        help="where objects and index are kept; created if it does not exist (./%(default)s)",
    )
    add_listening_options(parser, _ANYBODY_MAY)
    storing = parser.add_argument_group("storing")
    storing.add_argument(
        "--on-conflict",
        choices=CONFLICTS,
        default=CONFLICTS[0],
        help="what becomes of an object whose SOP Instance UID a stored object with other content has: it is kept in"
        " quarantine and answered with a warning, it takes the place of the other one, which is kept as a version, or"
        " it is refused (%(default)s)",
    )
    storing.add_argument(
        "--database",
        metavar="URL",
        help="where index and ledger are, such as postgresql://USER@HOST/NAME (files in the folder of the objects)",
    )
    queries = parser.add_argument_group("queries")
    queries.add_argument(
        "--max-matches",
        type=_limit,
        metavar="N",
        help="how many matches a query has at most; one that has more ends with the status 0xB001 (any number)",
    )
    queries.add_argument(
        "--query-always",
        type=_ways,
        default=(),
        metavar="WAY[,WAY...]",
        help="ways of matching that hold without being negotiated: relational (the keys of the levels above may be left"
        " out), combined (a date and its time are one range), fuzzy (names that sound alike), timezone (the request's"
        ' offset counts), empty ("" matches what has no value), multiple (each value of a key must match)',
    )
    queries.add_argument(
        "--query-never",
        type=_ways,
        default=(),
        metavar="WAY[,WAY...]",
        help="ways of matching that are refused when they are negotiated (none)",
    )
    queries.add_argument(
        "--keep-key",
        action="append",
        default=[],
        dest="keep_keys",
        metavar="KEY[,KEY...]@LEVEL",
        help="attributes that the index keeps at a level (patient, study, series, image) besides those that it always"
        " keeps, by keyword or (gggg,eeee); those of objects that are there already are read from the files in the"
        " background",
    )
    retrieval = parser.add_argument_group("retrieval")
    retrieval.add_argument(
        "--destination",
        action="append",
        default=[],
        dest="destinations",
        metavar="AET@host:port",
        help="where objects may be moved to (C-MOVE); may be given several times (nowhere)",
    )
    retrieval.add_argument(
        "--destination-jobs",
        type=count,
        default=1,
        metavar="N",
        help="how many associations a C-MOVE may have side by side with its destination (%(default)s)",
    )
    retrieval.add_argument(
        "--decompress",
        choices=DECOMPRESS,
        default=DECOMPRESS[1],
        help="what becomes of a compressed object whose receiver takes native ones only: it counts as failed, or it is"
        " decompressed (%(default)s)",
    )


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    return listen(options.data, options, has_index=True, what=_ANYBODY_MAY, more=_node_options)


def _node_options(options: Namespace) -> dict[str, Any]:
    """What `archive.node.Node` has to know besides; raises UsageError."""
    from ..archive.catalogue.kept import configured
    from ..archive.catalogue.options import SUPPORTED, QueryOptions, QueryPolicy
    from ..archive.conflicts import OtherContent
    from ..archive.database import Database, Keeping
    from ..archive.services.retrieve import RetrievePolicy, destinations_of
    from ..encoding.transfer_syntaxes import Transcoding
    from ..values import replace

    if options.database is not None:
        try:
            Database(options.database, Keeping.DERIVED)
        except ValueError as error:
            raise UsageError(f"--database: {error}") from None
    for way in options.query_always:
        if way in options.query_never:
            raise UsageError(f"--query-never {way}: it is to hold always")
        if not getattr(SUPPORTED, way):
            raise UsageError(f"--query-always {way}: run pip install 'dicomnet[archive]'")
    try:
        configured(options.keep_keys)
    except ValueError as error:
        raise UsageError(f"--keep-key: {error}") from None
    try:
        destinations = destinations_of(options.destinations)
    except ValueError as error:
        raise UsageError(f"--destination: {error}") from None
    return {
        "other_content": OtherContent(options.on_conflict),
        "database": options.database,
        "keys": options.keep_keys,
        "queries": QueryPolicy(
            supported=replace(SUPPORTED, **dict.fromkeys(options.query_never, False)),
            always=QueryOptions(**dict.fromkeys(options.query_always, True)),
            maximum=options.max_matches,
        ),
        "retrieval": RetrievePolicy(destinations, options.destination_jobs, Transcoding(options.decompress)),
    }


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18 or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _ways(text: str) -> tuple[str, ...]:
    ways = tuple(each.strip() for each in text.split(","))
    unknown = next((each for each in ways if each not in WAYS), None)
    if unknown is not None:
        raise argparse.ArgumentTypeError(f"{unknown!r} is not one of {', '.join(WAYS)}")
    return ways
