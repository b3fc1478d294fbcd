"""What requests have in common that are made without pydicom, which takes long to import; and C-ECHO."""

from __future__ import annotations

from ..dimse.messages import C_ECHO_RQ, Message
from ..encoding.identity import fits_command, is_uid
from ..errors import UnusableObject
from ..upper_layer.negotiation import Agreement
from .contexts import VERIFICATION, context_for


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
