"""Retrieval of studies, series and instances as DICOM files (WADO-RS, PS3.18 section 10.4)."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from io import RawIOBase
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ....datasets.transcode import is_decodable, is_lossless, transcode_file
from ....encoding.file_header import encode_file_header
from ....encoding.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, Transcoding, transfer_syntax
from ....errors import UnusableObject
from ....plurals import counted
from ....values import frozen
from ...catalogue.query import StoredInstance
from ...holdings import Holdings
from ...services.retrieval import known_object
from ...storage.store import ObjectName, Storage
from ...terms import Terms
from ..http.conditional import REVALIDATED, entity_tag, is_unchanged
from ..http.file_parts import CHUNK, FilePart, file_parts, in_bytes
from ..http.multipart import Part, boundary_of, content_type, length_of, written
from ..http.negotiation import ANY_TRANSFER_SYNTAX, Alternative, Offer, alternatives, ranges_of
from ..http.problems import CutOff, Problem
from ..http.streams import begun, streamed
from ..http.threads import in_thread
from ..resources import PATHS, Reference, reference_of
from .described import ACCEPT, Described, DescribedRoute
from .located import located, may_lack, said_to_lack
from .unusable import UNUSABLE

_log = logging.getLogger(__name__)

DICOM: Final = "application/dicom"
_MANY, _ONE, _ZIP = Offer(DICOM, is_multipart=True), Offer(DICOM), Offer("application/zip")
_SEVERAL = (_MANY, _ZIP)
_OFFERS = {PATHS[0]: _SEVERAL, PATHS[1]: _SEVERAL, PATHS[2]: (_MANY, _ONE, _ZIP)}
_DESCRIBED = {
    path: Described(
        "Retrieve DICOM files.",
        "10.4.1.1.1",
        offers=offers,
        statuses=(200, 206),
        empty=(304,),
        refusals=(410,),
        parameters=(ACCEPT,),
    )
    for path, offers in _OFFERS.items()
}


MISSING: Final = "MISSING.txt"
"""The file in a zip file that says what is not in it."""

# Objects that are not given out, each with the reason.
Missing = dict[ObjectName, str]
_GONE = "its file is not there any more"


@frozen
class File:
    """An object as it is given out: its file as it is stored, or its data set in another transfer syntax.

    Parameters
    ----------
    found
        The object.
    target
        UID of the transfer syntax in which it is given out.
    """

    found: StoredInstance
    target: str

    @property
    def is_as_stored(self) -> bool:
        """Whether the stored bytes are given out."""
        return self.target == self.found.transfer_syntax_uid

    @property
    def length(self) -> int | None:
        """How many bytes that are; None where it is not known."""
        return self.found.size if self.is_as_stored else None

    @property
    def version(self) -> str | None:
        """What differs where its bytes may differ; None where that is not known."""
        digest = self.found.digest
        return None if digest is None else f"{self.found.name.instance} {digest} {self.target}"

    def chunks(self, storage: Storage) -> Iterator[bytes | FilePart]:
        """Its bytes, some at a time. Raises UnusableObject or OSError where it cannot be read or converted."""
        if self.is_as_stored:
            return stored_chunks(storage, self.found.name, self.found.size)
        return UNUSABLE.watched(self.version, _converted(storage, self.found, self.target))


def stored_chunks(storage: Storage, name: ObjectName, size: int | None) -> Iterator[bytes | FilePart]:
    """The bytes of a stored file, some at a time.

    Parameters
    ----------
    storage, name
        Where it is.
    size
        How many bytes it has; None where that is not known.

    Raises
    ------
    UnusableObject
        If it has another length.
    OSError
        If it cannot be read.
    """
    if size is not None and size <= CHUNK:
        content = storage.read(name, size)
        if content is None:
            raise UnusableObject(f"its file does not have {size} bytes")
        yield content
        return
    with storage.open(name) as file:
        length = file.seek(0, 2)
        if size not in (None, length):
            raise UnusableObject(f"its file has {length} bytes instead of {size}")
        yield from file_parts(file, length)


def _converted(storage: Storage, found: StoredInstance, target: str) -> Iterator[bytes]:
    stored, _ = known_object(storage, found).read(whole=False)
    data_set = memoryview(transcode_file(stored, target))
    yield encode_file_header(found.sop_class_uid, found.name.instance, target)
    for at in range(0, len(data_set), CHUNK):
        yield bytes(data_set[at : at + CHUNK])


def target_of(own: str, options: Sequence[Alternative], transcoding: Transcoding) -> str | None:
    """In which transfer syntax an object is given out; None if in none of those that are accepted.

    Parameters
    ----------
    own
        UID of that in which it is stored.
    options
        What is accepted, the best first. Where a client does not say which transfer syntax it wants, it gets Explicit
        VR Little Endian, but what has lost something by its compression stays as it is (PS3.18 section 8.7.3.3).
    transcoding
        Whether objects may be decompressed.
    """
    is_native = not transfer_syntax(own).is_encapsulated
    may_change = is_native or (transcoding is not Transcoding.NEVER and is_decodable(own))
    for option in options:
        wanted = option.transfer_syntax
        if wanted in (ANY_TRANSFER_SYNTAX, own):
            return own
        if not wanted:
            return EXPLICIT_VR_LITTLE_ENDIAN if may_change and is_lossless(own) else own
        if may_change and not transfer_syntax(wanted).is_encapsulated:
            return wanted
    return None


class RetrievingService:
    """The service that gives out studies, series and instances.

    Parameters
    ----------
    holdings
        What there is; it has an index.
    """

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._transcoding = Transcoding.IF_NEEDED
        self.routes: Sequence[BaseRoute] = [
            DescribedRoute(path, self._retrieve, _DESCRIBED[path]) for path in PATHS
        ]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        self._transcoding = terms.retrieval.transcoding

    async def _retrieve(self, request: Request) -> Response:
        reference = reference_of(request)
        offers = _SEVERAL if reference.instance is None else _OFFERS[PATHS[2]]
        options = alternatives(ranges_of(request), offers)
        return await in_thread(self.answer, request, reference, options)

    def answer(self, request: Request, reference: Reference, options: Sequence[Alternative]) -> Response:
        """Give out a resource in the best form of what is accepted.

        Parameters
        ----------
        request
            What is asked.
        reference
            The resource.
        options
            What is offered and accepted, the best first.

        Raises
        ------
        Problem
            With status 404 or 410 if there is no such resource; 406 if it cannot be given in a transfer syntax that is
            accepted.
        """
        offer = options[0].offer
        found = located(self._holdings, reference)
        files, missing = self._files(found, [option for option in options if option.offer == offer])
        lacks = bool(missing) or may_lack(self._holdings, reference)
        tag = None if lacks else entity_tag([str(offer), *(file.version for file in files)])
        headers = {"cache-control": REVALIDATED}
        if tag is not None:
            headers["etag"] = tag
        status = 200
        if lacks:
            status = said_to_lack(headers, len(missing), len(found))
        elif is_unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        chunks = self._body(offer, files, missing, tag, headers)
        return streamed(request, begun(request, chunks), headers, status)

    def _files(
        self, found: Sequence[StoredInstance], options: Sequence[Alternative]
    ) -> tuple[list[File], Missing]:
        """What is given out, and what is not."""
        targets = {
            own: target_of(own, options, self._transcoding)
            for own in {each.transfer_syntax_uid for each in found}
        }
        files: list[File] = []
        missing: Missing = {}
        for each in found:
            target = targets[each.transfer_syntax_uid]
            if target is None:
                missing[each.name] = "it cannot be given in the transfer syntax that is asked for"
            else:
                files.append(File(each, target))
        if not files:
            names = ", ".join(sorted(transfer_syntax(own).name for own in targets))
            raise Problem(
                406,
                f"what is stored in {names} cannot be given in the transfer syntax in Accept; * takes it as it is",
            )
        lacking = {file.found.name: reason for file in files if (reason := self._lack(file)) is not None}
        there = [file for file in files if lacking.get(file.found.name) != _GONE]
        if not there:
            raise Problem(404, "the files of this resource are not there any more")
        whole = [file for file in there if file.found.name not in lacking]
        if not whole:
            # Where nothing can be given out, that shows when it is read.
            lacking = {name: reason for name, reason in lacking.items() if reason == _GONE}
        return whole or there, missing | lacking

    def _lack(self, file: File) -> str | None:
        """Why an object cannot be given out, as far as that is known before; None if it seems that it can."""
        length = self._length(file.found)
        if length is None:
            return _GONE
        if length != file.found.size:
            return "its file does not have the length that it had"
        return None if file.is_as_stored else UNUSABLE.reason(file.version)

    def _length(self, found: StoredInstance) -> int | None:
        """How long the file of an object is, or would be where that is not known; None if it is not there."""
        try:
            length = self._holdings.storage.length(found.name)
        except OSError as error:
            _log.warning("%s cannot be given out: %s", found.name.instance, error)
            return None
        return length if length is None or found.size is not None else found.size

    def _body(
        self, offer: Offer, files: Sequence[File], missing: Missing, tag: str | None, headers: dict[str, str]
    ) -> Iterator[bytes | FilePart]:
        """The body of a response, and what it says of itself."""
        storage = self._holdings.storage
        if offer == _ZIP:
            headers["content-type"] = offer.kind
            headers["content-disposition"] = f'attachment; filename="{files[0].found.name.study}.zip"'
            return _zipped(files, missing, storage)
        if offer == _ONE:
            file = files[0]
            headers["content-type"] = _dicom(file.target)
            headers["content-disposition"] = f'attachment; filename="{file.found.name.instance}.dcm"'
            if file.length is not None:
                headers["content-length"] = str(file.length)
            return file.chunks(storage)
        parts = [_part(file, storage) for file in files]
        # The same bytes each time, as the ETag says.
        boundary = boundary_of(tag)
        headers["content-type"] = content_type(DICOM, boundary)
        length = length_of(parts, boundary)
        if length is not None:
            headers["content-length"] = str(length)
        return written(parts, boundary)


def _dicom(syntax: str) -> str:
    return f"{DICOM}; transfer-syntax={syntax}"


def _part(file: File, storage: Storage) -> Part:
    return Part(
        file.found.name.instance,
        (("Content-Type", _dicom(file.target)),),
        file.length,
        partial(file.chunks, storage),
    )


class _Sink(RawIOBase):
    """What a zip file is written to, until it is taken away."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, content: bytes) -> int:  # type: ignore[override]
        self.pieces.append(bytes(content))
        self.size += len(content)
        return len(content)

    def take(self) -> bytes:
        """What was written since the last time."""
        content = b"".join(self.pieces)
        self.pieces, self.size = [], 0
        return content


