"""A-ASSOCIATE-RQ PDUs with one thing wrong, made byte by byte, and what acceptors make of them.

The framing is sound in all of `DAMAGED`: no length passes what holds it, except inside an item.
"""

from __future__ import annotations

from typing import NamedTuple

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
VERIFICATION, CT = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2"

TITLES = b"ANY".ljust(16) + b"RAW".ljust(16)


def encoded(text: str | bytes) -> bytes:
    """Bytes as they are, or text with each character as one byte."""
    return text if isinstance(text, bytes) else text.encode("latin-1")


def item(kind: int, content: str | bytes, length: int | None = None) -> bytes:
    """An item or sub-item (PS3.8 section 9.3.1), with another length than that of its content if one is given."""
    body = encoded(content)
    return bytes((kind, 0)) + (len(body) if length is None else length).to_bytes(2, "big") + body


def proposal(context_id: int, *sub_items: bytes) -> bytes:
    """A presentation context item of a request, with these sub-items."""
    return item(0x20, bytes((context_id, 0, 0, 0)) + b"".join(sub_items))


def abstract(uid: str | bytes) -> bytes:
    return item(0x30, uid)


def transfer(uid: str | bytes) -> bytes:
    return item(0x40, uid)


def context(context_id: int, uid: str | bytes, *syntaxes: str | bytes) -> bytes:
    """A presentation context item of a request."""
    return proposal(context_id, abstract(uid), *map(transfer, syntaxes))


def result_item(context_id: int, code: int, *syntaxes: str | bytes) -> bytes:
    """A presentation context item of an acceptance."""
    return item(0x21, bytes((context_id, 0, code, 0)) + b"".join(map(transfer, syntaxes)))


def role(uid: str | bytes, scu: int, scp: int) -> bytes:
    """A role selection sub-item."""
    name = encoded(uid)
    return item(0x54, len(name).to_bytes(2, "big") + name + bytes((scu, scp)))


APPLICATION = item(0x10, "1.2.840.10008.3.1.1.1")
LENGTH = item(0x51, b"\x00\x00\x40\x00")
CLASS_UID = item(0x52, "1.2.3")
USER = item(0x50, LENGTH + CLASS_UID)
GOOD = context(1, VERIFICATION, IMPLICIT)


def associate(*items: bytes, kind: int = 1, version: int = 1, titles: bytes = TITLES) -> bytes:
    """An A-ASSOCIATE-RQ, or with ``kind`` 2 an A-ASSOCIATE-AC."""
    body = version.to_bytes(2, "big") + bytes(2) + titles + bytes(32) + b"".join(items)
    return bytes((kind, 0)) + len(body).to_bytes(4, "big") + body


def proposing(*contexts: bytes) -> bytes:
    return associate(APPLICATION, *contexts, USER)


def acceptance(*results: bytes) -> bytes:
    return associate(APPLICATION, *results, USER, kind=2)


def with_user_items(*sub_items: bytes) -> bytes:
    return associate(APPLICATION, GOOD, item(0x50, b"".join(sub_items)))


class Case(NamedTuple):
    """A request with something wrong.

    Parameters
    ----------
    pdu
        The request.
    ours
        The results by context ID that we answer, or a rejection's result, source and reason.
    dcmtk
        What DCMTK 3.6.7 answered, and Orthanc 1.10.1 with the same library. Where there is a rejection for want of a
        transfer syntax, Orthanc says 3. None where they answered nothing and kept the connection open.
    """

    pdu: bytes
    ours: dict[int, int] | tuple[int, int, int]
    dcmtk: dict[int, int] | tuple[int, int, int] | None


BOTH, SECOND_ONLY = {1: 0, 3: 0}, {1: 0, 3: 3}
ALONE = {1: 0}
TITLE_END = b"ANY\0junk\xff\1".ljust(16) + b"RAW\0\1\2\3".ljust(16)

