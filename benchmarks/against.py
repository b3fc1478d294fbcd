"""Two checkouts of dicomnet, measured alternating: what a change costs or gains."""

from __future__ import annotations

import compileall
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from .model import OURS, Group, Measure, Result, Workspace
from .processes import Failed, started_from

# The groups whose rows are ours on both sides, and the data path or the start-up.
_LETTERS = "abcfgkm"
BEFORE, AFTER = "before", "after"


def groups(every: Sequence[Group], before: Path, after: Path) -> Iterator[Group]:
    """The groups that compare, with each case of ours twice: as it was, and as it is.

    Parameters
    ----------
    every
        All groups.
    before, after
        The roots of the two checkouts.

    Raises
    ------
    Failed
        If one of them has no dicomnet.
    """
    for checkout in (before, after):
        if not compileall.compile_dir(checkout / "src" / "dicomnet", quiet=1):
            raise Failed(f"{checkout} has no src/dicomnet that compiles")
    for group in every:
        if group.key[0] in _LETTERS:
            cases = tuple(
                replace(case, subject=f"{case.subject}, {name}", measure=_from(checkout, case.measure))
                for case in group.cases
                if case.subject.startswith(OURS)
                for name, checkout in ((BEFORE, before), (AFTER, after))
            )
            yield replace(group, cases=cases)


def _from(checkout: Path, measure: Measure) -> Measure:
    def measure_there(workspace: Workspace) -> Mapping[str, float]:
        with started_from(checkout):
            return measure(workspace)

    return measure_there


def table(group: Group, results: Sequence[Result]) -> str:
    """A line for each case and metric: both medians, and after by before of the medians and of the minima."""
    lines = []
    for before, after in zip(results[::2], results[1::2], strict=True):
        subject = before.case.subject.removesuffix(f", {BEFORE}")
        if failure := before.failure or after.failure:
            lines.append(f"  {group.key}  {subject}: failed: {failure}")
            continue
        for metric in group.metrics:
            was, now = (each.values.get(metric.key, []) for each in (before, after))
            if was and now:
                ratios = " / ".join(_ratio(of, now, was) for of in (median, min))
                medians = f"{median(was):.4g} -> {median(now):.4g} {metric.unit}"
                lines.append(f"  {group.key:9} {subject:40} {metric.key:12} {medians:28} x {ratios}")
    return "\n".join(lines)


def _ratio(of: Callable[[list[float]], float], now: list[float], was: list[float]) -> str:
    return f"{of(now) / of(was):.3f}" if of(was) > 0 else "-"
