"""The matches of a query as lines of JSON, as CSV, or as a table."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from ..errors import DicomnetError
from ..plurals import counted
from ..values import frozen
from .arguments import Parser
from .keys import keyword_of
from .terminal import write_table
from .words import complain, is_terminal, printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from pydicom.dataset import Dataset

Match = dict[str, object]
# A keyword, or a tag, which has a comma.
_NAME = re.compile(r"\(?[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}\)?(?::desc)?|[^,]+")

HEADINGS = {
    "ModalitiesInStudy": "Modalities",
    "NumberOfPatientRelatedStudies": "Studies",
    "NumberOfStudyRelatedSeries": "Series",
    "NumberOfStudyRelatedInstances": "Instances",
    "NumberOfSeriesRelatedInstances": "Instances",
}
# Attributes that a table does not show: they are the same in each row, or of no interest.
HIDDEN = ("QueryRetrieveLevel", "RetrieveAETitle", "InstanceAvailability")


def add_form_options(parser: Parser) -> None:
    """Add the options for how matches are written."""
    group = parser.add_argument_group("form of the matches")
    form = group.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="lines of JSON on a terminal, too")
    form.add_argument("--csv", action="store_true", help="CSV with a line of headings")
    group.add_argument(
        "--fields",
        type=_names,
        default=[],
        metavar="KEYWORD[,KEYWORD]...",
        help="ask for these attributes and write no others, in this order",
    )
    group.add_argument(
        "--sort",
        type=_names,
        default=[],
        metavar="KEYWORD[:desc][,...]",
        help="sort by these attributes when all matches have arrived, by those with :desc from the highest to the"
        " lowest",
    )


def _names(text: str) -> list[str]:
    return [name for each in _NAME.findall(text) if (name := each.strip())]


@frozen
class Form:
    """How matches are written.

    Parameters
    ----------
    is_json, is_csv
        As lines of JSON, as CSV; else as a table on a terminal, and as lines of JSON otherwise.
    is_quiet
        Whether their number is left out.
    fields
        The keywords of what is written; all there is if empty.
    order
        Keywords to sort by, and for each whether it is from the highest to the lowest.
    """

    is_json: bool
    is_quiet: bool
    is_csv: bool = False
    fields: Sequence[str] = ()
    order: Sequence[tuple[str, bool]] = ()


def form_of(options: Namespace) -> Form:
    """The form that the options of `add_form_options` ask for; raises UsageError for an attribute that is unknown."""
    order = [(keyword_of(name.removesuffix(":desc")), name.endswith(":desc")) for name in options.sort]
    return Form(options.json, options.quiet, options.csv, list(map(keyword_of, options.fields)), order)


def write_matches(
    found: Iterable[Match],
    form: Form,
    asked: Iterable[str],
    headings: Iterable[str] = (),
    rows_of: Callable[[Match], list[Match]] = lambda match: [match],
) -> None:
    """Write matches while they arrive; in a table or sorted, when all have arrived.

    An error of the query is raised behind what had arrived.

    Parameters
    ----------
    asked
        Keywords for the first columns of the table.
    headings
        Keywords for the columns of CSV, where no fields were chosen.
    rows_of
        Returns the rows of the table for a match.
    """
    if form.order:
        found = _sorted(found, form.order)
    if form.fields:
        found = ({name: row.get(name) for name in form.fields} for row in found)
    if form.is_csv:
        _write_csv(found, list(form.fields or dict.fromkeys(headings)))
    elif form.is_json or not is_terminal(sys.stdout):
        _write_lines(found)
    else:
        _write_table(found, form, asked, rows_of)


def _sorted(found: Iterable[Match], order: Sequence[tuple[str, bool]]) -> Iterator[Match]:
    listed, failure = _listed(found)
    for name, is_descending in reversed(order):
        listed.sort(key=lambda row: _rank(row.get(name), is_descending), reverse=is_descending)
    yield from listed
    if failure is not None:
        raise failure


def _rank(value: object, is_descending: bool) -> tuple[bool, float, str]:
    """What a value is sorted by: numbers before text, and what is empty last in any case."""
    if value in (None, []):
        return not is_descending, 0, ""
    if isinstance(value, int | float):
        return is_descending, value, ""
    return is_descending, inf, _cell(value).casefold()


def _listed(found: Iterable[Match]) -> tuple[list[Match], DicomnetError | None]:
    """What has arrived, and what it ended with."""
    listed: list[Match] = []
    try:
        for match in found:
            # One by one: what came before an error is shown.
            listed.append(match)  # noqa: PERF402
    except DicomnetError as error:
        return listed, error
    return listed, None


def _write_table(
    found: Iterable[Match], form: Form, asked: Iterable[str], rows_of: Callable[[Match], list[Match]]
) -> None:
    listed, failure = _listed(found)
    rows = [row for match in listed for row in rows_of(match)]
    filled = {name for row in rows for name, value in row.items() if value not in (None, [])}
    columns = list(form.fields)
    if not columns:
        names = dict.fromkeys([*asked, *(name for row in rows for name in row)])
        columns = [name for name in names if name in filled and name not in HIDDEN]
        # UIDs are long and rarely of interest, so they are the last columns.
        columns.sort(key=lambda name: name.endswith("UID"))
    if columns and rows:
        headings = [HEADINGS.get(name, name) for name in columns]
        write_table(headings, [[_cell(row.get(name)) for name in columns] for row in rows])
    if not form.is_quiet:
        complain(f"{len(listed)} match{'' if len(listed) == 1 else 'es'}")
    if failure is not None:
        raise failure


def _write_csv(found: Iterable[Match], columns: Sequence[str]) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    cell = (lambda value: printable(_csv_cell(value))) if is_terminal(sys.stdout) else _csv_cell
    # A query that finds nothing because it fails has no headings, either.
    headings = [columns]
    for match in found:
        writer.writerows(headings)
        headings.clear()
        writer.writerow([cell(match.get(name)) for name in columns])
    writer.writerows(headings)


def _csv_cell(value: object) -> str:
    """A value as text: several separated by backslashes, as in DICOM, and sequences as JSON."""
    import json

    if isinstance(value, list):
        is_plain = not any(isinstance(each, dict | list) for each in value)
        return "\\".join(map(_csv_cell, value)) if is_plain else json.dumps(value)
    return "" if value is None else str(value)


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
            return counted(len(value), "item")
        return ", ".join(map(_cell, value))
    return printable(str(value))
