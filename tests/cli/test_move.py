"""`dicomnet move`: DCMTK's archive sends to another node, and to the receiver that comes with the command."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from pydicom import dcmread
from tests.cli.command import complaint, run, run_on_terminal
from tests.cli.conftest import CT, MR, StoreSCP
from tests.interop.peers import dcmqrscp
from tests.support import dicomnet, free_port, quarantined, stored

from dicomnet import AE, evt
from dicomnet.pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove

STUDY = f"StudyInstanceUID={dcmread(CT).StudyInstanceUID}"
COUNTS = "the peer counts: completed 1, with warnings 0, failed 0"
OBJECT = str(dcmread(CT).SOPInstanceUID)


class Archive(NamedTuple):
    """DCMTK's archive with two studies, and the port where it takes HERE to be."""

    address: str
    here: int


@pytest.fixture
def archive(tmp_path: Path, storescp: StoreSCP) -> Iterator[Archive]:
    here = free_port()
    hosts = {"HERE": here, "THERE": storescp.port, "NOWHERE": free_port()}
    with dcmqrscp(tmp_path / "archive", hosts) as port:
        address = f"NODE@127.0.0.1:{port}"
        assert run("store", address, CT, MR).returncode == 0
        yield Archive(address, here)


def test_to_another_node(archive: Archive, storescp: StoreSCP) -> None:
    result = run("move", archive.address, "THERE", "-k", STUDY)
    assert (result.stdout, result.stderr, result.returncode) == (
        f"{COUNTS}\n",
        "",
        0,
    )
    assert storescp.received() == {OBJECT}


@pytest.mark.parametrize(
    "options", [("-k", STUDY), ("-P", "-L", "patient", "-k", "PatientID=1CT1"), ("-L", "study", "-k", STUDY)]
)
def test_to_ourselves(archive: Archive, tmp_path: Path, options: tuple[str, ...]) -> None:
    receiver = ("--receive", str(tmp_path / "in"), "--receive-port", str(archive.here))
    result = run("move", archive.address, "HERE", *receiver, *options)
    assert (result.stderr, result.returncode) == ("", 0)
    assert result.stdout == f"1 arrived in {tmp_path / 'in'}; {COUNTS}\n"
    assert stored(tmp_path / "in").keys() == {OBJECT}


def test_json_and_quiet(archive: Archive, tmp_path: Path) -> None:
    receiver = ("--receive", str(tmp_path / "in"), "--receive-port", str(archive.here))
    result = run("move", archive.address, "HERE", *receiver, "-k", STUDY, "--json", "-q")
    assert (result.stderr, result.returncode) == ("", 0)
    assert json.loads(result.stdout.splitlines()[-1])["completed"] == 1


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "plain"])
def test_on_a_terminal(archive: Archive, tmp_path: Path, rich: bool) -> None:
    receiver = ("--receive", str(tmp_path / "in"), "--receive-port", str(archive.here))
    screen = run_on_terminal("move", archive.address, "HERE", *receiver, "-k", STUDY, rich=rich)
    assert screen.returncode == 0
    assert "1 arrived in" in screen.text


def test_a_destination_that_the_peer_does_not_know(archive: Archive) -> None:
    result = run("move", archive.address, "UNKNOWN", "-k", STUDY)
    assert result.returncode == 1
    assert "0xA801: failure: the move destination is not known" in result.stderr


def test_a_destination_that_does_not_answer(archive: Archive) -> None:
    result = run("move", archive.address, "NOWHERE", "-k", STUDY)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("dicomnet move: the peer answered with status 0x")


def test_objects_that_go_elsewhere(archive: Archive, storescp: StoreSCP, tmp_path: Path) -> None:
    """The peer knows the title by another address."""
    receiver = ("--receive", str(tmp_path / "in"), "--receive-port", "0", "--wait", "0.1")
    result = run("move", archive.address, "THERE", *receiver, "-k", STUDY)
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == f"0 arrived in {tmp_path / 'in'}; {COUNTS}"
    assert "1 of 1 object that the peer says it has sent did not arrive" in result.stderr
    assert storescp.received() == {OBJECT}


