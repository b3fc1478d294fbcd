"""The tools that are named as pynetdicom's: one bad file, object or key reached too far, or passed without a word."""

from __future__ import annotations

import os
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import evt
from tests.apps.tools import CT, OURS, command, foreign_scp, run, running_scp
from tests.faults.test_endings import Talk, object_of, scripted
from tests.sockets import (
    ABORT_BY_USER,
    CT_IMAGE_STORAGE,
    MR_IMAGE_STORAGE,
    RELEASE_RQ,
    RawPeer,
    acceptance_of,
    message_pdus,
    raw_server,
    request_pdu,
    status_of,
    store_pdus,
)
from tests.support import run_tool

from dicomnet.dimse.codec import decode_command
from dicomnet.dimse.messages import C_STORE_RSP, Message
from dicomnet.encoding.file_header import encode_file_header


def three_files(folder: Path) -> Path:
    """A folder whose files are sent in the order of their numbers."""
    folder.mkdir()
    for number in (1, 2, 3):
        header = encode_file_header(CT_IMAGE_STORAGE, f"1.2.3.{number}", "1.2.840.10008.1.2")
        (folder / f"{number}.dcm").write_bytes(header + object_of(number))
    return folder


def losing(lost: str, stored: list[str]) -> Any:
    """A storage SCP that ends its association, without an answer, over one object."""

    def serve(peer: RawPeer) -> None:
        peer.send(acceptance_of(peer.read_pdu()))
        while (pdu := peer.read_pdu()) and pdu[0] == 4:
            command = decode_command(pdu[12 : 10 + int.from_bytes(pdu[6:10], "big")])[1]
            while pdu[11] != 2:
                pdu = peer.read_pdu()
            instance = command["AffectedSOPInstanceUID"]
            if instance == lost:
                peer.send(bytes.fromhex("07000000000400000200"))
                return
            stored.append(instance)
            peer.send(stored_response(command, pdu[10]))
        peer.send(bytes.fromhex("06000000000400000000"))

    return serve


def stored_response(command: dict[str, Any], context_id: int) -> bytes:
    elements = {
        "AffectedSOPClassUID": command["AffectedSOPClassUID"],
        "MessageIDBeingRespondedTo": command["MessageID"],
        "AffectedSOPInstanceUID": command["AffectedSOPInstanceUID"],
        "Status": 0,
    }
    return message_pdus(Message(C_STORE_RSP, elements, context_id))


@pytest.mark.parametrize("lost", ["1.2.3.1", "1.2.3.2", "1.2.3.3"])
def test_an_object_that_cost_its_association_cost_all_behind_it(lost: str, tmp_path: Path) -> None:
    stored: list[str] = []
    with raw_server(losing(lost, stored)) as port:
        done = run("storescu", "127.0.0.1", str(port), "-cx", three_files(tmp_path / "study"))
    assert done.returncode == 1
    assert stored == [each for each in ("1.2.3.1", "1.2.3.2", "1.2.3.3") if each != lost]
    assert f"E: {tmp_path / 'study' / lost[-1]}.dcm was not stored\n" in done.stderr
    assert done.stderr.count(" was not ") == 1


def test_files_that_are_left_over_are_named(tmp_path: Path) -> None:
    """The peer is gone after the first one."""
    gone = threading.Event()

    def serve(peer: RawPeer) -> None:
        if gone.is_set():
            return
        gone.set()
        losing("1.2.3.1", [])(peer)

    with raw_server(serve) as port:
        done = run("storescu", "127.0.0.1", str(port), "-cx", three_files(tmp_path / "study"))
    assert done.returncode == 1
    assert f"E: {tmp_path / 'study' / '1.dcm'} was not stored\n" in done.stderr
    for name in ("2.dcm", "3.dcm"):
        assert f"E: {tmp_path / 'study' / name} was not sent\n" in done.stderr


def make_dangling(folder: Path) -> Path:
    (folder / "bad").symlink_to(folder / "nowhere")
    return folder / "bad"


def make_long_uid(folder: Path) -> Path:
    header = encode_file_header(CT_IMAGE_STORAGE, "1.2.3.4", "1.2.840.10008.1.2")
    short = b"\x08\x00\x00\x001.2.3.4\0"
    assert short in object_of(4)
    (folder / "bad").write_bytes(header + object_of(4).replace(short, b"\x48\x00\x00\x001." + b"2" * 70))
    return folder / "bad"


def make_without_syntax(folder: Path) -> Path:
    (folder / "bad").write_bytes(bytes(128) + b"DICM")
    return folder / "bad"


@pytest.mark.parametrize("make", [make_dangling, make_long_uid, make_without_syntax])
def test_what_could_not_be_sent_of_a_folder_was_no_failure(make: Any, tmp_path: Path) -> None:
    shutil.copy(CT, tmp_path / "ct.dcm")
    bad = make(tmp_path)
    with foreign_scp([(evt.EVT_C_STORE, lambda event: 0)]) as port:
        done = run("storescu", "127.0.0.1", str(port), "-v", tmp_path)
    assert done.returncode == 1
    assert f"E: {bad} is not sent: " in done.stderr
    assert "I: C-STORE: 0x0000 (Success)\n" in done.stderr


