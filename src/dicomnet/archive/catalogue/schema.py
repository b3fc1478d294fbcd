"""The tables of the index, and the attributes it keeps at each level."""

from __future__ import annotations

from pydicom.datadict import dictionary_VR, tag_for_keyword
from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
    literal,
)

from ...datasets.levels import ATTRIBUTES, Level
from ..database import IDENTIFIER, SIZE, TEXT
from . import trigrams

# Version of the tables, stored in `state`. An index of another version has to be rebuilt from the files.
VERSION = 4


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
KEPT: dict[Level, dict[int, str]] = {level: _vrs(keywords) for level, keywords in ATTRIBUTES.items()}
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


def _number() -> Column[int]:
    """A row ID, which the one that writes the rows gives."""
    return Column("id", IDENTIFIER, primary_key=True, autoincrement=False)


# What is known of the index as a whole, by name: see `STATES`.
state = Table(
    "state", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False)
)
# The version of the tables; whether all files of the store have been looked at since the index was made; and what is
# another one after rows of patients, studies or series were removed, since remembered row IDs may be wrong then.
STATES = VERSION_STATE, COMPLETE_STATE, NUMBERING_STATE = "version", "complete", "numbering"

# `attributes` holds the attributes of the level as JSON: text by tag, or for a sequence a list of such objects.
# `others` holds what later objects say otherwise: a list of such values by tag; None if all agree.
# A study has the numbers of its series and of its instances, which are asked for often and would be counted each time.
patient = Table(
    "patient",
    metadata,
    _number(),
    Column("identity", Text, nullable=False, unique=True),
    Column("attributes", Text, nullable=False),
    Column("others", Text),
)
study = Table(
    "study",
    metadata,
    _number(),
    Column("parent", ForeignKey("patient.id"), nullable=False, index=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("attributes", Text, nullable=False),
    Column("others", Text),
    Column("series_count", Integer, nullable=False, index=True),
    Column("instance_count", Integer, nullable=False, index=True),
)
series = Table(
    "series",
    metadata,
    _number(),
    Column("parent", ForeignKey("study.id"), nullable=False),
    Column("uid", Text, nullable=False, index=True),
    Column("modality", Text, nullable=False),
    Column("attributes", Text, nullable=False),
    Column("others", Text),
    UniqueConstraint("parent", "uid"),
)
# Who sent objects.
source = Table(
    "source",
    metadata,
    _number(),
    Column("ae_title", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("way", Text, nullable=False),
    UniqueConstraint("ae_title", "address", "way"),
)
# `size` and `digest` (SHA-256, hexadecimal) are of the file as it was received; a row that was made from the file has
# none. `stored_at` is in milliseconds since 1970. `location` is empty where the archive's own store has the object
# under its name, as it has all objects now; for one that is elsewhere it is the text by which its keeper finds it.
instance = Table(
    "instance",
    metadata,
    _number(),
    Column("parent", ForeignKey("series.id"), nullable=False),
    Column("uid", Text, nullable=False, unique=True),
    Column("sop_class", Text, nullable=False),
    Column("transfer_syntax", Text, nullable=False),
    Column("attributes", Text, nullable=False),
    Column("size", SIZE),
    Column("digest", Text),
    Column("stored_at", SIZE),
    Column("source", ForeignKey("source.id")),
    Column("location", Text),
)
# What studies are found by, as `values.found_values` makes it: values of the attributes in `FOUND_BY` and `COLLECTED`.
# A value may be left over from a study that is gone; whoever finds a study by it looks at the study too.
study_value = Table(
    "study_value",
    metadata,
    _number(),
    Column("study", IDENTIFIER, nullable=False),
    Column("tag", Integer, nullable=False),
    Column("value", TEXT, nullable=False),
)
# The attributes that are kept besides `KEPT`. Objects up to the row ID `last` may lack one, but not those up to `done`.
kept = Table(
    "kept",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("tag", IDENTIFIER, primary_key=True),
    Column("done", IDENTIFIER, nullable=False),
    Column("last", IDENTIFIER, nullable=False),
)
Index("study_value_found", study_value.c.tag, study_value.c.value, study_value.c.study)
Index("series_modality", series.c.parent, series.c.modality)
Index("instance_sop_class", instance.c.parent, instance.c.sop_class)
event.listen(study_value, "after_create", trigrams.create)

# Patients have no parent.
NO_PARENT = literal(None)
TABLES = {Level.PATIENT: patient, Level.STUDY: study, Level.SERIES: series, Level.IMAGE: instance}
