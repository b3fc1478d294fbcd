"""The objects of one upload, from the bytes of its body to the intake; all of it blocks, and is called in threads."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Protocol

from ....dicomweb.multipart_reading import (
    PART_ENDS,
    MediaType,
    MultipartReader,
    MultipartUnreadable,
    PartBegins,
)
from ....drivers.files import identify
from ....encoding.file_header import MEDIA_STORAGE_DIRECTORY, FileHeader
from ....encoding.identity import is_uid
from ....encoding.transfer_syntaxes import TRANSFER_SYNTAXES
from ....errors import ServiceRefusal, UnusableObject
from ....plurals import counted
from ....values import Buffer
from ...entries import Accepted, Source
from ...intake import KEPT_IN_QUARANTINE, SPILL_LENGTH, Intake, Session
from ..http.problems import Problem
from .assembling import BulkData, Described, DescriptionUnusable
from .store_report import (
    CANNOT_UNDERSTAND,
    JSON_TYPE,
    PROCESSING_FAILURE,
    SOP_CLASS_NOT_SUPPORTED,
    STUDY_DOES_NOT_MATCH,
    TRANSFER_SYNTAX_NOT_SUPPORTED,
    XML_TYPE,
    StoreReport,
)

_log = logging.getLogger(__name__)

DICOM_TYPE, MULTIPART_TYPE = "application/dicom", "multipart/related"
METADATA_TYPES = (JSON_TYPE, XML_TYPE)

# Objects are committed together, up to so many, and so many bytes of them: of those that are kept in memory until then,
# and of all.
_GROUP = 256
_GROUP_LENGTH, _GROUP_WHOLE = 8 << 20, 64 << 20
# So many large ones of an upload are flushed by themselves; further ones are many, and flushed together.
_FEW = 4
# Where more objects than this have not been filed, that is waited for, as they take memory.
_AHEAD = 4000
# How much of an object is looked at to tell what it is; one that is smaller is known as a whole.
_START_LENGTH = 1 << 16
# How much is inflated at once, what a body may inflate to in any case, and how many times its length beyond that.
_INFLATED_BLOCK = 1 << 20
_INFLATED_FREELY = 64 << 20
_RATIO = 200
# How many bytes the metadata of a part, and that of all parts that wait for bulk data, may have.
_PART_LIMIT, _METADATA_LIMIT = 32 << 20, 64 << 20

OnRefused = Callable[[Source, str, ServiceRefusal], None]


class Upload:
    """One upload: what comes of it is fed to it, and what came whole is stored. It must not be shared between threads.

    Parameters
    ----------
    intake
        Where objects enter.
    source
        Who sends them.
    media_type
        Of the body.
    study
        Study Instance UID that they have to have; None if they may have any.
    is_compressed
        Whether the body is compressed by gzip.
    accepts
        Whether objects of a SOP class are stored at all.
    report
        Told what becomes of each.
    on_refused
        Called with the sender, the SOP Instance UID of an object that is refused, and the refusal.

    Attributes
    ----------
    problem
        Why the body cannot be read any further; None if it can. The rest of it is of no use.

    Raises
    ------
    MultipartUnreadable
        If the media type is multipart, and has no boundary.
    """

    def __init__(
        self,
        intake: Intake,
        source: Source,
        media_type: MediaType,
        *,
        study: str | None = None,
        is_compressed: bool = False,
        accepts: Callable[[str], bool],
        report: StoreReport,
        on_refused: OnRefused | None = None,
    ) -> None:
        self._media_type = media_type
        self._inflating = _Inflating() if is_compressed else None
        self._objects = _Objects(intake, source, study, accepts, report, on_refused)
        self._report = report
        self._bulk = BulkData(intake.local.staging)
        self._described: list[Described] = []
        self._described_length = 0
        self._part: _Part | None = None
        self._reader: MultipartReader | None = None
        self.problem: Problem | None = None
        if media_type.name == MULTIPART_TYPE:
            self._reader = MultipartReader(media_type.boundary)
        else:
            self._part = self._new_part(media_type, {})

    def feed(self, pieces: Sequence[bytes]) -> None:
        """Take further bytes of the body; those that come behind a problem are passed over."""
        if self.problem is not None:
            return
        with self._reading():
            for piece in pieces:
                for block in (piece,) if self._inflating is None else self._inflating.inflate(piece):
                    self._read(block)

    def finish(self, is_whole: bool) -> None:
        """Store what waits, after the end of the body.

        Parameters
        ----------
        is_whole
            Whether the body has come to its end, as far as HTTP tells.
        """
        if self._inflating is not None:
            is_whole = is_whole and self._inflating.is_at_end
        if self._reader is not None:
            is_whole = is_whole and self._reader.is_closed
        part, self._part = self._part, None
        if part is not None and is_whole:
            with self._reading():
                part.end()
        elif part is not None:
            part.abort()
        if self.problem is not None:
            self._report.remark = f"{self.problem.sentence}; only what came whole before is stored"
        elif not is_whole:
            self._report.remark = (
                "the body was cut off; only what came whole before is stored"
                if self._reader is None or self._reader.has_begun
                else "the boundary that the Content-Type names is not in the body"
            )
        self._store_described()
        self._objects.commit()

    def abort(self) -> None:
        """Drop what has not been stored; may be called at any time and more than once."""
        if self._part is not None:
            self._part.abort()
            self._part = None
        self._objects.abort()
        self._bulk.discard()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Within the block, what is wrong with the body becomes its problem."""
        try:
            yield
        except MultipartUnreadable as error:
            self._break(Problem(400, error.cause))
        except zlib.error:
            self._break(Problem(400, "the gzip data of the body are damaged"))
        except Problem as problem:
            self._break(problem)
        except OSError as error:
            _log.error("an upload cannot be written: %s", error)
            self._break(Problem(503, "the archive cannot write what comes now; try later"))

    def _break(self, problem: Problem) -> None:
        self.problem = problem
        if self._part is not None:
            self._part.abort()
            self._part = None

    def _read(self, block: Buffer) -> None:
        if self._reader is None:
            if self._part is not None:
                self._part.write(memoryview(block))
            return
        for event in self._reader.feed(block):
            if isinstance(event, memoryview):
                assert self._part is not None
                self._part.write(event)
            elif event is PART_ENDS:
                assert self._part is not None
                part, self._part = self._part, None
                part.end()
            else:
                assert isinstance(event, PartBegins)
                # Some leave it out, as the body says it for all of them.
                text = event.headers.get("content-type") or self._media_type.parameters.get(
                    "type", DICOM_TYPE
                )
                self._part = self._new_part(MediaType.parse(text), event.headers)

    def _new_part(self, media_type: MediaType, headers: Mapping[str, str]) -> _Part:
        if headers.get("content-encoding", "identity") != "identity":
            return _Refused(self._report, "a part has a Content-Encoding of its own, which is not read")
        if media_type.name == DICOM_TYPE:
            return _ObjectPart(self._objects)
        if media_type.name in METADATA_TYPES:
            return _MetadataPart(self._describe, media_type.name)
        location = headers.get("content-location", "")
        if location:
            return self._bulk.part(location, media_type)
        return _Refused(
            self._report,
            "a part is neither an object nor metadata of one, and has no Content-Location by which these name it",
        )

    def _describe(self, content: bytes, media_type: str) -> None:
        """Metadata of objects, which are stored when all of the body has come."""
        try:
            described: Iterable[Described] = (
                Described.in_json(content) if media_type == JSON_TYPE else [Described.in_xml(content)]
            )
        except DescriptionUnusable as error:
            self._report.remark = error.cause
            self._report.has_failed("", "", CANNOT_UNDERSTAND)
            return
        for each in described:
            if each.needs:
                self._described_length += each.length
                if self._described_length > _METADATA_LIMIT:
                    raise Problem(
                        413, f"metadata that wait for bulk data have more than {_METADATA_LIMIT} bytes"
                    )
                self._described.append(each)
            else:
                self._store(each)

    def _store_described(self) -> None:
        for each in self._described:
            self._store(each)
        self._described.clear()
        if self._bulk.unnamed and not (self._report.remark or self._report.failed):
            unnamed = counted(self._bulk.unnamed, "Content-Location")
            self._report.remark = f"no metadata name {unnamed} of the body; what is there is not stored"
        self._bulk.discard()

    def _store(self, described: Described) -> None:
        try:
            made = described.made(self._bulk)
        except DescriptionUnusable as error:
            if not error.sop_instance:
                self._report.remark = self._report.remark or error.cause
            self._objects.refuse(
                error.sop_class, error.sop_instance, ServiceRefusal(error.reason, error.cause)
            )
            return
        session = self._objects.open(made.header)
        if session is not None:
            self._objects.take(session, 0, made.blocks())


