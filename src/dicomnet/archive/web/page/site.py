"""What the pages have in common: templates, headers, tokens of forms, and what becomes of errors."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from ...holdings import Holdings
from ...terms import Terms
from ..http.problems import Problem, problem_of
from ..http.threads import from_thread
from . import words
from .rights import Right, Rights
from .tokens import FIELD, Tokens

Handler = Callable[[Request], Awaitable[Response]]

_HERE = Path(__file__).parent
# Nothing but what is ours, and no script or style inside a page.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
# The longest form, in bytes.
_LONGEST_FORM = 1 << 16
# Where in a page is put what comes bit by bit.
_SLOT = "<!-- what comes bit by bit -->"


class Site:
    """What the pages of a node share.

    Parameters
    ----------
    holdings
        What the node has; there is an index.
    ae_title
        The AE title that it calls others with.

    Attributes
    ----------
    holdings, ae_title
        As above.
    terms
        What the node goes by; may be replaced at any time.
    """

    def __init__(self, holdings: Holdings, ae_title: str) -> None:
        self.holdings = holdings
        self.ae_title = ae_title
        self.terms = Terms()
        self._tokens = Tokens()
        self._static = {path.name: path.read_bytes() for path in sorted((_HERE / "static").iterdir())}
        self._version = hashlib.sha256(b"".join(self._static.values())).hexdigest()[:16]
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals.update(version=self._version, slot=_SLOT, Right=Right)
        for name, function in vars(words).items():
            if name.endswith("_of"):
                self._templates.filters[name.removesuffix("_of")] = function
        # They are compiled now, and not when no descriptor may be free.
        for name in self._templates.list_templates():
            self._templates.get_template(name)

    @property
    def static_route(self) -> Route:
        """The row of the style sheet and the script."""
        return Route("/static/{name}", self._send_static)

    def route(self, path: str, handler: Handler, right: Right, *, changes: bool = False) -> Route:
        """A row of the table of routes: a page that is seen, or a form that changes something.

        Parameters
        ----------
        path
            As of Starlette.
        handler
            Answers requests; of a form only after `form` has checked it.
        right
            What it takes.
        changes
            Whether it is a form that is sent by POST.
        """

        async def handle(request: Request) -> Response:
            try:
                if not Rights(request).has(right):
                    raise Problem(403, f"you may not {right.value}")
                return await handler(request)
            except Exception as error:  # noqa: BLE001
                problem = problem_of(error)
                return self.page(request, "problem.html", status=problem.status, sentence=problem.sentence)

        return Route(path, handle, methods=["POST"] if changes else ["GET"])

    def page(
        self,
        request: Request,
        template: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: Any,
    ) -> Response:
        """A page.

        Parameters
        ----------
        request
            The request that it is for.
        template
            The name of its template.
        status
            The status code.
        headers
            What the response has besides.
        **values
            What the template shows.
        """
        nonce = self._tokens.nonce(request)
        text = self._text(request, template, nonce, {**values, "status": status})
        response = HTMLResponse(text, status, {**(headers or {}), **HEADERS})
        self._tokens.remember(request, response, nonce)
        return response

    def running_page(
        self, request: Request, template: str, lines: Iterator[Mapping[str, Any]], **values: Any
    ) -> Response:
        """A page that says what is done while it is done. Whoever leaves it ends that.

        Parameters
        ----------
        request, template, **values
            As of `page`.
        lines
            Does it, in a thread, and gives what the template ``line.html`` shows of it.
        """
        nonce = self._tokens.nonce(request)
        before, after = self._text(request, template, nonce, values).split(_SLOT)

        template_of_line = self._templates.get_template("line.html")

        async def content() -> AsyncIterator[str]:
            yield before
            async for line in from_thread(lines):
                yield template_of_line.render(line)
            yield after

        response = StreamingResponse(content(), 200, HEADERS, "text/html")
        self._tokens.remember(request, response, nonce)
        return response

    async def form(self, request: Request) -> Mapping[str, str]:
        """What a form says that changes something, which one of our own pages sent.

        Raises
        ------
        Problem
            If it is of another page, or no form.
        """
        content = b""
        async for chunk in request.stream():
            content += chunk
            if len(content) > _LONGEST_FORM:
                raise Problem(413, "this form is longer than any of ours; nothing was done")
        try:
            found = parse_qs(
                content.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=100
            )
        except ValueError:
            raise Problem(400, "this is no form; nothing was done") from None
        fields = {name: values[-1] for name, values in found.items()}
        self._tokens.check(request, fields.get(FIELD, ""))
        return fields

    def _text(self, request: Request, template: str, nonce: str, values: Mapping[str, Any]) -> str:
        return self._templates.get_template(template).render(
            here=request.url.path, rights=Rights(request), token=self._tokens.token(request, nonce), **values
        )

    async def _send_static(self, request: Request) -> Response:
        name = request.path_params["name"]
        content = self._static.get(name)
        if content is None:
            raise Problem(404, "there is nothing at this address")
        headers = {**HEADERS, "cache-control": "no-cache"}
        if request.query_params.get("v") == self._version:
            headers["cache-control"] = "private, max-age=31536000, immutable"
        return Response(content, headers=headers, media_type=_KINDS[Path(name).suffix])


def parameters_of(request: Request, names: Sequence[str]) -> dict[str, str]:
    """What the address of a request says of some parameters, without spaces around it; empty for nothing."""
    return {name: request.query_params.get(name, "").strip()[:200] for name in names}
