"""What lies at the paths of a store, or in a file that may hold several objects: objects, and what is in the way."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from io import BufferedReader

from ..drivers.files import StoredObject, check_end, identify
from ..drivers.reading import NotDICOM, check_kind, open_file
from ..encoding.file_header import (
    BEGIN,
    MAGIC,
    MEDIA_STORAGE_DIRECTORY,
    HeaderIncomplete,
    decode_file_header,
)
from ..errors import UnusableObject
from .candidate import Candidate, Finding, Found, Outcome, Place, Unreadable, cannot_read, read_start
from .files import A_DIRECTORY, checked, find_files
from .member_files import Member
from .results import StoreResult

# By these ends of their names a store knows files with members, as it opens no other file before its turn.
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_DIRECTORY_NAME = "dicomdir"


def find_objects(
    paths: Iterable[str | os.PathLike[str]], *, keeps_missing: bool = False
) -> Iterator[str | StoredObject | StoreResult]:
    """The files among paths, as `find_files`; those in zip and tar files; and those to which a DICOMDIR refers.

    A DICOMDIR counts where it is itself one of the paths.

    Parameters
    ----------
    paths, keeps_missing
        As of `find_files`.

    Yields
    ------
    str, StoredObject or StoreResult
        A path that was not looked at yet; a member of a zip or tar file; or why something is not sent.

    Raises
    ------
    FileNotFoundError
        If a path does not exist, unless those are kept.
    """
    for path in paths:
        name = os.fspath(path)
        is_directory = os.path.basename(name).lower().startswith(_DIRECTORY_NAME)
        if (is_directory or has_members(name)) and os.path.isfile(name):
            yield from _inside(name, is_named=True)
            continue
        for file in find_files([name], keeps_missing=keeps_missing):
            if has_members(file):
                yield from _inside(file)
            else:
                yield file


def has_members(path: str) -> bool:
    """Whether a file is looked into, by its name."""
    return path.lower().endswith(ARCHIVES)


def _inside(path: str, *, is_named: bool = False) -> Iterator[str | StoredObject | StoreResult]:
    for found in look_into(path, is_named=is_named):
        if isinstance(found, Finding):
            place, is_skipped = found.place, found.outcome is Outcome.SKIPPED
            yield StoreResult(
                place.path, None, comment=found.reason, is_skipped=is_skipped, member=place.member
            )
        elif found.file >= 0:
            yield found.place.path
        else:
            yield _look_at_member(found)


def _look_at_member(candidate: Candidate) -> StoredObject | StoreResult:
    """A member with its header, or the result of skipping it."""
    place, member = candidate.place, candidate.member
    is_skipped = False
    try:
        if not isinstance(member, Member):
            raise UnusableObject("its tar has it in pieces (a sparse file)")
        header, start = identify(candidate, candidate.start)
        length = candidate.length - header.offset
        if header.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
            raise NotDICOM(A_DIRECTORY)
        if length <= 0:
            raise UnusableObject("the file has no data set")
        check_end(header, start, candidate.length)
        # As of `stamp_of_stream`, where it is read again.
        stamp = candidate.length, zlib.crc32(start[: header.offset])
        return checked(StoredObject(member, header, length, stamp, member.stamp))
    except UnusableObject as error:
        is_skipped, words = isinstance(error, NotDICOM), error.cause
    except Unreadable as error:
        words = error.reason
    return StoreResult(place.path, None, comment=words, is_skipped=is_skipped, member=place.member)


def scan(
    found: Iterable[str | StoredObject | StoreResult],
) -> Iterator[StoredObject | StoreResult]:
    """Each object with its header, or the result of skipping it."""
    from .files import look_at

    for each in found:
        yield look_at(each)[0] if isinstance(each, str) else each


def look_into(path: str, *, is_named: bool = False) -> Iterator[Found]:
    """What is in a file: itself, the members of a zip or tar file, or the files to which a DICOMDIR refers.

    Parameters
    ----------
    is_named
        Whether the user has named it.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: open_file(name)) as file:
            status = os.fstat(file.fileno())
            check_kind(status)
            start = read_start(file)
            if _is_directory(start):
                yield from _of_directory(path, file, is_named=is_named)
                return
            # Late, as Python's modules for these formats are slow to import.
            from .members import members

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
    from ..datasets.file_sets import Lister, referenced_files

    file.seek(0)
    references, damage = referenced_files(file)
    if damage or not is_named:
        reason = f"a damaged DICOMDIR: {damage}" if damage else A_DIRECTORY
        yield Finding(Place(path), Outcome.UNREADABLE if is_named else Outcome.SKIPPED, reason)
    elif not references:
        yield Finding(Place(path), Outcome.SKIPPED, "a DICOMDIR that refers to no file")
    lister = Lister(os.path.dirname(path))
    for reference in references:
        found = lister.find(reference)
        if found is None:
            # What it says is shown, and not taken for a path.
            missing = os.sep.join((os.path.dirname(path), *reference))
            yield Finding(Place(missing), Outcome.MISSING, f"{os.path.basename(path)} refers to it")
        elif is_named:
            yield from look_into(found)
