"""UIDs with more around them than PS3.5 section 9.1 allows: what is stored can be had again, and be sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.associations import serving_ae
from tests.sockets import CT_IMAGE_STORAGE, IMPLICIT_VR_LE

from dicomnet import evt
from dicomnet.encoding.file_header import encode_file_header

from .test_bad_values import Answered, element, node, raw, store_rq
from .test_endings import faces, take

STUDY = b"1.2.826.0.1.99.5"
# What stands around the UIDs of an object in its data set.
PADDED = {
    "a blank in front": (b" ", b""),
    "blanks in front": (b"   ", b"\0"),
    "blanks around": (b"  ", b"  "),
    "blanks behind": (b"", b"     "),
    "NULs behind": (b"", b"\0\0\0\0"),
}


def instance(number: int) -> str:
    return f"1.2.826.0.1.99.5.1.{number}"


def padded(before: bytes, behind: bytes, number: int) -> bytes:
    """A data set in Implicit VR Little Endian."""

    def uid(text: bytes) -> bytes:
        return before + text + behind

    return b"".join(
        (
            element(0x00080016, uid(CT_IMAGE_STORAGE.encode())),
            element(0x00080018, uid(instance(number).encode())),
            element(0x00100020, b"P1"),
            element(0x0020000D, uid(STUDY)),
            element(0x0020000E, uid(STUDY + b".1")),
        )
    )


@faces
@pytest.mark.parametrize("form", PADDED)
def test_an_object_was_stored_and_could_never_be_retrieved(form: str, face: str, tmp_path: Path) -> None:
    """Of one with blanks in front of its UID, the file was taken for that of another object."""
    # The second and third are like the first, whose layout is known by then.
    sent = {instance(number): padded(*PADDED[form], number) for number in (1, 2, 3)}
    with node(tmp_path) as port:
        with raw(port, CT_IMAGE_STORAGE) as peer:
            for uid, data in sent.items():
                peer.send(store_rq(data=data, AffectedInstance=uid.encode()))
                assert Answered.of(peer.read_pdu()).status == 0x0000
        got = tmp_path / "got"
        last = take(face, port, lambda peer: peer.get("study", to=got, StudyInstanceUID=STUDY.decode()))[-1]
    assert (last.status, last.completed, last.failed, last.received) == (0x0000, 3, 0, 3)
    assert {path.stem for path in got.iterdir()} == set(sent)


@faces
@pytest.mark.parametrize("form", PADDED)
def test_a_file_was_sent_under_a_uid_with_blanks_in_front(form: str, face: str, tmp_path: Path) -> None:
    before, behind = PADDED[form]
    paths = [tmp_path / f"{number}.dcm" for number in (1, 2, 3)]
    for number, path in enumerate(paths, 1):
        header = encode_file_header(CT_IMAGE_STORAGE, before.decode() + instance(number), IMPLICIT_VR_LE)
        path.write_bytes(header + padded(before, behind, number))
    named: list[str] = []

    def on_store(event: evt.Event) -> int:
        named.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    with serving_ae([(evt.EVT_C_STORE, on_store)], uids=[CT_IMAGE_STORAGE]) as server:
        results = take(face, server.server_address[1], lambda peer: peer.store([*paths]))
    assert [result.status for result in results] == [0x0000] * 3
    assert named == [result.sop_instance_uid for result in results] == [instance(n) for n in (1, 2, 3)]
