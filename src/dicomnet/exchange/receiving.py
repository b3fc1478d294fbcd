"""Objects that arrive: in files of their own, byte for byte, or handed to a function."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from io import FileIO
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

from ..dimse.datasets import OUT_OF_RESOURCES, MemorySink, Sink, discard
from ..dimse.messages import C_STORE_RQ, Message
from ..encoding.file_header import encode_file_header
from ..encoding.identity import is_uid
from ..errors import ServiceRefusal
from ..services.registry import DUPLICATE_SOP_INSTANCE, INVALID_SOP_INSTANCE, OPERATIONS, SUCCESS
from ..services.steps import Answer
from ..upper_layer.negotiation import NegotiatedContext
from ..values import field, frozen
from .handling import answering
from .requesting import RequestorHooks
from .results import LocalFailure, Receipt

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from ..encoding.scan import Header, HeaderScanner
    from .pacing import Pacing

_log = logging.getLogger(__name__)

# The longest received data set that is kept in memory, in bytes.
OBJECT_LIMIT = 2 << 30

_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
IDENTIFYING_UIDS = {_SOP_CLASS_UID: "UI", _SOP_INSTANCE_UID: "UI"}
"""What a scanner has to find for `require_object`, with the value representations."""

_NAMES = {
    0x0020000D: "Study Instance UID",
    0x0020000E: "Series Instance UID",
    _SOP_INSTANCE_UID: "SOP Instance UID",
}
"""The UIDs by which objects are asked for (PS3.4 section C.4.2.1.4.1)."""

DATA_SET_DOES_NOT_MATCH = 0xA900


def asked_for(identifier: Dataset) -> dict[int, frozenset[str]]:
    """What the objects for an Identifier have to be, for `ReceiverHooks.expect`."""
    found: dict[int, frozenset[str]] = {}
    for tag in _NAMES:
        value = identifier[tag].value if tag in identifier else None
        values = [value] if isinstance(value, str) else list(value or ())
        # Others than UIDs are for the peer to judge.
        if values and all(map(is_uid, values)):
            found[tag] = frozenset(map(str, values))
    return found


def is_asked_for(wanted: Mapping[int, frozenset[str]], uids: Iterable[str]) -> bool:
    """Whether an object with these UIDs of study, series and itself is one that an Identifier asks for."""
    return all(uid in wanted.get(tag, (uid,)) for tag, uid in zip(_NAMES, uids, strict=True))


def require_object(header: Header, sop_class: str, sop_instance: str) -> None:
    """Refuse a data set that is not the object of its command: in its file it would be taken for another one.

    Parameters
    ----------
    header
        With `IDENTIFYING_UIDS`, as far as they are there.
    sop_class, sop_instance
        The UIDs of the command.

    Raises
    ------
    ServiceRefusal
        With status 0xA900.
    """
    found = header.uid(_SOP_CLASS_UID), header.uid(_SOP_INSTANCE_UID)
    if not found[1]:
        text, tag = "the data set is empty or has no SOP Instance UID", _SOP_INSTANCE_UID
    elif found[1] != sop_instance:
        text, tag = "the data set's SOP Instance UID is not that of the command", _SOP_INSTANCE_UID
    elif found[0] and found[0] != sop_class:
        text, tag = "the data set's SOP Class UID is not that of the command", _SOP_CLASS_UID
    else:
        return
    raise ServiceRefusal(DATA_SET_DOES_NOT_MATCH, text, (tag,))


class FileSink:
    """A received data set in a file with a DICOM file's header; removed unless it is kept.

    Parameters
    ----------
    message
        The C-STORE-RQ.
    context
        The presentation context it came on.
    folder
        Where it may be kept, on one file system; by default the folder for temporary files.
    source
        AE title of the sender, for the file meta information.
    failed
        Called with the error if it cannot be written.

    Raises
    ------
    ServiceRefusal
        With status 0xA700, if it cannot be written.
    """

    def __init__(
        self,
        message: Message,
        context: NegotiatedContext,
        folder: Path | None = None,
        source: str = "",
        failed: Callable[[OSError], object] | None = None,
    ) -> None:
        self._failed = failed
        command = message.command
        self._header = encode_file_header(
            command["AffectedSOPClassUID"],
            command["AffectedSOPInstanceUID"],
            context.transfer_syntax,
            source,
        )
        # A requestor starts without these.
        import secrets
        import tempfile

        self.path = "" if folder is None else str(folder / f".{secrets.token_hex(8)}.part")
        try:
            if folder is None:
                descriptor, self.path = tempfile.mkstemp(suffix=".dcm")
                self._file = FileIO(descriptor, "w+")
            else:
                self._file = FileIO(self.path, "x+")
        except OSError as error:
            raise self._refusal(error) from error
        except BaseException:
            # Interrupted, the call may have made it all the same; nobody else knows its name.
            if self.path:
                with contextlib.suppress(OSError):
                    os.unlink(self.path)
            raise
        # How many bytes it has.
        self.length = 0
        try:
            self.write(memoryview(self._header))
        except ServiceRefusal:
            self.abort()
            raise

    def __del__(self) -> None:
        # Interrupted before whoever asked for it had it, nobody else removes it.
        file = getattr(self, "_file", None)
        if file is not None and not file.closed:
            self.abort()

    def write(self, data: memoryview) -> None:
        """Append encoded bytes; ServiceRefusal where there is no room for them."""
        self.length += len(data)
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise self._refusal(error) from error

    def scan(self, scanner: HeaderScanner, transfer_syntax_uid: str) -> Header:
        """The header of the data set, which is complete; raises as `scan_file` does."""
        # A requestor starts without it.
        from ..drivers.scanning import scan_file

        return scan_file(scanner, self._file.fileno(), len(self._header), transfer_syntax_uid)

    def is_same_as(self, path: Path) -> bool:
        """Whether a file has the same content; False where there is none."""
        # A requestor that does not retrieve starts without it.
        import filecmp

        try:
            return filecmp.cmp(self.path, path, shallow=False)
        except FileNotFoundError:
            return False

    def keep(self, path: Path) -> None:
        """Close the file and give it a name on the same file system, in the place of what has that name.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if it cannot be renamed; it is removed then.
        """
        try:
            self._file.close()
            os.replace(self.path, path)
        except BaseException as error:
            self.abort()
            if isinstance(error, OSError):
                raise self._refusal(error) from error
            raise

    def _refusal(self, error: OSError) -> ServiceRefusal:
        if self._failed is not None:
            self._failed(error)
        return ServiceRefusal(OUT_OF_RESOURCES, "no room for the data set")

    def abort(self) -> None:
        """Close and remove the file; may be called again. One that cannot be removed stays, which is logged."""
        self._file.close()
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        except OSError as error:
            # On Windows as long as a handler still has it open.
            _log.error("the file of a received data set cannot be removed: %s", error)

    @property
    def content(self) -> bytes:
        """The encoded data set."""
        return Path(self.path).read_bytes()[len(self._header) :]


@frozen
class ReceivedObject:
    """An object as it was received.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, transfer_syntax_uid
        UIDs.
    data
        The encoded data set.
    source
        AE title of the sender.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data: bytes | bytearray = field(repr=False)
    source: str = ""

    @property
    def file_content(self) -> bytes:
        """The object as the content of a DICOM file (PS3.10 section 7)."""
        uids = self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid
        return encode_file_header(*uids, self.source) + self.data


