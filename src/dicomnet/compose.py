"""From data sets and files to requests, and from responses to data sets: what both faces of an association share."""

from __future__ import annotations

import logging
import os
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from .dimse.codec import encode_command
from .dimse.datasets import MemorySink, Source
from .dimse.messages import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_FIND_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    Message,
    MessageType,
)
from .drivers.files import StoredObject, open_object
from .dsutils import decode, encode
from .errors import NoAcceptedContext, ServiceRefusal
from .requests import context_for
from .services.registry import is_pending
from .services.statuses import CANCEL, FAILURE, WARNING, category
from .services.transfer_syntaxes import transfer_syntax
from .upper_layer.negotiation import Agreement, NegotiatedContext
from .utils import set_ae

_log = logging.getLogger(__name__)

_STATUS_ELEMENTS = frozenset(
    (
        "OffendingElement",
        "ErrorComment",
        "ErrorID",
        "AttributeIdentifierList",
        "NumberOfRemainingSuboperations",
        "NumberOfCompletedSuboperations",
        "NumberOfFailedSuboperations",
        "NumberOfWarningSuboperations",
    )
)


def store_request(
    agreement: Agreement,
    dataset: Dataset | StoredObject | str | os.PathLike[str],
    message_id: int,
    priority: int = 2,
    originator_aet: str | None = None,
    originator_id: int | None = None,
) -> Message:
    """A C-STORE-RQ (PS3.7 section 9.3.1.1) for a data set or a file.

    Raises
    ------
    ValueError
        If no accepted context fits (`NoAcceptedContext`), or the object cannot be encoded or sent.
    AttributeError
        If the data set has no SOP Class UID, SOP Instance UID or transfer syntax.
    """
    if isinstance(dataset, Dataset):
        sop_class, sop_instance = str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)
        context, data = _fit_dataset(agreement, dataset)
    else:
        stored = dataset if isinstance(dataset, StoredObject) else open_object(dataset)
        sop_class, sop_instance = stored.header.sop_class_uid, stored.header.sop_instance_uid
        context, data = _fit_file(agreement, stored)
    command: dict[str, Any] = {
        "AffectedSOPClassUID": sop_class,
        "MessageID": message_id,
        "Priority": priority,
        "AffectedSOPInstanceUID": sop_instance,
    }
    if originator_aet is not None:
        command["MoveOriginatorApplicationEntityTitle"] = originator_aet
    if originator_id is not None:
        command["MoveOriginatorMessageID"] = originator_id
    return Message(C_STORE_RQ, command, context.context_id, data)


def find_request(
    agreement: Agreement, identifier: Dataset, model: str | UID, message_id: int, priority: int = 2
) -> tuple[Message, NegotiatedContext]:
    """A C-FIND-RQ (PS3.7 section 9.3.2.1), and the context it goes on.

    Raises
    ------
    ValueError
        If no accepted context fits (`NoAcceptedContext`), or the identifier cannot be encoded.
    """
    return _query_request(C_FIND_RQ, agreement, identifier, str(model), message_id, {"Priority": priority})


def retrieve_request(
    kind: MessageType,
    agreement: Agreement,
    identifier: Dataset,
    model: str | UID,
    message_id: int,
    priority: int = 2,
    destination: str | None = None,
) -> tuple[Message, NegotiatedContext]:
    """A C-GET-RQ (PS3.7 section 9.3.3.1) or C-MOVE-RQ (section 9.3.4.1), and the context it goes on.

    Parameters
    ----------
    kind
        Which of the two.
    destination
        AE title of the move destination; None for a C-GET.

    Raises
    ------
    ValueError
        If no accepted context fits (`NoAcceptedContext`), the identifier cannot be encoded, or the destination is
        no AE title.
    """
    elements: dict[str, Any] = {"Priority": priority}
    if kind is C_MOVE_RQ:
        elements["MoveDestination"] = set_ae(destination, "the move destination", False, False)
    return _query_request(kind, agreement, identifier, str(model), message_id, elements)


def _query_request(
    kind: MessageType,
    agreement: Agreement,
    identifier: Dataset,
    model: str,
    message_id: int,
    elements: dict[str, Any],
) -> tuple[Message, NegotiatedContext]:
    context = context_for(agreement, model)
    command = {"AffectedSOPClassUID": context.abstract_syntax, "MessageID": message_id, **elements}
    return Message(kind, command, context.context_id, encode_for(context, identifier)), context


def cancel_request(context_id: int, message_id: int) -> Message:
    """A C-CANCEL-RQ (PS3.7 section 9.3.2.3) for an earlier request on the same context."""
    return Message(C_CANCEL_RQ, {"MessageIDBeingRespondedTo": message_id}, context_id)


def status_of(response: Message) -> Dataset:
    """Status and what else a response says of it."""
    status = Dataset()
    status.Status = response.status
    for keyword, value in response.command.items():
        if keyword in _STATUS_ELEMENTS:
            setattr(status, keyword, value)
    return status


def identifier_of(response: Message, context: NegotiatedContext) -> Dataset | None:
    """The Identifier of a pending response, decoded; None of the final one."""
    if is_pending(response.status) and isinstance(response.data, MemorySink):
        return decode_from(context, response.data.content)
    return None


