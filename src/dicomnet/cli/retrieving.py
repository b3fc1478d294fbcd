"""Commands that retrieve: their keys, their progress, and what is said at the end."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..values import mutable
from .arguments import Parser, UsageError
from .keys import add_key_option, add_model_options, read_keys
from .progress import Progress
from .terminal import progress_on_terminal
from .words import complain, is_terminal

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Iterator

    from pydicom.dataset import Dataset

    from ..exchange.results import RetrieveProgress


def add_retrieve_options(parser: Parser) -> None:
    """Add the options for what is to be retrieved."""
    group = parser.add_argument_group("what to retrieve")
    add_key_option(
        group, "a unique key, as StudyInstanceUID=1.2.3; several UIDs are separated by backslashes"
    )
    add_model_options(group, "what is retrieved; that of the lowest unique key among the keys if left out")
    parser.add_argument(
        "--json", action="store_true", help="write a line of JSON for each response of the peer"
    )


# The unique key of each level, from the lowest to the highest.
UNIQUE_KEYS = {
    "SOPInstanceUID": "image",
    "SeriesInstanceUID": "series",
    "StudyInstanceUID": "study",
    "PatientID": "patient",
}


def retrieve_identifier(options: Namespace) -> tuple[str, Dataset]:
    """The level, and the Identifier with the keys of the command line; raises UsageError for what they cannot be."""
    from ..datasets.queries import build_identifier

    keys = read_keys(options)
    level = options.level or keys.pop("QueryRetrieveLevel", None)
    if level is None:
        level = next((level for keyword, level in UNIQUE_KEYS.items() if keys.get(keyword)), None)
    if level is None:
        raise UsageError(f"which objects? Give a key with -k, one of {', '.join(UNIQUE_KEYS)}, or --level")
    try:
        return level, build_identifier(level, {name: _several(value) for name, value in keys.items()})
    except ValueError as error:
        raise UsageError(str(error)) from error


def _several(value: object) -> object:
    return value.split("\\") if isinstance(value, str) and "\\" in value else value


@mutable
class Retrieval:
    """The progress of a C-GET or C-MOVE, as the peer reports it."""

    last: RetrieveProgress | None = None

    def follow(self, responses: Iterable[RetrieveProgress], options: Namespace) -> None:
        """Show how far it is, and name what failed; raises what it ends with."""
        shown = Progress()
        if is_terminal(sys.stderr) and not options.quiet and not (options.json and is_terminal(sys.stdout)):
            shown = progress_on_terminal("retrieving", None, "objects")
        with shown:
            for response in responses:
                self.last = response
                done = response.completed + response.warnings + response.failed
                shown.reach(done, done + response.remaining)
                if options.json:
                    _write_line(response)
                elif response.is_final:
                    for uid in response.failed_uids:
                        shown.say(f"failed: {uid}")

    @contextmanager
    def told(self, what: str, options: Namespace) -> Iterator[None]:
        """Say in the end what became of it, however it ends.

        Parameters
        ----------
        what
            What was done with the objects, in a word.
        """
        try:
            yield
        finally:
            if self.last is not None and not options.quiet:
                say = complain if options.json else print
                say(f"{what} {self.retrieved} ({self.last.warnings} with warnings), failed {self.failed}")

    @property
    def retrieved(self) -> int:
        """How many objects were sent, as the peer says."""
        return self.last.completed + self.last.warnings if self.last else 0

    @property
    def failed(self) -> int:
        """How many were not, as the peer says."""
        return max(self.last.failed, len(self.last.failed_uids)) if self.last else 0


def _write_line(response: RetrieveProgress) -> None:
    import json

    line = {
        "status": response.status,
        "remaining": response.remaining,
        "completed": response.completed,
        "warnings": response.warnings,
        "failed": response.failed,
        "failed_uids": list(response.failed_uids),
        "comment": response.comment or None,
    }
    print(json.dumps(line))
