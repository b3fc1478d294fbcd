"""The rules by which a node removes studies by itself, as the configuration has them."""

from __future__ import annotations

from ..settings.kinds import Space
from ..values import frozen

# What may be asked for before a study is removed. The ledger has no record of either yet, so it is never known of one.
COMMITTED, FORWARDED = "committed", "forwarded"
FACTS = (COMMITTED, FORWARDED)
RECEIVED, STUDY_DATE = "received", "study-date"
SINCE = (RECEIVED, STUDY_DATE)


@frozen
class RetentionRule:
    """A rule by which whole studies are removed. All that it says of a study must hold.

    Parameters
    ----------
    name
        What it is called in ledger and log.
    after
        How old the study must be, in seconds; None for any age.
    since
        One of `SINCE`: from when its age counts.
    free
        Only as long as less space is free than that; None for any.
    titles, modalities, institutions
        AE titles of senders, modalities, institutions, in which all of the study must lie; none for any.
    require
        Those of `FACTS` that must be known of each object.
    keep
        How long the files are kept in the trash, in seconds.
    """

    name: str
    after: float | None = None
    since: str = RECEIVED
    free: Space | None = None
    titles: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    institutions: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    keep: float = 0.0


@frozen
class RetentionPolicy:
    """All rules, and when they are looked at.

    Parameters
    ----------
    rules
        In the order in which they are looked at.
    interval
        How often, in seconds.
    quiet
        How long nothing may have been received or given out of a study that is removed, in seconds.
    """

    rules: tuple[RetentionRule, ...] = ()
    interval: float = 3600.0
    quiet: float = 3600.0
