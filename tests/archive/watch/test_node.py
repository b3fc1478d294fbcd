"""A node that is watched: it counts what its peers saw, in one process and in several, whatever becomes of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from tests.archive.watch.pages import Samples, ask, health, metrics, port_of, value
from tests.cli.command import complaint, run
from tests.faults.objects import study_uid, write_objects
from tests.settings.nodes import Configured, configured
from tests.sockets import (
    ABORT_BY_USER,
    CT_IMAGE_STORAGE,
    RELEASE_RQ,
    VERIFICATION,
    RawPeer,
    make_certificates,
    request_pdu,
    store_pdus,
)
from tests.support import data_set_of, free_port, run_tool, tool, wait_until

from dicomnet import AE, Peer, evt
from dicomnet.archive.access import Access, Rule
from dicomnet.archive.node import Node
from dicomnet.archive.terms import Terms
from dicomnet.drivers.deadline import Timeouts
from dicomnet.errors import DicomnetError
from dicomnet.pynetdicom.sop_class import CTImageStorage

CT = str(get_testdata_file("CT_small.dcm"))
WATCHED = "[watch]\nport = 0\n"
WORKERS = pytest.mark.parametrize("workers", [1, 2])


@contextmanager
def watched(folder: Path, content: str = "", *options: str) -> Iterator[tuple[Configured, int]]:
    """A watched node, and the port of its pages."""
    with configured(folder, f"{content}\n{WATCHED}", *options) as node:
        yield node, port_of(node)


@contextmanager
def in_this_process(folder: Path, **options: Any) -> Iterator[tuple[Node, int]]:
    node = Node(folder, address=("127.0.0.1", 0), watch=("127.0.0.1", 0), **options)
    node.start()
    assert node.watch_address is not None
    try:
        yield node, node.watch_address[1]
    finally:
        node.shutdown()


def totals(samples: Samples, name: str, **labels: str) -> tuple[float, float]:
    """Count and sum of a histogram."""
    return value(samples, f"{name}_count", **labels), value(samples, f"{name}_sum", **labels)


def test_the_histogram_of_stores_agrees_with_what_the_client_measured(tmp_path: Path) -> None:
    """What the node does for an object takes 30 ms, and the client waits for more than that."""
    paths = write_objects(tmp_path / "objects", 1, 20)
    took = []
    with in_this_process(tmp_path / "node", on_stored=lambda uid, status, name: sleep(0.03)) as (node, port):
        with Peer(f"127.0.0.1:{node.address[1]}", window=1) as peer:
            peer.echo()
            for path in paths:
                begun = monotonic()
                assert [each.status for each in peer.store(path)] == [0]
                took.append(monotonic() - begun)
        samples = metrics(port)
    count, seconds = totals(samples, "store_duration_seconds", status="success")
    assert count == len(paths)
    assert 0.03 * count <= seconds <= sum(took)
    for limit in ("0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "+Inf"):
        below = value(samples, "store_duration_seconds_bucket", status="success", le=limit)
        # No request took the node longer than its client.
        assert below >= sum(each <= float(limit) for each in took)
    assert value(samples, "store_duration_seconds_bucket", status="success", le="0.025") == 0
    assert value(samples, "received_bytes_total") == sum(len(data_set_of(path)) for path in paths)


def test_what_is_in_the_trash_is_counted(tmp_path: Path) -> None:
    paths = write_objects(tmp_path / "objects", 1, 5)
    with watched(tmp_path) as (node, port):
        with Peer(node.address) as peer:
            assert [each.status for each in peer.store(paths)] == [0] * 5
        assert run("delete", "--data", node.store, "--all", "--yes", cwd=node.folder).returncode == 0
        samples = metrics(port)
        files = [path.stat().st_size for path in (node.folder / node.store / "trash").rglob("*.dcm")]
    assert len(files) == value(samples, "trash_objects") == 5
    assert sum(files) == value(samples, "trash_bytes")


@WORKERS
def test_queries_and_retrievals_are_counted_as_their_clients_saw_them(tmp_path: Path, workers: int) -> None:
    paths = write_objects(tmp_path / "objects", 1, 5)
    took: dict[str, float] = {}
    series = {"StudyInstanceUID": study_uid(1), "SeriesInstanceUID": f"{study_uid(1)}.1"}
    with receiver({4, 5}) as there:
        content = f'server.workers = {workers}\nretrieval.destinations = ["THERE@127.0.0.1:{there}"]'
        with watched(tmp_path, content) as (node, port), Peer(node.address) as peer:
            assert [each.status for each in peer.store(paths)] == [0] * 5
            begun = monotonic()
            assert len(list(peer.find("image", **series))) == 5
            took["find"] = monotonic() - begun
            begun = monotonic()
            got: list[int] = []
            list(peer.get("study", StudyInstanceUID=study_uid(1), on_object=lambda each: got.append(1)))
            took["get"] = monotonic() - begun
            begun = monotonic()
            moved = list(peer.move("THERE", "study", StudyInstanceUID=study_uid(1)))[-1]
            took["move"] = monotonic() - begun
            with suppress(DicomnetError):
                list(peer.move("NOWHERE", "study", StudyInstanceUID=study_uid(1)))
            samples = metrics(port)
            files = [path.stat().st_size for path in (node.folder / node.store / "objects").rglob("*.dcm")]
    assert (len(got), moved.completed, moved.failed, moved.warnings) == (5, 3, 1, 1)
    assert value(samples, "find_matches_total") == 5
    assert totals(samples, "find_duration_seconds", status="success")[0] == 1
    assert 0 < totals(samples, "find_duration_seconds", status="success")[1] <= took["find"]
    for operation, status in (("get", "success"), ("move", "warning")):
        count, seconds = totals(samples, "retrieve_duration_seconds", operation=operation, status=status)
        assert count == 1
        assert 0 < seconds <= took[operation]
    assert totals(samples, "retrieve_duration_seconds", operation="move", status="failure")[0] == 1
    sub_operations = {
        (operation, status): value(samples, "suboperations_total", operation=operation, status=status)
        for operation in ("get", "move")
        for status in ("success", "warning", "failure")
    }
    assert sub_operations == {
        ("get", "success"): 5,
        ("get", "warning"): 0,
        ("get", "failure"): 0,
        ("move", "success"): 3,
        ("move", "warning"): 1,
        ("move", "failure"): 1,
    }
    # Five objects by C-GET, and those four that the destination has.
    assert value(samples, "sent_bytes_total") == 9 * files[0]


@contextmanager
def receiver(unloved: set[int]) -> Iterator[int]:
    """A destination that answers one object with a warning and one with a failure; gives its port."""
    statuses = dict(zip(sorted(unloved), (0xB000, 0xA700), strict=True))

    def store(event: evt.Event) -> int:
        instance = int(str(event.dataset.SOPInstanceUID).rpartition(".")[2]) - 1_000_000
        return statuses.get(instance, 0)

    ae = AE("THERE")
    ae.add_supported_context(CTImageStorage)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def test_storescu_is_counted(tmp_path: Path) -> None:
    """All that the node took for its objects is less than the time from its start to its end."""
    paths = write_objects(tmp_path / "objects", 1, 40)
    with watched(tmp_path) as (node, port):
        begun = monotonic()
        done = run_tool([tool("storescu"), "127.0.0.1", str(node.port), *map(str, paths)])
        took = monotonic() - begun
        assert done.returncode == 0, done.stderr
        samples = metrics(port)
    count, seconds = totals(samples, "store_duration_seconds", status="success")
    assert count == 40
    assert 0 < seconds < took
    assert value(samples, "association_requests_total", peer="other", result="accepted") == 1


def test_requests_are_counted_by_the_class_of_their_status(tmp_path: Path) -> None:
    other = dcmread(CT)
    other.PatientName = "Other"
    other.save_as(tmp_path / "other.dcm")
    with in_this_process(tmp_path / "node") as (node, port):
        with Peer(f"127.0.0.1:{node.address[1]}") as peer:
            peer.echo()
            statuses = [each.status for path in (CT, CT, tmp_path / "other.dcm") for each in peer.store(path)]
        with RawPeer.connect(node.address[1]) as raw:
            raw.send(request_pdu((1, CT_IMAGE_STORAGE)))
            raw.read_pdu()
            for number in (1, 2, 3):
                raw.send(store_pdus(b"", message_id=number))
                raw.read_pdu()
        samples = metrics(port)
    assert statuses == [0, 0, 0xB000]
    counts = {
        status: totals(samples, "store_duration_seconds", status=status)[0]
        for status in ("success", "warning", "failure", "cancel")
    }
    assert counts == {"success": 2, "warning": 1, "failure": 3, "cancel": 0}
    assert totals(samples, "echo_duration_seconds", status="success")[0] == 1


def test_associations_are_counted_by_peer_and_result(tmp_path: Path) -> None:
    """Titles that no configuration has count as others, however many there are."""
    rules = (
        Rule("OLD-CT", None, None, frozenset()),
        Rule("CT1", None, None, frozenset(("C-ECHO",))),
        Rule(None, None, None, frozenset(("C-ECHO",))),
    )
    terms = Terms(
        called_titles=("NODE",),
        access=Access(rules),
        maximum_associations=1,
    )

    def asked(calling: str, called: str = "NODE") -> RawPeer:
        peer = RawPeer.connect(node.address[1])
        peer.send(request_pdu((1, VERIFICATION), calling=calling, called=called))
        peer.read_pdu()
        return peer

    def over(count: int) -> None:
        wait_until(lambda: value(metrics(port), "associations_open") == count, what=f"{count} are open")

    with in_this_process(tmp_path, terms=terms) as (node, port):
        for calling, called in (
            ("OLD-CT", "NODE"),
            ("CT1", "ELSE"),
            ("STRANGER1", "ELSE"),
            ("STRANGER2", "ELSE"),
        ):
            asked(calling, called).close()
        with asked("CT1") as peer:
            over(1)
            asked("CT1").close()
            peer.send(RELEASE_RQ)
            peer.read_pdu()
        over(0)
        with asked("CT1") as peer:
            peer.send(ABORT_BY_USER)
            peer.read_to_end()
        over(0)
        asked("CT1").close()
        over(0)
        # What is no association counts as none.
        RawPeer.connect(node.address[1]).close()
        found = _counted(port)
    assert found == {
        ("OLD-CT", "rejected_calling_title"): ("association_requests_total", 1),
        ("CT1", "rejected_called_title"): ("association_requests_total", 1),
        ("CT1", "rejected_limit"): ("association_requests_total", 1),
        ("CT1", "accepted"): ("association_requests_total", 3),
        ("CT1", "released"): ("associations_ended_total", 1),
        ("CT1", "aborted_by_peer"): ("associations_ended_total", 1),
        ("CT1", "lost"): ("associations_ended_total", 1),
        ("other", "rejected_called_title"): ("association_requests_total", 2),
    }


def test_an_association_that_is_silent_for_too_long_is_counted_as_aborted_by_us(tmp_path: Path) -> None:
    with in_this_process(tmp_path, terms=Terms(timeouts=Timeouts(idle=0.3))) as (node, port):
        with RawPeer.connect(node.address[1]) as peer:
            peer.send(request_pdu((1, VERIFICATION), calling="STRANGER"))
            assert peer.read_pdu()[:1] == b"\2"
            assert peer.read_pdu()[:1] == b"\7"
        wait_until(lambda: value(metrics(port), "associations_open") == 0, what="it has ended")
        found = _counted(port)
    assert found == {
        ("other", "accepted"): ("association_requests_total", 1),
        ("other", "aborted_by_us"): ("associations_ended_total", 1),
    }


def _counted(port: int) -> dict[tuple[str, str], tuple[str, float]]:
    """The metrics of associations that are not zero, with their names, by peer and result."""
    return {
        (labels["peer"], labels["result"]): (name, count)
        for (full, pairs), count in metrics(port).items()
        if "peer" in (labels := dict(pairs)) and count and (name := full.removeprefix("dicomnet_"))
    }


def workers_of(node: Configured) -> list[int]:
    """The processes of the workers."""

    def children(process: int) -> list[int]:
        return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]

    (supervisor,) = children(node.process.pid)
    return children(supervisor)


def test_a_worker_that_is_killed_takes_no_count_with_it(tmp_path: Path) -> None:
    """Nor does a counter ever go back, nor stays an association open that it had."""
    paths = write_objects(tmp_path / "objects", 1, 30)
    seen: list[float] = []
    stop = threading.Event()

    def look(port: int) -> None:
        while not stop.is_set():
            seen.append(value(metrics(port), "store_duration_seconds_count", status="success"))

    with watched(tmp_path, "server.workers = 2") as (node, port):
        thread = threading.Thread(target=look, args=(port,))
        thread.start()
        try:
            for rounds in (1, 2):
                with Peer(node.address) as peer:
                    assert [each.status for each in peer.store(paths)] == [0] * 30
                    samples = metrics(port)
                    assert value(samples, "store_duration_seconds_count", status="success") == 30 * rounds
                    assert value(samples, "associations_open") == 1
                    # Both: one of them has the association.
                    before = workers_of(node)
                    for each in before:
                        os.kill(each, signal.SIGKILL)
                    wait_until(partial(_have_begun, port, 2 + 2 * rounds), 20, "they are replaced")
                assert set(workers_of(node)).isdisjoint(before)
                samples = metrics(port)
                assert value(samples, "associations_open") == 0
                assert value(samples, "workers", state="running") == 2
                for number in "01":
                    assert value(samples, "worker_process_start_time_seconds", worker=number)
        finally:
            stop.set()
            thread.join()
        assert value(metrics(port), "store_duration_seconds_count", status="success") == 60
    assert len(seen) > 3
    assert seen == sorted(seen)


def _have_begun(port: int, count: int) -> bool:
    return value(metrics(port), "worker_starts_total") == count


def test_workers_that_cannot_be_there(tmp_path: Path) -> None:
    """A worker that is gone is a warning until it is replaced; without any, nobody is served."""
    with watched(tmp_path, "server.workers = 2") as (node, port):
        wait_until(lambda: _workers_are(port, "ok"), what="they have begun")
        (supervisor,) = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
        workers = workers_of(node)
        # It replaces nobody.
        os.kill(int(supervisor), signal.SIGSTOP)
        try:
            for count, (status, word) in enumerate(((200, "warning"), (503, "failed")), 1):
                os.kill(workers[count - 1], signal.SIGKILL)
                wait_until(partial(_workers_are, port, word), what=word)
                assert health(port)[0] == status
                assert health(port, "/health/live")[0] == 200
        finally:
            os.kill(int(supervisor), signal.SIGCONT)
        wait_until(lambda: _workers_are(port, "ok"), what="they are replaced")


def _workers_are(port: int, word: str) -> bool:
    return bool(health(port)[1]["checks"]["workers"]["status"] == word)


@WORKERS
def test_disk_and_certificate_decide_whether_it_is_ready(tmp_path: Path, workers: int) -> None:
    """What is read again holds at once; what is renewed on the disk alone is not what is shown."""
    made = make_certificates(tmp_path, timedelta(days=40))
    tls = f'server.workers = {workers}\n[tls]\ncertificate = "certificate.pem"\nkey = "key.pem"\n'

    def read_again(more: str, times: int) -> None:
        (tmp_path / "node.toml").write_text(f"{tls}{WATCHED}{more}")
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("the configuration was read again", times)

    def check(name: str) -> tuple[int, str, str]:
        status, said = health(port)
        return status, said["status"], said["checks"][name]["status"]

    with watched(tmp_path, tls) as (node, port):
        wait_until(lambda: check("certificate") == (200, "ok", "ok"), what="it is well")
        read_again("certificate_days = 41\n", 1)
        assert check("certificate") == (200, "warning", "warning")
        read_again(f"disk_reserve = {10**12}\n", 2)
        wait_until(lambda: check("disk") == (503, "failed", "failed"), what="the disk is too full")
        make_certificates(tmp_path, timedelta(minutes=-1))
        read_again("disk_reserve = 0\n", 3)
        wait_until(lambda: check("disk")[2] == "ok", what="there is room")
        assert check("certificate") == (503, "failed", "failed")
        assert value(metrics(port), "certificate_expires_in_seconds") == pytest.approx(-60, abs=30)
        assert value(metrics(port), "ready") == 0
        made = make_certificates(tmp_path, timedelta(days=90))
        assert check("certificate")[0] == 503
        read_again("", 4)
        assert check("certificate") == (200, "ok", "ok")
        assert value(metrics(port), "ready") == 1
        assert "WARNING not ready: certificate: it has expired" in node.said
        assert "WARNING ready again" in node.said
    assert made.certificate.exists()


def test_a_damaged_ledger_makes_it_not_ready(tmp_path: Path) -> None:
    with watched(tmp_path) as (node, port):
        (node.folder / node.store / "ledger.sqlite").write_bytes(b"no database" * 1000)
        wait_until(lambda: health(port)[0] == 503, what="it is not ready")
        _, said = health(port)
        assert [name for name, each in said["checks"].items() if each["status"] == "failed"] == ["ledger"]
        # The page has no path, the log has.
        assert "ledger.sqlite" not in str(said)
        node.wait_for("ledger.sqlite")


@WORKERS
def test_it_stops_in_order_while_somebody_is_connected_to_the_pages(tmp_path: Path, workers: int) -> None:
    """While it drains it lives and is not ready; the connections to the pages hold it up neither then nor later."""
    with watched(tmp_path, f"server.workers = {workers}") as (node, port):
        with RawPeer.connect(node.port) as peer, RawPeer.connect(port) as idle, RawPeer.connect(port) as slow:
            peer.send(request_pdu())
            assert peer.read_pdu()[:1] == b"\2"
            slow.send(b"GET /health HTTP/1.1\r\n")
            node.process.terminate()
            wait_until(lambda: health(port)[0] == 503, what="it is not ready")
            assert health(port)[1]["checks"]["accepting"]["message"] == "it is stopping"
            assert health(port, "/health/live")[0] == 200
            peer.send(RELEASE_RQ)
            peer.read_pdu()
            peer.close()
            begun = monotonic()
            assert node.process.wait(20) == 0
            assert monotonic() - begun < 5
            assert idle.read_to_end() == slow.read_to_end() == b""
    assert "Traceback" not in node.said


def test_what_only_the_next_start_can_change_is_said(tmp_path: Path) -> None:
    with watched(tmp_path) as (node, port):
        (tmp_path / "node.toml").write_text(
            f"[watch]\nport = {free_port()}\naddress = '127.0.0.2'\ndisk_reserve = 1\n"
        )
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("changed at the next start only: watch.port, watch.address")
        node.wait_for("changed: watch.disk_reserve")
        assert health(port)[0] == 200


def test_a_node_that_is_not_watched_has_neither_libraries_nor_counts(tmp_path: Path) -> None:
    """Nor has it a thread or a port more."""
    program = f"""
