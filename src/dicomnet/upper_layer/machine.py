"""The state machine of one association: an event goes in, the effects to perform come out. No socket, no clock."""

from __future__ import annotations

from .table import ACTIONS, AE6_NOT_ACCEPTABLE, AR8_ACCEPTOR, TABLE, Action, Effect, Event, State


class IllegalEvent(RuntimeError):
    """A local request that the state of the association does not allow: the cell of the standard's table is empty.

    Parameters
    ----------
    event, state
        The cell of PS3.8 Table 9-10.
    """

    def __init__(self, event: Event, state: State) -> None:
        super().__init__(event, state)
        self.event = event
        self.state = state

    def __str__(self) -> str:
        return f"{self.event.name} is not possible in {self.state.name}"


class Machine:
    """The upper layer state machine (PS3.8 section 9.2).

    Parameters
    ----------
    is_requestor
        Whether this side is the association requestor; decides what follows a release collision.
    """

    __slots__ = ("is_requestor", "last_action", "state")

    def __init__(self, is_requestor: bool) -> None:
        self.is_requestor = is_requestor
        self.state = State.STA1
        self.last_action = ""

    def fire(self, event: Event, *, acceptable: bool = True) -> tuple[Effect, ...]:
        """Handle an event: go to the next state, and return the effects of the action.

        Parameters
        ----------
        event
            The event that happened.
        acceptable
            For an A-ASSOCIATE-RQ: whether we support its protocol version (action AE-6).

        Returns
        -------
        tuple of Effect
            The effects, which the caller performs in this order.

        Raises
        ------
        IllegalEvent
            If the standard leaves the cell empty.
        """
        name = TABLE.get((event, self.state))
        if name is None:
            raise IllegalEvent(event, self.state)
        action = self._choose(name, acceptable)
        self.last_action = name
        self.state = action.next_state
        return action.effects

    def allows(self, event: Event) -> bool:
        """Whether the event is possible in the present state."""
        return (event, self.state) in TABLE

    def _choose(self, name: str, acceptable: bool) -> Action:
        if name == "AE6" and not acceptable:
            return AE6_NOT_ACCEPTABLE
        if name == "AR8" and not self.is_requestor:
            return AR8_ACCEPTOR
        return ACTIONS[name]
