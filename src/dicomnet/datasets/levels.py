"""The levels of the Query/Retrieve Information Models, and the attributes of each (PS3.4 section C.6)."""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """The levels of the Query/Retrieve Information Models, named as in Query/Retrieve Level (0008,0052)."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3


# The keyword of the attribute that tells those of a level apart.
UNIQUE_KEYS = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}

# The keywords of the attributes at each level: those of Tables C.6-1 to C.6-5, and others that are the same for all
# objects of a patient, a study or a series.
ATTRIBUTES = {
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

# The keywords of what an archive computes for the answer to a query (Table C.3-1).
COMPUTED = {
    Level.PATIENT: """
        NumberOfPatientRelatedStudies NumberOfPatientRelatedSeries NumberOfPatientRelatedInstances
    """,
    Level.STUDY: "NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances ModalitiesInStudy SOPClassesInStudy",
    Level.SERIES: "NumberOfSeriesRelatedInstances",
}

LEVEL_OF = {
    keyword: level
    for table in (ATTRIBUTES, COMPUTED)
    for level, text in table.items()
    for keyword in text.split()
}
