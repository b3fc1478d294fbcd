"""C-FIND on the index (PS3.4 section C.4.1): answers a request identifier with response identifiers.

SQL selects the rows that may match; the tests of `matching` decide which do. Rows are read a page at a time.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items
from sqlalchemy import Column, ColumnElement, Connection, Select, and_, false, func, or_, select

from ...datasets.character_sets import LATIN_1, UTF_8, character_set, codecs_of, holds, significant, terms_of
from ...datasets.pydicom_insides import dataset_of
from ...datasets.text import folded, trimmed, value_text, values_of
from ...dimse.datasets import OUT_OF_RESOURCES
from ...errors import ServiceRefusal
from ...services.registry import PENDING, PENDING_UNSUPPORTED_KEYS
from ...values import field, frozen, mutable
from ..storage.files import ObjectName
from . import schema
from .index import NAME_COLUMNS, PATIENT_ID, PATIENT_NAME, Attributes, Index
from .matching import (
    NUMBER_VRS,
    UNABLE_TO_PROCESS,
    WILDCARD_VRS,
    Pattern,
    Test,
    date_moments,
    is_universal,
    moment_range,
    name_patterns,
    pattern,
    value_test,
)
from .schema import KEPT, KEPT_IN_ITEMS, SPECIFIC_CHARACTER_SET, Level

IDENTIFIER_DOES_NOT_MATCH = 0xA900

Model = Literal["PATIENT", "STUDY"]

QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY = 0x00080052, 0x00080054, 0x00080056
_UNIQUE = {
    Level.PATIENT: PATIENT_ID,
    Level.STUDY: 0x0020000D,
    Level.SERIES: 0x0020000E,
    Level.IMAGE: 0x00080018,
}
_MODALITIES_IN_STUDY, _MODALITY, _SOP_CLASS_UID = 0x00080061, 0x00080060, 0x00080016
_STUDY_DATE, _ACCESSION_NUMBER = 0x00080020, 0x00080050
_AVAILABLE_TRANSFER_SYNTAX = 0x00083002
# Attributes of an identifier that are not keys: they say how it is to be read, or what is to be answered.
_NO_KEYS = frozenset((SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, 0x00080201))

_UID_LIMIT, _DEPTH_LIMIT = 100_000, 4
_CHUNK = 500

_of_patient, _of_study, _of_series, _of_instance = (schema.TABLES[level].c for level in Level)


@frozen
class StoredInstance:
    """A stored object that is to be retrieved.

    Parameters
    ----------
    name
        Its name in the store.
    sop_class_uid, transfer_syntax_uid
        UIDs.
    """

    name: ObjectName
    sop_class_uid: str
    transfer_syntax_uid: str


@frozen
class _Key:
    """A key of the identifier: its text and the test it makes, or for a sequence the keys of its item."""

    tag: int
    vr: str
    text: str = ""
    item: tuple[_Key, ...] | None = None
    test: Test | None = None

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
    def is_universal(self) -> bool:
        return self.test is None and all(key.is_universal for key in self.item or ())


@mutable
class _Request:
    """A parsed request identifier."""

    model: Model
    level: Level
    character_set: str
    keys: list[_Key] = field(default_factory=list)
    has_unsupported: bool = False

    def key(self, tag: int) -> _Key | None:
        return next((key for key in self.keys if key.tag == tag), None)


def find(
    index: Index, model: Model, identifier: Dataset, *, retrieve_ae_title: str = ""
) -> Iterator[tuple[int, Dataset]]:
    """Answer a query.

    The answer is what the index held at the time of the call; no match is returned twice.

    Parameters
    ----------
    index
        The index.
    model
        Root of the information model, ``PATIENT`` or ``STUDY``.
    identifier
        The request identifier.
    retrieve_ae_title
        Retrieve AE Title (0008,0054) of the responses; left out of them if empty.

    Returns
    -------
    Iterator
        Status and identifier of each response: 0xFF00, or 0xFF01 if the request has keys that are not supported.

    Raises
    ------
    ServiceRefusal
        0xA900 if the identifier does not fit the information model; 0xC000 if a key cannot be processed;
        0xA700 if the index cannot be read, which may be raised while iterating.
    """
    request = _parse(model, identifier)
    conditions = _conditions(request)
    row_ids = _row_ids(index, request, conditions)
    return _responses(index, request, row_ids, retrieve_ae_title)


def locate(index: Index, model: Model, identifier: Dataset) -> Iterator[StoredInstance]:
    """The objects that a C-MOVE or C-GET request selects, by its unique keys alone (PS3.4 section C.4.2.1.4).

    Parameters and exceptions are those of `find`. If the unique key of the level itself is missing, 0xA900 is raised.
    """
    request = _parse(model, identifier)
    unique = _UNIQUE[request.level]
    own = request.key(unique)
    if own is None or own.is_universal or (own.vr != "UI" and not pattern(own.text).is_exact):
        raise ServiceRefusal(
            IDENTIFIER_DOES_NOT_MATCH, "the unique key of the level is missing or has a wild card", (unique,)
        )
    request.keys = [key for key in request.keys if key.tag in _UNIQUE.values()]
    row_ids: array[int] = array("q")
    for conditions in _unique_key_conditions(request, _of_study.patient_id):
        statement = select(_of_instance.id).select_from(_joined_tables(Level.IMAGE)).where(*conditions)
        with index.reading() as connection:
            row_ids.extend(connection.scalars(statement))
    return _located(index, row_ids)


def _located(index: Index, row_ids: array[int]) -> Iterator[StoredInstance]:
    of = _of_instance
    statement = select(_of_study.uid, _of_series.uid, of.uid, of.sop_class, of.transfer_syntax)
    for page in _pages(row_ids):
        with index.reading() as connection:
            rows = connection.execute(
                statement.select_from(_joined_tables(Level.IMAGE)).where(of.id.in_(page)).order_by(of.id)
            ).all()
        for study, series, uid, sop_class, syntax in rows:
            yield StoredInstance(ObjectName(study, series, uid), sop_class, syntax)


def _parse(model: Model, identifier: Dataset) -> _Request:
    named_set = _text(identifier, SPECIFIC_CHARACTER_SET, "CS", ())
    codecs = codecs_of(terms_of(named_set))
    named = _text(identifier, QUERY_RETRIEVE_LEVEL, "CS", codecs)
    if named not in Level.__members__ or (model == "STUDY" and named == "PATIENT"):
        raise ServiceRefusal(
            IDENTIFIER_DOES_NOT_MATCH, "Query/Retrieve Level is missing or wrong", (QUERY_RETRIEVE_LEVEL,)
        )
    request = _Request(model, Level[named], named_set)
    supported = _supported(request.level)
    for tag in map(int, identifier.keys()):
        if tag in _NO_KEYS or not tag & 0xFFFF:
            continue
        if tag in supported:
            request.keys.append(_key(request, identifier, tag, supported[tag], codecs))
        else:
            request.has_unsupported = True
    _check_hierarchy(request)
    return request


def _supported(level: Level) -> dict[int, str]:
    supported = {INSTANCE_AVAILABILITY: "CS"}
    for above in Level:
        if above <= level:
            supported |= KEPT[above]
    return supported | {tag: dictionary_VR(tag) for tag in _COMPUTED.get(level, ())}


def _check_hierarchy(request: _Request) -> None:
    """Refuse a request in which a unique key of a level above does not have one value (PS3.4 section C.4.1.2.1)."""
    top = Level.PATIENT if request.model == "PATIENT" else Level.STUDY
    for level in Level:
        if top <= level < request.level:
            key = request.key(_UNIQUE[level])
            text = key.text if key else ""
            if not text or "\\" in text or "*" in text or (level is Level.PATIENT and "?" in text):
                raise ServiceRefusal(
                    IDENTIFIER_DOES_NOT_MATCH,
                    "the unique key of a level above must have one value",
                    (_UNIQUE[level],),
                )


def _key(
    request: _Request, data_set: Dataset, tag: int, vr: str, codecs: Sequence[str], depth: int = 0
) -> _Key:
    if vr == "SQ":
        return _sequence_key(request, data_set, tag, codecs, depth)
    text = _text(data_set, tag, vr, codecs)
    if vr == "UI" and text.count("\\") >= _UID_LIMIT:
        raise ServiceRefusal(OUT_OF_RESOURCES, f"a key has more than {_UID_LIMIT} UIDs", (tag,))
    return _Key(tag, vr, text, None, None if is_universal(text) else value_test(vr, text))


def _sequence_key(request: _Request, data_set: Dataset, tag: int, codecs: Sequence[str], depth: int) -> _Key:
    """A key for sequence matching: at most one item, all of whose keys must match the same item (PS3.4 C.2.2.2.6).

    Keys of the item that are not supported are ignored, as they are outside of it.
    """
    element = data_set[tag]
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
    return _Key(tag, "SQ", "", tuple(keys))


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


# An SQL condition made from a key selects all rows that the key's test accepts, and possibly others.
Condition = ColumnElement[bool]


def _conditions(request: _Request) -> list[list[Condition]]:
    """The conditions of one SQL query, or of several if a list of UIDs is too long for one."""
    common: list[Condition] = []
    patient_id = (_of_patient if request.level is Level.PATIENT else _of_study).patient_id
    for key in request.keys:
        narrow = _NARROWING.get((request.level, key.tag))
        if key.is_universal:
            continue
        common += narrow(key) if narrow is not None else _kept_condition(request.level, key)
    return [[*common, *chunk] for chunk in _unique_key_conditions(request, patient_id)]


def _unique_key_conditions(request: _Request, patient_id: ColumnElement[str]) -> Iterator[list[Condition]]:
    """The conditions on the unique keys, as `_conditions` returns them."""
    fixed: list[Condition] = []
    lists: list[list[Condition]] = [[]]
    columns = {
        PATIENT_ID: patient_id,
        _UNIQUE[Level.STUDY]: _of_study.uid,
        _UNIQUE[Level.SERIES]: _of_series.uid,
        _UNIQUE[Level.IMAGE]: _of_instance.uid,
    }
    for level, tag in _UNIQUE.items():
        key = request.key(tag)
        if level > request.level or key is None or key.is_universal:
            continue
        if key.vr != "UI":
            fixed += _text_condition(columns[tag], key)
        elif "\\" not in key.text:
            fixed.append(columns[tag] == key.text)
        else:
            uids = sorted(set(key.text.split("\\")) - {""})
            lists = [[columns[tag].in_(uids[at : at + _CHUNK])] for at in range(0, len(uids), _CHUNK)] or [
                [false()]
            ]
    return ([*fixed, *chunk] for chunk in lists)


def _text_condition(column: ColumnElement[str], key: _Key) -> list[Condition]:
    if len(values_of(key.vr, key.text)) != 1:
        return []
    if key.vr not in WILDCARD_VRS:
        return [column == key.text]
    return _pattern_condition(column, pattern(key.text))


def _pattern_condition(column: ColumnElement[str], wanted: Pattern) -> list[Condition]:
    if wanted.is_exact:
        return [column == wanted.text]
    conditions: list[Condition] = []
    if wanted.prefix:
        # The two comparisons use the column's index, which LIKE does not.
        conditions = [column >= wanted.prefix, column < wanted.prefix + "\U0010ffff"]
    escaped = wanted.text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
    return [*conditions, column.like(escaped.replace("*", "%").replace("?", "_"), escape="\\")]


def _kept_condition(level: Level, key: _Key) -> list[Condition]:
    """The condition on an attribute without a column: the JSON text contains the longest literal part of its key."""
    owner = next((above for above in Level if key.tag in KEPT[above]), None)
    if owner is None or key.vr not in WILDCARD_VRS - {"PN"} or len(values_of(key.vr, key.text)) != 1:
        return []
    part = max(_PLAIN_PART.findall(key.text), key=len, default="")
    if owner is Level.PATIENT and level is not Level.PATIENT:
        owner = Level.STUDY
    return [schema.TABLES[owner].c.attributes.contains(part, autoescape=True)] if part else []


# A part of a key that has neither wild cards nor characters that JSON escapes.
_PLAIN_PART = re.compile(r'[^*?"\\\x00-\x1f]+')


def _name_condition(table: Any) -> Callable[[_Key], list[Condition]]:
    columns = [table[name] for name in NAME_COLUMNS]

    def narrow(key: _Key) -> list[Condition]:
        if "\\" in key.text:
            return []
        patterns = name_patterns(key.text)
        if isinstance(patterns, Pattern):
            return [or_(*(_group_condition(column, patterns) for column in columns))]
        return [
            _group_condition(column, one) for column, one in zip(columns, patterns, strict=True) if one.text
        ]

    return narrow


def _group_condition(column: ColumnElement[str], wanted: Pattern) -> Condition:
    if "^*" in wanted.text:
        # DOE^* also matches DOE.
        wanted = Pattern(wanted.text.split("^*", 1)[0] + "*")
    if "?" in wanted.text:
        # The column may have several characters for one, such as ss for ß.
        longest = max(re.split("[*?]", wanted.text), key=len)
        wanted = Pattern(
            f"{folded(wanted.prefix)}*" + (f"{folded(longest)}*" if longest != wanted.prefix else "")
        )
    conditions = _pattern_condition(column, wanted)
    return and_(*conditions)


def _date_condition(key: _Key) -> list[Condition]:
    limits = moment_range(key.text, date_moments)
    if limits is not None:
        return [_of_study.date >= limits[0], _of_study.date <= limits[1]]
    return [] if "\\" in key.text else [_of_study.date == key.text.replace(".", "")]


def _modalities_condition(key: _Key) -> list[Condition]:
    wanted = [
        _pattern_condition(_of_series.modality, pattern(one)) for one in values_of("CS", key.text) if one
    ]
    any_of = or_(*(condition[-1] for condition in wanted))
    return [select(_of_series.id).where(_of_series.parent == _of_study.id, any_of).exists()]


_Narrow = Callable[[_Key], list[Condition]]
_NARROWING: dict[tuple[Level, int], _Narrow] = {
    (Level.PATIENT, PATIENT_NAME): _name_condition(_of_patient),
    (Level.STUDY, PATIENT_NAME): _name_condition(_of_study),
    (Level.STUDY, _STUDY_DATE): _date_condition,
    (Level.STUDY, _ACCESSION_NUMBER): lambda key: _text_condition(_of_study.accession, key),
    (Level.STUDY, _MODALITIES_IN_STUDY): _modalities_condition,
    (Level.SERIES, _MODALITY): lambda key: _text_condition(_of_series.modality, key),
    (Level.IMAGE, _SOP_CLASS_UID): lambda key: (
        [] if "\\" in key.text else [_of_instance.sop_class == key.text]
    ),
}


def _joined_tables(level: Level) -> Any:
    if level <= Level.STUDY:
        return schema.TABLES[level]
    joined = schema.series.join(schema.study, _of_study.id == _of_series.parent)
    return (
        joined
        if level is Level.SERIES
        else schema.instance.join(joined, _of_series.id == _of_instance.parent)
    )


def _row_ids(index: Index, request: _Request, conditions: list[list[Condition]]) -> array[int]:
    """The IDs of the rows that may match now. Keeping them, at eight bytes a row, makes the answer a snapshot."""
    row_ids: array[int] = array("q")
    column = schema.TABLES[request.level].c.id
    for chunk in conditions:
        statement = select(column).select_from(_joined_tables(request.level)).where(*chunk)
        with index.reading() as connection:
            row_ids.extend(connection.execution_options(yield_per=10_000).scalars(statement))
    return row_ids


def _pages(row_ids: array[int]) -> Iterator[list[int]]:
    return (row_ids[at : at + _CHUNK].tolist() for at in range(0, len(row_ids), _CHUNK))


# Computes an attribute from the rows of the levels below, for each of the given row IDs.
_Collect = Callable[[Connection, Sequence[int]], Mapping[int, str]]


def _collected(owner: ColumnElement[int], value: ColumnElement[Any], joins: Sequence[Any]) -> _Collect:
    """A query of the values (or their count) that belong to each of several rows, joined by backslashes."""
    source = joins[0]
    for table, on in joins[1:]:
        source = source.join(table, on)
    statement: Select[Any] = select(owner, value).select_from(source)

    def collect(connection: Connection, row_ids: Sequence[int]) -> Mapping[int, str]:
        found: dict[int, list[str]] = {}
        for number, one in connection.execute(
            statement.where(owner.in_(row_ids)).group_by(owner, *_grouped(value))
        ):
            found.setdefault(number, []).append(str(one))
        return {number: "\\".join(sorted(values)) for number, values in found.items()}

    return collect


def _grouped(value: ColumnElement[Any]) -> tuple[ColumnElement[Any], ...]:
    return (value,) if isinstance(value, Column) else ()


_series_below = (schema.series, _of_series.parent == _of_study.id)
_instances_below = (schema.instance, _of_instance.parent == _of_series.id)
_STUDIES, _SERIES, _INSTANCES = (func.count(table.id) for table in (_of_study, _of_series, _of_instance))

_PATIENT_COUNTS: dict[int, _Collect] = {
    0x00201200: _collected(_of_study.parent, _STUDIES, (schema.study,)),
    0x00201202: _collected(_of_study.parent, _SERIES, (schema.study, _series_below)),
    0x00201204: _collected(_of_study.parent, _INSTANCES, (schema.study, _series_below, _instances_below)),
}
_STUDY_COUNTS: dict[int, _Collect] = {
    0x00201206: _collected(_of_series.parent, _SERIES, (schema.series,)),
    0x00201208: _collected(_of_series.parent, _INSTANCES, (schema.series, _instances_below)),
    _MODALITIES_IN_STUDY: _collected(_of_series.parent, _of_series.modality, (schema.series,)),
    0x00080062: _collected(_of_series.parent, _of_instance.sop_class, (schema.series, _instances_below)),
}
_SERIES_COUNTS: dict[int, _Collect] = {
    0x00201209: _collected(_of_instance.parent, func.count(_of_instance.id), (schema.instance,)),
}
_SYNTAXES: dict[int, _Collect] = {
    _AVAILABLE_TRANSFER_SYNTAX: _collected(_of_instance.id, _of_instance.transfer_syntax, (schema.instance,)),
}
_COMPUTED: dict[Level, dict[int, _Collect]] = {
    Level.PATIENT: _PATIENT_COUNTS,
    Level.STUDY: {**_PATIENT_COUNTS, **_STUDY_COUNTS},
    Level.SERIES: _SERIES_COUNTS,
    Level.IMAGE: _SYNTAXES,
}


def _responses(
    index: Index, request: _Request, row_ids: array[int], retrieve_ae_title: str
) -> Iterator[tuple[int, Dataset]]:
    status = PENDING_UNSUPPORTED_KEYS if request.has_unsupported else PENDING
    tested = [key for key in request.keys if not key.is_universal]
    for page in _pages(row_ids):
        for attributes in _page(index, request, page):
            if all(key.accepts(attributes.get(f"{key.tag:08X}", "")) for key in tested):
                yield status, _response(request, attributes, retrieve_ae_title)


def _page(index: Index, request: _Request, page: list[int]) -> list[Attributes]:
    """The attributes of some rows, including those of the levels above and the computed ones."""
    level = request.level
    table = schema.TABLES[level]
    kept = [schema.TABLES[above].c.attributes for above in Level if Level.STUDY <= above <= level] or [
        _of_patient.attributes
    ]
    owner = table.c.parent if level is Level.STUDY else table.c.id
    computed = {key.tag: _COMPUTED[level][key.tag] for key in request.keys if key.tag in _COMPUTED[level]}
    with index.reading() as connection:
        statement = select(table.c.id, owner, *kept).select_from(_joined_tables(level))
        rows = connection.execute(statement.where(table.c.id.in_(page)).order_by(table.c.id)).all()
        values = {
            tag: collect(connection, [row[1] if tag in _PATIENT_COUNTS else row[0] for row in rows])
            for tag, collect in computed.items()
        }
    parsed: dict[str, Attributes] = {}
    found = []
    for number, above, *texts in rows:
        attributes: Attributes = {f"{INSTANCE_AVAILABILITY:08X}": "ONLINE"}
        for text in texts:
            if text not in parsed:
                if len(parsed) > 2 * _CHUNK:
                    parsed.clear()
                parsed[text] = json.loads(text)
            attributes |= parsed[text]
        for tag, by_number in values.items():
            attributes[f"{tag:08X}"] = by_number.get(above if tag in _PATIENT_COUNTS else number, "0")
        found.append(attributes)
    return found


def _response(request: _Request, attributes: Attributes, retrieve_ae_title: str) -> Dataset:
    elements = list(_elements(request.keys, attributes))
    elements.append(_element(QUERY_RETRIEVE_LEVEL, "CS", request.level.name))
    if retrieve_ae_title:
        elements.append(_element(RETRIEVE_AE_TITLE, "AE", retrieve_ae_title))
    character_set = _character_set(request, attributes)
    if character_set:
        elements.append(_element(SPECIFIC_CHARACTER_SET, "CS", character_set))
    return dataset_of(elements)


def _elements(keys: Sequence[_Key], attributes: Attributes) -> Iterator[DataElement]:
    for key in keys:
        value = attributes.get(f"{key.tag:08X}", "")
        if key.item is None:
            yield _element(key.tag, key.vr, value if isinstance(value, str) else "")
        else:
            items = [_item(key.item, item) for item in value or ()]
            yield DataElement(key.tag, "SQ", Items(items))


def _item(keys: Sequence[_Key], attributes: Attributes) -> Dataset:
    """An item with the attributes that were asked for; with all of them if the request names none."""
    asked = keys or [
        _Key(tag, vr, "", () if vr == "SQ" else None)
        for tag, vr in KEPT_IN_ITEMS.items()
        if f"{tag:08X}" in attributes
    ]
    return dataset_of(_elements(asked, attributes))


def _element(tag: int, vr: str, text: str) -> DataElement:
    values: list[Any] = values_of(vr, text)
    if vr in NUMBER_VRS:
        values = [number for number in map(_number(vr), values) if number is not None]
    value = values[0] if len(values) == 1 else values or None
    return DataElement(tag, vr, value, validation_mode=config.IGNORE)


def _number(vr: str) -> Callable[[str], float | int | str | None]:
    """A conversion of text to a value that pydicom accepts as a number of this VR, or to None if it is not one."""

    def convert(text: str) -> float | int | str | None:
        try:
            number = float(text)
            if vr in ("FL", "FD"):
                return number
            if vr == "DS":
                return text
            return int(number)
        except (ValueError, OverflowError):
            return None

    return convert


def _character_set(request: _Request, attributes: Attributes) -> str:
    """The character set of the response: that of the request if it can encode the values (PS3.4 section C.2.2.2)."""
    text = "".join(_texts(request.keys, attributes))
    if text.isascii():
        return ""
    terms = significant(terms_of(request.character_set))
    if not terms:
        return "ISO_IR 100" if holds(text, (LATIN_1,)) else UTF_8
    row = character_set(terms[0])
    is_single = len(terms) == 1 and row is not None and not row.term.startswith("ISO 2022")
    if is_single and row is not None and row.term and holds(text, (row.codec,)):
        return row.term
    return UTF_8


def _texts(keys: Sequence[_Key], attributes: Attributes) -> Iterator[str]:
    for key in keys:
        value = attributes.get(f"{key.tag:08X}", "")
        yield value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
