"""Data sets to and from bytes and text, and the file meta information of files."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from pydicom.dataset import Dataset

from ..datasets.codec import create_file_meta as create_file_meta
from ..datasets.codec import decode as decode
from ..datasets.codec import encode as encode
from ..datasets.codec import encode_file_meta as encode_file_meta
from ..drivers.files import read_header
from ..encoding.file_header import meta_encoding
from ..plurals import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydicom.dataelem import DataElement


_log = logging.getLogger(__name__)

_PREAMBLE_LENGTH = 132


def split_dataset(path: Path) -> tuple[Dataset, int]:
    """The file meta information of a DICOM file, and where its data set begins.

    Parameters
    ----------
    path
        The file; one without file meta information gives an empty `Dataset`.

    Returns
    -------
    pydicom.dataset.Dataset, int
        The elements of group 0002, and the offset of the data set in bytes.

    Raises
    ------
    UnusableObject
        If the file meta information is damaged.
    OSError
        If the file cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        header, prefix = read_header(file)
    begin = _PREAMBLE_LENGTH if prefix[128:132] == b"DICM" else 0
    encoding = meta_encoding(prefix, begin)
    return decode(prefix[begin : header.offset], encoding.is_implicit, True), header.offset


def pretty_element(elem: DataElement) -> str:
    """An element as a line of text. Its value may be a patient's data."""
    value = elem.value
    if elem.VR == "SQ":
        shown = f"(a sequence of {counted(len(cast('Sequence[Dataset]', value)), 'item')})"
    elif elem.is_empty:
        shown = "(no value)"
    elif isinstance(value, bytes):
        shown = f"({len(value)} bytes)"
    else:
        shown = f"[{value}]" if elem.VM == 1 else f"[{chr(92).join(map(str, value))}]"
    tag = f"({elem.tag.group:04X},{elem.tag.element:04X})"
    return f"{tag} {elem.VR} {shown:<40} # {elem.VM} {elem.keyword}"


def pretty_dataset(ds: Dataset, indent: int = 0, indent_char: str = "  ") -> list[str]:
    """A data set as lines of text. They may have a patient's data.

    Parameters
    ----------
    ds
        The data set.
    indent
        How many times to indent it; sequences are indented further.
    indent_char
        What to indent it with.
    """
    lines = []
    for elem in ds:
        lines.append(indent * indent_char + pretty_element(elem))
        if elem.VR == "SQ":
            for number, item in enumerate(elem.value, 1):
                lines.append((indent + 1) * indent_char + f"(item {number})")
                lines += pretty_dataset(item, indent + 2, indent_char)
    return lines
