"""`dicomnet man`: manual pages (roff, with the macros of man(7)), made of the parsers of the commands."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .._version import __version__
from .arguments import OK, Parser, UsageError

if TYPE_CHECKING:
    from argparse import Namespace

# The width at which argparse breaks what it gives; the lines are joined again.
_WIDTH = 10_000
# How long a line of text is at most, so that it has less than 80 bytes with its escapes.
_LENGTH = 64
_RUN = re.compile(r"\s*\n\s*")


def configure(parser: Parser) -> None:
    """Tell the parser about this command."""
    parser.explain(
        "Print the manual page of a command, or that of all; or write all pages into a folder, from which man reads\n"
        "them if the path of that folder without the last part, man1, is in MANPATH. They say what --help does.",
        "dicomnet man store | man -l -\ndicomnet man --to ~/.local/share/man/man1\nman dicomnet-store",
    )
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="one of the commands")
    parser.add_argument(
        "--to", metavar="DIR", help="write all pages into this folder, which is made if needed"
    )


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    from .main import COMMANDS

    if options.command is not None and options.command not in COMMANDS:
        raise UsageError(f"there is no command {options.command!r}; the commands are {', '.join(COMMANDS)}")
    if options.to is None:
        print(page_of(options.command), end="")
        return OK
    if options.command is not None:
        raise UsageError("--to writes all pages; leave the command out")
    os.makedirs(options.to, exist_ok=True)
    for command in (None, *COMMANDS):
        name = "dicomnet" if command is None else f"dicomnet-{command}"
        with open(os.path.join(options.to, f"{name}.1"), "w", encoding="utf-8") as file:
            file.write(page_of(command))
    if not options.quiet:
        print(f"wrote {len(COMMANDS) + 1} pages")
    return OK


def page_of(command: str | None) -> str:
    """The manual page of a command; of None, that of all commands."""
    from .main import COMMANDS, parser_of

    lines = _overview(COMMANDS) if command is None else _page(parser_of(command), command, COMMANDS[command])
    return "".join(f"{line}\n" for line in lines)


def _overview(commands: dict[str, str]) -> Iterator[str]:
    yield from _head("dicomnet", "DICOM networking on the command line")
    yield from (".SH SYNOPSIS", f".B {_text('dicomnet')}", r"\fICOMMAND\fR [\fIOPTION\fR]...")
    yield ".SH COMMANDS"
    for name, summary in commands.items():
        yield from (".TP", f".BR {_text(f'dicomnet-{name}')} (1)", *_lines(summary))
    yield from (".SH OPTIONS", ".TP", r"\fB\-h\fR, \fB\-\-help\fR", "describe the commands")
    yield from (".TP", r"\fB\-\-version\fR", "say which version it is")
    yield from _exit_status()


def _page(parser: Parser, command: str, summary: str) -> Iterator[str]:
    yield from _head(f"dicomnet-{command}", summary)
    usage = parser.format_usage().partition(" ")[2]
    synopsis = _RUN.sub(" ", usage.strip()).removeprefix(parser.prog)
    yield from (".SH SYNOPSIS", f".B {_text(parser.prog)}", *_lines(synopsis))
    yield ".SH DESCRIPTION"
    yield from _lines(parser.description or "")
    formatter = argparse.HelpFormatter(parser.prog, width=_WIDTH)
    for group in parser._action_groups:
        actions = [each for each in group._group_actions if each.help != argparse.SUPPRESS]
        if not actions:
            continue
        title = (group.title or "").upper()
        yield f".SH {_text('ARGUMENTS' if title == 'POSITIONAL ARGUMENTS' else title)}"
        for action in actions:
            told = formatter._expand_help(action) if action.help else ""
            yield from (".TP", f".B {_line(formatter._format_action_invocation(action))}", *_lines(told))
    yield from (".SH EXAMPLES", ".EX")
    yield from map(_line, parser.examples)
    yield ".EE"
    yield from _exit_status()
    yield from (".SH SEE ALSO", r".BR dicomnet (1)")


def _head(name: str, summary: str) -> Iterator[str]:
    # Without a date, as the page is made anew with each version.
    yield f'.TH {_text(name.upper())} 1 "" "dicomnet {__version__}" "dicomnet"'
    yield from (".SH NAME", f"{_text(name)} \\- {_text(summary)}")


def _exit_status() -> Iterator[str]:
    from .main import EXIT_STATUS

    yield ".SH EXIT STATUS"
    for line in EXIT_STATUS.splitlines()[1:]:
        status, _, words = line.strip().partition("  ")
        yield from (".TP", status, *_lines(words))


def _text(text: str) -> str:
    """Text with what roff would take for something else."""
    return (
        text.replace("\\", "\\e")
        .replace("-", "\\-")
        .replace("~", "\\(ti")
        .replace("^", "\\(ha")
        .replace("`", "\\(ga")
    )


def _lines(text: str) -> Iterator[str]:
    """Text that is filled anew by whatever shows it."""
    from textwrap import wrap

    yield from map(_line, wrap(text, _LENGTH, break_long_words=False, break_on_hyphens=False))


def _line(text: str) -> str:
    """Text that may begin a line, which a point or an apostrophe would make a request."""
    text = _text(text.strip())
    return f"\\&{text}" if text.startswith((".", "'")) else text
