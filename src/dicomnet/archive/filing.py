"""The work behind the intake journal: acknowledged objects get their files, and their rows in the catalogue.

One thread does it, for many objects at a time. Whoever asks the catalogue waits for what was acknowledged before.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import mmap
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic, sleep

from ..encoding.scan import HeaderScanner
from ..errors import DatabaseFailure, LedgerUnusable, ServiceRefusal, UnusableObject
from .conflicts import Conflicts
from .entries import Accepted, Catalogue, Entry, encode_description, read_entry
from .journal import Journal, Segment
from .local import LocalFolder
from .storage.comparison import Comparison, compare
from .storage.store import Storage

_log = logging.getLogger(__name__)

# How many objects are filed at a time, how long the first of them waits for others if nobody waits for it, and after
# how long what failed is tried again, in seconds.
_BATCH = 500
_LINGER = 0.1
_FIRST_DELAY, _LONGEST_DELAY = 0.05, 2.0
# How many of the objects that are stuck are tried in vain before the rest has to wait for the next time.
_TRIES = 20
# How often the progress of other processes is looked at, in seconds.
_LOOK = 0.002

# Why an object that was acknowledged is not stored after all.
OTHER_CONTENT = "another object with this SOP Instance UID is stored"
OTHER_STUDY = "this SOP Instance UID is indexed in another study or series"


# What is counted of each process: objects acknowledged, those of them that nobody waits for any more as they are filed
# or stuck, those that are stuck, and the number of its last deletion.
_COUNTS = 4


class Progress:
    """How many objects each process has acknowledged, and how many of them it has filed. Processes that fork share it.

    Parameters
    ----------
    processes
        How many there may be.
    """

    def __init__(self, processes: int) -> None:
        self._counts = memoryview(mmap.mmap(-1, 8 * _COUNTS * processes)).cast("Q")
        self._deleting = threading.Lock()

    def acknowledged(self, process: int, count: int) -> None:
        """A process has acknowledged further objects."""
        self._counts[_COUNTS * process] += count

    def filed(self, process: int, count: int) -> None:
        """A process has filed further objects."""
        self._counts[_COUNTS * process + 1] += count

    def set_stuck(self, process: int, count: int) -> None:
        """So many objects of a process cannot be filed now; nobody waits for them."""
        self._counts[_COUNTS * process + 2] = count

    def deleted(self, process: int, number: int) -> None:
        """A process deletes objects by entries of the ledger up to this number, and nobody can store them meanwhile."""
        with self._deleting:
            at = _COUNTS * process + 3
            self._counts[at] = max(self._counts[at], number)

    @property
    def last_deletion(self) -> int:
        """The number of the last deletion: of an object, one with a higher one is later than what is accepted now."""
        return max(self._counts[3::_COUNTS])

    @property
    def stuck(self) -> int:
        """How many objects of all processes cannot be filed now."""
        return sum(self._counts[2::_COUNTS])

    @property
    def unfiled(self) -> int:
        """How many objects have been acknowledged and are on their way to be filed, without those that are stuck."""
        # In this order, so that what goes on meanwhile makes it no less than none.
        filed = sum(self._counts[1::_COUNTS])
        return sum(self._counts[::_COUNTS]) - filed

    def begin_anew(self, process: int) -> None:
        """A process has taken the place of one that ended, and filed what that had acknowledged."""
        self._counts[_COUNTS * process + 1] = self._counts[_COUNTS * process]
        self.set_stuck(process, 0)

    def missing(self) -> dict[int, int]:
        """Of the processes that have something to file now, the counts at which they will have done so."""
        pairs = zip(self._counts[::_COUNTS], self._counts[1::_COUNTS], strict=True)
        return {process: counts[0] for process, counts in enumerate(pairs) if counts[1] < counts[0]}

    def has_reached(self, counts: Mapping[int, int]) -> bool:
        """Whether all of that has been filed."""
        return all(self._counts[_COUNTS * process + 1] >= count for process, count in counts.items())


class Filing:
    """The thread that files what one process acknowledges. It is started when there is something to file.

    Parameters
    ----------
    local, journal
        Where the objects are until they are filed.
    storage, catalogue
        Where they go; without a catalogue they are only stored.
    conflicts
        Keeps what cannot be stored.
    scanner
        Finds what the catalogue keeps in objects that were stored before.
    done
        Called with the SOP Instance UIDs of objects that have been filed.
    progress, process
        Counts for whoever asks the catalogue, and which of the processes this is.
    """

    def __init__(
        self,
        local: LocalFolder,
        journal: Journal,
        storage: Storage,
        catalogue: Catalogue | None,
        conflicts: Conflicts,
        scanner: HeaderScanner,
        done: Callable[[Sequence[str]], None],
        progress: Progress,
        process: int,
    ) -> None:
        self._local = local
        self._storage = storage
        self._catalogue = catalogue
        self._journal = journal
        self._conflicts = conflicts
        self._scanner = scanner
        self._done = done
        self._progress = progress
        self._process = process
        self._changed = threading.Condition()
        self._waiting: deque[Accepted] = deque()
        self._length = 0
        self._thread: threading.Thread | None = None
        self._is_closing = False
        # Objects whose own files cannot be written now, and when that is tried again; the others do not wait for them.
        self._stuck: list[Accepted] = []
        self._retry_at = 0.0
        self._delay = _FIRST_DELAY
        # Whether the journal keeps something that could not be filed because of a defect.
        self._has_left = False
        # How many wait for what is to be filed.
        self._hurried = 0
        # Why something cannot be filed now, and whether nothing can be.
        self.trouble: Exception | None = None
        self._is_held = False

    @property
    def length(self) -> int:
        """How much memory what waits takes, in bytes."""
        return self._length

    def accept(self, objects: Sequence[Accepted]) -> None:
        """File objects that are durable in the journal; returns at once."""
        with self._changed:
            # The thread that waits for more is not woken for each.
            wakes = not self._waiting
            self._waiting.extend(objects)
            self._length += sum(each.length for each in objects)
            self._progress.acknowledged(self._process, len(objects))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dicomnet-filing", daemon=True)
                self._thread.start()
            if wakes or self._is_urgent():
                self._changed.notify_all()

    def wait_for_room(self, length: int, seconds: float) -> bool:
        """Wait until what waits takes no more than so many bytes; False if it does not in time."""
        if self._length <= length:
            return True
        with self.hurrying(), self._changed:
            return self._changed.wait_for(lambda: self._length <= length, seconds)

    @contextmanager
    def hurrying(self) -> Iterator[None]:
        """Within the block, what waits is filed at once."""
        with self._changed:
            self._hurried += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._hurried -= 1

    def wait_for_all(self, seconds: float) -> bool:
        """Wait until all that was acknowledged by now, by any process, can be found; False if it cannot in time.

        Where this process cannot file at present, that is not waited for.
        """
        wanted = self._progress.missing()
        if wanted:
            with self.hurrying():
                if not self._wait_until(wanted, monotonic() + seconds):
                    return False
        return not self._stuck

    def _wait_until(self, wanted: Mapping[int, int], end: float) -> bool:
        while not self._progress.has_reached(wanted):
            if self._is_held or monotonic() >= end:
                return False
            if wanted.keys() == {self._process}:
                with self._changed:
                    self._changed.wait_for(lambda: self._is_free(wanted), max(0.0, end - monotonic()))
            else:
                sleep(_LOOK)
        return True

    def lacks(self, study: str | None) -> bool:
        """Whether something of a study, or of any where it is None, was acknowledged and cannot be filed now.

        Of what other processes cannot file, the study is not known, so that it may be any.
        """
        if self.trouble is not None:
            with self._changed:
                own = [*self._stuck, *self._waiting]
            if any(study in (None, each.entry.name.study) for each in own):
                return True
        return self._progress.stuck > len(self._stuck)

    def close(self) -> bool:
        """File what waits, and end the thread; whether all has been filed, and is durable."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        if self._waiting or self._stuck or self._has_left:
            return False
        try:
            self._make_durable()
        except OSError as error:
            _log.error("what was stored may not be on the medium yet: %s; the journal keeps it", error)
            return False
        return True

    @property
    def unfiled(self) -> list[tuple[str, Exception]]:
        """After `close`: the SOP Instance UIDs of objects that only the journal has, each with the reason."""
        reason = self.trouble or OSError("it could not be filed")
        return [(each.entry.name.instance, reason) for each in (*self._stuck, *self._waiting)]

    def file_now(self, objects: Sequence[Accepted]) -> None:
        """File objects in the caller's thread.

        Raises
        ------
        OSError, ServiceRefusal
            If they cannot be filed now.
        """
        kept = [each for each in objects if self._keep(each)]
        self._register(kept)

    def _is_free(self, wanted: Mapping[int, int]) -> bool:
        return self._is_held or self._progress.has_reached(wanted)

    def _run(self) -> None:
        while True:
            batch = self._next()
            is_last = self._is_closing and not batch
            if self._stuck and (is_last or monotonic() >= self._retry_at):
                self._retry()
            if is_last or (batch and not self._file(batch) and self._is_closing):
                return

    def _file(self, batch: Sequence[Accepted]) -> bool:
        """File the objects that wait first; False if they have to wait on."""
        try:
            self.file_now(batch)
        except (ServiceRefusal, DatabaseFailure, LedgerUnusable) as error:
            self._pause(error)
            return False
        except Exception as error:  # noqa: BLE001
            if len(batch) > 1:
                # One of them may be to blame, and is found one by one.
                return all(self._file([each]) for each in batch)
            if isinstance(error, OSError):
                self._is_stuck(batch[0], error)
                return True
            self._is_defect(batch[0])
        with self._changed:
            self._is_held = False
            for _ in batch:
                self._waiting.popleft()
            self._progress.filed(self._process, len(batch))
        self._is_filed(batch)
        return True

    def _next(self) -> list[Accepted]:
        """The next objects to be filed; none if it is time to end, or to try again what is stuck."""
        with self._changed:
            seconds = max(0.0, self._retry_at - monotonic()) if self._stuck else None
            self._changed.wait_for(lambda: bool(self._waiting) or self._is_closing, seconds)
            if self._waiting:
                self._changed.wait_for(self._is_urgent, _LINGER)
            return list(itertools.islice(self._waiting, _BATCH))

    def _is_urgent(self) -> bool:
        return self._hurried > 0 or self._is_closing or len(self._waiting) >= _BATCH

    def _pause(self, error: Exception) -> None:
        """Wait before what failed is tried again."""
        self._tell(error)
        with self._changed:
            self.trouble, self._is_held = error, True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_closing, self._delay)
        self._delay = min(2 * self._delay, _LONGEST_DELAY)

    def _is_stuck(self, accepted: Accepted, error: OSError) -> None:
        """The file of the first object that waits cannot be written; nobody waits for it."""
        self._tell(error, _about(accepted))
        with self._changed:
            self._stuck.append(self._waiting.popleft())
            self._progress.set_stuck(self._process, len(self._stuck))
            self._retry_at = monotonic() + self._delay
            self.trouble = error
            self._progress.filed(self._process, 1)
            self._changed.notify_all()

    def _retry(self) -> None:
        """Try again to file what is stuck; where many fail, the rest has its turn the next time."""
        failed: list[Accepted] = []
        left = deque(self._stuck)
        while left and len(failed) < _TRIES:
            accepted = left.popleft()
            try:
                self.file_now([accepted])
            except (OSError, ServiceRefusal, DatabaseFailure, LedgerUnusable) as error:
                failed.append(accepted)
                self.trouble = error
                continue
            except Exception:  # noqa: BLE001
                self._is_defect(accepted)
            self._stuck.remove(accepted)
            self._is_filed([accepted])
        self._stuck = [*left, *failed]
        self._progress.set_stuck(self._process, len(self._stuck))
        self._move_up()
        self._delay = min(2 * self._delay, _LONGEST_DELAY)
        self._retry_at = monotonic() + self._delay

    def _move_up(self) -> None:
        """Append the records of what is stuck once more, so that the segments that had them are free again."""
        if not self._stuck or not self._journal.is_held_up:
            return
        before = [each.position for each in self._stuck if each.position is not None]
        try:
            for each in self._stuck:
                each.position = self._journal.append(
                    encode_description(each, self._progress.last_deletion), each.content
                )
            position = self._stuck[-1].position
            assert position is not None
            self._journal.flush(position.number)
        except OSError as error:
            _log.error("the journal cannot be shortened: %s", error)
            return
        self._recycle(self._journal.filed(before))

    def _is_defect(self, accepted: Accepted) -> None:
        _log.exception("an object cannot be filed; the journal keeps it", extra=_about(accepted))
        self._local.needs_recovery = True
        self._has_left = True
        accepted.position = None

    def _tell(self, error: Exception, about: Mapping[str, str] | None = None) -> None:
        if self.trouble is None:
            words = "what was received cannot be filed now, and is kept in the journal: %s"
            _log.error(words, error, extra=about)

    def _is_filed(self, batch: Sequence[Accepted]) -> None:
        with self._changed:
            self._length -= sum(each.length for each in batch)
            if not self._stuck:
                if self.trouble is not None:
                    _log.warning("what was received can be filed again")
                self.trouble = None
                self._delay = _FIRST_DELAY
            self._changed.notify_all()
        self._done([each.entry.name.instance for each in batch])
        self._recycle(self._journal.filed([each.position for each in batch if each.position is not None]))

    def _recycle(self, segments: list[Segment]) -> None:
        if segments:
            try:
                self._make_durable()
                self._journal.recycle(segments)
            except OSError as error:
                # They stay as they are, and are read again by the next process.
                _log.error("a part of the journal cannot be used again: %s", error)

    def _make_durable(self) -> None:
        self._storage.make_durable()
        if self._catalogue is not None:
            self._catalogue.make_durable()

    def _keep(self, accepted: Accepted) -> bool:
        """Give an object its name; False if the store has another of that name."""
        name, storage, replaces = accepted.entry.name, self._storage, accepted.replaces
        if not accepted.has_content:
            return True
        if self._catalogue is not None and accepted.entry.digest is None:
            # Where something else failed before, the staged file has its name.
            with contextlib.suppress(FileNotFoundError):
                accepted.measure()
        if replaces is not None and replaces.is_in(storage):
            self._conflicts.keep_version(replaces.name, accepted.entry.source)
            if replaces.name == name:
                storage.replace(name, accepted.whole)
                return True
            storage.remove(replaces.name)
        try:
            if storage.keep(name, accepted.whole):
                return True
        except FileNotFoundError:
            # What was staged was kept before something else failed.
            if accepted.staged and storage.has(name):
                return True
            raise
        with accepted.opened() as content:
            comparison = compare(storage, content, name)
        if comparison is Comparison.OTHER:
            self._conflicts.set_aside(accepted, OTHER_CONTENT)
            return False
        if accepted.staged:
            accepted.staged.discard()
        if comparison is Comparison.SAME_IN_ANOTHER_FORM:
            # What is kept is what is indexed.
            accepted.entry = read_entry(storage, name, self._scanner, accepted.entry.source)
        return True

    def _register(self, objects: Sequence[Accepted]) -> None:
        if self._catalogue is None or not objects:
            return
        for each in objects:
            if each.replaces is not None:
                self._catalogue.forget(each.replaces.name)
        entries = [each.entry for each in objects]
        try:
            outcomes = self._catalogue.add(entries)
        except UnusableObject:
            outcomes = [self._registered(entry) for entry in entries]
        for entry, outcome in zip(entries, outcomes, strict=True):
            if not outcome:
                self._conflicts.set_stored_aside(entry.name, OTHER_STUDY, entry.source)

    def _registered(self, entry: Entry) -> bool:
        """Register one of several objects, one of which the catalogue refuses."""
        assert self._catalogue is not None
        try:
            return all(self._catalogue.add([entry]))
        except UnusableObject as error:
            instance = entry.name.instance
            about = entry.source.about(instance)
            _log.error("object %s is stored, and no query finds it: %s", instance, error, extra=about)
            self._local.needs_recovery = True
            return True


def _about(accepted: Accepted) -> Mapping[str, str]:
    entry = accepted.entry
    return entry.source.about(entry.name.instance)
