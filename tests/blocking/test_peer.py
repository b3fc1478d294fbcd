"""`Peer`, blocking and with await, against peers that fail in every way: nothing is lost, and each file is reported."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest
from pydicom.dataset import Dataset
from tests.associations import ct_image, match, serving_ae
from tests.loops import until
from tests.scripted import Arrived, Scp
from tests.sockets import (
    ABORT_BY_USER,
    CT_IMAGE_STORAGE,
    IMPLICIT_VR_LE,
    PATIENCE,
    RELEASE_RQ,
    VERIFICATION,
    RawPeer,
    raw_server,
)
from tests.support import wait_until

from dicomnet import Peer, aio, evt
from dicomnet.drivers.deadline import Timeouts
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.errors import (
    AssociationAborted,
    AssociationRejected,
    ConnectionFailed,
    DeadlineExceeded,
    ServiceRefusal,
)
from dicomnet.exchange.results import StoreResult
from dicomnet.pynetdicom.events import Event
from dicomnet.wire.pdu import AssociateRJ

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"


class AnyPeer(Protocol):
    """What both have in common here."""

    def echo(self) -> float: ...
    def store(self, paths: Any) -> list[StoreResult]: ...
    def store_some(self, paths: Any, count: int) -> list[StoreResult]: ...
    def find(self, level: str, count: int = 1 << 30, **keys: Any) -> list[Dataset]: ...
    def close(self) -> None: ...
    def end(self) -> None: ...


class BlockingPeer:
    def __init__(self, address: str, **options: Any) -> None:
        self.peer = Peer(address, **options)

    def echo(self) -> float:
        return self.peer.echo()

    def store(self, paths: Any) -> list[StoreResult]:
        return list(self.peer.store(paths))

    def store_some(self, paths: Any, count: int) -> list[StoreResult]:
        return [result for _, result in zip(range(count), self.peer.store(paths), strict=False)]

    def find(self, level: str, count: int = 1 << 30, **keys: Any) -> list[Dataset]:
        found = []
        for each in self.peer.find(level, **keys):
            found.append(each)
            if len(found) == count:
                break
        return found

    def close(self) -> None:
        self.peer.close()

    def end(self) -> None:
        self.close()


class LoopPeer:
    """The loop runs only during a call."""

    def __init__(self, address: str, **options: Any) -> None:
        self.runner = asyncio.Runner()
        self.peer = aio.Peer(address, **options)

    def echo(self) -> float:
        return self.runner.run(self.peer.echo())

    def store(self, paths: Any) -> list[StoreResult]:
        return self.store_some(paths, 1 << 30)

    def store_some(self, paths: Any, count: int) -> list[StoreResult]:
        async def run() -> list[StoreResult]:
            results = []
            async for result in self.peer.store(paths):
                results.append(result)
                if len(results) == count:
                    break
            return results

        return self.runner.run(run())

    def find(self, level: str, count: int = 1 << 30, **keys: Any) -> list[Dataset]:
        async def run() -> list[Dataset]:
            found = []
            async for each in self.peer.find(level, **keys):
                found.append(each)
                if len(found) == count:
                    break
            return found

        return self.runner.run(run())

    def close(self) -> None:
        self.runner.run(self.peer.close())

    def end(self) -> None:
        self.close()
        self.runner.close()


@pytest.fixture(params=[BlockingPeer, LoopPeer])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., AnyPeer]]:
    """Makes a peer for a port; it is closed at the end."""
    made: list[AnyPeer] = []

    def make(port: int, **options: Any) -> AnyPeer:
        peer: AnyPeer = request.param(f"SCP@127.0.0.1:{port}", **options)
        made.append(peer)
        return peer

    yield make
    for peer in made:
        peer.end()


@contextmanager
def scripted(react: Callable[[Arrived], bytes | None], **options: Any) -> Iterator[tuple[int, Scp]]:
    scp = Scp(react, **options)
    with raw_server(scp.serve) as port:
        try:
            yield port, scp
        finally:
            scp.end()


def succeed(request: Arrived) -> bytes:
    return request.response()


def write_files(folder: Path, count: int, sop_class: str = CT_IMAGE_STORAGE, size: int = 100) -> list[Path]:
    """Files with SOP Instance UIDs 1.2.3.0, 1.2.3.1, …"""
    return [write_file(folder, f"1.2.3.{number}", sop_class, size) for number in range(count)]


def write_file(folder: Path, uid: str, sop_class: str = CT_IMAGE_STORAGE, size: int = 100) -> Path:
    path = folder / f"{uid}.dcm"
    data_set = b"".join(
        tag + len(value).to_bytes(4, "little") + value
        for tag, value in (
            (b"\x08\x00\x16\x00", even(sop_class)),
            (b"\x08\x00\x18\x00", even(uid)),
            (b"\xe0\x7f\x10\x00", bytes(size)),
        )
    )
    path.write_bytes(encode_file_header(sop_class, uid, IMPLICIT_VR_LE) + data_set)
    return path


def even(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def names(paths: list[Path]) -> list[str]:
    return sorted(map(str, paths))


# -- associations


def test_an_association_is_used_again(make: Callable[..., AnyPeer], tmp_path: Path) -> None:
    files = write_files(tmp_path, 3)
    with scripted(succeed) as (port, scp):
        peer = make(port)
        peer.echo()
        peer.echo()
        assert len(scp.proposed) == 1
        assert all(result.is_stored for result in peer.store(files))
        assert all(result.is_stored for result in peer.store(files))
        assert len(scp.proposed) == 2
        peer.echo()
        assert len(scp.proposed) == 3


@pytest.mark.parametrize("last", [b"", ABORT_BY_USER, RELEASE_RQ])
def test_an_association_that_the_peer_has_ended_is_replaced(
    make: Callable[..., AnyPeer], last: bytes, tmp_path: Path
) -> None:
    """Whether its end was noticed before, or comes as the answer to the next request."""
    files = write_files(tmp_path, 3)

    def react(request: Arrived) -> bytes | None:
        if request.connection == 0 and request.index == 0:
            return request.response() + last
        return request.response() if request.connection else None

    uses: list[Callable[[AnyPeer], Any]] = [
        lambda peer: peer.echo(),
        lambda peer: peer.store(files),
        lambda peer: peer.find("study"),
    ]
    for use in uses:
        with scripted(react) as (port, scp):
            peer = make(port, retries=0)
            first = use(peer)
            second = use(peer)
            assert len(scp.proposed) == 2
            if isinstance(second, list):
                assert all(result.is_stored for result in second if isinstance(result, StoreResult))
                assert len(second) == len(first) or use(peer) is not None
            peer.close()


def test_a_new_association_that_fails_is_an_error(make: Callable[..., AnyPeer]) -> None:
    with scripted(lambda request: None) as (port, scp):
        peer = make(port)
        with pytest.raises(AssociationAborted):
            peer.echo()
        with pytest.raises(AssociationAborted):
            peer.find("study")
        assert len(scp.proposed) == 2


def test_a_refused_association(make: Callable[..., AnyPeer], tmp_path: Path) -> None:
    files = write_files(tmp_path, 2)
    refusals: list[AssociateRJ | bytes | None] = [AssociateRJ(1, 1, 7)] * 3
    with scripted(succeed, answers=refusals) as (port, _):
        peer = make(port)
        for use in (peer.echo, partial(peer.store, files), partial(peer.find, "study")):
            with pytest.raises(AssociationRejected) as raised:
                use()
            assert (raised.value.source, raised.value.reason) == (1, 7)


def test_a_peer_that_is_not_there(make: Callable[..., AnyPeer], tmp_path: Path) -> None:
    peer = make(1)
    with pytest.raises(ConnectionFailed):
        peer.echo()
    with pytest.raises(ConnectionFailed):
        peer.store(write_files(tmp_path, 1))


def test_a_peer_that_does_not_answer(make: Callable[..., AnyPeer], tmp_path: Path) -> None:
    with scripted(lambda request: b"") as (port, _):
        peer = make(port, timeouts=Timeouts(message=0.2), retries=0)
        with pytest.raises(DeadlineExceeded):
            peer.echo()
        (result,) = peer.store(write_files(tmp_path, 1))
        assert result.status is None
        assert "0.2 s" in result.comment


def test_closing_releases_and_the_peer_can_be_used_again(make: Callable[..., AnyPeer]) -> None:
    with scripted(succeed) as (port, scp):
        peer = make(port)
        peer.echo()
        peer.close()
        assert scp.released.wait(5)
        peer.echo()
        assert len(scp.proposed) == 2


@pytest.mark.parametrize("number", [30, 600])
def test_closing_in_the_middle_of_a_store_opens_no_other_association(tmp_path: Path, number: int) -> None:
    """What was not answered yet, or not looked at, was sent on a new one."""
    files = write_files(tmp_path, number)

    def store_blocking(port: int) -> list[StoreResult]:
        peer = Peer(f"127.0.0.1:{port}")
        results = peer.store(files)
        first = next(results)
        peer.close()
        return [first, *results]

    async def store_in_loop(port: int) -> list[StoreResult]:
        peer = aio.Peer(f"127.0.0.1:{port}")
        results = peer.store(files)
        first = await anext(results)
        await peer.close()
        return [first, *[result async for result in results]]

    for store in (store_blocking, lambda port: asyncio.run(store_in_loop(port))):
        with scripted(succeed, window=4) as (port, scp):
            assert sorted(result.path for result in store(port)) == names(files)
            assert len(scp.proposed) == 1


def test_a_path_that_does_not_exist_costs_no_result_of_what_was_stored(tmp_path: Path) -> None:
    """It is found while objects are on their way, as more files come before it than are looked at first."""
    folder = tmp_path / "files"
    folder.mkdir()
    files = write_files(folder, 300)
    with scripted(succeed, window=16) as (port, _), Peer(f"127.0.0.1:{port}") as peer:
        results: list[StoreResult] = []
        with pytest.raises(FileNotFoundError):
            results.extend(peer.store([folder, tmp_path / "nothing"]))
        assert sorted(result.path for result in results if result.is_stored) == names(files)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No garbage is collected: what is in no circle of references goes without that."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_a_peer_that_is_forgotten_ends_its_association_at_once(tmp_path: Path) -> None:
    """It waited for the collector, which released it in whatever thread that ran in; the peer's slots ran out."""
    with scripted(succeed) as (port, scp):
        Peer(f"127.0.0.1:{port}").echo()
        assert scp.released.wait(PATIENCE)
    with scripted(succeed) as (port, scp):
        (result,) = Peer(f"127.0.0.1:{port}").store(write_files(tmp_path, 1))
        assert result.is_stored
        assert scp.released.wait(PATIENCE)


