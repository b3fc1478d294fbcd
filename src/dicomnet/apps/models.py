"""The information models of the SCUs of a query or retrieval, and what their extended negotiation asks for."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from pydicom.uid import UID

from ..pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from ..pynetdicom.sop_class import (
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
# The options behind the bytes of the Service-class-application-information, by information model; an empty
# name stands for a byte that is always 1 (PS3.4 sections C.5.1.1, C.5.2.1 and K.5.1).
_FIND = ("relational_query", "dt_matching", "fuzzy_names", "timezone_adj", "enhanced_conversion")
_RETRIEVE = ("relational_retrieval", "enhanced_conversion")
_NEGOTIATED: dict[UID, tuple[str, ...]] = {
    **dict.fromkeys(FIND_MODELS.values(), _FIND),
    ModalityWorklistInformationFind: ("", "", "fuzzy_names", "timezone_adj"),
    **dict.fromkeys((*GET_MODELS.values(), *MOVE_MODELS.values()), _RETRIEVE),
}

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


def negotiation(options: Namespace, model: UID) -> list[Any]:
    """The items of extended negotiation that the options ask for."""
    names = _NEGOTIATED[model]
    if not any(name and getattr(options, name) for name in names):
        return []
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = model
    item.service_class_application_information = bytes(not name or getattr(options, name) for name in names)
    return [item]
