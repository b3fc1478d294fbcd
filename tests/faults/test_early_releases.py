"""A peer that releases the association before the final response, or ends it before the first request.

Who asked is told so, and what came before counts.
"""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.blocking.test_peer import write_file
from tests.cli.command import run as run_command
from tests.faults.test_endings import MATCH, PENDING, Talk, faces, operation, take
from tests.scripted import acceptance, read_request
from tests.sockets import ABORT_BY_USER, CT_IMAGE_STORAGE, RELEASE_RQ, VERIFICATION, RawPeer, raw_server

import dicomnet
from dicomnet import Peer, aio
from dicomnet.errors import AssociationError, AssociationReleased
from dicomnet.exchange.results import RetrieveProgress
from dicomnet.wire.pdu import Abort

RELEASED = "the peer released the association before the final response"
PRINTER, MPPS = "1.2.840.10008.5.1.1.16", "1.2.840.10008.3.1.2.3.3"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2"
MODELS = {"find": f"{STUDY_ROOT}.1", "move": f"{STUDY_ROOT}.2", "get": f"{STUDY_ROOT}.3"}
Script = Callable[[Talk], None]


def release(peer: RawPeer) -> None:
    """Ask for release, and wait for the answer."""
    peer.send(RELEASE_RQ)
    assert peer.read_pdu()[:1] == b"\x06"


def release_and_close(peer: RawPeer) -> None:
    """Ask for release, and close without waiting for the answer."""
    peer.send(RELEASE_RQ)


ways = pytest.mark.parametrize("way", [release, release_and_close])


def ending(way: Callable[[RawPeer], None], script: Script = lambda talk: None) -> Callable[[RawPeer], None]:
    """For `raw_server`: take a request, do what a script says, and release instead of a final response."""

    def serve(peer: RawPeer) -> None:
        talk = Talk(peer)
        script(talk)
        way(peer)

    return serve


def query() -> Dataset:
    dataset = Dataset()
    dataset.QueryRetrieveLevel, dataset.StudyInstanceUID = "STUDY", "1.2"
    return dataset


def some() -> Dataset:
    dataset = Dataset()
    dataset.PatientID = "1"
    return dataset


REQUESTS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "echo": (VERIFICATION, lambda assoc: assoc.send_c_echo()),
    "find": (MODELS["find"], lambda assoc: assoc.send_c_find(query(), MODELS["find"])),
    "move": (MODELS["move"], lambda assoc: assoc.send_c_move(query(), "THERE", MODELS["move"])),
    "get": (MODELS["get"], lambda assoc: assoc.send_c_get(query(), MODELS["get"])),
    "N-ACTION": (PRINTER, lambda assoc: assoc.send_n_action(some(), 1, PRINTER, "1.2")),
    "N-CREATE": (MPPS, lambda assoc: assoc.send_n_create(some(), MPPS, "1.2")),
    "N-DELETE": (PRINTER, lambda assoc: assoc.send_n_delete(PRINTER, "1.2")),
    "N-EVENT-REPORT": (PRINTER, lambda assoc: assoc.send_n_event_report(some(), 1, PRINTER, "1.2")),
    "N-GET": (PRINTER, lambda assoc: assoc.send_n_get([0x00100020], PRINTER, "1.2")),
    "N-SET": (PRINTER, lambda assoc: assoc.send_n_set(some(), PRINTER, "1.2")),
}


def ask(face: str, port: int, uid: str, send: Callable[[Any], Any]) -> None:
    """Make a request on an association of its own, and take all that comes of it."""
    address = f"P@127.0.0.1:{port}"
    if face == "blocking":
        with dicomnet.connect(address, [uid]) as assoc:
            responses = send(assoc)
            if not isinstance(responses, Dataset | tuple):
                list(responses)
        return

    async def run() -> None:
        async with await aio.connect(address, [uid]) as assoc:
            responses = send(assoc)
            if hasattr(responses, "__aiter__"):
                async for _ in responses:
                    pass
            else:
                await responses

    asyncio.run(run())


@faces
@ways
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_on_an_association_that_the_peer_releases(
    face: str, way: Callable[[RawPeer], None], name: str
) -> None:
    uid, send = REQUESTS[name]
    with raw_server(ending(way)) as port, pytest.raises(AssociationReleased) as raised:
        ask(face, port, uid, send)
    assert raised.value.was_awaited
    assert str(raised.value) == RELEASED


