"""`dicomnet store --commit`: a peer is asked to commit itself to keep what it has taken, when all of that is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import IO, TYPE_CHECKING

from ..errors import AssociationClosed, AssociationError, DeadlineExceeded, NetworkError, ServiceRefusal
from ..exchange.reasons import reason
from ..exchange.results import StoreResult
from .arguments import Parser, port, seconds
from .commit import no_report
from .listening import LOOPBACK, add_bind_options, check_bind
from .words import complain

if TYPE_CHECKING:
    from argparse import Namespace

    from ..blocking.peer import Peer
    from ..exchange.journal import Journal

COMMITTED, NOT_COMMITTED = "committed", "not committed"
# How many results are looked at together: those of a transaction.
_TOGETHER = 1000


def add_commit_options(parser: Parser) -> None:
    """Add the options for it."""
    group = parser.add_argument_group("storage commitment")
    group.add_argument(
        "--commit",
        action="store_true",
        help="ask the peer in the end to commit itself to keep the objects, and wait for its report; one that is not"
        " committed is a failure",
    )
    group.add_argument(
        "--commit-wait",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait for a report (%(default)g); 0 is without end",
    )
    group.add_argument(
        "--listen",
        type=port,
        metavar="PORT",
        help="listen for reports on associations that the peer opens, which must know our AE title with host and port",
    )
    add_bind_options(group, "send reports")


def listening_address(options: Namespace, command: str = "store") -> tuple[str, int] | None:
    """Where to listen for reports; None for nowhere. Raises UsageError where that is not allowed."""
    if options.listen is None:
        return None
    host = LOOPBACK if options.bind is None else options.bind
    check_bind(command, host, options.allow_public, "send reports")
    return host, options.listen


def _class_of(result: StoreResult) -> str:
    """The SOP class of a file that an older journal has not noted; empty where it cannot be read any more."""
    from ..drivers.files import StoredObject
    from ..exchange.files import look_at

    found = look_at(result.path)[0]
    return found.header.sop_class_uid if isinstance(found, StoredObject) else ""


class Stored:
    """What the peer has taken, and has not committed itself to yet; kept in a temporary file, as it may be much."""

    def __init__(self) -> None:
        import tempfile

        self._file: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
        self._count = 0

    def add(self, result: StoreResult) -> None:
        """Note the result of an object that the peer has."""
        if result.is_stored and not result.is_committed:
            import json

            class_uid = result.sop_class_uid or _class_of(result)
            values = (
                result.path,
                class_uid,
                result.sop_instance_uid,
                result.member,
                result.offset,
                result.length,
            )
            self._file.write(json.dumps(values) + "\n")
            self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[StoreResult]:
        import json

        self._file.flush()
        at = 0
        while True:
            # Others may go through it meanwhile.
            self._file.seek(at)
            lines = list(islice(iter(self._file.readline, ""), _TOGETHER))
            at = self._file.tell()
            if not lines:
                return
            for line in lines:
                path, class_uid, instance, member, offset, length = json.loads(line)
                yield StoreResult(
                    path, 0, instance, length=length, member=member, offset=offset, sop_class_uid=class_uid
                )

    def close(self) -> None:
        """Remove it."""
        self._file.close()


def commit_stored(
    peer: Peer,
    stored: Stored,
    journal: Journal | None,
    options: Namespace,
    tell: Callable[[StoreResult, str, str], None],
    command: str = "store",
) -> None:
    """Ask for commitment of all that was stored.

    Parameters
    ----------
    journal
        Is told what is committed.
    tell
        Told of each object, the outcome in words, and why where it is not committed.
    command
        The name of the command that asks.
    """
    from ..peers.commitment import Inbox

    inbox, left = Inbox(), iter(stored)
    words = ""
    committed: list[StoreResult] = []

    def flush() -> None:
        if journal is not None and committed:
            journal.commit(committed)
        for each in committed:
            tell(each, COMMITTED, "")
        committed.clear()

    try:
        for found in peer.commit_with(
            inbox, iter(stored), wait=options.commit_wait, listen=listening_address(options, command)
        ):
            result = next(left)
            if found.is_committed:
                committed.append(result)
                if len(committed) >= _TOGETHER:
                    flush()
            else:
                tell(result, NOT_COMMITTED, found.comment)
    except (AssociationClosed, DeadlineExceeded) as error:
        option = "--listen" if options.listen is None else ""
        words = no_report(error, inbox, options.commit_wait, option) or reason(error)
    except (NetworkError, AssociationError, ServiceRefusal) as error:
        words = reason(error)
    finally:
        flush()
    for each in inbox.refused:
        complain(f"dicomnet {command}: a report of the peer is refused: {each}")
    if words:
        complain(f"dicomnet {command}: {words}")
    for result in left:
        tell(result, NOT_COMMITTED, words)
