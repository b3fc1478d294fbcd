from __future__ import annotations

import json
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from sqlalchemy import insert, select
from tests.archive.catalogue.asking import ask as _ask
from tests.archive.catalogue.asking import identifier as _identifier
from tests.archive.catalogue.asking import studies as _studies

from dicomnet.archive.catalogue import schema
from dicomnet.archive.catalogue.identifiers import parse
from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.matching import is_universal, value_test
from dicomnet.archive.catalogue.options import QueryOptions
from dicomnet.archive.catalogue.query import find, locate, search
from dicomnet.archive.intake import Intake
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.datasets.text import trimmed
from dicomnet.errors import ServiceRefusal

Make = Callable[..., Dataset]
Encode = Callable[..., bytes]
Put = Callable[..., int]


def _distinct(data_sets: list[Dataset], keyword: str) -> list[str]:
    return sorted({str(one[keyword].value) for one in data_sets})


def test_the_levels_of_real_files(real: tuple[Index, list[Dataset]]) -> None:
    index, taken = real
    assert len(taken) > 100
    assert _studies(index) == _distinct(taken, "StudyInstanceUID")
    for study in _distinct(taken, "StudyInstanceUID"):
        of_study = [one for one in taken if one.StudyInstanceUID == study]
        counts = {"NumberOfStudyRelatedSeries": "", "NumberOfStudyRelatedInstances": ""}
        lists = {"ModalitiesInStudy": "", "SOPClassesInStudy": ""}
        (answer,) = _ask(
            index, "STUDY", QueryRetrieveLevel="STUDY", StudyInstanceUID=study, **counts, **lists
        )
        assert answer.NumberOfStudyRelatedInstances == len(of_study)
        series = _distinct(of_study, "SeriesInstanceUID")
        assert answer.NumberOfStudyRelatedSeries == len(series)
        asked = {
            "QueryRetrieveLevel": "SERIES",
            "StudyInstanceUID": study,
            "SeriesInstanceUID": "",
            "Modality": "",
        }
        answers = _ask(index, "STUDY", **asked, NumberOfSeriesRelatedInstances="")
        assert sorted(one.SeriesInstanceUID for one in answers) == series
        assert sum(one.NumberOfSeriesRelatedInstances for one in answers) == len(of_study)
        modalities = answer["ModalitiesInStudy"].value or []
        found = {modalities} if isinstance(modalities, str) else set(modalities)
        assert found - {""} == {one.Modality or "" for one in answers} - {""}
        for number in series:
            asked = {"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": study, "SeriesInstanceUID": number}
            images = _ask(
                index, "STUDY", **asked, SOPInstanceUID="", SOPClassUID="", Rows="", InstanceNumber=""
            )
            expected = {one.SOPInstanceUID: one for one in of_study if one.SeriesInstanceUID == number}
            assert {one.SOPInstanceUID for one in images} == set(expected)
            for one in images:
                assert one.SOPClassUID == expected[one.SOPInstanceUID].SOPClassUID
                assert one.Rows == expected[one.SOPInstanceUID].get("Rows")


def test_each_study_is_found_by_what_it_says_of_itself(real: tuple[Index, list[Dataset]]) -> None:
    index, taken = real
    firsts = {one.StudyInstanceUID: one for one in reversed(taken)}
    keywords = (
        "PatientName",
        "PatientID",
        "StudyDate",
        "AccessionNumber",
        "StudyDescription",
        "ReferringPhysicianName",
    )
    counts = dict.fromkeys(keywords, 0)
    for uid in firsts:
        (own,) = _ask(
            index, "STUDY", QueryRetrieveLevel="STUDY", StudyInstanceUID=uid, **dict.fromkeys(keywords, "")
        )
        for keyword in keywords:
            value = own[keyword].value
            if value and "\\" not in str(value) and str(value).strip("^= "):
                assert uid in _studies(index, **{keyword: str(value)}), (keyword, value)
                counts[keyword] += 1
    assert all(count > 3 for count in counts.values()), counts


