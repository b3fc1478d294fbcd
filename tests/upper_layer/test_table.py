"""The grid and the actions against PS3.8 Table 9-10 and section 9.2.2, written down a second time in another form."""

from __future__ import annotations

import pytest

from dicomnet.upper_layer.table import (
    ACTIONS,
    AE6_NOT_ACCEPTABLE,
    AR8_ACCEPTOR,
    TABLE,
    Action,
    Effect,
    Event,
    State,
)

# Event: action: the states (Sta1 to Sta13) in which the event takes that action. All other cells are empty.
CELLS: dict[int, dict[str, list[int]]] = {
    1: {"AE1": [1]},
    2: {"AE2": [4]},
    3: {"AE3": [5], "AA1": [2], "AA8": [3, 6, 7, 8, 9, 10, 11, 12], "AA6": [13]},
    4: {"AE4": [5], "AA1": [2], "AA8": [3, 6, 7, 8, 9, 10, 11, 12], "AA6": [13]},
    5: {"AE5": [1]},
    6: {"AE6": [2], "AA8": [3, 5, 6, 7, 8, 9, 10, 11, 12], "AA7": [13]},
    7: {"AE7": [3]},
    8: {"AE8": [3]},
    9: {"DT1": [6], "AR7": [8]},
    10: {"DT2": [6], "AR6": [7], "AA1": [2], "AA8": [3, 5, 8, 9, 10, 11, 12], "AA6": [13]},
    11: {"AR1": [6]},
    12: {"AR2": [6], "AR8": [7], "AA1": [2], "AA8": [3, 5, 8, 9, 10, 11, 12], "AA6": [13]},
    13: {"AR3": [7, 11], "AR10": [10], "AA1": [2], "AA8": [3, 5, 6, 8, 9, 12], "AA6": [13]},
    14: {"AR4": [8, 12], "AR9": [9]},
    15: {"AA1": [3, 5, 6, 7, 8, 9, 10, 11, 12], "AA2": [4]},
    16: {"AA2": [2, 13], "AA3": [3, 5, 6, 7, 8, 9, 10, 11, 12]},
    17: {"AA5": [2], "AA4": [3, 4, 5, 6, 7, 8, 9, 10, 11, 12], "AR5": [13]},
    18: {"AA2": [2, 13]},
    19: {"AA1": [2], "AA8": [3, 5, 6, 7, 8, 9, 10, 11, 12], "AA7": [13]},
}

# What section 9.2.2 has each action do, and the next state.
EXPECTED: dict[str, tuple[set[Effect], int]] = {
    "AE1": ({Effect.CONNECT}, 4),
    "AE2": ({Effect.SEND}, 5),
    "AE3": ({Effect.INDICATE}, 6),
    "AE4": ({Effect.INDICATE, Effect.CLOSE}, 1),
    "AE5": ({Effect.START_ARTIM}, 2),
    "AE6": ({Effect.STOP_ARTIM, Effect.INDICATE}, 3),
    "AE7": ({Effect.SEND}, 6),
    "AE8": ({Effect.SEND, Effect.START_ARTIM}, 13),
    "DT1": ({Effect.SEND}, 6),
    "DT2": ({Effect.INDICATE}, 6),
    "AR1": ({Effect.SEND}, 7),
    "AR2": ({Effect.INDICATE}, 8),
    "AR3": ({Effect.INDICATE, Effect.CLOSE}, 1),
    "AR4": ({Effect.SEND, Effect.START_ARTIM}, 13),
    "AR5": ({Effect.STOP_ARTIM}, 1),
    "AR6": ({Effect.INDICATE}, 7),
    "AR7": ({Effect.SEND}, 8),
    "AR8": ({Effect.INDICATE}, 9),
    "AR9": ({Effect.SEND}, 11),
    "AR10": ({Effect.INDICATE}, 12),
    "AA1": ({Effect.SEND_ABORT_USER, Effect.START_ARTIM}, 13),
    "AA2": ({Effect.STOP_ARTIM, Effect.CLOSE}, 1),
    "AA3": ({Effect.INDICATE_ABORT, Effect.CLOSE}, 1),
    "AA4": ({Effect.INDICATE_PROVIDER_ABORT}, 1),
    "AA5": ({Effect.STOP_ARTIM}, 1),
    "AA6": (set(), 13),
    "AA7": ({Effect.SEND_ABORT_PROVIDER}, 13),
    "AA8": ({Effect.SEND_ABORT_PROVIDER, Effect.INDICATE_PROVIDER_ABORT, Effect.START_ARTIM}, 13),
}

