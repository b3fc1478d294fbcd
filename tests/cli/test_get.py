"""`dicomnet get`: what DCMTK's archive has, and what compressed objects need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from tests.cli.command import complaint, run, run_on_terminal
from tests.cli.conftest import CT, MR, TEST_FILES
from tests.interop.peers import dcmqrscp
from tests.support import data_set_of

from dicomnet import AE, ALL_TRANSFER_SYNTAXES, evt
from dicomnet.pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

COMPRESSED = TEST_FILES / "MR_small_jp2klossless.dcm"
RLE = TEST_FILES / "SC_rgb_rle.dcm"
COUNTS = "the peer counts: completed 1, with warnings 0, failed 0"


def study_of(path: Path) -> str:
    return str(dcmread(path).StudyInstanceUID)


def object_of(path: Path) -> str:
    return str(dcmread(path).SOPInstanceUID)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """DCMTK's archive with two studies; its address as a peer is written."""
    with dcmqrscp(tmp_path_factory.mktemp("archive") / "archive") as port:
        address = f"NODE@127.0.0.1:{port}"
        assert run("store", address, CT, MR).returncode == 0
        yield address


def is_ct(path: Path) -> bool:
    """Whether it is the CT image; the archive encodes data sets anew."""
    return path.name == f"{object_of(CT)}.dcm" and dcmread(path).PixelData == dcmread(CT).PixelData


@pytest.mark.parametrize(
    "options",
    [
        ("-k", f"StudyInstanceUID={study_of(CT)}"),
        ("-k", "PatientID=1CT1"),
        ("-P", "-L", "patient", "-k", "0010,0020=1CT1"),
        ("-L", "study", "-k", f"StudyInstanceUID={study_of(CT)}\\1.2.3"),
        ("-k", f"StudyInstanceUID={study_of(CT)}", "--sop-class", "CTImageStorage"),
    ],
)
def test_a_study_arrives(archive: str, tmp_path: Path, options: tuple[str, ...]) -> None:
    result = run("get", archive, *options, "--to", tmp_path / "new" / "folder")
    said = (result.stdout, result.stderr, result.returncode)
    assert said == (f"retrieved 1; {COUNTS}\n", "", 0)
    (path,) = (tmp_path / "new" / "folder").iterdir()
    assert is_ct(path)


@pytest.mark.parametrize("key", [f"StudyInstanceUID={study_of(CT)}", "PatientID=1CT1"])
def test_an_archive_that_does_not_tell_the_classes(archive: str, tmp_path: Path, key: str) -> None:
    result = run("get", archive, "-k", key, "--any-syntax", "--to", tmp_path)
    assert result.returncode == 0
    assert "--sop-class" in result.stderr
    (path,) = tmp_path.iterdir()
    assert is_ct(path)


def test_without_a_folder_it_is_the_current_one(archive: str, tmp_path: Path) -> None:
    assert run("get", archive, "-k", "PatientID=1CT1", "-q", cwd=tmp_path).stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == [f"{object_of(CT)}.dcm"]


def test_responses_are_lines_of_json(archive: str, tmp_path: Path) -> None:
    result = run("get", archive, "-k", "PatientID=1CT1", "--to", tmp_path, "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines[-1] == {
        "status": 0,
        "remaining": None,
        "completed": 1,
        "warnings": 0,
        "failed": 0,
        "failed_uids": [],
        "comment": None,
        "received": 1,
        "local_failures": [],
    }
    assert result.stderr == f"retrieved 1; {COUNTS}\n"


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "plain"])
def test_progress_on_a_terminal(archive: str, tmp_path: Path, rich: bool) -> None:
    screen = run_on_terminal("get", archive, "-k", "PatientID=1CT1", "--to", tmp_path, rich=rich)
    assert screen.returncode == 0
    assert f"retrieved 1; {COUNTS}" in screen.text
    assert ("retrieving" if rich else "1 of 1 objects") in screen.text


def test_what_does_not_match_retrieves_nothing(archive: str, tmp_path: Path) -> None:
    result = run("get", archive, "-k", "StudyInstanceUID=1.2.3", "--to", tmp_path)
    assert (result.stdout, result.returncode) == (
        f"retrieved 0; {COUNTS.replace('1', '0')}\n",
        0,
    )
    said = complaint(run("get", archive, "-k", "StudyInstanceUID=1.2.3", "--any-syntax", cwd=tmp_path), 1)
    assert "nothing that matches" in said


MODELS_OF_FIND = (
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)
MODELS_OF_GET = (PatientRootQueryRetrieveInformationModelGet, StudyRootQueryRetrieveInformationModelGet)
KEYS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def matches(identifier: Dataset, path: Path) -> Dataset | None:
    """What a strict peer answers for an object: with the keys that it was asked for."""
    level = ["PATIENT", "STUDY", "SERIES", "IMAGE"].index(identifier.QueryRetrieveLevel)
    assert all(identifier.get(key) for key in KEYS[1:level]), "the keys of the levels above are unique"
    assert not any(key in identifier for key in KEYS[level + 1 :])
    dataset, answer = dcmread(path), Dataset()
    for element in identifier:
        value = dataset.get(element.keyword)
        if element.keyword in KEYS and element.value and value not in (element.value, *element.value):
            return None
        if element.keyword != "QueryRetrieveLevel":
            setattr(answer, element.keyword, value)
    answer.QueryRetrieveLevel = identifier.QueryRetrieveLevel
    return answer


