"""The report of a list: CSV, a row for each row of the list."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from ..drivers.medium import flush_file, flush_folder
from .fetcher import Result

_COLUMNS = ("line", "outcome", "words", "series", "expected", "here", "retrieved", "studies")


def write_report(path: Path, results: Sequence[Result]) -> None:
    """Write the report in the place of the one before, durably.

    Parameters
    ----------
    path
        Its file.
    results
        What became of the rows, in their order.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    keywords = list(dict.fromkeys(keyword for each in results for keyword in each.row.keys))
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*_COLUMNS, *keywords])
        for each in results:
            told = (
                each.row.line,
                each.outcome.value,
                each.words,
                each.series,
                each.expected,
                each.here,
                each.retrieved,
                " ".join(each.studies),
            )
            writer.writerow([*told, *(each.row.keys.get(keyword, "") for keyword in keywords)])
    flush_file(os.fspath(part))
    os.replace(part, path)
    flush_folder(os.fspath(path.parent))
