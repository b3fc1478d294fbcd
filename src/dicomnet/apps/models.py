"""The information models of the SCUs of a query or retrieval, and what their extended negotiation asks for."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ..pdu_primitives import SOPClassExtendedNegotiation
from ..sop_class import (
    ModalityWorklistInformationFind,
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    PatientStudyOnlyQueryRetrieveInformationModelFind,
    PatientStudyOnlyQueryRetrieveInformationModelGet,
    PatientStudyOnlyQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    UnifiedProcedureStepPull,
)
from .options import Group, choice

_PATIENT, _STUDY, _PATIENT_STUDY_ONLY, _WORKLIST, _UPS = "patient", "study", "psonly", "worklist", "ups"

FIND_MODELS = {
    _PATIENT: PatientRootQueryRetrieveInformationModelFind,
    _STUDY: StudyRootQueryRetrieveInformationModelFind,
    _PATIENT_STUDY_ONLY: PatientStudyOnlyQueryRetrieveInformationModelFind,
    _WORKLIST: ModalityWorklistInformationFind,
    _UPS: UnifiedProcedureStepPull,
}
GET_MODELS = {
    _PATIENT: PatientRootQueryRetrieveInformationModelGet,
    _STUDY: StudyRootQueryRetrieveInformationModelGet,
    _PATIENT_STUDY_ONLY: PatientStudyOnlyQueryRetrieveInformationModelGet,
}
MOVE_MODELS = {
    _PATIENT: PatientRootQueryRetrieveInformationModelMove,
    _STUDY: StudyRootQueryRetrieveInformationModelMove,
    _PATIENT_STUDY_ONLY: PatientStudyOnlyQueryRetrieveInformationModelMove,
}
# The bytes of the Service-class-application-information (PS3.4 sections C.5.1.1 and C.5.2.1).
FIND_NEGOTIATION = (
    "relational_query",
    "dt_matching",
    "fuzzy_names",
    "timezone_adj",
    "enhanced_conversion",
)
RETRIEVE_NEGOTIATION = ("relational_retrieval", "enhanced_conversion")

_ROOTS = (
    choice("model", _PATIENT, "-P", "--patient", help="Patient Root (used if left out)"),
    choice("model", _STUDY, "-S", "--study", help="Study Root"),
    choice("model", _PATIENT_STUDY_ONLY, "-O", "--psonly", help="Patient/Study Only"),
)
RETRIEVE = Group("information model", _ROOTS, excludes=True)
FIND = Group(
    "information model",
    (
        *_ROOTS,
        choice("model", _WORKLIST, "-W", "--worklist", help="Modality Worklist"),
        choice("model", _UPS, "-U", "--ups", help="Unified Procedure Step (Pull)"),
    ),
    excludes=True,
)
DEFAULT = {"model": _PATIENT}


def negotiation(options: Namespace, model: str, names: tuple[str, ...]) -> list[Any]:
    """The extended negotiation that the options ask for, none where they ask for nothing."""
    asked = bytes(getattr(options, name) for name in names)
    if not any(asked):
        return []
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = model
    item.service_class_application_information = asked
    return [item]
