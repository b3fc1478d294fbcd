"""QIDO-RS: what is found is what C-FIND finds, as dicomweb-client and plain HTTP see it over a socket."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

import pytest
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from tests.archive.web.served import Served, sample, served

from dicomnet.archive.catalogue.options import SUPPORTED, QueryPolicy
from dicomnet.archive.terms import Terms
from dicomnet.archive.web.dicomweb import searching
from dicomnet.values import replace

STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
_NAMES = (
    "Müller^Jürgen",
    "MUELLER^Anna",
    "Doe^Jane^Mary^Dr.^Jr.",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "<script>alert(1)</script>",
    "O'Brien^Pat%",
    "",
    "doe^john",
)
_MODALITIES = ("CT", "MR", "US", "CT")
COUNT = 24


def _objects(folder: Path) -> list[Path]:
    """24 studies; each third one has two series, and each series two objects."""
    paths = []
    template = dcmread(sample("CT_small.dcm"))
    for number in range(COUNT):
        for series in range(1 + (number % 3 == 0)):
            for instance in range(2):
                image = template
                image.StudyInstanceUID = UID(f"1.2.3.{number}")
                image.SeriesInstanceUID = UID(f"1.2.3.{number}.{series}")
                image.SOPInstanceUID = UID(f"1.2.3.{number}.{series}.{instance}")
                image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
                image.SpecificCharacterSet = "ISO_IR 192"
                image.PatientName = _NAMES[number % len(_NAMES)]
                image.PatientID = f"P_{number}" if number % 5 else ""
                image.StudyDate = f"2024{1 + number % 12:02}{1 + number:02}"
                image.StudyTime = f"{number:02}3000"
                image.AccessionNumber = f"A{number // 2}"
                image.Modality = _MODALITIES[(number + series) % len(_MODALITIES)]
                image.SeriesNumber, image.InstanceNumber = series + 1, instance + 1
                image.StudyDescription = f"Head {number}" if number % 2 else "Thorax 100%"
                if hasattr(image, "TimezoneOffsetFromUTC"):
                    del image.TimezoneOffsetFromUTC
                if number == 7:
                    image.TimezoneOffsetFromUTC = "+0200"
                request = Dataset()
                request.ScheduledProcedureStepID, request.RequestedProcedureID = f"S{number}", f"R{number}"
                image.RequestAttributesSequence = [request]
                path = folder / f"{image.SOPInstanceUID}.dcm"
                image.save_as(path)
                paths.append(path)
    return paths


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("searching")
    with served(folder / "store") as node:
        node.store(_objects(folder))
        yield node


def ask(archive: Served, path: str, **headers: str) -> list[dict[str, Any]]:
    """The matches, as JSON."""
    answer = archive.get(path, **headers)
    if answer.status == 204:
        assert answer.body == b""
        return []
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/dicom+json"
    found = answer.json
    assert found
    return list(found)


def tag(keyword: str) -> str:
    """As the JSON model names it."""
    number = tag_for_keyword(keyword)
    assert number is not None
    return f"{number:08X}"


def values(match: Mapping[str, Any], keyword: str) -> list[Any]:
    """The values of an attribute, which is there."""
    return list(match[tag(keyword)].get("Value", []))


def studies(matches: Sequence[Mapping[str, Any]]) -> list[str]:
    """Their Study Instance UIDs."""
    return [values(match, "StudyInstanceUID")[0] for match in matches]


def numbered(*numbers: int) -> list[str]:
    return [f"1.2.3.{number}" for number in numbers]


# -- what is returned, by the tables of PS3.18 section 10.6.3.3

STUDY_TABLE = {
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "InstanceAvailability",
    "ModalitiesInStudy",
    "ReferringPhysicianName",
    "RetrieveURL",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
}
SERIES_TABLE = {
    "InstanceAvailability",
    "Modality",
    "SeriesDescription",
    "RetrieveURL",
    "SeriesInstanceUID",
    "SeriesNumber",
    "NumberOfSeriesRelatedInstances",
    "RequestAttributesSequence",
}
INSTANCE_TABLE = {
    "SOPClassUID",
    "SOPInstanceUID",
    "InstanceAvailability",
    "RetrieveURL",
    "InstanceNumber",
    "Rows",
    "Columns",
    "BitsAllocated",
}


@pytest.mark.parametrize(
    ("path", "table", "url", "count"),
    [
        ("/studies", STUDY_TABLE, "/studies/{StudyInstanceUID}", 24),
        (
            "/series",
            SERIES_TABLE | STUDY_TABLE,
            "/studies/{StudyInstanceUID}/series/{SeriesInstanceUID}",
            32,
        ),
        (
            "/instances",
            INSTANCE_TABLE | SERIES_TABLE | STUDY_TABLE,
            "/studies/{StudyInstanceUID}/series/{SeriesInstanceUID}/instances/{SOPInstanceUID}",
            64,
        ),
        (
            "/studies/1.2.3.3/series",
            SERIES_TABLE | {"StudyInstanceUID"},
            "/studies/1.2.3.3/series/{SeriesInstanceUID}",
            2,
        ),
        (
            "/studies/1.2.3.3/instances",
            INSTANCE_TABLE | SERIES_TABLE | {"StudyInstanceUID"},
            "/studies/1.2.3.3/series/{SeriesInstanceUID}/instances/{SOPInstanceUID}",
            4,
        ),
        (
            "/studies/1.2.3.3/series/1.2.3.3.1/instances",
            INSTANCE_TABLE | {"StudyInstanceUID", "SeriesInstanceUID"},
            "/studies/1.2.3.3/series/1.2.3.3.1/instances/{SOPInstanceUID}",
            2,
        ),
    ],
)
def test_each_resource_has_its_attributes(
    archive: Served, path: str, table: set[str], url: str, count: int
) -> None:
    matches = ask(archive, path)
    assert len(matches) == count
    for match in matches:
        missing = {keyword for keyword in table if tag(keyword) not in match}
        assert missing <= {"SeriesDescription"}
        names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        uids = {name: values(match, name)[0] for name in names if tag(name) in match}
        assert values(match, "RetrieveURL") == [archive.url + url.format(**uids)]
        assert list(match) == sorted(match)
        for name, attribute in match.items():
            assert attribute["vr"] == dictionary_VR(int(name, 16))


def test_the_values_of_a_study(archive: Served) -> None:
    (match,) = ask(archive, "/studies?StudyInstanceUID=1.2.3.3")
    assert values(match, "PatientName") == [
        {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    ]
    # The text is UTF-8, whatever the object said.
    assert values(match, "SpecificCharacterSet") == ["ISO_IR 192"]
    assert values(match, "NumberOfStudyRelatedInstances") == [4]
    assert sorted(values(match, "ModalitiesInStudy")) == ["CT"]
    assert values(match, "StudyDate") == ["20240404"]
    (ascii_only,) = ask(archive, "/studies?StudyInstanceUID=1.2.3.7")
    assert tag("SpecificCharacterSet") not in ascii_only
    assert values(ascii_only, "TimezoneOffsetFromUTC") == ["+0200"]
    (nameless,) = ask(archive, "/studies?StudyInstanceUID=1.2.3.6")
    assert nameless[tag("PatientName")] == {"vr": "PN"}


@pytest.mark.parametrize(
    "path",
    ["/series?StudyInstanceUID=1.2.3.7&", "/instances?StudyInstanceUID=1.2.3.7&", "/studies/1.2.3.7/series?"],
)
def test_the_attributes_of_a_match_are_in_the_order_of_their_tags(archive: Served, path: str) -> None:
    """PS3.18 section F.2.2, also where a match has a time zone (0008,0201) and others around it."""
    included = "InstitutionName,StudyDescription,SeriesDescription,ModalitiesInStudy,PatientName"
    matches = ask(archive, f"{path}includefield={included}")
    assert matches
    for match in matches:
        assert {tag("TimezoneOffsetFromUTC"), tag("SeriesDescription"), tag("PatientName")} <= set(match)
        assert list(match) == sorted(match)


def test_counts_of_the_levels_above_are_those_of_the_levels_above(archive: Served) -> None:
    names = ("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "ModalitiesInStudy")
    known = {values(study, "StudyInstanceUID")[0]: study for study in ask(archive, "/studies")}
    series = {values(each, "SeriesInstanceUID")[0]: each for each in ask(archive, "/series")}
    for match in ask(archive, "/instances"):
        study = known[values(match, "StudyInstanceUID")[0]]
        for found in (match, series[values(match, "SeriesInstanceUID")[0]]):
            assert [found[tag(name)] for name in names] == [study[tag(name)] for name in names]
        name = tag("NumberOfSeriesRelatedInstances")
        assert match[name] == series[values(match, "SeriesInstanceUID")[0]][name]
    # They are keys, too.
    (count,) = values(known["1.2.3.3"], names[0])
    of_count = {values(each, "StudyInstanceUID")[0] for each in ask(archive, f"/series?{names[0]}={count}")}
    assert of_count == {uid for uid, study in known.items() if values(study, names[0]) == [count]}
    assert of_count < set(known)
    for below in ask(archive, "/studies/1.2.3.3/series?includefield=PatientName,ModalitiesInStudy"):
        assert below[tag("ModalitiesInStudy")] == known["1.2.3.3"][tag("ModalitiesInStudy")]


def test_a_name_that_is_a_page_is_data(archive: Served) -> None:
    answer = archive.get("/studies?StudyInstanceUID=1.2.3.4")
    assert values(answer.json[0], "PatientName") == [{"Alphabetic": "<script>alert(1)</script>"}]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, no-store"
    assert "server" not in answer.headers


# -- matching, asked in both ways


def c_find(archive: Served, level: str, options: bytes, **keys: Any) -> set[str]:
    """What pynetdicom's requestor finds; the unique keys of the matches."""
    unique = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}[level]
    identifier = Dataset()
    for keyword, value in {unique: "", **keys}.items():
        if keyword == "RequestAttributesSequence":
            item = Dataset()
            for inner, text in value.items():
                setattr(item, inner, text)
            value = [item]
        setattr(identifier, keyword, value)
    identifier.QueryRetrieveLevel = level
    identifier.SpecificCharacterSet = "ISO_IR 192"
    ae = AE()
    ae.add_requested_context(STUDY_ROOT)
    agreed = SOPClassExtendedNegotiation()
    agreed.sop_class_uid, agreed.service_class_application_information = UID(STUDY_ROOT), options
    association = ae.associate("127.0.0.1", archive.node.address[1], ext_neg=[agreed])
    assert association.is_established
    try:
        answers = list(association.send_c_find(identifier, STUDY_ROOT))
    finally:
        association.release()
    assert answers[-1][0].Status == 0
    return {str(found[unique].value) for _, found in answers[:-1] if found is not None}


