"""The log of a node: each line says what it is about, and none, below debug, has anything of a patient.

Objects and queries with marks where patients' data are come in all ways that a node takes, refuses and gives out; then
all that it wrote is searched for the marks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from tests.faults.objects import file_of, study_uid, uid
from tests.sockets import (
    ABORT_BY_USER,
    CT_IMAGE_STORAGE,
    PATIENT_ROOT_FIND,
    RawPeer,
    find_pdus,
    request_pdu,
    status_of,
    store_pdus,
)
from tests.support import free_port, serving

from dicomnet import AE, Peer, evt
from dicomnet.errors import DicomnetError
from dicomnet.pynetdicom.sop_class import CTImageStorage

SECRETS = {
    "PatientName": "Unspeakable^Mark",
    "PatientID": "PID-4711",
    "PatientComments": "Ineffable",
    "StudyDescription": "Taboo",
}
MARKS = ("Unspeakable", "4711", "Ineffable", "NotADate", "Taboo")
UIDS = re.compile(r"1\.2\.276\.0\.99\.\d+\.\d+")


def secret_file(folder: Path, instance: int, **more: Any) -> Path:
    """An object of a patient, with a date that is none, of which pydicom would warn and show it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{len(list(folder.iterdir()))}.dcm"
    attributes: dict[str, Any] = {**SECRETS, "PatientBirthDate": "19330303", **more}
    content = file_of(1, instance, **attributes)
    path.write_bytes(content.replace(b"19330303", b"NotADate"))
    return path


