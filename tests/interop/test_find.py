"""C-FIND: what different clients get from our node, and our clients from DCMTK's dcmqrscp, is the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE as ForeignAE  # noqa: N811
from tests.support import ServedNode, dicomnet, run_tool, serving, tool

from dicomnet import AE, Peer, aio, evt

from .corpus import EXPECTED, sendables
from .peers import OUR_SCUS, aio_server, dcmqrscp

MODELS = {"patient": "1.2.840.10008.5.1.4.1.2.1.1", "study": "1.2.840.10008.5.1.4.1.2.2.1"}
UNIQUE = {
    "patient": "PatientID",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "image": "SOPInstanceUID",
}
# What is asked for besides, to be compared between clients.
ASKED = {
    "patient": ("PatientName", "PatientBirthDate", "PatientSex"),
    "study": ("PatientName", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"),
    "series": ("Modality", "SeriesNumber"),
    "image": ("InstanceNumber", "SOPClassUID"),
}


@dataclass(frozen=True, slots=True)
class Query:
    """A query, and which of the objects belong to what it finds, by pydicom."""

    level: str
    keys: dict[str, str]
    matches: Callable[[Dataset], bool]
    model: str = "study"

    @property
    def names(self) -> tuple[str, ...]:
        """All that is asked for."""
        return tuple(dict.fromkeys((UNIQUE[self.level], *ASKED[self.level], *self.keys)))

    @property
    def identifier(self) -> Dataset:
        """As a data set, in UTF-8."""
        identifier = Dataset()
        identifier.SpecificCharacterSet = "ISO_IR 192"
        identifier.QueryRetrieveLevel = self.level.upper()
        with warnings.catch_warnings():
            # Wildcards and ranges are no valid values.
            warnings.simplefilter("ignore")
            for name in self.names:
                setattr(identifier, name, self.keys.get(name, ""))
        return identifier


Row = tuple[str, ...]


def row_of(match: Dataset, query: Query) -> Row:
    """What a match says for what was asked."""
    return tuple(_text(match.get(name)) for name in query.names)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


# -- clients


def ask_by_command(port: int, query: Query, folder: Path) -> set[Row]:
    """``dicomnet find``."""
    keys = [f"--key={name}={query.keys.get(name, '')}" for name in query.names]
    arguments = ["--level", query.level, "--model", query.model, "--json", *keys]
    done = run_tool(dicomnet("find", f"NODE@127.0.0.1:{port}", *arguments))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    found = {tuple(_text(row.get(name)) for name in query.names) for row in rows}
    assert len(found) == len(rows)
    return found


def ask_by_peer(port: int, query: Query, folder: Path) -> set[Row]:
    """`dicomnet.Peer`."""
    keys = {name: query.keys.get(name) for name in query.names}
    with Peer(f"NODE@127.0.0.1:{port}") as peer:
        return {row_of(match, query) for match in peer.find(query.level, model=query.model, **keys)}


def ask_by_aio_peer(port: int, query: Query, folder: Path) -> set[Row]:
    """`dicomnet.aio.Peer`."""
    keys = {name: query.keys.get(name) for name in query.names}

    async def ask() -> set[Row]:
        async with aio.Peer(f"NODE@127.0.0.1:{port}") as peer:
            found = peer.find(query.level, model=query.model, **keys)
            return {row_of(match, query) async for match in found}

    return asyncio.run(ask())


def ask_by_ae(port: int, query: Query, folder: Path, ae: Any = None) -> set[Row]:
    """`dicomnet.AE`, or that of pynetdicom."""
    ae = ae or AE()
    ae.add_requested_context(MODELS[query.model])
    assoc = ae.associate("127.0.0.1", port, ae_title="NODE")
    assert assoc.is_established
    rows, last = set(), None
    for status, match in assoc.send_c_find(query.identifier, MODELS[query.model]):
        last = status.Status
        if match is not None:
            rows.add(row_of(match, query))
    assoc.release()
    assert last == 0x0000
    return rows


def ask_by_pynetdicom(port: int, query: Query, folder: Path) -> set[Row]:
    """pynetdicom's AE."""
    return ask_by_ae(port, query, folder, ForeignAE())