def failed_of(response: Message, context: NegotiatedContext) -> Dataset | None:
    """The Identifier of a C-GET's or C-MOVE's final response, decoded: what failed (PS3.4 section C.4.2.1.4.2).

    None where the status is success or pending, and an empty one where the peer sent none.
    """
    if category(response.status) not in (WARNING, FAILURE, CANCEL):
        return None
    if isinstance(response.data, MemorySink):
        return decode_from(context, response.data.content)
    return Dataset()


def failed_uids_of(response: Message, context: NegotiatedContext) -> tuple[str, ...]:
    """The Failed SOP Instance UID List of a C-GET's or C-MOVE's response."""
    return uids_of(failed_of(response, context))


def uids_of(identifier: Dataset | None) -> tuple[str, ...]:
    """The Failed SOP Instance UID List of an Identifier."""
    element = None if identifier is None else identifier.get_item("FailedSOPInstanceUIDList")
    if element is None or not element.value:
        return ()
    uids = element.value
    if isinstance(uids, bytes):
        # As it was received: whatever it is, it is shown, and where it was too long for UI it is UN.
        uids = uids.decode("ascii", "replace").rstrip("\0 ")
    return tuple(uids.split("\\")) if isinstance(uids, str) else tuple(map(str, uids))


def answer_status(status: Any, response: MessageType) -> tuple[int, dict[str, Any]]:
    """The status that a handler answers, and further elements of the response.

    Parameters
    ----------
    status
        An int, or a data set with Status.
    response
        What kind of response it is for.

    Raises
    ------
    ServiceRefusal
        With what pynetdicom's users know: 0xC001 where there is no status, 0xC002 where it cannot be one.
    TypeError
        Instead of that for a C-ECHO, which has no status but success, so that it is not the peer's business.
    """
    elements: dict[str, Any] = {}
    if isinstance(status, Dataset):
        from .dimse_messages import plain_value

        if "Status" not in status:
            raise _unusable(response, 0xC001, "the handler's answer has no status")
        elements = {e.keyword: plain_value(e) for e in status if e.keyword in response.keywords}
        status = elements.pop("Status")
    if not isinstance(status, int) or not 0 <= status <= 0xFFFF:
        raise _unusable(response, 0xC002, "the handler's answer is not a status")
    if elements:
        _check_elements(elements, int(status), response)
    return int(status), elements


def _unusable(response: MessageType, status: int, comment: str) -> Exception:
    return TypeError(comment) if response is C_ECHO_RQ.response else ServiceRefusal(status, comment)


def _check_elements(elements: dict[str, Any], status: int, response: MessageType) -> None:
    try:
        encode_command(response, {"MessageIDBeingRespondedTo": 1, "Status": status} | elements, False)
    except ValueError as error:
        _log.error("an element of the handler's status cannot be sent: %s", error)
        elements.clear()


def encode_for(context: NegotiatedContext, dataset: Dataset) -> bytes:
    """A data set in the transfer syntax of a context; raises ValueError if pydicom cannot encode it."""
    syntax = transfer_syntax(context.transfer_syntax)
    encoded = encode(dataset, syntax.is_implicit, syntax.is_little_endian, syntax.is_deflated)
    if encoded is None:
        raise ValueError(f"the data set cannot be encoded in {syntax.name}; the log says why")
    return encoded


def decode_from(context: NegotiatedContext, encoded: bytes | bytearray) -> Dataset:
    """A data set from the transfer syntax of a context."""
    syntax = transfer_syntax(context.transfer_syntax)
    return decode(encoded, syntax.is_implicit, syntax.is_little_endian, syntax.is_deflated)


def _fit_file(agreement: Agreement, stored: StoredObject) -> tuple[NegotiatedContext, Source]:
    """The file as it is where its transfer syntax was accepted, else encoded anew if that loses nothing."""
    try:
        context = context_for(agreement, stored.header.sop_class_uid, stored.header.transfer_syntax_uid)
    except NoAcceptedContext as refusal:
        if not _native_contexts(agreement, stored.header.sop_class_uid, stored.header.transfer_syntax_uid):
            raise refusal
        return _fit_dataset(agreement, dcmread(stored.path))
    return context, stored.data


def _fit_dataset(agreement: Agreement, dataset: Dataset) -> tuple[NegotiatedContext, Source]:
    """Encoded in the object's own transfer syntax, or in another native one: those differ in headers only."""
    try:
        own = str(dataset.file_meta.TransferSyntaxUID)
    except AttributeError as error:
        raise AttributeError(
            "the data set's file_meta has no TransferSyntaxUID, so its encoding is not known"
        ) from error
    if any(element.tag.group == 2 for element in dataset):
        raise ValueError("the data set has elements of group 0002, which belong into its file_meta")
    sop_class = str(dataset.SOPClassUID)
    try:
        context = context_for(agreement, sop_class, own)
    except NoAcceptedContext as refusal:
        native = _native_contexts(agreement, sop_class, own)
        if not native:
            raise refusal
        context = native[0]
    return context, encode_for(context, dataset)


def _native_contexts(agreement: Agreement, sop_class: str, own: str) -> list[NegotiatedContext]:
    """The accepted contexts that an object in its own native transfer syntax can be encoded anew for."""
    if transfer_syntax(own).is_encapsulated:
        return []
    return [
        context
        for context in agreement.contexts_for(sop_class)
        if context.as_scu and not transfer_syntax(context.transfer_syntax).is_encapsulated
    ]
