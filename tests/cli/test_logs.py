"""What `-v` and `-d` of the commands and tools show, and what a node logs without being asked."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from tests.cli.command import run
from tests.faults.objects import write_objects
from tests.sockets import CT_IMAGE_STORAGE, VERIFICATION, RawPeer, request_pdu, store_pdus
from tests.support import ServedNode, run_tool, serving, wait_until

from dicomnet import AE, evt

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}"


def log_of(node: ServedNode) -> str:
    """What a node has written so far, on both streams."""
    return (node.store.parent / "output.txt").read_text()


def logged(node: ServedNode, pattern: str) -> None:
    """Wait for a line of a node's log, with time, level and words."""
    line = re.compile(rf"^{STAMP} {pattern}", re.MULTILINE)
    wait_until(lambda: line.search(log_of(node)) is not None, 10, f"{pattern} in {log_of(node)}")


def secret_object(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """A file of a patient, and what must not be in a log."""
    (path,) = write_objects(folder, 1, 1, 1000)
    dataset = dcmread(path)
    dataset.PatientName, dataset.PatientID = "Unspeakable^Name", "PID-4711"
    dataset.PatientBirthDate = "19330303"
    dataset.save_as(path)
    # Of such a date pydicom warns, and shows it.
    path.write_bytes(path.read_bytes().replace(b"19330303", b"NotADate"))
    return path, ("Unspeakable", "PID-4711", "NotADate")


@pytest.mark.parametrize("option", ["-v", "-d"])
def test_the_commands_show_what_happens_and_no_patient(tmp_path: Path, option: str) -> None:
    path, secrets = secret_object(tmp_path / "objects")
    with serving(tmp_path / "node", option) as node:
        results = [
            run("echo", node.address, option),
            run("store", node.address, path, option),
            run("find", node.address, "-k", "PatientName=Unspeakable*", "-k", "PatientBirthDate", option),
        ]
        wait_until(lambda: log_of(node).count("association released") == 3, 10, "the node logs the end")
    for result, service in zip(results, ("C-ECHO", "C-STORE", "C-FIND"), strict=True):
        assert result.returncode == 0
        assert "I: NODE@127.0.0.1:" in result.stderr
        assert "association established, our AE title DICOMNET, " in result.stderr
        assert re.search(rf"I: .*: {service} \d+, .* was answered: 0x0000 \(success\)", result.stderr)
        assert "association released" in result.stderr
        assert ("D: " in result.stderr) == (option == "-d")
        assert not any(secret in result.stderr for secret in secrets)
    if option == "-d":
        assert "received   context 1: Verification accepted in " in results[0].stderr
        assert "sent P-DATA-TF: C-ECHO-RQ 1 in context 1" in results[0].stderr
    assert re.search(rf"{STAMP} INFO DICOMNET@127\.0\.0\.1:\d+: C-STORE 1, .* answered: 0x0000", log_of(node))
    assert not any(secret in log_of(node) for secret in secrets)


def test_identifiers_are_shown_where_they_are_asked_for(tmp_path: Path) -> None:
    path, _ = secret_object(tmp_path / "objects")
    with serving(tmp_path / "node") as node:
        assert run("store", node.address, path, "-d", "--log-identifiers").returncode == 0
        found = run("find", node.address, "-k", "PatientName=Unspeakable*", "-d", "--log-identifiers")
    assert "[Unspeakable*]" in found.stderr
    assert "[Unspeakable^Name]" in found.stderr
    assert "Unspeakable" not in log_of(node)


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        ("ISO_IR 144", "Люкceмбypг"),
        ("ISO_IR 100", "Buc^Jérôme"),
        ("ISO_IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"),
        ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_identifiers_of_other_character_sets_were_shown_undecoded(
    terms: str, name: str, tmp_path: Path
) -> None:
    """On both sides, in the request and in the response."""
    path, _ = secret_object(tmp_path / "objects")
    dataset = dcmread(path)
    dataset.SpecificCharacterSet = terms.split("\\")
    dataset.PatientName = name
    dataset.save_as(path)
    key = re.split("[=^]", name)[0] + "*"
    with serving(tmp_path / "node", "-d", "--log-identifiers") as node:
        assert run("store", node.address, path).returncode == 0
        keys = ("-k", f"PatientName={key}", "-k", f"SpecificCharacterSet={terms}", "-k", "PatientID")
        found = run("find", node.address, *keys, "-d", "--log-identifiers")
        assert found.returncode == 0
        for log in (found.stderr, log_of(node)):
            assert f"(0010,0010) PN [{key}]" in log or f"(0010,0010) [{key}]" in log
            assert f"(0010,0010) PN [{name}]" in log or f"(0010,0010) [{name}]" in log


def test_the_tools_show_what_happens(tmp_path: Path) -> None:
    with serving(tmp_path / "node") as node:
        for option, level in (("-v", "I: "), ("-d", "D: "), ("-ll=debug", "D: ")):
            where = ("127.0.0.1", str(node.port))
            done = run_tool([sys.executable, "-m", "dicomnet", "echoscu", *where, *option.split("=")])
            assert done.returncode == 0
            assert f"{level}ANY-SCP@127.0.0.1:{node.port}: " in done.stderr
            assert "association released" in done.stderr


def test_a_node_logs_a_rejection_without_being_asked(tmp_path: Path) -> None:
    with serving(tmp_path / "node") as node:
        with RawPeer.connect(node.port) as peer:
            raw = bytearray(request_pdu((1, VERIFICATION), called="ARCHIVE"))
            raw[26:42] = bytes(16)
            peer.send(bytes(raw))
            peer.read_pdu()
        logged(
            node,
            r"WARNING .*127\.0\.0\.1:\d+: association rejected .*calling AE title not recognised.*ARCHIVE",
        )


@pytest.mark.parametrize("end", ["abort", "close", "garbage"])
def test_a_node_logs_how_a_peer_ends_an_association(tmp_path: Path, end: str) -> None:
    with serving(tmp_path / "node") as node:
        with RawPeer.connect(node.port) as peer:
            peer.send(request_pdu((1, VERIFICATION), calling="MODALITY", called="ARCHIVE"))
            peer.read_pdu()
            if end == "abort":
                peer.send(b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00")
            elif end == "garbage":
                peer.send(b"\xff" * 64)
                peer.read_pdu()
        words = {
            "abort": "association aborted by the peer",
            "close": "association lost",
            "garbage": "association aborted: ",
        }
        logged(node, rf"WARNING MODALITY@127\.0\.0\.1:\d+: {words[end]}.*\(called AE title ARCHIVE\)")


def test_a_node_logs_refused_objects_with_uid_status_and_reason(tmp_path: Path) -> None:
    with serving(tmp_path / "node") as node, RawPeer.connect(node.port) as peer:
        peer.send(request_pdu((1, CT_IMAGE_STORAGE), calling="MODALITY"))
        peer.read_pdu()
        peer.send(store_pdus(b"", message_id=1, instance="1.2.3"))
        peer.read_pdu()
        logged(
            node,
            r"WARNING MODALITY@127\.0\.0\.1:\d+: C-STORE 1, CTImageStorage, instance 1\.2\.3 answered:"
            r" 0xA900 \(failure: .*reason: ",
        )
        peer.send(store_pdus(b"", message_id=2, instance="1.2.x\n2026 all is well"))
        peer.read_pdu()
        logged(node, r"WARNING .*C-STORE 2, .*0x0117 .*reason: ")
        assert "\n2026 all is well" not in log_of(node)


def test_a_node_logs_quarantine(tmp_path: Path) -> None:
    (path,) = write_objects(tmp_path / "objects", 1, 1, 1000)
    other = tmp_path / "other.dcm"
    dataset = dcmread(path)
    dataset.PatientName = "Unspeakable"
    dataset.save_as(other)
    with serving(tmp_path / "node") as node:
        assert run("store", node.address, path).returncode == 0
        assert "kept in quarantine" in run("store", node.address, other).stderr
        logged(
            node,
            r"WARNING a file from DICOMNET@127\.0\.0\.1 is kept in quarantine as quarantine/"
            rf"{re.escape(str(dataset.SOPInstanceUID))}/.*: another object with this SOP Instance UID is stored",
        )
    assert "Unspeakable" not in log_of(node)


def test_a_node_logs_an_index_that_is_rebuilt(tmp_path: Path) -> None:
    (path,) = write_objects(tmp_path / "objects", 1, 1, 1000)
    with serving(tmp_path / "node") as node:
        assert run("store", node.address, path).returncode == 0
        node.process.terminate()
        assert node.process.wait(20) == 0
    (node.store / "index.sqlite").write_bytes(b"no database" * 1000)
    with serving(tmp_path / "node") as node:
        logged(node, r"WARNING the index .* cannot be used .*; a new one is made from the files")
        logged(node, r"WARNING the index was brought in line with the files: 1 object added, 0 removed")


def test_one_bad_peer_does_not_fill_the_disk(tmp_path: Path) -> None:
    with serving(tmp_path / "node") as node:
        for _ in range(150):
            with RawPeer.connect(node.port) as peer:
                peer.send(b"\xff" * 64)
                peer.read_pdu()
        logged(node, r"WARNING .*more like this are left out for up to 60 s\)")
        with RawPeer.connect(node.port) as peer:
            peer.send(request_pdu((1, VERIFICATION)))
            assert peer.read_pdu()[:1] == b"\x02"
    assert len(log_of(node).splitlines()) < 100


def test_who_only_looks_whether_the_port_is_open_is_not_logged(tmp_path: Path) -> None:
    with serving(tmp_path / "node") as node:
        for _ in range(3):
            socket.create_connection(("127.0.0.1", node.port)).close()
        assert run("echo", node.address).returncode == 0
        node.process.terminate()
        assert node.process.wait(20) == 0
    assert "WARNING" not in log_of(node)


def test_a_quiet_node_says_nothing_of_peers(tmp_path: Path) -> None:
    with serving(tmp_path / "node", "-q") as node:
        with RawPeer.connect(node.port) as peer:
            peer.send(b"\xff" * 64)
            peer.read_pdu()
        node.process.terminate()
        assert node.process.wait(20) == 0
    assert len(log_of(node).splitlines()) == 1


def test_get_and_move_show_no_patient(tmp_path: Path) -> None:
    path, secrets = secret_object(tmp_path / "objects")
    ports: list[int] = []

    def get(event: evt.Event) -> Iterator[Any]:
        yield 1
        yield 0xFF00, dcmread(path)

    def move(event: evt.Event) -> Iterator[Any]:
        yield "127.0.0.1", ports[0]
        yield 1
        yield 0xFF00, dcmread(path)

    sop_class = str(dcmread(path).SOPClassUID)
    ae = AE("SCP")
    for uid in (sop_class, "1.2.840.10008.5.1.4.1.2.2.3", "1.2.840.10008.5.1.4.1.2.2.2"):
        ae.add_supported_context(uid, scu_role=True, scp_role=True)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_GET, get), (evt.EVT_C_MOVE, move)]
    )
    assert server is not None
    peer = f"SCP@127.0.0.1:{server.server_address[1]}"
    try:
        with serving(tmp_path / "node", "-d") as node:
            ports.append(node.port)
            study = f"StudyInstanceUID={dcmread(path).StudyInstanceUID}"
            key = ("-k", study, "-k", "PatientName=Unspeakable")
            got = run("get", peer, *key, "-od", tmp_path / "out", "-d")
            moved = run("move", peer, "NODE", *key, "-d")
            assert (got.returncode, moved.returncode) == (0, 0), got.stderr + moved.stderr
            assert "received P-DATA-TF: C-STORE-RQ" in got.stderr
            assert "C-MOVE-RSP" in moved.stderr
            assert not any(secret in got.stderr + moved.stderr + log_of(node) for secret in secrets)
    finally:
        ae.shutdown()
