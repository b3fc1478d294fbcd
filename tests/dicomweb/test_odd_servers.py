"""Servers that do what they should not: nothing is lost, mixed up or taken for whole, and no secret is told."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import threading
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from tests.dicomweb.test_retrieving import Encode, Files, Make, all_of, archive, kept, study
from tests.dicomweb.test_retrieving import files as files
from tests.grids import grid
from tests.support import data_set_of, dicomnet, free_port, run_tool, running_process, wait_until
from tests.web import (
    FACES,
    JSON,
    SERIES,
    STUDY,
    Asked,
    Says,
    called,
    content,
    instance,
    instances,
    listed,
    match,
    multipart,
    saying,
    serving,
    web,
)

from dicomnet import Bearer, Peer, Timeouts, aio
from dicomnet.dicomweb.credentials import Basic
from dicomnet.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    HTTPRefusal,
    ProtocolError,
)
from dicomnet.exchange.receiving import ReceiverHooks
from dicomnet.exchange.results import RetrieveProgress, StoreResult

Call = Callable[..., list[Any]]

DEEP = b"[" * 100_000
UNLISTED = Says(501)


@pytest.fixture(params=FACES)
def call(request: pytest.FixtureRequest) -> Call:
    face: Call = FACES[request.param]
    return face


@pytest.fixture
def folder(make: Make, encode: Encode, tmp_path: Path) -> Path:
    """Three objects in files."""
    to = tmp_path / "files"
    to.mkdir()
    for number in range(3):
        made = make(SOPInstanceUID=instance(number))
        (to / f"{number}.dcm").write_bytes(content(made, encode(made)))
    return to


def find(peer: Any) -> Any:
    return peer.find("study")


def spoken(kind: str, body: bytes, *fields: str, status: str = "200 OK") -> bytes:
    """A response as bytes, with no field but these."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def told(uid: str, reason: int | None = None) -> dict[str, Any]:
    """What is said of an object in the answer to a store: with a reason, that it has failed."""
    item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    return item if reason is None else item | {"00081197": {"vr": "US", "Value": [reason]}}


def module(stored: list[str], failed: dict[str, int], status: int = 202) -> Says:
    """A Store Instances Response Module."""
    model = {
        "00081199": {"vr": "SQ", "Value": [told(uid) for uid in stored]},
        "00081198": {"vr": "SQ", "Value": [told(uid, reason) for uid, reason in failed.items()]},
    }
    return Says(status, json.dumps(model).encode(), {"Content-Type": JSON})


# -- queries


def test_json_without_end_of_depth_was_an_error_of_python(call: Call, folder: Path) -> None:
    with web(lambda asked: Says(200, DEEP, {"Content-Type": JSON})) as server:
        (error,) = call(server.url, find)
        assert isinstance(error, ProtocolError)
        (error,) = call(server.url, lambda peer: peer.store([folder]))
        assert isinstance(error, ProtocolError)
    with web(lambda asked: Says(400, DEEP, {"Content-Type": JSON})) as server:
        (error,) = call(server.url, find)
        assert isinstance(error, HTTPRefusal)


ODD_VALUES: dict[str, dict[str, Any]] = {
    "no number": {"00101020": {"vr": "DS", "Value": [float("nan")]}},
    "too large": {"00201206": {"vr": "IS", "Value": [float("inf")]}},
    "words for a number": {"00201206": {"vr": "IS", "Value": ["many"]}},
    "no VR": {"00080050": {"Value": ["A1"]}},
    "no list": {"00080050": {"vr": "SH", "Value": "A1"}},
    "a name of numbers": {"00100010": {"vr": "PN", "Value": [{"Alphabetic": 5}]}},
    "no base 64": {"00420011": {"vr": "OB", "InlineBinary": "%%%"}},
    "no tag": {"links": {"self": "/studies"}},
    "a group that ends": {"0010001": {"vr": "PN"}},
}


