"""The options of commands that call a peer: its address, deadlines and TLS."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..diagnosing.associations import speaks_tls
from ..errors import AssociationAborted, TLSFailed
from ..settings.users import Configuration
from ..values import replace
from .arguments import Parser, UsageError, ae_title, peer_or_name, seconds
from .configuration import add_config_option, remote_of

if TYPE_CHECKING:
    import argparse
    import ssl
    from collections.abc import Callable, Iterator

    from ..blocking.peer import Peer
    from ..peers.target import Target
    from ..settings.values import Remote, Settings


def add_peer_options(parser: Parser, *, over_http: bool = False) -> None:
    """The peer, and all that says how to reach it.

    Parameters
    ----------
    over_http
        Whether it may be a DICOMweb service.
    """
    parser.set_defaults(over_http=over_http)
    parser.add_argument(
        "peer",
        type=peer_or_name,
        metavar="PEER",
        help="[AET@]host:port, an IPv6 address in brackets; the AE title is ANY-SCP if it is left out; or the name of a"
        " remote" + ("; or https://host/path of a DICOMweb service" if over_http else ""),
    )
    group = parser.add_argument_group("association")
    group.add_argument(
        "-aet",
        "--aet",
        "--calling",
        dest="calling",
        type=ae_title,
        metavar="AET",
        help="our AE title (that of the remote or the configuration, or DICOMNET)",
    )
    group.add_argument(
        "-aec",
        "--called",
        type=ae_title,
        metavar="AET",
        help="the peer's AE title, instead of the one in PEER or of the remote",
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="how long each stage may take: 10 to connect, 30 for the others if left out here and in the configuration;"
        " 0 is without end",
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
    group.add_argument(
        "--tls", action="store_true", default=None, help="use TLS; the options for files imply it"
    )
    group.add_argument(
        "--no-tls", dest="tls", action="store_false", help="use none, though the remote is reached by TLS"
    )
    group.add_argument(
        "--tls-ca",
        metavar="FILE",
        help="certificates (PEM) to trust, instead of those of the remote or of the system",
    )
    group.add_argument(
        "--tls-cert",
        metavar="FILE",
        help="our certificate (PEM), if the peer asks for one (that of the configuration)",
    )
    group.add_argument("--tls-key", metavar="FILE", help="its private key (PEM), if it is in another file")
    group.add_argument(
        "--tls-no-verify", action="store_true", help="do not check who the peer is; only for tests"
    )
    add_config_option(parser.add_argument_group("configuration"))
    if over_http:
        from .secrets import add_credential_options

        add_credential_options(parser)


def target_of(options: argparse.Namespace) -> Target:
    """The peer that the options name.

    Raises
    ------
    UsageError
        If it is not known, or a file for TLS that an option names cannot be used.
    Mistakes
        If the configuration is wrong.
    OSError
        If its file cannot be read.
    """
    from ..peers.target import Target, with_remote, with_settings

    configuration = Configuration(options.config)
    settings = configuration.settings
    remote = remote_of(configuration, options.peer) if isinstance(options.peer, str) else None
    target = Target(options.peer if remote is None else remote.peer)
    if settings is not None:
        target = with_settings(target, settings)
    if settings is not None and remote is not None:
        target = with_remote(target, settings, remote, by_tls=False)
    address = target.address
    if target.is_web:
        _check_web(options)
    elif options.called is not None:
        address = replace(address, ae_title=options.called)
    limits: dict[str, float | None] = {}
    for stage in ("connect", "association", "message"):
        limit = getattr(options, f"{stage}_timeout")
        limit = options.timeout if limit is None else limit
        if limit is not None:
            limits[stage] = limit or None
    is_secure = getattr(address, "is_secure", False)
    uses_tls = _uses_tls(options, remote, is_secure=is_secure)
    if target.is_web and uses_tls != is_secure:
        raise UsageError(
            f"{address} is not reached by TLS; write https" if uses_tls else "https is by TLS; write http"
        )
    target = replace(
        target,
        address=address,
        calling=options.calling or target.calling,
        tls=_tls_context(options, settings, remote) if uses_tls else None,
        timeouts=replace(target.timeouts, **limits),
    )
    if target.is_web:
        from .secrets import credentials_of

        given = credentials_of(options)
        target = replace(
            target, credentials=given or target.credentials, may_be_read=options.auth_without_tls
        )
    elif options.over_http:
        from .secrets import refuse_credentials

        refuse_credentials(options)
    return target


def _check_web(options: argparse.Namespace) -> None:
    if not options.over_http:
        raise UsageError(
            f"{options.peer} is a DICOMweb service, and this needs an association; over HTTP there are echo, find, get,"
            " store, fetch and diagnose"
        )
    if options.called is not None:
        raise UsageError("--called is for associations; over HTTP nobody has an AE title")
    if getattr(options, "commit", False):
        raise UsageError("--commit needs an association: DICOMweb has no storage commitment; leave it out")


def _uses_tls(options: argparse.Namespace, remote: Remote | None, *, is_secure: bool) -> bool:
    implied = bool(options.tls_no_verify or options.tls_ca or options.tls_cert or options.tls_key)
    if options.tls is None:
        return implied or is_secure or (remote is not None and remote.tls)
    if implied and not options.tls:
        raise UsageError("--no-tls does not go with the other options for TLS")
    return bool(options.tls)


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
    target: Target | None = None,
    *,
    window: int = 1,
    transcode: str = "never",
    jobs: int = 1,
    progress: Callable[[], object] | None = None,
) -> Iterator[Peer]:
    """The peer that the options name; its associations are released at the end.

    Parameters
    ----------
    target
        What `target_of` gives, where that is known already.
    window, transcode, jobs
        See `dicomnet.Peer`.
    progress
        See `dicomnet.Timeouts`.

    Raises
    ------
    UsageError, Mistakes, OSError
        See `target_of`.
    TLSFailed
        If an association was lost because the peer speaks TLS and we did not.
    """
    from ..blocking.peer import Peer

    target = target_of(options) if target is None else target
    timeouts = replace(target.timeouts, progress=progress)
    try:
        peer = Peer.to_target(
            replace(target, timeouts=timeouts, window=window, jobs=jobs), transcode=transcode
        )
        with peer, noticing_tls(target):
            yield peer
    except ValueError as error:
        if target.is_web and type(error) is ValueError:
            # What there is not over HTTP, or a secret that cannot be one.
            raise UsageError(str(error)) from error
        raise


def _tls_context(
    options: argparse.Namespace, settings: Settings | None, remote: Remote | None
) -> ssl.SSLContext:
    import ssl

    from ..drivers.tls import client_context, load_certificate

    if options.tls_key is not None and options.tls_cert is None:
        raise UsageError("--tls-key needs --tls-cert")
    if settings is None or remote is None or options.tls_ca is not None:
        context: ssl.SSLContext = _used("--tls-ca", lambda: client_context(options.tls_ca))
        context.check_hostname = remote is None or remote["check_host"] is not False
    else:
        from ..settings.certificates import context_for

        context = context_for(settings, remote)
    if options.tls_cert is not None:
        _used("--tls-cert", lambda: load_certificate(context, options.tls_cert, options.tls_key))
    elif settings is not None:
        from ..settings.certificates import show_own

        show_own(settings, context, remote)
    if options.tls_no_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _used(option: str, use: Callable[[], Any]) -> Any:
    """What comes of a file that an option names; neither OpenSSL nor Python tells which file it was."""
    from ..drivers.tls import why_unusable

    try:
        return use()
    except (OSError, ValueError) as error:
        raise UsageError(f"{option}: {why_unusable(error)}") from error