def test_a_peer_that_releases_and_does_not_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """The block of an association in asyncio was left while the connection was open, and then the loop was closed."""
    monkeypatch.setattr("dicomnet.aio.opening.LAST_WORDS", 0.2)
    is_left = threading.Event()

    def stay(peer: RawPeer) -> None:
        release(peer)
        is_left.wait(60)

    uid, send = REQUESTS["echo"]
    with raw_server(ending(stay)) as port, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", ResourceWarning)
        with pytest.raises(AssociationReleased):
            ask("aio", port, uid, send)
        gc.collect()
        is_left.set()
    assert not warned


@faces
@ways
@pytest.mark.parametrize("service", ["find", "get", "move"])
def test_what_came_before_the_release_is_handed_out(
    face: str, way: Callable[[RawPeer], None], service: str, tmp_path: Path
) -> None:
    def script(talk: Talk) -> None:
        if service == "get":
            talk.store(1)
        talk.respond(PENDING, MATCH if service == "find" else None)

    found: list[Any] = []
    with raw_server(ending(way, script)) as port, pytest.raises(AssociationReleased, match=RELEASED):
        take(face, port, operation(service, tmp_path), found=found)
    if service == "find":
        assert len(found) == 1
        return
    last: RetrieveProgress = found[-1]
    assert (last.status, last.received) == (PENDING, 1 if service == "get" else None)
    assert [path.name for path in tmp_path.iterdir()] == (["1.2.3.1.dcm"] if service == "get" else [])


@faces
@ways
def test_an_object_that_arrived_last_before_the_release_counts(
    face: str, way: Callable[[RawPeer], None], tmp_path: Path
) -> None:
    """No response of the C-GET comes behind it."""
    found: list[RetrieveProgress] = []
    with (
        raw_server(ending(way, lambda talk: assert_stored(talk.store(1)))) as port,
        pytest.raises(AssociationReleased, match=RELEASED),
    ):
        take(face, port, operation("get", tmp_path), found=found)
    assert [each.received for each in found] == [1]


def assert_stored(status: int) -> None:
    assert status == 0


def echo(face: str, port: int) -> None:
    if face == "blocking":
        with Peer(f"P@127.0.0.1:{port}") as peer:
            peer.echo()
        return

    async def run() -> None:
        async with aio.Peer(f"P@127.0.0.1:{port}") as peer:
            await peer.echo()

    asyncio.run(run())


@faces
@ways
def test_an_echo_of_a_peer_that_releases(face: str, way: Callable[[RawPeer], None]) -> None:
    with raw_server(ending(way)) as port, pytest.raises(AssociationReleased, match=RELEASED):
        echo(face, port)


@faces
@ways
@pytest.mark.parametrize("retries", [0, 1])
def test_a_store_to_a_peer_that_releases(
    face: str, way: Callable[[RawPeer], None], retries: int, tmp_path: Path
) -> None:
    files = [write_file(tmp_path, f"1.2.{number}") for number in range(3)]
    with raw_server(ending(way)) as port:
        results = take(face, port, lambda peer: peer.store(files), retries=retries)
    assert sorted((each.path, each.status, each.comment) for each in results) == [
        (str(file), None, RELEASED) for file in files
    ]


