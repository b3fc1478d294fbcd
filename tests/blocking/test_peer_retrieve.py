"""`Peer.get` and `Peer.move`, blocking and with await: files byte for byte, progress, and every kind of end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from pydicom import dcmread
from tests.retrieving import PENDING, ae_scp, destination, image
from tests.sockets import CT_IMAGE_STORAGE, EXPLICIT_VR_LE, MR_IMAGE_STORAGE
from tests.support import data_set_of, free_port, wait_until

from dicomnet import Peer, aio
from dicomnet.datasets.queries import build_identifier
from dicomnet.errors import AssociationAborted, ConnectionFailed, NoAcceptedContext, ServiceRefusal
from dicomnet.exchange.receiving import ReceivedObject
from dicomnet.exchange.results import RetrieveProgress

JPEG = "1.2.840.10008.1.2.4.50"


def blocking(port: int, use: Callable[[Any], Any]) -> list[RetrieveProgress]:
    """What `dicomnet.Peer` yields; what it returns is the last of it."""
    with Peer(f"SCP@127.0.0.1:{port}") as peer:
        found: list[RetrieveProgress] = []
        ended: list[RetrieveProgress] = []

        def through() -> Iterator[RetrieveProgress]:
            ended.append((yield from use(peer)))

        found.extend(through())
        assert ended == found[-1:] or ended == [None]
        return found


def awaited(port: int, use: Callable[[Any], Any]) -> list[RetrieveProgress]:
    """What `dicomnet.aio.Peer` yields."""

    async def run() -> list[RetrieveProgress]:
        async with aio.Peer(f"SCP@127.0.0.1:{port}") as peer:
            return [each async for each in use(peer)]

    return asyncio.run(run())


peers = pytest.mark.parametrize("run", [blocking, awaited])


def images(*objects: Any, count: int | None = None) -> Callable[[Any], Iterator[Any]]:
    def handler(request: Any) -> Iterator[Any]:
        yield len(objects) if count is None else count
        for each in objects:
            yield PENDING, each

    return handler


@peers
def test_the_objects_are_files_byte_for_byte(run: Any, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.dcm" for number in (1, 2)]
    for number, path in enumerate(paths, 1):
        image(number).save_as(path, enforce_file_format=True)
    with ae_scp({"C-GET": images(*paths)}) as port:
        found = run(port, lambda peer: peer.get("patient", to=tmp_path / "new" / "folder", PatientID="1"))
    assert found == [
        RetrieveProgress(0xFF00, 1, 1, 0, 0, received=1),
        RetrieveProgress(0xFF00, 0, 2, 0, 0, received=2),
        RetrieveProgress(0x0000, None, 2, 0, 0, received=2),
    ]
    assert [each.is_final for each in found] == [False, False, True]
    assert found[-1].is_complete
    received = {path.name: path for path in (tmp_path / "new" / "folder").iterdir()}
    assert received.keys() == {"1.2.3.1.dcm", "1.2.3.2.dcm"}
    for number, path in enumerate(paths, 1):
        new = received[f"1.2.3.{number}.dcm"]
        assert data_set_of(new) == data_set_of(path)
        meta = dcmread(new).file_meta
        assert meta.MediaStorageSOPInstanceUID == f"1.2.3.{number}"
        assert meta.MediaStorageSOPClassUID == CT_IMAGE_STORAGE
        assert meta.SourceApplicationEntityTitle == "SCP"


@peers
def test_objects_come_no_faster_than_they_may(run: Any, tmp_path: Path) -> None:
    with ae_scp({"C-GET": images(*map(image, range(1, 9)))}) as port:
        begin = monotonic()
        found = run(port, lambda peer: peer.get("patient", to=tmp_path, rate="10/s", PatientID="1"))
    assert found[-1].received == 8
    assert monotonic() - begin > 0.4


@peers
def test_an_object_that_is_there_already_is_replaced(run: Any, tmp_path: Path) -> None:
    (tmp_path / "1.2.3.1.dcm").write_bytes(b"old")
    with ae_scp({"C-GET": images(image(1))}) as port:
        run(port, lambda peer: peer.get("patient", to=tmp_path, PatientID="1"))
    assert [path.name for path in tmp_path.iterdir()] == ["1.2.3.1.dcm"]
    assert dcmread(tmp_path / "1.2.3.1.dcm").PatientName == "Test^Image"


@peers
@pytest.mark.parametrize("uid", ["../escape", "1.2/3", "/1.2", "..", "1.2.3 4", "x" * 64, "1." * 40])
def test_a_name_that_is_no_uid_is_refused(run: Any, uid: str, tmp_path: Path) -> None:
    bad = image(1)
    bad.add_new(0x00080018, "UI", None)
    bad[0x00080018]._value = uid
    folder = tmp_path / "folder"
    with ae_scp({"C-GET": images(bad, image(2))}) as port:
        found = run(port, lambda peer: peer.get("patient", to=folder, PatientID="1"))
    assert (found[-1].completed, found[-1].failed) == (1, 1)
    assert not found[-1].is_complete
    assert [path.name for path in folder.iterdir()] == ["1.2.3.2.dcm"]
    assert list(tmp_path.iterdir()) == [folder]


@peers
def test_the_objects_are_handed_over(run: Any) -> None:
    got: list[ReceivedObject] = []

    def take(received: ReceivedObject) -> None:
        if received.sop_instance_uid == "1.2.3.2":
            raise RuntimeError("not this one")
        got.append(received)

    with ae_scp({"C-GET": images(image(1), image(2), image(3))}) as port:
        found = run(port, lambda peer: peer.get("patient", on_object=take, PatientID="1"))
    last = found[-1]
    assert (last.status, last.completed, last.failed, last.failed_uids) == (0xB000, 2, 1, ("1.2.3.2",))
    assert last.comment
    assert [each.sop_instance_uid for each in got] == ["1.2.3.1", "1.2.3.3"]
    assert dcmread(BytesIO(got[0].file_content)).PatientName == "Test^Image"


def test_a_coroutine_function_takes_objects() -> None:
    got: list[str] = []

    async def take(received: ReceivedObject) -> None:
        await asyncio.sleep(0)
        got.append(received.sop_instance_uid)

    with ae_scp({"C-GET": images(image(1))}) as port:
        awaited(port, lambda peer: peer.get("patient", on_object=take, PatientID="1"))
    assert got == ["1.2.3.1"]


@peers
def test_what_was_not_proposed_fails(run: Any, tmp_path: Path) -> None:
    """And with contexts of one's own it does not."""
    uids = (CT_IMAGE_STORAGE, MR_IMAGE_STORAGE)
    with ae_scp({"C-GET": images(image(1), image(2, MR_IMAGE_STORAGE))}, uids) as port:
        only = {CT_IMAGE_STORAGE: [JPEG, EXPLICIT_VR_LE, "1.2.840.10008.1.2"]}
        found = run(port, lambda peer: peer.get("patient", to=tmp_path, contexts=only, PatientID="1"))
        assert found[-1].failed_uids == ("1.2.3.2",)
        found = run(port, lambda peer: peer.get("patient", to=tmp_path, PatientID="1"))
        assert found[-1].is_complete


