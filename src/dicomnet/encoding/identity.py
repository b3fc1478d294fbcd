"""What an encoded data set says it is, from its first elements: without decoding, and without the rest of it."""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from functools import lru_cache

from ..values import Buffer
from .elements import Encoding, elements, encoding_of, looks_like_vr

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
# Leading zeros in a component break PS3.5 section 9.1, but real devices write them, and they harm no file name.
_UID_FORM = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)


@lru_cache(maxsize=4096)
def is_uid(text: str) -> bool:
    """Whether a text has the form of a UID: digits and dots, 64 characters at most (PS3.5 section 9.1)."""
    return len(text) <= 64 and _UID_FORM.fullmatch(text) is not None


def fits_command(uid: str) -> bool:
    """Whether a value can stand in a command set as one UID, be its form as it may: real devices break the rules."""
    return 0 < len(uid) <= 64 and uid.isascii() and uid.isprintable() and "\\" not in uid


def uid_text(raw: bytes) -> str:
    """The UID that a value holds, without its padding: real devices also put blanks in front of it."""
    return raw.rstrip(b"\0 ").lstrip(b" ").decode("ascii", "replace")


def read_identity(data: Buffer, encoding: Encoding) -> tuple[str, str]:
    """SOP Class UID and SOP Instance UID, which stand near the beginning (PS3.5 section 7.1: ascending tags).

    Parameters
    ----------
    data
        The first bytes of the data set.
    encoding
        What its transfer syntax says.

    Returns
    -------
    tuple of str
        Each empty where it is not among these bytes.
    """
    found = {SOP_CLASS_UID: "", SOP_INSTANCE_UID: ""}
    view = memoryview(data)
    # The bytes may end inside a header.
    with suppress(struct.error):
        for tag, _, _, start, end in elements(view, encoding):
            if tag > SOP_INSTANCE_UID or end > len(view):
                break
            if tag in found:
                found[tag] = uid_text(bytes(view[start:end]))
    return found[SOP_CLASS_UID], found[SOP_INSTANCE_UID]


def guess_encoding(data: Buffer) -> Encoding | None:
    """How a data set without a file header is encoded, from its first element; None where this is not a data set."""
    first = bytes(data[:8])
    if len(first) < 8:
        return None
    is_little_endian = first[:2] == b"\x08\x00"
    if not is_little_endian and first[:2] != b"\x00\x08":
        return None
    return encoding_of(not looks_like_vr(first[4:6]), is_little_endian)
