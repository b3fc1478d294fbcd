"""`dicomnet commit`: ask a peer to commit itself to keep objects (Storage Commitment Push Model, PS3.4 Annex J)."""

from __future__ import annotations

import queue
import sys
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..errors import ServiceRefusal
from ..values import frozen
from .arguments import FAILED, OK, Parser, UsageError, port, seconds
from .listening import LOOPBACK, add_bind_options, bind_failure, check_bind
from .requestor import add_peer_options, noticing_tls, target_of
from .words import complain, printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Iterator

    from pydicom.dataset import Dataset

    from ..exchange.results import StoreResult
    from ..peers.target import Target
    from ..pynetdicom.events import Event

PUSH_MODEL = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
VERIFICATION = "1.2.840.10008.1.1"
REQUEST_COMMITMENT = 1
NO_SUCH_EVENT_TYPE, INVALID_ARGUMENT, NO_SUCH_SOP_CLASS = 0x0113, 0x0115, 0x0118
# Of a report: all are committed, or failures exist (PS3.4 section J.3.3).
EVENT_TYPES = (1, 2)

# Failure Reason (0008,1197), PS3.4 section J.3.3.1.2 and PS3.3 section C.14.1.1.
REASONS = {
    0x0110: "processing failed",
    0x0112: "the peer does not have the object",
    0x0119: "the peer has it with another SOP class",
    0x0122: "the peer does not support its SOP class",
    0x0131: "the transaction UID is in use",
    0x0213: "the peer has no room for it",
}
# How long to wait for the release of an association on which a report came, in seconds.
_RELEASE_SECONDS = 5.0


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


@frozen
class Report:
    """A peer's report on a storage commitment transaction.

    Parameters
    ----------
    committed
        SOP Class UID by SOP Instance UID of the objects that the peer keeps; empty if it gives none.
    failed
        Failure Reason by SOP Instance UID for the others; None if the peer gives no reason.
    """

    committed: dict[str, str]
    failed: dict[str, int | None]

    @classmethod
    def read(cls, dataset: Dataset) -> Report:
        """Read a report from the Event Information of an N-EVENT-REPORT."""
        return cls(
            {
                str(item.get("ReferencedSOPInstanceUID")): str(item.get("ReferencedSOPClassUID") or "")
                for item in _items(dataset, "ReferencedSOPSequence")
            },
            {
                str(item.get("ReferencedSOPInstanceUID")): item.get("FailureReason")
                for item in _items(dataset, "FailedSOPSequence")
            },
        )


# What arrives while we wait: a report, why one was refused, or None when the association has ended.
Inbox = queue.SimpleQueue[Report | str | None]


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
    report = _ask(target_of(options), wanted, options)
    if report is None:
        return FAILED
    outcomes = [_write(each, report, options) for each in wanted]
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
    for each in scan(find_objects(options.paths)):
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


def _ask(target: Target, wanted: list[Wanted], options: Namespace) -> Report | None:
    """Request commitment and wait for the report; None if none came, after a complaint."""
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    from ..exchange.results import describe_status
    from ..pynetdicom import events as evt
    from ..pynetdicom.connect import connect
    from ..values import replace

    information = Dataset()
    information.TransactionUID = generate_uid(None)
    information.ReferencedSOPSequence = [_reference(each) for each in wanted]
    inbox: Inbox = queue.SimpleQueue()
    handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, _receive_report, [information.TransactionUID, inbox])]
    # An association that waits for its report is not idle.
    timeouts = replace(target.timeouts, idle=None)
    with _listening(options, target.calling, handlers), noticing_tls(target):
        with connect(
            str(target.address),
            [PUSH_MODEL],
            calling=target.calling,
            tls=target.tls,
            timeouts=timeouts,
            handlers=[*handlers, (evt.EVT_CONN_CLOSE, lambda event: inbox.put(None))],
        ) as assoc:
            begin = monotonic()
            status, _ = assoc.send_n_action(information, REQUEST_COMMITMENT, PUSH_MODEL, PUSH_MODEL_INSTANCE)
            if status.Status != 0:
                comment = status.get("ErrorComment") or describe_status(status.Status, "Storage Commitment")
                raise ServiceRefusal(status.Status, comment)
            return _wait(inbox, begin, options)


