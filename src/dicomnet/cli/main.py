"""The `dicomnet` command: runs a subcommand, and turns a failure into one line and an exit status."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from types import FrameType, ModuleType

from .._version import __version__
from ..errors import DicomnetError
from ..exchange.reasons import reason
from .arguments import FAILED, USAGE, Parser, UsageError, add_output_options, set_up_logging
from .words import complain

COMMANDS = {
    "echo": "verify that a peer answers (C-ECHO)",
    "store": "send files and folders to a peer (C-STORE)",
    "watch": "send what comes into a folder to a peer, as it comes (C-STORE)",
    "find": "query a peer (C-FIND)",
    "get": "retrieve objects over one association (C-GET)",
    "fetch": "retrieve what a list names, complete (C-FIND, C-GET or C-MOVE)",
    "move": "have a peer send objects, to us or to another (C-MOVE)",
    "worklist": "query a modality worklist (C-FIND)",
    "commit": "ask a peer whether it keeps objects (storage commitment)",
    "diagnose": "find the layer that fails between us and a peer",
    "remotes": "list, add, remove and test the peers that have a name in the configuration",
    "serve": "run an archive node: store, index, answer queries",
    "receive": "store what peers send into a folder",
    "users": "say who may use an archive by HTTP, and make tokens for scripts",
    "viewer": "install the full viewer OHIF, which a node serves",
    "config": "check, show or explain the configuration of a node",
    "reload": "have a running node read its configuration again",
    "import": "store files, folders, zip and tar files and media in an archive",
    "export": "copy objects of an archive into a folder, a zip file or onto media",
    "delete": "delete objects of an archive, which are kept in its trash for a while",
    "undelete": "bring back what is in the trash of an archive",
    "protect": "have the objects of a patient never deleted",
    "reindex": "make the index of an archive anew from its files",
    "check": "compare the files of an archive with its index and their digests",
    "backup": "copy an archive into a folder, while it is in use",
    "restore": "make an archive of a backup",
    "audit": "list who asked for, brought and fetched what of an archive",
    "quarantine": "list, compare, release or drop what an archive keeps in quarantine",
    "completion": "print what makes a shell complete the command line",
    "man": "print or write the manual pages of the commands",
}
# Those whose names cannot be names of modules.
_MODULES = {"import": "import_"}
# Exit statuses after Ctrl-C, SIGTERM or a closed pipe, as shells report them: 128 plus the number of the signal.
INTERRUPTED = 130
TERMINATED = 143
PIPE_CLOSED = 141

EXIT_STATUS = """\
exit status:
  0  all went well
  1  something failed
  2  the command line is wrong
"""
EXAMPLE = """
example:
  dicomnet echo PACS@127.0.0.1:11112
"""


class Terminated(KeyboardInterrupt):
    """SIGTERM came, which ends a command as Ctrl-C does: nothing half done is left, and peers are told."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments
        The arguments after the program's name; by default those of the process.

    Returns
    -------
    int
        The exit status: 0 all went well, 1 something failed, 2 the command line is wrong.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = words[0] if words and words[0] in COMMANDS else ""
    return guarded(f"dicomnet {command}".rstrip(), lambda: _run(command, words))


def guarded(name: str, command: Callable[[], int]) -> int:
    """Run a command; a failure becomes a line on standard error and the exit status.

    Parameters
    ----------
    name
        The command as it is typed, for the line.
    command
        Runs it, and returns its exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Text that the terminal's encoding lacks, such as a file name or a peer's text, must not be an error.
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        with _ended_by_sigterm():
            return command()
    except UsageError as error:
        complain(f"{name}: {error} (see {name} --help)")
        return USAGE
    except BrokenPipeError:
        # The reader of our output has closed the pipe; the interpreter must not fail again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except KeyboardInterrupt as interrupt:
        is_terminated = isinstance(interrupt, Terminated)
        complain(f"{name}: {'terminated' if is_terminated else 'interrupted'}")
        return TERMINATED if is_terminated else INTERRUPTED
    except (DicomnetError, OSError) as error:
        # Late, as few commands read settings.
        from ..settings.mistakes import Mistakes

        if not isinstance(error, Mistakes):
            complain(f"{name}: {reason(error)}")
            return FAILED
        for line in error.lines:
            complain(f"{name}: {line}")
        return USAGE


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Raise `Terminated` where SIGTERM would end the process, once: a second one does end it."""

    def terminate(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Terminated

    # Only the main thread may, and whoever handles it already, or wants it ignored, has a reason.
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(command: str, words: list[str]) -> int:
    if not command:
        return _help(words)
    options = parser_of(command).parse(words[1:])
    set_up_logging(options)
    status: int = _module_of(command).run(options)
    return status


def _module_of(command: str) -> ModuleType:
    return import_module(f".{_MODULES.get(command, command)}", __package__)


def parser_of(command: str) -> Parser:
    """The parser of one of the commands."""
    parser = Parser(f"dicomnet {command}", COMMANDS[command], EXIT_STATUS)
    _module_of(command).configure(parser)
    add_output_options(parser)
    parser.be_brief()
    return parser


def _help(words: list[str]) -> int:
    """Handle the options without a subcommand; raises UsageError if there is no such command."""
    parser = Parser("dicomnet", "DICOM networking on the command line.", EXIT_STATUS)
    parser.usage = "dicomnet COMMAND [OPTION]..."
    width = max(map(len, COMMANDS))
    rows = "".join(f"  {name:{width}}  {summary}\n" for name, summary in COMMANDS.items())
    parser.epilog = (
        f"commands:\n{rows}\ndicomnet COMMAND --help describes a command.\n{EXAMPLE}\n{EXIT_STATUS}"
    )
    parser.add_argument("--version", action="version", version=f"dicomnet {__version__}")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="one of the commands below")
    given = parser.parse_args(words).command
    if given is None:
        raise UsageError(f"no command is given; the commands are {', '.join(COMMANDS)}")
    raise UsageError(f"there is no command {given!r}; the commands are {', '.join(COMMANDS)}")


if __name__ == "__main__":
    sys.exit(main())
