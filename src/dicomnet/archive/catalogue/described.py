"""What the index keeps of an object: the attributes of each level, read from its header."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from struct import error, pack
from time import time

from pydicom.datadict import keyword_for_tag

from ...datasets.character_sets import codecs_of
from ...datasets.levels import Level
from ...datasets.text import value_text, values_of
from ...encoding.scan import Header, HeaderScanner
from ...encoding.vrs import NUMBERS, VRS
from ...errors import ServiceRefusal
from ..entries import SOP_INSTANCE_UID, Entry
from . import levels
from .kept import Kept
from .levels import Attributes
from .schema import KEPT_IN_ITEMS, SPECIFIC_CHARACTER_SET
from .writer import Described

_log = logging.getLogger(__name__)

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

    def leave_out(tag: int, why: str) -> None:
        name = keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
        _log.warning(
            "%s: %s %s, so queries do not find the object by it",
            ascii(header.uid(SOP_INSTANCE_UID))[1:-1],
            name,
            why,
        )

    return _attributes(header, kept, codecs, 0, leave_out)


def _attributes(
    header: Header,
    kept: Mapping[int, str],
    codecs: Sequence[str],
    depth: int,
    leave_out: Callable[[int, str], None],
) -> Attributes:
    values = header.values
    found: Attributes = {}
    for tag, vr in kept.items():
        if tag not in values:
            continue
        written_vr, raw = values[tag]
        if len(raw) > _VALUE_LIMIT:
            leave_out(tag, f"has {len(raw)} bytes, more than {_VALUE_LIMIT}, and is not indexed")
        elif (written_vr == "SQ") != (vr == "SQ"):
            leave_out(tag, f"has the VR {written_vr} and is not indexed")
        elif vr != "SQ":
            text = _text(vr, written_vr, raw, codecs, header.encoding.byte_order)
            if text is None:
                leave_out(
                    tag, f"has the VR {written_vr} and a value that {vr} cannot have, and is not indexed"
                )
            else:
                found[f"{tag:08X}"] = text
        elif depth < _ITEM_DEPTH:
            try:
                items = list(islice(_ITEMS.scan_items(header, tag), _ITEM_LIMIT + 1))
            except ServiceRefusal:
                leave_out(tag, "cannot be parsed and is not indexed")
                continue
            if len(items) > _ITEM_LIMIT:
                leave_out(tag, f"has more than {_ITEM_LIMIT} items, and the others are not indexed")
            found[f"{tag:08X}"] = [
                _attributes(item, KEPT_IN_ITEMS, codecs, depth + 1, leave_out) for item in items[:_ITEM_LIMIT]
            ]
    return found


def _text(vr: str, written_vr: str, raw: bytes, codecs: Sequence[str], byte_order: str) -> str | None:
    """A value as text, by the VR that it was written with where numbers and text differ; None where it is no number.

    Bytes without a meaning of their own (OB, OW) are read as what the attribute has.
    """
    written, wanted = written_vr in NUMBERS, vr in NUMBERS
    is_other = written_vr != vr and (written or (wanted and written_vr in VRS and VRS[written_vr].is_text))
    text = value_text(written_vr if is_other else vr, raw, codecs, byte_order)
    if not (is_other and wanted):
        return text
    number = float if vr in ("FL", "FD") else int
    try:
        numbers = [number(value) for value in values_of(vr, text)]
        pack(f"<{len(numbers)}{NUMBERS[vr]}", *numbers)
    except (ValueError, OverflowError, error):
        return None
    return "\\".join(map(str, numbers))
