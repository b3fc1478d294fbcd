"""The pages of the quarantine: what is in it and why, in what it differs from what is stored, and its release."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ....errors import UnusableObject
from ...audit import HTTP, AuditEvent, EventAction, EventKind
from ...catalogue.query import StoredInstance
from ...entries import Quarantined
from ...quarantine import quarantined_objects, release
from ..access.identity import identity_of
from ..access.proxies import address_of
from ..http.problems import Problem
from ..http.threads import in_thread
from .comparing import Difference, differences
from .rights import Right
from .site import Site

_log = logging.getLogger(__name__)

# How many objects are shown at once.
_SHOWN = 500


class SetAside:
    """The pages of the quarantine.

    Parameters
    ----------
    site
        What pages share.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self.routes: Sequence[BaseRoute] = [
            site.route("/quarantine", self._list, Right.WATCH),
            site.route("/quarantine/{digest}", self._compare, Right.WATCH),
            site.route("/quarantine/{digest}/release", self._release, Right.RELEASE, changes=True),
        ]

    async def _list(self, request: Request) -> Response:
        found = await in_thread(self._objects)
        return self._site.page(request, "quarantine.html", objects=found[:_SHOWN], count=len(found))

    async def _compare(self, request: Request) -> Response:
        found, stored, rows = await in_thread(self._compared, request.path_params["digest"])
        self._record(request, EventAction.NONE, found)
        return self._site.page(request, "compared.html", found=found, stored=stored, rows=rows)

    async def _release(self, request: Request) -> Response:
        fields = await self._site.form(request)
        digest = request.path_params["digest"]
        found = await in_thread(self._released, digest, fields.get("stored", ""))
        self._record(request, EventAction.REPLACED, found)
        who = identity_of(request.scope).name or "somebody"
        _log.warning(
            "%s at %s has released the object %s from quarantine",
            who,
            address_of(request.scope, self._site.terms.web),
            found.instance,
            extra=found.source.about(found.instance),
        )
        return self._site.page(request, "released.html", found=found)

    def _record(self, request: Request, action: EventAction, found: Quarantined) -> None:
        """The audit trail says who looked at an object, or released it."""
        self._site.holdings.audit.record_together(
            AuditEvent(
                EventKind.INSTANCES_ACCESSED,
                action,
                user=identity_of(request.scope).name,
                address=address_of(request.scope, self._site.terms.web),
                way=HTTP,
                study=found.study,
                detail=f"quarantine, {found.instance}",
            )
        )

    def _objects(self) -> list[Quarantined]:
        holdings = self._site.holdings
        ledger = None if holdings.ledger is None else holdings.ledger.if_there()
        return quarantined_objects(holdings.storage, ledger)

    def _found(self, digest: str) -> tuple[Quarantined, StoredInstance | None]:
        """An object in quarantine, and the one that has its SOP Instance UID."""
        for each in self._objects():
            if each.digest == digest:
                index = self._site.holdings.index_to_search()
                file = index.files_of([each.instance]).get(each.instance)
                if file is None:
                    return each, None
                return each, StoredInstance(
                    file.name, file.sop_class_uid, file.transfer_syntax_uid, file.size, file.digest
                )
        raise Problem(404, "this object is not in quarantine any more")

    def _compared(self, digest: str) -> tuple[Quarantined, StoredInstance | None, list[Difference]]:
        found, stored = self._found(digest)
        storage = self._site.holdings.storage
        return found, stored, [] if stored is None else differences(storage, found, stored)

    def _released(self, digest: str, stored_before: str) -> Quarantined:
        holdings = self._site.holdings
        found, stored = self._found(digest)
        # Whoever releases it has seen what it takes the place of.
        if (stored.digest or "" if stored else "") != stored_before:
            raise Problem(409, "another object is stored by now than was shown; nothing was done; look again")
        assert holdings.ledger is not None
        try:
            release(found, holdings.storage, holdings.intake, holdings.ledger.opened)
        except FileNotFoundError:
            raise Problem(404, "this object is not in quarantine any more") from None
        except UnusableObject as error:
            raise Problem(409, f"it is not released, as its file is damaged: {error}") from error
        return found
