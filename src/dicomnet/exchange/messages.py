"""From data sets and files to requests, and from responses to data sets: what both faces of an association share."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Sequence
from typing import Any

from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import UID

from ..datasets.codec import decode, decode_whole, encode_answer, encode_keys, encode_object
from ..datasets.plain import status_dataset
from ..datasets.structure import check_implicit
from ..dimse.codec import FAILED_LIST, encode_command
from ..dimse.datasets import MemorySink, Source
from ..dimse.messages import (
    C_CANCEL_RQ,
    C_FIND_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    MESSAGE_TYPES,
    N_CREATE_RSP,
    N_EVENT_REPORT_RSP,
    SERVICES,
    Message,
    MessageType,
)
from ..dimse.parameters import PARAMETERS
from ..drivers.files import StoredObject, open_object
from ..encoding.transfer_syntaxes import Transcoding, transfer_syntax
from ..errors import NoAcceptedContext, ProtocolError, ServiceRefusal
from ..services.registry import is_pending
from ..services.statuses import CANCEL, FAILURE, SUCCESS, WARNING, category
from ..services.steps import Work
from ..upper_layer.negotiation import Agreement, NegotiatedContext
from ..wire.fields import ae_title_bytes, check_range
from .contexts import context_for, context_for_report, substitute_context
from .requests import check_uids
from .store_requests import file_in

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
    transcode: str = "never",
) -> Message:
    """A C-STORE-RQ (PS3.7 section 9.3.1.1) for a data set or a file; its data set may still be `Work`.

    Raises
    ------
    ValueError
        If no accepted context fits (`NoAcceptedContext`), or the object cannot be encoded or sent, for instance
        because of one of its UIDs (`UnusableObject`).
    AttributeError
        If the data set has no SOP Class UID, SOP Instance UID or transfer syntax.
    """
    transcoding = Transcoding.parse(transcode)
    if isinstance(dataset, Dataset):
        sop_class, sop_instance = (_own_uid(dataset, f"SOP{part}UID") for part in ("Class", "Instance"))
        context, data = _fit_dataset(agreement, dataset, transcoding)
    else:
        stored = dataset if isinstance(dataset, StoredObject) else open_object(dataset)
        sop_class, sop_instance = stored.header.sop_class_uid, stored.header.sop_instance_uid
        pair = sop_class, stored.header.transfer_syntax_uid
        check_uids(sop_class, sop_instance, stored.header.transfer_syntax_uid)
        context = _store_context(agreement, pair, sop_instance, transcoding)
        data = file_in(context, stored)
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


def _own_uid(dataset: Dataset, keyword: str) -> str:
    """A UID of an object as it stands there: empty, or with a backslash between several, where it is so."""
    try:
        value = getattr(dataset, keyword)
    except AttributeError:
        name = keyword.replace("SOP", "SOP ").replace("UID", " UID")
        raise AttributeError(f"the data set has no {name}") from None
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value or "")


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
        if not isinstance(destination, str):
            raise TypeError(
                f"the move destination is a str, not a value of type {type(destination).__name__}"
            )
        ae_title_bytes(destination, "the move destination")
        elements["MoveDestination"] = destination
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
    return Message(kind, command, context.context_id, encode_request(context, identifier)), context


def normalized_request(
    agreement: Agreement,
    service: str,
    class_uid: str | UID | None,
    instance_uid: str | UID | None,
    message_id: int,
    meta_uid: str | UID | None = None,
    dataset: Dataset | None = None,
    **parameters: Any,
) -> tuple[Message, NegotiatedContext]:
    """The request of a normalized service (PS3.7 section 10.3), and the context it goes on.

    Parameters
    ----------
    service
        For instance ``N-ACTION``.
    class_uid, instance_uid
        What it is about; with ``N-CREATE`` the instance may be left to the peer.
    meta_uid
        The abstract syntax of the context, where that is not `class_uid`.
    dataset
        The data set of the request, or None or an empty one for none.
    parameters
        Further parameters by keyword.

    Raises
    ------
    ValueError
        If no accepted context fits (`NoAcceptedContext`), or a parameter has an impossible value or none.
    TypeError
        If a parameter is of the wrong type.
    """
    abstract_syntax = str(class_uid if meta_uid is None else meta_uid)
    find_context = context_for_report if service == "N-EVENT-REPORT" else context_for
    context = find_context(agreement, abstract_syntax)
    kind = MESSAGE_TYPES[SERVICES[service].command_field]
    prefix = "Affected" if "AffectedSOPClassUID" in kind.keywords else "Requested"
    given = {
        f"{prefix}SOPClassUID": class_uid,
        "MessageID": message_id,
        f"{prefix}SOPInstanceUID": instance_uid,
        **parameters,
    }
    command = {
        keyword: _parameter(keyword, value)
        for keyword, value in given.items()
        if value is not None and not (isinstance(value, str) and not value)
    }
    data = encode_request(context, dataset) if dataset else None
    missing = kind.missing(command)
    if data is None and kind.data_set_required:
        missing.append(str(kind.data_set))
    if missing:
        raise ValueError(f"an {service} request needs {', '.join(missing)}")
    encode_command(kind, command, data is not None)
    return Message(kind, command, context.context_id, data), context


def _parameter(keyword: str, value: Any) -> Any:
    """A caller's value of a parameter as a `Message` has it."""
    row = PARAMETERS[keyword]
    if row.vr == "AT":
        is_list = isinstance(value, Sequence) and not isinstance(value, str | tuple)
        try:
            return [int(Tag(each)) for each in (value if is_list else [value])]
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{row.name} takes tags, one or a list of them, not {value!r}") from error
    kind = int if row.vr == "US" else str
    if not isinstance(value, kind):
        raise TypeError(f"{row.name} is of type {kind.__name__}, not {type(value).__name__}")
    if isinstance(value, int):
        check_range(value, 0, 0xFFFF, row.name)
    return kind(value)