@pytest.mark.parametrize(
    ("character_set", "name", "found"),
    [
        ("ISO_IR 192", "yamada^*", {"Yamada^Tarou=山田^太郎=やまだ^たろう"}),
        ("ISO_IR 192", "*太郎*", {"Yamada^Tarou=山田^太郎=やまだ^たろう", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"}),
        ("ISO_IR 100", "buc^jérôme", {"Buc^Jérôme"}),
        ("ISO_IR 144", "люкceмбypг", {"Люкceмбypг"}),
        (
            "ISO 2022 IR 87",
            "=山田^太郎",
            {"Yamada^Tarou=山田^太郎=やまだ^たろう", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"},
        ),
        ("GB18030", "*王^小东*", {"Wang^XiaoDong=王^小东"}),
    ],
)
def test_names_of_any_character_set(
    real: tuple[Index, list[Dataset]], character_set: str, name: str, found: set[str]
) -> None:
    """S023: The key travels encoded, as from a peer, and so does the answer."""
    index, _ = real
    identifier = _identifier(
        SpecificCharacterSet=character_set, QueryRetrieveLevel="PATIENT", PatientName=name
    )
    if character_set == "ISO 2022 IR 87":
        identifier.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    answers = [_through_the_wire(one) for _, one in find(index, "PATIENT", _through_the_wire(identifier))]
    assert {str(one.PatientName).rstrip("=") for one in answers} == found


def _through_the_wire(data_set: Dataset) -> Dataset:
    buffer = BytesIO()
    file = DicomFileLike(buffer)
    file.is_implicit_VR = file.is_little_endian = True
    write_dataset(file, data_set)
    buffer.seek(0)
    return pydicom.dcmread(buffer, force=True)


def test_the_character_set_of_the_request_is_used_where_it_will_do(real: tuple[Index, list[Dataset]]) -> None:
    """S022 S023."""
    index, _ = real
    keys = {"QueryRetrieveLevel": "PATIENT", "PatientName": "buc*"}
    assert (
        _ask(index, "PATIENT", **keys, SpecificCharacterSet="ISO_IR 100")[0].SpecificCharacterSet
        == "ISO_IR 100"
    )
    assert (
        _ask(index, "PATIENT", **keys, SpecificCharacterSet="ISO_IR 144")[0].SpecificCharacterSet
        == "ISO_IR 192"
    )
    assert "SpecificCharacterSet" not in _ask(index, "PATIENT", QueryRetrieveLevel="PATIENT", PatientID="")[0]


HOSTILE = ["%", "_", "\\", "'", "a%", "a_", "'; DROP TABLE study; --", '"', "%25", "a\\%", "100%"]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_means_something_to_sql_means_nothing(
    archive: tuple[Index, Callable[[Dataset], None]], make: Make, text: str
) -> None:
    index, store = archive
    plain = text.replace("\\", "/")
    for number, value in enumerate((plain, "ab", "a%x", "", "A_b")):
        store(
            make(
                StudyInstanceUID=f"1.{number}",
                SOPInstanceUID=f"1.{number}.1",
                AccessionNumber=value[:16],
                PatientID=value,
                PatientName=value,
                StudyDescription=value,
            )
        )
    for keyword in ("AccessionNumber", "PatientID", "PatientName", "StudyDescription"):
        known = ["1.0"] + ([] if plain != "ab" else ["1.1"])
        for pattern in (plain, plain + "*", "*" + plain[-3:], "?" * len(plain)):
            found = _studies(index, **{keyword: pattern[:16] if keyword == "AccessionNumber" else pattern})
            if keyword != "AccessionNumber" or len(plain) < 16:
                assert set(known) <= set(found)
        assert _studies(index, **{keyword: text}) in (["1.0"], [])
    assert _studies(index) == ["1.0", "1.1", "1.2", "1.3", "1.4"]


def test_matching_at_study_level(archive: tuple[Index, Callable[[Dataset], None]], make: Make) -> None:
    """S013 S014 S015 S016 S018 S019 S022."""
    index, store = archive
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "P5-09051", "SRT", "Head"
    rows = [
        ("1.1", "20200101", "0900", "A1", "Doe^Jane", "CT", [code]),
        ("1.2", "20200615", "120000", "A2", "Doe^John", "MR", []),
        ("1.3", "20210101", "235959.5", "B1", "Roe^Richard", "CT", []),
        ("1.4", None, None, None, None, "US", []),
    ]
    for uid, date, clock, accession, name, modality, codes in rows:
        store(
            make(
                StudyInstanceUID=uid,
                SeriesInstanceUID=f"{uid}.1",
                SOPInstanceUID=f"{uid}.1.1",
                StudyDate=date,
                StudyTime=clock,
                AccessionNumber=accession,
                PatientName=name,
                PatientID=uid,
                Modality=modality,
                ProcedureCodeSequence=Sequence(codes),
            )
        )
    store(make(StudyInstanceUID="1.1", SeriesInstanceUID="1.1.2", SOPInstanceUID="1.1.2.1", Modality="PR"))

    every = ["1.1", "1.2", "1.3", "1.4"]
    assert _studies(index, PatientName="") == _studies(index, PatientName="*") == every
    assert _studies(index, PatientName="DOE*") == ["1.1", "1.2"]
    assert _studies(index, PatientName="doe^jane") == ["1.1"]
    assert _studies(index, PatientName="doe^j?n*") == ["1.1"]
    assert _studies(index, PatientName="*^r*") == ["1.3"]
    assert _studies(index, PatientName="?*") == ["1.1", "1.2", "1.3"]
    assert _studies(index, StudyDate="20200101") == ["1.1"]
    assert _studies(index, StudyDate="20200101-20201231") == ["1.1", "1.2"]
    assert _studies(index, StudyDate="20200615-") == ["1.2", "1.3"]
    assert _studies(index, StudyDate="-20200101") == ["1.1"]
    assert _studies(index, StudyDate="2020*") == []
    assert _studies(index, StudyTime="0800-1200") == ["1.1", "1.2"]
    assert _studies(index, StudyTime="2359-") == ["1.3"]
    assert _studies(index, AccessionNumber="A*") == ["1.1", "1.2"]
    assert _studies(index, AccessionNumber="a1") == []
    assert _studies(index, ModalitiesInStudy="CT") == ["1.1", "1.3"]
    assert _studies(index, ModalitiesInStudy="PR") == ["1.1"]
    assert _studies(index, ModalitiesInStudy="MR\\US") == ["1.2", "1.4"]
    assert _studies(index, ModalitiesInStudy="?R") == ["1.1", "1.2"]
    assert _studies(index, NumberOfStudyRelatedSeries="2") == ["1.1"]
    assert _studies(index, StudyInstanceUID="1.2\\1.3\\9.9") == ["1.2", "1.3"]
    assert _studies(index, StudyInstanceUID="1.*") == []
    assert _studies(index, ProcedureCodeSequence=[_identifier(CodeValue="P5-09051")]) == ["1.1"]
    assert _studies(index, ProcedureCodeSequence=[_identifier(CodeValue="P5*", CodeMeaning="Foot")]) == []
    assert _studies(index, ProcedureCodeSequence=[_identifier(CodeValue="")]) == every
    assert _studies(index, ProcedureCodeSequence=[Dataset()]) == every
    with pytest.raises(ServiceRefusal) as refusal:
        _studies(index, ProcedureCodeSequence=[Dataset(), Dataset()])
    assert refusal.value.status == 0xA900

    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1"}
    items = [_identifier(CodeValue="", CodingSchemeVersion="")]
    (answer,) = _ask(index, "STUDY", **keys, ProcedureCodeSequence=items, StudyDate="", PatientSex="")
    assert answer.ProcedureCodeSequence[0].CodeValue == "P5-09051"
    assert answer.ProcedureCodeSequence[0]["CodingSchemeVersion"].value in (None, "")
    assert "CodeMeaning" not in answer.ProcedureCodeSequence[0]
    assert answer["PatientSex"].value in (None, "")  # absent, but asked for
    assert answer.QueryRetrieveLevel == "STUDY"
    assert answer.RetrieveAETitle == "ARCHIVE"
    assert {element.keyword for element in answer} == {
        *keys,
        "ProcedureCodeSequence",
        "StudyDate",
        "PatientSex",
        "RetrieveAETitle",
    }
    assert (
        _ask(index, "STUDY", **keys, ProcedureCodeSequence=[])[0].ProcedureCodeSequence[0].CodeMeaning
        == "Head"
    )
    (answer,) = _ask(index, "STUDY", **keys, NumberOfPatientRelatedStudies="", InstanceAvailability="")
    assert answer.NumberOfPatientRelatedStudies == 1
    assert answer.InstanceAvailability == "ONLINE"


def test_patients(archive: tuple[Index, Callable[[Dataset], None]], make: Make) -> None:
    index, store = archive
    for number, (patient, issuer) in enumerate(
        [("P", "X"), ("P", "X"), ("P", "Y"), ("p", "X"), ("", ""), ("", "")]
    ):
        store(
            make(
                StudyInstanceUID=f"1.{number}",
                SOPInstanceUID=f"1.{number}.1",
                PatientID=patient,
                IssuerOfPatientID=issuer,
                PatientName=f"Name{number}",
            )
        )
    keys = {"QueryRetrieveLevel": "PATIENT", "PatientName": "", "IssuerOfPatientID": ""}
    counted = {"NumberOfPatientRelatedStudies": "", "NumberOfPatientRelatedInstances": ""}
    found = [
        (
            one.PatientID,
            one.IssuerOfPatientID,
            one.NumberOfPatientRelatedStudies,
            one.NumberOfPatientRelatedInstances,
        )
        for one in _ask(index, "PATIENT", **keys, PatientID="", **counted)
    ]
    assert sorted((str(a or ""), str(b or ""), c, d) for a, b, c, d in found) == [
        ("", "", 1, 1),
        ("", "", 1, 1),
        ("P", "X", 2, 2),
        ("P", "Y", 1, 1),
        ("p", "X", 1, 1),
    ]
    assert [one.IssuerOfPatientID for one in _ask(index, "PATIENT", **keys, PatientID="p")] == ["X"]
    asked = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""}
    answers = _ask(index, "PATIENT", **asked, PatientID="P", PatientName="")
    # A study answers with the name that its own objects have.
    assert [(one.StudyInstanceUID, str(one.PatientName)) for one in answers] == [
        ("1.0", "Name0"),
        ("1.1", "Name1"),
        ("1.2", "Name2"),
    ]


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        ("STUDY", {}),
        ("STUDY", {"QueryRetrieveLevel": ""}),
        ("STUDY", {"QueryRetrieveLevel": "study"}),
        ("STUDY", {"QueryRetrieveLevel": "PATIENT"}),
        ("PATIENT", {"QueryRetrieveLevel": "FRAME"}),
        ("PATIENT", {"QueryRetrieveLevel": "STUDY"}),
        ("PATIENT", {"QueryRetrieveLevel": "STUDY", "PatientID": ""}),
        ("PATIENT", {"QueryRetrieveLevel": "STUDY", "PatientID": "P*"}),
        ("PATIENT", {"QueryRetrieveLevel": "SERIES", "PatientID": "P"}),
        ("STUDY", {"QueryRetrieveLevel": "SERIES"}),
        ("STUDY", {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.2\\1.3"}),
        ("STUDY", {"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.2"}),
        ("STUDY", {"QueryRetrieveLevel": "IMAGE", "SeriesInstanceUID": "1.2"}),
    ],
)
def test_an_identifier_must_fit_the_model(
    archive: tuple[Index, Callable[[Dataset], None]], model: Any, keys: dict[str, str]
) -> None:
    """S010 S011."""
    with pytest.raises(ServiceRefusal) as refusal:
        find(archive[0], model, _identifier(**keys))
    assert refusal.value.status == 0xA900


def test_unsupported_keys_are_told(archive: tuple[Index, Callable[[Dataset], None]], make: Make) -> None:
    """S021."""
    index, store = archive
    store(make())
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""}
    assert [status for status, _ in find(index, "STUDY", _identifier(**keys))] == [0xFF00]
    identifier = _identifier(**keys, Modality="MR", ConvolutionKernel="X")
    identifier.add_new(0x00091001, "LO", "private")
    ((status, answer),) = find(index, "STUDY", identifier)
    assert status == 0xFF01
    assert {element.keyword for element in answer} == {"StudyInstanceUID", "QueryRetrieveLevel"}


@pytest.mark.parametrize("vr", ["OB", "LO", "UI", "OW", "IS", "FD"])
def test_a_sequence_key_that_is_no_sequence_matched_everything(vr: str) -> None:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "SERIES"
    identifier.StudyInstanceUID = "1.2"
    tag = Tag(0x0040, 0x0275)
    content = b"\xfe\xff\x00\xe0\x0c\x00\x00\x00\x40\x00\x01\x10SH\x04\x00NOPE"
    identifier[tag] = RawDataElement(tag, vr, len(content), content, 0, False, True)
    with pytest.raises(ServiceRefusal) as refusal:
        parse("STUDY", identifier)
    assert (refusal.value.status, refusal.value.offending) == (0xC000, (0x00400275,))
    for is_one in ("SQ", "UN"):
        identifier[tag] = RawDataElement(tag, is_one, len(content), content, 0, False, True)
        key = parse("STUDY", identifier).key(0x00400275)
        assert key is not None
        assert [(each.tag, each.text) for each in key.item or ()] == [(0x00401001, "NOPE")]
    # Without a value it asks for the sequence.
    identifier[tag] = RawDataElement(tag, vr, 0, b"", 0, False, True)
    assert parse("STUDY", identifier).key(0x00400275) is not None


def test_long_lists_and_many_wild_cards(archive: tuple[Index, Callable[[Dataset], None]], make: Make) -> None:
    """S014."""
    index, store = archive
    for number in range(3):
        store(make(StudyInstanceUID=f"1.5.{number * 20_000}", SOPInstanceUID=f"1.{number}"))
    uids = "\\".join(f"1.5.{number}" for number in range(50_000))
    assert _studies(index, StudyInstanceUID=uids) == ["1.5.0", "1.5.20000", "1.5.40000"]
    assert _studies(index, StudyInstanceUID=f"1.5.0\\{uids}\\1.5.0") == ["1.5.0", "1.5.20000", "1.5.40000"]
    with pytest.raises(ServiceRefusal) as refusal:
        _studies(index, StudyInstanceUID="\\".join(map(str, range(100_001))))
    assert refusal.value.status == 0xA700
    for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyDescription", "ModalitiesInStudy"):
        assert _studies(index, **{keyword: "*?" * 500}) == []
        assert _studies(index, **{keyword: "*" * 5_000}) == ["1.5.0", "1.5.20000", "1.5.40000"]
        with pytest.raises(ServiceRefusal) as refusal:
            _studies(index, **{keyword: "*a" * 500})
        assert refusal.value.status == 0xC000


ODD_TEXTS = [
    "",
    "A",
    "a",
    "AB",
    "A%",
    "A_B",
    "%",
    "A'B",
    "Ab\u00c4",
    "\u00e4",
    "A B",
    "doe^jane",
    "Doe",
    "Doe^*",
    "=x",
    "a/b",
]
KEYS = [
    "PatientName",
    "PatientID",
    "AccessionNumber",
    "StudyDescription",
    "StudyDate",
    "StudyID",
    "ReferringPhysicianName",
]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, make: Make, encode: Encode, put: Put) -> Iterator[Index]:
    """An archive of one study for each of some odd values."""
    root = tmp_path_factory.mktemp("odd")
    with (
        LocalFolder(root / "store", sync=False) as local,
        Index(root / "index") as index,
        Intake(local, FolderStorage.of(local), index) as intake,
    ):
        for number, text in enumerate([*ODD_TEXTS, "20200101", "2020.01.01", "20201231"]):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                attributes = dict.fromkeys(KEYS, text)
                data_set = make(StudyInstanceUID=f"1.{number}", SOPInstanceUID=f"1.{number}.1", **attributes)
                data_set.SpecificCharacterSet = "ISO_IR 192"
                put(intake, encode(data_set), instance=data_set.SOPInstanceUID)
        assert intake.wait_for_all()
        yield index


