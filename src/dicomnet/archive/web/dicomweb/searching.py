"""QIDO-RS: searches for studies, series and instances (PS3.18 section 10.6), by the query code of C-FIND."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import Any
from urllib.parse import quote

from pydicom.datadict import keyword_for_tag
from starlette.requests import Request
from starlette.responses import Response

from ....datasets.json_model import Model, of_text
from ....datasets.levels import UNIQUE_KEYS, Level
from ....datasets.queries import build_identifier
from ....datasets.xml_model import to_xml
from ....values import frozen, replace
from ...catalogue.computed import COMPUTED
from ...catalogue.identifiers import UNIQUE, Key
from ...catalogue.identifiers import Request as Identifier
from ...catalogue.index import Index
from ...catalogue.levels import Attributes
from ...catalogue.options import QueryOptions, QueryPolicy
from ...catalogue.query import Order, search
from ...catalogue.schema import KEPT_IN_ITEMS, TIMEZONE_OFFSET
from ...holdings import Holdings
from ...terms import Terms
from ..http.file_parts import in_bytes
from ..http.multipart import Part, boundary_of, content_type, written
from ..http.negotiation import Offer, chosen, ranges_of
from ..http.problems import Problem
from ..http.streams import streamed
from ..http.threads import in_thread
from ..resources import Reference, base_url, reference_of
from .described import ACCEPT, BOOLEAN, Described, DescribedRoute, Parameter
from .located import UNFILED
from .question import FLAGS, TIMEZONE, Question, question_of

JSON, XML = Offer("application/dicom+json"), Offer("application/dicom+xml", is_multipart=True)
# What is asked for by its general name is answered with it.
_PLAIN_JSON = Offer("application/json")
_OFFERS = (JSON, _PLAIN_JSON, XML)
_NUMBER = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
_DESCRIBED = Described(
    "Search.",
    "10.6",
    offers=_OFFERS,
    empty=(204,),
    parameters=(
        ACCEPT,
        Parameter("includefield", "Further attributes with commas between them, or all."),
        Parameter("limit", "How many matches are given at the most.", _NUMBER),
        Parameter("offset", "How many matches are left out at the beginning.", _NUMBER),
        Parameter("fuzzymatching", "Whether names are compared by what they sound like.", BOOLEAN),
        Parameter("emptyvaluematching", 'Whether "" is an attribute without a value.', BOOLEAN),
        Parameter("multiplevaluematching", "Whether a key may have several values.", BOOLEAN),
    ),
    others={
        "type": "object",
        "properties": {
            **{name: {"type": "string"} for name in ("PatientName", "PatientID", "00080050")},
            "StudyDate": {"type": "string", "pattern": "^[0-9]{0,8}(-[0-9]{0,8})?$"},
            "StudyDescription": {"type": "string"},
            "Modality": {"type": "string", "pattern": "^[A-Z0-9 ]{0,16}$"},
        },
        # What comes in a query is text, whatever it was made of.
        "additionalProperties": True,
    },
)
# A response is begun when it has so many bytes; a shorter one is known as a whole by then.
_FIRST_BYTES = 4 << 20
_CHUNK = 1 << 16

# What each match has (Tables 10.6.3-3 to 10.6.3-5), and of that what it has only where it is known.
_ALWAYS = {
    Level.STUDY: """
        StudyDate StudyTime AccessionNumber ModalitiesInStudy ReferringPhysicianName PatientName PatientID
        PatientBirthDate PatientSex StudyInstanceUID StudyID NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances
    """,
    Level.SERIES: "Modality SeriesInstanceUID SeriesNumber NumberOfSeriesRelatedInstances",
    Level.IMAGE: "SOPClassUID SOPInstanceUID InstanceNumber",
}
_IF_KNOWN = {
    Level.STUDY: "InstanceAvailability",
    Level.SERIES: """
        InstanceAvailability SeriesDescription PerformedProcedureStepStartDate PerformedProcedureStepStartTime
        RequestAttributesSequence
    """,
    Level.IMAGE: "InstanceAvailability Rows Columns BitsAllocated NumberOfFrames",
}
_CHARACTER_SET = {"vr": "CS", "Value": ["ISO_IR 192"]}
_CHARACTER_SET_NAME, _RETRIEVE_URL, _TIMEZONE_NAME = "00080005", "00081190", f"{TIMEZONE_OFFSET:08X}"
_UNIQUE_NAMES = {level: f"{tag:08X}" for level, tag in UNIQUE.items()}
_MORE = "There are additional results that can be requested."
_MAYBE_MORE = "There may be additional results that can be requested."
_UNSUPPORTED = "The {} parameter is not supported. {}"
_INSTEAD = {
    "fuzzymatching": "Only literal matching has been performed.",
    "emptyvaluematching": "Empty Value Matching has not been performed.",
    "multiplevaluematching": "Multiple Value Matching has not been performed.",
}


class SearchService:
    """The service that searches.

    Parameters
    ----------
    holdings
        What is searched; it has an index.
    prepare
        Called by each search, as pictures of what is found are mostly asked for soon.
    """

    def __init__(self, holdings: Holdings, prepare: Callable[[], None]) -> None:
        self._holdings = holdings
        self._prepare = prepare
        self._policy = QueryPolicy()
        study, series = Level.STUDY, Level.SERIES
        self.routes = [
            DescribedRoute(path, partial(self._answer, kind), replace(_DESCRIBED, summary=kind.summary))
            for path, kind in (
                ("/studies", _Kind(study, (study,))),
                ("/series", _Kind(series, (study, series))),
                ("/instances", _Kind(Level.IMAGE, (study, series, Level.IMAGE))),
                ("/studies/{study}/series", _Kind(series, (series,))),
                ("/studies/{study}/instances", _Kind(Level.IMAGE, (series, Level.IMAGE))),
                ("/studies/{study}/series/{series}/instances", _Kind(Level.IMAGE, (Level.IMAGE,))),
            )
        ]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        self._policy = terms.queries

    async def _answer(self, kind: _Kind, request: Request) -> Response:
        reference = reference_of(request)
        offer = chosen(ranges_of(request), _OFFERS)
        asked = question_of(request.scope["query_string"])
        base = base_url(request)
        found = await in_thread(self._search, kind, reference, asked, base, offer)
        headers = {"content-type": found.content_type}
        if not found.has_matches:
            response = Response(status_code=204)
        elif found.rest is None:
            response = Response(found.beginning, headers=headers)
        else:
            response = streamed(request, chain((found.beginning,), found.rest), headers)
        for warning in found.warnings:
            response.headers.append("warning", f"299 {base}: {warning}")
        return response

    def _search(self, kind: _Kind, reference: Reference, asked: Question, base: str, offer: Offer) -> _Found:
        """Search, up to where the response can be begun."""
        index = self._holdings.index_to_search()
        self._prepare()
        policy = self._policy
        options, warnings = _options(asked, policy)
        if self._holdings.intake.lacks(reference.study):
            warnings.append(UNFILED)
        try:
            identifier = build_identifier(kind.level.name.lower(), _keys(kind, reference, asked, index))
        except ValueError as error:
            raise Problem(400, str(error)) from None
        limit = min(each for each in (asked.limit, policy.maximum, _NO_LIMIT) if each is not None)
        # One more, which tells that there is one.
        order = Order(reference.level is None, asked.offset, limit + 1)
        found = search(index, "STUDY", identifier, options=options, order=order)
        ignored = [*asked.ignored, *_unsupported(asked.keys, found.request.keys)]
        if ignored:
            names = ", ".join(ascii(each)[1:-1][:64] for each in ignored[:10])
            warnings.append(f"These parameters are not supported and have been ignored: {names}")
        matches = _Matches(found.matches, limit)
        model = _Models(kind, asked, found.request, base)
        chunks = _WRITERS[offer](map(model.of, matches), boundary := boundary_of(None))
        beginning = bytearray(next(chunks, b""))
        for chunk in chunks:
            beginning += chunk
            if len(beginning) >= _FIRST_BYTES:
                rest: Iterator[bytes] | None = chunks
                break
        else:
            rest = None
        if limit != _NO_LIMIT:
            warnings += matches.more() if rest is None else [_MAYBE_MORE]
        kind_of_content = content_type(offer.kind, boundary) if offer.is_multipart else offer.kind
        return _Found(bytes(beginning), rest, matches.count > 0, warnings, kind_of_content)


_NO_LIMIT = 1 << 62


@frozen
class _Kind:
    """A kind of search.

    Parameters
    ----------
    level
        The level of the matches.
    shown
        The levels whose attributes each match has.
    """

    level: Level
    shown: tuple[Level, ...]

    @property
    def summary(self) -> str:
        """What a search of this kind does, in a few words."""
        found = {Level.STUDY: "studies", Level.SERIES: "series", Level.IMAGE: "instances"}
        return f"Search for {found[self.level]}."


@frozen
class _Found:
    """What was found up to when the response can be begun.

    Parameters
    ----------
    beginning
        Its first bytes.
    rest
        The others, to be found while they are sent; None if there are none.
    has_matches, warnings, content_type
        What its head says.
    """

    beginning: bytes
    rest: Iterator[bytes] | None
    has_matches: bool
    warnings: Sequence[str]
    content_type: str


def _options(asked: Question, policy: QueryPolicy) -> tuple[QueryOptions, list[str]]:
    """How values are compared, and what is to be said of it."""
    supported = policy.supported
    warnings = [
        _UNSUPPORTED.format(parameter, _INSTEAD[parameter])
        for parameter, name in FLAGS.items()
        if name in asked.flags and not getattr(supported, name)
    ]
    flags = {name: name in asked.flags and getattr(supported, name) for name in FLAGS.values()}
    # The levels above need not be named; ranges of date and time are combined, and times may be those of a time zone
    # (section 10.6.2).
    agreed = QueryOptions(
        relational=True,
        combined=supported.combined,
        timezone=supported.timezone and asked.has_timezone,
        **flags,
    )
    return policy.options(agreed), warnings


def _keys(kind: _Kind, reference: Reference, asked: Question, index: Index) -> dict[str, Any]:
    """The keys of the identifier."""
    keys: dict[str, Any] = {}
    for level in kind.shown:
        keys |= dict.fromkeys((*_ALWAYS[level].split(), *_IF_KNOWN[level].split()))
    if asked.includes_all:
        keys |= dict.fromkeys(_all(kind.shown, index))
    # What is of a level below is no key that is supported, and left out of the answer.
    keys |= dict.fromkeys(asked.included)
    keys |= asked.keys
    for level, uid in ((Level.STUDY, reference.study), (Level.SERIES, reference.series)):
        if level < kind.level:
            keyword = UNIQUE_KEYS[level]
            if uid is not None and asked.keys.get(keyword):
                raise Problem(400, f"{keyword} is in the path already")
            keys[keyword] = uid or keys.get(keyword)
    return keys


def _all(levels: Sequence[Level], index: Index) -> Iterator[str]:
    """The keywords of all attributes of some levels, those of the patient with those of the study."""
    above = (Level.PATIENT,) if Level.STUDY in levels else ()
    for level in (*above, *levels):
        yield from map(keyword_for_tag, (*index.kept.keys[level], *COMPUTED.get(level, ())))


def _unsupported(keys: Mapping[str, Any], known: Sequence[Key], above: str = "") -> Iterator[str]:
    """The names of keys that are not compared."""
    by_keyword = {keyword_for_tag(key.tag): key for key in known}
    for keyword, value in keys.items():
        key = by_keyword.get(keyword)
        if key is None:
            if keyword != TIMEZONE:
                yield f"{above}{keyword}"
        elif isinstance(value, dict):
            yield from _unsupported(value, key.item or (), f"{above}{keyword}.")


class _Matches:
    """The matches of a search, up to a number.

    Attributes
    ----------
    count
        How many have been given.
    """

    def __init__(self, matches: Iterator[Attributes | None], limit: int) -> None:
        self._matches = matches
        self._limit = limit
        self.count = 0

    def __iter__(self) -> Iterator[Attributes]:
        while self.count < self._limit:
            attributes = next(self._matches, _END)
            if attributes is _END:
                return
            if attributes is not None:
                self.count += 1
                yield attributes

    def more(self) -> list[str]:
        """A warning if there are others behind the last one, or may be where it takes long to see."""
        if self.count < self._limit:
            return []
        following = next(self._matches, _END)
        return [] if following is _END else [_MAYBE_MORE if following is None else _MORE]


_END: Attributes = {}


class _Models:
    """Makes the JSON models of matches.

    Parameters
    ----------
    kind, asked
        The search.
    request
        Its parsed identifier.
    base
        The URL of the service.
    """

    def __init__(self, kind: _Kind, asked: Question, request: Identifier, base: str) -> None:
        always = {*asked.keys, *asked.included}.union(*(_ALWAYS[level].split() for level in kind.shown))
        rows = [
            (f"{key.tag:08X}", key.vr, keyword_for_tag(key.tag) not in always)
            for key in sorted(request.keys, key=lambda key: key.tag)
        ]
        # What is of each match itself stands between others, as attributes are in the order of their tags.
        self._first = [row for row in rows if row[0] < _TIMEZONE_NAME]
        self._between = [row for row in rows if _TIMEZONE_NAME < row[0] < _RETRIEVE_URL]
        self._behind = [row for row in rows if row[0] > _RETRIEVE_URL]
        self._names = [_UNIQUE_NAMES[level] for level in Level if Level.STUDY <= level <= kind.level]
        self._base = base

    def of(self, attributes: Attributes) -> Model:
        """The model of one match."""
        model: Model = {}
        _add(model, self._first, attributes)
        offset = attributes.get(_TIMEZONE_NAME)
        if offset:
            model[_TIMEZONE_NAME] = of_text("SH", offset)
        _add(model, self._between, attributes)
        path = Reference(*(quote(attributes.get(name, ""), safe="") for name in self._names)).path
        model[_RETRIEVE_URL] = {"vr": "UR", "Value": [f"{self._base}{path}"]}
        _add(model, self._behind, attributes)
        return model


def _add(model: Model, rows: Sequence[tuple[str, str, bool]], attributes: Attributes) -> None:
    for name, vr, if_known in rows:
        value = attributes.get(name, "")
        if value or not if_known:
            model[name] = _element(vr, value)


def _element(vr: str, value: Any) -> Model:
    if vr == "SQ":
        items = [
            {name: _element(KEPT_IN_ITEMS[int(name, 16)], inner) for name, inner in item.items()}
            for item in value or ()
        ]
        return {"vr": vr, "Value": items} if items else {"vr": vr}
    return _of_text(vr, value if isinstance(value, str) else "")


# Of the attributes of many matches the same ones are said.
_of_text = lru_cache(1 << 12)(of_text)


def _in_json(models: Iterator[Model], boundary: str) -> Iterator[bytes]:
    """The matches as an array of JSON; nothing if there are none."""
    pieces: list[bytes] = []
    size = 0
    separator = b"["
    for model in models:
        text = _text_of(model)
        if not text.isascii():
            text = _text_of({_CHARACTER_SET_NAME: _CHARACTER_SET, **model})
        encoded = text.encode("utf-8", "replace")
        pieces += (separator, encoded)
        separator = b","
        size += len(encoded)
        if size >= _CHUNK:
            yield b"".join(pieces)
            pieces, size = [], 0
    if separator == b",":
        yield b"".join((*pieces, b"]"))


def _text_of(model: Model) -> str:
    return json.dumps(model, ensure_ascii=False, separators=(",", ":"))


def _in_xml(models: Iterator[Model], boundary: str) -> Iterator[bytes]:
    """The matches as parts of XML."""
    return in_bytes(written(map(_part_of, models), boundary))


def _part_of(model: Model) -> Part:
    content = to_xml({_CHARACTER_SET_NAME: _CHARACTER_SET, **model}).encode("utf-8", "replace")
    return Part("a match", [("Content-Type", XML.kind)], len(content), lambda: iter((content,)))


_WRITERS: Mapping[Offer, Callable[[Iterator[Model], str], Iterator[bytes]]] = {
    JSON: _in_json,
    _PLAIN_JSON: _in_json,
    XML: _in_xml,
}
