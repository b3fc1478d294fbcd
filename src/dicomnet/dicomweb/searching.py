"""Search for studies, series and instances (QIDO-RS, PS3.18 section 10.6), page by page."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..datasets.levels import UNIQUE_KEYS, Level
from ..drivers.http import Head
from ..encoding.identity import is_uid
from ..errors import ConnectionLost, HTTPRefusal, ProtocolError
from ..exchange.contexts import FIND_MODELS
from ..exchange.operations import Operation, Report
from ..services.descriptions import shown
from ..services.steps import Work
from ..values import frozen
from .asking import JSON, Session, ask, media_type, read_all, read_json

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_log = logging.getLogger(__name__)

# How many matches are asked for at a time, and of a peer that does not bear it.
PAGE, SMALL_PAGE = 1000, 100
# A peer that gives fewer than it is asked for, and does not say that there are more, gives a number of this kind.
_ROUND = (50, 64)
# Wild cards and what else stands in values are sent as they are where an address allows it: some servers do not decode
# an asterisk, for instance.
_PLAIN = "!$'()*,/:;=?@[\\]^_`{|}~-."
# What the warning says that there is more (section 8.3.4.4); others are about how the query was understood.
_MORE = re.compile(r"additional|remaining|more result", re.IGNORECASE)
_WARNING = re.compile(r"(?:^|,)\s*299\s+(.*)", re.DOTALL)
# How a limit is refused that is more than a peer allows: some take 200 at most.
_TOO_MANY = frozenset((400, 413))
# How it is refused to look beyond the end.
_NO_MORE = frozenset((400, 404, 416, 501))
_NO_KEYS = frozenset((0x00080005, 0x00080052))


@frozen
class Query:
    """What is asked of a resource.

    Parameters
    ----------
    resource
        The path of the resource, such as ``/studies``.
    parameters
        Names and values, encoded.
    level
        Of the matches.
    known
        The keywords and values that the path tells.
    """

    resource: str
    parameters: tuple[str, ...]
    level: Level
    known: Mapping[str, str]

    @classmethod
    def of(cls, identifier: Dataset) -> Query:
        """That of an Identifier.

        Raises
        ------
        ValueError
            If it cannot be asked by DICOMweb.
        """
        level = Level[str(identifier.QueryRetrieveLevel)]
        if level is Level.PATIENT:
            raise ValueError("DICOMweb has no query of patients; ask for studies, which say whose they are")
        known: dict[str, str] = {}
        resource = ""
        for each, name in ((Level.STUDY, "studies"), (Level.SERIES, "series")):
            value = identifier.get(UNIQUE_KEYS[each])
            # Below a series without its study there is no path.
            if each >= level or not (isinstance(value, str) and is_uid(value)):
                break
            known[UNIQUE_KEYS[each]] = str(value)
            resource += f"/{name}/{value}"
        resource += {Level.STUDY: "/studies", Level.SERIES: "/series", Level.IMAGE: "/instances"}[level]
        return cls(resource, tuple(_parameters(identifier, known)), level, known)

    def page(self, offset: int, limit: int) -> str:
        """The resource with all parameters."""
        paging = [f"limit={limit}"] + ([f"offset={offset}"] if offset else [])
        return f"{self.resource}?{'&'.join([*self.parameters, *paging])}"


def _parameters(identifier: Dataset, known: Mapping[str, str]) -> Iterator[str]:
    included = []
    for way, element in _keys(identifier, ""):
        text = _text(element)
        if way in known:
            continue
        if text:
            yield f"{way}={quote(text, safe=_PLAIN)}"
        else:
            included.append(way)
    if included:
        yield f"includefield={','.join(included)}"


def _keys(data_set: Dataset, above: str) -> Iterator[tuple[str, Any]]:
    """Each key with its way: the keyword, behind those of the sequences around it."""
    for element in data_set:
        if element.tag in _NO_KEYS:
            continue
        way = above + (element.keyword or f"{element.tag:08X}")
        if element.VR == "SQ" and element.value:
            yield from _keys(element.value[0], f"{way}.")
        else:
            yield way, element


def _text(element: Any) -> str:
    """The value of a key as a parameter has it; several UIDs are separated by commas (section 8.3.4.1)."""
    value = element.value
    if value is None or element.VR == "SQ":
        return ""
    if not isinstance(value, str | bytes | int | float) and hasattr(value, "__iter__") and element.VR != "PN":
        return ("," if element.VR == "UI" else "\\").join(map(str, value))
    # A number is asked for as it was written.
    return str(getattr(value, "original_string", value) if element.VR in ("DS", "IS") else value)


def echo(session: Session) -> Operation[None]:
    """See whether the service answers a query. Reports how long that took, in seconds."""
    begin = perf_counter()
    head = yield from ask(session, "/studies?limit=1", JSON, tries=0)
    yield from _models(head)
    yield Report(perf_counter() - begin)


def find(session: Session, identifier: Dataset, limit: int | None = None) -> Operation[None]:
    """Query (QIDO-RS). Reports the matches; those that cannot be read are an error after the last one.

    Parameters
    ----------
    limit
        After how many matches nothing more is asked for.

    Raises
    ------
    ValueError
        See `Query.of`.
    """
    query = Query.of(identifier)
    unique = UNIQUE_KEYS[query.level]
    seen: set[str] = set()
    damages: list[str] = []
    offset = count = 0
    page = PAGE
    before: list[Any] = []
    # Whether the peer has not said that there are more, and is asked all the same.
    is_doubted = False
    while count != limit:
        wanted = page if limit is None else min(page, limit - count)
        try:
            head, models = yield from _page(session, query.page(offset, wanted))
        except HTTPRefusal as refusal:
            if is_doubted and refusal.code in _NO_MORE:
                break
            if refusal.code not in _TOO_MANY or wanted <= SMALL_PAGE:
                raise
            _log.info("%s; asked for fewer matches at a time", refusal)
            page = SMALL_PAGE
            continue
        has_more = _has_more(head)
        matches: list[tuple[str, Dataset]] = yield Work(partial(_read, models, query, damages))
        # What came meanwhile may have moved some to the next page.
        fresh = [(uid, match) for uid, match in matches if not offset or not uid or uid not in seen]
        # Where they have no UIDs, or cannot be read, nothing else tells.
        is_same = bool(models) and models == before
        if is_same:
            fresh = []
        before = models
        offset += len(models)
        for uid, match in fresh:
            seen.add(uid)
            count += 1
            yield Report(match)
            if count == limit:
                break
        if len(models) > wanted or not models:
            # It gives all there is, whatever it is asked for.
            has_more = has_more and bool(models)
        elif len(models) == wanted:
            has_more = True
        is_round = len(models) < wanted and any(len(models) % each == 0 for each in _ROUND)
        is_doubted = not has_more and bool(fresh) and is_round
        if not has_more and not is_doubted:
            break
        if not fresh and (matches or is_same):
            raise ProtocolError(
                f"the peer gives the same matches again instead of the next ones after {count}; a narrower query"
                f" finds the others ({unique} is what they were told apart by)"
            )
    if damages:
        more = f" (and {len(damages) - 1} more)" if len(damages) > 1 else ""
        raise ProtocolError(f"{damages[0]}{more}")


def _page(session: Session, resource: str) -> Operation[tuple[Head, list[Any]]]:
    """An answer and its matches; one that is cut off is asked for again, as often as the session says."""
    left = session.retries
    while True:
        head = yield from ask(session, resource, JSON)
        try:
            return head, (yield from _models(head))
        except ConnectionLost as error:
            if left <= 0 or session.is_closed:
                raise
            left -= 1
            _log.info("%s; asked again", error)


def _models(head: Head) -> Operation[list[Any]]:
    """The matches of a response, as JSON models."""
    body = yield from read_all()
    if head.status == 204 or not body.strip():
        return []
    media_type(head, (JSON, "application/json"))
    models = yield Work(partial(read_json, body, "the peer's answer to a query"))
    if not isinstance(models, list):
        raise ProtocolError("the peer's answer to a query is not a list of matches")
    return models


def _read(models: list[Any], query: Query, damages: list[str]) -> list[tuple[str, Dataset]]:
    """The matches as data sets, each behind its UID; what is wrong with others goes to ``damages``."""
    matches = []
    for model in models:
        try:
            matches.append(_match(model, query))
        except ValueError as error:
            damages.append(f"a match cannot be read: {shown(error, 200)}")
            _log.warning("a match is left out: %s", shown(error, 200))
    return matches


def _match(model: Any, query: Query) -> tuple[str, Dataset]:
    """A match with its UID. A value that is none costs itself, but for those that say which match it is."""
    from ..datasets.json_model import from_json

    wrong: list[ValueError] = []
    # Nobody goes where a match says that a value is.
    match = from_json(model, lambda uri, vr: b"", wrong.append)
    uid = match.get(UNIQUE_KEYS[query.level])
    if wrong and not (isinstance(uid, str) and uid):
        raise wrong[0]
    for error in wrong:
        _log.warning("a value of the match %s is left out: %s", shown(uid, 64), shown(error, 200))
    for keyword, value in query.known.items():
        if not match.get(keyword):
            setattr(match, keyword, value)
    match.QueryRetrieveLevel = query.level.name
    return str(uid or ""), match


def _has_more(head: Head) -> bool:
    """Whether a warning says that there are more matches; others are logged."""
    found = _WARNING.search(head.headers.get("warning", ""))
    if found is None:
        return False
    if _MORE.search(found[1]):
        return True
    _log.warning("the peer says of a query: %s", shown(found[1], 200))
    return False


def check(identifier: Dataset, model: str) -> None:
    """Raise ValueError for a query that cannot be asked by DICOMweb."""
    # That of a worklist has no level.
    if "QueryRetrieveLevel" in identifier:
        Query.of(identifier)
    check_model(model)


def check_model(model: str) -> None:
    """Raise ValueError for an information model that DICOMweb has not."""
    if model != FIND_MODELS["study"]:
        raise ValueError(
            "DICOMweb has the Study Root information model alone, and neither the patient root nor a worklist"
        )
