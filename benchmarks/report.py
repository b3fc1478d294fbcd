"""Reports of the results: tables for people, and JSON for the record."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from .model import Group, Metric, Result

_FOLDER = Path(__file__).resolve().parent
_HEADINGS = ("", "median", "min - max", "runs", "ratio", "")

Results = list[tuple[Group, list[Result]]]


def machine() -> dict[str, object]:
    """Facts on the machine and its software that a reader of the results needs; neither its name nor a path."""
    storescu = subprocess.run(["storescu", "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        "dcmtk": storescu.split()[2],
        **{name: version(name) for name in ("dicomnet", "pynetdicom", "pydicom")},
    }


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def tables(group: Group, results: Sequence[Result]) -> str:
    """The tables of a group, one for each metric."""
    return "\n".join(
        _table(f"{group.key}. {group.title}: {metric.title} [{metric.unit}]", list(_rows(metric, results)))
        for metric in group.metrics
    )


def _rows(metric: Metric, results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    reference = next((median(r.values[metric.key]) for r in results if r.values.get(metric.key)), 0.0)
    for result in results:
        values = result.values.get(metric.key, [])
        note = result.failure or result.case.note
        if not values:
            if result.failure:
                yield result.case.subject, "failed", "", "", "", note
            continue
        middle = median(values)
        yield (
            result.case.subject,
            _number(middle),
            f"{_number(min(values))} - {_number(max(values))}",
            str(len(values)),
            f"x {middle / reference:.2f}" if reference > 0 else "",
            note,
        )


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _table(title: str, rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    lines = [title]
    for row in (_HEADINGS, *rows):
        cells = (
            cell.ljust(width) if index in (0, 5) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def record(results: Results, *, quick: bool, facts: dict[str, object], is_for_keeps: bool) -> list[Path]:
    """Write the JSON; returns the files.

    Parameters
    ----------
    is_for_keeps
        Whether it also goes to `records/`, under today's date.
    """
    content = {
        "machine": facts,
        "quick": quick,
        "groups": [_plain(group, of_group) for group, of_group in results],
    }
    today = date.today().isoformat()
    paths = [_FOLDER / "out" / "latest.json"]
    if is_for_keeps:
        paths.append(_FOLDER / "records" / f"{today}.json")
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")
    return paths


def _plain(group: Group, results: Sequence[Result]) -> dict[str, Any]:
    return {
        "key": group.key,
        "title": group.title,
        "metrics": {
            metric.key: {
                "title": metric.title,
                "unit": metric.unit,
                "values": {
                    result.case.subject: [float(f"{value:.6g}") for value in result.values[metric.key]]
                    for result in results
                    if metric.key in result.values
                },
            }
            for metric in group.metrics
        },
        "notes": {r.case.subject: r.failure or r.case.note for r in results if r.failure or r.case.note},
    }
