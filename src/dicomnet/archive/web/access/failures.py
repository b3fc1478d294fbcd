"""How often somebody has failed to prove who he is, and for how long he is not heard therefore.

Who guesses is held up by his address, and whose password is guessed by his name, since guesses may come from many
addresses. So a stranger could keep a user out by failing under that one's name, or behind an address that both have. A
user is not held up by others, therefore, where he has proved who he is before: of a name from such an address only its
own failures count.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address
from time import monotonic

from ....values import frozen
from ...access import address_in

# How many failures in a row cost nothing; what one more costs is a second, doubled so often, and at most this.
_FREE, _DOUBLED, _LONGEST = 5, 6, 60.0
# After how many seconds without another one they are forgotten.
_FORGOTTEN = 900.0
# Of how many addresses, names and both together failures are remembered, and of how many that they have succeeded.
_REMEMBERED, _KNOWN = 10_000, 10_000
# An IPv6 address stands for its network of this length, all of which one client may have.
_NETWORK = 64

Key = tuple[str, str]


@frozen
class _Row:
    """How many failures there were, when the last one was, and until when they cost time."""

    count: int
    last: float

    @property
    def until(self) -> float:
        if self.count < _FREE:
            return self.last
        return self.last + min(_LONGEST, 2.0 ** min(_DOUBLED, self.count - _FREE))


class Failures:
    """The failures of one process. Used by its loop only.

    Parameters
    ----------
    clock
        Gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        # By address and name, one of which is empty where the row is of the other alone.
        self._rows: OrderedDict[Key, _Row] = OrderedDict()
        self._known: OrderedDict[Key, None] = OrderedDict()

    def wait(self, address: str, name: str = "") -> float:
        """For how many seconds a client is not heard.

        Parameters
        ----------
        address
            That of the client.
        name
            Who he says he is; empty where he does not say it, or where nobody can be called so.
        """
        now, client = self._clock(), client_of(address)
        keys: list[Key] = [(client, name)] if (client, name) in self._known else [(client, ""), ("", name)]
        return max(self._row(key, now).until - now for key in keys)

    def failed(self, address: str, name: str = "") -> None:
        """A client has failed; parameters as of `wait`."""
        now, client = self._clock(), client_of(address)
        for key in _keys(client, name):
            self._put(key, _Row(self._row(key, now).count + 1, now))

    def succeeded(self, address: str, name: str) -> None:
        """A client has proved who he is; what he failed before he did so is forgotten, and not what others did."""
        now, client = self._clock(), client_of(address)
        own = self._row((client, name), now).count
        for key in _keys(client, name):
            row = self._row(key, now)
            self._rows.pop(key, None)
            if row.count > own:
                self._put(key, _Row(row.count - own, row.last))
        self._known.pop((client, name), None)
        self._known[client, name] = None
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def _row(self, key: Key, now: float) -> _Row:
        row = self._rows.get(key)
        return row if row is not None and now - row.last < _FORGOTTEN else _Row(0, now)

    def _put(self, key: Key, row: _Row) -> None:
        self._rows.pop(key, None)
        self._rows[key] = row
        while len(self._rows) > _REMEMBERED:
            self._rows.popitem(last=False)


def client_of(address: str) -> str:
    """What of an address belongs to one client."""
    found = address_in(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Address(int(found) >> (128 - _NETWORK) << (128 - _NETWORK)))
    return address


def _keys(client: str, name: str) -> list[Key]:
    return [(client, ""), *([("", name), (client, name)] if name else [])]
