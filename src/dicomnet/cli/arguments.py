"""The parser of all command lines, the types of their arguments, and how much is said."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..exchange.addresses import PeerAddress
    from ..exchange.web_addresses import WebAddress

OK, FAILED, USAGE = 0, 1, 2

Value = TypeVar("Value")
# The groups that every help explains, and those that many commands have, of which it has the names.
_ALWAYS = ("positional arguments", "options")
_COMMON = ("association", "TLS", "configuration", "DICOMweb", "storage commitment", "output")
# How many lines it may have.
_SCREEN = 50
# How many of its examples the help of a command has that is to fit a screen.
_EXAMPLES = 3


class UsageError(Exception):
    """The command line is wrong."""


def _formatter_of_unknown_width(prog: str) -> argparse.HelpFormatter:
    """Each `add_argument` makes a formatter; finding out the terminal's width costs more than all the rest of it."""
    return argparse.HelpFormatter(prog, width=80)


class _HelpAll(argparse.Action):
    """The option that shows all options."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        assert isinstance(parser, Parser)
        print(parser.format_all_help(), end="")
        parser.exit()


# What the help of a command does not need to say of itself.
_OF_HELP = (_HelpAll, argparse._HelpAction)


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
        self._is_brief = False
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

    def be_brief(self) -> None:
        """Let the help fit a screen: of the groups of options, which most commands have, it has the names only."""
        self._is_brief = True
        self.add_argument("--help-all", action=_HelpAll, nargs=0, help="explain all options")

    def format_help(self) -> str:
        """The help, as wide as the terminal."""
        return self._format_brief_help() if self._is_brief else self.format_all_help()

    def format_all_help(self) -> str:
        """The help with all options, as wide as the terminal."""
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        return super().format_help()

    def _format_brief_help(self) -> str:
        others = [each for each in self._action_groups if each.title not in _ALWAYS and each._group_actions]
        explained: list[argparse._ArgumentGroup] = []
        text = self._with(explained, others, _EXAMPLES)
        for examples in range(_EXAMPLES, 0, -1):
            text = self._with(explained, others, examples)
            if text.count("\n") <= _SCREEN:
                break
        for group in [each for each in others if each.title not in _COMMON]:
            more = self._with([*explained, group], others, examples)
            if more.count("\n") <= _SCREEN:
                explained.append(group)
                text = more
        return text

    def _with(
        self,
        explained: Sequence[argparse._ArgumentGroup],
        groups: Sequence[argparse._ArgumentGroup],
        examples: int,
    ) -> str:
        """The help with some of its groups of options explained, and so many examples."""
        formatter = argparse.RawDescriptionHelpFormatter(self.prog)
        formatter.add_usage(None, self._positionals._group_actions, [])
        formatter.add_text(self.description)
        formatter.add_text("examples:\n" + "\n".join(f"  {each}" for each in self.examples[:examples]))
        for group in (self._positionals, self._optionals, *explained):
            formatter.start_section(group.title)
            formatter.add_arguments(each for each in group._group_actions if not isinstance(each, _OF_HELP))
            formatter.end_section()
        lines = (
            f"{group.title}: {', '.join(each.option_strings[-1] for each in group._group_actions)}"
            for group in groups
            if group not in explained
        )
        width = formatter._width - 2
        named = [
            textwrap.fill(each, width, subsequent_indent="    ", break_on_hyphens=False) for each in lines
        ]
        if named:
            further = textwrap.indent("\n".join(named), "  ")
            formatter.add_text(f"further options, which --help-all explains:\n{further}")
        return formatter.format_help()

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
