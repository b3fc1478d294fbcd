"""Files as sources of data sets: the header is read once, the data set is sent as it lies there."""

from __future__ import annotations

import os
from io import RawIOBase

from ..dimse.datasets import FileRange
from ..dimse.file_format import PREFIX_LENGTH, FileHeader, HeaderIncomplete, decode_file_header
from ..dimse.identity import guess_encoding, read_identity
from ..errors import UnusableObject
from ..services.transfer_syntaxes import transfer_syntax
from ..values import frozen

# Transfer syntaxes by whether they are implicit and little endian, for files that name none.
_GUESSED = {
    (True, True): "1.2.840.10008.1.2",
    (False, True): "1.2.840.10008.1.2.1",
    (False, False): "1.2.840.10008.1.2.2",
}


@frozen
class StoredObject:
    """A DICOM file that can be sent.

    Parameters
    ----------
    path
        The file.
    header
        What its file meta information says.
    length
        Of the data set, in bytes.
    """

    path: str | os.PathLike[str]
    header: FileHeader
    length: int

    @property
    def data(self) -> FileRange:
        """The data set, to be sent."""
        is_odd = self.length % 2 == 1
        padding = int(is_odd and transfer_syntax(self.header.transfer_syntax_uid).is_deflated)
        return FileRange(self.path, self.header.offset, self.length, padding)


def open_object(path: str | os.PathLike[str]) -> StoredObject:
    """Read what is needed to send a file: its header, and the first elements of its data set.

    The data set's own UIDs go before those of the file meta information, where both are there and differ.

    Raises
    ------
    UnusableObject
        If it is not a DICOM file, or lacks what is needed to send it.
    OSError
        If it cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        header, prefix = read_header(file)
    header = _identify(header, memoryview(prefix)[header.offset :])
    length = size - header.offset
    if length <= 0:
        raise UnusableObject("the file has no data set")
    return StoredObject(path, header, length)


def read_header(file: RawIOBase) -> tuple[FileHeader, bytes]:
    """Read the file meta information of an open file, and as much as was read with it.

    Raises
    ------
    UnusableObject
        If it is damaged.
    OSError
        If it cannot be read.
    """
    prefix = file.read(PREFIX_LENGTH) or b""
    while True:
        try:
            return decode_file_header(prefix), prefix
        except HeaderIncomplete as incomplete:
            more = file.read(max(incomplete.needed, PREFIX_LENGTH))
            if not more:
                raise UnusableObject("the file meta information is cut off") from None
            prefix += more


def _identify(header: FileHeader, data: memoryview) -> FileHeader:
    transfer_syntax_uid = header.transfer_syntax_uid
    if not transfer_syntax_uid:
        guessed = guess_encoding(data)
        # There is no transfer syntax that is implicit and big endian.
        if guessed not in _GUESSED:
            raise UnusableObject("not a DICOM file")
        transfer_syntax_uid = _GUESSED[guessed]
    syntax = transfer_syntax(transfer_syntax_uid)
    sop_class, sop_instance = header.sop_class_uid, header.sop_instance_uid
    if not syntax.is_deflated:
        found = read_identity(data, is_implicit=syntax.is_implicit, is_little_endian=syntax.is_little_endian)
        sop_class, sop_instance = found[0] or sop_class, found[1] or sop_instance
    for value, name in ((sop_class, "SOP Class UID"), (sop_instance, "SOP Instance UID")):
        if not value:
            raise UnusableObject(f"not a DICOM object that can be sent: it has no {name}")
    return FileHeader(sop_class, sop_instance, transfer_syntax_uid, header.offset)
