"""Audit messages are those of PS3.15 section A.5: the schema of A.5.1 takes them, and the tables of A.5.3 hold."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree

from dicomnet.archive.audit import AuditEntry, AuditEvent, EventAction, EventKind, EventOutcome
from dicomnet.archive.reporting.messages import ROWS, Origin, message
from dicomnet.archive.reporting.syslog import framed, syslog_message
from dicomnet.values import replace

# The schema of section A.5.1.1, which is in the compact syntax there, in the other syntax of RELAX NG.
SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).parent / "audit-message.rng"))
ORIGIN = Origin("ARCHIVE", "pacs.example", 4711)
AT = datetime(2026, 5, 4, 3, 2, 1, 987_000, UTC)
# What peers may say of themselves.
NASTY = "a<b>&\"'\x00\x1b\n\ud800ä\U0001f600"
SUBJECT = AuditEvent(
    EventKind.QUERY,
    user="alice",
    ae_title="CT1",
    address="fd00::1",
    way="DIMSE",
    study="1.2.3",
    patient="P1",
    detail="words",
    other="WS@10.0.0.5:104",
    query=b64encode(b"\x08\x00\x52\x00").decode(),
    syntax="1.2.840.10008.1.2",
    sop_class="1.2.840.10008.5.1.4.1.2.2.1",
)
# Of each table of section A.5.3: EventID, EventActionCode, EventTypeCode (CID 403 for alerts), the roles of the
# participants in their order ("-" for one without), and the objects: type, role, ParticipantObjectIDTypeCode.
_STUDY, _PATIENT = ("2", "3", "110180"), ("1", "1", "2")
_K, _A = EventKind, EventAction
STANDARD = [
    (_K.APPLICATION_ACTIVITY, _A.START, "110100", "E", "110120", ["110150"], []),
    (_K.APPLICATION_ACTIVITY, _A.STOP, "110100", "E", "110121", ["110150"], []),
    (_K.AUDIT_LOG_USED, _A.NONE, "110101", "R", None, ["-", "-"], [("2", "13", "12")]),
    (_K.INSTANCES_ACCESSED, _A.NONE, "110103", "R", None, ["-", "-"], [_STUDY, _PATIENT]),
    (_K.INSTANCES_ACCESSED, _A.DELETED, "110103", "D", None, ["-", "-"], [_STUDY, _PATIENT]),
    (_K.INSTANCES_ACCESSED, _A.FOR_GOOD, "110103", "D", None, ["-", "-"], [_STUDY, _PATIENT]),
    (_K.INSTANCES_ACCESSED, _A.RESTORED, "110103", "C", None, ["-", "-"], [_STUDY, _PATIENT]),
    (_K.INSTANCES_ACCESSED, _A.REPLACED, "110103", "U", None, ["-", "-"], [_STUDY, _PATIENT]),
    (_K.INSTANCES_TRANSFERRED, _A.IN, "110104", "C", None, ["110153", "110152"], [_STUDY, _PATIENT]),
    (_K.INSTANCES_TRANSFERRED, _A.OUT, "110104", "R", None, ["110153", "110152", "-"], [_STUDY, _PATIENT]),
    (_K.STUDY_DELETED, _A.NONE, "110105", "D", None, ["-", "-"], [_STUDY, _PATIENT]),
    (_K.STUDY_DELETED, _A.FOR_GOOD, "110105", "D", None, ["-", "-"], [_STUDY, _PATIENT]),
    (_K.EXPORT, _A.NONE, "110106", "R", None, ["110152", "110153", "110154"], [_STUDY, _PATIENT]),
    (_K.IMPORT, _A.NONE, "110107", "C", None, ["110152", "110152", "110155"], [_STUDY, _PATIENT]),
    (_K.QUERY, _A.NONE, "110112", "E", None, ["110153", "110152"], [("2", "3", "110181")]),
    (_K.USER_AUTHENTICATION, _A.LOGIN, "110114", "E", "110122", ["-", "-"], []),
    (_K.USER_AUTHENTICATION, _A.LOGOUT, "110114", "E", "110123", ["-", "-"], []),
    *(
        (_K.SECURITY_ALERT, action, "110113", "E", code, ["-", "-"], [("2", "13", "12")])
        for action, code in (
            (_A.NONE, "110126"),
            (_A.CONFIGURATION, "110131"),
            (_A.NOT_ALLOWED, "110132"),
            (_A.RECORDING_STOPPED, "110133"),
            (_A.RECORDING_STARTED, "110134"),
            (_A.PROTECTION, "110135"),
            (_A.USERS, "110137"),
            (_A.TASK_STARTED, "110141"),
            (_A.TASK_STOPPED, "110142"),
        )
    ),
]
IDS = [f"{kind.word} {action.value}" for kind, action, *_ in STANDARD]


def _message(event: AuditEvent, count: int = 3) -> etree._Element:
    content = message(AuditEntry("k", event, count, AT, AT), ORIGIN)
    assert b"\n" not in content
    root = etree.fromstring(content)
    SCHEMA.assertValid(root)
    return root


@pytest.mark.parametrize(
    ("kind", "action", "code", "done", "type_code", "roles", "objects"), STANDARD, ids=IDS
)
def test_an_event_is_the_message_that_the_standard_has_for_it(
    kind: EventKind,
    action: EventAction,
    code: str,
    done: str,
    type_code: str | None,
    roles: list[str],
    objects: list[tuple[str, str, str]],
) -> None:
    root = _message(replace(SUBJECT, kind=kind, action=action))
    (event,) = root.findall("EventIdentification")
    (known,) = event.findall("EventID")
    assert (known.get("csd-code"), known.get("codeSystemName")) == (code, "DCM")
    assert event.get("EventActionCode") == done
    assert event.get("EventDateTime") == "2026-05-04T03:02:01.987+00:00"
    assert [each.get("csd-code") for each in event.findall("EventTypeCode")] == (
        [type_code] if type_code else []
    )
    people = root.findall("ActiveParticipant")
    assert [each.findtext("RoleIDCode") is None for each in people] == [role == "-" for role in roles]
    assert [each.get("csd-code") for each in root.findall("ActiveParticipant/RoleIDCode")] == [
        role for role in roles if role != "-"
    ]
    # There is one who asked for it, but of alerts (A.5.3.11) and what the node does by itself.
    asked = [each for each in people if each.get("UserIsRequestor") == "true"]
    assert len(asked) == (0 if kind in (EventKind.SECURITY_ALERT, EventKind.APPLICATION_ACTIVITY) else 1)
    found = [
        (
            each.get("ParticipantObjectTypeCode"),
            each.get("ParticipantObjectTypeCodeRole"),
            each.find("ParticipantObjectIDTypeCode").get("csd-code"),
        )
        for each in root.findall("ParticipantObjectIdentification")
    ]
    assert found == objects


def test_there_is_no_other_event() -> None:
    assert {(kind, action) for kind, action, *_ in STANDARD} == set(ROWS)


@pytest.mark.parametrize(("kind", "action"), ROWS)
@pytest.mark.parametrize("outcome", EventOutcome)
def test_whatever_peers_say_the_schema_takes_it(
    kind: EventKind, action: EventAction, outcome: EventOutcome
) -> None:
    texts = (
        "user",
        "ae_title",
        "address",
        "way",
        "study",
        "patient",
        "detail",
        "other",
        "syntax",
        "sop_class",
    )
    _message(replace(SUBJECT, kind=kind, action=action, outcome=outcome, **dict.fromkeys(texts, NASTY)))
    _message(AuditEvent(kind, action, outcome))


def test_a_query_is_there_as_it_was_sent() -> None:
    (asked,) = _message(SUBJECT).findall("ParticipantObjectIdentification")
    assert asked.get("ParticipantObjectID") == SUBJECT.sop_class
    assert b64decode(asked.findtext("ParticipantObjectQuery") or "") == b"\x08\x00\x52\x00"
    details = {
        each.get("type"): b64decode(each.get("value") or "")
        for each in asked.findall("ParticipantObjectDetail")
    }
    assert details["TransferSyntax"] == b"1.2.840.10008.1.2"


def test_who_was_it() -> None:
    who, node, *_ = _message(replace(SUBJECT, user="")).findall("ActiveParticipant")
    assert (who.get("UserID"), who.get("AlternativeUserID")) == ("CT1", "AETITLES=CT1")
    assert (who.get("NetworkAccessPointID"), who.get("NetworkAccessPointTypeCode")) == ("fd00::1", "2")
    assert (node.get("UserID"), node.get("AlternativeUserID")) == ("4711", "AETITLES=ARCHIVE")
    assert (node.get("NetworkAccessPointID"), node.get("NetworkAccessPointTypeCode")) == ("pacs.example", "1")


def test_a_failure_says_why_and_how_much_there_was() -> None:
    event = replace(
        SUBJECT,
        kind=EventKind.INSTANCES_TRANSFERRED,
        action=EventAction.IN,
        outcome=EventOutcome.SERIOUS_FAILURE,
    )
    root = _message(event, 12)
    assert root.find("EventIdentification").get("EventOutcomeIndicator") == "8"
    assert root.findtext("EventIdentification/EventOutcomeDescription") == "words"
    assert root.find(".//SOPClass").get("NumberOfInstances") == "12"


def test_a_syslog_message_is_that_of_the_profile() -> None:
    """PS3.15 section A.6, RFC 5424 section 6, RFC 5425 section 4.3."""
    content = syslog_message(b"<a/>", replace(ORIGIN, host="päcs"), 7, AT, is_warning=False)
    assert content == (
        b"<85>1 2026-05-04T03:02:01.987Z p?cs dicomnet 4711 DICOM+RFC3881"
        b' [meta sequenceId="7"] \xef\xbb\xbf<a/>'
    )
    assert framed(content) == b"%d %s" % (len(content), content)
    assert syslog_message(b"", ORIGIN, 1 << 31, AT, is_warning=True).startswith(b"<84>1 ")
    assert b'sequenceId="1"' in syslog_message(b"", ORIGIN, 1 << 31, AT, is_warning=True)
