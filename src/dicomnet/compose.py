"""From data sets and files to requests, and from responses to data sets: what both faces of an association share."""

from __future__ import annotations

import os
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from .dimse.datasets import MemorySink, Source
from .dimse.messages import C_CANCEL_RQ, C_FIND_RQ, C_STORE_RQ, Message
from .drivers.files import StoredObject, open_object
from .dsutils import decode, encode
from .errors import NoAcceptedContext
from .plain_datasets import status_dataset
from .requests import context_for
from .services.registry import is_pending
from .services.transfer_syntaxes import transfer_syntax
from .upper_layer.negotiation import Agreement, NegotiatedContext

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
    dataset: Dataset | str | os.PathLike[str],
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
        stored = open_object(dataset)
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
    context = context_for(agreement, str(model))
    command = {
        "AffectedSOPClassUID": context.abstract_syntax,
        "MessageID": message_id,
        "Priority": priority,
    }
    data = encode_for(context, identifier)
    return Message(C_FIND_RQ, command, context.context_id, data), context


def cancel_request(context_id: int, message_id: int) -> Message:
    """A C-CANCEL-RQ (PS3.7 section 9.3.2.3) for an earlier request on the same context."""
    return Message(C_CANCEL_RQ, {"MessageIDBeingRespondedTo": message_id}, context_id)


def status_of(response: Message) -> Dataset:
    """Status and what else a response says of it."""
    status = status_dataset(response.status)
    for keyword, value in response.command.items():
        if keyword in _STATUS_ELEMENTS:
            setattr(status, keyword, value)
    return status


def identifier_of(response: Message, context: NegotiatedContext) -> Dataset | None:
    """The Identifier of a pending response, decoded; None of the final one."""
    if is_pending(response.status) and isinstance(response.data, MemorySink):
        return decode_from(context, response.data.content)
    return None


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
