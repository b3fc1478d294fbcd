"""`dicomnet undelete`: list what is in the trash of an archive, bring it back, or remove it for good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..plurals import counted
from .arguments import Parser, UsageError
from .selecting import listed
from .tasks import Shown, add_archive_options, run_task, uid
from .words import current_user, printable

if TYPE_CHECKING:
    from argparse import Namespace


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Bring back what dicomnet delete has deleted, as long as its files are in the trash: they are stored again,\n"
        "byte for byte, as if they had just been received, whether or not a node runs with the archive. Or have a\n"
        "look at what is there, or remove it for good. The exit status is 1 if anything could not be done, or if\n"
        "there was nothing to do it with.",
        "dicomnet undelete --data /srv/dicom --list\n"
        "dicomnet undelete --data /srv/dicom --last\n"
        "dicomnet undelete --data /srv/dicom 1.2.840.113619.2.1",
    )
    parser.add_argument(
        "uids_given",
        nargs="*",
        type=uid,
        metavar="UID",
        help="what has this as study, series or SOP instance UID",
    )
    group = parser.add_argument_group("what to bring back")
    group.add_argument("--uids", metavar="FILE", help="such UIDs, one a line; - is standard input")
    group.add_argument("--run", metavar="RUN", help="what one deletion put there, as --list shows it")
    group.add_argument("--last", action="store_true", help="what the last dicomnet delete put there")
    group.add_argument("--all", action="store_true", help="everything")
    group = parser.add_argument_group("what to do with it instead")
    group.add_argument("--list", action="store_true", help="show what is there, and change nothing")
    group.add_argument("--drop", action="store_true", help="remove it from the trash for good")
    parser.add_argument(
        "--json", action="store_true", help="a line of JSON for each study, and one at the end"
    )
    add_archive_options(parser)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    uids = [*options.uids_given, *(listed(options.uids) if options.uids is not None else ())]
    count = bool(uids) + bool(options.run) + options.last + options.all
    if count > 1 or not (count or options.list):
        raise UsageError(
            "say what to bring back: UIDs, --run, --last or --all, and only one of these; or --list"
        )
    if options.list and options.drop:
        raise UsageError("--list and --drop do not go together")
    parameters = {
        "actor": current_user(),
        "uids": uids,
        "run": options.run or "",
        "last": options.last,
        "drop": options.drop,
        "dry_run": options.list,
    }
    shown = Shown(
        "bringing back",
        "objects",
        _summary,
        lambda fields: None if options.quiet and fields["outcome"] != "failed" else _line(fields),
        has_failed=lambda summary: summary["failed"] or not (summary["objects"] or options.list),
    )
    return run_task(options, "undelete", "undelete", lambda settings: parameters, shown)


def _summary(summary: Mapping[str, Any]) -> str:
    failed = f"; {summary['failed']} failed" if summary["failed"] else ""
    where = (
        "in the trash" if summary["dry_run"] else "removed for good" if summary["drop"] else "brought back"
    )
    return (
        f"{counted(summary['studies'], 'study', 'studies')}, {counted(summary['objects'], 'object')}"
        f" ({summary['bytes'] / 1e6:.1f} MB)"
        f" {where}{failed}"
    )


def _line(fields: Mapping[str, Any]) -> str:
    outcome = fields["outcome"].replace("_", " ")
    if "study_instance_uid" not in fields:
        return f"{outcome}: {fields['sop_instance_uid']}: {fields['reason']}"
    by = (
        f"by {fields['actor']}"
        if fields["actor"]
        else f"by the rule {fields['rule']}"
        if fields["rule"]
        else ""
    )
    said = [
        fields["study_instance_uid"],
        f"patient {fields['patient_id'] or 'without an ID'}",
        f"{counted(fields['objects'], 'object')}, {fields['bytes'] / 1e6:.1f} MB",
        f"deleted {fields['deleted_at']} {by}".rstrip(),
        f"kept until {fields['kept_until'] or 'somebody takes it away'}",
        f"run {fields['run']}",
    ]
    why = f": {fields['reason']}" if fields["reason"] else ""
    return printable(f"{outcome}: {', '.join(said)}{why}")