class _Part(Protocol):
    """What is made of a part of the body."""

    def write(self, data: memoryview) -> None:
        """Take bytes of it, which are valid only during the call."""
        ...

    def end(self) -> None:
        """It came whole."""
        ...

    def abort(self) -> None:
        """It will not come whole."""
        ...


class _Objects:
    """The objects of an upload that wait to be committed together."""

    def __init__(
        self,
        intake: Intake,
        source: Source,
        study: str | None,
        accepts: Callable[[str], bool],
        report: StoreReport,
        on_refused: OnRefused | None,
    ) -> None:
        self._intake = intake
        self._source = source
        self._study = study
        self._accepts = accepts
        self._report = report
        self._on_refused = on_refused
        self._waiting: list[Session] = []
        self._length = self._whole = 0
        self._large = 0

    def open(self, header: FileHeader) -> Session | None:
        """Begin an object; None if it is refused at once."""
        try:
            if is_uid(header.sop_class_uid) and not self._accepts(header.sop_class_uid):
                raise ServiceRefusal(SOP_CLASS_NOT_SUPPORTED, "its SOP class is not stored here")
            if header.transfer_syntax_uid not in TRANSFER_SYNTAXES:
                raise ServiceRefusal(TRANSFER_SYNTAX_NOT_SUPPORTED, "its transfer syntax is not known")
            return self._intake.open(
                header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid, self._source
            )
        except ServiceRefusal as refusal:
            self.refuse(header.sop_class_uid, header.sop_instance_uid, refusal)
            return None

    def refuse(self, sop_class: str, sop_instance: str, refusal: ServiceRefusal) -> None:
        """An object is not stored; its UIDs may be empty."""
        self._report.has_failed(sop_class, sop_instance, refusal.status)
        if self._on_refused is not None:
            self._on_refused(self._source, sop_instance, refusal)

    def take(self, session: Session, length: int, blocks: Iterable[Buffer] = ()) -> None:
        """An object is complete, but for some blocks; ``length`` bytes of it were written."""
        try:
            for block in blocks:
                length += len(block)
                session.write(memoryview(block))
            self._large += length > SPILL_LENGTH
            session.is_flushed_together = self._large > _FEW
            session.place()
        except ServiceRefusal as refusal:
            self.refuse(session.sop_class, session.sop_instance, refusal)
            return
        except BaseException:
            session.abort()
            raise
        placed = session.placed
        if isinstance(placed, Accepted):
            if self._study is not None and placed.entry.name.study != self._study:
                session.abort()
                self.refuse(
                    session.sop_class,
                    session.sop_instance,
                    ServiceRefusal(STUDY_DOES_NOT_MATCH, "its study is not the one to which it was sent"),
                )
                return
            self._length += placed.length
            self._whole += length
        self._waiting.append(session)
        if len(self._waiting) >= _GROUP or self._length >= _GROUP_LENGTH or self._whole >= _GROUP_WHOLE:
            self.commit()

    def commit(self) -> None:
        """Store what waits."""
        waiting, self._waiting = self._waiting, []
        self._length = self._whole = 0
        if not waiting:
            return
        if self._intake.progress.unfiled > _AHEAD:
            self._intake.wait_for_all()
        names = [each.placed.entry.name if isinstance(each.placed, Accepted) else None for each in waiting]
        try:
            outcomes = self._intake.commit(waiting)
        except BaseException:
            for each in waiting:
                self._report.has_failed(each.sop_class, each.sop_instance, PROCESSING_FAILURE)
            raise
        for session, name, outcome in zip(waiting, names, outcomes, strict=True):
            if isinstance(outcome, ServiceRefusal):
                self.refuse(session.sop_class, session.sop_instance, outcome)
            else:
                assert name is not None
                warning = outcome if outcome == KEPT_IN_QUARANTINE else None
                self._report.has_stored(session.sop_class, name, warning)

    def abort(self) -> None:
        """Drop what waits."""
        for each in self._waiting:
            each.abort()
        self._waiting.clear()


