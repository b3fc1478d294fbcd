"""The configuration file of a command: which one it is, and what it says to a tool that calls a peer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .arguments import UsageError

if TYPE_CHECKING:
    import argparse

    from ..settings.values import Remote, Settings

_PREFIX = "DICOMNET_"
CONFIG_VARIABLE = f"{_PREFIX}CONFIG"
REMOTES_VARIABLE = f"{_PREFIX}REMOTES"


def add_config_option(group: argparse._ActionsContainer) -> None:
    """Add the option for the file of a tool."""
    group.add_argument(
        "--config",
        metavar="FILE",
        help=f"a TOML file with remotes and settings ({CONFIG_VARIABLE}, or ~/.config/dicomnet/config.toml)",
    )


def config_file(options: argparse.Namespace) -> str | None:
    """The file that is named, by option or environment."""
    return options.config or os.environ.get(CONFIG_VARIABLE) or None


def users_file() -> str:
    """The file of the user, which tools read where none is named; it need not be there.

    One in the current folder would be read wherever somebody happens to be, and could send objects elsewhere.
    """
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    # One that is relative is to be ignored, as the XDG Base Directory Specification has it.
    home = folder if os.path.isabs(folder) else os.path.expanduser("~/.config")
    return os.path.join(home, "dicomnet", "config.toml")


class Configuration:
    """What a tool that calls a peer was configured with.

    Parameters
    ----------
    options
        With ``config``.

    Raises
    ------
    Mistakes
        If something is wrong.
    OSError
        If the file cannot be read.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        named = config_file(options)
        self._file = named or users_file()
        self.settings: Settings | None = None
        is_there = named is not None or _is_there(self._file)
        if is_there or any(each.upper().startswith(_PREFIX) for each in os.environ):
            self.settings = _read(self._file if is_there else None)

    def remote(self, name: str) -> Remote:
        """The remote of a name; raises UsageError if there is none."""
        if self.settings is not None and name in self.settings.remotes:
            return self.settings.remote(name)
        raise UsageError(f"{name!r} is neither [AET@]host:port nor the name of a remote{self._instead(name)}")

    @property
    def place(self) -> str:
        """Where remotes are read from."""
        return REMOTES_VARIABLE if REMOTES_VARIABLE in map(str.upper, os.environ) else self._file

    def _instead(self, name: str) -> str:
        if self.settings is None:
            return f"; {self.place}, where remotes are read from, is not there"
        if not self.settings.remotes:
            return f"; {self.place} has none"
        from ..settings.kinds import nearest

        known = {each.lower(): each for each in self.settings.remotes}
        near = nearest(name.lower(), known)
        instead = f"known are {', '.join(known.values())}" if near is None else f"did you mean {known[near]}?"
        return f" in {self.place}; {instead}"


def _is_there(file: str) -> bool:
    try:
        os.lstat(file)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _read(file: str | None) -> Settings:
    from ..settings.mistakes import Mistakes
    from ..settings.reading import read
    from ..settings.values import conditions

    settings = read(file)
    said = [settings.said(name, words) for name, is_wrong, words in conditions(settings) if is_wrong]
    if said:
        raise Mistakes(said)
    return settings
