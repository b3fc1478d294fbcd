"""Commands that are ended by SIGTERM or Ctrl-C amid an object: the peer is told, and nothing half is left."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.cli.conftest import CT
from tests.faults.test_endings import Talk, object_of, scripted
from tests.fetching.corpus import Study, make_object
from tests.sockets import CT_IMAGE_STORAGE, PATIENCE, RawPeer, request_pdu, status_of, store_pdus
from tests.support import dicomnet, free_port, wait_until

from dicomnet import AE, evt
from dicomnet.pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

signals = pytest.mark.parametrize(
    ("number", "word", "status"),
    [(signal.SIGTERM, "terminated", 143), (signal.SIGINT, "interrupted", 130)],
    ids=["SIGTERM", "Ctrl-C"],
)
KEYS = ("-k", "StudyInstanceUID=1.2")


def half_an_object(peer: RawPeer, number: int, context_id: int = 1) -> None:
    """The begin of a C-STORE, with several PDUs of its data set."""
    pdus = store_pdus(object_of(number, 200_000), context_id=context_id, instance=f"1.2.3.{number}")
    peer.send(pdus[:100_000])


def one_and_a_half(talk: Talk, data: bytes | None = None) -> None:
    """An object of a C-GET, and the begin of another."""
    assert talk.store(1, data) == 0
    half_an_object(talk.peer, 2, talk.contexts[CT_IMAGE_STORAGE])


@contextmanager
def ended(line: list[str], number: int, begun: Callable[[], bool]) -> Iterator[subprocess.Popen[str]]:
    """A command that gets a signal when something has begun, and what it said when it is over."""
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(begun, PATIENCE)
            process.send_signal(number)
            yield process
        finally:
            process.kill()


def parts(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.suffix == ".part"]


def is_amid(folder: Path) -> Callable[[], bool]:
    return lambda: any(each.stat().st_size > 50_000 for each in parts(folder))


@signals
def test_get_left_a_part_of_a_file_and_sent_no_abort(
    number: int, word: str, status: int, tmp_path: Path
) -> None:
    with scripted(one_and_a_half) as (port, pdus):
        line = dicomnet("get", f"P@127.0.0.1:{port}", *KEYS, "--to", tmp_path)
        with ended(line, number, is_amid(tmp_path)) as process:
            said, complained = process.communicate(timeout=PATIENCE)
    assert (said, complained) == ("retrieved 1\n", f"dicomnet get: {word}\n")
    assert process.returncode == status
    assert pdus == ["abort"]
    assert os.listdir(tmp_path) == ["1.2.3.1.dcm"]


@signals
def test_getscu_left_the_association_open(number: int, word: str, status: int, tmp_path: Path) -> None:
    begun = threading.Event()

    def script(talk: Talk) -> None:
        one_and_a_half(talk, object_of(1))
        begun.set()

    with scripted(script) as (port, pdus):
        line = [
            *dicomnet("getscu", "127.0.0.1", str(port), "-S", *KEYS),
            "--max-pdu",
            "32768",
            "-od",
            str(tmp_path),
        ]
        with ended(line, number, begun.is_set) as process:
            _, complained = process.communicate(timeout=PATIENCE)
    assert complained.endswith(f"getscu: {word}\n")
    assert process.returncode == status
    assert pdus == ["abort"]
    assert os.listdir(tmp_path) == ["CT.1.2.3.1"]


@signals
def test_move_left_what_was_staged(number: int, word: str, status: int, tmp_path: Path) -> None:
    here, folder = free_port(), tmp_path / "in"
    aborted = []

    def script(talk: Talk) -> None:
        with RawPeer.connect(here) as peer:
            peer.send(request_pdu((1, CT_IMAGE_STORAGE), called="HERE"))
            peer.read_pdu()
            peer.send(store_pdus(object_of(1), instance="1.2.3.1"))
            assert status_of(peer.read_pdu()) == 0
            half_an_object(peer, 2)
            aborted.append(peer.read_pdu()[:1])

    def is_staged() -> bool:
        files = (folder / "staging").rglob("*")
        return any(each.is_file() and each.stat().st_size > 50_000 for each in files)

    with scripted(script) as (port, pdus):
        options = ("--receive", folder, "--receive-port", str(here))
        line = dicomnet("move", f"P@127.0.0.1:{port}", "HERE", *KEYS, *options)
        with ended(line, number, is_staged) as process:
            said, complained = process.communicate(timeout=PATIENCE)
    assert said == f"1 arrived in {folder}\n"
    assert complained == f"dicomnet move: {word}\n"
    assert process.returncode == status
    assert pdus == ["abort"]
    assert aborted == [b"\x07"]
    assert not [each for each in (folder / "staging").rglob("*") if each.is_file()]


@signals
def test_fetch_left_what_had_come_without_its_name(
    number: int, word: str, status: int, tmp_path: Path
) -> None:
    study = Study(1, "P1", "A1")
    objects = [make_object(study, uid) for uid in sorted(study.objects(2))]
    begun, aborted, go = threading.Event(), threading.Event(), threading.Event()

    def find(event: evt.Event) -> Iterator[Any]:
        level = event.identifier.QueryRetrieveLevel
        keyword = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}[
            level
        ]
        found = {each[keyword].value: each for each in objects}
        for each in found.values():
            match = Dataset()
            match.update({name: each[name] for name in event.identifier.keys() & each.keys()})
            match.QueryRetrieveLevel = level
            yield 0xFF00, match

    def get(event: evt.Event) -> Iterator[Any]:
        yield 2
        yield 0xFF00, objects[0]
        begun.set()
        go.wait(PATIENCE)
        yield 0xFF00, objects[1]

    ae = AE("PEER")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
    ae.add_supported_context(CT_IMAGE_STORAGE, scu_role=True, scp_role=True)
    handlers: list[Any] = [(evt.EVT_C_FIND, find), (evt.EVT_C_GET, get)]
    handlers.append((evt.EVT_ABORTED, lambda event: aborted.set()))
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        peer = f"PEER@127.0.0.1:{server.server_address[1]}"
        line = dicomnet("fetch", peer, "-k", "AccessionNumber=A1", "--to", tmp_path)
        with ended(line, number, begun.is_set) as process:
            said, complained = process.communicate(timeout=PATIENCE)
        go.set()
        wait_until(aborted.is_set, PATIENCE)
    finally:
        go.set()
        ae.shutdown()
    assert '"event": "end"' in said
    assert complained.endswith(f"dicomnet fetch: {word}\n")
    assert process.returncode == status
    assert "not asked" in (tmp_path / "report.csv").read_text()
    assert not parts(tmp_path)


@signals
def test_store_told_nobody(number: int, word: str, status: int, tmp_path: Path) -> None:
    """The peer takes one object, and does not answer for the second."""
    begun = threading.Event()

    def script(talk: Talk) -> None:
        talk.respond(0x0000)
        pdu = talk.peer.read_pdu()
        assert pdu[0] == 4
        while not (pdu[11] & 2 and not pdu[11] & 1):
            pdu = talk.peer.read_pdu()
        begun.set()

    second = tmp_path / "second.dcm"
    second.write_bytes(CT.read_bytes())
    with scripted(script) as (port, pdus):
        line = dicomnet("store", f"P@127.0.0.1:{port}", CT, second)
        with ended(line, number, begun.is_set) as process:
            said, complained = process.communicate(timeout=PATIENCE)
    assert said.startswith("sent 1 ")
    assert complained == f"dicomnet store: {word}\n"
    assert process.returncode == status
    assert pdus == ["abort"]


def test_a_signal_that_is_to_be_ignored_is_ignored(tmp_path: Path) -> None:
    """As under a supervisor that has it so."""
    begun, go = threading.Event(), threading.Event()

    def script(talk: Talk) -> None:
        begun.set()
        assert go.wait(PATIENCE)
        talk.respond(0x0000, None, Completed=0, Failed=0, Warning=0)

    with scripted(script) as (port, _):
        line = dicomnet("get", f"P@127.0.0.1:{port}", *KEYS, "--to", tmp_path)
        ignoring = ["sh", "-c", 'trap "" TERM; exec "$@"', "sh", *line]
        with ended(ignoring, signal.SIGTERM, begun.is_set) as process:
            go.set()
            process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
