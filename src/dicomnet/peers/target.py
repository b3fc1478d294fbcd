"""`Target`: a peer and how it is reached, as its caller or a configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..drivers.deadline import Timeouts
from ..exchange.addresses import MAXIMUM_LENGTH, PeerAddress
from ..values import field, frozen, replace
from ..wire.items import UserIdentityRQ

if TYPE_CHECKING:
    import ssl

    from ..dicomweb.credentials import Credentials
    from ..drivers.transport import Address
    from ..exchange.web_addresses import WebAddress
    from ..settings.values import Remote, Settings

DEFAULT_TITLE = "DICOMNET"
DEFAULT_WINDOW = 16
_USER_NAME, _USER_NAME_AND_PASSCODE = 1, 2


@frozen
class Target:
    """A peer, and how it is reached.

    Parameters
    ----------
    address
        Its AE title and transport address, or a DICOMweb service.
    calling
        Our AE title.
    tls
        A client's TLS context, None for plain TCP.
    timeouts
        One deadline a stage, in seconds.
    identity
        Who we say to be, None for nobody.
    maximum_length
        The largest PDU-length of a P-DATA-TF that the peer may send us, in bytes.
    window
        How many C-STORE requests may be outstanding, if the peer grants it.
    jobs
        How many associations may be open side by side.
    rate, between
        How much is moved in a second, and at which times of the day, as they are typed; None for no limit.
    character_set
        The Specific Character Set of queries; None for what their keys need.
    retrieve
        ``get``, ``move`` or ``auto``; None where nobody says it.
    destination
        Our AE title as the destination of a C-MOVE; None for that by which we call.
    receiver
        Where we listen for what a C-MOVE sends; None where nobody says it.
    credentials
        What a DICOMweb service is told of who asks; None for nothing.
    may_be_read
        Whether that may be sent without TLS, where others can read it.
    """

    address: PeerAddress | WebAddress
    calling: str = DEFAULT_TITLE
    tls: ssl.SSLContext | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    identity: UserIdentityRQ | None = None
    maximum_length: int = MAXIMUM_LENGTH
    window: int = DEFAULT_WINDOW
    jobs: int = 1
    rate: str | None = None
    between: str | None = None
    character_set: str | None = None
    retrieve: str | None = None
    destination: str | None = None
    receiver: Address | None = None
    credentials: Credentials | None = None
    may_be_read: bool = False

    @property
    def is_web(self) -> bool:
        """Whether it is a DICOMweb service, which has no AE title."""
        return not self.address.ae_title


def web_target(target: Target) -> Target:
    """A target that trusts whom the system trusts, where it is a DICOMweb service by TLS."""
    if not getattr(target.address, "is_secure", False):
        return target
    from ..drivers.tls import client_context

    return replace(target, tls=client_context())


def identity_of(user: str | None, passcode: str | None) -> UserIdentityRQ | None:
    """A user by name, and passcode where there is one (PS3.7 Annex D.3.3.7).

    Raises
    ------
    ValueError
        If there is a passcode without a user, or one of them is too long.
    """
    if user is None:
        if passcode is not None:
            raise ValueError("a passcode needs a user")
        return None
    name, secret = user.encode(), (passcode or "").encode()
    if not 0 < len(name) <= 65535 or len(secret) > 65535:
        raise ValueError("the name or the passcode of the user is empty, or longer than 65535 bytes")
    return UserIdentityRQ(_USER_NAME_AND_PASSCODE if secret else _USER_NAME, name, secret)


def target_of_name(name: str) -> Target:
    """The remote of a name in the configuration of the user, see `settings.users.Configuration`.

    Raises
    ------
    UnknownRemote
        If there is none; a ValueError.
    Mistakes, OSError
        If the configuration is wrong, or what it names cannot be used.
    """
    from ..settings.users import Configuration

    configuration = Configuration()
    remote = configuration.remote(name)
    settings = configuration.settings
    assert settings is not None
    return with_remote(with_settings(Target(remote.peer), settings), settings, remote)


def with_settings(target: Target, settings: Settings) -> Target:
    """A target, with what a configuration says for all who are called."""
    # How long a peer may do nothing is a matter of who is called.
    timeouts = replace(settings.timeouts, idle=target.timeouts.idle)
    return replace(target, calling=settings["server.ae_titles"][0], timeouts=timeouts)


def with_remote(target: Target, settings: Settings, remote: Remote, *, by_tls: bool = True) -> Target:
    """A target, with what a configuration says of this one.

    Parameters
    ----------
    by_tls
        Whether it is reached by TLS where the configuration says so.

    Raises
    ------
    Mistakes
        If a file that it names cannot be used, or the passcode cannot be had.
    """
    changes: dict[str, Any] = {
        field: remote[key] for key, field in _FIELDS.items() if remote[key] is not None
    }
    limits = {
        stage: remote[f"{stage}_timeout"] or None
        for stage in ("connect", "association", "message")
        if remote[f"{stage}_timeout"] is not None
    }
    if remote["receiver"] is not None:
        changes["receiver"] = PeerAddress.parse(remote["receiver"]).address
    if by_tls and remote.tls:
        from ..settings.certificates import context_for, show_own

        changes["tls"] = context_for(settings, remote)
        show_own(settings, changes["tls"], remote)
    if isinstance(remote.peer, PeerAddress):
        from ..settings.users import passcode_of

        changes["identity"] = identity_of(remote["user"], passcode_of(settings, remote))
    else:
        changes["credentials"] = credentials_of(settings, remote)
    return replace(target, timeouts=replace(target.timeouts, **limits), **changes)


def credentials_of(settings: Settings, remote: Remote) -> Credentials | None:
    """What a DICOMweb service is told of who asks, by a configuration; None for nothing.

    Raises
    ------
    Mistakes
        If the secret cannot be had.
    """
    from ..dicomweb.credentials import Basic, Bearer
    from ..settings.users import passcode_of, secret_of

    token = secret_of(settings, remote, "token")
    if token is not None:
        return Bearer(token)
    user = remote["user"]
    return None if user is None else Basic(user, passcode_of(settings, remote) or "")


# The keys of a remote that are taken as they are.
_FIELDS = {
    "calling": "calling",
    "max_pdu": "maximum_length",
    **{key: key for key in ("window", "jobs", "rate", "between", "character_set", "retrieve", "destination")},
}


def with_character_set(target: Target, keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a query, with the character set of a target where they name none."""
    known = target.character_set
    return dict(keys) if known is None else {"SpecificCharacterSet": known, **keys}
