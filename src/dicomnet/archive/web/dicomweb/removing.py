"""Deletion of studies, series and instances by HTTP.

PS3.18 has no such transaction. This is the form that clients and other archives have: DELETE of the resource.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from secrets import token_hex

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ....plurals import counted
from ...access import C_STORE
from ...audit import HTTP
from ...deleting import IS_GONE
from ...deletion import Order
from ...holdings import Holdings
from ...terms import Terms
from ..access.identity import identity_of
from ..access.proxies import address_of
from ..http.problems import Problem
from ..http.threads import in_thread
from ..resources import PATHS, Reference, reference_of
from .described import Described, DescribedRoute
from .located import located

_log = logging.getLogger(__name__)

_DESCRIBED = Described(
    "Delete what is stored, where web.allow_delete allows it.", empty=(204,), refusals=(409, 410)
)


class RemovingService:
    """The service that deletes what is stored, where that is allowed.

    Parameters
    ----------
    holdings
        Where it is stored.
    """

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._terms = Terms()
        self.routes: Sequence[BaseRoute] = [
            DescribedRoute(path, self._delete, _DESCRIBED, "DELETE") for path in PATHS
        ]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        self._terms = terms

    async def _delete(self, request: Request) -> Response:
        reference = reference_of(request)
        order = order_of(self._terms, request, "DICOMweb", "DELETE by HTTP")
        await in_thread(remove, self._holdings, reference, order)
        return Response(status_code=204)


def may_delete(terms: Terms, request: Request) -> bool:
    """Whether the configuration lets the address of a request delete."""
    # Who may not even add anything may not take anything away.
    return terms.web.may_delete and C_STORE in terms.access.allowed("", address_of(request.scope, terms.web))


def order_of(terms: Terms, request: Request, way: str, reason: str) -> Order:
    """The order of a deletion that is asked for by HTTP.

    Parameters
    ----------
    terms
        What the node goes by.
    request
        The request.
    way, reason
        How it was asked for, and why.

    Raises
    ------
    Problem
        With status 403 if it is not allowed.
    """
    if not terms.web.may_delete:
        raise Problem(403, "deleting is not allowed here; web.allow_delete of the configuration allows it")
    if not may_delete(terms, request):
        raise Problem(403, "deleting is not allowed from this address")
    name = identity_of(request.scope).name
    actor = f"{way} from {address_of(request.scope, terms.web)}" + (f", {name}" if name else "")
    return Order(
        f"delete-{token_hex(6)}",
        actor,
        reason=reason,
        keep=terms.web.keep,
        user=name,
        address=address_of(request.scope, terms.web),
        way=HTTP,
    )


def remove(holdings: Holdings, reference: Reference, order: Order) -> int:
    """Delete a resource; how many objects were deleted.

    Raises
    ------
    Problem
        With status 404 or 410, if there is no such resource, and 409 if it, or a part of it, cannot be deleted.
    """
    assert reference.study is not None
    instances = [each.name.instance for each in located(holdings, reference)]
    deleted = holdings.deleting().delete(reference.study, instances, order)
    if deleted.protection is not None:
        raise Problem(409, "the patient is protected; nothing was deleted")
    # Somebody else was faster with these.
    failed = {instance: why for instance, why in deleted.failed.items() if why != IS_GONE}
    _log.info(
        "%s of study %s deleted by %s, as %s",
        counted(deleted.count, "object"),
        reference.study,
        order.actor,
        order.run,
    )
    if failed:
        instance, why = next(iter(failed.items()))
        raise Problem(
            409,
            f"{len(failed)} of {counted(len(instances), 'object')} could not be deleted, such as {instance}: {why}",
        )
    return deleted.count
