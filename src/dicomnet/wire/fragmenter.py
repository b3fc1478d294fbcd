"""Cuts command sets and data sets into the buffers of P-DATA-TF PDUs (PS3.8 section 9.3.5 and Annex E)."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

from ..values import Buffer
from .pdu import DATA_VALUE_HEADER_LENGTH, PDataTF

_HEADERS = Struct(">BxLLBB")
_P_DATA = PDataTF.pdu_type

# The largest PDU-length that we send, in bytes, if the peer announced no limit.
UNLIMITED = 1 << 17


@lru_cache(maxsize=256)
def fragment_size(maximum_length: int) -> int:
    """The largest number of message bytes that fit in one P-DATA-TF; always even (PS3.8 Annex E.1).

    Parameters
    ----------
    maximum_length
        The largest PDU-length that the receiver accepts, in bytes; 0 means no limit.

    Raises
    ------
    ValueError
        If not even two bytes would fit.
    """
    size = ((maximum_length or UNLIMITED) - DATA_VALUE_HEADER_LENGTH) & ~1
    if size < 2:
        raise ValueError(f"a maximum PDU length of {maximum_length} leaves no room for data")
    return size


def fragment(
    context_id: int, data: Buffer, maximum_length: int, *, is_command: bool, ends: bool = True
) -> list[Buffer]:
    """Cut a command set or data set, or a piece of one, into P-DATA-TF PDUs.

    Parameters
    ----------
    context_id
        The presentation context.
    data
        The bytes. The result holds views of them; nothing is copied.
    maximum_length
        The largest PDU-length that the receiver accepts, in bytes; 0 means no limit.
    is_command
        Whether the data belong to a command set.
    ends
        Whether the command set or data set ends here; the final fragment is then marked as the last one.

    Returns
    -------
    list
        Alternating headers and views of the data, to be written in this order.
    """
    size = fragment_size(maximum_length)
    length = len(data)
    command = 1 if is_command else 0
    last_control = command | 2 if ends else command
    if length <= size:
        return [_HEADERS.pack(_P_DATA, length + 6, length + 2, context_id, last_control), data]
    view = memoryview(data)
    full = _HEADERS.pack(_P_DATA, size + 6, size + 2, context_id, command)
    last_length = length % size or size
    buffers: list[Buffer] = []
    for start in range(0, length - last_length, size):
        buffers += (full, view[start : start + size])
    last = _HEADERS.pack(_P_DATA, last_length + 6, last_length + 2, context_id, last_control)
    buffers += (last, view[length - last_length :])
    return buffers
