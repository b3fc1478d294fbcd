"""Objects of a retrieval that are refused before anybody looks at them: each is a failure of ours, and has a name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.command import run as run_command
from tests.retrieving import image
from tests.sockets import (
    CT_IMAGE_STORAGE,
    MR_IMAGE_STORAGE,
    RELEASE_RP,
    RELEASE_RQ,
    RawPeer,
    request_pdu,
    status_of,
    store_pdus,
)
from tests.support import free_port

from dicomnet.datasets.codec import encode

from .test_bad_values import Answered, store_rq
from .test_endings import Talk, encoded, faces, scripted, take
from .test_negotiation import node

# What is wrong, the status that it is answered with, and how the object is named.
REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "instance not ASCII": ({"AffectedInstance": b"1.2.\xfc"}, 0x0117, "1.2.ü"),
    "instance too long": ({"AffectedInstance": b"1.2." + b"3" * 61}, 0x0117, "1.2." + "3" * 61),
    "instance absent": ({"AffectedInstance": None}, 0x0117, ""),
    "instance of letters": ({"AffectedInstance": b"1.2.abc"}, 0x0117, "1.2.abc"),
    "class absent": ({"AffectedClass": None}, 0x0122, "1.2.3.9"),
    "class not ASCII": ({"AffectedClass": b"1.2.\xfc"}, 0x0122, "1.2.3.9"),
    "class of another context": ({"AffectedClass": b"1.2.840.10008.5.1.4.1.1.4"}, 0x0122, "1.2.3.9"),
}
cases = pytest.mark.parametrize("case", REFUSED)


def ask(peer: RawPeer, context_id: int, case: str) -> int:
    given = {"AffectedClass": CT_IMAGE_STORAGE.encode(), "AffectedInstance": b"1.2.3.9", **REFUSED[case][0]}
    peer.send(store_rq(context_id, encoded(image(9)), **given))
    return Answered.of(peer.read_pdu()).status


@cases
@faces
@pytest.mark.parametrize("counts", [{}, {"Completed": 2, "Failed": 0, "Warning": 0}], ids=["", "counts"])
@pytest.mark.parametrize("is_for_files", [True, False], ids=["files", "a handler"])
def test_an_object_refused_at_its_command_was_not_counted(
    case: str, face: str, counts: dict[str, int], is_for_files: bool, tmp_path: Path
) -> None:
    got: list[Any] = []
    statuses: list[int] = []

    def script(talk: Talk) -> None:
        talk.store(1)
        statuses.append(ask(talk.peer, talk.contexts[CT_IMAGE_STORAGE], case))
        talk.respond(0x0000, None, **counts)

    given: dict[str, Any] = {"to": tmp_path} if is_for_files else {"on_object": got.append}
    with scripted(script) as (port, _):
        last = take(face, port, lambda peer: peer.get("study", StudyInstanceUID="1.2", **given))[-1]
    _, status, name = REFUSED[case]
    assert statuses == [status]
    (failure,) = last.local_failures
    assert (failure.sop_instance_uid, last.received, last.missing, last.is_complete) == (name, 1, 0, False)
    assert failure.cause


@faces
@pytest.mark.parametrize("is_for_files", [True, False], ids=["files", "a handler"])
@pytest.mark.parametrize("other", ["object", "SOP class"])
def test_an_object_was_kept_under_the_uid_of_another_one(
    other: str, is_for_files: bool, face: str, tmp_path: Path
) -> None:
    """The command said one UID and the data set another: the file had the name and the header of the wrong object."""
    got: list[Any] = []
    statuses: list[int] = []
    mixed_up = image(9) if other == "object" else image(1)
    if other == "SOP class":
        mixed_up.SOPClassUID = MR_IMAGE_STORAGE

    def script(talk: Talk) -> None:
        statuses.extend((talk.store(1, encoded(mixed_up)), talk.store(2)))
        talk.respond(0x0000, Completed=2, Failed=0, Warning=0)

    given: dict[str, Any] = {"to": tmp_path} if is_for_files else {"on_object": got.append}
    with scripted(script) as (port, _):
        last = take(face, port, lambda peer: peer.get("study", StudyInstanceUID="1.2", **given))[-1]
    assert statuses == [0xA900, 0x0000]
    (failure,) = last.local_failures
    assert (failure.sop_instance_uid, last.received, last.is_complete) == ("1.2.3.1", 1, False)
    assert "is not that of the command" in failure.cause
    kept = [each.sop_instance_uid for each in got] or [path.stem for path in tmp_path.iterdir()]
    assert kept == ["1.2.3.2"]


@faces
@pytest.mark.parametrize("is_for_files", [True, False], ids=["files", "a handler"])
def test_an_object_that_came_twice_counted_as_two(is_for_files: bool, face: str, tmp_path: Path) -> None:
    """So that one which never came was not missed."""
    given: dict[str, Any] = {"to": tmp_path} if is_for_files else {"on_object": lambda received: None}

    def script(talk: Talk) -> None:
        assert [talk.store(number) for number in (1, 1, 2)] == [0, 0, 0]
        talk.respond(0x0000, Completed=3, Failed=0, Warning=0)

    with scripted(script) as (port, _):
        last = take(face, port, lambda peer: peer.get("study", StudyInstanceUID="1.2", **given))[-1]
    assert (last.sent, last.received, last.missing, last.is_complete) == (3, 2, 1, False)


@faces
def test_another_object_with_the_uid_of_one_before_took_its_place(face: str, tmp_path: Path) -> None:
    """Both were acknowledged, and the first was gone. What an earlier retrieval left still gives way."""
    (tmp_path / "1.2.3.1.dcm").write_bytes(b"of an earlier retrieval")
    other = image(1)
    other.PatientName = "Another^Image"
    statuses: list[int] = []

    def script(talk: Talk) -> None:
        statuses.extend(talk.store(1, data) for data in (None, encoded(other), None))
        talk.respond(0xB000)

    with scripted(script) as (port, _):
        last = take(face, port, lambda peer: peer.get("study", to=tmp_path, StudyInstanceUID="1.2"))[-1]
    assert statuses == [0x0000, 0x0111, 0x0000]
    (failure,) = last.local_failures
    assert (failure.sop_instance_uid, last.is_complete) == ("1.2.3.1", False)
    assert [path.name for path in tmp_path.iterdir()] == ["1.2.3.1.dcm"]
    assert (tmp_path / "1.2.3.1.dcm").read_bytes().endswith(encoded(image(1)))


ENDLESS = ("an item and its sequence", "a sequence", "an item", "an item in an item")


def endless(what: str, *, is_implicit: bool) -> bytes:
    """A sequence of undefined length in which an end is missing."""
    open_sequence = b"\x40\0\x75\2" + (b"" if is_implicit else b"SQ\0\0") + b"\xff\xff\xff\xff"
    begin = open_sequence + b"\xfe\xff\0\xe0\xff\xff\xff\xff"
    name = b"\x40\0\7\0" + (b"\2\0\0\0" if is_implicit else b"LO\2\0") + b"ab"
    item_end, sequence_end = b"\xfe\xff\x0d\xe0" + bytes(4), b"\xfe\xff\xdd\xe0" + bytes(4)
    return {
        "an item and its sequence": begin + name,
        "a sequence": begin + name + item_end,
        "an item": begin + name + sequence_end,
        "an item in an item": begin + begin + name + item_end + sequence_end,
    }[what]


@faces
@pytest.mark.parametrize("is_for_files", [True, False], ids=["files", "a handler"])
@pytest.mark.parametrize("what", ENDLESS)
def test_what_has_no_end_costs_its_object_only(
    what: str, is_for_files: bool, face: str, tmp_path: Path
) -> None:
    """It cannot be told from an object that is cut off; DCMTK refuses both, and ends the association."""
    got: list[Any] = []
    statuses: list[int] = []

    def script(talk: Talk) -> None:
        statuses.extend((talk.store(1, encoded(image(1)) + endless(what, is_implicit=False)), talk.store(2)))
        talk.respond(0x0000, Completed=2, Failed=0, Warning=0)

    given: dict[str, Any] = {"to": tmp_path} if is_for_files else {"on_object": got.append}
    with scripted(script) as (port, _):
        last = take(face, port, lambda peer: peer.get("study", StudyInstanceUID="1.2", **given))[-1]
    assert statuses == [0xC000, 0x0000]
    (failure,) = last.local_failures
    assert (failure.sop_instance_uid, last.received, last.is_complete) == ("1.2.3.1", 1, False)
    assert "end" in failure.cause
    kept = [each.sop_instance_uid for each in got] or [path.stem for path in tmp_path.iterdir()]
    assert kept == ["1.2.3.2"]


@pytest.mark.parametrize("what", ENDLESS)
def test_a_node_refuses_what_has_no_end_and_goes_on(what: str, tmp_path: Path) -> None:
    whole = image(1)
    whole.StudyInstanceUID, whole.SeriesInstanceUID = "1.2", "1.2.9"
    with node(tmp_path) as port, RawPeer.connect(port) as peer:
        peer.send(request_pdu((1, CT_IMAGE_STORAGE)))
        peer.read_pdu()
        found = []
        data = encode(whole, True, True)
        assert data is not None
        for rest in (endless(what, is_implicit=True), b""):
            peer.send(store_pdus(data + rest, instance="1.2.3.1"))
            found.append(status_of(peer.read_pdu()))
        assert found == [0xC000, 0x0000]
        peer.send(RELEASE_RQ)
        assert peer.read_pdu() == RELEASE_RP


@pytest.mark.parametrize(
    "counts",
    [{}, {"Completed": 1}, {"Completed": 1, "Failed": 0, "Warning": 0}, {"Failed": 0, "Warning": 1}],
    ids=str,
)
def test_get_said_no_reason_where_the_peer_ended_with_a_warning_alone(
    counts: dict[str, int], tmp_path: Path
) -> None:
    def script(talk: Talk) -> None:
        talk.store(1)
        talk.respond(0xB000, None, **counts)

    with scripted(script) as (port, _):
        result = run_command("get", f"P@127.0.0.1:{port}", "-k", "StudyInstanceUID=1.2", cwd=tmp_path)
    assert result.returncode == 1
    assert "ends with status 0xB000" in result.stdout + result.stderr


@cases
@pytest.mark.parametrize("is_json", [False, True], ids=["text", "json"])
def test_get_exited_with_0_although_it_refused_an_object(case: str, is_json: bool, tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        talk.store(1)
        ask(talk.peer, talk.contexts[CT_IMAGE_STORAGE], case)
        talk.respond(0x0000, Completed=2)

    with scripted(script) as (port, _):
        words = ("-k", "StudyInstanceUID=1.2", "--to", str(tmp_path), *(["--json"] if is_json else []))
        result = run_command("get", f"P@127.0.0.1:{port}", *words)
    assert result.returncode == 1
    assert "did not arrive" not in result.stderr
    if is_json:
        (failure,) = json.loads(result.stdout.splitlines()[-1])["local_failures"]
        assert (failure["sop_instance_uid"], bool(failure["cause"])) == (REFUSED[case][2], True)
    else:
        assert result.stderr.count("failed here: ") == 1
        assert result.stdout == "retrieved 1, failed here 1; the peer counts: completed 2\n"


@cases
@pytest.mark.parametrize("counts", [{}, {"Completed": 1}], ids=["", "counts"])
def test_move_exited_with_0_although_it_refused_an_object(
    case: str, counts: dict[str, int], tmp_path: Path
) -> None:
    here = free_port()

    def script(talk: Talk) -> None:
        with RawPeer.connect(here) as peer:
            peer.send(request_pdu((3, CT_IMAGE_STORAGE), called="HERE"))
            peer.read_pdu()
            assert ask(peer, 3, case) == REFUSED[case][1]
        talk.respond(0x0000, None, **counts)

    with scripted(script) as (port, _):
        where = ("--receive", tmp_path / "in", "--receive-port", str(here), "--json", "--wait", "1")
        result = run_command("move", f"P@127.0.0.1:{port}", "HERE", *where, "-k", "StudyInstanceUID=1.2")
    assert result.returncode == 1, result.stderr
    assert "did not arrive" not in result.stderr
    (failure,) = json.loads(result.stdout.splitlines()[-1])["local_failures"]
    assert (failure["sop_instance_uid"], bool(failure["cause"])) == (REFUSED[case][2], True)


@faces
def test_an_object_that_is_really_missing_is_still_missed_beside_a_refused_one(
    face: str, tmp_path: Path
) -> None:
    def script(talk: Talk) -> None:
        ask(talk.peer, talk.contexts[CT_IMAGE_STORAGE], "instance absent")
        talk.respond(0xB000, Completed=1, Failed=1)

    with scripted(script) as (port, _):
        last = take(face, port, lambda peer: peer.get("study", StudyInstanceUID="1.2", to=tmp_path))[-1]
    assert (len(last.local_failures), last.missing) == (1, 1)
