"""`dicomnet store`: files and folders to a peer (C-STORE)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from time import monotonic
from typing import TYPE_CHECKING

from ..values import field, mutable, replace
from .arguments import FAILED, OK, Parser, UsageError, count, times
from .pace import add_pacing_options, pacing_of
from .progress import Progress
from .requestor import add_peer_options, open_peer, target_of
from .store_commitment import (
    COMMITTED,
    NOT_COMMITTED,
    Stored,
    add_commit_options,
    commit_stored,
    listening_address,
)
from .terminal import progress_on_terminal
from .words import complain, is_terminal

if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Self, TextIO

    from ..blocking.peer import Peer
    from ..exchange.journal import Journal
    from ..exchange.pacing import Pacing
    from ..exchange.results import StoreResult
    from ..exchange.storing import Supply

STORED, WARNING, SKIPPED, FAILURE = "stored", "warning", "skipped", "failed"
# What the peer has taken in an earlier run, by the journal.
BEFORE = "stored before"
# What would be sent.
PLANNED = "planned"
OUTCOMES = (STORED, WARNING, BEFORE, SKIPPED, FAILURE, PLANNED, COMMITTED, NOT_COMMITTED)
_NOTHING = "dicomnet store: there is no DICOM file to send"


def configure(parser: Parser) -> None:
    """Tell the parser about this command."""
    parser.explain(
        "Send DICOM files (C-STORE), as they are where the peer takes that. Folders are sent with all that is in\n"
        "them, zip and tar files too, and of a DICOMDIR the files that it names; what is not DICOM is skipped and\n"
        "named. The exit status is 1 if any object failed, or if there was nothing to send.",
        "dicomnet store PACS@127.0.0.1:11112 study/ image.dcm\n"
        "dicomnet store --dry-run PACS@127.0.0.1:11112 study/\n"
        "dicomnet store --report sent.csv PACS@127.0.0.1:11112 study/\n"
        "dicomnet store --journal sent.db --retry 10 --between 19:00-06:00 PACS@127.0.0.1:11112 study/\n"
        "dicomnet store --json PACS@127.0.0.1:11112 study/ | jq 'select(.outcome == \"failed\")'\n"
        "dicomnet store https://pacs.example/dicom-web study/ --jobs 4",
    )
    add_peer_options(parser, over_http=True)
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="a file, a folder, a zip or tar file, or a DICOMDIR"
    )
    parser.add_argument("--json", action="store_true", help="write a line of JSON for each file")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="send nothing: tell what would be sent, what that needs, and what would be skipped and why",
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        help="write a row for each file, as CSV if the name ends so, else as lines of JSON; an earlier report is"
        " replaced",
    )
    parser.add_argument(
        "--window",
        type=count,
        metavar="N",
        help="how many requests may wait for their response, if the peer grants it (16, or that of the remote)",
    )
    parser.add_argument(
        "--transcode",
        choices=("never", "if-needed"),
        default="never",
        help="whether compressed objects that the peer does not take are decompressed (%(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=count,
        metavar="N",
        help="how many associations to send on side by side, each with its window (1, or that of the remote)",
    )
    parser.add_argument(
        "--journal",
        metavar="FILE",
        help="note in a file what the peer has; a further run sends only what is missing or has changed, whatever ended"
        " the run before",
    )
    parser.add_argument(
        "--retry",
        type=times,
        default=0,
        metavar="N",
        help="how often to try a peer again that is away or out of resources, after 1, 2, 4 ... s up to a minute; each"
        " object that it takes is a new beginning (%(default)s)",
    )
    add_pacing_options(parser, "send")
    add_commit_options(parser)


def outcome_of(result: StoreResult) -> str:
    """The outcome for a file, in a word."""
    if result.was_stored:
        return BEFORE
    if result.is_stored:
        return WARNING if result.status else STORED
    return SKIPPED if result.is_skipped else FAILURE


@mutable
class Tally:
    """The outcomes of all files, counted."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    bytes: int = 0
    begin: float = field(default_factory=monotonic)

    def add(self, outcome: str, length: int) -> None:
        """Count a file."""
        self.counts[outcome] += 1
        if outcome in (STORED, WARNING, PLANNED):
            self.bytes += length

    @property
    def sent(self) -> int:
        """How many objects were sent, and are at the peer now."""
        return self.counts[STORED] + self.counts[WARNING]

    @property
    def is_complete(self) -> bool:
        """Whether the peer has all objects, and there are some."""
        failed = self.counts[FAILURE] + self.counts[NOT_COMMITTED]
        return bool(self.sent or self.counts[BEFORE]) and not failed

    def __str__(self) -> str:
        duration = monotonic() - self.begin
        megabytes = self.bytes / 1e6
        before = f"stored before {self.counts[BEFORE]}, " if self.counts[BEFORE] else ""
        committed = ""
        if self.counts[COMMITTED] or self.counts[NOT_COMMITTED]:
            committed = f"; committed {self.counts[COMMITTED]}, not committed {self.counts[NOT_COMMITTED]}"
        return (
            f"sent {self.sent} ({self.counts[WARNING]} with warnings), {before}skipped {self.counts[SKIPPED]}, "
            f"failed {self.counts[FAILURE]}: {megabytes:.1f} MB in {duration:.2f} s "
            f"({megabytes / duration:.1f} MB/s, {self.sent / duration:.0f} objects/s){committed}"
        )


