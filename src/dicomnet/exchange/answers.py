"""Answers: what a handler returned or yielded, checked and made into what is sent."""

from __future__ import annotations

import logging
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from ..dimse.codec import encode_command
from ..dimse.messages import C_ECHO_RSP, N_CREATE_RQ, N_CREATE_RSP, Message, MessageType
from ..dimse.parameters import PARAMETERS
from ..encoding.identity import fits_command
from ..errors import ServiceRefusal
from ..services.registry import PROCESSING_FAILURE, is_pending
from ..services.statuses import SUCCESS, WARNING, category
from ..services.steps import Answer
from ..upper_layer.negotiation import NegotiatedContext
from .messages import encode_reply

_log = logging.getLogger(__name__)

# What pynetdicom's users know for a match that is missing or cannot be encoded.
MATCH_NOT_ENCODED = 0xC312
_INSTANCE = "AffectedSOPInstanceUID"


def split_status(status: Any, response: MessageType) -> tuple[int, dict[str, Any]]:
    """The code of a handler's status, and the elements of its data set that the response has room for.

    Raises
    ------
    ServiceRefusal
        If it is not a status; for C-ECHO, TypeError.
    """
    elements: dict[str, Any] = {}
    if isinstance(status, Dataset):
        if "Status" not in status:
            raise _unusable(response, 0xC001, "the handler's answer has no status")
        known = response.keywords
        if response.service.startswith("N-"):
            # PS3.7 Annex C has it among the status fields of all services, section 10.3 in no message of these.
            known -= {"OffendingElement"}
        elements = {e.keyword: plain_value(e) for e in status if e.keyword in known}
        status = elements.pop("Status")
    if not isinstance(status, int) or not 0 <= status <= 0xFFFF:
        raise _unusable(response, 0xC002, "the handler's answer is not a status")
    if elements:
        _check_elements(elements, int(status), response)
    return int(status), elements


def composite_answer(status: Any, identifier: Any, message: Message, context: NegotiatedContext) -> Answer:
    """The answer that the handler of a C-ECHO, C-STORE or C-FIND gives (PS3.7 chapter 9).

    Parameters
    ----------
    status
        A number, or a data set with Status and further elements of the response.
    identifier
        The match, with a status of pending.
    message
        The request.
    context
        The presentation context it came on.

    Raises
    ------
    ServiceRefusal
        If it is not a status, or the match is missing or cannot be encoded.
    """
    code, elements = split_status(status, message.type.response)
    if not is_pending(code) or message.type.response.data_set is None:
        return Answer(code, None, elements)
    try:
        data = encode_reply(context, identifier) if isinstance(identifier, Dataset) else b""
    except ValueError as error:
        _log.error("a match cannot be sent: %s", error)
        data = b""
    if not data:
        raise ServiceRefusal(MATCH_NOT_ENCODED, "a match could not be encoded")
    return Answer(code, data, elements)


def normalized_answer(result: Any, message: Message, context: NegotiatedContext) -> Answer:
    """The answer that the handler of a normalized service gives (PS3.7 section 10.1).

    Parameters
    ----------
    result
        A status, or where the response may have a data set, a pair of a status and a data set or None. The data set
        is sent where the status is success or a warning. That of an N-CREATE may hold Affected SOP Instance UID
        (0000,1000), which goes into the command set.
    message
        The request.
    context
        The presentation context it came on.

    Raises
    ------
    ServiceRefusal
        If it is neither, if the data set cannot be encoded, or if an N-CREATE succeeded without an instance UID.
    """
    response = message.type.response
    status, dataset = result, None
    if isinstance(result, tuple | list) and len(result) == 2 and response.data_set is not None:
        status, dataset = result
    code, elements = split_status(status, response)
    is_done = category(code) in (SUCCESS, WARNING)
    if dataset is not None and is_done and not isinstance(dataset, Dataset):
        _log.error("the handler's reply is not a data set")
        raise ServiceRefusal(PROCESSING_FAILURE)
    if response is N_CREATE_RSP and is_done:
        dataset = _name_instance(dataset, message, elements)
    if message.type is N_CREATE_RQ and code == 0x0000 and _INSTANCE not in elements | message.command:
        _log.error("the handler created an instance without a SOP Instance UID")
        raise ServiceRefusal(PROCESSING_FAILURE)
    return Answer(code, _encoded(dataset, context) if dataset and is_done else None, elements)


def _name_instance(dataset: Dataset | None, message: Message, elements: dict[str, Any]) -> Dataset | None:
    """Move the UID that the handler gave the new instance from its data set to the command set."""
    if dataset is None or _INSTANCE not in dataset:
        return dataset
    instance = str(dataset[_INSTANCE].value)
    if _INSTANCE not in message.command and fits_command(instance):
        elements.setdefault(_INSTANCE, instance)
    # The handler's own data set stays as it is.
    return Dataset({tag: element for tag, element in dataset.items() if tag.group != 0})


def _encoded(dataset: Dataset, context: NegotiatedContext) -> bytes:
    try:
        return encode_reply(context, dataset)
    except ValueError as error:
        _log.error("the handler's reply cannot be sent: %s", error)
        raise ServiceRefusal(PROCESSING_FAILURE) from error


def _unusable(response: MessageType, status: int, comment: str) -> Exception:
    """C-ECHO has no status but success, so there what the handler did is not the peer's business."""
    return TypeError(comment) if response is C_ECHO_RSP else ServiceRefusal(status, comment)


def _check_elements(elements: dict[str, Any], status: int, response: MessageType) -> None:
    try:
        encode_command(response, {"MessageIDBeingRespondedTo": 1, "Status": status} | elements, False)
        # What a response repeats is taken as it came, but these are the handler's own.
        for keyword, value in elements.items():
            if PARAMETERS[keyword].vr == "UI" and not fits_command(value):
                raise ValueError(f"{keyword} is not a UID")
    except ValueError as error:
        _log.error("an element of the handler's status cannot be sent: %s", error)
        elements.clear()


def plain_value(element: DataElement) -> Any:
    """An element's value as a `Message` has it: tags as a list of int, text as plain str."""
    value = element.value
    if element.VR == "AT":
        return [int(each) for each in (value if isinstance(value, list | MultiValue) else [value])]
    return str(value) if isinstance(value, str) else value
