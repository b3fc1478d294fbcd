"""Specific Character Set (0008,0005): the one table of its terms, well spelt and misspelt, and what each can encode.

The defined terms are those of PS3.3 section C.12.1.1.2. What reads text, what writes it and what builds queries asks
here.
"""

from __future__ import annotations

import codecs as python_codecs
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from pydicom.charset import (
    STAND_ALONE_ENCODINGS,
    custom_encoders,
    default_encoding,
    encode_string,
    python_encoding,
)

UTF_8 = "ISO_IR 192"
"""The defined term of the character set that holds any text."""

GB_2312 = "iso_ir_58"
"""pydicom's codec for ISO 2022 IR 58, whose escape sequence it neither writes nor takes away."""

GB_2312_ESCAPE = b"\x1b$)A"

LATIN_1 = "latin_1"
"""The codec of Latin-1, which pydicom also has for the default repertoire, under another name."""


UNDECLARED = "dicom_undeclared"
"""The codec that reads text of which no character set is told: UTF-8 where it is that, and else Latin-1.

The default repertoire is ASCII (PS3.5 section 6.1.2.1), but real systems write either without a word. Text in Latin-1
is hardly ever well formed as UTF-8 by chance. It is one of Python's codecs, so that pydicom reads with it, too.
"""


def is_utf_8(raw: bytes) -> bool:
    """Whether bytes are well formed as UTF-8."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _read_undeclared(raw: Any, errors: str = "strict") -> tuple[str, int]:
    content = bytes(raw)
    return content.decode("utf-8" if is_utf_8(content) else LATIN_1), len(content)


def _write_undeclared(text: str, errors: str = "strict") -> tuple[bytes, int]:
    return text.encode(LATIN_1 if holds(text, (LATIN_1,)) else "utf-8", errors), len(text)


def _find_undeclared(name: str) -> python_codecs.CodecInfo | None:
    if name != UNDECLARED:
        return None
    return python_codecs.CodecInfo(_write_undeclared, _read_undeclared, name=UNDECLARED)


python_codecs.register(_find_undeclared)


class CharacterSet(NamedTuple):
    """A row of the table.

    Parameters
    ----------
    term
        The defined term; empty where DICOM has none for this character set, and for its default repertoire.
    codec
        The name that Python has for it.
    """

    term: str
    codec: str


# Registration numbers of ISO 8859 parts and Latin alphabets, which many write in place of the defined terms.
_PARTS = {1: 100, 2: 101, 3: 109, 4: 110, 5: 144, 6: 127, 7: 126, 8: 138, 9: 148, 11: 166, 15: 203}
_LATIN_ALPHABETS = {1: 100, 2: 101, 3: 109, 4: 110, 5: 148, 9: 203}
_OTHER_NAMES = {
    "ISO_IR 6": "ASCII USASCII ISO646 ISO646US ANSIX341968",
    "ISO_IR 13": "JISX0201",
    "ISO_IR 166": "TIS620",
    UTF_8: "UTF8 UTF UNICODE ISO10646 ISOIEC10646 ISO106461 UNICODE11UTF8 CP65001",
    "GBK": "CP936 WINDOWS936 GB2312 EUCCN",
    "GB18030": "GB180302000 GB180302005",
    "ISO 2022 IR 149": "EUCKR KSC5601 KSX1001 CP949",
    "ISO 2022 IR 87": "ISO2022JP JISX0208",
    "ISO 2022 IR 159": "ISO2022JP2 JISX0212",
}
# Character sets that DICOM does not have, by what is written for them.
_FOREIGN = {
    "BIG5": "big5",
    "CP950": "cp950",
    "EUCJP": "euc_jp",
    "SHIFTJIS": "cp932",
    "SJIS": "cp932",
    "CP932": "cp932",
    "WINDOWS31J": "cp932",
    "KOI8R": "koi8_r",
    "KOI8U": "koi8_u",
    "ANSI": "cp1252",
    **{f"{name}{number}": f"cp{number}" for name in ("WINDOWS", "CP") for number in range(1250, 1259)},
}


def _spelling(term: str) -> str:
    """What is the same in all spellings of a term."""
    return re.sub("[^A-Z0-9]", "", term.upper())


def _rows() -> dict[str, CharacterSet]:
    codecs = python_encoding | {"ISO_IR 203": "iso8859_15", "ISO 2022 IR 203": "iso8859_15"}
    rows = {_spelling(term): CharacterSet(term, codec) for term, codec in codecs.items()}
    for term in codecs:
        number = term.rpartition(" ")[2]
        single, extended = CharacterSet(term, codecs[term]), f"ISO2022{number}"
        if term.startswith("ISO 2022 IR "):
            rows.setdefault(extended, single)
        # Those of several bytes are defined with code extensions only.
        if number.isdigit() and (term.startswith("ISO_IR ") or f"ISO_IR {number}" not in codecs):
            for name in (f"ISOIR{number}", f"IR{number}", f"ISO{number}"):
                rows.setdefault(name, single)
    for prefixes, numbers in (
        (("ISO8859", "ISOIEC8859", "8859"), _PARTS),
        (("LATIN", "L"), _LATIN_ALPHABETS),
    ):
        for part, registered in numbers.items():
            rows |= {f"{prefix}{part}": rows[f"ISOIR{registered}"] for prefix in prefixes}
    for term, names in _OTHER_NAMES.items():
        rows |= dict.fromkeys(names.split(), rows[_spelling(term)])
    return rows | {name: CharacterSet("", codec) for name, codec in _FOREIGN.items()}


CHARACTER_SETS = _rows()
"""The table: what is the same in all spellings of a term, to the character set it means."""


@lru_cache(256)
def character_set(term: str) -> CharacterSet | None:
    """The character set that a value of Specific Character Set means; None where nobody knows it."""
    return CHARACTER_SETS.get(_spelling(term))


def terms_of(value: object) -> tuple[str, ...]:
    """The terms of a value of Specific Character Set: text, with backslashes between several, or a list."""
    terms = value.split("\\") if isinstance(value, str) else value if isinstance(value, Iterable) else ()
    return tuple(str(term or "").strip(" \0") for term in terms)


@lru_cache(256)
def significant(terms: tuple[str, ...]) -> tuple[str, ...]:
    """The terms that count: without empty ones at the end, and in front where no code extension follows.

    A character set without code extensions stands alone (PS3.5 section 6.1.2.5.4).
    """
    while terms and not terms[-1]:
        terms = terms[:-1]
    found = [character_set(term) for term in terms]
    if terms and not terms[0] and not any(row and row.term.startswith("ISO 2022") for row in found[1:]):
        filled = tuple(filter(None, terms))
        return significant(filled)
    if found and found[0] and found[0].term in STAND_ALONE_ENCODINGS:
        return terms[:1]
    return tuple(
        term
        for number, (term, row) in enumerate(zip(terms, found, strict=True))
        if not (number and row and row.term in STAND_ALONE_ENCODINGS)
    )


def codecs_of(terms: Sequence[str]) -> list[str]:
    """The Python codecs to read text with, by the values of Specific Character Set.

    What is unknown, and with code extensions also what is not told, reads as Latin-1.
    """
    counted = significant(tuple(terms))
    return _codecs_of(counted) if counted else [UNDECLARED]


def _codecs_of(terms: tuple[str, ...]) -> list[str]:
    rows = [character_set(term) for term in terms]
    return [row.codec if row else default_encoding for row in rows] or [default_encoding]


def defined_terms(value: object) -> list[str]:
    """A value of Specific Character Set as the standard spells it, to be sent.

    Raises
    ------
    ValueError
        If one of its terms means nothing that DICOM has.
    """
    defined = []
    for term in significant(terms_of(value)):
        row = character_set(term)
        if row is None or (term and not row.term):
            raise ValueError(f"{term!r} is not a character set of DICOM")
        defined.append(row.term)
    return defined


@lru_cache(1 << 14)
def _is_encodable(character: str, codec: str) -> bool:
    try:
        if codec in custom_encoders:
            custom_encoders[codec](character, errors="strict")
        else:
            character.encode(codec)
    except UnicodeError:
        return False
    return True


def holds(text: str, codecs: Sequence[str]) -> bool:
    """Whether a text can be encoded with some codecs, each character by one of them."""
    return text.isascii() or all(
        character.isascii() or any(_is_encodable(character, codec) for codec in codecs)
        for character in set(text)
    )


class CannotHold(Exception):
    """A text has a character that its character set does not have."""


class TextEncoder(NamedTuple):
    """Encodes the text of one data set, and never replaces a character by another.

    Parameters
    ----------
    codecs
        As pydicom takes them.
    allowed
        Those that a character may be encoded with.
    chosen
        Specific Character Set as it was chosen; empty where it was not.
    is_ascii_based
        Whether a text of ASCII is encoded as it is; other codecs have escape sequences or a yen sign.
    is_by_pieces
        Whether pydicom leaves out escape sequences or refuses what the character set has, so that a text is encoded
        piece by piece, each with its own escape sequence.
    """

    codecs: list[str]
    allowed: tuple[str, ...]
    chosen: str
    is_ascii_based: bool
    is_by_pieces: bool

    def check(self, text: str) -> None:
        """Raise `CannotHold` for a text that cannot be encoded."""
        if not holds(text, self.allowed):
            raise CannotHold

    def encode(self, text: str) -> bytes:
        """Encode a text, or raise `CannotHold`."""
        self.check(text)
        if self.is_by_pieces:
            return b"".join([_encode_piece(piece, self.codecs) for piece in _DELIMITERS.split(text)])
        return encode_string(text, self.codecs)

    def is_for_pydicom(self, text: str, *, is_name: bool) -> bool:
        """Whether pydicom's writer keeps each character of a text that `check` lets pass."""
        pieces = _DELIMITERS.split(text) if is_name else [text]
        return self.codecs != [_JIS_X_0201] or all(
            piece.isascii() or not any(map(str.isascii, piece)) for piece in pieces
        )


