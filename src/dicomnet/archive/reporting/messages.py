"""Entries of the audit trail as the XML messages of PS3.15 section A.5: one table says what each event becomes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC
from ipaddress import ip_address
from xml.etree.ElementTree import Element, SubElement, tostring

from ...values import frozen
from ..audit import DIMSE, AuditEntry, AuditEvent, EventAction, EventKind, EventOutcome

Code = tuple[str, str]

# Roles of participants (CID 402), and what identifies participating objects (CID 404), by their codes in DCM.
_APPLICATION: Code = ("110150", "Application")
_DESTINATION: Code = ("110152", "Destination Role ID")
_SOURCE: Code = ("110153", "Source Role ID")
_DESTINATION_MEDIA: Code = ("110154", "Destination Media")
_SOURCE_MEDIA: Code = ("110155", "Source Media")
_STUDY_UID: Code = ("110180", "Study Instance UID")
_SOP_CLASS_UID: Code = ("110181", "SOP Class UID")
_NODE_ID: Code = ("110182", "Node ID")
# The kind of media that is a folder, a file or a download (CID 405).
_URI_MEDIA: Code = ("110037", "URI")
# Of RFC 3881.
_PATIENT_NUMBER: Code = ("2", "Patient Number")
_URI: Code = ("12", "URI")
_RFC = "RFC-3881"

# Characters that XML 1.0 does not have (section 2.2) and a peer may have sent.
_NOT_IN_XML = dict.fromkeys([*range(0x20), 0xFFFE, 0xFFFF, *range(0xD800, 0xE000)], "\ufffd")
# One line, whatever an AE title or a text has in it.
_NOT_IN_XML |= dict.fromkeys(map(ord, "\t\n\r"), " ")

# Where the trail is read, for whoever is told that it was.
LOG_URI = "/audit"


@frozen
class Origin:
    """Which node tells of it.

    Parameters
    ----------
    ae_title
        Its AE title.
    host
        The name of its machine.
    process
        The number of its process there.
    """

    ae_title: str
    host: str
    process: int


@frozen
class Row:
    """What an event becomes: a row of the table.

    Parameters
    ----------
    action
        EventActionCode.
    participants
        Adds the participants to a message.
    objects
        Adds the participating objects.
    type
        EventTypeCode; None for none.
    life
        ParticipantObjectDataLifeCycle of studies; empty for none.
    """

    action: str
    participants: Callable[[Element, AuditEvent, Origin], None]
    objects: Callable[[Element, AuditEntry, Row], None]
    type: Code | None = None
    life: str = ""


def message(entry: AuditEntry, origin: Origin) -> bytes:
    """An entry that is over as an audit message, in one line of UTF-8 without a declaration.

    Parameters
    ----------
    entry
        It.
    origin
        Who tells.
    """
    event = entry.event
    row = ROWS[event.kind, event.action]
    root = Element("AuditMessage")
    identification = SubElement(
        root,
        "EventIdentification",
        {
            "EventActionCode": row.action,
            # When what is told was complete (section A.5.3.7), in UTC (section A.5.2.5).
            "EventDateTime": entry.last_at.astimezone(UTC).isoformat(timespec="milliseconds"),
            "EventOutcomeIndicator": str(int(event.outcome)),
        },
    )
    _code(identification, "EventID", (event.kind.code, event.kind.meaning))
    if row.type is not None:
        _code(identification, "EventTypeCode", row.type)
    if event.outcome is not EventOutcome.SUCCESS and event.detail:
        SubElement(identification, "EventOutcomeDescription").text = _text(event.detail)
    row.participants(root, event, origin)
    source = SubElement(
        root, "AuditSourceIdentification", {"AuditSourceID": _text(f"{origin.ae_title}@{origin.host}")}
    )
    # Application server (section A.5.1.2.1).
    SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})
    row.objects(root, entry, row)
    made: bytes = tostring(root, "utf-8", xml_declaration=False)
    return made


def _text(value: str) -> str:
    return value.translate(_NOT_IN_XML)


def _code(parent: Element, name: str, code: Code, system: str = "DCM") -> None:
    SubElement(parent, name, {"csd-code": code[0], "codeSystemName": system, "originalText": code[1]})


def _participant(
    root: Element,
    user: str,
    *roles: Code,
    alternative: str = "",
    is_requestor: bool = False,
    place: str = "",
) -> Element:
    """Add somebody who takes part; the order of elements and attributes is that of the schema."""
    found = SubElement(root, "ActiveParticipant", {"UserID": _text(user)})
    if alternative:
        found.set("AlternativeUserID", _text(alternative))
    found.set("UserIsRequestor", "true" if is_requestor else "false")
    if place:
        found.set("NetworkAccessPointID", _text(place))
        found.set("NetworkAccessPointTypeCode", _type_of(place))
    for role in roles:
        _code(found, "RoleIDCode", role)
    return found


def _type_of(place: str) -> str:
    """Which kind of network access point it is: an address, a URI or the name of a machine (section A.5.2.4)."""
    try:
        ip_address(place)
    except ValueError:
        return "5" if "/" in place else "1"
    return "2"


def _titles(ae_title: str) -> str:
    """How AE titles are said besides (section A.5.2.2)."""
    return f"AETITLES={ae_title}" if ae_title else ""


def _node(root: Element, origin: Origin, *roles: Code, is_requestor: bool = False) -> None:
    """Us: a process, which is called by its number, and by its AE title besides (sections A.5.2.1 and A.5.2.2)."""
    _participant(
        root,
        str(origin.process),
        *roles,
        alternative=_titles(origin.ae_title),
        is_requestor=is_requestor,
        place=origin.host,
    )


def _peer(root: Element, event: AuditEvent, *roles: Code, is_requestor: bool = True) -> None:
    """Who did it: a user by HTTP or on the command line, or a process that an AE title and an address tell apart."""
    who = event.user or event.ae_title or event.address or "unknown"
    _participant(
        root,
        who,
        *roles,
        alternative=_titles(event.ae_title),
        is_requestor=is_requestor,
        place=event.address,
    )


def _is_anybody(event: AuditEvent) -> bool:
    return bool(event.user or event.ae_title or event.address)


def _of_application(root: Element, event: AuditEvent, origin: Origin) -> None:
    _node(root, origin, _APPLICATION)


def _of_question(root: Element, event: AuditEvent, origin: Origin) -> None:
    _peer(root, event, _SOURCE)
    _node(root, origin, _DESTINATION)


def _of_receiving(root: Element, event: AuditEvent, origin: Origin) -> None:
    _peer(root, event, _SOURCE)
    _node(root, origin, _DESTINATION)


def _of_sending(root: Element, event: AuditEvent, origin: Origin) -> None:
    _node(root, origin, _SOURCE)
    if event.other:
        title, _, place = event.other.partition("@")
        _participant(
            root, title, _DESTINATION, alternative=_titles(title), place=place.rpartition(":")[0].strip("[]")
        )
        # The third party that has asked for it.
        _peer(root, event)
    else:
        _peer(root, event, _DESTINATION)


def _of_access(root: Element, event: AuditEvent, origin: Origin) -> None:
    is_somebody = _is_anybody(event)
    if is_somebody:
        _peer(root, event)
    _node(root, origin, is_requestor=not is_somebody)


def _of_login(root: Element, event: AuditEvent, origin: Origin) -> None:
    _participant(root, event.user or "unknown", is_requestor=True, place=event.address or "unknown")
    _node(root, origin)


def _of_alert(root: Element, event: AuditEvent, origin: Origin) -> None:
    _node(root, origin, is_requestor=not _is_anybody(event))
    if _is_anybody(event):
        _peer(root, event, is_requestor=False)


def _of_export(root: Element, event: AuditEvent, origin: Origin) -> None:
    if event.address:
        _peer(root, event, _DESTINATION)
        _node(root, origin, _SOURCE)
    else:
        _participant(root, event.user or "unknown", _SOURCE, is_requestor=True)
        _node(root, origin, _SOURCE)
    _media(root, event, _DESTINATION_MEDIA)


def _of_import(root: Element, event: AuditEvent, origin: Origin) -> None:
    _participant(root, event.user or "unknown", _DESTINATION, is_requestor=True)
    _node(root, origin, _DESTINATION)
    _media(root, event, _SOURCE_MEDIA)


def _media(root: Element, event: AuditEvent, role: Code) -> None:
    where = event.other or event.detail or "unknown"
    found = _participant(root, where, role, place=event.address or where)
    _code(SubElement(found, "MediaIdentifier"), "MediaType", _URI_MEDIA)


def _no_objects(root: Element, entry: AuditEntry, row: Row) -> None:
    """Such messages have none."""


def _object(
    root: Element,
    identifier: str,
    kind: Code,
    of: tuple[str, str],
    *,
    life: str = "",
    name: str = "",
    query: str = "",
    system: str = "DCM",
) -> Element:
    """Add an object, of a ParticipantObjectTypeCode and a ParticipantObjectTypeCodeRole."""
    found = SubElement(
        root,
        "ParticipantObjectIdentification",
        {
            "ParticipantObjectID": _text(identifier),
            "ParticipantObjectTypeCode": of[0],
            "ParticipantObjectTypeCodeRole": of[1],
        },
    )
    if life:
        found.set("ParticipantObjectDataLifeCycle", life)
    _code(found, "ParticipantObjectIDTypeCode", kind, system)
    if query:
        SubElement(found, "ParticipantObjectQuery").text = query
    else:
        SubElement(found, "ParticipantObjectName").text = _text(name)
    return found


def _detail(parent: Element, kind: str, value: str) -> None:
    SubElement(parent, "ParticipantObjectDetail", {"type": kind, "value": _base64(value)})


def _base64(value: str) -> str:
    return b64encode(value.encode(errors="replace")).decode()


# Of objects: type and role (section A.5.1).
_REPORT, _PATIENT, _RESOURCE = ("2", "3"), ("1", "1"), ("2", "13")


def _study(root: Element, entry: AuditEntry, row: Row) -> None:
    event = entry.event
    if event.study:
        found = _object(root, event.study, _STUDY_UID, _REPORT, life=row.life)
        if event.detail:
            _detail(found, "Description", event.detail)
        about = SubElement(found, "ParticipantObjectDescription")
        SubElement(about, "SOPClass", {"NumberOfInstances": str(entry.count)})
    if event.study or event.patient:
        # Section A.5.3 demands one where there is a study, also where its ID is empty, or not known.
        _object(root, event.patient, _PATIENT_NUMBER, _PATIENT, system=_RFC)


def _query(root: Element, entry: AuditEntry, row: Row) -> None:
    event = entry.event
    if event.way == DIMSE and event.query:
        found = _object(root, event.sop_class, _SOP_CLASS_UID, _REPORT, query=event.query)
        _detail(found, "TransferSyntax", event.syntax)
    else:
        found = _object(
            root,
            event.detail or "unknown",
            _URI,
            _REPORT,
            query=_base64(event.detail or "unknown"),
            system=_RFC,
        )
    _detail(found, "Description", event.detail)


def _log(root: Element, entry: AuditEntry, row: Row) -> None:
    found = _object(root, LOG_URI, _URI, _RESOURCE, name="Security Audit Log", system=_RFC)
    if entry.event.detail:
        _detail(found, "Description", entry.event.detail)


def _subject(root: Element, entry: AuditEntry, row: Row) -> None:
    event = entry.event
    if event.other:
        found = _object(root, event.other, _URI, _RESOURCE, system=_RFC)
    else:
        found = _object(root, event.address or "localhost", _NODE_ID, _RESOURCE)
    words = event.detail or event.action.value or "alert"
    _detail(found, "Alert Description", f"{words} ({entry.count} times)" if entry.count > 1 else words)


def _alert(code: str, meaning: str) -> Row:
    """A row of a security alert, whose type is of CID 403."""
    return Row("E", _of_alert, _subject, (code, meaning))


_K, _A = EventKind, EventAction
ROWS: Mapping[tuple[EventKind, EventAction], Row] = {
    (_K.APPLICATION_ACTIVITY, _A.START): Row(
        "E", _of_application, _no_objects, ("110120", "Application Start")
    ),
    (_K.APPLICATION_ACTIVITY, _A.STOP): Row(
        "E", _of_application, _no_objects, ("110121", "Application Stop")
    ),
    (_K.AUDIT_LOG_USED, _A.NONE): Row("R", _of_access, _log),
    (_K.QUERY, _A.NONE): Row("E", _of_question, _query),
    (_K.INSTANCES_TRANSFERRED, _A.IN): Row("C", _of_receiving, _study, life="1"),
    # Whether the other one had them before, we do not know.
    (_K.INSTANCES_TRANSFERRED, _A.OUT): Row("R", _of_sending, _study, life="6"),
    (_K.INSTANCES_ACCESSED, _A.NONE): Row("R", _of_access, _study, life="6"),
    (_K.INSTANCES_ACCESSED, _A.DELETED): Row("D", _of_access, _study, life="14"),
    (_K.INSTANCES_ACCESSED, _A.RESTORED): Row("C", _of_access, _study, life="1"),
    (_K.INSTANCES_ACCESSED, _A.REPLACED): Row("U", _of_access, _study, life="3"),
    (_K.INSTANCES_ACCESSED, _A.FOR_GOOD): Row("D", _of_access, _study, life="15"),
    (_K.STUDY_DELETED, _A.NONE): Row("D", _of_access, _study, life="14"),
    (_K.STUDY_DELETED, _A.FOR_GOOD): Row("D", _of_access, _study, life="15"),
    (_K.EXPORT, _A.NONE): Row("R", _of_export, _study, life="10"),
    (_K.IMPORT, _A.NONE): Row("C", _of_import, _study, life="2"),
    (_K.USER_AUTHENTICATION, _A.LOGIN): Row("E", _of_login, _no_objects, ("110122", "Login")),
    (_K.USER_AUTHENTICATION, _A.LOGOUT): Row("E", _of_login, _no_objects, ("110123", "Logout")),
    (_K.SECURITY_ALERT, _A.NONE): _alert("110126", "Node Authentication"),
    (_K.SECURITY_ALERT, _A.CONFIGURATION): _alert("110131", "Software Configuration"),
    (_K.SECURITY_ALERT, _A.NOT_ALLOWED): _alert("110132", "Use of Restricted Function"),
    (_K.SECURITY_ALERT, _A.RECORDING_STOPPED): _alert("110133", "Audit Recording Stopped"),
    (_K.SECURITY_ALERT, _A.RECORDING_STARTED): _alert("110134", "Audit Recording Started"),
    (_K.SECURITY_ALERT, _A.PROTECTION): _alert("110135", "Object Security Attributes Changed"),
    (_K.SECURITY_ALERT, _A.USERS): _alert("110137", "User Security Attributes Changed"),
    (_K.SECURITY_ALERT, _A.TASK_STARTED): _alert("110141", "Local Service Operation Started"),
    (_K.SECURITY_ALERT, _A.TASK_STOPPED): _alert("110142", "Local Service Operation Stopped"),
}
