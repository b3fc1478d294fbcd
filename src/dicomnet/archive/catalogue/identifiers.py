"""Request identifiers of C-FIND, C-MOVE and C-GET, parsed: the level and the keys (PS3.4 section C.4.1.1.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydicom.datadict import dictionary_keyword, dictionary_VM, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from ...datasets.character_sets import codecs_of, terms_of
from ...datasets.levels import Level
from ...datasets.text import trimmed, value_text
from ...dimse.datasets import OUT_OF_RESOURCES
from ...errors import ServiceRefusal
from ...values import field, frozen, mutable
from .computed import computed_at
from .kept import STANDARD, Kept
from .levels import PATIENT_ID
from .matching import (
    UNABLE_TO_PROCESS,
    CombinedRange,
    Test,
    combined_range,
    empty_test,
    every_value_test,
    is_universal,
    value_test,
)
from .options import NO_OPTIONS, QueryOptions
from .schema import KEPT_IN_ITEMS, SPECIFIC_CHARACTER_SET, TIMEZONE_OFFSET
from .zones import Zone, minutes_of, widened

IDENTIFIER_DOES_NOT_MATCH = 0xA900

Model = Literal["PATIENT", "STUDY", "PATIENT_STUDY_ONLY"]

QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY = 0x00080052, 0x00080054, 0x00080056
UNIQUE = {
    Level.PATIENT: PATIENT_ID,
    Level.STUDY: 0x0020000D,
    Level.SERIES: 0x0020000E,
    Level.IMAGE: 0x00080018,
}
# Attributes of an identifier that are not keys: they say how it is to be read, or what is to be answered.
_NO_KEYS = frozenset((SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, TIMEZONE_OFFSET))

# Those of multiple value matching.
_MULTIPLE_VRS = frozenset(("AE", "AS", "AT", "CS", "LO", "PN", "SH", "UC"))
_LEVELS: dict[Model, tuple[str, ...]] = {
    "PATIENT": ("PATIENT", "STUDY", "SERIES", "IMAGE"),
    "STUDY": ("STUDY", "SERIES", "IMAGE"),
    "PATIENT_STUDY_ONLY": ("PATIENT", "STUDY"),
}

_UID_LIMIT, _DEPTH_LIMIT = 100_000, 4


@frozen
class Key:
    """A key of the identifier: its text and the test it makes, or for a sequence the keys of its item."""

    tag: int
    vr: str
    text: str = ""
    item: tuple[Key, ...] | None = None
    test: Test | None = None
    # A text that finds all values which can match, and possibly others; None if it is `text`, empty if there is none.
    loose: str | None = None

    def accepts(self, value: Any) -> bool:
        """Whether a value from the index matches."""
        if self.item is not None:
            items = value if isinstance(value, list) else []
            wanted = [key for key in self.item if not key.is_universal]
            return not wanted or any(
                all(key.accepts(item.get(f"{key.tag:08X}", "")) for key in wanted) for item in items
            )
        return self.test is None or (isinstance(value, str) and self.test(value))

    @property
    def sought(self) -> str:
        """The text to search the database for."""
        return self.text if self.loose is None else self.loose

    @property
    def is_narrowing(self) -> bool:
        """Whether it is a text that not everything matches."""
        return self.test is not None and self.loose != ""

    @property
    def is_universal(self) -> bool:
        """Whether it matches everything."""
        return self.test is None and all(key.is_universal for key in self.item or ())


@mutable
class Request:
    """A parsed request identifier."""

    model: Model
    level: Level
    character_set: str
    keys: list[Key] = field(default_factory=list)
    has_unsupported: bool = False
    options: QueryOptions = NO_OPTIONS
    kept: Kept = STANDARD
    combined: list[CombinedRange] = field(default_factory=list)
    # The time zone that the request names, empty if it only asks for it; None without an agreement on it.
    offset: str | None = None

    def key(self, tag: int) -> Key | None:
        """The key of an attribute, if there is one."""
        return next((key for key in self.keys if key.tag == tag), None)

    def zone(self, level: Level) -> Zone | None:
        """The time zone into which the attributes of a level are to be moved."""
        if not self.offset or level is Level.PATIENT:
            return None
        kept = self.kept.keys[level]
        pairs = tuple((f"{date:08X}", f"{time:08X}") for date, time in _pairs(kept).items())
        return Zone(self.offset, pairs, tuple(f"{tag:08X}" for tag, vr in kept.items() if vr == "DT"))


def parse(
    model: Model, identifier: Dataset, options: QueryOptions = NO_OPTIONS, kept: Kept = STANDARD
) -> Request:
    """Parse a request identifier.

    Raises
    ------
    ServiceRefusal
        0xA900 if it does not fit the information model; 0xC000 if a key cannot be processed; 0xA700 if it is too long.
    """
    named_set = _text(identifier, SPECIFIC_CHARACTER_SET, "CS", ())
    codecs = codecs_of(terms_of(named_set))
    named = _text(identifier, QUERY_RETRIEVE_LEVEL, "CS", codecs)
    if named not in _LEVELS[model]:
        raise ServiceRefusal(
            IDENTIFIER_DOES_NOT_MATCH, "Query/Retrieve Level is missing or wrong", (QUERY_RETRIEVE_LEVEL,)
        )
    request = Request(model, Level[named], named_set, options=options, kept=kept)
    if options.timezone and TIMEZONE_OFFSET in identifier:
        request.offset = _offset(identifier)
    supported = _supported(request)
    for tag in map(int, identifier.keys()):
        if tag in _NO_KEYS or not tag & 0xFFFF:
            continue
        if tag in supported:
            request.keys.append(_key(request, identifier, tag, supported[tag], codecs))
        else:
            request.has_unsupported = True
    if not options.relational:
        _check_hierarchy(request)
    if options.combined:
        _combine(request)
    return request


def _offset(identifier: Dataset) -> str:
    offset = _text(identifier, TIMEZONE_OFFSET, "SH", ())
    if offset and minutes_of(offset) is None:
        # In another time zone it would find something else.
        raise ServiceRefusal(UNABLE_TO_PROCESS, "the time zone is not an offset from UTC", (TIMEZONE_OFFSET,))
    return offset


def _combine(request: Request) -> None:
    """Make one range of those of a date and of its time, whose own test is left out."""
    every = {tag: vr for kept in request.kept.keys.values() for tag, vr in kept.items()}
    for date_tag, time_tag in _pairs(every).items():
        date, time = request.key(date_tag), request.key(time_tag)
        if date is None or time is None or date.test is None or time.test is None:
            continue
        combined = combined_range((date_tag, date.text), (time_tag, time.text))
        if combined is not None:
            request.combined.append(combined)
            request.keys[request.keys.index(time)] = Key(time_tag, time.vr)


def _pairs(kept: Mapping[int, str]) -> dict[int, int]:
    """The dates among attributes, each with its time."""
    named = {dictionary_keyword(tag): tag for tag, vr in kept.items() if vr in ("DA", "TM")}
    return {
        tag: named[f"{keyword[:-4]}Time"]
        for keyword, tag in named.items()
        if keyword.endswith("Date") and f"{keyword[:-4]}Time" in named
    }


def _supported(request: Request) -> dict[int, str]:
    supported = {INSTANCE_AVAILABILITY: "CS"}
    for above in Level:
        if above <= request.level:
            supported |= request.kept.keys[above]
    computed = computed_at(request.level, relational=request.options.relational)
    return supported | {tag: dictionary_VR(tag) for tag in computed}


def _check_hierarchy(request: Request) -> None:
    """Refuse a request in which a unique key of a level above does not have one value (PS3.4 section C.4.1.2.1)."""
    top = Level[_LEVELS[request.model][0]]
    for level in Level:
        if top <= level < request.level:
            key = request.key(UNIQUE[level])
            text = key.text if key else ""
            if not text or "\\" in text or "*" in text or (level is Level.PATIENT and "?" in text):
                raise ServiceRefusal(
                    IDENTIFIER_DOES_NOT_MATCH,
                    "the unique key of a level above must have one value",
                    (UNIQUE[level],),
                )


def _key(
    request: Request, data_set: Dataset, tag: int, vr: str, codecs: Sequence[str], depth: int = 0
) -> Key:
    if vr == "SQ":
        return _sequence_key(request, data_set, tag, codecs, depth)
    text = _text(data_set, tag, vr, codecs)
    if vr == "UI" and text.count("\\") >= _UID_LIMIT:
        raise ServiceRefusal(OUT_OF_RESOURCES, f"a key has more than {_UID_LIMIT} UIDs", (tag,))
    if is_universal(text):
        return Key(tag, vr, text)
    if request.options.empty and text == '""':
        return Key(tag, vr, text, None, empty_test, loose="")
    if request.options.multiple and "\\" in text and vr in _MULTIPLE_VRS and dictionary_VM(tag) != "1":
        return Key(tag, vr, text, None, every_value_test(vr, text))
    if request.options.fuzzy and vr == "PN" and "*" not in text and "?" not in text and "\\" not in text:
        from .fuzzy import fuzzy_test

        return Key(tag, vr, text, None, fuzzy_test(text), loose="")
    if request.offset and tag not in request.kept.keys[Level.PATIENT]:
        # What is in the database is in the time zones of the objects.
        loose = widened(text) if vr == "DA" else "" if vr == "TM" else None
        return Key(tag, vr, text, None, value_test(vr, text, request.offset), loose)
    return Key(tag, vr, text, None, value_test(vr, text))


def _sequence_key(request: Request, data_set: Dataset, tag: int, codecs: Sequence[str], depth: int) -> Key:
    """A key for sequence matching: at most one item, all of whose keys must match the same item (PS3.4 C.2.2.2.6).

    Keys of the item that are not supported are ignored, as they are outside of it.
    """
    element: Any = data_set.get_item(tag)
    if not isinstance(element, RawDataElement) or element.VR in (None, "SQ", "UN"):
        # pydicom knows that it is a sequence.
        element = data_set[tag]
    if element.VR != "SQ" and element.value:
        # Without its value, it would match everything.
        raise ServiceRefusal(UNABLE_TO_PROCESS, "the key of a sequence is not encoded as one", (tag,))
    items: list[Dataset] = list(element.value or ()) if element.VR == "SQ" else []
    if depth > _DEPTH_LIMIT:
        raise ServiceRefusal(UNABLE_TO_PROCESS, "sequence keys are nested too deeply", (tag,))
    if len(items) > 1:
        raise ServiceRefusal(IDENTIFIER_DOES_NOT_MATCH, "a sequence key may have only one item", (tag,))
    keys = []
    for inner in map(int, items[0].keys()) if items else ():
        if not inner & 0xFFFF or inner in _NO_KEYS:
            continue
        if inner in KEPT_IN_ITEMS:
            keys.append(_key(request, items[0], inner, KEPT_IN_ITEMS[inner], codecs, depth + 1))
        else:
            request.has_unsupported = True
    return Key(tag, "SQ", "", tuple(keys))


def _text(data_set: Dataset, tag: int, vr: str, codecs: Sequence[str]) -> str:
    """The text of a key. It bypasses pydicom's validation, which refuses keys for range and wild card matching."""
    element: Any = data_set.get_item(tag) if tag in data_set else None
    if element is None or element.value is None:
        return ""
    if isinstance(element, RawDataElement):
        raw = element.value if isinstance(element.value, bytes) else b""
        return value_text(vr, raw, codecs or codecs_of(()), "little" if element.is_little_endian else "big")
    value = element.value
    several = isinstance(value, MultiValue | list | tuple)
    return trimmed(vr, "\\".join("" if one is None else str(one) for one in (value if several else (value,))))
