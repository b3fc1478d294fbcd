"""What a client accepts: the Accept header and the query parameter that stands in for it (PS3.18 section 8.7).

Media types are read as clients really write them: quoted or not, and with parameters inside the quotes of ``type``.
What is not valid is passed over (section 8.7.7).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from starlette.requests import Request

from ....values import frozen
from .problems import Problem

ANY = "*/*"
ANY_TRANSFER_SYNTAX = "*"
_MULTIPART = "multipart/related"
# A quoted string, in which a backslash takes the meaning from what follows, or what is neither quote nor separator.
_PIECES = re.compile(r'"(?:[^"\\]|\\.)*"|[^",;]+|[,;]|"')
_TYPE = re.compile(r"[a-z0-9!#$&^_.+*-]+/[a-z0-9!#$&^_.+*-]+")
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
# More alternatives than any client has.
_RANGES_LIMIT = 100


@frozen
class MediaRange:
    """A media type that is accepted, or several by an asterisk.

    Parameters
    ----------
    kind
        The media type in lower case; of a multipart one that of its parts.
    is_multipart
        Whether parts are accepted; None where either is.
    transfer_syntax
        UID of the transfer syntax, ``*`` for any, empty where it is not said.
    quality
        From 0, not acceptable, to 1.
    """

    kind: str
    is_multipart: bool | None = None
    transfer_syntax: str = ""
    quality: float = 1.0


@frozen
class Offer:
    """A representation that a resource may have.

    Parameters
    ----------
    kind
        Its media type, or that of its parts.
    is_multipart
        Whether it has parts.
    """

    kind: str
    is_multipart: bool = False

    def __str__(self) -> str:
        return f'{_MULTIPART}; type="{self.kind}"' if self.is_multipart else self.kind


@frozen
class Alternative:
    """A representation that is offered and accepted.

    Parameters
    ----------
    offer
        The one that is offered.
    transfer_syntax
        UID of the transfer syntax, ``*`` for any, empty where the client does not say it.
    """

    offer: Offer
    transfer_syntax: str


def ranges_of(request: Request, parameter: str = "accept") -> list[MediaRange]:
    """What a request accepts, the best first; anything where it does not say.

    What the query parameter has goes before the header (section 8.7.8.1).

    Parameters
    ----------
    request
        The request.
    parameter
        The name of the query parameter.
    """
    given = parsed(",".join(request.query_params.getlist(parameter)))
    header = parsed(",".join(request.headers.getlist("accept")))
    return [*given, *header] or [MediaRange(ANY, None, ANY_TRANSFER_SYNTAX)]


def parsed(text: str) -> list[MediaRange]:
    """The media ranges of a list, the best first.

    Parameters
    ----------
    text
        The value of a header Accept.
    """
    found = [range_ for each in _entries(text) if (range_ := _range_of(each)) is not None]
    return sorted(found, key=lambda each: -each.quality)


def _entries(text: str) -> Iterator[list[str]]:
    """The entries of a list, each as its parts between semicolons."""
    entry: list[str] = []
    part, count = "", 0
    for piece in _PIECES.findall(text):
        if piece == ",":
            yield [*entry, part]
            entry, part, count = [], "", count + 1
            if count == _RANGES_LIMIT:
                return
        elif piece == ";":
            entry.append(part)
            part = ""
        else:
            part += piece
    yield [*entry, part]


def _range_of(parts: Sequence[str]) -> MediaRange | None:
    kind = parts[0].strip().lower()
    parameters = _parameters(parts[1:])
    quality = parameters.get("q", "1")
    if not _TYPE.fullmatch(kind) or not _QUALITY.fullmatch(quality):
        return None
    is_multipart: bool | None = None if kind == ANY else False
    if kind in (_MULTIPART, "multipart/*"):
        is_multipart = True
        kind, *inner = parameters.get("type", ANY).split(";")
        kind = kind.strip().lower()
        # Some write all of the inner media type inside the quotes.
        parameters = {**_parameters(inner), **parameters}
        if not _TYPE.fullmatch(kind):
            return None
    # With an asterisk, what is stored will do, too.
    syntax = parameters.get("transfer-syntax", ANY_TRANSFER_SYNTAX if "*" in kind else "")
    return MediaRange(kind, is_multipart, syntax, float(quality))


def _parameters(parts: Iterable[str]) -> dict[str, str]:
    found = {}
    for part in parts:
        name, _, value = part.partition("=")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = re.sub(r"\\(.)", r"\1", value[1:-1]).strip()
        found[name.strip().lower()] = value
    return found


def alternatives(ranges: Sequence[MediaRange], offers: Sequence[Offer]) -> list[Alternative]:
    """What is both offered and accepted, the best first.

    Parameters
    ----------
    ranges
        From `ranges_of`.
    offers
        What there is, the best first.

    Raises
    ------
    Problem
        With status 406 if there is nothing.
    """
    found = []
    for each in ranges:
        for offer in offers:
            # A range with an asterisk says nothing of what another one says more of (RFC 9110 section 12.5.1).
            is_best = not any(
                _specificity(other) > _specificity(each) and _matches(other, offer) for other in ranges
            )
            if each.quality and is_best and _matches(each, offer):
                found.append(Alternative(offer, each.transfer_syntax))
    if not found:
        there = ", ".join(map(str, offers))
        raise Problem(406, f"none of the media types in Accept is offered here; these are: {there}")
    return found


def chosen(ranges: Sequence[MediaRange], offers: Sequence[Offer]) -> Offer:
    """The best of what is both offered and accepted. Parameters and exception as of `alternatives`."""
    return alternatives(ranges, offers)[0].offer


def _matches(range_: MediaRange, offer: Offer) -> bool:
    if range_.is_multipart is not None and range_.is_multipart != offer.is_multipart:
        return False
    family, _, subtype = range_.kind.partition("/")
    return family == "*" or (
        family == offer.kind.partition("/")[0] and (subtype == "*" or range_.kind == offer.kind)
    )


def _specificity(range_: MediaRange) -> int:
    return 0 if range_.kind.startswith("*") else 1 if range_.kind.endswith("/*") else 2
