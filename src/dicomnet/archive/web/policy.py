"""What the web face of a node allows."""

from __future__ import annotations

from ...values import frozen


@frozen
class WebPolicy:
    """What may change of DICOMweb while a node runs.

    Parameters
    ----------
    origins
        The origins, such as ``https://viewer.example``, whose pages a browser lets read the answers (CORS); ``*`` is
        all.
    hosts
        The names by which browsers reach it on its own machine besides ``localhost``, such as that of a proxy.
    may_delete
        Whether studies, series and instances may be deleted.
    keep
        How long the files of what is deleted are kept in the trash, in seconds; 0 where they are removed at once.
    """

    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    may_delete: bool = False
    keep: float = 0.0
