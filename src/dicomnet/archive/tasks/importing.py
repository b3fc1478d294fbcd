"""The task of importing files: objects that lie in folders, archive files and on media enter by the intake."""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from ...dimse.datasets import OUT_OF_RESOURCES
from ...drivers.files import identify
from ...drivers.reading import NotDICOM
from ...encoding.file_header import (
    BEGIN,
    MAGIC,
    MEDIA_STORAGE_DIRECTORY,
    FileHeader,
    decode_file_header,
    encode_file_header,
    meta_encoding,
)
from ...errors import ServiceRefusal, UnusableObject
from ...exchange.candidate import Candidate, Outcome, Place, Unreadable, in_words
from ...plurals import counted
from ...values import Buffer, mutable, replace
from ..audit import COMMAND, AuditEvent, EventKind
from ..catalogue.index import IndexedFile
from ..entries import Source
from ..holdings import Holdings
from ..intake import KEPT_IN_QUARANTINE, QUARANTINE_COMMENT, Session, study_of
from .searching import search
from .task import Reporter, TaskFailed

if TYPE_CHECKING:
    from hashlib import _Hash

IMPORT_WAY = "import"
# So many objects are committed together.
_GROUP = 64
# After so many, all is waited for that has not been filed, as it takes memory.
_AHEAD = 2000
_BLOCK = 1 << 20
_COMPRESSED = (
    "compressed by Orthanc (StorageCompression), and so no DICOM file; have Orthanc send its objects"
)
# Where Orthanc's plugins store, each object is there a second time, up to its pixel data: well formed, and an image
# without an image. Nothing but the name tells.
_BEGINNING_SUFFIX = ".dcm.head"
_BEGINNING = "named as what Orthanc's plugins keep of an object in front of its pixel data, and so not whole"
# Outcomes of which the reporter is told only if it wants to know all.
_USUAL = frozenset((Outcome.STORED, Outcome.ALREADY_THERE, Outcome.SKIPPED))


def import_files(
    holdings: Holdings,
    reporter: Reporter,
    *,
    paths: Sequence[str],
    link: bool = False,
    tells_all: bool = False,
) -> Mapping[str, Any]:
    """Store the objects that lie at paths. What the archive has already is not written again.

    Parameters
    ----------
    holdings
        The archive.
    reporter
        Told of what cannot be stored.
    paths
        Files and folders, absolute.
    link
        Whether files that are complete get a second name in the archive, instead of being copied.
    tells_all
        Whether the reporter is told of each object, and of each file that is not one.

    Returns
    -------
    mapping
        How many there were of each `Outcome`; ``linked``, how many of those that were stored were not copied, and
        ``not_linked``, why one had to be; ``bytes``, the length of those that were stored; ``seconds``; ``is_filed``,
        whether all of them have their places.

    Raises
    ------
    TaskFailed
        If the archive cannot store anything at present.
    """
    run = _Import(holdings, reporter, link=link, tells_all=tells_all)
    try:
        return run.run(paths)
    finally:
        run.abort()


@mutable
class _Waiting:
    """An object that is to be committed with others.

    Parameters
    ----------
    place, header
        Where it lies, and what it is.
    length
        Of its file, in bytes.
    content
        The file, if it is small.
    session
        What it was written into; None if that is to be done.
    """

    place: Place
    header: FileHeader
    length: int
    content: bytes
    session: Session | None


