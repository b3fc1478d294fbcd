"""Troubles of a node: media and indexes that fail for a while, peers that stall, objects whose names are alike."""

from __future__ import annotations

import os
import socket
import sqlite3
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path
from time import monotonic
from typing import cast

import pytest
from tests.scripted import Arrived, Scp
from tests.sockets import (
    RawPeer,
    echo_pdus,
    find_pdus,
    raw_server,
    request_pdu,
    status_of,
    store_pdus,
)
from tests.support import PROMPT, data_set_of, digest, quarantined, serving, staged, stored, wait_until

from dicomnet import Peer
from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.entries import IDENTIFYING, Entry
from dicomnet.archive.node import Node
from dicomnet.archive.services.retrieve import RetrievePolicy, destinations_of
from dicomnet.archive.services.storage import OnStored
from dicomnet.archive.storage.store import ObjectName, Storage
from dicomnet.archive.terms import Terms
from dicomnet.drivers.deadline import Timeouts
from dicomnet.encoding.scan import HeaderScanner
from dicomnet.errors import ServiceRefusal
from dicomnet.exchange.contexts import FIND_MODELS, VERIFICATION
from dicomnet.exchange.results import RetrieveProgress, StoreResult

from .objects import (
    CT_IMAGE_STORAGE,
    EXPLICIT,
    data_set_bytes,
    file_of,
    study_uid,
    uid,
    write_objects,
)


def store(port: int, paths: list[Path]) -> list[StoreResult]:
    with Peer(f"127.0.0.1:{port}", retries=0) as peer:
        return list(peer.store(paths))


def images(port: int, study: int) -> set[str]:
    """What the index has of a study."""
    with Peer(f"127.0.0.1:{port}") as peer:
        series = f"{study_uid(study)}.1"
        found = peer.find("image", StudyInstanceUID=study_uid(study), SeriesInstanceUID=series)
        return {str(match.SOPInstanceUID) for match in found}


def echo(port: int) -> None:
    """C-ECHO is answered at once."""
    begin = monotonic()
    with Peer(f"127.0.0.1:{port}") as peer:
        peer.echo()
    assert monotonic() - begin < PROMPT


