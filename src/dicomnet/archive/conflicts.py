"""What becomes of an object whose SOP Instance UID an object with other content has, and where that is recorded."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from enum import Enum
from typing import Protocol

from ..errors import DicomnetError
from .entries import UNKNOWN, Accepted, Quarantined, Source, Version
from .storage.store import ObjectName, Storage

_log = logging.getLogger(__name__)


class OtherContent(Enum):
    """The policies for an object whose SOP Instance UID an object with other content has."""

    KEEP_FIRST = "keep-first"
    REPLACE = "replace"
    REFUSE = "refuse"


class Record(Protocol):
    """The ledger, as intake uses it."""

    def quarantined(self, found: Quarantined) -> None:
        """Record an object that was put in quarantine.

        Raises
        ------
        DatabaseFailure
            If the ledger cannot be written.
        """
        ...

    def kept_version(self, version: Version) -> None:
        """Record an object that another one replaces.

        Raises
        ------
        DatabaseFailure
            If the ledger cannot be written.
        """
        ...

    def was_deleted(self, instance: str, after: int) -> bool:
        """Whether an object was deleted by a later entry than one with this number.

        Raises
        ------
        DatabaseFailure
            If the ledger cannot be read.
        """
        ...


class Conflicts:
    """The keeper of objects that lose their place to another one: none of them is lost, and each is recorded.

    Parameters
    ----------
    storage
        The store.
    record
        The ledger; None if nothing is recorded.
    """

    def __init__(self, storage: Storage, record: Record | None) -> None:
        self._storage = storage
        self._record = record

    def set_aside(self, accepted: Accepted, reason: str, status: int | None = None) -> None:
        """Put an object that was received in quarantine.

        Parameters
        ----------
        accepted
            The object.
        reason
            Why, without any of its values.
        status
            The status with which its sender is answered; None if that was done before.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        entry = accepted.entry
        kept = self._storage.quarantine_content(entry.name.instance, accepted.whole)
        self._quarantined(
            Quarantined(
                entry.name.instance,
                kept.location,
                kept.digest,
                kept.size,
                entry.name.study,
                entry.name.series,
                reason,
                status,
                entry.source,
            )
        )

    def set_stored_aside(self, name: ObjectName, reason: str, source: Source = UNKNOWN) -> None:
        """Move a file of the store to quarantine.

        Parameters
        ----------
        name
            The object.
        reason
            Why, without any of its values.
        source
            Who sent it.

        Raises
        ------
        OSError
            If it cannot be moved.
        """
        kept = self._storage.quarantine(name)
        if kept is not None:
            self._quarantined(
                Quarantined(
                    name.instance,
                    kept.location,
                    kept.digest,
                    kept.size,
                    name.study,
                    name.series,
                    reason,
                    None,
                    source,
                )
            )

    def keep_version(self, name: ObjectName, source: Source) -> None:
        """Keep a stored object as a version, before another one takes its place.

        Parameters
        ----------
        name
            The object.
        source
            Who sent the other one.

        Raises
        ------
        OSError, DatabaseFailure, LedgerUnusable
            If it cannot be kept, or recorded.
        """
        kept = self._storage.keep_version(name)
        if self._record is not None:
            stored_at = datetime.fromtimestamp(kept.written_at, UTC)
            self._record.kept_version(
                Version(
                    name.instance,
                    name.study,
                    name.series,
                    kept.location,
                    kept.digest,
                    kept.size,
                    UNKNOWN,
                    stored_at,
                )
            )
        # Many viewers and devices show the one that they have fetched already.
        _log.warning(
            "an object %sreplaces another one with its SOP Instance UID %s, which is kept as the version %s",
            _from(source),
            name.instance,
            kept.location,
            extra=source.about(name.instance),
        )

    def _quarantined(self, found: Quarantined) -> None:
        source = found.source
        about = source.about(found.instance)
        _log.warning(
            "a file %sis kept in quarantine as %s: %s",
            _from(source),
            found.location,
            found.reason,
            extra=about,
        )
        if self._record is None:
            return
        try:
            self._record.quarantined(found)
        except (DicomnetError, OSError, ImportError) as failure:
            # The file is kept all the same, and listed without this.
            _log.error("why %s is in quarantine cannot be recorded: %s", found.location, failure, extra=about)


def _from(source: Source) -> str:
    return f"from {source.ae_title}@{source.address} " if source.address else ""
