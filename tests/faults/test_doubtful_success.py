"""Retrievals that a peer ended with success, although something else that it said, or what is here, tells otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.cli.command import run
from tests.faults.test_endings import PENDING, Talk, encoded, faces, operation, scripted, take

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
    assert "the peer counts 1 completed, 0 with warnings, 0 failed, 3 not sent\n" in result.stdout


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
