"""Files as sources of data sets: the header is read once, the data set is sent as it lies there."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..dimse.datasets import FileRange
from ..dimse.file_format import PREFIX_LENGTH, FileHeader, HeaderIncomplete, decode_file_header
from ..errors import UnusableObject


@dataclass(frozen=True, slots=True)
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
        return FileRange(self.path, self.header.offset, self.length)


def open_object(path: str | os.PathLike[str]) -> StoredObject:
    """Read a file's header.

    Raises
    ------
    UnusableObject
        If it is not a DICOM file, or lacks what is needed to send it.
    OSError
        If it cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(PREFIX_LENGTH)
        while True:
            try:
                header = decode_file_header(prefix)
                break
            except HeaderIncomplete as incomplete:
                if len(prefix) >= size:
                    raise UnusableObject("the file meta information is cut off") from None
                prefix += file.read(max(incomplete.needed, PREFIX_LENGTH))
    for value, name in (
        (header.sop_class_uid, "Media Storage SOP Class UID"),
        (header.sop_instance_uid, "Media Storage SOP Instance UID"),
        (header.transfer_syntax_uid, "Transfer Syntax UID"),
    ):
        if not value:
            raise UnusableObject(f"the file meta information has no {name}")
    length = size - header.offset
    if length <= 0:
        raise UnusableObject("the file has no data set")
    return StoredObject(path, header, length)
