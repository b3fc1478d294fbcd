"""Every exception that reaches a user of dicomnet. Blame is in the type, and values, not sentences, are in the fields.

::

    DicomnetError
    ├── NetworkError (also OSError)            the transport connection
    │   ├── ConnectionFailed                   could not be opened: name, route, refused
    │   ├── TLSFailed                          the handshake failed, or one side speaks TLS and the other does not
    │   ├── DeadlineExceeded (also TimeoutError)   a stage took longer than its deadline
    │   └── ConnectionLost                     it ended before a response of HTTP was whole
    ├── AssociationError                       the association
    │   ├── AssociationRejected                A-ASSOCIATE-RJ from the peer
    │   ├── AssociationAborted                 A-ABORT, or the connection was lost
    │   ├── AssociationClosed (also RuntimeError)  used after release or abort
    │   │   └── AssociationReleased            the peer released it, perhaps before it had answered everything
    │   └── NoAcceptedContext (also ValueError)    nothing was negotiated for what is to be sent
    ├── ProtocolError                          the peer broke PS3.7, PS3.8 or PS3.18; knows its A-ABORT
    ├── ServiceRefusal                         a service says no; knows its DIMSE status
    │   └── HTTPRefusal                        a peer says no over HTTP; knows its status code
    ├── UnusableObject (also ValueError)       a file or data set of the caller's that cannot be sent
    ├── JournalUnusable                        the journal of a store is damaged, in use, or another peer's
    ├── UsersUnusable                          the file of users of an archive is open to others, or makes no sense
    ├── ViewerUnusable                         a viewer for browsers cannot be installed, or is damaged
    ├── StoreInUse                             another node has the archive's store open
    ├── IndexUnusable                          the archive's index is damaged or of another version
    ├── JournalUnusable                        the journal of a retrieval is in use, damaged or of another version
    ├── LedgerUnusable                         the archive's ledger is damaged or of a newer version
    └── DatabaseFailure                        a database of the archive failed; knows whether it is damaged

A mistake of the caller's own program is a plain ValueError or TypeError.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class DicomnetError(Exception):
    """Base of all exceptions of this package."""


class NetworkError(DicomnetError, OSError):
    """The transport connection failed."""

    def __init__(self, *values: object) -> None:
        # OSError's own would take the first two values for errno and strerror, and drop the third from args.
        Exception.__init__(self, *values)


class ConnectionFailed(NetworkError):
    """The peer cannot be reached.

    Parameters
    ----------
    host, port
        The address that was tried.
    cause
        The operating system's error message.
    """

    def __init__(self, host: str, port: int, cause: str) -> None:
        super().__init__(host, port, cause)
        self.host = host
        self.port = port
        self.cause = cause

    def __str__(self) -> str:
        return f"cannot connect to {self.host} port {self.port}: {self.cause}"


class TLSFailed(NetworkError):
    """TLS could not be established, or only one of the two sides speaks it."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause

    def __str__(self) -> str:
        return f"TLS failed: {self.cause}"


class DeadlineExceeded(NetworkError, TimeoutError):
    """A stage was not finished in time.

    Parameters
    ----------
    stage
        ``connect``, ``TLS``, ``association``, ``message``, ``idle`` or ``release``; ``report`` of storage commitment.
    seconds
        The time the stage was allowed, in seconds; None if all of it had been used up before.
    """

    def __init__(self, stage: str, seconds: float | None) -> None:
        super().__init__(stage, seconds)
        self.stage = stage
        self.seconds = seconds

    def __str__(self) -> str:
        if self.seconds is None:
            return f"there is no time left for the {self.stage} stage"
        return f"the peer did not finish the {self.stage} stage within {self.seconds:g} s"


class ConnectionLost(NetworkError):
    """The connection ended before a response of HTTP was there, or was whole.

    Parameters
    ----------
    cause
        What is known of it, in words; may be empty.
    """

    def __init__(self, cause: str = "") -> None:
        super().__init__(cause)
        self.cause = cause

    def __str__(self) -> str:
        text = "the connection was lost before the peer had answered completely"
        return f"{text}: {self.cause}" if self.cause else text


class AssociationError(DicomnetError):
    """An association could not be established, or was lost."""


