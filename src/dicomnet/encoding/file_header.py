"""The header of a DICOM file (PS3.10 section 7.1), to and from bytes, without decoding the data set."""

from __future__ import annotations

import struct
from functools import lru_cache

from .._version import IMPLEMENTATION_CLASS_UID
from ..errors import UnusableObject
from ..values import Buffer, frozen
from .elements import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding, elements, looks_like_vr
from .vrs import VRS

PREAMBLE = bytes(128)
MAGIC = b"DICM"
# Enough for any file meta information in practice; a longer one says so in its group length.
PREFIX_LENGTH = 2048
_META_LIMIT = 1 << 16

BEGIN = len(PREAMBLE) + len(MAGIC)
# Of a header of 12 bytes, which is the longest that an element may have.
_HEADER_LIMIT = 12
_GROUP_2 = b"\x02\0"

# The SOP class of a DICOMDIR, which is not an object but says which files have them.
MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
SOP_CLASS, SOP_INSTANCE, TRANSFER_SYNTAX = 0x00020002, 0x00020003, 0x00020010
"""Media Storage SOP Class UID and SOP Instance UID, and Transfer Syntax UID, of the file meta information."""


class HeaderIncomplete(Exception):
    """More bytes are needed to read the header.

    Parameters
    ----------
    needed
        How many bytes from the start of the file.
    """

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


@frozen
class FileHeader:
    """What the file meta information says, and where the data set begins.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, transfer_syntax_uid
        UIDs; empty where the file has none.
    offset
        Where the data set begins, in bytes.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int


def decode_file_header(prefix: Buffer, *, is_whole: bool = False) -> FileHeader:
    """Read the preamble and the file meta information.

    Parameters
    ----------
    prefix
        The first bytes of the file, `PREFIX_LENGTH` of them or the whole file.
    is_whole
        Whether it is known to be the whole file, so that a few bytes at its end are its data set, if they do not begin
        as file meta information does.

    Returns
    -------
    FileHeader
        Without preamble and mark, as some old files are, what there is of it: maybe nothing, with an offset of 0.

    Raises
    ------
    HeaderIncomplete
        If the file meta information is longer than what was given.
    UnusableObject
        If the file meta information is damaged.
    """
    view = memoryview(prefix)
    values = {SOP_CLASS: "", SOP_INSTANCE: "", TRANSFER_SYNTAX: ""}
    begin = at = BEGIN if bytes(view[BEGIN - len(MAGIC) : BEGIN]) == MAGIC else 0
    try:
        for tag, _, at, start, end in elements(view, meta_encoding(view, begin), begin):
            if tag >> 16 != 2:
                break
            at = end
            if end > _META_LIMIT:
                raise UnusableObject("not a usable DICOM file (its file meta information is damaged)")
            if end > len(view):
                break
            if tag in values:
                values[tag] = bytes(view[start:end]).rstrip(b"\x00 ").lstrip(b" ").decode("latin-1")
    except struct.error:
        # The data set may begin with what is too short for a header.
        pass
    is_over = is_whole and at < len(view) and bytes(view[at : at + 2]) != _GROUP_2[: len(view) - at]
    if at and at != len(view) and at + _HEADER_LIMIT > len(view) and not is_over:
        raise HeaderIncomplete(at + _HEADER_LIMIT)
    return FileHeader(values[SOP_CLASS], values[SOP_INSTANCE], values[TRANSFER_SYNTAX], at)


def meta_encoding(prefix: Buffer, begin: int = BEGIN) -> Encoding:
    """How file meta information is encoded: by the standard in explicit VR little endian, but some write no VRs.

    Parameters
    ----------
    prefix
        The first bytes of the file.
    begin
        Where the file meta information begins in them.
    """
    # Of an implicit element these are part of a length that is far beyond any limit, if they look like a VR.
    first = bytes(prefix[begin : begin + 6])
    is_implicit = first[:2] == _GROUP_2 and len(first) == 6 and not looks_like_vr(first[4:])
    return IMPLICIT_LITTLE if is_implicit else EXPLICIT_LITTLE


def encode_file_header(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae_title: str = ""
) -> bytes:
    """The preamble, the DICM mark and the file meta information in front of a received data set.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, transfer_syntax_uid
        UIDs, as they came.
    source_ae_title
        AE title of the sender, left out where it is empty.
    """
    before, after = _around_instance(sop_class_uid, transfer_syntax_uid, source_ae_title)
    instance = _element(SOP_INSTANCE, "UI", sop_instance_uid.encode("latin-1", "replace"))
    length = len(before) + len(instance) + len(after)
    return b"".join((_START, length.to_bytes(4, "little"), before, instance, after))


@lru_cache(maxsize=256)
def _around_instance(
    sop_class_uid: str, transfer_syntax_uid: str, source_ae_title: str
) -> tuple[bytes, bytes]:
    """The file meta information before and behind the instance's UID: the same for many objects."""
    before = _element(0x00020001, "OB", b"\x00\x01") + _element(
        SOP_CLASS, "UI", sop_class_uid.encode("latin-1", "replace")
    )
    after = (
        _element(TRANSFER_SYNTAX, "UI", transfer_syntax_uid.encode("latin-1", "replace")) + _IMPLEMENTATION
    )
    if source_ae_title:
        after += _element(0x00020016, "AE", source_ae_title.encode("ascii", "replace"))
    return before, after


def _element(tag: int, vr: str, value: bytes) -> bytes:
    if len(value) % 2:
        value += VRS[vr].padding
    return EXPLICIT_LITTLE.header(tag, vr, len(value)) + value


_IMPLEMENTATION = _element(0x00020012, "UI", IMPLEMENTATION_CLASS_UID.encode("ascii"))
# Up to the value of the Group Length.
_START = PREAMBLE + MAGIC + EXPLICIT_LITTLE.header(0x00020000, "UL", 4)
