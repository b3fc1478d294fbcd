"""`PeerBase`: the address and the options of a `Peer`, and what is open. What it is asked for is in the files beside.

What one operation alone needs is imported where it begins: a command that verifies a peer starts without the others.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from ..drivers.deadline import Timeouts
from ..drivers.life import Life
from ..encoding.transfer_syntaxes import Transcoding
from ..errors import AssociationClosed
from ..exchange.addresses import PeerAddress, association_request
from ..exchange.contexts import (
    Context,
    Proposal,
)
from ..exchange.operations import Operation
from ..exchange.pool import Pool
from ..values import replace
from ..wire.fields import ae_title_bytes
from ..wire.pdu import AssociateRQ
from .services import OverAssociations, OverHTTP, Service, over_http
from .target import Target, identity_of, target_of_name, web_target

if TYPE_CHECKING:
    import ssl

    from ..dicomweb.credentials import Credentials
    from ..exchange.lanes import StartedLanes
    from ..exchange.storing import Supply
    from ..exchange.web_addresses import WebAddress

AnyLink = TypeVar("AnyLink", bound=Life)
AnyLanes = TypeVar("AnyLanes", bound="StartedLanes[Any]")


def _end_all(pool: Pool[AnyLink], end: Callable[[Iterable[AnyLink]], None]) -> None:
    end(pool.clear())


def _association_request(
    target: Target,
    contexts: Iterable[Context],
    window: int,
    roles: Mapping[str, tuple[bool, bool]] | None = None,
    performed: int = 1,
) -> AssociateRQ:
    if not isinstance(target.address, PeerAddress):
        raise ValueError(f"{target.address} is a DICOMweb service, and this needs an association")
    return association_request(
        target.address,
        target.calling,
        contexts,
        window,
        roles,
        performed,
        target.maximum_length,
        target.identity,
    )


def _target(address: str | PeerAddress | WebAddress) -> Target:
    if not isinstance(address, str):
        return web_target(Target(address))
    if "://" in address:
        from ..exchange.web_addresses import WebAddress

        return web_target(Target(WebAddress.parse(address)))
    # What has no colon is the name of a remote.
    return Target(PeerAddress.parse(address)) if ":" in address else target_of_name(address)


def checked_jobs(jobs: int) -> int:
    """A number of associations side by side.

    Raises
    ------
    ValueError
        If it is less than 1.
    """
    if jobs < 1:
        raise ValueError("there is at least 1 association to store with")
    return jobs


class PeerBase(Generic[AnyLink, AnyLanes]):
    """What all operations of a `dicomnet.Peer` share, which says what the parameters are."""

    def __init__(
        self,
        address: str | PeerAddress | WebAddress,
        *,
        calling: str | None = None,
        tls: ssl.SSLContext | None = None,
        timeouts: Timeouts | None = None,
        window: int | None = None,
        retries: int = 1,
        transcode: str = "never",
        jobs: int | None = None,
        user: str | None = None,
        passcode: str | None = None,
        credentials: Credentials | None = None,
        may_be_read: bool = False,
    ) -> None:
        target = _target(address)
        given = {
            "calling": calling,
            "tls": tls,
            "timeouts": timeouts,
            "window": window,
            "jobs": jobs,
            "identity": identity_of(user, passcode),
            "credentials": credentials,
        }
        target = replace(target, may_be_read=may_be_read)
        target = replace(target, **{name: value for name, value in given.items() if value is not None})
        self._set_up(target, retries, transcode)

    @classmethod
    def to_target(cls, target: Target, *, retries: int = 1, transcode: str = "never") -> Self:
        """A peer of which everything is known.

        Parameters
        ----------
        target
            The peer, and how it is reached.
        retries, transcode
            As of `dicomnet.Peer`.
        """
        made = cls.__new__(cls)
        made._set_up(target, retries, transcode)
        return made

    def _set_up(self, target: Target, retries: int, transcode: str) -> None:
        self._pool: Pool[AnyLink] = Pool()
        self._supplies: weakref.WeakSet[Supply] = weakref.WeakSet()
        self._lanes: weakref.WeakSet[AnyLanes] = weakref.WeakSet()
        self._finalizer = weakref.finalize(self, _end_all, self._pool, self._forget)
        ae_title_bytes(target.calling, "the calling AE title")
        self.address = target.address
        self.calling = target.calling
        self.timeouts = target.timeouts
        self.window = target.window
        self.jobs = checked_jobs(target.jobs)
        self.retries = retries
        self.transcoding = Transcoding.parse(transcode)
        self._tls = target.tls
        self._target = target
        self._client_lock = threading.Lock()
        self._client: Any = None
        self._service: Service
        if isinstance(target.address, PeerAddress):
            if target.credentials is not None:
                raise ValueError("credentials are for DICOMweb; an association has a user and a passcode")
            # Not by a method: with a circle of references, what a peer that is dropped has open would stay open.
            request = partial(_association_request, target)
            self._service = OverAssociations(target.address, request, target.window, retries)
        else:
            self._service = over_http(target, retries, transcode)

    def __repr__(self) -> str:
        by = " by TLS" if self._tls is not None else ""
        return f"<{type(self).__name__} {self.address}{by}, called by {self.calling}>"

    @staticmethod
    def _forget(links: Iterable[AnyLink]) -> None:
        """End the associations of a peer that was garbage-collected."""
        raise NotImplementedError

    def _perform(self, operation: Operation[Any]) -> Any:
        """What hands out the results of an operation."""
        raise NotImplementedError

    def _echo(self) -> Any:
        """What hands out how long the answer to a C-ECHO took, in seconds."""
        if isinstance(self._service, OverHTTP):
            # What is loaded for it is not the peer's time.
            self.client()
        return self._perform(self._service.echo())

    def _request(self, proposal: Proposal, window: int) -> AssociateRQ:
        return _association_request(self._target, proposal, window)

    def client(self) -> Any:
        """The connections to a DICOMweb service, which are made when they are needed."""
        with self._client_lock:
            if self._client is None:
                self._client = self._make_client()
            return self._client

    def _make_client(self) -> Any:
        """The `Client` of the face's driver."""
        raise NotImplementedError

    def _take_client(self) -> Any:
        """The connections to be closed, None where there are none; nothing more is asked on them."""
        if isinstance(self._service, OverHTTP):
            self._service.end()
        with self._client_lock:
            client, self._client = self._client, None
            return client

    def _leave(self, kind: type[BaseException] | None) -> bool:
        """A block with the peer is left: whether what is open may be released, as nobody interrupts or cancels."""
        if kind is None:
            return True
        if not issubclass(kind, Exception):
            return False
        self._abort_retrievals()
        return True

    def _abort(self) -> list[AnyLink]:
        """End what is open at once: the associations, those too that are being released."""
        self._stop_stores()
        links = [*self._pool.ending, *self._pool.clear()]
        for link in links:
            link.abort()
        return links

    def _abort_retrievals(self) -> None:
        """End the queries and retrievals that go on: nobody takes what they still have to give."""
        for link in self._pool.busy:
            if link.is_retrieving:
                link.abort()

    def _stop_stores(self) -> None:
        """Send no further object."""
        for supply in list(self._supplies):
            supply.end(AssociationClosed())
        for lanes in list(self._lanes):
            lanes.end()