# The options in the order of PS3.4 Table C.5-1; the first two always hold by HTTP.
ALWAYS, FUZZY, TIMEZONE = b"\1\1", b"\1\1\1", b"\1\1\0\1"
EMPTY, MULTIPLE = b"\1\1\0\0\0\1", b"\1\1\0\0\0\0\1"
MATCHING: list[tuple[str, str, bytes, dict[str, Any]]] = [
    ("STUDY", "PatientID=P_7", ALWAYS, {"PatientID": "P_7"}),
    ("STUDY", "00100020=P_7", ALWAYS, {"PatientID": "P_7"}),
    ("STUDY", "0020000d=1.2.3.7", ALWAYS, {"StudyInstanceUID": "1.2.3.7"}),
    ("STUDY", "PatientID=P%2A", ALWAYS, {"PatientID": "P*"}),
    ("STUDY", "PatientID=P*", ALWAYS, {"PatientID": "P*"}),
    ("STUDY", "PatientID=P%5F?", ALWAYS, {"PatientID": "P_?"}),
    ("STUDY", "PatientName=M%C3%BCller*", ALWAYS, {"PatientName": "Müller*"}),
    ("STUDY", "PatientName=doe*", ALWAYS, {"PatientName": "doe*"}),
    ("STUDY", "PatientName=*%27*", ALWAYS, {"PatientName": "*'*"}),
    ("STUDY", "PatientName=*%25*", ALWAYS, {"PatientName": "*%*"}),
    ("STUDY", "PatientName=%E5%B1%B1%E7%94%B0*", ALWAYS, {"PatientName": "山田*"}),
    ("STUDY", "PatientName=jane+doe&fuzzymatching=true", FUZZY, {"PatientName": "jane doe"}),
    ("STUDY", "PatientName=Jane%5EDoe&fuzzymatching=true", FUZZY, {"PatientName": "Jane^Doe"}),
    ("STUDY", "PatientName=Jane%5EDoe&fuzzymatching=false", ALWAYS, {"PatientName": "Jane^Doe"}),
    ("STUDY", "StudyDate=20240301-20240620", ALWAYS, {"StudyDate": "20240301-20240620"}),
    ("STUDY", "StudyDate=-20240620", ALWAYS, {"StudyDate": "-20240620"}),
    (
        "STUDY",
        "StudyDate=20240101-20240202&StudyTime=0100-0015",
        ALWAYS,
        {"StudyDate": "20240101-20240202", "StudyTime": "0100-0015"},
    ),
    ("STUDY", "ModalitiesInStudy=US", ALWAYS, {"ModalitiesInStudy": "US"}),
    ("STUDY", "AccessionNumber=A3&PatientID=P_7", ALWAYS, {"AccessionNumber": "A3", "PatientID": "P_7"}),
    ("STUDY", "StudyDescription=*100%25", ALWAYS, {"StudyDescription": "*100%"}),
    ("STUDY", "NumberOfStudyRelatedInstances=4", ALWAYS, {"NumberOfStudyRelatedInstances": 4}),
    ("STUDY", "PatientID=", ALWAYS, {"PatientID": ""}),
    ("STUDY", "PatientID=%22%22&emptyvaluematching=true", EMPTY, {"PatientID": '""'}),
    ("STUDY", "PatientID=%22%22", ALWAYS, {"PatientID": '""'}),
    (
        "STUDY",
        "ModalitiesInStudy=CT%5CMR&multiplevaluematching=true",
        MULTIPLE,
        {"ModalitiesInStudy": "CT\\MR"},
    ),
    ("STUDY", "ModalitiesInStudy=CT%5CMR", ALWAYS, {"ModalitiesInStudy": "CT\\MR"}),
    (
        "STUDY",
        "StudyDate=20240808&StudyTime=0430-0630&TimezoneOffsetFromUTC=%2B0000",
        TIMEZONE,
        {"StudyDate": "20240808", "StudyTime": "0430-0630", "TimezoneOffsetFromUTC": "+0000"},
    ),
    (
        "STUDY",
        "StudyDate=20240808&StudyTime=0430-0630&TimezoneOffsetFromUTC=+0000",
        TIMEZONE,
        {"StudyDate": "20240808", "StudyTime": "0430-0630", "TimezoneOffsetFromUTC": "+0000"},
    ),
    ("SERIES", "Modality=MR", ALWAYS, {"Modality": "MR"}),
    ("SERIES", "PatientID=P_3&Modality=CT", ALWAYS, {"PatientID": "P_3", "Modality": "CT"}),
    (
        "SERIES",
        "00400275.00400009=S5",
        ALWAYS,
        {"RequestAttributesSequence": {"ScheduledProcedureStepID": "S5"}},
    ),
    (
        "SERIES",
        "RequestAttributesSequence.RequestedProcedureID=R1*&00400275.00400009=S12",
        ALWAYS,
        {"RequestAttributesSequence": {"RequestedProcedureID": "R1*", "ScheduledProcedureStepID": "S12"}},
    ),
    ("IMAGE", "InstanceNumber=2&Modality=US", ALWAYS, {"InstanceNumber": 2, "Modality": "US"}),
    ("IMAGE", "Rows=128", ALWAYS, {"Rows": 128}),
    ("IMAGE", "Rows=129", ALWAYS, {"Rows": 129}),
    ("IMAGE", "SOPClassUID=1.2.840.10008.5.1.4.1.1.4", ALWAYS, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}),
]
PATHS = {"STUDY": "/studies", "SERIES": "/series", "IMAGE": "/instances"}
UNIQUE = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}


