"""What a query of a modality worklist asks for (PS3.4 Annex K)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STEP = "ScheduledProcedureStepSequence"
# The attributes that are always asked for: those of PS3.4 Table K.6-1 that each worklist must return, and other usual
# ones.
STEP_KEYS = (
    "ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepStartTime",
    "Modality",
    "ScheduledStationAETitle",
    "ScheduledStationName",
    "ScheduledPerformingPhysicianName",
    "ScheduledProcedureStepDescription",
    "ScheduledProcedureStepID",
    "ScheduledProcedureStepLocation",
    "ScheduledProtocolCodeSequence",
    "PreMedication",
)
RETURN_KEYS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientWeight",
    "PregnancyStatus",
    "MedicalAlerts",
    "Allergies",
    "AccessionNumber",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "RequestedProcedurePriority",
    "RequestingPhysician",
    "ReferringPhysicianName",
    "AdmissionID",
    "CurrentPatientLocation",
    "PatientTransportArrangements",
    "ReferencedStudySequence",
    "ReferencedPatientSequence",
    "StudyInstanceUID",
)


def worklist_keys(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a query, with what is always asked for.

    Parameters
    ----------
    given
        Keyword to value. Those of a Scheduled Procedure Step go into its sequence, which may be given itself as the
        keys of its one item.
    """
    step = {keyword: value for keyword, value in given.items() if keyword in STEP_KEYS}
    others = {keyword: value for keyword, value in given.items() if keyword not in STEP_KEYS}
    inside = dict.fromkeys(STEP_KEYS) | step | dict(others.get(STEP) or {})
    return dict.fromkeys(RETURN_KEYS) | others | {STEP: inside}
