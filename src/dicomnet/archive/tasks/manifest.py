"""The manifest of a backup: each file with its size and digest, as lines of JSON; the last line makes it complete.

The files are below the folder of the backup where a store in a folder has them below its own.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from ..._version import __version__
from ...encoding.identity import is_uid
from ...values import frozen
from ..entries import UNKNOWN, Source
from ..storage.folder import is_location_aside, location_of
from ..storage.store import ObjectName
from .task import TaskRefused

NAME = "manifest.jsonl"
# While it is written, or where that was interrupted: the newest has the highest number.
_PART = "manifest-{}.part"
_PARTS = "manifest-*.part"
_FORMAT = 1
LEDGER = "ledger"
# The folders of a backup, in the order in which their files stand in a manifest.
FOLDERS = ("objects", "quarantine", "trash", "versions", LEDGER)
_SUFFIX = ".dcm"


@frozen
class Line:
    """A file of a backup.

    Parameters
    ----------
    path
        Where it is, below the folder of the backup, with slashes.
    size, sha256
        Its length in bytes, and its digest as hexadecimal digits.
    written_at
        When the file in the archive was written, in seconds since 1970.
    stored_at
        When the object was stored, in milliseconds since 1970; None where that is not known.
    source
        Who sent it.
    """

    path: str
    size: int
    sha256: str
    written_at: float = 0.0
    stored_at: int | None = None
    source: Source = UNKNOWN

    @property
    def key(self) -> tuple[str, ...]:
        """What the lines of a manifest are sorted by."""
        return key_of(self.path)

    @property
    def name(self) -> ObjectName | None:
        """The object that it is; None if it is not in the place of one."""
        parts = self.path.removesuffix(_SUFFIX).split("/")
        if len(parts) != 6 or not all(map(is_uid, parts[3:])):
            return None
        name = ObjectName(*parts[3:])
        return name if location_of(name) == self.path else None

    @property
    def is_aside(self) -> bool:
        """Whether it is in quarantine, in the trash, or among the versions."""
        return is_location_aside(self.path)

    @property
    def is_ledger(self) -> bool:
        """Whether it has the entries of the ledger."""
        return self.path == ledger_path(self.sha256)


@frozen
class Totals:
    """What the last line of a manifest says.

    Parameters
    ----------
    files, size
        The number of files, and their length together in bytes.
    sha256
        The digest of all lines before it, as hexadecimal digits.
    """

    files: int
    size: int
    sha256: str


def key_of(path: str) -> tuple[str, ...]:
    """What a file is sorted by: by the parts of its path, as folders are read."""
    first, *rest = path.removesuffix(_SUFFIX).split("/")
    return (str(FOLDERS.index(first)) if first in FOLDERS else first, *rest)


def ledger_path(digest: str) -> str:
    """Where a backup has the entries of the ledger: by their digest, since an older manifest has older ones."""
    return f"{LEDGER}/{digest}.jsonl"


class Manifest:
    """A manifest that is written, line by line.

    Parameters
    ----------
    folder
        The folder of the backup.

    Attributes
    ----------
    path
        Where it is until it is complete.
    files, size
        How many files it has by now, and their length together in bytes.

    Raises
    ------
    OSError
        If it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = next_part(folder)
        descriptor = for_patients_data(str(self.path), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        self._file = os.fdopen(descriptor, "wb")
        self._digest = hashlib.sha256()
        self.files = self.size = 0
        self._write(
            {"dicomnet_backup": _FORMAT, "version": __version__, "begun_at": datetime.now(UTC).isoformat()}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, line: Line) -> None:
        """Add a file, which is durable."""
        source = line.source
        said: dict[str, Any] = {
            "path": line.path,
            "size": line.size,
            "sha256": line.sha256,
            "written_at": line.written_at,
            "stored_at": line.stored_at,
            "source": None if source == UNKNOWN else [source.ae_title, source.address, source.way],
        }
        self._write({name: value for name, value in said.items() if value is not None})
        self.files += 1
        self.size += line.size

    def flush(self) -> None:
        """Have what was added survive the end of the process."""
        self._file.flush()

    def finish(self) -> None:
        """Complete it: it takes the place of the manifest before, and what was interrupted is done with."""
        totals = {"files": self.files, "bytes": self.size, "ended_at": datetime.now(UTC).isoformat()}
        self._write({**totals, "sha256": self._digest.hexdigest()})
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.path.replace(self._folder / NAME)
        for part in self._folder.glob(_PARTS):
            part.unlink()

    def _write(self, said: dict[str, Any]) -> None:
        line = json.dumps(said).encode() + b"\n"
        self._digest.update(line)
        self._file.write(line)


def for_patients_data(path: str, flags: int) -> int:
    """Open a file that others than its owner and his group must not read; for `open`."""
    return os.open(path, flags, 0o640)


def next_part(folder: Path) -> Path:
    """Where the next manifest is written."""
    numbers = [
        int(digits) for part in folder.glob(_PARTS) if (digits := part.stem.rpartition("-")[2]).isdecimal()
    ]
    return folder / _PART.format(max(numbers, default=0) + 1)


def has_any(folder: Path) -> bool:
    """Whether a folder has a manifest, complete or not."""
    return (folder / NAME).exists() or any(folder.glob(_PARTS))


def verified(folder: Path) -> Totals:
    """Read a manifest to its end.

    Raises
    ------
    TaskRefused
        If there is none, or it is not complete or damaged.
    OSError
        If it cannot be read.
    """
    if not (folder / NAME).exists():
        if any(folder.glob(_PARTS)):
            raise TaskRefused(
                f"the backup {folder} is not complete: it has no {NAME}; say dicomnet backup once more, or store the"
                " objects in it as files"
            )
        raise TaskRefused(f"{folder} is not a backup: it has no {NAME}")
    digest, before, last = hashlib.sha256(), "", b""
    with (folder / NAME).open("rb") as file:
        for line in file:
            digest.update(last)
            last = line
    said = _parsed(last)
    before = digest.hexdigest()
    if said is None or not isinstance(said.get("files"), int) or not isinstance(said.get("bytes"), int):
        raise TaskRefused(f"the manifest of the backup {folder} ends early, so that it is not complete")
    if said.get("sha256") != before:
        raise TaskRefused(f"the manifest of the backup {folder} is damaged: its digest is not what it says")
    return Totals(said["files"], said["bytes"], before)


def lines(path: Path) -> Iterator[Line]:
    """The files that a manifest has, as far as it goes and can be read."""
    with path.open("rb") as file:
        for number, text in enumerate(file):
            said = _parsed(text)
            if said is None or "path" not in said:
                if number and (said is None or "files" in said):
                    return
                continue
            line = _line(said)
            if line is None:
                return
            yield line


class Earlier:
    """The manifests that a backup has from earlier runs, read along with files in their order.

    Parameters
    ----------
    folder
        The folder of the backup.
    present
        The manifest that is being written, which is none of them.
    """

    def __init__(self, folder: Path, present: Path) -> None:
        # Of two lines for one file the later run has the better one.
        parts = sorted(set(folder.glob(_PARTS)) - {present}, key=_number, reverse=True)
        paths = [*parts, *_if_there(folder / NAME)]
        self._lines: Iterator[Line] = heapq.merge(*map(lines, paths), key=lambda line: line.key)
        self._next = next(self._lines, None)

    def up_to(self, key: tuple[str, ...] | None) -> Iterator[Line]:
        """The lines before a file, which are those of files that are not there any more; None for all that are left."""
        while self._next is not None and (key is None or self._next.key < key):
            yield self._next
            self._advance()

    def of(self, key: tuple[str, ...]) -> Line | None:
        """The line of a file, after those before it."""
        found = self._next
        if found is None or found.key != key:
            return None
        self._advance()
        return found

    def _advance(self) -> None:
        before, self._next = self._next, next(self._lines, None)
        while self._next is not None and before is not None and self._next.key == before.key:
            self._next = next(self._lines, None)


def _number(part: Path) -> int:
    digits = part.stem.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0


def _if_there(path: Path) -> Iterable[Path]:
    return [path] if path.exists() else []


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(text) if text.endswith(b"\n") else None
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _line(said: dict[str, Any]) -> Line | None:
    try:
        return Line(
            str(said["path"]),
            int(said["size"]),
            str(said["sha256"]),
            float(said.get("written_at", 0.0)),
            None if said.get("stored_at") is None else int(said["stored_at"]),
            Source(*map(str, said["source"])) if said.get("source") else UNKNOWN,
        )
    except (KeyError, TypeError, ValueError):
        return None