@pytest.mark.parametrize(("level", "asked", "options", "keys"), MATCHING, ids=[each[1] for each in MATCHING])
def test_the_same_is_found_as_by_c_find(
    archive: Served, level: str, asked: str, options: bytes, keys: dict[str, Any]
) -> None:
    answer = archive.get(f"{PATHS[level]}?{asked}")
    found = [values(match, UNIQUE[level])[0] for match in answer.json] if answer.body else []
    assert len(found) == len(set(found))
    assert set(found) == c_find(archive, level, options, **keys)
    assert "warning" not in answer.headers


def test_the_cases_of_matching_tell_something(archive: Served) -> None:
    """Of a case that finds all or nothing, there is one that finds some."""
    found = {asked: len(ask(archive, f"{PATHS[level]}?{asked}")) for level, asked, _, _ in MATCHING}
    assert found["PatientID=P%2A"] == 19
    assert found["PatientName=Jane%5EDoe&fuzzymatching=true"] == 6
    assert found["PatientName=Jane%5EDoe&fuzzymatching=false"] == 0
    assert found["PatientID=%22%22&emptyvaluematching=true"] == 5
    assert found["00400275.00400009=S5"] == 1
    assert found["StudyDate=20240808&StudyTime=0430-0630&TimezoneOffsetFromUTC=%2B0000"] == 1


