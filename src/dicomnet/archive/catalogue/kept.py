"""The attributes that an index keeps: those of the schema at each level, and those that were configured besides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from sqlalchemy import Connection, delete, func, insert, select

from ...datasets.levels import Level
from ...values import frozen
from . import schema
from .computed import COMPUTED
from .levels import SIGNED, Attributes
from .matching import NUMBER_VRS, WILDCARD_VRS
from .schema import KEPT, READ, SPECIFIC_CHARACTER_SET, TIMEZONE_OFFSET, WANTED
from .values import found_values

# An attribute and the level at which it is kept.
Place = tuple[Level, int]

# Those of short texts, of which each value is found as it is.
_FOUND_VRS = frozenset(("AE", "AS", "CS", "DA", "LO", "PN", "SH", "TM", "UI"))
_VRS = _FOUND_VRS | WILDCARD_VRS | NUMBER_VRS | {"DT", "SQ"}
# What is answered without being kept; of group 0008, what the objects are asked for by and where they are.
_ANSWERED = {SPECIFIC_CHARACTER_SET, TIMEZONE_OFFSET, 0x00080052, 0x00080053, 0x00080054, 0x00080056}.union(
    *COMPUTED.values()
)
# Keywords or tags, separated by commas; a tag in parentheses has one inside.
_NAMES = re.compile(r"\([^)]*\)|[^,]+")


@frozen
class Kept:
    """The attributes that an index keeps; made by `kept_with` and `configured`.

    Parameters
    ----------
    added
        The ones that were configured.
    keys
        For each level, tag and VR of those that may be keys of a query.
    read
        For each level, tag and VR of those that are read from objects.
    wanted
        All of them, to be looked for in an object.
    found_by
        Those by whose values studies are found, without looking at each.
    """

    added: frozenset[Place]
    keys: Mapping[Level, Mapping[int, str]]
    read: Mapping[Level, Mapping[int, str]]
    wanted: Mapping[int, str]
    found_by: Mapping[int, str]

    def found(self, attributes: Attributes) -> set[tuple[int, str]]:
        """What a study is found by of those that were configured."""
        return {
            (tag, value)
            for level, tag in self.added
            if level <= Level.STUDY and tag in self.found_by
            for value in found_values(self.found_by[tag], attributes.get(f"{tag:08X}", ""))
        }

    @property
    def signed(self) -> tuple[int, ...]:
        """The tags of the attributes of the levels above an object."""
        return (*SIGNED, *(tag for level, tag in sorted(self.added) if level < Level.IMAGE))

    def level_of(self, tag: int) -> Level | None:
        """The level at which an attribute is kept."""
        return next((level for level in Level if tag in self.keys[level]), None)


def by_level(places: Iterable[Place]) -> dict[Level, dict[int, str]]:
    """For each level, tag and VR of attributes of the standard."""
    tags: dict[Level, dict[int, str]] = {level: {} for level in Level}
    for level, tag in sorted(places):
        tags[level][tag] = dictionary_VR(tag)
    return tags


def kept_with(added: Iterable[Place]) -> Kept:
    """What is kept if these attributes of the standard are kept besides those of the schema."""
    places = frozenset(added)
    more = by_level(places)
    found_by = {
        tag: vr
        for level in (Level.PATIENT, Level.STUDY)
        for tag, vr in more[level].items()
        if vr in _FOUND_VRS
    }
    return Kept(
        places,
        {level: KEPT[level] | more[level] for level in Level},
        {level: READ[level] | more[level] for level in Level},
        {tag: vr for each in (WANTED, *more.values()) for tag, vr in each.items()},
        schema.FOUND_BY | found_by,
    )


STANDARD = kept_with(())


def configured(texts: Iterable[str]) -> Kept:
    """What is kept according to a configuration.

    Parameters
    ----------
    texts
        Each of the form ``KEYWORD[,KEYWORD...]@LEVEL``, where a tag ``(gggg,eeee)`` may stand for its keyword.

    Raises
    ------
    ValueError
        If one of them is not of that form, or names an attribute that cannot be kept. Its text says why.
    """
    levels = {tag: level for level, kept in KEPT.items() for tag in kept}
    for text in texts:
        names, _, word = text.rpartition("@")
        level = Level.__members__.get(word.strip().upper())
        if level is None or not names.strip():
            raise ValueError(f"{text!r} is not KEYWORD@LEVEL; the level is PATIENT, STUDY, SERIES or IMAGE")
        for name in _NAMES.findall(names):
            tag = _tag(name.strip())
            known = levels.setdefault(tag, level)
            if known is not level:
                raise ValueError(f"{name.strip()} is kept at {known.name} level already")
    return kept_with((level, tag) for tag, level in levels.items() if tag not in KEPT[level])


def added(connection: Connection) -> frozenset[Place]:
    """What an index keeps besides the attributes of the schema."""
    of = schema.kept.c
    return frozenset((Level(level), tag) for level, tag in connection.execute(select(of.level, of.tag)))


def described(places: Iterable[Place]) -> str:
    """Attributes by keyword and level, for people."""
    return ", ".join(f"{keyword_for_tag(tag) or f'{tag:08X}'}@{level.name}" for level, tag in sorted(places))


def remember(connection: Connection, kept: Kept | None) -> Kept:
    """Note in an index what it keeps from now on. The objects that are there already then owe what is new.

    Parameters
    ----------
    kept
        None for what it kept up to now.
    """
    of = schema.kept.c
    before = added(connection)
    if kept is None:
        return kept_with(before)
    for level, tag in before - kept.added:
        connection.execute(delete(schema.kept).where(of.level == level, of.tag == tag))
    last = connection.scalar(select(func.max(schema.instance.c.id))) or 0
    for level, tag in kept.added - before:
        connection.execute(insert(schema.kept), {"level": level, "tag": tag, "done": 0, "last": last})
    return kept


def _tag(name: str) -> int:
    """The tag of an attribute that can be kept, by its keyword or tag."""
    tag = tag_for_keyword(name)
    if tag is None:
        digits = name.strip("()").replace(",", "")
        if not re.fullmatch(r"[0-9A-Fa-f]{8}", digits):
            raise ValueError(f"{name!r} is not the keyword or tag of an attribute")
        tag = int(digits, 16)
    if tag >> 16 & 1:
        raise ValueError(
            f"{name} is a private attribute, whose meaning depends on its creator; it cannot be kept"
        )
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        raise ValueError(f"{name} is not an attribute of the standard") from None
    if tag >> 16 < 8 or not tag & 0xFFFF:
        raise ValueError(f"{name} is not an attribute of objects")
    if tag in _ANSWERED:
        raise ValueError(f"{name} is answered without being kept")
    if vr not in _VRS:
        raise ValueError(f"{name} cannot be matched by a value (its VR is {vr}), and so not be kept")
    return int(tag)
