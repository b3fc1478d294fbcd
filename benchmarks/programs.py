"""The child processes that measure their own time and print it in seconds; run as `-m benchmarks.programs`.

dicomnet and pynetdicom have the same API, so a program that uses an AE is written once; the library is an argument.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from pydicom.dataset import Dataset

from .processes import HOST

_VERIFICATION = "1.2.840.10008.1.1"
_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_CT = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT = "1.2.840.10008.1.2.1"
_CONTEXTS = {_VERIFICATION: None, _STUDY_ROOT_FIND: None, _CT: _EXPLICIT}
_SUCCESS, _PENDING = 0x0000, 0xFF00
_MATCHES: dict[str, str] = {
    "StudyDate": "20240131",
    "StudyTime": "101112",
    "AccessionNumber": "A{0}",
    "ModalitiesInStudy": "CT",
    "StudyDescription": "Thorax {0}",
    "PatientName": "Bench^Mark {0}",
    "PatientID": "BENCH-{0}",
    "PatientBirthDate": "19700101",
    "PatientSex": "O",
    "StudyInstanceUID": "2.25.{0}",
    "StudyID": "{0}",
    "NumberOfStudyRelatedInstances": "{0}",
}


def _entity(library: str) -> Any:
    entity = import_module(library).AE()
    for uid, syntax in _CONTEXTS.items():
        entity.add_supported_context(uid, *filter(None, (syntax,)))
    return entity


def _associate(library: str, port: int, abstract_syntax: str) -> Any:
    entity = import_module(library).AE()
    entity.add_requested_context(abstract_syntax, *filter(None, (_CONTEXTS[abstract_syntax],)))
    association = entity.associate(HOST, port)
    if not association.is_established:
        raise SystemExit("the association was not established")
    return association


def _match(number: int) -> Dataset:
    dataset = Dataset()
    for keyword, text in _MATCHES.items():
        setattr(dataset, keyword, text.format(number))
    return dataset


def _query() -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    for keyword in _MATCHES:
        setattr(query, keyword, None)
    return query


def serve(library: str, port: int, matches: int, associations: int) -> None:
    """Serve C-ECHO, and C-FIND with a fixed number of matches, until SIGTERM."""
    evt = import_module(library).evt
    found = [_match(number) for number in range(1, matches + 1)]

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        for dataset in found:
            yield _PENDING, dataset

    entity = _entity(library)
    entity.maximum_associations = associations
    handlers = [(evt.EVT_C_ECHO, lambda event: _SUCCESS), (evt.EVT_C_FIND, find)]
    server = entity.start_server((HOST, port), block=False, evt_handlers=handlers)
    _wait_for_the_end()
    server.shutdown()


async def _aio_serve(library: str, port: int, matches: int) -> None:
    """The same with coroutines."""
    found = [_match(number) for number in range(1, matches + 1)]

    async def find(request: Any) -> AsyncIterator[tuple[int, Dataset]]:
        for dataset in found:
            yield _PENDING, dataset

    contexts = (_VERIFICATION, _STUDY_ROOT_FIND)
    server = await import_module(f"{library}.aio").serve((HOST, port), contexts, {"C-FIND": find})
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    async with server:
        await ending.wait()


def _wait_for_the_end() -> None:
    signal.sigwait({signal.SIGTERM})


def echo(library: str, port: int, count: int) -> float:
    """C-ECHOs on one association of an AE."""
    association = _associate(library, port, _VERIFICATION)
    begin = perf_counter()
    for _ in range(count):
        association.send_c_echo()
    seconds = perf_counter() - begin
    association.release()
    return seconds


def associations(library: str, port: int, count: int) -> float:
    """Associate, C-ECHO, release."""
    entity = import_module(library).AE()
    entity.add_requested_context(_VERIFICATION)
    begin = perf_counter()
    for _ in range(count):
        association = entity.associate(HOST, port)
        association.send_c_echo()
        association.release()
    return perf_counter() - begin


def find(library: str, port: int, count: int) -> float:
    """A C-FIND that has ``count`` matches."""
    association = _associate(library, port, _STUDY_ROOT_FIND)
    query = _query()
    begin = perf_counter()
    found = sum(identifier is not None for _, identifier in association.send_c_find(query, _STUDY_ROOT_FIND))
    seconds = perf_counter() - begin
    association.release()
    _check(found, count)
    return seconds


def store(library: str, port: int, folder: str, first: str) -> float:
    """Send the files of a folder with `Association.send_c_store`, each by its path. ``first`` is not used."""
    association = _associate(library, port, _CT)
    begin = perf_counter()
    stored = 0
    files = sorted(Path(folder).iterdir())
    for path in files:
        stored += association.send_c_store(path).get("Status") == _SUCCESS
    seconds = perf_counter() - begin
    association.release()
    _check(stored, len(files))
    return seconds


def hold(library: str, port: int, count: int) -> None:
    """Keep associations open until SIGTERM; prints ``ready`` when all of them are."""
    kept = [_associate(library, port, _VERIFICATION) for _ in range(count)]
    print("ready", flush=True)
    _wait_for_the_end()
    for association in kept:
        association.abort()


def peer_echo(library: str, port: int, count: int) -> float:
    """Send C-ECHOs with a blocking `Peer`, on the association that a first C-ECHO opened."""
    with import_module(library).Peer(f"{HOST}:{port}") as peer:
        peer.echo()
        begin = perf_counter()
        for _ in range(count):
            peer.echo()
        return perf_counter() - begin


def peer_find(library: str, port: int, count: int) -> float:
    """A query with a blocking `Peer`."""
    with import_module(library).Peer(f"{HOST}:{port}") as peer:
        begin = perf_counter()
        _check(sum(1 for _ in peer.find("study", **dict.fromkeys(_MATCHES))), count)
        return perf_counter() - begin


def peer_store(library: str, port: int, folder: str, first: str) -> float:
    """Send the files of a folder with a blocking `Peer`, on the association that sending ``first`` opened."""
    with import_module(library).Peer(f"{HOST}:{port}") as peer:
        _check(sum(result.is_stored for result in peer.store(first)), 1)
        begin = perf_counter()
        results = [result.is_stored for result in peer.store(folder)]
        seconds = perf_counter() - begin
    _check(sum(results), len(results))
    return seconds


async def _aio_echo(library: str, port: int, count: int) -> float:
    async with import_module(f"{library}.aio").Peer(f"{HOST}:{port}") as peer:
        await peer.echo()
        begin = perf_counter()
        for _ in range(count):
            await peer.echo()
        return perf_counter() - begin


async def _aio_find(library: str, port: int, count: int) -> float:
    connect = import_module(f"{library}.aio").connect
    async with await connect(f"{HOST}:{port}", (_STUDY_ROOT_FIND,)) as association:
        query = _query()
        begin = perf_counter()
        found = 0
        async for _, identifier in association.send_c_find(query, _STUDY_ROOT_FIND):
            found += identifier is not None
        seconds = perf_counter() - begin
    _check(found, count)
    return seconds


async def _aio_store(library: str, port: int, folder: str, first: str) -> float:
    async with import_module(f"{library}.aio").Peer(f"{HOST}:{port}") as peer:
        _check(len([result async for result in peer.store(first)]), 1)
        begin = perf_counter()
        results = [result.is_stored async for result in peer.store(folder)]
        seconds = perf_counter() - begin
    _check(sum(results), len(results))
    return seconds


def _check(found: int, expected: int) -> None:
    if found != expected:
        raise SystemExit(f"{found} instead of {expected}")


_COUNTING = {
    "echo": echo,
    "associations": associations,
    "find": find,
    "hold": hold,
    "peer-echo": peer_echo,
    "peer-find": peer_find,
    "aio-echo": lambda *given: asyncio.run(_aio_echo(*given)),
    "aio-find": lambda *given: asyncio.run(_aio_find(*given)),
}
_STORING = {
    "store": store,
    "peer-store": peer_store,
    "aio-store": lambda *given: asyncio.run(_aio_store(*given)),
}


def main() -> None:
    """Run a program. Arguments: ``PROGRAM LIBRARY PORT``, and those of the program."""
    program, library, port, *rest = sys.argv[1:]
    if program in ("serve", "hold"):
        # Before there are threads, so that none of them gets it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if program == "aio-serve":
        asyncio.run(_aio_serve(library, int(port), int(rest[0])))
        return
    if program == "serve":
        serve(library, int(port), int(rest[0]), int(rest[1]))
        return
    seconds = (
        _STORING[program](library, int(port), *rest)
        if program in _STORING
        else _COUNTING[program](library, int(port), int(rest[0]))
    )
    if seconds is not None:
        print(seconds)


if __name__ == "__main__":
    main()
