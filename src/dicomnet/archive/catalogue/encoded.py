"""Response identifiers of C-FIND to bytes: what is written for a `response`, but without making a data set of it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from pydicom import config
from pydicom.valuerep import PersonName

from ...datasets.character_sets import CannotHold, TextEncoder, terms_of, text_encoder
from ...datasets.codec import deflate, encode
from ...datasets.plain import NotPlain, Writer, writers_of
from ...encoding.elements import encoding_of
from ...encoding.vrs import VRS
from .identifiers import QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, Request
from .levels import Attributes
from .matching import NUMBER_VRS
from .responses import character_set_of, offset_of, response, value_of
from .schema import SPECIFIC_CHARACTER_SET, TIMEZONE_OFFSET

# From the text of a value to bytes, without padding.
_Encode = Callable[[str, TextEncoder], bytes]

# Time zones of objects may be other ones without end.
_MOST_LAYOUTS = 32


class _Row(NamedTuple):
    """An element of all responses of a kind.

    Parameters
    ----------
    before
        What is in front of it in each of them.
    empty
        It has no value, and what is in front of it.
    """

    before: bytes
    empty: bytes
    encode: _Encode
    writer: Writer
    group: int
    number: int


class _Layout(NamedTuple):
    """The elements of all responses that have the same character set, by tag; and what is behind them."""

    rows: tuple[_Row, ...]
    behind: bytes
    encoder: TextEncoder


class EncodedResponses:
    """The responses of one query. A value that takes more than writing its text is left to `encode`.

    Parameters
    ----------
    request
        The parsed request.
    how
        Whether the transfer syntax is implicit, little endian and deflated.
    retrieve_ae_title
        Retrieve AE Title (0008,0054) of the responses; left out of them if empty.
    """

    def __init__(
        self, request: Request, how: tuple[bool, bool, bool], *, retrieve_ae_title: str = ""
    ) -> None:
        self._request = request
        self._retrieve_ae_title = retrieve_ae_title
        self._how = how
        self._writers = writers_of(encoding_of(*how[:2]))
        keys = sorted(request.keys, key=lambda key: key.tag)
        self._elements = [(key.tag, key.vr) for key in keys]
        self._names = [f"{key.tag:08X}" for key in keys]
        self._layouts: dict[tuple[str, str], _Layout] = {}

    def encode(self, attributes: Attributes) -> bytes | None:
        """The response for a match; None if it cannot be encoded."""
        encoded = self._encoded(attributes)
        if encoded is None:
            return encode(response(self._request, attributes, self._retrieve_ae_title), *self._how)
        return deflate(encoded) if self._how[2] else encoded

    def _encoded(self, attributes: Attributes) -> bytes | None:
        values = [attributes.get(name) or "" for name in self._names]
        try:
            is_ascii = "".join(values).isascii()
        except TypeError:
            # A sequence that has items.
            return None
        character_set = "" if is_ascii else character_set_of(self._request, attributes)
        offset = offset_of(self._request, attributes)
        layout = self._layouts.get((character_set, offset))
        if layout is None:
            if len(self._layouts) == _MOST_LAYOUTS:
                self._layouts.clear()
            try:
                layout = self._layouts[character_set, offset] = self._layout(character_set, offset)
            except (NotPlain, UnicodeError):
                return None
        encoder = layout.encoder
        if not encoder.is_ascii_based:
            return None
        parts: list[bytes] = []
        try:
            for value, (before, empty, encode_value, writer, group, number) in zip(
                values, layout.rows, strict=True
            ):
                raw = encode_value(value, encoder) if value else b""
                if not raw:
                    parts.append(empty)
                    continue
                if len(raw) & 1:
                    raw += writer.padding
                parts += (before, writer.header(group, number, writer.name, len(raw)), raw)
        except (CannotHold, NotPlain, UnicodeError, OverflowError, struct.error):
            return None
        return b"".join(parts) + layout.behind

    def _layout(self, character_set: str, offset: str) -> _Layout:
        constant = {QUERY_RETRIEVE_LEVEL: ("CS", self._request.level.name)}
        if self._retrieve_ae_title:
            constant[RETRIEVE_AE_TITLE] = ("AE", self._retrieve_ae_title)
        if offset:
            constant[TIMEZONE_OFFSET] = ("SH", offset)
        if character_set:
            constant[SPECIFIC_CHARACTER_SET] = ("CS", character_set)
        rows, before = [], b""
        for tag, vr in sorted([*self._elements, *((tag, vr) for tag, (vr, _) in constant.items())]):
            writer = self._writers[vr]
            group, number = tag >> 16, tag & 0xFFFF
            if tag in constant:
                raw = constant[tag][1].encode("ascii")
                raw += writer.padding * (len(raw) & 1)
                before += writer.header(group, number, writer.name, len(raw)) + raw
            else:
                empty = before + writer.header(group, number, writer.name, 0)
                rows.append(_Row(before, empty, _encode_of(vr, writer), writer, group, number))
                before = b""
        return _Layout(tuple(rows), before, text_encoder(terms_of(character_set), is_strict=False))


def _encode_of(vr: str, writer: Writer) -> _Encode:
    encode_value = writer.encode
    if encode_value is None:
        # Sequences without items.
        return lambda text, encoder: b""
    if vr == "PN":
        return partial(_encode_names, encode_value)
    if vr == "UI":
        return _encode_uids
    if vr in NUMBER_VRS:
        return lambda text, encoder: encode_value(value_of(vr, text), encoder)
    if not VRS[vr].is_text:
        raise NotPlain
    return encode_value


def _encode_names(
    encode_value: Callable[[Any, TextEncoder], bytes], text: str, encoder: TextEncoder
) -> bytes:
    if text.isascii() and "=" not in text:
        return text.encode("ascii")
    names = [PersonName(name, validation_mode=config.IGNORE) for name in text.split("\\")]
    return encode_value(names, encoder)


def _encode_uids(text: str, encoder: TextEncoder) -> bytes:
    if text.split() != [text]:
        # pydicom takes white space away.
        raise NotPlain
    return text.encode("latin-1")
