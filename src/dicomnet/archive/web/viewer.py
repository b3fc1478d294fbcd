"""The full viewer at ``/ohif/``: the files of a folder, as `archive.viewer` makes it, and no others."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from ...errors import ViewerUnusable
from ..terms import Terms
from ..viewer import INDEX, MANIFEST, PREFIX, Viewer, read
from .access.policy import WebPolicy
from .http.compression import accepts_gzip
from .http.conditional import entity_tag, is_unchanged
from .http.problems import CutOff, Problem
from .http.streams import streamed
from .http.threads import in_thread

_log = logging.getLogger(__name__)

# What it needs: its decoders make functions at run time and are WebAssembly, it styles what it draws, and gives what it
# has retrieved to images, documents, films and workers. Nothing is asked of a foreign host.
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self' 'unsafe-eval' 'wasm-unsafe-eval' blob:;"
    " worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; font-src 'self' data:;"
    " connect-src 'self' blob: data:; media-src 'self' blob:; object-src 'self' blob:; frame-src 'self' blob:;"
    " manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "vary": "Accept-Encoding",
    "x-frame-options": "DENY",
}
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webapp": "application/json",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}
_OTHER_TYPE = "application/octet-stream"
# A name that has a digest of the content in it; what such a file has never changes.
_HASHED = re.compile(r"(.*\.)?[0-9a-f]{16,20}\.(js|css|wasm|woff2)")
_FOREVER, _ASK_AGAIN = "private, max-age=31536000, immutable", "private, no-cache"
_CHUNK = 1 << 18


class KnownViewer:
    """The viewer in a folder, of which the list of files is read again only when it has changed."""

    def __init__(self) -> None:
        self._seen: object = None
        self._known: Viewer | None = None

    def read(self, folder: Path) -> Viewer | None:
        """The viewer in a folder; None if there is none that can be used. It may block."""
        try:
            status = os.stat(folder / MANIFEST)
        except OSError:
            return None
        seen = folder, status.st_ino, status.st_mtime_ns
        if seen != self._seen:
            try:
                known = read(folder)
            except ViewerUnusable as error:
                _log.warning("there is no viewer: %s", error)
                known = None
            self._seen, self._known = seen, known
        return self._known


class ViewerService:
    """The service that gives out the files of the viewer."""

    def __init__(self) -> None:
        self._known = KnownViewer()
        self._folder = WebPolicy().viewer
        self.routes: Sequence[BaseRoute] = [
            Route(PREFIX.rstrip("/"), self._redirect),
            Route(f"{PREFIX}{{path:path}}", self._send),
        ]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        self._folder = terms.web.viewer

    async def _redirect(self, request: Request) -> Response:
        return RedirectResponse(PREFIX, 308)

    async def _send(self, request: Request) -> Response:
        viewer = await in_thread(self._known.read, self._folder)
        if viewer is None:
            raise Problem(404, "no viewer is installed here; dicomnet viewer install does that")
        asked = request.path_params["path"]
        # Addresses inside the viewer are its own matter; what is missing of its files is not its page.
        name = asked if asked in viewer.files else INDEX
        if name == INDEX and PurePosixPath(asked).suffix in _TYPES and asked != INDEX:
            raise Problem(404, "there is no such file of the viewer")
        headers = {**_HEADERS, "cache-control": _FOREVER if _is_hashed(name) else _ASK_AGAIN}
        compressed = f"{name}.gz"
        if compressed in viewer.files and accepts_gzip(
            Headers(scope=request.scope).get("accept-encoding", "")
        ):
            headers["content-encoding"] = "gzip"
            stored = compressed
        else:
            stored = name
        path, status = await in_thread(_found, viewer.folder, stored)
        tag = entity_tag((viewer.version, stored, str(status.st_mtime_ns), str(status.st_size)))
        assert tag is not None
        headers["etag"] = tag
        if is_unchanged(request, tag):
            return Response(None, 304, headers)
        headers["content-length"] = str(status.st_size)
        headers["content-type"] = _TYPES.get(PurePosixPath(name).suffix, _OTHER_TYPE)
        return streamed(request, _chunks(path, status), headers)


def _is_hashed(name: str) -> bool:
    return _HASHED.fullmatch(PurePosixPath(name).name) is not None


def _found(folder: Path, name: str) -> tuple[Path, os.stat_result]:
    """Where a file is below a folder; no link leads out of it."""
    root = folder.resolve()
    path = (root / name).resolve()
    try:
        if not path.is_relative_to(root):
            raise FileNotFoundError(name)
        return path, path.stat()
    except OSError as error:
        _log.warning("a file of the viewer cannot be read: %s", error)
        raise Problem(404, "this file of the viewer is missing; install the viewer again") from None


def _chunks(path: Path, status: os.stat_result) -> Iterator[bytes]:
    try:
        with path.open("rb", buffering=0) as file:
            if not os.path.samestat(os.fstat(file.fileno()), status):
                raise CutOff("the viewer was replaced meanwhile")
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise CutOff(f"a file of the viewer cannot be read: {error}") from None
