"""The settings that hold for a node or a tool, and where each comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..values import field, frozen, replace
from .table import REMOTES, SETTINGS, Setting

if TYPE_CHECKING:
    from ..drivers.deadline import Timeouts
    from ..exchange.addresses import PeerAddress
    from ..exchange.web_addresses import WebAddress

DEFAULT = "default"


@frozen
class Remote:
    """Another node, as the configuration names it.

    Parameters
    ----------
    name
        What it is called in the configuration.
    peer
        Its AE title and address, or a DICOMweb service.
    tls
        Whether it is reached by TLS.
    ca
        A file with the certificates to trust; None for those of the system.
    entry
        All that the configuration says of it.
    """

    name: str
    peer: PeerAddress | WebAddress
    tls: bool = False
    ca: str | None = None
    entry: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __getitem__(self, key: str) -> Any:
        """What the configuration says under a key; None where it says nothing."""
        return self.entry.get(key)

    @property
    def title(self) -> str:
        """The AE title by which a C-MOVE names it."""
        title: str = self.entry.get("ae_title", self.name)
        return title


@frozen
class Settings:
    """All settings.

    Parameters
    ----------
    values
        The value of each by its name, such as ``server.port``.
    origins
        Where each comes from that is not the default; of remotes and rules, the place of each by its way, such as
        ``remotes.PACS``, ``access.0.title``.
    remotes, access, retention
        The entries of the tables with these names, with values of the kinds of their keys; None for no rules of access.
    is_open
        Whether others may read the file that remotes come from.
    """

    values: Mapping[str, Any]
    origins: Mapping[str, str] = field(default_factory=dict)
    remotes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    access: tuple[Mapping[str, Any], ...] | None = None
    retention: tuple[Mapping[str, Any], ...] = ()
    is_open: bool = False

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def origin(self, name: str) -> str:
        """Where a setting comes from: ``default``, file and line, variable or option."""
        return self.origins.get(name, DEFAULT)

    def differences(self, other: Settings) -> list[Setting]:
        """The settings that have another value there."""
        return [each for each in SETTINGS if self.values[each.name] != other.values[each.name]]

    def without_index(self) -> Settings:
        """Those of a node that answers no queries: what is only for one that does is as if nobody had said it."""
        kept = {each.name: defaults()[each.name] for each in SETTINGS if each.needs_index}
        return replace(self, values={**self.values, **kept}, remotes={})

    def said(self, name: str, words: str) -> str:
        """A sentence about a setting, with its place."""
        place = self.origin(name)
        return f"{name}: {words}" if place == DEFAULT else f"{place}: {name}: {words}"

    def remote(self, name: str) -> Remote:
        """One of the remotes."""
        from ..drivers.transport import Address
        from ..exchange.addresses import PeerAddress

        entry = self.remotes[name]
        ca = entry.get("ca")
        if "url" in entry:
            from ..exchange.web_addresses import WebAddress

            service = WebAddress.parse(entry["url"])
            return Remote(name, service, service.is_secure, None if ca is None else str(ca), entry)
        peer = PeerAddress(entry.get("ae_title", name), Address(entry["host"], entry["port"]))
        return Remote(name, peer, entry.get("tls", False), None if ca is None else str(ca), entry)

    @property
    def timeouts(self) -> Timeouts:
        """How long each stage of an association may take."""
        from ..drivers.deadline import Timeouts

        stages = ("association", "message", "idle")
        return replace(Timeouts(), **{stage: self[f"limits.{stage}_timeout"] or None for stage in stages})


def conditions(settings: Settings) -> list[tuple[str, bool, str]]:
    """What must not be, for a node and for a tool: each with the setting to change, and in words."""
    values = settings.values
    return [
        ("server.ae_titles", not values["server.ae_titles"], "there must be one at least"),
        (
            "tls.key",
            bool(values["tls.key"]) and values["tls.certificate"] is None,
            "it needs tls.certificate",
        ),
        (
            "tls.passphrase_file",
            None not in (values["tls.passphrase"], values["tls.passphrase_file"]),
            "there is tls.passphrase, too",
        ),
        *(
            (f"{REMOTES}.{name}.{key}", is_wrong, words)
            for name, entry in settings.remotes.items()
            for key, is_wrong, words in _conditions_of_remote(entry, is_open=settings.is_open)
        ),
    ]


# Where a passcode may come from.
PASSCODES = ("passcode", "passcode_file", "passcode_variable", "passcode_command")
TOKENS = ("token_file", "token_variable", "token_command")
# What there is not of a DICOMweb service.
_OF_ASSOCIATIONS = (
    *("host", "port", "tls", "calling", "association_timeout", "retrieve", "destination", "receiver"),
    *("window", "max_pdu"),
)
_BY_TLS = ("ca", "check_host", "certificate", "key")


def _conditions_of_remote(entry: Mapping[str, Any], *, is_open: bool) -> Iterator[tuple[str, bool, str]]:
    is_web = "url" in entry
    by_tls = entry["url"].startswith("https://") if is_web else entry.get("tls")
    for key in _BY_TLS:
        # Else what is meant to be sent by TLS would be sent without.
        yield key, key in entry and not by_tls, f"it needs {'https' if is_web else 'tls = true'}"
    for key in _OF_ASSOCIATIONS:
        yield key, is_web and key in entry, "it is for associations, and there is url"
    for key in TOKENS:
        yield key, key in entry and not is_web, "it needs url"
        yield key, key in entry and "user" in entry, "there is user, too"
    tokens = [key for key in TOKENS if key in entry]
    for key in tokens[1:]:
        yield key, True, f"there is {tokens[0]}, too"
    yield (
        "key",
        "key" in entry and "certificate" not in entry and bool(by_tls),
        "it needs certificate",
    )
    given = [key for key in PASSCODES if key in entry]
    for key in given:
        yield key, "user" not in entry, "it needs user"
    for key in given[1:]:
        yield key, True, f"there is {given[0]}, too"
    yield (
        "passcode",
        "passcode" in entry and is_open,
        "others may read this file; take that from them (chmod o-r), or name a passcode_file",
    )


def defaults() -> dict[str, Any]:
    """The values that hold where nobody says anything."""
    return {each.name: None if each.default is None else each.kind.check(each.default) for each in SETTINGS}


def option_of(setting: Setting) -> str:
    """How an option is typed that gives a setting."""
    return setting.options[-1] if setting.options else f"--set {setting.name}"