_MULTI_BYTE = frozenset(("iso2022_jp", "iso2022_jp_2"))
_JIS_X_0201 = "shift_jis"
"""pydicom's codec for ISO_IR 13, which it uses for a text of either its Latin or its katakana, not of both."""
_ESCAPED = _MULTI_BYTE | {_JIS_X_0201}
_NOT_ASCII = re.compile(r"([^\x00-\x7f]+)")
_ASCII_ESCAPE = b"\x1b(B"
# What ends the reach of an escape sequence (PS3.5 section 6.1.2.5.3).
_DELIMITERS = re.compile(r"([\\^=\r\n\f\t])")


def _encode_piece(piece: str, codecs: list[str]) -> bytes:
    if piece.isascii():
        return piece.encode("ascii")
    if GB_2312 in codecs and _is_all_encodable(piece, GB_2312):
        return GB_2312_ESCAPE + piece.encode(GB_2312)
    if codecs[0] == _JIS_X_0201 and _is_all_encodable(piece, _JIS_X_0201):
        # Both halves are there from the beginning, one in G0 and one in G1.
        return b"".join([custom_encoders[_JIS_X_0201](character, errors="strict") for character in piece])
    if codecs[0] in _MULTI_BYTE:
        # A text begins and ends in ASCII also where nothing but the code extension is declared.
        return b"".join([_encode_run(run, codecs) for run in _NOT_ASCII.split(piece)])
    return encode_string(piece, [each for each in codecs if each != GB_2312])


