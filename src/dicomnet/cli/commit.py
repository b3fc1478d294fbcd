"""`dicomnet commit`: ask a peer to commit itself to keep objects (Storage Commitment Push Model, PS3.4 Annex J)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..errors import AssociationClosed, DeadlineExceeded, DicomnetError
from ..values import frozen
from .arguments import FAILED, OK, Parser, UsageError, port, seconds
from .listening import LOOPBACK, add_bind_options, bind_failure, check_bind
from .requestor import add_peer_options, open_peer
from .words import complain, printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Iterator

    from ..exchange.results import StoreResult
    from ..peers.commitment import Commitment, Inbox


@frozen
class Wanted:
    """An object that is to be committed.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid
        UIDs.
    path
        Path of its file; empty if it was named by its UIDs.
    """

    sop_class_uid: str
    sop_instance_uid: str
    path: str = ""


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Ask a peer to commit itself to keep objects (Storage Commitment), and wait for its report: on the same\n"
        "association, or with --listen on one that the peer opens. Only the headers of files are read. The exit\n"
        "status is 1 if any object is not committed, or no report came.",
        "dicomnet commit PACS@127.0.0.1:11112 study/\n"
        "dicomnet commit PACS@10.0.0.5:104 --listen 11112 --bind 10.0.0.7 --allow-public --wait 600 study/\n"
        "dicomnet commit --json PACS@127.0.0.1:11112 --uid-file sent.txt | jq 'select(.outcome == \"failed\")'",
    )
    add_peer_options(parser)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="a file, or a folder")
    parser.add_argument(
        "--uid-file",
        action="append",
        default=[],
        metavar="FILE",
        help="a text file with a line for each object: SOP Class UID and SOP Instance UID; - is standard input",
    )
    parser.add_argument(
        "--wait",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait for the report (%(default)g); 0 is without end",
    )
    parser.add_argument("--json", action="store_true", help="write a line of JSON for each object")
    group = parser.add_argument_group("reports on another association")
    group.add_argument(
        "--listen",
        type=port,
        metavar="PORT",
        help="listen under our AE title, which the peer must know together with our host and this port",
    )
    add_bind_options(group, "send reports")


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    options.bind = LOOPBACK if options.bind is None else options.bind
    if options.listen is not None:
        check_bind("commit", options.bind, options.allow_public, "send reports")
    unreadable: list[StoreResult] = []
    by_uid: dict[str, Wanted] = {}
    for each in _wanted(options, unreadable):
        by_uid.setdefault(each.sop_instance_uid, each)
    wanted = list(by_uid.values())
    if options.json:
        for result in unreadable:
            _write_line(Wanted("", result.sop_instance_uid, result.path), "failed", None, result.comment)
    if not wanted:
        complain("dicomnet commit: there are no objects to commit")
        return FAILED
    commitments = _ask(wanted, options)
    if commitments is None:
        return FAILED
    outcomes = [_write(each, found, options) for each, found in zip(wanted, commitments, strict=True)]
    if not options.quiet:
        say = complain if options.json else print
        say(f"committed {sum(outcomes)}, failed {len(wanted) - sum(outcomes) + len(unreadable)}")
    return OK if all(outcomes) and not unreadable else FAILED


def _wanted(options: Namespace, unreadable: list[StoreResult]) -> Iterator[Wanted]:
    from ..drivers.files import StoredObject
    from ..exchange.searching import find_objects, scan

    if not options.paths and not options.uid_file:
        raise UsageError("no objects are given; name files or folders, or use --uid-file")
    for name in options.uid_file:
        if name == "-":
            yield from _listed(sys.stdin, "standard input")
        else:
            with open(name, encoding="utf-8", errors="replace") as lines:
                yield from _listed(lines, name)
    for each in scan(find_objects(options.paths, keeps_missing=True)):
        if isinstance(each, StoredObject):
            yield Wanted(each.header.sop_class_uid, each.header.sop_instance_uid, str(each.file))
        elif not (each.is_skipped and options.quiet):
            complain(f"{'skipped' if each.is_skipped else 'failed'}: {each.name}: {each.comment}")
        if not isinstance(each, StoredObject) and not each.is_skipped:
            unreadable.append(each)


def _listed(lines: Iterable[str], name: str) -> Iterator[Wanted]:
    from ..encoding.identity import is_uid

    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].replace(",", " ").split()
        if words and (len(words) != 2 or not all(map(is_uid, words))):
            raise UsageError(
                f"{name}: line {number} does not consist of a SOP Class UID and a SOP Instance UID"
            )
        if words:
            yield Wanted(*words)


def _ask(wanted: list[Wanted], options: Namespace) -> list[Commitment] | None:
    """Request commitment and wait for the reports; None if one did not come, after a complaint."""
    from ..peers.commitment import Inbox

    inbox = Inbox()
    listen = None if options.listen is None else (options.bind, options.listen)
    try:
        with open_peer(options) as peer:
            references = [(each.sop_class_uid, each.sop_instance_uid) for each in wanted]
            return list(peer.commit_with(inbox, references, wait=options.wait, listen=listen))
    except (AssociationClosed, DeadlineExceeded) as error:
        words = no_report(error, inbox, options.wait, "--listen" if listen is None else "")
        if words is None:
            raise
    except OSError as error:
        if listen is None or isinstance(error, DicomnetError):
            raise
        raise OSError(bind_failure(error, *listen)) from error
    for each in inbox.refused:
        # The peer may have reported again.
        complain(f"dicomnet commit: a report of the peer is refused: {each}")
    complain(f"dicomnet commit: {words}")
    return None


def no_report(
    error: AssociationClosed | DeadlineExceeded, inbox: Inbox, wait: float, option: str
) -> str | None:
    """Why there is no report, in words; None for an error that is about something else.

    Parameters
    ----------
    option
        The option that has reports come on another association; empty where it is used.
    """
    what = "report that can be used" if inbox.refused else "report"
    if isinstance(error, AssociationClosed):
        advice = f"; if it reports on another association, use {option}" if option else ""
        return f"the peer ended the association without a {what}{advice}"
    if error.stage != "report":
        return None
    advice = (
        f"; many peers report on another association: use {option} to receive reports there" if option else ""
    )
    return f"no {what} came within {wait:g} s{advice}"


def _write(wanted: Wanted, found: Commitment, options: Namespace) -> bool:
    """Write the outcome for an object; returns whether it is committed."""
    outcome = "committed" if found.is_committed else "failed"
    if options.json:
        _write_line(wanted, outcome, found.reason, found.comment)
    elif not (found.is_committed and options.quiet):
        name = printable(wanted.path or wanted.sop_instance_uid)
        print(f"{outcome}: {name}" + (f": {found.comment}" if found.comment else ""))
    return found.is_committed


def _write_line(wanted: Wanted, outcome: str, reason: int | None, comment: str) -> None:
    import json

    line = {
        "path": wanted.path or None,
        "sop_class_uid": wanted.sop_class_uid or None,
        "sop_instance_uid": wanted.sop_instance_uid or None,
        "outcome": outcome,
        "reason": reason,
        "comment": comment or None,
    }
    print(json.dumps(line))