def in_implicit_vr(data_set: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = True, True
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def secret_keys() -> bytes:
    """The keys of a query for a patient."""
    keys = Dataset()
    keys.QueryRetrieveLevel = "PATIENT"
    for keyword, value in SECRETS.items():
        setattr(keys, keyword, value)
    return in_implicit_vr(keys)


def wrong_identifiers() -> Iterator[bytes]:
    """Identifiers that are wrong, each in its own way."""
    yield secret_keys().replace(b"PATIENT ", b"Taboo   ")
    yield secret_keys()[:-3]
    for tag, value in (
        (0x00080005, b"Taboo\\4711"),
        (0x00080020, b"NotADate"),
        (0x00080030, b"NotADate-"),
        (0x00101010, b"Ineffable, Taboo"),
        (0x00100010, b"\xff\xfeUnspeakable=Taboo=\x1b$Ineffable=4711"),
        (0x0020000D, b"Taboo.4711"),
        (0x00200011, b"4711-4711x"),
    ):
        padded = value + b" " * (len(value) % 2)
        group, element = tag >> 16, tag & 0xFFFF
        head = group.to_bytes(2, "little") + element.to_bytes(2, "little") + len(padded).to_bytes(4, "little")
        before, level, after = secret_keys().partition(b"PATIENT ")
        yield (
            before + level + head + padded + after
            if group >= 0x10
            else head + padded + before + level + after
        )


@contextmanager
def destination(status: int) -> Iterator[int]:
    """A receiver that answers with a status; gives its port."""
    ae = AE("THERE")
    ae.add_supported_context(CTImageStorage)
    handlers: list[Any] = [(evt.EVT_C_STORE, lambda event: status)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def store_all(port: int, folder: Path) -> None:
    """Send objects that are stored, put in quarantine, and refused, each for a reason of its own."""
    first, large = secret_file(folder, 1), secret_file(folder, 2, length=100_000)
    other, irregular = secret_file(folder, 1, PatientComments="Ineffable, too"), secret_file(folder, 3)
    irregular.write_bytes(irregular.read_bytes() + bytes(10))
    with Peer(f"127.0.0.1:{port}", calling="SENDER") as sender:
        results = list(sender.store([first, large, first, other, irregular]))
        assert sorted(each.status or 0 for each in results) == [0, 0, 0, 0, 0xB000]
    with RawPeer.connect(port) as peer:
        peer.send(request_pdu((1, CT_IMAGE_STORAGE), calling="MODALITY"))
        peer.read_pdu()
        data = in_implicit_vr(dcmread(first))
        for number, (content, instance, status) in enumerate(
            (
                (data[:-5], uid(1, 1), 0xC000),
                (data, uid(1, 5), 0xA900),
                (b"", uid(1, 6), 0xA900),
                (data, "1.2.x", 0x0117),
            ),
            1,
        ):
            peer.send(store_pdus(content, message_id=number, instance=instance))
            assert status_of(peer.read_pdu()) == status
        # It ends in the middle of an object.
        peer.send(store_pdus(data * 100, message_id=9, instance=uid(1, 7))[:-1000])


def query_all(port: int) -> None:
    """Ask what cannot be answered, and end it all by an abort."""
    with RawPeer.connect(port) as peer:
        peer.send(request_pdu((1, PATIENT_ROOT_FIND), calling="ASKER"))
        peer.read_pdu()
        for number, identifier in enumerate((secret_keys(), *wrong_identifiers()), 1):
            peer.send(find_pdus(identifier, message_id=number))
            while status_of(answer := peer.read_pdu()) in (0xFF00, 0xFF01):
                # Its data set.
                assert peer.read_pdu()
            assert answer
        peer.send(ABORT_BY_USER)
        peer.read_to_end()


def retrieve_all(address: str) -> None:
    """Retrieve to destinations that take objects, refuse them, are not there, and are not known."""
    study = study_uid(1)
    with Peer(address, calling="VIEWER") as viewer:
        assert [each.PatientID for each in viewer.find("patient", **SECRETS)] == ["PID-4711"]
        assert list(viewer.get("study", StudyInstanceUID=study, on_object=str))[-1].completed == 3
        outcomes = {title: moved(viewer, title, study) for title in ("GOOD", "BAD", "GONE", "UNKNOWN")}
    assert outcomes["GOOD"] == 3
    assert all(not outcomes[each] for each in ("BAD", "GONE", "UNKNOWN"))


def moved(viewer: Peer, title: str, study: str) -> int:
    """How many objects were moved."""
    done = 0
    with suppress(DicomnetError):
        for progress in viewer.move(title, "study", StudyInstanceUID=study):
            done = progress.completed or 0
    return done


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_each_line_says_what_it_is_about_and_nothing_of_a_patient(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    with ExitStack() as stack:
        ports = {
            "GOOD": stack.enter_context(destination(0x0000)),
            "BAD": stack.enter_context(destination(0xA700)),
            "GONE": free_port(),
        }
        there = [f"--destination={title}@127.0.0.1:{port}" for title, port in ports.items()]
        node = stack.enter_context(serving(tmp_path / "node", "-v", "--log-format", "json", *there, *options))
        store_all(node.port, tmp_path / "files")
        query_all(node.port)
        retrieve_all(node.address)
        with RawPeer.connect(node.port) as peer:
            request = bytearray(request_pdu())
            request[26:42] = bytes(16)
            peer.send(bytes(request))
            assert peer.read_pdu()[:1] == b"\3"
        node.end()
    said = (tmp_path / "node" / "output.txt").read_text()
    assert not [mark for mark in MARKS if mark in said], said
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    others = [line for line in said.splitlines() if not line.startswith(("{", "listening on"))]
    # With -v the command says what becomes of each object.
    assert all(
        re.fullmatch(r"(stored|refused with status 0x\w+|kept in quarantine): [\d.x]+", each)
        for each in others
    )
    for line in lines:
        for instance in UIDS.findall(line["message"]):
            assert line["object"] == instance, line
        if line["logger"].startswith(("dicomnet.drivers", "dicomnet.archive.services")):
            assert line["peer"] == "127.0.0.1", line
            assert re.fullmatch(r"(\w+@)?127\.0\.0\.1:\d+", line["association"]), line
    said_of = {
        kind: [line for line in lines if kind in line["message"]]
        for kind in ("answered: 0x0000", "was not sent", "is kept as it was", "in quarantine as", "rejected")
    }
    assert all(said_of.values()), said_of
    for kind, sender in (
        ("is kept as it was", "SENDER"),
        ("in quarantine as", "SENDER"),
        ("was not sent", "VIEWER"),
    ):
        for line in said_of[kind]:
            assert line["association"].startswith(f"{sender}@127.0.0.1:")
            assert line["object"].startswith("1.2.276.0.99.")
