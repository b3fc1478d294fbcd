"""`dicomnet find`: query (C-FIND)."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from .arguments import OK, Parser, UsageError, count
from .keys import add_key_option, add_model_options, read_keys
from .matches import write_matches
from .requestor import add_peer_options, open_peer

if TYPE_CHECKING:
    from argparse import Namespace


def configure(parser: Parser) -> None:
    """Tell the parser about this command."""
    parser.explain(
        "Query a peer (C-FIND). The matches are a table on a terminal, and otherwise a line of JSON each, with the\n"
        "keywords of the attributes as names. The usual attributes of the level are asked for besides the keys.",
        "dicomnet find PACS@127.0.0.1:11112 -k 'PatientName=DOE*' -k StudyDate=20260101-\n"
        "dicomnet find PACS@127.0.0.1:11112 --level series -k StudyInstanceUID=1.2.3 -k BodyPartExamined\n"
        "dicomnet find PACS@127.0.0.1:11112 -k ModalitiesInStudy=CT | jq -r .PatientID",
    )
    add_peer_options(parser)
    group = parser.add_argument_group("query")
    add_key_option(
        group,
        "match an attribute by a value, a wildcard or a range, or ask for it; gggg,eeee is understood, too, and"
        " Sequence[0].Keyword",
    )
    add_model_options(group, "what is looked for (study)")
    group.add_argument("--limit", type=count, metavar="N", help="cancel the query after N matches")
    group.add_argument("--json", action="store_true", help="lines of JSON on a terminal, too")


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    from ..datasets.queries import build_query
    from ..exchange.contexts import find_model

    keys = read_keys(options)
    asked = list(keys)
    level = options.level or keys.pop("QueryRetrieveLevel", None) or "study"
    try:
        identifier = build_query(level, keys)
    except ValueError as error:
        raise UsageError(str(error)) from error
    model = find_model(level, options.model)
    with (
        open_peer(options) as peer,
        closing(peer.find_identifier(identifier, model, limit=options.limit)) as matches,
    ):
        write_matches(matches, options, asked)
    return OK
