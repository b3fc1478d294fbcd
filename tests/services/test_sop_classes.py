"""The table of SOP classes against pynetdicom's, pydicom's dictionary, and the generator that writes it."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pynetdicom.sop_class as reference
import pytest
from pydicom._uid_dict import UID_dictionary
from pynetdicom import StoragePresentationContexts
from tests.grids import grid

from dicomnet.services import sop_classes
from dicomnet.services.service_names import ServiceName
from dicomnet.services.sop_classes import ALIASES, COMMON_STORAGE, SOP_CLASSES

ROOT = Path(__file__).parents[2]
CONSTANTS = {name: uid for name, uid in vars(reference).items() if isinstance(uid, reference.SOPClass)}


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools" / "generate_sop_classes.py"))


def test_the_generator_writes_the_module_as_it_is(generator: dict[str, Any]) -> None:
    assert sop_classes.__file__ is not None
    assert generator["generate"](generator["rows"]()) == Path(sop_classes.__file__).read_text()


def test_a_current_sop_class_without_a_rule_stops_the_generator(generator: dict[str, Any]) -> None:
    unknown = {"1.2.840.10008.9.9": ("Horoscope SOP Class", "SOP Class", "", "", "Horoscope")}
    with pytest.raises(LookupError, match="Horoscope"):
        generator["rows"]({**UID_dictionary, **unknown})


def test_there_are_constants_to_compare() -> None:
    assert len(CONSTANTS) == 252


@grid("keyword", CONSTANTS)
def test_each_sop_class_of_pynetdicom_is_known_by_its_name(keyword: str) -> None:
    uid = CONSTANTS[keyword]
    assert SOP_CLASSES[uid].keyword == keyword or ALIASES[keyword] == uid


def test_what_pynetdicom_puts_in_one_service_class_lies_in_one_here() -> None:
    pairs = {(uid.service_class, SOP_CLASSES[uid].service) for uid in CONSTANTS.values()}
    # 24 on each side, one to one
    assert len(pairs) == len({theirs for theirs, _ in pairs}) == len({ours for _, ours in pairs}) == 24


def test_keywords_are_those_of_the_uid_dictionary() -> None:
    known = {uid: row for uid, row in SOP_CLASSES.items() if uid in UID_dictionary}
    assert {uid: row.keyword for uid, row in known.items()} == {uid: UID_dictionary[uid][4] for uid in known}
    assert set(SOP_CLASSES) - set(known) <= {
        "1.2.840.10008.5.1.4.1.1.66.7",
        "1.2.840.10008.5.1.4.1.1.66.8",
        "1.2.840.10008.5.1.4.1.1.9.100.1",
        "1.2.840.10008.5.1.4.1.1.9.100.2",
    }


def test_every_storage_sop_class_of_the_uid_dictionary_is_known() -> None:
    storage = {
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class" and "Storage" in name.split("(")[0] and "Commitment" not in name
    }
    services = {SOP_CLASSES[uid].service for uid in storage}
    assert services == {
        ServiceName.STORAGE,
        ServiceName.NON_PATIENT_OBJECT_STORAGE,
        ServiceName.MEDIA_STORAGE,
    }


def test_keywords_and_uids_are_unique_and_rows_are_filed_under_their_uid() -> None:
    keywords = [row.keyword for row in SOP_CLASSES.values()]
    assert len({*keywords, *ALIASES}) == len(keywords) + len(ALIASES)
    assert all(row.uid == uid for uid, row in SOP_CLASSES.items())
    assert set(ALIASES.values()) <= set(SOP_CLASSES)


def test_the_operation_is_the_one_in_the_standards_name() -> None:
    for uid, row in SOP_CLASSES.items():
        name = UID_dictionary[uid][0] if uid in UID_dictionary else ""
        for word in ("FIND", "MOVE", "GET"):
            if name.endswith(f" - {word}"):
                assert row.operation == f"C-{word}"


@pytest.mark.parametrize(
    ("keyword", "operation"),
    [
        ("RepositoryQuery", "C-FIND"),
        ("ProductCharacteristicsQuery", "C-FIND"),
        ("SubstanceApprovalQuery", "C-FIND"),
        ("CardiacRelevantPatientInformationQuery", "C-FIND"),
        ("CompositeInstanceRetrieveWithoutBulkDataGet", "C-GET"),
        (
            "UnifiedProcedureStepQuery",
            "",
        ),  # a UPS SOP class is told apart by its services, not by one operation
        ("CTImageStorage", ""),
        ("ModalityPerformedProcedureStepRetrieve", ""),
    ],
)
def test_operations_that_no_name_shows(keyword: str, operation: str) -> None:
    assert next(row for row in SOP_CLASSES.values() if row.keyword == keyword).operation == operation


def test_retired_and_foreign_sop_classes_are_known_but_not_listed() -> None:
    rows = {row.keyword: row for row in SOP_CLASSES.values()}
    assert not rows["HardcopyColorImageStorage"].is_listed
    assert not rows["DICOSCTImageStorage"].is_listed
    assert not rows["VOILUTBox"].is_listed
    assert rows["CTImageStorage"].is_listed
    assert not any(keyword.endswith("RealTimeCommunication") for keyword in rows)


def test_common_storage_is_what_pynetdicom_and_dcmtk_propose() -> None:
    assert list(COMMON_STORAGE) == [context.abstract_syntax for context in StoragePresentationContexts]
