"""Peers that answer about, or send, another object than the one in question, and those that answer nothing at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.command import run
from tests.faults.objects import study_uid, uid, write_objects
from tests.faults.test_endings import Talk, encoded, faces, scripted, take
from tests.retrieving import image
from tests.scripted import Arrived, Scp
from tests.sockets import raw_server
from tests.support import free_port, serving, stored

from dicomnet import Peer, Timeouts
from dicomnet.exchange.receiving import ReceivedObject
from dicomnet.exchange.results import RetrieveProgress, StoreResult

OTHER = "1.2.840.99999.9"
SHORT = Timeouts(message=0.2)


def about(instance: str, status: int = 0) -> Callable[[Arrived], bytes]:
    """Answers each C-STORE with the UID of another object."""
    return lambda request: request.response(status, AffectedSOPInstanceUID=instance)


def about_the_one_before() -> Callable[[Arrived], bytes]:
    """Answers each C-STORE with the right message ID, and with the UID of the object before it."""
    before = [OTHER]

    def react(request: Arrived) -> bytes:
        before.append(request.instance)
        return request.response(AffectedSOPInstanceUID=before[-2])

    return react


def store(face: str, port: int, paths: Iterable[Path], **options: Any) -> list[StoreResult]:
    return take(face, port, lambda peer: peer.store(paths), **options)


# -- responses to C-STORE


@faces
@pytest.mark.parametrize("status", [0x0000, 0xB000, 0x0001])
def test_a_response_about_another_object_was_taken_for_success(
    face: str, status: int, tmp_path: Path
) -> None:
    with raw_server(Scp(about(OTHER, status)).serve) as port:
        results = store(face, port, write_objects(tmp_path, 1, 3))
    assert [(each.status, each.is_stored) for each in results] == [(None, False)] * 3
    assert all(OTHER in each.comment and f"0x{status:04X}" in each.comment for each in results)


@faces
def test_the_answers_of_a_window_were_one_object_late(face: str, tmp_path: Path) -> None:
    with raw_server(Scp(about_the_one_before()).serve) as port:
        results = store(face, port, write_objects(tmp_path, 1, 4), window=4)
    assert len(results) == 4
    assert not any(each.is_stored for each in results)


@faces
def test_a_refusal_is_one_whatever_object_it_names(face: str, tmp_path: Path) -> None:
    with raw_server(Scp(about(OTHER, 0xC001)).serve) as port:
        (result,) = store(face, port, write_objects(tmp_path, 1, 1))
    assert result.status == 0xC001


@faces
@pytest.mark.parametrize("named", ["", f"{uid(1, 1)} "])
def test_an_object_that_is_named_by_nothing_or_with_padding_is_stored(
    face: str, named: str, tmp_path: Path
) -> None:
    with raw_server(Scp(about(named)).serve) as port:
        (result,) = store(face, port, write_objects(tmp_path, 1, 1))
    assert result.status == 0


def test_a_file_was_deleted_though_the_answer_was_about_another(tmp_path: Path) -> None:
    paths = write_objects(tmp_path / "in", 1, 2)
    with raw_server(Scp(about(OTHER)).serve) as port:
        done = run("watch", "--once", "--delete", "--settle", "0.1", tmp_path / "in", f"P@127.0.0.1:{port}")
    assert done.returncode == 1
    assert all(path.exists() for path in paths)


def test_a_node_counted_as_sent_what_its_destination_did_not_name(tmp_path: Path) -> None:
    with raw_server(Scp(about_the_one_before()).serve) as port:
        destination = f"THERE@127.0.0.1:{port}"
        with serving(tmp_path / "node", "--destination", destination) as node:
            address = f"DICOMNET@127.0.0.1:{node.port}"
            assert run("store", address, *write_objects(tmp_path / "in", 1, 3)).returncode == 0
            moved = run("move", address, "THERE", "-k", f"StudyInstanceUID={study_uid(1)}", "--json")
    assert moved.returncode == 1
    last = json.loads(moved.stdout.splitlines()[-1])
    assert (last["completed"], last["failed"]) == (0, 3)


# -- objects of a C-GET


def of(number: int, **attributes: str) -> bytes:
    data_set = image(number)
    for keyword, value in attributes.items():
        setattr(data_set, keyword, value)
    return encoded(data_set)


# Keys, and what contradicts them.
CONTRADICTIONS = [
    ("study", {"StudyInstanceUID": "1.2"}, {"StudyInstanceUID": "1.2.9"}),
    ("study", {"StudyInstanceUID": ["1.2", "1.3"]}, {"StudyInstanceUID": "1.2.3"}),
    ("series", {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.5"}, {"SeriesInstanceUID": "1.2.6"}),
    (
        "image",
        {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.5", "SOPInstanceUID": "1.2.3.8"},
        {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.5"},
    ),
]


@faces
@pytest.mark.parametrize(("level", "keys", "attributes"), CONTRADICTIONS)
@pytest.mark.parametrize("way", ["folder", "function"])
def test_an_object_of_another_study_was_kept_without_a_word(
    face: str, level: str, keys: dict[str, Any], attributes: dict[str, str], way: str, tmp_path: Path
) -> None:
    """In the folder of a study, or in the hands of a program, it is another patient's."""
    answers: list[int] = []
    handed: list[ReceivedObject] = []

    def script(talk: Talk) -> None:
        answers.append(talk.store(7, of(7, **attributes)))
        talk.respond(0x0000, Completed=1, Failed=0)

    to: dict[str, Any] = {"to": tmp_path} if way == "folder" else {"on_object": handed.append}
    with scripted(script) as (port, _):
        last: RetrieveProgress = take(face, port, lambda peer: peer.get(level, **to, **keys))[-1]
    assert answers == [0xA900]
    assert not last.is_complete
    (failure,) = last.local_failures
    assert (failure.sop_instance_uid, last.received) == ("1.2.3.7", 0)
    assert "not what was asked for" in str(failure.error)
    assert not handed
    assert not list(tmp_path.iterdir())


