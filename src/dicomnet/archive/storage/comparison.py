"""Comparison of the objects in two files: by their bytes, and where those differ by their content."""

from __future__ import annotations

import os
from enum import Enum
from typing import BinaryIO

from ...drivers.files import read_header
from ...encoding.comparison import Encoded, have_same_content
from ...encoding.file_header import FileHeader
from ...errors import UnusableObject
from .store import ObjectName, Storage

_BLOCK = 1 << 20


class Comparison(Enum):
    """The outcome of `compare`."""

    SAME = "the same object in the same form"
    SAME_IN_ANOTHER_FORM = "the same object, encoded otherwise"
    OTHER = "another object"


def compare(storage: Storage, content: BinaryIO, name: ObjectName) -> Comparison:
    """Compare a file with an object of a store.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with storage.open(name) as kept:
        return compared(content, kept)


def is_cut_off(storage: Storage, content: BinaryIO, name: ObjectName) -> bool:
    """Whether an object of a store is only the beginning of a file, as a power cut may leave it.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with storage.open(name) as kept:
        return is_beginning(kept, content)


def read_file_header(file: BinaryIO) -> FileHeader:
    """Read the preamble and the file meta information of a file, from its beginning.

    Raises
    ------
    UnusableObject
        If it is not a DICOM file, or is damaged.
    OSError
        If it cannot be read.
    """
    header, _ = read_header(file)
    if not header.transfer_syntax_uid:
        raise UnusableObject("the file has no file meta information")
    return header


def compared(one: BinaryIO, other: BinaryIO) -> Comparison:
    """How the objects in two files differ; who sent them does not matter."""
    try:
        first, second = read_file_header(one), read_file_header(other)
    except UnusableObject:
        return Comparison.OTHER
    syntaxes = first.transfer_syntax_uid, second.transfer_syntax_uid
    one.seek(first.offset)
    other.seek(second.offset)
    if syntaxes[0] == syntaxes[1] and _have_same_bytes(one, other):
        return Comparison.SAME
    one.seek(first.offset)
    other.seek(second.offset)
    if have_same_content(Encoded(one, syntaxes[0]), Encoded(other, syntaxes[1]), _vr_of):
        return Comparison.SAME_IN_ANOTHER_FORM
    return Comparison.OTHER


def _have_same_bytes(left: BinaryIO, right: BinaryIO) -> bool:
    """Whether what is left of two files is the same."""
    if _rest_of(left) != _rest_of(right):
        return False
    while block := left.read(_BLOCK):
        if block != right.read(len(block)):
            return False
    return True


def _rest_of(file: BinaryIO) -> int:
    """How much of a file is left to read, in bytes."""
    at = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(at)
    return end - at


def _vr_of(tag: int) -> str:
    """What the data dictionary says, which a store needs only where objects differ."""
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def is_beginning(one: BinaryIO, other: BinaryIO) -> bool:
    """Whether a file has only the first bytes of another one."""
    one.seek(0)
    other.seek(0)
    length = _rest_of(one)
    if length >= _rest_of(other):
        return False
    while length:
        block = one.read(min(length, _BLOCK))
        if not block or block != other.read(len(block)):
            return False
        length -= len(block)
    return True
