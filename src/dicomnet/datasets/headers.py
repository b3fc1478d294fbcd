"""What an object says beside its pixels, and where these are: read from a stream without the pixels themselves."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from ..encoding.elements import (
    HEAD_SIZE,
    IMPLICIT_LITTLE,
    IN_HEAD,
    ITEM,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    Encoding,
    elements,
)
from ..encoding.transfer_syntaxes import transfer_syntax
from ..encoding.vrs import BINARY
from ..errors import UnusableObject
from ..values import frozen
from .plain import correct_character_sets, decode_plain
from .pydicom_insides import RAW_DEFAULTS, raw_element
from .structure import representation

# Float Pixel Data, Double Float Pixel Data and Pixel Data.
PIXEL_DATA: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
# What is longer than this, in bytes, is not read where it need not be.
DEFERRED: Final = 1 << 16


@frozen
class PixelData:
    """Where the pixel data of an object is.

    Parameters
    ----------
    tag, vr
        Its element.
    offset
        Where the value begins in the stream, in bytes.
    length
        Of the value, in bytes; None where it is in fragments (PS3.5 section A.4).
    end
        Where the element behind it begins.
    """

    tag: int
    vr: str
    offset: int
    length: int | None
    end: int


def read_header(stream: BinaryIO, transfer_syntax_uid: str) -> tuple[Dataset, PixelData | None]:
    """The data set of an object without its pixels, and where these are.

    Binary values longer than `DEFERRED` that are not in sequences are left out, too. What is left out has a raw element
    with its length and its place in the stream, and None for a value.

    Parameters
    ----------
    stream
        At the beginning of the data set, which is not deflated.
    transfer_syntax_uid
        UID of its transfer syntax.

    Raises
    ------
    UnusableObject
        If it is damaged.
    OSError
        If it cannot be read.
    """
    encoding = transfer_syntax(transfer_syntax_uid).encoding
    data_set = _read(stream, encoding)
    pixels = None
    while (found := _pixel_data(stream, encoding)) is not None:
        pixels = pixels or found
        stream.seek(found.end)
        data_set.update({BaseTag(found.tag): _left_out(found, encoding)})
        # Few have something behind their pixels, such as a signature.
        data_set.update(dict(_read(stream, encoding).items()))
    for tag, element in dict(data_set.items()).items():
        if isinstance(element, RawDataElement) and element.value is None and element.length:
            vr = element.VR or representation(tag, element.length, 0)
            if vr not in BINARY:
                stream.seek(element.value_tell)
                data_set[tag] = element._replace(value=_whole(stream, element.length))
    correct_character_sets(data_set)
    return data_set, pixels


def _read(stream: BinaryIO, encoding: Encoding) -> Dataset:
    plain = _read_plain(stream, encoding)
    if plain is not None:
        return plain
    try:
        return read_dataset(
            stream,
            encoding.is_implicit,
            encoding.is_little_endian,
            stop_when=lambda tag, vr, length: tag in PIXEL_DATA,
            defer_size=DEFERRED,
        )
    except MemoryError:
        raise
    except Exception as error:
        # pydicom raises whatever damaged bytes lead to, also an OSError of its own, which has no number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UnusableObject("its data set is damaged") from error


def _read_plain(stream: BinaryIO, encoding: Encoding) -> Dataset | None:
    """A short data set of plain elements up to its pixel data, in a fraction of the time; None of any other."""
    begin, end = stream.tell(), 0
    start = stream.read(DEFERRED)
    try:
        for tag, _, at, _, stop in elements(start, encoding):
            if tag in PIXEL_DATA:
                end = at
                break
            end = stop
        else:
            # There may be more behind it.
            end = end if len(start) < DEFERRED else len(start) + 1
    except struct.error:
        end = len(start) + 1
    data_set = None
    if end <= len(start):
        data_set = decode_plain(start[:end], encoding.is_implicit, encoding.is_little_endian)
    stream.seek(begin if data_set is None else begin + end)
    return data_set


def _pixel_data(stream: BinaryIO, encoding: Encoding) -> PixelData | None:
    """The pixel data that begins here; None where something else does, or nothing."""
    at = stream.tell()
    start = stream.read(12)
    stream.seek(at)
    if len(start) < HEAD_SIZE:
        return None
    first, length = encoding.head(start, 0)
    tag, vr, form = encoding.beginning(first)
    if tag not in PIXEL_DATA:
        return None
    offset = at + HEAD_SIZE
    if form != IN_HEAD:
        if len(start) < 12:
            raise UnusableObject("its data set is cut off")
        value, length = encoding.value(form, length, start, 0)
        offset = at + value
    vr = vr or representation(tag, length, 0)
    if length != UNDEFINED_LENGTH:
        return PixelData(tag, vr, offset, length, offset + length)
    end = max((end for _, _, end in fragments(stream, offset)), default=offset)
    return PixelData(tag, "OB", offset, None, end + HEAD_SIZE)


def fragments(stream: BinaryIO, offset: int) -> Iterator[tuple[int, int, int]]:
    """The items of encapsulated pixel data, the first of which is the Basic Offset Table (PS3.5 section A.4).

    Parameters
    ----------
    stream
        Has them.
    offset
        Where the value begins, in bytes.

    Yields
    ------
    tuple
        Where an item begins, and where its value begins and ends.

    Raises
    ------
    UnusableObject
        If there is something else.
    """
    while True:
        stream.seek(offset)
        head = stream.read(HEAD_SIZE)
        if len(head) < HEAD_SIZE:
            raise UnusableObject("its pixel data is cut off")
        group, element, length = IMPLICIT_LITTLE.item(head, 0)
        tag = group << 16 | element
        if tag == SEQUENCE_END:
            return
        if tag != ITEM or length == UNDEFINED_LENGTH:
            raise UnusableObject("its pixel data has something other than fragments")
        yield offset, offset + HEAD_SIZE, offset + HEAD_SIZE + length
        offset += HEAD_SIZE + length


def _left_out(pixels: PixelData, encoding: Encoding) -> RawDataElement:
    length = UNDEFINED_LENGTH if pixels.length is None else pixels.length
    how = encoding.is_implicit, encoding.is_little_endian
    return raw_element((BaseTag(pixels.tag), pixels.vr, length, None, pixels.offset, *how, *RAW_DEFAULTS))


def _whole(stream: BinaryIO, length: int) -> bytes:
    content = stream.read(length)
    if len(content) != length:
        raise UnusableObject("its data set is cut off")
    return content
