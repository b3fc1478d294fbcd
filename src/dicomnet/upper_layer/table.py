"""The state machine of PS3.8 section 9.2 as data: Table 9-10 as a grid, the actions of section 9.2.2 as a table."""

from __future__ import annotations

from enum import Enum, IntEnum, auto
from typing import NamedTuple


class State(IntEnum):
    """The states of PS3.8 section 9.2.1."""

    STA1 = 1  # idle
    STA2 = 2  # transport connection open, awaiting A-ASSOCIATE-RQ
    STA3 = 3  # awaiting the local A-ASSOCIATE response
    STA4 = 4  # awaiting the transport connection
    STA5 = 5  # awaiting A-ASSOCIATE-AC or -RJ
    STA6 = 6  # association established
    STA7 = 7  # awaiting A-RELEASE-RP
    STA8 = 8  # awaiting the local A-RELEASE response
    STA9 = 9  # release collision, requestor: awaiting the local A-RELEASE response
    STA10 = 10  # release collision, acceptor: awaiting A-RELEASE-RP
    STA11 = 11  # release collision, requestor: awaiting A-RELEASE-RP
    STA12 = 12  # release collision, acceptor: awaiting the local A-RELEASE response
    STA13 = 13  # awaiting the close of the transport connection


class Event(IntEnum):
    """The events of PS3.8 Table 9-10, by their numbers there."""

    ASSOCIATE_REQUEST = 1
    TRANSPORT_CONFIRM = 2
    ASSOCIATE_AC = 3
    ASSOCIATE_RJ = 4
    TRANSPORT_INDICATION = 5
    ASSOCIATE_RQ = 6
    ACCEPT = 7
    REJECT = 8
    DATA_REQUEST = 9
    DATA = 10
    RELEASE_REQUEST = 11
    RELEASE_RQ = 12
    RELEASE_RP = 13
    RELEASE_RESPONSE = 14
    ABORT_REQUEST = 15
    ABORT = 16
    TRANSPORT_CLOSED = 17
    ARTIM_EXPIRED = 18
    INVALID_PDU = 19


class Effect(Enum):
    """A step of an action, which the owner of the state machine performs."""

    CONNECT = auto()
    SEND = auto()  # the PDU of the local request or response that was the event
    SEND_REJECT_VERSION = auto()
    SEND_ABORT_USER = auto()
    SEND_ABORT_PROVIDER = auto()
    START_ARTIM = auto()
    STOP_ARTIM = auto()
    CLOSE = auto()
    INDICATE = auto()  # the PDU that was the event, to the local user
    INDICATE_ABORT = auto()
    INDICATE_PROVIDER_ABORT = auto()


class Action(NamedTuple):
    """An action of PS3.8 section 9.2.2: its effects, in order, and the next state."""

    effects: tuple[Effect, ...]
    next_state: State


# A row an event, a column a state (Sta1 to Sta13); a dot is a cell that the standard leaves empty.
GRID = """
 1   AE1   .    .    .    .    .    .    .    .    .    .    .    .
 2    .    .    .   AE2   .    .    .    .    .    .    .    .    .
 3    .   AA1  AA8   .   AE3  AA8  AA8  AA8  AA8  AA8  AA8  AA8  AA6
 4    .   AA1  AA8   .   AE4  AA8  AA8  AA8  AA8  AA8  AA8  AA8  AA6
 5   AE5   .    .    .    .    .    .    .    .    .    .    .    .
 6    .   AE6  AA8   .   AA8  AA8  AA8  AA8  AA8  AA8  AA8  AA8  AA7
 7    .    .   AE7   .    .    .    .    .    .    .    .    .    .
 8    .    .   AE8   .    .    .    .    .    .    .    .    .    .
 9    .    .    .    .    .   DT1   .   AR7   .    .    .    .    .
10    .   AA1  AA8   .   AA8  DT2  AR6  AA8  AA8  AA8  AA8  AA8  AA6
11    .    .    .    .    .   AR1   .    .    .    .    .    .    .
12    .   AA1  AA8   .   AA8  AR2  AR8  AA8  AA8  AA8  AA8  AA8  AA6
13    .   AA1  AA8   .   AA8  AA8  AR3  AA8  AA8  AR10 AR3  AA8  AA6
14    .    .    .    .    .    .    .   AR4  AR9   .    .   AR4   .
15    .    .   AA1  AA2  AA1  AA1  AA1  AA1  AA1  AA1  AA1  AA1   .
16    .   AA2  AA3   .   AA3  AA3  AA3  AA3  AA3  AA3  AA3  AA3  AA2
17    .   AA5  AA4  AA4  AA4  AA4  AA4  AA4  AA4  AA4  AA4  AA4  AR5
18    .   AA2   .    .    .    .    .    .    .    .    .    .   AA2
19    .   AA1  AA8   .   AA8  AA8  AA8  AA8  AA8  AA8  AA8  AA8  AA7
"""

