"""Files as sources of data sets: the header is read once, the data set is sent as it lies there."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from io import BytesIO, FileIO
from typing import TYPE_CHECKING, Protocol

from ..dimse.datasets import AnyFile, FileRange, Readable
from ..encoding.elements import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    HEAD_SIZE,
    IMPLICIT_LITTLE,
    UNDEFINED_LENGTH,
    elements,
)
from ..encoding.file_header import (
    BEGIN,
    MAGIC,
    PREFIX_LENGTH,
    FileHeader,
    HeaderIncomplete,
    decode_file_header,
)
from ..encoding.identity import guess_encoding, read_identity
from ..encoding.known_files import KnownFiles
from ..encoding.transfer_syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TransferSyntax,
    transfer_syntax,
)
from ..errors import ServiceRefusal, UnusableObject
from ..values import frozen
from .reading import NotDICOM, check_kind, open_file, stamp_of, stamp_of_stream, state_of

if TYPE_CHECKING:
    from ..encoding.scan import HeaderScanner

# For files that name no transfer syntax. There is none that is implicit and big endian.
_GUESSED = {
    IMPLICIT_LITTLE: IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_LITTLE: EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_BIG: EXPLICIT_VR_BIG_ENDIAN,
}
_CUT_OFF = "the data set is cut off: an element, item or sequence in it has no end"
_INFLATES_IN_PART = "the deflated data set ends too early"
# A data set that is shorter, in bytes, has no UIDs to tell it by, also where it is deflated.
_SHORTEST = 64
# The length of an attribute without a value.
_SHORTEST_ATTRIBUTE = 8
_PIXEL_DATA = 0x7FE00010
_known = KnownFiles()
# How much of a file is read at once where its end is looked for, in bytes.
_WINDOW = 1 << 13
# Sequence Delimitation Item, the last one of pixel data in fragments.
_FRAGMENTS_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


class Source(Protocol):
    """An open file or stream, as far as a header is read from it."""

    def read(self, size: int, /) -> bytes | None:
        """Further bytes."""
        ...


@frozen
class StoredObject:
    """A DICOM file that can be sent.

    Parameters
    ----------
    file
        The file.
    header
        What its file meta information says.
    length
        Of the data set, in bytes.
    stamp
        See `stamp_of` and `stamp_of_stream`.
    state
        See `state_of`; of a member that of the file in which it is. None where it is not known.
    """

    file: AnyFile
    header: FileHeader
    length: int
    stamp: tuple[int, ...] | None = None
    state: tuple[int, int, int] | None = None

    @property
    def data(self) -> FileRange:
        """The data set, to be sent."""
        padding = 0
        if self.length % 2:
            padding = int(transfer_syntax(self.header.transfer_syntax_uid).is_deflated)
        return FileRange(self.file, self.header.offset, self.length, padding, self.stamp)


def open_object(path: str | os.PathLike[str]) -> StoredObject:
    """Read what is needed to send a file: its header, and the first elements of its data set.

    The data set's own UIDs go before those of the file meta information, where both are there and differ.

    Raises
    ------
    UnusableObject
        If it is not a DICOM file (`NotDICOM`), lacks what is needed to send it, or is cut off.
    OSError
        If it cannot be read.
    """
    return read_object(path)[0]


def read_object(
    file: AnyFile, limit: int = 0, *, is_whole: bool = False
) -> tuple[StoredObject, memoryview | None]:
    """As `open_object`, and the data set besides where the file is small.

    Parameters
    ----------
    file
        The file.
    limit
        The most bytes of a file that is read as a whole.
    is_whole
        Whether it is known that the data set is not cut off.

    Returns
    -------
    StoredObject, memoryview or None
        The data set, None where it is left to be read when it is sent.
    """
    if not isinstance(file, str | os.PathLike):
        return _read_stream(file, limit, is_whole=is_whole)
    descriptor = open_file(file)
    try:
        status = os.fstat(descriptor)
        check_kind(status)
        size = status.st_size
        start = os.read(descriptor, size if _WINDOW < size <= limit else _WINDOW)
        header = _known.recognize(start)
        if header is None:
            header, _ = _decode_and_learn(FileIO(descriptor, closefd=False), start)
        if not is_whole:
            read = partial(os.pread, descriptor) if hasattr(os, "pread") else None
            if not check_end(header, start, size, read):
                _check_rest(header, descriptor)
    finally:
        os.close(descriptor)
    length, content = _data_set_of(header, size, start, limit)
    return StoredObject(file, header, length, stamp_of(status), state_of(status)), content


def _read_stream(file: Readable, limit: int, *, is_whole: bool) -> tuple[StoredObject, memoryview | None]:
    with file.open() as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        start = stream.read(size if PREFIX_LENGTH < size <= limit else PREFIX_LENGTH)
        header, _ = identify(stream, start)
        if not is_whole:
            check_end(header, start, size)
        length, content = _data_set_of(header, size, start, limit)
        stamp = None if content is not None else stamp_of_stream(stream, header.offset)
    return StoredObject(file, header, length, stamp), content


def object_in(content: bytes, file: AnyFile) -> tuple[StoredObject, memoryview | None]:
    """As `read_object`, for the content of a file that was read as a whole; None for a data set of odd length."""
    header = _known.recognize(content)
    if header is None:
        stream = BytesIO(content)
        header, _ = _decode_and_learn(stream, stream.read(PREFIX_LENGTH))
    length, data = _data_set_of(header, len(content), content, len(content))
    return StoredObject(file, header, length), data


def _data_set_of(header: FileHeader, size: int, start: bytes, limit: int) -> tuple[int, memoryview | None]:
    """The length of the data set of a file, and the data set where it was read at once."""
    length = size - header.offset
    if length <= 0:
        raise UnusableObject("the file has no data set")
    if length < _SHORTEST and len(start) >= size:
        _check_short(header, start[header.offset :])
    # One of odd length might need padding.
    is_complete = len(start) == size <= limit and length % 2 == 0
    return length, memoryview(start)[header.offset :] if is_complete else None


def check_end(
    header: FileHeader, start: bytes, size: int, read: Callable[[int, int], bytes] | None = None
) -> bool:
    """Look for the end of a data set: at hand is its beginning, and those of a series have the same headers.

    Parameters
    ----------
    header
        What the file says of itself.
    start
        Its first bytes.
    size
        Of the file, in bytes.
    read
        Gives so many bytes from a place in it. Without it, sequences and fragments that go on behind the beginning are
        not looked at.

    Returns
    -------
    bool
        Whether the end was found; else nothing is known.

    Raises
    ------
    UnusableObject
        If the data set ends in the middle of an element.
    """
    data, syntax_uid = memoryview(start)[header.offset :], header.transfer_syntax_uid
    begin = at = header.offset
    if at >= size:
        return True
    scanner = _ends()
    while (at := at + scanner.reach(data, size - at, syntax_uid)) < size:
        if read is None or begin + len(data) >= min(size, at + _WINDOW):
            # Here is something that is not known.
            break
        begin, data = at, memoryview(read(_WINDOW, at))
        if len(data) < min(_WINDOW, size - at):
            # The file has become shorter meanwhile.
            return False
    else:
        return True
    beginning, syntax = memoryview(start)[header.offset :], transfer_syntax(syntax_uid)
    if not syntax.is_deflated and guess_encoding(beginning) not in (None, syntax.encoding):
        # Some writers lie about it, and some readers do not mind.
        return True
    if len(start) >= size:
        _scan_end(syntax, partial(scanner.scan, beginning, syntax_uid))
        return True
    if syntax.is_deflated:
        return False
    with suppress(struct.error):
        for tag, _, _, value, end in elements(data, syntax.encoding, at - begin):
            if end - value == UNDEFINED_LENGTH:
                return (
                    read is not None
                    and tag == _PIXEL_DATA
                    and read(HEAD_SIZE, size - HEAD_SIZE) == _FRAGMENTS_END
                )
            if begin + end > size:
                raise UnusableObject(_CUT_OFF)
    return False


def _check_rest(header: FileHeader, descriptor: int) -> None:
    # Nearly all files are like others that were looked at.
    from .scanning import scan_file

    syntax_uid = header.transfer_syntax_uid
    _scan_end(transfer_syntax(syntax_uid), partial(scan_file, _ends(), descriptor, header.offset, syntax_uid))


@lru_cache(1)
def _ends() -> HeaderScanner:
    """What finds the ends of data sets. A requestor that stores nothing starts without it."""
    from ..encoding.scan import HeaderScanner

    return HeaderScanner({})


def _scan_end(syntax: TransferSyntax, scan: Callable[[], object]) -> None:
    """Refuse a data set that is cut off. What else is wrong with it is for the peer to judge, which may take it."""
    from ..encoding.walk import CutOff

    try:
        scan()
    except CutOff:
        raise UnusableObject(_INFLATES_IN_PART if syntax.is_deflated else _CUT_OFF) from None
    except ServiceRefusal:
        pass


def _check_short(header: FileHeader, data: bytes) -> None:
    """Refuse what there is of a data set, if there is no whole attribute in it."""
    if not transfer_syntax(header.transfer_syntax_uid).is_deflated:
        if len(data) < _SHORTEST_ATTRIBUTE:
            raise UnusableObject("the data set is cut off")
        return
    # Few files are like that, and much starts without it.
    import zlib

    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = stream.decompress(data)
    except zlib.error:
        raise UnusableObject("the data set is not a deflate stream") from None
    if not stream.eof:
        raise UnusableObject(_INFLATES_IN_PART)
    if not content:
        raise UnusableObject("the data set is empty")


def identify(file: Source, start: bytes) -> tuple[FileHeader, bytes]:
    """The header of an open file, as of `open_object`, and as much as was read with it.

    Parameters
    ----------
    file
        Where to read on.
    start
        What was read of it already, `PREFIX_LENGTH` bytes or the whole file.

    Raises
    ------
    UnusableObject
        As `open_object`.
    OSError
        If it cannot be read.
    """
    known = _known.recognize(start)
    return (known, start) if known is not None else _decode_and_learn(file, start)


def _decode_and_learn(file: Source, start: bytes) -> tuple[FileHeader, bytes]:
    """The header of a file whose layout is not known."""
    try:
        header, prefix = read_header(file, start)
    except UnusableObject as error:
        if start[BEGIN - len(MAGIC) : BEGIN] != MAGIC:
            raise NotDICOM(error.cause) from error
        raise
    header = _identify(header, memoryview(prefix)[header.offset :])
    syntax = transfer_syntax(header.transfer_syntax_uid)
    if not syntax.is_deflated:
        _known.learn(start, header, syntax.encoding)
    return header, prefix


def read_header(file: Source, start: bytes = b"") -> tuple[FileHeader, bytes]:
    """Read the file meta information of an open file, and as much as was read with it.

    Parameters
    ----------
    file
        Where to read on.
    start
        What was read of it already.

    Raises
    ------
    UnusableObject
        If it is damaged.
    OSError
        If it cannot be read.
    """
    prefix = start or file.read(PREFIX_LENGTH) or b""
    while True:
        try:
            return decode_file_header(prefix), prefix
        except HeaderIncomplete as incomplete:
            more = file.read(max(incomplete.needed, PREFIX_LENGTH))
            if not more:
                return _decode_whole(prefix), prefix
            prefix += more


def _decode_whole(content: bytes) -> FileHeader:
    """The header of a file in which next to nothing is behind it."""
    try:
        return decode_file_header(content, is_whole=True)
    except HeaderIncomplete:
        raise UnusableObject("the file meta information is cut off") from None


def _identify(header: FileHeader, data: memoryview) -> FileHeader:
    transfer_syntax_uid = header.transfer_syntax_uid
    if not transfer_syntax_uid:
        guessed = guess_encoding(data)
        if guessed not in _GUESSED:
            if header.offset:
                raise UnusableObject("its transfer syntax is not known: the file does not say it")
            raise NotDICOM("not a DICOM file")
        transfer_syntax_uid = _GUESSED[guessed]
    syntax = transfer_syntax(transfer_syntax_uid)
    sop_class, sop_instance = header.sop_class_uid, header.sop_instance_uid
    if not syntax.is_deflated:
        found = read_identity(data, syntax.encoding)
        sop_class, sop_instance = found[0] or sop_class, found[1] or sop_instance
    for value, name in ((sop_class, "SOP Class UID"), (sop_instance, "SOP Instance UID")):
        if not value and not (header.offset or sop_class or sop_instance):
            # Others begin with these two bytes, too.
            raise NotDICOM("not a DICOM file")
        if not value:
            raise UnusableObject(f"it has no {name}")
    return FileHeader(sop_class, sop_instance, transfer_syntax_uid, header.offset)
