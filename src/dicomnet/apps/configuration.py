"""The configuration of `qrscp`, in INI format: the section DEFAULT has its options, each other one a destination."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping
from configparser import ConfigParser, Error
from typing import Any

from ..cli.arguments import UsageError, ae_title, port, seconds
from ..values import frozen
from .options import number


def _yes_or_no(text: str) -> bool:
    try:
        return ConfigParser.BOOLEAN_STATES[text.lower()]
    except KeyError:
        raise ArgumentTypeError(f"{text!r} is neither yes nor no") from None


@frozen
class _Key:
    parse: Callable[[str], Any]
    default: Any


# The names are those of the options, too, which go before the file.
_KEYS = {
    "ae_title": _Key(ae_title, "QRSCP"),
    "port": _Key(port, 11112),
    "max_pdu": _Key(number, 16382),
    "acse_timeout": _Key(seconds, 30.0),
    "dimse_timeout": _Key(seconds, 30.0),
    "network_timeout": _Key(seconds, 30.0),
    "bind_address": _Key(str, ""),
    "instance_location": _Key(str, "instances"),
    "database_location": _Key(str, "instances.sqlite"),
    "log_identifier": _Key(_yes_or_no, True),
}
_DESTINATIONS = {"STORESCP": ("127.0.0.1", 11113)}

Destinations = Mapping[str, tuple[str, int]]


def configure(options: Namespace) -> Destinations:
    """Set the options that the command line leaves open; returns the move destinations by AE title.

    Raises
    ------
    UsageError
        If the file is not such a configuration.
    OSError
        If it cannot be read.
    """
    values = {name: key.default for name, key in _KEYS.items()}
    destinations: Destinations = _DESTINATIONS
    if options.config is not None:
        destinations = _read(options.config, values)
    for name, value in values.items():
        if getattr(options, name, None) is None:
            setattr(options, name, value)
    return destinations


def _read(path: str, values: dict[str, Any]) -> Destinations:
    parser = ConfigParser(interpolation=None)
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
        unknown = parser.defaults().keys() - _KEYS.keys()
        if unknown:
            raise UsageError(f"{path}: there is no option {min(unknown)!r}")
        for name, text in parser.defaults().items():
            values[name] = _KEYS[name].parse(text)
        return {
            ae_title(title): (parser[title]["address"], port(parser[title]["port"]))
            for title in parser.sections()
        }
    except KeyError as error:
        raise UsageError(f"{path}: a destination has no {error}") from error
    except (Error, ArgumentTypeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from error
