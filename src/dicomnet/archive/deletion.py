"""Deletions and protections as the parts of the archive hand them to each other."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from ..values import frozen
from .entries import UNKNOWN, Source
from .storage.store import ObjectName


class Fate(Enum):
    """What became of an object that was to be deleted."""

    IN_TRASH = "in trash"
    GONE = "gone"
    # The deletion was interrupted, or failed, before the file was moved: the object is there as it was.
    NOT_DELETED = "not deleted"
    UNDELETED = "undeleted"
    # Its time in the trash is over.
    EMPTIED = "emptied"
    # The same file came into the trash once more, by a later deletion.
    DELETED_AGAIN = "deleted again"
    # Its file in the trash was found to be missing.
    LOST = "lost"


@frozen
class Order:
    """What is the same for all objects of one deletion.

    Parameters
    ----------
    run
        What tells it from others: a text without blanks.
    actor
        Who asked for it: a user of the operating system.
    rule
        The retention rule that asked for it; empty where somebody did by hand.
    reason
        Why, in words; may be empty.
    keep
        How long the files are kept in the trash, in seconds; 0 where they are removed at once.
    user, address, way
        Who asked for it, as the audit trail names him; empty for the rule.
    """

    run: str
    actor: str = ""
    rule: str = ""
    reason: str = ""
    keep: float = 0.0
    user: str = ""
    address: str = ""
    way: str = ""


@frozen
class Deletion:
    """The deletion of one object, as the ledger has it.

    Parameters
    ----------
    name
        The object.
    digest, size
        SHA-256 of its file, as hexadecimal digits, and its length in bytes.
    run, actor, rule, reason
        As of `Order`.
    patient, issuer
        Patient ID and its issuer, as the index had them.
    location
        Where its file is in the trash; empty where it is not kept.
    source
        Who had sent it.
    begun_at
        When it was decided.
    kept_until
        Until when its file is in the trash; None where it is not kept.
    fate, fate_at
        What became of it, and when; None while that is open.
    """

    name: ObjectName
    digest: str
    size: int
    run: str
    begun_at: datetime
    actor: str = ""
    rule: str = ""
    reason: str = ""
    patient: str = ""
    issuer: str = ""
    location: str = ""
    source: Source = UNKNOWN
    kept_until: datetime | None = None
    fate: Fate | None = None
    fate_at: datetime | None = None


@frozen
class Protection:
    """A patient whose objects are not deleted.

    Parameters
    ----------
    patient
        Patient ID.
    issuer
        Its issuer; empty for any.
    reason
        Why, in words; may be empty.
    actor
        Who asked for it.
    begun_at
        Since when; by default since it is recorded.
    ended_at, ended_by
        When somebody took it back, and who; None and empty while it holds.
    """

    patient: str
    issuer: str = ""
    reason: str = ""
    actor: str = ""
    begun_at: datetime | None = None
    ended_at: datetime | None = None
    ended_by: str = ""