def reply_of(
    request: Message, response: Message, context: NegotiatedContext
) -> tuple[Dataset, Dataset | None]:
    """Status and what else the response of a normalized service says of it, and its data set.

    The data set is empty where the response has none, and None where the status is neither success nor a warning.
    The status tells the Affected SOP Instance UID that the peer gave an instance which an N-CREATE left to it.
    """
    status = status_of(response)
    told: tuple[str, ...] = ()
    if response.type is N_EVENT_REPORT_RSP:
        told = ("AffectedSOPClassUID", "AffectedSOPInstanceUID", "EventTypeID")
    elif response.type is N_CREATE_RSP and "AffectedSOPInstanceUID" not in request.command:
        told = ("AffectedSOPInstanceUID",)
    _show(status, response, told)
    if category(response.status) not in (SUCCESS, WARNING):
        return status, None
    data = response.data
    return status, decode_from(context, data.content) if isinstance(data, MemorySink) else Dataset()


def cancel_request(context_id: int, message_id: int) -> Message:
    """A C-CANCEL-RQ (PS3.7 section 9.3.2.3) for an earlier request on the same context."""
    return Message(C_CANCEL_RQ, {"MessageIDBeingRespondedTo": message_id}, context_id)


def status_of(response: Message) -> Dataset:
    """Status and what else a response says of it."""
    status = status_dataset(response.status)
    _show(status, response, _STATUS_ELEMENTS)
    return status


def _show(status: Dataset, response: Message, keywords: Collection[str]) -> None:
    """Put elements of a response's command set into a data set, whatever the peer has made of them."""
    for keyword, value in response.command.items():
        if keyword in keywords:
            row = PARAMETERS[keyword]
            status.add(DataElement(row.tag, row.vr, value, validation_mode=IGNORE))


def identifier_of(response: Message, context: NegotiatedContext) -> Dataset | None:
    """The Identifier of a pending response, decoded; None of the final one.

    Raises
    ------
    ProtocolError
        If it is not there, cut off or otherwise damaged.
    """
    if not is_pending(response.status):
        return None
    found = _identifier(response, context)
    if found is None:
        raise ProtocolError(f"a pending {response.type.service} response has no identifier")
    return found


def failed_of(response: Message, context: NegotiatedContext) -> Dataset | None:
    """The Identifier of a C-GET's or C-MOVE's final response, decoded: what failed (PS3.4 section C.4.2.1.4.2).

    None where the status is pending, or is success and the peer names none that failed; otherwise an empty one where it
    sent none.

    Raises
    ------
    ProtocolError
        If it is cut off or otherwise damaged.
    """
    status_class = category(response.status)
    if status_class not in (SUCCESS, WARNING, FAILURE, CANCEL):
        return None
    found = _failed(response, context)
    # Beside success there is none by the standard; a peer that sends one all the same has something to say.
    return None if status_class == SUCCESS and not uids_of(found) else found


