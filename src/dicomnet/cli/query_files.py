"""Files with the keys of a query: JSON, or a data set as DCMTK's and other tools take it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from struct import unpack_from
from typing import TYPE_CHECKING, Any

from .arguments import UsageError
from .keys import Keys, key_value, keyword_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def read_query_file(name: str) -> Keys:
    """The keys that a file has.

    Parameters
    ----------
    name
        Its path, or ``-`` for standard input. JSON is an object of keywords and values, or an object of the DICOM JSON
        Model (PS3.18 Annex F); anything else is read as a DICOM file, with or without File Meta Information.

    Raises
    ------
    UsageError
        If it cannot be read, or is neither.
    """
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from error
    try:
        if content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
            return _of_json(content)
        return _of_dataset(_dataset_in(content))
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error


def _of_json(content: bytes) -> Keys:
    from pydicom.dataset import Dataset

    try:
        told: dict[str, Any] = json.loads(content.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise UsageError(f"line {error.lineno} is not JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise UsageError("its text is not UTF-8") from error
    if not told or not all(isinstance(each, dict) and "vr" in each for each in told.values()):
        return _of_object(told)
    try:
        return _of_dataset(Dataset.from_json(told))
    except UsageError:
        raise
    except Exception as error:
        # pydicom raises what it likes for a wrong model.
        raise UsageError(f"it is not an object of the DICOM JSON Model: {error}") from error


def _of_object(told: Mapping[str, Any]) -> Keys:
    keys: Keys = {}
    for name, value in told.items():
        keyword = keyword_of(name)
        if isinstance(value, Mapping):
            keys[keyword] = _of_object(value)
        elif isinstance(value, list):
            keys[keyword] = [_of_scalar(keyword, each) for each in value]
        else:
            keys[keyword] = _of_scalar(keyword, value)
    return keys


def _of_scalar(keyword: str, value: object) -> object:
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
        return key_value(keyword, None if value is None else str(value))
    raise UsageError(f"{keyword} has a value that is neither text nor a number")


def _dataset_in(content: bytes) -> Dataset:
    from io import BytesIO

    from pydicom import dcmread

    try:
        # Without a header, it has to begin as a data set in Little Endian does.
        if content[128:132] != b"DICM":
            group, number = unpack_from("<HH", content)
            keyword_of(f"{group:04X},{number:04X}")
        return dcmread(BytesIO(content), force=True)
    except Exception as error:
        # pydicom raises what it likes for what is no data set.
        raise UsageError("it is neither JSON nor a DICOM file") from error


def _of_dataset(dataset: Dataset) -> Keys:
    from pydicom.multival import MultiValue

    keys: Keys = {}
    for element in dataset:
        if element.tag & 0xFFFF == 0:
            continue
        keyword = keyword_of(f"{element.tag >> 16:04X},{element.tag & 0xFFFF:04X}")
        value = element.value
        if element.VR == "SQ":
            keys[keyword] = _of_dataset(value[0]) if value else {}
        elif isinstance(value, MultiValue):
            keys[keyword] = list(map(str, value))
        else:
            keys[keyword] = key_value(keyword, None if value is None else str(value))
    return keys
