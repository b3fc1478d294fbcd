"""`dicomnet fetch`: retrieve what a list names into a folder, complete, and as often as it takes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from ..diagnosing.associations import open_association, release
from ..plurals import counted
from ..settings.entries import AUTO, GET, MOVE
from ..values import mutable
from .arguments import FAILED, OK, Parser, UsageError, ae_title, count, seconds, times
from .keys import add_key_option
from .listening import add_receiver_options, bind_failure, receiver_address
from .pace import add_pacing_options, pacing_of
from .progress import Progress
from .requestor import add_peer_options, open_peer, target_of
from .terminal import progress_on_terminal
from .words import complain, is_terminal, printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from ..exchange.pacing import Pacing
    from ..fetching.fetcher import Event, Result, Terms
    from ..fetching.folder import Folder
    from ..fetching.lists import Row
    from ..fetching.receiver import Receiver
    from ..peers.target import Target

# How often the report is written before the end, in seconds.
_REPORT_SECONDS = 60.0
# The most rows that are named at the end; the report has all.
_NAMED = 20


def configure(parser: Parser) -> None:
    """Tell the parser about this command."""
    parser.explain(
        "Retrieve what a list names into a folder, and check that it is complete. Run again, it goes on where it\n"
        "was, whatever ended it. The folder gets report.csv with a row for each row of the list. The exit status is\n"
        "1 if any row is not complete.",
        "dicomnet fetch PACS@127.0.0.1:11112 --list studies.csv --to studies/\n"
        "dicomnet fetch PACS@127.0.0.1:11112 -k AccessionNumber=A1234 --to studies/\n"
        "dicomnet fetch pacs --list mrn.csv --to ct/ --series Modality=CT 'SeriesDescription~*thin*' --min-images 20\n"
        "dicomnet fetch pacs --list studies.csv --to in/ --move DICOMNET --bind 10.0.0.7 --allow-public\n"
        "dicomnet fetch https://pacs.example/dicom-web --list studies.csv --to studies/",
    )
    add_peer_options(parser, over_http=True)
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="the folder for the files")
    parser.add_argument(
        "--layout",
        metavar="NAMES",
        help="how files are named below it, with keywords in braces"
        " ({PatientID}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm)",
    )
    parser.add_argument(
        "--json", action="store_true", help="write a line of JSON for each event on a terminal, too"
    )
    _add_list_options(parser)
    _add_series_options(parser)
    _add_patience_options(parser)
    _add_move_options(parser)


def _add_list_options(parser: Parser) -> None:
    group = parser.add_argument_group("what to retrieve")
    group.add_argument(
        "--list",
        metavar="FILE",
        help="CSV with commas, semicolons or tabs, or lines of JSON, with columns named by keywords such as"
        " AccessionNumber; - is standard input",
    )
    add_key_option(group, "a key of the one row there is instead of a list, as AccessionNumber=A1234")
    group.add_argument(
        "--column",
        dest="columns",
        type=_column,
        action="append",
        default=[],
        metavar="HEADING=KEYWORD",
        help="what a column of the list is; without KEYWORD it is passed over",
    )
    group.add_argument(
        "--wildcards",
        action="store_true",
        help="take wild cards, ranges and lists in values as such, instead of refusing the row",
    )
    group.add_argument(
        "--all-matches",
        action="store_true",
        help="retrieve all that a row matches, though it belongs to several patients",
    )
    group.add_argument(
        "--recheck",
        action="store_true",
        help="ask again for rows that are complete, and retrieve what the peer has got since",
    )


def _add_series_options(parser: Parser) -> None:
    group = parser.add_argument_group("which series")
    group.add_argument(
        "--series",
        nargs="+",
        action="extend",
        default=[],
        metavar="CONDITION",
        help="only series that meet all of these: Modality=CT, SeriesDescription~*thin* with wild cards, or != and !~"
        " for the opposite",
    )
    group.add_argument(
        "--exclude",
        nargs="+",
        action="extend",
        default=[],
        metavar="CONDITION",
        help="no series that meets any of these",
    )
    group.add_argument(
        "--min-images", type=count, default=1, metavar="N", help="only series with at least N objects"
    )


def _add_patience_options(parser: Parser) -> None:
    group = parser.add_argument_group("patience")
    group.add_argument(
        "--attempts",
        type=count,
        default=3,
        metavar="N",
        help="how often a series is asked for until it is complete, object by object in the end (%(default)s)",
    )
    group.add_argument(
        "--retry",
        type=times,
        default=5,
        metavar="N",
        help="how often a peer is asked again that cannot be reached, breaks off or is out of resources (%(default)s)",
    )
    group.add_argument(
        "--pause",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long to wait when the peer is out of resources, twice as long each further time (%(default)g)",
    )
    add_pacing_options(group, "retrieve")
    group.add_argument(
        "--jobs",
        type=count,
        metavar="N",
        help="how many rows to retrieve side by side, with an association each (1, or that of the remote); not by"
        " C-MOVE",
    )


def _add_move_options(parser: Parser) -> None:
    group = parser.add_argument_group("by C-MOVE")
    way = group.add_mutually_exclusive_group()
    way.add_argument(
        "--move",
        type=ae_title,
        metavar="AET",
        help="use C-MOVE instead of C-GET; AET is ours, and the peer knows it by our host and port",
    )
    way.add_argument("--get", action="store_true", help="use C-GET, whatever is said of the remote")
    add_receiver_options(group, "send objects, which are thrown away unless they were asked for")


def _column(text: str) -> tuple[str, str]:
    import argparse

    heading, equals, keyword = text.rpartition("=")
    if not equals or not heading:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEADING=KEYWORD")
    return heading, keyword


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    from ..blocking.together import together
    from ..fetching.fetcher import Rows
    from ..fetching.folder import REPORT, Folder
    from ..fetching.names import DEFAULT_LAYOUT, Layout
    from ..fetching.reports import write_report
    from ..peers.sources import Sources

    rows = _rows(options)
    try:
        layout = Layout.parse(options.layout or DEFAULT_LAYOUT)
    except ValueError as error:
        raise UsageError(f"--layout: {error}") from error
    # What is wrong with the command line is said before there is a folder.
    target = target_of(options)
    terms = _terms(options, pacing_of(options, target))
    if target.is_web and options.move is not None:
        raise UsageError("--move is for associations; DICOMweb has nothing like C-MOVE")
    destination = None if target.is_web else _destination(options, target)
    address = receiver_address("fetch", options, target, "send objects here") if destination else None
    jobs = options.jobs or (1 if destination else target.jobs)
    if destination and jobs > 1:
        raise UsageError(
            "--jobs is for C-GET: what comes to a receiver does not say for which request it comes"
        )
    told = _Told(options, len(rows))
    listed = Rows(rows)
    with Folder(options.to, layout) as folder, ExitStack() as stack:
        receiver = None
        if destination and address:
            receiver = stack.enter_context(_receiver(folder, address, destination, target, terms.pacing))
        progress = None if receiver is None else receiver.progress
        peer = stack.enter_context(open_peer(options, target, progress=progress))
        sources = Sources(peer, folder, receiver, options.wait or None, terms.pacing)
        due = monotonic() + _REPORT_SECONDS
        try:
            with told.shown:
                operations = [each.run(listed) for each in sources.fetchers(terms, jobs)]
                for event in together([peer._perform(each) for each in operations], listed.stop):
                    told.tell(event)
                    if monotonic() >= due:
                        write_report(options.to / REPORT, listed.results)
                        due = monotonic() + _REPORT_SECONDS
        finally:
            write_report(options.to / REPORT, listed.results)
            told.end(listed.results, options.to / REPORT)
    return OK if all(each.outcome.is_well for each in listed.results) else FAILED


def _rows(options: Namespace) -> list[Row]:
    from ..fetching.lists import ListError, read_list, row_of
    from .keys import keyword_of

    if (options.list is None) is not bool(options.keys):
        raise UsageError("say what to retrieve: either --list FILE or -k KEYWORD=VALUE")
    columns = {heading: keyword and keyword_of(keyword) for heading, keyword in options.columns}
    try:
        if options.list is None:
            keys = [(_chosen_by(keyword_of(name)), value) for name, value in options.keys]
            row = row_of(0, keys, wildcards=options.wildcards)
            if row.fault:
                raise UsageError(row.fault)
            return [row]
        content = sys.stdin.buffer.read() if options.list == "-" else Path(options.list).read_bytes()
        listing = read_list(content, columns, wildcards=options.wildcards)
    except ListError as error:
        raise UsageError(f"{options.list or '-k'}: {error}") from error
    if listing.understood and not options.quiet:
        words = ", ".join(f"{name!r} as {keyword}" for name, keyword in listing.understood.items())
        complain(f"{options.list}: understood {words}")
    return list(listing.rows)


def _chosen_by(keyword: str) -> str:
    from ..fetching.lists import usable

    return usable(keyword, keyword)


def _terms(options: Namespace, pacing: Pacing | None) -> Terms:
    from ..fetching.fetcher import Terms
    from ..fetching.selecting import Condition, Selection

    try:
        selection = Selection(
            list(map(Condition.parse, options.series)),
            list(map(Condition.parse, options.exclude)),
            options.min_images,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Terms(
        selection,
        wildcards=options.wildcards,
        all_matches=options.all_matches,
        recheck=options.recheck,
        attempts=options.attempts,
        retries=options.retry,
        pause=options.pause,
        pacing=pacing,
    )


def _destination(options: Namespace, target: Target) -> str | None:
    """Our AE title as the destination of C-MOVE; None for C-GET."""
    if options.move is not None:
        return str(options.move)
    way = GET if options.get else target.retrieve or GET
    if way == AUTO:
        way = _found_out(target)
    return None if way == GET else target.destination or target.calling


def _found_out(target: Target) -> str:
    """How the peer lets objects be retrieved: by C-GET where it takes that, as it needs no receiver."""
    from ..exchange.contexts import GET_MODELS, MOVE_MODELS, NATIVE

    models = (GET_MODELS["study"], MOVE_MODELS["study"])
    link = open_association(target, [(uid, NATIVE) for uid in models])
    accepted = {each.abstract_syntax for each in link.agreement.accepted}
    release(link)
    return MOVE if models[0] not in accepted and models[1] in accepted else GET


def _receiver(
    folder: Folder, address: tuple[str, int], title: str, target: Target, pacing: Pacing | None
) -> Receiver:
    from ..fetching.receiver import Receiver

    try:
        return Receiver(folder.incoming, address, title, target.timeouts, pacing)
    except OSError as error:
        raise OSError(bind_failure(error, *address)) from error


@mutable
class _Counts:
    """What was retrieved."""

    rows: int = 0
    series: int = 0
    objects: int = 0
    bytes: int = 0


class _Told:
    """What is said of a retrieval: progress on a terminal, and otherwise a line of JSON for each event."""

    def __init__(self, options: Namespace, rows: int) -> None:
        self._options = options
        self._rows = rows
        self._counts = _Counts()
        self._begin = monotonic()
        self._is_json = options.json or not is_terminal(sys.stdout)
        self.shown = Progress()
        if is_terminal(sys.stderr) and not options.quiet and not (self._is_json and is_terminal(sys.stdout)):
            self.shown = progress_on_terminal("rows", rows, "rows")

    def tell(self, event: Event) -> None:
        """Tell an event."""
        counts, values = self._counts, event.values
        if event.kind == "row":
            counts.rows += 1
        elif event.kind == "series":
            counts.series += 1
        elif event.kind == "object":
            counts.objects += 1
            counts.bytes += int(str(values["bytes"]))
        self.shown.reach(counts.rows, self._rows)
        self.shown.note(f"{counts.series} series, {counted(counts.objects, 'object')}, {self._rate()}")
        if self._is_json:
            print(json.dumps({"event": event.kind, **values}))
        elif event.kind == "pause" and not self._options.quiet:
            self.shown.say(f"pausing for {values['seconds']:g} s: {values['words']}")
        elif event.kind == "kept_out":
            self.shown.say(f"kept out: {values['object']}: {values['words']}")

    def end(self, results: Sequence[Result], report: Path) -> None:
        """Tell what became of the rows."""
        outcomes = Counter(each.outcome.value for each in results)
        counts = self._counts
        if self._is_json:
            line = {
                "event": "end",
                "rows": dict(outcomes),
                "series": counts.series,
                "objects": counts.objects,
                "bytes": counts.bytes,
                "report": str(report),
            }
            print(json.dumps(line))
        wrong = [each for each in results if not each.outcome.is_well]
        for each in wrong[:_NAMED]:
            complain(_line(each))
        if len(wrong) > _NAMED:
            complain(f"and {len(wrong) - _NAMED} more, which are in the report")
        if not self._options.quiet and not self._is_json:
            rows = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
            print(
                f"{counted(len(results), 'row')}: {rows}; retrieved {counted(counts.objects, 'object')},"
                f" {self._rate()}; report: {printable(str(report))}"
            )

    def _rate(self) -> str:
        megabytes = self._counts.bytes / 1e6
        return f"{megabytes:.1f} MB, {megabytes / max(monotonic() - self._begin, 1e-3):.1f} MB/s"


def _line(result: Result) -> str:
    keys = " ".join(f"{keyword}={value}" for keyword, value in result.row.keys.items())
    where = f"line {result.row.line}: " if result.row.line else ""
    words = f": {result.words}" if result.words else ""
    return (
        f"{where}{keys}: {result.outcome.value}{words}" if keys else f"{where}{result.outcome.value}{words}"
    )