def _failed(response: Message, context: NegotiatedContext) -> Dataset:
    """What a final response says has failed; Orthanc puts the list into the command set."""
    found = _identifier(response, context)
    if found is not None:
        return found
    identifier = Dataset()
    if FAILED_LIST in response.command:
        value = response.command[FAILED_LIST]
        identifier.add(DataElement(FAILED_LIST, "UI", value, validation_mode=IGNORE))
    return identifier


def _identifier(response: Message, context: NegotiatedContext) -> Dataset | None:
    if not isinstance(response.data, MemorySink):
        return None
    try:
        return decode_whole(response.data.content, context.transfer_syntax)
    except Exception as error:
        # pydicom raises whatever the peer's bytes lead to.
        cause = error.comment if isinstance(error, ServiceRefusal) else str(error)
        raise ProtocolError(
            f"the identifier of a {response.type.service} response cannot be read: {cause}"
        ) from error


def failed_uids_of(response: Message, context: NegotiatedContext) -> tuple[str, ...]:
    """The Failed SOP Instance UID List of a C-GET's or C-MOVE's response; a peer may give one and say success."""
    return () if is_pending(response.status) else uids_of(_failed(response, context))


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


def encode_request(context: NegotiatedContext, dataset: Dataset) -> bytes:
    """The data set of a request in the transfer syntax of a context; raises ValueError if it cannot be encoded.

    Where it has no Specific Character Set, text that is not ASCII is sent in ISO_IR 192.
    """
    return _encoded(encode_keys, context, dataset)


def encode_reply(context: NegotiatedContext, dataset: Dataset) -> bytes:
    """The data set of a response in the transfer syntax of a context; raises ValueError if it cannot be encoded.

    Text that its Specific Character Set cannot hold is sent in ISO_IR 192.
    """
    return _encoded(encode_answer, context, dataset)


def _encoded(encode: Callable[..., bytes], context: NegotiatedContext, dataset: Dataset) -> bytes:
    syntax = transfer_syntax(context.transfer_syntax)
    try:
        encoded = encode(dataset, syntax.is_implicit, syntax.is_little_endian, syntax.is_deflated)
    except ValueError as error:
        raise ValueError(f"the data set cannot be encoded in {syntax.name}: {error}") from error
    if len(encoded) % 2:
        # A value that was read with an odd length is written as it was read.
        from ..datasets.transcode import even_content

        return bytes(even_content(encoded, syntax.uid))
    return encoded


def decode_from(context: NegotiatedContext, encoded: bytes | bytearray) -> Dataset:
    """A data set from the transfer syntax of a context."""
    syntax = transfer_syntax(context.transfer_syntax)
    return decode(encoded, syntax.is_implicit, syntax.is_little_endian, syntax.is_deflated)


def _fit_dataset(
    agreement: Agreement, dataset: Dataset, transcoding: Transcoding
) -> tuple[NegotiatedContext, Source | Work]:
    """Encoded in the object's own transfer syntax, or in another one that it may be converted to."""
    try:
        own = str(dataset.file_meta.TransferSyntaxUID)
    except AttributeError as error:
        raise AttributeError(
            "the data set's file_meta has no TransferSyntaxUID, so its encoding is not known"
        ) from error
    if any(element.tag.group == 2 for element in dataset):
        raise ValueError("the data set has elements of group 0002, which belong in its file_meta")
    sop_class, sop_instance = _own_uid(dataset, "SOPClassUID"), _own_uid(dataset, "SOPInstanceUID")
    check_uids(sop_class, sop_instance, own)
    context = _store_context(agreement, (sop_class, own), sop_instance, transcoding)
    target = transfer_syntax(context.transfer_syntax)
    is_little_endian = dataset.original_encoding[1]
    if is_little_endian is None:
        is_little_endian = transfer_syntax(own).is_little_endian
    is_decompressed = transfer_syntax(own).is_encapsulated and not target.is_encapsulated
    if not is_decompressed and is_little_endian == target.is_little_endian:
        if target.is_implicit:
            check_implicit(dataset)
        return context, _encoded(encode_object, context, dataset)

    def convert() -> Source:
        from ..datasets.transcode import transcode_dataset

        return transcode_dataset(dataset, own, target.uid)

    return context, Work(convert)


def _store_context(
    agreement: Agreement, pair: tuple[str, str], instance: str, transcoding: Transcoding
) -> NegotiatedContext:
    try:
        return context_for(agreement, *pair)
    except NoAcceptedContext:
        return substitute_context(agreement, pair, instance, transcoding)
