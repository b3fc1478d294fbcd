"""The asyncio face: handlers of every kind, foreign peers on both sides, and many associations in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE as ForeignAE  # noqa: N811
from pynetdicom import evt as foreign_evt
from tests.associations import ct_image, match, query, serving_ae
from tests.loops import in_loop, until
from tests.sockets import CT_IMAGE_STORAGE, IMPLICIT_VR_LE, PATIENT_ROOT_FIND, VERIFICATION
from tests.support import free_port, is_listening, run_tool, running_process, tool, wait_until

from dicomnet import AE, aio, evt
from dicomnet.dimse.datasets import MemorySink
from dicomnet.errors import (
    AssociationAborted,
    AssociationRejected,
    NoAcceptedContext,
    ServiceRefusal,
)

CONTEXTS = (VERIFICATION, CT_IMAGE_STORAGE, PATIENT_ROOT_FIND)
PATIENT_ROOT_GET, PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.3", "1.2.840.10008.5.1.4.1.2.1.2"


async def serving(**handlers: Callable[[aio.Request], Any]) -> aio.AssociationServer:
    named = {name.replace("_", "-"): handler for name, handler in handlers.items()}
    return await aio.serve(("127.0.0.1", 0), CONTEXTS, named, ae_title="LOOP")


def connect(server: aio.AssociationServer, **options: Any) -> Any:
    return aio.connect(f"LOOP@127.0.0.1:{server.address[1]}", CONTEXTS, **options)


async def find(assoc: aio.Association) -> tuple[list[str], int]:
    """The names that are found, and the final status."""
    names, last = [], 0
    async for status, each in assoc.send_c_find(query(), PATIENT_ROOT_FIND):
        last = status.Status
        if each is not None:
            names.append(str(each.PatientName))
    return names, last


# -- handlers


class Callable_:
    async def __call__(self, request: aio.Request) -> int:
        return 0xB000


async def _coroutine(request: aio.Request, status: int = 0xB000) -> int:
    return status


def _plain(request: aio.Request) -> int:
    assert threading.current_thread() is not threading.main_thread()
    return 0xB000


@pytest.mark.parametrize(
    "handler", [_coroutine, _plain, partial(_coroutine, status=0xB000), Callable_(), lambda request: 0xB000]
)
def test_every_kind_of_handler(handler: Callable[[aio.Request], Any]) -> None:
    @in_loop
    async def test() -> None:
        async with await serving(C_STORE=handler) as server, await connect(server) as assoc:
            assert (await assoc.send_c_store(ct_image())).Status == 0xB000

    test()


async def _async_matches(request: aio.Request) -> AsyncIterator[tuple[int, Dataset | None]]:
    for name in "AB":
        yield 0xFF00, match(name)


def _matches(request: aio.Request) -> Iterator[tuple[int, Dataset | None]]:
    assert threading.current_thread() is not threading.main_thread()
    for name in "AB":
        yield 0xFF00, match(name)


async def _list(request: aio.Request) -> list[tuple[int, Dataset | None]]:
    return [(0xFF00, match(name)) for name in "AB"] + [(0x0000, None)]


async def _fails_at_once(request: aio.Request) -> int:
    raise RuntimeError("broken")


async def _fails_later(request: aio.Request) -> AsyncIterator[tuple[int, Dataset | None]]:
    yield 0xFF00, match("A")
    raise RuntimeError("broken")


def _fails_in_a_thread(request: aio.Request) -> Iterator[tuple[int, Dataset | None]]:
    yield 0xFF00, match("A")
    raise RuntimeError("broken")


async def _refuses(request: aio.Request) -> AsyncIterator[tuple[int, Dataset | None]]:
    yield 0xFF01, match("A")
    raise ServiceRefusal(0xA700, "too much")


async def _no_identifier(request: aio.Request) -> AsyncIterator[tuple[int, Dataset | None]]:
    yield 0xFF00, None


async def _not_encodable(request: aio.Request) -> AsyncIterator[tuple[int, Dataset | None]]:
    wrong = Dataset()
    wrong.Rows = "many"
    yield 0xFF00, wrong


@pytest.mark.parametrize(
    ("handler", "names", "status"),
    [
        (_async_matches, ["A", "B"], 0x0000),
        (_matches, ["A", "B"], 0x0000),
        (_list, ["A", "B"], 0x0000),
        (partial(_coroutine, status=0xA900), [], 0xA900),
        (_refuses, ["A"], 0xA700),
    ],
)
def test_every_kind_of_find_handler(
    handler: Callable[[aio.Request], Any], names: list[str], status: int
) -> None:
    @in_loop
    async def test() -> None:
        async with await serving(C_FIND=handler) as server, await connect(server) as assoc:
            assert await find(assoc) == (names, status)
            assert (await assoc.send_c_echo()).Status == 0

    test()


@pytest.mark.parametrize(
    ("handler", "names", "status"),
    [
        (_fails_at_once, [], 0xC311),
        (_fails_later, ["A"], 0xC311),
        (_fails_in_a_thread, ["A"], 0xC311),
        (_no_identifier, [], 0xC312),
        (_not_encodable, [], 0xC311),
        (lambda request: None, [], 0xC311),
        (lambda request: [(0xFF00,)], [], 0xC311),
        (lambda request: [(Dataset(), None)], [], 0xC001),
        (lambda request: [("no status", None)], [], 0xC002),
    ],
)
def test_a_find_handler_that_fails(
    handler: Callable[[aio.Request], Any], names: list[str], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    @in_loop
    async def test() -> None:
        async with await serving(C_FIND=handler) as server, await connect(server) as assoc:
            assert await find(assoc) == (names, status)
            assert (await assoc.send_c_echo()).Status == 0

    with caplog.at_level(logging.CRITICAL, "pydicom"):
        test()


@pytest.mark.parametrize(
    ("answer", "status"),
    [(None, 0xC002), ("0000", 0xC002), (-1, 0xC002), (0x10000, 0xC002), (1.5, 0xC002), (Dataset(), 0xC001)],
)
def test_a_store_handler_that_returns_no_status(answer: object, status: int) -> None:
    @in_loop
    async def test() -> None:
        async with await serving(C_STORE=lambda request: answer) as server, await connect(server) as assoc:
            assert (await assoc.send_c_store(ct_image())).Status == status
            assert (await assoc.send_c_echo()).Status == 0

    test()


def _status(code: int, comment: str) -> Dataset:
    status = Dataset()
    status.Status = code
    status.ErrorComment = comment
    # The response has no room for this one.
    status.PatientName = "Doe"
    return status


@in_loop
async def test_a_status_with_further_elements() -> None:
    """As handlers of pynetdicom may return one."""

    async def find_nothing(request: aio.Request) -> Dataset:
        return _status(0xA900, "no such key")

    async def find_one(request: aio.Request) -> AsyncIterator[tuple[Any, Dataset | None]]:
        yield 0xFF00, match("A")
        yield _status(0xC001, "no more"), None

    store = lambda request: _status(0xB000, "coerced")  # noqa: E731
    for handler, told in ((find_nothing, "no such key"), (find_one, "no more")):
        async with await serving(C_STORE=store, C_FIND=handler) as server, await connect(server) as assoc:
            stored = await assoc.send_c_store(ct_image())
            assert (stored.Status, stored.ErrorComment) == (0xB000, "coerced")
            assert "PatientName" not in stored
            responses = [each async for each in assoc.send_c_find(query(), PATIENT_ROOT_FIND)]
            assert responses[-1][0].ErrorComment == told
            assert [str(each.PatientName) for _, each in responses if each] == ["A"] * (len(responses) - 1)


@in_loop
async def test_what_nobody_handles() -> None:
    async with await serving() as server, await connect(server) as assoc:
        assert (await assoc.send_c_echo()).Status == 0
        assert (await assoc.send_c_store(ct_image())).Status == 0xC211
        assert await find(assoc) == ([], 0xC311)


@in_loop
async def test_what_a_handler_is_told() -> None:
    told: list[aio.Request] = []

    async def store(request: aio.Request) -> int:
        told.append(request)
        return 0

    async with await serving(C_STORE=store) as server, await connect(server, calling="ME") as assoc:
        await assoc.send_c_store(ct_image(100))
    (request,) = told
    assert (request.calling, request.called) == ("ME", "LOOP")
    assert request.dataset.PatientName == "Test^Image"
    assert len(request.dataset.PixelData) == 100
    assert request.context.abstract_syntax == CT_IMAGE_STORAGE


@in_loop
async def test_matches_do_not_wait_for_a_handler_that_looks_for_more() -> None:
    go_on = asyncio.Event()

    async def handler(request: aio.Request) -> AsyncIterator[tuple[int, Dataset]]:
        for number in range(5):
            yield 0xFF00, match(f"Doe^{number}")
        await go_on.wait()
        yield 0xFF00, match("Doe^Last")

    async with await serving(C_FIND=handler) as server, await connect(server) as assoc:
        responses = assoc.send_c_find(query(), PATIENT_ROOT_FIND)
        found = [str((await anext(responses))[1].PatientName) for _ in range(5)]
        assert found == [f"Doe^{number}" for number in range(5)]
        go_on.set()
        assert [status.Status async for status, _ in responses] == [0xFF00, 0x0000]


@in_loop
async def test_a_handler_in_a_thread_knows_of_a_cancel() -> None:
    over = threading.Event()

    def endless(request: aio.Request) -> Iterator[tuple[int, Dataset | None]]:
        try:
            yield 0xFF00, match("A")
            wait_until(lambda: request.is_cancelled)
            yield 0xFE00, None
        finally:
            over.set()

    async with await serving(C_FIND=endless) as server, await connect(server) as assoc:
        names, last = [], 0
        async for status, each in assoc.send_c_find(query(), PATIENT_ROOT_FIND):
            last = status.Status
            if each is not None:
                names.append(str(each.PatientName))
                await assoc.send_c_cancel(1, PATIENT_ROOT_FIND)
        assert (names, last) == (["A"], 0xFE00)
    assert over.is_set()


@in_loop
async def test_a_handler_whose_peer_is_gone_knows() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def store(request: aio.Request) -> int:
        asked.set()
        await until(lambda: request.is_cancelled)
        gone.set()
        return 0

    async with await serving(C_STORE=store) as server:
        assoc = await connect(server)
        storing = asyncio.create_task(assoc.send_c_store(ct_image()))
        await asked.wait()
        assoc._link.close()
        await gone.wait()
        await asyncio.gather(storing, return_exceptions=True)


class _FileSink(MemorySink):
    pass


@in_loop
async def test_a_sink_of_the_users_own() -> None:
    sinks: list[object] = []

    async def store(request: aio.Request) -> int:
        sinks.append(request.message.data)
        return 0

    server = await aio.serve(
        ("127.0.0.1", 0), CONTEXTS, {"C-STORE": store}, open_sink=lambda *_: _FileSink(1 << 20)
    )
    async with server, await connect(server) as assoc:
        assert (await assoc.send_c_store(ct_image(100))).Status == 0
        assert (await assoc.send_c_store(ct_image(2 << 20))).Status == 0xA700
    assert [type(each) for each in sinks] == [_FileSink]


# -- asking


@in_loop
async def test_what_cannot_be_asked() -> None:
    async with await aio.serve(("127.0.0.1", 0), [VERIFICATION], require_called=True) as server:
        with pytest.raises(AssociationRejected) as raised:
            await aio.connect(f"OTHER@127.0.0.1:{server.address[1]}", [VERIFICATION])
        assert (raised.value.source, raised.value.reason) == (1, 7)
        async with await aio.connect(
            f"DICOMNET@127.0.0.1:{server.address[1]}", [VERIFICATION, CT_IMAGE_STORAGE]
        ) as assoc:
            assert [each.abstract_syntax for each in assoc.accepted_contexts] == [VERIFICATION]
            with pytest.raises(NoAcceptedContext):
                await assoc.send_c_store(ct_image())
            with pytest.raises(ValueError):
                assoc.send_c_find(query(), PATIENT_ROOT_FIND)
    for address in ("nowhere", "A" * 17 + "@host:104", "host:0", "::1:104"):
        with pytest.raises(ValueError):
            await aio.connect(address, [VERIFICATION])


@in_loop
async def test_an_error_inside_the_block_aborts() -> None:
    async with await serving() as server:
        with pytest.raises(KeyError):
            async with await connect(server) as assoc:
                raise KeyError
        assert not assoc.is_established


@in_loop
async def test_two_hundred_associations_at_once() -> None:
    received: set[str] = set()

    async def store(request: aio.Request) -> int:
        received.add(request.calling)
        await asyncio.sleep(0)
        return 0

    async with await serving(C_STORE=store, C_FIND=_async_matches) as server:
        everybody = asyncio.Barrier(200)

        async def use(number: int) -> None:
            async with await connect(server, calling=f"SCU{number}") as assoc:
                await everybody.wait()
                assert server.established == 200
                assert (await assoc.send_c_store(ct_image(10_000))).Status == 0
                assert await find(assoc) == (["A", "B"], 0)
                await everybody.wait()

        await asyncio.gather(*map(use, range(200)))
    assert len(received) == 200


# -- foreign peers


@contextlib.asynccontextmanager
async def serving_all(received: list[bytes]) -> AsyncIterator[int]:
    async def store(request: aio.Request) -> int:
        received.append(bytes(request.data))
        return 0

    async with await serving(C_STORE=store, C_FIND=_async_matches) as server:
        yield server.address[1]


@in_loop
async def test_dcmtk_asks_us(tmp_path: Path) -> None:
    received: list[bytes] = []
    image = ct_image(50_000)
    path = tmp_path / "image.dcm"
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(path, enforce_file_format=True)
    async with serving_all(received) as port:
        where = ["127.0.0.1", str(port)]

        def run(command: list[str]) -> Any:
            return asyncio.to_thread(run_tool, command)

        echoed = await run([tool("echoscu"), *where])
        stored = await run([tool("storescu"), "-v", *where, str(path)])
        found = await run(
            [tool("findscu"), "-v", "-P", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientName", *where]
        )
        cancelled = await run(
            [tool("findscu"), "-v", "-P", "--cancel", "1", "-k", "QueryRetrieveLevel=PATIENT", *where]
        )
    assert [each.returncode for each in (echoed, stored, found, cancelled)] == [0, 0, 0, 0]
    assert "Received Store Response (Success)" in stored.stderr + stored.stdout
    assert len(received) == 1
    assert (found.stdout + found.stderr).count("PatientName") >= 2


@in_loop
async def test_pynetdicom_asks_us() -> None:
    def ask(port: int) -> list[int]:
        ae = ForeignAE()
        for uid in CONTEXTS:
            ae.add_requested_context(uid, IMPLICIT_VR_LE)
        assoc = ae.associate("127.0.0.1", port)
        assert assoc.is_established
        statuses = [assoc.send_c_echo().Status, assoc.send_c_store(ct_image(50_000)).Status]
        statuses += [status.Status for status, _ in assoc.send_c_find(query(), PATIENT_ROOT_FIND)]
        assoc.release()
        return statuses

    received: list[bytes] = []
    async with serving_all(received) as port:
        assert await asyncio.to_thread(ask, port) == [0, 0, 0xFF00, 0xFF00, 0]
    assert len(received) == 1


@in_loop
async def test_we_ask_pynetdicom() -> None:
    ae = ForeignAE()
    for uid in CONTEXTS:
        ae.add_supported_context(uid)
    handlers: list[Any] = [
        (foreign_evt.EVT_C_STORE, lambda event: 0xB007),
        (foreign_evt.EVT_C_FIND, lambda event: iter([(0xFF00, match("A"))])),
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        address = f"127.0.0.1:{server.server_address[1]}"
        async with await aio.connect(address, CONTEXTS) as assoc:
            assert (await assoc.send_c_echo()).Status == 0
            assert (await assoc.send_c_store(ct_image(50_000))).Status == 0xB007
            assert await find(assoc) == (["A"], 0)
    finally:
        await asyncio.to_thread(server.shutdown)


def test_we_ask_dcmtk(tmp_path: Path) -> None:
    port = free_port()

    @in_loop
    async def test() -> None:
        async with await aio.connect(f"127.0.0.1:{port}", CONTEXTS) as assoc:
            assert (await assoc.send_c_echo()).Status == 0
            assert (await assoc.send_c_store(ct_image(50_000))).Status == 0

    with running_process([tool("storescp"), "--ignore", str(port)], tmp_path):
        wait_until(lambda: is_listening(port))
        test()


def test_we_ask_our_blocking_server() -> None:
    handlers: list[Any] = [
        (evt.EVT_C_STORE, lambda event: 0x0000),
        (evt.EVT_C_FIND, lambda event: iter([(0xFF00, match("A"))])),
    ]
    with serving_ae(handlers) as server:

        @in_loop
        async def test() -> None:
            async with await aio.connect(f"127.0.0.1:{server.server_address[1]}", CONTEXTS) as assoc:
                assert (await assoc.send_c_store(ct_image(50_000))).Status == 0
                assert await find(assoc) == (["A"], 0)

        test()


@in_loop
async def test_our_blocking_client_asks_us() -> None:
    def ask(port: int) -> list[int]:
        ae = AE()
        for uid in CONTEXTS:
            ae.add_requested_context(uid)
        assoc = ae.associate("127.0.0.1", port)
        statuses = [assoc.send_c_echo().Status, assoc.send_c_store(ct_image(50_000)).Status]
        statuses += [status.Status for status, _ in assoc.send_c_find(query(), PATIENT_ROOT_FIND)]
        assoc.release()
        return statuses

    async with serving_all([]) as port:
        assert await asyncio.to_thread(ask, port) == [0, 0, 0xFF00, 0xFF00, 0]


# -- retrieving; what holds in both faces is in test_retrieval.py

RETRIEVING = (*CONTEXTS, PATIENT_ROOT_GET, PATIENT_ROOT_MOVE)


@in_loop
async def test_a_request_from_inside_a_retrieve() -> None:
    """It gets its own response, and no object is lost."""
    got: list[str] = []

    async def get(request: aio.Request) -> AsyncIterator[Any]:
        yield 3
        for number in range(3):
            yield 0xFF00, numbered(number)

    async def store(request: aio.Request) -> int:
        got.append(request.dataset.SOPInstanceUID)
        return 0

    serve = aio.serve(("127.0.0.1", 0), RETRIEVING, {"C-GET": get}, roles={CT_IMAGE_STORAGE: (True, True)})
    async with await serve as server:
        address = f"LOOP@127.0.0.1:{server.address[1]}"
        handlers = {"C-STORE": store}
        connection = aio.connect(
            address, RETRIEVING, handlers=handlers, roles={CT_IMAGE_STORAGE: (False, True)}
        )
        async with await connection as assoc:
            statuses = []
            async for status, _ in assoc.send_c_get(query(), PATIENT_ROOT_GET):
                statuses.append(status.Status)
                assert (await assoc.send_c_echo()).Status == 0
    assert statuses == [0xFF00, 0xFF00, 0xFF00, 0x0000]
    assert got == ["1.2.3.0", "1.2.3.1", "1.2.3.2"]


@in_loop
async def test_a_server_that_shuts_down_in_the_middle_of_a_move() -> None:
    """The handler ends, the association with the destination is aborted, and nothing is left in the loop."""
    closed, arrived = asyncio.Event(), asyncio.Event()
    ended: list[str] = []

    async def store(request: aio.Request) -> int:
        arrived.set()
        await until(lambda: request.is_cancelled, "the association with the destination is aborted")
        return 0

    async def move(request: aio.Request) -> AsyncIterator[Any]:
        try:
            yield "127.0.0.1", there.address[1]
            yield 2
            yield 0xFF00, numbered(1)
            ended.append("there is no second one")
        finally:
            closed.set()

    async with await aio.serve(("127.0.0.1", 0), CONTEXTS, {"C-STORE": store}) as there:
        async with await aio.serve(("127.0.0.1", 0), RETRIEVING, {"C-MOVE": move}) as server:
            assoc = await aio.connect(f"LOOP@127.0.0.1:{server.address[1]}", RETRIEVING)
            responses = assoc.send_c_move(query(), "DESTINATION", PATIENT_ROOT_MOVE)
            first = asyncio.ensure_future(anext(responses))
            await arrived.wait()
            await server.shutdown()
            with pytest.raises(AssociationAborted):
                await first
        await closed.wait()
        await until(lambda: not there.established)
    assert not ended


def numbered(number: int) -> Dataset:
    image = ct_image()
    image.SOPInstanceUID = f"1.2.3.{number}"
    return image
