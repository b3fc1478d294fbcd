"""Requests that are made without pydicom, which takes long to import: C-ECHO, and C-STORE of a file."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from ..dimse.datasets import Source
from ..dimse.messages import C_ECHO_RQ, C_STORE_RQ, Message
from ..encoding.identity import fits_command, is_uid
from ..encoding.transfer_syntaxes import transfer_syntax
from ..errors import UnusableObject
from ..services.steps import Work
from ..upper_layer.negotiation import Agreement, NegotiatedContext
from .contexts import VERIFICATION, context_for

if TYPE_CHECKING:
    from ..drivers.files import StoredObject

_log = logging.getLogger(__name__)


def check_uids(sop_class: str, sop_instance: str, transfer_syntax: str) -> None:
    """Check the UIDs of an object before it is sent: they are its own, and not of our making.

    SOP class and transfer syntax are negotiated, where a bad one could cost the others their association. An instance
    that is merely not built by the rules is for the peer to judge.

    Raises
    ------
    UnusableObject
        If the object cannot be sent.
    """
    if not fits_command(sop_instance):
        raise UnusableObject("its SOP Instance UID is too long, or has characters that a UID cannot have")
    if not is_uid(sop_class):
        raise UnusableObject("its SOP Class UID is not a UID")
    if not is_uid(transfer_syntax):
        raise UnusableObject("its Transfer Syntax UID is not a UID")


def file_request(
    stored: StoredObject, context: NegotiatedContext, message_id: int, content: memoryview | None = None
) -> Message:
    """A C-STORE-RQ for a file on a context that was chosen for it; its data set may still be `Work`.

    Parameters
    ----------
    content
        As of `file_in`.
    """
    header = stored.header
    command = {
        "AffectedSOPClassUID": header.sop_class_uid,
        "MessageID": message_id,
        "Priority": 0,
        "AffectedSOPInstanceUID": header.sop_instance_uid,
    }
    return Message(C_STORE_RQ, command, context.context_id, file_in(context, stored, content))


def file_in(
    context: NegotiatedContext, stored: StoredObject, content: memoryview | None = None
) -> Source | Work:
    """The data set of a file in the transfer syntax of a context: as it is, or the work to make it.

    Parameters
    ----------
    content
        The data set as it is, where it was read already.
    """
    if context.transfer_syntax == stored.header.transfer_syntax_uid:
        if stored.length % 2 and not transfer_syntax(context.transfer_syntax).is_deflated:
            return Work(lambda: _even(stored))
        return stored.data if content is None else content

    def convert() -> Source:
        from ..datasets.transcode import transcode_file

        return transcode_file(stored, context.transfer_syntax)

    return Work(convert)


def _even(stored: StoredObject) -> Source:
    from ..datasets.transcode import even_file

    _log.info(
        "%s has a data set of odd length: its odd values are padded, and group lengths left out, as it is sent",
        ascii(os.fspath(stored.path))[1:-1],
    )
    return even_file(stored)


def echo_request(agreement: Agreement, message_id: int) -> Message:
    """A C-ECHO-RQ (PS3.7 section 9.3.5.1).

    Raises
    ------
    NoAcceptedContext
        If verification was not accepted.
    """
    context = context_for(agreement, VERIFICATION)
    command = {"AffectedSOPClassUID": VERIFICATION, "MessageID": message_id}
    return Message(C_ECHO_RQ, command, context.context_id)
