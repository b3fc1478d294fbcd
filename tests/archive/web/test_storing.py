"""Objects that come by STOW-RS: each is stored or answered for, whatever the body is like."""

from __future__ import annotations

import gzip
import os
import threading
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from itertools import count
from typing import Any
from xml.etree import ElementTree

import pytest
from dicomweb_client.api import DICOMwebClient
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from tests.archive.web.clients import BOUNDARY, PATIENCE, WebNode, content_type, file_of, multipart
from tests.support import wait_until

from dicomnet.archive.access import Access, Rule
from dicomnet.archive.conflicts import OtherContent
from dicomnet.archive.terms import Terms
from dicomnet.archive.web.dicomweb import storing
from dicomnet.archive.web.dicomweb.receiving import Upload
from dicomnet.archive.web.http.connections import Connection
from dicomnet.datasets.codec import encode_object
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.encoding.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from dicomnet.plurals import counted

Make = Callable[..., Dataset]
Start = Callable[..., WebNode]
LARGE = 300_000


def objects(make: Make, count: int, *, length: int = 100, study: str = "1.2.3") -> list[bytes]:
    """Files of a series; what they contain has all that bodies are cut at."""
    noise = b"\r\n--" + BOUNDARY.encode() + b"x\r\n\r\n--\n"
    return [
        file_of(
            make(
                SOPInstanceUID=f"{study}.4.{number}",
                StudyInstanceUID=study,
                PixelData=(noise + os.urandom(length))[: length + length % 2],
            )
        )
        for number in range(count)
    ]


def uids(count: int, study: str = "1.2.3") -> list[str]:
    """Theirs."""
    return sorted(f"{study}.4.{number}" for number in range(count))


@pytest.mark.parametrize("length", [100, LARGE])
def test_objects_are_stored_as_they_came_and_each_is_named_in_the_answer(
    web_node: Start, make: Make, length: int
) -> None:
    node = web_node()
    files = objects(make, 5, length=length)

    answer = node.store(files)

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert sorted(answer.stored) == node.objects == uids(5)
    assert answer.failed == {}
    assert answer.other_failures == []
    for uid, file in zip(uids(5), files, strict=True):
        assert node.content(uid) == file
    url = f"{node.url}/studies/1.2.3"
    assert answer.model["00081190"] == {"vr": "UR", "Value": [url]}
    item = answer.model["00081199"]["Value"][0]
    assert item["00081150"]["Value"] == ["1.2.840.10008.5.1.4.1.1.2"]
    assert item["00081190"]["Value"] == [f"{url}/series/1.2.3.4/instances/1.2.3.4.0"]
    assert node.staged == []


def test_the_client_of_python_stores_what_it_finds_afterwards(web_node: Start, make: Make) -> None:
    node = web_node()
    client = DICOMwebClient(node.url)

    answer = client.store_instances([dcmread(BytesIO(each)) for each in objects(make, 3)], "1.2.3")

    assert len(answer.ReferencedSOPSequence) == 3
    assert "FailedSOPSequence" not in answer
    assert answer.RetrieveURL == f"{node.url}/studies/1.2.3"
    assert len(client.retrieve_study("1.2.3")) == 3
    assert node.objects == uids(3)


def test_an_object_by_itself_needs_no_parts(web_node: Start, make: Make) -> None:
    node = web_node()
    file = file_of(make())
    answer = node.ask("POST", "/studies", file, {"Content-Type": "application/dicom"})
    assert (answer.status, answer.stored, node.objects) == (200, ["1.2.3.4.5"], ["1.2.3.4.5"])
    assert node.content("1.2.3.4.5") == file


def test_objects_of_several_studies_have_no_url_in_common(web_node: Start, make: Make) -> None:
    node = web_node()
    answer = node.store(objects(make, 1) + objects(make, 1, study="1.2.4"))
    assert answer.status == 200
    assert answer.model["00081190"] == {"vr": "UR"}
    assert node.objects == uids(1) + uids(1, "1.2.4")


