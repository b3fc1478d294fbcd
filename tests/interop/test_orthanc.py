"""Orthanc in both roles: C-ECHO, C-STORE, C-FIND, C-MOVE and storage commitment; C-GET, which it does not ask for.

Slow, since Orthanc has to be installed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from tests.support import digest, free_port, is_listening, running_process, serving, tool, wait_until

from dicomnet import AE, Peer, aio, build_context, build_role, evt
from dicomnet.archive.node import Node
from dicomnet.exchange.results import RetrieveProgress
from dicomnet.pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from .corpus import EXPECTED, Sendable, own_data_set, sendables
from .normalized import OUR_SCPS, Asked, data
from .normalized import OUR_SCUS as OUR_NORMALIZED_SCUS
from .peers import OUR_SCPS as OUR_STORAGE_SCPS
from .peers import OUR_SCUS, aio_server
from .test_echo import OUR_SCPS as ECHO_SCPS
from .test_echo import OUR_SCUS as ECHO_SCUS
from .test_find import CLIENTS, QUERIES, ask_by_dcmtk, ask_by_pynetdicom
from .test_retrieve import destination, files

ASKED = (
    "all studies",
    "name, prefix",
    "one date",
    "dates from to",
    "dates to",
    "two UIDs",
    "series",
    "patient, one",
)


@contextlib.contextmanager
def orthanc(folder: Path, **settings: Any) -> Iterator[int]:
    """Orthanc with a store of its own, that everybody may store to and query; without HTTP, unless settings say so."""
    folder.mkdir()
    port: int = settings.get("DicomPort") or free_port()
    configuration = {
        "Name": "test",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "StorageCompression": False,
        "HttpServerEnabled": False,
        "DicomServerEnabled": True,
        "DicomAet": "NODE",
        "DicomPort": port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DefaultEncoding": "Utf8",
        "Plugins": [],
        **settings,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    with running_process([tool("Orthanc"), str(path)], folder):
        wait_until(lambda: is_listening(port), 30, "Orthanc listens")
        yield port


def _kept() -> list[Sendable]:
    """Files that Orthanc keeps as they are, one of each SOP Instance UID."""
    found: dict[str, Sendable] = {}
    for each in sendables():
        if EXPECTED[each.path.name] == 0 and len(own_data_set(each.path)) % 2 == 0:
            found.setdefault(str(dcmread(each.path, force=True).SOPInstanceUID), each)
    return list(found.values())


def _images(paths: Iterable[Path]) -> dict[str, str]:
    """The digest of the pixel data of each object, as pydicom reads it; Orthanc encodes data sets anew."""
    found = {}
    for path in paths:
        data_set = dcmread(path, force=True)
        found[str(data_set.SOPInstanceUID)] = digest(bytes(data_set.get("PixelData") or b""))
    return found


@pytest.mark.parametrize("scu", ECHO_SCUS)
def test_echo(scu: str, tmp_path: Path) -> None:
    with orthanc(tmp_path / "orthanc") as port:
        ECHO_SCUS[scu](port)


@pytest.mark.parametrize("scu", OUR_SCUS)
def test_store(scu: str, tmp_path: Path) -> None:
    files = _kept()
    with orthanc(tmp_path / "orthanc") as port:
        statuses = OUR_SCUS[scu](port, files)
        assert statuses == dict.fromkeys((each.path.name for each in files), 0)
    received = [
        path
        for path in (tmp_path / "orthanc" / "store").glob("*/*/*")
        if path.read_bytes()[128:132] == b"DICM"
    ]
    assert _images(received) == _images(each.path for each in files)


@pytest.mark.parametrize("client", ["dicomnet find", "Peer", "aio.Peer", "AE"])
def test_find(client: str, tmp_path: Path) -> None:
    """Our clients get what those of DCMTK and pynetdicom get."""
    with orthanc(tmp_path / "orthanc") as port:
        OUR_SCUS["Peer"](port, _kept())
        for name in ASKED:
            rows = CLIENTS[client](port, QUERIES[name], tmp_path)
            assert rows, name
            assert rows == ask_by_pynetdicom(port, QUERIES[name], tmp_path), name
            assert rows == ask_by_dcmtk(port, QUERIES[name], tmp_path), name


def _reference(stored: Sendable | None = None) -> Dataset:
    """What refers to an object, or to one that is nowhere."""
    if stored is None:
        return data(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.7", ReferencedSOPInstanceUID="1.2.3.4")
    instance = str(dcmread(stored.path, stop_before_pixels=True).SOPInstanceUID)
    return data(ReferencedSOPClassUID=stored.sop_class, ReferencedSOPInstanceUID=instance)


COMMITMENT = str(StorageCommitmentPushModel)


@pytest.mark.parametrize("name", OUR_NORMALIZED_SCUS)
def test_orthanc_reports_what_it_keeps(name: str, tmp_path: Path) -> None:
    """S041 S043: On an association that Orthanc opens, as SCP."""
    reports: queue.SimpleQueue[tuple[int, Dataset]] = queue.SimpleQueue()

    def on_report(event: Any) -> tuple[int, None]:
        context = event.assoc.accepted_contexts[0]
        assert (context.as_scu, context.as_scp) == (True, False)
        reports.put((event.event_type, event.event_information))
        return 0x0000, None

    waiting = AE("REQUESTOR")
    waiting.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
    server = waiting.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)]
    )
    assert server is not None
    modalities = {"us": ["REQUESTOR", "127.0.0.1", server.server_address[1]]}
    kept = _kept()[0]
    try:
        with orthanc(tmp_path / "orthanc", DicomModalities=modalities) as port:
            OUR_SCUS["Peer"](port, [kept])
            for transaction, references in (
                ("1.2.1", [_reference(kept)]),
                ("1.2.2", [_reference(kept), _reference()]),
            ):
                asked = data(TransactionUID=transaction, ReferencedSOPSequence=references)
                given = (asked, 1, COMMITMENT, StorageCommitmentPushModelInstance)
                replies = OUR_NORMALIZED_SCUS[name](port, [COMMITMENT], [("send_n_action", given, {})])
                assert replies[0][0]["Status"] == 0
                event_type, information = reports.get(timeout=20)
                assert information.TransactionUID == transaction
                assert list(information.ReferencedSOPSequence) == references[:1]
                assert event_type == len(references)
            assert information.FailedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4"
    finally:
        server.shutdown()


@pytest.mark.parametrize("name", OUR_SCPS)
def test_orthanc_is_told_what_we_keep(name: str, tmp_path: Path) -> None:
    """S041."""
    asked: queue.SimpleQueue[Asked] = queue.SimpleQueue()

    def on_action(request: Asked) -> int:
        asked.put(request)
        return 0x0000

    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(OUR_SCPS[name]([COMMITMENT], on_action))
        web = free_port()
        settings = {
            "HttpServerEnabled": True,
            "HttpPort": web,
            "AuthenticationEnabled": False,
            "DicomModalities": {"us": ["ACCEPTOR", "127.0.0.1", ours]},
        }
        port = stack.enter_context(orthanc(tmp_path / "orthanc", **settings))
        wait_until(lambda: is_listening(web), 30, "Orthanc serves HTTP")
        wanted = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "SOPInstanceUID": "1.2.3.4"}
        begun = _call(
            f"http://127.0.0.1:{web}/modalities/us/storage-commitment", {"DicomInstances": [wanted]}
        )
        information = asked.get(timeout=20).dataset
        assert information is not None
        (reference,) = information["ReferencedSOPSequence"]
        assert reference.ReferencedSOPInstanceUID == "1.2.3.4"
        state = f"http://127.0.0.1:{web}/storage-commitment/{begun['ID']}"
        assert _call(state)["Status"] == "Pending"
        report = data(TransactionUID=information["TransactionUID"], ReferencedSOPSequence=[reference])
        assoc = AE("ACCEPTOR").associate(
            "127.0.0.1",
            port,
            [build_context(COMMITMENT)],
            ext_neg=[build_role(COMMITMENT, scp_role=True)],
        )
        assert assoc.is_established
        given = (report, 1, COMMITMENT, StorageCommitmentPushModelInstance)
        assert assoc.send_n_event_report(*given)[0].Status == 0
        assoc.release()
        assert _call(state)["Status"] == "Success"


def _call(address: str, content: Any = None) -> Any:
    """What Orthanc's REST interface answers."""
    body = None if content is None else json.dumps(content).encode()
    with urllib.request.urlopen(urllib.request.Request(address, body), timeout=20) as answer:
        return json.load(answer)


