"""From when on a node says that it is not well."""

from __future__ import annotations

from ...values import frozen


@frozen
class WatchPolicy:
    """What `/health` goes by.

    Parameters
    ----------
    disk_reserve
        How many bytes must be free where objects, journal and database are; below that the node is not ready.
    certificate_days
        How many days before the certificate expires there is a warning.
    """

    disk_reserve: int = 1 << 30
    certificate_days: int = 30
