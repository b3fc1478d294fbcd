"""Whether an element survives without its value representation: in implicit VR, readers take that of the dictionary."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement

from ..encoding.vrs import VRS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SEQUENCE, TEXT, BYTES = "a sequence", "text", "bytes"


def _structure(vr: str) -> str:
    row = VRS.get(vr)
    if vr == "SQ":
        return SEQUENCE
    if row is None or vr.startswith("O") or vr == "UN":
        return BYTES
    if row.is_text:
        return TEXT
    return f"numbers of {row.unit} bytes in the form {(row.number or 'tag').lower()}"


def _is_signed(vr: str) -> bool:
    return VRS[vr].number.islower() and vr not in ("FL", "FD")


def known_representations(tag: int) -> list[str]:
    """What the dictionary has for an element, mostly one VR; nothing where it does not know it, and of private ones."""
    if tag >> 16 & 1 or tag & 0xFFFF == 0:
        return []
    try:
        return dictionary_VR(tag).split(" or ")
    except KeyError:
        return []


def representation(tag: int, length: int, pixel_representation: int) -> str:
    """The value representation of an element that does not tell it."""
    if tag & 0xFFFF == 0:
        return "UL"
    if tag >> 16 & 1:
        # What dictionaries know of private elements is not always so, and UN is never wrong (PS3.5 section 6.2.2).
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    if "OW" in vr:
        # So it is in implicit VR (PS3.5 section A.1).
        return "OW"
    if vr == "US or SS":
        vr = ("US", "SS")[pixel_representation]
    return vr if vr in VRS and length % VRS[vr].unit == 0 else "UN"


@lru_cache(4096)
def conflict(tag: int, vr: str) -> tuple[str, bool]:
    """How a VR contradicts the dictionary, where a value that is not empty would be taken for something else.

    Returns
    -------
    tuple
        The VR of the dictionary, empty where there is no contradiction; and whether they differ in the sign only, so
        that values without the highest bit are the same in both.
    """
    known = known_representations(tag)
    own = _structure(vr)
    if (
        not known
        or vr in known
        or vr == "UN"
        or (own != SEQUENCE and any(_structure(one) == BYTES for one in known))
    ):
        return "", False
    for one in known:
        expected = _structure(one)
        if expected == own:
            differs = own not in (TEXT, SEQUENCE) and _is_signed(one) != _is_signed(vr)
            return (one, True) if differs else ("", False)
        if own == BYTES and expected not in (SEQUENCE, TEXT):
            return "", False
    return known[0], False


def is_negative(value: bytes, vr: str, is_little_endian: bool) -> bool:
    """Whether one of the encoded numbers has its highest bit set."""
    unit = VRS[vr].unit
    return any(byte & 0x80 for byte in value[unit - 1 if is_little_endian else 0 :: unit])


def contradiction(tag: int, vr: str, expected: str) -> str:
    """Why an element cannot be sent in implicit VR, in words."""
    name = f"element ({tag >> 16:04X},{tag & 0xFFFF:04X})"
    return f"{name} is written as {vr}, and would be read as {expected} in implicit VR"


def check_implicit(dataset: Dataset) -> None:
    """Check a data set, whose elements have VRs, before it is encoded in implicit VR.

    Raises
    ------
    ValueError
        If an element would be taken for something else.
    """
    element: Any
    for tag, element in dict(dataset.items()).items():
        vr = element.VR
        if vr is None:
            continue
        expected, is_sign = conflict(int(tag), vr)
        if expected:
            value = dataset[tag].value
            numbers = value if isinstance(value, list) or hasattr(value, "__iter__") else (value,)
            is_lost = not is_sign or any(
                isinstance(one, int) and (one < 0 or one >> (8 * VRS[vr].unit - 1)) for one in numbers
            )
            if is_lost and not dataset[tag].is_empty:
                raise ValueError(contradiction(int(tag), vr, expected))
        if vr == "SQ":
            for item in dataset[tag].value if not isinstance(element, DataElement) else element.value:
                check_implicit(item)
