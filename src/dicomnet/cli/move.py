"""`dicomnet move`: have a peer send objects (C-MOVE), to another node or to a receiver in this process."""

from __future__ import annotations

import contextlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..drivers.blocking.arriving import wait_for_late_objects
from ..drivers.blocking.changes import Changes
from ..encoding.identity import is_uid
from ..errors import DicomnetError, ServiceRefusal
from ..exchange.receiving import asked_for, is_asked_for
from ..exchange.results import LocalFailure, is_done
from .arguments import FAILED, OK, Parser, ae_title
from .listening import WAIT_SECONDS, add_receiver_options, bind_failure, open_node, receiver_address
from .requestor import add_peer_options, open_peer, target_of
from .retrieving import Retrieval, add_retrieve_options, retrieve_identifier
from .words import complain, printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Mapping

    from ..archive.storage.store import ObjectName

_IN_QUARANTINE = "kept in quarantine, as another object with its UID is here"
# How long associations that are still open may go on when all has arrived.
_DRAIN_SECONDS = 5.0


def configure(parser: Parser) -> None:
    """Tell the parser about this command."""
    parser.explain(
        "Have a peer send objects (C-MOVE) to an application entity, whose AE title the peer must know together with\n"
        "its host and port. With --receive it is this process, which listens until all has arrived, and stores as\n"
        "dicomnet receive does. The exit status is 1 if any object failed or did not arrive.",
        "dicomnet move PACS@127.0.0.1:11112 WORKSTATION -k StudyInstanceUID=1.2.3\n"
        "dicomnet move PACS@127.0.0.1:104 DICOMNET --receive incoming/ -k StudyInstanceUID=1.2.3\n"
        "dicomnet move PACS@10.0.0.5:104 DICOMNET --receive in/ --bind 10.0.0.7 --allow-public -k PatientID=42",
    )
    add_peer_options(parser)
    parser.add_argument(
        "destination", type=ae_title, metavar="DESTINATION", help="AE title of where the objects are to go"
    )
    add_retrieve_options(parser)
    group = parser.add_argument_group("receiver")
    group.add_argument(
        "--receive",
        type=Path,
        metavar="DIR",
        help="be the destination, and store in DIR; made if it is not there",
    )
    add_receiver_options(group, "store")


