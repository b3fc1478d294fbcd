"""`dicomnet export`: copy objects of an archive into a folder or a zip file, or as a File-set with a DICOMDIR."""

from __future__ import annotations

import json
from collections import Counter
from errno import EEXIST
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic
from typing import IO, TYPE_CHECKING, Any

from ..errors import UnusableObject
from ..plurals import counted
from ..values import replace
from .arguments import FAILED, OK, Parser, UsageError
from .selecting import add_query_argument, add_selection_options, selection
from .settings import read_settings
from .tasks import add_archive_options, guarded, perform_task, progress_shown
from .words import complain, current_user

if TYPE_CHECKING:
    from argparse import Namespace

    from ..archive.exporting import Target
    from ..settings.values import Settings

EXPORTED, ALREADY_THERE, IN_THE_WAY = "exported", "already_there", "in_the_way"
NOT_EXPORTED, MISSING = "failed", "missing"
_OUTCOMES = (EXPORTED, ALREADY_THERE, IN_THE_WAY, NOT_EXPORTED, MISSING)
_REASONS = {IN_THE_WAY: "another file has this name; --force replaces it"}


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Copy objects of an archive, byte for byte, whether or not a node runs with it: those of the studies that\n"
        "match a query (of the series or objects, if it has keys that only these have), as\n"
        "STUDY/SERIES/INSTANCE.dcm by their UIDs, or as a File-set with a DICOMDIR. Files that are there are not\n"
        "replaced; those that are the same are passed over, so that the same command goes on where it was\n"
        "interrupted. The exit status is 1 if any object could not be exported, or if there was none.",
        "dicomnet export --data /srv/dicom PatientID=4711 out/\n"
        "dicomnet export --data /srv/dicom -k StudyDate=20260101- -k ModalitiesInStudy=CT --media /media/usb\n"
        "dicomnet export --data /srv/dicom 1.2.840.113619.2.1 --zip study.zip\n"
        "dicomnet export --data /srv/dicom --uids list.txt out/",
    )
    add_query_argument(parser)
    parser.add_argument("target", type=Path, metavar="DIR", help="the folder; made if it is not there")
    add_selection_options(parser.add_argument_group("what to export"))
    group = parser.add_argument_group("how to export")
    group.add_argument(
        "--media",
        action="store_true",
        help="as a File-set (PS3.10): files with short names and a DICOMDIR, in a folder that is empty",
    )
    group.add_argument("--zip", action="store_true", help="DIR is a zip file to be written")
    group.add_argument("--force", action="store_true", help="replace files that are there")
    parser.add_argument(
        "--json", action="store_true", help="a line of JSON for each object, and one at the end"
    )
    add_archive_options(parser)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    if options.media and options.zip:
        raise UsageError("--media and --zip do not go together")
    asked = selection(options, "export")
    return guarded("export", lambda: _export(options, asked))


def _export(options: Namespace, asked: dict[str, Any]) -> int:
    from ..archive.tasks.task import in_words

    settings = read_settings(options)
    tally = _Tally(options)
    with TemporaryFile("w+", encoding="ascii") as found, tally.display:
        count = _find(settings, asked, found, tally)
        if not count:
            complain("dicomnet export: the archive has nothing that matches")
            return FAILED
        target = _target(options)
        studies: Counter[str] = Counter()
        try:
            _copy(settings["storage.folder"], target, found, tally, studies, is_file_set=options.media)
        except OSError as error:
            sum_of_it = f"exported {tally.counts[EXPORTED]} of {counted(count, 'object')}"
            complain(
                f"dicomnet export: {in_words(error)}; {'there is no zip file' if options.zip else sum_of_it}"
            )
            return FAILED
        finally:
            target.close()
            _record(settings, studies, options.target)
    tally.end()
    return FAILED if any(tally.counts[each] for each in (IN_THE_WAY, NOT_EXPORTED, MISSING)) else OK


