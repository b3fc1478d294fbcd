"""What both drivers do alike, over real sockets: every step of a procedure, grouped stores, release, message IDs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, Protocol, TypeVar, get_args

import pytest
from tests.sockets import (
    ABORT_BY_USER,
    CT_IMAGE_STORAGE,
    IMPLICIT_VR_LE,
    PATIENCE,
    PATIENT_ROOT_FIND,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    RawPeer,
    acceptance_of,
    echo_pdus,
    message_pdus,
    raw_server,
    request_pdu,
    store_pdus,
)
from tests.support import wait_until

from dicomnet.dimse.codec import decode_command
from dicomnet.dimse.datasets import MemorySink, Sink
from dicomnet.dimse.messages import C_ECHO_RQ, C_FIND_RQ, C_FIND_RSP, C_STORE_RQ, Message, respond
from dicomnet.drivers.acse import free_message_id
from dicomnet.drivers.aio import link as aio_link
from dicomnet.drivers.aio import opening as aio_opening
from dicomnet.drivers.aio.server import Server as AioServer
from dicomnet.drivers.blocking import link as blocking_link
from dicomnet.drivers.blocking import opening as blocking_opening
from dicomnet.drivers.blocking.server import Server as BlockingServer
from dicomnet.drivers.deadline import Timeouts
from dicomnet.drivers.hooks import Hooks, Phase
from dicomnet.drivers.reception import Reception
from dicomnet.drivers.transport import Address, listen
from dicomnet.errors import ServiceRefusal
from dicomnet.exchange.messages import cancel_request
from dicomnet.services.steps import (
    Answer,
    Batch,
    Cancelled,
    Deliver,
    Finish,
    Handle,
    MoreStores,
    Next,
    PlaceStores,
    Procedure,
    Receive,
    Respond,
    Send,
    SettleStores,
    Step,
    Store,
    Stores,
    SubOperation,
    Work,
)
from dicomnet.services.user import many_replies, one_reply
from dicomnet.upper_layer.negotiation import (
    Acceptor,
    Agreement,
    NegotiatedContext,
    SupportedContext,
    accept,
    identification_items,
)
from dicomnet.wire.items import ImplementationClassUID, MaximumLength, ProposedContext
from dicomnet.wire.pdu import AssociateAC, AssociateRJ, AssociateRQ

Value = TypeVar("Value")
Link = blocking_link.Link | aio_link.Link

TIMEOUTS = Timeouts(connect=5, association=5, message=5, idle=30)
CONTEXTS = ((1, VERIFICATION), (3, CT_IMAGE_STORAGE), (5, PATIENT_ROOT_FIND))
CONTEXT = NegotiatedContext(3, CT_IMAGE_STORAGE, 0, IMPLICIT_VR_LE, True, False)
SUPPORTED = Acceptor(
    {uid: SupportedContext((IMPLICIT_VR_LE,)) for _, uid in CONTEXTS},
    identification_items(16384, "1.2.3", None),
    performed_window=16,
)
REQUEST = AssociateRQ(
    "CALLED",
    "CALLING",
    tuple(ProposedContext(number, uid, (IMPLICIT_VR_LE,)) for number, uid in CONTEXTS),
    (MaximumLength(16384), ImplementationClassUID("1.2.3.4")),
)


class User:
    """The user's side of an association. It keeps what it is asked for.

    Parameters
    ----------
    stores
        Performs C-STORE requests; without it, `handle` does.
    """

    def __init__(self, stores: Stores | None = None) -> None:
        self._stores = stores
        self.asked: list[Any] = []
        self.sinks: list[MemorySink] = []
        self.links: list[Any] = []

    @property
    def stores(self) -> Stores | None:
        return self._stores

    def negotiate(self, request: AssociateRQ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        return accept(request, SUPPORTED)

    def open_sink(self, message: Message, context: NegotiatedContext) -> Sink:
        self.sinks.append(MemorySink(1 << 20))
        return self.sinks[-1]

    def handle(self, message: Message, context: NegotiatedContext) -> Any:
        self.asked.append(message.type)
        return Answer(0x0000)

    def next_answer(self, answers: Any) -> Any:
        self.asked.append(answers)
        return Answer(0xFF00)

    def store(self, retrieval: Any, sub_operation: SubOperation) -> Any:
        self.asked.append((retrieval, sub_operation))
        return "stored"

    def finish(self, retrieval: Any) -> Any:
        self.asked.append(retrieval)

    def refused(self, message: Message, refusal: ServiceRefusal) -> None: ...

    def phase_changed(self, phase: Phase) -> None:
        self.asked.append(phase)

    def closed(self) -> None: ...


def reception(user: User) -> Reception:
    return Reception(user, TIMEOUTS, 16384, opened=user.links.append)


class Driver(Protocol):
    """One of the two drivers, for a test that is written in plain calls."""

    def open(self, port: int, hooks: Hooks) -> Link: ...
    def run(self, link: Any, procedure: Procedure[Value]) -> Value: ...
    def iterate(self, link: Any, procedure: Procedure[None], cancel: Message | None = None) -> Any: ...
    def rest(self, responses: Any) -> list[Message]: ...
    def one(self, responses: Any) -> Message: ...
    def release(self, link: Any) -> None: ...
    def close(self, link: Any) -> None: ...
    def serve(self, hooks: User) -> Any: ...


class Blocking:
    def open(self, port: int, hooks: Hooks) -> Link:
        link = blocking_opening.open_link(Address("127.0.0.1", port), REQUEST, hooks, TIMEOUTS)
        link.request(REQUEST)
        return link

    def run(self, link: blocking_link.Link, procedure: Procedure[Value]) -> Value:
        return link.run(procedure)

    def iterate(self, link: blocking_link.Link, procedure: Procedure[None], cancel: Any = None) -> Any:
        return link.iterate(procedure, cancel)

    def rest(self, responses: Iterator[Message]) -> list[Message]:
        return list(responses)

    def one(self, responses: Iterator[Message]) -> Message:
        return next(responses)

    def release(self, link: blocking_link.Link) -> None:
        link.release()

    def close(self, link: blocking_link.Link) -> None:
        link.abort()

    @contextmanager
    def serve(self, hooks: User) -> Iterator[int]:
        server = BlockingServer(listen(("127.0.0.1", 0)), lambda peer: reception(hooks))
        server.start()
        try:
            yield server.address[1]
        finally:
            server.shutdown()


class Aio:
    """The asyncio driver, its loop in a thread of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def _call(self, coroutine: Coroutine[Any, Any, Value]) -> Value:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def open(self, port: int, hooks: Hooks) -> Link:
        async def opened() -> Link:
            link = await aio_opening.open_link(Address("127.0.0.1", port), REQUEST, hooks, TIMEOUTS)
            await link.request(REQUEST)
            return link

        return self._call(opened())

    def run(self, link: aio_link.Link, procedure: Procedure[Value]) -> Value:
        return self._call(link.run(procedure))

    def iterate(self, link: aio_link.Link, procedure: Procedure[None], cancel: Any = None) -> Any:
        return self._call(link.iterate(procedure, cancel))

    def rest(self, responses: Any) -> list[Message]:
        async def collected() -> list[Message]:
            return [response async for response in responses]

        return self._call(collected())

    def one(self, responses: Any) -> Message:
        async def first() -> Message:
            response: Message = await anext(responses)
            return response

        return self._call(first())

    def release(self, link: aio_link.Link) -> None:
        self._call(link.release())

    def close(self, link: aio_link.Link) -> None:
        async def closed() -> None:
            link.abort()
            await link.closed.wait()

        self._call(closed())

    @contextmanager
    def serve(self, hooks: User) -> Iterator[int]:
        async def started() -> AioServer:
            server = AioServer(listen(("127.0.0.1", 0)), lambda peer: reception(hooks))
            server.start()
            return server

        server = self._call(started())
        try:
            yield server.address[1]
        finally:
            self._call(server.shutdown())


