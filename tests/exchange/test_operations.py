"""The operations of a peer as what they are, generators: each step is checked, and its outcome fed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import pytest
from tests.sockets import CT_IMAGE_STORAGE, IMPLICIT_VR_LE

from dicomnet.datasets.queries import build_query
from dicomnet.dimse.datasets import MemorySink
from dicomnet.dimse.messages import C_ECHO_RSP, C_FIND_RSP, C_MOVE_RSP, C_STORE_RSP, Message
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.encoding.transfer_syntaxes import Transcoding
from dicomnet.errors import (
    AssociationAborted,
    AssociationClosed,
    AssociationRejected,
    ConnectionFailed,
    DeadlineExceeded,
    NoAcceptedContext,
    ServiceRefusal,
)
from dicomnet.exchange import operations, sending
from dicomnet.exchange.contexts import FIND_MODELS, MOVE_MODELS, NATIVE, VERIFICATION
from dicomnet.exchange.lanes import Lanes
from dicomnet.exchange.operations import (
    LEAVE,
    NEXT,
    RELEASE,
    Begin,
    Lease,
    Operation,
    Pause,
    Report,
    Run,
    Spawn,
    Use,
    Wait,
)
from dicomnet.exchange.pacing import Pacing, Rate, Times
from dicomnet.exchange.results import RetrieveProgress, StoreResult
from dicomnet.exchange.storing import Supply
from dicomnet.services.steps import Deliver, Receive, Send, Work
from dicomnet.upper_layer.negotiation import Agreement, NegotiatedContext, Result

FIND, MOVE = FIND_MODELS["study"], MOVE_MODELS["study"]


def lease(abstract_syntax: str, *, is_reused: bool = False, accepted: bool = True) -> Lease:
    context = NegotiatedContext(1, abstract_syntax, Result.ACCEPTANCE, IMPLICIT_VR_LE, accepted, False)
    return Lease(Agreement({1: context}, 16384), iter(range(1, 1000)).__next__, is_reused)


class Script:
    """Performs an operation by hand: what a test expects comes next, and what that gives."""

    def __init__(self, operation: Operation[Any]) -> None:
        self.operation = operation
        self.step: Any = next(operation)

    def gives(self, outcome: Any = None) -> Any:
        """The step is done; gives the next one, or what the operation returns."""
        try:
            self.step = self.operation.send(outcome)
        except StopIteration as stop:
            self.step = None
            return stop.value
        return self.step

    def fails(self, error: Exception) -> Any:
        """The step has failed; gives the next one."""
        self.step = self.operation.throw(error)
        return self.step

    def work(self) -> Any:
        """Do the work that is asked for."""
        while isinstance(self.step, Work):
            self.gives(self.step.function())
        return self.step


def response(
    kind: Any, status: int, message_id: int = 1, data: bytes | None = None, **elements: Any
) -> Message:
    sink = None
    if data is not None:
        sink = MemorySink(1 << 20)
        sink.write(memoryview(data))
    return Message(kind, {"MessageIDBeingRespondedTo": message_id, "Status": status, **elements}, 1, sink)


IDENTIFIER = b"\x10\x00\x10\x00\x04\x00\x00\x00Doe "


def find() -> Operation[None]:
    return operations.find(build_query("study", {}), FIND)


def move() -> Operation[RetrieveProgress]:
    return operations.move("THERE", build_query("study", {}), MOVE)


def test_an_echo() -> None:
    script = Script(operations.echo())
    assert isinstance(script.step, Use)
    assert (script.step.proposal, script.step.window) == (((VERIFICATION, NATIVE),), 1)
    assert isinstance(script.gives(lease(VERIFICATION)), Run)
    reported = script.gives(response(C_ECHO_RSP, 0))
    assert isinstance(reported, Report)
    assert reported.result >= 0
    assert script.gives() is None


def test_an_echo_that_is_refused() -> None:
    script = Script(operations.echo())
    script.gives(lease(VERIFICATION))
    with pytest.raises(ServiceRefusal):
        script.gives(response(C_ECHO_RSP, 0x0122))


EVERY: dict[str, tuple[Callable[[], Operation[Any]], str]] = {
    "echo": (operations.echo, VERIFICATION),
    "find": (find, FIND),
    "move": (move, MOVE),
}


@pytest.mark.parametrize("name", EVERY)
def test_an_association_that_was_stale_is_replaced(name: str) -> None:
    """As often as an idle one turns out to be over; a new one that fails is an error."""
    make, uid = EVERY[name]
    script = Script(make())
    for _ in range(2):
        assert isinstance(script.step, Use)
        assert script.step.proposal == ((uid, NATIVE),)
        assert isinstance(script.gives(lease(uid, is_reused=True)), Run | Begin)
        script.fails(AssociationAborted(None))
    script.gives(lease(uid))
    with pytest.raises(AssociationAborted):
        script.fails(AssociationAborted(None))


@pytest.mark.parametrize("name", EVERY)
def test_a_context_that_was_not_accepted_is_not_asked_for_again(name: str) -> None:
    """An association that is used again has the same contexts as before."""
    make, uid = EVERY[name]
    script = Script(make())
    with pytest.raises(NoAcceptedContext):
        script.gives(lease(uid, is_reused=True, accepted=False))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("error", [ConnectionFailed("host", 1, "refused"), AssociationRejected(1, 1, 1)])
def test_no_association(name: str, error: Exception) -> None:
    script = Script(EVERY[name][0]())
    with pytest.raises(type(error)):
        script.fails(error)


def test_a_response_that_takes_too_long_is_not_asked_for_again() -> None:
    script = Script(find())
    script.gives(lease(FIND, is_reused=True))
    assert script.gives() is NEXT
    with pytest.raises(DeadlineExceeded):
        script.fails(DeadlineExceeded("message", 1.0))


def test_a_query() -> None:
    script = Script(find())
    begin = script.gives(lease(FIND))
    assert isinstance(begin, Begin)
    assert begin.cancel is not None
    assert begin.cancel.command["MessageIDBeingRespondedTo"] == 1
    assert script.gives() is NEXT
    reported = script.gives(response(C_FIND_RSP, 0xFF00, data=IDENTIFIER))
    assert reported.result.PatientName == "Doe"
    assert script.gives() is NEXT
    assert script.gives(response(C_FIND_RSP, 0)) is NEXT
    assert script.gives(None) is None


def test_after_a_match_the_end_of_the_association_is_an_error() -> None:
    script = Script(find())
    script.gives(lease(FIND, is_reused=True))
    script.gives()
    script.gives(response(C_FIND_RSP, 0xFF00, data=IDENTIFIER))
    assert script.gives() is NEXT
    with pytest.raises(AssociationAborted):
        script.fails(AssociationAborted(None))


def test_a_move() -> None:
    script = Script(move())
    assert isinstance(script.gives(lease(MOVE)), Begin)
    assert script.gives() is NEXT
    counts: dict[str, Any] = {"NumberOfCompletedSuboperations": 2}
    assert script.gives(response(C_MOVE_RSP, 0xFF00, **counts)).result.completed == 2
    assert script.gives() is NEXT
    assert script.gives(response(C_MOVE_RSP, 0, **counts)).result.is_final
    assert script.gives() is NEXT
    assert script.gives(None) == RetrieveProgress(0, None, 2)


# -- storing


def files(folder: Path, number: int) -> list[str]:
    paths = []
    for index in range(number):
        uid = f"1.2.3.{index}"
        path = folder / f"{index:03}.dcm"
        header = encode_file_header(CT_IMAGE_STORAGE, uid, IMPLICIT_VR_LE)
        path.write_bytes(header + IDENTIFIER)
        paths.append(str(path))
    return paths


class Store(Script):
    """A store, whose requests are taken out of what it begins."""

    def __init__(
        self, paths: list[str], jobs: int = 1, retries: int = 1, pacing: Pacing | None = None
    ) -> None:
        self.told: list[str] = []
        self.supply = Supply(iter(paths), Transcoding.NEVER, pacing=pacing, tell=self.told.append)
        super().__init__(sending.store(self.supply, 4, retries, jobs))
        self.results: list[StoreResult] = []

    def begin(self, **options: Any) -> Any:
        """Give it an association; gives the procedure that it begins."""
        assert isinstance(self.step, Use)
        begin = self.gives(lease(CT_IMAGE_STORAGE, **options))
        assert isinstance(begin, Begin)
        assert self.gives() is NEXT
        return begin.procedure

    def reported(self) -> Any:
        """Keep what it reports, and do its work; gives the step that follows."""
        while isinstance(self.step, Report | Work) or self.step is LEAVE:
            if isinstance(self.step, Report):
                self.results.append(self.step.result)
            self.gives(self.step.function() if isinstance(self.step, Work) else None)
        return self.step


def sent(procedure: Any, number: int) -> list[int]:
    """The message IDs of the next requests that a procedure sends."""
    found: list[int] = []
    outcome = None
    while len(found) < number:
        step = procedure.send(outcome)
        outcome = step.function() if isinstance(step, Work) else None
        if isinstance(step, Send):
            found.append(step.message.message_id)
        elif isinstance(step, Receive):
            outcome = response(C_STORE_RSP, 0, min(step.message_ids))
        else:
            assert isinstance(step, Deliver)
    return found


def test_a_store(tmp_path: Path) -> None:
    store = Store(files(tmp_path, 2))
    store.work()
    procedure = store.begin()
    for message_id in sent(procedure, 2):
        store.gives(response(C_STORE_RSP, 0, message_id))
        assert store.reported() is NEXT
    store.gives(None)
    assert store.reported() is None
    assert [result.status for result in store.results] == [0, 0]


def test_a_store_without_an_association(tmp_path: Path) -> None:
    store = Store(files(tmp_path, 2))
    store.work()
    with pytest.raises(ConnectionFailed):
        store.fails(ConnectionFailed("host", 1, "refused"))
    assert store.supply.ended is not None


def test_a_store_that_loses_its_association_and_gets_no_other(tmp_path: Path) -> None:
    store = Store(files(tmp_path, 3))
    store.work()
    (first,) = sent(store.begin(), 1)
    store.gives(response(C_STORE_RSP, 0xB000, first))
    assert store.reported() is NEXT
    store.fails(AssociationAborted(None))
    assert isinstance(store.reported(), Use)
    store.fails(AssociationRejected(2, 3, 2))
    assert store.reported() is None
    assert [result.status for result in store.results] == [0xB000, None, None]
    assert "local limit" in store.results[1].comment


def test_a_stale_association_costs_no_object_a_try(tmp_path: Path) -> None:
    store = Store(files(tmp_path, 1), retries=0)
    store.work()
    sent(store.begin(is_reused=True), 1)
    store.fails(AssociationAborted(None))
    assert isinstance(store.reported(), Use)
    assert store.results == []
    sent(store.begin(), 1)
    store.fails(AssociationAborted(None))
    assert store.reported() is None
    assert [result.status for result in store.results] == [None]


def test_a_store_that_is_left_sends_no_more(tmp_path: Path) -> None:
    store = Store(files(tmp_path, 3))
    store.work()
    procedure = store.begin()
    sent(procedure, 1)
    store.operation.close()
    # What is outstanding is answered, and nothing follows it.
    steps = [type(procedure.send(None))]
    steps.append(type(procedure.send(response(C_STORE_RSP, 0, 1))))
    assert steps == [Receive, Deliver]
    with pytest.raises(StopIteration):
        procedure.send(None)


def test_lanes_are_for_several_objects(tmp_path: Path) -> None:
    """The lanes are performed beside the store, which waits for their results."""
    store = Store(files(tmp_path, 3), jobs=2)
    spawn = store.work()
    assert isinstance(spawn, Spawn)
    lanes = spawn.lanes
    assert isinstance(lanes, Lanes)
    lanes.started()
    assert isinstance(store.gives(), Wait)
    assert store.step.attempt() is None

    lane = Script(spawn.course())
    assert isinstance(lane.step, Wait)
    assert lane.step.attempt() is True
    assert isinstance(lane.gives(True), Use)
    assert isinstance(lane.gives(lease(CT_IMAGE_STORAGE)), Spawn)
    begin = lane.gives()
    assert isinstance(begin, Begin)
    assert lane.gives() is NEXT
    (message_id, *_) = sent(begin.procedure, 3)
    report = lane.gives(response(C_STORE_RSP, 0, message_id))
    assert lanes.put(report.result) is True
    assert lane.gives() is NEXT
    assert store.step.attempt() == (report.result,)
    assert store.gives((report.result,)).result is report.result
    store.operation.close()
    assert lanes.queue.ended is not None


def answer_all(script: Store, procedure: Any, message_ids: list[int]) -> Any:
    """Answer what is outstanding; gives the step that follows the end of the procedure."""
    step = procedure.send(None)
    for message_id in message_ids:
        assert isinstance(step, Receive)
        answer = response(C_STORE_RSP, 0, message_id)
        assert isinstance(procedure.send(answer), Deliver)
        script.gives(answer)
        assert script.reported() is NEXT
        step = next(procedure, None)
    assert step is None
    script.gives(None)
    return script.reported()


def test_a_store_keeps_its_association_through_a_short_wait(tmp_path: Path) -> None:
    """One object in two seconds: what is outstanding is answered before the wait for the next."""
    now = [1000.0]
    script = Store(files(tmp_path, 2), pacing=Pacing(Rate(0.5, False), clock=lambda: now[0]))
    script.work()
    procedure = script.begin()
    step = answer_all(script, procedure, sent(procedure, 1))
    assert [result.status for result in script.results] == [0]
    paused = 0.0
    while isinstance(step, Pause):
        now[0] += step.seconds
        paused += step.seconds
        step = script.gives()
    assert 1.9 <= paused <= 2.1
    assert isinstance(step, Begin)
    script.gives()
    sent(step.procedure, 1)
    assert script.told == []


def test_a_store_has_no_association_at_other_times_of_the_day(tmp_path: Path) -> None:
    now = [datetime(2024, 5, 1, 18, 0, tzinfo=UTC).timestamp()]
    times = Times(time(19), time(19, 1), UTC)
    script = Store(files(tmp_path, 3), pacing=Pacing(None, times, now=lambda: now[0]))
    assert script.work() is RELEASE
    waited = 0
    while isinstance(script.gives(), Pause):
        now[0] += 600
        waited += 600
    assert waited == 3600
    assert len(script.told) == 1
    assert script.told[0].startswith("nothing is sent until ")
    procedure = script.begin()
    message_ids = sent(procedure, 2)
    # The time is over: what is on its way is finished, and the association released.
    now[0] += 60
    assert answer_all(script, procedure, message_ids) is RELEASE
    assert [result.status for result in script.results] == [0, 0]
    # Whoever ends the store meanwhile does not have to wait until the next evening.
    assert isinstance(script.gives(), Pause)
    script.supply.end(AssociationClosed())
    script.gives()
    script.reported()
    assert [result.status for result in script.results] == [0, 0, None]
