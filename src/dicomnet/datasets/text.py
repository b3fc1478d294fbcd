"""Attribute values as text: decoded with the character sets of PS3.3 section C.12.1.1.2, and folded to be compared."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from struct import iter_unpack

from pydicom.charset import CODES_TO_ENCODINGS, handled_encodings

from ..drivers.trace import decode_identifiers_by
from ..encoding.vrs import NUMBERS, VRS
from .character_sets import GB_2312, LATIN_1, codecs_of

ESCAPE = b"\x1b"
# What ends the reach of an escape sequence (PS3.5 section 6.1.2.5.3).
_RESETS = re.compile(rb"([\\^=\r\n\f\t])")
_CHARSET_VRS = frozenset(row.name for row in VRS.values() if row.has_character_set)
# Of one value, in which spaces in front count.
_UNTRIMMED_VRS = frozenset(row.name for row in VRS.values() if row.is_text and not row.is_separated)
_MULTIPLE = "\\"


def decode_text(raw: bytes, codecs: Sequence[str]) -> str:
    """Decode a text of one or more values; what cannot be decoded becomes U+FFFD.

    Parameters
    ----------
    raw
        The encoded value.
    codecs
        From `character_sets.codecs_of`.
    """
    if ESCAPE not in raw:
        return raw.decode("ascii") if raw.isascii() else raw.decode(codecs[0], "replace")
    text = []
    codec, prefix = codecs[0], b""
    for piece in re.split(rb"(\x1b[\x20-\x2f]+[\x30-\x7e])", raw):
        if piece in CODES_TO_ENCODINGS:
            codec = CODES_TO_ENCODINGS[piece]
            prefix = piece if codec in handled_encodings and codec != GB_2312 else b""
        elif prefix or codec == codecs[0]:
            # In a character set of several bytes, those of a delimiter may be part of a character.
            text.append((prefix + piece).decode(codec, "replace"))
        else:
            # A delimiter takes G0 and G1 back to the first character set.
            for number, part in enumerate(_RESETS.split(piece)):
                text.append(part.decode(codec if number == 0 else codecs[0], "replace"))
    return "".join(text)


def _decode_by_terms(raw: bytes, terms: str) -> str:
    return decode_text(raw, codecs_of(terms.split(_MULTIPLE)))


# Who reads identifiers has loaded this; the log below does not know character sets.
decode_identifiers_by(_decode_by_terms)


def value_text(vr: str, raw: bytes, codecs: Sequence[str], byte_order: str) -> str:
    """An encoded value as text, several values with a backslash between them, without padding.

    Parameters
    ----------
    vr
        Its value representation, not SQ.
    raw
        The encoded value.
    codecs
        From `character_sets.codecs_of`.
    byte_order
        ``little`` or ``big``.
    """
    if vr in NUMBERS:
        form = ("<" if byte_order == "little" else ">") + NUMBERS[vr]
        size = VRS[vr].unit
        whole = raw[: len(raw) // size * size]
        return _MULTIPLE.join(str(number) for (number,) in iter_unpack(form, whole))
    text = decode_text(raw, codecs) if vr in _CHARSET_VRS else raw.decode(LATIN_1)
    return trimmed(vr, text)


def trimmed(vr: str, text: str) -> str:
    """A text without the padding that is not significant (PS3.5 section 6.2)."""
    if vr in _UNTRIMMED_VRS:
        return text.rstrip(" \0")
    if _MULTIPLE in text:
        return _MULTIPLE.join(value.strip(" \0") for value in text.split(_MULTIPLE))
    return text.strip(" \0")


def values_of(vr: str, text: str) -> list[str]:
    """The values of a text; none where it is empty."""
    if not text:
        return []
    return [text] if vr in _UNTRIMMED_VRS else text.split(_MULTIPLE)


def folded(text: str) -> str:
    """A text without case, in which ß is the same as ss."""
    return unicodedata.normalize("NFC", text.casefold())


def folded_name(name: str) -> tuple[str, str, str]:
    """The three component groups of a person name, without case, padding and empty components at the end."""
    return _groups(folded(name))


def narrowly_folded_name(name: str) -> tuple[str, str, str]:
    """As `folded_name`, but each character stays one character: ß is not the same as ss."""
    return _groups("".join(map(_folded_character, unicodedata.normalize("NFC", name))))


def _folded_character(character: str) -> str:
    for folded in (character.casefold(), character.lower()):
        if len(folded) == 1:
            return folded
    return character


def _groups(name: str) -> tuple[str, str, str]:
    alphabetic, ideographic, phonetic = (
        "^".join(component.strip(" ") for component in group.split("^")).rstrip("^")
        for group in f"{name}==".split("=")[:3]
    )
    return alphabetic, ideographic, phonetic
