"""`dicomnet restore`: make an archive of a backup."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plurals import counted
from .arguments import Parser
from .check import findings_in_words, line_of
from .tasks import Shown, add_archive_options, add_rate_option, run_task

if TYPE_CHECKING:
    from argparse import Namespace

    from ..settings.values import Settings


# What is said at the end of a line.
_OUTCOMES = {"lost": "NOT restored"}


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Make an archive of a backup: objects, quarantine, versions, ledger and index, in a new folder, and with\n"
        "--database in a new database, of whatever kind the old one was. Each file is compared with its digest in\n"
        "the manifest of the backup; one that is missing or damaged is named, and the exit status is 1, but the rest\n"
        "is restored. If this is interrupted, the same command goes on. A check at the end compares names and sizes.",
        "dicomnet restore /mnt/backup/dicom --data /srv/new\n"
        "dicomnet restore /mnt/backup/dicom --data /srv/new --database postgresql://archive@db/archive\n"
        "dicomnet restore /mnt/backup/dicom --data /srv/dicom --only-ledger",
    )
    parser.add_argument("folder", metavar="DIR", help="the folder of the backup")
    parser.add_argument(
        "--only-ledger",
        action="store_true",
        help="restore the entries of the ledger alone, into an archive whose ledger has none since it was damaged and"
        " put aside",
    )
    add_rate_option(parser)
    parser.add_argument("--json", action="store_true", help="a line of JSON for each finding, and at the end")
    add_archive_options(parser)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""

    def parameters(settings: Settings) -> Mapping[str, Any]:
        _refuse_others(settings["storage.folder"])
        return {
            "folder": os.path.abspath(options.folder),
            "only_ledger": options.only_ledger,
            "rate": options.rate,
        }

    shown = Shown(
        "restoring", "files", _summary, _line, has_failed=lambda summary: bool(summary["is_damaged"])
    )
    return run_task(options, "restore", "restore", parameters, shown)


def _refuse_others(folder: Path) -> None:
    """Refuse to make an archive in a folder that has something else."""
    from ..archive.tasks.task import TaskRefused

    if folder.exists() and not (folder / "lock").exists() and any(folder.iterdir()):
        raise TaskRefused(f"{folder} is not empty: a backup is restored into a new folder")


def _line(finding: Mapping[str, Any]) -> str:
    return line_of(finding, _OUTCOMES)


def _summary(summary: Mapping[str, Any]) -> str:
    failed = f"; NOT restored: {counted(summary['failed'], 'file')}" if summary["failed"] else ""
    return (
        f"{counted(summary['objects'], 'object')} and {counted(summary['entries'], 'entry', 'entries')} of the ledger"
        f" restored,"
        f" {summary['bytes'] / 1e6:.1f} MB: {findings_in_words(summary)}{failed}"
    )