def test_an_object_of_another_study_than_that_of_the_path_fails_and_the_others_do_not(
    web_node: Start, make: Make
) -> None:
    node = web_node()
    answer = node.store([*objects(make, 2), *objects(make, 1, study="1.2.4", length=LARGE)], "/studies/1.2.3")
    assert answer.status == 202
    assert answer.failed == {"1.2.4.4.0": 0xA901}
    assert sorted(answer.stored) == node.objects == uids(2)
    assert node.staged == []
    answer = node.store(objects(make, 1, study="1.2.4"), "/studies/1.2.3")
    assert (answer.status, answer.failed) == (409, {"1.2.4.4.0": 0xA901})


def test_what_is_there_already_is_stored_and_what_differs_is_kept_in_quarantine(
    web_node: Start, make: Make
) -> None:
    node = web_node()
    file, other = file_of(make()), file_of(make(PatientID="P2"))
    assert node.store([file]).status == 200
    answer = node.store([file, other])
    assert answer.status == 202
    assert answer.stored == ["1.2.3.4.5"] * 2
    assert answer.warnings == {"1.2.3.4.5": 0xB000}
    # What could be retrieved is the other object.
    assert answer.model["00081199"]["Value"][1]["00081190"] == {"vr": "UR"}
    assert node.content("1.2.3.4.5") == file
    assert [path.read_bytes() for path in (node.folder / "quarantine").rglob("*.dcm")] == [other]


def test_the_policy_for_other_content_holds_as_for_c_store(web_node: Start, make: Make) -> None:
    node = web_node(Terms(other_content=OtherContent.REFUSE))
    assert node.store([file_of(make())]).status == 200
    answer = node.store([file_of(make(PatientID="P2"))])
    assert (answer.status, answer.failed) == (409, {"1.2.3.4.5": 0x0111})


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"no DICOM", 0xC000),
        (b"", 0xC000),
        (b"\0" * 128 + b"DICM" + b"\xff" * 300, 0xC000),
        (b"x" * 200_000, 0xC000),
    ],
    ids=["text", "empty", "damaged", "large"],
)
def test_what_is_no_object_fails_without_a_name_and_the_others_do_not(
    web_node: Start, make: Make, file: bytes, reason: int
) -> None:
    node = web_node()
    answer = node.store([file, *objects(make, 1)])
    assert answer.status == 202
    assert answer.other_failures == [reason]
    assert node.objects == uids(1)
    answer = node.store([file])
    assert (answer.status, answer.other_failures) == (400, [reason])


def test_each_object_is_judged_by_itself(web_node: Start, make: Make) -> None:
    node = web_node()
    good = make()
    truncated = file_of(make(SOPInstanceUID="1.2.1"))[:-7]
    truncated_large = file_of(make(SOPInstanceUID="1.2.2", PixelData=os.urandom(LARGE)))[:-7]
    private = file_of(make(SOPInstanceUID="1.2.5", SOPClassUID="1.2.3.99"))
    print_job = file_of(make(SOPInstanceUID="1.2.6", SOPClassUID="1.2.840.10008.5.1.1.14"))
    unknown = file_of(make(SOPInstanceUID="1.2.7"), "1.2.3.98")
    no_study = file_of(make(SOPInstanceUID="1.2.8", StudyInstanceUID=None))
    answer = node.store([truncated, truncated_large, private, file_of(good), print_job, unknown, no_study])
    assert answer.status == 202
    assert answer.stored == node.objects == ["1.2.3.4.5"]
    assert answer.failed == {
        "1.2.1": 0xC000,
        "1.2.2": 0xC000,
        "1.2.5": 0x0122,
        "1.2.6": 0x0122,
        "1.2.7": 0xC122,
        "1.2.8": 0xA900,
    }
    assert node.staged == []
    assert not list(node.folder.parent.glob("x*"))


