"""The two kinds of peers: what the operations of a `Peer` are over an association, and over HTTP."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from ..exchange import operations
from ..exchange.addresses import PeerAddress
from ..exchange.contexts import get_contexts
from ..exchange.operations import Operation
from ..exchange.results import RetrieveProgress
from ..values import frozen

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset

    from ..dicomweb.asking import Session
    from ..dicomweb.credentials import Credentials
    from ..exchange.receiving import ReceiverHooks
    from ..exchange.storing import Supply
    from ..exchange.walking import Walk
    from ..exchange.web_addresses import WebAddress
    from ..wire.pdu import AssociateRQ
    from .target import Target

Contexts = Mapping[str, Iterable[str]] | None


class Service(Protocol):
    """What a peer is asked for, each as an operation that a face performs."""

    def echo(self) -> Operation[None]:
        """See whether it answers."""
        ...

    def store(self, supply: Supply, jobs: int) -> Operation[None]:
        """Store files."""
        ...

    def find(self, identifier: Dataset, model: str, limit: int | None) -> Operation[None]:
        """Query."""
        ...

    def walk(self, planned: Walk) -> Operation[None]:
        """Query level by level."""
        ...

    def get(
        self, identifier: Dataset, model: str, hooks: ReceiverHooks, contexts: Contexts, here: Path | None
    ) -> Operation[RetrieveProgress]:
        """Retrieve objects. Raises ValueError for what there is not over this way."""
        ...

    def move(self, destination: str, identifier: Dataset, model: str) -> Operation[RetrieveProgress]:
        """Have objects sent elsewhere. Raises ValueError where there is no such thing."""
        ...


@frozen
class OverAssociations:
    """The operations over DIMSE.

    Parameters
    ----------
    address
        The peer.
    request
        Makes the request for an association, as `association_request` does without a peer.
    window
        How many C-STORE requests may be outstanding, in either direction.
    retries
        How often an object is sent again whose association was lost.
    """

    address: PeerAddress
    request: Callable[..., AssociateRQ]
    window: int
    retries: int

    def echo(self) -> Operation[None]:
        """By C-ECHO."""
        return operations.echo()

    def store(self, supply: Supply, jobs: int) -> Operation[None]:
        """By C-STORE."""
        from ..exchange.sending import store

        return store(supply, self.window, self.retries, jobs)

    def find(self, identifier: Dataset, model: str, limit: int | None) -> Operation[None]:
        """By C-FIND."""
        return operations.find(identifier, model, limit)

    def walk(self, planned: Walk) -> Operation[None]:
        """By C-FIND."""
        from ..exchange.walking import walk

        return walk(planned)

    def get(
        self, identifier: Dataset, model: str, hooks: ReceiverHooks, contexts: Contexts, here: Path | None
    ) -> Operation[RetrieveProgress]:
        """By C-GET."""
        if here is not None:
            raise ValueError("resume is for DICOMweb; what a list names is resumed by dicomnet fetch")
        proposal = get_contexts(model, contexts)
        roles = {uid: (False, True) for uid, _ in proposal[1:]}
        request = self.request(proposal, 1, roles, performed=self.window)
        return operations.get(request, hooks, identifier, model)

    def move(self, destination: str, identifier: Dataset, model: str) -> Operation[RetrieveProgress]:
        """By C-MOVE."""
        return operations.move(destination, identifier, model)


class OverHTTP:
    """The operations over DICOMweb.

    Parameters
    ----------
    address
        The service.
    credentials
        Who asks; None for nobody in particular.
    jobs
        How many requests there may be at a time.
    retries
        How often a request is made again that got no answer.
    """

    def __init__(self, address: WebAddress, credentials: Credentials | None, jobs: int, retries: int) -> None:
        self._address = address
        self._credentials = credentials
        self._jobs = jobs
        self._retries = retries
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()

    def end(self) -> None:
        """Have the operations that go on ask nothing more."""
        for session in list(self._sessions):
            session.is_closed = True

    def _session(self) -> Session:
        from ..dicomweb.asking import Session

        session = Session(self._address, self._credentials, self._jobs, self._retries)
        self._sessions.add(session)
        return session

    def echo(self) -> Operation[None]:
        """By a query for one study."""
        from ..dicomweb.searching import echo

        return echo(self._session())

    def store(self, supply: Supply, jobs: int) -> Operation[None]:
        """By STOW-RS."""
        from ..dicomweb.storing import store

        return store(self._session(), supply, jobs)

    def find(self, identifier: Dataset, model: str, limit: int | None) -> Operation[None]:
        """By QIDO-RS."""
        from ..dicomweb.searching import check, find

        check(identifier, model)
        return find(self._session(), identifier, limit)

    def walk(self, planned: Walk) -> Operation[None]:
        """By QIDO-RS."""
        from ..dicomweb.searching import check_model, find
        from ..exchange.walking import walk

        check_model(planned.model)
        session = self._session()
        return walk(planned, lambda identifier, model: find(session, identifier))

    def get(
        self, identifier: Dataset, model: str, hooks: ReceiverHooks, contexts: Contexts, here: Path | None
    ) -> Operation[RetrieveProgress]:
        """By WADO-RS."""
        from ..dicomweb.retrieving import get

        if contexts is not None:
            raise ValueError("contexts are for associations; over DICOMweb objects come as they are stored")
        return get(self._session(), hooks, identifier, here)

    def move(self, destination: str, identifier: Dataset, model: str) -> Operation[RetrieveProgress]:
        """Not over HTTP."""
        raise ValueError("DICOMweb has nothing like C-MOVE; get the objects, and store them elsewhere")


def over_http(target: Target, retries: int, transcode: str) -> OverHTTP:
    """The operations of a DICOMweb service.

    Parameters
    ----------
    target
        The service, and how it is reached.
    retries, transcode
        As of `dicomnet.Peer`.

    Raises
    ------
    ValueError
        If something is wanted of it that there is not over HTTP, or must not be.
    """
    address, credentials = target.address, target.credentials
    assert not isinstance(address, PeerAddress)
    if transcode != "never":
        raise ValueError("transcode is for associations; over DICOMweb objects are sent as they are")
    if target.identity is not None:
        raise ValueError("a user identity is for associations; give credentials to a DICOMweb service")
    if target.tls is not None and not address.is_secure:
        raise ValueError("the address begins with http, and a TLS context is given; use https")
    if credentials is not None and not (address.is_secure or address.is_local or target.may_be_read):
        raise ValueError("a token or a password is not sent without TLS, as others could read it; use https")
    return OverHTTP(address, credentials, target.jobs, retries)
