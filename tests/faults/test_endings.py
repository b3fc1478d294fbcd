"""How retrievals end, and what their results say: scripted peers, both faces, and the command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.apps.tools import run as run_app
from tests.cli.command import run as run_command
from tests.retrieving import image
from tests.sockets import (
    CT_IMAGE_STORAGE,
    PATIENCE,
    RELEASE_RP,
    RawPeer,
    acceptance_of,
    message_pdus,
    raw_server,
    request_pdu,
    status_of,
    store_pdus,
)
from tests.support import dicomnet, free_port, wait_until

from dicomnet import AE, Peer, Timeouts, aio, evt
from dicomnet.datasets.codec import encode
from dicomnet.dimse.codec import decode_command
from dicomnet.dimse.messages import C_FIND_RSP, C_GET_RSP, C_MOVE_RSP, C_STORE_RSP, Message
from dicomnet.drivers.blocking.channel import Channel
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.encoding.transfer_syntaxes import transfer_syntax
from dicomnet.errors import AssociationAborted, DeadlineExceeded, ProtocolError, ServiceRefusal
from dicomnet.exchange.contexts import NATIVE
from dicomnet.exchange.results import RetrieveProgress
from dicomnet.wire.pdu import AssociateRQ, decode_pdu

PENDING = 0xFF00
SYNTAX = transfer_syntax(NATIVE[0])
RESPONSES = {"find": C_FIND_RSP, "get": C_GET_RSP, "move": C_MOVE_RSP}
faces = pytest.mark.parametrize("face", ["blocking", "aio"])
services = pytest.mark.parametrize("service", RESPONSES)


def encoded(dataset: Dataset) -> bytes:
    found = encode(dataset, SYNTAX.is_implicit, SYNTAX.is_little_endian)
    assert found is not None
    return found


class Talk:
    """A scripted peer's side of one query or retrieval, from the request on."""

    def __init__(self, peer: RawPeer) -> None:
        self.peer = peer
        request = peer.read_pdu()
        asked = decode_pdu(request[0], memoryview(request)[6:])
        assert isinstance(asked, AssociateRQ)
        self.contexts = {each.abstract_syntax: each.context_id for each in asked.contexts}
        peer.send(acceptance_of(request))
        pdu = peer.read_pdu()
        self.context_id = pdu[10]
        kind, self.command, has_data = decode_command(pdu[12 : 10 + int.from_bytes(pdu[6:10], "big")])
        self._response = kind.response
        while has_data and (not pdu[11] & 2 or pdu[11] & 1):
            pdu = peer.read_pdu()

    def respond(self, status: int, data: bytes | None = None, **counts: int) -> None:
        self.peer.send(self.response(status, data, **counts))

    def response(self, status: int, data: bytes | None = None, **counts: int) -> bytes:
        elements = {f"NumberOf{name}Suboperations": count for name, count in counts.items()}
        command = {
            "AffectedSOPClassUID": self.command["AffectedSOPClassUID"],
            "MessageIDBeingRespondedTo": self.command["MessageID"],
            "Status": status,
            **elements,
        }
        return message_pdus(Message(self._response, command, self.context_id, data))

    def store(self, number: int, data: bytes | None = None) -> int:
        """Send an object; the status of the answer."""
        content = encoded(image(number)) if data is None else data
        context_id = self.contexts[CT_IMAGE_STORAGE]
        self.peer.send(
            store_pdus(content, message_id=number, context_id=context_id, instance=f"1.2.3.{number}")
        )
        return status_of(self.peer.read_pdu())

    def end(self) -> list[str]:
        """What comes until the association is over."""
        found = []
        while pdu := self.peer.read_pdu():
            if pdu[0] == 4:
                found.append(decode_command(pdu[12:])[0].name)
            else:
                found.append({5: "release", 7: "abort"}[pdu[0]])
            if pdu[0] == 5:
                self.peer.send(RELEASE_RP)
            if pdu[0] == 7:
                break
        return found