COMMANDS: dict[str, list[str]] = {
    "echo": [],
    "find": [],
    "worklist": [],
    "move": ["THERE", "-k", "StudyInstanceUID=1.2"],
    "get": ["-k", "StudyInstanceUID=1.2"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_says_that_the_peer_released(command: str, tmp_path: Path) -> None:
    with raw_server(ending(release)) as port:
        result = run_command(command, f"P@127.0.0.1:{port}", *COMMANDS[command], cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"dicomnet {command}: {RELEASED}"


@pytest.mark.parametrize("is_json", [False, True], ids=["text", "json"])
def test_get_tells_what_arrived_before_the_release(is_json: bool, tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        talk.store(1)
        talk.respond(PENDING, Completed=1, Remaining=4)

    with raw_server(ending(release, script)) as port:
        options = ["-k", "StudyInstanceUID=1.2", "--to", str(tmp_path), *(["--json"] if is_json else [])]
        result = run_command("get", f"P@127.0.0.1:{port}", *options)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"dicomnet get: {RELEASED}"
    if is_json:
        assert json.loads(result.stdout.splitlines()[-1])["received"] == 1
    else:
        assert result.stdout.startswith("retrieved 1")
    assert [path.name for path in tmp_path.iterdir()] == ["1.2.3.1.dcm"]


def test_get_took_the_status_of_a_pending_response_for_the_end(tmp_path: Path) -> None:
    """Nothing but an object came before the association was over."""
    with raw_server(ending(release, lambda talk: assert_stored(talk.store(1)))) as port:
        result = run_command("get", f"P@127.0.0.1:{port}", "-k", "StudyInstanceUID=1.2", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "retrieved 1; the peer gives no counts\n")


def test_store_says_for_each_object_that_the_peer_released(tmp_path: Path) -> None:
    file = write_file(tmp_path, "1.2.3", sop_class=CT_IMAGE_STORAGE)
    with raw_server(ending(release)) as port:
        result = run_command("store", f"P@127.0.0.1:{port}", file, "--json")
    assert result.returncode == 1
    assert json.loads(result.stdout.splitlines()[0])["comment"] == RELEASED


@faces
def test_a_release_behind_the_final_response_is_no_failure(face: str) -> None:
    """It may come with it, in one segment."""

    def serve(peer: RawPeer) -> None:
        talk = Talk(peer)
        peer.send(talk.response(0x0000) + RELEASE_RQ)
        assert peer.read_pdu()[:1] == b"\x06"

    with raw_server(serve) as port:
        echo(face, port)
        assert take(face, port, lambda peer: peer.find("study", PatientID="1")) == []


@faces
def test_the_use_of_an_association_that_the_peer_has_released(face: str) -> None:
    """Nothing was awaited, but the next request has no association."""

    def serve(peer: RawPeer) -> None:
        talk = Talk(peer)
        peer.send(talk.response(0x0000) + RELEASE_RQ)
        peer.read_pdu()

    async def use_in_loop(port: int) -> None:
        assoc = await aio.connect(f"P@127.0.0.1:{port}", [VERIFICATION])
        assert (await assoc.send_c_echo()).Status == 0
        await assoc.wait_closed()
        await assoc.send_c_echo()

    def use(port: int) -> None:
        assoc = dicomnet.connect(f"P@127.0.0.1:{port}", [VERIFICATION])
        assert assoc.send_c_echo().Status == 0
        assoc.join()
        assoc.send_c_echo()

    with raw_server(serve) as port, pytest.raises(AssociationReleased) as raised:
        use(port) if face == "blocking" else asyncio.run(use_in_loop(port))
    assert not raised.value.was_awaited
    assert str(raised.value) == "the peer released the association"


ENDS = {
    "aborted by its user": (ABORT_BY_USER, "association aborted by the peer"),
    "aborted by its provider": (
        Abort(2, 2).encode(),
        "association aborted by the peer's provider: unexpected PDU",
    ),
    "released": (RELEASE_RQ, "the peer released the association"),
}


def ending_at_once(end: bytes) -> Callable[[RawPeer], None]:
    """For `raw_server`: accept, and end the association in the same segment."""

    def serve(peer: RawPeer) -> None:
        asked = read_request(peer)
        if asked is not None:
            peer.send(acceptance(asked) + end)
            peer.read_to_end()

    return serve


@faces
@pytest.mark.parametrize("end", ENDS)
def test_an_association_that_is_over_before_the_first_request(face: str, end: str) -> None:
    """It was "not established", without a word of why."""
    pdu, words = ENDS[end]
    with raw_server(ending_at_once(pdu)) as port, pytest.raises(AssociationError) as raised:
        echo(face, port)
    assert str(raised.value).startswith(words)


@faces
@pytest.mark.parametrize("end", ENDS)
def test_each_object_says_why_its_association_was_over(face: str, end: str, tmp_path: Path) -> None:
    pdu, words = ENDS[end]
    files = [write_file(tmp_path, f"1.2.{number}") for number in range(2)]
    with raw_server(ending_at_once(pdu)) as port:
        results = take(face, port, lambda peer: peer.store(files))
    assert sorted(each.path for each in results) == [str(file) for file in files]
    assert all(each.status is None and each.comment.startswith(words) for each in results)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_says_why_the_association_was_over(command: str, tmp_path: Path) -> None:
    pdu, words = ENDS["aborted by its user"]
    with raw_server(ending_at_once(pdu)) as port:
        result = run_command(command, f"P@127.0.0.1:{port}", *COMMANDS[command], cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"dicomnet {command}: {words}"
