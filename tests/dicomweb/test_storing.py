"""STOW-RS: each file has one outcome, whatever is answered; one that a peer cannot bear costs itself only."""

from __future__ import annotations

import json
import os
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from tests.grids import grid
from tests.web import FACES, JSON, Asked, Says, called, content, instance, web

from dicomnet import Peer, StoreResult
from dicomnet.datasets import xml_model
from dicomnet.dicomweb import storing
from dicomnet.errors import ConnectionFailed, HTTPRefusal, ProtocolError

Call = Callable[..., list[Any]]
Make = Callable[..., Dataset]
Encode = Callable[..., bytes]


@pytest.fixture(params=FACES)
def call(request: pytest.FixtureRequest) -> Call:
    face: Call = FACES[request.param]
    return face


@pytest.fixture
def folder(make: Make, encode: Encode, tmp_path: Path) -> Path:
    """Ten objects."""
    for number in range(10):
        data_set = make(SOPInstanceUID=instance(number), PixelData=bytes([number]) * 500)
        (tmp_path / f"{number}.dcm").write_bytes(content(data_set, encode(data_set)))
    return tmp_path


def response(
    stored: Iterable[str], failed: dict[str, int] | None = None, warned: dict[str, int] | None = None
) -> dict[str, Any]:
    """A Store Instances Response Module, made by pydicom."""
    module = Dataset()
    module.RetrieveURL = ""
    done = []
    for uid in stored:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", uid
        if warned and uid in warned:
            item.WarningReason = warned[uid]
        done.append(item)
    module.ReferencedSOPSequence = done
    module.FailedSOPSequence = []
    for uid, reason in (failed or {}).items():
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", uid
        item.FailureReason = reason
        module.FailedSOPSequence.append(item)
    model: dict[str, Any] = module.to_json_dict()
    return model


def told(status: int, model: dict[str, Any], kind: str = JSON) -> Says:
    return Says(status, json.dumps(model).encode(), {"Content-Type": kind})


def uids_in(asked: Asked) -> list[str]:
    return [str(each.SOPInstanceUID) for each in asked.objects]


def takes_all(asked: Asked) -> Says:
    return told(200, response(uids_in(asked)))


def outcomes(found: list[Any]) -> dict[str, int | None]:
    assert all(isinstance(each, StoreResult) for each in found), found
    named = {Path(each.path).name: each.status for each in found}
    assert len(named) == len(found)
    return named


def all_with(status: int | None, count: int = 10) -> dict[str, int | None]:
    return {f"{number}.dcm": status for number in range(count)}


def test_objects_arrive_as_they_lie_there(call: Call, folder: Path) -> None:
    with web(takes_all) as server:
        found = call(server.url, lambda peer: peer.store([folder]))
    assert outcomes(found) == all_with(0)
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/dicom-web/studies")
    assert asked.headers["Content-Type"].startswith('multipart/related; type="application/dicom"; boundary=')
    assert asked.headers["Accept"] == JSON
    # The sizes were known before, as many servers want it.
    assert int(asked.headers["Content-Length"]) == len(asked.body)
    assert "Transfer-Encoding" not in asked.headers
    assert sorted(asked.objects, key=lambda each: str(each.SOPInstanceUID)) == [
        dcmread(folder / f"{number}.dcm") for number in range(10)
    ]
    assert all(each.length > 500 and each.sop_instance_uid for each in found)


def test_each_object_has_the_outcome_that_the_peer_names(call: Call, folder: Path) -> None:
    def answer(asked: Asked) -> Says:
        rest = uids_in(asked)[3:]
        failed = {instance(0): 0xC122, instance(1): 0xA900, instance(2): 0x0122}
        return told(202, response(rest, failed, {instance(3): 0xB000}))

    with web(answer) as server:
        found = call(server.url, lambda peer: peer.store([folder]))
    assert outcomes(found) == all_with(0) | {
        "0.dcm": 0xC122,
        "1.dcm": 0xA900,
        "2.dcm": 0x0122,
        "3.dcm": 0xB000,
    }
    comments = {Path(each.path).name: each.comment for each in found}
    assert "transfer syntax" in comments["0.dcm"]
    assert "does not match" in comments["1.dcm"]
    assert "SOP class" in comments["2.dcm"]
    assert [each.is_stored for each in found if each.path.endswith("3.dcm")] == [True]
    assert len(server.asked) == 1


