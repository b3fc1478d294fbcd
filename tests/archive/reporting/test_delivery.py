"""Others are told of each entry of the audit trail, in order and at least once, whatever becomes of them meanwhile."""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import pytest
from lxml import etree
from tests.archive.reporting.collecting import Collector, patients
from tests.sockets import Certificates, make_certificates
from tests.support import wait_until

from dicomnet.archive.audit import (
    AuditEntry,
    AuditEvent,
    AuditPolicy,
    EventAction,
    EventKind,
    SyslogServer,
    SyslogTransport,
)
from dicomnet.archive.ledger.ledger import Ledger, ledger_url
from dicomnet.archive.reporting.delivery import SYSLOG, Delivery, Lag, Reporting, lags, received_by_all
from dicomnet.archive.reporting.messages import Origin
from dicomnet.archive.reporting.sinks import FileSink, Sink, TlsSink, UdpSink, syslog_sink
from dicomnet.drivers.tls import ClientCertificate
from dicomnet.values import replace

ORIGIN = Origin("ARCHIVE", "pacs.example", 1)
AT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
NO_CERTIFICATE = ClientCertificate()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(ledger_url(tmp_path)) as opened:
        yield opened


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def _write(ledger: Ledger, first: int, last: int) -> None:
    event = AuditEvent(EventKind.INSTANCES_ACCESSED, study="1.2")
    ledger.audits.write(
        [
            AuditEntry(f"k{number}", replace(event, patient=f"P{number}"), 1, AT, AT)
            for number in range(first, last + 1)
        ]
    )


@pytest.fixture
def collector(certificates: Certificates, tmp_path: Path) -> Iterator[Collector]:
    made = Collector(certificates, tmp_path / "collected")
    yield made
    made.kill()


def _sink(collector: Collector, settled: float = 0.5) -> TlsSink:
    made = collector.certificates
    certificate = ClientCertificate(str(made.authority), str(made.certificate), str(made.key))
    return TlsSink(
        SyslogServer("localhost", collector.port, SyslogTransport.TLS, certificate), ORIGIN, settled
    )


@contextmanager
def _delivered(ledger: Ledger, sink: Sink) -> Iterator[Delivery]:
    delivery = Delivery(SYSLOG, lambda: ledger.audits, sink)
    delivery.start()
    try:
        yield delivery
    finally:
        delivery.close()


