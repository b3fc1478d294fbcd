"""The task of checking an archive: files, index and digests against each other, and the ledger against the files."""

from __future__ import annotations

from collections.abc import Mapping
from time import sleep
from typing import Any

from ...errors import DatabaseFailure, ServiceRefusal
from ..catalogue.index import Index
from ..catalogue.inspection import Inspection
from ..holdings import Holdings
from ..ledger.ledger import Ledger
from ..upkeep import bring_in_line
from .checking_aside import AsideCheck
from .checking_objects import How, ObjectCheck
from .findings import LOST, REPAIRED, Findings
from .reading import Pace, Watch
from .reindexing import reindex
from .task import PACE, Reporter


def check(
    holdings: Holdings,
    reporter: Reporter,
    *,
    quick: bool = False,
    study: str = "",
    repair: bool = False,
    accept_loss: bool = False,
    add_digests: bool = False,
    show_values: bool = False,
    rate: float | None = None,
) -> Mapping[str, Any]:
    """Compare what an archive has with what it knows of it, and set it right on request. It may be in use meanwhile.

    Parameters
    ----------
    holdings
        The archive.
    reporter
        Told each finding, as `Findings.found` says.
    quick
        Whether names and sizes are compared alone, and not each byte.
    study
        The Study Instance UID of the only study to look at; empty for all of the archive.
    repair
        Whether what is found is set right, as far as `findings.KINDS` says it can be.
    accept_loss
        Whether objects whose files are missing are lost for sure, also where there are very many.
    add_digests
        Whether the index takes the digests of files of which it has none.
    show_values
        Whether contradictions are reported with their values, which are patients' data.
    rate
        The most bytes to read in a second; None for as many as there are.

    Returns
    -------
    mapping
        ``checked``: the number of objects; ``bytes``: how many were read; ``found``: the number of findings by kind;
        ``outcomes``: by what became of them; ``is_damaged``: whether anything is wrong; ``without_digest``: of how many
        objects the index has none; ``digests_added``; ``elsewhere``: how many are not kept in the store, and were not
        looked at; ``is_complete``: whether all of it was looked at.
    """
    index = holdings.index
    assert index is not None
    how = How(quick, study, accept_loss, add_digests, show_values)
    pace = Pace(reporter, rate)
    findings = Findings(reporter, is_repairing=repair)
    objects = ObjectCheck(holdings, findings, pace, how)
    holdings.end_deletions()
    is_complete = bool(study) or _is_usable(holdings, index, findings, pace, how)
    if is_complete:
        _bring_in_line(holdings, index, findings, pace)
        inspection = Inspection(index)
        _adrift(inspection, findings, how)
        objects.run()
        _studies(inspection, findings, pace, how)
    if not study:
        ledger = _usable_ledger(holdings, findings, pace, how)
        AsideCheck(holdings, findings, pace, is_quick=quick).run(ledger)
    return {
        "checked": pace.done,
        "bytes": pace.count,
        "found": dict(findings.counts),
        "outcomes": dict(findings.outcomes),
        "is_damaged": findings.is_damaged,
        "without_digest": objects.without_digest - objects.digests_added,
        "digests_added": objects.digests_added,
        "elsewhere": objects.elsewhere,
        "is_complete": is_complete,
    }


def _is_usable(holdings: Holdings, index: Index, findings: Findings, pace: Pace, how: How) -> bool:
    """Whether the rows of the index can be compared with the files."""
    if index.was_damaged:
        index.was_damaged = False
        findings.tell("index-damaged", REPAIRED, detail="it was made anew when it was opened")
        return True
    watch = Watch(pace)
    try:
        is_whole = index.check(watch, is_thorough=not how.is_quick)
    except ServiceRefusal:
        watch.pass_on()
        raise
    if is_whole:
        return True

    def repair() -> str:
        reindex(holdings, pace.reporter)
        return REPAIRED

    outcome = findings.found("index-damaged", repair=repair)
    # A node that finds its index damaged makes it anew by itself.
    return outcome == REPAIRED or holdings.is_kept_up


def _bring_in_line(holdings: Holdings, index: Index, findings: Findings, pace: Pace) -> None:
    """Have an index that may lack objects, and only such a one, brought in line with the files."""
    if not holdings.is_kept_up:
        watch = Watch(pace)
        done = bring_in_line(index, holdings.intake, watch)
        watch.pass_on()
        # That objects had no row yet is nothing to be told.
        if done is not None and (done.removed or done.quarantined):
            findings.tell(
                "not-in-line", LOST if done.removed else REPAIRED, detail=f"{done}; the log names them"
            )
    while index.is_damaged or not index.is_complete:
        pace.tick()
        sleep(PACE)


def _usable_ledger(holdings: Holdings, findings: Findings, pace: Pace, how: How) -> Ledger | None:
    """The ledger, if it can be compared with the files."""
    assert holdings.ledger is not None
    ledger = holdings.ledger.if_there()
    if ledger is None:
        return holdings.ledger.opened if any(_set_aside(holdings)) else None
    watch = Watch(pace)
    try:
        ledger.database.check(watch, is_thorough=not how.is_quick)
    except DatabaseFailure as failure:
        watch.pass_on()
        if not failure.is_damage:
            raise
        findings.found("ledger-damaged", path=ledger.database.name, detail=failure.cause)
        return None
    return ledger


def _set_aside(holdings: Holdings) -> Any:
    yield from holdings.storage.quarantined()
    yield from holdings.storage.versions()
    yield from holdings.storage.trash()


def _adrift(inspection: Inspection, findings: Findings, how: How) -> None:
    adrift = {} if how.study else inspection.adrift()
    if adrift:

        def repair() -> str:
            inspection.remove_adrift()
            return REPAIRED

        detail = ", ".join(f"{count} of {name}" for name, count in adrift.items())
        findings.found("rows-adrift", detail=detail, repair=repair)


def _studies(inspection: Inspection, findings: Findings, pace: Pace, how: How) -> None:
    for uid, detail in inspection.wrong_counts(how.study):
        pace.tick()

        def repair(uid: str = uid) -> str:
            inspection.recount(uid)
            return REPAIRED

        findings.found("study-counts", study_instance_uid=uid, detail=detail, repair=repair)
    for uid, said in inspection.contradictions(how.study):
        pace.tick()
        more: dict[str, Any] = {"values": dict(said)} if how.shows_values else {}
        findings.found("contradiction", study_instance_uid=uid, attributes=list(said), **more)
