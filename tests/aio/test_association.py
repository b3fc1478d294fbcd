"""The normalized services in asyncio, in both roles: handlers, reports on the same association and on another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.loops import in_loop
from tests.sockets import VERIFICATION

from dicomnet import aio
from dicomnet.errors import AssociationAborted, AssociationClosed, NoAcceptedContext, ServiceRefusal
from dicomnet.pynetdicom.sop_class import (
    BasicFilmBox,
    BasicFilmSession,
    BasicGrayscalePrintManagementMeta,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

SERVICES = ("N-ACTION", "N-CREATE", "N-DELETE", "N-EVENT-REPORT", "N-GET", "N-SET")
INSTANCE = "1.2.3"
FILM = (str(BasicFilmSession), VERIFICATION)
COMMITMENT = str(StorageCommitmentPushModel)

Reply = tuple[Dataset, Dataset | None]


def data(**elements: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def plain(dataset: Dataset | None) -> dict[str, Any] | None:
    return None if dataset is None else {element.keyword: element.value for element in dataset}


async def send(assoc: aio.Association, service: str, uid: str = BasicFilmSession, **meta: str) -> Reply:
    """Any of the six, with some data set."""
    given = data(PatientID="X")
    if service == "N-DELETE":
        return await assoc.send_n_delete(uid, INSTANCE, **meta), None
    first: dict[str, tuple[Any, ...]] = {
        "N-ACTION": (given, 7),
        "N-CREATE": (given,),
        "N-EVENT-REPORT": (given, 7),
        "N-GET": ([0x00100020],),
        "N-SET": (given,),
    }
    method = getattr(assoc, "send_" + service.lower().replace("-", "_"))
    reply: Reply = await method(*first[service], uid, INSTANCE, **meta)
    return reply


async def serving(handlers: Mapping[str, aio.Handler], *uids: str, **options: Any) -> aio.AssociationServer:
    return await aio.serve(("127.0.0.1", 0), uids or FILM, handlers, **options)


def connect(server: aio.AssociationServer, *uids: str, **options: Any) -> Any:
    return aio.connect(f"LOOP@127.0.0.1:{server.address[1]}", uids or FILM, **options)


async def _pair(request: aio.Request) -> tuple[int, Dataset]:
    return 0x0000, data(PatientName="A")


def _plain(request: aio.Request) -> tuple[int, Dataset]:
    return 0x0000, data(PatientName="A")


async def _fails(request: aio.Request) -> tuple[int, Dataset]:
    raise ValueError("a bug in the handler")


async def _refuses(request: aio.Request) -> tuple[int, Dataset]:
    raise ServiceRefusal(0x0124, "no")


def _answers(answer: Any) -> Callable[[aio.Request], Any]:
    return lambda request: answer


A = {"PatientName": "A"}


@pytest.mark.parametrize("service", [each for each in SERVICES if each != "N-DELETE"])
@pytest.mark.parametrize(
    ("handler", "status", "reply"),
    [
        (_pair, {"Status": 0x0000}, A),
        (_plain, {"Status": 0x0000}, A),
        (_fails, {"Status": 0x0110}, None),
        (_refuses, {"Status": 0x0124, "ErrorComment": "no"}, None),
        (_answers(0x0000), {"Status": 0x0000}, {}),
        (_answers(0x0112), {"Status": 0x0112}, None),
        (_answers((0x0110, data(PatientName="A"))), {"Status": 0x0110}, None),
        (_answers((0xB600, data(PatientName="A"))), {"Status": 0xB600}, A),
        (_answers((data(Status=0xB600, ErrorID=5), None)), {"Status": 0xB600, "ErrorID": 5}, {}),
        (_answers(None), {"Status": 0xC002}, None),
        (_answers((0, None, None)), {"Status": 0xC002}, None),
        (_answers(Dataset()), {"Status": 0xC001}, None),
        (_answers((0, "x")), {"Status": 0x0110}, None),
        (None, {"Status": 0x0110}, None),
    ],
)
def test_what_a_handler_answers(
    service: str, handler: aio.Handler | None, status: dict[str, Any], reply: dict[str, Any] | None
) -> None:
    """As in the blocking driver, which is compared with pynetdicom."""

    @in_loop
    async def test() -> None:
        handlers = {service: handler} if handler is not None else {}
        async with await serving(handlers) as server, await connect(server) as assoc:
            got, found = await send(assoc, service)
            told = plain(got)
            assert told is not None
            assert {name: told.get(name) for name in status} == status
            assert plain(found) == reply
            assert (await assoc.send_c_echo()).Status == 0

    test()


@pytest.mark.parametrize(
    ("answer", "status"), [(0x0000, 0x0000), (0x0112, 0x0112), ((0, None), 0xC002), (None, 0xC002)]
)
def test_what_a_deletion_answers(answer: Any, status: int) -> None:
    @in_loop
    async def test() -> None:
        async with await serving({"N-DELETE": _answers(answer)}) as server, await connect(server) as assoc:
            assert (await assoc.send_n_delete(BasicFilmSession, INSTANCE)).Status == status

    test()


@in_loop
async def test_what_a_request_tells() -> None:
    got: list[tuple[dict[str, Any], dict[str, Any] | None]] = []

    async def handle(request: aio.Request) -> int:
        got.append((request.message.command, plain(request.dataset)))
        return 0

    meta = str(BasicGrayscalePrintManagementMeta)
    handlers = dict.fromkeys(SERVICES, handle)
    async with await serving(handlers, meta) as server, await connect(server, meta) as assoc:
        for number, service in enumerate(SERVICES, 1):
            assert (await send(assoc, service, BasicFilmBox, meta_uid=meta))[0].Status == 0
            command, dataset = got.pop()
            kind = "Affected" if service in ("N-CREATE", "N-EVENT-REPORT") else "Requested"
            assert command[f"{kind}SOPClassUID"] == BasicFilmBox
            assert command["MessageID"] == number
            assert dataset == ({} if service in ("N-DELETE", "N-GET") else {"PatientID": "X"})
        with pytest.raises(NoAcceptedContext):
            await send(assoc, "N-GET", BasicFilmBox)


@in_loop
async def test_the_instance_uid_that_a_peer_chooses() -> None:
    handler = _answers((0, data(AffectedSOPInstanceUID="1.2.9", PatientID="A")))
    async with await serving({"N-CREATE": handler}) as server, await connect(server) as assoc:
        status, attributes = await assoc.send_n_create(None, BasicFilmSession)
        assert status.AffectedSOPInstanceUID == "1.2.9"
        assert plain(attributes) == {"PatientID": "A"}


@in_loop
async def test_an_association_that_ends_raises() -> None:
    async def end(request: aio.Request) -> int:
        request.association.abort()
        return 0

    async with await serving(dict.fromkeys(SERVICES, end)) as server:
        for service in SERVICES:
            assoc = await connect(server)
            with pytest.raises(AssociationAborted):
                await send(assoc, service)
            with pytest.raises(AssociationClosed):
                await send(assoc, service)


# -- storage commitment


class Commitment:
    """An SCP that reports, and what the SCU was told."""

    def __init__(self) -> None:
        self.reports: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
        self.statuses: asyncio.Queue[int] = asyncio.Queue()
        self.tasks: set[asyncio.Task[None]] = set()

    async def report(self, assoc: aio.Association, transaction: str) -> None:
        status, reply = await assoc.send_n_event_report(
            data(TransactionUID=transaction), 2, COMMITMENT, StorageCommitmentPushModelInstance
        )
        assert plain(reply) == {}
        self.statuses.put_nowait(status.Status)

    async def on_report(self, request: aio.Request) -> int:
        event_type = request.message.command["EventTypeID"]
        self.reports.put_nowait((event_type, str(request.dataset.TransactionUID)))
        return 0

    async def commit(self, assoc: aio.Association, transaction: str) -> int:
        status, _ = await assoc.send_n_action(
            data(TransactionUID=transaction), 1, COMMITMENT, StorageCommitmentPushModelInstance
        )
        return int(status.Status)

    def begin(self, report: Any) -> None:
        task = asyncio.get_running_loop().create_task(report)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def check_report(self, transaction: str) -> None:
        assert await self.reports.get() == (2, transaction)
        assert await self.statuses.get() == 0


@pytest.mark.parametrize("is_within", [True, False])
def test_a_report_on_the_same_association(is_within: bool) -> None:
    @in_loop
    async def test() -> None:
        commitment = Commitment()

        async def on_action(request: aio.Request) -> int:
            report = commitment.report(request.association, request.dataset.TransactionUID)
            if is_within:
                await report
            else:
                commitment.begin(report)
            return 0

        handlers = {"N-EVENT-REPORT": commitment.on_report}
        uids = (COMMITMENT, VERIFICATION)
        async with await serving({"N-ACTION": on_action}, *uids) as server:
            async with await connect(server, *uids, handlers=handlers) as assoc:
                for transaction in ("1.2.1", "1.2.2"):
                    assert await commitment.commit(assoc, transaction) == 0
                    await commitment.check_report(transaction)
                wanted = {f"1.2.{number}" for number in range(20)}
                for transaction in wanted:
                    assert await commitment.commit(assoc, transaction) == 0
                    assert (await assoc.send_c_echo()).Status == 0
                assert {(await commitment.reports.get())[1] for _ in wanted} == wanted
                assert {await commitment.statuses.get() for _ in wanted} == {0}

    test()


@pytest.mark.parametrize("has_role", [True, False])
def test_a_report_on_an_association_that_the_scp_opens(has_role: bool) -> None:
    @in_loop
    async def test() -> None:
        commitment = Commitment()
        roles = {COMMITMENT: (False, True)}

        async def report(port: int, transaction: str) -> None:
            asked = roles if has_role else None
            async with await aio.connect(f"SCU@127.0.0.1:{port}", [COMMITMENT], roles=asked) as assoc:
                (context,) = assoc.accepted_contexts
                assert (context.as_scu, context.as_scp) == (not has_role, has_role)
                await commitment.report(assoc, transaction)

        waiting = await serving({"N-EVENT-REPORT": commitment.on_report}, COMMITMENT, roles=roles)

        async def on_action(request: aio.Request) -> int:
            commitment.begin(report(waiting.address[1], request.dataset.TransactionUID))
            return 0

        async with waiting, await serving({"N-ACTION": on_action}, COMMITMENT) as server:
            async with await connect(server, COMMITMENT) as assoc:
                assert await commitment.commit(assoc, "1.2.5") == 0
            await commitment.check_report("1.2.5")

    test()


@in_loop
async def test_a_requestor_without_handlers_answers_all_the_same() -> None:
    got: list[int] = []

    async def on_action(request: aio.Request) -> int:
        got.append((await send(request.association, "N-EVENT-REPORT", COMMITMENT))[0].Status)
        with pytest.raises(NoAcceptedContext):
            await send(request.association, "N-ACTION", COMMITMENT)
        return 0

    async with await serving({"N-ACTION": on_action}, COMMITMENT) as server:
        async with await connect(server, COMMITMENT) as assoc:
            assert (await send(assoc, "N-ACTION", COMMITMENT))[0].Status == 0
    assert got == [0x0110]
