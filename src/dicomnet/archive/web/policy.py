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
    """

    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
