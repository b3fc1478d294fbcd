"""Conditional requests and ranges: ETag, If-None-Match, Range and If-Range (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from starlette.requests import Request

from .problems import Problem

Span = tuple[int, int]
"""Some bytes of a representation, from the first to behind the last."""

# Caches may keep what is answered for one client, but have to ask each time whether it is still so.
REVALIDATED = "private, no-cache"

_RANGES = re.compile(r"bytes\s*=(.*)", re.ASCII | re.IGNORECASE)
_RANGE = re.compile(r"\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII)
# A client that wants more ranges than this at once gets all of it.
_MOST_RANGES = 100
_TAGS = re.compile(r'(?:W/)?("[^"]*")|(\*)')


def entity_tag(parts: Iterable[str | None]) -> str | None:
    """A strong ETag for what consists of parts.

    Parameters
    ----------
    parts
        What tells the content of each; None where that is not known, so that there is no ETag.
    """
    digest = hashlib.sha256()
    for part in parts:
        if part is None:
            return None
        digest.update(part.encode() + b"\0")
    return f'"{digest.hexdigest()[:40]}"'


def is_unchanged(request: Request, tag: str | None) -> bool:
    """Whether the client has what a GET or HEAD would give it, so that 304 is the answer.

    Parameters
    ----------
    request
        The request.
    tag
        The ETag of what there is now; None where it has none.
    """
    given = ",".join(request.headers.getlist("if-none-match"))
    return tag is not None and any(tag == found or each for found, each in _TAGS.findall(given))


def spans_of(request: Request, size: int, tag: str | None) -> tuple[Span, ...]:
    """The bytes that a client wants of what there is; none where it wants all, or says it in no valid way.

    They are in the order in which they are asked for, but those that overlap or touch each other are one, so that
    nothing is sent twice (RFC 9110 section 15.3.7.2). Ranges behind the end are left out, if there are others.

    Parameters
    ----------
    request
        The request.
    size
        How many bytes there are.
    tag
        Their ETag; None where they have none.

    Raises
    ------
    Problem
        With status 416 if there are no such bytes.
    """
    ranges = _RANGES.fullmatch(request.headers.get("range", "").strip())
    condition = request.headers.get("if-range")
    if ranges is None or (condition is not None and condition != tag):
        return ()
    texts = [text for text in ranges[1].split(",") if text.strip()]
    if not texts or len(texts) > _MOST_RANGES:
        return ()
    spans: list[Span] = []
    for text in texts:
        found = _RANGE.fullmatch(text)
        if found is None or not any(found.groups()):
            return ()
        first, last = found[1], found[2]
        if not first:
            begin, end = max(0, size - int(last)), size
        elif last and int(last) < int(first):
            return ()
        else:
            begin, end = int(first), min(int(last) + 1 if last else size, size)
        if begin < end:
            _join(spans, (begin, end))
    if not spans:
        raise Problem(
            416,
            f"there are {size} bytes, and none of them is in this range",
            {"content-range": f"bytes */{size}"},
        )
    return tuple(spans)


def _join(spans: list[Span], another: Span) -> None:
    """Add a span to others, none of which touch each other, in the place of the first that it touches."""
    place = len(spans)
    begin, end = another
    for at in reversed(range(len(spans))):
        if spans[at][0] <= end and begin <= spans[at][1]:
            place, (low, high) = at, spans.pop(at)
            begin, end = min(begin, low), max(end, high)
    spans.insert(place, (begin, end))


def content_range(span: Span, size: int) -> str:
    """The value of Content-Range for some bytes of so many (RFC 9110 section 14.4)."""
    return f"bytes {span[0]}-{span[1] - 1}/{size}"
