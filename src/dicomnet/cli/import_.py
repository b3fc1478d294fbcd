"""`dicomnet import`: store what lies in files, folders, zip and tar files and on media in an archive."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .arguments import Parser
from .tasks import Shown, add_archive_options, run_task

if TYPE_CHECKING:
    from argparse import Namespace

# Outcomes that make the command fail.
_FAILURES = ("refused", "missing", "unreadable")
# Outcomes after which the archive has the object.
_KEPT = ("stored", "already_there", "quarantined")


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Store objects in an archive, as if a peer had sent them: by the node that runs with it or, if none does,\n"
        "here. Folders are searched with all that is in them, zip and tar files without being unpacked; a DICOMDIR\n"
        "stands for the files to which it refers. What is not DICOM is skipped. What the archive has already is not\n"
        "written again, so that the same command goes on where it was interrupted. The exit status is 1 if anything\n"
        "was refused, missing or unreadable, or if there was nothing to store.",
        "dicomnet import --data /srv/dicom /mnt/old-archive\n"
        "dicomnet import --data /srv/dicom study.zip cd.tar.gz /media/cdrom/DICOMDIR\n"
        "dicomnet import --data /srv/dicom --link /srv/old-archive",
    )
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="a file, a folder, a zip or tar file, or a DICOMDIR"
    )
    parser.add_argument(
        "--link",
        action="store_true",
        help="do not copy files that are complete DICOM files on the archive's file system, but give them a second"
        " name there (hard link); who changes such a file later changes it in the archive, too, and damages it",
    )
    parser.add_argument(
        "--json", action="store_true", help="a line of JSON for each file, and one at the end"
    )
    add_archive_options(parser, "storage.on_conflict", "storage.strict")


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    # A node has another current folder.
    parameters = {
        "paths": [os.path.abspath(path) for path in options.paths],
        "link": options.link,
        "tells_all": options.json or options.verbose,
    }
    shown = Shown(
        "importing",
        "files",
        lambda summary: _summary(summary, links=options.link),
        lambda fields: None if options.quiet and fields["outcome"] not in _FAILURES else _line(fields),
        _has_failed,
    )
    return run_task(options, "import", "import", lambda settings: parameters, shown)


def _has_failed(summary: Mapping[str, Any]) -> bool:
    return (
        any(summary[name] for name in _FAILURES)
        or not any(summary[name] for name in _KEPT)
        or not summary["is_filed"]
    )


def _line(fields: Mapping[str, Any]) -> str:
    place = fields["path"] if fields["member"] is None else f"{fields['path']}!{fields['member']}"
    reason = "" if fields["reason"] is None else f": {fields['reason']}"
    return f"{fields['outcome'].replace('_', ' ')}: {place}{reason}"


def _summary(summary: Mapping[str, Any], *, links: bool) -> str:
    seconds = max(summary["seconds"], 0.001)
    linked = ""
    if links:
        why = f"; others could not be: {summary['not_linked']}" if summary["not_linked"] else ""
        linked = f" ({summary['linked']} linked{why})"
    counts = (
        f"{summary['stored']} stored{linked}",
        f"{summary['already_there']} already there",
        f"{summary['quarantined']} in quarantine",
        f"{summary['refused']} refused",
        f"{summary['skipped']} skipped",
        f"{summary['missing']} missing",
        f"{summary['unreadable']} unreadable",
    )
    rest = (
        "" if summary["is_filed"] else "; the last of them wait in the journal, as they cannot be filed now"
    )
    return (
        f"{', '.join(counts)}: {summary['bytes'] / 1e6:.1f} MB in {seconds:.2f} s "
        f"({summary['stored'] / seconds:.0f} objects/s){rest}"
    )