# Which system calls fail, which of them of a thread, how, and whether an object is refused for it.
FAILURES = {
    "the journal cannot be written": ("pwritev,pwritev2", "12..20", "EIO", True),
    "the disk is full": ("pwritev,pwritev2", "12..20", "ENOSPC", True),
    "the journal cannot be flushed": ("fdatasync", "3..9", "EIO", True),
    "files cannot be placed": ("?link,linkat", "3..9", "EROFS", False),
    "files cannot be written": ("writev", "3..9", "ENOSPC", False),
    "nothing can be made durable": ("syncfs", "1..2", "EIO", False),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_medium_that_fails_for_a_while(tmp_path: Path, failure: str) -> None:
    """X03 X04: A700 where the journal is concerned; else it waits there until it can be filed. Then all is well."""
    calls, when, error, is_refused = FAILURES[failure]
    paths = write_objects(tmp_path / "objects", 1, 40, 20_000)
    sent = {uid(1, int(path.stem)): digest(data_set_of(path)) for path in paths}
    options = ["-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={when}"]
    under = ["strace", "-D", "-f", "-q", "-o", "/dev/null", *options]
    with serving(tmp_path) as node:
        node.end()
    with serving(tmp_path, under=under) as node:
        results = store(node.port, paths)
        refused = [result for result in results if result.status != 0]
        assert {result.status for result in refused} == ({0xA700} if is_refused else set())
        assert all(result.comment for result in refused)
        kept = {result.sop_instance_uid for result in results if result.status == 0}
        wait_until(lambda: kept <= images(node.port, 1), 20, "what was acknowledged is found")
        assert images(node.port, 1) == kept
        wait_until(lambda: {result.status for result in store(node.port, paths)} == {0}, 20, "it recovers")
        echo(node.port)
        assert images(node.port, 1) == sent.keys()
        node.end()
    # What may not be on the medium stays in the journal.
    assert any((node.store / "journal").rglob("*.segment")) is (calls == "syncfs")
    with serving(tmp_path) as node:
        assert images(node.port, 1) == sent.keys()
        node.end()
    assert stored(node.store) == sent
    assert not staged(node.store)
    assert not quarantined(node.store)
    assert not list((node.store / "journal").rglob("*.segment"))


@contextmanager
def locked(index: Path) -> Iterator[None]:
    """Within the block, another process' transaction excludes all others from the index."""
    other = sqlite3.connect(index, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_an_index_that_another_process_locks(tmp_path: Path) -> None:
    """X18: Objects are safe in the journal and acknowledged; queries come to an end; later all is found."""
    before, meanwhile = (write_objects(tmp_path / str(first), 2, 20, first=first) for first in (1, 101))
    with serving(tmp_path) as node:
        assert {result.status for result in store(node.port, before)} == {0}
        assert len(images(node.port, 2)) == 20
        with locked(node.store / "index.sqlite"):
            begin = monotonic()
            assert {result.status for result in store(node.port, meanwhile)} == {0}
            assert monotonic() - begin < 5
            found = images(node.port, 2)
            assert monotonic() - begin < 15
            assert {uid(2, number) for number in range(1, 21)} <= found
            echo(node.port)
        wait_until(lambda: len(images(node.port, 2)) == 40, 20, "all is found")
        node.end()
    assert len(stored(node.store)) == 40
    assert (node.store / "lock").read_text() == "at rest\n"
    said = (tmp_path / "output.txt").read_text()
    assert said.count("cannot be filed now") <= 1


def test_a_node_that_is_killed_while_its_index_is_locked(tmp_path: Path) -> None:
    """X01 X18: What it had acknowledged waits in the journal for the next one."""
    paths = write_objects(tmp_path / "objects", 3, 20)
    with serving(tmp_path) as node:
        assert len(images(node.port, 3)) == 0
        with locked(node.store / "index.sqlite"):
            assert {result.status for result in store(node.port, paths)} == {0}
            node.process.kill()
            node.process.wait()
    with serving(tmp_path) as node:
        assert images(node.port, 3) == {uid(3, number) for number in range(1, 21)}
        assert len(stored(node.store)) == 20


def test_a_query_finds_what_any_process_has_acknowledged(tmp_path: Path) -> None:
    """Read your writes: stored by one process, asked for in another right after the response."""
    paths = write_objects(tmp_path / "objects", 4, 30)
    with (
        serving(tmp_path, "--workers", "2") as node,
        Peer(node.address) as sender,
        Peer(node.address) as other,
    ):
        other.echo()
        for count, path in enumerate(paths, 1):
            assert [result.status for result in sender.store([path])] == [0]
            asked = (sender, other)[count % 2]
            (study,) = asked.find("study", StudyInstanceUID=study_uid(4), NumberOfStudyRelatedInstances="")
            assert study.NumberOfStudyRelatedInstances == count


@contextmanager
def running(folder: Path, terms: Terms | None = None, on_stored: OnStored | None = None) -> Iterator[Node]:
    node = Node(folder, address=("127.0.0.1", 0), terms=terms, on_stored=on_stored)
    node.start()
    try:
        yield node
    finally:
        node.shutdown()


CONTEXTS = ((1, VERIFICATION), (3, CT_IMAGE_STORAGE))


@pytest.mark.parametrize("end", ["silent", "one byte at a time"])
def test_a_peer_that_stalls_in_an_object(tmp_path: Path, end: str) -> None:
    """X06 X07: After the time for a message the association is over, its slot free, and nothing is stored."""
    request = store_pdus(bytes(300_000), context_id=3)
    with (
        running(tmp_path, Terms(timeouts=Timeouts(message=0.5, idle=30), maximum_associations=1)) as node,
        RawPeer.connect(node.address[1]) as peer,
    ):
        peer.send(request_pdu(*CONTEXTS))
        assert peer.read_pdu()[0] == 2
        peer.send(request[:200_000])
        over = threading.Event()

        def trickle() -> None:
            for at in range(200_000, len(request)):
                if over.wait(0.02):
                    return
                try:
                    peer.send(request[at : at + 1])
                except OSError:
                    return

        thread = threading.Thread(target=trickle)
        if end != "silent":
            thread.start()
        try:
            assert peer.read_pdu()[0] == 7
        except ConnectionError:
            assert end != "silent"
        over.set()
        if end != "silent":
            thread.join()

        def is_free() -> bool:
            with RawPeer.connect(node.address[1]) as other:
                other.send(request_pdu(*CONTEXTS))
                if other.read_pdu()[0] != 2:
                    return False
                other.send(echo_pdus())
                return status_of(other.read_pdu()) == 0

        # The slot is given back a moment after the peer has heard of it.
        wait_until(is_free, 10, "the slot is free")
        wait_until(lambda: not staged(tmp_path))
    assert stored(tmp_path) == {}


def test_a_peer_that_is_gone_without_a_word_gives_its_slot_back(tmp_path: Path) -> None:
    """X07: The idle time is all that it costs."""
    with (
        running(tmp_path, Terms(timeouts=Timeouts(idle=0.5), maximum_associations=1)) as node,
        RawPeer.connect(node.address[1]) as peer,
    ):
        peer.send(request_pdu(*CONTEXTS))
        assert peer.read_pdu()[0] == 2
        begin = monotonic()

        def is_accepted() -> bool:
            with RawPeer.connect(node.address[1]) as other:
                other.send(request_pdu(*CONTEXTS))
                return other.read_pdu()[0] == 2

        assert not is_accepted()
        wait_until(is_accepted, 10, "the slot is free")
        assert 0.3 < monotonic() - begin < PROMPT


def fill(folder: Path, count: int) -> None:
    """Write rows of the objects of one study into the index of a node that does not run, without files."""
    with running(folder) as node:
        assert node.holdings.index is not None
        scanner = HeaderScanner({**node.holdings.index.wanted, **IDENTIFYING})
    data_set, template = data_set_bytes(1, 0, folder), uid(1, 0).encode()
    (folder / "one.dcm").unlink()
    series = (study_uid(1), study_uid(1) + ".1")
    entries = [
        Entry(
            ObjectName(*series, name),
            scanner.scan(data_set.replace(template, name.encode()), EXPLICIT),
            CT_IMAGE_STORAGE,
            EXPLICIT,
        )
        for name in (uid(1, image) for image in range(1, count + 1))
    ]
    with Index(folder / "index.sqlite") as index:
        for at in range(0, count, 1000):
            assert all(index.add(entries[at : at + 1000]))


def _resident(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) << 10


def test_peers_that_never_read_the_matches(tmp_path: Path) -> None:
    """X05: Others are served, and the matches wait in the index, not in memory."""
    fill(tmp_path / "store", 20_000)
    values = {0x00080018: "", 0x00080052: "IMAGE ", 0x00100020: "P1", 0x0020000D: study_uid(1)}
    values[0x0020000E] = study_uid(1) + ".1"
    keys = b"".join(
        struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value) + len(value) % 2)
        + value.encode()
        + b"\0" * (len(value) % 2)
        for tag, value in values.items()
    )
    with serving(tmp_path) as node:
        assert len(images(node.port, 1)) == 20_000
        before = _resident(node.process.pid)
        peers = []
        for _ in range(8):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", node.port))
            peer = RawPeer(sock)
            peers.append(peer)
            peer.send(request_pdu((1, FIND_MODELS["patient"])))
            assert peer.read_pdu()[0] == 2
            peer.send(find_pdus(keys))
            assert status_of(peer.read_pdu()) & 0xFF00 == 0xFF00
        for _ in range(5):
            echo(node.port)
        assert _resident(node.process.pid) - before < 64 << 20
        for peer in peers:
            peer.reset()
        echo(node.port)
        node.end()