def _wait(inbox: Inbox, begin: float, options: Namespace) -> Report | None:
    what = "report"
    while True:
        left = max(0.0, begin + options.wait - monotonic()) if options.wait else None
        try:
            report = inbox.get(timeout=left)
        except queue.Empty:
            advice = (
                ""
                if options.listen is not None
                else "; many peers report on another association: use --listen to receive reports there"
            )
            complain(f"dicomnet commit: no {what} came within {options.wait:g} s{advice}")
            return None
        if isinstance(report, Report):
            return report
        if report is not None:
            # The peer may report again.
            complain(f"dicomnet commit: a report of the peer is refused: {report}")
            what = "report that can be used"
        elif options.listen is None:
            complain(
                f"dicomnet commit: the peer ended the association without a {what}; if it reports on another"
                " association, use --listen"
            )
            return None


@contextmanager
def _listening(options: Namespace, title: str, handlers: list[Any]) -> Iterator[None]:
    """Under our AE title, listen for reports on associations that the peer opens, if ``--listen`` is given."""
    if options.listen is None:
        yield
        return
    from ..pynetdicom.ae import AE

    ae = AE(title)
    ae.add_supported_context(VERIFICATION)
    ae.add_supported_context(PUSH_MODEL, scu_role=False, scp_role=True)
    try:
        server = ae.start_server((options.bind, options.listen), block=False, evt_handlers=handlers)
    except OSError as error:
        raise OSError(bind_failure(error, options.bind, options.listen)) from error
    assert server is not None
    try:
        yield
        # A peer that releases its association has received our response to the report.
        for assoc in server.active_associations:
            assoc.join(_RELEASE_SECONDS)
    finally:
        server.shutdown()


def _receive_report(event: Event, transaction: str, inbox: Inbox) -> tuple[int, None]:
    """Handle an N-EVENT-REPORT."""
    sop_class = str(event.request.AffectedSOPClassUID or "")
    if sop_class.strip(" ") != PUSH_MODEL:
        # Another service may report, too, and its report says nothing of what is kept.
        inbox.put(
            f"its SOP class is {ascii(sop_class)[1:-1] or 'missing'}, and not that of storage commitment"
        )
        return NO_SUCH_SOP_CLASS, None
    try:
        information = event.event_information
    except ServiceRefusal as error:
        inbox.put(f"it is cut off or damaged: {error.comment}")
        raise
    if information.get("TransactionUID") != transaction:
        return INVALID_ARGUMENT, None
    if event.event_type not in EVENT_TYPES:
        inbox.put(f"a report of storage commitment has no Event Type {event.event_type}")
        return NO_SUCH_EVENT_TYPE, None
    inbox.put(Report.read(information))
    return 0x0000, None


def _reference(wanted: Wanted) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = wanted.sop_class_uid
    item.ReferencedSOPInstanceUID = wanted.sop_instance_uid
    return item


def _items(dataset: Dataset, keyword: str) -> Iterable[Dataset]:
    items: Iterable[Dataset] = dataset.get(keyword) or ()
    return items


def _write(wanted: Wanted, report: Report, options: Namespace) -> bool:
    """Write the outcome for an object; returns whether it is committed."""
    sop_class = report.committed.get(wanted.sop_instance_uid)
    is_same = sop_class in ("", wanted.sop_class_uid)
    is_committed = is_same and wanted.sop_instance_uid not in report.failed
    reason = report.failed.get(wanted.sop_instance_uid)
    comment = ""
    if reason is not None:
        comment = f"{REASONS.get(reason, 'a reason that the standard does not define')} (0x{reason:04X})"
    elif wanted.sop_instance_uid in report.failed:
        comment = "the peer gives no reason"
    elif sop_class is None:
        comment = "the report does not name it"
    elif not is_same:
        comment = f"{REASONS[0x0119]}, {ascii(sop_class)[1:-1]}"
    outcome = "committed" if is_committed else "failed"
    if options.json:
        _write_line(wanted, outcome, reason, comment)
    elif not (is_committed and options.quiet):
        name = printable(wanted.path or wanted.sop_instance_uid)
        print(f"{outcome}: {name}" + (f": {comment}" if comment else ""))
    return is_committed


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
