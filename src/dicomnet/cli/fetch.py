"""`dicomnet fetch`: retrieve what a list names into a folder, complete, and as often as it takes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from ..values import mutable
from .arguments import FAILED, OK, Parser, UsageError, ae_title, count, seconds, times
from .keys import add_key_option
from .listening import add_receiver_options, bind_failure, check_bind
from .progress import Progress
from .requestor import add_peer_options, open_peer, target_of
from .terminal import progress_on_terminal
from .words import complain, is_terminal, printable

if TYPE_CHECKING:
    from argparse import Namespace

    from ..fetching.fetcher import Event, Fetcher, Result, Source, Terms
    from ..fetching.folder import Folder
    from ..fetching.lists import Row
    from ..fetching.receiver import Receiver

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


def _add_move_options(parser: Parser) -> None:
    group = parser.add_argument_group("by C-MOVE")
    group.add_argument(
        "--move",
        type=ae_title,
        metavar="AET",
        help="use C-MOVE instead of C-GET; AET is ours, and the peer knows it by our host and port",
    )
    add_receiver_options(group, "send objects, which are thrown away unless they were asked for")


def _column(text: str) -> tuple[str, str]:
    import argparse

    heading, equals, keyword = text.rpartition("=")
    if not equals or not heading:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEADING=KEYWORD")
    return heading, keyword


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    from ..fetching.fetcher import Fetcher
    from ..fetching.folder import REPORT, Folder
    from ..fetching.names import DEFAULT_LAYOUT, Layout
    from ..fetching.reports import write_report

    rows = _rows(options)
    terms = _terms(options)
    try:
        layout = Layout.parse(options.layout or DEFAULT_LAYOUT)
    except ValueError as error:
        raise UsageError(f"--layout: {error}") from error
    # What is wrong with the command line is said before there is a folder.
    target_of(options)
    if options.move is not None:
        check_bind("fetch", options.bind, options.allow_public, "send objects here")
    told = _Told(options, len(rows))
    with Folder(options.to, layout) as folder, ExitStack() as stack:
        fetcher = Fetcher(_source(options, folder, stack), folder, terms)
        due = monotonic() + _REPORT_SECONDS
        try:
            with told.shown:
                for event in fetcher.run(rows):
                    told.tell(event)
                    if monotonic() >= due:
                        write_report(options.to / REPORT, fetcher.results)
                        due = monotonic() + _REPORT_SECONDS
        finally:
            if fetcher.results:
                write_report(options.to / REPORT, fetcher.results)
                told.end(fetcher, options.to / REPORT)
    return OK if all(each.outcome.is_well for each in fetcher.results) else FAILED


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


def _terms(options: Namespace) -> Terms:
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
    )


def _source(options: Namespace, folder: Folder, stack: ExitStack) -> Source:
    """The peer that is asked, and the receiver where there is one."""
    from ..blocking.sources import GetSource, MoveSource, WebSource
    from .syntaxes import SYNTAXES

    if target_of(options).is_web:
        if options.move is not None:
            raise UsageError("--move is for associations; DICOMweb has nothing like C-MOVE")
        return WebSource(stack.enter_context(open_peer(options)), folder.incoming)
    if options.move is None:
        return GetSource(stack.enter_context(open_peer(options)), folder.incoming, tuple(SYNTAXES))
    receiver = stack.enter_context(_receiver(options, folder))
    peer = stack.enter_context(open_peer(options, progress=receiver.progress))
    return MoveSource(peer, receiver, options.wait or None)


def _receiver(options: Namespace, folder: Folder) -> Receiver:
    from ..fetching.receiver import Receiver

    address = options.bind, options.receive_port
    try:
        return Receiver(folder.incoming, address, options.move, target_of(options).timeouts)
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
        self.shown.note(f"{counts.series} series, {counts.objects} objects, {self._rate()}")
        if self._is_json:
            print(json.dumps({"event": event.kind, **values}))
        elif event.kind == "pause" and not self._options.quiet:
            self.shown.say(f"pausing for {values['seconds']:g} s: {values['words']}")
        elif event.kind == "kept_out":
            self.shown.say(f"kept out: {values['object']}: {values['words']}")

    def end(self, fetcher: Fetcher, report: Path) -> None:
        """Tell what became of the rows."""
        outcomes = Counter(each.outcome.value for each in fetcher.results)
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
        wrong = [each for each in fetcher.results if not each.outcome.is_well]
        for each in wrong[:_NAMED]:
            complain(_line(each))
        if len(wrong) > _NAMED:
            complain(f"and {len(wrong) - _NAMED} more, which are in the report")
        if not self._options.quiet and not self._is_json:
            rows = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
            print(
                f"{_rows_in_words(len(fetcher.results))}: {rows}; retrieved {counts.objects} objects, {self._rate()};"
                f" report: {printable(str(report))}"
            )

    def _rate(self) -> str:
        megabytes = self._counts.bytes / 1e6
        return f"{megabytes:.1f} MB, {megabytes / max(monotonic() - self._begin, 1e-3):.1f} MB/s"


def _rows_in_words(number: int) -> str:
    return "1 row" if number == 1 else f"{number} rows"


def _line(result: Result) -> str:
    keys = " ".join(f"{keyword}={value}" for keyword, value in result.row.keys.items())
    where = f"line {result.row.line}: " if result.row.line else ""
    words = f": {result.words}" if result.words else ""
    return (
        f"{where}{keys}: {result.outcome.value}{words}" if keys else f"{where}{result.outcome.value}{words}"
    )
