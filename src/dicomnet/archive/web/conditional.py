"""Conditional requests and ranges: ETag, If-None-Match, Range and If-Range (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from starlette.requests import Request

from .problems import Problem

# Caches may keep what is answered for one client, but have to ask each time whether it is still so.
REVALIDATED = "private, no-cache"

_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII)
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


def range_of(request: Request, size: int, tag: str | None) -> tuple[int, int] | None:
    """The bytes that a client wants of what there is, from the first to behind the last; None where it wants all.

    Several ranges at once are answered with all of it, as a server may (RFC 9110 section 14.2).

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
    found = _RANGE.fullmatch(request.headers.get("range", "").strip())
    condition = request.headers.get("if-range")
    if found is None or found[0] == "" or (condition is not None and condition != tag):
        return None
    first, last = found[1], found[2]
    if first:
        begin, end = int(first), min(int(last) + 1 if last else size, size)
        if last and int(last) < int(first):
            return None
    elif last:
        begin, end = max(0, size - int(last)), size
    else:
        return None
    if begin >= end:
        raise Problem(
            416,
            f"there are {size} bytes, and none of them is in this range",
            {"content-range": f"bytes */{size}"},
        )
    return begin, end