@settings(max_examples=300)
@given(
    st.sampled_from(KEYS),
    st.one_of(st.text("AaBb%_*?'^=\u00c4\u00e4 /Doe-20", max_size=6), st.sampled_from(ODD_TEXTS)),
)
def test_sql_never_leaves_out_what_matches(odd: Index, keyword: str, text: str) -> None:
    """What is answered is what the test of the key lets through of all there is."""
    tag = pydicom.datadict.tag_for_keyword(keyword)
    assert tag is not None
    vr = pydicom.datadict.dictionary_VR(tag)
    key = trimmed(vr, str(_identifier(**{keyword: text})[keyword].value or ""))
    with odd.reading() as connection:
        kept = connection.execute(select(schema.study.c.uid, schema.study.c.attributes)).all()
    values = {uid: json.loads(attributes).get(f"{tag:08X}", "") for uid, attributes in kept}
    accepts = (lambda value: True) if is_universal(key) else value_test(vr, key)
    assert _studies(odd, **{keyword: text}) == sorted(uid for uid, value in values.items() if accepts(value))


def test_what_arrives_meanwhile_is_not_answered(
    archive: tuple[Index, Callable[[Dataset], None]], make: Make
) -> None:
    """S026."""
    index, store = archive
    for number in range(5):
        store(make(StudyInstanceUID=f"1.{number}", SOPInstanceUID=f"1.{number}.1"))
    answers = find(index, "STUDY", _identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=""))
    seen = []
    for number, (_, answer) in enumerate(answers):
        seen.append(answer.StudyInstanceUID)
        store(make(StudyInstanceUID=f"2.{number}", SOPInstanceUID=f"2.{number}.1"))
    assert sorted(seen) == [f"1.{number}" for number in range(5)]
    assert len(_studies(index)) == 10


