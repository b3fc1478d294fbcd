"""The members of zip and tar files, read where they lie: nothing is unpacked, and a member's name is only shown.

What a damaged file makes Python's modules for these formats raise is not known: it costs the member or the file.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from io import BufferedReader
from typing import IO, Any, Self

from ..drivers.reading import state_of
from .candidate import Candidate, Finding, Found, Outcome, Place, in_words, read_start
from .member_files import CompressedContainer, Container, Member, TarContainer, ZipContainer

_BLOCK = 512
_DECOMPRESSORS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
# With members, and without.
_ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# The longest name, or other extension of a header, in bytes: it is read into memory.
_LONGEST_EXTENSION = 1 << 20
# How much is read at once of what is behind the last member, in bytes.
_REST = 1 << 20


def members(path: str, file: BufferedReader, start: bytes) -> Iterator[Found] | None:
    """The members of a zip or tar file; None if it is neither, as its first bytes say.

    Parameters
    ----------
    path, file
        The file, open.
    start
        Its first bytes.
    """
    file.seek(0)
    status = os.fstat(file.fileno())
    stamp = state_of(status)
    if start.startswith(_ZIP_MARKS):
        return _of_zip(path, stamp)
    if _is_tar(start):
        return _of_tar(path, lambda: file, TarContainer(path), stamp)
    for mark, decompressor in _DECOMPRESSORS.items():
        if start.startswith(mark):
            return _of_compressed(path, file, decompressor, stamp)
    return None


def _of_zip(path: str, stamp: tuple[int, int, int]) -> Iterator[Found]:
    try:
        # By its path, as members may be read when nobody searches any more.
        opened = zipfile.ZipFile(path)
    except Exception as error:  # noqa: BLE001
        yield _damaged(path, "zip", error)
        return
    # It is closed when nothing refers to it any more.
    container = ZipContainer(opened)
    for each in opened.infolist():
        if each.is_dir():
            continue
        place = Place(path, each.filename)
        member = Member(path, each.filename, each.header_offset, each.file_size, stamp, container, each)
        try:
            with opened.open(each) as stream:
                yield Candidate(
                    place, read_start(stream), stream, each.file_size, can_reread=True, member=member
                )
        except Exception as error:  # noqa: BLE001
            yield Finding(place, Outcome.UNREADABLE, f"it cannot be read: {in_words(error)}")


def _of_compressed(
    path: str, file: BufferedReader, decompressor: Callable[[Any], Any], stamp: tuple[int, int, int]
) -> Iterator[Found]:
    try:
        with decompressor(file) as plain:
            first = plain.read(_BLOCK)
    except Exception as error:  # noqa: BLE001
        yield _damaged(path, "compressed file", error)
        return
    if not _is_tar(first):
        yield Finding(Place(path), Outcome.SKIPPED, "a compressed file that is not a tar")
        return
    file.seek(0)
    container = CompressedContainer(partial(decompressor, path))
    yield from _of_tar(path, partial(decompressor, file), container, stamp)


def _of_tar(
    path: str, opener: Callable[[], IO[bytes]], container: Container, stamp: tuple[int, int, int]
) -> Iterator[Found]:
    try:
        # Read forward only, as going back in a compressed one would begin anew.
        with opener() as plain, tarfile.open(fileobj=plain, mode="r|", tarinfo=_Header) as tar:
            while (each := tar.next()) is not None:
                # It would come to have the headers of all members.
                tar.members.clear()  # type: ignore[attr-defined]
                if each.isdir():
                    continue
                place = Place(path, each.name)
                stream = tar.extractfile(each) if each.isreg() else None
                if stream is None:
                    yield Finding(place, Outcome.SKIPPED, "not a file, but a link or a device")
                else:
                    member = None
                    if not each.issparse():
                        member = Member(path, each.name, each.offset_data, each.size, stamp, container)
                    yield Candidate(place, read_start(stream), stream, each.size, member=member)
            # The checksum is behind all.
            while plain.read(_REST):
                pass
    except Exception as error:  # noqa: BLE001
        yield _damaged(path, "tar", error)


class _Header(tarfile.TarInfo):
    """A member's header. tarfile takes any that is damaged, but for the first one, for the end of the file."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            found = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined, unused-ignore]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError("it is cut off, or a header is damaged") from error
        if found.type in _EXTENDED and found.size > _LONGEST_EXTENSION:
            raise tarfile.ReadError("a name is too long")
        return found


def _is_tar(start: bytes) -> bool:
    """Whether a block is the header of a member; a block without content is not."""
    try:
        tarfile.TarInfo.frombuf(start[:_BLOCK], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _damaged(path: str, kind: str, error: Exception) -> Finding:
    reason = f"the {kind} is damaged, and what follows in it is lost: {in_words(error)}"
    return Finding(Place(path), Outcome.UNREADABLE, reason)