@pytest.fixture
def compressed(request: pytest.FixtureRequest) -> Iterator[str]:
    """A peer with objects that it cannot decompress; it tells their classes unless the test does not want that."""
    files = (CT, COMPRESSED, RLE)
    has_classes = getattr(request, "param", True)

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for path in files:
            match = matches(event.identifier, path)
            if match is not None:
                if not has_classes:
                    match.pop("SOPClassUID", None)
                yield 0xFF00, match

    def get(event: evt.Event) -> Iterator[Any]:
        found = [path for path in files if matches(event.identifier, path)]
        yield len(found)
        for path in found:
            yield 0xFF00, path

    ae = AE("NODE")
    for uid in (*MODELS_OF_FIND, *MODELS_OF_GET):
        ae.add_supported_context(uid)
    for path in files:
        ae.add_supported_context(
            dcmread(path).SOPClassUID, ALL_TRANSFER_SYNTAXES, scu_role=True, scp_role=True
        )
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find), (evt.EVT_C_GET, get)]
    )
    assert server is not None
    try:
        yield f"NODE@127.0.0.1:{server.server_address[1]}"
    finally:
        ae.shutdown()


@pytest.mark.parametrize(
    "options",
    [
        ("-k", f"StudyInstanceUID={study_of(COMPRESSED)}"),
        ("-k", f"PatientID={dcmread(COMPRESSED).PatientID}"),
        ("-L", "study", "-k", f"StudyInstanceUID={study_of(COMPRESSED)}\\1.2.3"),
        (
            "-L",
            "image",
            *("-k", f"StudyInstanceUID={study_of(COMPRESSED)}"),
            *("-k", f"SeriesInstanceUID={dcmread(COMPRESSED).SeriesInstanceUID}"),
            *("-k", f"SOPInstanceUID={object_of(COMPRESSED)}"),
        ),
    ],
)
def test_a_compressed_object_comes_as_it_is(
    compressed: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    result = run("get", compressed, *options, "--any-syntax", "--to", tmp_path)
    assert (result.stderr, result.returncode) == ("", 0)
    (path,) = tmp_path.iterdir()
    assert data_set_of(path) == data_set_of(COMPRESSED)


def test_what_fails_is_named(compressed: str, tmp_path: Path) -> None:
    """Without that, no context is proposed in which the peer could send it."""
    keys = ("-k", f"StudyInstanceUID={study_of(COMPRESSED)}")
    result = run("get", compressed, *keys, "--to", tmp_path)
    assert result.returncode == 1
    assert result.stdout == "retrieved 0; the peer counts: completed 0, with warnings 0, failed 1\n"
    first, second = result.stderr.splitlines()
    assert first == f"failed: {object_of(COMPRESSED)}"
    assert second.startswith("dicomnet get: the peer answered with status 0xA702")
    assert list(tmp_path.iterdir()) == []
    result = run("get", compressed, *keys, "--to", tmp_path, "--json")
    (line,) = (line for line in map(json.loads, result.stdout.splitlines()) if line["status"] != 0xFF00)
    assert line["failed_uids"] == [object_of(COMPRESSED)]


@pytest.mark.parametrize("compressed", [False], indirect=True)
@pytest.mark.parametrize("options", [(), ("--sop-class", str(dcmread(COMPRESSED).SOPClassUID))])
def test_a_peer_that_does_not_tell_the_classes(
    compressed: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    key = f"StudyInstanceUID={study_of(COMPRESSED)}"
    result = run("get", compressed, "-k", key, "--any-syntax", "--to", tmp_path, *options)
    assert ("--sop-class" in result.stderr, result.returncode) == (not options, 0)
    (path,) = tmp_path.iterdir()
    assert data_set_of(path) == data_set_of(COMPRESSED)


def with_value(match: Dataset, keyword: str, value: object) -> Dataset:
    """The match with a value that pydicom would complain of."""
    if value is None:
        del match[keyword]
    else:
        match[keyword] = DataElement(keyword, "UI", value, validation_mode=0)
    return match


@contextmanager
def naming_classes(values: list[object], keyword: str = "SOPClassUID") -> Iterator[tuple[str, list[Any]]]:
    """A peer with the objects CT and RLE, which names those classes in further matches; what is proposed to it."""
    files = (CT, RLE)
    proposed: list[Any] = []

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for path in files:
            match, asked = dcmread(path), event.identifier
            if any(asked.get(key) and asked[key].value != match[key].value for key in KEYS[1:]):
                continue
            answer = Dataset()
            for key in (element.keyword for element in asked):
                setattr(answer, key, asked[key].value if "Level" in key else match.get(key))
            if path == CT and keyword in answer:
                for value in values:
                    yield 0xFF00, with_value(deepcopy(answer), keyword, value)
            if path != CT or keyword not in answer:
                yield 0xFF00, answer

    def get(event: evt.Event) -> Iterator[Any]:
        proposed.extend(event.assoc.requestor.requested_contexts)
        yield 1
        yield 0xFF00, RLE

    ae = AE("NODE")
    for uid in (*MODELS_OF_FIND, *MODELS_OF_GET):
        ae.add_supported_context(uid)
    ae.add_supported_context(dcmread(RLE).SOPClassUID, ALL_TRANSFER_SYNTAXES, scu_role=True, scp_role=True)
    handlers: list[Any] = [(evt.EVT_C_FIND, find), (evt.EVT_C_GET, get)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield f"NODE@127.0.0.1:{server.server_address[1]}", proposed
    finally:
        ae.shutdown()


MR_CLASS, CT_CLASS = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2"
UNTOLD = "the peer does not tell the SOP class in {} matches"


@pytest.mark.parametrize(
    ("values", "classes", "said"),
    [
        ([CT_CLASS], {CT_CLASS}, ()),
        ([[MR_CLASS, CT_CLASS]], {MR_CLASS, CT_CLASS}, ()),
        ([[MR_CLASS, "hello world"]], {MR_CLASS}, ("'hello world'",)),
        (["hello world"], set(), ("'hello world'", UNTOLD.format("1 of 2"))),
        (["1.2.\xfc"], set(), ("'1.2.\\xfc'", UNTOLD.format("1 of 2"))),
        (["1.2." + "9" * 86], set(), ("'1.2.99999", UNTOLD.format("1 of 2"))),
        (["1..2", MR_CLASS], {MR_CLASS}, ("'1..2'", UNTOLD.format("1 of 3"))),
        ([""], set(), (UNTOLD.format("1 of 2"),)),
        ([None, CT_CLASS, "x"], {CT_CLASS}, ("'x'", UNTOLD.format("2 of 4"))),
    ],
)
def test_a_bad_sop_class_in_a_match_cost_the_good_ones(
    tmp_path: Path, values: list[object], classes: set[str], said: tuple[str, ...]
) -> None:
    with naming_classes(values) as (address, proposed):
        result = run("get", address, "-L", "study", "-k", "PatientID=1", "--any-syntax", "--to", tmp_path)
    assert result.returncode == 0, result.stderr
    assert all(each in result.stderr for each in said), result.stderr
    assert bool(result.stderr) == bool(said)
    own = {str(dcmread(RLE).SOPClassUID), MODELS_OF_GET[1]}
    assert {context.abstract_syntax for context in proposed} == classes | own
    (path,) = tmp_path.iterdir()
    assert data_set_of(path) == data_set_of(RLE)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", ["1.2.\xfc", "", None])
def test_a_bad_unique_key_in_a_match_cost_the_others(tmp_path: Path, keyword: str, value: object) -> None:
    with naming_classes([value], keyword) as (address, _):
        result = run("get", address, "-L", "study", "-k", "PatientID=1", "--any-syntax", "--to", tmp_path)
    assert result.returncode == 0, result.stderr
    assert UNTOLD.format("1 of 2") in result.stderr
    (path,) = tmp_path.iterdir()
    assert data_set_of(path) == data_set_of(RLE)


def test_bad_classes_alone_leave_the_usual_ones(tmp_path: Path) -> None:
    with naming_classes(["hello", ""]) as (address, proposed):
        result = run(
            "get", address, "-L", "study", "-k", "PatientID=1", "--any-syntax", "--to", tmp_path, "-q"
        )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert len(proposed) > 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "StudyInstanceUID"),
        (("-k", "PatientName=DOE*"), "--level"),
        (("-k", "Bogus=1"), "'Bogus'"),
        (("-k", "QueryRetrieveLevel=FRAME"), "'FRAME'"),
        (("-k", "PatientID=1", "--sop-class", "Bogus"), "'Bogus'"),
        (("-k", "PatientID=1", "--model", "worklist"), "'worklist'"),
        (
            ("-k", "PatientID=1", *(word for n in range(64) for word in ("--sop-class", f"1.2.{n}"))),
            "too many",
        ),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(arguments: tuple[str, ...], named: str) -> None:
    assert named in complaint(run("get", "127.0.0.1:1", *arguments), 2)


def test_a_folder_that_cannot_be_made(archive: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = complaint(run("get", archive, "-k", "PatientID=1CT1", "--to", tmp_path / "file"), 1)
    assert str(tmp_path / "file") in said


def test_nobody_listens(tmp_path: Path) -> None:
    said = complaint(run("get", "127.0.0.1:1", "-k", "PatientID=1CT1", "--to", tmp_path), 1)
    assert "connection refused" in said
