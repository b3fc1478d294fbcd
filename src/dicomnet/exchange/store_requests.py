"""C-STORE requests of files, which are made without pydicom, which takes long to import."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from ..dimse.datasets import Source, name_of
from ..dimse.messages import C_MOVE_RQ, C_STORE_RQ, Message
from ..drivers.files import StoredObject
from ..encoding.transfer_syntaxes import transfer_syntax
from ..services.steps import Work
from ..upper_layer.negotiation import NegotiatedContext
from .sendable import KnownObject, Sendable

_log = logging.getLogger(__name__)

# What a C-STORE-RQ has that is not about its object, where nobody asks for anything else.
STORE_ELEMENTS: Mapping[str, Any] = {"Priority": 0}


def sub_operation_elements(request: Message, originator: str) -> dict[str, Any]:
    """What the C-STORE-RQs of a C-GET or C-MOVE have of it: its priority, and for a C-MOVE who asked for it.

    Parameters
    ----------
    originator
        AE title of who requested it. Nothing is said of that where it came in other characters than an AE title may
        have.
    """
    elements = {"Priority": request.command.get("Priority", 0)}
    if request.type is C_MOVE_RQ:
        is_title = originator.isascii() and originator.isprintable() and "\\" not in originator
        elements["MoveOriginatorApplicationEntityTitle"] = originator if is_title else ""
        elements["MoveOriginatorMessageID"] = request.message_id
    return elements


def file_request(
    stored: Sendable,
    context: NegotiatedContext,
    message_id: int,
    data: Source | Work,
    elements: Mapping[str, Any] = STORE_ELEMENTS,
) -> Message:
    """A C-STORE-RQ for a file on a context that was chosen for it.

    Parameters
    ----------
    data
        Its data set, as `file_in` gives it.
    elements
        The elements of the command set that are not about the object.
    """
    header = stored.header
    command = {
        "AffectedSOPClassUID": header.sop_class_uid,
        "MessageID": message_id,
        "AffectedSOPInstanceUID": header.sop_instance_uid,
        **elements,
    }
    return Message(C_STORE_RQ, command, context.context_id, data)


def file_in(context: NegotiatedContext, stored: Sendable, content: memoryview | None = None) -> Source | Work:
    """The data set of a file in the transfer syntax of a context: as it is, or the work to make it.

    Parameters
    ----------
    content
        The data set as it is, where it was read already.
    """
    if not isinstance(stored, StoredObject):
        return Work(partial(_read, context, stored))
    if context.transfer_syntax == stored.header.transfer_syntax_uid:
        if needs_padding(stored):
            return Work(lambda: padded(stored))
        return stored.data if content is None else content

    def convert() -> Source:
        from ..datasets.transcode import transcode_file

        return transcode_file(stored, context.transfer_syntax)

    return Work(convert)


def _read(context: NegotiatedContext, known: KnownObject) -> Source:
    """The data set of an object that is read now."""
    is_sent_as_stored = context.transfer_syntax == known.header.transfer_syntax_uid
    data = file_in(context, *known.read(whole=is_sent_as_stored))
    if isinstance(data, Work):
        made: Source = data.function()
        return made
    return data


def needs_padding(stored: StoredObject) -> bool:
    """Whether the data set of a file has odd values, which peers wait for without end, or refuse."""
    return bool(stored.length % 2) and not transfer_syntax(stored.header.transfer_syntax_uid).is_deflated


def padded(stored: StoredObject) -> Source:
    """The data set of a file with its odd values padded. Takes a while; raises UnusableObject."""
    from ..datasets.transcode import even_file

    _log.info(
        "%s has a data set of odd length: its odd values are padded, and group lengths left out, as it is sent",
        ascii(name_of(stored.file))[1:-1],
    )
    return even_file(stored)
