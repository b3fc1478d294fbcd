"""The tables of what a node shows as metrics: what it counts, and what it measures when it is asked.

What is counted has its place in memory that processes share; see `counts`. There are never values of patients or UIDs
among the labels, and each label has a bounded number of values.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from ...values import field, frozen

# How many peers are told apart by their AE titles; all others, and those that no configuration names, are `OTHER`.
PEERS = 128
OTHER = "other"
PEER = "peer"

# The classes of statuses (PS3.7 section C.1), and how sub-operations end.
SUCCESS, WARNING, FAILURE, CANCEL = "success", "warning", "failure", "cancel"
CLASSES = (SUCCESS, WARNING, FAILURE, CANCEL)
GET, MOVE = "get", "move"

ACCEPTED = "accepted"
REJECTED_CALLING, REJECTED_CALLED = "rejected_calling_title", "rejected_called_title"
REJECTED_LIMIT, REJECTED_OTHER = "rejected_limit", "rejected_other"
NOT_ANSWERED = "aborted"
RELEASED, ABORTED_BY_PEER, ABORTED_BY_US, LOST = "released", "aborted_by_peer", "aborted_by_us", "lost"

# The upper limits of buckets, in seconds: of what takes moments, and of what takes as long as many objects do.
_MOMENTS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LONG = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_MEASURED = "from the last byte of the request to when its final response is about to be written"


@frozen
class Family:
    """What is counted under one name: a counter, or a histogram of seconds, for each combination of labels.

    Parameters
    ----------
    name
        Without ``dicomnet_``, and without the ``_total`` that a counter has.
    help
        What is counted.
    labels
        The labels in their order, each with its values; that of peers has none here, see `PEERS`.
    bounds
        The upper limits of the buckets of a histogram, in seconds; none for a counter.
    """

    name: str
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers a combination has: a histogram's are its buckets, the one without limit, and the sum."""
        return len(self.bounds) + 2 if self.bounds else 1

    def combinations(self, peers: tuple[str, ...]) -> list[tuple[str, ...]]:
        """The values of the labels in the order of their places; peers come first where there are any."""
        return list(product(*(values or peers for values in self.labels.values())))


_STATUS = {"status": CLASSES}
ECHO = Family("echo_duration_seconds", f"Time that C-ECHO requests took, {_MEASURED}.", _STATUS, _MOMENTS)
STORE = Family(
    "store_duration_seconds",
    f"Time that C-STORE requests took, {_MEASURED}; the object is durable by then.",
    _STATUS,
    _MOMENTS,
)
FIND = Family("find_duration_seconds", f"Time that C-FIND requests took, {_MEASURED}.", _STATUS, _MOMENTS)
RETRIEVE = Family(
    "retrieve_duration_seconds",
    f"Time that C-GET and C-MOVE requests took, {_MEASURED}, with all sub-operations.",
    {"operation": (GET, MOVE), **_STATUS},
    _LONG,
)
MATCHES = Family("find_matches", "Matches that were sent as pending responses to C-FIND requests.")
SUB_OPERATIONS = Family(
    "suboperations",
    "Objects sent for C-GET and C-MOVE requests, by the status that the receiver answered; without one they failed.",
    {"operation": (GET, MOVE), "status": (SUCCESS, WARNING, FAILURE)},
)
RECEIVED = Family("received_bytes", "Bytes of the data sets of C-STORE requests that were answered.")
SENT = Family(
    "sent_bytes",
    "Bytes of the files of objects that were sent for C-GET and C-MOVE requests, as they are stored.",
)
REQUESTS = Family(
    "association_requests",
    "Associations that peers asked for, by calling AE title, if the configuration has it, and by the answer;"
    " aborted: they ended before it.",
    {
        PEER: (),
        "result": (
            ACCEPTED,
            REJECTED_CALLING,
            REJECTED_CALLED,
            REJECTED_LIMIT,
            REJECTED_OTHER,
            NOT_ANSWERED,
        ),
    },
)
ENDED = Family(
    "associations_ended",
    "Associations that were accepted and are over, by calling AE title, if the configuration has it, and by their end.",
    {PEER: (), "result": (RELEASED, ABORTED_BY_PEER, ABORTED_BY_US, LOST)},
)
HANDSHAKES = Family("tls_handshake_failures", "TLS handshakes with peers that failed.")
STARTS = Family(
    "worker_starts", "Worker processes that were started; those that replace one that died included."
)