def test_a_server_that_is_killed_and_comes_back_gets_each_entry_in_order(
    ledger: Ledger, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed while it reads, down while entries come, and stopped with what it has not read, and killed then."""
    collector.start()
    with _delivered(ledger, _sink(collector, settled=4.0)) as delivery:
        _write(ledger, 1, 1000)
        wait_until(lambda: len(patients(collector.path)) > 300, 30, "some have come")
        collector.kill()
        # Nobody waits for it.
        begin = monotonic()
        _write(ledger, 1001, 2000)
        assert monotonic() - begin < 5
        collector.start()
        wait_until(lambda: 2000 in patients(collector.path), 60, "it has all of them")
        assert collector.process is not None
        collector.process.send_signal(signal.SIGSTOP)
        _write(ledger, 2001, 2400)
        # It is in the buffers of this machine.
        wait_until(lambda: delivery._sent == 2400, 10, "it is sent")
        collector.kill()
        collector.start()
        _write(ledger, 2401, 2500)
        wait_until(lambda: 2500 in patients(collector.path), 60, "it has the rest")
        wait_until(lambda: ledger.audits.mark(SYSLOG) == 2500, 30, "and that is known")
    found = patients(collector.path)
    assert list(dict.fromkeys(found)) == list(range(1, 2501))
    assert "the audit trail cannot go to syslog; nothing is lost" in caplog.text


def test_a_connection_with_a_high_number_was_an_error_that_nothing_caught(
    ledger: Ledger, collector: Collector
) -> None:
    """select() knows 1024 descriptors, and a node has more of them open."""
    collector.start()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    held = [os.dup(0) for _ in range(1100)]
    try:
        with _delivered(ledger, _sink(collector)):
            _write(ledger, 1, 10)
            wait_until(lambda: ledger.audits.mark(SYSLOG) == 10, what="all of it is received")
    finally:
        for each in held:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("transport", SyslogTransport)
def test_a_host_that_none_can_be_ended_the_thread(
    transport: SyslogTransport, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    sink = syslog_sink(SyslogServer("a..b", 514, transport, NO_CERTIFICATE), ORIGIN)
    with _delivered(ledger, sink) as delivery:
        _write(ledger, 1, 1)
        wait_until(lambda: "cannot go to syslog" in caplog.text, what="that is told")
        assert delivery._thread is not None
        assert delivery._thread.is_alive()
    assert ledger.audits.mark(SYSLOG) == 0


def test_an_end_in_order_is_known_to_be_received(ledger: Ledger, collector: Collector) -> None:
    """The server ends TLS behind the last message, so that nothing comes twice after a restart."""
    collector.start()
    for first in (1, 11):
        with _delivered(ledger, _sink(collector, settled=3600.0)):
            _write(ledger, first, first + 9)
        assert ledger.audits.mark(SYSLOG) == first + 9
    wait_until(lambda: patients(collector.path) == list(range(1, 21)), what="each came once")


def test_a_server_that_nobody_trusts_gets_nothing_and_everything_later(
    ledger: Ledger, collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "other").mkdir()
    others = make_certificates(tmp_path / "other")
    collector.start()
    stranger = ClientCertificate(str(others.authority), str(others.certificate), str(others.key))
    server = SyslogServer("localhost", collector.port, SyslogTransport.TLS, stranger)
    with _delivered(ledger, TlsSink(server, ORIGIN)):
        _write(ledger, 1, 3)
        wait_until(lambda: "cannot go to syslog" in caplog.text, what="the log says so")
    assert "certificate is not trusted" in caplog.text
    assert (ledger.audits.mark(SYSLOG), patients(collector.path)) == (0, [])
    with _delivered(ledger, _sink(collector)):
        wait_until(lambda: patients(collector.path) == [1, 2, 3], what="all have come")


def test_by_udp_each_entry_is_a_datagram(ledger: Ledger) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        target = SyslogServer("127.0.0.1", server.getsockname()[1], SyslogTransport.UDP, NO_CERTIFICATE)
        with _delivered(ledger, UdpSink(target, ORIGIN)):
            _write(ledger, 1, 2)
            found = [server.recv(65535) for _ in range(2)]
    assert all(each.startswith(b"<85>1 2026-05-04T03:02:01.000Z pacs.example dicomnet 1 ") for each in found)
    assert [b'="P1"' in found[0], b'="P2"' in found[1]] == [True, True]
    etree.fromstring(found[0].partition(b"\xef\xbb\xbf")[2])


def test_a_file_that_is_moved_away_is_begun_anew(ledger: Ledger, tmp_path: Path) -> None:
    path, moved = tmp_path / "audit.xml", tmp_path / "audit.xml.1"
    with _delivered(ledger, FileSink(str(path), ORIGIN)):
        _write(ledger, 1, 5)
        wait_until(lambda: patients(path) == [1, 2, 3, 4, 5], what="they are written")
        path.rename(moved)
        _write(ledger, 6, 7)
        wait_until(lambda: patients(path) == [6, 7], what="there is another one")
    assert patients(moved) == [1, 2, 3, 4, 5]
    for line in path.read_bytes().splitlines():
        etree.fromstring(line)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_line_that_was_cut_off_by_a_kill_is_written_again(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "audit.xml"
    path.write_bytes(b"<AuditMessage><Event")
    with _delivered(ledger, FileSink(str(path), ORIGIN)):
        _write(ledger, 1, 1)
        wait_until(lambda: patients(path) == [1], what="it is written")
    assert path.read_bytes().splitlines()[0] == b"<AuditMessage><Event"


def test_a_file_that_cannot_be_written_is_tried_again(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "there" / "audit.xml"
    with _delivered(ledger, FileSink(str(path), ORIGIN)):
        _write(ledger, 1, 3)
        wait_until(lambda: "No such file" in caplog.text, what="the log says so")
        assert lags(ledger.audits, AuditPolicy(file="")) == {}
        path.parent.mkdir()
        wait_until(lambda: patients(path) == [1, 2, 3], what="they are written")
        wait_until(lambda: "goes to syslog again" in caplog.text, what="and the log says so")


def test_one_who_is_told_anew_is_told_what_comes_from_then_on(ledger: Ledger, tmp_path: Path) -> None:
    _write(ledger, 1, 5)
    path = tmp_path / "audit.xml"
    for first in (6, 8):
        reporting = Reporting(lambda: ledger.audits, "ARCHIVE")
        reporting.adopt(AuditPolicy(file=str(path)))
        _write(ledger, first, first)
        reporting.close()
        # While nobody tells.
        _write(ledger, first + 1, first + 1)
    assert patients(path) == [6, 7, 8]
    assert lags(ledger.audits, AuditPolicy(file=str(path)))["file"].count == 1
    # Another file takes up where the one before was.
    other = tmp_path / "other.xml"
    reporting.adopt(AuditPolicy(file=str(other)))
    reporting.close()
    assert patients(other) == [9]


def test_what_was_not_received_is_kept_for_longer(ledger: Ledger) -> None:
    policy = AuditPolicy(file="/x")
    assert received_by_all(ledger.audits, AuditPolicy()) is None
    _write(ledger, 1, 10)
    ledger.audits.set_mark("file", 4)
    upto = received_by_all(ledger.audits, policy)
    assert (upto, ledger.audits.drop_before(datetime.now(UTC), upto)) == (4, 4)
    found = lags(ledger.audits, policy)["file"]
    assert (found.count, found.seconds > 0) == (6, True)
    ledger.audits.set_mark("file", 10)
    assert lags(ledger.audits, policy) == {"file": Lag(0, 0.0)}


def test_what_is_not_over_is_told_when_it_is(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "audit.xml"
    event = AuditEvent(EventKind.INSTANCES_TRANSFERRED, EventAction.IN, study="1.2", patient="P1")
    going = AuditEntry("k", event, 1, AT, AT, is_over=False)
    with _delivered(ledger, FileSink(str(path), ORIGIN)):
        ledger.audits.write([going])
        _write(ledger, 2, 2)
        wait_until(lambda: patients(path) == [2], what="another one is told")
        ledger.audits.write([replace(going, count=7, last_at=AT + timedelta(hours=1), is_over=True)])
        wait_until(lambda: patients(path) == [2, 1], what="it is told")
    assert b'NumberOfInstances="7"' in path.read_bytes()


def test_what_a_process_left_that_was_killed_is_told(ledger: Ledger) -> None:
    event = AuditEvent(EventKind.QUERY)
    left = [AuditEntry(f"{process}-x-1", event, 1, AT, AT, is_over=False) for process in (1, 11)]
    ledger.audits.write(left)
    assert ledger.audits.after(0, 10) == []
    assert ledger.audits.end_left("1-") == 1
    assert [number for number, _ in ledger.audits.after(0, 10)] == [1]
    assert ledger.audits.end_left() == 1
    assert [entry.key for _, entry in ledger.audits.after(0, 10)] == ["1-x-1", "11-x-1"]


def test_numbers_are_given_once(ledger: Ledger) -> None:
    """Where all entries were removed, who was told up to a number must not miss the next ones."""
    _write(ledger, 1, 3)
    ledger.audits.drop_before(datetime.now(UTC))
    _write(ledger, 4, 4)
    assert [number for number, _ in ledger.audits.after(3, 10)] == [4]


def test_the_descriptor_of_a_file_is_closed(ledger: Ledger, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    sink = FileSink(str(tmp_path / "x"), ORIGIN)
    _write(ledger, 1, 1)
    sink.send(ledger.audits.after(0, 1))
    sink.close()
    sink.close()
    assert len(os.listdir("/proc/self/fd")) <= before + 1
