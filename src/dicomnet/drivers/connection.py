"""The protocol side of one association, shared by both drivers: bytes and "now" in; happenings, buffers to send and
one deadline out. Owns no socket."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from ..dimse.assembler import Assembler, OpenSink
from ..dimse.codec import encode_command
from ..dimse.datasets import FileRange, Source, name_of
from ..dimse.messages import UNRECOGNISED, Message
from ..errors import AssociationClosed, ProtocolError, UnusableObject
from ..services.registry import PENDING, PENDING_UNSUPPORTED_KEYS, SUCCESS
from ..upper_layer.machine import Machine
from ..upper_layer.negotiation import Agreement, conclude_as_requestor, first_of, supports_version
from ..upper_layer.table import TABLE, Effect, Event, State
from ..values import Buffer, frozen
from ..wire.fields import UNEXPECTED_PDU
from ..wire.fragmenter import UNLIMITED, fragment, fragment_size
from ..wire.items import MaximumLength
from ..wire.pdu import (
    HEADER_LENGTH,
    PDU,
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ReleaseRP,
    ReleaseRQ,
    decode_pdu,
)
from ..wire.scanner import PDU_EXCESS, Fragment, Scanner
from .buffers import BUFFER_LENGTH, borrow_buffer, return_buffer
from .reading import open_to_send
from .trace import Trace, is_logged

# Another status may be trouble, which is logged at a level of its own. None is that of a request.
_NO_TROUBLE = frozenset((None, SUCCESS, PENDING, PENDING_UNSUPPORTED_KEYS))

# How much of what a peer still sends after the end is read away, in bytes, before the connection is closed.
LAST_BYTES = 1 << 20
# How many unsolicited responses we tolerate. Late answers happen; a flood is an attack.
STRAY_LIMIT = 16

_RECEIVED: dict[type[PDU], Event] = {
    AssociateRQ: Event.ASSOCIATE_RQ,
    AssociateAC: Event.ASSOCIATE_AC,
    AssociateRJ: Event.ASSOCIATE_RJ,
    ReleaseRQ: Event.RELEASE_RQ,
    ReleaseRP: Event.RELEASE_RP,
    Abort: Event.ABORT,
}


_TAKES_DATA = (State.STA6, State.STA7)
_SENDS_DATA = tuple(state for state in State if (Event.DATA_REQUEST, state) in TABLE)


@frozen
class ProviderAbort:
    """A-P-ABORT indication (PS3.8 section 7.4): this side found a fault of the peer's, or the connection is gone.

    Parameters
    ----------
    error
        The fault; None where the peer just closed the connection.
    """

    error: ProtocolError | None


# What a driver learns from received bytes: the peer's PDUs, its messages, and the end.
Happening = PDU | Message | ProviderAbort


class _Cause(NamedTuple):
    """An event of the state machine, and what came with it."""

    event: Event
    now: float
    pdu: PDU | None
    error: ProtocolError | None


class Observer(Protocol):
    """Takes the notifications that a user asked for."""

    names: set[str]

    def notify(self, name: str, **fields: object) -> None:
        """Called for the names in ``names`` only, with the attributes of the event."""
        ...


class Meter(Protocol):
    """Takes the measure of messages. Each object passes it twice, so it is not asked by names as an observer is."""

    def came(self, message: Message, now: float, length: int) -> None:
        """A message is complete.

        Parameters
        ----------
        now
            When its last byte was read, on the monotonic clock.
        length
            The length of its data set in bytes; without one, that of the message before.
        """
        ...

    def goes(self, message: Message) -> None:
        """A message is about to be written."""
        ...


class Connection:
    """The state of one association.

    Parameters
    ----------
    is_requestor
        Whether this side requests the association.
    maximum_length
        The largest PDU-length of a P-DATA-TF that we announce, in bytes; 0 is no limit.
    open_sink
        Gives the sink for the data set of a received message.
    artim
        The ARTIM timer's period in seconds (PS3.8 section 9.1.5), None for none.
    observer
        Takes notifications, where a user wants them.
    meter
        Takes the measure of messages, where somebody wants that.
    excess
        How many bytes longer than announced a P-DATA-TF may be, which is logged; 0 ends such an association.
    trouble
        At which level of `logging` rejections, aborts and refused requests are logged.
    """

    def __init__(
        self,
        *,
        is_requestor: bool,
        maximum_length: int,
        open_sink: OpenSink,
        artim: float | None,
        observer: Observer | None = None,
        meter: Meter | None = None,
        excess: int = PDU_EXCESS,
        trouble: int = logging.INFO,
    ) -> None:
        self.is_requestor = is_requestor
        self.trace = Trace(is_requestor, trouble)
        self.machine = Machine(is_requestor)
        self.scanner = Scanner(maximum_length, excess=excess)
        self._has_told_excess = False
        self.outgoing: list[Buffer] = []
        self.must_close = False
        self.artim_deadline: float | None = None
        self.request: AssociateRQ | None = None
        self.answer: AssociateAC | AssociateRJ | None = None
        self.agreement: Agreement | None = None
        self._artim = artim
        self._open_sink = open_sink
        self._assembler: Assembler | None = None
        self._maximum_length = UNLIMITED
        self._unknown_responses = 0
        self._sent_abort = False
        self.observer = observer
        self.meter = meter
        self._received_tap = _Tap()
        self._sent_tap = _Tap()

    @classmethod
    def requesting(
        cls, request: AssociateRQ, open_sink: OpenSink, artim: float | None, observer: Observer | None
    ) -> Connection:
        """The state of an association that we ask for; the maximum length in the request is ours."""
        maximum = first_of(request.user_items, MaximumLength)
        return cls(
            is_requestor=True,
            maximum_length=maximum.maximum_length if maximum else 0,
            open_sink=open_sink,
            artim=artim,
            observer=observer,
        )

    @property
    def is_established(self) -> bool:
        """Whether messages can go both ways. The peer may know it, and send, before a driver tells its user."""
        return self.machine.state is State.STA6

    @property
    def is_between_messages(self) -> bool:
        """Whether nothing of a message has been received that is not complete."""
        return self.scanner.is_between_pdus and (self._assembler is None or self._assembler.is_idle)

    def transport_opened(self, now: float, request: AssociateRQ | None = None) -> None:
        """The transport connection is there: send the request, or start waiting for one.

        Parameters
        ----------
        request
            What to ask for, as the association requestor.
        """
        if request is None:
            self._fire(Event.TRANSPORT_INDICATION, now)
            return
        self.request = request
        self._fire(Event.ASSOCIATE_REQUEST, now)
        self._fire(Event.TRANSPORT_CONFIRM, now, request)

    def transport_closed(self, now: float) -> ProviderAbort | None:
        """The transport connection is gone; tells whether that was unexpected."""
        self.trace.closed()
        self.must_close = True
        if self._assembler is not None:
            self._assembler.discard()
        if not self.machine.allows(Event.TRANSPORT_CLOSED):
            return None
        happening = self._fire(Event.TRANSPORT_CLOSED, now)
        return happening if isinstance(happening, ProviderAbort) else None

    def accept(self, answer: AssociateAC, agreement: Agreement, now: float) -> None:
        """Answer a received request with acceptance."""
        self.answer = answer
        self._establish(agreement, now)
        self._tell_sent(answer)
        self._fire(Event.ACCEPT, now, answer)

    def reject(self, answer: AssociateRJ, now: float) -> None:
        """Answer a received request with rejection."""
        self.answer = answer
        self._tell_sent(answer)
        self._fire(Event.REJECT, now, answer)

    def release(self, now: float) -> None:
        """Ask for release; raises AssociationClosed where there is no association."""
        if not self.machine.allows(Event.RELEASE_REQUEST):
            raise AssociationClosed
        self._tell_sent(request := ReleaseRQ())
        self._fire(Event.RELEASE_REQUEST, now, request)

    def answer_release(self, now: float) -> None:
        """Answer a received A-RELEASE-RQ."""
        self._tell_sent(response := ReleaseRP())
        self._fire(Event.RELEASE_RESPONSE, now, response)

    def abort(self, now: float, pdu: Abort | None = None) -> None:
        """End the association at once, from any state.

        Parameters
        ----------
        pdu
            The A-ABORT to send, by default the service user's.
        """
        if self._assembler is not None:
            self._assembler.discard()
        if self.machine.allows(Event.ABORT_REQUEST):
            self._tell_sent(pdu or Abort(0))
            self._fire(Event.ABORT_REQUEST, now, pdu)
        else:
            self.must_close = True

    def abort_beside(self, pdu: Abort) -> bytes:
        """What to write to end the association while another thread is using it; that one then hears nothing more."""
        if not self._sent_abort:
            self._sent_abort = True
            self.trace.pdu(pdu, is_sent=True)
            self._tell_sent(pdu)
        return pdu.encode()

    def expire(self, now: float) -> bool:
        """Whether the ARTIM timer has run out; the connection is then to be closed."""
        if self.artim_deadline is None or now < self.artim_deadline:
            return False
        if self.machine.allows(Event.ARTIM_EXPIRED):
            self._fire(Event.ARTIM_EXPIRED, now)
        return self.must_close

    def receive(self, data: memoryview, now: float) -> Iterator[Happening]:
        """Take what arrived; what follows from it is yielded, in order.

        Parameters
        ----------
        data
            Valid while the iterator runs.
        """
        if self._is_deaf():
            return
        if self.observer is not None and self.observer.names:
            self._tell_received(data)
        try:
            for unit in self.scanner.feed(data):
                if isinstance(unit, Fragment):
                    happening = self._receive_fragment(unit, now)
                else:
                    happening = self._receive_pdu(unit, now)
                if happening is not None:
                    yield happening
                if self._is_deaf():
                    return
            if self.scanner.longest_excess and not self._has_told_excess:
                self._tell_excess()
        except ProtocolError as error:
            if self._assembler is not None:
                self._assembler.discard()
            happening = self._fire(Event.INVALID_PDU, now, error)
            yield happening or ProviderAbort(error)

    def send(self, *messages: Message) -> Iterator[list[Buffer]]:
        """The buffers of messages, batch by batch. Each batch must be written before the next is asked for.

        Raises
        ------
        AssociationClosed
            Before the first batch, where messages cannot be sent.
        UnusableObject
            If a file of a message cannot be read to its end. The association is then of no use if anything
            was written.
        """
        if self.agreement is None or self.machine.state not in _SENDS_DATA:
            raise AssociationClosed
        maximum = self._maximum_length
        is_traced = is_logged(logging.INFO)
        batch: list[Buffer] = []
        for message in messages:
            data = message.data
            if data is not None and not isinstance(data, Source):
                raise TypeError(f"a {type(data).__name__} cannot be sent as a data set")
            command = encode_command(message.type, message.command, data is not None)
            observer = self.observer
            if (
                observer is not None
                and "EVT_DIMSE_SENT" in observer.names
                and message.type.service is not UNRECOGNISED
            ):
                observer.notify("EVT_DIMSE_SENT", message=message)
            if self.meter is not None:
                self.meter.goes(message)
            if is_traced or message.command.get("Status") not in _NO_TROUBLE:
                self.trace.message(message, is_sent=True)
            batch += fragment(message.context_id, command, maximum, is_command=True)
            if data is None:
                continue
            size = fragment_size(maximum)
            length = data.length + data.padding if isinstance(data, FileRange) else len(data)
            step = BUFFER_LENGTH // size * size
            at = 0
            for piece in _pieces(data, length, step):
                at += len(piece)
                batch += fragment(message.context_id, piece, maximum, is_command=False, ends=at == length)
                yield batch
                batch = []
        if batch:
            yield batch

    def sent(self, buffers: list[Buffer]) -> None:
        """Tell the observer what was written."""
        if self.observer is None:
            return
        names = self.observer.names
        if "EVT_DATA_SENT" in names:
            self.observer.notify("EVT_DATA_SENT", data=b"".join(buffers))
        if "EVT_PDU_SENT" in names:
            for pdu in self._sent_tap.feed(b"".join(buffers)):
                self.observer.notify("EVT_PDU_SENT", pdu=pdu)

    def take_outgoing(self) -> list[Buffer]:
        """What the machine wants written now."""
        buffers, self.outgoing = self.outgoing, []
        return buffers

    def _is_deaf(self) -> bool:
        return self._sent_abort or self.must_close

    def _receive_fragment(self, unit: Fragment, now: float) -> Happening | None:
        # In Sta6 and Sta7 the table only says to hand the data on and stay (DT-2, AR-6).
        if self._assembler is None or self.machine.state not in _TAKES_DATA:
            return self._fire(Event.DATA, now)
        message = self._assembler.add(unit)
        if message is None:
            return None
        is_unrecognised = message.type.service is UNRECOGNISED
        if is_unrecognised and message.type.is_response:
            self._ignore(message)
            return None
        if self.meter is not None:
            self.meter.came(message, now, self._assembler.data_length)
        if is_logged(logging.INFO):
            length = None if message.data is None else self._assembler.data_length
            self.trace.message(message, is_sent=False, length=length)
        if not is_unrecognised and self.observer is not None and "EVT_DIMSE_RECV" in self.observer.names:
            self.observer.notify("EVT_DIMSE_RECV", message=message)
        return message

    def _receive_pdu(self, pdu: PDU, now: float) -> Happening | None:
        self.trace.pdu(pdu, is_sent=False)
        event = _RECEIVED[type(pdu)]
        acceptable = True
        if isinstance(pdu, AssociateRQ) and self.machine.state is State.STA2:
            self.request = pdu
            acceptable = supports_version(pdu)
        elif isinstance(pdu, AssociateAC) and self.machine.state is State.STA5 and self.request is not None:
            self.answer = pdu
            agreement = conclude_as_requestor(self.request, pdu)
            self._establish(agreement, now)
        elif isinstance(pdu, AssociateRJ) and self.machine.state is State.STA5:
            self.answer = pdu
        elif isinstance(pdu, Abort) and self._assembler is not None:
            self._assembler.discard()
        elif isinstance(pdu, ReleaseRQ) and self._assembler is not None and not self._assembler.is_idle:
            raise ProtocolError("the peer asked for release in the middle of a message", 2)
        return self._fire(event, now, pdu, acceptable=acceptable)

    def _ignore(self, response: Message) -> None:
        """A response of an unknown type answers nothing of ours. A flood of them is an attack."""
        self._unknown_responses += 1
        if self._unknown_responses > STRAY_LIMIT:
            raise ProtocolError("the peer goes on answering what was not asked", UNEXPECTED_PDU)
        self.trace.say(logging.WARNING, "ignored an %s", response.type.name)

    def _tell_excess(self) -> None:
        self._has_told_excess = True
        self.trace.say(
            logging.WARNING,
            "sends P-DATA-TF PDUs of up to %d bytes, though %d were announced: they are taken all the same",
            self.scanner.longest_excess,
            self.scanner.maximum_length,
        )

    def _establish(self, agreement: Agreement, now: float) -> None:
        if agreement.faults:
            self.trace.say(logging.WARNING, "negotiates with faults: %s", "; ".join(agreement.faults))
        try:
            fragment_size(agreement.peer_maximum_length)
        except ValueError as error:
            raise ProtocolError(str(error)) from None
        self.agreement = agreement
        # Larger PDUs gain nothing, and a piece of a file has to fit a buffer.
        self._maximum_length = min(agreement.peer_maximum_length or UNLIMITED, BUFFER_LENGTH)
        self._assembler = Assembler(agreement.contexts, self.trace.timed(self._open_sink))

    def _fire(
        self, event: Event, now: float, subject: PDU | ProtocolError | None = None, *, acceptable: bool = True
    ) -> Happening | None:
        before = self.machine.state
        was_aborted = self._sent_abort
        effects = self.machine.fire(event, acceptable=acceptable)
        happening: Happening | None = None
        for effect in effects:
            happening = self._perform(effect, event, now, subject) or happening
        if self.observer is not None and "EVT_FSM_TRANSITION" in self.observer.names:
            self.observer.notify(
                "EVT_FSM_TRANSITION",
                current_state=before.name.title(),
                fsm_event=f"Evt{event.value}",
                action=f"{self.machine.last_action[:2]}-{self.machine.last_action[2:]}",
                next_state=self.machine.state.name.title(),
            )
        if happening is not None and not isinstance(happening, Message) and not was_aborted:
            self._tell_acse("EVT_ACSE_RECV", happening)
        return happening

    def _perform(
        self, effect: Effect, event: Event, now: float, subject: PDU | ProtocolError | None
    ) -> Happening | None:
        pdu, error = (None, subject) if isinstance(subject, ProtocolError) else (subject, None)
        return _EFFECTS[effect](self, _Cause(event, now, pdu, error))

    def _indicate_provider_abort(self, cause: _Cause) -> ProviderAbort:
        error = cause.error
        if error is None and cause.event is not Event.TRANSPORT_CLOSED:
            error = ProtocolError(f"the peer sent an unexpected PDU ({cause.event.name})", 2)
        return ProviderAbort(error)

    def _send(self, cause: _Cause) -> None:
        if cause.pdu is not None:
            self.trace.pdu(cause.pdu, is_sent=True)
            self.outgoing.append(cause.pdu.encode())

    def _send_reject_version(self, cause: _Cause) -> None:
        self.answer = AssociateRJ(1, 2, 2)
        self.trace.pdu(self.answer, is_sent=True)
        self.outgoing.append(self.answer.encode())

    def _start_artim(self, cause: _Cause) -> None:
        self.artim_deadline = None if self._artim is None else cause.now + self._artim

    def _stop_artim(self, cause: _Cause) -> None:
        self.artim_deadline = None

    def _close(self, cause: _Cause) -> None:
        self.must_close = True

    def _send_abort(self, pdu: Abort) -> None:
        # One A-ABORT an association, and silence afterwards, whatever the peer goes on to send.
        if not self._sent_abort:
            self._sent_abort = True
            self.trace.pdu(pdu, is_sent=True)
            self.outgoing.append(pdu.encode())

    def _tell_sent(self, pdu: PDU) -> None:
        """The service user issues a primitive."""
        self._tell_acse("EVT_ACSE_SENT", pdu)

    def _tell_acse(self, name: str, pdu: PDU | ProviderAbort) -> None:
        if self.observer is not None and name in self.observer.names:
            self.observer.notify(name, pdu=pdu)

    def _tell_received(self, data: memoryview) -> None:
        assert self.observer is not None
        names = self.observer.names
        if "EVT_DATA_RECV" in names:
            self.observer.notify("EVT_DATA_RECV", data=bytes(data))
        if "EVT_PDU_RECV" in names:
            for pdu in self._received_tap.feed(bytes(data)):
                self.observer.notify("EVT_PDU_RECV", pdu=pdu)


_EFFECTS: dict[Effect, Callable[[Connection, _Cause], Happening | None]] = {
    Effect.CONNECT: lambda connection, cause: None,
    Effect.SEND: Connection._send,
    Effect.SEND_REJECT_VERSION: Connection._send_reject_version,
    Effect.SEND_ABORT_USER: lambda connection, cause: connection._send_abort(
        cause.pdu if isinstance(cause.pdu, Abort) else Abort(0)
    ),
    Effect.SEND_ABORT_PROVIDER: lambda connection, cause: connection._send_abort(
        Abort(2, cause.error.reason if cause.error else 2)
    ),
    Effect.START_ARTIM: Connection._start_artim,
    Effect.STOP_ARTIM: Connection._stop_artim,
    Effect.CLOSE: Connection._close,
    Effect.INDICATE: lambda connection, cause: cause.pdu,
    Effect.INDICATE_ABORT: lambda connection, cause: cause.pdu,
    Effect.INDICATE_PROVIDER_ABORT: Connection._indicate_provider_abort,
}


def _pieces(data: Buffer | FileRange, length: int, step: int) -> Iterator[memoryview]:
    if not isinstance(data, FileRange):
        view = memoryview(data)
        for at in range(0, length, step) if length else (0,):
            yield view[at : at + step]
        return
    # Read, not mapped: a file that shrinks under a mapping kills the process, here it is an error of one object.
    buffer = borrow_buffer()
    view = memoryview(buffer)[:step]
    try:
        opened = open_to_send(data.file)
        try:
            if data.stamp is not None and data.stamp != opened.stamp(data.offset):
                raise UnusableObject(f"{name_of(data.file)} was changed since it was looked at")
            for at in range(0, length, step) if length else (0,):
                piece = view[: length - at]
                wanted = min(len(piece), data.length - at)
                if not opened.fill(piece[:wanted], data.offset + at):
                    raise UnusableObject(f"{name_of(data.file)} became shorter while it was sent")
                piece[wanted:] = bytes(len(piece) - wanted)
                yield piece
        finally:
            opened.close()
    except OSError as error:
        raise UnusableObject(f"{name_of(data.file)} cannot be read: {error.strerror}") from error
    finally:
        return_buffer(buffer)


class _Tap:
    """Makes whole PDUs of a byte stream for those who watch it; the core itself never needs them whole."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[PDU]:
        self._bytes += data
        while len(self._bytes) >= HEADER_LENGTH:
            end = HEADER_LENGTH + int.from_bytes(self._bytes[2:6], "big")
            if len(self._bytes) < end:
                return
            whole = bytes(self._bytes[:end])
            del self._bytes[:end]
            try:
                yield decode_pdu(whole[0], memoryview(whole)[HEADER_LENGTH:])
            except ProtocolError:
                # The scanner, which reads the same bytes, reports it.
                self._bytes.clear()
