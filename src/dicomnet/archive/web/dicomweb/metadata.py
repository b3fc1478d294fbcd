"""Metadata of studies, series and instances (WADO-RS, PS3.18 section 10.4.1.1.2): all but what is long and binary."""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from time import monotonic
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ....datasets.headers import read_header
from ....datasets.json_model import to_json
from ....datasets.xml_model import to_xml
from ....errors import UnusableObject
from ...catalogue.query import StoredInstance
from ...holdings import Holdings
from ...kept_headers import KeptHeaders
from ...storage.store import Storage
from ...terms import Terms
from ..http.conditional import REVALIDATED, entity_tag, is_unchanged
from ..http.multipart import Part, boundary_of, content_type, written
from ..http.negotiation import Offer, chosen, ranges_of
from ..http.problems import CutOff
from ..http.streams import begun, streamed
from ..http.threads import in_thread
from ..resources import PATHS, Reference, base_url, reference_of
from .described import ACCEPT, Described, DescribedRoute
from .located import located, may_lack, path_of, said_to_lack
from .opened import opened

_log = logging.getLogger(__name__)

JSON: Final = "application/dicom+json"
_OFFERS = (Offer(JSON), Offer("application/json"), Offer("application/dicom+xml", is_multipart=True))
_XML = _OFFERS[2]
_DESCRIBED = Described(
    "Retrieve all attributes but long binary ones.",
    "10.4.1.1.2",
    offers=_OFFERS,
    empty=(304,),
    refusals=(410,),
    parameters=(ACCEPT,),
)
# In what is kept, before the place of a value: the address of the instance, which depends on who asks.
_HERE = "@"
_MARK = f'"BulkDataURI":"{_HERE}/'.encode()
# How many objects are looked at together: their metadata goes out together.
_TOGETHER = 100
# How long the first byte of a response may wait until it is known what can be given out, in seconds.
_PREPARING = 5.0
# The models of how many studies may be derived at once.
_STUDIES = 16
# How many bytes of whole responses are remembered in a process.
_REMEMBERED = 64 << 20