@pytest.mark.parametrize("uid", ["../../x", "/etc/passwd", "1" * 65, "1.2.3\0.4", "1.2.\xe4", ""])
def test_a_uid_that_is_none_becomes_no_path(web_node: Start, make: Make, uid: str) -> None:
    node = web_node()
    old, new = (
        b"\x08\x00\x18\x00UI" + len(value).to_bytes(2, "little") + value
        for value in (b"1.2.3.4.5\0", (uid + "\0" * (len(uid) % 2)).encode("latin-1"))
    )
    encoded = encode_object(make(), is_implicit_vr=False, is_little_endian=True).replace(old, new)
    header = encode_file_header("1.2.840.10008.5.1.4.1.1.2", uid, EXPLICIT_VR_LITTLE_ENDIAN)
    answer = node.store([header + encoded])
    assert answer.status in (400, 409)
    assert answer.stored == node.objects == []
    assert [path.name for path in node.folder.parent.iterdir()] == [node.folder.name]


def test_private_sop_classes_are_stored_where_c_store_takes_them(web_node: Start, make: Make) -> None:
    node = web_node(Terms(accepts_private=True))
    assert node.store([file_of(make(SOPClassUID="1.2.3.99"))]).status == 200


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 400),
        ("nonsense", 400),
        ("application/json", 415),
        ("image/jpeg", 415),
        ("multipart/form-data; boundary=x", 415),
        ('multipart/related; type="image/jpeg"; boundary=x', 415),
        ('multipart/related; type="application/dicom"', 400),
        ('multipart/related; type="application/dicom"; boundary=other', 400),
    ],
)
def test_a_body_of_another_kind_is_refused_in_words(
    web_node: Start, make: Make, content_type: str | None, status: int
) -> None:
    node = web_node()
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = node.ask("POST", "/studies", multipart(objects(make, 1)), headers)
    assert answer.status == status
    assert answer.headers["content-type"].startswith("text/plain")
    assert len(answer.content.splitlines()) == 1
    assert node.objects == []
    if status == 415:
        assert "application/dicom+json" in answer.headers["accept"]


def test_a_body_without_an_object_is_refused(web_node: Start) -> None:
    node = web_node()
    assert node.store([]).content == b"the body has no object\n"
    answer = node.ask("POST", "/studies", b"", {"Content-Type": content_type()})
    assert (answer.status, answer.content) == (
        400,
        b"the boundary that the Content-Type names is not in the body\n",
    )


def test_a_study_in_the_path_that_is_no_uid_is_refused(web_node: Start, make: Make) -> None:
    assert web_node().store(objects(make, 1), "/studies/1.2.x").status == 400


