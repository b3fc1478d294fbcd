"""The parser of all command lines, the types of their arguments, and how much is said."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..exchange.addresses import PeerAddress
    from ..exchange.web_addresses import WebAddress

OK, FAILED, USAGE = 0, 1, 2

Value = TypeVar("Value")


class UsageError(Exception):
    """The command line is wrong."""


def _formatter_of_unknown_width(prog: str) -> argparse.HelpFormatter:
    """Each `add_argument` makes a formatter; finding out the terminal's width costs more than all the rest of it."""
    return argparse.HelpFormatter(prog, width=80)


class Parser(argparse.ArgumentParser):
    """A parser that shows examples as they are written, and reports a mistake in one line.

    Parameters
    ----------
    prog
        The command as it is typed.
    description
        What it does, in a line.
    ending
        The last part of the help.

    Attributes
    ----------
    examples
        Command lines, one each.
    """

    def __init__(self, prog: str, description: str, ending: str) -> None:
        super().__init__(
            prog,
            description=description,
            formatter_class=_formatter_of_unknown_width,
            allow_abbrev=False,
        )
        self.examples: tuple[str, ...] = ()
        self._ending = ending

    def explain(self, description: str, examples: str) -> None:
        """Set what the help tells besides the options."""
        self.description = description
        self.examples = tuple(examples.strip().splitlines())
        lines = "".join(f"  {line}\n" for line in self.examples)
        self.epilog = f"examples:\n{lines}\n{self._ending}"

    def parse(self, words: list[str]) -> argparse.Namespace:
        """Parse a command line; raises UsageError for a mistake."""
        if any(action.nargs in ("*", "?") and not action.option_strings for action in self._actions):
            # Else the arguments that may be left out would have to come before the first option.
            return self.parse_intermixed_args(words)
        return self.parse_args(words)

    def format_help(self) -> str:
        """The help, as wide as the terminal."""
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Report a mistake; raises UsageError."""
        raise UsageError(message)


def parsed(parse: Callable[[str], Value], text: str) -> Value:
    """What a function makes of an argument; its ValueError is what is said of one that it does not take."""
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def port(text: str) -> int:
    """A TCP port to listen on; 0 is any free one."""
    if not text.isascii() or not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; it is a number from 0 to 65535")
    return int(text)


def count(text: str) -> int:
    """A number of things, at least 1."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 65535")
    return int(text)


def times(text: str) -> int:
    """How often something is done again; 0 is not at all."""
    if not text.isascii() or not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 65535")
    return int(text)


def seconds(text: str) -> float:
    """A duration in seconds; 0 is without end."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds")
    return value


def ae_title(text: str) -> str:
    """An AE title."""
    from ..wire.fields import ae_title_bytes

    parsed(lambda title: ae_title_bytes(title, "an AE title"), text)
    return text


def peer_or_name(text: str) -> PeerAddress | WebAddress | str:
    """A peer's AE title and transport address, or a DICOMweb service; of what has no colon, the name of a remote."""
    if ":" not in text:
        return text
    if "://" in text:
        from ..exchange.web_addresses import WebAddress

        return parsed(WebAddress.parse, text)
    from ..exchange.addresses import PeerAddress

    return parsed(PeerAddress.parse, text)


def add_output_options(parser: Parser) -> None:
    """How much is said."""
    output = parser.add_argument_group("output")
    group = output.add_mutually_exclusive_group()
    group.add_argument("-q", "--quiet", action="store_true", help="say only what failed")
    group.add_argument("-v", "--verbose", action="store_true", help="say more")
    group.add_argument(
        "-d", "--debug", action="store_true", help="log the network's traffic; no patient's data"
    )
    output.add_argument(
        "--log-identifiers",
        action="store_true",
        help="with -d, also log the keys and values of queries and their matches: patients' data",
    )


def set_up_logging(options: argparse.Namespace) -> None:
    """Log to standard error as much as is asked for."""
    import logging
    import warnings

    from .. import _config

    _config.LOG_IDENTIFIERS = options.log_identifiers
    # pydicom warns of values that it finds wrong, and shows them: patients' data.
    warnings.simplefilter("ignore")
    logger = logging.getLogger("dicomnet")
    if not options.verbose and not options.debug:
        # The command itself reports what fails, in one line.
        logger.addHandler(logging.NullHandler())
        return
    from ..exchange.logs import log_to_stderr

    log_to_stderr(logger, logging.DEBUG if options.debug else logging.INFO)
