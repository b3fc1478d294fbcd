"""`dicomnet move`: have a peer send objects (C-MOVE), to another node or to a receiver in this process."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DicomnetError
from .arguments import FAILED, OK, Parser, ae_title, port, seconds
from .listening import DEFAULT_PORT, add_bind_options, bind_failure, check_bind, open_node
from .requestor import add_peer_options, open_peer
from .retrieving import Retrieval, add_retrieve_options, retrieve_identifier
from .words import complain, printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

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
    group.add_argument(
        "--receive-port",
        type=port,
        default=DEFAULT_PORT,
        metavar="PORT",
        help="the port to listen on, which the peer must know (%(default)s)",
    )
    add_bind_options(group, "store")
    group.add_argument(
        "--wait",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long to wait at the end for objects that the peer says it has sent (%(default)g); 0 is without end",
    )


class Arrivals:
    """How many objects have arrived; told by the threads of the receiver."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()

    def add(self, sop_instance_uid: str, status: int) -> None:
        """An object was stored, or not."""
        if status == 0 or status & 0xF000 == 0xB000:
            with self._changed:
                self.count += 1
                self._changed.notify()

    def wait(self, count: int, limit: float) -> None:
        """Wait for a number of objects, for up to ``limit`` seconds; 0 is without end."""
        with self._changed:
            self._changed.wait_for(lambda: self.count >= count, limit or None)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    from ..exchange.contexts import MOVE_MODELS, find_model

    level, identifier = retrieve_identifier(options)
    model = find_model(level, options.model, MOVE_MODELS)
    if options.receive is not None:
        check_bind("move", options, "store")
    retrieval, arrivals = Retrieval(), Arrivals()
    with _receiver(options, arrivals), open_peer(options) as peer:
        with retrieval.told("moved", options):
            retrieval.follow(peer.move_identifier(options.destination, identifier, model), options)
        if options.receive is None:
            return FAILED if retrieval.failed else OK
        arrivals.wait(retrieval.retrieved, options.wait)
    if not options.quiet:
        say = complain if options.json else print
        say(f"{arrivals.count} arrived in {printable(str(options.receive))}")
    missing = retrieval.retrieved - arrivals.count
    if missing > 0:
        complain(
            f"dicomnet move: {missing} of {retrieval.retrieved} objects that the peer says it has sent did not"
            f" arrive; does it know {options.destination} by our address?"
        )
    return FAILED if retrieval.failed or missing > 0 else OK


@contextmanager
def _receiver(options: Namespace, arrivals: Arrivals) -> Iterator[None]:
    """The destination, if it is to be this process."""
    if options.receive is None:
        yield
        return
    address = options.bind, options.receive_port
    try:
        node = open_node(
            options.receive, address, options.destination, has_index=False, on_stored=arrivals.add
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