DAMAGED: dict[str, Case] = {
    "nothing wrong": Case(proposing(GOOD, context(3, CT, IMPLICIT)), BOTH, BOTH),
    # Abstract syntaxes
    "abstract syntax with the byte A0": Case(
        proposing(context(3, CT + "\xa0", IMPLICIT), GOOD), SECOND_ONLY, SECOND_ONLY
    ),
    "abstract syntax with a zero-width space": Case(
        proposing(context(3, (CT[:-1] + "\u200b2").encode(), IMPLICIT), GOOD), SECOND_ONLY, SECOND_ONLY
    ),
    "abstract syntax with a leading zero": Case(
        proposing(context(3, CT[:-1] + "02", IMPLICIT), GOOD), SECOND_ONLY, SECOND_ONLY
    ),
    "abstract syntax with a NUL behind it": Case(
        proposing(context(3, CT + "\0", IMPLICIT), GOOD), BOTH, BOTH
    ),
    "abstract syntax with a space behind it": Case(
        proposing(context(3, CT + " ", IMPLICIT), GOOD), BOTH, SECOND_ONLY
    ),
    "abstract syntax that goes on behind a NUL": Case(
        proposing(context(3, CT + "\0\xff.1", IMPLICIT), GOOD), BOTH, BOTH
    ),
    "abstract syntax of 65": Case(proposing(context(3, "1." + "1" * 63, IMPLICIT), GOOD), SECOND_ONLY, None),
    "abstract syntax of 900": Case(
        proposing(context(3, "1." + "1" * 898, IMPLICIT), GOOD), SECOND_ONLY, None
    ),
    "empty abstract syntax": Case(proposing(context(3, "", IMPLICIT), GOOD), SECOND_ONLY, SECOND_ONLY),
    "abstract syntax that is a word": Case(
        proposing(context(3, "CTImageStorage", IMPLICIT), GOOD), SECOND_ONLY, SECOND_ONLY
    ),
    "no abstract syntax": Case(proposing(proposal(3, transfer(IMPLICIT)), GOOD), SECOND_ONLY, SECOND_ONLY),
    "the same abstract syntax twice": Case(
        proposing(proposal(3, abstract(CT), abstract(CT), transfer(IMPLICIT)), GOOD), BOTH, BOTH
    ),
    "two abstract syntaxes": Case(
        proposing(proposal(3, abstract(CT), abstract(VERIFICATION), transfer(IMPLICIT)), GOOD),
        SECOND_ONLY,
        BOTH,
    ),
    "abstract syntax behind the transfer syntax": Case(
        proposing(proposal(3, transfer(IMPLICIT), abstract(CT)), GOOD), BOTH, BOTH
    ),
    # Transfer syntaxes
    "no transfer syntax": Case(proposing(context(3, CT), GOOD), {1: 0, 3: 4}, None),
    "only an empty transfer syntax": Case(proposing(context(3, CT, ""), GOOD), {1: 0, 3: 4}, {1: 0, 3: 4}),
    "an empty transfer syntax and a good one": Case(
        proposing(context(3, CT, "", IMPLICIT), GOOD), BOTH, BOTH
    ),
    "only a transfer syntax with the byte FF": Case(
        proposing(context(3, CT, EXPLICIT + "\xff"), GOOD), {1: 0, 3: 4}, {1: 0, 3: 4}
    ),
    "a transfer syntax with the byte FF and a good one": Case(
        proposing(context(3, CT, EXPLICIT + "\xff", IMPLICIT), GOOD), BOTH, BOTH
    ),
    "only a transfer syntax of 65": Case(
        proposing(context(3, CT, "1." + "1" * 63), GOOD), {1: 0, 3: 4}, None
    ),
    "a transfer syntax of 65 and a good one": Case(
        proposing(context(3, CT, "1." + "1" * 63, IMPLICIT), GOOD), BOTH, None
    ),
    "a transfer syntax with a NUL behind it": Case(
        proposing(context(3, CT, IMPLICIT + "\0"), GOOD), BOTH, BOTH
    ),
    "the same transfer syntax twice": Case(proposing(context(3, CT, IMPLICIT, IMPLICIT), GOOD), BOTH, BOTH),
    # What holds them
    "an unknown sub-item": Case(
        proposing(proposal(3, item(0x77, "??"), abstract(CT), transfer(IMPLICIT)), GOOD), BOTH, BOTH
    ),
    "an empty context": Case(proposing(item(0x20, b""), GOOD), ALONE, None),
    "a context of two bytes": Case(proposing(item(0x20, b"\3\0"), GOOD), SECOND_ONLY, None),
    "a context that is only an ID": Case(proposing(proposal(3), GOOD), SECOND_ONLY, None),
    "an abstract syntax that passes its context": Case(
        proposing(proposal(3, item(0x30, CT, 400), transfer(IMPLICIT)), GOOD), SECOND_ONLY, None
    ),
    "a transfer syntax that passes its context": Case(
        proposing(proposal(3, abstract(CT), item(0x40, IMPLICIT, 40)), GOOD), {1: 0, 3: 4}, None
    ),
    "three bytes behind the last sub-item": Case(
        proposing(proposal(3, abstract(CT), transfer(IMPLICIT), b"\0\0\0"), GOOD), BOTH, None
    ),
    "reserved bytes that are not 0": Case(
        proposing(item(0x20, b"\3\xff\xfe\xfd" + abstract(CT) + transfer(IMPLICIT)), GOOD), BOTH, BOTH
    ),
    "a result among the contexts": Case(proposing(GOOD, result_item(3, 0, IMPLICIT)), ALONE, {1: 0, 3: 3}),
    # Context IDs
    "even ID": Case(proposing(context(2, CT, IMPLICIT), GOOD), {1: 0, 2: 2}, {1: 0, 2: 0}),
    "ID 0": Case(proposing(context(0, CT, IMPLICIT), GOOD), {0: 2, 1: 0}, {0: 0, 1: 0}),
    "nothing but an even ID": Case(proposing(context(254, VERIFICATION, IMPLICIT)), {254: 2}, {254: 0}),
    "the same context twice": Case(proposing(GOOD, GOOD), ALONE, ALONE),
    "an ID twice": Case(proposing(GOOD, context(1, CT, IMPLICIT)), ALONE, ALONE),
    "an ID twice, first with what cannot be accepted": Case(
        proposing(context(1, CT + "\xff", IMPLICIT), GOOD), ALONE, ALONE
    ),
    "an ID three times": Case(
        proposing(GOOD, context(1, CT, IMPLICIT), context(1, CT, EXPLICIT), context(3, CT, IMPLICIT)),
        BOTH,
        BOTH,
    ),
    "129 contexts": Case(
        proposing(*(context(2 * n + 1, VERIFICATION, IMPLICIT) for n in range(128)), GOOD),
        dict.fromkeys(range(1, 256, 2), 0),
        dict.fromkeys(range(1, 256, 2), 0),
    ),
    "200 contexts with IDs in a row": Case(
        proposing(*(context(n, VERIFICATION, IMPLICIT) for n in range(1, 201))),
        {n: 0 if n % 2 else 2 for n in range(1, 201)},
        dict.fromkeys(range(1, 201), 0),
    ),
    "no context": Case(proposing(), (1, 1, 1), None),
    # The application context
    "no application context": Case(associate(GOOD, USER), (1, 1, 2), (1, 1, 2)),
    "empty application context": Case(associate(item(0x10, b""), GOOD, USER), (1, 1, 2), (1, 1, 2)),
    "another application context": Case(associate(item(0x10, "1.2.3"), GOOD, USER), (1, 1, 2), (1, 1, 2)),
    "application context with the byte FF": Case(
        associate(item(0x10, "1.2.840.10008.3.1.1.1\xff"), GOOD, USER), (1, 1, 2), (1, 1, 2)
    ),
    "application context with a NUL behind it": Case(
        associate(item(0x10, "1.2.840.10008.3.1.1.1\0"), GOOD, USER), ALONE, ALONE
    ),
    "application context of 200": Case(associate(item(0x10, "1" * 200), GOOD, USER), (1, 1, 2), None),
    "two application contexts, ours last": Case(
        associate(item(0x10, "1.2.3"), APPLICATION, GOOD, USER), ALONE, ALONE
    ),
    # User information as a whole
    "no user information": Case(associate(APPLICATION, GOOD), ALONE, ALONE),
    "empty user information": Case(associate(APPLICATION, GOOD, item(0x50, b"")), ALONE, ALONE),
    "user information twice": Case(associate(APPLICATION, GOOD, USER, USER), ALONE, ALONE),
    "user information of two bytes": Case(associate(APPLICATION, GOOD, item(0x50, b"\x51\0")), ALONE, None),
    "a user item that passes the end": Case(with_user_items(LENGTH, item(0x52, "1.2.3", 50)), ALONE, None),
    "user information first": Case(associate(USER, APPLICATION, GOOD), ALONE, ALONE),
    "unknown items": Case(
        associate(APPLICATION, item(0x60, "xx"), GOOD, USER, item(0xFF, b"")), ALONE, ALONE
    ),
    "unknown user items": Case(
        with_user_items(LENGTH, CLASS_UID, item(0x5F, "x"), item(0, b"")), ALONE, ALONE
    ),
    # Maximum length
    "no maximum length": Case(with_user_items(CLASS_UID), ALONE, ALONE),
    "maximum length of 0 bytes": Case(with_user_items(item(0x51, b""), CLASS_UID), ALONE, ALONE),
    "maximum length of 2 bytes": Case(with_user_items(item(0x51, b"\x40\0"), CLASS_UID), ALONE, ALONE),
    "maximum length of 8 bytes": Case(
        with_user_items(item(0x51, bytes(6) + b"\x40\0"), CLASS_UID), ALONE, ALONE
    ),
    "maximum length 1": Case(with_user_items(item(0x51, b"\0\0\0\1"), CLASS_UID), ALONE, ALONE),
    "maximum length 7": Case(with_user_items(item(0x51, b"\0\0\0\7"), CLASS_UID), ALONE, ALONE),
    "maximum length twice": Case(with_user_items(LENGTH, item(0x51, b"\0\0\x10\0"), CLASS_UID), ALONE, ALONE),
    # Identification
    "no implementation class UID": Case(with_user_items(LENGTH), ALONE, ALONE),
    "empty implementation class UID": Case(with_user_items(LENGTH, item(0x52, b"")), ALONE, ALONE),
    "implementation class UID with the byte FF": Case(
        with_user_items(LENGTH, item(0x52, "1.2\xff")), ALONE, ALONE
    ),
    "implementation class UID of 70": Case(with_user_items(LENGTH, item(0x52, "1" * 70)), ALONE, None),
    "empty version name": Case(with_user_items(LENGTH, CLASS_UID, item(0x55, b"")), ALONE, ALONE),
    "version name with the byte FF": Case(
        with_user_items(LENGTH, CLASS_UID, item(0x55, "NAME\xff")), ALONE, ALONE
    ),
    "version name of 60": Case(with_user_items(LENGTH, CLASS_UID, item(0x55, "N" * 60)), ALONE, ALONE),
    # Asynchronous operations window
    "window of 3 bytes": Case(with_user_items(LENGTH, CLASS_UID, item(0x53, b"\0\1\0")), ALONE, ALONE),
    "window of 6 bytes": Case(with_user_items(LENGTH, CLASS_UID, item(0x53, b"\0\1" * 3)), ALONE, ALONE),
    "empty window": Case(with_user_items(LENGTH, CLASS_UID, item(0x53, b"")), ALONE, ALONE),
    # Role selection
    "role without its last byte": Case(
        with_user_items(LENGTH, CLASS_UID, item(0x54, role(VERIFICATION, 1, 0)[4:-1])), ALONE, None
    ),
    "role whose UID passes the item": Case(
        with_user_items(LENGTH, CLASS_UID, item(0x54, b"\0\x99" + encoded(VERIFICATION) + b"\1\0")),
        ALONE,
        None,
    ),
    "empty role": Case(with_user_items(LENGTH, CLASS_UID, item(0x54, b"")), ALONE, None),
    "role with the byte FF": Case(with_user_items(LENGTH, CLASS_UID, role("1.2\xff", 1, 0)), ALONE, ALONE),
    "role with values that are not 0 or 1": Case(
        with_user_items(LENGTH, CLASS_UID, role(VERIFICATION, 7, 9)), ALONE, ALONE
    ),
    "role twice": Case(
        with_user_items(LENGTH, CLASS_UID, role(VERIFICATION, 1, 0), role(VERIFICATION, 0, 1)), ALONE, ALONE
    ),
    # Extended negotiation
    "empty extended negotiation": Case(with_user_items(LENGTH, CLASS_UID, item(0x56, b"")), ALONE, None),
    "extended negotiation whose UID passes the item": Case(
        with_user_items(LENGTH, CLASS_UID, item(0x56, b"\0\x99" + encoded(CT))), ALONE, None
    ),
    "extended negotiation with the byte FF": Case(
        with_user_items(LENGTH, CLASS_UID, item(0x56, b"\0\4\xff123\1")), ALONE, ALONE
    ),
    "common extended negotiation of 2 bytes": Case(
        with_user_items(LENGTH, CLASS_UID, item(0x57, b"\0\3")), ALONE, ALONE
    ),
    # User identity
    "user identity without fields": Case(
        with_user_items(LENGTH, CLASS_UID, item(0x58, b"\1\0")), ALONE, None
    ),
    "user identity whose field passes the item": Case(
        with_user_items(LENGTH, CLASS_UID, item(0x58, b"\1\0\0\x99user\0\0")), ALONE, None
    ),
    "user identity without its second field": Case(
        with_user_items(LENGTH, CLASS_UID, item(0x58, b"\2\1\0\4user")), ALONE, None
    ),
    "user identity of type 99": Case(
        with_user_items(LENGTH, CLASS_UID, item(0x58, b"\x63\0\0\4user\0\0")), ALONE, ALONE
    ),
    "the answer to user identity in a request": Case(
        with_user_items(LENGTH, CLASS_UID, item(0x59, b"\0\0")), ALONE, None
    ),
    # What stands before the items
    "AE titles that go on behind a NUL": Case(
        associate(APPLICATION, GOOD, USER, titles=TITLE_END), ALONE, ALONE
    ),
    "AE titles in UTF-8": Case(
        associate(APPLICATION, GOOD, USER, titles="RÖNTGEN".encode().ljust(16) + "ÀÍßÉ".encode().ljust(16)),
        ALONE,
        ALONE,
    ),
    "AE titles in Shift JIS": Case(
        associate(
            APPLICATION,
            GOOD,
            USER,
            titles="放射線".encode("shift_jis").ljust(16) + "検査室".encode("shift_jis").ljust(16),
        ),
        ALONE,
        ALONE,
    ),
    "AE titles with each byte from 80 to 9F": Case(
        associate(APPLICATION, GOOD, USER, titles=bytes(range(0x80, 0xA0))), ALONE, ALONE
    ),
    "AE titles with the byte FF": Case(
        associate(APPLICATION, GOOD, USER, titles=b"ANY\xff".ljust(16) + b"RAW\xff".ljust(16)), ALONE, ALONE
    ),
    "version 3": Case(associate(APPLICATION, GOOD, USER, version=3), ALONE, ALONE),
    "version 2": Case(associate(APPLICATION, GOOD, USER, version=2), (1, 2, 2), (1, 2, 2)),
}

