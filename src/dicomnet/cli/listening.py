"""The common part of the commands that listen: their options, running a node, and ending it by signals."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import DicomnetError
from ..exchange.results import LocalFailure
from .arguments import (
    FAILED,
    OK,
    Parser,
    UsageError,
    ae_title,
    count,
    port,
    seconds,
    set_up_service_logging,
)
from .words import complain, printable, reason

if TYPE_CHECKING:
    import argparse
    from argparse import Namespace


class Node(Protocol):
    """An archive node, as far as these commands use it."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        ...

    def start(self) -> None:
        """Begin to accept associations."""
        ...

    def wait(self) -> None:
        """Wait until it has stopped."""
        ...

    def shutdown(self, drain: float) -> None:
        """Stop, after up to ``drain`` seconds for open associations."""
        ...

    @property
    def unfiled(self) -> Sequence[tuple[str, Exception]]:
        """After `shutdown`: the objects that only the intake journal has, each with the reason."""
        ...


DEFAULT_PORT = 11112
# Bytes on the socket to which the interpreter writes signal numbers: the shutdown is complete, or the node has ended.
_SHUT_DOWN, _HAS_ENDED = 0, 255


def add_listening_options(parser: Parser, what: str) -> None:
    """Add the options of a command that runs a node.

    Parameters
    ----------
    what
        What anybody who can reach it may do, for the help.
    """
    parser.add_argument(
        "-p",
        "--port",
        type=port,
        default=DEFAULT_PORT,
        help="the port to listen on (%(default)s); 0 chooses a free one",
    )
    parser.add_argument(
        "-aet", "--aet", type=ae_title, default="DICOMNET", metavar="AET", help="our AE title (%(default)s)"
    )
    add_bind_options(parser, what)
    parser.add_argument(
        "--accept-private",
        action="store_true",
        help="also store objects of unknown SOP classes, such as private ones",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse objects whose form breaks the standard, such as zeros behind the last element; without this option"
        " they are stored as they were received, with a warning in the log",
    )
    parser.add_argument(
        "--workers",
        type=count,
        default=1,
        metavar="N",
        help="how many processes accept associations, so that parallel senders use more than one core (%(default)s)",
    )
    parser.add_argument(
        "--drain",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long open associations may go on after SIGTERM or Ctrl-C (%(default)g); a second signal ends at once",
    )


def add_bind_options(group: argparse._ActionsContainer, what: str) -> None:
    """Add the options for the address to listen on.

    Parameters
    ----------
    what
        What anybody who can reach the address may do, for the help.
    """
    group.add_argument(
        "--bind", default="127.0.0.1", metavar="ADDRESS", help="the address to listen on (%(default)s)"
    )
    group.add_argument(
        "--allow-public",
        action="store_true",
        help=f"listen on an address that other machines can reach, though anybody may then {what}",
    )


def listen(
    folder: Path,
    options: Namespace,
    *,
    has_index: bool,
    what: str,
    more: Callable[[Namespace], dict[str, Any]] = lambda _: {},
) -> int:
    """Run a node until a signal ends it; returns the exit status.

    Parameters
    ----------
    folder
        The folder of the store.
    has_index
        Whether it answers queries.
    what
        What anybody who can reach it may do.
    more
        Makes further options of the node, for which the archive's libraries are needed.
    """
    command = "serve" if has_index else "receive"
    set_up_service_logging(options)
    check_bind(command, options, what)
    if options.workers > 1:
        _check_platform()
    on_stored = _report if options.verbose or options.debug else None
    try:
        node = open_node(
            folder,
            (options.bind, options.port),
            options.aet,
            has_index=has_index,
            accepts_private=options.accept_private,
            strict=options.strict,
            on_stored=on_stored,
            workers=options.workers,
            **more(options),
        )
    except ModuleNotFoundError as error:
        extras = "archive,postgresql" if error.name == "psycopg" else "archive"
        complain(f"dicomnet {command}: {error.name} is not installed; run pip install 'dicomnet[{extras}]'")
        return FAILED
    except OSError as error:
        # An error that names a file comes from the store; one that does not, from the socket.
        if isinstance(error, DicomnetError) or error.filename is not None:
            raise
        complain(f"dicomnet {command}: {bind_failure(error, options.bind, options.port)}")
        return FAILED
    if _serve(node, folder, options):
        return FAILED if _complain_of_unfiled(command, node) else OK
    complain(f"dicomnet {command}: the processes of the server were ended from outside, not by this command")
    return FAILED