import sys, threading
from pathlib import Path
from dicomnet.archive.node import Node
node = Node(Path({str(tmp_path / "node")!r}), address=("127.0.0.1", 0))
node.start()
assert node.watch is None and node.watch_address is None
node.shutdown()
wanted = {{"starlette", "uvicorn", "anyio", "h11", "prometheus_client", "dicomnet.archive.watch.counts"}}
print(sorted(wanted & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("library", ["starlette", "uvicorn", "prometheus_client"])
def test_a_library_that_is_missing_is_said_in_one_sentence(tmp_path: Path, library: str) -> None:
    program = (
        f"import sys; sys.modules[{library!r}] = None; from dicomnet.cli.main import main;"
        f" sys.exit(main(['serve', '--data', {str(tmp_path / 'x')!r}, '--watch-port', '0']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    said = f"dicomnet serve: {library} is not installed; run pip install 'dicomnet[archive]'"
    assert complaint(done, 1) == said


def test_a_port_that_is_in_use_is_named(tmp_path: Path) -> None:
    with watched(tmp_path) as (_, port):
        done = run("serve", "--data", tmp_path / "other", "--port", "0", "--watch-port", str(port))
    assert complaint(done, 1) == f"dicomnet serve: 127.0.0.1:{port}: address already in use"


def test_a_receiver_without_an_index_is_watched(tmp_path: Path) -> None:
    with in_this_process(tmp_path, has_index=False) as (node, port):
        with Peer(f"127.0.0.1:{node.address[1]}") as peer:
            assert [each.status for each in peer.store(CT)] == [0]
        status, said = health(port)
        assert status == 200
        assert list(said["checks"]) == ["accepting", "disk", "folder", "intake"]
        assert totals(metrics(port), "store_duration_seconds", status="success")[0] == 1
        assert ask(port, "/metrics")[0].status == 200