IMPLICIT_RESULT = result_item(1, 0, IMPLICIT)
# Acceptances of contexts 1 and 3, each proposed with Implicit and Explicit VR Little Endian: what is usable of them.
ANSWERS: dict[str, tuple[bytes, dict[int, str]]] = {
    "nothing wrong": (acceptance(IMPLICIT_RESULT, result_item(3, 0, EXPLICIT)), {1: IMPLICIT, 3: EXPLICIT}),
    "not ASCII": (
        acceptance(result_item(1, 0, IMPLICIT + "\xff"), result_item(3, 0, EXPLICIT)),
        {3: EXPLICIT},
    ),
    "not proposed": (acceptance(result_item(1, 0, JPEG), result_item(3, 0, EXPLICIT)), {3: EXPLICIT}),
    "no transfer syntax": (acceptance(result_item(1, 0), result_item(3, 0, EXPLICIT)), {3: EXPLICIT}),
    "an empty transfer syntax": (
        acceptance(result_item(1, 0, ""), result_item(3, 0, EXPLICIT)),
        {3: EXPLICIT},
    ),
    "two transfer syntaxes": (
        acceptance(result_item(1, 0, IMPLICIT, EXPLICIT), result_item(3, 0, EXPLICIT)),
        {3: EXPLICIT},
    ),
    "the same one twice": (acceptance(result_item(1, 0, IMPLICIT, IMPLICIT)), {1: IMPLICIT}),
    "padded": (
        acceptance(result_item(1, 0, IMPLICIT + "\0"), result_item(3, 0, EXPLICIT + "\0junk")),
        {1: IMPLICIT, 3: EXPLICIT},
    ),
    "an ID that was not proposed": (
        acceptance(result_item(9, 0, IMPLICIT), result_item(3, 0, EXPLICIT)),
        {3: EXPLICIT},
    ),
    "even IDs": (
        acceptance(result_item(2, 0, IMPLICIT), result_item(0, 0, IMPLICIT), IMPLICIT_RESULT),
        {1: IMPLICIT},
    ),
    "an ID twice": (
        acceptance(IMPLICIT_RESULT, result_item(1, 0, EXPLICIT), result_item(3, 0, EXPLICIT)),
        {3: EXPLICIT},
    ),
    "an ID accepted and refused": (
        acceptance(IMPLICIT_RESULT, result_item(1, 3), result_item(3, 0, EXPLICIT)),
        {3: EXPLICIT},
    ),
    "the same result twice": (acceptance(IMPLICIT_RESULT, IMPLICIT_RESULT), {1: IMPLICIT}),
    "a result that the table does not have": (
        acceptance(result_item(1, 9), result_item(3, 0, EXPLICIT)),
        {3: EXPLICIT},
    ),
    "an empty result": (acceptance(item(0x21, b""), result_item(3, 0, EXPLICIT)), {3: EXPLICIT}),
    "a result that ends in its header": (
        acceptance(item(0x21, b"\1\0\0"), result_item(3, 0, EXPLICIT)),
        {3: EXPLICIT},
    ),
    "a transfer syntax that passes its result": (
        acceptance(item(0x21, b"\1\0\0\0" + item(0x40, IMPLICIT, 99)), result_item(3, 0, EXPLICIT)),
        {3: EXPLICIT},
    ),
    "no result": (acceptance(), {}),
    "no application context": (associate(IMPLICIT_RESULT, USER, kind=2), {1: IMPLICIT}),
    "another application context": (
        associate(item(0x10, "1.2\xff"), IMPLICIT_RESULT, USER, kind=2),
        {1: IMPLICIT},
    ),
    "no user information": (associate(APPLICATION, IMPLICIT_RESULT, kind=2), {1: IMPLICIT}),
    "user items that are damaged": (
        associate(
            APPLICATION,
            IMPLICIT_RESULT,
            item(
                0x50,
                item(0x51, b"\0\1")
                + item(0x53, b"\0")
                + item(0x54, b"\0\x99")
                + item(0x59, b"")
                + item(0x55, "\xff" * 99),
            ),
            kind=2,
        ),
        {1: IMPLICIT},
    ),
    "user information that is cut off": (
        associate(APPLICATION, IMPLICIT_RESULT, item(0x50, b"\x51\0\0"), kind=2),
        {1: IMPLICIT},
    ),
}