@pytest.mark.usefixtures("uncollected")
def test_a_loop_peer_that_is_forgotten_ends_its_association_at_once() -> None:
    async def use(port: int) -> None:
        before = len(os.listdir("/proc/self/fd"))
        peer = aio.Peer(f"127.0.0.1:{port}")
        await peer.echo()
        assert len(os.listdir("/proc/self/fd")) > before
        del peer
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)

    with scripted(succeed) as (port, _):
        asyncio.run(use(port))


def test_operations_at_the_same_time_have_associations_of_their_own() -> None:
    both = threading.Barrier(2, timeout=10)

    def echo(event: Event) -> int:
        both.wait()
        return 0

    async def use(port: int) -> None:
        async with aio.Peer(f"127.0.0.1:{port}") as peer:
            await asyncio.gather(peer.echo(), peer.echo())

    with serving_ae([(evt.EVT_C_ECHO, echo)]) as server:
        asyncio.run(use(server.server_address[1]))
        wait_until(lambda: not server.active_associations)


@pytest.mark.parametrize("arguments", ["nowhere", "A" * 17 + "@host:104", "host:70000", "@host:104"])
def test_addresses_that_are_none(arguments: str) -> None:
    for kind in (Peer, aio.Peer):
        with pytest.raises(ValueError):
            kind(arguments)


