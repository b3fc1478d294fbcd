"""Storing objects: the Store Transaction (PS3.18 section 10.5), known as STOW-RS."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ....dicomweb.multipart_reading import MediaType, MultipartUnreadable
from ....plurals import counted
from ....services.service_classes import may_be_storage
from ....services.sop_classes import SOP_CLASSES
from ...access import C_STORE
from ...entries import STOW_WAY, Source
from ...holdings import Holdings
from ...terms import Terms
from ..access.auditing import note_stored
from ..access.proxies import address_of
from ..http.connections import REST
from ..http.negotiation import Offer, chosen, ranges_of
from ..http.problems import Problem
from ..http.streams import streamed
from ..http.threads import in_thread
from ..resources import PATHS, base_url, reference_of
from .described import Described, DescribedRoute
from .receiving import DICOM_TYPE, METADATA_TYPES, MULTIPART_TYPE, OnRefused, Upload
from .store_report import JSON_TYPE, XML_TYPE, StoreReport

_log = logging.getLogger(__name__)

_TYPES = (DICOM_TYPE, *METADATA_TYPES)
_ANSWERS = (Offer(JSON_TYPE), Offer("application/json"), Offer(XML_TYPE))
# How many pieces of a body, of up to 256 KiB each, may wait for the thread that stores.
_AHEAD = 8
# Of a body that is refused so much is read, so that the client comes to read why: in bytes, and in seconds.
_PASSED_OVER, _PASSING = 64 << 20, 5.0
_RETRY = "30"
_DESCRIBED = Described(
    "Store objects.",
    "10.5",
    offers=_ANSWERS,
    statuses=(200, 202, 400, 409, 415, 503),
    refusals=(415,),
    body=(MULTIPART_TYPE, *_TYPES),
    schema="DataSet",
)


class StoringService:
    """The service that stores objects.

    Parameters
    ----------
    holdings
        Where they are stored.
    on_refused
        Called in a thread with who sent an object that is refused, with its SOP Instance UID, and with the refusal.
    """

    def __init__(self, holdings: Holdings, on_refused: OnRefused | None = None) -> None:
        self._holdings = holdings
        self._on_refused = on_refused
        self._terms = Terms()
        self.routes: Sequence[BaseRoute] = [
            DescribedRoute(path, self._store, _DESCRIBED, "POST") for path in ("/studies", PATHS[0])
        ]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        self._terms = terms

    async def _store(self, request: Request) -> Response:
        body = _Body(request)
        try:
            return await self._answer(request, body)
        except Problem:
            # One who waits for leave to send has not got it, and reads.
            if request.headers.get("expect", "").lower() != "100-continue":
                await body.pass_over()
            raise

    async def _answer(self, request: Request, body: _Body) -> Response:
        source = self._source(request)
        study = reference_of(request).study
        media_type = _media_type(request)
        is_compressed = _is_compressed(request)
        answer_type = chosen(ranges_of(request), _ANSWERS).kind
        report = StoreReport(base_url(request), study)
        note_stored(request.scope, report.of_studies)
        try:
            upload = Upload(
                self._holdings.intake,
                source,
                media_type,
                study=study,
                is_compressed=is_compressed,
                accepts=self._accepts,
                report=report,
                on_refused=self._on_refused,
            )
        except MultipartUnreadable as error:
            raise Problem(400, error.cause) from None
        try:
            is_whole = await _fed(body, upload)
            await in_thread(upload.finish, is_whole)
            _tell(report, source)
            if upload.problem is not None and not report.stored:
                raise upload.problem
            if not (report.stored or report.failed):
                raise Problem(400, report.remark or "the body has no object")
        except BaseException:
            report.close()
            raise
        finally:
            await asyncio.shield(in_thread(upload.abort))
        if body.is_over and not body.is_whole:
            # Nobody is there to be answered.
            report.close()
            return Response(status_code=report.status)
        return _response(request, report, answer_type)

    def _source(self, request: Request) -> Source:
        """Who sends; raises Problem if he may not."""
        address = address_of(request.scope, self._terms.web)
        if C_STORE not in self._terms.access.allowed("", address):
            raise Problem(403, "storing is not allowed from this address")
        return Source("", address, STOW_WAY)

    def _accepts(self, sop_class: str) -> bool:
        """Whether objects of a SOP class are stored, as by C-STORE."""
        return may_be_storage(sop_class) and (sop_class in SOP_CLASSES or self._terms.accepts_private)


def _media_type(request: Request) -> MediaType:
    """Of the body; raises Problem if it is none that can be stored."""
    text = request.headers.get("content-type")
    if text is None:
        raise Problem(400, "the request has no Content-Type")
    try:
        found = MediaType.parse(text)
    except MultipartUnreadable as error:
        raise Problem(400, error.cause) from None
    kind = found.name
    if kind == MULTIPART_TYPE:
        kind = found.parameters.get("type", DICOM_TYPE).lower()
    if kind not in _TYPES:
        raise Problem(
            415,
            f"what is stored is {', '.join(_TYPES)}, by itself or in {MULTIPART_TYPE}",
            {"accept": f"{MULTIPART_TYPE}, {', '.join(_TYPES)}"},
        )
    return found


def _is_compressed(request: Request) -> bool:
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip"):
        raise Problem(415, "of all content codings only gzip is read", {"accept-encoding": "gzip"})
    return coding == "gzip"


class _Body:
    """The body of a request as it comes.

    Attributes
    ----------
    is_over, is_whole
        Whether nothing more comes, and whether all of it has come.
    """

    def __init__(self, request: Request) -> None:
        self._receive = request.receive
        self._scope = request.scope
        self.is_over = self.is_whole = False

    async def receive(self) -> bytes:
        """Further bytes; what had come and nothing more where the client has gone."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.is_over = True
            rest = self._scope.pop(REST, b"")
            assert isinstance(rest, bytes)
            return rest
        self.is_over = self.is_whole = not message.get("more_body", False)
        piece = message.get("body", b"")
        assert isinstance(piece, bytes)
        return piece

    async def pass_over(self) -> None:
        """Read the rest of one that is refused, up to a limit, so that the client comes to read why."""
        left = _PASSED_OVER
        try:
            async with asyncio.timeout(_PASSING):
                while left > 0 and not self.is_over:
                    left -= len(await self.receive()) + 1
        except TimeoutError:
            return