FAMILIES = (
    ECHO,
    STORE,
    FIND,
    RETRIEVE,
    MATCHES,
    SUB_OPERATIONS,
    RECEIVED,
    SENT,
    REQUESTS,
    ENDED,
    HANDSHAKES,
    STARTS,
)


def _places() -> tuple[dict[str, int], int]:
    places, at = {}, 0
    for family in FAMILIES:
        places[family.name] = at
        at += family.width * len(family.combinations((OTHER,) * PEERS))
    return places, at


# Where the numbers of each family begin, and how many there are in all.
_PLACES, LENGTH = _places()


def place(family: Family, *values: str, peer: int = 0) -> int:
    """Where the numbers of one combination of labels begin.

    Parameters
    ----------
    values
        The values of the labels, without that of the peer.
    peer
        The number of the peer, where there is such a label.
    """
    at = peer
    rest = iter(values)
    for name, known in family.labels.items():
        if name != PEER:
            at = at * len(known) + known.index(next(rest))
    return _PLACES[family.name] + at * family.width


@frozen
class Gauge:
    """What is measured when somebody asks.

    Parameters
    ----------
    name
        Without ``dicomnet_``.
    help
        What it is.
    label
        The name of its only label; empty for none.
    """

    name: str
    help: str
    label: str = ""


OPEN = Gauge("associations_open", "Associations that are open.")
READY = Gauge("ready", "Whether /health says that the node is ready: 1 or 0.")
CHECK = Gauge("check_status", "What a check of /health found: 0 well, 1 a warning, 2 it failed.", "check")
AGE = Gauge("check_age_seconds", "How long ago a check of /health had its last answer.", "check")
WORKERS = Gauge("workers", "Worker processes, by whether they run.", "state")
UNFILED = Gauge("objects_unfiled", "Objects that were acknowledged and have no file or row in the index yet.")
STUCK = Gauge("objects_stuck", "Those of them whose files cannot be written now, and are tried again.")
JOURNAL = Gauge("journal_bytes", "Length of the files of the intake journal, which are used over and over.")
QUARANTINE = Gauge("quarantine_objects", "Objects in quarantine, as the ledger has them.")
TRASH = Gauge("trash_objects", "Objects that were deleted and can be brought back, as the ledger has them.")
TRASH_BYTES = Gauge("trash_bytes", "Length of their files.")
DISK_FREE = Gauge(
    "disk_free_bytes", "What the node may still write on the file system of a folder.", "folder"
)
DISK_SIZE = Gauge("disk_size_bytes", "Size of the file system of a folder.", "folder")
CERTIFICATE = Gauge(
    "certificate_expires_in_seconds",
    "Time until the first certificate of those that the node shows expires; negative when it has.",
)
AUDIT_LAG = Gauge(
    "audit_entries_behind",
    "Entries of the audit trail that file or syslog server have not received.",
    "receiver",
)
AUDIT_LAG_SECONDS = Gauge("audit_behind_seconds", "For how long the oldest of these waits.", "receiver")
INDEX = Gauge("index_complete", "Whether the index has all objects, so that queries are answered: 1 or 0.")

GAUGES = (
    OPEN,
    READY,
    CHECK,
    AGE,
    WORKERS,
    UNFILED,
    STUCK,
    JOURNAL,
    QUARANTINE,
    TRASH,
    TRASH_BYTES,
    DISK_FREE,
    DISK_SIZE,
    CERTIFICATE,
    AUDIT_LAG,
    AUDIT_LAG_SECONDS,
    INDEX,
)
