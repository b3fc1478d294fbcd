"""Refusals over HTTP: what status codes mean (PS3.18 section 8.5), and which DIMSE status says the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from ..errors import HTTPRefusal
from ..services.descriptions import shown

if TYPE_CHECKING:
    from ..drivers.http import Head

# DIMSE statuses (PS3.7 Annex C; PS3.18 Table I.2-2).
PROCESSING_FAILURE, NO_SUCH_INSTANCE, NOT_AUTHORIZED = 0x0110, 0x0112, 0x0124
_UNRECOGNIZED, _CLASS_NOT_SUPPORTED = 0x0211, 0x0122
OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0xA700, 0xC000

_MEANINGS: dict[int, tuple[int, str]] = {
    400: (CANNOT_UNDERSTAND, "the peer does not understand the request"),
    401: (NOT_AUTHORIZED, "the peer wants to know who asks: give it a token, or a user and a password"),
    403: (NOT_AUTHORIZED, "the peer does not allow this to whom it knows us as"),
    404: (NO_SUCH_INSTANCE, "the peer has nothing under this address"),
    405: (_UNRECOGNIZED, "the peer does not offer this"),
    406: (PROCESSING_FAILURE, "the peer cannot answer in the form that is asked for"),
    407: (NOT_AUTHORIZED, "the proxy wants to know who asks"),
    408: (OUT_OF_RESOURCES, "the request took too long for the peer"),
    409: (PROCESSING_FAILURE, "the peer could store none of the objects"),
    410: (NO_SUCH_INSTANCE, "it was there, and is not any more"),
    413: (PROCESSING_FAILURE, "it is more than the peer takes at once"),
    414: (CANNOT_UNDERSTAND, "the query is longer than the peer takes"),
    415: (_CLASS_NOT_SUPPORTED, "the peer does not take what was sent"),
    429: (OUT_OF_RESOURCES, "there are more requests than the peer takes"),
    500: (PROCESSING_FAILURE, "the peer has failed"),
    501: (_UNRECOGNIZED, "the peer does not offer this"),
    502: (OUT_OF_RESOURCES, "what stands before the peer does not reach it"),
    503: (OUT_OF_RESOURCES, "the peer cannot serve this now"),
    504: (OUT_OF_RESOURCES, "what stands before the peer got no answer from it"),
    507: (OUT_OF_RESOURCES, "the peer has no space left"),
}
_NOT_ACCEPTED = "the peer does not accept the token or the password"

PASSING = frozenset((408, 429, 502, 503, 504))
"""Codes after which the same request may succeed in a while."""

# What a report of some servers calls the reason; the standard leaves its form open (section 8.6.4).
_REASONS = (
    "Details",
    "details",
    "detail",
    "Message",
    "message",
    "errorMessage",
    "error_description",
    "error",
)


def refusal(head: Head, body: bytes, *, has_credentials: bool) -> HTTPRefusal:
    """The refusal that a response is.

    Parameters
    ----------
    body
        As much of its body as is of interest.
    has_credentials
        Whether the request said who asks.
    """
    status, meaning = _MEANINGS.get(head.status, (PROCESSING_FAILURE, "the peer refuses it"))
    if head.status == 401 and has_credentials:
        meaning = _NOT_ACCEPTED
    return HTTPRefusal(head.status, status, meaning, _comment(head, body), _retry_after(head))


def _comment(head: Head, body: bytes) -> str:
    """What the peer says in words; nothing of a page, which is made for people who see it."""
    kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
    text = ""
    if kind.endswith("json"):
        try:
            report = json.loads(body)
        except (ValueError, RecursionError):
            report = None
        if isinstance(report, dict):
            text = next((str(report[name]) for name in _REASONS if isinstance(report.get(name), str)), "")
    elif kind == "text/plain":
        text = body.decode("utf-8", "replace")
    text = text.strip().partition("\n")[0]
    return shown(text, 64)


def _retry_after(head: Head) -> float | None:
    """Retry-After (RFC 9110 section 10.2.3) in seconds: a number, or a date."""
    text = head.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
