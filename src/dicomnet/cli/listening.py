"""The common part of the commands that listen: their options, running a node, and ending it by signals."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..drivers.transport import listen as new_socket
from ..errors import DicomnetError
from ..exchange.reasons import reason
from ..exchange.results import LocalFailure
from ..plurals import counted
from ..settings.kinds import web_address
from ..settings.mistakes import Mistakes
from ..settings.values import DEFAULT
from ..values import frozen
from .arguments import FAILED, OK, UsageError, port, seconds
from .service_manager import service_manager
from .words import complain, complain_of_missing, printable

if TYPE_CHECKING:
    import argparse
    from argparse import Namespace

    from ..archive.terms import Terms
    from ..peers.target import Target
    from ..settings.values import Settings

_log = logging.getLogger(__name__)


class Node(Protocol):
    """An archive node, as far as these commands use it."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        ...

    @property
    def web_address(self) -> tuple[str, int] | None:
        """Host and port of DICOMweb, if there is any."""

    @property
    def has_pages(self) -> bool:
        """Whether there are pages for people, too."""
        ...

    @property
    def watch_address(self) -> tuple[str, int] | None:
        """Host and port of health and metrics, if they are shown."""
        ...

    def start(self) -> None:
        """Begin to accept associations."""
        ...

    def wait(self) -> None:
        """Wait until it has stopped."""
        ...

    def change(self, terms: Terms) -> None:
        """Let other terms hold."""
        ...

    @property
    def holdings(self) -> Any:
        """What it has."""
        ...

    def shutdown(self, drain: float) -> None:
        """Stop, after up to ``drain`` seconds for open associations."""
        ...

    @property
    def unfiled(self) -> Sequence[tuple[str, Exception]]:
        """After `shutdown`: the objects that only the intake journal has, each with the reason."""
        ...


LOOPBACK, DEFAULT_PORT = "127.0.0.1", 11112
# How many open files and connections a node asks the system for.
_DESCRIPTORS = 1 << 16
# How long nothing may come at the end of a C-MOVE while objects are missing.
WAIT_SECONDS = 30.0
# Bytes on the socket to which the interpreter writes signal numbers: the shutdown is complete, or the node has ended.
_SHUT_DOWN, _HAS_ENDED = 0, 255


def add_bind_options(group: argparse._ActionsContainer, what: str) -> None:
    """Add the options for the address to listen on.

    Parameters
    ----------
    what
        What anybody who can reach the address may do, for the help.
    """
    group.add_argument("--bind", metavar="ADDRESS", help=f"the address to listen on ({LOOPBACK})")
    group.add_argument(
        "--allow-public",
        action="store_true",
        help=f"listen on an address that other machines can reach, though anybody may then {what}",
    )


def add_receiver_options(group: argparse._ActionsContainer, what: str) -> None:
    """Add the options of a receiver for the objects of a C-MOVE: where it listens, and how long at the end.

    Parameters
    ----------
    what
        As of `add_bind_options`.
    """
    group.add_argument(
        "--receive-port",
        type=port,
        metavar="PORT",
        help=f"the port to listen on, which the peer must know ({DEFAULT_PORT}, or that of the remote)",
    )
    add_bind_options(group, what)
    group.add_argument(
        "--wait",
        type=seconds,
        default=WAIT_SECONDS,
        metavar="SECONDS",
        help="how long nothing may come at the end of objects that the peer says it has sent, or may have sent if it"
        " gives no counts (%(default)g); 0 is without end, if it gives them",
    )


def receiver_address(command: str, options: Namespace, target: Target, what: str) -> tuple[str, int]:
    """Where a receiver listens: as the options say, else the remote; raises UsageError where that is not allowed.

    Parameters
    ----------
    what
        As of `add_bind_options`.
    """
    known = target.receiver
    host = options.bind
    if host is None:
        host = LOOPBACK if known is None else known.host
        # Who names an address in the configuration has allowed it.
        is_allowed = options.allow_public or known is not None
    else:
        is_allowed = options.allow_public
    number = options.receive_port
    if number is None:
        number = DEFAULT_PORT if known is None else known.port
    check_bind(command, host, is_allowed, what)
    return host, number


@frozen
class Served:
    """What a command that listens serves.

    Parameters
    ----------
    command
        Its name.
    folder
        The folder of the store.
    read
        Reads its settings, again and again; raises Mistakes and OSError.
    has_index
        Whether it answers queries.
    what
        What anybody who can reach it may do.
    has_file
        Whether SIGHUP makes it read its settings again.
    is_verbose
        Whether each object that is stored is reported.
    """

    command: str
    read: Callable[[], Settings]
    what: str
    folder: Path | None = None
    has_index: bool = True
    has_file: bool = False
    is_verbose: bool = False


