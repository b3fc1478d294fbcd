"""A `Peer` as the source of what a list names: by C-GET, or by C-MOVE to a receiver of this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DicomnetError
from ..exchange.contexts import COMMON_IMAGES, forms_of
from ..exchange.results import RetrieveProgress

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from ..fetching.receiver import Receiver
    from .peer import Peer


class _PeerSource:
    """What both have in common."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    @property
    def name(self) -> str:
        """The address of the peer."""
        return str(self._peer.address)

    def find(self, level: str, keys: Mapping[str, Any]) -> Iterable[Dataset]:
        """Query; all matches, so that nothing is asked while a query goes on."""
        return list(self._peer.find(level, **keys))

    def rest(self) -> None:
        """Release what is open."""
        self._peer.close()


class GetSource(_PeerSource):
    """Retrieves by C-GET, in whatever transfer syntax the peer has an object.

    Parameters
    ----------
    peer
        The peer.
    folder
        Where objects arrive.
    syntaxes
        UIDs of the transfer syntaxes that are proposed, as many of the first of them as there is room for.
    """

    def __init__(self, peer: Peer, folder: Path, syntaxes: Sequence[str]) -> None:
        super().__init__(peer)
        self._folder = folder
        self._syntaxes = syntaxes

    def retrieve(
        self, level: str, keys: Mapping[str, Any], classes: Sequence[str], attempt: int, expected: int
    ) -> Iterator[RetrieveProgress]:
        """Retrieve into the folder.

        Where the peer does not tell the SOP classes, those of images are proposed in many transfer syntaxes, and when
        it is asked again, many classes in the native ones.
        """
        contexts = None
        if classes or attempt % 2:
            contexts = forms_of(classes or COMMON_IMAGES, self._syntaxes)
        return self._peer.get(level, to=self._folder, contexts=contexts, **keys)


class WebSource(_PeerSource):
    """Retrieves over DICOMweb, as objects are stored.

    Parameters
    ----------
    peer
        The peer.
    folder
        Where objects arrive.
    """

    def __init__(self, peer: Peer, folder: Path) -> None:
        super().__init__(peer)
        self._folder = folder

    def retrieve(
        self, level: str, keys: Mapping[str, Any], classes: Sequence[str], attempt: int, expected: int
    ) -> Iterator[RetrieveProgress]:
        """Retrieve into the folder."""
        return self._peer.get(level, to=self._folder, **keys)


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

    def __init__(self, peer: Peer, receiver: Receiver, wait: float | None) -> None:
        super().__init__(peer)
        self._receiver = receiver
        self._wait = wait

    def retrieve(
        self, level: str, keys: Mapping[str, Any], classes: Sequence[str], attempt: int, expected: int
    ) -> Iterator[RetrieveProgress]:
        """Have the peer send to the receiver."""
        begin = self._receiver.count + len(self._receiver.failures)
        known = len(self._receiver.failures)
        last: RetrieveProgress | None = None
        try:
            for last in self._peer.move(self._receiver.ae_title, level, **keys):
                yield last
        except DicomnetError:
            # The peer calls it a failure of its own that nothing can be written here.
            self._check(known)
            raise
        sent = last.sent if last is not None else 0
        # Of a peer that does not count, what it named in the query is waited for.
        self._receiver.wait(begin + (expected if sent is None else sent), self._wait)
        self._check(known)

    def _check(self, known: int) -> None:
        """Raise the error of the file system for which objects were refused, but for those that are known."""
        for error in self._receiver.failures[known:]:
            if isinstance(error, OSError):
                raise error