@contextlib.contextmanager
def scripted(script: Callable[[Talk], None]) -> Iterator[tuple[int, list[str]]]:
    """A peer that follows a script; gives its port, and what came behind that."""
    ended: list[str] = []
    is_over = threading.Event()

    def serve(peer: RawPeer) -> None:
        try:
            talk = Talk(peer)
            script(talk)
            ended.extend(talk.end())
        finally:
            is_over.set()

    with raw_server(serve) as port:
        yield port, ended
        assert is_over.wait(PATIENCE)


def take(
    face: str,
    port: int,
    use: Callable[[Any], Any],
    most: int = 1000,
    *,
    found: list[Any] | None = None,
    **options: Any,
) -> list[Any]:
    """What an operation yields, up to a number of results; then it is closed."""
    address = f"P@127.0.0.1:{port}"
    found = [] if found is None else found
    if face == "blocking":
        with Peer(address, **options) as peer, contextlib.closing(use(peer)) as results:
            for each in results:
                found.append(each)
                if len(found) == most:
                    break
        return found

    async def run() -> None:
        async with aio.Peer(address, **options) as peer, contextlib.aclosing(use(peer)) as results:
            async for each in results:
                found.append(each)
                if len(found) == most:
                    break

    asyncio.run(run())
    return found


def operation(service: str, folder: Path) -> Callable[[Any], Any]:
    if service == "find":
        return lambda peer: peer.find("study", PatientID="1")
    if service == "get":
        return lambda peer: peer.get("study", to=folder, StudyInstanceUID="1.2")
    return lambda peer: peer.move("THERE", "study", StudyInstanceUID="1.2")


MATCH = encoded(image(1))


# -- no C-CANCEL behind the final response


@faces
@services
def test_a_c_cancel_followed_the_final_response(face: str, service: str, tmp_path: Path) -> None:
    """It was sent where the iteration was left with the last response in hand, or with it in the network."""

    def script(talk: Talk) -> None:
        first = talk.response(PENDING, MATCH if service == "find" else None, **counts)
        talk.peer.send(first + talk.response(0x0000))

    counts = {} if service == "find" else {"Completed": 1}
    most = 1 if service == "find" else 2
    for number in {1, most}:
        with scripted(script) as (port, ended):
            take(face, port, operation(service, tmp_path), number)
        assert ended == ["release"]


@faces
def test_a_generator_that_was_closed_late_cancelled_what_was_over(face: str, tmp_path: Path) -> None:
    is_sent = threading.Event()

    def script(talk: Talk) -> None:
        talk.respond(PENDING, Completed=1)
        time.sleep(0.01)
        talk.respond(0x0000, Completed=1)
        is_sent.set()

    def late(peer: Peer) -> Iterator[Any]:
        results = peer.get("study", to=tmp_path, StudyInstanceUID="1.2")
        yield next(results)
        assert is_sent.wait(PATIENCE)
        results.close()

    async def run(port: int) -> None:
        async with aio.Peer(f"P@127.0.0.1:{port}") as peer:
            results = peer.get("study", to=tmp_path, StudyInstanceUID="1.2")
            await anext(results)
            assert is_sent.wait(PATIENCE)
            await results.aclose()

    with scripted(script) as (port, ended):
        if face == "blocking":
            with Peer(f"P@127.0.0.1:{port}") as peer:
                list(late(peer))
        else:
            asyncio.run(run(port))
    assert ended == ["release"]


@faces
@services
def test_what_goes_on_is_cancelled(face: str, service: str, tmp_path: Path) -> None:
    cancelled: list[str] = []

    def script(talk: Talk) -> None:
        talk.respond(PENDING, MATCH if service == "find" else None)
        cancelled.append(decode_command(talk.peer.read_pdu()[12:])[0].name)
        talk.respond(0xFE00)

    with scripted(script) as (port, ended):
        take(face, port, operation(service, tmp_path), 1)
    assert (cancelled, ended) == (["C-CANCEL-RQ"], ["release"])


# -- Ctrl-C and errors do not wait