@mutable
class Row:
    """What is told of a file to programs."""

    path: str
    outcome: str
    status: int | None
    sop_instance_uid: str | None
    comment: str | None
    bytes: int
    member: str | None = None

    @classmethod
    def of(cls, result: StoreResult) -> Row:
        """That of a result."""
        return cls(
            result.path,
            outcome_of(result),
            result.status,
            result.sop_instance_uid or None,
            result.comment or None,
            result.length,
            result.member or None,
        )

    def as_dict(self) -> dict[str, object]:
        """Its values by name."""
        return {name: getattr(self, name) for name in ROW_FIELDS}

    def as_json(self) -> str:
        """A line of JSON."""
        import json

        return json.dumps(self.as_dict())


ROW_FIELDS = ("path", "outcome", "status", "sop_instance_uid", "comment", "bytes", "member")


# How reports begin: with the headings, or the first name of a row.
_BEGINNINGS = (b"path,outcome,", b'{"path": ')


def _new_file(name: str) -> TextIO:
    """The file of a report. What is there is replaced if it is one, and not if it is an image that is to be sent."""
    if os.path.isfile(name):
        with open(name, "rb") as there:
            start = there.read(32)
        if start and not start.startswith(_BEGINNINGS):
            raise UsageError(f"--report {name}: what is there is no report; give another name")
    # Names of files may have bytes that are no text.
    return open(name, "w", encoding="utf-8", errors="backslashreplace", newline="", buffering=1)