@grid("name", ODD_VALUES)
def test_a_value_that_is_none_cost_its_match(name: str) -> None:
    model = match(StudyInstanceUID="1.2.3", PatientID="P1") | ODD_VALUES[name]
    with web(lambda asked: listed([model])) as server:
        (found,) = called(server.url, find)
    assert (found.StudyInstanceUID, found.PatientID) == ("1.2.3", "P1")


def test_a_match_whose_uid_cannot_be_read_is_no_match(call: Call) -> None:
    models = [{"0020000D": {"vr": "UI", "Value": [5]}}, match(StudyInstanceUID="1.2.3")]
    with web(lambda asked: listed(models)) as server:
        found, error = call(server.url, find)
    assert found.StudyInstanceUID == "1.2.3"
    assert isinstance(error, ProtocolError)


def pages(asked: Asked, most: int, count: int) -> Says:
    """A page of studies, of which a peer gives so many at a time at most, and does not say that there are more."""
    offset, limit = int(asked.query.get("offset", ["0"])[0]), int(asked.query["limit"][0])
    end = min(offset + min(most, limit), count)
    return listed([match(StudyInstanceUID=f"1.2.{number}") for number in range(offset, end)])


@pytest.mark.parametrize(("most", "count"), [(100, 250), (64, 100), (250, 250)])
def test_a_peer_that_gives_less_than_is_asked_for_hid_the_rest(call: Call, most: int, count: int) -> None:
    with web(lambda asked: pages(asked, most, count)) as server:
        found = call(server.url, find)
    assert [each.StudyInstanceUID for each in found] == [f"1.2.{number}" for number in range(count)]


@pytest.mark.parametrize("status", [204, 400, 404])
def test_a_number_of_matches_that_looks_like_a_limit_may_be_all(call: Call, status: int) -> None:
    def answer(asked: Asked) -> Says:
        return Says(status) if "offset" in asked.query else pages(asked, 1000, 50)

    with web(answer) as server:
        assert len(call(server.url, find)) == 50
    assert len(server.asked) == 2
    # Nor does one that gives them again have more.
    with web(lambda asked: listed(match(StudyInstanceUID=f"1.2.{number}") for number in range(50))) as server:
        assert len(call(server.url, find)) == 50


@pytest.mark.parametrize("status", [400, 413])
def test_a_peer_that_refuses_a_large_limit_could_not_be_searched(call: Call, status: int) -> None:
    """That of Azure, for one, allows 200."""

    def answer(asked: Asked) -> Says:
        return Says(status) if int(asked.query["limit"][0]) > 200 else pages(asked, 200, 230)

    with web(answer) as server:
        assert len(call(server.url, find)) == 230


@pytest.mark.parametrize(
    "model", [{"00080060": {"vr": "CS", "Value": ["CT"]}}, {"0020000D": {"vr": "UI", "Value": [1]}}]
)
def test_a_page_again_and_again_whose_matches_nothing_tells_apart_had_no_end(
    call: Call, model: dict[str, Any]
) -> None:
    with web(lambda asked: listed([model] * 1000)) as server:
        *_, error = call(server.url, find)
    assert isinstance(error, ProtocolError)
    assert "same matches again" in str(error)
    assert len(server.asked) == 2


def test_a_warning_behind_another_says_that_there_is_more(call: Call) -> None:
    warning = '199 - "cached", 299 web.example: There are 2 additional results that can be requested'

    def answer(asked: Asked) -> Says:
        page = pages(asked, 3, 5)
        return listed(json.loads(page.body), **({} if "offset" in asked.query else {"Warning": warning}))

    with web(answer) as server:
        assert len(call(server.url, find)) == 5


# -- retrievals