REJECT_RESULTS = {1: "permanently", 2: "for now"}
REJECT_SOURCES = {
    1: "the service user",
    2: "the service provider (ACSE)",
    3: "the service provider (presentation)",
}
REJECT_REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
ABORT_REASONS = {
    0: "no reason given",
    1: "unrecognised PDU",
    2: "unexpected PDU",
    4: "unrecognised PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}


class AssociationRejected(AssociationError):
    """The peer answered A-ASSOCIATE-RJ (PS3.8 section 9.3.4).

    Parameters
    ----------
    result
        1 permanent, 2 transient.
    source
        1 service user, 2 service provider (ACSE), 3 service provider (presentation).
    reason
        The diagnostic of PS3.8 Table 9-21.
    """

    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(result, source, reason)
        self.result = result
        self.source = source
        self.reason = reason

    @property
    def is_transient(self) -> bool:
        """Whether the peer may accept the same request later."""
        return self.result == 2

    def __str__(self) -> str:
        result = REJECT_RESULTS.get(self.result, f"with result {self.result}")
        source = REJECT_SOURCES.get(self.source, f"source {self.source}")
        reason = REJECT_REASONS.get((self.source, self.reason), f"reason {self.reason}")
        return f"association rejected {result} by {source}: {reason}"


class AssociationAborted(AssociationError):
    """The association ended without release (PS3.8 sections 7.3 and 7.4).

    Parameters
    ----------
    source
        0 the peer's user, 2 the peer's provider, None where the connection was lost.
    reason
        The reason of PS3.8 section 9.3.8, meaningful with source 2.
    cause
        What else is known, for instance the error on our side that ended it.
    """

    def __init__(self, source: int | None, reason: int = 0, cause: str = "") -> None:
        super().__init__(source, reason, cause)
        self.source = source
        self.reason = reason
        self.cause = cause

    def __str__(self) -> str:
        if self.cause:
            return f"association aborted: {self.cause}"
        if self.source is None:
            return "association lost: the peer closed the connection"
        if self.source == 0:
            return "association aborted by the peer"
        return f"association aborted by the peer's provider: {ABORT_REASONS.get(self.reason, self.reason)}"


class AssociationClosed(AssociationError, RuntimeError):
    """The association is over, or was never established, and cannot carry a message.

    Parameters
    ----------
    cause
        What ended it, in words; empty where that is not known or was regular.
    """

    def __init__(self, cause: str = "") -> None:
        super().__init__(cause)
        self.cause = cause

    def __str__(self) -> str:
        return self.cause or "the association is not established"


class AssociationReleased(AssociationClosed):
    """The peer released the association (PS3.8 section 7.2), which is over.

    Parameters
    ----------
    was_awaited
        Whether the final response to a request was to come.
    """

    def __init__(self, was_awaited: bool) -> None:
        text = "the peer released the association"
        super().__init__(f"{text} before the final response" if was_awaited else text)
        self.args = (was_awaited,)
        self.was_awaited = was_awaited


class NoAcceptedContext(AssociationError, ValueError):
    """No accepted presentation context can carry what is to be sent.

    Parameters
    ----------
    abstract_syntax
        UID of the SOP class.
    transfer_syntax
        UID of the transfer syntax that is needed, or None where any would do.
    accepted
        UIDs of the transfer syntaxes that the peer accepted for this SOP class.
    instance
        UID of the object, empty where there is none.
    names
        Names of transfer syntaxes by UID, for the error text.
    advice
        What the user can do about it, for the error text.
    """

    def __init__(
        self,
        abstract_syntax: str,
        transfer_syntax: str | None = None,
        accepted: tuple[str, ...] = (),
        instance: str = "",
        names: Mapping[str, str] | None = None,
        advice: str = "",
    ) -> None:
        super().__init__(abstract_syntax, transfer_syntax, accepted, instance, names, advice)
        self.abstract_syntax = abstract_syntax
        self.transfer_syntax = transfer_syntax
        self.accepted = accepted
        self.instance = instance
        self.advice = advice
        self._names = names or {}

    def __str__(self) -> str:
        syntax = self._name(self.transfer_syntax or "")
        advice = f"; {self.advice}" if self.advice else ""
        if not self.accepted:
            text = f"the peer accepted no presentation context for SOP class {self.abstract_syntax}"
            return (
                f"{text}, which object {self.instance} in {syntax} needs{advice}" if self.instance else text
            )
        return (
            f"the peer accepted SOP class {self.abstract_syntax} with {', '.join(map(self._name, self.accepted))},"
            f" but not with the transfer syntax of the object{self.instance and ' '}{self.instance}, {syntax}"
            f"{advice}"
        )

    def _name(self, uid: str) -> str:
        return self._names.get(uid, uid)


class ProtocolError(DicomnetError):
    """The peer broke a rule of PS3.7 or PS3.8, and the association ends with this A-ABORT; or one of PS3.18.

    Parameters
    ----------
    cause
        What was wrong, without any content of the message.
    reason
        The reason of the A-ABORT PDU that answers it (PS3.8 section 9.3.8). Its source is 2.
    """

    source = 2

    def __init__(self, cause: str, reason: int = 6) -> None:
        super().__init__(cause, reason)
        self.cause = cause
        self.reason = reason

    def __str__(self) -> str:
        return self.cause


class ServiceRefusal(DicomnetError):
    """A service refuses a request with a DIMSE status (PS3.7 Annex C).

    Parameters
    ----------
    status
        The value of Status (0000,0900).
    comment
        Why, cut off after 256 characters; the first 64 are sent as Error Comment (0000,0902). Never a path or patients'
        data.
    offending
        Tags for Offending Element (0000,0901).
    """

    def __init__(self, status: int, comment: str = "", offending: tuple[int, ...] = ()) -> None:
        super().__init__(status, comment, offending)
        self.status = status
        # A peer's may be of any length.
        self.comment = comment[:256]
        self.offending = offending

    def __str__(self) -> str:
        return f"status 0x{self.status:04X}" + (f": {self.comment}" if self.comment else "")


class HTTPRefusal(ServiceRefusal):
    """A peer refuses a request of DICOMweb (PS3.18 section 8.5).

    Parameters
    ----------
    code
        The status code of HTTP.
    status
        The DIMSE status that says the same.
    meaning
        What the code means here, and what can be done about it, in words.
    comment
        What the peer says besides; empty where it says nothing.
    retry_after
        After how many seconds it may be asked again, as it says; None where it does not.
    """

    def __init__(
        self, code: int, status: int, meaning: str, comment: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(status, comment)
        self.args = (code, status, meaning, comment, retry_after)
        self.code = code
        self.meaning = meaning
        self.retry_after = retry_after

    def __str__(self) -> str:
        text = f"HTTP status {self.code} ({self.meaning})"
        return f"{text}: {self.comment}" if self.comment else text


class UnusableObject(DicomnetError, ValueError):
    """A file or data set that cannot be sent as it is.

    Parameters
    ----------
    cause
        What is wrong with it.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause

    def __str__(self) -> str:
        return self.cause


class StoreInUse(DicomnetError):
    """Another process has the store open.

    Parameters
    ----------
    root
        The folder of the store.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.root = root

    def __str__(self) -> str:
        return f"another process has the store {self.root} open"


class IndexUnusable(DicomnetError):
    """The archive's index is damaged or of another version. No object is lost: it can be rebuilt from the files.

    Parameters
    ----------
    path
        The file of the index.
    cause
        What is wrong with it.
    """

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(path, cause)
        self.path = path
        self.cause = cause

    def __str__(self) -> str:
        return f"the index {self.path} cannot be used ({self.cause}); a new one is made from the files"


class LedgerUnusable(DicomnetError):
    """The archive's ledger is damaged or of a newer version. It cannot be rebuilt, and is left as it is.

    Parameters
    ----------
    database
        Its file, or its URL without a password.
    cause
        What is wrong with it.
    """

    def __init__(self, database: str, cause: str) -> None:
        super().__init__(database, cause)
        self.database = database
        self.cause = cause

    def __str__(self) -> str:
        return f"the ledger {self.database} cannot be used: {self.cause}"


class UsersUnusable(DicomnetError):
    """A file of users of an archive cannot be used. It is left as it is.

    Parameters
    ----------
    path
        Its file.
    cause
        What is wrong with it, and what to do.
    """

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(path, cause)
        self.path = path
        self.cause = cause

    def __str__(self) -> str:
        return f"the file of users {self.path} cannot be used: {self.cause}"


class ViewerUnusable(DicomnetError):
    """A viewer cannot be installed, or what is installed cannot be used. It is left as it is.

    Parameters
    ----------
    name
        The folder, tarball or package.
    cause
        What is wrong with it, and what to do.
    """

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(name, cause)
        self.name = name
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.name} cannot be used as a viewer: {self.cause}"


class JournalUnusable(DicomnetError):
    """The journal of a store, or of a folder that lists are retrieved into, cannot be used. It is left as it is.

    Parameters
    ----------
    path
        Its file.
    cause
        What is wrong with it.
    """

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(path, cause)
        self.path = path
        self.cause = cause

    def __str__(self) -> str:
        return f"the journal {self.path} cannot be used: {self.cause}"


class Trouble(Enum):
    """Why a database failed; the value is the reason in words."""

    DAMAGED = "it is damaged"
    LOCKED = "another process has kept it locked for too long"
    FULL = "there is no space left for it"
    UNAVAILABLE = "it cannot be used now"
    CONFLICT = "a row contradicts those that are there"
    REFUSED = "it does not take what was asked of it"


class DatabaseFailure(DicomnetError):
    """A database of the archive could not be read or written.

    Parameters
    ----------
    database
        Its file, or its URL without a password.
    trouble
        Why. Only `Trouble.DAMAGED` says that something is wrong with its content; the others may pass.
    cause
        What the database says, without values.
    """

    def __init__(self, database: str, trouble: Trouble, cause: str) -> None:
        super().__init__(database, trouble, cause)
        self.database = database
        self.trouble = trouble
        self.cause = cause

    @property
    def is_damage(self) -> bool:
        """Whether the content of the database is damaged."""
        return self.trouble is Trouble.DAMAGED

    @property
    def is_passing(self) -> bool:
        """Whether the same may succeed later."""
        return self.trouble in (Trouble.LOCKED, Trouble.FULL, Trouble.UNAVAILABLE)

    def __str__(self) -> str:
        return f"the database {self.database} cannot be used: {self.trouble.value} ({self.cause})"