def test_one_who_blocks_when_told_of_an_object(tmp_path: Path) -> None:
    """X20: Other associations store and ask meanwhile."""
    entered, leave = threading.Event(), threading.Event()

    def on_stored(instance: str, status: int, name: object) -> None:
        if instance == uid(5, 1):
            entered.set()
            assert leave.wait(30)

    first, second = write_objects(tmp_path / "objects", 5, 2)
    with running(tmp_path / "store", on_stored=on_stored) as node:
        port = node.address[1]
        blocked = threading.Thread(target=store, args=(port, [first]))
        blocked.start()
        try:
            assert entered.wait(10)
            assert [result.status for result in store(port, [second])] == [0]
            # What it was to be told of is stored already.
            assert images(port, 5) == {uid(5, 1), uid(5, 2)}
            echo(port)
        finally:
            leave.set()
            blocked.join(10)


def test_patients_whose_identifiers_differ_by_case_or_composition(tmp_path: Path) -> None:
    """X31: No name of a file is made of them; each is found for itself."""
    identifiers = ["a", "A", "\u00e9", "e\u0301", "\u00c9", "\u017f", "s", "S"]
    paths = []
    for number, identifier in enumerate(identifiers):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(file_of(20 + number, 1, SpecificCharacterSet="ISO_IR 192", PatientID=identifier))
        paths.append(path)
    with serving(tmp_path) as node:
        assert {result.status for result in store(node.port, paths)} == {0}
        with Peer(node.address) as peer:
            for number, identifier in enumerate(identifiers):
                found = peer.find("study", PatientID=identifier, SpecificCharacterSet="ISO_IR 192")
                assert [str(match.StudyInstanceUID) for match in found] == [study_uid(20 + number)]
        node.end()
    assert len(stored(node.store)) == len(identifiers)
    names = [str(path.relative_to(node.store)).casefold() for path in node.store.rglob("*.dcm")]
    assert len(set(names)) == len(identifiers)


