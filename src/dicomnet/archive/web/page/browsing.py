"""The pages on which people look: the search, a study, a series with its viewer, and what an object says."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import urlencode

from pydicom.uid import EncapsulatedPDFStorage
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ....datasets.levels import Level
from ....rendering.view import PRESETS
from ...catalogue.options import NO_OPTIONS, QueryOptions
from ..dicomweb.removing import may_delete
from ..http.problems import Problem
from ..http.threads import in_thread
from ..resources import Reference, reference_of
from ..viewer import KnownViewer
from .attributes import attributes_of
from .finding import Found, date_range, find, in_order, name_key, other_patients, text_key
from .rights import Right
from .site import Site, parameters_of

# The fields of the search.
_FIELDS = ("name", "id", "accession", "from", "to", "modality", "description")
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# Of series with these modalities (PS3.3 section C.7.3.1.1.1) there are no pictures.
_WITHOUT_PICTURES = frozenset(
    (
        *("ASMT", "AU", "DOC", "ECG", "EEG", "EMG", "EOG", "FID", "HD", "KER", "KO", "LEN", "PLAN", "PR"),
        *("REG", "RESP", "RTINTENT", "RTPLAN", "RTRAD", "RTRECORD", "RTSEGANN", "RTSTRUCT", "RWV", "SR"),
        *("SRF", "VA"),
    )
)
# The windows that are offered for Hounsfield units.
_PRESETS = [(name.capitalize(), window.center, window.width) for name, window in PRESETS.items()]
# How many studies are shown at once, and how many series, or objects of a series, at the most.
_ROWS, _MOST = 50, 20_000
# Behind more studies than this nobody scrolls.
_DEEPEST = 1_000_000


class Browsing:
    """The pages on which people look.

    Parameters
    ----------
    site
        What pages share.
    prepare
        Called by each search, as pictures of what is found are mostly asked for soon.
    """

    def __init__(self, site: Site, prepare: Callable[[], None]) -> None:
        self._site = site
        self._prepare = prepare
        self._viewer = KnownViewer()
        series = "/studies/{study}/series/{series}"
        self.routes: Sequence[BaseRoute] = [
            site.route("/", self._search, Right.SEE),
            site.route("/studies/{study}", self._study, Right.SEE),
            site.route(series, self._series, Right.SEE),
            site.route(f"{series}/instances/{{instance}}", self._instance, Right.SEE),
        ]

    @property
    def _options(self) -> QueryOptions:
        return self._site.terms.queries.options(NO_OPTIONS)

    async def _search(self, request: Request) -> Response:
        wanted = parameters_of(request, _FIELDS)
        skip = request.query_params.get("skip", "0")
        if not (skip.isascii() and skip.isdecimal() and int(skip[:9]) <= _DEEPEST):
            raise Problem(400, "skip is the number of studies that are left out at the beginning of the list")
        for name in ("from", "to"):
            if wanted[name] and _DAY.fullmatch(wanted[name]) is None:
                raise Problem(400, f"the day {name!r} must be one as 2026-11-29")
        keys = {
            "PatientName": name_key(wanted["name"]),
            "PatientID": text_key(wanted["id"]),
            "AccessionNumber": text_key(wanted["accession"]),
            "StudyDate": date_range(wanted["from"], wanted["to"]),
            "ModalitiesInStudy": "\\".join(wanted["modality"].upper().replace(",", " ").split()),
            "StudyDescription": text_key(wanted["description"]),
        }
        found = await self._find(Level.STUDY, keys, skip=int(skip), count=_ROWS + 1)
        more = ""
        if len(found) > _ROWS:
            asked = {name: text for name, text in wanted.items() if text}
            more = "/?" + urlencode({**asked, "skip": int(skip) + _ROWS})
        is_part = request.query_params.get("part") == "rows"
        return self._site.page(
            request,
            "part.html" if is_part else "search.html",
            studies=found[:_ROWS],
            wanted=wanted,
            is_narrowed=any(wanted.values()),
            skip=int(skip),
            more=more,
        )

    async def _study(self, request: Request) -> Response:
        reference = reference_of(request)
        study = await self.study(reference)
        found = await self._find(Level.SERIES, _keys_of(reference), count=_MOST)
        return self._site.page(
            request,
            "study.html",
            study=study,
            series=in_order(found, "SeriesNumber", "SeriesInstanceUID"),
            without_pictures=_WITHOUT_PICTURES,
            destinations=sorted(self._site.terms.retrieval.destinations),
            may_delete=may_delete(self._site.terms, request),
            has_viewer=await in_thread(self._viewer.read, self._site.terms.web.viewer) is not None,
        )

    async def _series(self, request: Request) -> Response:
        reference = reference_of(request)
        study = await self.study(Reference(reference.study))
        series = await self._find(Level.SERIES, _keys_of(reference), count=1)
        found = await self._find(Level.IMAGE, _keys_of(reference), count=_MOST)
        if not series or not found:
            raise Problem(404, "there is no such series here")
        return self._site.page(
            request,
            "series.html",
            study=study,
            series=series[0],
            pdf=EncapsulatedPDFStorage,
            presets=_PRESETS if series[0]["Modality"] == "CT" else (),
            instances=in_order(found, "InstanceNumber", "SOPInstanceUID"),
        )

    async def _instance(self, request: Request) -> Response:
        reference = reference_of(request)
        study = await self.study(Reference(reference.study))
        rows = await in_thread(attributes_of, self._site.holdings, reference)
        return self._site.page(request, "instance.html", study=study, reference=reference, rows=rows)

    async def study(self, reference: Reference) -> Found:
        """A study; raises Problem where there is none."""
        found = await self._find(Level.STUDY, _keys_of(Reference(reference.study)), count=1)
        if not found:
            raise Problem(404, "there is no such study here; it may have been deleted")
        found[0].others = await in_thread(other_patients, self._site.holdings, reference.study)
        return found[0]

    async def _find(self, level: Level, keys: dict[str, str], *, skip: int = 0, count: int) -> list[Found]:
        def found() -> list[Found]:
            self._prepare()
            return find(self._site.holdings, level, keys, self._options, skip=skip, count=count)

        return await in_thread(found)


def _keys_of(reference: Reference) -> dict[str, str]:
    names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    uids = (reference.study, reference.series, reference.instance)
    return {name: uid for name, uid in zip(names, uids, strict=True) if uid is not None}
