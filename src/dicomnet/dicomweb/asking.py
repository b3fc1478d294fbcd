"""One request of DICOMweb: who asks, redirections, what is asked again, and which answers are refusals."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any
from urllib.parse import urljoin

from .._version import __version__
from ..drivers.http import Body, Head, Request
from ..errors import ConnectionLost, HTTPRefusal, NetworkError, ProtocolError
from ..exchange.operations import READ, Ask, Operation, Pause
from ..exchange.web_addresses import WebAddress, has_same_origin, origin_of
from ..services.descriptions import shown
from ..services.steps import Work
from .credentials import Credentials
from .multipart_reading import MediaType, MultipartUnreadable
from .refusals import PASSING, PROCESSING_FAILURE, refusal

_log = logging.getLogger(__name__)

JSON = "application/dicom+json"
# The most that is read of a refusal, and of an answer that is kept in memory, in bytes.
_REPORT_LIMIT = 1 << 16
ANSWER_LIMIT = 1 << 29
_REDIRECTIONS = frozenset((301, 302, 303, 307, 308))
_MOST_REDIRECTIONS = 5
# The longest time, in seconds, for which a peer that names it is waited for where nobody has said how long.
LONGEST_WAIT = 60.0
# How long a wait may go on without a look whether it is still of use, in seconds.
_NAP = 0.2


class Session:
    """One operation with a DICOMweb service. May be shared between threads.

    Parameters
    ----------
    address
        Where it is.
    credentials
        Who asks; None for nobody in particular.
    jobs
        How many requests there may be at a time.
    retries
        How often a request is made again that got no answer, or that the peer cannot serve now.

    Attributes
    ----------
    is_closed
        Whether nothing more is to be asked.
    """

    def __init__(
        self,
        address: WebAddress,
        credentials: Credentials | None = None,
        jobs: int = 1,
        retries: int = 1,
    ) -> None:
        self.address = address
        self.credentials = credentials
        self.jobs = jobs
        self.retries = retries
        self.is_closed = False


def ask(
    session: Session,
    resource: str,
    accept: str,
    *,
    body: Body | None = None,
    content_type: str = "",
    patience: int = 1,
    tries: int | None = None,
    accepted: frozenset[int] = frozenset(),
) -> Operation[Head]:
    """Make a request, and wait for the head of its response, which is a success. Its body is read by `READ`.

    Parameters
    ----------
    resource
        The path below the address of the service, and a query, encoded.
    accept
        The media types of the answer.
    body, content_type
        What is posted; without it, it is a GET.
    patience
        See `Request`.
    tries
        How often it is made again, by default as often as the session says. One with a body is not where it was lost.
    accepted
        Status codes of failures whose body is of interest; the head is the outcome then, too.

    Raises
    ------
    HTTPRefusal
        If the peer does not answer with a success.
    NetworkError, ProtocolError
        If it does not answer, or what is no HTTP.
    """
    left = session.retries if tries is None else tries
    wait = 1.0
    while True:
        try:
            return (yield from _answered(session, resource, accept, body, content_type, patience, accepted))
        except ConnectionLost as error:
            # A connection that was used before may have ended at that moment.
            if body is not None or left <= 0 or session.is_closed:
                raise
            pause, cause = 0.0, str(error)
        except HTTPRefusal as error:
            pause, cause = max(wait, error.retry_after or 0.0), str(error)
            if error.code not in PASSING or left <= 0 or pause > LONGEST_WAIT or session.is_closed:
                raise
        left -= 1
        wait *= 2
        _log.info("%s; asked again in %.0f s", cause, pause)
        yield from rest(pause, lambda: session.is_closed)


def rest(seconds: float, is_over: Callable[[], bool]) -> Operation[None]:
    """Do nothing for a while, or until that is of no use any more."""
    end = monotonic() + seconds
    while not is_over() and (left := end - monotonic()) > 0:
        yield Pause(min(left, _NAP))


def _answered(
    session: Session,
    resource: str,
    accept: str,
    body: Body | None,
    content_type: str,
    patience: int,
    accepted: frozenset[int],
) -> Operation[Head]:
    url = session.address.url + resource
    has_renewed = False
    if session.is_closed:
        raise ConnectionLost("it was closed here")
    for _ in range(_MOST_REDIRECTIONS + 2):
        headers = [("Accept", accept), ("User-Agent", f"dicomnet/{__version__}")]
        # Objects are not compressed on the way: mostly they are already, and it would cost more than it saves.
        headers.append(("Accept-Encoding", "gzip" if accept == JSON and body is None else "identity"))
        if content_type:
            headers.append(("Content-Type", content_type))
        shown_as = ""
        if session.credentials is not None:
            shown_as = yield Work(session.credentials.header)
            headers.append(("Authorization", shown_as))
        method = "GET" if body is None else "POST"
        head: Head = yield Ask(Request(method, url, tuple(headers), body, patience))
        if 200 <= head.status < 300 or head.status in accepted:
            return head
        if head.status == 401 and session.credentials is not None and not has_renewed:
            has_renewed = True
            # Another lane may have the next one already.
            if (yield Work(session.credentials.header)) != shown_as or session.credentials.renew():
                continue
        if head.status not in _REDIRECTIONS:
            report = yield from read_all(_REPORT_LIMIT, is_cut=True)
            raise refusal(head, report, has_credentials=session.credentials is not None)
        url = _redirection(session, url, head, method)
    raise ProtocolError("the peer redirects in a circle")


def _redirection(session: Session, url: str, head: Head, method: str) -> str:
    """Where a request goes on. It stays with the host that was named: another one gets neither secrets nor objects."""
    is_here, target, origin = False, "", "an address that is none"
    try:
        found = urljoin(url, head.headers.get("location", ""))
        if found.isascii() and found.isprintable():
            is_here, origin, target = has_same_origin(session.address.url, found), origin_of(found), found
    except ValueError as error:
        _log.info("the peer redirects to an address that is none: %s", error)
    if is_here and (method == "GET" or head.status in (307, 308)) and target != url:
        return target
    told = shown(target.partition("?")[0] if is_here else origin, 100)
    raise HTTPRefusal(
        head.status,
        PROCESSING_FAILURE,
        f"the peer redirects to {told}, where nothing is sent unasked; if that is right, use it as the address",
    )


def read_all(limit: int = ANSWER_LIMIT, *, is_cut: bool = False) -> Operation[bytes]:
    """The body of the response.

    Parameters
    ----------
    limit
        The most bytes of it.
    is_cut
        Whether what is beyond, or does not come any more, is left out; else it is an error.

    Raises
    ------
    NetworkError, ProtocolError
        If it does not come whole, or is longer.
    """
    chunks: list[bytes] = []
    length = 0
    while True:
        try:
            chunk: bytes = yield READ
        except (NetworkError, ProtocolError):
            if is_cut:
                break
            raise
        if not chunk:
            break
        chunks.append(chunk)
        length += len(chunk)
        if length > limit:
            if is_cut:
                break
            raise ProtocolError(f"the peer's answer is longer than {limit >> 20} MiB")
    return b"".join(chunks)


def read_json(content: bytes, what: str) -> Any:
    """A document of JSON.

    Parameters
    ----------
    what
        What it is, for the error.

    Raises
    ------
    ProtocolError
        If it is none.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ProtocolError(f"{what} is not JSON (lists and objects are nested too deeply)") from None
    except ValueError as error:
        raise ProtocolError(f"{what} is not JSON ({shown(error, 100)})") from error


def is_measured(head: Head) -> bool:
    """Whether it is told where the body of a response ends, so that one that was cut off is known by that.

    One that ends with its connection is not (RFC 9112 section 8), nor what a proxy has compressed.
    """
    is_framed = head.version not in ("HTTP/1.0", "HTTP/1.1") or "content-length" in head.headers
    is_framed = is_framed or "chunked" in head.headers.get("transfer-encoding", "").lower()
    return is_framed and head.headers.get("content-encoding", "identity").lower() == "identity"


def media_type(head: Head, wanted: tuple[str, ...]) -> MediaType:
    """The media type of a response.

    Parameters
    ----------
    wanted
        Those that can be read.

    Raises
    ------
    ProtocolError
        If it is another one: a page to log in, for instance.
    """
    text = head.headers.get("content-type", "")
    try:
        found = MediaType.parse(text)
    except MultipartUnreadable:
        found = MediaType(text.partition(";")[0].strip().lower(), {})
    if found.name in wanted:
        return found
    what = shown(found.name, 64) if found.name else "something without a media type"
    raise ProtocolError(
        f"the peer answers with {what} instead of {wanted[0]}: the address may not be that of a DICOMweb service, or a"
        " page to log in stands before it"
    )