class _Import:
    """An import while it is performed."""

    def __init__(self, holdings: Holdings, reporter: Reporter, *, link: bool, tells_all: bool) -> None:
        assert holdings.index is not None
        self._index = holdings.index
        self._local = holdings.local
        self._storage = holdings.storage
        self._intake = holdings.intake
        self._reporter = reporter
        self._links = link
        self._tells_all = tells_all
        self._source = Source(way=IMPORT_WAY)
        self._audit = holdings.audit
        self._event = AuditEvent(EventKind.IMPORT, way=COMMAND)
        self._waiting: list[_Waiting] = []
        self._counts: Counter[Outcome] = Counter()
        self._linked = self._bytes = self._ahead = 0
        self._not_linked: str | None = None

    def run(self, paths: Sequence[str]) -> Mapping[str, Any]:
        """Import what lies at paths; returns the summary."""
        begin = monotonic()
        self._event = replace(self._event, other=", ".join(paths)[:1000])
        for found in search(paths, self._local.root):
            if isinstance(found, Candidate):
                self._take(found)
            else:
                self._tell(found.place, found.outcome, found.reason)
            if len(self._waiting) >= _GROUP:
                self._commit()
            self._reporter.progress(self._counts.total())
        self._commit()
        return {
            **{outcome.value: self._counts[outcome] for outcome in Outcome},
            "linked": self._linked,
            "not_linked": self._not_linked,
            "bytes": self._bytes,
            "is_filed": self._intake.wait_for_all(),
            "seconds": round(monotonic() - begin, 3),
        }

    def abort(self) -> None:
        """Drop what has not been committed."""
        for each in self._waiting:
            if each.session is not None:
                each.session.abort()

    def _take(self, candidate: Candidate) -> None:
        """Have a candidate wait for the commit, unless it is not an object, or is there already."""
        instance = ""
        if (candidate.place.member or candidate.place.path).endswith(_BEGINNING_SUFFIX):
            self._tell(candidate.place, Outcome.REFUSED, _BEGINNING)
            return
        try:
            header, start = identify(candidate, candidate.start)
            instance = header.sop_instance_uid
            if header.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
                raise NotDICOM("a DICOMDIR, which is not stored")
            if candidate.is_whole and not (self._links and candidate.file >= 0):
                # The index is asked for several at a time.
                self._waiting.append(_Waiting(candidate.place, header, len(start), start, None))
            else:
                self._take_alone(candidate, header, start)
        except NotDICOM as error:
            if _is_compressed_by_orthanc(candidate.start):
                self._tell(candidate.place, Outcome.REFUSED, _COMPRESSED)
            else:
                self._tell(candidate.place, Outcome.SKIPPED, error.cause)
        except UnusableObject as error:
            self._tell(candidate.place, Outcome.REFUSED, error.cause)
        except Unreadable as error:
            self._tell(candidate.place, Outcome.UNREADABLE, error.reason, instance)
        except ServiceRefusal as refusal:
            self._refused(candidate.place, refusal, instance)

    def _take_alone(self, candidate: Candidate, header: FileHeader, start: bytes) -> None:
        known = self._index.files_of([header.sop_instance_uid]).get(header.sop_instance_uid)
        hashes = self._hashes(known, header, start, candidate.length)
        if hashes and candidate.can_reread:
            for block in self._blocks(candidate, header, start):
                _update(hashes, block)
            if self._has(known, hashes):
                self._tell(candidate.place, Outcome.ALREADY_THERE, "", header.sop_instance_uid)
                return
            candidate.go_back(len(start))
            hashes = []
        session = self._open(header)
        try:
            if not (self._links and candidate.file >= 0 and self._is_linked(session, candidate, header)):
                self._check_room(candidate.length)
                for block in self._blocks(candidate, header, start):
                    _update(hashes, block)
                    session.write(memoryview(block))
            if self._has(known, hashes):
                session.abort()
                self._tell(candidate.place, Outcome.ALREADY_THERE, "", header.sop_instance_uid)
                return
            # It is on the medium, and its descriptor closed, before the next one comes.
            session.place()
        except BaseException:
            session.abort()
            raise
        self._waiting.append(_Waiting(candidate.place, header, candidate.length, b"", session))

    def _blocks(self, candidate: Candidate, header: FileHeader, start: bytes) -> Iterator[Buffer]:
        """The data set of a candidate."""
        yield memoryview(start)[header.offset :]
        while block := candidate.read(_BLOCK):
            self._reporter.progress(self._counts.total())
            yield block

    def _open(self, header: FileHeader) -> Session:
        return self._intake.open(
            header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid, self._source
        )

    def _check_room(self, length: int) -> None:
        """Refuse what there is no room for: a small member of a zip file may become anything."""
        if length > shutil.disk_usage(self._local.root).free:
            raise UnusableObject(f"it has {length} bytes, for which there is no space left")

    def _is_linked(self, session: Session, candidate: Candidate, header: FileHeader) -> bool:
        """Whether a session has the file itself, by a second name."""
        if not _is_complete(candidate.start, header):
            return False
        try:
            staged = self._local.staging.link(candidate.place.path)
        except OSError as error:
            # Such as on another file system, or of another user.
            self._not_linked = self._not_linked or in_words(error)
            return False
        if not os.path.samestat(os.fstat(staged.descriptor), os.fstat(candidate.file)):
            # Another file has taken the place of the one that was looked at.
            staged.discard()
            return False
        session.adopt(staged, header.offset)
        return True

    def _hashes(
        self, known: IndexedFile | None, header: FileHeader, start: bytes, length: int
    ) -> list[_Hash]:
        """What is to be updated by a data set to see whether its file is the one that the archive has; maybe nothing.

        That has a header of ours, or, if it was linked, its own.
        """
        if known is None or known.digest is None:
            return []
        ours = encode_file_header(header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid)
        own = start[: header.offset]
        length -= header.offset
        return [hashlib.sha256(head) for head in (ours, own) if len(head) + length == known.size]

    def _has(self, known: IndexedFile | None, hashes: Sequence[_Hash]) -> bool:
        """Whether the archive has the file that one of the hashes is of."""
        return (
            known is not None
            and any(each.hexdigest() == known.digest for each in hashes)
            and self._storage.has(known.name)
        )

    def _commit(self) -> None:
        """Store what waits, but for what is there already."""
        small = [each.header.sop_instance_uid for each in self._waiting if each.session is None]
        known = self._index.files_of(small) if small else {}
        committed: list[tuple[_Waiting, Session]] = []
        for each in self._waiting:
            if each.session is None and not self._is_written(each, known.get(each.header.sop_instance_uid)):
                continue
            assert each.session is not None
            each.session.place()
            committed.append((each, each.session))
        studies = [study_of(session) for _, session in committed]
        outcomes = self._intake.commit([session for _, session in committed]) if committed else []
        self._waiting.clear()
        self._ahead += len(committed)
        if self._ahead >= _AHEAD:
            self._ahead = 0
            self._intake.wait_for_all()
        held: ServiceRefusal | None = None
        self._record(studies, outcomes)
        for (each, session), outcome in zip(committed, outcomes, strict=True):
            if isinstance(outcome, ServiceRefusal) and outcome.status == OUT_OF_RESOURCES:
                held = outcome
            else:
                self._tell_outcome(each, session, outcome)
        if held is not None:
            raise self._failure(held)

    def _record(self, studies: Sequence[str], outcomes: Sequence[int | ServiceRefusal]) -> None:
        """The audit trail says of which studies there are objects more."""
        came = Counter(
            study for study, outcome in zip(studies, outcomes, strict=True) if isinstance(outcome, int)
        )
        for study, count in came.items():
            self._audit.record_together(replace(self._event, study=study), count)

    def _is_written(self, each: _Waiting, known: IndexedFile | None) -> bool:
        """Write a small object into a session; False if it is there already, or refused."""
        header = each.header
        data_set = memoryview(each.content)[header.offset :]
        hashes = self._hashes(known, header, each.content, each.length)
        _update(hashes, data_set)
        if self._has(known, hashes):
            self._tell(each.place, Outcome.ALREADY_THERE, "", header.sop_instance_uid)
            return False
        try:
            each.session = self._open(header)
            each.session.write(data_set)
        except ServiceRefusal as refusal:
            self._refused(each.place, refusal, header.sop_instance_uid)
            return False
        return True

    def _tell_outcome(self, each: _Waiting, session: Session, outcome: int | ServiceRefusal) -> None:
        instance = each.header.sop_instance_uid
        if isinstance(outcome, ServiceRefusal):
            self._refused(each.place, outcome, instance)
        elif outcome == KEPT_IN_QUARANTINE:
            self._tell(each.place, Outcome.QUARANTINED, QUARANTINE_COMMENT, instance)
        elif session.was_there:
            self._tell(each.place, Outcome.ALREADY_THERE, "", instance)
        else:
            self._linked += session.is_adopted
            self._bytes += each.length
            self._tell(each.place, Outcome.STORED, "", instance)

    def _refused(self, place: Place, refusal: ServiceRefusal, instance: str) -> None:
        if refusal.status == OUT_OF_RESOURCES:
            # The same would become of all others.
            raise self._failure(refusal)
        # What a command says of an object, its file says here.
        reason = refusal.comment.replace("of the command", "of its file meta information")
        self._tell(place, Outcome.REFUSED, reason, instance)

    def _failure(self, refusal: ServiceRefusal) -> TaskFailed:
        return TaskFailed(
            f"the archive cannot store anything now: {refusal.comment}; stored before:"
            f" {counted(self._counts[Outcome.STORED], 'object')}, and the same command goes on later"
        )

    def _tell(self, place: Place, outcome: Outcome, reason: str, instance: str = "") -> None:
        self._counts[outcome] += 1
        if self._tells_all or outcome not in _USUAL:
            self._reporter.item(
                path=place.path,
                member=place.member or None,
                outcome=outcome.value,
                sop_instance_uid=instance or None,
                reason=reason or None,
            )


def _update(hashes: Sequence[_Hash], block: Buffer) -> None:
    for each in hashes:
        each.update(block)


def _is_compressed_by_orthanc(start: bytes) -> bool:
    """Whether a file is a DICOM file, or the first part of one, as Orthanc compresses it: its length, then zlib.

    To skip one would lose an object, and not all of them are objects: some are cut off in front of the pixel data.
    """
    if int.from_bytes(start[:8], "little") < BEGIN:
        return False
    try:
        inflated = zlib.decompressobj().decompress(start[8:], BEGIN)
    except zlib.error:
        return False
    return inflated[BEGIN - len(MAGIC) :] == MAGIC


def _is_complete(start: bytes, header: FileHeader) -> bool:
    """Whether a file has all that a file of the archive has in front of its data set, and it fits the data set."""
    if start[BEGIN - len(MAGIC) : BEGIN] != MAGIC or meta_encoding(start).is_implicit:
        return False
    return decode_file_header(start) == header