def ask_by_dcmtk(port: int, query: Query, folder: Path) -> set[Row]:
    """DCMTK's findscu."""
    target = folder / f"responses{os.urandom(4).hex()}"
    target.mkdir()
    keys = [
        each
        for name in (
            "SpecificCharacterSet=ISO_IR 192",
            f"QueryRetrieveLevel={query.level.upper()}",
            *(f"{name}={query.keys.get(name, '')}" for name in query.names),
        )
        for each in ("-k", name)
    ]
    arguments = ["-P" if query.model == "patient" else "-S", "-aec", "NODE", "-X", "-od", str(target)]
    done = run_tool([tool("findscu"), *arguments, *keys, "127.0.0.1", str(port)])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Failed" not in done.stderr, done.stderr
    return {row_of(dcmread(path), query) for path in target.iterdir()}


CLIENTS: dict[str, Callable[[int, Query, Path], set[Row]]] = {
    "dicomnet find": ask_by_command,
    "Peer": ask_by_peer,
    "aio.Peer": ask_by_aio_peer,
    "AE": ask_by_ae,
    "DCMTK": ask_by_dcmtk,
    "pynetdicom": ask_by_pynetdicom,
}


# -- the queries


def _name(data_set: Dataset) -> str:
    return _text(data_set.get("PatientName"))


def _date(data_set: Dataset) -> str:
    return _text(data_set.get("StudyDate")).replace(".", "")


LESTRADE = "1.2.826.0.1.3680043.8.498.12406831542731051035295345080039845114"
TWO_STUDIES = ("1.3.6.1.4.1.5962.1.2.1.20040119072730.12322", "1.3.6.1.4.1.5962.1.2.4.20040826185059.5457")

QUERIES = {
    "all studies": Query("study", {}, lambda _: True),
    "name, prefix": Query("study", {"PatientName": "Comp*"}, lambda d: _name(d).startswith("Comp")),
    "name, middle": Query("study", {"PatientName": "*dSam*^?R1"}, lambda d: _name(d).endswith("^MR1")),
    "name, no case": Query("study", {"PatientName": "LESTRADE^g"}, lambda d: _name(d) == "Lestrade^G"),
    "name, Greek": Query("study", {"PatientName": "Διον*"}, lambda d: _name(d).startswith("Διον")),
    "name, Cyrillic": Query("study", {"PatientName": "*бypг"}, lambda d: _name(d).endswith("бypг")),
    "name, Arabic": Query("study", {"PatientName": "قباني^لنزار"}, lambda d: _name(d) == "قباني^لنزار"),
    "name, Hebrew": Query("study", {"PatientName": "שרון*"}, lambda d: _name(d).startswith("שרון")),
    "name, Latin-1": Query("study", {"PatientName": "*R?diger"}, lambda d: _name(d) == "Äneas^Rüdiger"),
    "name, Korean": Query("study", {"PatientName": "김희중"}, lambda d: _name(d) == "김희중"),
    "name, ideographic": Query("study", {"PatientName": "=山田^太郎"}, lambda d: "山田^太郎" in _name(d)),
    "one date": Query("study", {"StudyDate": "20040826"}, lambda d: _date(d) == "20040826"),
    "dates from to": Query(
        "study", {"StudyDate": "20040101-20051231"}, lambda d: "20040101" <= _date(d) <= "20051231"
    ),
    "dates to": Query("study", {"StudyDate": "-20041231"}, lambda d: "" < _date(d) <= "20041231"),
    "dates from": Query("study", {"StudyDate": "20110617-"}, lambda d: _date(d) >= "20110617"),
    "two UIDs": Query(
        "study",
        {"StudyInstanceUID": "\\".join(TWO_STUDIES)},
        lambda d: d.StudyInstanceUID in TWO_STUDIES,
    ),
    "nothing": Query("study", {"PatientName": "Nobody"}, lambda _: False),
    "ID and date": Query(
        "study", {"PatientID": "ID?", "StudyDate": "20170101-"}, lambda d: d.get("PatientID") == "ID1"
    ),
    "series": Query("series", {"StudyInstanceUID": LESTRADE}, lambda d: d.StudyInstanceUID == LESTRADE),
    "series, modality": Query(
        "series",
        {"StudyInstanceUID": TWO_STUDIES[0], "Modality": "CT"},
        lambda d: d.StudyInstanceUID == TWO_STUDIES[0],
    ),
    "patient": Query("patient", {"PatientID": "SCS*"}, lambda d: _id(d).startswith("SCS"), "patient"),
    "patient, one": Query("patient", {"PatientID": "ID1"}, lambda d: _id(d) == "ID1", "patient"),
    "patient's studies": Query("study", {"PatientID": "ID1"}, lambda d: _id(d) == "ID1", "patient"),
    "patient's series": Query(
        "series",
        {"PatientID": "ID1", "StudyInstanceUID": LESTRADE},
        lambda d: d.StudyInstanceUID == LESTRADE,
        "patient",
    ),
}

