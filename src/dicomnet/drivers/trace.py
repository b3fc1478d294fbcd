"""The log of one association, shared by both drivers: its connection, its PDUs, its messages and how they end.

INFO has a line a step (the association, the outcome of each operation, the end), DEBUG each PDU and each message. Where
a server wants its trouble known, rejections, aborts and refused requests are logged at the level that it gives. Nothing
of a data set is logged, but for identifiers where `_config.LOG_IDENTIFIERS` asks for them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING

from .. import _config
from ..dimse.assembler import OpenSink
from ..dimse.datasets import FileRange, MemorySink, Sink
from ..dimse.messages import Message, MessageType
from ..errors import AssociationAborted, AssociationRejected, DicomnetError
from ..plurals import counted
from ..services.registry import is_pending
from ..upper_layer.negotiation import NegotiatedContext
from ..values import frozen
from ..wire.pdu import PDU, AssociateAC, AssociateRJ, AssociateRQ
from .hooks import Phase

if TYPE_CHECKING:
    from types import ModuleType

_log = logging.getLogger(__name__)

is_logged: Callable[[int], bool] = _log.isEnabledFor
"""Whether anything of that level is logged: the one question that a message asks where nothing is."""

# Whose requests are being performed here, so that what is logged meanwhile can be told to be about it.
served: ContextVar[Trace | None] = ContextVar("served", default=None)

# How many operations are timed at once. More are not under way, unless a peer never answers.
_MOST_OPERATIONS = 1024
# The longest text about a failure in a line, in characters.
_LONGEST_CAUSE = 400


# Decodes a value by a Specific Character Set; a floor above knows those.
_decode: Callable[[bytes, str], str] | None = None


def decode_identifiers_by(decode: Callable[[bytes, str], str]) -> None:
    """Have the values of identifiers decoded where they are logged.

    Parameters
    ----------
    decode
        Given a value, and the value of Specific Character Set (0008,0005).
    """
    global _decode
    _decode = decode


@frozen
class _Begun:
    """An operation under way.

    Parameters
    ----------
    label
        The operation in words.
    at
        When it began, on the monotonic clock.
    length
        The length of its data set in bytes, None for none.
    response
        The kind of message that answers it.
    """

    label: str
    at: float
    length: int | None
    response: MessageType


class Trace:
    """What is logged of one association.

    Parameters
    ----------
    is_requestor
        Whether this side requests the association.
    trouble
        At which level rejections, aborts and refused requests are logged.
    """

    __slots__ = (
        "_accepted",
        "_address",
        "_answer",
        "_arriving",
        "_begun",
        "_is_closed",
        "_is_requestor",
        "_pending",
        "_request",
        "_tls",
        "_trouble",
    )

    def __init__(self, is_requestor: bool, trouble: int) -> None:
        self._is_requestor = is_requestor
        self._trouble = trouble
        self._address: tuple[str, int] | None = None
        self._tls = ""
        self._is_closed = False
        self._request: AssociateRQ | None = None
        self._answer: AssociateAC | AssociateRJ | None = None
        self._accepted: dict[int, str] = {}
        self._begun: dict[tuple[bool, int], _Begun] = {}
        self._pending: dict[tuple[bool, int], int] = {}
        self._arriving: float | None = None

    @property
    def peer(self) -> str:
        """The peer by its AE title and address, as far as they are known."""
        title = ""
        if self._request is not None:
            title = self._request.called_ae_title if self._is_requestor else self._request.calling_ae_title
        if self._address is None:
            return _words().shown(title) or "the peer"
        host, port = self._address
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return f"{_words().shown(title)}@{place}" if title else place

    @property
    def fields(self) -> dict[str, str]:
        """What a record of the log has that is about the association."""
        host = {} if self._address is None else {"peer": self._address[0]}
        return {**host, "association": self.peer}

    def opened(self, address: tuple[str, int]) -> None:
        """The transport connection is there."""
        self._address = address
        self.say(logging.DEBUG, "connection opened by %s", "us" if self._is_requestor else "the peer")

    def secured(self, version: str) -> None:
        """The TLS handshake is done."""
        self._tls = version
        self.say(logging.DEBUG, "TLS handshake done: %s", version)

    def closed(self) -> None:
        """The transport connection is gone, or is closed now. Called again, it does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self.say(logging.DEBUG, "connection closed")

    def pdu(self, pdu: PDU, *, is_sent: bool) -> None:
        """A PDU other than P-DATA-TF was received, or is about to be sent."""
        if isinstance(pdu, AssociateRQ) and self._request is None:
            self._request = pdu
        elif isinstance(pdu, AssociateAC | AssociateRJ) and self._answer is None:
            self._answer = pdu
        if not is_logged(logging.DEBUG):
            return
        contexts = self._request.contexts if self._request is not None else ()
        proposed = {each.context_id: each.abstract_syntax for each in contexts}
        for line in _words().describe_pdu(pdu, proposed):
            self.say(logging.DEBUG, "%s %s", "sent" if is_sent else "received", line)

    def entered(self, phase: Phase, failure: DicomnetError | None) -> None:
        """The association entered a phase of its life, with a failure where it did not end regularly."""
        if phase is Phase.ESTABLISHED:
            self._established()
        elif phase is Phase.RELEASED:
            self.say(logging.INFO, "association released")
        elif phase is Phase.REJECTED:
            self._rejected(failure)
        elif phase is Phase.ABORTED:
            self._aborted(failure)

    def timed(self, open_sink: OpenSink) -> OpenSink:
        """`open_sink`, or where messages are logged one that notes when their data sets begin."""
        if not is_logged(logging.INFO):
            return open_sink

        def open_timed(message: Message, context: NegotiatedContext) -> Sink:
            self._arriving = monotonic()
            return open_sink(message, context)

        return open_timed

    def message(self, message: Message, *, is_sent: bool, length: int | None = None) -> None:
        """A message was received, or is about to be sent.

        To be called where `is_logged` says so for INFO, and for responses other than Success.

        Parameters
        ----------
        length
            The length of its data set in bytes, None for none; of one to send it is known.
        """
        arriving, self._arriving = self._arriving, None
        if is_sent:
            length, arriving = _length_of(message.data), None
        if is_logged(logging.DEBUG):
            self._tell_message(message, is_sent, length, arriving)
        if message.type.is_response:
            self._answered(message, is_sent)
        elif message.type.has_response and is_logged(logging.INFO) and len(self._begun) < _MOST_OPERATIONS:
            label = _words().describe_operation(message)
            began = monotonic() if arriving is None else arriving
            self._begun[is_sent, message.message_id] = _Begun(label, began, length, message.type.response)

    def say(self, level: int, text: str, *values: object, instance: str = "") -> None:
        """Log something about the association.

        Parameters
        ----------
        level
            As of `logging`.
        text, values
            What is said; the peer is put before it.
        instance
            The SOP Instance UID of the object that it is about, as it came; empty for none.
        """
        if is_logged(level):
            about = {"object": instance} if instance else {}
            _log.log(level, f"%s: {text}", self.peer, *values, extra={**self.fields, **about})

    def _established(self) -> None:
        if not is_logged(logging.INFO) or self._request is None:
            return
        contexts = self._answer.contexts if isinstance(self._answer, AssociateAC) else ()
        accepted = sum(not each.result for each in contexts)
        title = self._request.calling_ae_title if self._is_requestor else self._request.called_ae_title
        self.say(
            logging.INFO,
            "association established, our AE title %s, %d of %s accepted, %s",
            _words().shown(title),
            accepted,
            counted(len(self._request.contexts), "presentation context"),
            self._tls or "without TLS",
        )

    def _rejected(self, failure: DicomnetError | None) -> None:
        if failure is None and isinstance(self._answer, AssociateRJ):
            failure = AssociationRejected(self._answer.result, self._answer.source, self._answer.reason)
        self._say_end(str(failure or "association rejected"))

    def _aborted(self, failure: DicomnetError | None) -> None:
        is_silent = isinstance(failure, AssociationAborted) and failure.source is None and not failure.cause
        if self._request is None and (failure is None or is_silent):
            # Those who only look whether the port is open are no trouble.
            self.say(logging.INFO, "connection ended before an association was asked for")
            return
        self._say_end("association aborted by us" if failure is None else str(failure))

    def _say_end(self, text: str) -> None:
        if not is_logged(self._trouble):
            return
        shown = _words().shown
        about = (
            f" (called AE title {shown(self._request.called_ae_title)})" if self._request is not None else ""
        )
        self.say(self._trouble, "%s%s", shown(text, _LONGEST_CAUSE), about)

    def _tell_message(
        self, message: Message, is_sent: bool, length: int | None, arriving: float | None
    ) -> None:
        words = _words().describe_message(message)
        data = ""
        if length is not None:
            syntax = _words().syntax_name(self._syntax_of(message.context_id))
            took = f" in {_milliseconds(arriving)}" if arriving is not None else ""
            data = f"; data set of {length} bytes{took}, {syntax}"
        self.say(
            logging.DEBUG,
            "%s P-DATA-TF: %s%s",
            "sent" if is_sent else "received",
            words,
            data,
            instance=_instance_of(message),
        )
        for line in self._identifier(message):
            self.say(logging.DEBUG, "  %s", line)

    def _identifier(self, message: Message) -> Iterator[str]:
        if not _config.LOG_IDENTIFIERS or message.type.data_set != "Identifier":
            return
        is_response = message.type.is_response
        if not (_config.LOG_RESPONSE_IDENTIFIERS if is_response else _config.LOG_REQUEST_IDENTIFIERS):
            return
        data = message.data.content if isinstance(message.data, MemorySink) else message.data
        if isinstance(data, bytes | bytearray | memoryview):
            yield from _words().describe_elements(data, self._syntax_of(message.context_id), _decode)

    def _syntax_of(self, context_id: int) -> str:
        if not self._accepted and isinstance(self._answer, AssociateAC):
            self._accepted = {
                each.context_id: each.transfer_syntax for each in self._answer.contexts if not each.result
            }
        return self._accepted.get(context_id, "")

    def _answered(self, response: Message, is_sent: bool) -> None:
        words = _words()
        key = (not is_sent, response.command.get("MessageIDBeingRespondedTo", 0))
        if key in self._begun and self._begun[key].response is not response.type:
            # The operation goes on: this does not answer it.
            if is_logged(logging.INFO):
                outcome = words.describe_outcome(response)
                self.say(
                    logging.INFO,
                    "%s: a %s came: %s",
                    self._begun[key].label,
                    response.type.name,
                    outcome,
                    instance=_instance_of(response),
                )
            return
        if is_pending(response.command.get("Status", 0)):
            if key in self._begun:
                self._pending[key] = self._pending.get(key, 0) + 1
            return
        level = self._trouble if is_sent and words.has_failed(response) else logging.INFO
        begun, pending = self._begun.pop(key, None), self._pending.pop(key, 0)
        if not is_logged(level):
            return
        about = ""
        if begun is not None:
            about += f", {begun.length} bytes" if begun.length is not None else ""
            about += f", {pending} pending responses" if pending else ""
            about += f", {_milliseconds(begun.at)}"
        label = begun.label if begun is not None else words.describe_operation(response)
        verb = "answered" if is_sent else "was answered"
        if begun is None and not is_sent:
            # Whether there was such an operation is not known here.
            label, verb = f"a {response.type.name} for Message ID {key[1]}", "came"
        self.say(
            level,
            "%s %s: %s%s",
            label,
            verb,
            words.describe_outcome(response),
            about,
            instance=_instance_of(response),
        )


def _words() -> ModuleType:
    """The module of words, which those that log nothing start without."""
    from ..services import descriptions

    return descriptions


def _instance_of(message: Message) -> str:
    command = message.command
    return str(command.get("AffectedSOPInstanceUID") or command.get("RequestedSOPInstanceUID") or "")


def _milliseconds(begin: float) -> str:
    return f"{(monotonic() - begin) * 1000:.1f} ms"


def _length_of(data: object) -> int | None:
    if isinstance(data, FileRange):
        return data.length + data.padding
    return len(data) if isinstance(data, bytes | bytearray | memoryview) else None
