"""Attributes that are computed from the rows of the levels below: counts, modalities, SOP classes, syntaxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, bindparam, func, select

from ...datasets.levels import Level
from ..database import Query
from . import schema
from .schema import MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY

_of_study, _of_series, _of_instance = schema.study.c, schema.series.c, schema.instance.c
_AVAILABLE_TRANSFER_SYNTAX = 0x00083002

# Computes an attribute from the rows of the levels below, for each of the given row IDs.
Collect = Callable[[Connection, Sequence[int]], Mapping[int, str]]


def _collected(owner: ColumnElement[int], value: ColumnElement[Any], joins: Sequence[Any]) -> Collect:
    """A query of the values (or their count) that belong to each of several rows, joined by backslashes."""
    source = joins[0]
    for table, on in joins[1:]:
        source = source.join(table, on)
    chosen = owner.in_(bindparam("row_ids", expanding=True))
    query = Query(select(owner, value).select_from(source).where(chosen).group_by(owner, *_grouped(value)))

    def collect(connection: Connection, row_ids: Sequence[int]) -> Mapping[int, str]:
        found: dict[int, list[str]] = {}
        for row in query.rows(connection, {"row_ids": list(row_ids)}):
            pair: tuple[Any, ...] = tuple(row)
            found.setdefault(pair[0], []).append(str(pair[1]))
        return {number: "\\".join(sorted(values)) for number, values in found.items()}

    return collect


def _grouped(value: ColumnElement[Any]) -> tuple[ColumnElement[Any], ...]:
    return (value,) if isinstance(value, Column) else ()


_instances_below = (schema.instance, _of_instance.parent == _of_series.id)
# What is computed of the studies of a patient.
OF_PATIENT: dict[int, ColumnElement[Any]] = {
    0x00201200: func.count(_of_study.id),
    0x00201202: func.sum(_of_study.series_count),
    0x00201204: func.sum(_of_study.instance_count),
}
# The columns of a study with the numbers of what is below it.
STUDY_COUNTS = {0x00201206: _of_study.series_count, 0x00201208: _of_study.instance_count}

PATIENT_COUNTS: dict[int, Collect] = {
    tag: _collected(_of_study.parent, count, (schema.study,)) for tag, count in OF_PATIENT.items()
}
_OF_STUDY: dict[int, Collect] = {
    **{tag: _collected(_of_study.id, count, (schema.study,)) for tag, count in STUDY_COUNTS.items()},
    MODALITIES_IN_STUDY: _collected(_of_series.parent, _of_series.modality, (schema.series,)),
    SOP_CLASSES_IN_STUDY: _collected(
        _of_series.parent, _of_instance.sop_class, (schema.series, _instances_below)
    ),
}
_SERIES_COUNTS: dict[int, Collect] = {
    0x00201209: _collected(_of_instance.parent, func.count(_of_instance.id), (schema.instance,)),
}
_SYNTAXES: dict[int, Collect] = {
    _AVAILABLE_TRANSFER_SYNTAX: _collected(_of_instance.id, _of_instance.transfer_syntax, (schema.instance,)),
}
COMPUTED: dict[Level, dict[int, Collect]] = {
    Level.PATIENT: PATIENT_COUNTS,
    Level.STUDY: _OF_STUDY,
    Level.SERIES: _SERIES_COUNTS,
    Level.IMAGE: _SYNTAXES,
}


def computed_at(level: Level, *, relational: bool) -> dict[int, Level]:
    """What is computed for the answers at a level: by tag, the level of the rows that it is computed of.

    Parameters
    ----------
    level
        Of the answers.
    relational
        Whether they have what is of any level above. A study has what is of its patient in any case.
    """
    above = [each for each in Level if each <= level] if relational else [level]
    if level is Level.STUDY:
        above = [Level.PATIENT, Level.STUDY]
    return {tag: each for each in above for tag in COMPUTED[each]}
