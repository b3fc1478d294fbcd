"""`dicomnet store --dry-run`: what would be sent, and what that needs of the peer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..encoding.transfer_syntaxes import Transcoding, transfer_syntax
from ..exchange.contexts import Pair, pair_of
from ..exchange.results import StoreResult
from ..exchange.searching import find_objects, scan
from ..exchange.storing import StorePlan
from ..plurals import counted
from ..services.sop_classes import SOP_CLASSES
from ..values import mutable
from .words import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..drivers.files import StoredObject


@mutable
class Kind:
    """How many objects there are of a SOP class in a transfer syntax, and how many bytes their data sets have."""

    objects: int = 0
    bytes: int = 0


class Forecast:
    """What a store would send, without anything being sent; as large for a million files as for ten.

    Parameters
    ----------
    paths
        Files and folders.
    transcode
        As of `dicomnet.Peer`.
    """

    def __init__(self, paths: Iterable[str], transcode: str) -> None:
        self._paths = paths
        self._transcoding = Transcoding.parse(transcode)
        self._kinds: dict[Pair, Kind] = {}
        self._plans: list[StorePlan] = []

    def look(self) -> Iterator[StoredObject | StoreResult]:
        """Each file that would be sent, and the result of each that would not."""
        for found in scan(find_objects(self._paths, keeps_missing=True)):
            if not isinstance(found, StoreResult):
                self._count(found)
            yield found

    def _count(self, stored: StoredObject) -> None:
        pair = pair_of(stored)
        kind = self._kinds.setdefault(pair, Kind())
        if not kind.objects and not any(plan.takes(stored) for plan in self._plans):
            self._plans.append(StorePlan(self._transcoding))
            self._plans[-1].takes(stored)
        kind.objects += 1
        kind.bytes += stored.length

    def lines(self) -> Iterator[str]:
        """What all of it needs, for people: a line for each kind of objects, and one of contexts and associations."""
        rows = [
            (
                f"{kind.objects} x",
                f"{kind.bytes / 1e6:.1f} MB",
                _class_name(sop_class),
                transfer_syntax(syntax).name,
            )
            for (sop_class, syntax), kind in sorted(self._kinds.items(), key=lambda item: -item[1].objects)
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            yield printable("  ".join(map(str.ljust, row, widths)).rstrip())
        contexts = [len(plan.proposal) for plan in self._plans]
        if contexts:
            number = counted(len(contexts), "association")
            what = "presentation context" if contexts == [1] else "presentation contexts"
            yield f"needs {number} with {' and '.join(map(str, contexts))} {what}"


def _class_name(uid: str) -> str:
    row = SOP_CLASSES.get(uid)
    return uid if row is None else row.keyword
