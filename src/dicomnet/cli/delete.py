"""`dicomnet delete`: delete objects of an archive, after a look at what would go."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentTypeError
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..plurals import counted
from ..settings.kinds import DURATION, Duration, Text
from .arguments import FAILED, OK, Parser, UsageError
from .selecting import add_query_argument, add_selection_options, selection
from .settings import read_settings
from .tasks import Shown, add_archive_options, guarded, perform_task, reporter_of
from .words import complain, current_user, is_terminal, printable

if TYPE_CHECKING:
    from argparse import Namespace

    from ..settings.values import Settings

_FOUND, _FAILURES = "found", ("protected", "failed", "missing")


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Delete objects of an archive, whether or not a node runs with it: those of the studies that match a query\n"
        "(of the series or objects, if it has keys that only these have). What would go is shown, and on a terminal\n"
        "asked for. What is deleted is recorded in the ledger, with who did it, and why; its files are kept in the\n"
        "trash for a while, from which dicomnet undelete brings them back. Objects of protected patients stay. The\n"
        "exit status is 1 if anything that was meant could not be deleted, or if there was nothing.",
        "dicomnet delete --data /srv/dicom AccessionNumber=A4711 --dry-run\n"
        'dicomnet delete --data /srv/dicom 1.2.840.113619.2.1 --reason "wrong patient"\n'
        "dicomnet delete --data /srv/dicom -k StudyDate=-20101231 --yes --keep 0",
    )
    add_query_argument(parser)
    add_selection_options(parser.add_argument_group("what to delete"))
    group = parser.add_argument_group("how to delete")
    group.add_argument("--dry-run", action="store_true", help="show what would go, and change nothing")
    group.add_argument(
        "--yes", action="store_true", help="do not ask; where there is no terminal, nobody can be"
    )
    group.add_argument("--reason", default="", metavar="TEXT", help="why, for the ledger")
    group.add_argument(
        "--keep",
        type=duration,
        metavar="TIME",
        help="how long the files stay in the trash, such as 30 days; 0 is not at all (deletion.keep)",
    )
    parser.add_argument(
        "--json", action="store_true", help="a line of JSON for each study, and one at the end"
    )
    add_archive_options(parser)


def duration(text: str) -> Duration:
    """A time, in seconds."""
    try:
        found: Duration = DURATION.check(Text(text))
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return found


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    asked = selection(options, "delete")
    can_ask = is_terminal(sys.stdin) and is_terminal(sys.stderr) and not options.json
    if not (options.yes or options.dry_run or can_ask):
        raise UsageError("nobody can be asked here: say --yes, or --dry-run to see what would go")
    return guarded("delete", lambda: _delete(options, asked))


def _delete(options: Namespace, asked: Mapping[str, Any]) -> int:
    settings = read_settings(options)
    keep = settings["deletion.keep"] if options.keep is None else options.keep
    parameters = {**asked, "actor": current_user(), "reason": options.reason, "keep": keep}
    if options.yes and not options.dry_run:
        return _end(options, _perform(options, settings, parameters))
    seen = _perform(options, settings, parameters | {"dry_run": True})
    if options.dry_run or not seen["objects"]:
        return _end(options, seen)
    complain(f"{_amount(seen)} would be deleted{_kept_for(keep)}")
    if not confirmed("Delete them? [y/N] "):
        complain("dicomnet delete: nothing was deleted")
        return FAILED
    return _end(options, _perform(options, settings, parameters | {"expected": seen["fingerprint"]}))


def _perform(options: Namespace, settings: Settings, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    shown = Shown("deleting", "studies", _summary, lambda fields: _line(fields, is_quiet=options.quiet))
    reporter = reporter_of(options, shown)
    with reporter.display:
        return perform_task(settings, "delete", parameters, reporter)


def _end(options: Namespace, summary: Mapping[str, Any]) -> int:
    if options.json:
        print(json.dumps({"summary": dict(summary)}))
    elif not options.quiet:
        print(_summary(summary))
    return OK if summary["objects"] and not any(summary[each] for each in _FAILURES) else FAILED


def _summary(summary: Mapping[str, Any]) -> str:
    more = [f"{summary[each]} {each}" for each in _FAILURES if summary[each]]
    what = f"{_amount(summary)} {'would be deleted' if summary['dry_run'] else 'deleted'}"
    return "; ".join([what, ", ".join(more)] if more else [what])


def _amount(summary: Mapping[str, Any]) -> str:
    return (
        f"{counted(summary['studies'], 'study', 'studies')}, {summary['series']} series,"
        f" {counted(summary['objects'], 'object')}"
        f" ({summary['bytes'] / 1e6:.1f} MB)"
    )


def _kept_for(keep: Duration) -> str:
    return f"; their files stay in the trash for {keep}" if keep else " for good"


def _line(fields: Mapping[str, Any], *, is_quiet: bool) -> str | None:
    outcome = fields["outcome"]
    if is_quiet and outcome not in _FAILURES:
        return None
    if "study_instance_uid" not in fields:
        return f"{outcome}: {fields.get('uid') or fields['sop_instance_uid']}: {fields['reason']}"
    whole = counted(fields["of"], "object")
    what = whole if fields["of"] == fields["objects"] else f"{fields['objects']} of {whole}"
    said = [fields["study_instance_uid"], f"patient {fields['patient_id'] or 'without an ID'}"]
    said += [fields["study_date"]] if fields["study_date"] else []
    said.append(f"{what} in {fields['series']} series, {fields['bytes'] / 1e6:.1f} MB")
    why = f": {fields['reason']}" if "reason" in fields else ""
    return printable(f"{'would go' if outcome == _FOUND else outcome}: {', '.join(said)}{why}")


def confirmed(question: str) -> bool:
    """Ask on the terminal; whether the answer is yes."""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
