"""What an audit trail records: the audit events of PS3.15 section A.5, each with who, when, whence, and what of."""

from __future__ import annotations

from datetime import datetime
from enum import Enum, IntEnum, StrEnum
from typing import TYPE_CHECKING

from ..values import frozen

if TYPE_CHECKING:
    from ..drivers.tls import ClientCertificate


class EventKind(Enum):
    """An audit message of PS3.15 section A.5.3: the word it is kept by, its code in the terminology of DICOM, and the
    meaning of that.
    """

    APPLICATION_ACTIVITY = "application activity", "110100", "Application Activity"
    AUDIT_LOG_USED = "audit log used", "110101", "Audit Log Used"
    INSTANCES_ACCESSED = "instances accessed", "110103", "DICOM Instances Accessed"
    INSTANCES_TRANSFERRED = "instances transferred", "110104", "DICOM Instances Transferred"
    STUDY_DELETED = "study deleted", "110105", "DICOM Study Deleted"
    EXPORT = "export", "110106", "Export"
    IMPORT = "import", "110107", "Import"
    QUERY = "query", "110112", "Query"
    SECURITY_ALERT = "security alert", "110113", "Security Alert"
    USER_AUTHENTICATION = "user authentication", "110114", "User Authentication"

    def __init__(self, word: str, code: str, meaning: str) -> None:
        self.word = word
        self.code = code
        self.meaning = meaning


KINDS = {kind.word: kind for kind in EventKind}


class EventAction(StrEnum):
    """What of its kind an event is, where there are several."""

    START = "start"
    STOP = "stop"
    LOGIN = "login"
    LOGOUT = "logout"
    IN = "in"
    OUT = "out"
    # Of instances accessed; without one they were seen.
    DELETED = "deleted"
    RESTORED = "restored"
    REPLACED = "replaced"
    # Of a study deleted: its files are removed from the trash.
    FOR_GOOD = "for good"
    # Of security alerts; without one an association was refused.
    NOT_ALLOWED = "not allowed"
    USERS = "users"
    PROTECTION = "protection"
    CONFIGURATION = "configuration"
    RECORDING_STARTED = "recording started"
    RECORDING_STOPPED = "recording stopped"
    TASK_STARTED = "task started"
    TASK_STOPPED = "task stopped"
    NONE = ""


class EventOutcome(IntEnum):
    """Whether what was tried was done (EventOutcomeIndicator)."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8


# How objects and questions come, and go, besides the ways of `entries.Source`.
DIMSE, HTTP, COMMAND = "DIMSE", "HTTP", "command"


@frozen
class AuditEvent:
    """An event of the audit trail.

    Parameters
    ----------
    kind, action, outcome
        What it was, and how it went.
    user
        The name of a user by HTTP, or who gave an order; empty where nobody has to say who he is.
    ae_title
        The AE title of a peer, as it says; empty by HTTP.
    address
        Where that is; empty for the node itself.
    way
        DIMSE, HTTP, or command for one on this machine; empty for the node itself.
    study, patient
        Study Instance UID and Patient ID, as far as they are known.
    detail
        What else there is to be said, such as the keys of a query, or why something was refused.
    other
        The other end, where there is one besides who is named above: the destination of what is sent, the folder or
        file of what is read or written.
    query, syntax, sop_class
        Of a C-FIND: the identifier in Base64, its transfer syntax and the SOP class that is asked.
    """

    kind: EventKind
    action: EventAction = EventAction.NONE
    outcome: EventOutcome = EventOutcome.SUCCESS
    user: str = ""
    ae_title: str = ""
    address: str = ""
    way: str = ""
    study: str = ""
    patient: str = ""
    detail: str = ""
    other: str = ""
    query: str = ""
    syntax: str = ""
    sop_class: str = ""


@frozen
class AuditEntry:
    """An event as the ledger has it.

    Parameters
    ----------
    key
        By what it is known, one of its own.
    event
        It.
    count
        How often it happened: of objects how many they were, of requests how many are told of in one.
    begun_at, last_at
        When it first and last did.
    is_over
        Whether it cannot happen any more: what is over is never changed, and is told to others.
    """

    key: str
    event: AuditEvent
    count: int
    begun_at: datetime
    last_at: datetime
    is_over: bool = True


class SyslogTransport(Enum):
    """How a syslog server is reached; the value is the scheme of its address."""

    TLS = "tls"
    UDP = "udp"


@frozen
class SyslogServer:
    """A syslog server that is told of the audit trail.

    Parameters
    ----------
    host, port
        Where it is.
    transport
        How it is reached.
    certificate
        What it is trusted by, and what we show it; of TLS only.
    """

    host: str
    port: int
    transport: SyslogTransport
    certificate: ClientCertificate


@frozen
class AuditPolicy:
    """What is recorded, and who else is told of it.

    Parameters
    ----------
    enabled
        Whether anything is recorded.
    keep
        For how long, in seconds.
    file
        The file to which messages go; empty for none.
    syslog
        The server to which messages go; None for none.
    """

    enabled: bool = False
    keep: float = 31_557_600.0
    file: str = ""
    syslog: SyslogServer | None = None