@grid("name", ["nothing", "no parts", "a part of it"])
def test_an_answer_without_all_objects_was_a_success(name: str, files: Files, tmp_path: Path) -> None:
    """Where the peer does not list them, nothing else says what is missing."""
    says = {
        "nothing": Says(204),
        "no parts": multipart([]),
        "a part of it": Says(206, multipart(files(2)).body, multipart([]).headers),
    }[name]
    for face, call in FACES.items():
        with web(archive(files(3), search=UNLISTED, study=says)) as server:
            *_, last, error = call(server.url, study(tmp_path / face))
        assert not last.is_complete
        assert isinstance(error, HTTPRefusal)


def test_an_object_whose_length_nobody_told_was_whole_where_an_element_ended(
    call: Call, files: Files, tmp_path: Path
) -> None:
    """The connection ends in front of the pixel data, and what has come can be read to its end."""
    whole = files(1)[0]
    begin = whole[: whole.index(b"\xe0\x7f\x10\x00")]
    listing = spoken(JSON, listed(instances(1)).body)
    with saying(listing, spoken("application/dicom", begin)) as url:
        *_, error = call(url, study(tmp_path))
    assert isinstance(error, ProtocolError)
    assert kept(tmp_path) == {}
    with saying(listing, spoken("application/dicom", whole, f"Content-Length: {len(whole)}")) as url:
        *_, last = call(url, study(tmp_path))
    assert last.is_complete
    assert kept(tmp_path) == all_of(1)


@grid("name", ["page", "damaged", "deep"])
def test_a_list_that_cannot_be_read_ended_a_retrieval(name: str, files: Files, tmp_path: Path) -> None:
    search = {
        "page": Says(200, b"<html>", {"Content-Type": "text/html"}),
        "damaged": listed([*instances(2), {"x": 1}]),
        "deep": Says(200, DEEP, {"Content-Type": JSON}),
    }[name]
    with web(archive(files(3), search=search)) as server:
        *_, last = called(server.url, study(tmp_path))
    assert isinstance(last, RetrieveProgress)
    assert last.is_complete
    assert kept(tmp_path) == all_of(3)


@grid("name", ["damaged", "short"])
def test_an_answer_that_was_cut_off_was_complete_where_the_list_was_not(
    name: str, files: Files, tmp_path: Path
) -> None:
    """All that is listed has come, and something else was on its way."""
    stored = files(4)
    search, cut = {
        "damaged": (listed([*instances(2), {"x": 1}]), len(multipart(stored[:3]).body) - 50),
        "short": (listed(instances(2)), len(multipart(stored).body) - 50),
    }[name]
    answer = multipart(stored)
    says = Says(200, answer.body, answer.headers, cut=cut)
    for face, call in FACES.items():
        with web(archive(stored, search=search, study=says)) as server:
            found = call(server.url, study(tmp_path / face))
        last = next(each for each in reversed(found) if isinstance(each, RetrieveProgress))
        assert not last.is_complete
        assert "lost" in last.comment


def test_a_compression_that_was_not_asked_for_is_named(call: Call, files: Files, tmp_path: Path) -> None:
    says = multipart(files(1))
    odd = Says(200, says.body, {**says.headers, "Content-Encoding": "compress"})
    with web(archive(files(1), study=odd, instance=odd)) as server:
        *_, error = call(server.url, study(tmp_path))
    assert isinstance(error, ProtocolError)
    assert "compressed as compress" in str(error)


# -- stores


@pytest.mark.parametrize("reason", [0xB00E, 0xB007, 0x0001, 0xFF00, 0, -1, 99_999_999])
def test_an_object_that_has_failed_was_stored_where_the_reason_is_a_warning_elsewhere(
    call: Call, folder: Path, reason: int
) -> None:
    """Azure says B00E of an object that it has already, maybe another one, and keeps that."""
    says = module([instance(0), instance(2)], {instance(1): reason})
    with web(lambda asked: says) as server:
        found: list[StoreResult] = call(server.url, lambda peer: peer.store([folder]))
    assert [each.is_stored for each in found] == [True, False, True]
    assert found[1].status == 0x0110