@pytest.mark.parametrize("length", [100, LARGE])
def test_of_a_body_that_is_cut_off_what_came_whole_is_stored_and_the_answer_says_so(
    web_node: Start, make: Make, length: int
) -> None:
    node = web_node()
    body = multipart(objects(make, 3, length=length))
    answer = node.ask("POST", "/studies", body[: -length // 2], {"Content-Type": content_type()})
    assert answer.status == 202
    assert sorted(answer.stored) == node.objects == uids(2)
    assert answer.headers["warning"] == (
        '299 dicomnet "the body was cut off; only what came whole before is stored"'
    )
    assert node.staged == []


@pytest.mark.parametrize("length", [100, LARGE])
def test_of_an_upload_whose_client_goes_away_what_came_whole_is_stored(
    web_node: Start, make: Make, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    node = web_node()
    body = multipart(objects(make, 3, length=length))
    with node.connection() as connection:
        connection.sendall(_head(len(body)) + body[: -length // 2])
    wait_until(lambda: "cut off" in caplog.text, PATIENCE, "the log says so")
    # What has come when a connection is lost may not be all that was sent.
    assert set(node.objects) <= set(uids(2))
    assert f"{counted(len(node.objects), 'object')} stored" in caplog.text
    assert node.staged == []


def test_what_came_of_an_upload_and_was_not_read_when_its_client_went_is_stored(
    web_node: Start, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waited in the connection while the disk was slow was dropped with it."""
    monkeypatch.setattr(storing, "_AHEAD", 1)
    may_store, is_lost = threading.Event(), threading.Event()
    read: list[bytes] = []
    feed, receive, lost = Upload.feed, storing._Body.receive, Connection.connection_lost

    def slow_feed(self: Upload, pieces: Sequence[bytes]) -> None:
        assert may_store.wait(PATIENCE)
        feed(self, pieces)

    async def counted_receive(self: Any) -> bytes:
        read.append(await receive(self))
        return read[-1]

    def noted_loss(self: Connection, error: Exception | None) -> None:
        lost(self, error)
        is_lost.set()

    monkeypatch.setattr(Upload, "feed", slow_feed)
    monkeypatch.setattr(storing._Body, "receive", counted_receive)
    monkeypatch.setattr(Connection, "connection_lost", noted_loss)
    node = web_node()
    pieces = [multipart([each], is_closed=False) for each in objects(make, 4)]
    with node.connection() as connection:
        connection.sendall(_head(100_000) + pieces[0])
        wait_until(lambda: len(read) == 1, PATIENCE, "it is read")
        connection.sendall(pieces[1])
        wait_until(lambda: len(read) == 2, PATIENCE, "it is read")
        connection.sendall(pieces[2])
        wait_until(lambda: len(read) == 3, PATIENCE, "it is the last one that is")
        connection.sendall(pieces[3] + multipart([b""], is_closed=False))
    assert is_lost.wait(PATIENCE)
    may_store.set()
    wait_until(lambda: node.objects == uids(4), PATIENCE, "all that came whole is stored")


def _head(length: int, *further: str) -> bytes:
    lines = [
        "POST /dicom-web/studies HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {content_type()}",
        f"Content-Length: {length}",
        *further,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def test_a_client_that_waits_for_leave_to_send_gets_it(web_node: Start, make: Make) -> None:
    node = web_node()
    body = multipart(objects(make, 1))
    with node.connection() as connection:
        connection.sendall(_head(len(body), "Expect: 100-continue"))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    assert node.objects == uids(1)


def test_a_client_that_may_not_store_gets_no_leave_to_send(web_node: Start, make: Make) -> None:
    node = web_node(Terms(access=Access((Rule(None, None, None, frozenset(["C-FIND"])),))))
    with node.connection() as connection:
        connection.sendall(_head(1 << 30, "Expect: 100-continue"))
        assert connection.recv(100).startswith(b"HTTP/1.1 403 ")
    answer = node.store(objects(make, 2, length=LARGE))
    assert (answer.status, answer.content) == (403, b"storing is not allowed from this address\n")
    assert node.objects == []


def test_a_body_in_chunks_of_any_length_is_read(web_node: Start, make: Make) -> None:
    node = web_node()
    body = multipart(objects(make, 3, length=70_000))
    pieces = [body[at : at + 1777] for at in range(0, len(body), 1777)]
    answer = node.ask("POST", "/studies", iter(pieces), {"Content-Type": content_type()})
    assert (answer.status, node.objects) == (200, uids(3))


def test_a_body_that_comes_slowly_is_stored_and_holds_nobody_up(web_node: Start, make: Make) -> None:
    node = web_node()
    body = multipart(objects(make, 2))
    with node.connection() as connection:
        connection.sendall(_head(len(body)))
        for at in range(0, len(body), 40):
            connection.sendall(body[at : at + 40])
            if at % 400 == 0:
                assert node.ask("GET", "/nothing").status == 404
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    assert node.objects == uids(2)


@pytest.mark.parametrize("members", [1, 3])
def test_a_body_that_gzip_compressed_is_read(web_node: Start, make: Make, members: int) -> None:
    node = web_node()
    body = multipart(objects(make, 3, length=LARGE))
    step = len(body) // members + 1
    packed = b"".join(gzip.compress(body[at : at + step]) for at in range(0, len(body), step))
    headers = {"Content-Type": content_type(), "Content-Encoding": "gzip"}
    answer = node.ask("POST", "/studies", packed, headers)
    assert (answer.status, node.objects) == (200, uids(3))
    answer = node.ask("POST", "/studies", packed[:-9], headers)
    assert answer.status == 202
    assert "cut off" in answer.headers["warning"]
    answer = node.ask("POST", "/studies", b"no gzip at all", headers)
    assert (answer.status, answer.content) == (400, b"the gzip data of the body are damaged\n")


def test_a_bomb_is_not_inflated(web_node: Start) -> None:
    node = web_node()
    deflater = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    bomb = deflater.compress(f"\r\n--{BOUNDARY}\r\n\r\n".encode())
    for _ in range(96):
        bomb += deflater.compress(bytes(1 << 20))
    bomb += deflater.flush()
    headers = {"Content-Type": content_type(), "Content-Encoding": "gzip"}
    answer = node.ask("POST", "/studies", bomb, headers)
    assert answer.status == 413
    assert node.staged == []


def test_other_content_codings_are_refused(web_node: Start, make: Make) -> None:
    headers = {"Content-Encoding": "br"}
    answer = web_node().store(objects(make, 1), headers=headers)
    assert (answer.status, answer.headers["accept-encoding"]) == (415, "gzip")


def test_a_head_of_a_part_that_is_none_ends_the_body_and_what_came_before_is_stored(
    web_node: Start, make: Make
) -> None:
    node = web_node()
    answer = node.store([*objects(make, 2), ("no field", b"x")])
    assert answer.status == 202
    assert node.objects == uids(2)
    assert "no header field" in answer.headers["warning"]
    answer = node.store([("no field", b"x")])
    assert (answer.status, answer.content) == (
        400,
        b"the head of a part has a line that is no header field\n",
    )


def test_a_part_of_another_kind_fails_without_a_name(web_node: Start, make: Make) -> None:
    node = web_node()
    answer = node.store([("Content-Type: image/jpeg", b"x"), *objects(make, 1)])
    assert (answer.status, answer.other_failures, node.objects) == (202, [0xC000], uids(1))
    assert node.store([("Content-Type: image/jpeg", b"x")]).status == 415


def test_the_answer_is_in_xml_where_that_is_accepted(web_node: Start, make: Make) -> None:
    node = web_node()
    answer = node.store([*objects(make, 2), b"x"], headers={"Accept": "application/dicom+xml"})
    assert answer.headers["content-type"] == "application/dicom+xml"
    root = ElementTree.fromstring(answer.content)
    space = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
    sequences = {each.get("keyword"): list(each) for each in root}
    assert [each.get("number") for each in sequences["ReferencedSOPSequence"]] == ["1", "2"]
    (other,) = sequences["OtherFailuresSequence"]
    assert other.findtext(f"{space}DicomAttribute/{space}Value") == str(0xC000)


def test_many_objects_are_answered_for(web_node: Start, make: Make) -> None:
    node = web_node()
    answer = node.store(objects(make, 1500))
    assert answer.status == 200
    assert len(answer.stored) == 1500
    assert sorted(answer.stored) == node.objects == uids(1500)


def test_however_a_body_arrives_the_same_is_stored(web_node: Start, make: Make) -> None:
    node = web_node()
    studies = count(1)

    @settings(max_examples=20, deadline=None)
    @given(cuts=st.lists(st.integers(0, 3000), min_size=1, max_size=5))
    def arrive(cuts: list[int]) -> None:
        study = f"1.3.{next(studies)}"
        body = multipart(objects(make, 3, length=300, study=study))
        ends = [*sorted(min(each, len(body)) for each in cuts), len(body)]
        pieces = [body[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
        answer = node.ask("POST", f"/studies/{study}", iter(pieces), {"Content-Type": content_type()})
        assert (answer.status, sorted(answer.stored)) == (200, uids(3, study))

    arrive()


def test_what_is_refused_is_shown_with_who_sent_it(web_node: Start, make: Make) -> None:
    node = web_node()
    node.store([file_of(make(SOPInstanceUID="1.2.5", SOPClassUID="1.2.3.99"))])
    (row,) = node.node.activity.refusals
    assert (row.address, row.instance, row.reason) == (
        "127.0.0.1",
        "1.2.5",
        "its SOP class is not stored here",
    )
