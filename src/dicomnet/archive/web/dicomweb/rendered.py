"""Pictures of what is stored: the rendered resources and thumbnails (PS3.18 sections 10.4.1.1.3 and 10.4.1.1.4)."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, BinaryIO, TypeVar, cast

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from ....rendering.renderers import Picture, Renderers
from ....rendering.view import PDF, PICTURES, NotRendered, Reason, View, Viewport
from ....values import frozen, replace
from ...catalogue.query import StoredInstance
from ...holdings import Holdings
from ...storage.store import Storage
from ...terms import Terms
from ..http.conditional import REVALIDATED, entity_tag, is_unchanged
from ..http.file_parts import in_bytes
from ..http.multipart import Part, boundary_of, content_type, written
from ..http.negotiation import Offer, alternatives, ranges_of
from ..http.problems import Problem
from ..http.streams import head_of
from ..http.threads import ended, in_thread
from ..resources import PATHS, Reference, reference_of
from .described import ACCEPT, Described, DescribedRoute, Parameter
from .located import located
from .views import frames_of, view_of

Found = TypeVar("Found")

_log = logging.getLogger(__name__)

_RESOURCES = (*PATHS, f"{PATHS[-1]}/frames/{{frames}}")
_ONE = tuple(Offer(kind) for kind in (*PICTURES, PDF))
_MANY = tuple(Offer(kind, is_multipart=True) for kind in (*PICTURES, PDF))
_THUMBNAILS = tuple(Offer(kind) for kind in PICTURES)
_THUMBNAIL = Viewport(200, 200)

WINDOW = "dicomnet-window"
"""The header that says which window a picture has: center, width and function, and where it is from."""

# How many pictures are made at once at the most, and how many requests may wait for that.
_AT_ONCE, _WAITING = 8, 400
# How much is kept of pictures that were made, in bytes, and how large one may be for that.
_KEPT, _LARGEST_KEPT = 64 << 20, 4 << 20
# How many objects are tried for the thumbnail of a study or series.
_TRIED = 5

_STATUSES = {
    Reason.NO_PIXELS: 406,
    Reason.NO_SUCH_FRAME: 404,
    Reason.NO_DECODER: 501,
    Reason.TOO_MUCH: 413,
    Reason.BAD_VIEW: 400,
    Reason.DAMAGED: 500,
}
_VIEWPORT = Parameter(
    "viewport",
    "The width and height that it fits in, and the region that is shown.",
    {
        "type": "string",
        "pattern": r"^[1-9][0-9]{0,2},[1-9][0-9]{0,2}(,[0-9]{1,3},[0-9]{1,3},[1-9]{1,3},[1-9]{1,3})?$",
    },
)
_RENDERED = Described(
    "Retrieve pictures, or the content of documents.",
    "10.4.1.1.3",
    offers=(*_ONE, *_MANY),
    empty=(304,),
    refusals=(410, 413, 501),
    parameters=(
        ACCEPT,
        Parameter(
            "window",
            "Center, width and function, with commas between them, or the name of a window.",
            {
                "type": "string",
                "pattern": r"^([^,]*|-?[0-9]{1,5},[1-9][0-9]{0,4},(linear|linear-exact|sigmoid))$",
            },
        ),
        _VIEWPORT,
        Parameter("quality", "Of a JPEG.", {"type": "integer", "minimum": 1, "maximum": 100}),
    ),
)
_REDUCED = replace(
    _RENDERED,
    summary="Retrieve a small picture.",
    section="10.4.1.1.4",
    offers=_THUMBNAILS,
    parameters=(ACCEPT, _VIEWPORT),
)


@frozen
class _Wanted:
    """A picture that is wanted.

    Parameters
    ----------
    found
        The object.
    version
        What differs where its file may differ.
    view
        What is asked for.
    """

    found: StoredInstance
    version: str
    view: View

    @property
    def key(self) -> str:
        """What differs where the picture may differ."""
        return f"{self.found.name.instance} {self.version} {json.dumps(self.view.to_json())}"


class _Kept:
    """Pictures that were made, up to so many bytes: those that were asked for last."""

    def __init__(self) -> None:
        self._pictures: OrderedDict[str, Picture] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> Picture | None:
        """A picture, if it is there."""
        with self._lock:
            picture = self._pictures.get(key)
            if picture is not None:
                self._pictures.move_to_end(key)
            return picture

    def keep(self, key: str, picture: Picture) -> None:
        """Keep a picture, and let others go for it."""
        if len(picture.content) > _LARGEST_KEPT:
            return
        with self._lock:
            if key not in self._pictures:
                self._pictures[key] = picture
                self._size += len(picture.content)
            while self._size > _KEPT:
                _, oldest = self._pictures.popitem(last=False)
                self._size -= len(oldest.content)


class _Turns:
    """At most so many pictures are made at once, and so many requests wait; each in its turn."""

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._waiting = 0

    async def run(
        self, function: Callable[..., Found], *values: Any, request: Request | None = None
    ) -> Found:
        """What a function gives, in a thread.

        Parameters
        ----------
        function, values
            The function and its parameters.
        request
            Who wants it; None for a further part of a response that has begun, which is not turned away.

        Raises
        ------
        Problem
            With status 503 if too many wait already.
        ClientDisconnect
            If nobody wants it any more.
        """
        if request is not None and self._waiting >= _WAITING:
            raise Problem(503, "too many pictures are asked for at once; try again", {"retry-after": "1"})
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            if request is not None and await request.is_disconnected():
                raise ClientDisconnect
        except BaseException:
            self._free.release()
            raise
        return await self._run(function, *values)

    async def run_now(self, function: Callable[[bool], Found]) -> Found:
        """What a function gives, in a thread; it is told whether it has a turn, which is so if one is free."""
        if self._free.locked():
            return await in_thread(function, False)
        # It does not wait.
        await self._free.acquire()
        return await self._run(function, True)

    async def _run(self, function: Callable[..., Found], *values: Any) -> Found:
        """What a function gives whose turn it is, which goes on until it is done, also where nobody waits for that."""
        running = asyncio.ensure_future(in_thread(function, *values))
        running.add_done_callback(lambda _: self._free.release())
        return await asyncio.shield(running)


class RenderedService:
    """The service that gives out pictures.

    Parameters
    ----------
    holdings
        What there is; it has an index.
    renderers
        What makes pictures; None for processes of its own, if what they need is installed.
    """

    def __init__(self, holdings: Holdings, renderers: Renderers | None = None) -> None:
        self._holdings = holdings
        most = min(os.cpu_count() or 1, _AT_ONCE)
        self._renderers = renderers or Renderers(most)
        self._is_installed = all(find_spec(name) is not None for name in ("numpy", "PIL"))
        self._turns = _Turns(most)
        self._kept = _Kept()
        self.routes: Sequence[BaseRoute] = [
            *(DescribedRoute(f"{path}/rendered", self._rendered, _RENDERED) for path in _RESOURCES),
            *(DescribedRoute(f"{path}/thumbnail", self._thumbnail, _REDUCED) for path in _RESOURCES),
        ]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on; nothing here depends on them."""

    def prepare(self) -> None:
        """Have a process, as pictures will be asked for soon, so that the first of them does not wait for its start."""
        if self._is_installed:
            try:
                self._renderers.start()
            except OSError as error:
                # Each picture tries again.
                _log.warning("no process can be started to make pictures: %s", error)

    def end(self) -> None:
        """End the processes that are idle."""
        self._renderers.close()

    async def respond(self, request: Request, found: StoredInstance, view: View) -> Response:
        """Answer a request for one picture of an object.

        Parameters
        ----------
        request
            The request.
        found
            The object.
        view
            What is asked for, with the media types that are accepted.

        Raises
        ------
        Problem
            If there is no such picture.
        """
        self._check()
        return await self._respond(request, lambda: self._wanted(found, view))

    async def _rendered(self, request: Request) -> Response:
        reference = reference_of(request)
        self._check()
        frames = frames_of(request.path_params["frames"]) if "frames" in request.path_params else [1]
        is_one = reference.instance is not None and len(frames) == 1
        options = alternatives(ranges_of(request), [*_ONE, *_MANY] if is_one else [*_MANY, *_ONE])
        is_many = options[0].offer.is_multipart
        kinds = [each.offer.kind for each in options if each.offer.is_multipart is is_many]
        view = view_of(request.query_params, kinds)
        wanted = [replace(view, frame=frame) for frame in frames]
        if is_many:
            return await self._respond_with_all(request, reference, wanted)

        def only() -> _Wanted:
            count = len(objects := located(self._holdings, reference)) * len(frames)
            if count == 1:
                return self._wanted(objects[0], wanted[0])
            raise Problem(
                406,
                f"there are {count} pictures, which need an Accept of"
                f' multipart/related; type="{kinds[0]}", or ask for one instance or frame',
            )

        return await self._respond(request, only)

    async def _thumbnail(self, request: Request) -> Response:
        reference = reference_of(request)
        self._check()
        options = alternatives(ranges_of(request), _THUMBNAILS)
        view = view_of(request.query_params, [each.offer.kind for each in options])
        frames = frames_of(request.path_params["frames"]) if "frames" in request.path_params else [None]
        if len(frames) > 1:
            raise Problem(400, "a thumbnail is of one frame")
        view = replace(view, frame=frames[0], viewport=view.viewport or _THUMBNAIL)
        candidates = self._candidates(reference)

        def next_one() -> _Wanted:
            for found in candidates:
                return self._wanted(found, view)
            raise Problem(404, "nothing in it has pixels, so that there is no thumbnail of it")

        while True:
            try:
                return await self._respond(request, next_one)
            except Problem as problem:
                if problem.status != _STATUSES[Reason.NO_PIXELS]:
                    raise

    def _candidates(self, reference: Reference) -> Iterator[StoredInstance]:
        """Objects that may stand for all: that in the middle first, and then one of each other SOP class."""
        objects = located(self._holdings, reference)
        middle = objects[len(objects) // 2]
        others = {each.sop_class_uid: each for each in objects}
        others.pop(middle.sop_class_uid, None)
        yield middle
        yield from list(others.values())[: _TRIED - 1]

    def _check(self) -> None:
        if not self._is_installed:
            raise Problem(501, "this archive makes no pictures, as dicomnet[render] is not installed there")

    def _wanted(self, found: StoredInstance, view: View) -> _Wanted:
        version = found.digest
        if version is None:
            try:
                version = f"{self._holdings.storage.written_at(found.name)}"
            except OSError as error:
                raise _gone(error) from error
        return _Wanted(found, version, view)

    async def _respond(self, request: Request, find: Callable[[], _Wanted]) -> Response:
        """Answer with a picture; what finds out which one is called in a thread."""
        try:
            wanted, tag, picture = await self._turns.run_now(partial(self._looked_up, request, find))
            headers = {"cache-control": REVALIDATED, "etag": tag, "vary": "accept"}
            if is_unchanged(request, tag):
                return Response(status_code=304, headers=headers)
            if picture is None:
                picture = await self._turns.run(self._made, wanted, request=request)
        except NotRendered as error:
            raise _problem(error) from error
        if picture.shown is not None:
            window = picture.shown.window
            headers[WINDOW] = (
                f"{window.center:.10g},{window.width:.10g},{window.function.word}; of={picture.shown.source.value}"
            )
        return Response(picture.content, headers=headers, media_type=picture.media_type)

    def _looked_up(
        self, request: Request, find: Callable[[], _Wanted], may_make: bool
    ) -> tuple[_Wanted, str, Picture | None]:
        """Which picture is wanted, its ETag, and the picture if it is there or may be made."""
        wanted = find()
        tag = entity_tag([wanted.key])
        assert tag is not None
        if is_unchanged(request, tag):
            return wanted, tag, None
        return wanted, tag, self._made(wanted) if may_make else self._kept.get(wanted.key)

    def _made(self, wanted: _Wanted) -> Picture:
        picture = self._kept.get(wanted.key)
        if picture is None:
            picture = _rendered(self._holdings.storage, self._renderers, wanted)
            self._kept.keep(wanted.key, picture)
        return picture

    async def _respond_with_all(
        self, request: Request, reference: Reference, views: Sequence[View]
    ) -> Response:
        """All pictures of a resource; objects that have no pixels are left out."""

        def all_wanted() -> list[_Wanted]:
            objects = located(self._holdings, reference)
            return [self._wanted(found, view) for found in objects for view in views]

        wanted = await in_thread(all_wanted)
        tag = entity_tag(each.key for each in wanted)
        assert tag is not None
        headers = {"cache-control": REVALIDATED, "etag": tag, "vary": "accept"}
        if is_unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        pictures = self._pictures(wanted)
        end: Any = object()
        first = await self._turns.run(next, pictures, end, request=request)
        if first is end:
            raise Problem(406, "nothing in it has pixels, so that there are no pictures of it")
        part, picture = first
        if isinstance(picture, NotRendered) and (reference.instance is not None or len(wanted) == 1):
            # Of one object, it is mostly the same with the other frames.
            raise _problem(picture)
        kind = wanted[0].view.media_types[0] if isinstance(picture, NotRendered) else picture.media_type
        boundary = boundary_of(tag)
        headers["content-type"] = content_type(kind, boundary)
        if request.method == "HEAD":
            return head_of(headers)
        parts = (each for each, _ in pictures)
        chunks = in_bytes(written(_first_and(part, parts), boundary))
        return StreamingResponse(self._in_turns(chunks), headers=headers)

    def _pictures(self, wanted: Sequence[_Wanted]) -> Iterator[tuple[Part, Picture | NotRendered]]:
        for each in wanted:
            name = each.found.name.instance
            try:
                picture = self._made(each)
            except NotRendered as error:
                if error.reason is not Reason.NO_PIXELS:
                    yield Part(name, (), None, partial(_raise, error)), error
            else:
                yield (
                    Part(
                        name,
                        (("Content-Type", picture.media_type),),
                        len(picture.content),
                        partial(_once, picture.content),
                    ),
                    picture,
                )

    async def _in_turns(self, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks of a body, each made in its turn."""
        end: Any = object()
        try:
            while True:
                pending = asyncio.ensure_future(self._turns.run(next, chunks, end))
                chunk = await asyncio.shield(pending)
                if chunk is end:
                    return
                yield chunk
        finally:
            await ended(pending, chunks)


def _rendered(storage: Storage, renderers: Renderers, wanted: _Wanted) -> Picture:
    try:
        file = storage.open(wanted.found.name)
    except OSError as error:
        raise _gone(error) from error
    with file:
        return renderers.render(cast(BinaryIO, file), wanted.view)


def _gone(error: OSError) -> Problem:
    if isinstance(error, FileNotFoundError):
        return Problem(404, "the file of this instance is not there any more")
    return Problem(503, "the file of this instance cannot be read now", {"retry-after": "5"})


def _problem(error: NotRendered) -> Problem:
    return Problem(_STATUSES[error.reason], f"there is no picture: {error.cause}")


def _first_and(first: Part, rest: Iterator[Part]) -> Iterator[Part]:
    yield first
    yield from rest


def _once(content: bytes) -> Iterator[bytes]:
    yield content


def _raise(error: NotRendered) -> Iterator[bytes]:
    raise error
