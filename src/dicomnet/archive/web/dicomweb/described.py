"""What the description of the interface says of a route, beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ....values import frozen
from ..http.negotiation import Offer

Schema = Mapping[str, Any]
"""A JSON Schema (draft 2020-12)."""

TEXT: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "string", "enum": ["true", "false"]}


@frozen
class Parameter:
    """A parameter of the query.

    Parameters
    ----------
    name
        Its name.
    says
        What it says, in a sentence.
    schema
        Its values.
    is_required
        Whether it has to be there.
    """

    name: str
    says: str
    schema: Schema = TEXT
    is_required: bool = False


ACCEPT = Parameter(
    "accept",
    "Media types, which go before those in Accept; what is not valid or not offered is ignored.",
)
"""What stands in for the header Accept (section 8.3.3.1)."""


@frozen
class Described:
    """What is said of one method of a route.

    Parameters
    ----------
    summary
        What it does, in a few words.
    section
        Where PS3.18 has it; empty where it does not.
    offers
        The forms in which something is answered.
    statuses
        The status codes of HTTP of such answers.
    empty
        Those of answers without content that are no refusals.
    refusals
        Those of refusals, beside what any request can be refused with.
    parameters
        Of the query.
    others
        The schema of further parameters of the query; None where there are none.
    body
        The media types of what is sent.
    schema
        The schema of what is answered in JSON: the name of one of the components, or itself.
    """

    summary: str
    section: str = ""
    offers: Sequence[Offer] = ()
    statuses: Sequence[int] = (200,)
    empty: Sequence[int] = ()
    refusals: Sequence[int] = ()
    parameters: Sequence[Parameter] = ()
    others: Schema | None = None
    body: Sequence[str] = ()
    schema: str | Schema = "DataSets"


class DescribedRoute(Route):
    """A row of the table of routes with its description; parameters as of Starlette's, with one method.

    Attributes
    ----------
    described
        What is said of it.
    method
        Its method; what answers a GET also answers a HEAD.
    """

    def __init__(
        self,
        path: str,
        handler: Callable[[Request], Awaitable[Response]],
        described: Described,
        method: str = "GET",
    ) -> None:
        super().__init__(path, handler, methods=[method])
        self.described = described
        self.method = method
