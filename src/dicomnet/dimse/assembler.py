"""Assembles fragments into DIMSE messages (PS3.7 section 6.3, PS3.8 Annex E), one message after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..errors import ProtocolError, ServiceRefusal
from ..upper_layer.negotiation import NegotiatedContext
from ..wire.fields import INVALID_VALUE
from ..wire.scanner import Fragment
from .codec import MalformedCommand, UnknownCommand, decode_command
from .datasets import Malformed, Refused, Sink
from .messages import UNRECOGNISED, Message, unrecognised_type

# The longest command set that is accepted, in bytes.
COMMAND_SET_LIMIT = 1 << 16

# Returns the sink for the data set of a message whose command set is complete; may raise ServiceRefusal.
OpenSink = Callable[[Message, NegotiatedContext], Sink]


class Assembler:
    """Collects the fragments of one association into messages, one message after another.

    Parameters
    ----------
    contexts
        The negotiated presentation contexts by ID.
    open_sink
        Called once for each data set, before its first byte.
    command_set_limit
        The longest command set that is accepted, in bytes.
    """

    __slots__ = (
        "_accepted",
        "_command",
        "_context",
        "_message",
        "_sink",
        "command_set_limit",
        "data_length",
        "open_sink",
    )

    def __init__(
        self,
        contexts: Mapping[int, NegotiatedContext],
        open_sink: OpenSink,
        command_set_limit: int = COMMAND_SET_LIMIT,
    ) -> None:
        self._accepted = {each.context_id: each for each in contexts.values() if each.is_accepted}
        self.open_sink = open_sink
        self.command_set_limit = command_set_limit
        self.data_length = 0
        """How many bytes the data set of the last message has, as far as it has arrived."""
        self._command = bytearray()
        self._context: NegotiatedContext | None = None
        self._message: Message | None = None
        self._sink: Sink | Refused | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no message is incomplete."""
        return self._context is None

    def add(self, fragment: Fragment) -> Message | None:
        """Add the next fragment.

        Returns
        -------
        Message or None
            The message that this fragment completed, if it did. Its ``data`` is the sink of its data set, `Refused`,
            or None if it has no data set; `Malformed` for a request with a fault that can be answered. The data set
            of a message of an unknown type is dropped, see `unrecognised_type`; of such a response nothing is known.

        Raises
        ------
        ProtocolError
            If the fragment cannot follow the one before it, uses a context that was not accepted, or makes the
            command set too long or invalid.
        """
        context_id, is_command, is_last, data = fragment
        context = self._context
        if context is None:
            context = self._accepted.get(context_id)
            if context is None:
                raise ProtocolError(
                    "a message uses a presentation context that was not accepted", INVALID_VALUE
                )
        elif context.context_id != context_id:
            raise ProtocolError("fragments of two messages are interleaved", INVALID_VALUE)
        message = self._message
        if message is not None:
            if is_command:
                raise ProtocolError("a command fragment came where a data set was expected", INVALID_VALUE)
            return self._add_data(message, data, is_last)
        if not is_command:
            raise ProtocolError("a data set fragment came where a command set was expected", INVALID_VALUE)
        return self._add_command(context, data, is_last)

    def discard(self) -> None:
        """Drop an incomplete message, because the association has ended."""
        if not isinstance(self._sink, Refused | None):
            self._sink.abort()
        self._reset()

    def _add_command(self, context: NegotiatedContext, data: memoryview, is_last: bool) -> Message | None:
        if len(self._command) + len(data) > self.command_set_limit:
            raise ProtocolError(
                f"a command set is longer than the limit of {self.command_set_limit} bytes", INVALID_VALUE
            )
        if not is_last:
            self._context = context
            self._command += data
            return None
        command = self._command + data if self._command else data
        malformed = None
        try:
            message_type, values, has_data_set = decode_command(command)
        except MalformedCommand as error:
            if not error.can_be_answered:
                raise
            message_type, values, has_data_set = error.type, error.command, error.has_data_set
            malformed = Malformed((*error.malformed, *error.missing)[0], str(error))
        except UnknownCommand as error:
            message_type, has_data_set = unrecognised_type(error.command_field), error.has_data_set
            if message_type.is_response:
                values = {}
            elif error.message_id is not None:
                values = {"MessageID": error.message_id}
            else:
                raise
        message = Message(message_type, values, context.context_id, malformed)
        if not has_data_set:
            if self._context is not None:
                self._reset()
            return message
        self._context = context
        self._message = message
        self.data_length = 0
        if malformed is not None or message_type.service is UNRECOGNISED:
            # The data set is dropped.
            return None
        try:
            self._sink = self.open_sink(message, context)
        except ServiceRefusal as refusal:
            self._sink = Refused(refusal)
        return None

    def _add_data(self, message: Message, data: memoryview, is_last: bool) -> Message | None:
        sink = self._sink
        self.data_length += len(data)
        if data and not isinstance(sink, Refused | None):
            try:
                sink.write(data)
            except ServiceRefusal as refusal:
                sink.abort()
                self._sink = Refused(refusal)
        if not is_last:
            return None
        if sink is not None:
            message.data = self._sink
        self._reset()
        return message

    def _reset(self) -> None:
        self._command = bytearray()
        self._context = self._message = self._sink = None
