"""`dicomnet find`: query (C-FIND)."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

from ..datasets.levels import UNIQUE_KEYS
from .arguments import OK, Parser, UsageError, count
from .keys import add_key_option, add_model_options, read_keys
from .matches import Match, add_form_options, form_of, plain, write_matches
from .query_files import read_query_file
from .requestor import add_peer_options, open_peer, target_of
from .words import complain

if TYPE_CHECKING:
    from argparse import Namespace

    from pydicom.dataset import Dataset


def configure(parser: Parser) -> None:
    """Tell the parser about this command."""
    parser.explain(
        "Query a peer (C-FIND). The matches are a table on a terminal, and otherwise a line of JSON each, with the\n"
        "keywords of the attributes as names. The usual attributes of the level are asked for besides the keys.\n"
        "Series and objects whose study is not given are looked for study by study.",
        "dicomnet find PACS@127.0.0.1:11112 -k 'PatientName=DOE*' -k StudyDate=20260101-\n"
        "dicomnet find PACS@127.0.0.1:11112 --level series -k StudyInstanceUID=1.2.3 -k BodyPartExamined\n"
        "dicomnet find PACS@127.0.0.1:11112 -L series -k StudyDate=20260501 -k Modality=CT --sort SeriesDate\n"
        "dicomnet find PACS@127.0.0.1:11112 -k StudyDate=20260501 --fields PatientID,AccessionNumber --csv\n"
        "dicomnet find PACS@127.0.0.1:11112 -k ModalitiesInStudy=CT | jq -r .PatientID\n"
        "dicomnet find https://pacs.example/dicom-web -k StudyDate=20260501 --user jane --password-file secret",
    )
    add_peer_options(parser, over_http=True)
    group = parser.add_argument_group("query")
    add_key_option(
        group,
        "match an attribute by a value, a wildcard or a range, or ask for it; gggg,eeee is understood, too, and"
        " Sequence[0].Keyword",
    )
    group.add_argument(
        "--query",
        metavar="FILE",
        help="a file with keys, as JSON or a DICOM file; - is standard input; what -k says of the same attribute holds",
    )
    add_model_options(group, "what is looked for (study)")
    way = group.add_mutually_exclusive_group()
    way.add_argument(
        "--all-levels",
        action="store_true",
        help="what is below each match, too: the series of a study and their objects",
    )
    way.add_argument(
        "--relational",
        action="store_true",
        help="send one query at the level, also without the unique keys above it",
    )
    group.add_argument("--limit", type=count, metavar="N", help="cancel the query after N matches")
    add_form_options(parser)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    from ..datasets.queries import RETURN_KEYS, build_query
    from ..exchange.walking import plan
    from ..peers.target import with_character_set

    form = form_of(options)
    given = read_keys(options)
    if options.query is not None:
        given = read_query_file(options.query) | given
    level = options.level or given.pop("QueryRetrieveLevel", None) or "study"
    # The level is no key; what the peer says of it may be a field.
    keys = dict.fromkeys(name for name in form.fields if name != "QueryRetrieveLevel") | given
    target = target_of(options)
    keys = with_character_set(target, keys)
    try:
        identifier = build_query(level, keys)
        planned = plan(level, options.model, keys, is_deep=options.all_levels)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if len(planned.levels) == 1 or options.relational:
        headings = [*given, *RETURN_KEYS[identifier.QueryRetrieveLevel]]
        with (
            open_peer(options, target) as peer,
            closing(peer.find_identifier(identifier, planned.model, limit=options.limit)) as matches,
        ):
            write_matches(map(plain, matches), form, given, headings)
        return OK
    headings = [*given, *(name for each in planned.levels for name in RETURN_KEYS[each.name])]
    if options.all_levels:
        headings.insert(0, "QueryRetrieveLevel")
    with (
        open_peer(options, target) as peer,
        closing(peer.walk(level, model=options.model, is_deep=options.all_levels, **keys)) as paths,
    ):
        write_matches(map(_merged, islice(paths, options.limit)), form, given, headings)
    if not (options.all_levels or options.quiet):
        above = " and ".join(UNIQUE_KEYS[each] for each in planned.levels[:-1])
        complain(
            f"asked level by level, as a query of this level needs {above}; --relational sends one query instead"
        )
    return OK


def _merged(path: tuple[Dataset, ...]) -> Match:
    """A match with what those above it say besides."""
    merged: Match = {}
    for match in map(plain, path):
        merged |= {
            name: value for name, value in match.items() if name not in merged or value not in (None, [])
        }
    return merged
