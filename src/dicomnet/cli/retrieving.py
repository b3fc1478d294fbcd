"""Commands that retrieve: their keys, their progress, and what is said at the end."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from ..datasets.levels import UNIQUE_KEYS
from ..plurals import counted
from ..values import mutable, replace
from .arguments import Parser, UsageError
from .keys import add_key_option, add_model_options, read_keys
from .progress import Progress
from .terminal import progress_on_terminal
from .words import complain, is_terminal

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pydicom.dataset import Dataset

    from ..exchange.results import LocalFailure, RetrieveProgress


class Arrivals(Protocol):
    """The objects that have arrived at a receiver, as far as a retrieval needs them."""

    @property
    def count(self) -> int:
        """How many were stored."""
        ...

    @property
    def failures(self) -> Sequence[LocalFailure]:
        """Those that were refused, with the cause."""
        ...


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


# The level of each unique key, from the lowest to the highest.
_LEVELS = {keyword: level.name.lower() for level, keyword in reversed(UNIQUE_KEYS.items())}


def retrieve_identifier(options: Namespace) -> tuple[str, Dataset]:
    """The level, and the Identifier with the keys of the command line; raises UsageError for what they cannot be."""
    from ..datasets.queries import build_identifier

    keys = read_keys(options)
    level = options.level or keys.pop("QueryRetrieveLevel", None)
    if level is None:
        level = next((level for keyword, level in _LEVELS.items() if keys.get(keyword)), None)
    if level is None:
        raise UsageError(f"which objects? Give a key with -k, one of {', '.join(_LEVELS)}, or --level")
    try:
        identifier = build_identifier(level, {name: _several(value) for name, value in keys.items()})
    except ValueError as error:
        raise UsageError(str(error)) from error
    if all(value in (None, "", "*") for name, value in keys.items() if name != "SpecificCharacterSet"):
        # As of a script with an empty variable: many peers would send all that they have.
        raise UsageError("which objects? No key has a value, so the peer might send all that it has")
    return level, identifier


def _several(value: object) -> object:
    return value.split("\\") if isinstance(value, str) and "\\" in value else value


@mutable
class Retrieval:
    """The progress of a C-GET or C-MOVE: what has arrived here, and what the peer says.

    Parameters
    ----------
    command
        Its name, for complaints.
    arrivals
        What arrives at a receiver of this process; None where responses know, or nobody does.
    """

    command: str
    arrivals: Arrivals | None = None
    last: RetrieveProgress | None = None
    shown_failures: int = 0

    def follow(self, responses: Iterable[RetrieveProgress], options: Namespace) -> None:
        """Show how far it is, and name what failed; raises what it ends with."""
        shown = Progress()
        if is_terminal(sys.stderr) and not options.quiet and not (options.json and is_terminal(sys.stdout)):
            shown = progress_on_terminal("retrieving", None, "objects")
        with shown:
            for response in responses:
                response = self._with_arrivals(response)
                self.last = response
                done = (response.sent or 0) + (response.failed or 0) or response.received or 0
                shown.reach(done, done + (response.remaining or 0))
                if options.json:
                    _write_line(response)
                    continue
                self._show_failures(response, shown)
                if response.is_final:
                    for uid in response.failed_uids:
                        shown.say(f"failed: {uid}")

    def tell_arrivals(self, options: Namespace) -> None:
        """Say what has arrived, or failed, since the last response."""
        if self.last is None or self.arrivals is None:
            return
        before, self.last = self.last, self._with_arrivals(self.last)
        if not options.json:
            self._show_failures(self.last, Progress())
        elif self.last != before:
            _write_line(self.last)

    def _with_arrivals(self, response: RetrieveProgress) -> RetrieveProgress:
        if self.arrivals is None:
            return response
        failures = tuple(self.arrivals.failures)
        return replace(response, received=self.arrivals.count, local_failures=failures)

    def _show_failures(self, response: RetrieveProgress, shown: Progress) -> None:
        for failure in response.local_failures[self.shown_failures :]:
            shown.say(f"failed here: {failure}")
        self.shown_failures = len(response.local_failures)

    @contextmanager
    def told(self, known: Callable[[], str], options: Namespace) -> Iterator[None]:
        """Say in the end what became of it, however it ends.

        Parameters
        ----------
        known
            Gives what we know ourselves, in words; empty where we know nothing.
        """
        try:
            yield
        finally:
            # What has arrived is to be known, too, where the peer has not said a word.
            words = "; ".join(filter(None, (known(), self._counts())))
            if words and not options.quiet:
                say = complain if options.json else print
                say(words)

    @property
    def is_complete(self) -> bool:
        """Whether the peer ended with success, and neither side knows of an object that failed or is missing."""
        return self.last is not None and self.last.status == 0 and self.last.is_complete

    def complain_of_missing(self, hint: str = "") -> bool:
        """Say how many objects have not arrived that the peer says it has sent; False where there are none."""
        missing = self.last.missing if self.last else 0
        if self.last and missing:
            complain(
                f"dicomnet {self.command}: {missing} of {counted(self.last.sent or 0, 'object')} that the peer says it"
                f" has sent did not arrive{hint}"
            )
        return missing > 0

    def _counts(self) -> str:
        """The counts that the peer gave, in words."""
        if self.last is None:
            return ""
        counts = (
            ("completed", self.last.completed),
            ("with warnings", self.last.warnings),
            ("failed", self.last.failed),
            ("not sent", self.last.unsent or None),
        )
        words = ", ".join(f"{what} {count}" for what, count in counts if count is not None)
        last = self.last
        is_explained = last.failed or last.failed_uids or last.local_failures or last.missing or last.unsent
        # Where nothing else says why the exit status is not 0.
        is_told = last.is_final and last.status and not (words and is_explained)
        ending = f", and ends with status 0x{self.last.status:04X}" if is_told else ""
        return f"the peer counts: {words}{ending}" if words else f"the peer gives no counts{ending}"


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
        "received": response.received,
        "local_failures": [
            {"sop_instance_uid": each.sop_instance_uid, "path": each.path or None, "cause": each.cause}
            for each in response.local_failures
        ],
    }
    print(json.dumps(line))
