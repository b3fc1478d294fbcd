"""`dicomnet quarantine`: list, compare, release and drop the objects that an archive keeps in quarantine."""

from __future__ import annotations

import hashlib
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import ServiceRefusal
from .arguments import FAILED, OK, Parser, UsageError
from .matches import plain
from .settings import read_settings
from .tasks import add_archive_options
from .terminal import write_table
from .words import complain, complain_of_missing, current_user, is_terminal, printable

if TYPE_CHECKING:
    from argparse import Namespace

    from ..archive.entries import Quarantined
    from ..archive.quarantine import Quarantine
    from ..settings.values import Settings

ACTIONS = ("list", "show", "release", "drop")
# Of the digest, enough to tell one object from another.
_SHOWN_DIGITS = 12
# A longer value, in bytes, is compared by its digest.
_LONG = 1 << 16
_SHOWN_LENGTH = 60


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Objects that an archive node does not store, since another object has their SOP Instance UID:\n"
        "list them (the newest first), show in which attributes one differs from the object that is stored,\n"
        "release one (it becomes the stored object, and the other one is kept as a version; the node must not\n"
        "run), or drop one (its file is deleted). OBJECT is the beginning of its ID, or its SOP Instance UID if\n"
        "one alone has it.",
        "dicomnet quarantine list --data /srv/dicom\n"
        "dicomnet quarantine show 3f9a2c --data /srv/dicom\n"
        "dicomnet quarantine release 3f9a2c --data /srv/dicom",
    )
    parser.add_argument("action", choices=ACTIONS, metavar="ACTION", help="list, show, release or drop")
    parser.add_argument(
        "object", nargs="?", default="", metavar="OBJECT", help="which one; with list, a SOP Instance UID"
    )
    add_archive_options(parser)
    parser.add_argument("--json", action="store_true", help="lines of JSON on a terminal, too")


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    if options.action != "list" and not options.object:
        raise UsageError(f"quarantine {options.action} needs OBJECT, an ID that quarantine list shows")
    try:
        from ..archive.quarantine import Quarantine

        settings = read_settings(options)
    except ModuleNotFoundError as error:
        complain_of_missing("quarantine", error)
        return FAILED
    quarantine = Quarantine(settings["storage.folder"], settings["storage.database"])
    try:
        if options.action == "list":
            _list(quarantine, options)
            return OK
        found = _select(quarantine, options.object)
        if found is None:
            return FAILED
        _ACTIONS[options.action](quarantine, found, options)
        _record(settings, found, options.action)
        return OK
    except ServiceRefusal as refusal:
        complain(f"dicomnet quarantine: {options.action} failed: {refusal.comment}")
        return FAILED
    finally:
        quarantine.close()


def _record(settings: Settings, found: Quarantined, action: str) -> None:
    """The audit trail says what became of an object, or that somebody looked at it."""
    from ..archive.audit import COMMAND, AuditEvent, EventAction, EventKind
    from ..archive.auditing import record_beside

    done = {"release": EventAction.REPLACED, "drop": EventAction.FOR_GOOD}.get(action, EventAction.NONE)
    event = AuditEvent(
        EventKind.INSTANCES_ACCESSED,
        done,
        user=current_user(),
        way=COMMAND,
        study=found.study,
        detail=f"quarantine {action}, {found.instance}",
    )
    record_beside(settings["storage.folder"], settings["storage.database"], [(event, 1)])


def _select(quarantine: Quarantine, word: str) -> Quarantined | None:
    """The one object that is meant; None if there is none, or several, after a complaint."""
    if "." in word:
        found = quarantine.objects(word)
    else:
        found = [each for each in quarantine.objects() if each.digest.startswith(word.lower())]
    if len(found) == 1:
        return found[0]
    how = "nothing in quarantine is" if not found else f"{len(found)} objects in quarantine are"
    complain(f"dicomnet quarantine: {how} {word}")
    return None


