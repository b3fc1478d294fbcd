"""The pages on which people do something: add objects, send them to another archive or workstation, delete them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ....errors import DicomnetError
from ....exchange.results import StoreResult
from ....exchange.store_requests import STORE_ELEMENTS
from ....exchange.storing import Supply
from ....services.descriptions import shown
from ...services.retrieval import known_object
from ...services.retrieve import peer_of
from ..access.auditing import sent
from ..dicomweb.located import located
from ..dicomweb.removing import order_of, remove
from ..http.problems import Problem
from ..http.threads import in_thread
from ..resources import Reference, reference_of
from .browsing import Browsing
from .rights import Right
from .site import Site

_log = logging.getLogger(__name__)

# How the ledger calls what is done here.
_WAY = "the pages"
# After how many associations in a row that end before an answer a destination counts as lost.
_LOSSES = 3
# How often it is said how far it is, in seconds, and how many objects are named that were not sent.
_PACE, _NAMED = 0.5, 100


class Acting:
    """The pages on which people do something.

    Parameters
    ----------
    site
        What pages share.
    browsing
        Finds what something is done with.
    """

    def __init__(self, site: Site, browsing: Browsing) -> None:
        self._site = site
        self._browsing = browsing
        self.routes: Sequence[BaseRoute] = [
            site.route("/upload", self._upload, Right.ADD),
            site.route("/studies/{study}/send", self._send, Right.SEND, changes=True),
            site.route("/studies/{study}/delete", self._confirm, Right.DELETE),
            site.route("/studies/{study}/delete", self._delete, Right.DELETE, changes=True),
        ]

    async def _upload(self, request: Request) -> Response:
        return self._site.page(request, "upload.html")

    async def _send(self, request: Request) -> Response:
        fields = await self._site.form(request)
        reference = reference_of(request)
        study = await self._browsing.study(reference)
        title = fields.get("destination", "")
        if title not in self._site.terms.retrieval.destinations:
            raise Problem(400, "choose one of the destinations of the configuration; nothing was sent")
        lines = await in_thread(self._begin, request, reference, title)
        return self._site.running_page(request, "sending.html", lines, study=study, destination=title)

    async def _confirm(self, request: Request) -> Response:
        order_of(self._site.terms, request, _WAY, "")
        study = await self._browsing.study(reference_of(request))
        return self._site.page(request, "delete.html", study=study, keep=self._site.terms.web.keep)

    async def _delete(self, request: Request) -> Response:
        fields = await self._site.form(request)
        reference = reference_of(request)
        order = order_of(self._site.terms, request, _WAY, fields.get("reason", "").strip())
        study = await self._browsing.study(reference)
        # It may have grown since somebody looked at it.
        if fields.get("objects") != study["NumberOfStudyRelatedInstances"]:
            raise Problem(
                409, "the study has other objects by now than were shown; nothing was deleted; look again"
            )
        count = await in_thread(remove, self._site.holdings, reference, order)
        return self._site.page(
            request, "deleted.html", study=study, count=count, run=order.run, keep=order.keep
        )

    def _begin(self, request: Request, reference: Reference, title: str) -> Iterator[Mapping[str, Any]]:
        """Find what is sent, and say what becomes of it."""
        terms, storage = self._site.terms, self._site.holdings.storage
        found = located(self._site.holdings, reference)
        peer = peer_of(
            terms.retrieval,
            title,
            self._site.ae_title,
            terms.timeouts,
            terms.window,
        )
        supply = Supply(
            (known_object(storage, each) for each in found),
            terms.retrieval.transcoding,
            STORE_ELEMENTS,
            _LOSSES,
        )

        def results() -> Iterator[StoreResult]:
            counts = Counter[bool]()
            try:
                with peer:
                    for result in peer.store_supply(supply):
                        counts[result.is_stored] += 1
                        yield result
            finally:
                place = str(terms.retrieval.destinations[title])
                trail, study = self._site.holdings.audit, reference.study or ""
                sent(trail, request.scope, terms.web, study, place, counts[True], counts[False])

        return _told(results(), len(found))


def _told(results: Iterator[StoreResult], count: int) -> Iterator[Mapping[str, Any]]:
    """What is said of results while they come, and at the end."""
    sent = failed = 0
    due = monotonic() + _PACE
    try:
        for result in results:
            sent += result.is_stored
            if not result.is_stored:
                failed += 1
                if failed <= _NAMED:
                    status = "" if result.status is None else f" (status 0x{result.status:04X})"
                    words = f"{result.sop_instance_uid} was not sent: {shown(result.comment)}{status}"
                    yield {"kind": "problem", "words": words}
            if monotonic() >= due:
                due = monotonic() + _PACE
                yield {"kind": "quiet", "words": f"{sent} of {count} sent"}
    except DicomnetError as error:
        yield {"kind": "problem", "words": str(error)}
    except Exception:  # noqa: BLE001
        # What has come of it is to be said all the same.
        _log.exception("objects cannot be sent")
        yield {"kind": "problem", "words": "the archive has failed; its log says more"}
    kind = "good" if sent == count else "problem"
    yield {"kind": kind, "words": f"Done: {sent} of {count} sent, {count - sent} not."}