# Where a length passes what holds it, nobody can know what was meant to follow.
BROKEN_FRAMING: dict[str, bytes] = {
    "user information that passes the PDU": associate(APPLICATION, GOOD, item(0x50, LENGTH + CLASS_UID, 200)),
    "a context that passes the PDU": associate(APPLICATION, USER, GOOD, item(0x20, b"\3\0\0\0", 90)),
    "half an item header": proposing(GOOD)[:2]
    + (len(proposing(GOOD)) - 6 + 3).to_bytes(4, "big")
    + proposing(GOOD)[6:]
    + b"\x20\0\0",
    "a PDU that ends in its AE titles": b"\x01\x00\x00\x00\x00\x14\x00\x01\x00\x00" + TITLES[:16],
    "a PDU of 0 bytes": b"\x01\x00\x00\x00\x00\x00",
}


def answer_of(pdu: bytes) -> dict[int, int] | tuple[int, int, int]:
    """An answer as `Case` tells it, read byte by byte; no result may stand in it twice."""
    if pdu[0] == 3:
        return pdu[7], pdu[8], pdu[9]
    assert pdu[0] == 2, pdu[:10].hex()
    found: dict[int, int] = {}
    at = 74
    while at < len(pdu):
        length = int.from_bytes(pdu[at + 2 : at + 4], "big")
        if pdu[at] == 0x21:
            assert pdu[at + 4] not in found
            found[pdu[at + 4]] = pdu[at + 6]
        at += 4 + length
    assert at == len(pdu)
    return found
