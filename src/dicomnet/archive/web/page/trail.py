"""The page on which an administrator reads the audit trail; whoever reads it is recorded there, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ....values import frozen
from ...audit import HTTP, KINDS, AuditEntry, AuditEvent, EventKind
from ...ledger.audits import AuditFilter
from ...reporting.delivery import Lag, lags
from ..access.identity import identity_of
from ..access.proxies import address_of
from ..http.problems import Problem
from ..http.threads import in_thread
from .rights import Right
from .site import Site, parameters_of

# How many entries are shown at once.
_SHOWN = 200
_NAMES = ("who", "kind", "patient", "study", "from", "to", "before")
_DAY = timedelta(days=1)


@frozen
class _Found:
    """Entries of the trail with their numbers, and how far those are behind who are told of it."""

    entries: Sequence[tuple[int, AuditEntry]]
    has_more: bool
    lags: Mapping[str, Lag]


class TrailPage:
    """The page of the audit trail.

    Parameters
    ----------
    site
        What pages share.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self.routes: Sequence[BaseRoute] = [site.route("/audit", self._show, Right.WATCH)]

    async def _show(self, request: Request) -> Response:
        said = parameters_of(request, _NAMES)
        wanted, before = _filter_of(said), _number_of(said["before"])
        self._record(request, said)
        found = await in_thread(self._found, wanted, before)
        more = ""
        if found.has_more:
            given = {name: text for name, text in said.items() if text}
            more = f"/audit?{urlencode({**given, 'before': found.entries[-1][0]})}"
        return self._site.page(
            request,
            "audit.html",
            wanted=said,
            kinds=tuple(KINDS),
            entries=[_row(entry) for _, entry in found.entries],
            more=more,
            lags=found.lags,
            is_on=self._site.holdings.audit.is_on,
        )

    def _record(self, request: Request, said: Mapping[str, str]) -> None:
        asked = urlencode({name: text for name, text in said.items() if text})
        self._site.holdings.audit.record_together(
            AuditEvent(
                EventKind.AUDIT_LOG_USED,
                user=identity_of(request.scope).name,
                address=address_of(request.scope, self._site.terms.web),
                way=HTTP,
                study=said["study"],
                patient=said["patient"],
                detail=f"/audit?{asked}" if asked else "/audit",
            )
        )

    def _found(self, wanted: AuditFilter, before: int | None) -> _Found:
        holdings = self._site.holdings
        ledger = None if holdings.ledger is None else holdings.ledger.if_there()
        if ledger is None:
            return _Found((), False, {})
        entries = list(islice(ledger.audits.find(wanted, before), _SHOWN + 1))
        return _Found(entries[:_SHOWN], len(entries) > _SHOWN, lags(ledger.audits, holdings.audit.policy))


def _filter_of(said: Mapping[str, str]) -> AuditFilter:
    kind = said["kind"]
    if kind and kind not in KINDS:
        raise Problem(400, "choose one of the kinds of entries")
    last = _day_of(said["to"])
    return AuditFilter(
        _day_of(said["from"]),
        # Until the next day begins here, also where it has 23 hours.
        None if last is None else (last.replace(tzinfo=None) + _DAY).astimezone(),
        said["who"],
        said["patient"],
        said["study"],
        KINDS[kind] if kind else None,
    )


def _day_of(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").astimezone()
    except (ValueError, OverflowError):
        raise Problem(400, "a day is written as 2026-11-29") from None


def _number_of(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Problem(400, "this is no page of the audit trail")
    return int(text)


def _row(entry: AuditEntry) -> Mapping[str, Any]:
    """What is shown of an entry."""
    event = entry.event
    begun, last = (at.astimezone() for at in (entry.begun_at, entry.last_at))
    return {
        "begun": begun.strftime("%Y-%m-%d %H:%M:%S %z"),
        "last": last.strftime("%H:%M:%S") if last - begun >= timedelta(seconds=1) else "",
        "what": " ".join(filter(None, (event.kind.word, event.action.value))),
        "outcome": event.outcome,
        "who": event.user or event.ae_title,
        "title": event.ae_title if event.user else "",
        "address": event.address,
        "way": event.way,
        "study": event.study,
        "patient": event.patient,
        "other": event.other,
        "detail": event.detail,
        "count": entry.count,
    }
