"""PDUs, DIMSE messages and identifiers in words, for logs. What a peer sent is made printable and cut to a sane length;
values of data sets are in `describe_elements` only, and secrets of a user's identity nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from struct import error
from typing import Any

from ..dimse.messages import Message
from ..dimse.parameters import Parameter
from ..encoding.elements import elements, encoding_of
from ..encoding.transfer_syntaxes import TRANSFER_SYNTAXES, transfer_syntax
from ..errors import ABORT_REASONS, AssociationRejected
from ..upper_layer.negotiation import Result
from ..values import Buffer
from ..wire.items import (
    AsynchronousOperationsWindow,
    ContextResult,
    ImplementationClassUID,
    ImplementationVersionName,
    MaximumLength,
    ProposedContext,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
    UserItem,
)
from ..wire.pdu import PDU, Abort, AssociateAC, AssociateRJ, AssociateRQ, ReleaseRP, ReleaseRQ
from .service_names import ServiceName
from .sop_classes import SOP_CLASSES
from .statuses import FAILURE, UNKNOWN, category, statuses_of

# The longest text of a peer in a line, in characters, and the most lines about one PDU or data set.
_LONGEST = 128
_MOST_LINES = 256
_SPECIFIC_CHARACTER_SET = 0x00080005

_RESULTS: dict[int, str] = {
    Result.ACCEPTANCE: "accepted",
    Result.USER_REJECTION: "rejected by the user",
    Result.NO_REASON: "rejected, no reason given",
    Result.ABSTRACT_SYNTAX_NOT_SUPPORTED: "rejected, abstract syntax not supported",
    Result.TRANSFER_SYNTAXES_NOT_SUPPORTED: "rejected, transfer syntaxes not supported",
}
_IDENTITIES = {
    1: "user name",
    2: "user name and passcode",
    3: "Kerberos ticket",
    4: "SAML assertion",
    5: "JSON web token",
}
_PRIORITIES = {0: "medium", 1: "high", 2: "low"}
_ABORTERS = {0: "service user", 2: "service provider"}
# Fields that the beginning of a line has already.
_NAMED = frozenset(("MessageID", "MessageIDBeingRespondedTo", "Status"))
_COUNTS = (
    ("NumberOfCompletedSuboperations", "completed"),
    ("NumberOfFailedSuboperations", "failed"),
    ("NumberOfWarningSuboperations", "with a warning"),
)


def shown(text: object, longest: int = _LONGEST) -> str:
    """Text from outside in one line: control characters are made visible, and what is very long is cut off."""
    whole = str(text)
    cut = whole[:longest]
    if not cut.isprintable():
        cut = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
    return cut if len(whole) <= longest else f"{cut}…"


def syntax_name(uid: str) -> str:
    """A transfer syntax by its name; an unknown one by its UID."""
    row = TRANSFER_SYNTAXES.get(uid)
    return row.name if row is not None else shown(uid) or "none"


def sop_class_name(uid: str) -> str:
    """A SOP class by its keyword; an unknown one by its UID."""
    row = SOP_CLASSES.get(uid)
    return row.keyword if row is not None else shown(uid) or "none"


def describe_pdu(pdu: PDU, proposed: Mapping[int, str]) -> Iterator[str]:
    """A PDU other than P-DATA-TF in lines, of which the first names it (PS3.8 section 9.3).

    Parameters
    ----------
    proposed
        The abstract syntaxes of the proposed contexts, by ID.
    """
    lines = _PDUS[type(pdu)](pdu, proposed)
    yield from islice(lines, _MOST_LINES)
    left_out = sum(1 for _ in lines)
    if left_out:
        yield f"  and {left_out} further items"


def describe_message(message: Message) -> str:
    """A message with the fields of its command set (PS3.7 sections 9.3 and 10.3); nothing of its data set."""
    kind, command = message.type, message.command
    number = shown(command.get(kind.identified_by, "?"))
    parts = [f"Status {describe_status(message)}"] if kind.is_response else []
    for each in kind.parameters:
        parameter = each.parameter
        if parameter.keyword in command and parameter.keyword not in _NAMED:
            parts.append(f"{parameter.name} {_value(parameter, command[parameter.keyword])}")
    return f"{kind.name} {number} in context {message.context_id}{': ' if parts else ''}{', '.join(parts)}"


def describe_status(response: Message) -> str:
    """The status of a response with its meaning (PS3.7 Annex C and PS3.4)."""
    code = response.command.get("Status")
    if not isinstance(code, int):
        return "missing"
    row = SOP_CLASSES.get(str(response.command.get("AffectedSOPClassUID")))
    service = ServiceName.STORAGE if response.type.service == "C-STORE" else ServiceName.QUERY_RETRIEVE
    table = statuses_of(row.service if row is not None else service, response.type.service)
    group, meaning = table.get(code) or (category(code), "")
    words = group.lower() if not meaning or meaning == group.lower() else f"{group.lower()}: {meaning}"
    return f"0x{code:04X} ({words})"


def has_failed(response: Message) -> bool:
    """Whether a response says that the operation failed, or something that the standard does not define."""
    return category(response.command.get("Status", 0)) in (FAILURE, UNKNOWN)


def describe_operation(message: Message) -> str:
    """The operation that a message belongs to: service, Message ID, SOP class and instance."""
    command = message.command
    words = [f"{message.type.service} {shown(command.get(message.type.identified_by, '?'))}"]
    for kind in ("Affected", "Requested"):
        if uid := command.get(f"{kind}SOPClassUID"):
            words.append(sop_class_name(str(uid)))
        if uid := command.get(f"{kind}SOPInstanceUID"):
            words.append(f"instance {shown(uid)}")
    if destination := command.get("MoveDestination"):
        words.append(f"to {shown(destination)}")
    return ", ".join(words)


def describe_outcome(response: Message) -> str:
    """How an operation ended: the status of its final response, with counts and the reason that is given."""
    command = response.command
    words = [describe_status(response)]
    words += [f"{command[key]} {word}" for key, word in _COUNTS if command.get(key) is not None]
    if comment := command.get("ErrorComment"):
        words.append(f"reason: {shown(comment)}")
    if tags := command.get("OffendingElement"):
        words.append(f"offending: {_tags(tags)}")
    return ", ".join(words)


def describe_elements(
    data: Buffer, transfer_syntax_uid: str, decode: Callable[[bytes, str], str] | None = None
) -> Iterator[str]:
    """The elements of an identifier in lines, with their values: patients' data. Sequences are not looked into.

    Parameters
    ----------
    data
        The encoded identifier.
    transfer_syntax_uid
        How it is encoded.
    decode
        Decodes a value by the Specific Character Set (0008,0005) of the identifier; None for UTF-8.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax.is_deflated:
        yield f"{len(data)} bytes, deflated"
        return
    encoding = encoding_of(syntax.is_implicit, syntax.is_little_endian)
    terms = ""
    try:
        for tag, vr, _, start, stop in islice(elements(data, encoding), _MOST_LINES):
            value = bytes(data[start:stop][:_LONGEST]).rstrip(b"\0 ")
            if tag == _SPECIFIC_CHARACTER_SET:
                terms = value.decode("latin-1")
            if vr == "SQ" or stop > len(data):
                words = "a sequence"
            elif terms and decode is not None:
                words = shown(decode(value, terms))
            else:
                words = shown(value.decode("utf-8", "replace"))
            yield f"{_tag(tag)} {vr}{vr and ' '}[{words}]"
    except error:
        yield "and an element that is cut off"


