"""Retrievals that a peer ended with success, although something else that it said, or what is here, tells otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.apps.tools import run as run_tool
from tests.cli.command import run
from tests.faults.test_endings import PENDING, Talk, encoded, faces, object_of, operation, scripted, take
from tests.sockets import CT_IMAGE_STORAGE, RawPeer, request_pdu, status_of, store_pdus
from tests.support import free_port

from dicomnet.exchange.results import RetrieveProgress

retrievals = pytest.mark.parametrize("service", ["get", "move"])


def failed_list(*uids: str) -> bytes:
    dataset = Dataset()
    dataset.FailedSOPInstanceUIDList = list(uids)
    return encoded(dataset)


def listed(talk: Talk) -> None:
    talk.respond(0x0000, failed_list("1.2.3.8", "1.2.3.9"))


def listed_and_counted(talk: Talk) -> None:
    talk.respond(0x0000, failed_list("1.2.3.8", "1.2.3.9"), Completed=2, Failed=0, Warning=0)


def listed_in_the_command(talk: Talk) -> None:
    """As Orthanc does with other statuses: behind the elements of group 0000."""
    pdu = talk.response(0x0000)
    element = bytes.fromhex("0800580010000000") + b"1.2.3.8\\1.2.3.9\0"
    body = pdu[12:] + element
    talk.peer.send(
        b"\x04\x00"
        + (len(body) + 6).to_bytes(4, "big")
        + (len(body) + 2).to_bytes(4, "big")
        + pdu[10:12]
        + body
    )


@faces
@retrievals
@pytest.mark.parametrize("script", [listed, listed_and_counted, listed_in_the_command])
def test_a_list_of_failed_objects_beside_success_was_not_read(
    face: str, service: str, script: Any, tmp_path: Path
) -> None:
    with scripted(script) as (port, _):
        last: RetrieveProgress = take(face, port, operation(service, tmp_path))[-1]
    assert last.failed_uids == ("1.2.3.8", "1.2.3.9")
    assert not last.is_complete


@retrievals
def test_the_command_names_what_a_successful_peer_lists_as_failed(service: str, tmp_path: Path) -> None:
    with scripted(listed) as (port, _):
        words = [f"P@127.0.0.1:{port}", *(["X"] if service == "move" else [])]
        result = run(service, *words, "-k", "StudyInstanceUID=1.2", cwd=tmp_path)
    assert result.returncode == 1
    assert "failed: 1.2.3.8\nfailed: 1.2.3.9\n" in result.stderr


@faces
@retrievals
@pytest.mark.parametrize("data", [b"", failed_list()], ids=["nothing", "no UID"])
def test_an_empty_list_beside_success_is_success(
    face: str, service: str, data: bytes, tmp_path: Path
) -> None:
    with scripted(lambda talk: talk.respond(0x0000, data, Completed=0, Failed=0)) as (port, _):
        last: RetrieveProgress = take(face, port, operation(service, tmp_path))[-1]
    assert last.failed_uids == ()
    assert last.is_complete


@faces
@retrievals
def test_objects_left_over_at_the_end_were_not_told(face: str, service: str, tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        if service == "get":
            talk.store(1)
        talk.respond(PENDING, Remaining=3, Completed=1, Failed=0, Warning=0)
        talk.respond(0x0000, Remaining=3, Completed=1, Failed=0, Warning=0)

    with scripted(script) as (port, _):
        last: RetrieveProgress = take(face, port, operation(service, tmp_path))[-1]
    assert (last.unsent, last.is_complete) == (3, False)
    with scripted(script) as (port, _):
        words = [f"P@127.0.0.1:{port}", *(["X"] if service == "move" else [])]
        result = run(service, *words, "-k", "StudyInstanceUID=1.2", cwd=tmp_path)
    assert result.returncode == 1
    assert "the peer counts: completed 1, with warnings 0, failed 0, not sent 3\n" in result.stdout


@faces
def test_a_count_of_remaining_objects_that_is_out_of_date_costs_nothing_where_they_have_arrived(
    face: str, tmp_path: Path
) -> None:
    def script(talk: Talk) -> None:
        for number in (1, 2, 3):
            talk.store(number)
        talk.respond(0x0000, Remaining=1, Completed=2, Failed=0, Warning=0)

    with scripted(script) as (port, _):
        last: RetrieveProgress = take(face, port, operation("get", tmp_path))[-1]
    assert (last.received, last.unsent, last.is_complete) == (3, 0, True)


def counted(status: int, **counts: int) -> Any:
    return lambda talk: talk.respond(status, None, **counts)


def fails_on_the_way(talk: Talk) -> None:
    talk.respond(PENDING, Remaining=1, Completed=0, Failed=1, Warning=0)
    talk.respond(0x0000)


def listed_implicitly(talk: Talk) -> None:
    """As `listed`, in the transfer syntax that the tools propose first."""
    talk.respond(0x0000, bytes.fromhex("0800580010000000") + b"1.2.3.8\\1.2.3.9\0")


DOUBTFUL = {
    "failed ones listed": listed_implicitly,
    "failed ones listed in the command": listed_in_the_command,
    "failed ones counted": counted(0x0000, Completed=0, Failed=2, Warning=0),
    "failed ones counted on the way": fails_on_the_way,
    "objects left over": counted(0x0000, Remaining=2, Completed=0, Failed=0, Warning=0),
    "a warning without counts": counted(0xB000),
    "cancelled by nobody": counted(0xFE00),
}


@pytest.mark.parametrize("tool", ["getscu", "movescu"])
@pytest.mark.parametrize("what", DOUBTFUL)
def test_a_tool_believed_the_status(tool: str, what: str, tmp_path: Path) -> None:
    with scripted(DOUBTFUL[what]) as (port, _):
        done = run_tool(tool, "127.0.0.1", str(port), "-S", "-k", "StudyInstanceUID=1.2", cwd=tmp_path)
    assert done.returncode == 1
    if "listed" in what:
        assert "E: failed: 1.2.3.8\nE: failed: 1.2.3.9\n" in done.stderr


def test_getscu_believed_the_counts(tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        talk.store(1)
        talk.respond(0x0000, Completed=3, Failed=0, Warning=0)

    with scripted(script) as (port, _):
        done = run_tool("getscu", "127.0.0.1", str(port), "-S", "-k", "StudyInstanceUID=1.2", cwd=tmp_path)
    assert done.returncode == 1
    assert "E: 2 of 3 objects that the peer says it has sent did not arrive\n" in done.stderr


def test_getscu_ended_well_though_it_could_write_nothing(tmp_path: Path) -> None:
    (tmp_path / "received").write_text("in the way")

    def script(talk: Talk) -> None:
        talk.store(1, object_of(1))
        talk.respond(0x0000, Completed=1, Failed=0, Warning=0)

    options = ("-S", "-k", "StudyInstanceUID=1.2", "-od", "received")
    with scripted(script) as (port, _):
        done = run_tool("getscu", "127.0.0.1", str(port), *options, cwd=tmp_path)
    assert done.returncode == 1
    assert "CT.1.2.3.1 could not be written: " in done.stderr


def test_movescu_ended_well_though_it_could_write_nothing(tmp_path: Path) -> None:
    (tmp_path / "received").write_text("in the way")
    here = free_port()

    def script(talk: Talk) -> None:
        with RawPeer.connect(here) as peer:
            peer.send(request_pdu((1, CT_IMAGE_STORAGE), called="HERE"))
            peer.read_pdu()
            peer.send(store_pdus(object_of(1), instance="1.2.3.1"))
            assert status_of(peer.read_pdu()) == 0xA700
        talk.respond(0x0000, Completed=1, Failed=0, Warning=0)

    options = ("-S", "-k", "StudyInstanceUID=1.2", "-od", "received", "--store", "--store-port", str(here))
    with scripted(script) as (port, _):
        done = run_tool("movescu", "127.0.0.1", str(port), *options, cwd=tmp_path)
    assert done.returncode == 1
    assert "CT.1.2.3.1 could not be written: " in done.stderr
