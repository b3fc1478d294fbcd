"""The task of finding the objects that are to be exported: by the keys of a query, or by UIDs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, TypeVar

from ...datasets.queries import build_identifier
from ...errors import ServiceRefusal
from ..catalogue.identifiers import Request, parse
from ..catalogue.index import Index
from ..catalogue.options import QueryOptions
from ..catalogue.query import StoredInstance, locate, search
from ..holdings import Holdings
from .task import Reporter, TaskFailed, in_words

# The levels at which keys may match, from the highest to the lowest.
LEVELS = ("study", "series", "image")
_RELATIONAL = QueryOptions(relational=True)
_STUDY, _SERIES, _INSTANCE = "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"
_NAMES = {_STUDY: "0020000D", _SERIES: "0020000E", _INSTANCE: "00080018"}
# How many UIDs are looked up, and objects reported, at once.
_PART = 500

Item = TypeVar("Item")


def find_objects(
    holdings: Holdings,
    reporter: Reporter,
    *,
    keys: Mapping[str, Any] | None = None,
    level: str | None = None,
    uids: Sequence[str] = (),
) -> Mapping[str, Any]:
    """Find objects: those of what matches keys, those with UIDs, or all.

    Parameters
    ----------
    holdings
        The archive.
    reporter
        Told of ``objects``, each a Study, Series and SOP Instance UID and the length of the file in bytes, None if that
        is not known; and of a UID that is ``missing``.
    keys
        What a query at a level has to match, as for `build_identifier`; None for all objects, if there are no UIDs.
    level
        One of `LEVELS`; by default the highest one that has all the keys.
    uids
        UIDs of studies, series or objects.

    Returns
    -------
    mapping
        ``objects`` and ``missing``: how many there are.

    Raises
    ------
    TaskFailed
        If the keys cannot be matched, or match everything.
    ServiceRefusal
        If the index cannot be asked now.
    """
    missing: list[str] = []
    found = selected(holdings.index_to_search(), reporter, keys, level, uids, missing)
    count = 0
    for part in _parts(found):
        count += len(part)
        reporter.item(objects=[[*_texts(each), each.size] for each in part])
        reporter.progress(count)
    for uid in missing:
        reporter.item(missing=uid)
    return {"objects": count, "missing": len(missing)}


def selected(
    index: Index,
    reporter: Reporter,
    keys: Mapping[str, Any] | None,
    level: str | None,
    uids: Sequence[str],
    missing: list[str],
) -> Iterator[StoredInstance]:
    """The objects that are meant, each once; parameters and exceptions as of `find_objects`.

    Parameters
    ----------
    missing
        Gets the UIDs that nothing has.
    """
    if uids:
        return _with_uids(index, uids, missing)
    if keys is not None:
        return _matching(index, keys, level, reporter)
    return _of_series(index, index.series())


def _texts(found: StoredInstance) -> tuple[str, str, str]:
    return found.name.study, found.name.series, found.name.instance


def _parts(items: Iterable[Item]) -> Iterator[list[Item]]:
    left = iter(items)
    while part := list(islice(left, _PART)):
        yield part


def _located(index: Index, level: str, keys: Mapping[str, Any]) -> Iterator[StoredInstance]:
    """The objects with unique keys."""
    return locate(index, "STUDY", build_identifier(level, keys), options=_RELATIONAL).objects


def _of_series(index: Index, series: Iterable[tuple[str, str]]) -> Iterator[StoredInstance]:
    """The objects of series."""
    for study, those in groupby(series, lambda pair: pair[0]):
        for part in _parts(those):
            yield from _located(index, "series", {_STUDY: study, _SERIES: [each for _, each in part]})


def _of_instances(index: Index, instances: Iterable[str]) -> Iterator[StoredInstance]:
    """The objects with SOP Instance UIDs, as far as they are there."""
    for part in _parts(instances):
        for each in index.files_of(part).values():
            yield StoredInstance(each.name, "", "", each.size)


def _with_uids(index: Index, uids: Sequence[str], missing: list[str]) -> Iterator[StoredInstance]:
    """The objects that have UIDs, or whose series or studies have them, each once."""
    given: set[str] = set()
    for part in _parts(dict.fromkeys(uids)):
        instances = {each.name.instance: each for each in _of_instances(index, part)}
        for uid in part:
            found: Iterable[StoredInstance] = [instances[uid]] if uid in instances else ()
            found = found or list(_located(index, "study", {_STUDY: uid}))
            found = found or list(_located(index, "series", {_SERIES: uid}))
            if not found:
                missing.append(uid)
            for each in found:
                if each.name.instance not in given:
                    given.add(each.name.instance)
                    yield each


def _matching(
    index: Index, keys: Mapping[str, Any], level: str | None, reporter: Reporter
) -> Iterator[StoredInstance]:
    """The objects of the studies or series that match, or the objects that match."""
    level = _level(index, keys, level)
    returned = (_STUDY, _SERIES, _INSTANCE)[: LEVELS.index(level) + 1]
    identifier = build_identifier(level, {**dict.fromkeys(returned), **keys})

    def matches() -> Iterator[tuple[str, ...]]:
        for attributes in search(index, "STUDY", identifier, options=_RELATIONAL).matches:
            reporter.progress(0)
            if attributes is not None:
                yield tuple(attributes[_NAMES[each]] for each in returned)

    if level == "image":
        return _of_instances(index, (instance for _, _, instance in matches()))
    if level == "series":
        return _of_series(index, ((study, series) for study, series in matches()))
    return (
        found
        for part in _parts(study for (study,) in matches())
        for found in _located(index, "study", {_STUDY: part})
    )


def _level(index: Index, keys: Mapping[str, Any], level: str | None) -> str:
    """The level at which keys are matched."""
    tried = (level,) if level else LEVELS
    for each in tried:
        request = _parsed(index, each, keys)
        if not request.has_unsupported:
            # What only has to be there, whatever it is, is no choice either.
            are_any = all(str(value).strip("*? ") == "" and "*" in str(value) for value in keys.values())
            if are_any or all(key.is_universal for key in request.keys):
                raise TaskFailed("the keys match everything in the archive; say --all if that is meant")
            return each
    where = f"at the {level} level" if level else "at any level"
    unknown = [
        key
        for key, value in keys.items()
        if all(_parsed(index, each, {key: value}).has_unsupported for each in tried)
    ]
    if unknown:
        raise TaskFailed(f"the index does not have {', '.join(unknown)} {where}, and so cannot match it")
    raise TaskFailed(f"{', '.join(keys)} cannot be matched together {where}")


def _parsed(index: Index, level: str, keys: Mapping[str, Any]) -> Request:
    try:
        return parse("STUDY", build_identifier(level, keys), _RELATIONAL, index.kept)
    except (ValueError, ServiceRefusal) as error:
        raise TaskFailed(in_words(error)) from error