# A process each, so not all of them.
COMMAND_QUERIES = (
    "all studies",
    "name, Arabic",
    "name, ideographic",
    "dates from to",
    "two UIDs",
    "nothing",
    "series, modality",
    "patient",
    "patient's series",
)


def _id(data_set: Dataset) -> str:
    return _text(data_set.get("PatientID"))


@cache
def objects() -> tuple[Dataset, ...]:
    """What the node stores, as pydicom reads it."""
    found: dict[str, Dataset] = {}
    for each in sendables():
        if EXPECTED[each.path.name] == 0:
            data_set = dcmread(each.path, force=True, stop_before_pixels=True)
            found.setdefault(data_set.SOPInstanceUID, data_set)
    return tuple(found.values())


def expected(query: Query) -> set[str]:
    """The unique keys of what the query finds."""
    return {_text(each.get(UNIQUE[query.level])) for each in objects() if query.matches(each)}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedNode]:
    """Our node with the files."""
    with serving(tmp_path_factory.mktemp("node")) as served:
        assert OUR_SCUS["Peer"](served.port, sendables()) == EXPECTED
        yield served


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_agree(client: str, node: ServedNode, tmp_path: Path) -> None:
    """Each client gets what pydicom finds in the files, and all attributes as our Peer gets them."""
    for name in COMMAND_QUERIES if client == "dicomnet find" else QUERIES:
        query = QUERIES[name]
        rows = CLIENTS[client](node.port, query, tmp_path)
        assert {row[0] for row in rows} == expected(query), name
        assert bool(rows) is (name != "nothing"), name
        assert rows == ask_by_peer(node.port, query, tmp_path), name


@pytest.mark.parametrize("client", ["Peer", "DCMTK"])
def test_every_image_is_found(client: str, node: ServedNode, tmp_path: Path) -> None:
    """From the studies down to the images, each of the files is listed once, in both models where it has an ID."""
    ask = CLIENTS[client]
    series = {(str(each.StudyInstanceUID), str(each.SeriesInstanceUID), _id(each)) for each in objects()}
    for study_uid, series_uid, patient_id in sorted(series):
        keys = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}
        below = {str(each.SOPInstanceUID) for each in objects() if each.SeriesInstanceUID == series_uid}
        rows = ask(node.port, Query("image", keys, lambda _: True), tmp_path)
        assert {row[0] for row in rows} == below
        if patient_id:
            query = Query("image", keys | {"PatientID": patient_id}, lambda _: True, "patient")
            assert {row[0] for row in ask(node.port, query, tmp_path)} == below


def test_patients_by_dcmtk(node: ServedNode, tmp_path: Path) -> None:
    """All patients: what has no Patient ID is a patient of its own."""
    query = Query("patient", {}, lambda _: True, "patient")
    rows = ask_by_dcmtk(node.port, query, tmp_path)
    assert {row[0] for row in rows} == expected(query)
    assert rows == ask_by_peer(node.port, query, tmp_path)