def _list(quarantine: Quarantine, options: Namespace) -> None:
    rows = [_row(quarantine, each) for each in quarantine.objects(options.object)]
    if options.json or not is_terminal(sys.stdout):
        _write_lines(rows)
        return
    if rows:
        headings = {
            "id": "ID",
            "arrived_at": "Arrived",
            "reason": "Reason",
            "ae_title": "AE title",
            "address": "Address",
            "size": "Bytes",
            "sop_instance_uid": "SOP Instance UID",
        }
        cells = [[printable(str(row[name] or "")) for name in headings] for row in rows]
        for cell in cells:
            cell[0] = cell[0][:_SHOWN_DIGITS]
        write_table(list(headings.values()), cells)
    if not options.quiet:
        complain(f"{len(rows)} object{'' if len(rows) == 1 else 's'} in quarantine")


def _row(quarantine: Quarantine, found: Quarantined) -> dict[str, object]:
    return {
        "id": found.digest,
        "sop_instance_uid": found.instance,
        "study_instance_uid": found.study or None,
        "series_instance_uid": found.series or None,
        "reason": found.reason or "unknown",
        "status": found.status,
        "ae_title": found.source.ae_title or None,
        "address": found.source.address or None,
        "way": found.source.way or None,
        "arrived_at": _time(found.arrived_at),
        "arrivals": found.arrivals,
        "last_at": _time(found.last_at),
        "size": found.size,
        "path": quarantine.storage.where_aside(found.location),
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone().isoformat(timespec="seconds")


def _show(quarantine: Quarantine, found: Quarantined, options: Namespace) -> None:
    name = quarantine.kept(found)
    here = _content(quarantine.storage.open_aside(found.location))
    there = {} if name is None else _content(quarantine.storage.open(name))
    if name is None:
        complain("no object is stored under this SOP Instance UID")
    rows = [
        {"attribute": each, "stored": there.get(each), "quarantined": here.get(each)}
        for each in dict.fromkeys([*there, *here])
        if (each in there, there.get(each)) != (each in here, here.get(each))
    ]
    if options.json or not is_terminal(sys.stdout):
        _write_lines(rows)
        return
    if rows:
        cells = [[printable(_cut(each)) for each in row.values()] for row in rows]
        write_table(["Attribute", "Stored", "In quarantine"], cells)
    if not options.quiet:
        complain(f"{len(rows)} attribute{'' if len(rows) == 1 else 's'} differ{'s' * (len(rows) == 1)}")


def _content(file: BinaryIO) -> dict[str, object]:
    """The attributes of the object in a file by keyword, of long ones their length and digest; the file is closed."""
    from pydicom import dcmread
    from pydicom.datadict import keyword_for_tag

    with file:
        data_set: Any = dcmread(file, force=True)
    found: dict[str, object] = {"TransferSyntaxUID": str(data_set.file_meta.get("TransferSyntaxUID", ""))}
    for tag in list(data_set.keys()):
        value = data_set.get_item(tag).value
        if isinstance(value, bytes) and len(value) > _LONG:
            digest = hashlib.sha256(value).hexdigest()
            found[keyword_for_tag(tag) or str(tag)] = f"{len(value)} bytes, SHA-256 {digest}"
            del data_set[tag]
    return found | plain(data_set)


def _cut(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "…"


def _release(quarantine: Quarantine, found: Quarantined, options: Namespace) -> None:
    quarantine.release(found)
    _report("released", found, options)


def _drop(quarantine: Quarantine, found: Quarantined, options: Namespace) -> None:
    quarantine.drop(found)
    _report("dropped", found, options)


def _report(outcome: str, found: Quarantined, options: Namespace) -> None:
    if options.json:
        _write_lines([{"id": found.digest, "sop_instance_uid": found.instance, "outcome": outcome}])
    elif not options.quiet:
        print(f"{outcome}: {found.digest[:_SHOWN_DIGITS]} {printable(found.instance)}")


def _write_lines(rows: list[dict[str, object]]) -> None:
    import json

    for row in rows:
        print(json.dumps(row))


_ACTIONS = {"show": _show, "release": _release, "drop": _drop}
