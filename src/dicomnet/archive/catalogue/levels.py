"""The rows above an instance: patient, study and series, and what studies are found by.

Their attributes are those of all objects below: what the first object leaves empty is filled by later ones. Where
objects contradict each other, the first value is the attribute, the other ones are kept beside it, and either matches.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, insert, or_, select, update

from ...datasets.text import folded_name
from ...encoding.scan import Header
from . import schema, trigrams
from .schema import READ, SPECIFIC_CHARACTER_SET, Level
from .values import found_values

PATIENT_NAME, PATIENT_ID, ISSUER_OF_PATIENT_ID = 0x00100010, 0x00100020, 0x00100021
PATIENT_BIRTH_DATE, MODALITY = 0x00100030, 0x00080060

# Values by tag, as eight hexadecimal digits: text, or for a sequence a list of the attributes of its items.
Attributes = dict[str, Any]
# What later objects say otherwise, by tag.
Others = dict[str, list[Any]]

# Attributes that are other in each object of a study contradict each other without end.
_OTHERS_LIMIT = 8
_SIGNATURES_LIMIT = 16
_SERIES_LIMIT = 20_000
# After how many new studies it is looked whether there are many values to be indexed.
_FILL_EVERY = 64
_MERGED = ("attributes", "others")
_ABOVE = (Level.PATIENT, Level.STUDY, Level.SERIES)
_SIGNED = (SPECIFIC_CHARACTER_SET, *(tag for level in _ABOVE for tag in READ[level]))


class KnownSeries(dict[tuple[str, str], int]):
    """A cache of row IDs by Study and Series Instance UID, and of what objects of each said of the levels above.

    Parameters
    ----------
    added
        The tags of the attributes that are kept besides those of the schema.
    """

    def __init__(self, added: Iterable[int] = ()) -> None:
        super().__init__()
        self._said: dict[int, set[int]] = {}
        self._signed = (*_SIGNED, *added)

    def __setitem__(self, series: tuple[str, str], number: int) -> None:
        if len(self) >= _SERIES_LIMIT:
            self.clear()
        super().__setitem__(series, number)

    def clear(self) -> None:
        """Forget all, after a transaction has failed."""
        super().clear()
        self._said.clear()

    def is_news(self, series: int, header: Header, sop_class: str) -> bool:
        """Whether no object before this one said the same of the levels above; it is remembered."""
        signature = hash((sop_class, header.encoding, *map(header.values.get, self._signed)))
        said = self._said.setdefault(series, set())
        if signature in said:
            return False
        if len(said) >= _SIGNATURES_LIMIT:
            said.clear()
        said.add(signature)
        return True


def collected(sop_class: str, of_series: Attributes) -> set[tuple[int, str]]:
    """What an object adds to the attributes that a study has of all its series and objects."""
    modalities = found_values("CS", of_series.get(_key(MODALITY), ""))
    of_study = {(schema.MODALITIES_IN_STUDY, modality) for modality in modalities}
    return of_study | {(schema.SOP_CLASSES_IN_STUDY, sop_class)}


def insert_study(
    connection: Connection,
    uid: str,
    collected: set[tuple[int, str]],
    *,
    patient: Attributes,
    own: Attributes,
) -> int:
    """Insert a study, and its patient if there is none yet."""
    both = patient | own
    row = {"parent": _patient(connection, patient), "uid": uid, "attributes": to_json(both)}
    number = _insert(connection, Level.STUDY, row)
    _insert_values(connection, number, _found_by(both, {}) | collected)
    if number % _FILL_EVERY == 0:
        trigrams.fill(connection)
    return number


def insert_series(connection: Connection, study: int, uid: str, own: Attributes) -> int:
    """Insert a series."""
    row = {"parent": study, "uid": uid, "modality": own.get(_key(MODALITY), ""), "attributes": to_json(own)}
    return _insert(connection, Level.SERIES, row)


def complete(
    connection: Connection,
    series: int,
    collected: set[tuple[int, str]],
    *,
    patient: Attributes,
    study: Attributes,
    of_series: Attributes,
) -> None:
    """Take into the rows above what another object says of them. Where it says nothing new, nothing is written."""
    row = connection.execute(_SELECT, {"number": series}).one()
    number = row[1]
    _merge(connection, Level.PATIENT, row[0], row[2:4], patient)
    _merge(connection, Level.SERIES, series, row[6:8], of_series)
    pairs = collected - _known(connection, number, collected) if collected else set()
    changed = _merge(connection, Level.STUDY, number, row[4:6], patient | study)
    if changed is not None:
        pairs |= _found_by(*changed) - _found_by(*_parsed(row[4:6]))
    _insert_values(connection, number, pairs)


def to_json(attributes: Mapping[str, Any]) -> str:
    """Attributes as they are stored."""
    return json.dumps(attributes, ensure_ascii=False, separators=(",", ":"))


def merged(attributes: Attributes, others: Others, said: Attributes) -> bool:
    """Take into the attributes of a row what another object says; whether they have changed by it."""
    has_changed = False
    for key, value in said.items():
        kept = attributes.get(key)
        if not value or value == kept:
            continue
        if not kept:
            attributes[key] = value
        elif value in others.get(key, ()) or len(others.get(key, ())) >= _OTHERS_LIMIT:
            continue
        else:
            others.setdefault(key, []).append(value)
        has_changed = True
    return has_changed


def _parsed(texts: Sequence[Any]) -> tuple[Attributes, Others]:
    return json.loads(texts[0]), json.loads(texts[1] or "{}")


def _merge(
    connection: Connection, level: Level, number: int, texts: Sequence[Any], said: Attributes
) -> tuple[Attributes, Others] | None:
    """As `merged`, for a row of which these are the attributes and others; what it is now if it has changed."""
    attributes, others = _parsed(texts)
    if not merged(attributes, others, said):
        return None
    row = {"number": number, "attributes": to_json(attributes), "others": to_json(others) if others else None}
    if level is Level.SERIES:
        row["modality"] = attributes.get(_key(MODALITY), "")
    connection.execute(_UPDATE[level], row)
    return attributes, others


def _known(connection: Connection, study: int, pairs: set[tuple[int, str]]) -> set[tuple[int, str]]:
    """Which of these values the study is found by already."""
    of = schema.study_value.c
    each = (and_(of.tag == tag, of.value == value, of.study == study) for tag, value in sorted(pairs))
    return {(tag, value) for tag, value in connection.execute(select(of.tag, of.value).where(or_(*each)))}


_SELECT = (
    select(
        schema.patient.c.id,
        schema.study.c.id,
        *(schema.TABLES[level].c[name] for level in _ABOVE for name in _MERGED),
    )
    .select_from(schema.series)
    .join(schema.study, schema.study.c.id == schema.series.c.parent)
    .join(schema.patient, schema.patient.c.id == schema.study.c.parent)
    .where(schema.series.c.id == bindparam("number"))
)
_UPDATE = {
    level: update(schema.TABLES[level])
    .where(schema.TABLES[level].c.id == bindparam("number"))
    .values({name: bindparam(name) for name in (*_MERGED, *(("modality",) if level is Level.SERIES else ()))})
    for level in _ABOVE
}
_INSERT = {level: insert(schema.TABLES[level]) for level in _ABOVE}
_INSERT_VALUES = insert(schema.study_value)


def _patient(connection: Connection, patient: Attributes) -> int:
    patient_id, issuer = patient.get(_key(PATIENT_ID), ""), patient.get(_key(ISSUER_OF_PATIENT_ID), "")
    # Without a Patient ID, name and birth date are the best means of distinguishing patients.
    identifying = ("id", patient_id, issuer)
    if not patient_id:
        name = "=".join(folded_name(patient.get(_key(PATIENT_NAME), "")))
        identifying = ("name", name, patient.get(_key(PATIENT_BIRTH_DATE), ""))
    identity = json.dumps(identifying)
    of = schema.patient.c
    row = connection.execute(
        select(of.id, of.attributes, of.others).where(of.identity == identity)
    ).one_or_none()
    if row is None:
        return _insert(connection, Level.PATIENT, {"identity": identity, "attributes": to_json(patient)})
    _merge(connection, Level.PATIENT, row[0], row[1:], patient)
    return int(row[0])


def _insert(connection: Connection, level: Level, row: Mapping[str, Any]) -> int:
    key = connection.execute(_INSERT[level], row).inserted_primary_key
    if key is None:
        raise AssertionError(level)
    return int(key[0])


def _insert_values(connection: Connection, study: int, pairs: Iterable[tuple[int, str]]) -> None:
    rows = [{"study": study, "tag": tag, "value": value} for tag, value in sorted(pairs)]
    if rows:
        connection.execute(_INSERT_VALUES, rows)


def _found_by(attributes: Attributes, others: Others) -> set[tuple[int, str]]:
    """What a study with these attributes is found by."""
    pairs = set()
    for tag, vr in schema.FOUND_BY.items():
        for text in (attributes.get(_key(tag), ""), *others.get(_key(tag), ())):
            pairs |= {(tag, value) for value in found_values(vr, text)}
    return pairs


def _key(tag: int) -> str:
    return f"{tag:08X}"
