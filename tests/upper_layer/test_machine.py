"""The machine on every cell, in the sequences of the standard, and in any sequence at all."""

from __future__ import annotations

from collections import deque
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.upper_layer.test_table import CELLS

from dicomnet.upper_layer.machine import IllegalEvent, Machine
from dicomnet.upper_layer.table import Effect, Event, State

# PS3.8 Tables 9-6 to 9-9: what each action does, in the standard's order and shortened, and the next state; behind the
# semicolon what holds otherwise.
ACTIONS = """
AE-1   transport connect request -> Sta4
AE-2   send A-ASSOCIATE-RQ -> Sta5
AE-3   issue A-ASSOCIATE confirmation (accept) -> Sta6
AE-4   issue A-ASSOCIATE confirmation (reject), close transport connection -> Sta1
AE-5   start ARTIM -> Sta2
AE-6   stop ARTIM, issue A-ASSOCIATE indication -> Sta3; stop ARTIM, reject by provider, start ARTIM -> Sta13
AE-7   send A-ASSOCIATE-AC -> Sta6
AE-8   send A-ASSOCIATE-RJ, start ARTIM -> Sta13
DT-1   send P-DATA-TF -> Sta6
DT-2   issue P-DATA indication -> Sta6
AR-1   send A-RELEASE-RQ -> Sta7
AR-2   issue A-RELEASE indication -> Sta8
AR-3   issue A-RELEASE confirmation, close transport connection -> Sta1
AR-4   send A-RELEASE-RP, start ARTIM -> Sta13
AR-5   stop ARTIM -> Sta1
AR-6   issue P-DATA indication -> Sta7
AR-7   send P-DATA-TF -> Sta8
AR-8   issue A-RELEASE indication -> Sta9; issue A-RELEASE indication -> Sta10
AR-9   send A-RELEASE-RP -> Sta11
AR-10  issue A-RELEASE confirmation -> Sta12
AA-1   abort by user, start ARTIM -> Sta13
AA-2   stop ARTIM, close transport connection -> Sta1
AA-3   issue A-ABORT or A-P-ABORT, close transport connection -> Sta1
AA-4   issue A-P-ABORT indication -> Sta1
AA-5   stop ARTIM -> Sta1
AA-6   -> Sta13
AA-7   abort by provider -> Sta13
AA-8   abort by provider, issue A-P-ABORT indication, start ARTIM -> Sta13
"""
# By how they begin, the phrases above as effects; the first that fits.
PHRASES = {
    "transport connect": Effect.CONNECT,
    "reject by provider": Effect.SEND_REJECT_VERSION,
    "abort by user": Effect.SEND_ABORT_USER,
    "abort by provider": Effect.SEND_ABORT_PROVIDER,
    "send": Effect.SEND,
    "issue A-ABORT": Effect.INDICATE_ABORT,
    "issue A-P-ABORT": Effect.INDICATE_PROVIDER_ABORT,
    "issue": Effect.INDICATE,
    "start": Effect.START_ARTIM,
    "stop": Effect.STOP_ARTIM,
    "close": Effect.CLOSE,
}
# What an action does and the state afterwards, and the same where its condition does not hold.
Outcome = tuple[tuple[Effect, ...], int]


def outcome_of(text: str) -> Outcome:
    phrases, _, state = text.partition("-> Sta")
    effects = (
        next(effect for begin, effect in PHRASES.items() if phrase.strip().startswith(begin))
        for phrase in phrases.split(",")
        if phrase.strip()
    )
    return tuple(effects), int(state)


def actions() -> dict[str, list[Outcome]]:
    lines = (line.split(None, 1) for line in ACTIONS.strip().splitlines())
    return {name.replace("-", ""): [outcome_of(each) for each in text.split(";")] for name, text in lines}


def machine_in(state: State, is_requestor: bool = True) -> Machine:
    machine = Machine(is_requestor)
    machine.state = state
    return machine


