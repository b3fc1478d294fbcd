"""`dicomnet watch`: what comes into a folder goes to a peer (C-STORE)."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from math import inf
from time import monotonic, sleep
from typing import TYPE_CHECKING

from ..errors import AssociationError, NetworkError
from ..exchange.reasons import reason
from ..values import replace
from .arguments import FAILED, OK, Parser, UsageError, count, seconds
from .pace import add_pacing_options, pacing_of
from .requestor import add_peer_options, open_peer, target_of
from .store import BEFORE, FAILURE, SKIPPED, STORED, Row, Tally, line_of, outcome_of
from .store_commitment import NOT_COMMITTED, Stored, add_commit_options, commit_stored, listening_address
from .words import complain

if TYPE_CHECKING:
    from argparse import Namespace
    from types import FrameType

    from ..blocking.peer import Peer
    from ..exchange.hot_folder import HotFolder, Identity, Verdict
    from ..exchange.journal import Journal
    from ..exchange.pacing import Pacing
    from ..exchange.results import StoreResult

# What became of a file.
MOVED, DELETED, STAYS = "moved", "deleted", "stays"
JOURNAL = ".dicomnet-watch.db"
# How long an association without work is kept, in seconds.
_IDLE = 10.0
# The longest time between two looks, in seconds, unless a look itself takes long.
_LOOK = 1.0
# A look takes no more than this part of the time.
_SHARE = 0.2


def configure(parser: Parser) -> None:
    """Tell the parser about this command."""
    parser.explain(
        "Send the DICOM files that come into a folder (C-STORE), as they come, with sub-folders, zip and tar files.\n"
        "A file is sent when it has not changed for a while, and is kept, moved or deleted when the peer has taken\n"
        "all in it, never before. A peer that is away is tried again without end. Ctrl-C and SIGTERM end it.",
        "dicomnet watch incoming/ PACS@127.0.0.1:11112\n"
        "dicomnet watch incoming/ pacs --done sent/ --failed refused/\n"
        "dicomnet watch incoming/ pacs --delete --commit\n"
        "dicomnet watch --once --json incoming/ pacs | jq 'select(.outcome == \"failed\")'",
    )
    parser.add_argument("folder", metavar="DIR", help="the folder")
    add_peer_options(parser)
    after = parser.add_argument_group("what becomes of files").add_mutually_exclusive_group()
    after.add_argument(
        "--done",
        metavar="DIR",
        help="move what the peer has taken there, under the same relative path; a number is added to a name that is"
        " taken (it is kept where it is)",
    )
    after.add_argument("--delete", action="store_true", help="delete what the peer has taken")
    parser.add_argument(
        "--failed",
        metavar="DIR",
        help="move there what the peer refuses, and what is no DICOM file (it stays)",
    )
    parser.add_argument(
        "--settle",
        type=_settling,
        default=2.0,
        metavar="SECONDS",
        help="for how long a file must not have changed (%(default)g)",
    )
    parser.add_argument(
        "--once", action="store_true", help="send what is there, and end; with status 1 if any of it failed"
    )
    parser.add_argument(
        "--journal",
        metavar="FILE",
        help=f"where it is noted what the peer has, for a restart (DIR/{JOURNAL})",
    )
    parser.add_argument("--json", action="store_true", help="write a line of JSON for each object and file")
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
    add_pacing_options(parser, "send")
    add_commit_options(parser)


def _settling(text: str) -> float:
    value = seconds(text)
    if value < 0.1:
        raise argparse.ArgumentTypeError("a file must not have changed for 0.1 s at least")
    return value


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    from ..exchange.journal import Journal

    if options.listen is not None and not options.commit:
        raise UsageError("--listen is for --commit")
    listening_address(options, "watch")
    _check_folders(options)
    target = target_of(options)
    opened = open_peer(options, target, window=options.window or target.window, transcode=options.transcode)
    with opened as peer:
        with Journal(journal_of(options), str(peer.address)) as journal:
            watch = _Watch(options, peer, journal, pacing_of(options, target))
            try:
                if options.once:
                    watch.go_on()
                else:
                    with suppress(KeyboardInterrupt), _ended_by_signals(watch):
                        watch.go_on()
            finally:
                watch.tell_tally()
    return FAILED if options.once and watch.has_failures else OK


def journal_of(options: Namespace) -> str:
    """The path of the journal."""
    return str(options.journal or os.path.join(options.folder, JOURNAL))


@contextmanager
def _ended_by_signals(watch: _Watch) -> Iterator[None]:
    """Interrupt by SIGINT and SIGTERM, and have it noted, as what is raised while an object is finalized is dropped."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        watch.is_to_end = True
        raise KeyboardInterrupt

    before = [(each, signal.signal(each, interrupt)) for each in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _check_folders(options: Namespace) -> None:
    """Raise UsageError or OSError where a folder cannot be used; make those that files are moved to."""
    here = os.path.realpath(options.folder)
    if not os.path.isdir(here):
        os.stat(here)
        raise UsageError(f"{options.folder} is not a folder")
    for option in ("done", "failed"):
        folder = getattr(options, option)
        if folder is None:
            continue
        there = os.path.realpath(folder)
        if os.path.commonpath((here, there)) == there:
            raise UsageError(f"--{option} {folder}: files would come back into the folder that is watched")
        os.makedirs(folder, exist_ok=True)


class _Watch:
    """The command while it runs."""

    def __init__(self, options: Namespace, peer: Peer, journal: Journal, pacing: Pacing | None) -> None:
        from ..exchange.hot_folder import HotFolder
        from ..exchange.journal import files_of
        from ..exchange.retrying import Retry

        self._options = options
        self._peer = peer
        self._journal = journal
        self._pacing = pacing
        self._tally = Tally()
        self._told = ""
        self._retry = Retry(inf)
        self._folder: HotFolder = HotFolder(
            options.folder,
            options.settle,
            [*filter(None, (options.done, options.failed)), *files_of(journal_of(options))],
        )
        # Of the files that are known: why they are not sent, which is told once.
        self._complaints: dict[str, str] = {}
        # What the peer has dealt with, and could not be moved or deleted yet.
        self._held: dict[str, Verdict] = {}
        self.has_failures = False
        self.is_to_end = False

    def go_on(self) -> None:
        """Look, and send, until it is to end; with `--once`, until nothing is left."""
        used_at = monotonic()
        while not self.is_to_end:
            begun = monotonic()
            self._look()
            look = monotonic() - begun
            ready = self._folder.ready()
            if ready and not self._retry.wait():
                self._send(ready)
                used_at = monotonic()
                continue
            if self._options.once and not self._folder.is_waiting:
                return
            if monotonic() - used_at > _IDLE:
                self._peer.close()
                used_at = inf
            sleep(max(min(_LOOK, self._options.settle / 2), look / _SHARE))

    def tell_tally(self) -> None:
        """Tell what was done."""
        if not self._options.quiet:
            (complain if self._options.json else print)(str(self._tally))

    def _look(self) -> None:
        try:
            gone = self._folder.look()
        except OSError as error:
            if self._options.once:
                raise
            # A share may be away for a while.
            self._say(reason(error))
            return
        if gone:
            self._journal.forget(gone)
            for path in gone:
                self._complaints.pop(path, None)
                self._held.pop(path, None)

    def _say(self, sentence: str) -> None:
        if sentence != self._told:
            self._told = sentence
            complain(f"dicomnet watch: {sentence}")

    def _send(self, ready: dict[str, Identity]) -> None:
        """Send files, and do with each what is to become of it."""
        from ..exchange.hot_folder import objects_in, verdicts
        from ..exchange.searching import has_members
        from ..exchange.storing import Supply

        for path in [each for each in ready if each in self._held]:
            held = self._held.pop(path)
            if held.identity == ready[path]:
                del ready[path]
                self._conclude(held, is_committed=True)
        # What is moved or deleted must have been taken with just its present content.
        is_strict = bool(self._options.done or self._options.delete)
        found = self._journal.missing(objects_in(list(ready)), is_strict=is_strict)
        supply = Supply(found, self._peer.transcoding, pacing=self._pacing, tell=self._say)
        results: list[StoreResult] = []
        uncommitted: set[str] = set()
        is_whole = False
        begun = self._retry.now()
        try:
            for result in self._peer.store_supply(supply):
                results.append(result)
                self._note(result)
            if self._options.commit:
                uncommitted = self._commit(results)
            is_whole = True
        except (NetworkError, AssociationError) as error:
            if self._options.once:
                raise
            self._retry.failed(reason(error), begun, self._say)
        else:
            self._retry.progressed()
        finally:
            for verdict in verdicts(ready, results):
                # Of a zip or tar file there may be more, and of what is to be committed nothing is known.
                if is_whole or not (has_members(verdict.path) or self._options.commit):
                    self._conclude(verdict, is_committed=verdict.path not in uncommitted)

    def _note(self, result: StoreResult) -> None:
        """An object was answered, or is none."""
        outcome = outcome_of(result)
        if not result.was_stored:
            self._journal.add(result, outcome)
        line = line_of(result, outcome)
        if outcome not in (FAILURE, SKIPPED) or self._is_news(result.path, line):
            self._tell(Row.of(result), line, is_quiet=outcome in (STORED, BEFORE))

    def _is_news(self, path: str, line: str) -> bool:
        """Whether this was not what was told of a file last: what is tried again and again is told once."""
        is_news = self._complaints.get(path) != line
        self._complaints[path] = line
        return is_news

    def _tell(self, row: Row, line: str, *, is_quiet: bool) -> None:
        if row.outcome in self._tally.counts:
            self._tally.add(row.outcome, row.bytes)
        if self._options.json:
            print(row.as_json())
        elif row.outcome == FAILURE or self._options.verbose or not (is_quiet or self._options.quiet):
            complain(line)

    def _commit(self, results: list[StoreResult]) -> set[str]:
        """Ask for commitment of what was stored; returns the files in which something is not committed."""
        uncommitted: set[str] = set()

        def tell(result: StoreResult, outcome: str, words: str) -> None:
            if outcome == NOT_COMMITTED:
                uncommitted.add(result.path)
            result = replace(result, status=None, comment=words)
            line = line_of(result, outcome)
            if outcome != NOT_COMMITTED or self._is_news(result.path, line):
                row = replace(Row.of(result), outcome=outcome, bytes=0)
                self._tell(row, line, is_quiet=outcome != NOT_COMMITTED)

        with closing(Stored()) as stored:
            for each in results:
                stored.add(each)
            commit_stored(self._peer, stored, self._journal, self._options, tell, "watch")
        return uncommitted

    def _conclude(self, verdict: Verdict, *, is_committed: bool) -> None:
        """Do with a file what is to become of it."""
        from ..exchange.disposal import Changed

        is_taken = verdict.is_acknowledged and is_committed
        if not is_taken:
            self.has_failures = self.has_failures or not all(each.is_skipped for each in verdict.results)
        if not is_taken and not (verdict.is_final and is_committed):
            self._folder.postpone(verdict.path)
            return
        try:
            words, comment = self._dispose(verdict, is_taken)
        except Changed:
            # It is another file now, which the next look finds.
            return
        except OSError as error:
            self.has_failures = True
            # The attempt may have renamed it and back, which changes one of its times, and nothing else.
            identity = self._folder.recognize(verdict.path, verdict.identity)
            if identity is not None:
                self._held[verdict.path] = replace(verdict, identity=identity)
            if self._folder.postpone(verdict.path):
                complain(f"dicomnet watch: {verdict.path}: it stays: {reason(error)}")
            return
        self._folder.finish(verdict.path)
        if not words:
            return
        row = Row(verdict.path, words, None, None, comment or None, verdict.identity[2])
        self._tell(row, f"{words}: {verdict.path}{comment and f': {comment}'}", is_quiet=words != STAYS)

    def _dispose(self, verdict: Verdict, is_taken: bool) -> tuple[str, str]:
        """Move or delete a file, as asked; returns what was done, and where it is now."""
        from ..exchange.disposal import delete, move

        options, path, identity = self._options, verdict.path, verdict.identity
        folder = options.done if is_taken else options.failed
        if folder is None and not (is_taken and options.delete):
            return "", ""
        if os.path.islink(path):
            return STAYS, "it is a link"
        if folder is None and verdict.others:
            # Nobody but this file has it.
            others = verdict.others
            return (
                STAYS,
                f"in it is what is not DICOM and was not sent: {', '.join(others[:3])}{', …' * (len(others) > 3)}",
            )
        if folder is None:
            delete(path, identity)
            return DELETED, ""
        return MOVED, move(path, identity, folder, os.path.relpath(path, options.folder))