def _by_study() -> dict[str, dict[str, str]]:
    """The digests of pixel data by SOP Instance UID, of each study."""
    studies: dict[str, list[Path]] = {}
    for each in files():
        study = str(dcmread(each.path, stop_before_pixels=True).StudyInstanceUID)
        studies.setdefault(study, []).append(each.path)
    return {study: _images(paths) for study, paths in studies.items()}


@pytest.mark.parametrize("kind", [Peer, aio.Peer])
def test_get_and_move(kind: Any, tmp_path: Path) -> None:
    """Both bring each study whole; it encodes data sets anew."""

    def last_of(port: int, name: str, *arguments: Any, **keys: Any) -> RetrieveProgress:
        async def run() -> list[RetrieveProgress]:
            async with aio.Peer(f"NODE@127.0.0.1:{port}") as peer:
                return [each async for each in getattr(peer, name)(*arguments, **keys)]

        if kind is aio.Peer:
            return asyncio.run(run())[-1]
        with Peer(f"NODE@127.0.0.1:{port}") as peer:
            found: list[RetrieveProgress] = list(getattr(peer, name)(*arguments, **keys))
            return found[-1]

    with destination(tmp_path / "there") as there:
        with orthanc(
            tmp_path / "orthanc", DicomModalities={"DESTINATION": ["DESTINATION", "127.0.0.1", there]}
        ) as port:
            assert set(OUR_SCUS["Peer"](port, files()).values()) == {0}
            for study, wanted in _by_study().items():
                here = tmp_path / f"here{study}"
                got = last_of(port, "get", "study", to=here, StudyInstanceUID=study)
                assert (got.status, got.failed) == (0, 0)
                assert _images(here.iterdir()) == wanted
                moved = last_of(port, "move", "DESTINATION", "study", StudyInstanceUID=study)
                assert (moved.status, moved.failed) == (0, 0)
        assert len(list((tmp_path / "there").iterdir())) == len(files())


