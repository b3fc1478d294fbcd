"""The header of a DICOM file (PS3.10 section 7.1), to and from bytes, without decoding the data set."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

from .._version import IMPLEMENTATION_CLASS_UID
from ..errors import UnusableObject
from ..values import Buffer, frozen

PREAMBLE = bytes(128)
MAGIC = b"DICM"
# Enough for any file meta information in practice; a longer one says so in its group length.
PREFIX_LENGTH = 2048
_META_LIMIT = 1 << 16

_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2s2xL")
_LONG_VRS = frozenset((b"OB", b"OW", b"UN", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UT", b"UC", b"UR"))

_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010

# An element: its tag, where its header and its value begin, and where it ends.
Place = tuple[int, int, int, int]


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


def decode_file_header(prefix: Buffer, places: list[Place] | None = None) -> FileHeader:
    """Read the preamble and the file meta information.

    Parameters
    ----------
    prefix
        The first bytes of the file, `PREFIX_LENGTH` of them or the whole file.
    places
        Takes where each element lies.

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
    values: dict[int, str] = {}
    at = 132 if bytes(view[128:132]) == MAGIC else 0
    while True:
        if at + 12 > len(view):
            if at == len(view) or at == 0:
                break
            raise HeaderIncomplete(at + 12)
        group, element, vr, length = _SHORT.unpack_from(view, at)
        if group != 2:
            break
        header, begin = at, at + 8
        if vr in _LONG_VRS:
            length = _LONG.unpack_from(view, at)[3]
            begin = at + 12
        at = begin + length
        if at > _META_LIMIT:
            raise UnusableObject("not a usable DICOM file (its file meta information is damaged)")
        if at > len(view):
            raise HeaderIncomplete(at + 12)
        if places is not None:
            places.append((group << 16 | element, header, begin, at))
        if element in (_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX):
            values[element] = bytes(view[begin:at]).rstrip(b"\x00 ").decode("latin-1")
    return FileHeader(
        values.get(_SOP_CLASS, ""), values.get(_SOP_INSTANCE, ""), values.get(_TRANSFER_SYNTAX, ""), at
    )


def encode_file_header(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae_title: str = ""
) -> bytes:
    """The preamble, the DICM mark and the file meta information in front of a received data set.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, transfer_syntax_uid
        UIDs.
    source_ae_title
        AE title of the sender, left out where it is empty.
    """
    before, after = _around_instance(sop_class_uid, transfer_syntax_uid, source_ae_title)
    instance = _short(_SOP_INSTANCE, b"UI", sop_instance_uid.encode("ascii"), b"\x00")
    length = len(before) + len(instance) + len(after)
    return b"".join((_BEGIN, length.to_bytes(4, "little"), before, instance, after))


@lru_cache(maxsize=256)
def _around_instance(
    sop_class_uid: str, transfer_syntax_uid: str, source_ae_title: str
) -> tuple[bytes, bytes]:
    """The file meta information before and behind the instance's UID: the same for many objects."""
    before = _long(0x0001, b"OB", b"\x00\x01") + _short(
        _SOP_CLASS, b"UI", sop_class_uid.encode("ascii"), b"\x00"
    )
    after = _short(_TRANSFER_SYNTAX, b"UI", transfer_syntax_uid.encode("ascii"), b"\x00") + _IMPLEMENTATION
    if source_ae_title:
        after += _short(0x0016, b"AE", source_ae_title.encode("ascii", "replace"), b" ")
    return before, after


def _short(element: int, vr: bytes, value: bytes, padding: bytes) -> bytes:
    if len(value) % 2:
        value += padding
    return _SHORT.pack(2, element, vr, len(value)) + value


def _long(element: int, vr: bytes, value: bytes) -> bytes:
    return _LONG.pack(2, element, vr, len(value)) + value


_IMPLEMENTATION = _short(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode("ascii"), b"\x00")
_BEGIN = PREAMBLE + MAGIC + _SHORT.pack(2, 0x0000, b"UL", 4)
