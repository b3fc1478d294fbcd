"""How often somebody has failed to prove who he is, and for how long he is not heard therefore.

Who guesses is held up by his address, and whose password is guessed by his name, since guesses may come from many
addresses. So a stranger could keep a user out by failing under that one's name, or behind an address that both have. A
user is not held up by others, therefore, where he has proved who he is before: of a name from such an address only its
own failures count.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterator
from hashlib import blake2b
from ipaddress import IPv6Address
from time import monotonic

from ....values import frozen
from ...access import address_in

# How many failures in a row cost nothing; what one more costs is a second, doubled so often, and at most this.
_FREE, _DOUBLED, _LONGEST = 5, 6, 60.0
# After how many seconds without another one they are forgotten.
_FORGOTTEN = 900.0
# Of how many addresses, names and both together failures are remembered at the most, and of how many that they have
# succeeded.
_REMEMBERED, _KNOWN = 16_384, 16_384
# A row in memory: the digest of its key, when it was written, and a number; and among how many a row has its place.
_SLOT = struct.Struct("16sdQ")
_TOGETHER = 16
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


class _Table:
    """Rows by their keys, in memory that all processes share which fork after it was made.

    There is no lock, as a process may be killed at any moment: of two that write a row at the same time, the later one
    counts. Where there is no room, the oldest row goes of those few among which a new one has its place.

    Parameters
    ----------
    count
        How many rows there is room for.
    """

    def __init__(self, count: int) -> None:
        self._groups = count // _TOGETHER
        self._memory = mmap.mmap(-1, self._groups * _TOGETHER * _SLOT.size)
        # So that nobody can choose names whose rows take each other's places.
        self._secret = os.urandom(16)

    def find(self, key: Key) -> _Row | None:
        """The row of a key, None if there is none."""
        digest, at = self._place(key)
        return next((_Row(count, last) for _, own, last, count in self._near(at) if own == digest), None)

    def put(self, key: Key, row: _Row) -> None:
        """Write a row; one with a count of 0 is the first to give its place to another one."""
        digest, at = self._place(key)
        near = list(self._near(at))
        place = next((each[0] for each in near if each[1] == digest), None)
        if place is None:
            place = min(near, key=lambda each: (each[3] > 0, each[2]))[0]
        self._memory[place : place + _SLOT.size] = _SLOT.pack(digest, row.last, row.count)

    def _place(self, key: Key) -> tuple[bytes, int]:
        """The digest of a key, and where the rows begin among which it has its place."""
        digest = blake2b("\0".join(key).encode(errors="replace"), digest_size=16, key=self._secret).digest()
        return digest, int.from_bytes(digest, "big") % self._groups * _TOGETHER * _SLOT.size

    def _near(self, begin: int) -> Iterator[tuple[int, bytes, float, int]]:
        """Where the rows of a group are, and what they have."""
        part = self._memory[begin : begin + _TOGETHER * _SLOT.size]
        for number, (digest, last, count) in enumerate(_SLOT.iter_unpack(part)):
            yield begin + number * _SLOT.size, digest, last, count


class Failures:
    """The failures that the processes of a node know of. It is made before they are forked; used by their loops only.

    Parameters
    ----------
    clock
        Gives the time in seconds, which is the same in all processes.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        # By address and name, one of which is empty where the row is of the other alone.
        self._rows = _Table(_REMEMBERED)
        self._known = _Table(_KNOWN)

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
        return max(self._row(key, now).until - now for key in self._counting(client, name))

    def begins(self, address: str, name: str) -> bool:
        """A client is about to be looked at; whether that counts as a failure already, until it has succeeded.

        So one who has failed often cannot guess in several processes at the same moment. Parameters as of `wait`.
        """
        now, client = self._clock(), client_of(address)
        if all(self._row(key, now).count < _FREE - 1 for key in self._counting(client, name)):
            return False
        self.failed(address, name)
        return True

    def failed(self, address: str, name: str = "") -> None:
        """A client has failed; parameters as of `wait`."""
        now, client = self._clock(), client_of(address)
        for key in _keys(client, name):
            self._rows.put(key, _Row(self._row(key, now).count + 1, now))

    def succeeded(self, address: str, name: str) -> None:
        """A client has proved who he is; what he failed before he did so is forgotten, and not what others did."""
        now, client = self._clock(), client_of(address)
        own = self._row((client, name), now).count
        for key in _keys(client, name):
            row = self._row(key, now)
            if row.count:
                self._rows.put(key, _Row(max(0, row.count - own), row.last))
        self._known.put((client, name), _Row(1, now))

    def _counting(self, client: str, name: str) -> list[Key]:
        """Whose failures hold up a client."""
        is_known = self._known.find((client, name)) is not None
        return [(client, name)] if is_known else [(client, ""), ("", name)]

    def _row(self, key: Key, now: float) -> _Row:
        row = self._rows.find(key)
        return row if row is not None and now - row.last < _FORGOTTEN else _Row(0, now)


def client_of(address: str) -> str:
    """What of an address belongs to one client."""
    found = address_in(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Address(int(found) >> (128 - _NETWORK) << (128 - _NETWORK)))
    return address


def _keys(client: str, name: str) -> list[Key]:
    return [(client, ""), *([("", name), (client, name)] if name else [])]