@faces
@pytest.mark.parametrize("service", ["get", "move"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_an_exception_waited_for_the_whole_retrieval(
    face: str, service: str, error: type[BaseException], tmp_path: Path
) -> None:
    if face == "aio" and error is KeyboardInterrupt:
        error = asyncio.CancelledError

    def script(talk: Talk) -> None:
        talk.respond(PENDING, Completed=1, Remaining=100)

    with scripted(script) as (port, ended):
        address, use = f"P@127.0.0.1:{port}", operation(service, tmp_path)

        def run() -> None:
            with Peer(address) as peer:
                responses = use(peer)
                for _ in responses:
                    raise error

        async def run_async() -> None:
            async with aio.Peer(address) as peer:
                responses = use(peer)
                async for _ in responses:
                    raise error

        begin = time.monotonic()
        with pytest.raises(error):
            run() if face == "blocking" else asyncio.run(run_async())
        assert time.monotonic() - begin < PATIENCE
    assert ended == ["abort"]


@pytest.mark.parametrize("service", ["get", "move"])
def test_a_cancelled_task_waited_for_the_final_response(service: str, tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        talk.respond(PENDING, Completed=1, Remaining=100)

    async def run(port: int) -> None:
        async with aio.Peer(f"P@127.0.0.1:{port}") as peer:
            async with asyncio.timeout(0.2):
                async for _ in operation(service, tmp_path)(peer):
                    pass

    with scripted(script) as (port, ended):
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            asyncio.run(run(port))
        assert time.monotonic() - begin < PATIENCE
    assert ended == ["abort"]


@pytest.mark.parametrize("command", ["get", "move"])
def test_ctrl_c_waited_for_the_final_response(command: str, tmp_path: Path) -> None:
    begun = threading.Event()

    def script(talk: Talk) -> None:
        talk.respond(PENDING, Completed=1, Remaining=100)
        begun.set()

    with scripted(script) as (port, ended):
        where = ["--to", str(tmp_path)] if command == "get" else []
        words = [f"P@127.0.0.1:{port}", *(["THERE"] if command == "move" else []), *where]
        line = dicomnet(command, *words, "-k", "StudyInstanceUID=1.2", "--json")
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert begun.wait(PATIENCE)
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, complained = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert complained.splitlines()[-1] == f"dicomnet {command}: interrupted"
    assert ended == ["abort"]


# -- progress that shows in no response


def arrivals(port: int, count: int, seconds: float, size: int = 0) -> None:
    """Send objects to a receiver, each over an association of its own; or one, in pieces."""
    for number in range(1, count + 1):
        time.sleep(seconds)
        with RawPeer.connect(port) as peer:
            peer.send(request_pdu((1, CT_IMAGE_STORAGE), called="HERE"))
            peer.read_pdu()
            pdus = store_pdus(object_of(number, size), instance=f"1.2.3.{number}")
            for at in range(0, len(pdus), 1 << 16):
                peer.send(pdus[at : at + (1 << 16)])
                if size:
                    time.sleep(0.3)
            assert status_of(peer.read_pdu()) == 0


def object_of(number: int, size: int = 0) -> bytes:
    """An object in Implicit VR Little Endian that an archive takes."""
    dataset = image(number)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2", "1.2.3"
    if size:
        dataset.add_new(0x7FE00010, "OW", bytes(size))
    found = encode(dataset, True, True)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("count", "seconds", "size"), [(8, 0.3, 0), (1, 0.0, 600_000)], ids=["many", "large"]
)
def test_move_gave_up_while_objects_arrived(count: int, seconds: float, size: int, tmp_path: Path) -> None:
    here = free_port()

    def script(talk: Talk) -> None:
        arrivals(here, count, seconds, size)
        talk.respond(0x0000, Completed=count, Failed=0, Warning=0)

    with scripted(script) as (port, _):
        options = ("--receive", tmp_path / "in", "--receive-port", str(here), "--message-timeout", "1")
        result = run_command("move", f"P@127.0.0.1:{port}", "HERE", "-k", "StudyInstanceUID=1.2", *options)
    assert (result.stderr, result.returncode) == ("", 0)
    assert result.stdout.startswith(f"{count} arrived in ")


@pytest.mark.parametrize(
    ("count", "seconds", "size"), [(8, 0.3, 0), (1, 0.0, 600_000)], ids=["many", "large"]
)
def test_movescu_gave_up_while_objects_arrived(count: int, seconds: float, size: int, tmp_path: Path) -> None:
    here = free_port()

    def script(talk: Talk) -> None:
        arrivals(here, count, seconds, size)
        talk.respond(0x0000, Completed=count, Failed=0, Warning=0)

    with scripted(script) as (port, _):
        options = (
            "--store",
            "--max-pdu",
            "32768",
            "--store-port",
            str(here),
            "-od",
            tmp_path / "in",
            "-td",
            "1",
        )
        what = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2", "-aem", "HERE")
        result = run_app("movescu", "127.0.0.1", str(port), *what, *options)
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "in").iterdir())) == count