def test_a_peer_that_has_stopped_cost_the_time_of_an_answer_for_each_object(
    call: Call, make: Make, encode: Encode, tmp_path: Path
) -> None:
    for number in range(20):
        made = make(SOPInstanceUID=instance(number))
        (tmp_path / f"{number}.dcm").write_bytes(content(made, encode(made)))
    connections: list[Any] = []
    over = threading.Event()

    def mute(connection: Any) -> None:
        connections.append(connection)
        with connection:
            over.wait(30)

    with serving(mute) as url:
        (error,) = call(url, lambda peer: peer.store([tmp_path]), timeouts=Timeouts(message=0.02), retries=0)
        over.set()
    assert isinstance(error, DeadlineExceeded)
    assert len(connections) == 4


# -- who asks, and where it goes


REDIRECTIONS = {
    "no address": ("http://[::1/", "an address that is none"),
    "a control character": ("/x\x01y", "an address that is none"),
    "no port": ("http://127.0.0.1:99999/", "an address that is none"),
    "by TLS": ("https://127.0.0.1{port}/dicom-web/studies", "https://127.0.0.1"),
}


@grid("name", REDIRECTIONS)
def test_a_redirection_to_what_is_no_address_was_an_error_of_python(name: str) -> None:
    location, words = REDIRECTIONS[name]
    for call in FACES.values():
        with saying(
            b"HTTP/1.1 302 Found\r\nLocation: " + location.format(port="").encode() + b"\r\n\r\n"
        ) as url:
            (error,) = call(url, find, credentials=Bearer("s3cret"))
        assert isinstance(error, HTTPRefusal), error
        assert words in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "https://jane:s3/cret@pacs.example/",
        "https://jane:s3#cret@pacs.example/",
        "https://jane:s3?cret@pacs.example/",
        "https://pacs.example/?key=s3",
        "ftp://pacs.example/?key=s3",
    ],
)
def test_a_secret_in_an_address_that_is_not_taken_was_told(text: str) -> None:
    with pytest.raises(ValueError, match="address") as raised:
        Peer(text)
    assert "s3" not in str(raised.value)


@pytest.mark.parametrize("host", ["127.a.b.example", "127.0.0.1.example", "localhost.example"])
def test_a_token_went_without_tls_to_a_host_whose_name_begins_like_this_machine(host: str) -> None:
    with pytest.raises(ValueError, match="without TLS"):
        Peer(f"http://{host}/dicom-web", credentials=Bearer("x"))


def test_a_token_was_none_while_another_lane_renewed_it() -> None:
    """One thread had found it there, another one took it away."""
    begun, go_on = threading.Event(), threading.Event()
    given = 0

    def token() -> str:
        nonlocal given
        given += 1
        if given == 2:
            begun.set()
            go_on.wait(30)
        return f"t{given}"

    bearer = Bearer(token)
    assert bearer.header() == "Bearer t1"
    bearer.renew()
    renewing = threading.Thread(target=bearer.header)
    renewing.start()
    assert begun.wait(30)
    # It waits for what the other one has asked for.
    seen: list[str] = []
    waiting = threading.Thread(target=lambda: seen.append(bearer.header()))
    waiting.start()
    go_on.set()
    renewing.join()
    waiting.join()
    assert seen == ["Bearer t2"]
    assert given == 2


def test_one_token_is_asked_for_whatever_the_number_of_lanes(
    call: Call, files: Files, tmp_path: Path
) -> None:
    tokens: list[str] = []
    barrier = threading.Barrier(2)

    def token() -> str:
        tokens.append(f"t{len(tokens)}")
        return tokens[-1]

    whole = archive(files(4))

    def answer(asked: Asked) -> Says | None:
        is_one = asked.path.rpartition("/")[0].endswith("instances")
        if is_one and asked.headers["Authorization"] == "Bearer t0":
            barrier.wait(30)
            return Says(401)
        return whole(asked)

    uids = [instance(number) for number in range(2)]
    with web(answer) as server:
        *_, last = call(
            server.url,
            lambda peer: peer.get(
                "image", to=tmp_path, StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, SOPInstanceUID=uids
            ),
            credentials=Bearer(token),
            jobs=2,
        )
    assert last.is_complete, last
    assert len(tokens) <= 3