@pytest.mark.parametrize("is_requestor", [True, False])
@pytest.mark.parametrize("acceptable", [True, False])
def test_every_filled_cell_takes_its_action(is_requestor: bool, acceptable: bool) -> None:
    """By the text of the standard: AE-6 has a condition, and AR-8 asks who requested the association."""
    condition = {"AE6": acceptable, "AR8": is_requestor}
    outcomes = actions()
    count = 0
    for number, row in CELLS.items():
        for name, states in row.items():
            effects, next_state = outcomes[name][0 if condition.get(name, True) else 1]
            for state in map(State, states):
                machine = machine_in(state, is_requestor)
                assert machine.allows(Event(number))
                assert machine.fire(Event(number), acceptable=acceptable) == effects, (number, state)
                assert machine.state == next_state
                assert machine.last_action == name
                count += 1
    assert count == 123


def test_every_empty_cell_raises_and_changes_nothing() -> None:
    raised = 0
    for event, state in product(Event, State):
        if any(state in states for states in CELLS[event].values()):
            continue
        machine = machine_in(state)
        assert not machine.allows(event)
        with pytest.raises(IllegalEvent) as caught:
            machine.fire(event)
        assert (caught.value.event, caught.value.state) == (event, state)
        assert machine.state == state
        raised += 1
    assert raised == 19 * 13 - 123


def test_a_machine_begins_idle() -> None:
    assert Machine(True).state is State.STA1
    assert Machine(False).state is State.STA1


def test_an_illegal_event_names_the_event_and_the_state() -> None:
    with pytest.raises(IllegalEvent) as caught:
        Machine(True).fire(Event.DATA_REQUEST)
    assert str(caught.value) == "DATA_REQUEST is not possible in STA1"


