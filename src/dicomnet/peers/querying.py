"""`QueryingPeer`: what a `Peer` is asked about what it has, and what is scheduled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..exchange.contexts import find_model
from .base import AnyLanes, AnyLink, PeerBase
from .target import with_character_set

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# What hands out the matches of a query, and those of `walk`, one at a time.
Matches = TypeVar("Matches")
Paths = TypeVar("Paths")


class QueryingPeer(PeerBase[AnyLink, AnyLanes], Generic[AnyLink, AnyLanes, Matches, Paths]):
    """A peer to query."""

    def find(self, level: str, *, model: str | None = None, **keys: Any) -> Matches:
        """Query (C-FIND).

        Parameters
        ----------
        level
            ``patient``, ``study``, ``series`` or ``image``.
        model
            ``study`` or ``patient``: the root of the information model, by default the one that has the level.
        keys
            Keyword to value: a value, a wildcard, a range, a list of UIDs, or None to ask for the attribute only.

        Yields
        ------
        pydicom.dataset.Dataset
            The matches, as they arrive. Closed early, the rest of the query is cancelled.

        Raises
        ------
        ValueError
            If the level, the model or a keyword does not exist.
        NetworkError, AssociationError
            If no association can be opened, or it ends early.
        ServiceRefusal
            If the peer does not answer with success in the end.
        ProtocolError
            If matches cannot be read. It is raised after the last one, when all others have been yielded.
        """
        from ..datasets.queries import build_query

        return self.find_identifier(
            build_query(level, with_character_set(self._target, keys)), find_model(level, model)
        )

    def worklist(self, **keys: Any) -> Matches:
        """Query a modality worklist (C-FIND, PS3.4 Annex K).

        Parameters
        ----------
        keys
            Keyword to value, as of `find`. Keywords of a Scheduled Procedure Step, such as ``Modality``,
            ``ScheduledStationAETitle`` and ``ScheduledProcedureStepStartDate``, are asked for inside its sequence. The
            attributes that a worklist has to return are asked for besides.

        Yields
        ------
        pydicom.dataset.Dataset
            The matches: each with its scheduled step as the item of ``ScheduledProcedureStepSequence``.

        Raises
        ------
        ValueError, NetworkError, AssociationError, ServiceRefusal, ProtocolError
            As of `find`.
        """
        from ..datasets.queries import build_keys
        from ..exchange.contexts import MODALITY_WORKLIST
        from ..exchange.worklists import worklist_keys

        asked = with_character_set(self._target, worklist_keys(keys))
        return self.find_identifier(build_keys(asked), MODALITY_WORKLIST)

    def find_identifier(self, identifier: Dataset, model: str, *, limit: int | None = None) -> Matches:
        """Query with an Identifier of one's own.

        Parameters
        ----------
        identifier
            The Identifier, with its QueryRetrieveLevel.
        model
            SOP class UID of the information model.
        limit
            After how many matches the rest of the query is cancelled. One before that which cannot be read is an error
            then, too.
        """
        matches: Matches = self._perform(self._service.find(identifier, model, limit))
        return matches

    def walk(self, level: str, *, model: str | None = None, is_deep: bool = False, **keys: Any) -> Paths:
        """Query level by level from the top down (C-FIND), as a peer needs it that has no relational queries.

        Each key is asked for at its own level: studies by their date, those of their series by the modality. A level is
        passed over where its unique key is given and nothing else is asked of it.

        Parameters
        ----------
        level, model
            As of `find`.
        is_deep
            Whether all that is below a match is looked for, too: its series, and their objects.
        keys
            As of `find`; those that no table of the standard has are asked for at the lowest level.

        Yields
        ------
        tuple of pydicom.dataset.Dataset
            Each match as the last one, behind the study and the series that it belongs to, as far as they were asked
            for. With ``is_deep`` a study comes before its series, and a series before its objects.

        Raises
        ------
        ValueError
            If the level, the model or a keyword does not exist.
        NetworkError, AssociationError
            If no association can be opened, or it ends early.
        ServiceRefusal, ProtocolError
            If a query fails. What is below its match is missing then; it is raised when all others have been yielded.
        """
        from ..exchange.walking import plan

        asked = with_character_set(self._target, keys)
        paths: Paths = self._perform(self._service.walk(plan(level, model, asked, is_deep=is_deep)))
        return paths