@pytest.mark.parametrize(
    "words",
    [
        "StudyInstanceUID=1.2.3.1,1.2.3.4",
        "StudyInstanceUID=1.2.3.1%2C1.2.3.4%2C1.9",
        "StudyInstanceUID=1.2.3.1%5C1.2.3.4",
        "StudyInstanceUID=1.2.3.1&StudyInstanceUID=1.2.3.4",
    ],
)
def test_a_list_of_uids(archive: Served, words: str) -> None:
    assert sorted(studies(ask(archive, f"/studies?{words}"))) == numbered(1, 4)


def test_a_comma_in_another_value_is_a_part_of_it(archive: Served) -> None:
    assert ask(archive, "/studies?PatientID=P_1,P_2") == []


# -- pages


@pytest.mark.parametrize(
    "words",
    ["", "PatientID=P*&", "ModalitiesInStudy=CT&", "StudyDescription=*e*&", "NumberOfStudyRelatedSeries=1&"],
)
def test_pages_are_the_whole_in_one_order(archive: Served, words: str) -> None:
    """What came last is first."""
    whole = studies(ask(archive, f"/studies?{words}"))
    by_number = sorted(whole, key=lambda uid: -int(uid.rpartition(".")[2]))
    assert whole == by_number
    for size in (1, 5, 24):
        pages: list[str] = []
        while page := archive.get(f"/studies?{words}limit={size}&offset={len(pages)}"):
            if page.status == 204:
                break
            pages += studies(page.json)
            is_last = len(pages) == len(whole)
            assert ("warning" in page.headers) is not is_last
        assert pages == whole