class _ObjectPart:
    """A DICOM file."""

    def __init__(self, objects: _Objects) -> None:
        self._objects = objects
        self._start = bytearray()
        self._session: Session | None = None
        self._length = 0
        # What of it was refused is passed over.
        self._is_over = False

    def write(self, data: memoryview) -> None:
        """Take bytes of it."""
        if self._is_over:
            return
        if self._session is None:
            taken = min(len(data), _START_LENGTH - len(self._start))
            self._start += data[:taken]
            data = data[taken:]
            if len(self._start) < _START_LENGTH:
                return
            self._begin()
        if self._session is not None and len(data):
            self._write(data)

    def end(self) -> None:
        """Store it."""
        if not self._is_over and self._session is None:
            self._begin()
        if self._session is not None:
            session, self._session = self._session, None
            self._objects.take(session, self._length)

    def abort(self) -> None:
        """Drop it."""
        if self._session is not None:
            self._session.abort()
            self._session = None

    def _begin(self) -> None:
        """What it is is known by its first bytes."""
        start, self._start = bytes(self._start), bytearray()
        try:
            header, _ = identify(BytesIO(), start)
            if header.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
                raise UnusableObject("a DICOMDIR, which is not stored")
        except UnusableObject as error:
            self._is_over = True
            self._objects.refuse("", "", ServiceRefusal(CANNOT_UNDERSTAND, error.cause))
            return
        self._session = self._objects.open(header)
        self._is_over = self._session is None
        if self._session is not None:
            self._write(memoryview(start)[header.offset :])

    def _write(self, data: memoryview) -> None:
        assert self._session is not None
        self._length += len(data)
        try:
            self._session.write(data)
        except ServiceRefusal as refusal:
            self._objects.refuse(self._session.sop_class, self._session.sop_instance, refusal)
            self._session, self._is_over = None, True


