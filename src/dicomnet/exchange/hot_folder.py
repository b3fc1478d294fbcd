"""A hot folder: which files in it are complete and to be sent, and what was found out about each."""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from time import monotonic

from ..drivers.files import StoredObject
from ..values import frozen, mutable
from .files import A_DIRECTORY, find_files, look_at
from .results import StoreResult
from .retrying import backoff, is_out_of_resources
from .searching import find_objects, has_members

# How many files are sent together: what is to become of them is done when all of these are answered.
TOGETHER = 200
# How names begin and end that programs give to what they have not finished.
_HIDDEN = "."
_UNFINISHED = (".part", ".partial", ".filepart", ".tmp")

# Device, inode, size, and the times of the last change of content and of the last change of anything, in ns.
Identity = tuple[int, int, int, int, int]


def identity_of(path: str) -> Identity | None:
    """What tells a file with its content from another one at the same path; None where there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_being_written(path: str) -> bool:
    """Whether a program has a file open for writing, as far as the platform tells.

    Linux grants a read lease on a file that nobody has open for writing, and no other; not all file systems know that,
    and a file of another user is not told about.
    """
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Whoever opens it at this moment waits for a moment, and we are sent a signal, which must not be one that ends.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False


@frozen
class Verdict:
    """What was found out about a file, with all that is in it.

    Parameters
    ----------
    path, identity
        The file, as it was before it was read.
    results
        One for each object, or for what is none.
    """

    path: str
    identity: Identity
    results: Sequence[StoreResult]

    @property
    def others(self) -> list[str]:
        """The members of it that no peer can take: perhaps another archive, with objects inside."""
        return [each.member for each in self.results if each.is_skipped and each.comment != A_DIRECTORY]

    @property
    def is_acknowledged(self) -> bool:
        """Whether the peer has all objects in it, and there are some."""
        return any(each.is_stored for each in self.results) and all(
            each.is_stored or each.is_skipped for each in self.results
        )

    @property
    def is_final(self) -> bool:
        """Whether the same would come of it if it were tried again: not where the peer was lost or out of resources."""
        return not any(map(self._may_come_to_more, self.results))

    def _may_come_to_more(self, result: StoreResult) -> bool:
        if result.is_stored or result.is_skipped:
            return False
        if result.status is not None:
            return is_out_of_resources(result.status)
        # It was not answered: because of the peer, unless what is in the file is to blame.
        if result.member:
            return bool(result.sop_instance_uid)
        return isinstance(look_at(self.path)[0], StoredObject)


@mutable
class _State:
    """What is known of a file.

    Parameters
    ----------
    identity
        As it was seen last.
    ready_at
        When it may be sent, by the clock; None where nothing more is to be done with it.
    tries
        How often it was sent without being acknowledged.
    """

    identity: Identity
    ready_at: float | None
    tries: int = 0


class HotFolder:
    """The files in a folder and its sub-folders, from look to look.

    A file is complete when it has not changed for a while, and no program is known to have it open for writing. Those
    with hidden names, and with such as programs give to what they have not finished (``.part``, ``.partial``,
    ``.filepart``, ``.tmp``), are left alone.

    Parameters
    ----------
    path
        The folder.
    settle
        For how many seconds a file must not have changed; by our clock, as that of a share may be another one.
    without
        Folders and files that are no part of it, though they may lie in it.
    clock
        The time in seconds, of a clock that is never set.
    """

    def __init__(
        self,
        path: str,
        settle: float,
        without: Sequence[str] = (),
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._path = path
        self._settle = settle
        self._without = without
        self._clock = clock
        self._states: dict[str, _State] = {}

    def look(self) -> list[str]:
        """Look at all files anew; those that are known and have gone are given.

        Raises
        ------
        OSError
            If the folder, or one in it, cannot be read: of what is in there, nothing is forgotten.
        """
        now = self._clock()
        seen: dict[str, _State] = {}
        unreadable = ""
        # A folder that is away for a moment, as a share may be, is not one without files.
        os.scandir(self._path).close()
        left_out = self._left_out()
        for path in find_files([self._path], left_out):
            name = os.path.basename(path)
            if name.startswith(_HIDDEN) or name.lower().endswith(_UNFINISHED):
                continue
            identity = identity_of(path)
            if identity is None:
                unreadable = path if os.path.isdir(path) else unreadable
                continue
            if identity[:2] in left_out:
                continue
            known = self._states.get(path)
            if known is None or known.identity != identity:
                known = _State(identity, now + self._settle)
            seen[path] = known
        if unreadable:
            self._states = {**self._states, **seen}
            raise PermissionError(errno.EACCES, "it cannot be read", unreadable)
        gone = [path for path in self._states if path not in seen]
        self._states = seen
        return gone

    def _left_out(self) -> set[tuple[int, int]]:
        found = set()
        for path in self._without:
            with suppress(OSError):
                status = os.stat(path)
                found.add((status.st_dev, status.st_ino))
        return found

    def ready(self) -> dict[str, Identity]:
        """Some of the files that are to be sent now, in the order of their names, as `look` has seen them."""
        return dict(islice(self._due(self._clock()), TOGETHER))

    def _due(self, now: float) -> Iterator[tuple[str, Identity]]:
        for path, state in self._states.items():
            if state.ready_at is None or state.ready_at > now:
                continue
            if is_being_written(path):
                state.ready_at = now + self._settle
            else:
                yield path, state.identity

    @property
    def is_waiting(self) -> bool:
        """Whether there are files that were not sent yet, and not given up."""
        return any(each.ready_at is not None and not each.tries for each in self._states.values())

    @property
    def is_retrying(self) -> bool:
        """Whether there are files that were sent in vain, and are to be sent again."""
        return any(each.ready_at is not None and each.tries for each in self._states.values())

    def recognize(self, path: str, identity: Identity) -> Identity | None:
        """A file was renamed, and has its name again: its identity now; None where it is another file."""
        found = identity_of(path)
        if found is None or found[:-1] != identity[:-1]:
            return None
        self._states[path].identity = found
        return found

    def finish(self, path: str) -> None:
        """Nothing more is to be done with a file, as long as it does not change."""
        self._states[path].ready_at = None

    def postpone(self, path: str) -> bool:
        """A file is to be sent again later, after 1, 2, 4 ... s up to a minute: whether it is the first time."""
        state = self._states[path]
        state.ready_at = self._clock() + backoff(state.tries)
        state.tries += 1
        return state.tries == 1


def objects_in(paths: Sequence[str]) -> Iterator[str | StoredObject | StoreResult]:
    """As `find_objects`, for files of a hot folder: no DICOMDIR is sent, and what has gone is passed over.

    Of each file that is there something is given.
    """
    for path in paths:
        try:
            if has_members(path):
                is_empty = True
                for each in find_objects([path]):
                    is_empty = False
                    yield each
                if is_empty:
                    yield StoreResult(path, None, comment="nothing is in it", is_skipped=True)
            elif os.path.lexists(path):
                yield path
        except FileNotFoundError:
            continue


def verdicts(ready: dict[str, Identity], results: Sequence[StoreResult]) -> list[Verdict]:
    """What was found out about each file, by its results; nothing about those that have none."""
    by_path: dict[str, list[StoreResult]] = {}
    for each in results:
        by_path.setdefault(each.path, []).append(each)
    return [Verdict(path, ready[path], found) for path, found in by_path.items() if path in ready]