class Arrivals:
    """The objects that have arrived, counted by the threads of the receiver.

    Parameters
    ----------
    folder
        The store of the receiver, None without one.
    wanted
        The UIDs of study, series and object that those which were asked for may have, as `asked_for` gives them.

    Attributes
    ----------
    strangers
        How many others have arrived: whoever knows where the receiver is may send to it meanwhile.
    """

    def __init__(self, folder: Path | None, wanted: Mapping[int, frozenset[str]]) -> None:
        # One that a peer sends twice is one object, whatever the peer counts.
        self._kept: set[str] = set()
        self.failures: list[LocalFailure] = []
        self._folder = folder
        self._wanted = wanted
        self.strangers = 0
        self._changed = Changes()

    @property
    def count(self) -> int:
        """How many were stored."""
        return len(self._kept)

    def add(self, sop_instance_uid: str, status: int, name: ObjectName | None) -> None:
        """An object was stored, put in quarantine, or not taken."""
        from ..archive.intake import KEPT_IN_QUARANTINE

        if name is not None and not is_asked_for(self._wanted, (name.study, name.series, name.instance)):
            self.strangers += 1
        elif status == KEPT_IN_QUARANTINE:
            self._failed(sop_instance_uid, ServiceRefusal(status, _IN_QUARANTINE))
        elif is_done(status):
            with self._changed.lock:
                self._kept.add(sop_instance_uid)
                self._changed.notify_all()

    def fail(self, sop_instance_uid: str, refusal: ServiceRefusal) -> None:
        """An object was refused."""
        cause = refusal.__cause__
        self._failed(sop_instance_uid, cause if isinstance(cause, OSError) else refusal)

    def lose(self, sop_instance_uid: str, error: Exception) -> None:
        """An object that was acknowledged could not get its file; only the intake journal has it."""
        self._kept.discard(sop_instance_uid)
        self._failed(sop_instance_uid, error)

    def _failed(self, sop_instance_uid: str, error: Exception) -> None:
        path = error.filename if isinstance(error, OSError) else None
        if path is None and is_uid(sop_instance_uid):
            path = self._folder
        with self._changed.lock:
            self.failures.append(LocalFailure(sop_instance_uid, error, os.fspath(path) if path else ""))
            self._changed.notify_all()

    def progress(self) -> object:
        """A measure that changes while objects arrive, also within a large one."""
        staged = 0
        if self._folder is not None:
            with contextlib.suppress(OSError), os.scandir(self._folder / "staging") as files:
                for each in files:
                    # One may be complete, and have its name, before it is looked at.
                    with contextlib.suppress(OSError):
                        staged += each.stat().st_size
        return self.count, len(self.failures), staged

    def wait(self, count: int | None, limit: float | None) -> None:
        """Wait until a number of objects have been stored or refused.

        Parameters
        ----------
        count
            None where nobody knows how many come.
        limit
            After how many seconds without a sign of one it ends; None is without end.
        """
        wait_for_late_objects(
            self._changed,
            lambda: count is not None and self.count + len(self.failures) >= count,
            self.progress,
            limit,
        )


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    from ..exchange.contexts import MOVE_MODELS, find_model

    level, identifier = retrieve_identifier(options)
    model = find_model(level, options.model, MOVE_MODELS)
    target = target_of(options)
    address = None
    if options.receive is not None:
        address = receiver_address("move", options, target, "store")
    arrivals = Arrivals(options.receive, asked_for(identifier))
    retrieval = Retrieval("move", arrivals if options.receive is not None else None)

    def known() -> str:
        is_known = retrieval.last or arrivals.count or arrivals.failures or arrivals.strangers
        if options.receive is None or not is_known:
            return ""
        failures = f", failed here {len(arrivals.failures)}" if arrivals.failures else ""
        others = f", and {arrivals.strangers} that nobody asked for" if arrivals.strangers else ""
        return f"{arrivals.count} arrived in {printable(str(options.receive))}{failures}{others}"

    progress = arrivals.progress if options.receive is not None else None
    with retrieval.told(known, options):
        with _receiver(options, arrivals, address), open_peer(options, target, progress=progress) as peer:
            retrieval.follow(peer.move_identifier(options.destination, identifier, model), options)
            if options.receive is not None:
                _await_late_objects(arrivals, retrieval, options)
        retrieval.tell_arrivals(options)
    if options.receive is None:
        return OK if retrieval.is_complete else FAILED
    hint = f"; does it know {options.destination} by our address?"
    is_missing = retrieval.complain_of_missing(hint)
    return OK if retrieval.is_complete and not is_missing and not arrivals.failures else FAILED


def _await_late_objects(arrivals: Arrivals, retrieval: Retrieval, options: Namespace) -> None:
    """Wait for what the peer has sent and is not here yet; where it does not count, until nothing comes any more."""
    sent = retrieval.last.sent if retrieval.last else 0
    limit = options.wait or None
    if sent is None:
        # Without a number to reach, a wait without end would have none.
        limit = limit or WAIT_SECONDS
        if not options.quiet:
            complain(
                f"dicomnet move: the peer gives no counts; waiting until nothing has come for {limit:g} s"
            )
    arrivals.wait(sent, limit)


@contextmanager
def _receiver(options: Namespace, arrivals: Arrivals, address: tuple[str, int] | None) -> Iterator[None]:
    """The destination, if it is to be this process."""
    if address is None:
        yield
        return
    try:
        node = open_node(
            options.receive,
            address,
            ae_title=options.destination,
            has_index=False,
            on_stored=arrivals.add,
            on_refused=arrivals.fail,
        )
    except OSError as error:
        # An error with a file is the store's; without, the socket's.
        if isinstance(error, DicomnetError) or error.filename is not None:
            raise
        raise OSError(bind_failure(error, *address)) from error
    node.start()
    try:
        yield
    finally:
        node.shutdown(_DRAIN_SECONDS)
        for unfiled in node.unfiled:
            arrivals.lose(*unfiled)