def test_more_objects_in_a_study_than_sixteen_bits_count(tmp_path: Path) -> None:
    """X30: All are found, the first at once, and the counts are right."""
    count = 65_600
    fill(tmp_path / "store", count)
    with serving(tmp_path) as node, Peer(node.address) as peer:
        (study,) = peer.find("study", StudyInstanceUID=study_uid(1), NumberOfStudyRelatedInstances="")
        assert study.NumberOfStudyRelatedInstances == count
        (series,) = peer.find(
            "series", StudyInstanceUID=study_uid(1), SeriesInstanceUID="", NumberOfSeriesRelatedInstances=""
        )
        assert series.NumberOfSeriesRelatedInstances == count
        begin = monotonic()
        found = iter(peer.find("image", StudyInstanceUID=study_uid(1), SeriesInstanceUID=study_uid(1) + ".1"))
        names = {str(next(found).SOPInstanceUID)}
        assert monotonic() - begin < 2
        names |= {str(match.SOPInstanceUID) for match in found}
        assert names == {uid(1, number) for number in range(1, count + 1)}
        # One more is stored as ever.
        (path,) = write_objects(tmp_path / "objects", 1, 1, first=count + 1)
        begin = monotonic()
        assert [result.status for result in peer.store([path])] == [0]
        assert monotonic() - begin < 2
        (study,) = peer.find("study", StudyInstanceUID=study_uid(1), NumberOfStudyRelatedInstances="")
        assert study.NumberOfStudyRelatedInstances == count + 1


class Generated:
    """Files of the objects that `fill` has put in the index."""

    def __init__(self) -> None:
        self._template = file_of(1, 0)

    def open(self, name: ObjectName) -> BufferedReader:
        return BufferedReader(BytesIO(self._made(name)))

    def read(self, name: ObjectName, length: int) -> bytes | None:
        content = self._made(name)
        return content if len(content) == length else None

    def _made(self, name: ObjectName) -> bytes:
        return self._template.replace(uid(1, 0).encode(), name.instance.encode())


def test_more_objects_in_a_retrieval_than_sixteen_bits_count(tmp_path: Path) -> None:
    """All of 100,000 come, or have failed, and none of it takes memory for each."""
    count = 100_000
    everything = {uid(1, number) for number in range(1, count + 1)}
    fill(tmp_path, count)
    got: set[str] = set()

    def take(request: Arrived) -> bytes:
        got.add(scp.arrived.pop().instance)
        return request.response()

    scp = Scp(take)
    with (
        raw_server(scp.serve) as port,
        running(
            tmp_path, Terms(retrieval=RetrievePolicy(destinations_of([f"THERE@127.0.0.1:{port}"])))
        ) as node,
        Peer(f"127.0.0.1:{node.address[1]}") as peer,
    ):
        stored_files, node.holdings.storage = node.holdings.storage, cast(Storage, Generated())
        before = _resident(os.getpid())
        for last in peer.get(
            "study", StudyInstanceUID=study_uid(1), on_object=lambda each: got.add(each.sop_instance_uid)
        ):
            assert last.remaining is None or last.remaining <= 0xFFFF
        assert (last.status, last.completed, last.failed, last.received) == (0, 0xFFFF, 0, count)
        assert got == everything
        # The names that this test has kept are the most of it.
        assert _resident(os.getpid()) - before < 50 << 20
        got.clear()
        before = _resident(os.getpid())
        for last in peer.move("THERE", "study", StudyInstanceUID=study_uid(1)):
            assert last.remaining is None or last.remaining <= 0xFFFF
        assert (last.status, last.completed, last.failed) == (0, 0xFFFF, 0)
        assert got == everything
        assert _resident(os.getpid()) - before < 50 << 20
        node.holdings.storage = stored_files
        told: list[RetrieveProgress] = []
        with pytest.raises(ServiceRefusal) as refusal:
            told.extend(peer.get("study", StudyInstanceUID=study_uid(1), to=tmp_path / "got"))
        assert refusal.value.status == 0xA702
        last = told[-1]
        assert (last.completed, last.failed) == (0, 0xFFFF)
        assert set(last.failed_uids) == everything
