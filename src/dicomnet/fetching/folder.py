"""The folder that lists are retrieved into: its journal, and the way of an object from its arrival to its name."""

from __future__ import annotations

import filecmp
import hashlib
import logging
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..drivers.medium import flush_file, flush_file_system, flush_folder
from ..encoding.identity import is_uid
from ..values import frozen
from .journal import Journal, Placed, Series
from .names import Layout, folded, numbered
from .selecting import text_values

_log = logging.getLogger(__name__)

# What the folder has of its own; no layout makes names that begin with a dot.
OWN = ".dicomnet-fetch"
REPORT = "report.csv"
# From how many files on one call for the whole file system is cheaper than one for each.
_MANY = 8
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@frozen
class KeptOut:
    """An object that arrived, and has no file.

    Parameters
    ----------
    object
        Its SOP Instance UID, as far as it is known.
    words
        Why.
    """

    object: str
    words: str


class Folder:
    """A folder that lists are retrieved into.

    Parameters
    ----------
    root
        The folder; made if it is not there.
    layout
        How files are named.

    Raises
    ------
    JournalUnusable
        If another process retrieves into it, or its journal is none that this version knows.
    OSError
        If it cannot be written to.
    """

    def __init__(self, root: Path, layout: Layout) -> None:
        self.root = root
        self.incoming = root / OWN / "incoming"
        self._layout = layout
        # Several fetchers may use it side by side.
        self._lock = threading.RLock()
        self.incoming.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(root / OWN / "journal.sqlite")
        try:
            for left in sorted(self.incoming.rglob("*"), reverse=True):
                # The peer has them still; whether they are on the medium nobody knows.
                if left.is_dir():
                    left.rmdir()
                else:
                    left.unlink()
            self._recover()
        except BaseException:
            self.journal.close()
            raise

    def close(self) -> None:
        """Let others retrieve into it."""
        self.journal.close()

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _recover(self) -> None:
        """Find out which objects got their names before the process that placed them ended."""
        there: list[Placed] = []
        lost: list[Placed] = []
        for each in self.journal.unsettled():
            path = self._path(each.path)
            is_there = path.is_file() and path.stat().st_size == each.size and _digest(path) == each.sha256
            (there if is_there else lost).append(each)
        self.journal.place(there)
        self.journal.forget(lost)

    def part(self, number: int) -> Path:
        """A folder of its own for what arrives for one of several fetchers."""
        made = self.incoming / str(number)
        made.mkdir(exist_ok=True)
        return made

    def has(self, series: Series) -> set[str]:
        """The SOP Instance UIDs of the objects of a series that are here; what was removed is forgotten."""
        here: set[str] = set()
        lost: list[Placed] = []
        for each in self.journal.placed(series.study, series.series):
            try:
                is_here = self._path(each.path).stat().st_size == each.size
            except (FileNotFoundError, NotADirectoryError):
                is_here = False
            if is_here:
                here.add(each.object)
            else:
                lost.append(each)
        if lost:
            self.journal.forget(lost)
        return here if series.is_whole else here & series.named

    def take(self, incoming: Path | None = None) -> list[Placed | KeptOut]:
        """Give all that has arrived its name, durably. What was not asked for is removed.

        Parameters
        ----------
        incoming
            Where it has arrived, if not in the folder for that.
        """
        with self._lock:
            return list(self._take(incoming or self.incoming))

    def _take(self, incoming: Path) -> Iterator[Placed | KeptOut]:
        begun: list[tuple[Path, Placed]] = []
        taken: set[str] = set()
        for path in sorted(incoming.glob("*.dcm")):
            found = self._look(path, taken)
            if isinstance(found, KeptOut):
                path.unlink()
                _log.warning("an object is kept out: %s", found.words)
                yield found
            elif found is not None:
                taken.add(found.folded)
                begun.append((path, found))
        if not begun:
            return
        objects = [placed for _, placed in begun]
        is_many = len(begun) >= _MANY
        if is_many:
            flush_file_system(os.fspath(incoming))
        else:
            for path, _ in begun:
                flush_file(os.fspath(path))
        self.journal.intend(objects)
        folders: set[Path] = set()
        for path, placed in begun:
            target = self._path(placed.path)
            folders |= self._make(target.parent)
            _name(path, target)
        if is_many:
            flush_file_system(os.fspath(self.root))
        else:
            for folder in folders:
                flush_folder(os.fspath(folder))
        self.journal.place(objects)
        yield from objects

    def _look(self, path: Path, taken: set[str]) -> Placed | KeptOut | None:
        """What an object that has arrived is to be called; None where it is here already, and is removed."""
        try:
            values = _read(path, self._layout.keywords)
        except OSError:
            # It says nothing about the object.
            raise
        except Exception as error:  # noqa: BLE001
            # pydicom may raise anything for a peer's bytes.
            return KeptOut(path.stem, f"it cannot be read: {error}")
        study, series, instance = (values[uid] for uid in _UIDS)
        if not all(map(is_uid, (study, series, instance))):
            return KeptOut(path.stem, "it does not say its study, its series and its own UID")
        if not self.journal.is_asked(study, series, instance):
            return KeptOut(instance, f"it was not asked for: it belongs to series {series}")
        digest = _digest(path)
        same = self.journal.file_of(study, series, instance)
        if same is not None and self._path(same.path).is_file():
            if same.sha256 != digest:
                return KeptOut(instance, f"another object with its UIDs is here already as {same.path}")
            path.unlink()
            return None
        name = self._free(self._layout.name(values), (study, series, instance), path, taken)
        size = path.stat().st_size
        return Placed(study, series, instance, "/".join(name), folded(name), size, digest)

    def _free(
        self, name: Sequence[str], uids: tuple[str, str, str], path: Path, taken: set[str]
    ) -> tuple[str, ...]:
        """The name that an object can have: it is no other object's, and no other file has it."""
        number = 0
        while True:
            number += 1
            found = numbered(name, number)
            key = folded(found)
            if key in taken or key == REPORT or self.journal.holder(key) not in (None, uids):
                continue
            target = self.root.joinpath(*found)
            if not os.path.lexists(target):
                return found
            # A journal was removed, and its files were not.
            if target.is_file() and not target.is_symlink() and filecmp.cmp(path, target, shallow=False):
                return found

    def _make(self, folder: Path) -> set[Path]:
        """Make a folder with those above it; gives those whose names are to be flushed."""
        changed = {folder}
        while not folder.is_dir():
            folder = folder.parent
            changed.add(folder)
        for each in sorted(changed):
            each.mkdir(exist_ok=True)
        return changed

    def _path(self, name: str) -> Path:
        return self.root.joinpath(*name.split("/"))


def _name(path: Path, target: Path) -> None:
    """Give a file its name, which no other file loses by it."""
    try:
        os.link(path, target)
    except FileExistsError:
        # The same file, as `Folder._free` has seen; or one that has come since.
        if not filecmp.cmp(path, target, shallow=False):
            raise
    except OSError:
        # A file system without links.
        if os.path.lexists(target):
            raise
        os.rename(path, target)
        return
    path.unlink()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, keywords: Sequence[str]) -> dict[str, str]:
    """The attributes of an object as text; empty where it has none, or none that can be read."""
    from pydicom import dcmread

    wanted = [*_UIDS, *keywords]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = dcmread(path, stop_before_pixels=True, specific_tags=[*wanted, "SpecificCharacterSet"])
        return {keyword: "\\".join(text_values(found, keyword)) for keyword in wanted}
