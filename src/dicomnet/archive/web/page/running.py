"""The pages on which people see how the archive is run: remotes, activity, storage and configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from time import monotonic

from sqlalchemy import func, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ....diagnosing.diagnosis import diagnosed
from ....errors import DicomnetError, ServiceRefusal
from ....peers.target import Target
from ....services.descriptions import shown
from ....values import frozen
from ...activity import Activity, Row
from ...catalogue import schema
from ...services.retrieve import credentials_to, peer_of, tls_to
from ...watch.checks import Checks, Circumstances
from ...watch.counts import Counts
from ...watch.policy import WatchPolicy
from ...watch.probing import Probes
from ..http.problems import Problem
from ..http.threads import in_thread
from .rights import Right
from .site import Site
from .words import moment_of

# How the outcomes of a diagnosis are shown.
_KINDS = {"ok": "good", "failed": "problem"}
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


@frozen
class Volume:
    """Where parts of the archive are.

    Parameters
    ----------
    names
        Of these parts.
    free, size
        How much of it is free, and all of it, in bytes.
    """

    names: tuple[str, ...]
    free: float
    size: float


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
            site.route("/remotes", self._remotes, Right.WATCH),
            site.route("/remotes/echo", self._echo, Right.WATCH, changes=True),
            site.route("/remotes/diagnose", self._diagnose, Right.WATCH, changes=True),
            site.route("/activity", self._show_activity, Right.WATCH),
            site.route("/storage", self._storage, Right.WATCH),
            site.route("/configuration", self._configuration, Right.WATCH),
        ]

    async def _remotes(self, request: Request) -> Response:
        return self._remotes_page(request, None)

    async def _echo(self, request: Request) -> Response:
        title = await self._remote(request)
        return self._remotes_page(request, await in_thread(self._echoed, title))

    async def _diagnose(self, request: Request) -> Response:
        title = await self._remote(request)
        return self._site.running_page(request, "diagnosis.html", self._diagnosed(title), title=title)

    async def _remote(self, request: Request) -> str:
        """The remote that a form names."""
        title = (await self._site.form(request)).get("remote", "")
        if title not in self._site.terms.retrieval.destinations:
            raise Problem(400, "choose one of the remotes of the configuration")
        return title

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

    def _diagnosed(self, title: str) -> Iterator[Mapping[str, str]]:
        """What is found of each layer, as `dicomnet diagnose` says it."""
        terms = self._site.terms
        destination = terms.retrieval.destinations[title]
        try:
            tls = tls_to(terms.retrieval, title)
            credentials = credentials_to(terms.retrieval, title)
        except ServiceRefusal as refusal:
            yield {"kind": "problem", "words": refusal.comment}
            return
        for checked in diagnosed(
            Target(destination, self._site.ae_title, tls, terms.timeouts, credentials=credentials)
        ):
            time = "" if checked.seconds is None else f" ({checked.seconds:.3f} s)"
            words = f"{checked.layer}: {shown(checked.detail) or checked.outcome}{time}"
            yield {"kind": _KINDS.get(checked.outcome, "quiet"), "words": words}

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
        return self._site.page(
            request, "storage.html", results=results, counts=counts, volumes_of=_volumes_of
        )

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


def _volumes_of(values: Mapping[str, Mapping[str, float]]) -> list[Volume]:
    """The volumes that a check has looked at; one that has several parts of the archive is one."""
    free, sizes = values.get("disk_free_bytes", {}), values.get("disk_size_bytes", {})
    found: dict[tuple[float, float], list[str]] = {}
    for name in free:
        found.setdefault((free[name], sizes[name]), []).append(name)
    return [Volume(tuple(names), *volume) for volume, names in found.items()]


def _moment_of(row: Row) -> str:
    return moment_of(datetime.fromtimestamp(row.at).astimezone())
