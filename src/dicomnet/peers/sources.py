"""A peer as the source of what a list names: by C-GET, or by C-MOVE to a receiver of this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.queries import build_identifier, build_query
from ..errors import DicomnetError
from ..exchange import operations
from ..exchange.contexts import COMMON_IMAGES, GET_MODELS, MOVE_MODELS, find_model, forms_of
from ..exchange.operations import RELEASE, Operation, Report, intercept
from ..exchange.results import RetrieveProgress
from ..exchange.syntaxes import SYNTAXES
from ..fetching.fetcher import Fetcher, Terms
from ..services.steps import Work
from .target import with_character_set

if TYPE_CHECKING:
    from ..exchange.pacing import Pacing
    from ..fetching.folder import Folder
    from ..fetching.receiver import Receiver


class _PeerSource:
    """What both have in common."""

    def __init__(self, peer: Any) -> None:
        self._peer = peer

    @property
    def name(self) -> str:
        """The address of the peer."""
        return str(self._peer.address)

    def find(self, level: str, keys: Mapping[str, Any]) -> Operation[None]:
        """Query; reports the matches."""
        asked = with_character_set(self._peer._target, keys)
        found: Operation[None] = self._peer._service.find(
            build_query(level, asked), find_model(level, None), None
        )
        return found

    def rest(self) -> Operation[None]:
        """Release what is open."""
        yield RELEASE


class GetSource(_PeerSource):
    """Retrieves by C-GET or WADO-RS, in whatever transfer syntax the peer has an object.

    Parameters
    ----------
    peer
        The peer.
    folder
        Where objects arrive.
    syntaxes
        UIDs of the transfer syntaxes that are proposed, as many of the first of them as there is room for.
    pacing
        How fast objects may come; None for as fast as can be.
    """

    def __init__(
        self,
        peer: Any,
        folder: Path,
        syntaxes: Sequence[str],
        pacing: Pacing | None = None,
    ) -> None:
        super().__init__(peer)
        self._folder = folder
        self._syntaxes = syntaxes
        self._pacing = pacing

    def retrieve(
        self, level: str, keys: Mapping[str, Any], classes: Sequence[str], attempt: int, expected: int
    ) -> Operation[RetrieveProgress]:
        """Retrieve into the folder.

        Where the peer does not tell the SOP classes, those of images are proposed in many transfer syntaxes, and when
        it is asked again, many classes in the native ones.
        """
        contexts = None
        if not self._peer._target.is_web and (classes or attempt % 2):
            contexts = forms_of(classes or COMMON_IMAGES, self._syntaxes)
        model = find_model(level, None, GET_MODELS)
        hooks = self._peer._receiver_hooks(self._folder, None)
        hooks.pacing = self._pacing
        found: Operation[RetrieveProgress] = self._peer._service.get(
            build_identifier(level, keys), model, hooks, contexts, None
        )
        return found


class MoveSource(_PeerSource):
    """Retrieves by C-MOVE.

    Parameters
    ----------
    peer
        The peer, which knows the AE title of the receiver with its address.
    receiver
        Takes the objects, and listens already.
    wait
        How many seconds nothing may come at the end while objects are missing; None is without end.
    """

    def __init__(self, peer: Any, receiver: Receiver, wait: float | None) -> None:
        super().__init__(peer)
        self._receiver = receiver
        self._wait = wait

    def retrieve(
        self, level: str, keys: Mapping[str, Any], classes: Sequence[str], attempt: int, expected: int
    ) -> Operation[None]:
        """Have the peer send to the receiver."""
        begin = self._receiver.count + len(self._receiver.failures)
        known = len(self._receiver.failures)
        last: RetrieveProgress | None = None

        def note(progress: RetrieveProgress) -> Operation[None]:
            nonlocal last
            last = progress
            yield Report(progress)

        identifier, model = build_identifier(level, keys), find_model(level, None, MOVE_MODELS)
        try:
            yield from intercept(operations.move(self._receiver.ae_title, identifier, model), note)
        except DicomnetError:
            # The peer calls it a failure of its own that nothing can be written here.
            self._check(known)
            raise
        sent = last.sent if last is not None else 0
        # Of a peer that does not count, what it named in the query is waited for.
        count = begin + (expected if sent is None else sent)
        yield Work(lambda: self._receiver.wait(count, self._wait))
        self._check(known)

    def _check(self, known: int) -> None:
        """Raise the error of the file system for which objects were refused, but for those that are known."""
        for error in self._receiver.failures[known:]:
            if isinstance(error, OSError):
                raise error


class Sources:
    """A peer as the source for several fetchers.

    Parameters
    ----------
    peer
        The peer.
    folder
        Where the files go.
    receiver
        For C-MOVE; None for C-GET.
    wait
        As of `MoveSource`.
    pacing
        As of `GetSource`.
    """

    def __init__(
        self,
        peer: Any,
        folder: Folder,
        receiver: Receiver | None,
        wait: float | None,
        pacing: Pacing | None,
    ) -> None:
        self._peer = peer
        self._folder = folder
        self._receiver = receiver
        self._wait = wait
        self._pacing = pacing

    def fetchers(self, terms: Terms, jobs: int) -> Iterator[Fetcher]:
        """So many fetchers. For C-MOVE there is one, as a receiver is not told which request an object is for."""
        if self._receiver is not None:
            yield Fetcher(MoveSource(self._peer, self._receiver, self._wait), self._folder, terms)
            return
        for number in range(jobs):
            incoming = self._folder.part(number) if jobs > 1 else self._folder.incoming
            source = GetSource(self._peer, incoming, tuple(SYNTAXES), self._pacing)
            yield Fetcher(source, self._folder, terms, incoming)
