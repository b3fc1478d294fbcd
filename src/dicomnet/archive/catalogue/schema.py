"""The tables of the index, and the attributes it keeps at each level of an information model (PS3.4 section C.6)."""

from __future__ import annotations

from enum import IntEnum

from pydicom.datadict import dictionary_VR, tag_for_keyword
from sqlalchemy import Column, ForeignKey, Index, Integer, MetaData, Table, Text, UniqueConstraint

# Version of the tables, stored in the database. An index of another version has to be rebuilt from the files.
VERSION = 1


class Level(IntEnum):
    """The levels of the Query/Retrieve Information Models, named as in Query/Retrieve Level (0008,0052)."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3


_KEYWORDS = {
    Level.PATIENT: """
        PatientName PatientID IssuerOfPatientID PatientBirthDate PatientBirthTime PatientSex OtherPatientIDs
        OtherPatientNames EthnicGroup PatientComments ReferencedPatientSequence OtherPatientIDsSequence
    """,
    Level.STUDY: """
        StudyDate StudyTime AccessionNumber StudyID StudyInstanceUID ReferringPhysicianName StudyDescription
        ProcedureCodeSequence NameOfPhysiciansReadingStudy AdmittingDiagnosesDescription ReferencedStudySequence
        PatientAge PatientSize PatientWeight Occupation AdditionalPatientHistory OtherStudyNumbers
        IssuerOfAccessionNumberSequence RequestedProcedureDescription
    """,
    Level.SERIES: """
        Modality SeriesNumber SeriesInstanceUID SeriesDate SeriesTime SeriesDescription Laterality BodyPartExamined
        PatientPosition ProtocolName PerformingPhysicianName OperatorsName Manufacturer ManufacturerModelName
        InstitutionName InstitutionalDepartmentName StationName PerformedProcedureStepStartDate
        PerformedProcedureStepStartTime PerformedProcedureStepID PerformedProcedureStepDescription
        PerformedProtocolCodeSequence RequestAttributesSequence FrameOfReferenceUID
    """,
    Level.IMAGE: """
        InstanceNumber SOPInstanceUID SOPClassUID ImageType ContentDate ContentTime AcquisitionDate AcquisitionTime
        AcquisitionDateTime AcquisitionNumber InstanceCreationDate InstanceCreationTime Rows Columns BitsAllocated
        NumberOfFrames PhotometricInterpretation ConceptNameCodeSequence CompletionFlag VerificationFlag
        ContentLabel ContentDescription PresentationCreationDate PresentationCreationTime ImageComments
    """,
}


# The attributes that are kept of the items of sequences.
_NESTED_KEYWORDS = """
    CodeValue CodingSchemeDesignator CodingSchemeVersion CodeMeaning LongCodeValue URNCodeValue ReferencedSOPClassUID
    ReferencedSOPInstanceUID PatientID IssuerOfPatientID TypeOfPatientID LocalNamespaceEntityID UniversalEntityID
    UniversalEntityIDType AccessionNumber StudyInstanceUID RequestedProcedureID RequestedProcedureDescription
    RequestedProcedureCodeSequence ReasonForTheRequestedProcedure ScheduledProcedureStepID
    ScheduledProcedureStepDescription ScheduledProtocolCodeSequence
"""


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise AssertionError(keyword)
    return int(tag)


def _vrs(keywords: str) -> dict[int, str]:
    return {tag: dictionary_VR(tag) for tag in map(_tag, keywords.split())}


SPECIFIC_CHARACTER_SET = 0x00080005
# The attributes kept at each level: tag and VR.
KEPT: dict[Level, dict[int, str]] = {level: _vrs(keywords) for level, keywords in _KEYWORDS.items()}
KEPT_IN_ITEMS = _vrs(_NESTED_KEYWORDS)
WANTED = {tag: vr for kept in ({SPECIFIC_CHARACTER_SET: "CS"}, *KEPT.values()) for tag, vr in kept.items()}

metadata = MetaData()


def _names() -> list[Column[str]]:
    """Columns for the three component groups of a person name, folded for matching."""
    return [
        Column(f"name_{group}", Text, nullable=False) for group in ("alphabetic", "ideographic", "phonetic")
    ]


# `attributes` holds the attributes of the level as JSON: text by tag, or for a sequence a list of such objects.
patient = Table(
    "patient",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("identity", Text, nullable=False, unique=True),
    Column("patient_id", Text, nullable=False, index=True),
    *_names(),
    Column("attributes", Text, nullable=False),
)
study = Table(
    "study",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("parent", ForeignKey("patient.id"), nullable=False, index=True),
    Column("uid", Text, nullable=False, unique=True),
    # Patient ID and name of the study itself, as the objects of one patient do not always agree.
    Column("patient_id", Text, nullable=False, index=True),
    *_names(),
    Column("date", Text, nullable=False, index=True),
    Column("accession", Text, nullable=False, index=True),
    Column("attributes", Text, nullable=False),
)
series = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("parent", ForeignKey("study.id"), nullable=False),
    Column("uid", Text, nullable=False, index=True),
    Column("modality", Text, nullable=False),
    Column("attributes", Text, nullable=False),
    UniqueConstraint("parent", "uid"),
)
instance = Table(
    "instance",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("parent", ForeignKey("series.id"), nullable=False),
    Column("uid", Text, nullable=False, unique=True),
    Column("sop_class", Text, nullable=False),
    Column("transfer_syntax", Text, nullable=False),
    Column("attributes", Text, nullable=False),
)
Index("series_modality", series.c.parent, series.c.modality)
Index("instance_sop_class", instance.c.parent, instance.c.sop_class)
for _table in (patient, study):
    for _column in _table.c:
        if _column.name.startswith("name_"):
            Index(f"{_table.name}_{_column.name}", _column)

TABLES = {Level.PATIENT: patient, Level.STUDY: study, Level.SERIES: series, Level.IMAGE: instance}
