"""The data sets of stored objects, open to be read in parts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ....datasets.transcode import inflated
from ....drivers.files import identify
from ....encoding.file_header import PREFIX_LENGTH
from ....encoding.transfer_syntaxes import transfer_syntax
from ....errors import UnusableObject
from ...catalogue.query import StoredInstance
from ...storage.store import Storage


@contextmanager
def opened(storage: Storage, found: StoredInstance) -> Iterator[tuple[BinaryIO, str]]:
    """The data set of an object, which a stream is at the beginning of, and the UID of its transfer syntax.

    Parameters
    ----------
    storage, found
        The object. A deflated one is inflated.

    Raises
    ------
    UnusableObject
        If its file is damaged, of another length, or has another object.
    OSError
        If it cannot be read; FileNotFoundError if it is not there any more.
    """
    with storage.open(found.name) as file:
        length = file.seek(0, os.SEEK_END)
        if found.size not in (None, length):
            raise UnusableObject(f"its file has {length} bytes instead of {found.size}")
        file.seek(0)
        with data_set_in(file, found.name.instance) as inside:
            yield inside


@contextmanager
def data_set_in(file: BinaryIO, instance: str) -> Iterator[tuple[BinaryIO, str]]:
    """The data set in a file, as of `opened`.

    Parameters
    ----------
    file
        At its beginning.
    instance
        The SOP Instance UID of the object that it has.

    Raises
    ------
    UnusableObject
        If it is damaged, or has another object.
    OSError
        If it cannot be read.
    """
    header, _ = identify(file, file.read(PREFIX_LENGTH))
    if header.sop_instance_uid != instance:
        raise UnusableObject("its file has another object")
    file.seek(header.offset)
    if transfer_syntax(header.transfer_syntax_uid).is_deflated:
        with inflated(file) as stream:
            yield stream, header.transfer_syntax_uid
    else:
        yield file, header.transfer_syntax_uid
