"""C-GET and C-MOVE between our SCUs and SCPs and those of DCMTK and pynetdicom, with the files that pydicom ships."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pynetdicom
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from tests.retrieving import GET, MODELS, MOVE, PENDING, in_thread
from tests.support import digests_below, free_port, run_tool, tool, wait_until

from dicomnet import AE, Peer, aio, build_context, build_role, evt
from dicomnet.drivers.files import open_object
from dicomnet.errors import ServiceRefusal
from dicomnet.exchange.results import RetrieveProgress

from .corpus import EXPECTED, KEPT_ALREADY, Sendable, pairs, sendables
from .peers import OUR_SCUS, contexts_of, dcmqrscp

GOLDEN = Path(__file__).parents[1] / "golden"
# It has an IS that is no number, so that pydicom warns of encoding it anew.
BAD_VALUE = "badVR.dcm"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


@cache
def files() -> tuple[Sendable, ...]:
    """Objects in Explicit VR Little Endian that every peer takes as they are, each once."""
    found: dict[str, Sendable] = {}
    for each in sendables():
        name = each.path.name
        is_kept = EXPECTED[name] == 0 and name not in KEPT_ALREADY
        if is_kept and name != BAD_VALUE and each.transfer_syntax == EXPLICIT:
            found.setdefault(open_object(each.path).header.sop_instance_uid, each)
    assert len(found) > 20
    return tuple(found.values())


def digests() -> Counter[str]:
    return Counter(each.digest for each in files())


def classes() -> list[str]:
    return sorted({each.sop_class for each in files()})


# -- our SCPs, which give all the files


def handlers(
    port: int | None, paths: Callable[[], tuple[Sendable, ...]] = files
) -> dict[str, Callable[[Any], Iterator[Any]]]:
    """For both services; objects are moved to a port of this machine."""

    def get(request: Any) -> Iterator[Any]:
        yield len(paths())
        for each in paths():
            yield PENDING, each.path

    def move(request: Any) -> Iterator[Any]:
        yield "127.0.0.1", port
        yield from get(request)

    return {"C-GET": get, "C-MOVE": move}


@contextlib.contextmanager
def ae_scp(port: int | None, **options: Any) -> Iterator[int]:
    """`dicomnet.AE`."""
    ae = AE("NODE")
    for uid in MODELS.values():
        ae.add_supported_context(uid)
    for uid in classes():
        ae.add_supported_context(uid, [EXPLICIT, IMPLICIT], scu_role=True, scp_role=True)
    bound: list[evt.EventHandlerType] = [
        (evt.EVENTS[f"EVT_{name.replace('-', '_')}"], each)
        for name, each in handlers(port, **options).items()
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=bound)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        ae.shutdown()


@contextlib.contextmanager
def aio_scp(port: int | None) -> Iterator[int]:
    """`dicomnet.aio.serve`."""
    contexts = {uid: [EXPLICIT, IMPLICIT] for uid in [*MODELS.values(), *classes()]}

    async def serve() -> aio.AssociationServer:
        return await aio.serve(
            ("127.0.0.1", 0), contexts, handlers(port), roles=dict.fromkeys(classes(), (True, True))
        )

    with in_thread(serve) as scp_port:
        yield scp_port


OUR_SCPS: dict[str, Any] = {"AE": ae_scp, "aio": aio_scp}


@contextlib.contextmanager
def pynetdicom_scp(port: int | None) -> Iterator[int]:
    """pynetdicom's AE, which wants data sets."""

    def decoded(handler: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
        def handle(event: Any) -> Iterator[Any]:
            for each in handler(event):
                is_object = isinstance(each, tuple) and each[0] == PENDING
                yield (PENDING, dcmread(each[1])) if is_object else each

        return handle

    ae = pynetdicom.AE("NODE")
    for uid in MODELS.values():
        ae.add_supported_context(uid)
    for uid in classes():
        ae.add_supported_context(uid, EXPLICIT, scu_role=True, scp_role=True)
        ae.add_requested_context(uid, EXPLICIT)
    bound: Any = [
        (getattr(pynetdicom.evt, f"EVT_{name.replace('-', '_')}"), decoded(each))
        for name, each in handlers(port).items()
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=bound)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@contextlib.contextmanager
def destination(folder: Path) -> Iterator[int]:
    """A storage SCP that keeps what it gets in a folder."""
    folder.mkdir()

    def store(event: evt.Event) -> int:
        (folder / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    ae = AE("DESTINATION")
    for uid, syntaxes in contexts_of(pairs()).items():
        ae.add_supported_context(uid, syntaxes)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        ae.shutdown()


# -- foreign SCUs to our SCPs


@pytest.mark.parametrize("scp", OUR_SCPS)
def test_getscu_of_dcmtk(scp: str, tmp_path: Path) -> None:
    with OUR_SCPS[scp](None) as port:
        done = run_tool(
            [
                tool("getscu"),
                "-v",
                "-P",
                "+B",
                "-od",
                str(tmp_path),
                "-k",
                "QueryRetrieveLevel=PATIENT",
                "-k",
                "PatientID=1",
                "-aec",
                "NODE",
                "127.0.0.1",
                str(port),
            ]
        )
    assert done.returncode == 0, done.stderr
    assert Counter(digests_below(tmp_path).values()) == digests()


@pytest.mark.parametrize("scp", OUR_SCPS)
def test_movescu_of_dcmtk(scp: str, tmp_path: Path) -> None:
    """With DCMTK's storage SCP in the same process as the destination."""
    incoming = free_port()
    with OUR_SCPS[scp](incoming) as port:
        done = run_tool(
            [
                tool("movescu"),
                "-v",
                "-P",
                "+B",
                "+xe",
                "--port",
                str(incoming),
                "-k",
                "QueryRetrieveLevel=PATIENT",
                "-k",
                "PatientID=1",
                "-aec",
                "NODE",
                "-aem",
                "HERE",
                "127.0.0.1",
                str(port),
            ],
            cwd=tmp_path,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert Counter(digests_below(tmp_path).values()) == digests()


@pytest.mark.parametrize("scp", OUR_SCPS)
def test_movescu_of_dcmtk_to_a_destination_that_is_not_there(scp: str, tmp_path: Path) -> None:
    with OUR_SCPS[scp](free_port()) as port:
        done = run_tool(
            [
                tool("movescu"),
                "-d",
                "-P",
                "-k",
                "QueryRetrieveLevel=PATIENT",
                "-k",
                "PatientID=1",
                "-aem",
                "NOBODY",
                "127.0.0.1",
                str(port),
            ],
            cwd=tmp_path,
        )
    assert done.returncode == 69, done.stdout + done.stderr
    assert "0xa801" in done.stdout + done.stderr


@pytest.mark.parametrize("scp", OUR_SCPS)
def test_getscu_of_pynetdicom(scp: str, tmp_path: Path) -> None:
    with OUR_SCPS[scp](None) as port:
        done = run_tool(
            [
                sys.executable,
                "-m",
                "pynetdicom",
                "getscu",
                "-v",
                "-P",
                "-od",
                str(tmp_path),
                "-k",
                "QueryRetrieveLevel=PATIENT",
                "-k",
                "PatientID=1",
                "127.0.0.1",
                str(port),
            ]
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.iterdir())) == len(files())
    assert f"Completed: {len(files())}" in done.stdout + done.stderr or "Success" in done.stdout + done.stderr


@pytest.mark.parametrize("scp", OUR_SCPS)
def test_movescu_of_pynetdicom(scp: str, tmp_path: Path) -> None:
    with destination(tmp_path / "there") as there, OUR_SCPS[scp](there) as port:
        ae = pynetdicom.AE()
        ae.add_requested_context(MOVE)
        assoc = ae.associate("127.0.0.1", port, ae_title="NODE")
        assert assoc.is_established
        replies = [status for status, _ in assoc.send_c_move(everything(), "DESTINATION", MOVE)]
        assoc.release()
    assert [status.Status for status in replies] == [PENDING] * len(files()) + [0x0000]
    assert replies[-1].NumberOfCompletedSuboperations == len(files())
    assert Counter(digests_below(tmp_path / "there").values()) == digests()


# -- our SCUs to foreign SCPs


def get_by_peer(port: int, folder: Path, patient: str = "*") -> RetrieveProgress:
    """`dicomnet.Peer`."""
    with Peer(f"NODE@127.0.0.1:{port}") as peer:
        return list(peer.get("patient", to=folder, PatientID=patient))[-1]


def get_by_aio_peer(port: int, folder: Path, patient: str = "*") -> RetrieveProgress:
    """`dicomnet.aio.Peer`."""

    async def get() -> RetrieveProgress:
        async with aio.Peer(f"NODE@127.0.0.1:{port}") as peer:
            return [each async for each in peer.get("patient", to=folder, PatientID=patient)][-1]

    return asyncio.run(get())


def get_by_ae(port: int, folder: Path, patient: str = "*") -> RetrieveProgress:
    """`dicomnet.AE`, as a program of pynetdicom does it."""
    folder.mkdir(exist_ok=True)

    def store(event: evt.Event) -> int:
        (folder / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    contexts = [build_context(GET), *(build_context(uid, [EXPLICIT]) for uid in classes())]
    roles = [build_role(uid, scp_role=True) for uid in classes()]
    assoc = AE().associate(
        "127.0.0.1",
        port,
        contexts,
        ae_title="NODE",
        ext_neg=roles,
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    assert assoc.is_established
    last = [status for status, _ in assoc.send_c_get(everything(patient), GET)][-1]
    assoc.release()
    return progress_of(last)


def progress_of(status: Dataset) -> RetrieveProgress:
    names = ("Completed", "Failed", "Warning")
    numbers = [int(status[f"NumberOf{name}Suboperations"].value) for name in names]
    completed, failed, warnings = numbers
    return RetrieveProgress(int(status.Status), 0, completed, failed, warnings)


def everything(patient: str = "*") -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "PATIENT"
    identifier.PatientID = patient
    return identifier


OUR_GETS: Mapping[str, Callable[..., RetrieveProgress]] = {
    "Peer": get_by_peer,
    "aio.Peer": get_by_aio_peer,
    "AE": get_by_ae,
}


@pytest.mark.parametrize("scu", OUR_GETS)
def test_our_c_get_to_pynetdicom(scu: str, tmp_path: Path) -> None:
    """It encodes the data sets anew."""
    with pynetdicom_scp(None) as port:
        last = OUR_GETS[scu](port, tmp_path)
    assert (last.status, last.completed) == (0x0000, len(files()))
    assert len(list(tmp_path.iterdir())) == len(files())


@pytest.mark.parametrize("scu", OUR_GETS)
@pytest.mark.parametrize("scp", OUR_SCPS)
def test_our_c_get_to_our_scp(scu: str, scp: str, tmp_path: Path) -> None:
    with OUR_SCPS[scp](None) as port:
        last = OUR_GETS[scu](port, tmp_path)
    assert (last.status, last.completed) == (0x0000, len(files()))
    assert Counter(digests_below(tmp_path).values()) == digests()


def move_by_peer(port: int, patient: str = "*") -> RetrieveProgress:
    """`dicomnet.Peer`."""
    with Peer(f"NODE@127.0.0.1:{port}") as peer:
        return list(peer.move("DESTINATION", "patient", PatientID=patient))[-1]


def move_by_aio_peer(port: int, patient: str = "*") -> RetrieveProgress:
    """`dicomnet.aio.Peer`."""

    async def move() -> RetrieveProgress:
        async with aio.Peer(f"NODE@127.0.0.1:{port}") as peer:
            return [each async for each in peer.move("DESTINATION", "patient", PatientID=patient)][-1]

    return asyncio.run(move())


def move_by_ae(port: int, patient: str = "*") -> RetrieveProgress:
    """`dicomnet.AE`, as a program of pynetdicom does it."""
    assoc = AE().associate("127.0.0.1", port, [build_context(MOVE)], ae_title="NODE")
    assert assoc.is_established
    last = [status for status, _ in assoc.send_c_move(everything(patient), "DESTINATION", MOVE)][-1]
    assoc.release()
    return progress_of(last)


OUR_MOVES: Mapping[str, Callable[..., RetrieveProgress]] = {
    "Peer": move_by_peer,
    "aio.Peer": move_by_aio_peer,
    "AE": move_by_ae,
}


@pytest.mark.parametrize("scu", OUR_MOVES)
@pytest.mark.parametrize("scp", [*OUR_SCPS, "pynetdicom"])
def test_our_c_move(scu: str, scp: str, tmp_path: Path) -> None:
    with destination(tmp_path / "there") as there:
        with {**OUR_SCPS, "pynetdicom": pynetdicom_scp}[scp](there) as port:
            last = OUR_MOVES[scu](port)
    assert (last.status, last.completed) == (0x0000, len(files()))
    received = Counter(digests_below(tmp_path / "there").values())
    assert received == digests() if scp != "pynetdicom" else len(received) > 20


# -- DCMTK's archive


@pytest.fixture(scope="module")
def dcmtk_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """DCMTK's archive with the files, and where it moves them to."""
    folder = tmp_path_factory.mktemp("dcmqrscp")
    with destination(folder / "there") as there:
        with dcmqrscp(folder / "archive", {"DESTINATION": there}) as port:
            statuses = OUR_SCUS["Peer"](port, files())
            assert set(statuses.values()) == {0}
            yield port, folder / "there"


def patients() -> dict[str, list[Sendable]]:
    """The files by Patient ID, of those that have one that can be asked for."""
    found: dict[str, list[Sendable]] = {}
    for each in files():
        patient = str(dcmread(each.path, stop_before_pixels=True).get("PatientID") or "")
        if patient:
            found.setdefault(patient, []).append(each)
    return found


@pytest.mark.parametrize("scu", OUR_GETS)
def test_our_c_get_to_dcmqrscp(scu: str, dcmtk_archive: tuple[int, Path], tmp_path: Path) -> None:
    """What it sends is what it sends to DCMTK's own getscu."""
    port, _ = dcmtk_archive
    for index, (patient, wanted) in enumerate(patients().items()):
        ours, theirs = tmp_path / f"ours{index}", tmp_path / f"theirs{index}"
        theirs.mkdir()
        last = OUR_GETS[scu](port, ours, patient)
        assert (last.status, last.completed) == (0x0000, len(wanted)), last
        done = run_tool(
            [
                tool("getscu"),
                "-P",
                "+B",
                "-od",
                str(theirs),
                "-k",
                "QueryRetrieveLevel=PATIENT",
                "-k",
                f"PatientID={patient}",
                "-aec",
                "NODE",
                "127.0.0.1",
                str(port),
            ]
        )
        assert done.returncode == 0, done.stderr
        assert sorted(digests_below(ours).values()) == sorted(digests_below(theirs).values())


@pytest.mark.parametrize("scu", OUR_MOVES)
def test_our_c_move_to_dcmqrscp(scu: str, dcmtk_archive: tuple[int, Path]) -> None:
    port, there = dcmtk_archive
    patient, wanted = next(iter(patients().items()))
    for path in there.iterdir():
        path.unlink()
    last = OUR_MOVES[scu](port, patient)
    assert (last.status, last.completed) == (0x0000, len(wanted)), last
    wait_until(lambda: len(list(there.iterdir())) == len(wanted))


def test_a_destination_that_dcmqrscp_does_not_know(dcmtk_archive: tuple[int, Path]) -> None:
    port, _ = dcmtk_archive
    patient = next(iter(patients()))
    with Peer(f"NODE@127.0.0.1:{port}") as peer, pytest.raises(ServiceRefusal) as caught:
        list(peer.move("NOBODY", "patient", PatientID=patient))
    assert caught.value.status == 0xA801


# -- every transfer syntax


def test_objects_of_every_transfer_syntax(tmp_path: Path) -> None:
    """With a context for each need, nothing is encoded anew; a C-MOVE finds out what it needs."""
    wanted = tuple(
        {
            open_object(each.path).header.sop_instance_uid: each
            for each in sendables()
            if EXPECTED[each.path.name] == 0
        }.values()
    )
    contexts = contexts_of([(each.sop_class, each.transfer_syntax) for each in wanted])
    ae = AE("NODE")
    ae.add_supported_context(MOVE)
    ae.add_supported_context(GET)
    for uid, syntaxes in contexts.items():
        ae.add_supported_context(uid, syntaxes, scu_role=True, scp_role=True)
    with destination(tmp_path / "there") as there:
        both = handlers(there, lambda: wanted)
        server = ae.start_server(
            ("127.0.0.1", 0),
            block=False,
            evt_handlers=[(evt.EVT_C_GET, both["C-GET"]), (evt.EVT_C_MOVE, both["C-MOVE"])],
        )
        assert server is not None
        try:
            with Peer(f"NODE@127.0.0.1:{server.server_address[1]}") as peer:
                got = peer.get(
                    "patient",
                    to=tmp_path / "here",
                    contexts={k: dict.fromkeys(v) for k, v in contexts.items()},
                )
                last = list(got)[-1]
                assert (last.status, last.completed) == (0x0000, len(wanted)), last
                last = list(peer.move("DESTINATION", "patient"))[-1]
                assert (last.status, last.completed) == (0x0000, len(wanted)), last
        finally:
            ae.shutdown()
    sent = Counter(each.digest for each in wanted)
    assert Counter(digests_below(tmp_path / "here").values()) == sent
    assert Counter(digests_below(tmp_path / "there").values()) == sent
