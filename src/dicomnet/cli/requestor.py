"""The options of commands that call a peer: its address, deadlines and TLS."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import AssociationAborted, TLSFailed
from ..values import frozen, replace
from .arguments import Parser, UsageError, ae_title, peer_address, seconds

if TYPE_CHECKING:
    import argparse
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    from ..blocking.peer import Peer
    from ..drivers.blocking.link import Link
    from ..drivers.deadline import Timeouts
    from ..exchange.addresses import PeerAddress
    from ..exchange.contexts import Context

# How long to find out whether a peer that hung up speaks TLS.
_PROBE_SECONDS = 2.0


def add_peer_options(parser: Parser) -> None:
    """The peer, and all that says how to reach it."""
    parser.add_argument(
        "peer",
        type=peer_address,
        metavar="PEER",
        help="[AET@]host:port, an IPv6 address in brackets; the AE title is ANY-SCP if it is left out",
    )
    group = parser.add_argument_group("association")
    group.add_argument(
        "-aet",
        "--aet",
        "--calling",
        dest="calling",
        type=ae_title,
        default="DICOMNET",
        metavar="AET",
        help="our AE title (%(default)s)",
    )
    group.add_argument(
        "-aec",
        "--called",
        type=ae_title,
        metavar="AET",
        help="the peer's AE title, instead of the one in PEER",
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="how long each stage may take: 10 to connect, 30 for the others if left out; 0 is without end",
    )
    for short, stage, what in (
        ("-to", "connect", "for the connection"),
        ("-ta", "association", "for TLS, negotiation and release, each"),
        ("-td", "message", "for a response"),
    ):
        group.add_argument(
            short, f"--{stage}-timeout", type=seconds, metavar="SECONDS", help=f"the same {what}"
        )
    group = parser.add_argument_group("TLS")
    group.add_argument("--tls", action="store_true", help="use TLS; the options below imply it")
    group.add_argument(
        "--tls-ca", metavar="FILE", help="certificates (PEM) to trust, instead of those of the system"
    )
    group.add_argument("--tls-cert", metavar="FILE", help="our certificate (PEM), if the peer asks for one")
    group.add_argument("--tls-key", metavar="FILE", help="its private key (PEM), if it is in another file")
    group.add_argument(
        "--tls-no-verify", action="store_true", help="do not check who the peer is; only for tests"
    )


@frozen
class Target:
    """The peer that the options name, and how it is reached.

    Parameters
    ----------
    address
        Its AE title and transport address.
    calling
        Our AE title.
    tls
        A client's TLS context, None for plain TCP.
    timeouts
        One deadline a stage, in seconds.
    """

    address: PeerAddress
    calling: str
    tls: ssl.SSLContext | None
    timeouts: Timeouts


def target_of(options: argparse.Namespace) -> Target:
    """The peer that the options name; raises UsageError if a file for TLS cannot be used."""
    from ..drivers.deadline import Timeouts

    address: PeerAddress = options.peer
    if options.called is not None:
        address = replace(address, ae_title=options.called)
    limits: dict[str, float | None] = {}
    for stage in ("connect", "association", "message"):
        limit = getattr(options, f"{stage}_timeout")
        limit = options.timeout if limit is None else limit
        if limit is not None:
            limits[stage] = limit or None
    uses_tls = options.tls or options.tls_no_verify or options.tls_ca or options.tls_cert or options.tls_key
    tls = _tls_context(options) if uses_tls else None
    return Target(address, options.calling, tls, replace(Timeouts(), **limits))


@contextmanager
def noticing_tls(target: Target) -> Iterator[None]:
    """Raise TLSFailed if an association was lost because the peer speaks TLS and we did not."""
    try:
        yield
    except AssociationAborted as error:
        # A server of TLS mostly closes without a word when it hears something else.
        if target.tls is None and (error.source is None or error.cause) and speaks_tls(target):
            raise TLSFailed("the peer speaks TLS on this port; use --tls") from error
        raise


@contextmanager
def open_peer(
    options: argparse.Namespace,
    *,
    window: int = 1,
    transcode: str = "never",
    jobs: int = 1,
    progress: Callable[[], object] | None = None,
) -> Iterator[Peer]:
    """The peer that the options name; its associations are released at the end.

    Parameters
    ----------
    window, transcode, jobs
        See `dicomnet.Peer`.
    progress
        See `dicomnet.Timeouts`.

    Raises
    ------
    UsageError
        If a file for TLS cannot be used.
    TLSFailed
        If an association was lost because the peer speaks TLS and we did not.
    """
    from ..blocking.peer import Peer

    target = target_of(options)
    peer = Peer(
        target.address,
        calling=target.calling,
        tls=target.tls,
        timeouts=replace(target.timeouts, progress=progress),
        window=window,
        transcode=transcode,
        jobs=jobs,
    )
    with peer, noticing_tls(target):
        yield peer


def open_association(target: Target, contexts: Iterable[Context]) -> Link:
    """An association with the peer that proposes these contexts, each in one transfer syntax or several.

    Raises
    ------
    NetworkError, AssociationError
        If it cannot be opened.
    """
    from ..drivers.blocking.opening import open_link
    from ..exchange.addresses import association_request
    from ..exchange.requesting import RequestorHooks

    request = association_request(target.address, target.calling, contexts, 1)
    place = target.address.address
    tls = None if target.tls is None else (target.tls, place.host)
    link = open_link(place, request, RequestorHooks(), target.timeouts, tls=tls)
    try:
        link.request(request)
    except BaseException:
        link.close()
        raise
    return link


def release(link: Link) -> None:
    """Release an association; one that is over already is closed."""
    from ..blocking.peer import release_links

    release_links((link,))


def speaks_tls(target: Target) -> bool:
    """Whether the peer speaks TLS, as a handshake tells."""
    import socket
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection(
            (target.address.address.host, target.address.address.port), _PROBE_SECONDS
        ) as sock:
            with context.wrap_socket(sock):
                return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


def _tls_context(options: argparse.Namespace) -> ssl.SSLContext:
    import ssl

    from ..drivers.tls import client_context, load_certificate

    if options.tls_key is not None and options.tls_cert is None:
        raise UsageError("--tls-key needs --tls-cert")
    with _naming("--tls-ca"):
        context = client_context(options.tls_ca)
    if options.tls_no_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.tls_cert is not None:
        with _naming("--tls-cert"):
            load_certificate(context, options.tls_cert, options.tls_key)
    return context


@contextmanager
def _naming(option: str) -> Iterator[None]:
    """Name the option whose file cannot be used; neither OpenSSL nor Python tells which file it was."""
    import ssl

    try:
        yield
    except ssl.SSLError as error:
        raise UsageError(
            f"{option}: the file holds nothing that fits ({error.reason or 'not PEM'})"
        ) from error
    except OSError as error:
        raise UsageError(f"{option}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