def seen_by(responses: Any, found: list[RetrieveProgress]) -> Any:
    """The same responses, which are kept too."""
    if isinstance(responses, Iterator):

        def keep_now() -> Iterator[Any]:
            for each in responses:
                found.append(each)
                yield each

        return keep_now()

    async def keep() -> Any:
        async for each in responses:
            found.append(each)
            yield each

    return keep()


@peers
def test_all_that_failed(run: Any, tmp_path: Path) -> None:
    """The counts come first, then the error."""
    found: list[RetrieveProgress] = []
    with ae_scp({"C-GET": images(image(1, MR_IMAGE_STORAGE))}) as port:
        with pytest.raises(ServiceRefusal) as caught:
            run(port, lambda peer: seen_by(peer.get("patient", to=tmp_path, PatientID="1"), found))
    assert caught.value.status == 0xA702
    assert caught.value.comment
    assert found[-1] == RetrieveProgress(0xA702, None, 0, 1, 0, ("1.2.3.1",), found[-1].comment, received=0)
    assert found[-1].comment.startswith(caught.value.comment)


@peers
@pytest.mark.parametrize("service", ["C-GET", "C-MOVE"])
def test_a_refusal(run: Any, service: str, tmp_path: Path) -> None:
    def refuse(request: Any) -> Iterator[Any]:
        if not request.is_cancelled:
            raise ServiceRefusal(0xA900, "cannot do that")
        yield

    with ae_scp({service: refuse}) as port:

        def use(peer: Any) -> Any:
            if service == "C-GET":
                return peer.get("patient", to=tmp_path, PatientID="1")
            return peer.move("X", "patient", PatientID="1")

        with pytest.raises(ServiceRefusal, match="cannot do that") as caught:
            run(port, use)
    assert caught.value.status == 0xA900


@peers
def test_a_move(run: Any) -> None:
    got: list[str] = []

    def keep(uid: str) -> int:
        got.append(uid)
        return 0xB000 if uid == "1.2.3.2" else 0

    seen: list[Any] = []
    with destination(keep) as there:

        def handler(event: Any) -> Iterator[Any]:
            seen.append((event.move_destination, event.identifier))
            yield "127.0.0.1", there
            yield from images(image(1), image(2))(event)

        with ae_scp({"C-MOVE": handler}) as port:
            found = run(port, lambda peer: peer.move("WHERE", "patient", PatientID="7"))
    assert got == ["1.2.3.1", "1.2.3.2"]
    assert (found[-1].status, found[-1].completed, found[-1].warnings) == (0xB000, 1, 1)
    assert found[-1].is_complete
    ((where, asked),) = seen
    assert where == "WHERE"
    # No return keys: those are for queries.
    assert {element.keyword for element in asked} == {"QueryRetrieveLevel", "PatientID"}


