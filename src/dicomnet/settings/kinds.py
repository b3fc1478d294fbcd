"""The kinds of values that settings have: how each is read from a text and from TOML, and how it is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..values import frozen

_LONGEST_TIME = 1e9
_MOST = 10**18


class Unfit(ValueError):
    """A value is not of its kind.

    Parameters
    ----------
    found
        The value, as it is written.
    expected
        What would be right, for instance ``a number from 0 to 65535``.
    item
        Which item of a list it is, from 0 on; None for a value that is none.
    """

    def __init__(self, found: str, expected: str, item: int | None = None) -> None:
        super().__init__(f"{found} is not {expected}")
        self.found = found
        self.expected = expected
        self.item = item


class Text(str):
    """A text from the command line or the environment, where all values are texts; in a file a number is a number."""

    __slots__ = ()


class Duration(float):
    """A time in seconds that is written with the largest unit in which it is a whole number."""

    __slots__ = ()

    def __str__(self) -> str:
        for name in ("days", "h", "min"):
            if self and self % _UNITS[name] == 0:
                return f"{self / _UNITS[name]:.0f} {name}"
        return f"{float(self):g} s"


@frozen
class Space:
    """An amount of space: of bytes, or a share of a volume.

    Parameters
    ----------
    amount
        How much.
    unit
        ``%``, ``MB``, ``GB`` or ``TB``.
    """

    amount: float
    unit: str

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}"

    def of(self, total: int) -> float:
        """How many bytes these are of a volume with so many."""
        return self.amount * (total / 100 if self.unit == "%" else _SPACE_UNITS[self.unit])


@frozen
class Kind:
    """A kind of values.

    Parameters
    ----------
    expected
        What a value of this kind is, for a sentence that begins with "is not".
    of_text
        Makes a value of a text, as of the environment; raises ValueError.
    of_toml
        Makes a value of one that TOML knows; raises ValueError.
    is_path, is_secret, is_list
        Whether it is a path, relative to what names it; whether nobody may see it; whether it has several items.
    words
        All values, where they are few.
    """

    expected: str
    of_text: Callable[[str], Any]
    of_toml: Callable[[Any], Any]
    is_path: bool = False
    is_secret: bool = False
    is_list: bool = False
    words: tuple[str, ...] = ()

    def check(self, found: Any) -> Any:
        """The value that is meant.

        Raises
        ------
        Unfit
            If it is none of this kind.
        """
        try:
            return self.of_text(str(found)) if isinstance(found, Text) else self.of_toml(found)
        except Unfit:
            raise
        except (ValueError, TypeError):
            raise Unfit("what is given" if self.is_secret else in_words(found), self.expected) from None


def in_words(found: Any) -> str:
    """A value as a message shows it."""
    if found is None:
        # JSON has it, TOML has not.
        return "nothing"
    if isinstance(found, dict):
        return "a table"
    if isinstance(found, list) and any(isinstance(each, dict | list) for each in found):
        return "a list"
    text = as_toml(found) if isinstance(found, bool | int | float | list | tuple) else repr(str(found))
    return text if len(text) <= 80 else f"{text[:80]}…"


def as_toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not isinstance(value, Duration):
        return f"{value:g}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_toml, value))}]"
    import json

    # A basic string of TOML has the escapes of JSON, and no other.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)


def _string(found: Any) -> str:
    if not isinstance(found, str):
        raise TypeError
    return found


def number(low: int, high: int | None = None) -> Kind:
    """A whole number within limits."""

    def of_toml(found: Any) -> int:
        if not _is_number(found) or isinstance(found, float) or not low <= found <= (high or _MOST):
            raise ValueError
        return int(found)

    def of_text(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or len(text) > 18:
            raise ValueError
        return of_toml(int(text))

    return Kind(f"a number from {low} {'on' if high is None else f'to {high}'}", of_text, of_toml)


def choice(*words: str) -> Kind:
    """One of several words."""

    def one(found: Any) -> str:
        if found not in words:
            raise ValueError
        return str(found)

    return Kind(f"one of {', '.join(words)}", one, one, words=words)


def text(
    expected: str = "a text",
    check: Callable[[str], Any] = str,
    *,
    is_secret: bool = False,
    may_be_empty: bool = False,
) -> Kind:
    """A text, as it is; of one line, unless it is secret.

    Parameters
    ----------
    check
        Raises ValueError for one that is wrong.
    """

    def of_toml(found: Any) -> str:
        check(_string(found))
        if (not found and not may_be_empty) or "\0" in found or not (found.isprintable() or is_secret):
            raise ValueError
        return str(found)

    return Kind(expected, of_toml, of_toml, is_secret=is_secret)


def several(kind: Kind, separator: str | None = ",") -> Kind:
    """A list of items of a kind.

    Parameters
    ----------
    separator
        What is between them in a text; None for blanks.
    """

    def of_toml(found: Any) -> tuple[Any, ...]:
        if not isinstance(found, list | tuple):
            raise TypeError
        return tuple(item(each, index) for index, each in enumerate(found))

    def item(found: Any, index: int) -> Any:
        try:
            return kind.check(found)
        except Unfit as failure:
            raise Unfit(failure.found, failure.expected, index) from None

    def of_text(words: str) -> tuple[Any, ...]:
        return tuple(kind.check(Text(each.strip())) for each in words.split(separator))

    return Kind(f"a list, each item {kind.expected}", of_text, of_toml, is_list=True)


def _seconds(found: Any) -> float:
    if not _is_number(found) or not 0 <= found < _LONGEST_TIME:
        raise ValueError
    return float(found)


_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?([a-z]+)")
_UNITS = {
    name: seconds
    for names, seconds in (
        ("s second seconds", 1.0),
        ("min minute minutes", 60.0),
        ("h hour hours", 3600.0),
        ("d day days", 86_400.0),
        ("w week weeks", 604_800.0),
        ("y year years", 31_557_600.0),
    )
    for name in names.split()
}


def _duration(found: Any) -> Duration:
    if _is_number(found):
        return Duration(_seconds(found))
    number = _DURATION.fullmatch(_string(found).strip().lower())
    if number is None:
        return Duration(_seconds(float(found)))
    if number[2] not in _UNITS:
        raise ValueError
    return Duration(float(number[1]) * _UNITS[number[2]])


_SPACE_UNITS = {"MB": 1e6, "GB": 1e9, "TB": 1e12}
_SPACE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?(%|[MGT]B)")


def _space(found: Any) -> Space:
    number = _SPACE.fullmatch(_string(found).strip())
    if number is None or (number[2] == "%" and float(number[1]) > 100):
        raise ValueError
    return Space(float(number[1]), number[2])


def _flag(found: Any) -> bool:
    if not isinstance(found, bool):
        raise TypeError
    return found


def _flag_of(word: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[word.lower()]


def _flag_of_text(word: str) -> bool:
    try:
        return _flag_of(word)
    except KeyError:
        raise ValueError from None


def _path(found: Any) -> Path:
    if not _string(found) or "\0" in found:
        raise ValueError
    return Path(found)


def _title(found: str) -> None:
    from ..wire.fields import ae_title_bytes

    ae_title_bytes(found, "an AE title")
    # Titles are compared as peers' are: without the blanks that fill them up.
    if found != found.strip():
        raise ValueError


def is_title(found: str) -> bool:
    """Whether a text can be an AE title of ours, or of one whom we call."""
    try:
        return bool(TITLE.check(found))
    except Unfit:
        return False


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that may have been meant by one that is not among them; None if none is like it."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(words), 1)), None)


def _peers_title(found: str) -> None:
    """Check a title that a peer may have, which need not be as the standard wants ours."""
    if found != found.strip() or not found.isprintable() or len(found) > 16:
        raise ValueError


def _peer(found: str) -> None:
    from ..exchange.addresses import PeerAddress

    PeerAddress.parse(found)
    if "@" not in found:
        raise ValueError


NOWHERE = "off"


def web_address(found: str) -> tuple[str, int] | None:
    """Host and port of a text for where to listen by HTTP, None for nowhere; raises ValueError.

    The host may be left out, which is loopback, and may be empty, which is every IPv4 address.
    """
    if found == NOWHERE:
        return None
    host, colon, port = found.rpartition(":")
    if not colon:
        host = "127.0.0.1"
    elif host.startswith("["):
        if not host.endswith("]"):
            raise ValueError
        host = host[1:-1]
    elif ":" in host:
        raise ValueError
    return host, int(PORT.check(Text(port)))


_ORIGIN = re.compile(r"\*|https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")


def _origin(found: str) -> None:
    if _ORIGIN.fullmatch(found) is None:
        raise ValueError


_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def _host_name(found: str) -> None:
    if _HOST_NAME.fullmatch(found) is None:
        raise ValueError


# Where syslog servers listen who say nothing else, by transport (RFC 5425 and RFC 5426).
_SYSLOG_PORTS = {"tls": 6514, "udp": 514}


def syslog_address(found: str) -> tuple[str, str, int]:
    """Transport, host and port of a text for where a syslog server is; raises ValueError."""
    scheme, mark, place = found.rpartition("://")
    if not mark:
        scheme = "tls"
    if scheme not in _SYSLOG_PORTS or not place or place != place.strip():
        raise ValueError
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        host, port = place, str(_SYSLOG_PORTS[scheme])
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError
    number = int(PORT.check(Text(port)))
    if not host or "/" in host or not number:
        raise ValueError
    return scheme, host, number


FLAG = Kind("true or false", _flag_of_text, _flag)
SECONDS = Kind("a time in seconds", lambda word: _seconds(float(word)), _seconds)
DURATION = Kind("a time, such as 90 s, 12 h, 7 days or 10 years", _duration, _duration)
SPACE = Kind("an amount of space, such as 50 GB, 2 TB or 10 %", _space, _space)
FOLDER = Kind("the path of a folder", _path, _path, is_path=True)
FILE = Kind("the path of a file", _path, _path, is_path=True)
PORT = number(0, 65535)
TITLE = text(
    "an AE title of up to 16 ASCII characters, without a backslash and without blanks around it", _title
)
PEERS_TITLE = text("an AE title of up to 16 characters, without blanks around it", _peers_title)
PEER = text("a peer as AET@host:port, an IPv6 address in brackets", _peer)
WEB_ADDRESS = text("off, a port, or HOST:PORT, an IPv6 address in brackets", web_address)
SYSLOG_ADDRESS = text(
    "HOST:PORT, tls://HOST:PORT or udp://HOST:PORT, an IPv6 address in brackets", syslog_address
)
HOST_NAME = text("the name of a host, in small letters and without a port", _host_name)
ORIGIN = text(
    "an origin, such as https://viewer.example:8443, in small letters and without a path, or *", _origin
)