def _encode_run(run: str, codecs: list[str]) -> bytes:
    if run.isascii():
        return run.encode("ascii")
    for codec in codecs:
        if codec in _MULTI_BYTE and _is_all_encodable(run, codec):
            return custom_encoders[codec](run, errors="strict") + _ASCII_ESCAPE
    return encode_string(run, codecs)


def _is_all_encodable(text: str, codec: str) -> bool:
    return all(_is_encodable(character, codec) for character in text)


@lru_cache(256)
def text_encoder(terms: tuple[str, ...], *, is_strict: bool) -> TextEncoder:
    """The encoder for the terms of Specific Character Set, none where it is absent.

    Parameters
    ----------
    is_strict
        Whether the default repertoire is ASCII, as the standard has it; else it is Latin-1, as many files have it.
    """
    terms = significant(terms)
    codecs = _codecs_of(terms)
    allowed = set()
    for term, codec in zip(terms or ("",), codecs, strict=True):
        row = character_set(term)
        # What DICOM does not have cannot be declared to a peer. An object keeps what it was read with.
        is_ascii = is_strict and (row is None or (term and not row.term) or codec == default_encoding)
        allowed.add("ascii" if is_ascii else codec)
    is_by_pieces = len(codecs) > 1 or are_beyond_pydicom(codecs) or codecs[0] == _JIS_X_0201
    is_ascii_based = codecs[0] not in _ESCAPED
    return TextEncoder(codecs, tuple(sorted(allowed)), "\\".join(terms), is_ascii_based, is_by_pieces)


def are_beyond_pydicom(codecs: Sequence[str]) -> bool:
    """Whether pydicom leaves out escape sequences of these, or fails at names with an empty component."""
    return codecs[0] in _MULTI_BYTE or GB_2312 in codecs[1:]


def load_codecs() -> None:
    """Import all codecs of character sets, which Python otherwise does where one is used for the first time."""
    for name in {*python_encoding.values(), UNDECLARED}:
        python_codecs.lookup(name)
