"""In what an object in quarantine differs from the one that is stored."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from ....datasets.headers import read_header
from ....encoding.elements import UNDEFINED_LENGTH
from ....errors import UnusableObject
from ....values import frozen
from ...catalogue.query import StoredInstance
from ...entries import Quarantined
from ...storage.store import Storage
from ..dicomweb.opened import data_set_in, opened
from ..http.problems import Problem
from .attributes import Row, rows_of, syntax_row

# How many differences are shown, and how many rows of one in a sequence; how much of two files is compared at once.
_MOST, _ROWS, _BLOCK = 500, 50, 1 << 20


@frozen
class Difference:
    """An attribute in which two objects differ.

    Parameters
    ----------
    tag, name
        Of it, as they are shown.
    stored, quarantined
        The lines of its value in each of them; empty where it is missing.
    """

    tag: str
    name: str
    stored: tuple[str, ...]
    quarantined: tuple[str, ...]

    @property
    def is_hidden(self) -> bool:
        """Whether they differ though the same is shown of both, as of pixels."""
        return self.stored == self.quarantined


def differences(storage: Storage, found: Quarantined, stored: StoredInstance) -> list[Difference]:
    """In which attributes an object in quarantine differs from the stored one.

    Raises
    ------
    Problem
        If one of them is not there, or cannot be read.
    """
    try:
        with (
            storage.open_aside(found.location) as file,
            data_set_in(file, found.instance) as (here, syntax_here),
            opened(storage, stored) as (there, syntax_there),
        ):
            rows = (
                []
                if syntax_here == syntax_there
                else [_difference([syntax_row(syntax_there)], [syntax_row(syntax_here)])]
            )
            new, old = read_header(here, syntax_here)[0], read_header(there, syntax_there)[0]
            return rows + list(islice(_differing(old, there, new, here), _MOST))
    except FileNotFoundError:
        raise Problem(404, "one of both is not here any more; look at the quarantine again") from None
    except UnusableObject as error:
        raise Problem(500, f"they cannot be compared: {error}") from error


def _differing(old: Dataset, there: BinaryIO, new: Dataset, here: BinaryIO) -> Iterator[Difference]:
    for tag in sorted(old.keys() | new.keys()):
        # The length of a group says nothing.
        if tag.element and not _is_same(old, there, new, here, tag):
            yield _difference(
                list(islice(rows_of(old, tag), _ROWS)) if tag in old else [],
                list(islice(rows_of(new, tag), _ROWS)) if tag in new else [],
            )


def _difference(stored: list[Row], quarantined: list[Row]) -> Difference:
    first, *_ = stored or quarantined
    return Difference(first.tag, first.name, _lines(stored), _lines(quarantined))


def _lines(rows: list[Row]) -> tuple[str, ...]:
    return tuple(row.value if not row.depth else f"{row.name}: {row.value}" for row in rows)


def _is_same(old: Dataset, there: BinaryIO, new: Dataset, here: BinaryIO, tag: BaseTag) -> bool:
    if tag not in old or tag not in new:
        return False
    before, after = _left_out(old, tag), _left_out(new, tag)
    if before is not None or after is not None:
        return before is not None and after is not None and _have_same(there, before, here, after)
    try:
        return bool(old[tag] == new[tag])
    except Exception:  # noqa: BLE001
        # pydicom raises whatever damaged bytes lead to.
        raw: Any = old.get_item(tag)
        return bool(raw.value == new.get_item(tag).value)


def _left_out(data_set: Dataset, tag: BaseTag) -> tuple[int, int] | None:
    """Where in its stream a long value is that was not read, and its length; None if it was."""
    raw: Any = data_set.get_item(tag, keep_deferred=True)
    is_left_out = isinstance(raw, RawDataElement) and raw.value is None and raw.length
    return (raw.value_tell, raw.length) if is_left_out else None


def _have_same(there: BinaryIO, before: tuple[int, int], here: BinaryIO, after: tuple[int, int]) -> bool:
    if before[1] != after[1]:
        return False
    there.seek(before[0])
    here.seek(after[0])
    # What is in fragments is compared with all that is behind it.
    left = -1 if before[1] == UNDEFINED_LENGTH else before[1]
    while left:
        count = _BLOCK if left < 0 else min(left, _BLOCK)
        one, other = there.read(count), here.read(count)
        if one != other:
            return False
        if not one:
            break
        left -= len(one) if left > 0 else 0
    return True