@pytest.fixture(params=["blocking", "aio"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    if request.param == "blocking":
        yield Blocking()
        return
    with loop_in_a_thread() as loop:
        yield Aio(loop)


@contextmanager
def opened(driver: Driver, port: int, user: User) -> Iterator[Link]:
    link = driver.open(port, user)
    try:
        yield link
    finally:
        driver.close(link)


def command_of(pdu: bytes) -> dict[str, Any]:
    """The command set of a message without data set, which fills one P-DATA-TF."""
    return decode_command(pdu[12:])[1]


def echo(number: int) -> Message:
    return Message(C_ECHO_RQ, {"AffectedSOPClassUID": VERIFICATION, "MessageID": number}, 1)


def find(number: int) -> Message:
    command = {"AffectedSOPClassUID": PATIENT_ROOT_FIND, "MessageID": number, "Priority": 2}
    return Message(C_FIND_RQ, command, 5, b"")


def found(number: int, status: int) -> bytes:
    command = {
        "AffectedSOPClassUID": PATIENT_ROOT_FIND,
        "MessageIDBeingRespondedTo": number,
        "Status": status,
    }
    return message_pdus(Message(C_FIND_RSP, command, 5, b"match!" if status else None))


def store_of(number: int) -> Message:
    command = {
        "AffectedSOPClassUID": CT_IMAGE_STORAGE,
        "MessageID": number,
        "AffectedSOPInstanceUID": f"1.2.{number}",
        "Priority": 2,
    }
    return Message(C_STORE_RQ, command, 3, b"")


class Nested:
    """A C-GET that has nothing to send."""

    count = 0

    def abort(self) -> None: ...


class Kept(list[tuple[str, list[int]]]):
    """Stores that note the message IDs of each call, and answer each with a status that its ID makes."""

    def place(self, requests: Sequence[Message]) -> None:
        self.append(("place", [each.message_id for each in requests]))

    def settle(self, requests: Sequence[Message]) -> list[Answer | ServiceRefusal]:
        self.append(("settle", [each.message_id for each in requests]))
        return [
            ServiceRefusal(0xA700) if each.message_id % 5 == 0 else Answer(0xB000 + each.message_id)
            for each in requests
        ]


def test_every_step_is_performed(driver: Driver) -> None:
    """One that a driver forgot ended as KeyError in whoever used it."""
    heard: list[dict[str, Any]] = []
    performed: set[type] = set()
    user, stores, retrieval, sub = User(), Kept(), Nested(), SubOperation("object")
    first = store_of(9)
    batch = Batch(stores, first, 0.0, None)

    def serve(peer: RawPeer) -> None:
        peer.send(acceptance_of(peer.read_pdu()))
        heard.append(command_of(peer.read_pdu()))
        peer.send(message_pdus(respond(echo(7), 0x0000)))
        heard.extend(command_of(peer.read_pdu()) for _ in range(2))
        assert peer.read_pdu() == RELEASE_RQ
        peer.send(RELEASE_RP)

    def everything() -> Generator[Step, Any, None]:
        def check(step: Step) -> Generator[Step, Any, Any]:
            outcome = yield step
            performed.add(type(step))
            return outcome

        assert (yield from check(Send(echo(7)))) is None
        response = yield from check(Receive((7,)))
        assert (response.message_id, response.status) == (7, 0)
        assert (yield from check(Deliver(response))) is None
        assert (yield from check(Work(lambda: b"made"))) == b"made"
        assert (yield from check(Handle(echo(8), CONTEXT))).status == 0
        assert (yield from check(Next("answers"))).status == 0xFF00
        assert (yield from check(Cancelled(8))) is False
        assert (yield from check(Store(retrieval, sub))) == "stored"
        assert (yield from check(Finish(retrieval))) is None
        assert list((yield from check(MoreStores(batch)))) == [(first, link.agreement.contexts[3])]
        assert (yield from check(PlaceStores(batch, [first]))) is None
        assert [each.status for each in (yield from check(SettleStores(batch, [first])))] == [0xB009]
        responses = [respond(store_of(number), 0xA900 + number) for number in (1, 2)]
        assert (yield from check(Respond(responses))) is None

    with raw_server(serve) as port, opened(driver, port, user) as link:
        (response,) = driver.rest(driver.iterate(link, everything()))
        assert response.message_id == 7
        driver.release(link)
        assert link.phase is Phase.RELEASED
    assert performed == set(get_args(Step))
    assert [(each.get("MessageID"), each.get("Status")) for each in heard] == [
        (7, None),
        (None, 0xA901),
        (None, 0xA902),
    ]
    assert user.asked[1:-1] == [C_ECHO_RQ, "answers", (retrieval, sub), retrieval]
    assert stores == [("place", [9]), ("settle", [9])]


def test_a_step_that_fails_is_raised_in_the_procedure(driver: Driver) -> None:
    def refuse() -> bytes:
        raise ServiceRefusal(0xC123)

    def procedure() -> Procedure[int]:
        try:
            yield Work(refuse)
        except ServiceRefusal as refusal:
            return refusal.status
        return 0

    def serve(peer: RawPeer) -> None:
        peer.send(acceptance_of(peer.read_pdu()))
        peer.read_to_end()

    with raw_server(serve) as port, opened(driver, port, User()) as link:
        assert driver.run(link, procedure()) == 0xC123
        assert link.phase is Phase.ESTABLISHED


class Gated(Kept):
    """Stores whose first placing waits until the peer has sent everything."""

    def __init__(self) -> None:
        self.is_placing = threading.Event()
        self.may_place = threading.Event()
        self.threads: set[int] = set()

    def place(self, requests: Sequence[Message]) -> None:
        self.is_placing.set()
        assert self.may_place.wait(PATIENCE)
        self.threads.add(threading.get_ident())
        super().place(requests)


class Awaited(Gated):
    """The same as coroutine functions, which the asyncio driver awaits."""

    def __init__(self) -> None:
        super().__init__()
        self.loops: set[asyncio.AbstractEventLoop] = set()

    async def _place(self, requests: Sequence[Message]) -> None:
        self.loops.add(asyncio.get_running_loop())
        await asyncio.to_thread(Gated.place, self, requests)

    async def _settle(self, requests: Sequence[Message]) -> list[Answer | ServiceRefusal]:
        self.loops.add(asyncio.get_running_loop())
        return Kept.settle(self, requests)

    place: Any = _place
    settle: Any = _settle


def send_stores(peer: RawPeer, numbers: Sequence[int]) -> None:
    peer.send(
        b"".join(
            store_pdus(b"data", message_id=each, context_id=3, instance=f"1.2.{each}") for each in numbers
        )
    )


def responses_of(peer: RawPeer, count: int) -> list[tuple[int, int]]:
    commands = [command_of(peer.read_pdu()) for _ in range(count)]
    return [(each["MessageIDBeingRespondedTo"], each["Status"]) for each in commands]


def expected(numbers: Sequence[int]) -> list[tuple[int, int]]:
    return [(each, 0xA700 if each % 5 == 0 else 0xB000 + each) for each in numbers]


@contextmanager
def asking(port: int) -> Iterator[RawPeer]:
    with RawPeer.connect(port) as peer:
        peer.send(request_pdu(*CONTEXTS, window=16))
        assert peer.read_pdu()[0] == 2
        yield peer
        peer.send(RELEASE_RQ)
        assert peer.read_pdu() == RELEASE_RP


def check_groups(stores: Gated, count: int) -> None:
    """Each request was placed once and then settled once, in order, and several together."""
    placed = [number for kind, numbers in stores if kind == "place" for number in numbers]
    groups = [numbers for kind, numbers in stores if kind == "settle"]
    assert placed == list(range(1, count + 1))
    assert [number for numbers in groups for number in numbers] == placed
    assert max(map(len, groups)) > 1
    seen: set[int] = set()
    for kind, numbers in stores:
        if kind == "place":
            seen.update(numbers)
        else:
            assert seen.issuperset(numbers)


def test_stores_of_the_hooks_are_used_and_grouped(driver: Driver) -> None:
    """The asyncio driver ignored them."""
    stores = Gated()
    user = User(stores)
    numbers = range(1, 13)
    with driver.serve(user) as port, asking(port) as peer:
        send_stores(peer, numbers)
        stores.may_place.set()
        assert responses_of(peer, 12) == expected(numbers)
        check_groups(stores, 12)
        # Their message IDs are free again.
        send_stores(peer, [3])
        assert responses_of(peer, 1) == expected([3])
    assert C_STORE_RQ not in user.asked
    assert threading.get_ident() not in stores.threads


def test_other_requests_end_a_group(driver: Driver) -> None:
    stores = Gated()
    user = User(stores)
    with driver.serve(user) as port, asking(port) as peer:
        send_stores(peer, [1, 2])
        peer.send(echo_pdus(3))
        send_stores(peer, [4])
        stores.may_place.set()
        assert responses_of(peer, 4) == [*expected([1, 2]), (3, 0), *expected([4])]
    assert [numbers for kind, numbers in stores if kind == "settle" and 4 in numbers] == [[4]]
    assert user.asked.count(C_ECHO_RQ) == 1


def test_a_store_with_the_message_id_of_another_is_refused_behind_it(driver: Driver) -> None:
    """PS3.7 Annex C, status 0210H, only while the first is performed; here it is over by then."""
    stores = Gated()
    with driver.serve(User(stores)) as port, asking(port) as peer:
        send_stores(peer, [1, 2, 2, 3])
        stores.may_place.set()
        assert responses_of(peer, 4) == expected([1, 2, 2, 3])


def test_stores_go_one_by_one_where_the_hooks_have_none(driver: Driver) -> None:
    user = User()
    with driver.serve(user) as port, asking(port) as peer:
        send_stores(peer, [1, 2, 3])
        assert responses_of(peer, 3) == [(1, 0), (2, 0), (3, 0)]
    assert user.asked.count(C_STORE_RQ) == 3


class Failing(Gated):
    def settle(self, requests: Sequence[Message]) -> list[Answer | ServiceRefusal]:
        super().settle(requests)
        raise ServiceRefusal(0xA702, "no room")


def test_what_fails_for_all_is_answered_to_all(driver: Driver) -> None:
    stores = Failing()
    stores.may_place.set()
    user = User(stores)
    with driver.serve(user) as port, asking(port) as peer:
        send_stores(peer, [1, 2, 3])
        assert responses_of(peer, 3) == [(1, 0xA702), (2, 0xA702), (3, 0xA702)]
    assert [sink.content for sink in user.sinks] == [b""] * 3


def test_stores_whose_peer_is_gone_are_let_go_of(driver: Driver) -> None:
    stores = Gated()
    user = User(stores)
    with driver.serve(user) as port:
        with RawPeer.connect(port) as peer:
            peer.send(request_pdu(*CONTEXTS, window=16))
            assert peer.read_pdu()[0] == 2
            send_stores(peer, [1, 2])
            wait_until(lambda: len(user.sinks) > 0)
            peer.reset()
        stores.may_place.set()
        wait_until(lambda: Phase.ABORTED in user.asked)
        wait_until(lambda: all(sink.content == b"" for sink in user.sinks))


@contextmanager
def loop_in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def test_the_asyncio_driver_awaits_stores_that_are_coroutine_functions() -> None:
    stores = Awaited()
    with loop_in_a_thread() as loop:
        with Aio(loop).serve(User(stores)) as port, asking(port) as peer:
            send_stores(peer, range(1, 13))
            stores.may_place.set()
            assert responses_of(peer, 12) == expected(range(1, 13))
        check_groups(stores, 12)
        assert stores.loops == {loop}


def test_what_is_placed_in_a_thread_is_not_let_go_of_under_it() -> None:
    """Only once the thread has done with it, although the task that waits for it was cancelled."""
    stores = Gated()
    user = User(stores)
    with loop_in_a_thread() as loop, Aio(loop).serve(user) as port, RawPeer.connect(port) as peer:
        peer.send(request_pdu(*CONTEXTS, window=16))
        assert peer.read_pdu()[0] == 2
        send_stores(peer, [1])
        assert stores.is_placing.wait(PATIENCE)
        loop.call_soon_threadsafe(user.links[0].cancel_serving)
        # The task has been cancelled by then.
        done = threading.Event()
        loop.call_soon_threadsafe(lambda: loop.call_soon(done.set))
        assert done.wait(PATIENCE)
        assert [sink.content for sink in user.sinks] == [b"data"]
        stores.may_place.set()
        wait_until(lambda: [sink.content for sink in user.sinks] == [b""])


def serve_query(peer: RawPeer, heard: list[bytes]) -> None:
    """Three matches, then whatever is asked for: nothing but the release is."""
    peer.send(acceptance_of(peer.read_pdu()))
    for _ in range(2):
        peer.read_pdu()
    peer.send(found(1, 0xFF00) + found(1, 0xFF00) + found(1, 0xFF00))
    peer.send(found(1, 0x0000))
    heard.append(peer.read_pdu())
    peer.send(RELEASE_RP)


def test_release_reads_what_somebody_still_wants(driver: Driver) -> None:
    """The asyncio driver gave it up."""
    heard: list[bytes] = []
    with raw_server(lambda peer: serve_query(peer, heard)) as port, opened(driver, port, User()) as link:
        responses = driver.iterate(link, many_replies(find(1)))
        assert driver.one(responses).status == 0xFF00
        driver.release(link)
        assert link.phase is Phase.RELEASED
        assert [each.status for each in driver.rest(responses)] == [0xFF00, 0xFF00, 0x0000]
    assert heard == [RELEASE_RQ]


def test_release_cancels_what_nobody_wants(driver: Driver) -> None:
    heard: list[int] = []

    def serve(peer: RawPeer) -> None:
        peer.send(acceptance_of(peer.read_pdu()))
        for _ in range(2):
            peer.read_pdu()
        peer.send(found(1, 0xFF00) * 2)
        heard.append(command_of(peer.read_pdu())["MessageIDBeingRespondedTo"])
        peer.send(found(1, 0xFE00))
        assert peer.read_pdu() == RELEASE_RQ
        peer.send(RELEASE_RP)

    with raw_server(serve) as port, opened(driver, port, User()) as link:
        responses = driver.iterate(link, many_replies(find(1)), cancel_request(5, 1))
        assert driver.one(responses).status == 0xFF00
        responses.close()
        driver.release(link)
        assert link.phase is Phase.RELEASED
    assert heard == [1]


def test_a_message_id_in_use_is_replaced_or_becomes_free(driver: Driver) -> None:
    heard: list[bytes] = []
    with raw_server(lambda peer: serve_query(peer, heard)) as port, opened(driver, port, User()) as link:
        assert driver.run(link, free_message_id(link, 1)) == 1
        responses = driver.iterate(link, many_replies(find(1)))
        assert driver.one(responses).status == 0xFF00
        # The query is read to its end for it, and its ID is free again.
        assert driver.run(link, free_message_id(link, 1)) == 1
        assert len(driver.rest(responses)) == 3
        driver.release(link)


def test_the_peer_s_release_between_ours_is_answered(driver: Driver) -> None:
    """PS3.8 section 7.2.2, release collision: the requestor answers first."""
    heard: list[bytes] = []

    def serve(peer: RawPeer) -> None:
        peer.send(acceptance_of(peer.read_pdu()))
        heard.append(peer.read_pdu())
        peer.send(RELEASE_RQ)
        heard.append(peer.read_pdu())
        peer.send(RELEASE_RP)
        heard.append(peer.read_to_end())

    with raw_server(serve) as port, opened(driver, port, User()) as link:
        driver.release(link)
        assert link.phase is Phase.RELEASED
        wait_until(lambda: len(heard) == 3)
    assert heard == [RELEASE_RQ, RELEASE_RP, b""]


def test_a_request_and_an_abort_that_come_together_are_no_association(driver: Driver) -> None:
    """The blocking driver accepted it all the same, which the state machine does not allow."""
    user = User()
    with driver.serve(user) as port, RawPeer.connect(port) as peer:
        peer.send(request_pdu(*CONTEXTS) + bytes.fromhex("07000000000400000000"))
        assert peer.read_to_end() == b""
        wait_until(lambda: Phase.ABORTED in user.asked)
    assert Phase.ESTABLISHED not in user.asked


def test_an_echo_goes_both_ways(driver: Driver) -> None:
    with driver.serve(User()) as port, opened(driver, port, User()) as link:
        assert driver.run(link, one_reply(echo(link.next_message_id()))).status == 0


def test_an_abort_behind_the_release_closes_the_connection(driver: Driver) -> None:
    """The blocking driver left it open until ARTIM expired, and getscu of DCMTK, which takes the data set of a final
    response for a fault, waited for that."""
    with driver.serve(User()) as port, RawPeer.connect(port) as peer:
        peer.send(request_pdu(*CONTEXTS))
        assert peer.read_pdu()[:1] == b"\x02"
        peer.send(RELEASE_RQ)
        assert peer.read_pdu() == RELEASE_RP
        begin = monotonic()
        peer.send(ABORT_BY_USER)
        assert peer.read_to_end() == b""
        # ARTIM has five.
        assert monotonic() - begin < 3