PROXIES = {
    "without a scheme": ("127.0.0.1:{port}", "its proxy 127.0.0.1 is not reached"),
    "of another kind": ("ftp://jane:s3cret@127.0.0.1:{port}", "is the address of none"),
    "SOCKS": ("socks5://jane:s3cret@127.0.0.1:{port}", "httpx[socks]"),
    "no address": ("http://jane:s3cret@[::1", "is the address of none"),
    "nobody there": ("http://jane:s3cret@127.0.0.1:{port}", "its proxy 127.0.0.1 is not reached"),
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """One that names no proxy."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_that_cannot_be_used_is_named(
    call: Call, name: str, variable: str, environment: pytest.MonkeyPatch
) -> None:
    text, words = PROXIES[name]
    environment.setenv(variable, text.format(port=free_port()))
    (error,) = call("http://pacs.example/dicom-web", find)
    assert isinstance(error, ConnectionFailed), error
    assert words in str(error)
    assert "s3cret" not in str(error)


def test_what_was_for_this_machine_went_to_a_proxy_with_its_token(
    call: Call, environment: pytest.MonkeyPatch
) -> None:
    with web(lambda asked: listed([])) as proxy, web(lambda asked: listed([])) as server:
        environment.setenv("http_proxy", proxy.url.removesuffix("/dicom-web"))
        assert call(server.url, find, credentials=Bearer("x")) == []
        assert (len(proxy.asked), len(server.asked)) == (0, 1)
        # Anything else goes there, by the names that the environment excepts.
        call("http://pacs.example/dicom-web", find)
        assert [each.target.partition("?")[0] for each in proxy.asked] == [
            "http://pacs.example/dicom-web/studies"
        ]
        environment.setenv("no_proxy", "pacs.example:80")
        (error,) = call("http://pacs.example/dicom-web", find, timeouts=Timeouts(connect=5))
        assert isinstance(error, ConnectionFailed)
        assert len(proxy.asked) == 1


def test_neither_names_nor_secrets_are_logged(
    call: Call, caplog: pytest.LogCaptureFixture, folder: Path, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)

    def answer(asked: Asked) -> Says:
        if asked.method == "POST" or "offset" in asked.query:
            return Says(503, headers={"Retry-After": "0"})
        return listed([match(StudyInstanceUID=f"1.2.{number}") for number in range(1000)])

    with web(answer) as server:
        for credentials in (Bearer("s3cret"), Basic("jane", "s3cret")):
            found = call(
                server.url, lambda peer: peer.find("study", PatientName="Doe^J*"), credentials=credentials
            )
            assert isinstance(found[-1], HTTPRefusal)
            call(server.url, lambda peer: peer.store([folder]), credentials=credentials)
            assert "s3cret" not in repr(credentials) + str(found[-1])
    assert "amFuZTpzM2NyZXQ" not in caplog.text
    assert "s3cret" not in caplog.text
    assert "Doe" not in caplog.text


# -- interrupts


def test_an_interrupt_while_a_file_was_made_left_it_in_the_folder(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes behind the call of the system that makes it, and before anybody has it."""
    made: list[str] = []

    class Interrupted(FileIO):
        def __init__(self, path: str, mode: str) -> None:
            super().__init__(path, mode)
            made.append(path)
            if len(made) == 2:
                self.close()
                raise KeyboardInterrupt

    monkeypatch.setattr("dicomnet.exchange.receiving.FileIO", Interrupted)
    with web(archive(files(3))) as server, pytest.raises(KeyboardInterrupt), Peer(server.url) as peer:
        list(peer.get("study", to=tmp_path, StudyInstanceUID=STUDY))
    assert len(made) == 2
    assert kept(tmp_path) == all_of(1)


def test_an_interrupt_before_anybody_had_the_file_left_it_in_the_folder(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    open_sink = ReceiverHooks.open_sink

    def interrupted(self: ReceiverHooks, message: Any, context: Any) -> Any:
        sink = open_sink(self, message, context)
        opened.append(sink.path)  # type: ignore[attr-defined]
        if len(opened) == 2:
            raise KeyboardInterrupt
        return sink

    monkeypatch.setattr(ReceiverHooks, "open_sink", interrupted)
    with web(archive(files(3))) as server, pytest.raises(KeyboardInterrupt), Peer(server.url) as peer:
        list(peer.get("study", to=tmp_path, StudyInstanceUID=STUDY))
    gc.collect()
    assert len(opened) == 2
    assert kept(tmp_path) == all_of(1)


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_task_that_is_cancelled_leaves_whole_files_and_the_rest_is_resumed(
    jobs: int, files: Files, tmp_path: Path
) -> None:
    """After each number of answers in turn; nothing is left open."""
    stored = files(6)
    before = threading.active_count()

    async def cancelled(url: str, to: Path, answers: int) -> None:
        async with aio.Peer(url, jobs=jobs) as peer:
            task = asyncio.create_task(taken(peer, to, answers))
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def taken(peer: aio.Peer, to: Path, answers: int) -> None:
        async for _ in peer.get("study", to=to, resume=True, StudyInstanceUID=STUDY):
            answers -= 1
            if not answers:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()

    for answers in range(1, 7):
        to = tmp_path / str(answers)
        with web(archive(stored)) as server:
            asyncio.run(cancelled(server.url, to, answers))
            some = kept(to)
            assert set(some.items()) <= set(all_of(6).items())
            begun = len(server.asked)
            *_, last = called(server.url, study(to, resume=True), jobs=jobs)
            assert last.is_complete
            assert last.received == 6 - len(some)
            again = {each.path.rpartition("/")[2] for each in server.asked[begun:]}
            assert not again & {name.removesuffix(".dcm") for name in some}
        assert kept(to) == all_of(6)
    wait_until(lambda: threading.active_count() <= before + 1, what="the threads have ended")


def test_a_command_that_is_killed_leaves_whole_files_and_the_rest_is_resumed(
    files: Files, tmp_path: Path
) -> None:
    """Files are those of the peer, and no object comes twice."""
    stored = files(4)
    whole = multipart(stored)
    half = Says(200, whole.body, whole.headers, cut=len(whole.body) // 2)
    reached, go_on = threading.Event(), threading.Event()
    command = dicomnet(
        "get", "--resume", "-k", f"StudyInstanceUID={STUDY}", "--to", str(tmp_path / "to"), "--json", "URL"
    )

    def answer(asked: Asked) -> Says | None:
        found = archive(stored, study=half)(asked)
        if asked.path.endswith(instance(3)) and not go_on.is_set():
            # All others are here.
            reached.set()
            go_on.wait(30)
            return None
        return found

    with web(answer) as server:
        words = [server.url if each == "URL" else each for each in command]
        with running_process(words, tmp_path) as process:
            assert reached.wait(30)
            process.kill()
            process.wait()
        go_on.set()
        some = {each.name for each in (tmp_path / "to").glob("*.dcm")}
        assert some == {f"{instance(number)}.dcm" for number in range(3)}
        before = len(server.asked)
        again = run_tool(words)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout.splitlines()[-1])["received"] == 1
    asked_again = [each.path.rpartition("/")[2] for each in server.asked[before:]]
    assert asked_again == ["instances", instance(3)]
    for number in range(4):
        got = data_set_of(tmp_path / "to" / f"{instance(number)}.dcm")
        assert stored[number].endswith(got)