def test_a_conflict_names_each_object(call: Call, folder: Path) -> None:
    with web(lambda asked: told(409, response([], dict.fromkeys(uids_in(asked), 0x0110)))) as server:
        found = call(server.url, lambda peer: peer.store([folder]))
    assert outcomes(found) == all_with(0x0110)
    assert len(server.asked) == 1


def test_an_answer_of_xml(call: Call, folder: Path) -> None:
    """Some answer so whatever is asked for."""

    def answer(asked: Asked) -> Says:
        model = response(uids_in(asked)[1:], {instance(0): 0xA700})
        return Says(202, xml_model.to_xml(model).encode(), {"Content-Type": "application/dicom+xml"})

    with web(answer) as server:
        assert outcomes(call(server.url, lambda peer: peer.store([folder]))) == all_with(0) | {
            "0.dcm": 0xA700
        }


def test_what_the_peer_does_not_name_is_not_stored(call: Call, folder: Path) -> None:
    """It is sent once more alone, since the answer may have been about another one."""

    def answer(asked: Asked) -> Says:
        return told(200, response(uid for uid in uids_in(asked) if uid != instance(4)))

    with web(answer) as server:
        found = call(server.url, lambda peer: peer.store([folder]))
    assert outcomes(found) == all_with(0) | {"4.dcm": None}
    assert [uids_in(each) for each in server.asked[1:]] == [[instance(4)]]
    assert ["whether it has stored" in each.comment for each in found if each.path.endswith("4.dcm")] == [
        True
    ]


def test_an_empty_answer_is_no_promise(call: Call, folder: Path) -> None:
    with web(lambda asked: Says(200)) as server:
        assert outcomes(call(server.url, lambda peer: peer.store([folder]))) == all_with(None)


REFUSED = {"too large": 413, "bad": 400, "failed": 500, "conflict": 409, "not taken": 415}


@grid("name", REFUSED)
def test_an_object_that_spoils_a_body_costs_itself_only(
    name: str, make: Make, encode: Encode, tmp_path: Path
) -> None:
    code = REFUSED[name]
    for number in range(10):
        data_set = make(SOPInstanceUID=instance(number))
        (tmp_path / f"{number}.dcm").write_bytes(content(data_set, encode(data_set)))
    for call in FACES.values():
        with web(lambda asked: Says(code) if instance(7) in uids_in(asked) else takes_all(asked)) as server:
            found = call(server.url, lambda peer: peer.store([tmp_path]))
        status = next(each.status for each in found if each.path.endswith("7.dcm"))
        assert status not in (0, None)
        assert outcomes(found) == all_with(0) | {"7.dcm": status}
        assert all(str(code) in each.comment for each in found if each.status)


def test_an_object_that_ends_the_connection_costs_itself_only(call: Call, folder: Path) -> None:
    with web(lambda asked: None if instance(3) in uids_in(asked) else takes_all(asked)) as server:
        found = call(server.url, lambda peer: peer.store([folder]))
    assert outcomes(found) == all_with(0) | {"3.dcm": None}
    alone = [each for each in server.asked if uids_in(each) == [instance(3)]]
    assert len(alone) == 2


FINAL: dict[str, tuple[Says, type[Exception]]] = {
    "who asks": (Says(401), HTTPRefusal),
    "not allowed": (Says(403), HTTPRefusal),
    "no such service": (Says(404), HTTPRefusal),
    "a page": (Says(200, b"<html>", {"Content-Type": "text/html"}), ProtocolError),
    "elsewhere": (Says(307, headers={"Location": "http://127.0.0.2:1/x"}), HTTPRefusal),
    "see other": (Says(303, headers={"Location": "/x"}), HTTPRefusal),
    "no JSON": (Says(200, b"{", {"Content-Type": JSON}), ProtocolError),
}