def _describe_request(pdu: AssociateRQ, proposed: Mapping[int, str]) -> Iterator[str]:
    yield (
        f"A-ASSOCIATE-RQ: calling AE title {shown(pdu.calling_ae_title)}, called AE title"
        f" {shown(pdu.called_ae_title)}, application context {shown(pdu.application_context) or 'none'},"
        f" {_identification(pdu.user_items)}"
    )
    for each in pdu.contexts:
        yield f"  {_proposed_context(each)}"
    yield from _user_items(pdu.user_items)


def _describe_acceptance(pdu: AssociateAC, proposed: Mapping[int, str]) -> Iterator[str]:
    yield f"A-ASSOCIATE-AC: {_identification(pdu.user_items)}"
    for each in pdu.contexts:
        yield f"  {_context_result(each, proposed)}"
    yield from _user_items(pdu.user_items)


def _describe_rejection(pdu: AssociateRJ, proposed: Mapping[int, str]) -> Iterator[str]:
    yield f"A-ASSOCIATE-RJ: {AssociationRejected(pdu.result, pdu.source, pdu.reason)}"


def _describe_abort(pdu: Abort, proposed: Mapping[int, str]) -> Iterator[str]:
    source = _ABORTERS.get(pdu.source, f"source {pdu.source}")
    reason = f", reason: {ABORT_REASONS.get(pdu.reason, pdu.reason)}" if pdu.source else ""
    yield f"A-ABORT: by the {source}{reason}"