def _complain_of_unfiled(command: str, node: Node) -> bool:
    """Whether objects that were acknowledged have no file yet; it is said how many, and why."""
    unfiled = node.unfiled
    if unfiled:
        instance, error = unfiled[-1]
        path = error.filename if isinstance(error, OSError) else None
        complain(
            f"dicomnet {command}: {len(unfiled)} acknowledged objects cannot be filed now, and stay in the intake"
            f" journal for the next start: {LocalFailure(instance, error, os.fsdecode(path) if path else '')}"
        )
    return bool(unfiled)


def _check_platform() -> None:
    from ..drivers.blocking.workers import check_platform

    try:
        check_platform()
    except RuntimeError as error:
        raise UsageError(str(error)) from None


def open_node(folder: Path, address: tuple[str, int], ae_title: str, **options: Any) -> Node:
    """Make a node, which does not listen yet; its options are those of `archive.node.Node`."""
    from ..archive import node

    return node.Node(folder, address=address, ae_title=ae_title, **options)


def check_bind(command: str, options: Namespace, what: str) -> None:
    """Raise UsageError for an address that other machines can reach, unless the options allow it.

    Parameters
    ----------
    what
        What anybody who can reach the address may do.
    """
    if _is_loopback(options.bind):
        return
    if not options.allow_public:
        raise UsageError(
            f"there is no access control yet, and other machines can reach {options.bind or 'every address'}:"
            f" anybody could {what}; use --allow-public to allow that"
        )
    complain(f"dicomnet {command}: warning: there is no access control; anybody who can reach us may {what}")


def _serve(node: Node, folder: Path, options: Namespace) -> bool:
    """Serve until the first signal, then drain; a second signal has its default effect, and ends the process.

    Returns
    -------
    bool
        Whether a signal ended it; False if the node ended by itself.
    """
    here, there = socket.socketpair()
    with here, there:
        there.setblocking(False)
        handlers = {
            # The handler does nothing; its presence makes the interpreter write the signal's number to the socket.
            each: signal.signal(each, lambda number, frame: None)
            for each in (signal.SIGTERM, signal.SIGINT)
        }
        signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
        # What is there now stays. Without this, each full collection would hold a query up for 20 ms or more.
        gc.collect()
        gc.freeze()
        node.start()
        host, number = node.address
        endpoint = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
        print(f"listening on {options.aet}@{endpoint}, storing in {printable(str(folder))}", flush=True)
        threading.Thread(target=_wait, args=(node, there), name="wait", daemon=True).start()
        is_asked = here.recv(1)[0] != _HAS_ENDED
        if is_asked and not options.quiet:
            complain(
                f"draining for up to {options.drain:g} s until associations end; a second signal ends them at once"
            )
        failures: list[Exception] = []
        threading.Thread(
            target=_shut_down, args=(node, options.drain, there, failures), name="shutdown", daemon=True
        ).start()
        while (number := here.recv(1)[0]) == _HAS_ENDED:
            continue
        signal.set_wakeup_fd(-1)
        for each, handler in handlers.items():
            signal.signal(each, handler if number == _SHUT_DOWN else signal.SIG_DFL)
        if number != _SHUT_DOWN:
            signal.raise_signal(number)
        if failures:
            raise failures[0]
        return is_asked


def _wait(node: Node, there: socket.socket) -> None:
    node.wait()
    with contextlib.suppress(OSError):
        # The shutdown may be complete, and the other end closed.
        there.send(bytes((_HAS_ENDED,)))


def _shut_down(node: Node, drain: float, there: socket.socket, failures: list[Exception]) -> None:
    try:
        node.shutdown(drain)
    except (DicomnetError, OSError) as error:
        failures.append(error)
    finally:
        there.send(bytes((_SHUT_DOWN,)))


def _report(sop_instance_uid: str, status: int) -> None:
    words = {0x0000: "stored", 0xB000: "kept in quarantine"}
    outcome = words.get(status, f"refused with status 0x{status:04X}")
    try:
        sys.stdout.write(f"{outcome}: {printable(sop_instance_uid)}\n")
    except BrokenPipeError:
        # The reader of standard output has closed it; the node goes on storing.
        return


def _is_loopback(host: str) -> bool:
    from ipaddress import ip_address

    if not host:
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UsageError(f"--bind {host}: the host name is not known") from None
    return all(ip_address(str(row[4][0]).partition("%")[0]).is_loopback for row in found)


def bind_failure(error: OSError, host: str, port: int) -> str:
    """Why listening on a host and port failed, in words."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use already"
    return f"cannot listen on port {port} of {host}: {reason(error)}"