@peers
def test_an_unknown_destination(run: Any) -> None:
    def handler(event: Any) -> Iterator[Any]:
        yield None, None

    with ae_scp({"C-MOVE": handler}) as port, pytest.raises(ServiceRefusal) as caught:
        run(port, lambda peer: peer.move("WHERE", "patient", PatientID="7"))
    assert caught.value.status == 0xA801


def test_two_moves_share_an_association() -> None:
    seen: list[Any] = []

    def handler(event: Any) -> Iterator[Any]:
        seen.append(event.assoc)
        yield "127.0.0.1", 104
        yield 0

    with ae_scp({"C-MOVE": handler}) as port:
        with Peer(f"SCP@127.0.0.1:{port}") as peer:
            for _ in range(2):
                assert list(peer.move("X", "patient"))[-1].status == 0x0000
            # One that the peer has ended in between is replaced.
            seen[0].abort()
            assert list(peer.move("X", "patient"))[-1].status == 0x0000
    assert seen[0] is seen[1]
    assert seen[2] is not seen[1]


@peers
def test_the_peer_aborts_in_the_middle(run: Any, tmp_path: Path) -> None:
    def handler(event: Any) -> Iterator[Any]:
        yield 2
        yield PENDING, image(1)
        event.assoc.abort()
        yield PENDING, image(2)

    with ae_scp({"C-GET": handler}) as port, pytest.raises(AssociationAborted):
        run(port, lambda peer: peer.get("patient", to=tmp_path, PatientID="1"))
    assert [path.name for path in tmp_path.iterdir()] == ["1.2.3.1.dcm"]


@peers
def test_nobody_is_there(run: Any, tmp_path: Path) -> None:
    for use in (
        lambda peer: peer.get("patient", to=tmp_path, PatientID="1"),
        lambda peer: peer.move("X", "patient", PatientID="1"),
    ):
        with pytest.raises(ConnectionFailed):
            run(free_port(), use)


@peers
def test_the_model_is_not_accepted(run: Any, tmp_path: Path) -> None:
    with ae_scp({}) as port:
        for use in (
            lambda peer: peer.get("study", to=tmp_path, StudyInstanceUID="1"),
            lambda peer: peer.move("X", "study", StudyInstanceUID="1"),
        ):
            with pytest.raises(NoAcceptedContext):
                run(port, use)


@pytest.mark.parametrize("kind", [Peer, aio.Peer])
def test_mistakes_of_the_caller(kind: Any, tmp_path: Path) -> None:
    peer = kind("127.0.0.1:104")
    many = {f"1.2.{number}": [EXPLICIT_VR_LE, JPEG] for number in range(64)}
    for arguments in (
        {},
        {"to": tmp_path, "on_object": print},
        {"to": tmp_path, "contexts": many},
        {"to": tmp_path, "NoKeyword": "1"},
        {"to": tmp_path, "model": "nothing"},
    ):
        with pytest.raises(ValueError):
            peer.get("patient", **arguments)
    with pytest.raises(ValueError):
        peer.move("X", "body")


def test_a_move_destination_that_is_no_ae_title() -> None:
    for run in (blocking, awaited):
        with ae_scp({}) as port, pytest.raises(ValueError):
            run(port, lambda peer: peer.move("a" * 17, "patient"))


@peers
def test_a_retrieve_that_is_left_is_cancelled(run: Any, tmp_path: Path) -> None:
    cancelled: list[bool] = []

    def handler(event: Any) -> Iterator[Any]:
        try:
            yield 60_000
            for number in range(1, 60_001):
                yield PENDING, image(number)
        finally:
            cancelled.append(event.is_cancelled)

    def left(peer: Peer) -> Iterator[RetrieveProgress]:
        responses = peer.get("patient", to=tmp_path, PatientID="1")
        yield next(responses)
        responses.close()

    async def left_later(port: int) -> None:
        async with aio.Peer(f"SCP@127.0.0.1:{port}") as peer:
            async with contextlib.aclosing(peer.get("patient", to=tmp_path, PatientID="1")) as responses:
                async for _ in responses:
                    break

    with ae_scp({"C-GET": handler}) as port:
        if run is blocking:
            with Peer(f"SCP@127.0.0.1:{port}") as peer:
                assert len(list(left(peer))) == 1
        else:
            asyncio.run(left_later(port))
        wait_until(lambda: bool(cancelled))
    assert cancelled == [True]
    assert 1 <= len(list(tmp_path.iterdir())) < 60_000
    assert not list(tmp_path.glob("*.part"))


def test_the_identifier_has_the_keys_and_nothing_else() -> None:
    found = build_identifier("series", {"StudyInstanceUID": "1.2", "SeriesInstanceUID": ["1.3", "1.4"]})
    assert found.SeriesInstanceUID == ["1.3", "1.4"]
    assert {element.keyword for element in found} == {
        "QueryRetrieveLevel",
        "StudyInstanceUID",
        "SeriesInstanceUID",
    }