@grid("name", FINAL)
def test_a_service_that_takes_nothing_is_an_error_at_once(
    name: str, make: Make, encode: Encode, tmp_path: Path
) -> None:
    says, kind = FINAL[name]
    data_set = make()
    (tmp_path / "0.dcm").write_bytes(content(data_set, encode(data_set)))
    for call in FACES.values():
        with web(lambda asked: says) as server:
            (error,) = call(server.url, lambda peer: peer.store([tmp_path]))
        assert type(error) is kind, error
        assert len(server.asked) == 1


def test_a_later_refusal_is_in_the_results(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "MOST_OBJECTS", 4)
    with web(lambda asked: takes_all(asked) if len(server.asked) == 1 else Says(403)) as server:
        found = call(server.url, lambda peer: peer.store([folder]))
    statuses = list(outcomes(found).values())
    # Those of the second body, and those that were not sent any more.
    assert (statuses.count(0), statuses.count(0x0124), statuses.count(None)) == (4, 4, 2)
    assert all("403" in each.comment for each in found if each.status != 0)
    assert len(server.asked) == 2


def test_nobody_listens(call: Call, folder: Path) -> None:
    with web(takes_all) as server:
        url = server.url
    (error,) = call(url, lambda peer: peer.store([folder]))
    assert isinstance(error, ConnectionFailed)


def test_a_body_that_is_redirected_on_the_same_host_is_sent_there(call: Call, folder: Path) -> None:
    def answer(asked: Asked) -> Says:
        if asked.path.startswith("/dicom-web"):
            return Says(308, headers={"Location": "/pacs/studies"})
        return takes_all(asked)

    with web(answer) as server:
        assert outcomes(call(server.url, lambda peer: peer.store([folder]))) == all_with(0)


def test_a_peer_that_is_busy_is_waited_for(call: Call, folder: Path) -> None:
    def answer(asked: Asked) -> Says:
        return Says(503, headers={"Retry-After": "0"}) if len(server.asked) < 2 else takes_all(asked)

    with web(answer) as server:
        assert outcomes(call(server.url, lambda peer: peer.store([folder]))) == all_with(0)
    with web(lambda asked: Says(503, headers={"Retry-After": "100"})) as server:
        found = call(server.url, lambda peer: peer.store([folder]))
    assert outcomes(found) == all_with(0xA700)
    assert len(server.asked) == 1


def test_a_peer_without_resources_is_tried_again(call: Call, folder: Path) -> None:
    """One object is refused with A700, and taken when it is sent again."""

    def answer(asked: Asked) -> Says:
        uids = uids_in(asked)
        if len(server.asked) > 1:
            return told(200, response(uids))
        return told(202, response(uids[1:], {uids[0]: 0xA700}))

    with web(answer) as server:
        assert outcomes(call(server.url, lambda peer: peer.store([folder], retry=2))) == all_with(0)
    assert [len(each.objects) for each in server.asked] == [10, 1]


def test_a_peer_that_comes_later_is_waited_for(call: Call, folder: Path) -> None:
    from tests.support import free_port

    url = f"http://127.0.0.1:{free_port()}/dicom-web"
    found = call(url, lambda peer: peer.store([folder], retry=1))
    assert outcomes(found) == all_with(None)
    assert all("refused" in each.comment for each in found)


def test_bodies_have_a_bound(
    call: Call, make: Make, encode: Encode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "MOST_BYTES", 700_000)
    for number in range(6):
        data_set = make(SOPInstanceUID=instance(number), PixelData=bytes(200_000))
        (tmp_path / f"{number}.dcm").write_bytes(content(data_set, encode(data_set)))
    sizes: list[int] = []

    def answer(asked: Asked) -> Says:
        sizes.append(len(asked.body))
        uids = uids_in(asked)
        # What was sent is kept no longer.
        asked.body = b""
        return told(200, response(uids))

    with web(answer) as server:
        assert outcomes(call(server.url, lambda peer: peer.store([tmp_path]))) == all_with(0, 6)
    assert sizes == [pytest.approx(600_000, rel=0.01)] * 2