def listen(served: Served) -> int:
    """Run a node until a signal ends it; returns the exit status."""
    command = served.command
    try:
        from ..archive.applied import is_guarded, log_of, node_options, terms_of

        settings = served.read()
        log_of(settings).turn_on()
        say = _words_to(settings)
        terms = terms_of(settings)
        host, number = settings["server.address"], settings["server.port"]
        if not is_guarded(settings):
            check_bind(command, host, settings["server.allow_public"], served.what, say=say)
        if settings["watch.port"] is not None:
            check_bind(
                command,
                settings["watch.address"],
                settings["watch.allow_public"],
                "see health and metrics",
                "set watch.allow_public",
                say=say,
            )
        web = web_listener(command, settings, say) if served.has_index else None
        if settings["server.workers"] > 1:
            _check_platform()
        folder = served.folder or settings["storage.folder"]
        _allow_descriptors()
        node = open_node(
            folder,
            (host, number),
            has_index=served.has_index,
            on_stored=_report if served.is_verbose else None,
            web=web,
            **node_options(settings, terms),
        )
    except ModuleNotFoundError as error:
        complain_of_missing(command, error)
        return FAILED
    except OSError as error:
        # An error that names a file comes from the store; one that does not, from the socket.
        if isinstance(error, DicomnetError) or error.filename is not None:
            raise
        complain(f"dicomnet {command}: {bind_failure(error, host, number)}")
        return FAILED
    if _serve(node, folder, Configuration(served, settings, node), has_file=served.has_file):
        return FAILED if _complain_of_unfiled(command, node) else OK
    complain(f"dicomnet {command}: the processes of the server were ended from outside, not by this command")
    return FAILED


def web_listener(command: str, settings: Settings, say: Callable[[str], object]) -> socket.socket | None:
    """The socket that accepts connections for DICOMweb; None for none.

    Where it is there only by default, what stands in its way is said and costs nothing else.

    Parameters
    ----------
    command
        The name of the command.
    settings
        Those of the node.
    say
        Says a warning.

    Raises
    ------
    UsageError
        If other machines could reach it, and that is not allowed.
    OSError
        If it cannot be had; it is named as a file would be.
    """
    address = web_address(settings["web.listen"])
    if address is None:
        return None
    host, number = address
    _check_web(command, settings, host, say)
    try:
        return new_socket(address)
    except OSError as error:
        why = bind_failure(error, host, number)
        if settings.origin("web.listen") != DEFAULT:
            raise OSError(error.errno, why, f"--http {_endpoint(host, number)}") from error
        say(
            f"dicomnet {command}: warning: there is no DICOMweb: {why}; --http HOST:PORT chooses another one,"
            " --http off none"
        )
    return None


def _check_web(command: str, settings: Settings, host: str, say: Callable[[str], object]) -> None:
    """Raise UsageError if other machines could reach DICOMweb, and that is not allowed."""
    from ..archive.applied import is_web_guarded

    if not is_web_guarded(settings):
        check_bind(
            command,
            host,
            settings["web.allow_public"],
            "see, add and remove images",
            "set web.users and web.tls, or web.allow_public",
            say=say,
        )


class Configuration:
    """The settings that hold for a running node.

    Parameters
    ----------
    served
        What runs it.
    settings
        Those that hold.
    node
        The node.
    """

    def __init__(self, served: Served, settings: Settings, node: Node) -> None:
        self._served = served
        self.settings = settings
        self._node = node

    def reload(self) -> None:
        """Read the settings again; what may change is changed, and if anything is wrong, nothing is."""
        from ..archive.applied import is_guarded, kept_for_the_next_start, terms_of

        try:
            wanted, kept = kept_for_the_next_start(self.settings, self._served.read())
            if not is_guarded(wanted):
                check_bind(
                    self._served.command,
                    wanted["server.address"],
                    wanted["server.allow_public"],
                    self._served.what,
                    say=_words_to(wanted),
                )
            if self._node.web_address is not None:
                _check_web(self._served.command, wanted, self._node.web_address[0], _words_to(wanted))
            self._node.change(terms_of(wanted))
        except Mistakes as mistakes:
            for line in mistakes.lines:
                _log.error("%s", line)
            _log.error("the configuration is wrong; nothing is changed")
            return
        except (UsageError, OSError, ValueError) as error:
            _log.error("the configuration cannot be used, and nothing is changed: %s", error)
            return
        changed = [each.name for each in self.settings.differences(wanted)]
        changed += [
            name
            for name in ("remotes", "access", "retention")
            if getattr(self.settings, name) != getattr(wanted, name)
        ]
        self.settings = wanted
        if kept:
            _log.warning("changed at the next start only: %s", ", ".join(kept))
        _log.warning("the configuration was read again; changed: %s", ", ".join(changed) or "nothing")