# -- storing


def test_more_than_128_pairs_are_split(make: Callable[..., AnyPeer], tmp_path: Path) -> None:
    files = [write_file(tmp_path, f"1.2.3.{n}", f"1.2.840.10008.5.1.4.1.1.{n}") for n in range(300)]
    with scripted(succeed) as (port, scp):
        results = make(port).store(files)
    assert sorted(result.path for result in results) == names(files)
    assert all(result.is_stored for result in results)
    assert [len(each.contexts) for each in scp.proposed] == [128, 128, 128, 128, 88]
    assert all(len({c.context_id for c in each.contexts}) == len(each.contexts) for each in scp.proposed)


@pytest.mark.parametrize("window", [0, 1, 5])
def test_responses_are_matched_in_whatever_order_they_come(
    make: Callable[..., AnyPeer], window: int, tmp_path: Path
) -> None:
    """In groups of five, backwards; each object has a status of its own."""
    files = write_files(tmp_path, 20)
    held: list[Arrived] = []

    def react(request: Arrived) -> bytes:
        held.append(request)
        if window != 1 and len(held) % 5:
            return b""
        answers = b"".join(each.response(0xB000 + int(each.instance[6:])) for each in reversed(held))
        held.clear()
        return answers

    with scripted(react, window=window) as (port, _):
        results = make(port, window=5).store(files)
    assert {result.path: result.status for result in results} == {
        str(path): 0xB000 + number for number, path in enumerate(files)
    }
    assert len(results) == 20


