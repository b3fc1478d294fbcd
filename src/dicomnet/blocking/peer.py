"""A peer to work with: verify it, store to it, query it, retrieve from it. It negotiates, retries and reuses."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from time import sleep
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..dimse.messages import Message
from ..drivers.blocking.link import Link
from ..drivers.blocking.opening import open_link
from ..drivers.deadline import Timeouts
from ..drivers.hooks import Hooks
from ..errors import DicomnetError
from ..exchange.operations import Leave, Next, Operation, Pause, Report, Spawn, Step
from ..exchange.results import RetrieveProgress, StoreResult
from ..peers.performing import PERFORMERS, Call, Calls, PerformanceBase
from ..peers.querying import QueryingPeer
from ..peers.retrieving import RetrievingPeer
from ..peers.storing import StoringPeer
from ..services.steps import Work
from ..wire.pdu import AssociateRQ
from .performing import perform

if TYPE_CHECKING:
    from types import TracebackType

    from pydicom.dataset import Dataset

    from ..fetching.fetcher import Event
    from ..peers.commitment import Commitment
    from ..peers.fetching import Fetching
    from .lanes import LaneThreads, Opening
    from .performed_steps import PerformedStep

Value = TypeVar("Value")


def release_links(links: Iterable[Link]) -> None:
    """Release associations; one that is over already is closed. Interrupted, it aborts those that are left."""
    left = list(links)
    try:
        while left:
            try:
                left[0].release()
            except DicomnetError:
                # It was over already, and nothing is lost with it.
                left[0].close()
            del left[0]
    finally:
        # Ctrl-C does not wait for the end of what was cancelled.
        for link in left:
            link.abort()


class Peer(
    StoringPeer[Link, "LaneThreads", Iterator[StoreResult], Generator["Commitment", None, None]],
    QueryingPeer[
        Link, "LaneThreads", Generator["Dataset", None, None], Generator[tuple["Dataset", ...], None, None]
    ],
    RetrievingPeer[
        Link,
        "LaneThreads",
        Generator[RetrieveProgress, None, RetrieveProgress],
        Generator["Event", None, None],
    ],
):
    """A DICOM node to talk to. Associations are opened when needed, reused, and released at the end.

    Parameters
    ----------
    address
        ``[AET@]host:port``, an IPv6 address in brackets; the AE title is ``ANY-SCP`` where it is left out. Or a
        `PeerAddress`. Or the name of a remote in the user's configuration, which then says what is not given here; for
        an address no configuration is read. Or ``https://host/path`` or ``http://…`` of a DICOMweb service, which needs
        ``pip install 'dicomnet[web]'``.
    calling
        Our AE title, 1 to 16 characters; ``DICOMNET`` where neither this nor a configuration says it.
    tls
        A client's TLS context, None for plain TCP, or as the remote says.
    timeouts
        One deadline a stage, in seconds.
    window
        How many C-STORE requests may be outstanding, if the peer grants it; 1 asks for nothing, None for 16. In `get`
        they are the peer's, which may use that or not.
    retries
        How often an object is sent again whose association was lost before its response.
    transcode
        ``never``: compressed objects are sent as they are or not at all. ``if-needed``: where the peer took no context
        for one, it is decompressed.
    jobs
        How many associations `store` may have side by side, each with its window; of DICOMweb, how many requests there
        may be at a time; None for 1.
    user, passcode
        Who we say to be (user identity, PS3.7 Annex D.3.3.7), None for nobody.
    credentials
        What a DICOMweb service is told of who asks: a `dicomnet.Bearer` or a `dicomnet.Basic`. Where it redirects to
        another host, nothing is sent there.
    may_be_read
        Whether that may be sent without TLS, to another machine, where others can read it.

    Raises
    ------
    ValueError
        If an address, AE title or ``transcode`` is not valid, there is no remote of the name, or ``jobs`` is less than
        1.
    DicomnetError, OSError
        If the configuration that a name is looked for in is wrong, with the line; or cannot be read.
    """

    _forget = staticmethod(release_links)

    def echo(self) -> float:
        """Verify that the peer answers (C-ECHO).

        Returns
        -------
        float
            How long the answer took, in seconds.

        Raises
        ------
        NetworkError, AssociationError
            If no association can be opened.
        ServiceRefusal
            If the peer answers with another status than success.
        """
        (duration,) = self._echo()
        return float(duration)

    def mpps(self, scheduled: Dataset | None = None, **attributes: Any) -> PerformedStep:
        """Say that a procedure step is being performed, and in the end what became of it (MPPS, PS3.4 Annex F).

        Used as a context manager: the step begins with the block (N-CREATE), and ends with it (N-SET), completed if
        `add_series` was told of a series, else, and where the block raises, discontinued; unless it was ended in the
        block.

        Parameters
        ----------
        scheduled
            The match of a `worklist` query, which the attributes of patient and request are taken from. None for a step
            that was not scheduled.
        attributes
            Keyword to value: what else is to be said of it, such as ``PerformedStationName``, and what is not
            scheduled, such as ``Modality``, ``StudyInstanceUID`` and ``PatientID``.

        Raises
        ------
        ValueError
            If there is neither a match nor a ``StudyInstanceUID``, no modality, or a keyword does not exist.
        """
        from .performed_steps import PerformedStep

        return PerformedStep(self._perform, scheduled, self.calling, attributes)

    def close(self) -> None:
        """Release what is open. The peer can be used again afterwards."""
        self._stop_stores()
        for lanes in list(self._lanes):
            lanes.stop()
        release_links(self._pool.clear())
        self._close_client()

    def abort(self) -> None:
        """End what is open at once (A-ABORT), whatever is outstanding. The peer can be used again afterwards."""
        self._stop_stores()
        for lanes in list(self._lanes):
            lanes.abort()
        self._abort()
        self._close_client()

    def _close_client(self) -> None:
        if (client := self._take_client()) is not None:
            client.close()

    def _make_client(self) -> Any:
        from ..drivers.blocking.http import Client

        client = Client(self.address.address, self._tls, self.timeouts, self.jobs)
        weakref.finalize(self, client.close)
        return client

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._leave(kind):
            self.close()
        else:
            # Ctrl-C does not wait for answers that are outstanding.
            self.abort()

    def _perform_together(self, fetching: Fetching) -> Generator[Event, None, None]:
        from .together import together

        with ExitStack() as stack:
            rows, operations = fetching.begin(stack)
            yield from together([self._perform(each) for each in operations], rows.stop)

    def _perform(self, operation: Operation[Value]) -> Generator[Any, None, Value]:
        return Performance(self, operation).results()


class Performance(PerformanceBase[Link, "LaneThreads", Generator[Message, None, None]], Generic[Value]):
    """One operation of a peer while it is performed."""

    _operation: Operation[Value]
    _release = staticmethod(release_links)

    def results(self) -> Generator[Any, None, Value]:
        """Perform the steps of the operation, and give what it reports."""
        resume: Callable[[Any], Step] = self._operation.send
        outcome: Any = None
        try:
            while True:
                step = resume(outcome)
                resume, outcome = self._operation.send, None
                if type(step) is Report:
                    yield step.result
                    continue
                try:
                    outcome = _PERFORMERS[type(step)](self, step)
                except Exception as error:  # noqa: BLE001
                    resume, outcome = self._operation.throw, error
        except StopIteration as stop:
            value: Value = stop.value
            return value
        except BaseException as error:
            if self._started is not None:
                self._started.leave(error)
            self.break_off(error)
            raise
        finally:
            self._operation.close()
            self._do(self.leave())

    def _do(self, calls: Calls[Any]) -> Any:
        return perform(calls, _PERFORMERS, self)

    def _open(self, request: AssociateRQ, hooks: Hooks, timeouts: Timeouts) -> Link:
        if self._lanes is None:
            return self._establish(request, hooks, timeouts)
        return self._lanes.open(partial(self._establish, request, hooks, timeouts))

    def _establish(
        self, request: AssociateRQ, hooks: Hooks, timeouts: Timeouts, opening: Opening | None = None
    ) -> Link:
        peer = self._peer
        tls = None if peer._tls is None else (peer._tls, peer.address.address.host)
        link = open_link(peer.address.address, request, hooks, timeouts, tls=tls)
        peer._pool.add(link)
        try:
            if opening is not None:
                opening.connected(link)
            link.request(request)
            if opening is not None:
                opening.established()
        except BaseException:
            peer._pool.lose(link)
            link.close()
            raise
        return link

    def _lost(self, link: Link) -> None:
        """Nothing is left to do."""

    def _make_lanes(self, step: Spawn) -> LaneThreads:
        from .lanes import LaneThreads

        return LaneThreads(step.lanes, lambda each: Performance(self._peer, step.course(), each).results())


class PerformanceOn(Performance[None]):
    """An operation while it is performed on an association that is there, and stays: it neither opens nor ends any.

    Parameters
    ----------
    link
        The association.
    operation
        What is performed.
    """

    def __init__(self, link: Link, operation: Operation[None]) -> None:
        nobody: Any = None
        super().__init__(nobody, operation)
        self._link = link

    def leave(self, step: Leave | None = None) -> Calls[None]:
        """Want no more of what was begun."""
        if self._responses is not None:
            self._responses.close()
            self._responses = None
        yield from ()


_PERFORMERS: Mapping[type[Step | Call], Callable[[Any, Any], Any]] = {
    **PERFORMERS,
    Next: lambda performance, step: next(performance._responses, None),
    Pause: lambda performance, step: sleep(step.seconds),
    Work: lambda performance, step: step.function(),
}
