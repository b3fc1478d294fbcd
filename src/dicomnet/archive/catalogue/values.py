"""Values in the form in which they are compared in the database, the same for an attribute and for a key."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...datasets.text import folded_name, values_of
from .matching import Moments, date_moments, time_moments

# A longer value, in characters, is kept in part; no legal one is that long, and an index page must hold it.
LIMIT = 500


def found_values(vr: str, text: str) -> set[str]:
    """What an attribute is found by: each of its values, of a name each component group. Empty ones are left out."""
    return {value[:LIMIT] for one in values_of(vr, text) for value in _FORMS.get(vr, _as_it_is)(one)} - {""}


def first_moment(moments: Callable[[str], Moments | None], text: str) -> str:
    """A date or time in the form that compares like moments; as it is, if it is not one."""
    found = moments(text)
    return text if found is None else found[0]


def _as_it_is(value: str) -> Iterable[str]:
    return (value,)


_FORMS: dict[str, Callable[[str], Iterable[str]]] = {
    "PN": folded_name,
    "DA": lambda value: (first_moment(date_moments, value),),
    "TM": lambda value: (first_moment(time_moments, value),),
}
