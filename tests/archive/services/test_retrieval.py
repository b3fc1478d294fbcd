"""C-GET and C-MOVE of a node: how they end, whatever a receiver, a requestor or a file does."""

from __future__ import annotations

import logging
import re
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, cast

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from tests.faults.objects import study_uid, uid
from tests.postgresql import PostgreSQL
from tests.scripted import Arrived, Scp, read_request
from tests.sockets import RELEASE_RP, RawPeer, cancel_pdus, raw_server
from tests.support import free_port, wait_for_files, wait_until

from dicomnet.archive.storage.store import ObjectName, Storage
from dicomnet.dimse.codec import decode_command
from dicomnet.dimse.messages import C_MOVE_RQ
from dicomnet.drivers.deadline import Timeouts
from dicomnet.upper_layer.negotiation import Acceptor, accept, identification_items
from dicomnet.wire.pdu import AssociateRJ

from .retrieving import (
    COUNT,
    MOVE,
    fill,
    final,
    getting,
    moved,
    next_store,
    peer_of,
    raw_retrieval,
    running,
)

# What a final response says.
NUMBERS = tuple(f"NumberOf{name}Suboperations" for name in ("Completed", "Failed", "Warning"))

# -- whatever a destination does (X26)


def refuses_one_of(number: int) -> Callable[[Arrived], bytes | None]:
    return lambda request: request.response(0xA700 if int(request.instance[-2:]) % number == 0 else 0)


def ends_after(count: int) -> Callable[[Arrived], bytes | None]:
    return lambda request: request.response() if request.index < count else None


class NoContexts(Scp):
    """Accepts the association, and no context."""

    def serve(self, peer: RawPeer) -> None:
        asked = read_request(peer)
        if asked is not None:
            acceptor = Acceptor({}, identification_items(16384, "1.2.3", None))
            peer.send(accept(asked, acceptor)[0].encode())
            peer.read_to_end()


Troubles = dict[str, tuple[Callable[[], Scp], tuple[int, int, int, int]]]
# What a destination does, and how the C-MOVE ends: status, completed, failed, with warnings.
TROUBLES: Troubles = {
    "rejects": (
        lambda: Scp(lambda request: None, answers=[AssociateRJ(1, 1, 1)] * 9),
        (0xA702, 0, COUNT, 0),
    ),
    "accepts no context": (lambda: NoContexts(lambda request: None), (0xA702, 0, COUNT, 0)),
    "ends each association at once": (lambda: Scp(lambda request: None), (0xA702, 0, COUNT, 0)),
    "ends each association after some": (lambda: Scp(ends_after(6), window=1), (0x0000, COUNT, 0, 0)),
    "never answers": (lambda: Scp(lambda request: b""), (0xA702, 0, COUNT, 0)),
    "refuses some": (lambda: Scp(refuses_one_of(4)), (0xB000, 15, 5, 0)),
    "warns": (lambda: Scp(lambda request: request.response(0xB000)), (0xB000, 0, 0, COUNT)),
    "refuses all": (lambda: Scp(lambda request: request.response(0xA700)), (0xA702, 0, COUNT, 0)),
}


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_whatever_a_destination_does_the_counts_are_right(tmp_path: Path, trouble: str, jobs: int) -> None:
    """X26: also a final response always comes, the failed UIDs are listed, and nothing is left open."""
    make, ended = TROUBLES[trouble]
    scp = make()
    with (
        raw_server(scp.serve) as port,
        running(
            tmp_path / "node",
            f"THERE@127.0.0.1:{port}",
            jobs=jobs,
            timeouts=Timeouts(message=0.3, association=2),
        ) as node,
    ):
        fill(node, tmp_path)
        responses = moved(node)
        assert final(responses) == ended
        failed = set(responses[-1].failed_uids)
        assert len(failed) == ended[2]
        assert failed <= {uid(1, number) for number in range(1, COUNT + 1)}
        assert not moves_under_way()
        # The node goes on.
        with peer_of(node) as peer:
            peer.echo()
        scp.end()


def moves_under_way() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "dicomnet-move"]


def test_an_object_that_ends_its_decoder_costs_itself(tmp_path: Path) -> None:
    """It ended the node, with all its associations."""
    fatal = Path(__file__).parents[2] / "datasets" / "ends_the_decoder.dcm"
    paths = [
        fatal,
        *(Path(str(get_testdata_file(name))) for name in ("SC_rgb_jpeg_dcmtk.dcm", "CT_small.dcm")),
    ]
    with running(tmp_path / "node") as node, peer_of(node) as peer:
        assert all(result.is_stored for result in peer.store(paths))
        studies = sorted({str(dcmread(path).StudyInstanceUID) for path in paths})
        last = list(peer.get("study", to=tmp_path / "got", StudyInstanceUID=studies))[-1]
        peer.echo()
    assert (last.status, last.completed, last.failed, last.received) == (0xB000, 2, 1, 2)
    assert last.failed_uids == (str(dcmread(fatal).SOPInstanceUID),)