@pytest.mark.parametrize("end", [None, ABORT_BY_USER, b"nonsense"])
def test_a_peer_that_ends_in_the_middle_of_a_window(
    make: Callable[..., AnyPeer], end: bytes | None, tmp_path: Path
) -> None:
    files = write_files(tmp_path, 20)

    def react(request: Arrived) -> bytes | None:
        if request.connection == 0 and request.index >= 6:
            return end
        return request.response() if request.connection or request.index < 3 else b""

    with scripted(react, window=8) as (port, scp):
        results = make(port, window=8).store(files)
    assert sorted(result.path for result in results) == names(files)
    assert all(result.is_stored for result in results)
    assert len(scp.proposed) == 2


def test_what_was_answered_before_the_end_is_not_sent_again(
    make: Callable[..., AnyPeer], tmp_path: Path
) -> None:
    files = write_files(tmp_path, 20)

    def react(request: Arrived) -> bytes | None:
        if request.connection:
            return request.response()
        return b"" if request.index < 4 else b"".join(each.response() for each in scp.arrived) + ABORT_BY_USER

    with scripted(react, window=5) as (port, scp):
        results = list(make(port, window=5).store(files))
    assert sorted(result.path for result in results) == names(files)
    assert all(result.is_stored for result in results)
    assert len({each.instance for each in scp.arrived}) == len(scp.arrived) == 20


def test_an_object_that_the_peer_cannot_bear(make: Callable[..., AnyPeer], tmp_path: Path) -> None:
    files = write_files(tmp_path, 12)

    def react(request: Arrived) -> bytes | None:
        return None if request.instance == "1.2.3.4" else request.response()

    with scripted(react, window=8) as (port, scp):
        results = make(port, window=8).store(files)
    by_path = {result.path: result for result in results}
    assert len(results) == len(by_path) == 12
    failed = by_path.pop(str(files[4]))
    assert failed.status is None
    assert "lost" in failed.comment
    assert all(result.is_stored for result in by_path.values())
    assert len(scp.proposed) == 3


def test_two_objects_that_the_peer_cannot_bear(make: Callable[..., AnyPeer], tmp_path: Path) -> None:
    files = write_files(tmp_path, 12)
    poison = {"1.2.3.2", "1.2.3.9"}
    react = lambda request: None if request.instance in poison else request.response()  # noqa: E731
    with scripted(react, window=4) as (port, _):
        results = make(port, window=4).store(files)
    assert len(results) == 12
    assert {result.sop_instance_uid for result in results if not result.is_stored} == poison


def test_a_peer_that_ends_every_association_at_once(make: Callable[..., AnyPeer], tmp_path: Path) -> None:
    files = write_files(tmp_path, 3)

    def serve(peer: RawPeer) -> None:
        scp = Scp(lambda request: None)
        scp._greet(peer, 0)
        peer.send(ABORT_BY_USER)

    with raw_server(serve) as port:
        results = make(port).store(files)
    assert sorted(result.path for result in results) == names(files)
    assert all(result.status is None and result.comment for result in results)


def test_a_peer_that_refuses_the_second_association(make: Callable[..., AnyPeer], tmp_path: Path) -> None:
    files = write_files(tmp_path, 5)
    react = lambda request: request.response() if request.index < 2 else None  # noqa: E731
    with scripted(react, window=1, answers=[None, AssociateRJ(2, 3, 2)]) as (port, _):
        results = make(port).store(files)
    assert sorted(result.path for result in results) == names(files)
    assert [result.is_stored for result in results] == [True, True, False, False, False]
    assert all("local limit" in result.comment for result in results[2:])


