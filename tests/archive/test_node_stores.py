"""C-STORE requests that a node gets together: durable, each answered for itself, and nothing left of what is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from select import select
from socket import SHUT_WR
from time import sleep
from typing import Any

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import select as select_rows
from tests.faults.objects import uid, write_objects
from tests.sockets import (
    ABORT_BY_USER,
    CT_IMAGE_STORAGE,
    IMPLICIT_VR_LE,
    MR_IMAGE_STORAGE,
    PATIENCE,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    RawPeer,
    echo_pdus,
    request_pdu,
    store_pdus,
)
from tests.support import serving, staged, stored, wait_until
from tests.tracing import Call, calls_of, is_complete, tracer

from dicomnet import Peer
from dicomnet.archive.catalogue import schema
from dicomnet.archive.entries import Catalogue
from dicomnet.archive.intake import SPILL_LENGTH
from dicomnet.archive.node import Node
from dicomnet.archive.terms import Terms
from dicomnet.dimse.codec import decode_command
from dicomnet.services.registry import OPERATIONS
from dicomnet.services.steps import TOGETHER

Make = Callable[..., Dataset]
Encode = Callable[..., bytes]
# Message ID, SOP Instance UID (empty of a C-ECHO) and status of a response.
Response = tuple[int, str, int]


@pytest.mark.parametrize("length", [62_000, 500_000])
@pytest.mark.parametrize(
    ("command", "options"), [("receive", ()), ("serve", ()), ("serve", ("--workers", "2"))]
)
def test_each_object_is_on_the_medium_before_its_response_is_sent(
    tmp_path: Path, command: str, options: tuple[str, ...], length: int
) -> None:
    """X02 S001: By the system calls: the record in the journal, a flush, the response; a segment is freed at last.

    A large object is in a staged file, which is flushed before its record is written. The journal does without a record
    only when the object has its name, its row is in the index, and both have been flushed.
    """
    series = [write_objects(tmp_path / str(study), study, 90, length) for study in (1, 2)]
    paths = list(chain.from_iterable(zip(*series, strict=True)))[: 180 if length < SPILL_LENGTH else 40]
    trace = tmp_path / "trace"
    watched = [
        "fdatasync",
        "fsync",
        "syncfs",
        "link",
        "linkat",
        "unlink",
        "pwritev",
        "pwritev2",
        "pwrite64",
        "sendmsg",
    ]
    under = tracer(trace, watched, 9000)
    with serving(tmp_path / "node", "--aet", "NODE", *options, command=command, under=under) as node:
        with Peer(node.address, retries=0) as peer:
            results = list(peer.store(paths))
        assert [result.status for result in results] == [0] * len(paths)
        node.end()
    wait_until(lambda: is_complete(trace, node.process.pid), 20, "the trace is complete")
    calls = Calls([call for call in calls_of(trace) if call.has_succeeded])
    for name in (uid(int(path.parent.name), int(path.stem)) for path in paths):
        record = calls.record_of(name)
        link = calls.link_of(name)
        (response,) = [call for call in calls.all if call.name == "sendmsg" and name in call.text]
        assert calls.has_flushed(record.path, record, response)
        if length > SPILL_LENGTH:
            staged_at = node.store.parent / link.text.split('"')[1]
            assert any(call.path == staged_at and call.end <= record.begin for call in calls.flushes)
            assert calls.has_flushed(staged_at.parent, None, record)
        freed = calls.freed(record)
        assert calls.has_flushed_all(link, freed)
        if command == "serve":
            row = calls.first_row(name)
            assert calls.has_flushed(row.path, row, freed)
    # Several were flushed together, and a segment was freed while others came.
    assert len([call for call in calls.flushes if call.path.suffix == ".segment"]) < 2 * len(paths)
    if length < SPILL_LENGTH:
        assert any(call.name == "pwrite64" and call.path.suffix == ".segment" for call in calls.all)


class Calls:
    """The system calls of a node that has stored objects and has ended, in their order."""

    def __init__(self, calls: list[Call]) -> None:
        self.all = calls
        self.flushes = [call for call in calls if call.name in ("fdatasync", "fsync")]

    def record_of(self, instance: str) -> Call:
        """What writes an object into the journal."""
        (found,) = [
            call
            for call in self.all
            if call.name.startswith("pwritev") and call.path.suffix == ".segment" and instance in call.text
        ]
        return found

    def link_of(self, instance: str) -> Call:
        """What gives an object its name."""
        (found,) = [
            call
            for call in self.all
            if call.name.startswith("link") and call.text.split('"')[3].endswith(f"{instance}.dcm")
        ]
        return found

    def first_row(self, instance: str) -> Call:
        """What brings an object into the index."""
        return next(
            call
            for call in self.all
            if call.name == "pwrite64" and call.path.name == "index.sqlite-wal" and instance in call.text
        )

    def freed(self, record: Call) -> Call:
        """What makes the segment of a record free for others, or removes it."""
        segment = record.path
        return next(
            call
            for call in self.all
            if call.begin > record.end
            and (
                (call.name == "pwrite64" and call.path == segment)
                or (call.name == "unlink" and Path(call.text.split('"')[1]).parts[-3:] == segment.parts[-3:])
            )
        )

    def has_flushed(self, path: Path, after: Call | None, before: Call) -> bool:
        begin = -1 if after is None else after.end
        return any(
            call.path == path and begin <= call.begin and call.end <= before.begin for call in self.flushes
        )

    def has_flushed_all(self, after: Call, before: Call) -> bool:
        return any(
            call.name == "syncfs" and after.end <= call.begin and call.end <= before.begin
            for call in self.all
        )


class Told:
    """What ``on_stored`` is told, and a way to hold it up in the one that it is told of."""

    def __init__(self) -> None:
        self.all: list[tuple[str, int]] = []
        self._gates: dict[int, threading.Event] = {}

    def __call__(self, instance: str, status: int, name: object) -> None:
        number = len(self.all)
        self.all.append((instance, status))
        if number in self._gates:
            assert self._gates[number].wait(PATIENCE)

    @contextmanager
    def held(self, number: int) -> Iterator[None]:
        """Hold up whoever tells of this one until the end of the block."""
        gate = self._gates[number] = threading.Event()
        try:
            yield
        finally:
            gate.set()

    def wait_for(self, number: int) -> None:
        """Wait until it was told of this one."""
        wait_until(lambda: len(self.all) > number, what=f"number {number} is stored")


@contextmanager
def _node(folder: Path, told: Told) -> Iterator[Node]:
    """A node that takes one association at a time, so that one that is not given back is noticed."""
    node = Node(folder, address=("127.0.0.1", 0), on_stored=told, terms=Terms(maximum_associations=1))
    node.start()
    try:
        yield node
    finally:
        node.shutdown()


@contextmanager
def _associated(node: Node) -> Iterator[RawPeer]:
    """A peer that has an association, as soon as it gets one."""
    request = request_pdu((1, CT_IMAGE_STORAGE), (3, VERIFICATION), window=16)
    peers: list[RawPeer] = []

    def is_accepted() -> bool:
        peer = RawPeer.connect(node.address[1])
        peer.send(request)
        if peer.read_pdu()[:1] == b"\x02":
            peers.append(peer)
            return True
        peer.close()
        return False

    wait_until(is_accepted, what="the node takes an association")
    with peers[0]:
        yield peers[0]


def _responses(peer: RawPeer, count: int) -> list[Response]:
    found = []
    for _ in range(count):
        pdu = peer.read_pdu()
        assert pdu[:1] == b"\x04", pdu
        command = decode_command(pdu[12:])[1]
        instance = command.get("AffectedSOPInstanceUID", "")
        found.append((command["MessageIDBeingRespondedTo"], instance, command["Status"]))
    return found


def _check_archive(node: Node, told: Told) -> None:
    """What was told to be stored is in the store and in the index, and nothing else is."""
    wait_until(lambda: not staged(node.holdings.local.root), what="nothing is staged")
    assert node.holdings.intake.wait_for_all()
    assert node.holdings.index is not None
    with node.holdings.index.reading() as connection:
        indexed = list(connection.scalars(select_rows(schema.instance.c.uid)))
    acknowledged = {instance for instance, status in told.all if status == 0}
    assert sorted(indexed) == sorted(acknowledged) == sorted(stored(node.holdings.local.root))


class Requests:
    """C-STORE requests with the responses that they ask for.

    Parameters
    ----------
    make, encode
        The fixtures.
    """

    def __init__(self, make: Make, encode: Encode) -> None:
        self._make = make
        self._encode = encode

    def data(self, instance: str, **attributes: Any) -> bytes:
        return self._encode(self._make(SOPInstanceUID=instance, **attributes), IMPLICIT_VR_LE)

    def one(self, number: int, **attributes: Any) -> bytes:
        """A sound one."""
        instance = f"1.2.3.{number}"
        return store_pdus(self.data(instance, **attributes), message_id=number, instance=instance)

    def mixed(self, count: int) -> tuple[list[bytes], list[Response], list[tuple[str, int]]]:
        """Sound ones and others: the requests, their responses, and what ``on_stored`` is to be told."""
        requests, responses, told = [], [], []
        for number in range(1, count + 1):
            instance, message_id, status = f"1.2.3.{number}", number, 0
            data = self.data(instance)
            sop_class, is_told = CT_IMAGE_STORAGE, True
            match number % 10:
                case 2:
                    # With the Message ID of the one before; that of the next one is this one's.
                    sop_class, message_id, status, is_told = MR_IMAGE_STORAGE, number - 1, 0x0122, False
                case 3:
                    message_id = number - 2
                case 4:
                    data, status = data[:-1], 0xC000
                case 5:
                    # The same object again.
                    instance = f"1.2.3.{number - 4}"
                    data = self.data(instance)
                case 6:
                    # Another one of its SOP Instance UID.
                    instance, status = f"1.2.3.{number - 5}", 0xB000
                    data = self.data(instance, PatientID="other")
                case 7:
                    instance, status, is_told = "1..2", 0x0117, False
                case 8:
                    status, is_told = 0x0212, False
                case 9:
                    # One of another study, under a SOP Instance UID that is taken.
                    instance, status = f"1.2.3.{number - 8}", 0xB000
                    data = self.data(instance, StudyInstanceUID="1.9")
            request = store_pdus(data, message_id=message_id, sop_class=sop_class, instance=instance)
            requests.append(_without_data_set(request) if status == 0x0212 else request)
            responses.append((message_id, instance, status))
            if is_told:
                told.append((instance, status))
        return requests, responses, told


def _without_data_set(request: bytes) -> bytes:
    """A request that says in Command Data Set Type (0000,0800) that it has none."""
    command = request[: 6 + int.from_bytes(request[2:6], "big")]
    at = command.index(bytes.fromhex("00000008 02000000")) + 8
    return command[:at] + b"\x01\x01" + command[at + 2 :]


def test_requests_in_one_go_are_answered_each_in_its_turn(tmp_path: Path, make: Make, encode: Encode) -> None:
    """More than any window allows, with Message IDs that are in use, a C-ECHO between them and the release behind."""
    told = Told()
    kinds = Requests(make, encode)
    requests, responses, expected = kinds.mixed(40)
    requests.insert(20, echo_pdus(999, 3))
    responses.insert(20, (999, "", 0))
    with _node(tmp_path, told) as node, _associated(node) as peer:
        with told.held(0):
            peer.send(kinds.one(100))
            told.wait_for(0)
            # It reads the rest when it has done with the first one, and so all of it at once.
            peer.send(b"".join([*requests, RELEASE_RQ]))
        assert _responses(peer, 42) == [(100, "1.2.3.100", 0), *responses]
        assert peer.read_pdu() == RELEASE_RP
        assert told.all == [("1.2.3.100", 0), *expected]
        _check_archive(node, told)


@pytest.mark.parametrize("end", ["abort", "reset", "close"])
@pytest.mark.parametrize("moment", ["in one go", "while others are stored"])
def test_a_peer_that_ends_behind_its_requests(
    tmp_path: Path, make: Make, encode: Encode, end: str, moment: str
) -> None:
    """X10: What it does not hear of is whole or not there, can be sent again, and the node goes on."""
    told = Told()
    kinds = Requests(make, encode)
    numbers = range(2, 2 * TOGETHER)
    # The large ones are in files already: one that has come as a whole and has to wait, and half of another.
    whole, other = (
        kinds.one(number, PixelData=bytes(SPILL_LENGTH * 3 // 2)) for number in (2 * TOGETHER, 99)
    )
    requests = b"".join([*map(kinds.one, numbers), whole, other[: len(other) * 3 // 4]])
    with _node(tmp_path, told) as node:
        with _associated(node) as peer, told.held(1):
            with told.held(0):
                peer.send(kinds.one(1))
                told.wait_for(0)
                peer.send(requests)
                if moment == "in one go":
                    _end(peer, end)
            if moment != "in one go":
                told.wait_for(1)
                _end(peer, end)
        with _associated(node) as peer:
            peer.send(kinds.one(98) + RELEASE_RQ)
            assert _responses(peer, 1) == [(98, "1.2.3.98", 0)]
            assert peer.read_pdu() == RELEASE_RP
        assert told.all[0] == ("1.2.3.1", 0)
        assert told.all[-1] == ("1.2.3.98", 0)
        begun = [(f"1.2.3.{number}", 0) for number in (*numbers, 2 * TOGETHER)]
        assert told.all[1:-1] == begun[: len(told.all) - 2]
        _check_archive(node, told)
        with _associated(node) as peer:
            peer.send(b"".join([*map(kinds.one, numbers), whole, RELEASE_RQ]))
            assert [status for *_, status in _responses(peer, len(begun))] == [0] * len(begun)
        _check_archive(node, told)


@pytest.mark.parametrize("there", [1, 40_000])
def test_a_response_does_not_wait_for_a_request_that_is_not_complete(
    tmp_path: Path, make: Make, encode: Encode, there: int
) -> None:
    kinds = Requests(make, encode)
    other = kinds.one(2, PixelData=bytes(SPILL_LENGTH))
    with _node(tmp_path, Told()) as node, _associated(node) as peer:
        peer.send(kinds.one(1) + other[:there])
        assert _responses(peer, 1) == [(1, "1.2.3.1", 0)]
        peer.send(other[there:])
        assert _responses(peer, 1) == [(2, "1.2.3.2", 0)]


def test_a_response_does_not_wait_for_all_of_a_long_request(
    tmp_path: Path, make: Make, encode: Encode
) -> None:
    """Though its bytes come without a pause."""
    kinds = Requests(make, encode)
    longest = 1 << 30
    piece = bytes(700_000)
    part = len(piece) + 2
    more = b"\x04\0" + (part + 4).to_bytes(4, "big") + part.to_bytes(4, "big") + b"\x01\x00" + piece
    command = kinds.one(2)
    command = command[: 6 + int.from_bytes(command[2:6], "big")]
    with _node(tmp_path, Told()) as node, _associated(node) as peer:
        peer.send(kinds.one(1) + command)
        sent = 0
        while not select([peer.sock], [], [], 0)[0] and sent < longest:
            peer.send(more)
            sent += len(piece)
        assert sent < longest
        assert _responses(peer, 1) == [(1, "1.2.3.1", 0)]


def test_a_slow_medium_does_not_delay_the_first_response_by_all_requests(
    tmp_path: Path, make: Make, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    kinds = Requests(make, encode)
    with _node(tmp_path, told) as node, _associated(node) as peer:
        flushes: list[int] = []

        def flush(descriptor: int) -> None:
            flushes.append(descriptor)
            sleep(0.15)

        monkeypatch.setattr("dicomnet.archive.journal._flush_data", flush)
        peer.send(b"".join(map(kinds.one, range(1, TOGETHER + 1))))
        assert _responses(peer, 1) == [(1, "1.2.3.1", 0)]
        assert len(flushes) < 4
        assert len(_responses(peer, TOGETHER - 1)) == TOGETHER - 1


def test_a_peer_that_sends_no_more_hears_the_responses(tmp_path: Path, make: Make, encode: Encode) -> None:
    """It has closed its side of the connection only."""
    kinds = Requests(make, encode)
    with _node(tmp_path, Told()) as node, _associated(node) as peer:
        peer.send(kinds.one(1) + kinds.one(2))
        peer.sock.shutdown(SHUT_WR)
        assert _responses(peer, 2) == [(1, "1.2.3.1", 0), (2, "1.2.3.2", 0)]
        assert peer.read_pdu() == b""


def _end(peer: RawPeer, end: str) -> None:
    if end == "abort":
        peer.send(ABORT_BY_USER)
    elif end == "reset":
        peer.reset()
    else:
        peer.close()


def test_one_who_cannot_be_told_of_an_object_cost_the_others_their_answers(
    tmp_path: Path, make: Make, encode: Encode, caplog: pytest.LogCaptureFixture
) -> None:
    """X20."""
    kinds = Requests(make, encode)
    told = Told()

    def on_stored(instance: str, status: int, name: object) -> None:
        told(instance, status, name)
        if instance == "1.2.3.3":
            raise OSError("nobody reads this")

    node = Node(tmp_path, address=("127.0.0.1", 0), on_stored=on_stored)
    node.start()
    try:
        with _associated(node) as peer:
            peer.send(b"".join(map(kinds.one, range(1, 9))))
            assert _responses(peer, 8) == [(number, f"1.2.3.{number}", 0) for number in range(1, 9)]
        assert told.all == [(f"1.2.3.{number}", 0) for number in range(1, 9)]
        _check_archive(node, told)
    finally:
        node.shutdown()
    assert "1.2.3.3" in caplog.text


def test_a_defect_fails_each_of_those_that_were_stored_together(
    tmp_path: Path, make: Make, encode: Encode, broken_index: Catalogue
) -> None:
    """X20: It is told once of each, the association is over, and the next one and the next start find what is there."""
    told = Told()
    kinds = Requests(make, encode)
    failed = OPERATIONS["C-STORE"].handler_failed
    numbers = range(2, TOGETHER + 2)
    with _node(tmp_path, told) as node:
        index = node.holdings.intake.catalogue
        with _associated(node) as peer:
            with told.held(0):
                peer.send(kinds.one(1))
                told.wait_for(0)
                node.holdings.intake.catalogue = broken_index
                peer.send(b"".join(map(kinds.one, numbers)))
            assert _responses(peer, 1) == [(1, "1.2.3.1", 0)]
            assert peer.read_pdu()[:1] == b"\x07"
        assert told.all == [("1.2.3.1", 0), *((f"1.2.3.{number}", failed) for number in numbers)]
        assert not staged(tmp_path)
        node.holdings.intake.catalogue = index
        with _associated(node) as peer:
            peer.send(kinds.one(2) + kinds.one(99) + RELEASE_RQ)
            assert _responses(peer, 2) == [(2, "1.2.3.2", 0), (99, "1.2.3.99", 0)]
    with _node(tmp_path, told) as node:
        assert node.holdings.index is not None
        with node.holdings.index.reading() as connection:
            assert set(connection.scalars(select_rows(schema.instance.c.uid))) == stored(tmp_path).keys()
