"""200 associations of one event loop at once, each with queries and objects of its own, and every result is checked."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.associations import ct_image
from tests.interop.peers import aio_server
from tests.sockets import CT_IMAGE_STORAGE, IMPLICIT_VR_LE, PATIENT_ROOT_FIND

from dicomnet import AE, aio, evt

ASSOCIATIONS = 200
OBJECTS = 3
MATCHES = 5


class Archive:
    """What both servers do: they keep each object by its UID, and find what names the one who asks."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def store(self, calling: str, dataset: Dataset) -> int:
        with self._lock:
            uid = str(dataset.SOPInstanceUID)
            if uid in self.objects:
                return 0x0111
            self.objects[uid] = calling, str(dataset.PatientName)
        return 0xB000 if uid.endswith(".1") else 0x0000

    def find(self, calling: str, identifier: Dataset) -> Iterator[tuple[int, Dataset]]:
        for number in range(MATCHES):
            match = Dataset()
            match.QueryRetrieveLevel = "PATIENT"
            match.PatientName = f"{calling}^{identifier.PatientID}^{number}"
            yield 0xFF00, match


@contextlib.contextmanager
def blocking(archive: Archive) -> Iterator[int]:
    ae = AE("SCP")
    ae.maximum_associations = ASSOCIATIONS
    ae.add_supported_context(CT_IMAGE_STORAGE)
    ae.add_supported_context(PATIENT_ROOT_FIND)

    def store(event: evt.Event) -> int:
        return archive.store(event.assoc.requestor.ae_title, event.dataset)

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        return archive.find(event.assoc.requestor.ae_title, event.identifier)

    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_C_FIND, find)]
    )
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@contextlib.contextmanager
def in_asyncio(archive: Archive) -> Iterator[int]:
    async def store(request: aio.Request) -> int:
        return archive.store(request.calling, request.dataset)

    async def find(request: aio.Request) -> Any:
        for each in archive.find(request.calling, request.dataset):
            yield each

    contexts = [CT_IMAGE_STORAGE, PATIENT_ROOT_FIND]
    with aio_server(contexts, {"C-STORE": store, "C-FIND": find}) as port:
        yield port


def own_image(number: int, index: int) -> Dataset:
    dataset = ct_image(4096)
    dataset.SOPInstanceUID = f"1.2.{number}.{index}"
    dataset.PatientName = f"Own^{number}"
    return dataset


async def work(port: int, number: int, together: asyncio.Barrier) -> tuple[list[int], list[list[str]]]:
    """Statuses of the objects, and the names of the matches of each query."""
    contexts = {CT_IMAGE_STORAGE: [IMPLICIT_VR_LE], PATIENT_ROOT_FIND: [IMPLICIT_VR_LE]}
    statuses: list[int] = []
    found: list[list[str]] = []
    async with await aio.connect(f"SCP@127.0.0.1:{port}", contexts, calling=f"C{number}") as assoc:
        await together.wait()
        for index in range(OBJECTS):
            statuses.append((await assoc.send_c_store(own_image(number, index))).Status)
            identifier = Dataset()
            identifier.QueryRetrieveLevel = "PATIENT"
            identifier.PatientID = f"{number}-{index}"
            names = []
            async for status, match in assoc.send_c_find(identifier, PATIENT_ROOT_FIND):
                names.append(f"{status.Status:04X} {match.PatientName if match else ''}".strip())
            found.append(names)
    return statuses, found


@pytest.mark.parametrize("serving", [blocking, in_asyncio])
def test_200_associations_at_once(
    serving: Callable[[Archive], contextlib.AbstractContextManager[int]],
) -> None:
    """None gets the answer of another, and none is lost."""
    archive = Archive()

    async def run(port: int) -> list[tuple[list[int], list[list[str]]]]:
        # Nobody begins before all are established.
        together = asyncio.Barrier(ASSOCIATIONS)
        async with asyncio.timeout(60):
            return await asyncio.gather(*(work(port, number, together) for number in range(ASSOCIATIONS)))

    with serving(archive) as port:
        results = asyncio.run(run(port))
    for number, (statuses, found) in enumerate(results):
        assert statuses == [0x0000, 0xB000, 0x0000]
        assert found == [
            [*(f"FF00 C{number}^{number}-{index}^{each}" for each in range(MATCHES)), "0000"]
            for index in range(OBJECTS)
        ]
    assert archive.objects == {
        f"1.2.{number}.{index}": (f"C{number}", f"Own^{number}")
        for number in range(ASSOCIATIONS)
        for index in range(OBJECTS)
    }
