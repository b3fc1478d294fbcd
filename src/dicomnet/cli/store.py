"""`dicomnet store`: files and folders to a peer (C-STORE)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING

from ..values import field, mutable
from .arguments import FAILED, OK, Parser, count
from .progress import Progress
from .requestor import add_peer_options, open_peer
from .terminal import progress_on_terminal
from .words import complain, is_terminal

if TYPE_CHECKING:
    from argparse import Namespace

    from ..exchange.results import StoreResult

STORED, WARNING, SKIPPED, FAILURE = "stored", "warning", "skipped", "failed"


def configure(parser: Parser) -> None:
    """Tell the parser about this command."""
    parser.explain(
        "Send DICOM files (C-STORE), as they are where the peer takes that. Folders are sent with all that is in\n"
        "them; what is not DICOM is skipped and named. The exit status is 1 if any object failed, or if there was\n"
        "nothing to send.",
        "dicomnet store PACS@127.0.0.1:11112 study/ image.dcm\n"
        "dicomnet store --json PACS@127.0.0.1:11112 study/ | jq 'select(.outcome == \"failed\")'",
    )
    add_peer_options(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, or a folder")
    parser.add_argument("--json", action="store_true", help="write a line of JSON for each file")
    parser.add_argument(
        "--window",
        type=count,
        default=16,
        metavar="N",
        help="how many requests may wait for their response, if the peer grants it (%(default)s)",
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
        default=1,
        metavar="N",
        help="how many associations to send on side by side, each with its window (%(default)s)",
    )


def outcome_of(result: StoreResult) -> str:
    """The outcome for a file, in a word."""
    if result.is_stored:
        return WARNING if result.status else STORED
    return SKIPPED if result.is_skipped else FAILURE


@mutable
class Tally:
    """The outcomes of all files, counted."""

    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys((STORED, WARNING, SKIPPED, FAILURE), 0)
    )
    bytes: int = 0
    begin: float = field(default_factory=monotonic)

    def add(self, outcome: str, length: int) -> None:
        """Count a file."""
        self.counts[outcome] += 1
        if outcome in (STORED, WARNING):
            self.bytes += length

    @property
    def sent(self) -> int:
        """How many objects the peer has now."""
        return self.counts[STORED] + self.counts[WARNING]

    def __str__(self) -> str:
        duration = monotonic() - self.begin
        megabytes = self.bytes / 1e6
        return (
            f"sent {self.sent} ({self.counts[WARNING]} with warnings), skipped {self.counts[SKIPPED]}, "
            f"failed {self.counts[FAILURE]}: {megabytes:.1f} MB in {duration:.2f} s "
            f"({megabytes / duration:.1f} MB/s, {self.sent / duration:.0f} objects/s)"
        )


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    for path in options.paths:
        # One that does not exist is to be known before the first object is sent.
        os.stat(path)
    tally = Tally()
    say = complain if options.json else print
    try:
        _store(options, tally)
    except KeyboardInterrupt:
        say(str(tally))
        raise
    if not options.quiet:
        say(str(tally))
    if not tally.sent and not tally.counts[FAILURE]:
        complain("dicomnet store: there is no DICOM file to send")
    return OK if tally.sent and not tally.counts[FAILURE] else FAILED


def _store(options: Namespace, tally: Tally) -> None:
    paths: Iterable[str] = options.paths
    progress = Progress()
    if is_terminal(sys.stderr) and not options.quiet and not (options.json and is_terminal(sys.stdout)):
        from ..exchange.files import find_files

        paths = list(find_files(paths))
        progress = progress_on_terminal("storing", len(paths))
    opened = open_peer(options, window=options.window, transcode=options.transcode, jobs=options.jobs)
    with opened as peer, progress:
        for result in peer.store(paths):
            outcome = outcome_of(result)
            tally.add(outcome, result.length)
            progress.advance(result.length)
            if options.json:
                print(_json_of(result, outcome))
            elif outcome == FAILURE or options.verbose or (outcome != STORED and not options.quiet):
                progress.say(_line_of(result, outcome))


def _line_of(result: StoreResult, outcome: str) -> str:
    line = f"{outcome}: {result.path}"
    if result.comment:
        line += f": {result.comment}"
    return f"{line} (status 0x{result.status:04X})" if result.status else line


def _json_of(result: StoreResult, outcome: str) -> str:
    import json

    return json.dumps(
        {
            "path": result.path,
            "outcome": outcome,
            "status": result.status,
            "sop_instance_uid": result.sop_instance_uid or None,
            "comment": result.comment or None,
            "bytes": result.length,
        }
    )
