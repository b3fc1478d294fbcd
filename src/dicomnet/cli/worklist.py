"""`dicomnet worklist`: query a modality worklist (C-FIND, PS3.4 Annex K)."""

from __future__ import annotations

from argparse import ArgumentTypeError
from contextlib import closing
from typing import TYPE_CHECKING, Any

from ..exchange.worklists import STEP, worklist_keys
from .arguments import OK, Parser, UsageError, ae_title, count
from .keys import add_key_option, read_keys
from .matches import Form, Match, plain, write_matches
from .requestor import add_peer_options, open_peer, target_of

if TYPE_CHECKING:
    from argparse import Namespace

# The headings of the first columns of the table, in which the items of the sequence are flattened.
COLUMNS = {
    "ScheduledProcedureStepStartDate": "Date",
    "ScheduledProcedureStepStartTime": "Time",
    "Modality": "Modality",
    "ScheduledStationAETitle": "Station",
    "PatientName": "PatientName",
    "PatientID": "PatientID",
    "PatientBirthDate": "PatientBirthDate",
    "PatientSex": "PatientSex",
    "AccessionNumber": "AccessionNumber",
    "ScheduledProcedureStepDescription": "Step",
    "RequestedProcedureDescription": "Procedure",
    "ScheduledPerformingPhysicianName": "Physician",
}


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Query a modality worklist (C-FIND). The scheduled steps are shown as a table on a terminal, and otherwise\n"
        "as one line of JSON each, with the keywords of the attributes as names. The usual attributes are asked for\n"
        "in addition to the keys; the table leaves out some of them.",
        "dicomnet worklist RIS@127.0.0.1:11112 --date today --modality CT\n"
        "dicomnet worklist RIS@127.0.0.1:11112 --station CT1 -k 'PatientName=DOE*'\n"
        "dicomnet worklist RIS@127.0.0.1:11112 -k 'ScheduledProcedureStepSequence[0].ScheduledStationName=CT*'",
    )
    add_peer_options(parser)
    group = parser.add_argument_group("query")
    group.add_argument(
        "--date",
        type=_dates,
        metavar="DATE",
        help="when the steps start: today, YYYYMMDD, YYYY-MM-DD, or a range of the form YYYYMMDD-YYYYMMDD whose"
        " beginning or end may be left out",
    )
    group.add_argument("--modality", metavar="MODALITY", help="the modality, such as CT")
    group.add_argument(
        "--station",
        type=ae_title,
        metavar="AET",
        help="AE title of the station that the steps are scheduled for",
    )
    add_key_option(
        group,
        "match an attribute by a value, a wildcard or a range, or ask for it; one inside a sequence is written as"
        " Sequence[0].Keyword; a tag may be given as gggg,eeee",
    )
    group.add_argument("--limit", type=count, metavar="N", help="cancel the query after N matches")
    group.add_argument("--json", action="store_true", help="write lines of JSON on a terminal, too")


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    from ..datasets.queries import build_keys
    from ..exchange.contexts import MODALITY_WORKLIST
    from ..peers.target import with_character_set

    given = read_keys(options)
    target = target_of(options)
    step = _step_keys(options) | {STEP: given.get(STEP) or {}}
    keys = worklist_keys(step) | {name: value for name, value in given.items() if name != STEP}
    try:
        identifier = build_keys(with_character_set(target, keys))
    except ValueError as error:
        raise UsageError(str(error)) from error
    asked = [name for name in given if name != STEP] + list(given.get(STEP) or {})
    with (
        open_peer(options, target) as peer,
        closing(peer.find_identifier(identifier, MODALITY_WORKLIST, limit=options.limit)) as matches,
    ):
        columns = [*COLUMNS.values(), *(name for name in asked if name not in COLUMNS)]
        write_matches(
            map(plain, matches),
            Form(options.json, options.quiet),
            columns,
            rows_of=lambda match: _rows(match, {*COLUMNS, *asked}),
        )
    return OK


def _step_keys(options: Namespace) -> dict[str, str]:
    given = {
        "ScheduledProcedureStepStartDate": options.date,
        "Modality": options.modality,
        "ScheduledStationAETitle": options.station,
    }
    return {keyword: value for keyword, value in given.items() if value is not None}


def _rows(match: Match, shown: set[str]) -> list[Match]:
    """A row for each scheduled step, under the names of the columns."""
    steps: Any = match.get(STEP)
    return [
        {COLUMNS.get(name, name): value for name, value in (match | step).items() if name in shown - {STEP}}
        for step in steps or [{}]
    ]


def _dates(text: str) -> str:
    """A date or a range of dates (PS3.4 section C.2.2.2.5.1)."""
    from datetime import date

    if text == "today":
        return f"{date.today():%Y%m%d}"
    try:
        return f"{date.fromisoformat(text):%Y%m%d}"
    except ValueError:
        first, hyphen, last = text.partition("-")
    try:
        limits = [f"{date.fromisoformat(each):%Y%m%d}" if each else "" for each in (first, last)]
    except ValueError:
        limits = []
    if not hyphen or not any(limits):
        raise ArgumentTypeError(f"{text!r} is not a date; write today, YYYYMMDD or YYYYMMDD-YYYYMMDD")
    return hyphen.join(limits)
