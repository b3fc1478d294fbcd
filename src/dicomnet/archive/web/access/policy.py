"""What the web face of a node allows."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from ....drivers.tls import ServerCertificate
from ....values import field, frozen
from ...users import UsersFile
from ...viewer import usual_folder


@frozen
class WebPolicy:
    """What may change of DICOMweb while a node runs.

    Parameters
    ----------
    origins
        The origins, such as ``https://viewer.example``, whose pages a browser lets read the answers (CORS); ``*`` is
        all.
    hosts
        The names by which browsers reach it besides ``localhost``, such as that of a proxy, where it listens on its own
        machine only; without users also elsewhere, unless there are none.
    users
        Who may use it; None for everybody, without a proof.
    lifetime
        How long a session lasts, in seconds.
    proxies
        The addresses of proxies in front of it, which are trusted in what they say of a client.
    user_header
        The header by which such a proxy names a user; empty for none.
    is_behind_proxies
        Whether nobody but such a proxy may ask from another machine, since what others send could be heard.
    tls
        What is shown in TLS handshakes; None for plain HTTP. Whether there is one is decided at the start.
    may_delete
        Whether studies, series and instances may be deleted.
    keep
        How long the files of what is deleted are kept in the trash, in seconds; 0 where they are removed at once.
    viewer
        The folder of the full viewer, which need not be there.
    """

    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    users: UsersFile | None = None
    lifetime: float = 12 * 3600.0
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    user_header: str = ""
    is_behind_proxies: bool = False
    tls: ServerCertificate | None = None
    may_delete: bool = False
    keep: float = 7 * 86_400.0
    viewer: Path = field(default_factory=usual_folder)