class ReceiverHooks(RequestorHooks):
    """The hooks of an association for a C-GET: they take the objects.

    Parameters
    ----------
    source
        AE title of the peer.
    to
        The folder for files that are named after their SOP Instance UIDs; it is made if it is not there.
    on_object
        Called with each object instead. What it raises fails that object.

    Raises
    ------
    ValueError
        Unless one of the two is given.
    OSError
        If the folder cannot be made.
    """

    def __init__(
        self,
        source: str,
        to: str | os.PathLike[str] | None,
        on_object: Callable[[ReceivedObject], Any] | None,
    ) -> None:
        if (to is None) is (on_object is None):
            raise ValueError("say where the objects go: either a folder or a function")
        self._source = source
        self._folder = None if to is None else Path(to)
        # A requestor that does not retrieve starts without it.
        from ..encoding.scan import HeaderScanner

        self._scanner = HeaderScanner(IDENTIFYING_UIDS)
        self._wanted: Mapping[int, frozenset[str]] = {}
        self.on_object = on_object
        self.pacing: Pacing | None = None
        self.receipt = Receipt()
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)

    def expect(self, wanted: Mapping[int, frozenset[str]]) -> None:
        """Refuse, from now on, what was not asked for; nobody would look for another study in the folder of one.

        Parameters
        ----------
        wanted
            By tags of UIDs in a data set, the values that they may have; one that is not there contradicts nothing.
        """
        from ..encoding.scan import HeaderScanner

        self._wanted = wanted
        self._scanner = HeaderScanner(IDENTIFYING_UIDS | dict.fromkeys(wanted, "UI"))

    def open_sink(self, message: Message, context: NegotiatedContext) -> Sink:
        """A file in the folder for an object, memory for anything else."""
        if message.type is not C_STORE_RQ:
            return super().open_sink(message, context)
        instance = message.command["AffectedSOPInstanceUID"]
        if not is_uid(instance):
            raise ServiceRefusal(INVALID_SOP_INSTANCE, "the SOP Instance UID is not a UID")
        if self._folder is None:
            return MemorySink(OBJECT_LIMIT)
        return FileSink(message, context, self._folder, self._source, partial(self._fail, instance))

    def handle(self, message: Message, context: NegotiatedContext) -> Any:
        """Keep an object, or hand it over; refuse anything else."""
        with self.receiving(message):
            received = self.take(message, context)
            if received is not None and self.on_object is not None:
                self.on_object(received)
        sleep(self.pause(message))
        return Answer(SUCCESS)

    def pause(self, message: Message) -> float:
        """For how many seconds the answer to an object is held back, so that they come no faster than they may."""
        if self.pacing is None or message.type is not C_STORE_RQ:
            return 0.0
        self.pacing.took(getattr(message.data, "length", 0))
        return self.pacing.rest()

    @contextlib.contextmanager
    def receiving(self, message: Message) -> Iterator[None]:
        """Count an object when it has been taken; what is raised becomes a refusal."""
        with answering("C-STORE"):
            yield
        self.receipt.kept.add(message.command.get("AffectedSOPInstanceUID", ""))

    def refused(self, message: Message, refusal: ServiceRefusal) -> None:
        """Note why an object was not taken; its UID, and much else, may be missing or wrong."""
        cause = refusal.__cause__
        error = cause if isinstance(cause, Exception) else refusal
        failures = self.receipt.failures
        # An error with the file was noted when it came; others may have come since.
        if message.type is C_STORE_RQ and not any(each.error is error for each in failures[-128:]):
            self._fail(message.command.get("AffectedSOPInstanceUID", ""), error)

    def _fail(self, instance: str, error: Exception) -> None:
        is_file = self._folder is not None and is_uid(instance)
        path = os.path.join(self._folder or "", f"{instance}.dcm") if is_file else ""
        failure = LocalFailure(instance, error, path)
        _log.warning("refused an object: %s", failure)
        self.receipt.failures.append(failure)

    def take(self, message: Message, context: NegotiatedContext) -> ReceivedObject | None:
        """Keep an object in its file; or give it, to be handed over.

        Raises
        ------
        ServiceRefusal
            If it is not an object, or its data set is not whole: 0xC000 where it does not parse to its end, 0xA900
            where it is not the object of the command. With status 0x0111, if another object with its UID came before.
        """
        if message.type is not C_STORE_RQ:
            discard(message.data)
            raise ServiceRefusal(OPERATIONS[message.type.service].handler_failed)
        instance = message.command["AffectedSOPInstanceUID"]
        sink, syntax = message.data, context.transfer_syntax
        assert isinstance(sink, FileSink | MemorySink)
        try:
            if isinstance(sink, FileSink):
                header = sink.scan(self._scanner, syntax)
            else:
                header = self._scanner.scan(sink.content, syntax)
            require_object(header, context.abstract_syntax, instance)
            for tag, values in self._wanted.items():
                if header.uid(tag) not in {"", *values}:
                    words = f"it is not what was asked for: its {_NAMES[tag]} is {header.uid(tag)}"
                    raise ServiceRefusal(DATA_SET_DOES_NOT_MATCH, words, (tag,))
        except BaseException:
            sink.abort()
            raise
        if isinstance(sink, FileSink) and self._folder is not None:
            path = self._folder / f"{instance}.dcm"
            # A file of an earlier retrieval gives way; what was acknowledged in this one does not.
            if instance in self.receipt.kept and not sink.is_same_as(path):
                sink.abort()
                raise ServiceRefusal(
                    DUPLICATE_SOP_INSTANCE, "another object with this SOP Instance UID came before"
                )
            sink.keep(path)
            return None
        assert isinstance(sink, MemorySink)
        return ReceivedObject(context.abstract_syntax, instance, syntax, sink.content, self._source)
