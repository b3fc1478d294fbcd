"""Objects as they come in the parts of a response, given to the hooks that C-GET gives them to."""

from __future__ import annotations

import logging
from io import BytesIO

from ..dimse.datasets import Sink
from ..dimse.messages import C_STORE_RQ, Message
from ..drivers.files import identify
from ..encoding.file_header import PREFIX_LENGTH, FileHeader, HeaderIncomplete, decode_file_header
from ..errors import ServiceRefusal, UnusableObject
from ..exchange.operations import Hand, Operation
from ..exchange.receiving import ReceiverHooks
from ..upper_layer.negotiation import NegotiatedContext, Result
from .refusals import CANNOT_UNDERSTAND

_log = logging.getLogger(__name__)


class Arrival:
    """One object while it arrives, as the content of a DICOM file (PS3.10).

    Its header is read, then its data set is written where the hooks want it.

    Parameters
    ----------
    hooks
        They take it.
    """

    def __init__(self, hooks: ReceiverHooks) -> None:
        self._hooks = hooks
        self._prefix = bytearray()
        self._needed = PREFIX_LENGTH
        self._message: Message | None = None
        self._sink: Sink | None = None
        self._context = NegotiatedContext(1, "", Result.ACCEPTANCE)
        self._is_refused = False

    def write(self, data: memoryview) -> None:
        """Further bytes of it."""
        if self._sink is not None:
            self._put(data)
        elif not self._is_refused:
            self._prefix += data
            if len(self._prefix) >= self._needed:
                self._open(is_whole=False)

    def end(self) -> Operation[None]:
        """All of it has come: it is kept, handed over, or refused."""
        if self._sink is None and not self._is_refused:
            self._open(is_whole=True)
        message, self._sink = self._message, None
        if message is None or self._is_refused:
            return
        instance = message.command["AffectedSOPInstanceUID"]
        hooks = self._hooks
        if hooks.on_object is not None and instance in hooks.receipt.kept:
            # It comes twice, and was handed over.
            _log.info("object %s comes once more, and is left out", instance)
            self.abort()
            return
        try:
            yield Hand(hooks, message, self._context)
        except ServiceRefusal as refusal:
            hooks.refused(message, refusal)

    def abort(self) -> None:
        """No more of it comes, or is wanted."""
        sink = self._message.data if self._message is not None else None
        self._sink, self._is_refused = None, True
        if sink is not None:
            sink.abort()  # type: ignore[attr-defined]

    def _open(self, *, is_whole: bool) -> None:
        prefix = bytes(self._prefix)
        try:
            header = _header_of(prefix, is_whole=is_whole)
        except HeaderIncomplete as incomplete:
            self._needed = max(incomplete.needed, len(prefix) + 1)
            return
        except UnusableObject as error:
            self._refuse(ServiceRefusal(CANNOT_UNDERSTAND, f"a part of the answer: {error}"))
            return
        self._prefix = bytearray()
        command = {
            "AffectedSOPClassUID": header.sop_class_uid,
            "MessageID": 1,
            "Priority": 0,
            "AffectedSOPInstanceUID": header.sop_instance_uid,
        }
        self._context = NegotiatedContext(
            1, header.sop_class_uid, Result.ACCEPTANCE, header.transfer_syntax_uid, as_scp=True
        )
        self._message = Message(C_STORE_RQ, command, 1)
        try:
            self._sink = self._message.data = self._hooks.open_sink(self._message, self._context)
        except ServiceRefusal as refusal:
            self._refuse(refusal)
            return
        self._put(memoryview(prefix)[header.offset :])

    def _put(self, data: memoryview) -> None:
        assert self._sink is not None
        try:
            self._sink.write(data)
        except ServiceRefusal as refusal:
            self._refuse(refusal)

    def _refuse(self, refusal: ServiceRefusal) -> None:
        message = self._message or Message(C_STORE_RQ, {}, 1)
        self.abort()
        self._hooks.refused(message, refusal)


def _header_of(prefix: bytes, *, is_whole: bool) -> FileHeader:
    """The header of a file by its first bytes: what it says, and where it says nothing, what the data set says.

    Raises
    ------
    HeaderIncomplete
        If more bytes are needed.
    UnusableObject
        If it is none.
    """
    try:
        told = decode_file_header(prefix)
    except HeaderIncomplete:
        if is_whole:
            raise UnusableObject("its file meta information is cut off") from None
        raise
    found = identify(BytesIO(), prefix)[0]
    return FileHeader(
        told.sop_class_uid or found.sop_class_uid,
        told.sop_instance_uid or found.sop_instance_uid,
        found.transfer_syntax_uid,
        found.offset,
    )