# -- Orthanc as the one who asks


@contextlib.contextmanager
def asking(folder: Path, ours: int, **settings: Any) -> Iterator[str]:
    """Orthanc that knows our SCP; gives the address of its REST interface."""
    web = free_port()
    settings = {
        "HttpServerEnabled": True,
        "HttpPort": web,
        "AuthenticationEnabled": False,
        "DicomModalities": {"us": ["ACCEPTOR", "127.0.0.1", ours]},
        **settings,
    }
    with orthanc(folder, **settings):
        wait_until(lambda: is_listening(web), 30, "Orthanc serves HTTP")
        yield f"http://127.0.0.1:{web}"


def _upload(address: str, path: Path) -> str:
    request = urllib.request.Request(f"{address}/instances", path.read_bytes())
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(json.load(answer)["ID"])


@pytest.mark.parametrize("scp", ECHO_SCPS)
def test_orthanc_echoes(scp: str, tmp_path: Path) -> None:
    with ECHO_SCPS[scp](tmp_path) as ours, asking(tmp_path / "orthanc", ours) as address:
        assert _call(f"{address}/modalities/us/echo", {}) == {}


@contextlib.contextmanager
def _node_scp(folder: Path) -> Iterator[tuple[int, Path]]:
    node = Node(folder / "node", address=("127.0.0.1", 0), sync=False)
    node.start()
    try:
        yield node.address[1], folder / "node" / "objects"
    finally:
        node.shutdown()


STORAGE_SCPS = {"node": _node_scp, **OUR_STORAGE_SCPS}


@pytest.mark.parametrize("scp", STORAGE_SCPS)
def test_orthanc_stores(scp: str, tmp_path: Path) -> None:
    with (
        STORAGE_SCPS[scp](tmp_path / "scp") as (ours, received),
        asking(tmp_path / "orthanc", ours) as address,
    ):
        sent = _call(f"{address}/modalities/us/store", [_upload(address, each.path) for each in files()])
        assert (sent["InstancesCount"], sent["FailedInstancesCount"]) == (len(files()), 0)
        # The node gives objects their files after it has answered.
        wait_until(lambda: len(_files_below(received)) == len(files()))
        assert _images(_files_below(received)) == _images(each.path for each in files())