@pytest.mark.parametrize("name", [each.path.name for each in sendables() if each.path.name.startswith("chr")])
def test_character_set_of_the_query(name: str, node: ServedNode) -> None:
    """S023: A name asked for in the file's own character set finds that study, with that name."""
    if EXPECTED[name] != 0:
        return
    data_set = next(each for each in objects() if Path(str(each.filename)).name == name)
    query = Query("study", {"PatientName": str(data_set.PatientName)}, lambda _: True)
    identifier = query.identifier
    identifier.SpecificCharacterSet = data_set.SpecificCharacterSet
    ae = AE()
    ae.add_requested_context(MODELS["study"])
    assoc = ae.associate("127.0.0.1", node.port)
    rows = [match for _, match in assoc.send_c_find(identifier, MODELS["study"]) if match is not None]
    assoc.release()
    # One component group matches any of the three, so others may be found besides.
    found = {match.StudyInstanceUID: str(match.PatientName) for match in rows}
    assert found[data_set.StudyInstanceUID] == str(data_set.PatientName)
    assert all(str(data_set.PatientName) in each for each in found.values())


# dcmqrscp matches names with their case, and as bytes.
PLAIN_QUERIES = [
    name
    for name, query in QUERIES.items()
    if "".join(query.keys.values()).isascii() and name not in ("name, no case", "name, Latin-1")
]


@pytest.fixture(scope="module")
def dcmtk_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """DCMTK's archive with the files that our node takes, of which DCMTK can read each."""
    with dcmqrscp(tmp_path_factory.mktemp("dcmqrscp") / "archive") as port:
        files = [each for each in sendables() if EXPECTED[each.path.name] == 0]
        OUR_SCUS["Peer"](port, files)
        yield port


@pytest.mark.parametrize("client", ["dicomnet find", "Peer", "aio.Peer", "AE"])
def test_our_client_to_dcmqrscp(client: str, dcmtk_archive: int, tmp_path: Path) -> None:
    """Our clients get from DCMTK's archive what DCMTK's and pynetdicom's clients get."""
    for name in PLAIN_QUERIES if client != "dicomnet find" else set(PLAIN_QUERIES) & set(COMMAND_QUERIES):
        query = QUERIES[name]
        rows = CLIENTS[client](dcmtk_archive, query, tmp_path)
        assert rows or name == "nothing", name
        assert rows == ask_by_dcmtk(dcmtk_archive, query, tmp_path), name
        assert rows == ask_by_pynetdicom(dcmtk_archive, query, tmp_path), name


# -- foreign clients to a handler of ours


def _two_studies(request: Any) -> Iterator[tuple[int, Dataset]]:
    asked = request.dataset if isinstance(request, aio.Request) else request.identifier
    assert asked.QueryRetrieveLevel == "STUDY"
    for uid in TWO_STUDIES:
        match = Dataset()
        match.SpecificCharacterSet = "ISO_IR 192"
        match.QueryRetrieveLevel = "STUDY"
        match.StudyInstanceUID, match.PatientName, match.StudyDate = uid, "山田^太郎", "20200101"
        yield 0xFF00, match


@contextlib.contextmanager
def _find_scp() -> Iterator[int]:
    ae = AE("NODE")
    ae.add_supported_context(MODELS["study"])
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, _two_studies)])
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        ae.shutdown()


@pytest.mark.parametrize("scp", ["AE", "aio"])
@pytest.mark.parametrize("client", ["DCMTK", "pynetdicom"])
def test_foreign_client_to_our_scp(client: str, scp: str, tmp_path: Path) -> None:
    server = _find_scp() if scp == "AE" else aio_server([MODELS["study"]], {"C-FIND": _two_studies})
    with server as port:
        rows = CLIENTS[client](port, QUERIES["all studies"], tmp_path)
    assert rows == {(uid, "山田^太郎", "20200101", "", "", "") for uid in TWO_STUDIES}