class _MetadataPart:
    """Metadata of one or more objects."""

    def __init__(self, describe: Callable[[bytes, str], None], media_type: str) -> None:
        self._describe = describe
        self._media_type = media_type
        self._content = bytearray()

    def write(self, data: memoryview) -> None:
        """Take bytes of it; raises Problem if they are too many."""
        if len(self._content) + len(data) > _PART_LIMIT:
            raise Problem(413, f"the metadata of one part have more than {_PART_LIMIT} bytes")
        self._content += data

    def end(self) -> None:
        """Read it."""
        self._describe(bytes(self._content), self._media_type)

    def abort(self) -> None:
        """Drop it."""
        self._content.clear()


class _Refused:
    """A part that nothing can be made of."""

    def __init__(self, report: StoreReport, cause: str) -> None:
        report.is_unsupported = True
        report.remark = cause
        report.has_failed("", "", CANNOT_UNDERSTAND)

    def write(self, data: memoryview) -> None:
        """Pass over it."""

    def end(self) -> None:
        """Nothing is to be done."""

    def abort(self) -> None:
        """Nothing is to be done."""


class _Inflating:
    """The body as it was before gzip compressed it (RFC 1952), which may have several members."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._taken = self._given = 0
        self.is_at_end = False

    def inflate(self, piece: bytes) -> Iterator[bytes]:
        """Further bytes; raises zlib.error if they are damaged, and Problem if they become too many."""
        self._taken += len(piece)
        while piece or self._inflater.unconsumed_tail:
            if self._inflater.eof:
                self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
            block = self._inflater.decompress(piece, _INFLATED_BLOCK)
            piece = self._inflater.unconsumed_tail or self._inflater.unused_data
            self._given += len(block)
            if self._given > max(_INFLATED_FREELY, _RATIO * self._taken):
                raise Problem(
                    413, f"the body inflates to more than {_RATIO} times its length; send it without gzip"
                )
            if block:
                yield block
        self.is_at_end = self._inflater.eof
