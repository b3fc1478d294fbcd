"""`dicomnet audit`: list the audit trail of an archive."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from .arguments import OK, Parser
from .settings import read_settings
from .tasks import add_archive_options, guarded, uid
from .words import current_user, printable

if TYPE_CHECKING:
    from argparse import Namespace

    from ..archive.audit import AuditEntry


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "List who asked for, brought and fetched what, the newest first, as the node has recorded it where the\n"
        "setting audit.enabled says so; it may run meanwhile. All options that are given must fit.",
        "dicomnet audit --data /srv/dicom --day 2026-11-29\n"
        "dicomnet audit --data /srv/dicom --patient 4711 --json\n"
        "dicomnet audit --data /srv/dicom --user CT1 --limit 20",
    )
    parser.add_argument("--day", type=_day, metavar="DATE", help="what went on that day, such as 2026-11-29")
    parser.add_argument("--user", default="", metavar="NAME", help="what this user or AE title did")
    parser.add_argument("--patient", default="", metavar="ID", help="what was done with this Patient ID")
    parser.add_argument("--study", type=uid, metavar="UID", help="what was done with this study")
    parser.add_argument("--limit", type=_count, metavar="N", help="no more entries than that")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each entry")
    add_archive_options(parser)


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").astimezone()
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{text!r} is not a day such as 2026-11-29") from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""

    def show() -> int:
        from itertools import islice
        from pathlib import Path

        from ..archive.audit import COMMAND, AuditEvent, EventKind
        from ..archive.auditing import record_beside
        from ..archive.database import is_file_url
        from ..archive.ledger.audits import AuditFilter
        from ..archive.ledger.ledger import Ledger, ledger_url

        settings = read_settings(options)
        folder = settings["storage.folder"]
        if not (folder / "lock").exists():
            raise FileNotFoundError(f"{folder} is not the folder of an archive: it has no file named lock")
        url = ledger_url(folder, settings["storage.database"])
        if is_file_url(url) and not Path(url.database or "").exists():
            # Nothing was ever recorded.
            return OK
        day: datetime | None = options.day
        until = None if day is None else (day.replace(tzinfo=None) + timedelta(days=1)).astimezone()
        wanted = AuditFilter(day, until, options.user, options.patient, options.study or "")
        event = AuditEvent(
            EventKind.AUDIT_LOG_USED,
            user=current_user(),
            way=COMMAND,
            patient=options.patient,
            study=options.study or "",
            detail="dicomnet audit",
        )
        record_beside(folder, settings["storage.database"], [(event, 1)])
        with Ledger(url) as ledger:
            for _, entry in islice(ledger.audits.find(wanted), options.limit):
                fields = _fields(entry)
                print(json.dumps(fields) if options.json else _line(fields))
        return OK

    return guarded("audit", show)


def _fields(entry: AuditEntry) -> dict[str, Any]:
    event = entry.event
    return {
        "begun_at": entry.begun_at.astimezone().isoformat(timespec="milliseconds"),
        "last_at": entry.last_at.astimezone().isoformat(timespec="milliseconds"),
        "kind": event.kind.word,
        "code": event.kind.code,
        "action": event.action.value or None,
        "outcome": int(event.outcome),
        "count": entry.count,
        "user": event.user or None,
        "ae_title": event.ae_title or None,
        "address": event.address or None,
        "way": event.way or None,
        "study_instance_uid": event.study or None,
        "patient_id": event.patient or None,
        "detail": event.detail or None,
        "other": event.other or None,
    }


def _line(fields: dict[str, Any]) -> str:
    what = " ".join(filter(None, (fields["kind"], fields["action"])))
    who = " ".join(filter(None, (fields["user"], fields["ae_title"], fields["address"])))
    of = [f"study {fields['study_instance_uid']}"] if fields["study_instance_uid"] else []
    of += [f"patient {fields['patient_id']}"] if fields["patient_id"] else []
    of += [f"with {fields['other']}"] if fields["other"] else []
    failed = [f"outcome {fields['outcome']}"] if fields["outcome"] else []
    said = filter(None, (what, who, *of, f"{fields['count']} times", *failed, fields["detail"]))
    return printable(f"{fields['begun_at']} {', '.join(said)}")