def test_a_study_that_grows_meanwhile_is_answered_once(
    archive: tuple[Index, Callable[[Dataset], None]], make: Make
) -> None:
    """S026: what arrives gives the studies further values that match, also those that are answered already."""
    index, store = archive

    def add(study: int, number: int) -> None:
        modality, description = ("CT", "MR", "PT", "US")[number % 4], f"THORAX {number}"
        store(
            make(
                StudyInstanceUID=f"1.{study}",
                SeriesInstanceUID=f"1.{study}.{number}",
                SOPInstanceUID=f"1.{study}.{number}.1",
                Modality=modality,
                StudyDescription=description,
            )
        )

    for study in range(60):
        add(study, 0)
    every = sorted(f"1.{study}" for study in range(60))
    keys: list[dict[str, str]] = [{}, {"StudyDescription": "*HOR*"}, {"ModalitiesInStudy": "?T\\MR\\US"}]
    for round_, asked in enumerate(keys):
        identifier = _identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="", **asked)
        seen = []
        for number, (_, answer) in enumerate(find(index, "STUDY", identifier)):
            seen.append(answer.StudyInstanceUID)
            if number % 10 == 0:
                for study in range(0, 60, 7):
                    add(study, 1 + number + 100 * round_)
        assert sorted(seen) == every


