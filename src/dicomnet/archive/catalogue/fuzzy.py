"""Fuzzy semantic matching of person names (PS3.4 section C.2.2.2.1.1): what sounds alike is the same."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from jellyfish import metaphone

from ...datasets.text import folded_name
from .matching import Test

_SEPARATORS = re.compile(r"[\^\s,.'-]+")


def fuzzy_test(key: str) -> Test:
    """The test of a key without wild cards: each of its parts is a part of the name, in whatever order.

    Two parts are the same if they differ only in case and diacritics, or if Metaphone has one code for them. A single
    letter stands for every part that begins with it.
    """
    wanted = [parts for parts in map(_parts, folded_name(key)) if parts]

    def test(text: str) -> bool:
        groups = [parts for parts in map(_parts, folded_name(text)) if parts]
        return all(any(_is_within(parts, group) for group in groups) for parts in wanted)

    return test


def _is_within(wanted: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Whether each wanted part has a part of its own; the first that fits is taken."""
    left = list(parts)
    for one in wanted:
        same = next((part for part in left if _is_same(one, part)), None)
        if same is None:
            return False
        left.remove(same)
    return True


def _is_same(wanted: str, part: str) -> bool:
    if len(wanted) == 1:
        return part.startswith(wanted)
    sound = _sound(wanted)
    return wanted == part or (bool(sound) and sound == _sound(part))


@lru_cache(maxsize=1 << 16)
def _parts(group: str) -> tuple[str, ...]:
    plain = "".join(one for one in unicodedata.normalize("NFKD", group) if not unicodedata.combining(one))
    return tuple(filter(None, _SEPARATORS.split(plain)))


@lru_cache(maxsize=1 << 16)
def _sound(part: str) -> str:
    """The code of a part in Latin letters; empty for others, which Metaphone leaves out."""
    return metaphone(part) if part.isascii() and part.isalpha() else ""