def test_a_page_of_a_study_is_in_the_order_of_arrival(archive: Served) -> None:
    path = "/studies/1.2.3.3/instances"
    whole = [values(match, "SOPInstanceUID")[0] for match in ask(archive, path)]
    assert whole == ["1.2.3.3.0.0", "1.2.3.3.0.1", "1.2.3.3.1.0", "1.2.3.3.1.1"]
    page = ask(archive, f"{path}?limit=2&offset=1")
    assert [values(match, "SOPInstanceUID")[0] for match in page] == whole[1:3]


def test_where_there_is_more_it_is_said(archive: Served) -> None:
    answer = archive.get("/studies?limit=23")
    assert answer.headers["warning"] == (
        f"299 {archive.url}: There are additional results that can be requested."
    )
    assert "warning" not in archive.get("/studies?limit=24").headers
    assert "warning" not in archive.get("/studies").headers


@pytest.mark.parametrize(
    "words", ["limit=0", "offset=24", "offset=1000000", "PatientID=none", "limit=5&offset=24"]
)
def test_no_match_is_no_content(archive: Served, words: str) -> None:
    answer = archive.get(f"/studies?{words}")
    assert (answer.status, answer.body) == (204, b"")


def test_a_limit_of_the_archive(tmp_path: Path) -> None:
    queries = QueryPolicy(maximum=3)
    with served(tmp_path / "store", terms=Terms(queries=queries)) as node:
        node.store(_objects(tmp_path)[:20])
        for words in ("", "limit=10"):
            answer = node.get(f"/studies?{words}" if words else "/studies")
            assert len(answer.json) == 3
            assert "additional results" in answer.headers["warning"]
        assert len(node.get("/studies?limit=3&offset=3").json) == 3


# -- what is asked for besides


def test_other_attributes_are_included(archive: Served) -> None:
    (match,) = ask(
        archive,
        "/studies?StudyInstanceUID=1.2.3.1&includefield=StudyDescription,00081048&includefield=PatientAge"
        "&includefield=Modality&includefield=SOPClassUID",
    )
    assert values(match, "StudyDescription") == ["Head 1"]
    assert values(match, "PatientAge") == ["000Y"]
    # What is of series and instances is left out.
    assert tag("Modality") not in match
    assert tag("SOPClassUID") not in match


