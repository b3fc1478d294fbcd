"""`dicomnet find` level by level, from files of keys, and sorted and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.cli.command import complaint, run
from tests.cli.conftest import StartPeer
from tests.loops import in_loop

from dicomnet import Peer, aio, evt
from dicomnet.errors import ServiceRefusal
from dicomnet.pynetdicom.sop_class import PatientRootQueryRetrieveInformationModelFind

# Two studies of one series each, with one and with two images; and one without a series.
SERIES = {"1.2.1": ["1.2.1.1"], "1.2.2": ["1.2.2.1"], "1.2.3": []}
IMAGES = {"1.2.1.1": ["1.2.1.1.1"], "1.2.2.1": ["1.2.2.1.1", "1.2.2.1.2"]}


def dataset(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


class Hierarchical:
    """A peer that answers hierarchical queries alone, and refuses what lacks a unique key of a level above."""

    def __init__(self) -> None:
        self.asked: list[Dataset] = []
        self.fails_for: str | None = None

    def __call__(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        keys = event.identifier
        self.asked.append(keys)
        level = keys.QueryRetrieveLevel
        above = {
            "STUDY": [],
            "SERIES": ["StudyInstanceUID"],
            "IMAGE": ["StudyInstanceUID", "SeriesInstanceUID"],
        }
        if not all(keys.get(keyword) for keyword in above[level]):
            yield 0xA900, None
            return
        if self.fails_for is not None and self.fails_for == keys.get("StudyInstanceUID"):
            yield 0xC001, None
            return
        for match in self.matches(level, keys):
            match.QueryRetrieveLevel = level
            yield 0xFF00, match
        yield 0x0000, None

    def matches(self, level: str, keys: Dataset) -> list[Dataset]:
        if level == "STUDY":
            return [
                dataset(StudyInstanceUID=uid, PatientID=f"ID{uid[-1]}", StudyDescription=uid)
                for uid in reversed(SERIES)
                if keys.get("StudyInstanceUID") in ("", None, uid)
            ]
        if level == "SERIES":
            return [
                dataset(
                    StudyInstanceUID=keys.StudyInstanceUID,
                    SeriesInstanceUID=uid,
                    SeriesNumber=uid[4],
                    StudyDescription="",
                )
                for uid in SERIES[keys.StudyInstanceUID]
            ]
        return [
            dataset(SeriesInstanceUID=keys.SeriesInstanceUID, SOPInstanceUID=uid)
            for uid in IMAGES[keys.SeriesInstanceUID]
        ]


@pytest.fixture
def peer() -> Hierarchical:
    return Hierarchical()


@pytest.fixture
def port(peer: Hierarchical, start_peer: StartPeer) -> int:
    return start_peer([(evt.EVT_C_FIND, peer)])


def rows(*arguments: str) -> list[dict[str, Any]]:
    result = run("find", *arguments)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_series_of_all_studies_of_dcmtks_archive(archive: str) -> None:
    """A single query without the study is refused by it, or finds nothing."""
    matches = rows(archive, "--level", "series", "-k", "Modality=CT")
    assert [(match["Modality"], match["PatientID"], match["QueryRetrieveLevel"]) for match in matches] == [
        ("CT", "1CT1", "SERIES")
    ]
    assert {match["PatientID"] for match in rows(archive, "--level", "image", "-q")} == {"1CT1", "4MR1"}


def test_all_levels_of_dcmtks_archive(archive: str) -> None:
    matches = rows(archive, "--all-levels", "-k", "PatientID=1CT1")
    assert [match["QueryRetrieveLevel"] for match in matches] == ["STUDY", "SERIES", "IMAGE"]
    assert {match["PatientName"] for match in matches} == {"CompressedSamples^CT1"}
    assert len({match["StudyInstanceUID"] for match in matches}) == 1


def test_a_walk_is_told_and_keys_are_asked_for_at_their_level(port: int, peer: Hierarchical) -> None:
    keys = ("-k", "StudyDate=20260501", "-k", "Modality=CT", "-k", "SliceThickness=1")
    result = run("find", f"127.0.0.1:{port}", "-L", "image", *keys)
    assert result.returncode == 0
    assert "StudyInstanceUID and SeriesInstanceUID" in result.stderr
    assert [json.loads(line)["SOPInstanceUID"] for line in result.stdout.splitlines()] == [
        uid for study in reversed(SERIES) for series in SERIES[study] for uid in IMAGES[series]
    ]
    for asked in peer.asked:
        level = asked.QueryRetrieveLevel
        assert asked.get("StudyDate") == ("20260501" if level == "STUDY" else None)
        assert asked.get("Modality") == ("CT" if level == "SERIES" else None)
        assert asked.get("SliceThickness") == (1 if level == "IMAGE" else None)


def test_a_level_whose_unique_key_is_given_is_not_asked(port: int, peer: Hierarchical) -> None:
    assert len(rows(f"127.0.0.1:{port}", "-L", "image", "-k", "StudyInstanceUID=1.2.2")) == 2
    assert [asked.QueryRetrieveLevel for asked in peer.asked] == ["SERIES", "IMAGE"]
    assert (
        len(rows(f"127.0.0.1:{port}", "-L", "series", "-k", "StudyInstanceUID=1.2.2", "-k", "PatientID")) == 1
    )
    assert [asked.QueryRetrieveLevel for asked in peer.asked[2:]] == ["STUDY", "SERIES"]


def test_one_query_on_request(port: int, peer: Hierarchical) -> None:
    assert "0xA900" in complaint(run("find", f"127.0.0.1:{port}", "-L", "series", "--relational"), 1)
    assert [asked.QueryRetrieveLevel for asked in peer.asked] == ["SERIES"]


def test_what_is_above_a_match_is_with_it(port: int) -> None:
    found = rows(f"127.0.0.1:{port}", "-L", "series", "-k", "StudyDescription")
    assert [(each["PatientID"], each["StudyDescription"], each["SeriesNumber"]) for each in found] == [
        ("ID2", "1.2.2", 2),
        ("ID1", "1.2.1", 1),
    ]


def test_the_limit_is_of_what_is_reported(port: int) -> None:
    assert len(rows(f"127.0.0.1:{port}", "-L", "image", "--limit", "1")) == 1


def test_a_study_whose_query_fails_costs_its_own_series(port: int, peer: Hierarchical) -> None:
    peer.fails_for = "1.2.2"
    result = run("find", f"127.0.0.1:{port}", "-L", "series")
    assert [json.loads(line)["SeriesInstanceUID"] for line in result.stdout.splitlines()] == ["1.2.1.1"]
    assert result.returncode == 1
    assert "0xC001" in result.stderr


def test_a_match_without_its_unique_key_costs_what_is_below_it(port: int, peer: Hierarchical) -> None:
    matches = peer.matches
    nameless = {"STUDY": [dataset(PatientID="ID0")]}
    peer.matches = lambda level, keys: [*nameless.get(level, []), *matches(level, keys)]  # type: ignore[method-assign]
    result = run("find", f"127.0.0.1:{port}", "-L", "series")
    assert len(result.stdout.splitlines()) == 2
    assert result.returncode == 1
    assert "has no usable StudyInstanceUID" in result.stderr


def test_matches_of_another_study_are_left_out(port: int, peer: Hierarchical) -> None:
    """Of a peer that ignores the key, each study would have had the series of all."""
    matches = peer.matches

    def all_series(level: str, keys: Dataset) -> list[Dataset]:
        if level != "SERIES":
            return matches(level, keys)
        return [each for uid in SERIES for each in matches(level, dataset(StudyInstanceUID=uid))]

    peer.matches = all_series  # type: ignore[method-assign]
    result = run("find", f"127.0.0.1:{port}", "-L", "series")
    found = [json.loads(line)["SeriesInstanceUID"] for line in result.stdout.splitlines()]
    assert found == ["1.2.2.1", "1.2.1.1"]
    assert result.returncode == 1
    assert "left out" in result.stderr


class ByPatient:
    """A peer that knows three patients, and takes wild cards in Patient ID, as PS3.4 section C.2.2.2.4 has them.

    Parameters
    ----------
    ids
        The Patient IDs. Each patient has a study, with the number of its place.
    tells
        Whether studies come with the Patient ID.
    terms
        The Specific Character Set of matches.
    """

    def __init__(self, ids: list[str], *, tells: bool, terms: str = "") -> None:
        self._ids, self._tells, self._terms = ids, tells, terms

    def __call__(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        keys = event.identifier
        asked = str(keys.get("PatientID") or "*")
        for number, each in enumerate(self._ids, 1):
            if not fnmatchcase(each, asked):
                continue
            match = dataset(QueryRetrieveLevel=keys.QueryRetrieveLevel)
            if self._terms:
                match.SpecificCharacterSet = self._terms
            if keys.QueryRetrieveLevel == "STUDY":
                match.StudyInstanceUID = f"1.2.{number}"
            if keys.QueryRetrieveLevel == "PATIENT" or self._tells:
                match.PatientID = each
            yield 0xFF00, match
        yield 0x0000, None


def studies_by_patient(peer: ByPatient, start_peer: StartPeer, *options: str) -> tuple[list[str], int, str]:
    ports = start_peer([(evt.EVT_C_FIND, peer)], contexts=[PatientRootQueryRetrieveInformationModelFind])
    result = run("find", f"127.0.0.1:{ports}", "-P", "-L", "study", "-k", "PatientID", *options)
    found = [json.loads(line).get("StudyInstanceUID") for line in result.stdout.splitlines()]
    return found, result.returncode, result.stderr


@pytest.mark.parametrize("wild", ["A*", "A?1", "*", "?1"])
def test_a_patient_id_of_the_peer_became_a_wild_card(wild: str, start_peer: StartPeer) -> None:
    """The studies of other patients were given as those of the one with that ID."""
    told = ByPatient([wild, "A11", "B1"], tells=True)
    found, status, said = studies_by_patient(told, start_peer)
    assert (found, status) == (["1.2.1", "1.2.2", "1.2.3"], 1)
    assert "matches were left out that do not belong to what was asked for" in said
    untold = ByPatient([wild, "A11", "B1"], tells=False)
    found, status, said = studies_by_patient(untold, start_peer)
    assert (found, status) == (["1.2.2", "1.2.3"], 1)
    assert "matches were left out that do not belong to what was asked for" in said


def test_a_patient_id_of_several_values_was_asked_for_as_a_list(start_peer: StartPeer) -> None:
    found, status, said = studies_by_patient(ByPatient(["A\\B", "C"], tells=False), start_peer)
    assert (found, status) == (["1.2.2"], 1)
    assert "has no usable PatientID" in said


@pytest.mark.parametrize(
    ("bad", "why"), [("\u041f1", "cannot be encoded"), ("A" * 70, "")], ids=["not Latin", "long"]
)
@pytest.mark.filterwarnings("ignore:The value length")
def test_a_patient_id_that_cannot_be_asked_for_ended_the_query(
    bad: str, why: str, start_peer: StartPeer
) -> None:
    """One that the character set cannot hold, or that is too long for a key."""
    peer = ByPatient([bad, "C"], tells=True, terms="ISO_IR 192")
    found, status, said = studies_by_patient(peer, start_peer, "-k", "SpecificCharacterSet=ISO_IR 100")
    assert "1.2.2" in found
    assert "Traceback" not in said
    if why:
        assert (found, status) == (["1.2.2"], 1)
        assert f"what is below a match cannot be asked for: PatientID {why} in" in said


def test_a_tag_and_the_level_are_fields(port: int) -> None:
    """The comma of a tag was taken for one between fields."""
    found = rows(f"127.0.0.1:{port}", "--all-levels", "--fields", "QueryRetrieveLevel,0010,0020,(0020,000D)")
    assert list(found[0].items()) == [
        ("QueryRetrieveLevel", "STUDY"),
        ("PatientID", "ID3"),
        ("StudyInstanceUID", "1.2.3"),
    ]
    assert {each["QueryRetrieveLevel"] for each in found} == {"STUDY", "SERIES", "IMAGE"}


def test_both_peers_walk(port: int, peer: Hierarchical) -> None:
    with Peer(f"127.0.0.1:{port}") as blocking:
        paths = [[each.QueryRetrieveLevel for each in path] for path in blocking.walk("study", is_deep=True)]
    assert paths == [
        ["STUDY"],
        *(["STUDY"], ["STUDY", "SERIES"], ["STUDY", "SERIES", "IMAGE"], ["STUDY", "SERIES", "IMAGE"]),
        *(["STUDY"], ["STUDY", "SERIES"], ["STUDY", "SERIES", "IMAGE"]),
    ]
    peer.fails_for = "1.2.2"
    seen: list[str] = []

    @in_loop
    async def walk() -> None:
        async with aio.Peer(f"127.0.0.1:{port}") as one:
            async for path in one.walk("series"):
                # Each as it comes, since an error follows them.
                seen.append(path[-1].SeriesInstanceUID)  # noqa: PERF401

    with pytest.raises(ServiceRefusal, match="0xC001"):
        walk()
    assert seen == ["1.2.1.1"]


# -- the form of the matches


def table(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_csv_has_the_fields_that_were_asked_for(port: int) -> None:
    result = run(
        "find",
        f"127.0.0.1:{port}",
        "--csv",
        "--fields",
        "PatientID,0020,000D".replace("0020,000D", "0020000D"),
    )
    assert table(result.stdout) == [
        ["PatientID", "StudyInstanceUID"],
        *([f"ID{uid[-1]}", uid] for uid in reversed(SERIES)),
    ]


def test_csv_without_fields_has_the_usual_ones_of_all_levels(port: int) -> None:
    heading, *lines = table(
        run("find", f"127.0.0.1:{port}", "--csv", "--all-levels", "-k", "BodyPartExamined").stdout
    )
    assert heading[:2] == ["QueryRetrieveLevel", "BodyPartExamined"]
    assert len(heading) == len(set(heading))
    assert {"PatientID", "SeriesNumber", "SOPInstanceUID"} <= set(heading)
    assert [line[0] for line in lines].count("IMAGE") == 3
    assert {len(line) for line in lines} == {len(heading)}


def test_csv_of_no_match_has_headings_and_of_a_failure_nothing(start_peer: StartPeer) -> None:
    """Headings came before it was known whether the peer can be reached."""
    port = start_peer([(evt.EVT_C_FIND, lambda event: iter([(0x0000, None)]))])
    assert run("find", f"127.0.0.1:{port}", "--csv", "--fields", "PatientID").stdout == "PatientID\n"
    assert "connection refused" in complaint(run("find", "127.0.0.1:1", "--csv"), 1)


def test_values_in_csv(start_peer: StartPeer) -> None:
    def answer(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        item = dataset(CodeValue="T-1")
        yield (
            0xFF00,
            dataset(
                PatientName='O"Neill, Jim^A',
                ModalitiesInStudy=["CT", "MR"],
                ProcedureCodeSequence=[item],
                StudyID="\n",
            ),
        )
        yield 0x0000, None

    fields = "PatientName,ModalitiesInStudy,ProcedureCodeSequence,AccessionNumber"
    result = run("find", f"127.0.0.1:{start_peer([(evt.EVT_C_FIND, answer)])}", "--csv", "--fields", fields)
    assert table(result.stdout)[1] == ['O"Neill, Jim^A', "CT\\MR", '[{"CodeValue": "T-1"}]', ""]


def test_fields_are_asked_for_and_all_that_is_written(port: int, peer: Hierarchical) -> None:
    found = rows(f"127.0.0.1:{port}", "--fields", "StudyID,PatientID")
    assert [list(each) for each in found] == [["StudyID", "PatientID"]] * 3
    assert peer.asked[0].StudyID == ""


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("PatientID", ["ID1", "ID2", "ID10", None]),
        ("StudyID:desc", ["ID10", "ID2", "ID1", None]),
        ("StudyDate,NumberOfStudyRelatedSeries:desc", ["ID10", "ID1", "ID2", None]),
    ],
)
def test_matches_are_sorted(start_peer: StartPeer, order: str, expected: list[str]) -> None:
    def answer(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        yield 0xFF00, dataset(PatientID="")
        for number, date in ((10, "20260101"), (2, "20260102"), (1, "20260102")):
            yield (
                0xFF00,
                dataset(
                    PatientID=f"ID{number}",
                    StudyID=f"{number:03}",
                    StudyDate=date,
                    NumberOfStudyRelatedSeries=-number + 9,
                ),
            )
        yield 0x0000, None

    found = rows(f"127.0.0.1:{start_peer([(evt.EVT_C_FIND, answer)])}", "--sort", order)
    if order == "PatientID":
        # As text.
        expected = ["ID1", "ID10", "ID2", None]  # type: ignore[list-item]
    assert [each["PatientID"] for each in found] == expected


def test_what_arrived_before_a_failure_is_sorted_and_written(start_peer: StartPeer) -> None:
    def answer(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        yield 0xFF00, dataset(PatientID="B")
        yield 0xFF00, dataset(PatientID="A")
        yield 0xA700, None

    result = run("find", f"127.0.0.1:{start_peer([(evt.EVT_C_FIND, answer)])}", "--sort", "PatientID")
    assert [json.loads(line)["PatientID"] for line in result.stdout.splitlines()] == ["A", "B"]
    assert result.returncode == 1


@pytest.mark.parametrize("option", ["--fields", "--sort"])
def test_a_field_that_does_not_exist(option: str) -> None:
    assert "'Bogus'" in complaint(run("find", "P@127.0.0.1:1", option, "Bogus"), 2)


# -- files of keys

STEP = {"ReferencedSOPInstanceUID": "1.2.9"}


@pytest.mark.parametrize(
    "name",
    ["keywords.json", "model.json", "file.dcm", "data set.dcm"],
    ids=["keywords", "model", "file", "data set"],
)
def test_keys_of_a_file(port: int, peer: Hierarchical, tmp_path: Path, name: str) -> None:
    keys = dataset(
        QueryRetrieveLevel="STUDY",
        PatientName="M\u00fc*",
        SpecificCharacterSet="ISO_IR 100",
        PatientID="1",
        StudyInstanceUID=["1.2.1", "1.2.2"],
        ReferencedStudySequence=[dataset(**STEP)],
        AccessionNumber=None,
    )
    path = tmp_path / name
    if name == "keywords.json":
        told = {
            "QueryRetrieveLevel": "STUDY",
            "PatientName": "M\u00fc*",
            "SpecificCharacterSet": "ISO_IR 100",
            "00100020": "1",
            "StudyInstanceUID": ["1.2.1", "1.2.2"],
            "ReferencedStudySequence": STEP,
            "AccessionNumber": None,
        }
        path.write_bytes(b"\xef\xbb\xbf" + json.dumps(told, ensure_ascii=False).encode())
    elif name == "model.json":
        path.write_text(keys.to_json())
    else:
        keys.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
        if name == "file.dcm":
            keys.SOPClassUID, keys.SOPInstanceUID = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.8"
            keys.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
    rows(f"127.0.0.1:{port}", "--query", str(path), "-k", "PatientID=2", "--relational")
    (asked,) = peer.asked
    assert (asked.QueryRetrieveLevel, asked.PatientName, asked.PatientID) == ("STUDY", "M\u00fc*", "2")
    assert list(asked.StudyInstanceUID) == ["1.2.1", "1.2.2"]
    assert asked.ReferencedStudySequence[0].ReferencedSOPInstanceUID == "1.2.9"
    assert asked.AccessionNumber == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"PatientID": "1",\n "StudyDate" "2"}', "line 2 is not JSON"),
        (b'{"Bogus": "1"}', "'Bogus'"),
        (b'{"PatientID": true}', "PatientID has a value that is neither text nor a number"),
        (b'{"PatientID": "\xff"}', "not UTF-8"),
        (b'{"00100020": {"vr": "SQ", "Value": ["1"]}}', "JSON Model"),
        (b"PatientID=1", "neither JSON nor a DICOM file"),
        (b"", "neither JSON nor a DICOM file"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_query(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "query"
    if content is not None:
        path.write_bytes(content)
    complained = complaint(run("find", "P@127.0.0.1:1", "--query", str(path)), 2)
    assert said in complained
    assert str(path) in complained