def test_statuses_and_contexts_that_are_refused(make: Callable[..., AnyPeer], tmp_path: Path) -> None:
    files = [*write_files(tmp_path, 2), write_file(tmp_path, "1.2.9", "1.2.840.10008.5.1.4.1.1.4")]
    handlers = [(evt.EVT_C_STORE, lambda event: 0xA700 if event.dataset.SOPInstanceUID[-1] == "1" else 0)]
    with serving_ae(handlers) as server:
        results = {result.path: result for result in make(server.server_address[1]).store(files)}
    assert results[str(files[0])].is_stored
    assert (results[str(files[1])].status, results[str(files[1])].is_stored) == (0xA700, False)
    assert "resources" in results[str(files[1])].comment
    assert results[str(files[2])].status is None
    assert "no presentation context" in results[str(files[2])].comment


def test_files_that_change_or_vanish_after_they_were_looked_at(
    make: Callable[..., AnyPeer], tmp_path: Path
) -> None:
    """What is wrong with a file is known before anything of it was sent."""
    files = write_files(tmp_path, 6)
    large = write_file(tmp_path, "1.2.3.6", size=5 << 20)

    def react(request: Arrived) -> bytes:
        if request.connection == 0 and request.index == 0:
            files[1].unlink()
            files[3].write_bytes(files[3].read_bytes()[:-10])
            with large.open("r+b") as file:
                file.truncate(3 << 20)
        return request.response()

    with scripted(react, window=1) as (port, _):
        results = make(port).store([*files, large, write_file(tmp_path, "1.2.3.7")])
    assert len(results) == 8
    failed = {Path(result.path).stem: result.comment for result in results if not result.is_stored}
    assert set(failed) == {"1.2.3.1", "1.2.3.3", "1.2.3.6"}
    assert "cannot be read" in failed["1.2.3.1"]
    assert "was changed" in failed["1.2.3.3"]
    assert "was changed" in failed["1.2.3.6"]


def test_files_that_cannot_be_sent(make: Callable[..., AnyPeer], tmp_path: Path) -> None:
    good = write_file(tmp_path, "1.2.3")
    (tmp_path / "text.txt").write_text("not DICOM")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "dangling").symlink_to("nowhere")
    with scripted(succeed) as (port, scp):
        results = {Path(result.path).name: result for result in make(port).store(tmp_path)}
        assert set(results) == {good.name, "text.txt", "empty", "dangling"}
        assert results[good.name].is_stored
        assert results["text.txt"].is_skipped
        assert not results["dangling"].is_skipped
        assert "cannot be read" in results["dangling"].comment
        with pytest.raises(FileNotFoundError):
            make(port).store(tmp_path / "no such file")
        assert make(port).store([]) == []
        assert len(scp.proposed) == 1


def test_a_store_that_is_left_early_sends_no_more(make: Callable[..., AnyPeer], tmp_path: Path) -> None:
    files = write_files(tmp_path, 200)
    with scripted(succeed, window=4) as (port, scp):
        peer = make(port, window=4)
        assert len(peer.store_some(files, 3)) == 3
        peer.echo()
        gc.collect()
        stored = [each for each in scp.arrived if "AffectedSOPInstanceUID" in each.command]
        assert len(stored) < 20


def test_an_error_in_the_middle_of_a_store_sends_no_more(tmp_path: Path) -> None:
    files = write_files(tmp_path, 200)

    def blocking(port: int) -> None:
        with Peer(f"127.0.0.1:{port}") as peer:
            for _ in peer.store(files):
                raise KeyError

    def in_loop(port: int) -> None:
        async def run() -> None:
            async with aio.Peer(f"127.0.0.1:{port}") as peer:
                async for _ in peer.store(files):
                    raise KeyError

        asyncio.run(run())

    for use in (blocking, in_loop):
        with scripted(succeed, window=4) as (port, scp):
            with pytest.raises(KeyError):
                use(port)
            assert len(scp.arrived) < 40


def test_another_operation_inside_a_store(tmp_path: Path) -> None:
    files = write_files(tmp_path, 10)

    async def run(port: int) -> list[bool]:
        async with aio.Peer(f"127.0.0.1:{port}") as peer:
            done = []
            async for result in peer.store(files):
                await peer.echo()
                done.append(result.is_stored)
            return done

    with serving_ae([(evt.EVT_C_STORE, lambda event: 0)]) as server:
        port = server.server_address[1]
        assert asyncio.run(run(port)) == [True] * 10
        with Peer(f"127.0.0.1:{port}") as peer:
            done = []
            for result in peer.store(files):
                peer.echo()
                done.append(result.is_stored)
        assert done == [True] * 10
        wait_until(lambda: not server.active_associations)


