"""`PerformedStep`: a Modality Performed Procedure Step at a peer, with plain calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

from ..exchange.operations import Operation
from ..peers.performed_steps import COMPLETED, DISCONTINUED, PerformedStepBase

if TYPE_CHECKING:
    from types import TracebackType

    from pydicom.dataset import Dataset


class PerformedStep(PerformedStepBase):
    """A performed procedure step at a peer, see `dicomnet.Peer.mpps`.

    Parameters
    ----------
    perform
        Has the peer perform an operation.
    scheduled, station, attributes
        As of `PerformedStepBase`.
    """

    def __init__(
        self,
        perform: Callable[[Operation[None]], Iterator[Any]],
        scheduled: Dataset | None,
        station: str,
        attributes: Mapping[str, Any],
    ) -> None:
        super().__init__(scheduled, station, attributes)
        self._perform_by = perform

    def complete(self) -> None:
        """Say that the step is completed (N-SET).

        Raises
        ------
        ValueError
            If it has no series, or has ended.
        ServiceRefusal, NetworkError, AssociationError
            If the peer refuses that, or cannot be told.
        """
        self._perform(self._end(COMPLETED))

    def discontinue(self, reason: tuple[str, str, str] | None = None) -> None:
        """Say that the step was given up (N-SET). Raises as `complete`.

        Parameters
        ----------
        reason
            Code value, coding scheme designator and code meaning of why, for instance of CID 9300.
        """
        self._perform(self._end(DISCONTINUED, reason))

    def __enter__(self) -> Self:
        self._perform(self._begin())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (operation := self._leave(has_failed=kind is not None)) is not None:
            self._perform(operation)

    def _perform(self, operation: Operation[None]) -> None:
        for _ in self._perform_by(operation):
            pass
