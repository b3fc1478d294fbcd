"""What the node holds that user agents of DICOMweb are tried with, of each kind that has a way of its own there.

All of it is made here, or comes with pydicom. Who makes it twice gets the same, so that requests which were recorded
once mean the same objects ever after.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    RTStructureSetStorage,
    SegmentationStorage,
    UltrasoundMultiFrameImageStorage,
)
from tests.archive.web.served import sample

CT_STUDY, US_STUDY, PACKED_STUDY, PDF_STUDY, COLOUR_STUDY, NEW_STUDY = (f"1.2.60{n}" for n in range(6))
CT_SERIES, STRUCTURE_SERIES, SEGMENTATION_SERIES = (f"{CT_STUDY}.{number}" for number in (1, 2, 3))
SLICES, FRAMES, PACKED_SLICES = 5, 4, 2
# The compressed series of a study, by their numbers.
SYNTAXES = {1: JPEG2000Lossless, 2: JPEGLSLossless, 3: RLELossless}
WINDOW = (200.0, 1400.0)
SPACING = 0.661468
# The first and last row and column of what is outlined and segmented, and the slice that this is done on.
REGION, REGION_SLICE = (40, 80), 3
FRAME_OF_REFERENCE = "1.2.600.9"
# The quarters of the page of the document, from its top left corner.
PDF_COLOURS = ((200, 30, 30), (30, 160, 30), (30, 30, 200), (220, 200, 40))


def held() -> Iterator[FileDataset]:
    """All objects, each as the file that is stored."""
    for number in range(1, SLICES + 1):
        yield ct_slice(number)
    yield structure_set()
    yield segmentation()
    yield ultrasound()
    for series in SYNTAXES:
        for number in range(1, PACKED_SLICES + 1):
            yield packed_slice(series, number)
    yield document()
    yield colour_film()


def to_be_stored() -> Iterator[FileDataset]:
    """Objects of two series, for agents that store and delete."""
    for number in range(1, 4):
        made = ct_slice(number)
        made.StudyInstanceUID, made.SeriesInstanceUID = NEW_STUDY, f"{NEW_STUDY}.{1 if number < 3 else 2}"
        made.SOPInstanceUID = f"{made.SeriesInstanceUID}.{number}"
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        yield _named(made, "New^Test", "NEW")


def ct_slice(number: int) -> FileDataset:
    """A slice of a series: the CT image of pydicom, a little brighter each time."""
    made = dcmread(sample("CT_small.dcm"))
    made.StudyInstanceUID, made.SeriesInstanceUID = CT_STUDY, CT_SERIES
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(f"{CT_SERIES}.{number}")
    made.FrameOfReferenceUID = FRAME_OF_REFERENCE
    made.InstanceNumber = number
    made.ImagePositionPatient = [0, 0, 5 * number]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.PixelSpacing = [SPACING, SPACING]
    made.WindowCenter, made.WindowWidth = (str(round(value)) for value in WINDOW)
    made.PixelData = (made.pixel_array + 40 * (number - 1)).astype("<i2").tobytes()
    return _named(made, "Ohif^Test", "OHIF")


def packed_slice(series: int, number: int) -> FileDataset:
    """A slice of the same kind, without loss compressed in one of `SYNTAXES`."""
    made = ct_slice(number)
    made.StudyInstanceUID, made.SeriesInstanceUID = PACKED_STUDY, f"{PACKED_STUDY}.{series}"
    made.SOPInstanceUID = f"{PACKED_STUDY}.{series}.{number}"
    made.FrameOfReferenceUID = f"{PACKED_STUDY}.9"
    made.SeriesNumber = series
    made.SeriesDescription = SYNTAXES[series].name[:64]
    made.compress(SYNTAXES[series], generate_instance_uid=False)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return _named(made, "Packed^Test", "PACKED")


def ultrasound() -> FileDataset:
    """An ultrasound of four frames, in each of which another quarter is bright."""
    frames = np.zeros((FRAMES, 64, 64), "u1")
    for number in range(FRAMES):
        frames[number, 16 * number : 16 * (number + 1)] = 255
    made = _file(UltrasoundMultiFrameImageStorage, US_STUDY, 1, "US")
    made.NumberOfFrames = FRAMES
    made.FrameTime = "100"
    made.FrameIncrementPointer = 0x00181063
    _set_pixels(made, frames, 8)
    made.WindowCenter, made.WindowWidth = "128", "256"
    return _named(made, "Multi^Frame", "US")


def colour_film() -> FileDataset:
    """An ultrasound of 30 frames in colour that lost something by JPEG, as pydicom has it."""
    made = dcmread(sample("examples_ybr_color.dcm"))
    made.StudyInstanceUID, made.SeriesInstanceUID = COLOUR_STUDY, f"{COLOUR_STUDY}.1"
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(f"{COLOUR_STUDY}.1.1")
    return _named(made, "Colour^Test", "COLOUR")


def document() -> FileDataset:
    """A page of PDF with a colour in each quarter."""
    page = np.zeros((400, 400, 3), "u1")
    for number, colour in enumerate(PDF_COLOURS):
        row, column = 200 * (number // 2), 200 * (number % 2)
        page[row : row + 200, column : column + 200] = colour
    content = BytesIO()
    # Its dates would be those of today.
    Image.fromarray(page).save(content, "PDF", resolution=72, creationDate=(), modDate=())
    made = _file(EncapsulatedPDFStorage, PDF_STUDY, 1, "DOC")
    made.DocumentTitle = "Four colours"
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocument = content.getvalue() + b" " * (len(content.getvalue()) % 2)
    made.BurnedInAnnotation = "NO"
    return _named(made, "Document^Test", "PDF")


def structure_set() -> FileDataset:
    """An outline of `REGION` on each slice of the CT series."""
    made = _file(RTStructureSetStorage, CT_STUDY, 2, "RTSTRUCT")
    made.StructureSetLabel, made.StructureSetDate, made.StructureSetTime = "Outlines", "20240102", "030405"
    images = [_reference(ct_slice(number)) for number in range(1, SLICES + 1)]
    series = _items(SeriesInstanceUID=CT_SERIES, ContourImageSequence=Sequence(images))
    study = _items(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=CT_STUDY,
        RTReferencedSeriesSequence=series,
    )
    made.ReferencedFrameOfReferenceSequence = _items(
        FrameOfReferenceUID=FRAME_OF_REFERENCE, RTReferencedStudySequence=study
    )
    made.StructureSetROISequence = _items(
        ROINumber=1,
        ReferencedFrameOfReferenceUID=FRAME_OF_REFERENCE,
        ROIName="Square",
        ROIGenerationAlgorithm="MANUAL",
    )
    contours = []
    low, high = (edge * SPACING for edge in REGION)
    for number, image in enumerate(images, 1):
        corners = [(low, low), (high, low), (high, high), (low, high)]
        contours.append(
            _item(
                ContourImageSequence=Sequence([image]),
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(corners),
                ContourData=[round(value, 4) for corner in corners for value in (*corner, 5.0 * number)],
            )
        )
    made.ROIContourSequence = _items(
        ReferencedROINumber=1, ROIDisplayColor=[255, 0, 0], ContourSequence=Sequence(contours)
    )
    made.RTROIObservationsSequence = _items(
        ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="ORGAN", ROIInterpreter=""
    )
    made.ApprovalStatus = "UNAPPROVED"
    return _named(made, "Ohif^Test", "OHIF")


def segmentation() -> FileDataset:
    """`REGION` as a binary segment on the slices of the CT series."""
    made = _file(SegmentationStorage, CT_STUDY, 3, "SEG")
    made.ImageType = ["DERIVED", "PRIMARY"]
    made.FrameOfReferenceUID = FRAME_OF_REFERENCE
    made.ContentLabel, made.ContentDescription, made.ContentCreatorName = "SQUARE", "", ""
    made.SegmentationType = "BINARY"
    made.LossyImageCompression = "00"
    images = [ct_slice(number) for number in range(1, SLICES + 1)]
    made.SegmentSequence = _items(
        SegmentNumber=1,
        SegmentLabel="Square",
        SegmentAlgorithmType="MANUAL",
        SegmentedPropertyCategoryCodeSequence=_code("85756007", "SCT", "Tissue"),
        SegmentedPropertyTypeCodeSequence=_code("85756007", "SCT", "Tissue"),
        RecommendedDisplayCIELabValue=[43803, 26565, 37722],
    )
    made.ReferencedSeriesSequence = _items(
        SeriesInstanceUID=CT_SERIES, ReferencedInstanceSequence=Sequence(map(_reference, images))
    )
    dimensions = "1.2.600.3.9"
    made.DimensionOrganizationSequence = _items(DimensionOrganizationUID=dimensions)
    made.DimensionIndexSequence = Sequence(
        _item(DimensionOrganizationUID=dimensions, DimensionIndexPointer=index, FunctionalGroupPointer=group)
        for index, group in ((0x0062000B, 0x0062000A), (0x00200032, 0x00209113))
    )
    made.SharedFunctionalGroupsSequence = _items(
        PlaneOrientationSequence=_items(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=_items(
            SliceThickness="5", SpacingBetweenSlices="5", PixelSpacing=[SPACING, SPACING]
        ),
    )
    frames = []
    for number, image in enumerate(images, 1):
        source = _reference(image)
        source.PurposeOfReferenceCodeSequence = _code(
            "121322", "DCM", "Source image for image processing operation"
        )
        frame = _item(
            DerivationImageSequence=_items(
                SourceImageSequence=Sequence([source]),
                DerivationCodeSequence=_code("113076", "DCM", "Segmentation"),
            ),
            FrameContentSequence=_items(DimensionIndexValues=[1, number]),
            PlanePositionSequence=_items(ImagePositionPatient=[0, 0, 5 * number]),
            SegmentIdentificationSequence=_items(ReferencedSegmentNumber=1),
        )
        frames.append(frame)
    made.PerFrameFunctionalGroupsSequence = Sequence(frames)
    mask = np.zeros((SLICES, 128, 128), "u1")
    mask[:, slice(*REGION), slice(*REGION)] = 1
    made.NumberOfFrames = SLICES
    _set_pixels(made, mask, 1)
    made.PixelData = np.packbits(mask.ravel(), bitorder="little").tobytes()
    return _named(made, "Ohif^Test", "OHIF")


def _file(sop_class: UID, study: str, series: int, modality: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = UID(f"{study}.{series}.1")
    made = FileDataset("", {}, preamble=bytes(128), file_meta=meta)
    made.SOPClassUID, made.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = study, f"{study}.{series}"
    made.SeriesDate = made.ContentDate = made.AcquisitionDate = "20240102"
    made.SeriesTime = made.ContentTime = made.AcquisitionTime = "030405"
    made.Modality = modality
    made.SeriesNumber, made.InstanceNumber = series, 1
    made.Manufacturer = "dicomnet"
    made.SeriesDescription = f"{modality} of a test"
    return made


def _named(data_set: FileDataset, name: str, patient: str) -> FileDataset:
    """With attributes of patient and study in which all objects of a study agree."""
    data_set.PatientName, data_set.PatientID = name, patient
    data_set.PatientBirthDate, data_set.PatientSex = "19700101", "O"
    data_set.StudyDate, data_set.StudyTime = "20240102", "030405"
    data_set.StudyID, data_set.AccessionNumber = "1", f"A{patient}"
    data_set.ReferringPhysicianName = "Referring^Physician"
    data_set.StudyDescription = f"Study of {patient}"
    data_set.TimezoneOffsetFromUTC = "+0000"
    return data_set


def _set_pixels(data_set: Dataset, frames: np.ndarray, bits: int) -> None:
    data_set.Rows, data_set.Columns = frames.shape[1:]
    data_set.SamplesPerPixel, data_set.PhotometricInterpretation = 1, "MONOCHROME2"
    data_set.BitsAllocated = data_set.BitsStored = bits
    data_set.HighBit, data_set.PixelRepresentation = bits - 1, 0
    data_set.PixelData = frames.tobytes()
    data_set["PixelData"].VR = "OB"


def _item(**attributes: object) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def _items(**attributes: object) -> Sequence:
    """A sequence of one item."""
    return Sequence([_item(**attributes)])


def _code(value: str, scheme: str, meaning: str) -> Sequence:
    return _items(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _reference(image: Dataset) -> Dataset:
    return _item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
