"""The rows above an instance: patient, study and series, and what studies are found by.

Their attributes are those of all objects below: what the first object leaves empty is filled by later ones. Where
objects contradict each other, the first value is the attribute, the other ones are kept beside it, and either matches.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, or_, select, update

from ...datasets.levels import Level
from ...datasets.text import folded_name
from ...encoding.scan import Header
from . import schema
from .schema import READ, SPECIFIC_CHARACTER_SET
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
_MERGED = ("attributes", "others")
_ABOVE = (Level.PATIENT, Level.STUDY, Level.SERIES)
SIGNED = (SPECIFIC_CHARACTER_SET, *(tag for level in _ABOVE for tag in READ[level]))


class KnownSeries(dict[tuple[str, str], int]):
    """A cache of row IDs by Study and Series Instance UID, and of what objects of each said of the levels above."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], set[int]] = {}

    @property
    def is_full(self) -> bool:
        """Whether it has as many as it should have."""
        return len(self) >= _SERIES_LIMIT

    def clear(self) -> None:
        """Forget all, after a transaction has failed or when it is full."""
        super().clear()
        self._said.clear()

    def has_said(self, series: tuple[str, str], signature: int) -> bool:
        """Whether an object of a series said the same of the levels above."""
        said = self._said.get(series)
        return said is not None and signature in said

    def said(self, series: tuple[str, str], number: int, signature: int) -> None:
        """An object says something of the levels above its series, which has this row ID."""
        self[series] = number
        said = self._said.setdefault(series, set())
        if len(said) >= _SIGNATURES_LIMIT:
            said.clear()
        said.add(signature)


def signature(header: Header, sop_class: str, tags: Iterable[int]) -> int:
    """A number that objects have in common if they say the same of the levels above.

    Parameters
    ----------
    tags
        Those of the attributes of the levels above.
    """
    return hash((sop_class, header.encoding, *map(header.values.get, tags)))


def collected(sop_class: str, of_series: Attributes) -> set[tuple[int, str]]:
    """What an object adds to the attributes that a study has of all its series and objects."""
    modalities = found_values("CS", of_series.get(_key(MODALITY), ""))
    of_study = {(schema.MODALITIES_IN_STUDY, modality) for modality in modalities}
    return of_study | {(schema.SOP_CLASSES_IN_STUDY, sop_class)}


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


def other_patients(others: Others) -> int:
    """How many Patient IDs the objects of a study have besides the first one."""
    return len(others.get(_key(PATIENT_ID), ()))


def parsed(texts: Sequence[Any]) -> tuple[Attributes, Others]:
    """The attributes of a row and what later objects say otherwise, from their columns."""
    return json.loads(texts[0]), json.loads(texts[1] or "{}")


def known_values(connection: Connection, study: int, pairs: set[tuple[int, str]]) -> set[tuple[int, str]]:
    """Which of these values the study is found by already."""
    of = schema.study_value.c
    each = (and_(of.tag == tag, of.value == value, of.study == study) for tag, value in sorted(pairs))
    return {(tag, value) for tag, value in connection.execute(select(of.tag, of.value).where(or_(*each)))}


UPDATE = {
    level: update(schema.TABLES[level])
    .where(schema.TABLES[level].c.id == bindparam("number"))
    .values({name: bindparam(name) for name in (*_MERGED, *(("modality",) if level is Level.SERIES else ()))})
    for level in _ABOVE
}

# Adds to the numbers of series and of instances of a study.
COUNT = (
    update(schema.study)
    .where(schema.study.c.uid == bindparam("study"))
    .values(
        series_count=schema.study.c.series_count + bindparam("series"),
        instance_count=schema.study.c.instance_count + bindparam("instances"),
    )
)


def identity(patient: Attributes) -> str:
    """What distinguishes a patient from others: an ID with its issuer; without one, name and birth date."""
    patient_id, issuer = patient.get(_key(PATIENT_ID), ""), patient.get(_key(ISSUER_OF_PATIENT_ID), "")
    identifying = ("id", patient_id, issuer)
    if not patient_id:
        name = "=".join(folded_name(patient.get(_key(PATIENT_NAME), "")))
        identifying = ("name", name, patient.get(_key(PATIENT_BIRTH_DATE), ""))
    return json.dumps(identifying)


def modality(of_series: Attributes) -> str:
    """The modality of a series; empty if it has none."""
    found: str = of_series.get(_key(MODALITY), "")
    return found


def found_by(attributes: Attributes, others: Others) -> set[tuple[int, str]]:
    """What a study with these attributes is found by."""
    pairs = set()
    for tag, vr in schema.FOUND_BY.items():
        for text in (attributes.get(_key(tag), ""), *others.get(_key(tag), ())):
            pairs |= {(tag, value) for value in found_values(vr, text)}
    return pairs


def _key(tag: int) -> str:
    return f"{tag:08X}"
