"""Cuts received bytes into PDUs and fragments of messages; fragments are views, not copies.

Every length field is checked against its limit before any byte that follows it is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from ..errors import ProtocolError
from .fields import UNRECOGNISED_PDU
from .pdu import (
    DATA_VALUE_HEADER_LENGTH,
    HEADER_LENGTH,
    PDU,
    PDU_TYPES,
    AssociateAC,
    AssociateRQ,
    PDataTF,
    check_data_value_length,
    decode_pdu,
)

_PDU_HEADER = Struct(">BxL")
_VALUE_HEADER = Struct(">LBB")
_BOTH_HEADERS = Struct(">BxLLBB")
_EMPTY = memoryview(b"")
_P_DATA = PDataTF.pdu_type
_NO_LIMIT = 0xFFFFFFFF

# How many bytes longer than announced a P-DATA-TF may be where nobody says otherwise. Some peers count differently, or
# have a length of their own; a long PDU takes no more memory, as its fragments are handed on as they come.
PDU_EXCESS = 3 << 18

# What people connect to a DICOM port by mistake, by its first byte.
FOREIGN_PROTOCOLS = {
    0x15: "a TLS alert; one side uses TLS and the other does not",
    0x16: "a TLS handshake; one side uses TLS and the other does not",
    **{ord(letter): "text, probably HTTP" for letter in "GPHDCOT"},
}


class Fragment(NamedTuple):
    """A presentation data value, or the part of one that has arrived so far.

    ``data`` is a view of the bytes that were fed, valid until they are overwritten. ``is_last`` is set only when the
    end of the last fragment of a command set or data set has arrived (PS3.8 Annex E.2).
    """

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


class Scanner:
    """The receiving parser of one connection: cuts its byte stream into PDUs and fragments.

    Parameters
    ----------
    maximum_length
        The largest PDU-length of a P-DATA-TF that we announced, in bytes; 0 means no limit.
    associate_limit
        The largest PDU-length of an A-ASSOCIATE-RQ or -AC, in bytes.
    excess
        How many bytes longer than announced a P-DATA-TF may be.

    Attributes
    ----------
    longest_excess
        The largest PDU-length of a P-DATA-TF over what was announced, 0 where none was.
    """

    __slots__ = (
        "_control",
        "_fragment",
        "_header",
        "_pdu_left",
        "_value_left",
        "associate_limit",
        "excess",
        "longest_excess",
        "maximum_length",
    )

    def __init__(self, maximum_length: int = 0, associate_limit: int = 1 << 18, *, excess: int = 0) -> None:
        self.maximum_length = maximum_length
        self.associate_limit = associate_limit
        self.excess = excess
        self.longest_excess = 0
        self._header = bytearray()
        self._control: _Control | None = None
        self._pdu_left = 0
        self._value_left = 0
        self._fragment = (0, 0)

    @property
    def is_between_pdus(self) -> bool:
        """Whether the bytes fed so far end at the end of a PDU."""
        return not (self._pdu_left or self._header or self._control)

    def feed(self, data: memoryview) -> Iterator[PDU | Fragment]:
        """Parse the next bytes of the stream.

        Parameters
        ----------
        data
            The bytes, of any length.

        Raises
        ------
        ProtocolError
            As soon as a header is seen to be wrong. The scanner cannot be used afterwards.
        """
        at = 0
        end = len(data)
        limit = self.maximum_length or _NO_LIMIT
        is_between = self.is_between_pdus
        while at < end:
            if is_between and end - at >= _BOTH_HEADERS.size:
                # The usual case, in one step: a P-DATA-TF with exactly one value, which is not empty.
                pdu_type, length, value_length, context_id, control = _BOTH_HEADERS.unpack_from(data, at)
                if (
                    pdu_type == _P_DATA
                    and length == value_length + 4
                    and value_length > 2
                    and length <= limit
                ):
                    begin = at + _BOTH_HEADERS.size
                    at = begin + value_length - 2
                    if at <= end:
                        yield Fragment(context_id, control & 1 == 1, control & 2 == 2, data[begin:at])
                        continue
                    self._pdu_left = self._value_left = value_length - 2
                    self._fragment = (context_id, control)
                    if begin < end:
                        yield self._make_fragment(data[begin:end])
                    return
            if self._value_left:
                part = data[at : at + self._value_left]
                at += len(part)
                yield self._make_fragment(part)
            elif self._control is not None:
                at += self._control.add(data[at:])
                if self._control.is_complete:
                    complete, self._control = self._control, None
                    yield decode_pdu(complete.pdu_type, memoryview(complete.body))
            else:
                # A PDU header or, inside a P-DATA-TF, the header of a value; both are six bytes long.
                if not self._header and end - at >= HEADER_LENGTH:
                    header: memoryview | bytearray = data[at : at + HEADER_LENGTH]
                    at += HEADER_LENGTH
                else:
                    missing = data[at : at + HEADER_LENGTH - len(self._header)]
                    at += len(missing)
                    self._header += missing
                    if len(self._header) < HEADER_LENGTH:
                        self._check_type(self._header[0])
                        return
                    header, self._header = self._header, bytearray()
                if self._pdu_left:
                    self._begin_value(header)
                    if not self._value_left:
                        yield self._make_fragment(_EMPTY)
                else:
                    self._begin_pdu(header)
            is_between = self.is_between_pdus

    def _make_fragment(self, part: memoryview) -> Fragment:
        self._value_left -= len(part)
        self._pdu_left -= len(part)
        context_id, control = self._fragment
        return Fragment(context_id, bool(control & 1), control & 2 != 0 and not self._value_left, part)

    def _check_type(self, pdu_type: int) -> None:
        if pdu_type not in PDU_TYPES and not self._pdu_left:
            known = FOREIGN_PROTOCOLS.get(pdu_type)
            cause = f"received {known}" if known else f"PDU type 0x{pdu_type:02X} is unknown"
            raise ProtocolError(cause, UNRECOGNISED_PDU)

    def _begin_pdu(self, header: memoryview | bytearray) -> None:
        pdu_type, length = _PDU_HEADER.unpack(header)
        if pdu_type == PDataTF.pdu_type:
            if 0 < self.maximum_length < length:
                if length > self.maximum_length + self.excess:
                    raise ProtocolError(
                        f"a P-DATA-TF of {length} bytes is over the limit of {self.maximum_length}"
                    )
                self.longest_excess = max(self.longest_excess, length)
            if length < DATA_VALUE_HEADER_LENGTH:
                raise ProtocolError("a P-DATA-TF has no presentation data value")
            self._pdu_left = length
            return
        self._check_type(pdu_type)
        limit = self.associate_limit if pdu_type in (AssociateRQ.pdu_type, AssociateAC.pdu_type) else 4
        if not 4 <= length <= limit:
            raise ProtocolError(
                f"a PDU of type 0x{pdu_type:02X} has a length of {length}; the minimum is 4, the maximum {limit}"
            )
        self._control = _Control(pdu_type, length)

    def _begin_value(self, header: memoryview | bytearray) -> None:
        length, context_id, control = _VALUE_HEADER.unpack(header)
        check_data_value_length(length)
        self._pdu_left -= DATA_VALUE_HEADER_LENGTH
        self._value_left = length - 2
        left_after = self._pdu_left - self._value_left
        if left_after and left_after < DATA_VALUE_HEADER_LENGTH:
            raise ProtocolError("a presentation data value does not fit in its P-DATA-TF")
        self._fragment = (context_id, control)


class _Control:
    """A partly received PDU other than P-DATA-TF. Memory grows with the bytes received, not the length announced."""

    __slots__ = ("body", "length", "pdu_type")

    def __init__(self, pdu_type: int, length: int) -> None:
        self.pdu_type = pdu_type
        self.length = length
        self.body = bytearray()

    def add(self, data: memoryview) -> int:
        part = data[: self.length - len(self.body)]
        self.body += part
        return len(part)

    @property
    def is_complete(self) -> bool:
        return len(self.body) == self.length