def test_all_attributes_are_included(archive: Served) -> None:
    (few,) = ask(archive, "/studies?StudyInstanceUID=1.2.3.1")
    (all_of_them,) = ask(archive, "/studies?StudyInstanceUID=1.2.3.1&includefield=all")
    assert few.items() <= all_of_them.items()
    for keyword in ("StudyDescription", "SOPClassesInStudy", "PatientAge", "PatientWeight"):
        assert values(all_of_them, keyword)
    (image,) = ask(archive, "/studies/1.2.3.1/series/1.2.3.1.0/instances?includefield=all&limit=1")
    assert values(image, "ImageType") == ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert values(image, "AvailableTransferSyntaxUID") == ["1.2.840.10008.1.2.1"]
    assert tag("StudyDescription") not in image


def test_the_items_of_a_sequence(archive: Served) -> None:
    (match,) = ask(archive, "/studies/1.2.3.5/series?RequestAttributesSequence.ScheduledProcedureStepID=S5")
    (item,) = values(match, "RequestAttributesSequence")
    assert values(item, "ScheduledProcedureStepID") == ["S5"]
    assert values(item, "RequestedProcedureID") == ["R5"]


# -- what is wrong, and what is not known


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/studies?limit=many", "limit is to be a number of matches"),
        ("/studies?limit=-1", "limit is to be a number of matches"),
        ("/studies?offset=1.5", "offset is to be a number of matches"),
        ("/studies?limit=%D9%A3", "limit is to be a number of matches"),
        ("/studies?fuzzymatching=yes", "fuzzymatching is to be true or false"),
        ("/studies?PatientName=%FF", "the query of the URL is not UTF-8 in percent-encoding"),
        ("/studies?PatientID=a&PatientID=b", "PatientID is in the query of the URL twice"),
        ("/studies/x/series", "the study in the path is not a UID, which is digits and dots, 64 at most"),
        ("/studies/..%2F..%2Fetc/series", None),
        (f"/studies/{'1' * 65}/series", "the study in the path is not a UID"),
        ("/studies/1.2/series/1%00/instances", "the series in the path is not a UID"),
        ("/studies/1.2/series?StudyInstanceUID=1.3", "StudyInstanceUID is in the path already"),
        ("/series?SeriesNumber=1e", "SeriesNumber is a number, which 1e is not"),
        ("/instances?Rows=many", "Rows is a number, which many is not"),
        (
            "/series?RequestAttributesSequence=x",
            "RequestAttributesSequence is a sequence, which has no value",
        ),
        ("/studies?TimezoneOffsetFromUTC=north", "the time zone is not an offset from UTC"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(archive: Served, path: str, said: str | None) -> None:
    answer = archive.get(path)
    assert answer.status == (404 if said is None else 400)
    assert (said or "there is nothing at this address") in answer.body.decode()
    assert answer.body.count(b"\n") == 1
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "private, no-store"


def test_a_parameter_that_is_not_known_is_ignored_and_named(archive: Served) -> None:
    """PS3.18 section 8.3."""
    answer = archive.get("/studies?PatientNam=x&Modality=CT&_=17&PatientID=P_7&x%0d%0aSet-Cookie:%20a=b")
    assert studies(answer.json) == numbered(7)
    assert answer.headers["warning"] == (
        f"299 {archive.url}: These parameters are not supported and have been ignored:"
        " PatientNam, _, x\\r\\nSet-Cookie: a, Modality"
    )
    assert "set-cookie" not in answer.headers
    nested = archive.get("/series?RequestAttributesSequence.PatientAge=x")
    assert len(nested.json) == 32
    assert nested.headers["warning"].endswith("ignored: RequestAttributesSequence.PatientAge")


def test_what_the_archive_never_does_is_said(tmp_path: Path) -> None:
    queries = QueryPolicy(supported=replace(SUPPORTED, fuzzy=False))
    with served(tmp_path / "store", terms=Terms(queries=queries)) as node:
        node.store(_objects(tmp_path)[:4])
        answer = node.get("/studies?fuzzymatching=true")
        assert answer.headers["warning"] == (
            f"299 {node.url}: The fuzzymatching parameter is not supported."
            " Only literal matching has been performed."
        )


# -- representations


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/dicom+json", "application/dicom+json"),
        ("application/json", "application/json"),
        ("*/*", "application/dicom+json"),
        (None, "application/dicom+json"),
        ("application/dicom+json; charset=utf-8, */*;q=0.1", "application/dicom+json"),
        ("text/html, application/json;q=0.5", "application/json"),
    ],
)
def test_json_by_its_names(archive: Served, accept: str | None, kind: str) -> None:
    answer = archive.get("/studies?limit=1", accept)
    assert answer.headers["content-type"] == kind
    assert len(answer.json) == 1