# -- querying


def answer_find(identifiers: list[Dataset], answers: list[tuple[int, Dataset | None]]) -> Any:
    def find(event: Event) -> Iterator[tuple[int, Dataset | None]]:
        identifiers.append(event.identifier)
        yield from answers

    return [(evt.EVT_C_FIND, find)]


@contextmanager
def finding(answers: list[tuple[int, Dataset | None]]) -> Iterator[tuple[int, list[Dataset]]]:
    identifiers: list[Dataset] = []
    with serving_ae(answer_find(identifiers, answers), uids=(VERIFICATION, STUDY_ROOT_FIND)) as server:
        yield server.server_address[1], identifiers


def test_matches_and_keys_of_every_kind(make: Callable[..., AnyPeer]) -> None:
    with finding([(0xFF00, match("A")), (0xFF01, match("B"))]) as (port, identifiers):
        found = make(port).find(
            "series",
            PatientName="Mül*",
            StudyDate="20200101-20201231",
            StudyInstanceUID=["1.2.3", "1.2.4"],
            SeriesNumber=3,
            Modality=None,
            Rows=512,
        )
    assert [str(each.PatientName) for each in found] == ["A", "B"]
    (asked,) = identifiers
    assert asked.QueryRetrieveLevel == "SERIES"
    assert asked.SpecificCharacterSet == "ISO_IR 192"
    assert asked.PatientName == "Mül*"
    assert list(asked.StudyInstanceUID) == ["1.2.3", "1.2.4"]
    assert (asked.StudyDate, asked.SeriesNumber, asked.Rows) == ("20200101-20201231", 3, 512)
    assert asked.Modality == ""
    assert "SeriesInstanceUID" in asked


def test_a_query_that_is_refused_says_why(make: Callable[..., AnyPeer]) -> None:
    for status, word in ((0xA700, "resources"), (0xA900, "match"), (0xC123, "unable"), (0x0122, "sop class")):
        with finding([(status, None)]) as (port, _):
            peer = make(port)
            with pytest.raises(ServiceRefusal) as raised:
                peer.find("study")
            peer.close()
            assert raised.value.status == status
            assert word in str(raised.value).lower()


def test_a_query_that_makes_no_sense(make: Callable[..., AnyPeer]) -> None:
    peer = make(1)
    queries: list[tuple[str, dict[str, Any]]] = [
        ("hospital", {}),
        ("study", {"NoSuchKeyword": "1"}),
        ("study", {"model": "instance"}),
        ("study", {"TransferSyntaxUID": "1.2"}),
    ]
    for level, keys in queries:
        with pytest.raises(ValueError):
            peer.find(level, **keys)


def test_a_query_that_is_left_early_is_cancelled(make: Callable[..., AnyPeer]) -> None:
    cancelled = threading.Event()

    def find(event: Event) -> Iterator[tuple[int, Dataset | None]]:
        try:
            while True:
                yield 0xFF00, match()
        except GeneratorExit:
            cancelled.set()
            raise

    handlers = [(evt.EVT_C_FIND, find)]
    with serving_ae(handlers, uids=(VERIFICATION, STUDY_ROOT_FIND)) as server:
        peer = make(server.server_address[1])
        assert len(peer.find("study", 2)) == 2
        assert len(peer.find("study", 1)) == 1
        assert cancelled.wait(5)
        peer.echo()


def test_objects_are_what_was_stored(make: Callable[..., AnyPeer], tmp_path: Path) -> None:
    received: list[bytes] = []

    def store(event: Event) -> int:
        received.append(event.encoded_dataset(include_meta=False))
        return 0

    path = write_file(tmp_path, "1.2.3", size=300_000)
    with serving_ae([(evt.EVT_C_STORE, store)]) as server:
        (result,) = make(server.server_address[1]).store(str(path))
    assert result.is_stored
    assert path.read_bytes().endswith(received[0])
    assert len(received[0]) == result.length > 300_000
    assert ct_image().SOPClassUID == CT_IMAGE_STORAGE
