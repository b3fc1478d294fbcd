"""Outcomes of requests: `StoreResult`, `RetrieveProgress`, and statuses in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..dimse.messages import Message
from ..errors import ServiceRefusal
from ..services.registry import SOME_SUB_OPERATIONS_FAILED, SUCCESS, is_pending
from ..values import frozen

if TYPE_CHECKING:
    from ..drivers.files import StoredObject


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
        Bytes of the data set.
    """

    path: str
    status: int | None
    sop_instance_uid: str = ""
    comment: str = ""
    is_skipped: bool = False
    length: int = 0

    @property
    def is_stored(self) -> bool:
        """Whether the peer has it now: success, or a warning (PS3.4 Table B.2-1)."""
        return self.status is not None and (self.status == SUCCESS or self.status & 0xF000 == 0xB000)


@frozen
class RetrieveProgress:
    """How far a C-GET or C-MOVE is.

    Parameters
    ----------
    status
        Of the response.
    remaining, completed, failed, warnings
        How many sub-operations are in which state.
    failed_uids
        SOP Instance UIDs that the last response says have failed.
    comment
        What went wrong, in words; empty where nothing did.
    """

    status: int
    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warnings: int = 0
    failed_uids: tuple[str, ...] = ()
    comment: str = ""

    @property
    def is_final(self) -> bool:
        """Whether this is the last response."""
        return not is_pending(self.status)

    @property
    def is_complete(self) -> bool:
        """Whether all objects have arrived: the last response said success or a warning, and none has failed."""
        return self.status in (SUCCESS, SOME_SUB_OPERATIONS_FAILED) and not (self.failed or self.failed_uids)

    def check(self) -> None:
        """Raise ServiceRefusal if the operation ended with neither success nor a warning."""
        if self.status not in (SUCCESS, SOME_SUB_OPERATIONS_FAILED):
            raise ServiceRefusal(self.status, self.comment)

    def next(self, response: Message, failed_uids: Iterable[str]) -> RetrieveProgress:
        """The progress after a response; a count that it leaves out has not changed.

        Parameters
        ----------
        failed_uids
            Its Failed SOP Instance UID List.
        """
        command, status = response.command, response.status
        return RetrieveProgress(
            status,
            # A final response does not have it (PS3.4 section C.4.2.1.6), but a cancelled operation leaves some.
            command.get("NumberOfRemainingSuboperations", 0),
            command.get("NumberOfCompletedSuboperations", self.completed),
            command.get("NumberOfFailedSuboperations", self.failed),
            command.get("NumberOfWarningSuboperations", self.warnings),
            tuple(failed_uids),
            "" if status == SUCCESS or is_pending(status) else _comment(response, "Query/Retrieve"),
        )


def store_result(stored: StoredObject, response: Message) -> StoreResult:
    """The result for an object that was answered by a C-STORE-RSP."""
    status = response.status
    comment = str(response.command.get("ErrorComment", ""))
    if status != SUCCESS and not comment:
        comment = describe_status(status, "Storage")
    return StoreResult(
        str(stored.path), status, stored.header.sop_instance_uid, comment, length=stored.length
    )


def failed_result(stored: StoredObject, error: Exception) -> StoreResult:
    """The result for an object that got no response."""
    return StoreResult(
        str(stored.path), None, stored.header.sop_instance_uid, str(error), length=stored.length
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