@pytest.mark.parametrize(
    ("level", "keys"),
    [
        ("PATIENT", "PatientName PatientID PatientSex PatientComments NumberOfPatientRelatedStudies"),
        ("STUDY", "StudyInstanceUID PatientID StudyDate ProcedureCodeSequence ModalitiesInStudy"),
        ("SERIES", "StudyInstanceUID SeriesInstanceUID Modality Laterality StudyDescription"),
        ("IMAGE", "StudyInstanceUID SeriesInstanceUID SOPInstanceUID InstanceNumber Rows ImageComments"),
    ],
)
@pytest.mark.parametrize("name", ["Doe^John", "M\u00fcller^Eva"])
def test_an_answer_has_what_was_asked_for_and_no_more(
    archive: tuple[Index, Callable[[Dataset], None]], make: Make, level: str, keys: str, name: str
) -> None:
    """S015 S022: also what is absent from the objects; and a character set only where one is needed."""
    index, store = archive
    data_set = make(PatientName=name, PatientID="P1", SpecificCharacterSet="ISO_IR 100")
    store(data_set)
    above = {"SERIES": ["StudyInstanceUID"], "IMAGE": ["StudyInstanceUID", "SeriesInstanceUID"]}
    asked: dict[str, Any] = dict.fromkeys([*keys.split(), "PatientName"], "")
    asked |= {keyword: data_set[keyword].value for keyword in above.get(level, ())}
    (answer,) = _ask(index, "PATIENT" if level == "PATIENT" else "STUDY", QueryRetrieveLevel=level, **asked)
    own = {"QueryRetrieveLevel", "RetrieveAETitle"} | (set() if name.isascii() else {"SpecificCharacterSet"})
    assert {element.keyword for element in answer} == asked.keys() | own
    assert (answer.QueryRetrieveLevel, answer.RetrieveAETitle) == (level, "ARCHIVE")
    assert str(answer.PatientName) == name


