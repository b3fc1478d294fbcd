"""The settings that hold for a node, and where each comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import DicomnetError
from ...values import field, frozen
from .kinds import Text
from .table import BY_NAME, SETTINGS, Setting

if TYPE_CHECKING:
    from ...exchange.addresses import PeerAddress

DEFAULT = "default"


class Mistakes(DicomnetError):
    """Settings are wrong.

    Parameters
    ----------
    lines
        A sentence for each mistake, which begins with the place: file and line, variable or option.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("; ".join(self.lines))


@frozen
class Remote:
    """Another node, as the configuration names it.

    Parameters
    ----------
    name
        What it is called in the configuration.
    peer
        Its AE title and address.
    tls
        Whether it is reached by TLS.
    ca
        A file with the certificates to trust; None for those of the system.
    """

    name: str
    peer: PeerAddress
    tls: bool = False
    ca: str | None = None


@frozen
class Settings:
    """All settings of a node.

    Parameters
    ----------
    values
        The value of each by its name, such as ``server.port``.
    origins
        Where each comes from that is not the default; of remotes and rules, the place of each by its way, such as
        ``remotes.PACS``, ``access.0.title``.
    remotes, access, retention
        The entries of the tables with these names, with values of the kinds of their keys; None for no rules of access.
    """

    values: Mapping[str, Any]
    origins: Mapping[str, str] = field(default_factory=dict)
    remotes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    access: tuple[Mapping[str, Any], ...] | None = None
    retention: tuple[Mapping[str, Any], ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def origin(self, name: str) -> str:
        """Where a setting comes from: ``default``, file and line, variable or option."""
        return self.origins.get(name, DEFAULT)

    def differences(self, other: Settings) -> list[Setting]:
        """The settings that have another value there."""
        return [each for each in SETTINGS if self.values[each.name] != other.values[each.name]]

    @property
    def peers(self) -> dict[str, Remote]:
        """The remotes by their AE titles."""
        from ...drivers.transport import Address
        from ...exchange.addresses import PeerAddress

        found = {}
        for name, entry in self.remotes.items():
            title = entry.get("ae_title", name)
            peer = PeerAddress(title, Address(entry["host"], entry["port"]))
            ca = entry.get("ca")
            found[title] = Remote(name, peer, entry.get("tls", False), None if ca is None else str(ca))
        return found


def defaults() -> dict[str, Any]:
    """The values that hold where nobody says anything."""
    return {each.name: None if each.default is None else each.kind.check(each.default) for each in SETTINGS}


def of_options(options: Mapping[str, Text | bool]) -> Settings:
    """The settings that options of a command make by themselves.

    Parameters
    ----------
    options
        By the name of the setting.

    Raises
    ------
    Mistakes
        If one has a value that is not of its kind.
    """
    values = defaults()
    origins = {}
    for name, given in options.items():
        setting = BY_NAME[name]
        origins[name] = option_of(setting)
        try:
            values[name] = setting.kind.check(given)
        except ValueError as error:
            raise Mistakes([f"{option_of(setting)}: {error}"]) from None
    return Settings(values, origins)


def option_of(setting: Setting) -> str:
    """How an option is typed that gives a setting."""
    return setting.options[-1] if setting.options else f"--set {setting.name}"
