"""What of requests by HTTP goes into the audit trail: the one place for all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ....values import replace
from ...audit import HTTP, AuditEvent, EventAction, EventKind, EventOutcome
from ...auditing import AuditTrail, outcome_of
from ..resources import ROOT
from .admission import LOGIN
from .identity import identity_of
from .policy import WebPolicy
from .proxies import address_of

# What is asked for as in a query, and what is a part of a study, by path (PS3.18 sections 10.4 and 10.6).
_QUERY = re.compile(
    r"/(?:studies|series|instances|studies/[^/]+/(?:series|instances)|studies/[^/]+/series/[^/]+/instances)"
)
_OF_STUDY = re.compile(r"/studies/([^/]+)(?:/.*)?")
_NOTED = "dicomnet.audit.stored"
_LONGEST = 1000


class WebAudit:
    """An application whose requests are recorded, as far as they are about what is stored.

    Parameters
    ----------
    application
        The application.
    trail
        Gives the audit trail of this process.

    Attributes
    ----------
    policy
        What goes; may be replaced at any time.
    """

    def __init__(self, application: ASGIApp, trail: Callable[[], AuditTrail]) -> None:
        self._application = application
        self._trail = trail
        self.policy = WebPolicy()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        trail = self._trail()
        event = self._event(scope) if trail.is_on else None
        if event is None:
            await self._application(scope, receive, send)
            return
        found: AuditEvent = event
        is_in = found.action is EventAction.IN

        async def begin(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_in:
                status = message["status"]
                # Of what is not there, nothing was seen; what is not allowed is an alert.
                if status not in (403, 404):
                    is_file = Headers(raw=message["headers"]).get("content-type") == "application/zip"
                    kind = EventKind.EXPORT if is_file else found.kind
                    other = scope["path"] if is_file else ""
                    trail.record_together(replace(found, kind=kind, other=other, outcome=outcome_of(status)))
            await send(message)

        try:
            await self._application(scope, receive, begin)
        finally:
            for study, count in scope.get(_NOTED, {}).items():
                trail.record_together(replace(found, study=study), count)

    def _event(self, scope: Scope) -> AuditEvent | None:
        """What is recorded of a request; None for nothing."""
        who = AuditEvent(
            EventKind.INSTANCES_ACCESSED,
            user=identity_of(scope).name,
            address=address_of(scope, self.policy),
            way=HTTP,
        )
        path, method = scope["path"], scope["method"]
        is_dicomweb = path.startswith(f"{ROOT}/")
        below = path.removeprefix(ROOT)
        query = scope["query_string"].decode("latin-1")
        of_study = _OF_STUDY.fullmatch(below)
        study = "" if of_study is None else of_study[1]
        if method == "POST" and path.startswith(f"{ROOT}/studies"):
            return replace(who, kind=EventKind.INSTANCES_TRANSFERRED, action=EventAction.IN, detail="STOW-RS")
        if method not in ("GET", "HEAD"):
            return None
        if _QUERY.fullmatch(below) if is_dicomweb else path == "/" and query:
            return replace(who, kind=EventKind.QUERY, study=study, detail=f"{below}?{query}"[:_LONGEST])
        if not study and (is_dicomweb or path == ROOT):
            study = "".join(parse_qs(query).get("studyUID", [])[:1])
        return replace(who, study=study) if study else None


def note_stored(scope: Scope, studies: Mapping[str, int]) -> None:
    """Have a request recorded as one by which objects of studies are stored, as many as there are at its end."""
    scope[_NOTED] = studies


def refused(trail: AuditTrail, scope: Scope, policy: WebPolicy) -> None:
    """Record that somebody was told that he may not do something."""
    if scope["path"] != LOGIN:
        trail.record_together(
            AuditEvent(
                EventKind.SECURITY_ALERT,
                EventAction.NOT_ALLOWED,
                EventOutcome.MINOR_FAILURE,
                user=identity_of(scope).name,
                address=address_of(scope, policy),
                way=HTTP,
                detail=f"{scope['method']} {scope['path']}"[:_LONGEST],
            )
        )


def sent(
    trail: AuditTrail, scope: Scope, policy: WebPolicy, study: str, destination: str, count: int, failed: int
) -> None:
    """Record that objects of a study were sent to another node, as somebody has asked on a page."""
    event = AuditEvent(
        EventKind.INSTANCES_TRANSFERRED,
        EventAction.OUT,
        user=identity_of(scope).name,
        address=address_of(scope, policy),
        way=HTTP,
        study=study,
        detail="sent from a page",
        other=destination,
    )
    if count:
        trail.record(event, count)
    if failed:
        trail.record(replace(event, outcome=EventOutcome.MINOR_FAILURE), failed)


def login(
    trail: AuditTrail,
    name: str,
    address: str,
    has_failed: bool,
    action: EventAction = EventAction.LOGIN,
) -> None:
    """Record that somebody has proved who he is, or could not, or has logged out."""
    trail.record_together(
        AuditEvent(
            EventKind.USER_AUTHENTICATION,
            action,
            EventOutcome.MINOR_FAILURE if has_failed else EventOutcome.SUCCESS,
            user=name,
            address=address,
            way=HTTP,
        )
    )