async def _fed(body: _Body, upload: Upload) -> bool:
    """Give a body to an upload as it comes; whether all of it came. A client that is too slow is cut off below."""
    pieces: asyncio.Queue[bytes] = asyncio.Queue(_AHEAD)
    feeding = asyncio.ensure_future(_feed(upload, pieces))
    try:
        while upload.problem is None and not body.is_over:
            piece = await body.receive()
            if piece:
                await pieces.put(piece)
    finally:
        await pieces.put(b"")
        # Nobody else may touch the upload before.
        await asyncio.shield(feeding)
    return body.is_whole


async def _feed(upload: Upload, pieces: asyncio.Queue[bytes]) -> None:
    """Give the pieces of a body to an upload, as many at once as there are; an empty one is the last."""
    failure: Exception | None = None
    while True:
        together = [await pieces.get()]
        while not pieces.empty():
            together.append(pieces.get_nowait())
        if failure is None:
            try:
                await in_thread(upload.feed, [each for each in together if each])
            except Exception as error:  # noqa: BLE001
                # The others are passed over, so that whoever puts them is not held up.
                failure = error
        if not together[-1]:
            break
    if failure is not None:
        raise failure


def _tell(report: StoreReport, source: Source) -> None:
    """The log says what became of an upload."""
    if report.remark or report.failed:
        _log.warning(
            "of an upload from %s %s stored, and %d not%s",
            source.address or "?",
            counted(report.stored, "object"),
            report.failed,
            f"; {report.remark}" if report.remark else "",
        )
    else:
        _log.info("%s stored by an upload from %s", counted(report.stored, "object"), source.address or "?")


def _response(request: Request, report: StoreReport, media_type: str) -> Response:
    status = report.status
    headers = {"warning": f'299 dicomnet "{report.remark}"'} if report.remark else {}
    if status == 503:
        headers["retry-after"] = _RETRY
    headers["content-type"] = media_type
    response = streamed(request, report.body(media_type), headers, status)
    # Also where the client goes now, and it is not read to its end.
    response.background = BackgroundTask(in_thread, report.close)
    return response
