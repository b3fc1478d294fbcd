"""The tables of the index, and the attributes it keeps at each level of an information model (PS3.4 section C.6)."""

from __future__ import annotations

from enum import IntEnum

from pydicom.datadict import dictionary_VR, tag_for_keyword
from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
)

from . import trigrams

# Version of the tables, stored in the database. An index of another version has to be rebuilt from the files.
VERSION = 3


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


SPECIFIC_CHARACTER_SET, TIMEZONE_OFFSET = 0x00080005, 0x00080201
# The attributes kept at each level: tag and VR.
KEPT: dict[Level, dict[int, str]] = {level: _vrs(keywords) for level, keywords in _KEYWORDS.items()}
KEPT_IN_ITEMS = _vrs(_NESTED_KEYWORDS)
# Beside them each level has the time zone of its dates and times; those of the patient's birth have none.
READ = {
    level: kept if level is Level.PATIENT else {**kept, TIMEZONE_OFFSET: "SH"} for level, kept in KEPT.items()
}
WANTED = {tag: vr for kept in ({SPECIFIC_CHARACTER_SET: "CS"}, *READ.values()) for tag, vr in kept.items()}

# The attributes by which studies are found: their values are in the table `study_value`. The last two are of all series
# and objects of a study.
_FOUND_BY = """
    PatientName PatientID PatientBirthDate StudyDate StudyTime AccessionNumber StudyID ReferringPhysicianName
    StudyDescription
"""
MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY = 0x00080061, 0x00080062
FOUND_BY = _vrs(_FOUND_BY)
COLLECTED = {MODALITIES_IN_STUDY: "CS", SOP_CLASSES_IN_STUDY: "UI"}

metadata = MetaData()
_BIG = BigInteger().with_variant(Integer, "sqlite")
# Prefixes are compared as ranges, which needs the order of the code points.
_ORDERED = Text().with_variant(Text(collation="C"), "postgresql")

# `attributes` holds the attributes of the level as JSON: text by tag, or for a sequence a list of such objects.
# `others` holds what later objects say otherwise: a list of such values by tag; None if all agree.
patient = Table(
    "patient",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("identity", Text, nullable=False, unique=True),
    Column("attributes", Text, nullable=False),
    Column("others", Text),
)
study = Table(
    "study",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("parent", ForeignKey("patient.id"), nullable=False, index=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("attributes", Text, nullable=False),
    Column("others", Text),
)
series = Table(
    "series",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("parent", ForeignKey("study.id"), nullable=False),
    Column("uid", Text, nullable=False, index=True),
    Column("modality", Text, nullable=False),
    Column("attributes", Text, nullable=False),
    Column("others", Text),
    UniqueConstraint("parent", "uid"),
)
instance = Table(
    "instance",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("parent", ForeignKey("series.id"), nullable=False),
    Column("uid", Text, nullable=False, unique=True),
    Column("sop_class", Text, nullable=False),
    Column("transfer_syntax", Text, nullable=False),
    Column("attributes", Text, nullable=False),
)
# What studies are found by, as `values.found_values` makes it: values of the attributes in `FOUND_BY` and `COLLECTED`.
# A value may be left over from a study that is gone; whoever finds a study by it looks at the study too.
study_value = Table(
    "study_value",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("study", _BIG, nullable=False),
    Column("tag", Integer, nullable=False),
    Column("value", _ORDERED, nullable=False),
)
# The attributes that are kept besides `KEPT`. Objects up to the row ID `last` may lack one, but not those up to `done`.
kept = Table(
    "kept",
    metadata,
    Column("level", Integer, primary_key=True),
    Column("tag", _BIG, primary_key=True),
    Column("done", _BIG, nullable=False),
    Column("last", _BIG, nullable=False),
)
Index("study_value_found", study_value.c.tag, study_value.c.value, study_value.c.study)
Index("series_modality", series.c.parent, series.c.modality)
Index("instance_sop_class", instance.c.parent, instance.c.sop_class)
event.listen(study_value, "after_create", trigrams.create)

TABLES = {Level.PATIENT: patient, Level.STUDY: study, Level.SERIES: series, Level.IMAGE: instance}
