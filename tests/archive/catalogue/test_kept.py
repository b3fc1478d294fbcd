"""Which attributes an index keeps besides those of the schema, and queries by them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from tests.archive.catalogue.asking import ask, identifier, studies

from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.kept import STANDARD, Kept, configured, described
from dicomnet.archive.catalogue.query import find
from dicomnet.archive.catalogue.schema import KEPT
from dicomnet.archive.intake import Intake
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.datasets.levels import Level

MOTHER, REGION, KVP, SPACING, SITE = 0x00101060, 0x00082218, 0x00180060, 0x00180088, 0x00321020


@pytest.mark.parametrize(
    ("texts", "places"),
    [
        ([], set()),
        (["PatientMotherBirthName@PATIENT"], {(Level.PATIENT, MOTHER)}),
        (["KVP,SpacingBetweenSlices@image"], {(Level.IMAGE, KVP), (Level.IMAGE, SPACING)}),
        (["(0018,0060),00180088@Image"], {(Level.IMAGE, KVP), (Level.IMAGE, SPACING)}),
        (["KVP@SERIES", "AnatomicRegionSequence@SERIES"], {(Level.SERIES, KVP), (Level.SERIES, REGION)}),
        (["(0032,1020)@STUDY"], {(Level.STUDY, SITE)}),
        (["PatientName@PATIENT", "KVP@IMAGE", "KVP@IMAGE"], {(Level.IMAGE, KVP)}),
    ],
)
def test_a_configuration(texts: list[str], places: set[tuple[Level, int]]) -> None:
    kept = configured(texts)
    assert kept.added == places
    for level in Level:
        assert kept.keys[level].keys() == KEPT[level].keys() | {tag for at, tag in places if at is level}
        assert kept.read[level].keys() >= kept.keys[level].keys()
    assert kept.wanted.keys() == STANDARD.wanted.keys() | {tag for _, tag in places}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("KVP", "KEYWORD@LEVEL"),
        ("KVP@", "KEYWORD@LEVEL"),
        ("@IMAGE", "KEYWORD@LEVEL"),
        ("KVP@INSTANCE", "KEYWORD@LEVEL"),
        ("Kvp@IMAGE", "'Kvp' is not the keyword or tag"),
        ("0018@IMAGE", "'0018' is not the keyword or tag"),
        ("(0018,0060@IMAGE", "'(0018' is not the keyword or tag"),
        ("(0009,1001)@IMAGE", "private"),
        ("(0019,0010)@SERIES", "private"),
        ("(0018,FFF0)@IMAGE", "not an attribute of the standard"),
        ("(0000,0100)@IMAGE", "not an attribute of objects"),
        ("TransferSyntaxUID@IMAGE", "not an attribute of objects"),
        ("NumberOfStudyRelatedSeries@STUDY", "answered without being kept"),
        ("ModalitiesInStudy@STUDY", "answered without being kept"),
        ("TimezoneOffsetFromUTC@STUDY", "answered without being kept"),
        ("RetrieveAETitle@STUDY", "answered without being kept"),
        ("PixelData@IMAGE", "cannot be matched by a value"),
        ("SmallestImagePixelValue@IMAGE", "cannot be matched by a value"),
        ("FrameIncrementPointer@IMAGE", "cannot be matched by a value"),
        ("PatientName@STUDY", "kept at PATIENT level already"),
    ],
)
def test_what_cannot_be_kept(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        configured([text])


def test_an_attribute_has_one_level() -> None:
    with pytest.raises(ValueError, match="KVP is kept at IMAGE level already"):
        configured(["KVP@IMAGE", "KVP@SERIES"])


def test_what_is_kept_in_words() -> None:
    assert described(configured(["KVP@IMAGE", "PatientMotherBirthName@PATIENT"]).added) == (
        "PatientMotherBirthName@PATIENT, KVP@IMAGE"
    )


KEYS = [
    "PatientMotherBirthName@PATIENT",
    "StudyStatusID,ReasonForStudy,StudyVerifiedDate,StudyVerifiedTime,ConfidentialityCode@STUDY",
    "KVP,AnatomicRegionSequence@SERIES",
    "SliceThickness,SamplesPerPixel@IMAGE",
]


@pytest.fixture
def store(
    tmp_path: Path, make: Callable[..., Dataset], encode: Callable[..., bytes], put: Callable[..., int]
) -> Callable[[Kept], Index]:
    """Makes an index of five studies; the first has two objects, which differ in what is configured."""
    local = LocalFolder(tmp_path / "store", sync=False)

    def filled(kept: Kept) -> Index:
        index = Index(tmp_path / "index.sqlite", kept=kept)
        intake = Intake(local, FolderStorage.of(local), index)
        for number in range(5):
            for which in range(2 if number == 0 else 1):
                data_set = make(
                    StudyInstanceUID=f"1.{number}",
                    SeriesInstanceUID=f"1.{number}.1",
                    SOPInstanceUID=f"1.{number}.1.{which}",
                    PatientID=f"P{number}",
                    PatientMotherBirthName="Müller^Eva" if number < 2 else "Roe^Jane",
                    StudyStatusID=f"S{number}{which}",
                    ReasonForStudy="cough" if number % 2 else "fall",
                    StudyVerifiedDate=f"2024010{number + 1}",
                    StudyVerifiedTime="1015",
                    KVP=str(80 + 10 * number + which),
                    AnatomicRegionSequence=[identifier(CodeValue=f"T-{number}")],
                    SliceThickness="2.50",
                    SamplesPerPixel=1 + number,
                    SpecificCharacterSet="ISO_IR 100",
                )
                assert put(intake, encode(data_set), instance=data_set.SOPInstanceUID) == 0
        intake.close()
        return index

    return filled


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"PatientMotherBirthName": "müller*", "SpecificCharacterSet": "ISO_IR 192"}, ["1.0", "1.1"]),
        ({"PatientMotherBirthName": "*^J?ne"}, ["1.2", "1.3", "1.4"]),
        ({"StudyStatusID": "S20"}, ["1.2"]),
        ({"StudyStatusID": "S01"}, ["1.0"]),
        ({"StudyStatusID": "*0"}, ["1.0", "1.1", "1.2", "1.3", "1.4"]),
        ({"ReasonForStudy": "co*"}, ["1.1", "1.3"]),
        ({"StudyVerifiedDate": "20240102-20240103"}, ["1.1", "1.2"]),
        ({"StudyVerifiedTime": "101500", "StudyVerifiedDate": "20240104-"}, ["1.3", "1.4"]),
    ],
)
def test_studies_are_found_by_what_is_configured(
    store: Callable[[Kept], Index], keys: dict[str, str], found: list[str]
) -> None:
    with store(configured(KEYS)) as index:
        assert studies(index, **keys) == found
        asked = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""} | keys
        assert {status for status, _ in find(index, "STUDY", identifier(**asked))} == {0xFF00}


def test_series_and_images_are_found_and_shown(store: Callable[[Kept], Index]) -> None:
    with store(configured(KEYS)) as index:
        study = {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.0", "SeriesInstanceUID": ""}
        for value, count in (("80", 1), ("81.0", 1), ("82", 0)):
            assert len(ask(index, "STUDY", **study, KVP=value)) == count
        region = [identifier(CodeValue="T-0")]
        (series,) = ask(index, "STUDY", **study, KVP="", AnatomicRegionSequence=region, StudyStatusID="")
        assert (str(series.KVP), series.AnatomicRegionSequence[0].CodeValue) == ("80", "T-0")
        assert series.StudyStatusID == "S00"
        image = study | {"QueryRetrieveLevel": "IMAGE", "SeriesInstanceUID": "1.0.1", "SOPInstanceUID": ""}
        images = ask(index, "STUDY", **image, SliceThickness="2.5", SamplesPerPixel="1")
        assert [one.SOPInstanceUID for one in images] == ["1.0.1.0", "1.0.1.1"]
        assert {str(one.SliceThickness) for one in images} == {"2.50"}


def test_what_is_not_configured_is_no_key(store: Callable[[Kept], Index]) -> None:
    """S021."""
    with store(STANDARD) as index:
        asked = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="", StudyStatusID="S20")
        answers = list(find(index, "STUDY", asked))
        assert [status for status, _ in answers] == [0xFF01] * 5
        assert all("StudyStatusID" not in answer for _, answer in answers)


def test_an_index_that_is_opened_without_a_list_keeps_what_it_kept(
    store: Callable[[Kept], Index], tmp_path: Path
) -> None:
    store(configured(KEYS)).close()
    with Index(tmp_path / "index.sqlite") as index:
        assert index.kept == configured(KEYS)
    with Index(tmp_path / "index.sqlite", kept=STANDARD) as index:
        assert index.kept == STANDARD
    with Index(tmp_path / "index.sqlite") as index:
        assert index.kept.added == frozenset()