def test_a_large_answer_takes_little_memory(
    archive: tuple[Index, Callable[[Dataset], None]], make: Make
) -> None:
    index, store = archive
    store(make(StudyInstanceUID="1.0"))
    with index.database.writing() as connection:
        rows = [
            {
                "id": number + 2,
                "parent": 1,
                "uid": f"9.{number}",
                "attributes": f'{{"0020000D":"9.{number}","00100010":"Name{number}"}}',
                "series_count": 1,
                "instance_count": 1,
            }
            for number in range(30_000)
        ]
        connection.execute(insert(schema.study), rows)
        values = [
            {"id": number + 100, "study": number + 2, "tag": 0x00100010, "value": f"name{number}"}
            for number in range(30_000)
        ]
        connection.execute(insert(schema.study_value), values)
    del rows, values
    identifier = _identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="", PatientName="name*7")
    assert sum(1 for _ in find(index, "STUDY", identifier)) == 3_000
    # A search that finds nothing pauses, so that it can be given up.
    for keys in ({"PatientSex": "X"}, {"PatientComments": "*z*"}):
        nothing = list(search(index, "STUDY", _identifier(QueryRetrieveLevel="STUDY", **keys)).matches)
        assert set(nothing) == {None}
        assert len(nothing) > 5
    everything = _identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="")
    tracemalloc.start()
    try:
        answers = find(index, "STUDY", everything)
        for _ in range(600):
            next(answers)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_what_a_retrieval_asks_for(archive: tuple[Index, Callable[[Dataset], None]], make: Make) -> None:
    """S031."""
    index, store = archive
    for study in range(2):
        for series in range(2):
            for number in range(3):
                uid = f"1.{study}.{series}.{number}"
                store(
                    make(
                        StudyInstanceUID=f"1.{study}",
                        SeriesInstanceUID=f"1.{study}.{series}",
                        SOPInstanceUID=uid,
                    )
                )

    def asked(model: Any, **keys: str) -> list[str]:
        return sorted(one.name.instance for one in locate(index, model, _identifier(**keys)).objects)

    assert len(asked("PATIENT", QueryRetrieveLevel="PATIENT", PatientID="P1")) == 12
    assert len(asked("STUDY", QueryRetrieveLevel="STUDY", StudyInstanceUID="1.0\\1.1")) == 12
    assert asked("STUDY", QueryRetrieveLevel="SERIES", StudyInstanceUID="1.0", SeriesInstanceUID="1.0.1") == [
        "1.0.1.0",
        "1.0.1.1",
        "1.0.1.2",
    ]
    keys = {"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.0", "SeriesInstanceUID": "1.0.1"}
    assert asked("STUDY", **keys, SOPInstanceUID="1.0.1.1\\1.0.1.2\\1.1.0.0") == ["1.0.1.1", "1.0.1.2"]
    (one,) = locate(index, "STUDY", _identifier(**keys, SOPInstanceUID="1.0.1.1")).objects
    assert one.sop_class_uid == "1.2.840.10008.5.1.4.1.1.2"
    assert one.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    for bad in (
        keys,
        keys | {"SOPInstanceUID": ""},
        {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": "1.0.1"},
    ):
        with pytest.raises(ServiceRefusal) as refusal:
            locate(index, "STUDY", _identifier(**bad))
        assert refusal.value.status == 0xA900
    for patient in ("", "*", "P*", "P?"):
        with pytest.raises(ServiceRefusal) as refusal:
            locate(index, "PATIENT", _identifier(QueryRetrieveLevel="PATIENT", PatientID=patient))
        assert refusal.value.status == 0xA900


def test_a_retrieval_need_not_name_the_levels_above(
    archive: tuple[Index, Callable[[Dataset], None]], make: Make
) -> None:
    """Those that it names must hold, and none may have a wild card."""
    index, store = archive
    for study in range(2):
        names = {
            "StudyInstanceUID": f"1.{study}",
            "SeriesInstanceUID": f"1.{study}.1",
            "PatientID": f"P{study}",
        }
        store(make(SOPInstanceUID=f"1.{study}.1.1", **names))
    relational = QueryOptions(relational=True)

    def asked(**keys: str) -> list[str]:
        found = locate(index, "PATIENT", _identifier(**keys), options=relational)
        names = [one.name.instance for one in found.objects]
        assert len(names) == found.count
        assert found.level == keys["QueryRetrieveLevel"]
        return names

    series = {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": "1.0.1\\1.1.1"}
    assert asked(**series) == asked(**series, PatientID="*") == ["1.0.1.1", "1.1.1.1"]
    assert asked(**series, PatientID="P1") == asked(**series, StudyInstanceUID="1.1") == ["1.1.1.1"]
    assert asked(**series, PatientID="P1", StudyInstanceUID="1.0") == []
    assert asked(**series, PatientID="P0\\P1", StudyInstanceUID="1.0\\1.1") == ["1.0.1.1", "1.1.1.1"]
    for wrong in (
        {"PatientID": "P*"},
        {"PatientID": "P?"},
        {"SeriesInstanceUID": ""},
        {"SeriesInstanceUID": "\\"},
    ):
        with pytest.raises(ServiceRefusal) as refusal:
            asked(**(series | wrong))
        assert refusal.value.status == 0xA900


def test_a_patient_id_that_a_study_has_no_more_retrieved_it(
    archive: tuple[Index, Callable[[Dataset], None]], make: Make
) -> None:
    """What a study is found by may be left over from what it said before."""
    index, store = archive
    store(make(PatientID="NEW"))
    with index.writing() as connection:
        (study,) = connection.execute(select(schema.study.c.id)).scalars()
        connection.execute(
            insert(schema.study_value).values(id=1_000_000, study=study, tag=0x00100020, value="OLD")
        )
    for patient, count in (("NEW", 1), ("OLD", 0)):
        keys = _identifier(QueryRetrieveLevel="PATIENT", PatientID=patient)
        assert locate(index, "PATIENT", keys).count == count


@pytest.mark.parametrize(
    ("name", "key", "matches"),
    [
        ("Strauß^Ana", "Strau?^Ana", True),
        ("Strauß^Ana", "STRAU?^*", True),
        ("Strauß^Ana", "Straus?^Ana", False),
        ("Strauß^Ana", "Strau??^Ana", False),
        ("Strauß^Ana", "STRAUSS^ANA", True),
        ("Weiß^Ute", "*?^Ute", True),
        ("İnan^Ali", "?nan^ali", True),
        ("Straßer^Eva", "*ße?^Eva", True),
        ("Dvorˇák^Jan", "Dvor?ák^Jan", True),
        ("Ana^Strauß", "=Ana", False),
    ],
)
def test_a_question_mark_is_one_character_of_the_stored_name(
    archive: tuple[Index, Callable[[Dataset], None]], make: Make, name: str, key: str, matches: bool
) -> None:
    """The name is folded for the comparison, which makes two letters of some."""
    index, store = archive
    data_set = make(StudyInstanceUID="1.7", SOPInstanceUID="1.7.1", PatientName=name)
    data_set.SpecificCharacterSet = "ISO_IR 192"
    store(data_set)
    assert _studies(index, PatientName=key) == (["1.7"] if matches else [])


@pytest.mark.parametrize(
    ("level", "keys"),
    [
        ("STUDY", {"StudyInstanceUID": "*"}),
        ("STUDY", {"StudyDate": "*"}),
        ("STUDY", {"StudyTime": "*", "PatientBirthDate": "**"}),
        ("SERIES", {"StudyInstanceUID": "1.7", "SeriesInstanceUID": "*"}),
        ("IMAGE", {"StudyInstanceUID": "1.7", "SeriesInstanceUID": "1.2.3.2", "SOPInstanceUID": "*"}),
    ],
)
def test_an_asterisk_alone_matches_everything(
    archive: tuple[Index, Callable[[Dataset], None]], make: Make, level: str, keys: dict[str, str]
) -> None:
    index, store = archive
    data_set = make(StudyInstanceUID="1.7", SeriesInstanceUID="1.2.3.2", SOPInstanceUID="1.7.1")
    store(data_set)
    assert len(_ask(index, "STUDY", QueryRetrieveLevel=level, **keys)) == 1


def test_an_asterisk_is_no_unique_key(archive: tuple[Index, Callable[[Dataset], None]], make: Make) -> None:
    """Of a level above it names nothing, and a retrieval would fetch all there is."""
    index, store = archive
    store(make(StudyInstanceUID="1.7", SOPInstanceUID="1.7.1"))
    with pytest.raises(ServiceRefusal) as refusal:
        _ask(index, "STUDY", QueryRetrieveLevel="SERIES", StudyInstanceUID="*", SeriesInstanceUID="")
    assert refusal.value.status == 0xA900
    with pytest.raises(ServiceRefusal) as refusal:
        locate(index, "STUDY", _identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="*"))
    assert refusal.value.status == 0xA900


@pytest.mark.parametrize("inner", ["StationName", "PixelSpacing", "OtherPatientIDsSequence"])
def test_an_unsupported_key_of_an_item_is_ignored(
    archive: tuple[Index, Callable[[Dataset], None]], make: Make, inner: str
) -> None:
    """It made the whole query match nothing, and the requestor was not told why."""
    index, store = archive
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "X1", "99M", "it"
    store(make(StudyInstanceUID="1.7", SOPInstanceUID="1.7.1", ProcedureCodeSequence=[code]))
    for value, count in (("X1", 1), ("X2", 0)):
        item = Dataset()
        item.CodeValue = value
        tag = pydicom.datadict.tag_for_keyword(inner)
        assert tag is not None
        vr = pydicom.datadict.dictionary_VR(tag)
        item.add_new(tag, vr, [Dataset()] if vr == "SQ" else "1")
        identifier = _identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="")
        identifier.ProcedureCodeSequence = [item]
        answers = list(find(index, "STUDY", identifier))
        assert [status for status, _ in answers] == [0xFF01] * count


