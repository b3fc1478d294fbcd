"""The search of an import: through folders, zip and tar files, and the files to which a DICOMDIR refers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from stat import S_ISDIR

from ...datasets.file_sets import Lister, referenced_files
from ...drivers.reading import NotDICOM, check_kind, open_file
from ...encoding.file_header import (
    BEGIN,
    MAGIC,
    MEDIA_STORAGE_DIRECTORY,
    HeaderIncomplete,
    decode_file_header,
)
from ...errors import UnusableObject
from ...exchange.files import find_files
from .candidate import Candidate, Finding, Found, Outcome, Place, cannot_read, read_start
from .members import members

_A_DIRECTORY = "a DICOMDIR, which is not stored"


def search(paths: Iterable[str], archive: Path) -> Iterator[Found]:
    """What lies at paths that may be objects, always in the same order, and what is in the way.

    Parameters
    ----------
    paths
        Files and folders.
    archive
        The folder of the archive, in which nothing is searched for.
    """
    own = os.stat(archive)
    for path in paths:
        try:
            is_folder = S_ISDIR(os.stat(path).st_mode)
        except OSError as error:
            yield Finding(Place(path), Outcome.UNREADABLE, cannot_read(error))
            continue
        if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(archive)):
            yield Finding(Place(path), Outcome.REFUSED, "it lies in the folder of the archive itself")
        elif is_folder:
            for file in find_files([path], {(own.st_dev, own.st_ino)}):
                yield from _look_at(file)
        else:
            yield from _look_at(path, is_named=True)


def _look_at(path: str, *, is_named: bool = False) -> Iterator[Found]:
    """What is in a file; `is_named` is whether the user has named it."""
    try:
        with open(path, "rb", opener=lambda name, flags: open_file(name)) as file:
            status = os.fstat(file.fileno())
            check_kind(status)
            start = read_start(file)
            if _is_directory(start):
                yield from _of_directory(path, file, is_named=is_named)
                return
            inside = None if _has_mark(start) else members(path, file, start)
            if inside is not None:
                yield from inside
                return
            # As if it had just been read.
            file.seek(len(start))
            yield Candidate(Place(path), start, file, status.st_size, file.fileno(), can_reread=True)
    except NotDICOM as error:
        yield Finding(Place(path), Outcome.SKIPPED, error.cause)
    except OSError as error:
        yield Finding(Place(path), Outcome.UNREADABLE, cannot_read(error))


def _has_mark(start: bytes) -> bool:
    return start[BEGIN - len(MAGIC) : BEGIN] == MAGIC


def _is_directory(start: bytes) -> bool:
    try:
        return decode_file_header(start).sop_class_uid == MEDIA_STORAGE_DIRECTORY
    except (HeaderIncomplete, UnusableObject):
        return False


def _of_directory(path: str, file: BufferedReader, *, is_named: bool) -> Iterator[Found]:
    """The files to which a DICOMDIR refers, if the user has named it; else only those that are missing."""
    file.seek(0)
    references, damage = referenced_files(file)
    if damage or not is_named:
        reason = f"a damaged DICOMDIR: {damage}" if damage else _A_DIRECTORY
        yield Finding(Place(path), Outcome.UNREADABLE if is_named else Outcome.SKIPPED, reason)
    lister = Lister(os.path.dirname(path))
    for reference in references:
        found = lister.find(reference)
        if found is None:
            # What it says is shown, and not taken for a path.
            missing = os.sep.join((os.path.dirname(path), *reference))
            yield Finding(Place(missing), Outcome.MISSING, f"{os.path.basename(path)} refers to it")
        elif is_named:
            yield from _look_at(found)
