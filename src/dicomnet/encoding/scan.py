"""The header scanner: walks encoded data sets to their ends and picks the attributes that are wanted of them.

It has no data dictionary and touches no pixel data.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from ..values import Buffer, frozen
from . import walk
from .elements import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, ITEM, UNDEFINED_LENGTH, Encoding
from .identity import uid_text
from .known_headers import ITEM_MARK, KnownHeaders
from .transfer_syntaxes import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from .walk import CANNOT_UNDERSTAND, CutOff, Walk, item_encoding, refuse

INFLATED_LIMIT = 32 << 20
# Below the floor any ratio is harmless; above it, more than this is not a medical image.
RATIO_LIMIT, RATIO_FLOOR = 500, 4 << 20

# The private syntax of GE differs in its pixel data only.
IMPLICIT_VR_SYNTAXES = frozenset((IMPLICIT_VR_LITTLE_ENDIAN, "1.2.840.113619.5.2"))
DEFLATED_SYNTAXES = frozenset(row.uid for row in TRANSFER_SYNTAXES.values() if row.is_deflated)
# What zlib and gzip writers leave behind the stream, and the byte that makes its length even.
_DEFLATE_TRAILER = 9
# Orthanc's C-STORE SCP writes as many as make the file as long as the data set was before.
_ZEROS = "there are zeros behind the deflated data set"


@frozen
class Header:
    """What a walk over a data set found.

    Parameters
    ----------
    values
        For each wanted tag that is present, its VR and its value as encoded, unless that is longer than
        `walk.VALUE_LIMIT`. The value of a sequence is all that follows its length field, with the delimiters that are
        there.
    pixel_data
        Where the (Float, Double Float) Pixel Data element begins, in bytes from the start of the data set, inflated if
        it was deflated; None where there is none.
    encoding
        How the values are encoded.
    irregular
        What of its form breaks the standard, in words, though nothing of it is lost; see `walk.Walk`.
    """

    values: Mapping[int, tuple[str, bytes]]
    pixel_data: int | None
    encoding: Encoding
    irregular: tuple[str, ...] = ()

    def uid(self, tag: int) -> str:
        """A UID without its padding, empty where the attribute is absent."""
        found = self.values.get(tag)
        return _uid(found[1]) if found else ""


# Most of an object are those of the one before it.
_uid = lru_cache(maxsize=64)(uid_text)


class HeaderScanner:
    """Scans data sets, and learns of each how others like it are laid out: a scan of those takes a tenth of the time.

    What it finds is what `scan` finds. May be shared between threads.

    Parameters
    ----------
    wanted
        The tags to pick, each with the VR to report where the encoding does not tell it.
    is_strict
        Whether data sets in an irregular form are refused; see `walk.Walk`.
    """

    def __init__(self, wanted: Mapping[int, str], *, is_strict: bool = False) -> None:
        self._wanted = dict(wanted)
        self._is_strict = is_strict
        self._known = KnownHeaders()

    def scan(self, data: Buffer, transfer_syntax_uid: str) -> Header:
        """Walk a data set to its end, check its structure and pick attributes of its top level.

        Parameters
        ----------
        data
            The encoded data set, without preamble and file meta information.
        transfer_syntax_uid
            UID of its transfer syntax.

        Raises
        ------
        ServiceRefusal
            With status 0xC000, if the data set does not parse to its end, or goes beyond a limit.
        """
        content, encoding, forms = _native(data, transfer_syntax_uid, is_strict=self._is_strict)
        self._known.count()
        recognized = None if forms else self._recognize(content, len(content), encoding)
        if recognized is not None:
            return recognized
        return _walk(content, encoding, self._wanted, self._known, forms, is_strict=self._is_strict)

    def scan_items(self, header: Header, tag: int) -> list[Header]:
        """Pick attributes of the items of a sequence that was found.

        Parameters
        ----------
        header
            Where the sequence is.
        tag
            Its tag.

        Raises
        ------
        ServiceRefusal
            With status 0xC000, if the value is not a sequence.
        """
        data, encoding = header.values[tag][1], header.encoding
        found = []
        at = 0
        while at + 8 <= len(data):
            group, element, length = encoding.item(data, at)
            at += 8
            if group << 16 | element != ITEM:
                break
            content = data[at : len(data) if length == UNDEFINED_LENGTH else at + length]
            self._known.count()
            is_open = length == UNDEFINED_LENGTH
            of_item = item_encoding(content, 0, encoding)
            item = Walk(content, of_item, self._wanted, self._known, is_item=is_open)
            item.run()
            found.append(Header(item.values, item.pixel_data, of_item))
            at += item.at
        return found

    def recognize(self, head: Buffer, length: int, transfer_syntax_uid: str) -> Header | None:
        """The header of a data set that lies from its first byte to its last as others did; None of any other.

        Parameters
        ----------
        head
            Its beginning. None is the answer, too, where more would have to be looked at.
        length
            Of the data set, in bytes.
        transfer_syntax_uid
            UID of its transfer syntax.
        """
        if transfer_syntax_uid in DEFLATED_SYNTAXES:
            return None
        self._known.count()
        return self._recognize(head, length, _encoding_of(transfer_syntax_uid))

    def reach(self, data: Buffer, length: int, transfer_syntax_uid: str) -> int:
        """How far a data set lies as others did, in bytes, which may be behind what is at hand.

        Parameters
        ----------
        data
            Its beginning, or the beginning of any element of its top level.
        length
            From there to the end of the data set, in bytes.
        transfer_syntax_uid
            UID of its transfer syntax.
        """
        if transfer_syntax_uid in DEFLATED_SYNTAXES:
            return 0
        self._known.count()
        return self._follow(data, length, _encoding_of(transfer_syntax_uid)).at

    def _recognize(self, data: Buffer, length: int, encoding: Encoding) -> Header | None:
        found = self._follow(data, length, encoding)
        # What is there twice has to be looked at.
        if not found.at or found.at != length or not found.is_plain:
            return None
        return Header(found.values, found.pixel_data, encoding)

    def _follow(self, data: Buffer, length: int, encoding: Encoding) -> _Followed:
        known = self._known.table(encoding, True)
        read_head = encoding.head
        values: dict[int, tuple[str, bytes]] = {}
        pixel_data = None
        at = steps = count = 0
        # What comes next may not be at hand.
        with suppress(struct.error):
            while at + 8 <= length:
                stretch = known.get(read_head(data, at))
                if (
                    stretch is None
                    or at + stretch.length > length
                    or stretch.read(data, at) != stretch.between
                    or (stretch.suspicious is not None and ITEM_MARK in stretch.suspicious(data, at))
                ):
                    break
                if stretch.pick is not None:
                    values.update(
                        zip(stretch.tags, zip(stretch.vrs, stretch.pick(data, at), strict=True), strict=True)
                    )
                    count += len(stretch.tags)
                if stretch.pixel_data is not None:
                    pixel_data = at + stretch.pixel_data
                steps += stretch.steps
                at += stretch.length
        return _Followed(at, values, pixel_data, len(values) == count and steps <= walk.ELEMENT_LIMIT)


class _Followed(NamedTuple):
    """What `HeaderScanner` knows without a walk: up to where, what is there, and whether each is there once."""

    at: int
    values: dict[int, tuple[str, bytes]]
    pixel_data: int | None
    is_plain: bool


def scan(
    data: Buffer, transfer_syntax_uid: str, wanted: Mapping[int, str], *, is_strict: bool = False
) -> Header:
    """Scan one data set, and learn nothing of it; see `HeaderScanner.scan`."""
    content, encoding, forms = _native(data, transfer_syntax_uid, is_strict=is_strict)
    return _walk(content, encoding, wanted, forms=forms, is_strict=is_strict)


def _walk(
    data: Buffer,
    encoding: Encoding,
    wanted: Mapping[int, str],
    known: KnownHeaders | None = None,
    forms: tuple[str, ...] = (),
    *,
    is_strict: bool,
) -> Header:
    one = Walk(data, encoding, wanted, known, is_strict=is_strict)
    one.run()
    return Header(one.values, one.pixel_data, encoding, (*forms, *one.irregular))


def _native(
    data: Buffer, transfer_syntax_uid: str, *, is_strict: bool
) -> tuple[Buffer, Encoding, tuple[str, ...]]:
    """A data set that is not deflated, or not any more; how its elements are encoded; and what is irregular."""
    if transfer_syntax_uid not in DEFLATED_SYNTAXES:
        return data, _encoding_of(transfer_syntax_uid), ()
    content, has_zeros = _inflate(data)
    if has_zeros and is_strict:
        refuse(_ZEROS)
    return content, EXPLICIT_LITTLE, (_ZEROS,) if has_zeros else ()


def _encoding_of(transfer_syntax_uid: str) -> Encoding:
    """How a data set that is not deflated is encoded."""
    if transfer_syntax_uid in IMPLICIT_VR_SYNTAXES:
        return IMPLICIT_LITTLE
    return EXPLICIT_BIG if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else EXPLICIT_LITTLE


def _inflate(data: Buffer) -> tuple[bytes, bool]:
    """Inflate a raw deflate stream (RFC 1951, PS3.5 section A.5) within the limits; whether zeros are behind it."""
    if not len(data):
        refuse("the data set is empty")
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    pieces: list[bytes] = []
    total = used = 0
    while not stream.eof:
        chunk = stream.unconsumed_tail
        if not chunk:
            # A view would live on in the traceback of a refusal, and a file under it could not be unmapped.
            chunk = bytes(data[used : used + 65536])
            used += len(chunk)
        try:
            piece = stream.decompress(chunk, 1 << 20)
        except zlib.error:
            refuse("the data set is not a deflate stream")
        if not piece and not chunk:
            raise CutOff(CANNOT_UNDERSTAND, "the deflated data set ends too early")
        total += len(piece)
        if total > INFLATED_LIMIT or (total > RATIO_FLOOR and total > used * RATIO_LIMIT):
            refuse("the deflated data set inflates beyond the limit")
        pieces.append(piece)
    has_more = len(data) - used + len(stream.unused_data) > _DEFLATE_TRAILER
    if has_more and not (
        _is_zero(stream.unused_data)
        and all(_is_zero(data[at : at + 65536]) for at in range(used, len(data), 65536))
    ):
        refuse("there is something behind the deflated data set")
    return b"".join(pieces), has_more


def _is_zero(data: Buffer) -> bool:
    return not bytes(data).strip(b"\0")