@pytest.mark.parametrize("keys_in", ["utf-8", "latin-1"])
def test_names_in_utf_8_without_a_character_set_were_not_found(
    archive: tuple[Index, Callable[[Dataset], None]], make: Make, keys_in: str
) -> None:
    """Neither by a query that says its character set, nor by one that does not; both answers have what was meant."""
    index, store = archive
    name = "Müller^Ana"
    data_set = make(StudyInstanceUID="1.7", SOPInstanceUID="1.7.1")
    identifier = _identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="")
    for one, codec in ((data_set, "utf-8"), (identifier, keys_in)):
        raw = name.encode(codec)
        one[0x00100010] = RawDataElement(Tag(0x00100010), "PN", len(raw), raw, 0, False, True)
    store(data_set)
    (answer,) = [each for _, each in find(index, "STUDY", identifier)]
    assert str(answer.PatientName) == name
    assert answer.SpecificCharacterSet == "ISO_IR 100"


@pytest.mark.parametrize(
    ("written", "codec"),
    [("ISO 8859-1", "latin_1"), ("UTF-8", "utf_8"), ("\\ISO_IR 100", "latin_1"), ("GBK", "gbk")],
)
def test_misspelt_character_sets_are_read_alike_in_objects_and_keys(
    archive: tuple[Index, Callable[[Dataset], None]], make: Make, written: str, codec: str
) -> None:
    index, store = archive
    name = "王^Ana" if codec == "gbk" else "Müller^Ana"
    data_set = make(StudyInstanceUID="1.7", SOPInstanceUID="1.7.1")
    for one in (data_set, identifier := _identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="")):
        one[0x00080005] = RawDataElement(
            Tag(0x00080005), "CS", 12, written.ljust(12).encode(), 0, False, True
        )
        raw = name.encode(codec)
        one[0x00100010] = RawDataElement(Tag(0x00100010), "PN", len(raw), raw, 0, False, True)
    with warnings.catch_warnings():
        # pydicom does not know all of them.
        warnings.simplefilter("ignore")
        store(data_set)
        (answer,) = [each for _, each in find(index, "STUDY", identifier)]
    assert str(answer.PatientName) == name
    assert answer.SpecificCharacterSet in ("ISO_IR 100", "ISO_IR 192", "GBK")