def _find(settings: Settings, asked: dict[str, Any], found: IO[str], tally: _Tally) -> int:
    """Write down what is to be exported, as there may be more than memory should hold; how many objects these are."""
    from ..archive.tasks.task import Reporter

    class Finder(Reporter):
        """Writes down what is found."""

        def show_progress(self, done: int, total: int | None) -> None:
            tally.display.reach(done, None)

        def item(self, **fields: Any) -> None:
            if "missing" in fields:
                tally.tell(MISSING, fields["missing"], reason="the archive does not have it")
            else:
                found.writelines(json.dumps(each) + "\n" for each in fields["objects"])

    summary = perform_task(settings, "locate", asked, Finder())
    found.seek(0)
    tally.total = summary["objects"]
    return tally.total


def _target(options: Namespace) -> Target:
    from ..archive.exporting import FolderTarget, ZipTarget

    path: Path = options.target
    if options.zip:
        return ZipTarget(path, replaces=options.force)
    if options.media and not options.force and path.is_dir() and any(path.iterdir()):
        raise FileExistsError(
            EEXIST, "the folder is not empty; --force writes into it all the same", str(path)
        )
    return FolderTarget(path, replaces=options.force)


def _record(settings: Settings, studies: Counter[str], target: Path) -> None:
    """The audit trail says of which studies objects were exported."""
    from ..archive.audit import COMMAND, AuditEvent, EventKind
    from ..archive.auditing import record_beside

    event = AuditEvent(
        EventKind.EXPORT,
        user=current_user(),
        way=COMMAND,
        detail="dicomnet export",
        other=str(target.absolute()),
    )
    events = [(replace(event, study=study), count) for study, count in studies.items()]
    record_beside(settings["storage.folder"], settings["storage.database"], events)


def _copy(
    folder: Path, target: Target, found: IO[str], tally: _Tally, studies: Counter[str], *, is_file_set: bool
) -> None:
    from ..archive.exporting import Export
    from ..archive.holdings import storage_beside
    from ..archive.storage.store import ObjectName

    export = Export(storage_beside(folder), target, is_file_set=is_file_set)
    for line in found:
        study, series, instance, size = json.loads(line)
        try:
            written, path, length = export.copy(ObjectName(study, series, instance), size)
        except UnusableObject as error:
            tally.tell(NOT_EXPORTED, instance, reason=error.cause)
        else:
            studies[study] += 1
            tally.bytes += length if written.value == EXPORTED else 0
            tally.tell(written.value, instance, path, _REASONS.get(written.value, ""))
    export.finish()


class _Tally:
    """The outcomes of all objects: counted, and shown as far as that is wanted."""

    def __init__(self, options: Namespace) -> None:
        self._options = options
        self._begin = monotonic()
        self.counts = dict.fromkeys(_OUTCOMES, 0)
        self.total: int | None = None
        self.bytes = 0
        self.display = progress_shown(options, "exporting", "objects")

    def tell(self, outcome: str, uid: str, path: str = "", reason: str = "") -> None:
        """What became of an object, or of a UID that was asked for."""
        self.counts[outcome] += 1
        self.display.reach(sum(self.counts.values()) - self.counts[MISSING], self.total)
        if self._options.json:
            fields = {"uid": uid, "outcome": outcome, "path": path or None, "reason": reason or None}
            print(json.dumps(fields))
        elif self._options.verbose or outcome not in (EXPORTED, ALREADY_THERE):
            parts = (outcome.replace("_", " "), uid, path, reason)
            self.display.say(": ".join(filter(None, parts)))

    def end(self) -> None:
        """Say the sum of it all."""
        seconds = max(monotonic() - self._begin, 0.001)
        if self._options.json:
            print(json.dumps({"summary": {**self.counts, "bytes": self.bytes, "seconds": round(seconds, 3)}}))
        elif not self._options.quiet:
            counts = ", ".join(
                f"{count} {outcome.replace('_', ' ')}" for outcome, count in self.counts.items()
            )
            print(
                f"{counts}: {self.bytes / 1e6:.1f} MB in {seconds:.2f} s"
                f" ({self.counts[EXPORTED] / seconds:.0f} objects/s)"
            )