def test_a_folder_that_cannot_be_read_cost_all_others(tmp_path: Path) -> None:
    shutil.copy(CT, tmp_path / "ct.dcm")
    closed = tmp_path / "closed"
    closed.mkdir()
    # To root, too.
    refusing = ["strace", "-f", "-o", os.devnull, "-P", str(closed), "-e", "inject=openat:error=EACCES"]
    with foreign_scp([(evt.EVT_C_STORE, lambda event: 0)]) as port:
        done = run_tool([*refusing, *command(OURS, "storescu", "127.0.0.1", str(port), "-v", "-r", tmp_path)])
    assert done.returncode == 1
    assert f"E: {closed} is not sent: " in done.stderr
    assert "I: C-STORE: 0x0000 (Success)\n" in done.stderr


WHOLE = object_of(1)
DAMAGED = {
    "empty": (b"", 0xA900),
    "a value cut off": (WHOLE[:-4], 0xC000),
    "a header cut off": (WHOLE + b"\x10\x00\x20\x00", 0xC000),
    "garbage": (b"\xff" * 101, 0xC000),
    "another object": (object_of(9), 0xA900),
    "another SOP class": (WHOLE.replace(CT_IMAGE_STORAGE.encode(), MR_IMAGE_STORAGE.encode()), 0xA900),
    "without a SOP Instance UID": (WHOLE[: WHOLE.index(b"\x08\x00\x18\x00")], 0xA900),
}


@pytest.mark.parametrize("option", [(), ("--ignore",)], ids=["files", "ignored"])
def test_storescp_acknowledged_a_damaged_data_set(option: tuple[str, ...], tmp_path: Path) -> None:
    with running_scp(tmp_path, "storescp", "-od", "received", *option) as port, RawPeer.connect(port) as peer:
        peer.send(request_pdu((1, CT_IMAGE_STORAGE)))
        peer.read_pdu()
        for data, status in DAMAGED.values():
            peer.send(store_pdus(data, instance="1.2.3.1"))
            assert status_of(peer.read_pdu()) == status
        peer.send(store_pdus(WHOLE + bytes(8), instance="1.2.3.1"))
        assert status_of(peer.read_pdu()) == 0
        peer.send(RELEASE_RQ)
        peer.read_pdu()
    assert [path.name for path in tmp_path.glob("received/*")] == ([] if option else ["CT.1.2.3.1"])
    said = (tmp_path / "output.txt").read_text()
    assert said.count("E: refused an object: '1.2.3.1': ") == len(DAMAGED)


def test_qrscp_refused_objects_and_peers_without_a_word(tmp_path: Path) -> None:
    """Nothing was logged without an option, not even that the disk is full."""
    with running_scp(tmp_path, "qrscp") as port:
        with RawPeer.connect(port) as peer:
            peer.send(request_pdu((1, CT_IMAGE_STORAGE)))
            peer.read_pdu()
            peer.send(store_pdus(DAMAGED["another object"][0], instance="1.2.3.1"))
            assert status_of(peer.read_pdu()) == 0xA900
            peer.send(ABORT_BY_USER)
            assert peer.read_pdu() == b""
    said = (tmp_path / "output.txt").read_text()
    assert re.findall(
        "^W: .*C-STORE 1, CTImageStorage, instance 1.2.3.1 answered: 0xA900", said, re.MULTILINE
    )
    assert re.findall("^W: .*association aborted by the peer", said, re.MULTILINE)


@pytest.mark.parametrize("damage", [name for name in DAMAGED if name != "empty"])
def test_getscu_kept_a_damaged_data_set_without_a_word(damage: str, tmp_path: Path) -> None:
    data, status = DAMAGED[damage]
    statuses = []

    def script(talk: Talk) -> None:
        statuses.append(talk.store(1, data))
        statuses.append(talk.store(2, object_of(2)))
        talk.respond(0x0000, Completed=2, Failed=0, Warning=0)

    options = ("-S", "-k", "StudyInstanceUID=1.2", "-od", "received")
    with scripted(script) as (port, _):
        done = run("getscu", "127.0.0.1", str(port), *options, cwd=tmp_path)
    assert statuses == [status, 0]
    assert done.returncode == 1
    assert "E: refused an object: '1.2.3.1': " in done.stderr
    assert [path.name for path in tmp_path.glob("received/*")] == ["CT.1.2.3.2"]


@pytest.mark.parametrize("tool", ["findscu", "getscu", "movescu"])
@pytest.mark.parametrize(
    ("charset", "name"), [("ISO_IR 100", "山田*"), ("ISO_IR 6", "Müller"), ("\\ISO 2022 IR 87", "한글")]
)
def test_a_key_that_its_character_set_lacks_was_a_traceback(tool: str, charset: str, name: str) -> None:
    """It is known before there is an association."""
    keys = ("-S", "-k", f"SpecificCharacterSet={charset}", "-k", f"PatientName={name}")
    done = run(tool, "127.0.0.1", "1", *keys)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"{tool}: the keys cannot be encoded: element (0010,0010) ")
