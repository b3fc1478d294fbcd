"""The matches of a query as lines of JSON, or as a table."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import DicomnetError
from .terminal import write_table
from .words import complain, is_terminal, printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from pydicom.dataset import Dataset

Match = dict[str, object]

HEADINGS = {
    "ModalitiesInStudy": "Modalities",
    "NumberOfPatientRelatedStudies": "Studies",
    "NumberOfStudyRelatedSeries": "Series",
    "NumberOfStudyRelatedInstances": "Instances",
    "NumberOfSeriesRelatedInstances": "Instances",
}
# Attributes that a table does not show: they are the same in each row, or of no interest.
HIDDEN = ("QueryRetrieveLevel", "RetrieveAETitle", "InstanceAvailability")


def write_matches(
    matches: Iterable[Dataset],
    options: Namespace,
    asked: Sequence[str],
    rows_of: Callable[[Match], list[Match]] = lambda match: [match],
) -> None:
    """Write matches: as lines of JSON while they arrive, or on a terminal as a table when all have arrived.

    An error of the query is raised behind what had arrived.

    Parameters
    ----------
    asked
        Keywords for the first columns of the table.
    rows_of
        Returns the rows of the table for a match.
    """
    found = map(plain, matches)
    if options.json or not is_terminal(sys.stdout):
        _write_lines(found)
        return
    listed: list[Match] = []
    failure: DicomnetError | None = None
    try:
        for match in found:
            # One by one: what came before an error is shown.
            listed.append(match)  # noqa: PERF402
    except DicomnetError as error:
        failure = error
    rows = [row for match in listed for row in rows_of(match)]
    filled = {name for row in rows for name, value in row.items() if value not in (None, [])}
    names = dict.fromkeys([*asked, *(name for row in rows for name in row)])
    columns = [name for name in names if name in filled and name not in HIDDEN]
    # UIDs are long and rarely of interest, so they are the last columns.
    columns.sort(key=lambda name: name.endswith("UID"))
    if columns:
        headings = [HEADINGS.get(name, name) for name in columns]
        write_table(headings, [[_cell(row.get(name)) for name in columns] for row in rows])
    if not options.quiet:
        complain(f"{len(listed)} match{'' if len(listed) == 1 else 'es'}")
    if failure is not None:
        raise failure


def plain(match: Dataset) -> Match:
    """The values of a match by keyword, as JSON types. Text is decoded, so the character set is left out."""
    from pydicom.datadict import keyword_for_tag

    return {
        keyword_for_tag(tag) or f"{tag >> 16:04X},{tag & 0xFFFF:04X}": _value_of(match, tag)
        for tag in sorted(match.keys())
        # Not the character set, nor group lengths.
        if tag != 0x00080005 and tag & 0xFFFF
    }


def _value_of(match: Dataset, tag: int) -> object:
    try:
        return _plain_value(match[tag].value)
    except Exception:  # noqa: BLE001
        # pydicom may raise anything for a peer's bytes; they are shown as they came.
        raw = match.get_item(tag).value
        return bytes(raw or b"").decode("ascii", "backslashreplace")


def _plain_value(value: Any) -> object:
    from pydicom.dataset import Dataset
    from pydicom.multival import MultiValue
    from pydicom.sequence import Sequence
    from pydicom.tag import BaseTag

    if isinstance(value, MultiValue | Sequence | list):
        return [_plain_value(each) for each in value]
    if isinstance(value, Dataset):
        return plain(value)
    if isinstance(value, BaseTag):
        return f"{value >> 16:04X},{value & 0xFFFF:04X}"
    if isinstance(value, bytes):
        from base64 import b64encode

        return b64encode(value).decode("ascii")
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if value - value == 0 else str(value)
    return None if value is None else str(value) or None


def _write_lines(found: Iterable[Match]) -> None:
    import json

    for match in found:
        print(json.dumps(match))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        if any(isinstance(each, dict) for each in value):
            return f"{len(value)} items" if len(value) > 1 else "1 item"
        return ", ".join(map(_cell, value))
    return printable(str(value))