@faces
@pytest.mark.parametrize(
    "attributes",
    [{}, {"StudyInstanceUID": "1.2"}, {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.9"}],
)
def test_what_does_not_contradict_the_keys_is_kept(
    face: str, attributes: dict[str, str], tmp_path: Path
) -> None:
    def script(talk: Talk) -> None:
        assert talk.store(7, of(7, **attributes)) == 0
        talk.respond(0x0000, Completed=1, Failed=0)

    with scripted(script) as (port, _):
        last: RetrieveProgress = take(
            face, port, lambda peer: peer.get("study", to=tmp_path, StudyInstanceUID="1.2")
        )[-1]
    assert last.is_complete
    assert [path.name for path in tmp_path.iterdir()] == ["1.2.3.7.dcm"]


def test_the_command_names_an_object_of_another_study(tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        talk.store(7, of(7, StudyInstanceUID="1.2"))
        talk.store(8, of(8, StudyInstanceUID="1.2.9"))
        talk.respond(0x0000, Completed=2, Failed=0)

    with scripted(script) as (port, _):
        got = run("get", f"P@127.0.0.1:{port}", "-k", "StudyInstanceUID=1.2", "--to", tmp_path)
    assert got.returncode == 1
    assert "1.2.3.8.dcm: it is not what was asked for: its Study Instance UID is 1.2.9" in got.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["1.2.3.7.dcm"]


# -- objects that come to the receiver of a C-MOVE


@pytest.mark.parametrize("told", [3, 2])
def test_what_others_sent_to_the_receiver_counted_as_what_was_asked_for(told: int, tmp_path: Path) -> None:
    """With as many of them as are missing, all was well."""
    here = free_port()
    asked, others = write_objects(tmp_path / "asked", 1, 2), write_objects(tmp_path / "others", 2, 1)

    def script(talk: Talk) -> None:
        with Peer(f"HERE@127.0.0.1:{here}") as receiver:
            assert all(each.is_stored for each in receiver.store([*asked, *others]))
        talk.respond(0x0000, Completed=told, Failed=0, Warning=0)

    receive = ("--receive", tmp_path / "in", "--receive-port", str(here), "--wait", "0.2")
    with scripted(script) as (port, _):
        key = f"StudyInstanceUID={study_uid(1)}"
        moved = run("move", f"P@127.0.0.1:{port}", "HERE", *receive, "-k", key)
    assert moved.stdout.startswith(f"2 arrived in {tmp_path / 'in'}, and 1 that nobody asked for; ")
    assert moved.returncode == (1 if told == 3 else 0)
    assert ("1 of 3 objects that the peer says it has sent did not arrive" in moved.stderr) == (told == 3)
    assert stored(tmp_path / "in").keys() == {uid(1, 1), uid(1, 2), uid(2, 1)}


# -- peers that accept everything and answer nothing


@faces
@pytest.mark.parametrize("retries", [0, 1])
def test_a_silent_peer_cost_two_timeouts_for_each_object(face: str, retries: int, tmp_path: Path) -> None:
    """After three in a row it is given up; a thousand objects took hours."""
    scp = Scp(lambda request: b"")
    with raw_server(scp.serve) as port:
        results = store(face, port, write_objects(tmp_path, 1, 12), window=1, retries=retries, timeouts=SHORT)
    assert len(results) == 12
    assert not any(each.is_stored for each in results)
    assert len(scp.proposed) == 3 * (retries + 1)


@faces
def test_objects_that_a_peer_is_silent_about_cost_no_others(face: str, tmp_path: Path) -> None:
    silent = {uid(1, number) for number in (2, 3, 6, 7)}
    scp = Scp(lambda request: b"" if request.instance in silent else request.response())
    with raw_server(scp.serve) as port:
        results = store(face, port, write_objects(tmp_path, 1, 9), window=1, timeouts=SHORT)
    assert {each.sop_instance_uid for each in results if not each.is_stored} == silent


# -- objects of two patients in one study


def test_an_object_of_another_patient_entered_a_study_without_a_word(tmp_path: Path) -> None:
    first, second, third = write_objects(tmp_path / "in", 1, 3)
    second.write_bytes(second.read_bytes().replace(b"P1", b"P2"))
    with serving(tmp_path / "node") as node:
        address = f"DICOMNET@127.0.0.1:{node.port}"
        assert run("store", address, first, second, third).returncode == 0
        assert run("find", address, "-L", "study", "-k", "PatientID=P2").stdout
    log = (tmp_path / "node" / "output.txt").read_text()
    lines = [line for line in log.splitlines() if "another Patient ID" in line]
    (line,) = lines
    assert "WARNING" in line
    assert uid(1, 2) in line
    assert study_uid(1) in line
    assert "P2" not in line
