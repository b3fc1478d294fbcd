"""Associations in asyncio from their request to the end of their connection."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterable

from ..drivers.aio.link import Link
from ..drivers.aio.opening import open_link
from ..drivers.deadline import LAST_WORDS, Timeouts
from ..drivers.hooks import Hooks
from ..errors import DicomnetError
from ..exchange.addresses import PeerAddress
from ..exchange.requesting import RequestorHooks
from ..wire.pdu import AssociateRQ

_log = logging.getLogger(__name__)


async def wait_closed(link: Link) -> None:
    """Wait for the peer to close after the association has ended, but not for long: the event loop may end next."""
    try:
        async with asyncio.timeout(LAST_WORDS):
            await link.closed.wait()
    except TimeoutError:
        link.close()
        await link.closed.wait()


async def release_links(links: Iterable[Link]) -> None:
    """Release associations and wait until their connections are closed; one that is over already is closed.

    Cancelled, it aborts those that are left.
    """
    left = list(links)
    try:
        while left:
            try:
                await left[0].release()
            except DicomnetError as error:
                _log.info("the association was over before its release: %s", error)
                left[0].close()
            await left[0].closed.wait()
            del left[0]
    finally:
        # Who cancels does not wait for the end of what goes on.
        for link in left:
            link.abort()
            await wait_closed(link)


async def open_association(
    peer: PeerAddress,
    request: AssociateRQ,
    tls: ssl.SSLContext | None,
    timeouts: Timeouts,
    hooks: Hooks | None = None,
) -> Link:
    """Connect to a peer and have an association established.

    Parameters
    ----------
    tls
        A client's TLS context, None for a connection in the clear.
    timeouts
        One deadline a stage.
    hooks
        The user's side; without it, nothing is performed for the peer.

    Raises
    ------
    AssociationError, NetworkError
        If it is not established; the connection is closed then.
    """
    secured = None if tls is None else (tls, peer.address.host)
    link = await open_link(peer.address, request, hooks or RequestorHooks(), timeouts, tls=secured)
    try:
        await link.request(request)
    except BaseException:
        link.close()
        raise
    return link
