"""C-GET and C-MOVE in both faces under one shape each, for tests that must hold in both."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, NamedTuple

import pynetdicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from dicomnet import AE, aio, build_context, build_role, evt
from dicomnet.drivers.deadline import Timeouts

from .sockets import CT_IMAGE_STORAGE, IMPLICIT_VR_LE, PATIENCE

GET = "1.2.840.10008.5.1.4.1.2.1.3"
MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
MODELS = {"C-GET": GET, "C-MOVE": MOVE}
PENDING = 0xFF00
COUNTS = ("Remaining", "Completed", "Failed", "Warning")

# Given the request, which has `is_cancelled`, it yields what a handler of pynetdicom's users yields.
Handler = Callable[[Any], Any]
# Given a SOP Instance UID, it answers with a status.
Store = Callable[[str], int]


class Response(NamedTuple):
    """A response as its user sees it: status, the counts that it has, and what it says has failed."""

    status: int
    counts: dict[str, int]
    failed: tuple[str, ...] | None


def stored(uid: str) -> int:
    """A storage SCP that takes anything."""
    return 0x0000


def image(number: int, sop_class: str = CT_IMAGE_STORAGE, syntax: str = IMPLICIT_VR_LE) -> Dataset:
    """An object with the SOP Instance UID 1.2.3.``number``."""
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = f"1.2.3.{number}"
    dataset.PatientName = "Test^Image"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset


def identifier() -> Dataset:
    """An Identifier at the patient level."""
    dataset = Dataset()
    dataset.QueryRetrieveLevel = "PATIENT"
    dataset.PatientID = "1"
    return dataset


# -- SCPs


@contextlib.contextmanager
def in_thread(serve: Callable[[], Any]) -> Iterator[int]:
    """An `aio.AssociationServer` in an event loop of its own; gives its port."""
    ready: queue.SimpleQueue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = queue.SimpleQueue()

    async def run() -> None:
        over = asyncio.Event()
        async with await serve() as server:
            ready.put((server.address[1], asyncio.get_running_loop(), over))
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    port, loop, over = ready.get(timeout=PATIENCE)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(PATIENCE)
    assert not thread.is_alive()


def storage(uids: Iterable[str]) -> dict[str, list[str]]:
    return {uid: [IMPLICIT_VR_LE] for uid in uids}


@contextlib.contextmanager
def ae_scp(
    handlers: dict[str, Handler], uids: Iterable[str] = (CT_IMAGE_STORAGE,), **properties: Any
) -> Iterator[int]:
    """`dicomnet.AE`."""
    ae = AE("SCP")
    for name, value in properties.items():
        setattr(ae, name, value)
    for uid in MODELS.values():
        ae.add_supported_context(uid)
    for uid, syntaxes in storage(uids).items():
        ae.add_supported_context(uid, syntaxes, scu_role=True, scp_role=True)
    bound = [(evt.EVENTS[f"EVT_{name.replace('-', '_')}"], handler) for name, handler in handlers.items()]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=bound)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        ae.shutdown()


@contextlib.contextmanager
def aio_scp(
    handlers: dict[str, Handler], uids: Iterable[str] = (CT_IMAGE_STORAGE,), **properties: Any
) -> Iterator[int]:
    """`dicomnet.aio.serve`."""
    contexts = storage([*MODELS.values(), *uids])

    async def serve() -> aio.AssociationServer:
        timeouts = Timeouts(message=properties.get("dimse_timeout", 30))
        return await aio.serve(
            ("127.0.0.1", 0),
            contexts,
            handlers,
            ae_title="SCP",
            roles=dict.fromkeys(uids, (True, True)),
            timeouts=timeouts,
        )

    with in_thread(serve) as port:
        yield port


SCPS: dict[str, Any] = {"AE": ae_scp, "aio": aio_scp}


@contextlib.contextmanager
def destination(store: Store = stored, uids: Iterable[str] = (CT_IMAGE_STORAGE,)) -> Iterator[int]:
    """A storage SCP that objects are moved to."""
    ae = AE("DESTINATION")
    for uid, syntaxes in storage(uids).items():
        ae.add_supported_context(uid, syntaxes)

    def on_store(event: evt.Event) -> int:
        return store(event.request.AffectedSOPInstanceUID)

    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        ae.shutdown()


# -- SCUs

# Told how many responses there were; whether to cancel.
OnResponse = Callable[[int], bool]


def read(status: Dataset, failed: Dataset | None) -> Response:
    """A response from what the generators of both faces give."""
    names = {name: f"NumberOf{name}Suboperations" for name in COUNTS}
    counts = {name: int(status[keyword].value) for name, keyword in names.items() if keyword in status}
    uids = None if failed is None else failed.get("FailedSOPInstanceUIDList", ())
    if isinstance(uids, str):
        uids = (uids,)
    return Response(int(status.Status), counts, None if uids is None else tuple(map(str, uids or ())))


def retrieve_by_ae(
    port: int, service: str, store: Store = stored, on_response: OnResponse | None = None
) -> list[Response]:
    """`dicomnet.AE`."""

    def on_store(event: evt.Event) -> int:
        return store(event.request.AffectedSOPInstanceUID)

    uids = (CT_IMAGE_STORAGE,)
    contexts = [build_context(uid) for uid in MODELS.values()]
    contexts += [build_context(uid, syntaxes) for uid, syntaxes in storage(uids).items()]
    roles = [build_role(uid, scp_role=True) for uid in uids]
    assoc = AE("SCU").associate(
        "127.0.0.1", port, contexts, ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, on_store)]
    )
    assert assoc.is_established
    responses = []
    found = (
        assoc.send_c_get(identifier(), GET)
        if service == "C-GET"
        else assoc.send_c_move(identifier(), "DESTINATION", MOVE)
    )
    for status, failed in found:
        responses.append(read(status, failed))
        if on_response is not None and on_response(len(responses)):
            assoc.send_c_cancel(1, query_model=MODELS[service])
    assert assoc.is_established
    assoc.release()
    assert assoc.is_released
    return responses


def retrieve_by_aio(
    port: int, service: str, store: Store = stored, on_response: OnResponse | None = None
) -> list[Response]:
    """`dicomnet.aio.connect`."""

    async def on_store(request: aio.Request) -> int:
        return store(request.message.command["AffectedSOPInstanceUID"])

    async def run() -> list[Response]:
        contexts = storage([*MODELS.values(), CT_IMAGE_STORAGE])
        assoc = await aio.connect(
            f"SCP@127.0.0.1:{port}",
            contexts,
            calling="SCU",
            handlers={"C-STORE": on_store},
            roles={CT_IMAGE_STORAGE: (False, True)},
        )
        responses = []
        async with assoc:
            found = (
                assoc.send_c_get(identifier(), GET)
                if service == "C-GET"
                else assoc.send_c_move(identifier(), "DESTINATION", MOVE)
            )
            async for status, failed in found:
                responses.append(read(status, failed))
                if on_response is not None and on_response(len(responses)):
                    await assoc.send_c_cancel(1, MODELS[service])
            assert assoc.is_established
        return responses

    return asyncio.run(run())


SCUS = {"AE": retrieve_by_ae, "aio": retrieve_by_aio}


async def slowly(parts: Iterable[Any]) -> AsyncIterator[Any]:
    """The same parts from an asynchronous generator."""
    for part in parts:
        await asyncio.sleep(0)
        yield part


JPEG = "1.2.840.10008.1.2.4.50"


scps = pytest.mark.parametrize("scp", SCPS.values(), ids=SCPS.keys())


def answering(service: str, parts: Callable[[Any], Iterator[Any]], port: int | None) -> dict[str, Any]:
    """A handler for one of the services, which for a C-MOVE begins with the destination."""

    def handler(request: Any) -> Iterator[Any]:
        if service == "C-MOVE":
            yield "127.0.0.1", port
        yield from parts(request)

    return {service: handler}


def counts(response: Response) -> tuple[int, ...]:
    """Completed, failed and with a warning."""
    return tuple(response.counts[name] for name in ("Completed", "Failed", "Warning"))


def two_images(request: Any) -> Iterator[Any]:
    yield 2
    yield PENDING, image(1)
    yield PENDING, image(2)


def broken() -> Any:
    raise RuntimeError("broken")


def of_pynetdicom(service: str, handler: Any, ended: tuple[int, ...] | None) -> int:
    """The final status of pynetdicom, which has the same counts."""
    ae = pynetdicom.AE("SCP")
    ae.supported_contexts = [pynetdicom.build_context(uid) for uid in MODELS.values()]
    ae.add_supported_context(CT_IMAGE_STORAGE, IMPLICIT_VR_LE, scu_role=True, scp_role=True)
    ae.add_requested_context(CT_IMAGE_STORAGE, IMPLICIT_VR_LE)
    event = getattr(pynetdicom.evt, f"EVT_{service.replace('-', '_')}")
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(event, handler)])
    assert server is not None
    try:
        final = retrieve_by_ae(server.server_address[1], service)[-1]
    finally:
        server.shutdown()
    assert ended is None or counts(final) == ended
    return final.status