SENDING = {Effect.SEND, Effect.SEND_REJECT_VERSION, Effect.SEND_ABORT_USER, Effect.SEND_ABORT_PROVIDER}
INDICATING = {Effect.INDICATE, Effect.INDICATE_ABORT, Effect.INDICATE_PROVIDER_ABORT}


def test_the_grid_has_the_123_cells_of_the_standard_and_no_other() -> None:
    cells = {
        (Event(event), State(state)): action
        for event, actions in CELLS.items()
        for action, states in actions.items()
        for state in states
    }
    assert len(cells) == 123
    assert cells == TABLE


def test_events_and_states_have_the_numbers_of_the_standard() -> None:
    assert [event.value for event in Event] == list(range(1, 20))
    assert [state.value for state in State] == list(range(1, 14))
    received = {
        3: "ASSOCIATE_AC",
        4: "ASSOCIATE_RJ",
        6: "ASSOCIATE_RQ",
        10: "DATA",
        16: "ABORT",
        19: "INVALID_PDU",
    }
    local = {1: "ASSOCIATE_REQUEST", 7: "ACCEPT", 8: "REJECT", 9: "DATA_REQUEST", 11: "RELEASE_REQUEST"}
    transport = {
        2: "TRANSPORT_CONFIRM",
        5: "TRANSPORT_INDICATION",
        17: "TRANSPORT_CLOSED",
        18: "ARTIM_EXPIRED",
    }
    release = {12: "RELEASE_RQ", 13: "RELEASE_RP", 14: "RELEASE_RESPONSE", 15: "ABORT_REQUEST"}
    assert {event.value: event.name for event in Event} == received | local | transport | release


def test_there_are_the_28_actions_of_the_standard_and_each_is_used() -> None:
    assert len(EXPECTED) == 28
    assert set(ACTIONS) == set(EXPECTED) == set(TABLE.values())


@pytest.mark.parametrize("name", EXPECTED)
def test_action(name: str) -> None:
    effects, state = EXPECTED[name]
    action = ACTIONS[name]
    assert set(action.effects) == effects
    assert len(action.effects) == len(effects)
    assert action.next_state == state


def test_ae6_for_a_request_that_is_not_acceptable() -> None:
    """P034: stops ARTIM, rejects, starts it again and waits for the close."""
    assert AE6_NOT_ACCEPTABLE == (
        (Effect.STOP_ARTIM, Effect.SEND_REJECT_VERSION, Effect.START_ARTIM),
        State.STA13,
    )


def test_ar8_for_the_acceptor() -> None:
    """P017."""
    assert AR8_ACCEPTOR == ((Effect.INDICATE,), State.STA10)


@pytest.mark.parametrize("action", [*ACTIONS.values(), AE6_NOT_ACCEPTABLE, AR8_ACCEPTOR])
def test_what_is_sent_is_sent_before_the_connection_closes_and_the_timer_runs_after(action: Action) -> None:
    """P004: ARTIM runs from when the last PDU was sent."""
    effects = action.effects
    for effect in effects:
        if effect in SENDING | INDICATING and Effect.CLOSE in effects:
            assert effects.index(effect) < effects.index(Effect.CLOSE)
        if effect in SENDING and Effect.START_ARTIM in effects:
            assert effects.index(effect) < effects.index(Effect.START_ARTIM)
    assert len(SENDING & set(effects)) <= 1
    assert len(INDICATING & set(effects)) <= 1
