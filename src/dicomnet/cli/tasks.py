"""The common part of the commands that have a task performed with an archive: which archive, and what is shown."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..encoding.identity import is_uid
from ..errors import DicomnetError
from ..settings.mistakes import Mistakes
from ..values import frozen
from .arguments import FAILED, OK, Parser, parsed
from .progress import Progress
from .settings import add_config_options, add_setting_options, read_settings
from .terminal import progress_on_terminal
from .words import complain, complain_of_missing, current_user, is_terminal

if TYPE_CHECKING:
    from argparse import Namespace

    from ..archive.tasks.task import Reporter
    from ..settings.values import Settings

# What says which archive it is.
ARCHIVE = ("storage.folder", "storage.database")


def add_archive_options(parser: Parser, *more: str) -> None:
    """Add the options for the archive: those of the node that serves it, so that both take the same configuration.

    Parameters
    ----------
    *more
        Further settings that have an option, by their names.
    """
    add_config_options(parser)
    add_setting_options(parser, has_index=True, names=(*ARCHIVE, *more))


def add_rate_option(parser: Parser) -> None:
    """Add the option for how fast a task reads."""
    parser.add_argument(
        "--rate", type=_rate, metavar="RATE", help="read no more than that in a second, such as 50MB/s"
    )


def _rate(text: str) -> float:
    """A number of bytes in a second."""
    from ..exchange.pacing import bytes_a_second

    return parsed(bytes_a_second, text)


def uid(text: str) -> str:
    """A UID."""
    if not is_uid(text):
        raise ArgumentTypeError(f"{text!r} is not a UID; it is digits and dots")
    return text


@frozen
class Shown:
    """What a command shows of its task.

    Parameters
    ----------
    doing, what
        The activity, and the things that it is about, for the display of progress.
    item
        The line for one thing; None where things have no line but in JSON.
    summary
        The line at the end.
    has_failed
        Whether the summary of the task says that something went wrong.
    """

    doing: str
    what: str
    summary: Callable[[Mapping[str, Any]], str]
    item: Callable[[Mapping[str, Any]], str | None] | None = None
    has_failed: Callable[[Mapping[str, Any]], bool] = lambda summary: False


def run_task(
    options: Namespace,
    command: str,
    name: str,
    parameters: Callable[[Settings], Mapping[str, Any]],
    shown: Shown,
) -> int:
    """Have a task performed, by the node that has the archive or here; returns the exit status.

    Parameters
    ----------
    options
        With those of `add_archive_options`, and ``json``: whether each thing is a line of JSON on standard output, and
        so is the summary.
    command
        The command, for what it says.
    name, parameters
        As of `archive.tasks.performing.perform`; the parameters by the settings that hold.
    shown
        What is shown.
    """

    def run() -> int:
        settings = read_settings(options)
        reporter = reporter_of(options, shown)
        with reporter.display:
            summary = perform_task(settings, name, parameters(settings), reporter)
        if options.json:
            print(json.dumps({"summary": dict(summary)}))
        elif not options.quiet:
            print(shown.summary(summary))
        return FAILED if shown.has_failed(summary) else OK

    return guarded(command, run)


def perform_task(
    settings: Settings, name: str, parameters: Mapping[str, Any], reporter: Reporter
) -> Mapping[str, Any]:
    """Have a task performed, as `archive.tasks.performing.perform` does, with the archive that settings name."""
    from ..archive.conflicts import OtherContent
    from ..archive.tasks.performing import perform

    return perform(
        settings["storage.folder"],
        name,
        parameters,
        reporter,
        user=current_user(),
        database=settings["storage.database"],
        is_strict=settings["storage.strict"],
        other_content=OtherContent(settings["storage.on_conflict"]),
    )


def guarded(command: str, run: Callable[[], int]) -> int:
    """Run what uses an archive; returns the exit status, after a complaint where it fails.

    Parameters
    ----------
    command
        The command, for what is said.
    run
        Does it, and returns the exit status.
    """
    try:
        return run()
    except ModuleNotFoundError as error:
        complain_of_missing(command, error)
        return FAILED
    except Mistakes:
        raise
    except (DicomnetError, OSError) as error:
        from ..archive.tasks.task import in_words

        complain(f"dicomnet {command}: {in_words(error)}")
        return FAILED


def progress_shown(options: Namespace, doing: str, what: str) -> Progress:
    """The display of progress that a command has: none where it is quiet, writes JSON, or has no terminal."""
    if is_terminal(sys.stderr) and not options.quiet and not options.json:
        return progress_on_terminal(doing, None, what)
    return Progress()


def reporter_of(options: Namespace, shown: Shown) -> Any:
    """What shows on the terminal, or as lines of JSON, what a task reports."""
    from ..archive.tasks.task import Reporter

    class Display(Reporter):
        """Shows on the terminal what a task reports."""

        def __init__(self) -> None:
            super().__init__()
            self.display = progress_shown(options, shown.doing, shown.what)

        def show_progress(self, done: int, total: int | None) -> None:
            self.display.reach(done, total)

        def item(self, **fields: Any) -> None:
            if options.json:
                print(json.dumps(fields))
                return
            line = shown.item(fields) if shown.item is not None else None
            if line is not None:
                self.display.say(line)

    return Display()