def _complain_of_unfiled(command: str, node: Node) -> bool:
    """Whether objects that were acknowledged have no file yet; it is said how many, and why."""
    unfiled = node.unfiled
    if unfiled:
        instance, error = unfiled[-1]
        path = error.filename if isinstance(error, OSError) else None
        complain(
            f"dicomnet {command}: {counted(len(unfiled), 'acknowledged object')} cannot be filed now, but kept in"
            " the intake journal for the next start:"
            f" {LocalFailure(instance, error, os.fsdecode(path) if path else '')}"
        )
    return bool(unfiled)


def _check_platform() -> None:
    from ..drivers.blocking.workers import check_platform

    try:
        check_platform()
    except RuntimeError as error:
        raise UsageError(str(error)) from None


def _allow_descriptors() -> None:
    """Use what the system lets this process have of open files, as each connection takes one.

    The usual soft limit, 1024, is for programs that call select(), which these do not on systems that have limits.
    """
    try:
        import resource
    except ModuleNotFoundError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def open_node(folder: Path, address: tuple[str, int], **options: Any) -> Node:
    """Make a node, which does not listen yet; its options are those of `archive.node.Node`."""
    from ..archive import node

    return node.Node(folder, address=address, **options)


def _words_to(settings: Settings) -> Callable[[str], object]:
    """Where words of the command itself go: into the log, if a program is to read that, and else as they are."""
    if settings["logging.format"] == "json":
        return lambda words: _log.warning("%s", words)
    return complain


def check_bind(
    command: str,
    host: str,
    is_allowed: bool,
    what: str,
    how: str = "use --allow-public",
    say: Callable[[str], object] = complain,
) -> None:
    """Raise UsageError for an address that other machines can reach, unless that is allowed.

    Parameters
    ----------
    what
        What anybody who can reach the address may do.
    how
        How it is allowed.
    say
        Says a warning where it is.
    """
    if _is_loopback(host):
        return
    if not is_allowed:
        raise UsageError(
            f"other machines can reach {host or 'every address'}, and nobody has to prove who they are:"
            f" anybody could {what}; {how} to allow that"
        )
    say(f"dicomnet {command}: warning: nobody has to prove who they are; whoever can reach us may {what}")


def _serve(node: Node, folder: Path, configuration: Configuration, *, has_file: bool) -> bool:
    """Serve until the first signal, then drain; a second signal has its default effect, and ends the process.

    Returns
    -------
    bool
        Whether a signal ended it; False if the node ended by itself.
    """
    here, there = socket.socketpair()
    reloading = (signal.SIGHUP,) if has_file and hasattr(signal, "SIGHUP") else ()
    with here, there:
        there.setblocking(False)
        handlers = {
            # The handler does nothing; its presence makes the interpreter write the signal's number to the socket.
            each: signal.signal(each, lambda number, frame: None)
            for each in (signal.SIGTERM, signal.SIGINT, *reloading)
        }
        signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
        # What is there now stays. Without this, each full collection would hold a query up for 20 ms or more.
        gc.collect()
        gc.freeze()
        node.start()
        host, number = node.address
        endpoint = _endpoint(host, number)
        title = configuration.settings["server.ae_titles"][0]
        if reloading:
            node.holdings.local.take_signals()
        status = f"listening on {title}@{endpoint}, storing in {printable(str(folder))}"
        print(status, flush=True)
        if node.web_address is not None:
            scheme = "https" if configuration.settings["web.tls"] else "http"
            web = f"{scheme}://{_endpoint(*node.web_address)}"
            if node.has_pages:
                print(f"pages for a browser: {web}/", flush=True)
            print(f"DICOMweb: {web}/dicom-web", flush=True)
        if node.watch_address is not None:
            print(f"health and metrics: http://{_endpoint(*node.watch_address)}", flush=True)
        threading.Thread(target=_wait, args=(node, there), name="wait", daemon=True).start()
        manager = service_manager()
        manager.is_ready(status)
        while (number := here.recv(1)[0]) in reloading:
            manager.reloads()
            configuration.reload()
            manager.is_ready(status)
        is_asked = number != _HAS_ENDED
        drain = configuration.settings["server.drain"]
        manager.stops(drain, "waiting for open associations to end")
        if is_asked and configuration.settings["logging.level"] != "error":
            _words_to(configuration.settings)(
                f"draining for up to {drain:g} s until associations end; a second signal ends them at once"
            )
        failures: list[Exception] = []
        threading.Thread(
            target=_shut_down, args=(node, drain, there, failures), name="shutdown", daemon=True
        ).start()
        while (number := here.recv(1)[0]) in (_HAS_ENDED, *reloading):
            continue
        signal.set_wakeup_fd(-1)
        for each, handler in handlers.items():
            signal.signal(each, handler if number == _SHUT_DOWN else signal.SIG_DFL)
        if number != _SHUT_DOWN:
            signal.raise_signal(number)
        if failures:
            raise failures[0]
        return is_asked


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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


def _report(sop_instance_uid: str, status: int, _: object) -> None:
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
