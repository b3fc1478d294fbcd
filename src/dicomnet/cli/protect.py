"""`dicomnet protect`: have the objects of a patient never deleted, take that back, or list whom it is said of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..plurals import counted
from .arguments import Parser, UsageError
from .tasks import Shown, add_archive_options, run_task
from .words import current_user, printable

if TYPE_CHECKING:
    from argparse import Namespace


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Protect the patients whose objects neither dicomnet delete nor a retention rule may delete: as for a study\n"
        "or a legal dispute. A study is protected if any of its objects says that it is of such a patient. Without\n"
        "--patient, those who are protected are listed. The exit status is 1 if what is to be taken back is not there.",
        'dicomnet protect --data /srv/dicom --patient 4711 --issuer HOSPITAL --reason "trial X"\n'
        "dicomnet protect --data /srv/dicom\n"
        "dicomnet protect --data /srv/dicom --patient 4711 --issuer HOSPITAL --remove",
    )
    parser.add_argument("--patient", metavar="ID", help="the Patient ID")
    parser.add_argument("--issuer", default="", metavar="ISSUER", help="its Issuer of Patient ID (any)")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the ledger")
    parser.add_argument("--remove", action="store_true", help="take it back")
    parser.add_argument(
        "--json", action="store_true", help="a line of JSON for each patient, and one at the end"
    )
    add_archive_options(parser)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    patient = (options.patient or "").strip()
    if not patient and (options.patient is not None or options.remove or options.reason or options.issuer):
        raise UsageError("--patient is needed, with an ID")
    parameters = {
        "patient": patient,
        "issuer": options.issuer.strip(),
        "reason": options.reason,
        "actor": current_user(),
        "remove": options.remove,
    }
    shown = Shown(
        "protecting", "patients", lambda summary: _summary(summary, patient, is_removed=options.remove), _line
    )
    return run_task(options, "protect", "protect", lambda settings: parameters, shown)


def _summary(summary: Mapping[str, Any], patient: str, *, is_removed: bool) -> str:
    if not patient:
        return f"protected: {counted(summary['protected'], 'patient')}"
    if is_removed:
        return printable(f"{patient} is not protected any more")
    said = f"{patient} is protected" if summary["has_changed"] else f"{patient} was protected already"
    # An ID that was mistyped would protect nobody.
    return printable(f"{said}; studies of that ID here: {summary['studies']}")


def _line(fields: Mapping[str, Any]) -> str:
    issuer = f" of {fields['issuer']}" if fields["issuer"] else ""
    why = f": {fields['reason']}" if fields["reason"] else ""
    return printable(f"{fields['patient_id']}{issuer}, since {fields['since']} by {fields['actor']}{why}")
