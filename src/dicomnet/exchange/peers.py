"""`PeerBase`: the address and options of a `Peer`, and its operations before a face performs them."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from ..drivers.deadline import Timeouts
from ..encoding.transfer_syntaxes import Transcoding
from ..errors import AssociationClosed
from ..wire.fields import ae_title_bytes
from ..wire.pdu import AssociateRQ
from . import operations
from .addresses import PeerAddress, association_request
from .contexts import Proposal, get_contexts
from .files import find_files
from .operations import Operation
from .pool import Pool
from .results import RetrieveProgress
from .storing import Supply, checked_jobs

if TYPE_CHECKING:
    import ssl

    from pydicom.dataset import Dataset

    from .receiving import ReceiverHooks

AnyLink = TypeVar("AnyLink")
AnyLanes = TypeVar("AnyLanes")
Paths = Iterable[str | os.PathLike[str]] | str | os.PathLike[str]


class PeerBase(Generic[AnyLink, AnyLanes]):
    """A DICOM node to talk to. See `dicomnet.Peer` for the parameters."""

    def __init__(
        self,
        address: str | PeerAddress,
        *,
        calling: str = "DICOMNET",
        tls: ssl.SSLContext | None = None,
        timeouts: Timeouts | None = None,
        window: int = 16,
        retries: int = 1,
        transcode: str = "never",
        jobs: int = 1,
    ) -> None:
        self._pool: Pool[AnyLink] = Pool()
        self._supplies: weakref.WeakSet[Supply] = weakref.WeakSet()
        self._lanes: weakref.WeakSet[AnyLanes] = weakref.WeakSet()
        self._finalizer = weakref.finalize(self, self._forget, self._pool)
        self.address = PeerAddress.parse(address) if isinstance(address, str) else address
        ae_title_bytes(calling, "the calling AE title")
        self.calling = calling
        self.timeouts = timeouts or Timeouts()
        self.window = window
        self.retries = retries
        self.transcoding = Transcoding.parse(transcode)
        self.jobs = checked_jobs(jobs)
        self._tls = tls

    @staticmethod
    def _forget(pool: Pool[AnyLink]) -> None:
        """End the associations of a peer that was garbage-collected."""
        raise NotImplementedError

    def _request(self, proposal: Proposal, window: int) -> AssociateRQ:
        return association_request(self.address, self.calling, proposal, window)

    def _store_operation(self, paths: Paths, jobs: int | None) -> Operation[None]:
        if isinstance(paths, str | os.PathLike):
            paths = [paths]
        most = self.jobs if jobs is None else checked_jobs(jobs)
        supply = Supply(find_files(paths), self.transcoding)
        self._supplies.add(supply)
        return operations.store(supply, self.window, self.retries, most)

    def _get_operation(
        self,
        make_hooks: Callable[[str], ReceiverHooks],
        identifier: Dataset,
        model: str,
        contexts: Mapping[str, Iterable[str]] | None,
    ) -> Operation[RetrieveProgress]:
        proposal = get_contexts(model, contexts)
        roles = {uid: (False, True) for uid, _ in proposal[1:]}
        request = association_request(self.address, self.calling, proposal, 1, roles)
        return operations.get(request, make_hooks(self.address.ae_title), identifier, model)

    def _end_stores(self) -> None:
        for supply in list(self._supplies):
            supply.end(AssociationClosed())
