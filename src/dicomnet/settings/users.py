"""The configuration of whoever calls a peer: which file it is, and the remotes that it has."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .values import Remote, Settings

_PREFIX = "DICOMNET_"
CONFIG_VARIABLE = f"{_PREFIX}CONFIG"
REMOTES_VARIABLE = f"{_PREFIX}REMOTES"
# How long a command may take that gives a passcode, in seconds; it may ask somebody.
_COMMAND_SECONDS = 60.0


class UnknownRemote(ValueError):
    """A name is neither an address nor that of a remote."""


def users_file() -> str:
    """The file of the user, which is read where none is named; it need not be there.

    One in the current folder would be read wherever somebody happens to be, and could send objects elsewhere.
    """
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    # One that is relative is to be ignored, as the XDG Base Directory Specification has it.
    home = folder if os.path.isabs(folder) else os.path.expanduser("~/.config")
    return os.path.join(home, "dicomnet", "config.toml")


class Configuration:
    """What somebody who calls a peer was configured with.

    Parameters
    ----------
    named
        The file; None for that of the environment or else of the user.

    Raises
    ------
    Mistakes
        If something is wrong.
    OSError
        If the file cannot be read.
    """

    def __init__(self, named: str | None = None) -> None:
        named = named or os.environ.get(CONFIG_VARIABLE) or None
        self.file = named or users_file()
        self.settings: Settings | None = None
        self._is_there = is_there = named is not None or _is_there(self.file)
        if is_there or any(each.upper().startswith(_PREFIX) for each in os.environ):
            self.settings = read_checked(self.file if is_there else None)

    def remote(self, name: str) -> Remote:
        """The remote of a name; raises UnknownRemote if there is none."""
        if self.settings is not None and name in self.settings.remotes:
            return self.settings.remote(name)
        raise UnknownRemote(
            f"{name!r} is neither [AET@]host:port nor the name of a remote{self._instead(name)}"
        )

    @property
    def has_variable(self) -> bool:
        """Whether the remotes come from the environment, and not from the file."""
        return REMOTES_VARIABLE in map(str.upper, os.environ)

    @property
    def place(self) -> str:
        """Where remotes are read from."""
        return REMOTES_VARIABLE if self.has_variable else self.file

    def _instead(self, name: str) -> str:
        if self.settings is None or not self.settings.remotes:
            is_missing = not (self._is_there or self.has_variable)
            return f"; {self.place}" + (
                ", where remotes are read from, is not there" if is_missing else " has none"
            )
        from .kinds import nearest

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


def read_checked(file: str | None) -> Settings:
    """The settings of a file and the environment; raises Mistakes where they do not fit together, too."""
    from .mistakes import Mistakes
    from .reading import read
    from .values import conditions

    settings = read(file)
    said = [settings.said(name, words) for name, is_wrong, words in conditions(settings) if is_wrong]
    if said:
        raise Mistakes(said)
    return settings


def passcode_of(settings: Settings, remote: Remote) -> str | None:
    """The passcode of the user of a remote; as `secret_of`."""
    return secret_of(settings, remote, "passcode")


def secret_of(settings: Settings, remote: Remote, kind: str) -> str | None:
    """A secret that a remote is told, from where the configuration says; None for none.

    Parameters
    ----------
    settings, remote
        The remote.
    kind
        What its keys begin with: ``passcode`` or ``token``.

    Raises
    ------
    Mistakes
        If it cannot be had: the variable or file is not there, others may read the file, the command fails, or what is
        there is empty.
    """
    from .mistakes import Mistakes
    from .table import REMOTES

    for ending, take in _WAYS.items():
        key = kind + ending
        given = remote[key]
        if given is None:
            continue
        name = f"{REMOTES}.{remote.name}.{key}"
        try:
            found = take(str(given))
        except _NotThere as failure:
            raise Mistakes([settings.said(name, str(failure))]) from None
        except OSError as error:
            raise Mistakes([settings.said(name, f"{given}: {error.strerror or error}")]) from None
        except UnicodeDecodeError:
            raise Mistakes([settings.said(name, "what is there is not text")]) from None
        if not found:
            raise Mistakes([settings.said(name, "what is there is empty")])
        return found
    return None


class _NotThere(Exception):
    """A secret cannot be had; the text says why, and never what it is."""


def _of_file(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        if os.fstat(file.fileno()).st_mode & stat.S_IROTH:
            raise _NotThere(f"{path}: others may read it; take that from them (chmod o-r)")
        return file.readline().rstrip("\r\n")


def _of_variable(name: str) -> str:
    if name not in os.environ:
        raise _NotThere(f"there is no variable {name}")
    return os.environ[name]


def _of_command(command: str) -> str:
    import shlex
    import subprocess

    try:
        words = shlex.split(command)
        done = subprocess.run(words, stdout=subprocess.PIPE, timeout=_COMMAND_SECONDS, check=False)
    except ValueError as error:
        raise _NotThere(f"it is not a command: {error}") from None
    except subprocess.TimeoutExpired:
        raise _NotThere(f"the command has not ended within {_COMMAND_SECONDS:g} s") from None
    if done.returncode:
        raise _NotThere(f"the command has failed with exit status {done.returncode}")
    return done.stdout.decode().partition("\n")[0].rstrip("\r")


_WAYS: dict[str, Callable[[str], str]] = {
    "": str,
    "_file": _of_file,
    "_variable": _of_variable,
    "_command": _of_command,
}