def test_what_fails_is_named(tmp_path: Path) -> None:
    ae = AE("PEER")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelMove)

    def move(event: evt.Event) -> Iterator[object]:
        yield "127.0.0.1", free_port()
        yield 2
        for path in (CT, MR):
            yield 0xFF00, path

    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_MOVE, move)])
    assert server is not None
    try:
        result = run("move", f"127.0.0.1:{server.server_address[1]}", "HERE", "-k", STUDY)
    finally:
        ae.shutdown()
    assert result.returncode == 1
    assert result.stdout == "the peer counts: completed 0, with warnings 0, failed 2\n"
    assert f"failed: {OBJECT}\n" in result.stderr


def test_ctrl_c_ends_the_receiver(archive: Archive, tmp_path: Path) -> None:
    """The peer is mute, so the command waits for it when the signal comes; the store can be opened again."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        peer = f"127.0.0.1:{mute.getsockname()[1]}"
        receiver = ("--receive", tmp_path / "in", "--receive-port", str(archive.here))
        command = dicomnet("move", peer, "HERE", *receiver, "-k", STUDY)
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = mute.accept()
            with connection:
                assert connection.recv(10), "the association request has been sent"
                process.send_signal(signal.SIGINT)
                _, complained = process.communicate(timeout=20)
    assert (complained, process.returncode) == ("dicomnet move: interrupted\n", 130)
    assert run("move", archive.address, "HERE", *receiver, "-k", STUDY).returncode == 0


def test_the_address_is_in_use_or_public(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        options = ("--receive", str(tmp_path), "-k", STUDY, "--receive-port", port)
        said = complaint(run("move", "127.0.0.1:1", "HERE", *options), 1)
        assert said == f"dicomnet move: port {port} of 127.0.0.1 is in use already"
    said = complaint(run("move", "127.0.0.1:1", "HERE", *options, "--bind", "0.0.0.0"), 2)
    assert "--allow-public" in said


@pytest.mark.parametrize("json_option", [(), ("--json",)], ids=["words", "JSON"])
def test_a_corrected_object_that_went_into_quarantine_counted_as_arrived(
    archive: Archive, tmp_path: Path, json_option: tuple[str, ...]
) -> None:
    """The old one stays in the folder."""
    folder = tmp_path / "in"
    receiver = ("--receive", str(folder), "--receive-port", str(archive.here), "-k", STUDY)
    assert run("move", archive.address, "HERE", *receiver).returncode == 0
    corrected = dcmread(CT)
    corrected.PatientName = "Corrected^Name"
    corrected.save_as(tmp_path / "corrected.dcm")
    assert run("store", archive.address, tmp_path / "corrected.dcm").returncode == 0
    result = run("move", archive.address, "HERE", *receiver, *json_option)
    assert result.returncode == 1
    cause = "kept in quarantine, as another object with its UID is here"
    if json_option:
        (failure,) = json.loads(result.stdout.splitlines()[-1])["local_failures"]
        assert failure == {"sop_instance_uid": OBJECT, "path": str(folder), "cause": cause}
    else:
        assert f"failed here: {OBJECT}: {folder}: {cause}\n" in result.stderr
        assert f"0 arrived in {folder}, failed here 1; " in result.stdout
    assert quarantined(folder)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "DESTINATION"),
        (("A_TITLE_THAT_IS_TOO_LONG", "-k", STUDY), "A_TITLE_THAT_IS_TOO_LONG"),
        (("HERE",), "StudyInstanceUID"),
        # As of a script with an empty variable: the peer might have sent all that it has.
        (("HERE", "-L", "study", "-k", "StudyInstanceUID="), "No key has a value"),
        (("HERE", "-L", "patient", "-k", "PatientID=*"), "No key has a value"),
        (("HERE", "-L", "study", "-k", "SpecificCharacterSet=ISO_IR 192"), "No key has a value"),
        (("HERE", "-k", STUDY, "--receive-port", "http"), "'http'"),
        (("HERE", "-k", STUDY, "--wait", "long"), "'long'"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(arguments: tuple[str, ...], named: str) -> None:
    assert named in complaint(run("move", "127.0.0.1:1", *arguments), 2)