# Role, events with the state after each, and the conformance rows they show.
CONNECT = [(Event.ASSOCIATE_REQUEST, 4), (Event.TRANSPORT_CONFIRM, 5)]
REQUESTED = [*CONNECT, (Event.ASSOCIATE_AC, 6)]
ACCEPTED = [(Event.TRANSPORT_INDICATION, 2), (Event.ASSOCIATE_RQ, 3), (Event.ACCEPT, 6)]
SEQUENCES: dict[str, tuple[bool, list[tuple[Event, int]]]] = {
    "P001 P005 requestor releases": (
        True,
        [
            *REQUESTED,
            (Event.DATA_REQUEST, 6),
            (Event.DATA, 6),
            (Event.RELEASE_REQUEST, 7),
            (Event.RELEASE_RP, 1),
        ],
    ),
    "P004 acceptor is released and waits for the close": (
        False,
        [*ACCEPTED, (Event.RELEASE_RQ, 8), (Event.RELEASE_RESPONSE, 13), (Event.TRANSPORT_CLOSED, 1)],
    ),
    "P004 acceptor is released and closes at ARTIM": (
        False,
        [*ACCEPTED, (Event.RELEASE_RQ, 8), (Event.RELEASE_RESPONSE, 13), (Event.ARTIM_EXPIRED, 1)],
    ),
    "P002 no request before ARTIM": (False, [(Event.TRANSPORT_INDICATION, 2), (Event.ARTIM_EXPIRED, 1)]),
    "P005 requestor is rejected": (True, [*CONNECT, (Event.ASSOCIATE_RJ, 1)]),
    "P004 acceptor rejects": (
        False,
        [*ACCEPTED[:2], (Event.REJECT, 13), (Event.TRANSPORT_CLOSED, 1)],
    ),
    "P006 acceptor gets P-DATA first": (False, [(Event.TRANSPORT_INDICATION, 2), (Event.DATA, 13)]),
    "P007 acceptor gets A-ABORT first": (False, [(Event.TRANSPORT_INDICATION, 2), (Event.ABORT, 1)]),
    "P008 acceptor loses the connection first": (
        False,
        [(Event.TRANSPORT_INDICATION, 2), (Event.TRANSPORT_CLOSED, 1)],
    ),
    "P012 A-ABORT received": (True, [*REQUESTED, (Event.ABORT, 1)]),
    "P013 connection lost": (True, [*REQUESTED, (Event.TRANSPORT_CLOSED, 1)]),
    "P014 P-DATA after our A-RELEASE-RQ": (
        True,
        [*REQUESTED, (Event.RELEASE_REQUEST, 7), (Event.DATA, 7), (Event.RELEASE_RP, 1)],
    ),
    "P015 P-DATA before our A-RELEASE-RP": (
        False,
        [*ACCEPTED, (Event.RELEASE_RQ, 8), (Event.DATA_REQUEST, 8), (Event.RELEASE_RESPONSE, 13)],
    ),
    "P016 release collision, requestor": (
        True,
        [
            *REQUESTED,
            (Event.RELEASE_REQUEST, 7),
            (Event.RELEASE_RQ, 9),
            (Event.RELEASE_RESPONSE, 11),
            (Event.RELEASE_RP, 1),
        ],
    ),
    "P017 release collision, acceptor": (
        False,
        [
            *ACCEPTED,
            (Event.RELEASE_REQUEST, 7),
            (Event.RELEASE_RQ, 10),
            (Event.RELEASE_RP, 12),
            (Event.RELEASE_RESPONSE, 13),
            (Event.TRANSPORT_CLOSED, 1),
        ],
    ),
    "P018 PDUs after our A-ABORT are ignored": (
        True,
        [
            *REQUESTED,
            (Event.ABORT_REQUEST, 13),
            (Event.DATA, 13),
            (Event.ASSOCIATE_AC, 13),
            (Event.ASSOCIATE_RJ, 13),
            (Event.RELEASE_RQ, 13),
            (Event.RELEASE_RP, 13),
            (Event.ABORT, 1),
        ],
    ),
    "P019 a request after our A-ABORT": (
        True,
        [*REQUESTED, (Event.INVALID_PDU, 13), (Event.ASSOCIATE_RQ, 13), (Event.INVALID_PDU, 13)],
    ),
    "P021 local abort while connecting": (True, [(Event.ASSOCIATE_REQUEST, 4), (Event.ABORT_REQUEST, 1)]),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequence(name: str) -> None:
    is_requestor, steps = SEQUENCES[name]
    machine = Machine(is_requestor)
    for event, state in steps:
        machine.fire(event)
        assert machine.state == state


def test_an_unacceptable_protocol_version_is_rejected_by_the_provider() -> None:
    """P034, AE-6."""
    machine = Machine(False)
    machine.fire(Event.TRANSPORT_INDICATION)
    effects = machine.fire(Event.ASSOCIATE_RQ, acceptable=False)
    assert Effect.SEND_REJECT_VERSION in effects
    assert Effect.INDICATE not in effects
    assert machine.state is State.STA13


@pytest.mark.parametrize("state", [State.STA3, *list(State)[4:12]])
def test_unexpected_pdus_are_aborted_by_the_provider(state: State) -> None:
    """P009, P010, P011: with source 2, an indication to the user, and ARTIM."""
    machine = machine_in(state)
    assert machine.fire(Event.INVALID_PDU) == (
        Effect.SEND_ABORT_PROVIDER,
        Effect.INDICATE_PROVIDER_ABORT,
        Effect.START_ARTIM,
    )
    assert machine.state is State.STA13


@pytest.mark.parametrize("state", [State.STA3, *list(State)[4:12]])
def test_local_abort_sends_a_abort_of_the_user(state: State) -> None:
    """P021."""
    machine = machine_in(state)
    assert machine.fire(Event.ABORT_REQUEST) == (Effect.SEND_ABORT_USER, Effect.START_ARTIM)


@pytest.mark.parametrize("event", [Event.TRANSPORT_CLOSED, Event.ARTIM_EXPIRED])
def test_sta13_ends_with_the_close_or_the_timer(event: Event) -> None:
    """P004."""
    machine = machine_in(State.STA13)
    effects = machine.fire(event)
    assert machine.state is State.STA1
    assert Effect.STOP_ARTIM in effects
    assert (Effect.CLOSE in effects) == (event is Event.ARTIM_EXPIRED)


def test_no_state_is_left_without_a_way_to_idle() -> None:
    """A lost connection or, in Sta1, nothing at all ends each association."""
    for state in State:
        machine = machine_in(state)
        if state is not State.STA1:
            machine.fire(Event.TRANSPORT_CLOSED)
        assert machine.state is State.STA1


@given(st.booleans(), st.lists(st.tuples(st.sampled_from(Event), st.booleans()), max_size=60))
def test_any_sequence_keeps_state_timer_and_connection_in_step(
    is_requestor: bool, events: list[tuple[Event, bool]]
) -> None:
    """ARTIM runs in Sta2 and Sta13 only (P002, P004), and Sta1 is entered only with the connection closed (P001)."""
    machine = Machine(is_requestor)
    timer_runs = False
    for event, acceptable in events:
        before = machine.state
        try:
            effects = machine.fire(event, acceptable=acceptable)
        except IllegalEvent:
            assert machine.state is before
            assert not machine.allows(event)
            continue
        for effect in effects:
            if effect in (Effect.START_ARTIM, Effect.STOP_ARTIM):
                timer_runs = effect is Effect.START_ARTIM
        assert machine.state in State
        assert timer_runs == (machine.state in (State.STA2, State.STA13))
        closes = Effect.CLOSE in effects or event is Event.TRANSPORT_CLOSED
        assert closes == (machine.state is State.STA1)


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_sta13_is_left_only_to_sta1(events: list[Event]) -> None:
    machine = machine_in(State.STA13)
    for event in events:
        if machine.state is State.STA13 and machine.allows(event):
            machine.fire(event)
            assert machine.state in (State.STA1, State.STA13)


ANSWERS = {
    Event.TRANSPORT_CONFIRM: Event.ASSOCIATE_RQ,
    Event.ACCEPT: Event.ASSOCIATE_AC,
    Event.REJECT: Event.ASSOCIATE_RJ,
    Event.DATA_REQUEST: Event.DATA,
    Event.RELEASE_REQUEST: Event.RELEASE_RQ,
    Event.RELEASE_RESPONSE: Event.RELEASE_RP,
}
LOCAL = [Event.ACCEPT, Event.REJECT, Event.DATA_REQUEST, Event.RELEASE_REQUEST, Event.RELEASE_RESPONSE]


class Side:
    """A machine and the events on their way to it."""

    def __init__(self, is_requestor: bool) -> None:
        self.machine = Machine(is_requestor)
        self.coming: deque[Event] = deque()
        self.indications: list[tuple[Event, Effect]] = []

    def fire(self, event: Event, peer: Side) -> None:
        for effect in self.machine.fire(event):
            match effect:
                case Effect.CONNECT:
                    self.coming.append(Event.TRANSPORT_CONFIRM)
                    peer.coming.append(Event.TRANSPORT_INDICATION)
                case Effect.SEND:
                    peer.coming.append(ANSWERS[event])
                case Effect.SEND_ABORT_USER:
                    peer.coming.append(Event.ABORT)
                case Effect.CLOSE:
                    peer.coming.append(Event.TRANSPORT_CLOSED)
                case Effect.INDICATE | Effect.INDICATE_ABORT | Effect.INDICATE_PROVIDER_ABORT:
                    self.indications.append((event, effect))
                case Effect.SEND_ABORT_PROVIDER | Effect.SEND_REJECT_VERSION:
                    raise AssertionError(f"{event.name} was an error in {self.machine.last_action}")
                case Effect.START_ARTIM | Effect.STOP_ARTIM:
                    pass

    def deliver(self, peer: Side) -> None:
        event = self.coming.popleft()
        # What arrives at a connection that this side has closed is lost.
        is_opening = event is Event.TRANSPORT_INDICATION
        if self.machine.state is not State.STA1 or is_opening:
            self.fire(event, peer)


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([None, None, *LOCAL, Event.ABORT_REQUEST])), max_size=80
    )
)
def test_two_machines_never_surprise_each_other(steps: list[tuple[bool, Event | None]]) -> None:
    """P016, P017: whatever the users do and however PDUs cross, neither finds an error, and both come to rest."""
    requestor, acceptor = Side(True), Side(False)
    requestor.fire(Event.ASSOCIATE_REQUEST, acceptor)
    for is_requestor, event in steps:
        side, peer = (requestor, acceptor) if is_requestor else (acceptor, requestor)
        if event is not None and side.machine.state is not State.STA1 and side.machine.allows(event):
            side.fire(event, peer)
        elif side.coming:
            side.deliver(peer)
    while requestor.coming or acceptor.coming or any(can_answer(side) for side in (requestor, acceptor)):
        for side, peer in ((requestor, acceptor), (acceptor, requestor)):
            if side.coming:
                side.deliver(peer)
            elif can_answer(side):
                side.fire(Event.RELEASE_RESPONSE, peer)
    rest = {requestor.machine.state, acceptor.machine.state}
    assert len(rest) == 1 or rest == {State.STA3, State.STA5}
    assert rest <= {State.STA1, State.STA3, State.STA5, State.STA6}


def can_answer(side: Side) -> bool:
    return side.machine.allows(Event.RELEASE_RESPONSE)
