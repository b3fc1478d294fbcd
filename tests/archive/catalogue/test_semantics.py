"""C-FIND semantics (PS3.4 section C.2.2.2): queries of the same objects, with the answers that the standard gives."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.archive.catalogue.asking import identifier

from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.query import find
from dicomnet.archive.intake import Intake
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.errors import ServiceRefusal

JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"
X1 = {"CodeValue": "X1", "CodingSchemeDesignator": "99M", "CodeMeaning": "Head"}
X2 = {"CodeValue": "X2", "CodingSchemeDesignator": "99N", "CodeMeaning": "Foot"}
# What the studies say of themselves; each has one object, but the first, which has a second series.
STUDIES: dict[int, dict[str, Any]] = {
    1: {
        "PatientName": "Doe^John",
        "PatientID": "M1",
        "IssuerOfPatientID": "A",
        "StudyDate": "20240115",
        "StudyTime": "101530",
        "AccessionNumber": "ACC%1",
        "StudyDescription": "100% CONTRAST",
        "Modality": "CT",
        "OtherPatientIDs": ["O1", "O2"],
        "InstanceNumber": "1",
        "Rows": 512,
        "AcquisitionDateTime": "20240115101530",
        "StudyID": "7",
    },
    2: {
        "PatientName": "DOE^JOHN",
        "PatientID": "M2",
        "StudyDate": "20240116",
        "StudyTime": "1015",
        "AccessionNumber": "ACC_1",
        "StudyDescription": "100X_and",
        "Modality": "MR",
        "AcquisitionDateTime": "20240116101530-0500",
    },
    3: {
        "PatientName": "Doe^Jane",
        "PatientID": "m1",
        "StudyDate": "2024.01.15",
        "StudyTime": "235959.123456",
        "AccessionNumber": "acc%1",
        "StudyDescription": "x[x]y",
        "Modality": "CR",
        "AcquisitionDateTime": "20240116153000+0000",
    },
    4: {
        "PatientName": "Doe",
        "PatientID": "M4",
        "StudyDate": "20231231",
        "StudyTime": "080000",
        "AccessionNumber": "ACC1",
        "StudyDescription": "100_abc",
        "Modality": "CT",
    },
    5: {
        "PatientName": "Johnson^Amy",
        "PatientID": "M5",
        "StudyDate": "",
        "StudyTime": "",
        "AccessionNumber": "",
        "Modality": "US",
    },
    6: {
        "PatientName": "Strauß^Ana",
        "PatientID": "M6",
        "StudyDate": "20240201",
        "StudyTime": "08",
        "Modality": "CT",
    },
    7: {
        "PatientName": JAPANESE,
        "PatientID": "M7",
        "StudyDate": "20240301",
        "StudyTime": "073000",
        "Modality": "MG",
    },
    8: {
        "PatientName": "Müller^Uwe",
        "PatientID": "M8",
        "StudyDate": "20240229",
        "StudyTime": "120000",
        "Modality": "CT",
    },
    9: {
        "PatientName": unicodedata.normalize("NFD", "Müller^Eva"),
        "PatientID": "M9",
        "StudyDate": "20230101",
        "StudyTime": "115959",
        "Modality": "PT",
    },
    10: {
        "PatientName": "Muller^Uwe",
        "PatientID": "M10",
        "StudyDate": "20230101",
        "StudyTime": "000000",
        "Modality": "NM",
    },
    11: {
        "PatientName": "Иванов^Иван",
        "PatientID": "M11",
        "StudyDate": "20220101",
        "StudyTime": "235900",
        "Modality": "XA",
    },
    12: {"PatientName": "", "PatientID": "", "StudyDate": "20210101", "Modality": "OT"},
    13: {
        "PatientName": "Code^Man",
        "PatientID": "M13",
        "StudyDate": "20200101",
        "StudyTime": "0600",
        "Modality": "DX",
        "ProcedureCodeSequence": [X1, X2],
        "NameOfPhysiciansReadingStudy": ["Ames^A", "Bell^B"],
        "StudyDescription": "back\u00e9",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    },
    14: {
        "PatientName": "Doe^John",
        "PatientID": "M1",
        "IssuerOfPatientID": "B",
        "StudyDate": "19991231",
        "StudyTime": "1200",
        "Modality": "SC",
        "PatientBirthDate": "19500505",
        "PatientSex": "M",
        "ReferringPhysicianName": "House^Gregory",
    },
}
EVERY = set(STUDIES)
DATED = EVERY - {5}
TIMED = EVERY - {5, 12}
NAMED = EVERY - {12}

Expected = set[int] | int
Row = tuple[dict[str, Any], Expected]


def _table(keyword: str, found: dict[str, set[int]]) -> list[Row]:
    return [({keyword: key}, expected) for key, expected in found.items()]


AT_STUDY: list[Row] = [
    *_table(
        "PatientID",
        {
            "M1": {1, 14},
            "M1 ": {1, 14},
            " M1": {1, 14},
            "m1": {3},
            "M": set(),
            "M*": NAMED - {3},
            "?1": {1, 3, 14},
            "*1": {1, 3, 11, 14},
            "M1?": {10, 11, 13},
            "*": EVERY,
            "**": EVERY,
            "": EVERY,
            "M1\\M2": {1, 2, 14},
            "M%": set(),
            "M_": set(),
            "*1*": {1, 3, 10, 11, 13, 14},
        },
    ),
    *_table(
        "PatientName",
        {
            "Doe^John": {1, 2, 14},
            "doe^john": {1, 2, 14},
            "Doe^John^^^": {1, 2, 14},
            "Doe^John=": {1, 2, 14},
            "Doe*": {1, 2, 3, 4, 14},
            "?oe^J*": {1, 2, 3, 14},
            "*john*": {1, 2, 5, 14},
            "*^*": NAMED,
            "*": EVERY,
            "**": EVERY,
            "*?": NAMED,
            "?*": NAMED,
            "DOE^*": {1, 2, 3, 4, 14},
            "Doe": {4},
            "Doe^J??n": {1, 2, 14},
            "Doe^J???": {1, 2, 3, 14},
            "*^J*": {1, 2, 3, 14},
            "Do*hn": {1, 2, 14},
            "*zzz*": set(),
            "D%": set(),
            "Doe_John": set(),
            "Doe^John\\Doe": {1, 2, 4, 14},
            "=Doe^John": set(),
        },
    ),
    *_table(
        "PatientName",
        {
            "Strauß^Ana": {6},
            "STRAUSS^ANA": {6},
            "Strau?^Ana": {6},
            "strau?^a*": {6},
            "*ß^Ana": {6},
            "*auß*": {6},
            "Straus?^Ana": set(),
            "Strau??^Ana": set(),
            "M?ller*": {8, 9, 10},
            "Müller*": {8, 9},
            "MÜLLER^*": {8, 9},
            unicodedata.normalize("NFD", "Müller^Uwe"): {8},
            unicodedata.normalize("NFC", "Müller^Eva"): {9},
            "Muller*": {10},
            "*üller*": {8, 9},
            "*ller^U*": {8, 10},
            "иванов^*": {11},
            "ИВАНОВ^ИВАН": {11},
            "*ванов*": {11},
            "И?анов^Иван": {11},
        },
    ),
    *_table(
        "PatientName",
        {
            JAPANESE: {7},
            "yamada^tarou": {7},
            "山田^太郎": {7},
            "やまだ^たろう": {7},
            "=山田^太郎": {7},
            "==やまだ^たろう": {7},
            "=山田*": {7},
            "==やまだ*": {7},
            "Yamada*=山田*": {7},
            "Yamada*=鈴木*": set(),
            "=Yamada*": set(),
            "山?^太郎": {7},
            "*太郎": {7},
            "*田^太*": {7},
            "*=山田*=*": {7},
            "yamada*==やまだ*": {7},
            "==山田*": set(),
        },
    ),
    *_table(
        "AccessionNumber",
        {
            "ACC%1": {1},
            "acc%1": {3},
            "ACC?1": {1, 2},
            "*%*": {1, 3},
            "ACC_1": {2},
            "ACC*": {1, 2, 4},
            "*_*": {2},
            "*1": {1, 2, 3, 4},
            "ACC1": {4},
            "acc1": set(),
            "ACC1*": {4},
            "A*1": {1, 2, 4},
            "\\ACC1": {4},
            "ACC1\\ACC_1": {2, 4},
        },
    ),
    *_table(
        "StudyDescription",
        {
            "100%*": {1},
            "*_a*": {2, 4},
            "*[x]*": {3},
            "100?_a*": {2},
            "100_a*": {4},
            "100*": {1, 2, 4},
            "*CONTRAST": {1},
            "*contrast": set(),
            "back\u00e9": {13},
            "BACK\u00c9": set(),
            "back?": {13},
            "100% CONTRAST": {1},
            "x[?]y": {3},
            "[a-z]*": set(),
            "*": EVERY,
        },
    ),
    *_table(
        "StudyDate",
        {
            "20240115": {1, 3},
            "2024.01.15": {1, 3},
            "20240115-20240116": {1, 2, 3},
            "20240115-20240115": {1, 3},
            "20240201-": {6, 7, 8},
            "-20210101": {12, 13, 14},
            "20240116-20240115": set(),
            "2024*": set(),
            "-": set(),
            "2024.01.15-2024.01.16": {1, 2, 3},
            "19000101-20991231": DATED,
            "20240229": {8},
            "*": EVERY,
            "": EVERY,
            "20240116-": {2, 6, 7, 8},
            "-19991231": {14},
            "20240115\\20240116": {1, 2, 3},
        },
    ),
    *_table(
        "StudyTime",
        {
            "101530": {1},
            "1015": {2},
            "101500": {2},
            "10:15:30": {1},
            "-08": {4, 6, 7, 10, 13},
            "2359-": {3, 11},
            "1015-1015": {1, 2},
            "-235959": TIMED,
            "235959-": {3},
            "08": {4, 6},
            "1000-1200": {1, 2, 8, 9, 14},
            "120000-115959": set(),
            "235959.123456": {3},
            "*": EVERY,
            "10*": set(),
            "0600-073000": {7, 13},
        },
    ),
    *_table(
        "ModalitiesInStudy",
        {
            "CT": {1, 4, 6, 8},
            "SR": {1},
            "ct": set(),
            "C?": {1, 3, 4, 6, 8},
            "SR\\CR": {1, 3},
            "MR": {2},
            "*R": {1, 2, 3},
            "XX": set(),
            "": EVERY,
            "*": EVERY,
        },
    ),
    *_table(
        "StudyInstanceUID",
        {
            "1.1": {1},
            "1.1\\1.2": {1, 2},
            "1.1\\1.1\\9.9": {1},
            "9.9": set(),
            "*": EVERY,
            "1.*": set(),
            "": EVERY,
            "1.1\\": {1},
        },
    ),
    *_table("OtherPatientIDs", {"O1": {1}, "O2": {1}, "O?": {1}, "O1\\ZZ": {1}, "O3": set()}),
    *_table("NameOfPhysiciansReadingStudy", {"Ames^A": {13}, "bell^b": {13}, "b*": {13}, "C*": set()}),
    *_table(
        "PatientBirthDate", {"19500505": {14}, "1950.05.05": {14}, "-19600101": {14}, "19500506-": set()}
    ),
    *_table(
        "ReferringPhysicianName", {"house^gregory": {14}, "*OUSE*": {14}, "*greg*": {14}, "House": set()}
    ),
    *_table("PatientSex", {"M": {14}, "m": set(), "?": {14}}),
    *_table("StudyID", {"7": {1}, "07": set(), "?": {1}}),
    *_table("NumberOfStudyRelatedSeries", {"2": {1}, "1": EVERY - {1}, "3": set(), "": EVERY, "02": {1}}),
    *_table("NumberOfStudyRelatedInstances", {"2": {1}, "1": EVERY - {1}}),
    *_table("NumberOfPatientRelatedStudies", {"1": EVERY, "2": set()}),
    *_table("SOPClassesInStudy", {"1.2.840.10008.5.1.4.1.1.2": EVERY, "1.2.840.10008.5.1.4.1.1.4": set()}),
    ({"StudyDate": "20240115-20240116", "StudyTime": "101500-101530"}, {1, 2}),
    ({"StudyDate": "20240115-", "StudyTime": "-08"}, {6, 7}),
    ({"PatientName": "doe*", "StudyDate": "20240115"}, {1, 3}),
    ({"PatientName": "*john*", "ModalitiesInStudy": "US"}, {5}),
    ({"ProcedureCodeSequence": [{"CodeValue": "X1"}]}, {13}),
    ({"ProcedureCodeSequence": [{"CodeValue": "X?"}]}, {13}),
    ({"ProcedureCodeSequence": [{"CodeValue": "X1", "CodingSchemeDesignator": "99M"}]}, {13}),
    ({"ProcedureCodeSequence": [{"CodeValue": "X1", "CodingSchemeDesignator": "99N"}]}, set()),
    ({"ProcedureCodeSequence": [{"CodeValue": "X1", "CodeMeaning": ""}]}, {13}),
    ({"ProcedureCodeSequence": [{"CodeMeaning": "head"}]}, set()),
    ({"ProcedureCodeSequence": [{}]}, EVERY),
    ({"ProcedureCodeSequence": []}, EVERY),
    ({"ProcedureCodeSequence": [{"CodeValue": ""}]}, EVERY),
    ({"ProcedureCodeSequence": [X1, X2]}, 0xA900),
    ({"ProcedureCodeSequence": [{"CodeValue": "X1", "StationName": "X"}]}, {13}),
    ({"OtherPatientIDsSequence": [{"StationName": "X"}]}, EVERY),
    ({"Modality": "CT"}, EVERY),
    ({"SeriesDescription": "X"}, EVERY),
    ({"SeriesInstanceUID": "1.1.1"}, EVERY),
    ({"SliceThickness": "5"}, EVERY),
    ({"NumberOfSeriesRelatedInstances": ""}, EVERY),
    ({"PatientName": "x" * 2_049}, 0xC000),
    ({"PatientName": "*a" * 33}, 0xC000),
    ({"InstanceAvailability": ""}, EVERY),
]
UNSUPPORTED = {
    "Modality",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SliceThickness",
    "NumberOfSeriesRelatedInstances",
}

ONE = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"}
# Model, level, keys, and the number of answers or the status of the refusal.
ELSEWHERE: list[tuple[str, str, dict[str, Any], int]] = [
    ("STUDY", "", {}, 0xA900),
    ("STUDY", "FOO", {}, 0xA900),
    ("STUDY", "INSTANCE", {}, 0xA900),
    ("STUDY", "PATIENT", {"PatientID": "M1"}, 0xA900),
    ("STUDY", "SERIES", {}, 0xA900),
    ("STUDY", "SERIES", {"StudyInstanceUID": "1.1\\1.2"}, 0xA900),
    ("STUDY", "SERIES", {"StudyInstanceUID": "*"}, 0xA900),
    ("STUDY", "SERIES", {"StudyInstanceUID": ""}, 0xA900),
    ("STUDY", "IMAGE", {"StudyInstanceUID": "1.1"}, 0xA900),
    ("STUDY", "IMAGE", {"SeriesInstanceUID": "1.1.1"}, 0xA900),
    ("STUDY", "IMAGE", {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "*"}, 0xA900),
    ("PATIENT", "STUDY", {}, 0xA900),
    ("PATIENT", "STUDY", {"PatientID": "*"}, 0xA900),
    ("PATIENT", "STUDY", {"PatientID": "M?"}, 0xA900),
    ("PATIENT", "SERIES", {"PatientID": "M1"}, 0xA900),
    ("PATIENT", "STUDY", {"PatientID": "M1"}, 2),
    ("PATIENT", "SERIES", {"PatientID": "M1", "StudyInstanceUID": "1.1"}, 2),
    ("PATIENT", "SERIES", {"PatientID": "M2", "StudyInstanceUID": "1.1"}, 0),
    ("PATIENT", "PATIENT", {}, 14),
    ("PATIENT", "PATIENT", {"PatientID": "M1"}, 2),
    ("PATIENT", "PATIENT", {"PatientID": "M1", "IssuerOfPatientID": "B"}, 1),
    ("PATIENT", "PATIENT", {"PatientName": "doe*"}, 5),
    ("PATIENT", "PATIENT", {"PatientBirthDate": "19500505"}, 1),
    ("PATIENT", "PATIENT", {"NumberOfPatientRelatedSeries": "2"}, 1),
    ("STUDY", "SERIES", {"StudyInstanceUID": "1.1"}, 2),
    ("STUDY", "SERIES", {"StudyInstanceUID": "1.1", "Modality": "SR"}, 1),
    ("STUDY", "SERIES", {"StudyInstanceUID": "1.1", "Modality": "XX"}, 0),
    ("STUDY", "SERIES", {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.2"}, 1),
    ("STUDY", "SERIES", {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1\\1.1.2\\9"}, 2),
    ("STUDY", "SERIES", {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.1.1"}, 0),
    ("STUDY", "SERIES", {"StudyInstanceUID": "1.1", "NumberOfSeriesRelatedInstances": "1"}, 2),
    ("STUDY", "SERIES", {"StudyInstanceUID": "1.1", "PatientName": "doe*"}, 2),
    ("STUDY", "SERIES", {"StudyInstanceUID": "9.9"}, 0),
    ("STUDY", "IMAGE", ONE, 1),
    ("STUDY", "IMAGE", {**ONE, "InstanceNumber": "1"}, 1),
    ("STUDY", "IMAGE", {**ONE, "InstanceNumber": "001"}, 1),
    ("STUDY", "IMAGE", {**ONE, "InstanceNumber": "2"}, 0),
    ("STUDY", "IMAGE", {**ONE, "Rows": 512}, 1),
    ("STUDY", "IMAGE", {**ONE, "Rows": 256}, 0),
    ("STUDY", "IMAGE", {**ONE, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, 1),
    ("STUDY", "IMAGE", {**ONE, "SOPInstanceUID": "1.1.1.1\\9.9"}, 1),
    ("STUDY", "IMAGE", {**ONE, "SOPInstanceUID": "1.2.1.1"}, 0),
    ("STUDY", "IMAGE", {**ONE, "AcquisitionDateTime": "20240115101530"}, 1),
    ("STUDY", "IMAGE", {**ONE, "AcquisitionDateTime": "20240115-20240116"}, 1),
    ("STUDY", "IMAGE", {**ONE, "AcquisitionDateTime": "20240116-"}, 0),
    (
        "STUDY",
        "IMAGE",
        {
            "StudyInstanceUID": "1.2",
            "SeriesInstanceUID": "1.2.1",
            "AcquisitionDateTime": "20240116153000+0000-20240116154500+0000",
        },
        0,
    ),
    (
        "STUDY",
        "IMAGE",
        {
            "StudyInstanceUID": "1.2",
            "SeriesInstanceUID": "1.2.1",
            "AcquisitionDateTime": "20240116151530+0000",
        },
        1,
    ),
    (
        "STUDY",
        "IMAGE",
        {
            "StudyInstanceUID": "1.2",
            "SeriesInstanceUID": "1.2.1",
            "AcquisitionDateTime": "20240116101500-0500-20240116101600-0500",
        },
        1,
    ),
    (
        "STUDY",
        "IMAGE",
        {
            "StudyInstanceUID": "1.3",
            "SeriesInstanceUID": "1.3.1",
            "AcquisitionDateTime": "20240116103000-0500",
        },
        1,
    ),
    (
        "STUDY",
        "IMAGE",
        {"StudyInstanceUID": "1.13", "SeriesInstanceUID": "1.13.1", "ImageType": "PRIMARY"},
        1,
    ),
    ("STUDY", "IMAGE", {"StudyInstanceUID": "1.13", "SeriesInstanceUID": "1.13.1", "ImageType": "AXI*"}, 1),
    (
        "STUDY",
        "IMAGE",
        {"StudyInstanceUID": "1.13", "SeriesInstanceUID": "1.13.1", "ImageType": "primary"},
        0,
    ),
]


@pytest.fixture(scope="module")
def archived(
    tmp_path_factory: pytest.TempPathFactory,
    make: Callable[..., Dataset],
    encode: Callable[..., bytes],
    put: Callable[..., int],
) -> Iterator[Index]:
    root = tmp_path_factory.mktemp("semantics")
    with filled(root / "store", root / "index", make, encode, put) as index:
        yield index


@contextmanager
def filled(
    folder: Path,
    url: Path | str,
    make: Callable[..., Dataset],
    encode: Callable[..., bytes],
    put: Callable[..., int],
) -> Iterator[Index]:
    """An index of all studies of the table."""
    with (
        LocalFolder(folder, sync=False) as local,
        Index(url) as index,
        Intake(local, FolderStorage.of(local), index) as intake,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        series = [(number, 1, attributes) for number, attributes in STUDIES.items()]
        for number, of_study, attributes in [*series, (1, 2, STUDIES[1] | {"Modality": "SR"})]:
            data_set = make(
                StudyInstanceUID=f"1.{number}",
                SeriesInstanceUID=f"1.{number}.{of_study}",
                SOPInstanceUID=f"1.{number}.{of_study}.1",
                SpecificCharacterSet="ISO_IR 192",
                Modality=attributes["Modality"],
            )
            data_set.update(_keys(attributes))
            assert put(intake, encode(data_set), instance=data_set.SOPInstanceUID) == 0
        assert intake.wait_for_all()
        yield index


def _keys(keys: dict[str, Any]) -> Dataset:
    def value(one: Any) -> Any:
        is_sequence = isinstance(one, list) and all(isinstance(item, dict) for item in one)
        return [_keys(item) for item in one] if is_sequence else one

    return identifier(**{keyword: value(one) for keyword, one in keys.items()})


def _answers(index: Index, model: Any, level: str, keys: dict[str, Any]) -> list[tuple[int, Dataset]] | int:
    asked = _keys({"SpecificCharacterSet": "ISO_IR 192", "QueryRetrieveLevel": level} | keys)
    try:
        return list(find(index, model, asked))
    except ServiceRefusal as refusal:
        return refusal.status


@pytest.mark.parametrize(("keys", "expected"), AT_STUDY)
def test_at_study_level(archived: Index, keys: dict[str, Any], expected: Expected) -> None:
    check_at_study_level(archived, keys, expected)


def check_at_study_level(archived: Index, keys: dict[str, Any], expected: Expected) -> None:
    """What is found at study level is what the standard says."""
    answers = _answers(archived, "STUDY", "STUDY", {"StudyInstanceUID": ""} | keys)
    if isinstance(answers, int) or isinstance(expected, int):
        assert answers == expected
        return
    found = [int(str(answer.StudyInstanceUID).partition(".")[2]) for _, answer in answers]
    assert sorted(found) == sorted(expected)
    items = [item for one in keys.values() if isinstance(one, list) for item in one]
    is_supported = not UNSUPPORTED & keys.keys() and not any("StationName" in item for item in items)
    assert {status for status, _ in answers} <= {0xFF00 if is_supported else 0xFF01}
    asked = keys.keys() - (set() if is_supported else UNSUPPORTED)
    assert all(keyword in answer for keyword in asked for _, answer in answers)


@pytest.mark.parametrize(("model", "level", "keys", "expected"), ELSEWHERE)
def test_at_other_levels(
    archived: Index, model: str, level: str, keys: dict[str, Any], expected: int
) -> None:
    check_at_another_level(archived, model, level, keys, expected)


def check_at_another_level(
    archived: Index, model: str, level: str, keys: dict[str, Any], expected: int
) -> None:
    """As many are found as the standard says."""
    answers = _answers(archived, model, level, keys)
    assert (answers if isinstance(answers, int) else len(answers)) == expected


def test_the_table_is_whole() -> None:
    assert len(AT_STUDY) + len(ELSEWHERE) >= 214