def _zipped(files: Sequence[File], missing: Missing, storage: Storage) -> Iterator[bytes]:
    """A zip file of objects, each named by its UIDs.

    What cannot be read is left out, and named in a text file in its place: people take what there is of a study. An
    object that cannot be read to its end leaves the zip file without one, see `CutOff`.
    """
    sink = _Sink()
    missing = dict(missing)
    failure: Exception | None = None
    with zipfile.ZipFile(sink, "w") as archive:
        for file in files:
            try:
                chunks = in_bytes(file.chunks(storage))
                chunk = next(chunks, b"")
            except (UnusableObject, OSError) as error:
                _log.warning("%s is left out of a zip file: %s", file.found.name.instance, error)
                failure, missing[file.found.name] = error, _said(error)
                continue
            with archive.open(_entry(file.found.name), "w", force_zip64=True) as entry:
                while chunk:
                    entry.write(chunk)
                    if sink.size >= CHUNK:
                        yield sink.take()
                    try:
                        chunk = next(chunks, b"")
                    except (UnusableObject, OSError) as error:
                        name = file.found.name.instance
                        raise CutOff(f"{name} cannot be read to its end: {error}") from error
        if failure is not None and not archive.filelist:
            raise failure
        if missing:
            lines = [f"{_entry(name)}: {reason}\r\n" for name, reason in missing.items()]
            count = counted(len(files) + len(missing.keys() - {each.found.name for each in files}), "object")
            head = f"This zip file lacks {len(missing)} of {count}, which cannot be given out:\r\n\r\n"
            with archive.open(MISSING, "w") as entry:
                entry.write("".join([head, *lines]).encode())
    yield sink.take()


def _entry(name: ObjectName) -> str:
    return f"{name.study}/{name.series}/{name.instance}.dcm"


def _said(error: Exception) -> str:
    """Why an object is missing, for the client."""
    if isinstance(error, UnusableObject):
        return error.cause
    return _GONE if isinstance(error, FileNotFoundError) else "its file cannot be read; the log says why"