class MetadataService:
    """The service that gives out metadata.

    Parameters
    ----------
    holdings
        What there is; it has an index.
    """

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._kept = KeptHeaders(holdings.local.root)
        self._lately = _Lately(_REMEMBERED)
        # Who asks for a study whose models are being derived waits for them, and does not derive them, too.
        self._deriving = tuple(threading.Lock() for _ in range(_STUDIES))
        self.routes: Sequence[BaseRoute] = [
            DescribedRoute(f"{path}/metadata", self._metadata, _DESCRIBED) for path in PATHS
        ]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on; nothing here depends on them."""

    def end(self) -> None:
        """Close the database."""
        self._kept.close()

    async def _metadata(self, request: Request) -> Response:
        reference = reference_of(request)
        offer = chosen(ranges_of(request), _OFFERS)
        return await in_thread(self._response, request, reference, offer)

    def _response(self, request: Request, reference: Reference, offer: Offer) -> Response:
        found = located(self._holdings, reference)
        base = base_url(request)
        lacks = may_lack(self._holdings, reference)
        versions = [str(offer), base, *(each.digest and f"{each.name} {each.digest}" for each in found)]
        tag = None if lacks else entity_tag(versions)
        headers = {"cache-control": REVALIDATED, **({} if tag is None else {"etag": tag})}
        if is_unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        known = None if tag is None or offer == _XML else self._lately.find(tag)
        if known is not None:
            headers["content-type"] = offer.kind
            return Response(
                b"" if request.method == "HEAD" else known,
                headers=headers | {"content-length": str(len(known))},
            )
        status = 200
        good = self._prepared(found)
        if lacks or len(good) < len(found):
            status, tag = said_to_lack(headers, len(found) - len(good), len(found)), None
        # Where nothing can be given out, that shows when it is read.
        found = good or found
        if offer == _XML:
            boundary = boundary_of(tag)
            headers["content-type"] = content_type(offer.kind, boundary)
            parts = (_xml_part(each, model) for each, model in self._models(found, base))
            return streamed(request, begun(request, written(parts, boundary)), headers, status)
        headers["content-type"] = offer.kind
        chunks = self._lately.remembering(tag, self._list(found, base))
        return streamed(request, begun(request, chunks), headers, status)

    def _prepared(self, found: list[StoredInstance]) -> list[StoredInstance]:
        """The objects whose metadata can be given out, as far as that shows before a client has waited for too long.

        What is derived for that is kept, so that a response that has to be cut off all the same is not the next time.
        """
        lost: set[str] = set()
        end = monotonic() + _PREPARING
        for at in range(0, len(found), _TOGETHER):
            some = found[at : at + _TOGETHER]
            if self._not_kept(some):
                with self._deriving[hash(some[0].name.study) % len(self._deriving)]:
                    lost |= self._derive(self._not_kept(some), end)
        return [each for each in found if each.name.instance not in lost] if lost else found

    def _not_kept(self, found: Sequence[StoredInstance]) -> list[StoredInstance]:
        known = self._kept.known([each.digest for each in found if each.digest is not None])
        return [each for each in found if each.digest not in known]

    def _derive(self, found: Sequence[StoredInstance], end: float) -> set[str]:
        """Derive the models of objects until a time, and keep them; the instances of which there are none."""
        lost: set[str] = set()
        derived: dict[str, tuple[str, bytes]] = {}
        for each in found:
            if monotonic() >= end:
                break
            model = _derived(self._holdings.storage, each)
            if isinstance(model, Exception):
                lost.add(each.name.instance)
            elif each.digest is not None:
                derived[each.digest] = each.name.instance, model
        self._kept.keep(derived)
        return lost

    def _list(self, found: Sequence[StoredInstance], base: str) -> Iterator[bytes]:
        """The models as a JSON array, some at a time; without its end where one is missing, see `CutOff`."""
        before = b"["
        missing = 0
        for at in range(0, len(found), _TOGETHER):
            models = [model for _, model in self._models(found[at : at + _TOGETHER], base)]
            there = [model for model in models if isinstance(model, bytes)]
            missing += len(models) - len(there)
            if there:
                yield before + b",\n".join(there)
                before = b",\n"
        if missing:
            raise CutOff(f"the metadata of {missing} of {len(found)} instances is missing")
        yield b"[]" if before == b"[" else b"]"

    def _models(
        self, found: Sequence[StoredInstance], base: str
    ) -> Iterator[tuple[StoredInstance, bytes | Exception]]:
        """The JSON model of each object, or why there is none."""
        for at in range(0, len(found), _TOGETHER):
            some = found[at : at + _TOGETHER]
            kept = self._kept.find([each.digest for each in some if each.digest is not None])
            derived: dict[str, tuple[str, bytes]] = {}
            for each in some:
                model: bytes | Exception | None = kept.get(each.digest or "")
                if model is None:
                    model = _derived(self._holdings.storage, each)
                    if isinstance(model, bytes) and each.digest is not None:
                        derived[each.digest] = each.name.instance, model
                if isinstance(model, bytes):
                    model = model.replace(_MARK, f'"BulkDataURI":"{base}{path_of(each)}/bulkdata/'.encode())
                yield each, model
            self._kept.keep(derived)


def _derived(storage: Storage, found: StoredInstance) -> bytes | Exception:
    """The JSON model of an object from its file, without the address of its values; or why there is none."""
    try:
        with opened(storage, found) as (stream, syntax):
            data_set, _ = read_header(stream, syntax)
            model = to_json(data_set, lambda place: f"{_HERE}/{place}")
    except (OSError, UnusableObject) as error:
        _log.warning("the metadata of %s cannot be given out: %s", found.name.instance, error)
        return error
    return json.dumps(model, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _xml_part(found: StoredInstance, model: bytes | Exception) -> Part:
    return Part(
        f"the metadata of {found.name.instance}",
        (("Content-Type", "application/dicom+xml"),),
        None,
        partial(_xml, model),
    )


def _xml(model: bytes | Exception) -> Iterator[bytes]:
    if isinstance(model, Exception):
        raise model
    return iter((to_xml(json.loads(model)).encode(),))


class _Lately:
    """Whole responses that were given lately, by their ETags.

    Parameters
    ----------
    limit
        How many bytes they may have together.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, tag: str) -> bytes | None:
        """A response, if it is remembered."""
        with self._lock:
            if tag in self._known:
                self._known.move_to_end(tag)
            return self._known.get(tag)

    def remembering(self, tag: str | None, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks of a response, which is remembered when all of it was there, unless it is too long."""
        pieces: list[bytes] | None = [] if tag is not None else None
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if pieces is not None:
                pieces.append(chunk)
                if size > self._limit // 4:
                    pieces = None
            yield chunk
        if pieces is not None and tag is not None:
            self._add(tag, b"".join(pieces))

    def _add(self, tag: str, content: bytes) -> None:
        with self._lock:
            self._size += len(content) - len(self._known.get(tag, b""))
            self._known[tag] = content
            while self._size > self._limit:
                _, gone = self._known.popitem(last=False)
                self._size -= len(gone)