def test_two_files_of_one_object_go_apart(call: Call, folder: Path) -> None:
    (folder / "again.dcm").write_bytes((folder / "9.dcm").read_bytes())
    with web(takes_all) as server:
        assert outcomes(call(server.url, lambda peer: peer.store([folder]))) == all_with(0) | {"again.dcm": 0}
    assert all(len(uids_in(each)) == len(set(uids_in(each))) for each in server.asked)


def test_what_is_no_dicom_is_skipped(call: Call, folder: Path) -> None:
    (folder / "notes.txt").write_text("no DICOM")
    with web(takes_all) as server:
        found = call(server.url, lambda peer: peer.store([folder]))
    assert outcomes(found) == all_with(0) | {"notes.txt": None}
    assert [each.is_skipped for each in found if each.path.endswith("txt")] == [True]


def test_a_file_that_changes_while_others_are_sent_fails_alone(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "MOST_OBJECTS", 5)

    def answer(asked: Asked) -> Says:
        if len(server.asked) == 1:
            with (folder / "7.dcm").open("ab") as file:
                file.write(b"more")
            os.remove(folder / "8.dcm")
        return takes_all(asked)

    with web(answer) as server:
        found = call(server.url, lambda peer: peer.store([folder]))
    assert outcomes(found) == all_with(0) | {"7.dcm": None, "8.dcm": None}
    comments = {Path(each.path).name: each.comment for each in found}
    assert "changed" in comments["7.dcm"]
    assert "cannot be read" in comments["8.dcm"]


def test_odd_values_are_padded(call: Call, make: Make, tmp_path: Path) -> None:
    """As they are for a peer on an association: some servers refuse such objects."""
    from tests.web import EXPLICIT_LE

    from dicomnet.encoding.file_header import encode_file_header

    odd = (
        b"\x08\x00\x16\x00UI\x1a\x001.2.840.10008.5.1.4.1.1.2\0"
        b"\x08\x00\x18\x00UI\x05\x001.2.3\x10\x00\x20\x00LO\x02\x00P1"
    )
    (tmp_path / "0.dcm").write_bytes(
        encode_file_header("1.2.840.10008.5.1.4.1.1.2", "1.2.3", EXPLICIT_LE) + odd
    )
    with web(takes_all) as server:
        assert outcomes(call(server.url, lambda peer: peer.store([tmp_path]))) == {"0.dcm": 0}
    assert (
        server.asked[0].body.count(b"\x08\x00\x18\x00UI\x06\x001.2.3\0"),
        server.asked[0].objects[0].PatientID,
    ) == (
        1,
        "P1",
    )


def test_several_bodies_at_a_time(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "MOST_OBJECTS", 2)
    barrier = threading.Barrier(5, timeout=20)

    def answer(asked: Asked) -> Says:
        barrier.wait()
        return takes_all(asked)

    with web(answer) as server:
        assert outcomes(call(server.url, lambda peer: peer.store([folder], jobs=5), jobs=5)) == all_with(0)


def test_a_rate_is_kept(call: Call, folder: Path) -> None:
    begin = time.monotonic()
    with web(takes_all) as server:
        assert outcomes(call(server.url, lambda peer: peer.store([folder], rate="5/s"))) == all_with(0)
    assert time.monotonic() - begin > 0.7
    assert [len(each.objects) for each in server.asked] == [5, 5]


def test_a_store_that_is_left_sends_no_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "MOST_OBJECTS", 2)
    with web(takes_all) as server, Peer(server.url) as peer:
        results = iter(peer.store([folder]))
        assert next(results).status == 0
        del results
    assert len(server.asked) == 1


def test_memory_does_not_grow_with_an_object(make: Make, encode: Encode, tmp_path: Path) -> None:
    data_set = make(PixelData=bytes(24 << 20))
    (tmp_path / "0.dcm").write_bytes(content(data_set, encode(data_set)))
    del data_set
    # The server refuses from the head, so that the body is in the memory of the kernel only.
    with web(lambda asked: Says(413)) as server:
        tracemalloc.start()
        try:
            found = called(server.url, lambda peer: peer.store([tmp_path]))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert outcomes(found) == {"0.dcm": 0x0110}
    # The server of the test keeps one copy.
    assert peak < (24 << 20) + (8 << 20)