def test_a_destination_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All objects have failed, and the reason is said once."""
    port = free_port()
    with running(tmp_path / "node", f"THERE@127.0.0.1:{port}") as node:
        fill(node, tmp_path, 300)
        with caplog.at_level(logging.INFO, "dicomnet.archive.services"):
            responses = moved(node)
    assert final(responses) == (0xA702, 0, 300, 0)
    assert set(responses[-1].failed_uids) == {uid(1, number) for number in range(1, 301)}
    reason, end = (each.getMessage() for each in caplog.records if "retrieval" in each.name)
    assert reason.startswith(
        f"C-MOVE of ASKING (127.0.0.1): 300 objects not sent to THERE@127.0.0.1:{port}: "
    )
    assert "refused" in reason
    assert "0 of 300 objects sent, 300 failed" in end


def test_an_error_comment_of_a_destination_writes_no_line_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It stood in the log as it came: a line break began a line that looked like one of ours."""

    def refuses(request: Arrived) -> bytes:
        return request.response(0xC000, ErrorComment="\x1b[2J\n2026-11-29 WARNING a lie")

    scp = Scp(refuses)
    with raw_server(scp.serve) as port, running(tmp_path / "node", f"THERE@127.0.0.1:{port}") as node:
        fill(node, tmp_path)
        with caplog.at_level(logging.DEBUG, "dicomnet"):
            moved(node)
        scp.end()
    about = [each.getMessage() for each in caplog.records if "a lie" in each.getMessage()]
    assert len(about) > COUNT
    assert all(each.isprintable() for each in about)


def test_a_destination_that_is_gone_in_the_middle(tmp_path: Path) -> None:
    """What it has counts; the rest has failed, without a wait for each."""
    answers: list[AssociateRJ | bytes | None] = [None, *[AssociateRJ(1, 1, 1)] * 9]
    scp = Scp(ends_after(6), window=1, answers=answers)
    with raw_server(scp.serve) as port, running(tmp_path / "node", f"THERE@127.0.0.1:{port}") as node:
        fill(node, tmp_path, 600)
        responses = moved(node)
    assert final(responses) == (0xB000, 6, 594, 0)
    assert len(responses[-1].failed_uids) == 594
    assert len(scp.proposed) <= 3


class NeverReleased(Scp):
    """Does not answer a release request."""

    def serve(self, peer: RawPeer) -> None:
        send = peer.send
        peer.send = lambda data: None if data == RELEASE_RP else send(data)  # type: ignore[method-assign]
        super().serve(peer)
        peer.read_to_end()


def test_a_destination_that_never_releases(tmp_path: Path) -> None:
    """X11: What it has counts, and the final response does not wait for it."""
    scp = NeverReleased(lambda request: request.response())
    with raw_server(scp.serve) as port, running(tmp_path / "node", f"THERE@127.0.0.1:{port}") as node:
        fill(node, tmp_path)
        begin = monotonic()
        assert final(moved(node)) == (0, COUNT, 0, 0)
        # The association has thirty seconds.
        assert monotonic() - begin < 10
        assert not moves_under_way()
        scp.end()


