"""WADO-RS: what comes is kept byte for byte, what does not come is asked for again, and nothing else is kept."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable
from functools import partial
from io import FileIO
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from tests.grids import grid
from tests.web import (
    EXPLICIT_LE,
    FACES,
    SERIES,
    STUDY,
    Asked,
    Says,
    awaited,
    called,
    content,
    instance,
    instances,
    listed,
    match,
    multipart,
    web,
)

from dicomnet import Peer, aio
from dicomnet.drivers.deadline import Timeouts
from dicomnet.errors import ConnectionFailed, ConnectionLost, HTTPRefusal, ProtocolError, ServiceRefusal
from dicomnet.exchange.receiving import ReceivedObject
from dicomnet.exchange.results import RetrieveProgress

Call = Callable[..., list[Any]]
Make = Callable[..., Dataset]
Encode = Callable[..., bytes]
Files = Callable[[int], list[bytes]]


@pytest.fixture(params=FACES)
def call(request: pytest.FixtureRequest) -> Call:
    face: Call = FACES[request.param]
    return face


@pytest.fixture(scope="session")
def files(make: Make, encode: Encode) -> Files:
    """So many objects of the study as files."""

    def build(count: int) -> list[bytes]:
        made = []
        for number in range(count):
            data_set = make(
                SOPInstanceUID=instance(number), InstanceNumber=number, PixelData=bytes([number]) * 5000
            )
            made.append(content(data_set, encode(data_set)))
        return made

    return build


def archive(stored: list[bytes], **odd: Says | None) -> Callable[[Asked], Says | None]:
    """A service with these objects; by the end of a path, what it answers instead."""

    def answer(asked: Asked) -> Says | None:
        steps = asked.path.split("/")
        if steps[-1] == "instances":
            return odd.get("search", listed(instances(len(stored))))
        if steps[-2] == "instances":
            number = int(steps[-1].rpartition(".")[2])
            return odd.get("instance", multipart([stored[number]]))
        return odd.get("study", multipart(stored))

    return answer


def study(to: Path, **options: Any) -> Callable[[Any], Any]:
    return lambda peer: peer.get("study", to=to, StudyInstanceUID=STUDY, **options)


def getting(level: str, options: dict[str, Any], peer: Any) -> Any:
    return peer.get(level, **options)


def kept(folder: Path) -> dict[str, int]:
    """What is in a folder, by file name, with the number that each object has."""
    assert all(each.suffix == ".dcm" for each in folder.iterdir())
    return {each.name: int(dcmread(each).InstanceNumber) for each in folder.iterdir()}


def all_of(count: int) -> dict[str, int]:
    return {f"{instance(number)}.dcm": number for number in range(count)}


def test_objects_come_as_they_are_stored(call: Call, files: Files, tmp_path: Path) -> None:
    stored = files(3)
    with web(archive(stored)) as server:
        *before, last = call(server.url, study(tmp_path))
    assert isinstance(last, RetrieveProgress)
    assert last.is_final
    assert last.is_complete
    assert (last.received, last.completed, last.failed) == (3, 3, 0)
    assert [each.received for each in before] == [1, 2, 3]
    assert [each.remaining for each in before] == [2, 1, 0]
    for number in range(3):
        got = (tmp_path / f"{instance(number)}.dcm").read_bytes()
        # The header is ours; the data set is the peer's.
        assert (
            got[got.index(b"\x08\x00\x16\x00UI") :]
            == stored[number][stored[number].index(b"\x08\x00\x16\x00UI") :]
        )
    (asked,) = [each for each in server.asked if each.path.endswith(STUDY)]
    assert asked.headers["Accept"] == 'multipart/related; type="application/dicom"; transfer-syntax=*'


def test_objects_are_handed_over(call: Call, files: Files) -> None:
    found: list[ReceivedObject] = []
    stored = files(2)
    with web(archive(stored, study=multipart([*stored, stored[0]]))) as server:
        *_, last = call(
            server.url, lambda peer: peer.get("study", on_object=found.append, StudyInstanceUID=STUDY)
        )
    assert last.is_complete
    assert [each.sop_instance_uid for each in found] == [instance(0), instance(1)]
    assert {each.transfer_syntax_uid for each in found} == {EXPLICIT_LE}
    assert found[0].file_content[132:] in stored[0] or bytes(found[0].data) in stored[0]


def test_a_coroutine_function_takes_objects(files: Files) -> None:
    found: list[str] = []

    async def take(received: ReceivedObject) -> None:
        await asyncio.sleep(0)
        found.append(received.sop_instance_uid)

    with web(archive(files(2))) as server:
        *_, last = awaited(server.url, lambda peer: peer.get("study", on_object=take, StudyInstanceUID=STUDY))
    assert last.is_complete
    assert found == [instance(0), instance(1)]


LEVELS = {
    "series": ({"SeriesInstanceUID": SERIES}, "/studies/1.2.3/series/1.2.3.4"),
    "image": (
        {"SeriesInstanceUID": SERIES, "SOPInstanceUID": instance(1)},
        f"/studies/1.2.3/series/1.2.3.4/instances/{instance(1)}",
    ),
}


@grid("level", LEVELS)
def test_levels(level: str, files: Files, tmp_path: Path) -> None:
    keys, path = LEVELS[level]
    stored = files(2)
    for name, call in FACES.items():
        to = tmp_path / f"{level} {name}"
        with web(archive(stored, study=multipart(stored))) as server:
            options = {"to": to, "StudyInstanceUID": STUDY, **keys}
            *_, last = call(server.url, partial(getting, level, options))
        assert last.is_complete
        assert server.targets[-1] == path
        assert kept(to) == (all_of(2) if level == "series" else {f"{instance(1)}.dcm": 1})


def test_a_series_whose_study_is_not_given_is_looked_for(call: Call, files: Files, tmp_path: Path) -> None:
    with web(archive(files(2))) as server:
        *_, last = call(server.url, lambda peer: peer.get("series", to=tmp_path, SeriesInstanceUID=SERIES))
    assert last.is_complete
    assert server.targets[-1] == f"/studies/{STUDY}/series/{SERIES}"


def test_the_studies_of_a_patient_and_of_nobody_else(call: Call, files: Files, tmp_path: Path) -> None:
    """A server that takes an ID for a wild card, or passes over it, does not mix up patients."""
    inner = archive(files(2))

    def answer(asked: Asked) -> Says | None:
        if asked.path.endswith("/studies"):
            own = match(PatientID="P1", StudyInstanceUID=STUDY)
            return listed([own, match(PatientID="P12", StudyInstanceUID="9.9")])
        return inner(asked)

    with web(answer) as server:
        *_, last = call(server.url, lambda peer: peer.get("patient", to=tmp_path, PatientID="P1"))
    assert last.is_complete
    assert not any("9.9" in target for target in server.targets)


def test_what_is_cut_off_is_asked_for_object_by_object(call: Call, files: Files, tmp_path: Path) -> None:
    stored = files(4)
    whole = multipart(stored)
    cut = Says(200, whole.body, whole.headers, cut=len(whole.body) * 5 // 8)
    with web(archive(stored, study=cut)) as server:
        *_, last = call(server.url, study(tmp_path))
    assert last.is_complete, last
    assert kept(tmp_path) == all_of(4)
    asked = [target for target in server.targets if "/instances/" in target]
    assert asked == [f"/studies/{STUDY}/series/{SERIES}/instances/{instance(number)}" for number in (2, 3)]


def test_a_body_without_its_end_is_not_whole(call: Call, files: Files, tmp_path: Path) -> None:
    """The connection ends as it should, and what is there looks like an object."""
    stored = files(2)
    with web(archive(stored, study=multipart(stored, is_closed=False), instance=Says(404))) as server:
        *_, last, error = call(server.url, study(tmp_path))
    assert isinstance(error, HTTPRefusal | ConnectionLost) or not last.is_complete
    with web(
        archive(stored, study=Says(200, multipart(stored).body[:-9], multipart(stored).headers))
    ) as server:
        *_, last = call(server.url, study(tmp_path))
    assert last.is_complete
    assert f"/studies/{STUDY}/series/{SERIES}/instances/{instance(1)}" in server.targets


def test_a_damaged_object_is_asked_for_once_more(
    call: Call, files: Files, make: Make, encode: Encode, tmp_path: Path
) -> None:
    stored = files(2)
    with web(archive(stored, study=multipart([stored[0], stored[1][:-1000]]))) as server:
        *_, last = call(server.url, study(tmp_path))
    assert last.is_complete, last
    assert kept(tmp_path) == all_of(2)


def test_what_stays_damaged_has_failed(call: Call, files: Files, tmp_path: Path) -> None:
    stored = files(2)
    damaged = multipart([stored[1][:-1000]])
    with web(archive(stored, study=multipart([stored[0], stored[1][:-1000]]), instance=damaged)) as server:
        *_, last = call(server.url, study(tmp_path))
    assert isinstance(last, RetrieveProgress), last
    assert not last.is_complete
    assert last.failed_uids == (instance(1),)
    assert (last.status, last.failed, last.received) == (0xB000, 1, 1)
    assert [each.sop_instance_uid for each in last.local_failures] == [instance(1)]
    assert kept(tmp_path) == all_of(1)
    assert len(server.asked) < 6


def test_an_object_of_another_study_is_not_kept(
    call: Call, files: Files, make: Make, encode: Encode, tmp_path: Path
) -> None:
    stranger = make(SOPInstanceUID="9.9", StudyInstanceUID="9", InstanceNumber=9)
    stored = files(1)
    with web(archive(stored, study=multipart([content(stranger, encode(stranger)), *stored]))) as server:
        *_, last = call(server.url, study(tmp_path))
    assert kept(tmp_path) == all_of(1)
    assert not last.is_complete
    assert "not what was asked for" in str(last.local_failures[0])


def test_another_object_with_the_same_uid_does_not_replace_the_first(
    call: Call, files: Files, make: Make, encode: Encode, tmp_path: Path
) -> None:
    stored = files(1)
    other = make(SOPInstanceUID=instance(0), InstanceNumber=99)
    with web(archive(stored, study=multipart([*stored, *stored, content(other, encode(other))]))) as server:
        *_, last = call(server.url, study(tmp_path))
    assert kept(tmp_path) == all_of(1)
    assert last.received == 1
    assert "came before" in str(last.local_failures[0])


NAMES = ["../../evil", "/etc/evil", "1.2.3.4.5\0", "1." * 40 + "1", "evil"]


@grid("uid", NAMES)
def test_a_uid_is_no_way_out_of_the_folder(uid: str, make: Make, encode: Encode, tmp_path: Path) -> None:
    """Neither in the file meta information nor in the data set, in which case the two differ."""
    data_set = make(SOPInstanceUID=instance(0), InstanceNumber=0)
    encoded = encode(data_set)
    for name, call in FACES.items():
        to = tmp_path / f"{NAMES.index(uid)} {name}" / "in" / "here"
        bad = multipart([content(data_set, encoded, uid)])
        with web(archive([content(data_set, encoded)], study=bad, instance=bad)) as server:
            *_, last = call(server.url, study(to))
        assert isinstance(last, ServiceRefusal | RetrieveProgress)
        assert [path for path in to.parents[1].rglob("*") if path.is_file()] == []


def test_what_the_header_says_has_to_be_what_is_in_it(
    call: Call, make: Make, encode: Encode, tmp_path: Path
) -> None:
    data_set = make(SOPInstanceUID=instance(0))
    wrong = multipart([content(data_set, encode(data_set), "1.2.3.4.99")])
    with web(archive([b""], study=wrong, instance=wrong)) as server:
        *_, progress, error = call(server.url, study(tmp_path))
    assert isinstance(error, ServiceRefusal)
    assert "SOP Instance UID" in str(progress.local_failures[-1])
    assert list(tmp_path.iterdir()) == []


@grid("part", [b"", b"no DICOM", b"\x00" * 200, bytes(128) + b"DICM", bytes(128) + b"DICM" + b"\xff" * 5000])
def test_parts_that_are_no_objects(part: bytes, files: Files, tmp_path: Path) -> None:
    stored = files(1)
    for name, call in FACES.items():
        to = tmp_path / f"{len(part)} {name}"
        with web(archive(stored, study=multipart([part, *stored]))) as server:
            *_, last = call(server.url, study(to))
        assert kept(to) == all_of(1)
        assert not last.is_complete
        assert len(last.local_failures) == 1


def test_a_server_that_lists_nothing_is_asked_all_the_same(call: Call, files: Files, tmp_path: Path) -> None:
    for says in (Says(501), Says(404), Says(204)):
        with web(archive(files(2), search=says)) as server:
            *_, last = call(server.url, study(tmp_path))
        assert last.is_complete, last
        assert kept(tmp_path) == all_of(2)


def test_what_is_not_listed_and_cut_off_is_an_error(call: Call, files: Files, tmp_path: Path) -> None:
    """Nobody knows what else there is."""
    whole = multipart(files(2))
    cut = Says(200, whole.body, whole.headers, cut=len(whole.body) - 50)
    with web(archive(files(2), search=Says(204), study=cut)) as server:
        *_, last, error = call(server.url, study(tmp_path), retries=0)
    assert isinstance(error, ConnectionLost)
    assert not last.is_complete


def test_a_server_that_does_not_know_any_transfer_syntax(call: Call, files: Files, tmp_path: Path) -> None:
    inner = archive(files(2))

    def answer(asked: Asked) -> Says | None:
        return Says(406) if "transfer-syntax" in asked.headers["Accept"] else inner(asked)

    with web(answer) as server:
        *_, last = call(server.url, study(tmp_path))
    assert last.is_complete


def test_an_object_that_comes_without_multipart(call: Call, files: Files, tmp_path: Path) -> None:
    (one,) = files(1)
    single = Says(200, one, {"Content-Type": "application/dicom"})
    with web(archive([one], study=single)) as server:
        *_, last = call(server.url, study(tmp_path))
    assert last.is_complete
    assert kept(tmp_path) == all_of(1)


REFUSALS: dict[str, tuple[dict[str, Says | None], type[Exception], str]] = {
    "nothing there": ({"search": Says(204), "study": Says(404)}, HTTPRefusal, "404"),
    "not allowed": ({"search": Says(403)}, HTTPRefusal, "403"),
    "not allowed to retrieve": ({"study": Says(403)}, HTTPRefusal, "403"),
    "a page": (
        {"study": Says(200, b"<html>", {"Content-Type": "text/html"})},
        ProtocolError,
        "page to log in",
    ),
    "no boundary": (
        {"study": Says(200, b"x", {"Content-Type": "multipart/related"})},
        ProtocolError,
        "boundary",
    ),
    "hangs up": ({"study": None, "instance": None}, ConnectionLost, "lost"),
}


@grid("name", REFUSALS)
def test_refusals(name: str, files: Files, tmp_path: Path) -> None:
    odd, kind, words = REFUSALS[name]
    for face, call in FACES.items():
        to = tmp_path / f"{name} {face}"
        with web(archive(files(20), **odd)) as server:
            error = call(server.url, study(to), retries=0)[-1]
        assert type(error) is kind, error
        assert words in str(error)
        assert list(to.iterdir()) == []
        # It is not asked object by object without end.
        assert len(server.asked) < 25, server.targets


def test_a_server_that_is_gone_in_the_middle(call: Call, files: Files, tmp_path: Path) -> None:
    stored = files(3)
    whole = multipart(stored)

    def answer(asked: Asked) -> Says | None:
        if asked.path.endswith("/instances"):
            return listed(instances(3))
        if "/instances/" in asked.path:
            return None
        return Says(200, whole.body, whole.headers, cut=len(whole.body) // 2)

    with web(answer) as server:
        *_, last, error = call(server.url, study(tmp_path), retries=0)
    assert isinstance(error, ConnectionLost | ConnectionFailed)
    assert last.failed_uids == (instance(1), instance(2))
    assert kept(tmp_path) == all_of(1)


def test_what_is_there_whole_is_not_asked_for_again(call: Call, files: Files, tmp_path: Path) -> None:
    stored = files(4)
    with web(archive(stored)) as server:
        call(server.url, study(tmp_path))
        server.asked.clear()
        # One is gone, one is cut off, and one is another object.
        (tmp_path / f"{instance(0)}.dcm").unlink()
        path = tmp_path / f"{instance(1)}.dcm"
        path.write_bytes(path.read_bytes()[:-100])
        (tmp_path / f"{instance(2)}.dcm").write_bytes((tmp_path / f"{instance(3)}.dcm").read_bytes())
        *_, last = call(server.url, study(tmp_path, resume=True))
        assert last.is_complete
        assert last.received == 3
        assert [target.rpartition("/")[2] for target in server.targets[1:]] == [instance(n) for n in range(3)]
        assert kept(tmp_path) == all_of(4)
        server.asked.clear()
        (last,) = call(server.url, study(tmp_path, resume=True))
        assert last.is_complete
        assert (last.received, len(server.asked)) == (0, 1)


def test_resume_is_for_folders_and_for_http() -> None:
    with pytest.raises(ValueError, match="folder"):
        Peer("http://127.0.0.1/x").get("study", on_object=print, resume=True, StudyInstanceUID="1.2")
    with pytest.raises(ValueError, match="DICOMweb"):
        Peer("X@127.0.0.1:104").get("study", to=".", resume=True, StudyInstanceUID="1.2")


def test_several_requests_at_a_time(call: Call, files: Files, tmp_path: Path) -> None:
    """Each waits until as many are under way as may be."""
    import threading

    stored, barrier = files(6), threading.Barrier(3, timeout=20)

    def answer(asked: Asked) -> Says | None:
        if asked.path.endswith("/instances"):
            return listed(instances(6))
        if "/instances/" in asked.path:
            barrier.wait()
            return multipart([stored[int(asked.path.rpartition(".")[2])]])
        return Says(500)

    with web(answer) as server:
        *_, last = call(server.url, study(tmp_path), jobs=3)
    assert last.is_complete, last
    assert kept(tmp_path) == all_of(6)


def test_series_by_series_where_there_may_be_several_requests(
    call: Call, make: Make, encode: Encode, tmp_path: Path
) -> None:
    objects = {
        series: make(SeriesInstanceUID=series, SOPInstanceUID=f"{series}.1", InstanceNumber=number)
        for number, series in enumerate(("1.5", "1.6", "1.7"))
    }

    def answer(asked: Asked) -> Says | None:
        if asked.path.endswith("/instances"):
            return listed(
                match(StudyInstanceUID=STUDY, SeriesInstanceUID=uid, SOPInstanceUID=f"{uid}.1")
                for uid in objects
            )
        data_set = objects[asked.path.rpartition("/")[2]]
        return multipart([content(data_set, encode(data_set))])

    with web(answer) as server:
        *_, last = call(server.url, study(tmp_path), jobs=2)
    assert last.is_complete
    assert last.received == 3


def test_a_retrieval_that_is_left_ends(files: Files, tmp_path: Path) -> None:
    with web(archive(files(3))) as server:
        with Peer(server.url, jobs=2) as peer:
            next(iter(peer.get("study", to=tmp_path, StudyInstanceUID=STUDY)))

        async def leave() -> None:
            async with aio.Peer(server.url) as peer:
                async for _ in peer.get("study", to=tmp_path, StudyInstanceUID=STUDY):
                    break

        asyncio.run(leave())
    assert all(each.suffix == ".dcm" for each in tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_ends_it(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = files(3)

    def full(path: str, mode: str) -> FileIO:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dicomnet.exchange.receiving.FileIO", full)
    with web(archive(stored)) as server:
        *_, last, error = called(server.url, study(tmp_path))
    assert isinstance(error, ServiceRefusal)
    assert isinstance(error.__cause__, OSError)
    assert "No space" in str(last.local_failures[0])
    assert len(server.asked) == 2


def test_memory_does_not_grow_with_an_object(call: Call, make: Make, encode: Encode, tmp_path: Path) -> None:
    data_set = make(SOPInstanceUID=instance(0), InstanceNumber=0, PixelData=bytes(24 << 20))
    says = multipart([content(data_set, encode(data_set))])
    with web(archive([b""], study=says)) as server:
        tracemalloc.start()
        try:
            *_, last = call(server.url, study(tmp_path))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert last.is_complete
    # The server in this process copies the body once.
    assert peak < (24 << 20) + (16 << 20)


@pytest.mark.parametrize(("rate", "least"), [("100kB/s", 3.0), ("10/s", 0.6)])
def test_objects_come_no_faster_than_they_may(
    call: Call, make: Make, encode: Encode, tmp_path: Path, rate: str, least: float
) -> None:
    """Nor is the time that is waited for that the peer's: here a message has only half a second."""
    stored = []
    for number in range(10):
        data_set = make(SOPInstanceUID=instance(number), InstanceNumber=number, PixelData=bytes(35_000))
        stored.append(content(data_set, encode(data_set)))
    with web(archive(stored)) as server:
        begin = monotonic()
        *_, last = call(server.url, study(tmp_path, rate=rate), timeouts=Timeouts(message=0.5))
        seconds = monotonic() - begin
    assert not isinstance(last, Exception), last
    assert last.is_complete
    assert kept(tmp_path) == all_of(10)
    assert seconds > least
    assert len(server.asked) == 2


def test_a_rate_that_is_none(files: Files, tmp_path: Path) -> None:
    with web(archive(files(1))) as server, Peer(server.url) as peer:
        with pytest.raises(ValueError, match="is not a rate"):
            peer.get("study", to=tmp_path, StudyInstanceUID=STUDY, rate="fast")