def test_xml_says_the_same(archive: Served) -> None:
    path = "/studies?limit=3"
    answer = archive.get(path, 'multipart/related; type="application/dicom+xml"')
    assert answer.headers["content-type"].startswith('multipart/related; type="application/dicom+xml"')
    space = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
    for (headers, content), match in zip(answer.parts, ask(archive, path), strict=True):
        assert headers["content-type"] == "application/dicom+xml"
        root = ElementTree.fromstring(content)
        attributes = {each.get("tag"): each for each in root.findall(f"{space}DicomAttribute")}
        assert set(attributes) >= set(match)
        uid = attributes[tag("StudyInstanceUID")].findtext(f"{space}Value")
        assert [uid] == values(match, "StudyInstanceUID")


def test_what_is_not_offered_is_refused(archive: Served) -> None:
    assert archive.get("/studies", "image/png").status == 406


def test_a_head_has_the_head_only(archive: Served) -> None:
    got, head = archive.get("/studies?limit=1"), archive.get("/studies?limit=1", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.body))


def test_a_long_answer_is_begun_before_it_is_known(archive: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ask(archive, "/instances")
    for name in ("_FIRST_BYTES", "_CHUNK"):
        monkeypatch.setattr(searching, name, 2000)
    answer = archive.get("/instances")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.json == whole
    limited = archive.get("/instances?limit=60")
    assert limited.json == whole[:60]
    assert "There may be additional results" in limited.headers["warning"]


# -- clients as they are


def test_dicomweb_client(archive: Served) -> None:
    client = DICOMwebClient(archive.url)
    assert len(client.search_for_studies()) == 24
    assert len(client.search_for_series()) == 32
    assert len(client.search_for_instances()) == 64
    assert len(client.search_for_series("1.2.3.3")) == 2
    assert len(client.search_for_instances("1.2.3.3", "1.2.3.3.1")) == 2
    found = client.search_for_studies(
        search_filters={"PatientID": "P_1*", "StudyDate": "20240101-20241231"},
        fields=["StudyDescription"],
        limit=4,
        offset=1,
        fuzzymatching=True,
    )
    assert studies(found) == numbered(18, 17, 16, 14)
    assert values(found[1], "StudyDescription") == ["Head 17"]
    # It asks again until there is no more.
    assert len(client.search_for_studies(limit=7, get_remaining=True)) == 24
    assert Dataset.from_json(json.dumps(found[0])).StudyInstanceUID == "1.2.3.18"


def test_what_a_viewer_asks(archive: Served) -> None:
    """As OHIF asks for its list, in the words that were recorded."""
    fields = quote("00081030,00080060,00080090,00100030", safe="")
    words = f"limit=101&offset=0&fuzzymatching=false&includefield={fields}"
    assert len(ask(archive, f"/studies?{words}")) == 24
    match, *_ = ask(archive, "/studies/1.2.3.3/series?includefield=0008103E%2C00080060%2C00080021")
    assert values(match, "Modality") == ["CT"]


def test_a_long_list_and_many_wild_cards(archive: Served) -> None:
    uids = ",".join(f"1.2.3.{number}" for number in range(5000))
    assert len(ask(archive, f"/studies?StudyInstanceUID={uids}")) == 24
    assert len(ask(archive, f"/studies?{urlencode({'PatientID': '*?' * 200})}")) == 0


def test_many_ask_at_once(archive: Served) -> None:
    """On connections that are used again."""
    connections = [HTTPConnection("127.0.0.1", archive.address[1], timeout=30) for _ in range(40)]
    try:
        for _ in range(3):
            for number, connection in enumerate(connections):
                connection.request("GET", f"/dicom-web/studies?StudyInstanceUID=1.2.3.{number % COUNT}")
            for number, connection in enumerate(connections):
                found = json.loads(connection.getresponse().read())
                assert studies(found) == numbered(number % COUNT)
    finally:
        for connection in connections:
            connection.close()