_PDUS: dict[type, Callable[[Any, Mapping[int, str]], Iterator[str]]] = {
    AssociateRQ: _describe_request,
    AssociateAC: _describe_acceptance,
    AssociateRJ: _describe_rejection,
    ReleaseRQ: lambda pdu, proposed: iter(("A-RELEASE-RQ",)),
    ReleaseRP: lambda pdu, proposed: iter(("A-RELEASE-RP",)),
    Abort: _describe_abort,
}


def _identification(items: tuple[UserItem, ...]) -> str:
    maximum, uid, name = "none", "none", ""
    for each in items:
        if isinstance(each, MaximumLength):
            maximum = f"{each.maximum_length} bytes" if each.maximum_length else "no limit"
        elif isinstance(each, ImplementationClassUID):
            uid = shown(each.uid)
        elif isinstance(each, ImplementationVersionName):
            name = f" ({shown(each.name)})"
    return f"maximum length {maximum}, implementation {uid}{name}"


def _proposed_context(context: ProposedContext) -> str:
    syntaxes = ", ".join(map(syntax_name, context.transfer_syntaxes)) or "no transfer syntax"
    return f"context {context.context_id}: {sop_class_name(context.abstract_syntax)} in {syntaxes}"


def _context_result(context: ContextResult, proposed: Mapping[int, str]) -> str:
    words = _RESULTS.get(context.result, f"result {context.result}")
    syntax = "" if context.result else f" in {syntax_name(context.transfer_syntax)}"
    return f"context {context.context_id}: {sop_class_name(proposed.get(context.context_id, ''))} {words}{syntax}"


def _user_items(items: tuple[UserItem, ...]) -> Iterator[str]:
    for each in items:
        words = _USER_ITEMS.get(type(each))
        if words is not None:
            yield f"  {words(each)}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


_USER_ITEMS: dict[type, Callable[[Any], str]] = {
    AsynchronousOperationsWindow: lambda item: (
        f"asynchronous operations window: {item.invoked} invoked, {item.performed} performed"
    ),
    RoleSelection: lambda item: (
        f"role selection: {sop_class_name(item.sop_class)}, SCU {_yes(item.scu_role)}, SCP {_yes(item.scp_role)}"
    ),
    SOPClassExtendedNegotiation: lambda item: (
        f"extended negotiation: {sop_class_name(item.sop_class)}, {item.application_information.hex(' ', 1)[:_LONGEST]}"
    ),
    SOPClassCommonExtendedNegotiation: lambda item: (
        f"common extended negotiation: {sop_class_name(item.sop_class)}, service class {shown(item.service_class)}"
    ),
    # Neither a name nor a secret.
    UserIdentityRQ: lambda item: (
        f"user identity: {_IDENTITIES.get(item.identity_type, f'type {item.identity_type}')}"
        f", response asked for: {_yes(item.positive_response_requested)}"
    ),
    UserIdentityAC: lambda item: f"user identity: a response of {len(item.server_response)} bytes",
}


def _tag(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _tags(value: object) -> str:
    tags = value if isinstance(value, list | tuple) else [value]
    return " ".join(_tag(each) if isinstance(each, int) else shown(each) for each in tags[:32])


def _value(parameter: Parameter, value: Any) -> str:
    if value is None or value == "":
        return "empty"
    if parameter.keyword == "Priority":
        return (
            f"{shown(value)} ({_PRIORITIES.get(value, 'unknown') if isinstance(value, int) else 'unknown'})"
        )
    if parameter.vr == "AT":
        return _tags(value)
    row = SOP_CLASSES.get(value) if parameter.vr == "UI" and isinstance(value, str) else None
    return f"{row.uid} ({row.keyword})" if row is not None else shown(value)
