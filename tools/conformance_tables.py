"""Generates the tables of docs/conformance.md from the tables in the source code.

Run it after a change of those. With ``--check`` it writes nothing; the exit status is 1 if the page is out of date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from pydicom.datadict import keyword_for_tag

from dicomnet._version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnet.archive.catalogue import identifiers
from dicomnet.archive.catalogue.computed import COMPUTED, computed_at
from dicomnet.archive.catalogue.schema import KEPT
from dicomnet.archive.services import query
from dicomnet.dimse.assembler import COMMAND_SET_LIMIT
from dicomnet.drivers.deadline import Timeouts
from dicomnet.encoding import walk
from dicomnet.encoding.transfer_syntaxes import TRANSFER_SYNTAXES
from dicomnet.exchange.addresses import MAXIMUM_LENGTH
from dicomnet.exchange.requesting import RESPONSE_LIMIT
from dicomnet.pynetdicom.ae import AE, DEFAULT_MAX_LENGTH
from dicomnet.services.registry import OPERATIONS
from dicomnet.services.service_classes import SERVICE_CLASSES
from dicomnet.services.service_names import ServiceName
from dicomnet.services.sop_classes import COMMON_STORAGE, SOP_CLASSES
from dicomnet.wire.pdu import MAXIMUM_CONTEXTS
from dicomnet.wire.scanner import PDU_EXCESS

PAGE = Path(__file__).parents[1] / "docs" / "conformance.md"

Rows = Iterable[tuple[object, ...]]


def _table(*heads: str) -> Callable[[Callable[[], Rows]], Callable[[], str]]:
    def decorate(rows: Callable[[], Rows]) -> Callable[[], str]:
        def write() -> str:
            lines = [heads, ("---",) * len(heads), *rows()]
            return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)

        return write

    return decorate


@_table("", "")
def identification() -> Rows:
    yield "Implementation Class UID", f"`{IMPLEMENTATION_CLASS_UID}`"
    yield "Implementation Version Name", f"`{IMPLEMENTATION_VERSION_NAME}`"
    yield "Application Context Name", "`1.2.840.10008.3.1.1.1`"


@_table("", "`AE`", "`Peer`, `dicomnet.aio`, the commands", "the node")
def limits() -> Rows:
    timeouts, ae = Timeouts(), AE()
    yield "PDU-length announced, bytes", DEFAULT_MAX_LENGTH, MAXIMUM_LENGTH, MAXIMUM_LENGTH
    most = DEFAULT_MAX_LENGTH + PDU_EXCESS, MAXIMUM_LENGTH + PDU_EXCESS
    yield "PDU-length taken, bytes", most[0], most[1], most[1]
    yield "presentation contexts proposed at once", MAXIMUM_CONTEXTS, MAXIMUM_CONTEXTS, "–"
    yield "associations accepted at once", ae.maximum_associations, 256, 256
    yield "operations that a peer may have outstanding", 1, 16, 16
    connect = ae.connection_timeout or "that of the system"
    yield "seconds to connect", connect, timeouts.connect, "–"
    yield (
        "seconds for negotiation, for release, and ARTIM",
        ae.acse_timeout,
        timeouts.association,
        timeouts.association,
    )
    yield "seconds for a message", ae.dimse_timeout, timeouts.message, timeouts.message
    yield "seconds that an association may be idle", ae.network_timeout, timeouts.idle, timeouts.idle
    yield "command set, bytes", *(COMMAND_SET_LIMIT,) * 3
    yield (
        "data set of a response, or of a query to the node",
        "2 GiB",
        f"{RESPONSE_LIMIT >> 20} MiB",
        f"{query.QUERY_LIMIT >> 20} MiB",
    )


@_table("service class (PS3.4)", "operations", "SOP classes")
def service_classes() -> Rows:
    for service, row in SERVICE_CLASSES.items():
        count = sum(each.service is service for each in SOP_CLASSES.values())
        if row.operations and count:
            yield service.value, " ".join(sorted(row.operations)), count


@_table("SOP class", "UID", "service class", "operation")
def sop_classes() -> Rows:
    for row in SOP_CLASSES.values():
        if row.service not in (ServiceName.STORAGE, ServiceName.MEDIA_STORAGE):
            yield row.keyword, f"`{row.uid}`", row.service.value, row.operation or "all of the class"


@_table("SOP class", "UID", "proposed by `Peer.get`")
def storage() -> Rows:
    for row in SOP_CLASSES.values():
        if row.service is ServiceName.STORAGE:
            yield row.keyword, f"`{row.uid}`", "yes" if row.uid in COMMON_STORAGE else "if asked for"


@_table("transfer syntax", "UID", "pixel data")
def transfer_syntaxes() -> Rows:
    for row in TRANSFER_SYNTAXES.values():
        yield row.name, f"`{row.uid}`", "encapsulated" if row.is_encapsulated else "native"


@_table("service", "a handler that raises is answered with")
def handler_failures() -> Rows:
    for row in OPERATIONS.values():
        yield row.service, f"0x{row.handler_failed:04X}"


@_table("level", "keys that are matched and returned")
def query_keys() -> Rows:
    for level, kept in KEPT.items():
        yield level.name, " ".join(keyword_for_tag(tag) for tag in kept)
    for level in COMPUTED:
        computed = computed_at(level, relational=False)
        yield f"{level.name}, computed", " ".join(keyword_for_tag(tag) for tag in computed)


@_table("", "")
def node_limits() -> Rows:
    yield "UIDs of a list", identifiers._UID_LIMIT
    yield "nesting of sequences in an object", walk.DEPTH_LIMIT
    yield "data elements of an object", walk.ELEMENT_LIMIT


TABLES: dict[str, Callable[[], str]] = {
    "identification": identification,
    "limits": limits,
    "service classes": service_classes,
    "SOP classes": sop_classes,
    "storage": storage,
    "transfer syntaxes": transfer_syntaxes,
    "handler failures": handler_failures,
    "query keys": query_keys,
    "node limits": node_limits,
}

_PLACE = re.compile(r"(<!-- table: (.*?) -->\n).*?(<!-- end -->)", re.DOTALL)


def written(page: str) -> str:
    """The text of the page with its tables generated again."""
    return _PLACE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", page)


def main() -> int:
    """Write the page, or check it."""
    page = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        return int(written(page) != page)
    PAGE.write_text(written(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