class Report:
    """A file with a row for each file of a store, written while they are sent; without a name, it is none.

    Parameters
    ----------
    name
        Its path; of one that ends with ``.csv`` the rows are CSV, else lines of JSON.

    Raises
    ------
    UsageError
        If there is a file that is no report.
    OSError
        If it cannot be written.
    """

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._file = None if name is None else _new_file(name)
        self._is_csv = name is not None and name.lower().endswith(".csv")
        if self._is_csv:
            self._write_csv(ROW_FIELDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file is not None:
            # What was to be written before has been told of, and is tried once more.
            with self._named() if kind is None else suppress(OSError):
                self._file.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the report in an error of its disk."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._name) from error

    def add(self, row: Row) -> None:
        """Write the row of a file; raises OSError with the name of the report if it cannot be written."""
        if self._file is None:
            return
        with self._named():
            if self._is_csv:
                self._write_csv(row.as_dict().values())
            else:
                self._file.write(row.as_json() + "\n")

    def _write_csv(self, values: Iterable[object]) -> None:
        import csv

        assert self._file is not None
        csv.writer(self._file, lineterminator="\n").writerow("" if each is None else each for each in values)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    for other in ("journal", "commit"):
        if options.dry_run and getattr(options, other):
            raise UsageError(f"--dry-run does not go with --{other}")
    if options.listen is not None and not options.commit:
        raise UsageError("--listen is for --commit")
    listening_address(options)
    # What does not exist comes first, so that it is known before the first object is sent.
    options.paths.sort(key=os.path.exists)
    tally = Tally()
    say = complain if options.json else print
    with Report(options.report) as report:
        if options.dry_run:
            return _foretell(options, tally, report)
        try:
            _store(options, tally, report)
        except BaseException as error:
            # Whatever ends it, what the peer has by now is to be known.
            if any(tally.counts.values()) or isinstance(error, KeyboardInterrupt):
                say(str(tally))
            raise
    if not options.quiet:
        say(str(tally))
    if not (tally.sent or tally.counts[BEFORE] or tally.counts[FAILURE]):
        complain(_NOTHING)
    return OK if tally.is_complete else FAILED


def _foretell(options: Namespace, tally: Tally, report: Report) -> int:
    from ..exchange.member_files import Member
    from ..exchange.results import StoreResult
    from .forecast import Forecast

    forecast = Forecast(options.paths, options.transcode)
    for found in forecast.look():
        if isinstance(found, StoreResult):
            row, line = Row.of(found), line_of(found, outcome_of(found))
        else:
            file = found.file
            path, member = (file.path, file.name) if isinstance(file, Member) else (str(file), None)
            row = Row(path, PLANNED, None, found.header.sop_instance_uid, None, found.length, member)
            line = f"{PLANNED}: {file}"
        tally.add(row.outcome, row.bytes)
        report.add(row)
        if options.json:
            print(row.as_json())
        elif row.outcome == FAILURE or options.verbose or (row.outcome != PLANNED and not options.quiet):
            complain(line)
    counts, say = tally.counts, complain if options.json else print
    if not options.quiet:
        say(
            f"would send {counts[PLANNED]}: {tally.bytes / 1e6:.1f} MB, skip {counts[SKIPPED]}, fail {counts[FAILURE]};"
            " nothing was sent"
        )
        for each in forecast.lines():
            say(each)
    if not counts[PLANNED] and not counts[FAILURE]:
        complain(_NOTHING)
    return OK if counts[PLANNED] and not counts[FAILURE] else FAILED


def _store(options: Namespace, tally: Tally, report: Report) -> None:
    progress = Progress()
    if is_terminal(sys.stderr) and not options.quiet and not (options.json and is_terminal(sys.stdout)):
        from ..exchange.files import find_files
        from ..exchange.searching import has_members

        # They are looked for twice, as a million names are not to be kept. What is in a zip or tar file is not.
        total: int | None = 0
        for path in find_files(options.paths, keeps_missing=True):
            if has_members(path):
                total = None
                break
            total = (total or 0) + 1
        progress = progress_on_terminal("storing", total)
    target = target_of(options)
    opened = open_peer(
        options,
        target,
        window=options.window or target.window,
        transcode=options.transcode,
        jobs=options.jobs or target.jobs,
    )
    pacing = pacing_of(options, target)
    with (
        opened as peer,
        progress,
        _journal_of(options, peer) as journal,
        closing(Stored()) if options.commit else nullcontext() as stored,
    ):
        for result in peer.store_supply(_supply_of(options, journal, peer, pacing, progress)):
            row = Row.of(result)
            if journal is not None and not result.was_stored:
                journal.add(result, row.outcome)
            tally.add(row.outcome, row.bytes)
            progress.advance(row.bytes)
            report.add(row)
            if stored is not None:
                stored.add(result)
            if options.json:
                print(row.as_json())
            elif (
                row.outcome == FAILURE
                or options.verbose
                or (row.outcome not in (STORED, BEFORE) and not options.quiet)
            ):
                progress.say(line_of(result, row.outcome))
        if stored is None:
            return

        def tell(result: StoreResult, outcome: str, words: str) -> None:
            result = replace(result, status=None, comment=words)
            row = replace(Row.of(result), outcome=outcome)
            tally.add(outcome, 0)
            report.add(row)
            if options.json:
                print(row.as_json())
            elif outcome == NOT_COMMITTED or options.verbose:
                progress.say(line_of(result, outcome))

        commit_stored(peer, stored, journal, options, tell)


def _journal_of(options: Namespace, peer: Peer) -> AbstractContextManager[Journal | None]:
    if options.journal is None:
        return nullcontext()
    from ..exchange.journal import Journal

    return Journal(options.journal, str(peer.address))


def _supply_of(
    options: Namespace, journal: Journal | None, peer: Peer, pacing: Pacing | None, progress: Progress
) -> Supply:
    from ..exchange.retrying import Retry
    from ..exchange.searching import find_objects
    from ..exchange.storing import Supply

    def tell(sentence: str) -> None:
        if not options.quiet:
            progress.say(f"dicomnet store: {sentence}")

    retry = Retry(options.retry) if options.retry else None
    found = find_objects(options.paths, keeps_missing=True)
    files = found if journal is None else journal.missing(found)
    return Supply(files, peer.transcoding, pacing=pacing, retry=retry, tell=tell)


def line_of(result: StoreResult, outcome: str) -> str:
    """What is told of a file to people."""
    line = f"{outcome}: {result.name}"
    if result.comment:
        line += f": {result.comment}"
    return f"{line} (status 0x{result.status:04X})" if result.status else line
