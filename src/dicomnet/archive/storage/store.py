"""What a store is: the names of its objects, and what it keeps beside them."""

from __future__ import annotations

from ...encoding.identity import is_uid
from ...values import frozen


@frozen
class ObjectName:
    """The name of an object in the store: the UIDs that its path is made of.

    Parameters
    ----------
    study, series, instance
        Study, Series and SOP Instance UID.

    Raises
    ------
    ValueError
        If one of them is not a valid UID.
    """

    study: str
    series: str
    instance: str

    def __post_init__(self) -> None:
        if not (is_uid(self.study) and is_uid(self.series) and is_uid(self.instance)):
            raise ValueError("the name of an object must consist of valid UIDs")


@frozen
class SetAside:
    """A file that is kept beside the objects of the store: in quarantine, or as a version.

    Parameters
    ----------
    location
        Where it is, below the folder of the store, with slashes.
    digest
        SHA-256 of the file, as hexadecimal digits.
    size
        Its length in bytes.
    written_at
        When it was written, in seconds since 1970.
    """

    location: str
    digest: str
    size: int
    written_at: float
