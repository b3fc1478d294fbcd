"""The pages on which people see how the archive is run: quarantine, remotes, activity, storage and configuration."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from time import monotonic
from typing import Any

from sqlalchemy import func, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ....errors import DicomnetError, ServiceRefusal
from ....values import frozen
from ...activity import Activity, Row
from ...catalogue import schema
from ...quarantine import quarantined_objects
from ...services.retrieve import peer_of
from ...watch.checks import Checks, Circumstances
from ...watch.counts import Counts
from ...watch.policy import WatchPolicy
from ...watch.probing import Probes
from ..problems import Problem
from ..threads import in_thread
from .rights import Right
from .site import Site

# How many objects in quarantine are shown at once.
_SHOWN = 500
# The checks of the watch that say something of storage and index.
_CHECKS = frozenset(("disk", "intake", "index", "ledger"))


@frozen
class Echo:
    """What became of a C-ECHO.

    Parameters
    ----------
    title
        The remote.
    words
        What became of it.
    is_well
        Whether it answered.
    """

    title: str
    words: str
    is_well: bool


class Running:
    """The pages on which people see how the archive is run.

    Parameters
    ----------
    site
        What pages share.
    activity
        What goes on in the node.
    """

    def __init__(self, site: Site, activity: Activity) -> None:
        self._site = site
        self._activity = activity
        self._circumstances = Circumstances(WatchPolicy())
        probes = Checks(site.holdings, Counts(1), self._circumstances).probes()
        self._probes = Probes([each for each in probes if each.name in _CHECKS])
        self.routes: Sequence[BaseRoute] = [
            site.route("/quarantine", self._quarantine, Right.WATCH),
            site.route("/remotes", self._remotes, Right.WATCH),
            site.route("/remotes/echo", self._echo, Right.WATCH, changes=True),
            site.route("/activity", self._show_activity, Right.WATCH),
            site.route("/storage", self._storage, Right.WATCH),
            site.route("/configuration", self._configuration, Right.WATCH),
        ]

    async def _quarantine(self, request: Request) -> Response:
        found = await in_thread(self._in_quarantine)
        return self._site.page(
            request, "quarantine.html", objects=found[:_SHOWN], count=len(found), moment=_moment
        )

    def _in_quarantine(self) -> list[Any]:
        holdings = self._site.holdings
        ledger = None if holdings.ledger is None else holdings.ledger.if_there()
        return quarantined_objects(holdings.storage, ledger)

    async def _remotes(self, request: Request) -> Response:
        return self._remotes_page(request, None)

    async def _echo(self, request: Request) -> Response:
        title = (await self._site.form(request)).get("remote", "")
        if title not in self._site.terms.retrieval.destinations:
            raise Problem(400, "choose one of the remotes of the configuration")
        return self._remotes_page(request, await in_thread(self._echoed, title))

    def _remotes_page(self, request: Request, echo: Echo | None) -> Response:
        policy = self._site.terms.retrieval
        return self._site.page(
            request,
            "remotes.html",
            remotes=sorted(policy.destinations.items()),
            by_tls=policy.tls.keys(),
            echo=echo,
        )

    def _echoed(self, title: str) -> Echo:
        terms = self._site.terms
        begin = monotonic()
        try:
            with peer_of(
                terms.retrieval,
                title,
                self._site.ae_title,
                terms.timeouts,
                1,
            ) as peer:
                peer.echo()
        except ServiceRefusal as refusal:
            return Echo(title, refusal.comment, is_well=False)
        except DicomnetError as error:
            return Echo(title, str(error), is_well=False)
        return Echo(title, f"answered within {monotonic() - begin:.3f} s", is_well=True)

    async def _show_activity(self, request: Request) -> Response:
        return self._site.page(
            request,
            "activity.html",
            open=self._activity.open,
            refusals=self._activity.refusals,
            moment=_moment_of,
        )

    async def _storage(self, request: Request) -> Response:
        self._circumstances.policy = self._site.terms.watch
        results = await self._probes.results()
        counts = await in_thread(self._counts)
        return self._site.page(request, "storage.html", results=results, counts=counts)

    def _counts(self) -> dict[str, int]:
        """How many patients, studies, series and objects there are."""
        index = self._site.holdings.index
        assert index is not None
        of = schema.study.c
        with index.reading() as connection:
            patients = connection.scalar(select(func.count()).select_from(schema.patient))
            studies, series, objects = connection.execute(
                select(func.count(), func.sum(of.series_count), func.sum(of.instance_count))
            ).one()
        numbers = (patients, studies, series, objects)
        return dict(
            zip(("Patients", "Studies", "Series", "Objects"), (int(n or 0) for n in numbers), strict=True)
        )

    async def _configuration(self, request: Request) -> Response:
        return self._site.page(request, "configuration.html", settings=self._site.terms.shown)


def _moment(at: datetime | None) -> str:
    """A moment in the time zone of the archive."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def _moment_of(row: Row) -> str:
    return _moment(datetime.fromtimestamp(row.at).astimezone())
