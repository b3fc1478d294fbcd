"""What an encoded data set says it is, from its first elements: without decoding, and without the rest of it."""

from __future__ import annotations

import re
from functools import lru_cache
from struct import Struct, error

from ..values import Buffer
from .file_header import Place

_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_UNDEFINED = 0xFFFFFFFF
# Leading zeros in a component break PS3.5 section 9.1, but real devices write them, and they harm no file name.
_UID_FORM = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)


@lru_cache(maxsize=4096)
def is_uid(text: str) -> bool:
    """Whether a text has the form of a UID: digits and dots, 64 characters at most (PS3.5 section 9.1)."""
    return len(text) <= 64 and _UID_FORM.fullmatch(text) is not None


def uid_text(raw: bytes) -> str:
    """The UID that a value holds, without its padding."""
    return raw.rstrip(b"\0 ").decode("ascii", "replace")


def read_identity(
    data: Buffer, *, is_implicit: bool, is_little_endian: bool, places: list[Place] | None = None
) -> tuple[str, str]:
    """SOP Class UID and SOP Instance UID, which stand near the beginning (PS3.5 section 7.1: ascending tags).

    Parameters
    ----------
    data
        The first bytes of the data set.
    is_implicit, is_little_endian
        What its transfer syntax says.
    places
        Takes where each element lies that was looked at. The last one need not lie among these bytes.

    Returns
    -------
    tuple of str
        Each empty where it is not among these bytes.
    """
    order = "<" if is_little_endian else ">"
    tag_and_long, short, long = Struct(order + "HHL"), Struct(order + "H"), Struct(order + "L")
    found = {_SOP_CLASS: "", _SOP_INSTANCE: ""}
    view = memoryview(data)
    at = 0
    try:
        while True:
            group, element, length = tag_and_long.unpack_from(view, at)
            header, begin = at, at + 8
            if not is_implicit:
                if bytes(view[at + 4 : at + 6]) in _LONG_VRS:
                    (length,) = long.unpack_from(view, at + 8)
                    begin = at + 12
                else:
                    (length,) = short.unpack_from(view, at + 6)
            tag = group << 16 | element
            at = begin + length
            if places is not None:
                places.append((tag, header, begin, at))
            if tag > _SOP_INSTANCE or length == _UNDEFINED or at > len(view):
                break
            if tag in found:
                found[tag] = uid_text(bytes(view[begin:at]))
    except error:
        # The prefix ends here.
        pass
    return found[_SOP_CLASS], found[_SOP_INSTANCE]


def guess_encoding(data: Buffer) -> tuple[bool, bool] | None:
    """How a data set without a file header is encoded, from its first element.

    Returns
    -------
    tuple of bool or None
        Whether it is implicit, and whether it is little endian; None where this is no data set.
    """
    first = bytes(data[:8])
    if len(first) < 8:
        return None
    is_little_endian = first[:2] == b"\x08\x00"
    if not is_little_endian and first[:2] != b"\x00\x08":
        return None
    is_explicit = first[4:6].isalpha() and first[4:6].isupper()
    return not is_explicit, is_little_endian
