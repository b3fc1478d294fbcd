"""What the index keeps of an object: the attributes of each level, read from its header."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from itertools import islice
from time import time

from ...datasets.character_sets import codecs_of
from ...datasets.levels import Level
from ...datasets.text import value_text
from ...encoding.scan import Header, HeaderScanner
from ...errors import ServiceRefusal
from ..entries import Entry
from . import levels
from .kept import Kept
from .levels import Attributes
from .schema import KEPT_IN_ITEMS, SPECIFIC_CHARACTER_SET
from .writer import Described

# A longer value, in bytes, is not kept; no attribute that one queries for is that long.
_VALUE_LIMIT = 16 << 10
_ITEM_LIMIT, _ITEM_DEPTH = 64, 3

_ITEMS = HeaderScanner(KEPT_IN_ITEMS)


class Describer:
    """The one that describes objects for the tables.

    Parameters
    ----------
    kept
        The attributes that the index keeps.
    """

    def __init__(self, kept: Kept) -> None:
        self._read = kept.read
        self._signed = kept.signed

    def describe(self, entry: Entry) -> Described:
        """An object as it is written into the tables."""
        header, read = entry.header, self._read

        def above() -> tuple[Attributes, Attributes, Attributes]:
            return (
                attributes_of(header, read[Level.PATIENT]),
                attributes_of(header, read[Level.STUDY]),
                attributes_of(header, read[Level.SERIES]),
            )

        stored_at = time() if entry.stored_at is None else entry.stored_at
        return Described(
            entry.name,
            entry.sop_class_uid,
            entry.transfer_syntax_uid,
            levels.to_json(attributes_of(header, read[Level.IMAGE])),
            levels.signature(header, entry.sop_class_uid, self._signed),
            above,
            entry.source,
            entry.size,
            entry.digest,
            round(1000 * stored_at),
        )


def attributes_of(header: Header, kept: Mapping[int, str]) -> Attributes:
    """Attributes of an object, of which tag and VR are given, as the index keeps them."""
    raw = header.values.get(SPECIFIC_CHARACTER_SET)
    codecs = codecs_of(raw[1].decode("latin-1").strip("\0 ").split("\\") if raw else ())
    return _attributes(header, kept, codecs, 0)


def _attributes(header: Header, kept: Mapping[int, str], codecs: Sequence[str], depth: int) -> Attributes:
    values = header.values
    found: Attributes = {}
    for tag, vr in kept.items():
        if tag not in values:
            continue
        written_vr, raw = values[tag]
        if len(raw) > _VALUE_LIMIT or (written_vr == "SQ") != (vr == "SQ"):
            continue
        if vr != "SQ":
            found[f"{tag:08X}"] = value_text(vr, raw, codecs, header.encoding.byte_order)
        elif depth < _ITEM_DEPTH:
            # If the items cannot be parsed, the object is indexed without this attribute.
            with contextlib.suppress(ServiceRefusal):
                items = islice(_ITEMS.scan_items(header, tag), _ITEM_LIMIT)
                found[f"{tag:08X}"] = [_attributes(item, KEPT_IN_ITEMS, codecs, depth + 1) for item in items]
    return found
