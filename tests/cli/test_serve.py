"""`dicomnet serve` and `dicomnet receive`: what they store, what they refuse to do, and how they end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pydicom
import pytest
from tests.cli.command import complaint, run
from tests.cli.conftest import CT, MR
from tests.support import (
    ServedNode,
    dicomnet,
    is_listening,
    run_tool,
    running_process,
    serving,
    stored,
    tool,
    wait_for_files,
    wait_until,
)

from dicomnet import AE
from dicomnet.pynetdicom.association import Association
from dicomnet.pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from dicomnet.pynetdicom.sop_class import CTImageStorage, Verification

STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
BOTH = pytest.mark.parametrize("command", ["serve", "receive"])


def ended(node: ServedNode) -> int:
    """The exit status of a node that is about to end."""
    return node.process.wait(20)


def said(node: ServedNode) -> str:
    """What a node has written so far, on both streams."""
    return (node.store.parent / "output.txt").read_text()


def associate(node: ServedNode) -> Association:
    ae = AE("MODALITY")
    ae.add_requested_context(Verification)
    ae.add_requested_context(CTImageStorage)
    association = ae.associate("127.0.0.1", node.port)
    assert association.is_established
    return association


@BOTH
def test_what_dcmtk_sends_is_stored(tmp_path: Path, command: str) -> None:
    with serving(tmp_path, "--aet", "NODE", command=command) as node:
        assert said(node) == f"listening on NODE@127.0.0.1:{node.port}, storing in store\n"
        sent = run_tool([tool("storescu"), "127.0.0.1", str(node.port), str(CT), str(MR)])
        assert sent.returncode == 0, sent.stderr
        wait_for_files(node.store, 2)
        assert set(stored(node.store)) == {str(pydicom.dcmread(path).SOPInstanceUID) for path in (CT, MR)}
        node.process.send_signal(signal.SIGTERM)
        assert ended(node) == 0


def test_serve_answers_queries_and_receive_does_not(tmp_path: Path) -> None:
    with serving(tmp_path / "serve") as node:
        assert run("store", node.address, CT).returncode == 0
        (match,) = map(json.loads, run("find", node.address, "-k", "PatientID=1CT1").stdout.splitlines())
        assert match["PatientName"] == "CompressedSamples^CT1"
    with serving(tmp_path / "receive", command="receive") as node:
        assert run("store", node.address, CT).returncode == 0
        assert "no presentation context" in complaint(run("find", node.address), 1)


def test_a_store_is_opened_again(tmp_path: Path) -> None:
    for _ in range(2):
        with serving(tmp_path) as node:
            assert run("store", node.address, CT).returncode == 0
            node.process.send_signal(signal.SIGINT)
            assert ended(node) == 0
    assert len(stored(node.store)) == 1


def test_verbose_names_what_is_stored(tmp_path: Path) -> None:
    with serving(tmp_path, "-v", command="receive") as node:
        assert run("store", node.address, CT).returncode == 0
        assert f"stored: {pydicom.dcmread(CT).SOPInstanceUID}\n" in said(node)


@BOTH
def test_an_open_association_is_drained(tmp_path: Path, command: str) -> None:
    with serving(tmp_path, command=command) as node:
        association = associate(node)
        node.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not is_listening(node.port), what="the port is closed")
        assert "draining for up to 30 s" in said(node)
        assert association.send_c_store(pydicom.dcmread(CT)).Status == 0x0000
        assert node.process.poll() is None
        association.release()
        assert ended(node) == 0
    assert len(stored(node.store)) == 1


def test_an_association_that_stays_is_aborted_at_the_end(tmp_path: Path) -> None:
    with serving(tmp_path, "--drain", "0.2") as node:
        association = associate(node)
        node.process.send_signal(signal.SIGINT)
        assert ended(node) == 0
        wait_until(lambda: association.is_aborted, what="the association is aborted")


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with serving(tmp_path) as node:
        association = associate(node)
        begin = monotonic()
        node.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in said(node), what="it drains")
        node.process.send_signal(signal.SIGTERM)
        assert ended(node) == -signal.SIGTERM
        assert monotonic() - begin < 10
        association.abort()
    # What an end like that leaves is put in order at the next start.
    with serving(tmp_path) as node:
        assert run("echo", node.address).returncode == 0


@BOTH
def test_a_port_in_use(tmp_path: Path, command: str) -> None:
    where = ["--data", str(tmp_path)] if command == "serve" else [str(tmp_path)]
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        result = run(command, *where, "--port", port)
    assert complaint(result, 1) == f"dicomnet {command}: port {port} of 127.0.0.1 is in use already"


@BOTH
def test_a_folder_that_cannot_be_written(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    folder = str(tmp_path / "file" / "store")
    where = ["--data", folder] if command == "serve" else [folder]
    assert (
        complaint(run(command, *where, "--port", "0"), 1) == f"dicomnet {command}: {folder}: not a directory"
    )


def test_a_store_that_another_node_has(tmp_path: Path) -> None:
    with serving(tmp_path) as node:
        result = run("receive", node.store, "--port", "0")
        assert "another process has the store" in complaint(result, 1)


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    assert "nowhere.invalid" in complaint(run("receive", tmp_path, "--bind", "nowhere.invalid"), 2)


@BOTH
@pytest.mark.parametrize("address", ["0.0.0.0", "::", "", "192.0.2.1"])
def test_a_public_address_needs_the_switch(tmp_path: Path, command: str, address: str) -> None:
    where = ["--data", str(tmp_path)] if command == "serve" else [str(tmp_path)]
    result = run(command, *where, "--port", "0", "--bind", address)
    line = complaint(result, 2)
    assert "nobody has to prove who they are" in line
    assert "--allow-public" in line
    assert list(tmp_path.iterdir()) == []


def test_a_public_address_is_warned_of(tmp_path: Path) -> None:
    """The folder cannot be used, so that nothing is ever served to others by this test."""
    (tmp_path / "file").touch()
    result = run("serve", "--data", tmp_path / "file" / "x", "--bind", "0.0.0.0", "--allow-public")
    assert result.returncode == 1
    warning, failure = result.stderr.splitlines()
    assert warning.startswith("dicomnet serve: warning: nobody has to prove who they are")
    assert failure.endswith("not a directory")


def test_ipv6(tmp_path: Path) -> None:
    with serving(tmp_path, "--bind", "::1", command="receive") as node:
        assert said(node).startswith(f"listening on DICOMNET@[::1]:{node.port}, ")
        assert run("echo", f"[::1]:{node.port}").returncode == 0


def test_the_default_folder(tmp_path: Path) -> None:
    output = tmp_path / "output.txt"
    with running_process(dicomnet("serve", "--port", "0"), tmp_path):
        wait_until(lambda: "storing in dicomnet-data\n" in output.read_text(), 20)
    assert (tmp_path / "dicomnet-data").is_dir()


def test_without_the_archive_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['sqlalchemy'] = None; from dicomnet.cli.main import main; sys.exit(main())"
    )
    arguments = [sys.executable, "-c", code, "serve", "--data", str(tmp_path), "--port", "0"]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert "pip install 'dicomnet[archive]'" in complaint(result, 1)


def matches(node: ServedNode, *options: str) -> list[dict[str, object]]:
    """What `dicomnet find` finds."""
    return [json.loads(line) for line in run("find", node.address, *options).stdout.splitlines()]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_keys_that_are_configured_later_are_filled_in(tmp_path: Path, workers: str) -> None:
    series = (
        "-L",
        "series",
        "-k",
        f"StudyInstanceUID={pydicom.dcmread(CT).StudyInstanceUID}",
        "-k",
        "KVP=120",
    )
    with serving(tmp_path, "--workers", workers) as node:
        assert run("store", node.address, CT, MR).returncode == 0
        assert len(matches(node, *series)) == 1
        assert "KVP" not in matches(node, *series)[0]
        node.process.send_signal(signal.SIGTERM)
        assert ended(node) == 0
    keys = ("--keep-key", "KVP@series", "--keep-key", "(0010,1060),PatientReligiousPreference@PATIENT")
    with serving(tmp_path, "--workers", workers, *keys) as node:
        wait_until(lambda: "the index is filled" in said(node), 20, "the index is filled")
        (match,) = matches(node, *series)
        assert match["KVP"] == 120
        assert matches(node, *series[:-1], "KVP=80") == []
        node.process.send_signal(signal.SIGTERM)
        assert ended(node) == 0
    lines = said(node).splitlines()
    named = "PatientMotherBirthName@PATIENT, PatientReligiousPreference@PATIENT, KVP@SERIES"
    assert sum(line.endswith(f"WARNING filling the index from the files with {named}") for line in lines) == 1
    assert sum(line.endswith("2 objects read, 0 that could not be read") for line in lines) == 1
    with serving(tmp_path, "--workers", workers, *keys) as node:
        assert len(matches(node, *series)) == 1
        assert "filling" not in said(node)


def test_what_queries_may_do(tmp_path: Path) -> None:
    every = ("-L", "study", "-k", "PatientID")
    relational = ("-L", "series", "-k", "Modality=CT", "--relational")
    with serving(tmp_path) as node:
        assert run("store", node.address, CT, MR).returncode == 0
        assert len(matches(node, *every)) == 2
        assert "0xA900" in run("find", node.address, *relational).stderr
        node.process.send_signal(signal.SIGTERM)
        assert ended(node) == 0
    ways = ("--max-matches", "1", "--query-always", "relational,empty", "--query-never", "fuzzy")
    with serving(tmp_path, *ways) as node:
        limited = run("find", node.address, *every)
        assert len(limited.stdout.splitlines()) == 1
        assert "0xB001" in limited.stderr
        assert len(matches(node, *relational)) == 1
        assert len(matches(node, "-k", 'AccessionNumber=""')) == 1
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = STUDY_ROOT, b"\1\1\1\1"
        ae = AE()
        ae.add_requested_context(STUDY_ROOT)
        association = ae.associate("127.0.0.1", node.port, ext_neg=[item])
        assert association.acceptor.sop_class_extended == {STUDY_ROOT: b"\1\1\0\1"}
        association.release()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--keep-key", "KVP"], "'KVP' is not KEYWORD@LEVEL"),
        (["--keep-key", "KVP@IMAGE", "--keep-key", "(0009,0010)@IMAGE"], "is a private attribute"),
        (["--keep-key", "KVP@IMAGE", "--keep-key", "KVP@STUDY"], "KVP is kept at IMAGE level already"),
        (["--max-matches", "0"], "'0' is not a number from 1 on"),
        (["--max-matches", "many"], "'many' is not a number from 1 on"),
        (
            ["--query-always", "relational,multiframe"],
            "'multiframe' is not one of relational, combined, fuzzy",
        ),
        (["--query-never", ""], "'' is not one of"),
        (["--query-always", "empty", "--query-never", "multiple,empty"], "empty is to hold always"),
    ],
)
def test_options_of_queries_that_mean_nothing(tmp_path: Path, options: list[str], why: str) -> None:
    assert why in complaint(run("serve", "--data", tmp_path / "store", "--port", "0", *options), 2)
    assert not (tmp_path / "store").exists()
