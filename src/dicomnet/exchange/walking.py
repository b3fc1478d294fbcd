"""Queries level by level from the top down, for peers without relational queries (PS3.4 section C.4.1)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableSequence
from typing import TYPE_CHECKING, Any

from ..datasets.levels import LEVEL_OF, UNIQUE_KEYS, Level
from ..datasets.queries import build_query, query_level
from ..encoding.identity import is_uid
from ..errors import DicomnetError, ProtocolError, ServiceRefusal
from ..values import frozen
from .contexts import FIND_MODELS, find_model
from .operations import Operation, Report, find, gather

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_log = logging.getLogger(__name__)

# A match, behind those above it.
Path = tuple["Dataset", ...]
Find = Callable[["Dataset", str], Operation[None]]


@frozen
class Walk:
    """What is asked at each level.

    Parameters
    ----------
    model
        SOP class UID of the information model.
    levels
        Those that are asked, from the top down.
    keys
        The keys of each of them.
    above
        The unique keys of the levels above, which are known.
    reported
        The level from which on matches are reported; of those above it only what is needed to go on.
    """

    model: str
    levels: tuple[Level, ...]
    keys: Mapping[Level, Mapping[str, Any]]
    above: Mapping[str, Any]
    reported: Level


def plan(level: str, model: str | None, keys: Mapping[str, Any], *, is_deep: bool) -> Walk:
    """How the matches at a level are found without a relational query.

    Parameters
    ----------
    level, model
        As of `find_model`.
    keys
        Keyword to value, as of `build_query`. Each is asked for at its own level.
    is_deep
        Whether all that is below a match is looked for, too.

    Raises
    ------
    ValueError
        For a level or a model that does not exist.
    """
    uid = find_model(level, model)
    wanted = Level[query_level(level)]
    top = Level.PATIENT if uid == FIND_MODELS["patient"] else Level.STUDY
    lowest = Level.IMAGE if is_deep else wanted
    at: dict[Level, dict[str, Any]] = {each: {} for each in Level if top <= each <= lowest}
    for keyword, value in keys.items():
        if keyword == "SpecificCharacterSet":
            for each in at.values():
                each[keyword] = value
        else:
            at[min(max(LEVEL_OF.get(keyword, lowest), top), lowest)][keyword] = value
    above: dict[str, Any] = {}
    first = top
    # A level is not asked where its unique key is known and nothing else is wanted of it.
    while first < wanted and _is_known(at[first], UNIQUE_KEYS[first]):
        above[UNIQUE_KEYS[first]] = at[first][UNIQUE_KEYS[first]]
        first = Level(first + 1)
    return Walk(uid, tuple(each for each in at if each >= first), at, above, wanted)


def _is_known(keys: Mapping[str, Any], unique: str) -> bool:
    if keys.keys() - {unique, "SpecificCharacterSet"}:
        return False
    value = keys.get(unique)
    return isinstance(value, str) and value != "" and not any(character in value for character in "*?\\")


def walk(planned: Walk, ask: Find = find) -> Operation[None]:
    """Query level by level. Reports each match behind those above it, which it belongs to, as a tuple.

    A query that fails costs what is below its match. The others are reported before the first failure is raised.

    Parameters
    ----------
    planned
        What is asked at each level.
    ask
        How an Identifier is asked of an information model: by C-FIND.
    """
    faults: list[DicomnetError] = []
    yield from _below((), planned, faults, ask)
    if faults:
        raise faults[0]


def _below(path: Path, planned: Walk, faults: list[DicomnetError], ask: Find) -> Operation[None]:
    level = planned.levels[len(path)]
    unique = UNIQUE_KEYS[level]
    keywords = [UNIQUE_KEYS[each] for each in planned.levels]
    told = {keyword: _told(match, keyword) for keyword, match in zip(keywords, path, strict=False)}
    keys: dict[str, Any] = {unique: None, **planned.keys[level], **planned.above, **told}
    try:
        identifier = build_query(level.name, keys)
    except ValueError as error:
        if not path:
            raise
        # The other keys have been asked with before, at least at this level.
        _failed(ProtocolError(f"what is below a match cannot be asked for: {error}"), faults)
        return
    matches: list[Dataset] = []
    try:
        yield from gather(ask(identifier, planned.model), matches)
    except (ServiceRefusal, ProtocolError) as error:
        _failed(error, faults)
    strangers = 0
    for match in matches:
        if not all(_belongs(match, keyword, value) for keyword, value in told.items()):
            strangers += 1
            continue
        found = (*path, match)
        if level >= planned.reported:
            yield Report(found)
        if level is planned.levels[-1]:
            continue
        if _told(match, unique) is None:
            _failed(
                ProtocolError(f"what is below a match cannot be asked for, since it has no usable {unique}"),
                faults,
            )
            continue
        yield from _below(found, planned, faults, ask)
    if strangers:
        _failed(
            ProtocolError(f"matches were left out that do not belong to what was asked for: {strangers}"),
            faults,
        )


def _belongs(match: Dataset, keyword: str, value: str | None) -> bool:
    """Whether a match is below one with this unique key. Many peers do not tell those of the levels above."""
    told = _told(match, keyword)
    if told is None:
        # The Patient ID of a peer that is a wild card to it has found others, too.
        return value is None or not any(character in value for character in "*?")
    return told == value


def _failed(error: DicomnetError, faults: list[DicomnetError]) -> None:
    _log.warning("a part of the query has failed: %s", error)
    faults.append(error)


def _told(match: Dataset, keyword: str) -> str | None:
    """The unique key of a match, None where it has none that may be asked for."""
    try:
        found = match[keyword].value
        # Several values have a backslash between them, which no key of one match can have.
        value = "" if isinstance(found, MutableSequence) else str(found or "").strip()
    except Exception:  # noqa: BLE001
        # pydicom may raise anything for a peer's bytes.
        return None
    return value if value and (keyword == UNIQUE_KEYS[Level.PATIENT] or is_uid(value)) else None
