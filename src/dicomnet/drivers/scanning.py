"""The header scan of a file or stream, without reading what is not needed."""

from __future__ import annotations

import mmap
import os
from io import SEEK_END
from typing import BinaryIO

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
    return _scan_all(scanner, descriptor, offset, transfer_syntax_uid)


def scan_stream(scanner: HeaderScanner, stream: BinaryIO, offset: int, transfer_syntax_uid: str) -> Header:
    """Scan the data set in a stream, which may be of a file. Parameters and what is raised as of `scan_file`."""
    try:
        descriptor = stream.fileno()
    except OSError:
        length = stream.seek(0, SEEK_END) - offset
        stream.seek(offset)
        recognized = scanner.recognize(stream.read(_HEAD_LENGTH), length, transfer_syntax_uid)
        if recognized is not None:
            return recognized
        # A requestor starts without these.
        from shutil import copyfileobj
        from tempfile import TemporaryFile

        # However long it is, it takes no memory.
        with TemporaryFile() as copy:
            stream.seek(0)
            copyfileobj(stream, copy)
            copy.flush()
            return _scan_all(scanner, copy.fileno(), offset, transfer_syntax_uid)
    return scan_file(scanner, descriptor, offset, transfer_syntax_uid)


def _scan_all(scanner: HeaderScanner, descriptor: int, offset: int, transfer_syntax_uid: str) -> Header:
    try:
        mapping = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except ValueError:
        refuse("the file is empty")
    with mapping, memoryview(mapping) as whole, whole[offset:] as data:
        return scanner.scan(data, transfer_syntax_uid)
