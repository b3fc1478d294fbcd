"""Outcomes of requests: `StoreResult`, `RetrieveProgress`, and statuses in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..dimse.messages import Message
from ..errors import ServiceRefusal
from ..services.registry import SUCCESS, is_pending
from ..values import field, frozen, mutable, replace

if TYPE_CHECKING:
    from .sendable import Sendable


@frozen
class StoreResult:
    """The outcome of storing one file.

    Parameters
    ----------
    path
        The file.
    status
        Status of the C-STORE response, None where there is none.
    sop_instance_uid
        UID, empty where the file is not DICOM.
    comment
        What went wrong, in words; empty where nothing did.
    is_skipped
        The file is not a DICOM object, and was not sent.
    length
        Bytes of the data set; of one that was stored before, of its file.
    was_stored
        The peer has taken it in an earlier run, by the journal; it was not sent.
    member
        Its name in the file, if that is a zip or tar file; empty if it is a file by itself.
    offset
        Where the member begins there, which tells apart two of one name.
    sop_class_uid
        UID, empty where it is not known.
    is_committed
        The peer has committed itself to keep it in an earlier run, by the journal.
    state
        Size of the file, and times of the last change of its content and of anything in ns, when it was opened; None
        where it was not, or could not be sent.
    """

    path: str
    status: int | None
    sop_instance_uid: str = ""
    comment: str = ""
    is_skipped: bool = False
    length: int = 0
    was_stored: bool = False
    member: str = ""
    offset: int = 0
    sop_class_uid: str = ""
    is_committed: bool = False
    state: tuple[int, int, int] | None = None

    @property
    def name(self) -> str:
        """Where the object lies, for people."""
        return f"{self.path}: {self.member}" if self.member else self.path

    @property
    def is_stored(self) -> bool:
        """Whether the peer has it now: success, or a warning (PS3.7 Annex C, PS3.4 Table B.2-1)."""
        return self.status is not None and is_done(self.status)


@frozen
class LocalFailure:
    """An object of a retrieval that arrived, and was not kept.

    Parameters
    ----------
    sop_instance_uid
        UID, as the peer gave it; empty where it gave none.
    error
        Why: an OSError, what a function of the caller's raised, or the `ServiceRefusal` for an object that is damaged.
    path
        The file that it was to have; empty where it was not for a file.
    """

    sop_instance_uid: str
    error: Exception
    path: str = ""

    @property
    def cause(self) -> str:
        """The error in words."""
        words = self.error.strerror if isinstance(self.error, OSError) else None
        if isinstance(self.error, ServiceRefusal):
            words = self.error.comment
        return words or str(self.error) or type(self.error).__name__

    def __str__(self) -> str:
        instance = ascii(self.sop_instance_uid)[1:-1]
        place = self.path or instance or "an object without a SOP Instance UID"
        if instance not in place:
            # The file has another name than the object.
            place = f"{instance}: {place}"
        return f"{place}: {self.cause}"


@mutable
class Receipt:
    """The objects of a C-GET as they arrive: the SOP Instance UIDs of those that were kept, and what failed.

    One that a peer sends twice is one object, whatever the peer counts.
    """

    kept: set[str] = field(default_factory=set)
    failures: list[LocalFailure] = field(default_factory=list)


@frozen
class RetrieveProgress:
    """How far a C-GET or C-MOVE is.

    Parameters
    ----------
    status
        Of the response.
    remaining, completed, failed, warnings
        How many sub-operations are in which state, as the peer said last; None where it has not said.
    failed_uids
        SOP Instance UIDs that the last response says have failed, whatever its status is.
    comment
        What went wrong, in words; empty where nothing did.
    received
        How many objects have arrived here and were kept or handed over; None of a C-MOVE, where they go elsewhere.
    local_failures
        What went wrong here: the objects that have arrived and could not be kept, each with the cause.
    """

    status: int
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warnings: int | None = None
    failed_uids: tuple[str, ...] = ()
    comment: str = ""
    received: int | None = None
    local_failures: tuple[LocalFailure, ...] = ()

    @property
    def is_final(self) -> bool:
        """Whether this is the last response."""
        return not is_pending(self.status)

    @property
    def is_complete(self) -> bool:
        """Whether all objects have arrived, as far as both sides know.

        The last response said success, or a warning and that none has failed; no list of failed ones came with it, and
        none was left over. Here none has failed either, and no fewer have arrived than the peer says it has sent.
        """
        if self.status != SUCCESS and self.failed is None:
            return False
        return is_done(self.status) and not (
            self.failed or self.failed_uids or self.local_failures or self.missing or self.unsent
        )

    @property
    def sent(self) -> int | None:
        """How many objects the peer says it has sent, with warnings or without; None where it does not say."""
        if self.completed is None and self.warnings is None:
            return None
        return (self.completed or 0) + (self.warnings or 0)

    @property
    def missing(self) -> int:
        """How many of those have not arrived here; 0 where that is not known.

        An object that arrived and was not kept is not missing, though a peer may count it as sent.
        """
        if self.received is None:
            return 0
        refused = max(len(self.local_failures) - (self.failed or 0), 0)
        return max((self.sent or 0) - self.received - refused, 0)

    @property
    def unsent(self) -> int:
        """How many objects the peer counted as remaining when it ended, less those that have arrived uncounted."""
        if not self.is_final or not self.remaining:
            return 0
        return max(self.remaining - max((self.received or 0) - (self.sent or 0), 0), 0)

    def check(self) -> None:
        """Raise ServiceRefusal if the operation ended with neither success nor a warning.

        Its cause is the first failure of ours, if there was one.
        """
        if not is_done(self.status):
            cause = self.local_failures[0].error if self.local_failures else None
            raise ServiceRefusal(self.status, self.comment) from cause

    def with_receipt(self, receipt: Receipt) -> RetrieveProgress:
        """The same, with what has arrived here by now."""
        return replace(self, received=len(receipt.kept), local_failures=tuple(receipt.failures))

    def next(
        self, response: Message, failed_uids: Iterable[str], receipt: Receipt | None = None
    ) -> RetrieveProgress:
        """The progress after a response; a count that it leaves out has not changed.

        Parameters
        ----------
        failed_uids
            Its Failed SOP Instance UID List.
        receipt
            What has arrived here, None where nothing is to.
        """
        command, status = response.command, response.status
        progress = RetrieveProgress(
            status,
            # A final response does not have it (PS3.4 section C.4.2.1.6), but a cancelled operation leaves some.
            command.get("NumberOfRemainingSuboperations"),
            command.get("NumberOfCompletedSuboperations", self.completed),
            command.get("NumberOfFailedSuboperations", self.failed),
            command.get("NumberOfWarningSuboperations", self.warnings),
            tuple(failed_uids),
            "" if status == SUCCESS or is_pending(status) else _comment(response, "Query/Retrieve"),
        )
        return progress if receipt is None else progress.with_receipt(receipt)


def is_done(status: int) -> bool:
    """Whether the peer has performed an operation: success, or any warning (PS3.7 Annex C)."""
    if status == SUCCESS:
        return True
    from ..services.statuses import WARNING, category

    return category(status) == WARNING


def store_result(stored: Sendable, response: Message) -> StoreResult:
    """The result for an object that was answered by a C-STORE-RSP.

    A response that names another object (PS3.7 section 9.3.1.2) says nothing of this one, which may not be stored.
    """
    status = response.status
    named = str(response.command.get("AffectedSOPInstanceUID", ""))
    if named and named != stored.header.sop_instance_uid and is_done(status):
        comment = (
            f"the peer's response is about another object, {named} (status 0x{status:04X}): it is not known"
        )
        return result_of(stored, None, f"{comment} whether this one was stored")
    comment = str(response.command.get("ErrorComment", ""))
    if status != SUCCESS and not comment:
        comment = describe_status(status, "Storage")
    return result_of(stored, status, comment)


def failed_result(stored: Sendable, error: Exception) -> StoreResult:
    """The result for an object that got no response."""
    return result_of(stored, None, str(error))


def result_of(stored: Sendable, status: int | None, comment: str) -> StoreResult:
    """The result for an object that was looked at, with a status or without one."""
    file, header = stored.file, stored.header
    path, member, offset = str(file), "", 0
    if not isinstance(file, str):
        # Late, as it is needed by few.
        from .member_files import Member

        if isinstance(file, Member):
            path, member, offset = file.path, file.name, file.offset
    return StoreResult(
        path,
        status,
        header.sop_instance_uid,
        comment,
        length=stored.length or 0,
        member=member,
        offset=offset,
        sop_class_uid=header.sop_class_uid,
        state=stored.state,
    )


def check_status(response: Message, service: str) -> None:
    """Raise ServiceRefusal unless the status is success."""
    if response.status != SUCCESS:
        raise ServiceRefusal(response.status, _comment(response, service))


def _comment(response: Message, service: str) -> str:
    comment = str(response.command.get("ErrorComment", ""))
    return comment or describe_status(response.status, service, response.type.service)


def describe_status(status: int, service: str, operation: str = "C-FIND") -> str:
    """A status in words (PS3.7 Annex C and the service's table in PS3.4)."""
    from ..services.service_names import ServiceName
    from ..services.statuses import statuses_of

    found = statuses_of(ServiceName(service), operation).get(status)
    return f"{found[0].lower()}: {found[1]}" if found else "a status that the service does not define"