def _files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _find_ae(port: int | None) -> contextlib.AbstractContextManager[int]:
    return _with_find(find_and_move(port), AE("ACCEPTOR"))


@contextlib.contextmanager
def _with_find(handlers: dict[str, Any], ae: AE) -> Iterator[int]:
    for uid in QUERY_MODELS:
        ae.add_supported_context(uid)
    bound: list[evt.EventHandlerType] = [
        (evt.EVENTS[f"EVT_{name.replace('-', '_')}"], each) for name, each in handlers.items()
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=bound)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        ae.shutdown()


def _find_aio(port: int | None) -> contextlib.AbstractContextManager[int]:
    return aio_server(QUERY_MODELS, find_and_move(port))


QUERY_MODELS = ("1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2")
STUDY = "1.2.826.0.1.3680043.10.1234.20"


def find_and_move(port: int | None) -> dict[str, Any]:
    """Handlers that know one study, and send all the files to the one destination."""

    def find(request: Any) -> Iterator[Any]:
        asked = request.dataset if isinstance(request, aio.Request) else request.identifier
        match = data(QueryRetrieveLevel="STUDY", StudyInstanceUID=STUDY, PatientName="Doe^Jane")
        if asked.PatientName == "Doe*":
            yield 0xFF00, match

    def move(request: Any) -> Iterator[Any]:
        asked = request.dataset if isinstance(request, aio.Request) else request.identifier
        yield "127.0.0.1", port, {"ae_title": "NODE"}
        wanted = files() if asked.StudyInstanceUID == STUDY else ()
        yield len(wanted)
        for each in wanted:
            yield 0xFF00, each.path

    return {"C-FIND": find, "C-MOVE": move}


@pytest.mark.parametrize("scp", [_find_ae, _find_aio])
def test_orthanc_finds_and_has_objects_moved(scp: Any, tmp_path: Path) -> None:
    """A query of Orthanc's, and the C-MOVE that its user asks for with an answer of it."""
    incoming = free_port()
    with scp(incoming) as ours, asking(tmp_path / "orthanc", ours, DicomPort=incoming) as address:
        asked = {"Level": "Study", "Query": {"PatientName": "Doe*"}}
        found = _call(f"{address}/modalities/us/query", asked)["ID"]
        assert _call(f"{address}/queries/{found}/answers") == ["0"]
        answer = _call(f"{address}/queries/{found}/answers/0/content?simplify")
        assert (answer["StudyInstanceUID"], answer["PatientName"]) == (STUDY, "Doe^Jane")
        nobody = {"Level": "Study", "Query": {"PatientName": "Roe*"}}
        none = _call(f"{address}/modalities/us/query", nobody)["ID"]
        assert _call(f"{address}/queries/{none}/answers") == []
        _call(f"{address}/queries/{found}/answers/0/retrieve", {"TargetAet": "NODE", "Synchronous": True})
        assert len(_call(f"{address}/instances")) == len(files())


def test_orthanc_has_objects_of_the_node_moved(tmp_path: Path) -> None:
    """Of all kinds and in all transfer syntaxes, by the study, to itself."""
    incoming = free_port()
    with serving(tmp_path / "node", "--destination", f"NODE@127.0.0.1:{incoming}") as node:
        with Peer(node.address) as peer:
            kept: dict[str, Path] = {}
            for result in peer.store([each.path for each in _kept()]):
                # Of two with one UID the first one stays.
                kept.setdefault(result.sop_instance_uid, Path(result.path))
        with asking(tmp_path / "orthanc", node.port, DicomPort=incoming) as address:
            asked = {"Level": "Study", "Query": {"StudyInstanceUID": ""}}
            found = _call(f"{address}/modalities/us/query", asked)["ID"]
            _call(f"{address}/queries/{found}/retrieve", {"TargetAet": "NODE", "Synchronous": True})
            assert len(_call(f"{address}/instances")) == len(kept)
    received = [
        path
        for path in (tmp_path / "orthanc" / "store").glob("*/*/*")
        if path.read_bytes()[128:132] == b"DICM"
    ]
    assert _images(received) == _images(kept.values())
