"""The header scan of a file, without reading what is not needed."""

from __future__ import annotations

import mmap
import os

from ..encoding.scan import Header, HeaderScanner
from ..encoding.walk import refuse

# How much of a file is read before it is mapped, in bytes.
_HEAD_LENGTH = 1 << 14


def scan_file(scanner: HeaderScanner, descriptor: int, offset: int, transfer_syntax_uid: str) -> Header:
    """Scan the data set of an open file.

    Parameters
    ----------
    scanner
        What is wanted of it.
    descriptor
        The file, open for reading.
    offset
        Where the data set begins, in bytes.
    transfer_syntax_uid
        UID of its transfer syntax.

    Raises
    ------
    ServiceRefusal
        As `HeaderScanner.scan`, and with an empty file.
    OSError
        If the file cannot be read.
    """
    if hasattr(os, "pread"):
        # To map a file costs more than to read its beginning, and pixel data that are known need not be looked at.
        head = os.pread(descriptor, _HEAD_LENGTH, offset)
        length = os.fstat(descriptor).st_size - offset
        recognized = scanner.recognize(head, length, transfer_syntax_uid)
        if recognized is not None:
            return recognized
    try:
        mapping = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except ValueError:
        refuse("the file is empty")
    with mapping, memoryview(mapping) as whole, whole[offset:] as data:
        return scanner.scan(data, transfer_syntax_uid)
