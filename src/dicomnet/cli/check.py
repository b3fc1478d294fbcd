"""`dicomnet check`: compare the files of an archive with its index and their digests, and set right what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..plurals import counted
from .arguments import Parser
from .tasks import Shown, add_archive_options, add_rate_option, run_task, uid

if TYPE_CHECKING:
    from argparse import Namespace

# What is said at the end of a line, where something was to be set right.
_OUTCOMES = {
    "left": "left as it is",
    "repaired": "repaired",
    "quarantined": "moved to quarantine",
    "lost": "LOST",
}


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Compare the files of an archive with its index, each byte of them with the digest of what was received,\n"
        "and the ledger with the files. The node that runs with the archive does it or, if none does, this command;\n"
        "objects that arrive meanwhile are no finding. Each finding is a line; the exit status is 1 if there is one,\n"
        "whether or not it was repaired. Contradictions within a study are told, and change nothing.",
        "dicomnet check --data /srv/dicom\n"
        "dicomnet check --data /srv/dicom --quick\n"
        "dicomnet check --data /srv/dicom --repair\n"
        "dicomnet check --config /etc/dicomnet.toml --rate 50MB/s --json",
    )
    parser.add_argument(
        "--quick", action="store_true", help="compare names and sizes alone, and read no file"
    )
    parser.add_argument(
        "--study",
        type=uid,
        metavar="UID",
        help="look at one study alone, by its Study Instance UID",
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="set right what can be: rows are made from files, damaged files are moved to quarantine, objects"
        " without files are forgotten; no file is deleted",
    )
    parser.add_argument(
        "--accept-loss",
        action="store_true",
        help="with --repair, forget objects without files also where they are more than a tenth of all (and than"
        " 100), as if a file system were not mounted",
    )
    parser.add_argument(
        "--add-digests",
        action="store_true",
        help="take sizes and digests of files into the index where it has none, as of objects from before it kept"
        " them or after it was made anew; later checks compare with these",
    )
    parser.add_argument(
        "--show-values",
        action="store_true",
        help="show the values that contradict each other: patients' data",
    )
    add_rate_option(parser)
    parser.add_argument("--json", action="store_true", help="a line of JSON for each finding, and at the end")
    add_archive_options(parser)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    parameters = {
        "quick": options.quick,
        "study": options.study or "",
        "repair": options.repair,
        "accept_loss": options.accept_loss,
        "add_digests": options.add_digests,
        "show_values": options.show_values,
        "rate": options.rate,
    }
    shown = Shown(
        "checking",
        "objects",
        _summary,
        lambda finding: None if options.quiet and finding["finding"] == "contradiction" else line_of(finding),
        has_failed=lambda summary: summary["is_damaged"] or not summary["is_complete"],
    )
    return run_task(options, "check", "check", lambda settings: parameters, shown)


def findings_in_words(summary: Mapping[str, Any]) -> str:
    """How many findings there are of each kind."""
    return ", ".join(f"{count} {kind}" for kind, count in summary["found"].items()) or "nothing found"


def line_of(finding: Mapping[str, Any], outcomes: Mapping[str, str] = _OUTCOMES) -> str:
    """A finding as a line.

    Parameters
    ----------
    finding
        As it is reported.
    outcomes
        What is said at its end, by what became of it.
    """
    uids = [finding.get(f"{level}_instance_uid") for level in ("study", "series", "sop")]
    where = finding.get("path") or "/".join(filter(None, uids))
    line = (
        f"{finding['finding']}: {where}: {finding['what']}"
        if where
        else f"{finding['finding']}: {finding['what']}"
    )
    if "values" in finding:
        said = (f"{name}: {' | '.join(map(str, values))}" for name, values in finding["values"].items())
        line += f" ({'; '.join(said)})"
    elif "attributes" in finding:
        line += f" ({', '.join(finding['attributes'])})"
    if "detail" in finding:
        line += f" ({finding['detail']})"
    outcome = outcomes.get(finding["outcome"])
    return f"{line}: {outcome}" if outcome else line


def _summary(summary: Mapping[str, Any]) -> str:
    more = [findings_in_words(summary)]
    if summary["without_digest"]:
        more.append(
            f"{counted(summary['without_digest'], 'object')} without a digest to compare with (--add-digests)"
        )
    if summary["digests_added"]:
        more.append(f"{counted(summary['digests_added'], 'digest')} added")
    if summary["elsewhere"]:
        more.append(f"{counted(summary['elsewhere'], 'object')} kept elsewhere not looked at")
    if not summary["is_complete"]:
        more.append("the objects not looked at, since the index is damaged (--repair makes it anew)")
    return f"{counted(summary['checked'], 'object')} checked, {summary['bytes'] / 1e6:.1f} MB read: {'; '.join(more)}"