_E = Effect
_S = State
ACTIONS: dict[str, Action] = {
    "AE1": Action((_E.CONNECT,), _S.STA4),
    "AE2": Action((_E.SEND,), _S.STA5),
    "AE3": Action((_E.INDICATE,), _S.STA6),
    "AE4": Action((_E.INDICATE, _E.CLOSE), _S.STA1),
    "AE5": Action((_E.START_ARTIM,), _S.STA2),
    "AE6": Action((_E.STOP_ARTIM, _E.INDICATE), _S.STA3),
    "AE7": Action((_E.SEND,), _S.STA6),
    "AE8": Action((_E.SEND, _E.START_ARTIM), _S.STA13),
    "DT1": Action((_E.SEND,), _S.STA6),
    "DT2": Action((_E.INDICATE,), _S.STA6),
    "AR1": Action((_E.SEND,), _S.STA7),
    "AR2": Action((_E.INDICATE,), _S.STA8),
    "AR3": Action((_E.INDICATE, _E.CLOSE), _S.STA1),
    "AR4": Action((_E.SEND, _E.START_ARTIM), _S.STA13),
    "AR5": Action((_E.STOP_ARTIM,), _S.STA1),
    "AR6": Action((_E.INDICATE,), _S.STA7),
    "AR7": Action((_E.SEND,), _S.STA8),
    "AR8": Action((_E.INDICATE,), _S.STA9),
    "AR9": Action((_E.SEND,), _S.STA11),
    "AR10": Action((_E.INDICATE,), _S.STA12),
    "AA1": Action((_E.SEND_ABORT_USER, _E.START_ARTIM), _S.STA13),
    "AA2": Action((_E.STOP_ARTIM, _E.CLOSE), _S.STA1),
    "AA3": Action((_E.INDICATE_ABORT, _E.CLOSE), _S.STA1),
    "AA4": Action((_E.INDICATE_PROVIDER_ABORT,), _S.STA1),
    "AA5": Action((_E.STOP_ARTIM,), _S.STA1),
    "AA6": Action((), _S.STA13),
    "AA7": Action((_E.SEND_ABORT_PROVIDER,), _S.STA13),
    "AA8": Action((_E.SEND_ABORT_PROVIDER, _E.INDICATE_PROVIDER_ABORT, _E.START_ARTIM), _S.STA13),
}

# Two actions choose between two outcomes; these are their second ones.
AE6_NOT_ACCEPTABLE = Action((_E.STOP_ARTIM, _E.SEND_REJECT_VERSION, _E.START_ARTIM), _S.STA13)
AR8_ACCEPTOR = Action((_E.INDICATE,), _S.STA10)


def _read_grid() -> dict[tuple[Event, State], str]:
    cells: dict[tuple[Event, State], str] = {}
    for line in GRID.strip().splitlines():
        number, *row = line.split()
        for state, action in zip(State, row, strict=True):
            if action != ".":
                cells[Event(int(number)), state] = action
    return cells


TABLE: dict[tuple[Event, State], str] = _read_grid()
