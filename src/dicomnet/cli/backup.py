"""`dicomnet backup`: copy an archive into a folder, while it is in use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..plurals import counted
from .arguments import Parser
from .check import findings_in_words, line_of
from .tasks import Shown, add_archive_options, add_rate_option, run_task

if TYPE_CHECKING:
    from argparse import Namespace


# What is said at the end of a line.
_OUTCOMES = {
    "kept": "the backup keeps the copy that it has",
    "quarantined": "copied into the quarantine of the backup",
    "repaired": "copied again",
    "lost": "NOT in the backup",
}


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Copy an archive into a folder: its objects, what is in quarantine, the versions, and the ledger. The node\n"
        "that runs with the archive does it, as its own user and while it receives, or, if none does, this command.\n"
        "All that was acknowledged before is in the backup. The next time, only what is new is copied. Each file is\n"
        "compared with the digest of what was received; the exit status is 1 if one is missing or damaged, and the\n"
        "rest is copied all the same. dicomnet restore makes an archive of it.",
        "dicomnet backup /mnt/backup/dicom --data /srv/dicom\n"
        "dicomnet backup /mnt/backup/dicom --config /etc/dicomnet.toml --rate 50MB/s --prune",
    )
    parser.add_argument(
        "folder", metavar="DIR", help="the folder of the backup; created if it does not exist"
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="remove files from the backup that are not in the archive any more; without, they stay, and are not"
        " restored",
    )
    parser.add_argument(
        "--accept-loss",
        action="store_true",
        help="with --prune, also where they are more than a tenth of all (and than 100)",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read the files that are in the backup already, and copy those again that have changed",
    )
    add_rate_option(parser)
    parser.add_argument("--json", action="store_true", help="a line of JSON for each finding, and at the end")
    add_archive_options(parser)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    parameters = {
        # The node is in another folder.
        "folder": os.path.abspath(options.folder),
        "prune": options.prune,
        "accept_loss": options.accept_loss,
        "verify": options.verify,
        "rate": options.rate,
    }
    shown = Shown(
        "backing up", "objects", _summary, _line, has_failed=lambda summary: bool(summary["is_damaged"])
    )
    return run_task(options, "backup", "backup", lambda settings: parameters, shown)


def _line(finding: Mapping[str, Any]) -> str:
    return line_of(finding, _OUTCOMES)


def _summary(summary: Mapping[str, Any]) -> str:
    line = (
        f"{counted(summary['objects'], 'object')} in the backup, {counted(summary['copied'], 'file')}"
        f" ({summary['bytes_copied'] / 1e6:.1f} MB) copied: {findings_in_words(summary)}"
    )
    if summary["pruned"]:
        line += f"; {counted(summary['pruned'], 'file')} removed"
    elif summary["gone"]:
        gone = counted(summary["gone"], "file")
        line += f"; not restored, as not in the archive any more: {gone} (removed by --prune)"
    return line