def test_a_move_of_which_nothing_arrives_is_given_up(tmp_path: Path) -> None:
    with scripted(lambda talk: None) as (port, ended):
        options = ("--receive", tmp_path / "in", "--receive-port", "0", "--message-timeout", "0.5")
        result = run_command("move", f"P@127.0.0.1:{port}", "HERE", "-k", "StudyInstanceUID=1.2", *options)
    assert result.returncode == 1
    assert "within 0.5 s" in result.stderr
    assert ended == ["abort"]


@faces
def test_progress_elsewhere_keeps_a_move_waiting(face: str, tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        time.sleep(1.5)
        talk.respond(0x0000)

    with scripted(script) as (port, _):
        counter = iter(range(1000))
        moving = Timeouts(message=0.5, progress=lambda: next(counter))
        assert take(face, port, operation("move", tmp_path), timeouts=moving)[-1].status == 0
    with scripted(script) as (port, _), pytest.raises(DeadlineExceeded):
        take(face, port, operation("move", tmp_path), timeouts=Timeouts(message=0.5, progress=lambda: 1))


def large_file(folder: Path, size: int) -> Path:
    path = folder / "large.dcm"
    path.write_bytes(
        encode_file_header(CT_IMAGE_STORAGE, "1.2.3.1", "1.2.840.10008.1.2") + object_of(1, size)
    )
    return path


def reading(rate: int, seconds: float, is_over: threading.Event | None = None) -> Callable[[RawPeer], None]:
    """A storage SCP that reads so many bytes, again and again after a pause; none at all with a rate of 0."""

    def serve(peer: RawPeer) -> None:
        request = peer.read_pdu()
        peer.send(acceptance_of(request))
        is_last, content, message = False, b"", b""
        while rate and not is_last:
            content += peer.sock.recv(rate)
            time.sleep(seconds)
            while len(content) >= 6 and len(content) >= 6 + int.from_bytes(content[2:6], "big"):
                end = 6 + int.from_bytes(content[2:6], "big")
                pdu, content = content[:end], content[end:]
                message = message or pdu
                is_last = pdu[11] == 2
        if is_over is not None:
            is_over.wait(PATIENCE)
            return
        _, command, _ = decode_command(message[12 : 10 + int.from_bytes(message[6:10], "big")])
        answer = {
            "AffectedSOPClassUID": command["AffectedSOPClassUID"],
            "MessageIDBeingRespondedTo": command["MessageID"],
            "AffectedSOPInstanceUID": command["AffectedSOPInstanceUID"],
            "Status": 0,
        }
        peer.send(message_pdus(Message(C_STORE_RSP, answer, message[10])))
        peer.read_pdu()
        peer.send(RELEASE_RP)

    return serve


@contextlib.contextmanager
def narrow_server(serve: Callable[[RawPeer], None]) -> Iterator[int]:
    """As `raw_server`, with a small buffer in the receiving kernel."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)

    def run() -> None:
        with contextlib.suppress(OSError):
            sock, _ = listener.accept()
            with RawPeer(sock) as peer:
                serve(peer)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with listener:
        yield listener.getsockname()[1]
        thread.join(PATIENCE)


@faces
@pytest.mark.parametrize(
    ("rate", "seconds"), [(1 << 12, 0.04), (1 << 14, 0.15), (600, 0.004)], ids=["steady", "bursts", "dribble"]
)
def test_a_peer_that_reads_slowly_was_timed_out(face: str, rate: int, seconds: float, tmp_path: Path) -> None:
    path = large_file(tmp_path, 250_000)
    with narrow_server(reading(rate, seconds)) as port:
        begin = time.monotonic()
        (result,) = take(face, port, lambda peer: peer.store(path), timeouts=Timeouts(message=0.8))
        assert (result.status, result.comment) == (0, "")
        assert time.monotonic() - begin > 1.6, "slow enough to be timed out"


@faces
@pytest.mark.parametrize("size", [400_000, 20_000_000], ids=["in the kernel", "larger than that"])
def test_a_peer_that_reads_nothing_is_timed_out(face: str, size: int, tmp_path: Path) -> None:
    """X05."""
    path = large_file(tmp_path, size)
    is_over = threading.Event()
    with narrow_server(reading(0, 0, is_over)) as port:
        begin = time.monotonic()
        limits = Timeouts(message=0.6)
        (result,) = take(face, port, lambda peer: peer.store(path), timeouts=limits, retries=0)
        assert time.monotonic() - begin < 5
        is_over.set()
    assert result.status is None
    assert "within 0.6 s" in result.comment


# -- success is what we know


@faces
def test_the_peers_counts_were_taken_for_what_arrived(face: str, tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        talk.store(1)
        talk.respond(0x0000, Completed=3, Failed=0, Warning=0)

    with scripted(script) as (port, _):
        last = take(face, port, operation("get", tmp_path))[-1]
    assert (last.received, last.completed, last.missing, last.is_complete) == (1, 3, 2, False)
    with scripted(script) as (port, _):
        result = run_command("get", f"P@127.0.0.1:{port}", "-k", "StudyInstanceUID=1.2", "--to", tmp_path)
    assert result.returncode == 1
    assert result.stdout == "retrieved 1; the peer counts: completed 3, with warnings 0, failed 0\n"
    assert "2 of 3 objects that the peer says it has sent did not arrive" in result.stderr


@faces
@pytest.mark.parametrize("service", ["get", "move"])
def test_an_absent_count_was_zero(face: str, service: str, tmp_path: Path) -> None:
    with scripted(lambda talk: talk.respond(0x0000)) as (port, _):
        last: RetrieveProgress = take(face, port, operation(service, tmp_path))[-1]
    assert (last.remaining, last.completed, last.failed, last.warnings) == (None, None, None, None)
    assert last.received == (0 if service == "get" else None)
    with scripted(lambda talk: talk.respond(0x0000)) as (port, _):
        words = ("get", f"P@127.0.0.1:{port}") if service == "get" else ("move", f"P@127.0.0.1:{port}", "X")
        result = run_command(*words, "-k", "StudyInstanceUID=1.2", "--json", cwd=tmp_path)
    assert json.loads(result.stdout)["completed"] is None
    assert "the peer gives no counts" in result.stderr
    assert result.returncode == 0


@pytest.mark.parametrize("command", ["get", "move"])
@pytest.mark.parametrize(
    ("status", "counts"),
    [
        (0xB000, {"Completed": 1, "Failed": 1, "Warning": 0}),
        (0xB000, {"Completed": 0, "Failed": 0, "Warning": 1}),
        (0xB000, {}),
        (0x0000, {"Completed": 1, "Failed": 1}),
    ],
)
def test_an_exit_status_of_0_although_something_failed(
    command: str, status: int, counts: dict[str, int], tmp_path: Path
) -> None:
    def script(talk: Talk) -> None:
        if command == "get":
            talk.store(1)
        talk.respond(status, None, **counts)

    with scripted(script) as (port, _):
        words = [f"P@127.0.0.1:{port}", *(["X"] if command == "move" else [])]
        result = run_command(command, *words, "-k", "StudyInstanceUID=1.2", cwd=tmp_path)
    assert result.returncode == 1


def break_folder(folder: Path) -> str:
    """What goes wrong when an object is given its name."""
    (folder / "1.2.3.1.dcm" / "in the way").mkdir(parents=True)
    return "directory"


def refusing(received: Any) -> None:
    raise RuntimeError("no room on the shelf")


@faces
@pytest.mark.parametrize("kind", ["renaming", "creating", "a handler"])
def test_our_own_failure_was_forgotten(face: str, kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    words = "no room on the shelf" if kind == "a handler" else ""
    if kind == "renaming":
        words = break_folder(folder)
    given: dict[str, Any] = {"on_object": refusing} if kind == "a handler" else {"to": folder}

    def script(talk: Talk) -> None:
        if kind == "creating":
            folder.rmdir()
        status = talk.store(1)
        assert status != 0
        talk.respond(0xA702, Completed=0, Failed=1)

    if kind == "creating":
        words = "No such file"
    found: list[RetrieveProgress] = []

    def use(peer: Any) -> Any:
        return peer.get("study", StudyInstanceUID="1.2", **given)

    with scripted(script) as (port, _), pytest.raises(ServiceRefusal) as caught:
        take(face, port, use, found=found)
    (failure,) = found[-1].local_failures
    assert failure.sop_instance_uid == "1.2.3.1"
    assert words in str(failure)
    assert caught.value.__cause__ is failure.error
    if kind != "a handler":
        assert failure.path == str(folder / "1.2.3.1.dcm")
        assert isinstance(failure.error, OSError)


@faces
def test_a_failure_of_ours_was_lost_with_the_association(face: str) -> None:
    def script(talk: Talk) -> None:
        talk.store(1)
        talk.peer.reset()

    found: list[RetrieveProgress] = []

    def use(peer: Any) -> Any:
        return peer.get("study", StudyInstanceUID="1.2", on_object=refusing)

    with scripted(script) as (port, _), pytest.raises(AssociationAborted):
        take(face, port, use, found=found)
    assert "no room on the shelf" in str(found[-1].local_failures[0])


LIMITED = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
    " from dicomnet.cli.main import main; sys.exit(main())"
)


def run_limited(*words: Any) -> subprocess.CompletedProcess[str]:
    """Run the command where no file can be longer than 100,000 bytes."""
    line = [sys.executable, "-c", LIMITED, *map(os.fspath, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("is_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("status", [0xA702, 0x0000], ids=["the peer noticed", "the peer says success"])
def test_get_blamed_the_peer_for_a_full_disk(is_json: bool, status: int, tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        large = image(1)
        large.add_new(0x7FE00010, "OW", bytes(200_000))
        talk.store(1, encoded(large))
        talk.respond(status)

    with scripted(script) as (port, _):
        options = ("-k", "StudyInstanceUID=1.2", "--to", tmp_path, *(["--json"] if is_json else []))
        result = run_limited("get", f"P@127.0.0.1:{port}", *options)
    path = str(tmp_path / "1.2.3.1.dcm")
    assert result.returncode == 1
    if is_json:
        (failure,) = json.loads(result.stdout.splitlines()[-1])["local_failures"]
        assert failure == {"sop_instance_uid": "1.2.3.1", "path": path, "cause": "File too large"}
    else:
        assert f"failed here: {path}: File too large\n" in result.stderr
        ending = f", and ends with status 0x{status:04X}" if status else ""
        assert result.stdout == f"retrieved 0, failed here 1; the peer gives no counts{ending}\n"


@pytest.mark.parametrize("is_json", [False, True], ids=["text", "json"])
def test_move_said_nothing_of_a_full_disk(is_json: bool, tmp_path: Path) -> None:
    here = free_port()

    def script(talk: Talk) -> None:
        with RawPeer.connect(here) as peer:
            peer.send(request_pdu((1, CT_IMAGE_STORAGE), called="HERE"))
            peer.read_pdu()
            peer.send(store_pdus(object_of(1, 200_000), instance="1.2.3.1"))
            assert status_of(peer.read_pdu()) == 0xA700
        talk.respond(0x0000, Completed=1)

    with scripted(script) as (port, _):
        where = ("--receive", tmp_path / "in", "--receive-port", str(here))
        options = ("-k", "StudyInstanceUID=1.2", *(["--json"] if is_json else []))
        result = run_limited("move", f"P@127.0.0.1:{port}", "HERE", *where, *options)
    assert result.returncode == 1
    if is_json:
        (failure,) = json.loads(result.stdout.splitlines()[-1])["local_failures"]
        assert (failure["sop_instance_uid"], failure["cause"]) == ("1.2.3.1", "File too large")
        assert failure["path"].startswith(os.fspath(tmp_path / "in" / "staging"))
    else:
        place = re.escape(os.fspath(tmp_path / "in" / "staging"))
        assert re.search(rf"^failed here: 1\.2\.3\.1: {place}/\S+: File too large$", result.stderr, re.M)
        assert "0 arrived in" in result.stdout


# -- damaged data sets


WHOLE = encoded(image(1))
DAMAGED = {"empty": b"", "a value cut off": WHOLE[:-4], "a header cut off": WHOLE + b"\x10\x00\x20\x00"}


@faces
@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("is_for_files", [True, False], ids=["files", "a handler"])
def test_get_kept_a_damaged_data_set_without_a_word(
    face: str, damage: str, is_for_files: bool, tmp_path: Path
) -> None:
    got: list[Any] = []
    statuses: list[int] = []

    def script(talk: Talk) -> None:
        statuses.append(talk.store(1, DAMAGED[damage]))
        statuses.append(talk.store(2))
        talk.respond(0xB000, Completed=1, Failed=1)

    given: dict[str, Any] = {"to": tmp_path} if is_for_files else {"on_object": got.append}
    with scripted(script) as (port, _):
        last = take(face, port, lambda peer: peer.get("study", StudyInstanceUID="1.2", **given))[-1]
    assert statuses == [0xA900 if damage == "empty" else 0xC000, 0]
    assert (last.received, last.is_complete) == (1, False)
    (failure,) = last.local_failures
    assert failure.cause
    if is_for_files:
        assert [path.name for path in tmp_path.iterdir()] == ["1.2.3.2.dcm"]
    else:
        assert [each.sop_instance_uid for each in got] == ["1.2.3.2"]


def failed_list() -> bytes:
    dataset = Dataset()
    dataset.FailedSOPInstanceUIDList = ["1.2.3.1", "1.2.3.2"]
    return encoded(dataset)


@faces
@services
@pytest.mark.parametrize("cut", [1, 3, 6])
def test_a_cut_off_identifier_was_an_empty_one(face: str, service: str, cut: int, tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        if service == "find":
            talk.respond(PENDING, WHOLE[:-cut])
        talk.respond(0xB000 if service != "find" else 0, failed_list()[:-cut] if service != "find" else None)

    with scripted(script) as (port, _), pytest.raises(ProtocolError, match=f"C-{service.upper()} response"):
        take(face, port, operation(service, tmp_path))
    with scripted(script) as (port, _):
        words = [f"P@127.0.0.1:{port}", *(["X"] if service == "move" else [])]
        result = run_command(service, *words, "-k", "StudyInstanceUID=1.2", cwd=tmp_path)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert f"dicomnet {service}: the identifier of a C-{service.upper()} response cannot be read: " in last


def test_our_own_abort_was_told_as_the_peers_doing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that reads an object saw the end of the connection before the phase was known."""
    caplog.set_level("INFO", "dicomnet")
    shutdown = Channel.shutdown

    def and_let_the_other_thread_go_on(channel: Channel) -> None:
        shutdown(channel)
        wait_until(lambda: "aborted by us" in caplog.text or "association lost" in caplog.text, PATIENCE)

    monkeypatch.setattr(Channel, "shutdown", and_let_the_other_thread_go_on)
    ae = AE()
    ae.add_supported_context(CT_IMAGE_STORAGE)
    ae.maximum_pdu_size = 0
    begun = threading.Event()

    def on_data(event: evt.Event) -> None:
        if event.data[:1] == b"\x04":
            begun.set()

    handlers: list[Any] = [(evt.EVT_DATA_RECV, on_data)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    with RawPeer.connect(server.server_address[1]) as peer:
        peer.send(request_pdu((1, CT_IMAGE_STORAGE)))
        peer.read_pdu()
        peer.send(store_pdus(object_of(1, 200_000), instance="1.2.3.1")[:100_000])
        assert begun.wait(PATIENCE)
        server.shutdown()
    assert "association aborted by us" in caplog.text
    assert "the peer closed" not in caplog.text