@pytest.mark.parametrize("harm", ["gone", "shorter", "of another object", "no DICOM file"])
@pytest.mark.parametrize("service", ["C-MOVE", "C-GET"])
def test_an_object_whose_file_is_damaged_costs_itself(
    tmp_path: Path, harm: str, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    scp = Scp(lambda request: request.response())
    with raw_server(scp.serve) as port, running(tmp_path / "node", f"THERE@127.0.0.1:{port}") as node:
        fill(node, tmp_path, 5)
        wait_for_files(tmp_path / "node", 5)
        bad, other = (next((tmp_path / "node").rglob(f"{uid(1, number)}.dcm")) for number in (2, 3))
        content = other.read_bytes()
        bad.unlink()
        if harm != "gone":
            bad.write_bytes({"shorter": content[:-10], "of another object": content}.get(harm, b"x" * 1000))
        with peer_of(node) as peer, caplog.at_level(logging.INFO, "dicomnet.archive"):
            keys: dict[str, Any] = {"StudyInstanceUID": study_uid(1)}
            found = (
                peer.move("THERE", "study", **keys)
                if service == "C-MOVE"
                else peer.get("study", to=tmp_path / "got", **keys)
            )
            last = list(found)[-1]
    assert (last.status, last.completed, last.failed) == (0xB000, 4, 1)
    assert last.failed_uids == (uid(1, 2),)
    said = [each.getMessage() for each in caplog.records if "retrieval" in each.name]
    assert len(said) == 2
    assert said[0].startswith(f"{service} of ASKING (127.0.0.1): {uid(1, 2)} was not sent")
    there = f" to THERE@127.0.0.1:{port}" if service == "C-MOVE" else ""
    outcome = f"{service} of ASKING (127.0.0.1){there}, STUDY level: 4 of 5 objects sent, 1 failed, in "
    assert re.fullmatch(re.escape(outcome) + r"\d+\.\d\d s", said[1])
    assert "Fault" not in caplog.text
    assert "P1" not in caplog.text


@pytest.mark.parametrize("service", ["C-MOVE", "C-GET"])
def test_a_database_that_is_away_in_the_middle(tmp_path: Path, service: str) -> None:
    """What was sent counts, and what the index cannot name any more has failed."""
    count = 1000
    with PostgreSQL(durable=True) as server:

        def react(request: Arrived) -> bytes:
            if request.index == 10:
                server.stop(signal.SIGQUIT)
            return request.response()

        scp = Scp(react, window=1)
        with (
            raw_server(scp.serve) as port,
            running(tmp_path / "node", f"THERE@127.0.0.1:{port}", database=server.new_database()) as node,
        ):
            fill(node, tmp_path, count)
            if service == "C-MOVE":
                last = raw_retrieval(node, C_MOVE_RQ, MOVE)[-1]
                sent = len(scp.arrived)
            else:
                with getting(node, 1) as peer:
                    sent = 0
                    while (request := next_store(peer)) is not None:
                        request.index = sent
                        peer.send(react(request))
                        sent += 1
                    last = decode_command(peer.last[12:])[1]
            server.start()
            assert 10 < sent < count
            assert [last[name] for name in NUMBERS] == [sent, count - sent, 0]
            assert last["Status"] == 0xB000


class Defective:
    """A store with a defect, met with all objects but some."""

    def __init__(self, storage: Storage, good: int) -> None:
        self._storage = storage
        self._good = good

    def read(self, name: ObjectName, length: int) -> bytes | None:
        if int(name.instance[-2:]) > self._good:
            raise LookupError("a defect")
        return self._storage.read(name, length)


@pytest.mark.parametrize(("good", "status"), [(0, 0xA702), (3, 0xB000)])
@pytest.mark.parametrize("service", ["C-MOVE", "C-GET"])
def test_a_defect_of_ours_leaves_a_final_response(
    tmp_path: Path, service: str, good: int, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    scp = Scp(lambda request: request.response(), window=1)
    with raw_server(scp.serve) as port, running(tmp_path / "node", f"THERE@127.0.0.1:{port}") as node:
        fill(node, tmp_path)
        wait_for_files(tmp_path / "node", COUNT)
        node.holdings.storage = cast(Storage, Defective(node.holdings.storage, good))
        if service == "C-MOVE":
            last = raw_retrieval(node, C_MOVE_RQ, MOVE)[-1]
        else:
            with getting(node, 1) as peer:
                while (request := next_store(peer)) is not None:
                    peer.send(request.response())
                last = decode_command(peer.last[12:])[1]
        assert last["Status"] == status
        # What was on its way then may not count.
        assert max(0, good - 1) <= last[NUMBERS[0]] <= good
        assert last[NUMBERS[0]] + last[NUMBERS[1]] == COUNT
        assert "a defect" in caplog.text
        with peer_of(node) as peer:
            peer.echo()


# -- cancels and ends


def test_a_cancelled_move_stops_soon_and_says_what_is_left(tmp_path: Path) -> None:
    """Also where the destination does not answer any more."""
    begun = threading.Event()

    def react(request: Arrived) -> bytes:
        if request.index < 3:
            return request.response()
        begun.set()
        return b""

    def cancel(peer: RawPeer) -> None:
        assert begun.wait(10)
        peer.send(cancel_pdus())

    scp = Scp(react, window=2)
    with raw_server(scp.serve) as port, running(tmp_path / "node", f"THERE@127.0.0.1:{port}") as node:
        fill(node, tmp_path)
        responses = raw_retrieval(node, C_MOVE_RQ, MOVE, on_peer=cancel)
        assert not moves_under_way()
    last = responses[-1]
    assert last["Status"] == 0xFE00
    names = ("Completed", "Failed", "Warning", "Remaining")
    assert [last[f"NumberOf{name}Suboperations"] for name in names] == [3, 2, 0, COUNT - 5]


def test_a_cancelled_get_stops_soon_and_says_what_is_left(tmp_path: Path) -> None:
    with running(tmp_path / "node") as node:
        fill(node, tmp_path)
        for window in (1, 4):
            with getting(node, window) as peer:
                sent = 0
                while (request := next_store(peer)) is not None:
                    sent += 1
                    peer.send((cancel_pdus() if sent == 1 else b"") + request.response())
                assert 1 <= sent <= 2 * window
                last = decode_command(peer.last[12:])[1]
            assert last["Status"] == 0xFE00
            assert [last[f"NumberOf{name}Suboperations"] for name in ("Completed", "Remaining")] == [
                sent,
                COUNT - sent,
            ]


@pytest.mark.parametrize("window", [1, 4, 0])
def test_a_get_that_is_cancelled_at_any_moment(tmp_path: Path, window: int) -> None:
    """What was sent was completed, and the rest remains; behind the last response nothing is left to cancel."""
    with running(tmp_path / "node") as node:
        fill(node, tmp_path)
        for moment in range(COUNT + 1):
            with getting(node, window) as peer:
                sent = 0
                if moment == 0:
                    peer.send(cancel_pdus())
                while (request := next_store(peer)) is not None:
                    sent += 1
                    peer.send(request.response() + (cancel_pdus() if sent == moment else b""))
                last = decode_command(peer.last[12:])[1]
            assert [last[name] for name in NUMBERS] == [sent, 0, 0]
            assert last.get("NumberOfRemainingSuboperations", 0) == COUNT - sent
            assert last["Status"] == (0x0000 if sent == COUNT else 0xFE00)
            assert moment <= sent


@pytest.mark.parametrize("window", [1, 16])
def test_a_move_that_is_cancelled_at_any_moment(tmp_path: Path, window: int) -> None:
    """What arrived was completed or, unanswered, has failed; the rest remains."""
    reached = threading.Event()
    due = [0]

    def react(request: Arrived) -> bytes:
        if request.index == due[0]:
            reached.set()
        return request.response()

    def cancel(peer: RawPeer) -> None:
        assert reached.wait(10)
        peer.send(cancel_pdus())

    scp = Scp(react, window)
    with raw_server(scp.serve) as port, running(tmp_path / "node", f"THERE@127.0.0.1:{port}") as node:
        fill(node, tmp_path)
        for due[0] in range(COUNT):
            reached.clear()
            scp.arrived.clear()
            last = raw_retrieval(node, C_MOVE_RQ, MOVE, on_peer=cancel)[-1]
            assert [last[name] for name in NUMBERS] == [len(scp.arrived), 0, 0]
            assert last.get("NumberOfRemainingSuboperations", 0) == COUNT - len(scp.arrived)
            assert last["Status"] == (0x0000 if len(scp.arrived) == COUNT else 0xFE00)
        assert not moves_under_way()


@pytest.mark.parametrize("ends", ["abort", "close"])
def test_a_requestor_that_is_gone_ends_the_association_with_the_destination(
    tmp_path: Path, ends: str
) -> None:
    begun = threading.Event()

    def react(request: Arrived) -> bytes:
        begun.set()
        return b""

    def end(peer: RawPeer) -> None:
        assert begun.wait(10)
        if ends == "abort":
            peer.send(bytes.fromhex("070000000004 0000 0000"))
        else:
            peer.sock.shutdown(socket.SHUT_RDWR)

    scp = Scp(react)
    with raw_server(scp.serve) as port, running(tmp_path / "node", f"THERE@127.0.0.1:{port}") as node:
        fill(node, tmp_path)
        raw_retrieval(node, C_MOVE_RQ, MOVE, on_peer=end)
        assert scp.aborted.wait(10)
        wait_until(lambda: not moves_under_way())
        assert len(scp.proposed) == 1


def test_a_node_that_stops_ends_its_moves(tmp_path: Path) -> None:
    begun = threading.Event()

    def react(request: Arrived) -> bytes:
        begun.set()
        return b""

    scp = Scp(react)
    with raw_server(scp.serve) as port:
        with running(tmp_path / "node", f"THERE@127.0.0.1:{port}") as node:
            fill(node, tmp_path)
            asking = threading.Thread(target=raw_retrieval, args=(node, C_MOVE_RQ, MOVE))
            asking.start()
            assert begun.wait(10)
        asking.join(10)
        assert not asking.is_alive()
        assert scp.aborted.wait(10)
        wait_until(lambda: not moves_under_way())
