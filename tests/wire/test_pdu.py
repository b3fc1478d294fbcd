"""The seven PDUs: golden bytes of real peers, one table of bytes and values, and properties."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.grids import grid

from dicomnet import _config
from dicomnet.errors import ProtocolError
from dicomnet.wire import pdu as pdu_module
from dicomnet.wire.items import (
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
from dicomnet.wire.pdu import (
    PDU,
    PDU_TYPES,
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    DataValue,
    PDataTF,
    ReleaseRP,
    ReleaseRQ,
    decode_pdu,
)

GOLDEN = Path(__file__).parents[1] / "golden"
INDEX: list[dict[str, Any]] = json.loads((GOLDEN / "index.json").read_text())
NAMES = {
    AssociateRQ: "A-ASSOCIATE-RQ",
    AssociateAC: "A-ASSOCIATE-AC",
    AssociateRJ: "A-ASSOCIATE-RJ",
    PDataTF: "P-DATA-TF",
    ReleaseRQ: "A-RELEASE-RQ",
    ReleaseRP: "A-RELEASE-RP",
    Abort: "A-ABORT",
}


def decode(content: bytes) -> PDU:
    """Decode one whole PDU, with the next one directly behind it."""
    length = int.from_bytes(content[2:6], "big")
    assert length == len(content) - 6, "the case itself is wrong"
    return decode_pdu(content[0], memoryview(content + b"\x05\x00\x00\x00\x00\x04")[6 : 6 + length])


def fields_of_item(each: UserItem) -> list[Any]:
    """As the index writes them."""
    match each:
        case MaximumLength(length):
            return [0x51, length]
        case ImplementationClassUID(uid):
            return [0x52, uid]
        case AsynchronousOperationsWindow(invoked, performed):
            return [0x53, invoked, performed]
        case RoleSelection(uid, scu, scp):
            return [0x54, uid, scu, scp]
        case ImplementationVersionName(name):
            return [0x55, name]
        case SOPClassExtendedNegotiation(uid, information):
            return [0x56, uid, information.hex()]
        case SOPClassCommonExtendedNegotiation(uid, service, related):
            return [0x57, uid, service, list(related)]
        case UserIdentityRQ(kind, primary, secondary, wants):
            return [0x58, kind, primary.hex(), secondary.hex(), wants]
        case UserIdentityAC(response):
            return [0x59, response.hex()]
    raise AssertionError(each)


def fields_of(unit: PDU) -> dict[str, Any]:
    """As the index writes them."""
    match unit:
        case AssociateRQ():
            return {
                "protocol_version": unit.protocol_version,
                "called_ae_title": unit.called_ae_title,
                "calling_ae_title": unit.calling_ae_title,
                "application_context": unit.application_context,
                "contexts": [
                    [c.context_id, c.abstract_syntax, list(c.transfer_syntaxes)] for c in unit.contexts
                ],
                "user_items": sorted(map(fields_of_item, unit.user_items), key=lambda row: row[0]),
            }
        case AssociateAC():
            return {
                "protocol_version": unit.protocol_version,
                "application_context": unit.application_context,
                "contexts": [[c.context_id, c.result, c.transfer_syntax] for c in unit.contexts],
                "user_items": sorted(map(fields_of_item, unit.user_items), key=lambda row: row[0]),
            }
        case AssociateRJ(result, source, reason):
            return {"result": result, "source": source, "reason": reason}
        case Abort(source, reason):
            return {"source": source, "reason": reason}
        case PDataTF(values):
            return {"values": [[v.context_id, v.is_command | v.is_last << 1, len(v.data)] for v in values]}
    return {}


def item_offsets(content: bytes) -> list[int]:
    """Where the items of an A-ASSOCIATE PDU begin, and those within the user information item."""
    at, offsets = 74, []
    while at < len(content):
        offsets.append(at)
        at += 4 if content[at] == 0x50 else 4 + int.from_bytes(content[at + 2 : at + 4], "big")
    return offsets


def is_canonical(entry: dict[str, Any], content: bytes) -> bool:
    """Whether the peer wrote its items in increasing order and no transfer syntax that means nothing."""
    if entry["pdu_type"] not in ("A-ASSOCIATE-RQ", "A-ASSOCIATE-AC"):
        return True
    kinds = [content[at] for at in item_offsets(content)]
    rejected = entry["pdu_type"] == "A-ASSOCIATE-AC" and any(row[1] for row in entry["fields"]["contexts"])
    return kinds == sorted(kinds) and not rejected


def with_reserved_zeros(content: bytes) -> bytes:
    """DCMTK sends 0xFF in a reserved byte of each presentation context that it proposes."""
    cleared = bytearray(content)
    if content[0] == AssociateRQ.pdu_type:
        for at in item_offsets(content):
            if content[at] == ProposedContext.item_type:
                cleared[at + 5 : at + 8] = bytes(3)
    return bytes(cleared)


@grid("entry", INDEX)
def test_golden_pdu_decodes_to_the_known_fields(entry: dict[str, Any]) -> None:
    unit = decode((GOLDEN / entry["file"]).read_bytes())
    known = {name: value for name, value in entry["fields"].items() if name not in ("message", "command")}
    assert NAMES[type(unit)] == entry["pdu_type"]
    assert fields_of(unit) == known


@grid("entry", INDEX)
def test_golden_pdu_is_written_as_the_peer_wrote_it(entry: dict[str, Any]) -> None:
    """P031, P033: reserved fields are 0, whatever they were, and items in increasing order."""
    content = (GOLDEN / entry["file"]).read_bytes()
    unit = decode(content)
    written = unit.encode()
    if is_canonical(entry, content):
        assert written == with_reserved_zeros(content)
    else:
        assert sorted(fields_of(decode(written)).items()) == sorted(fields_of(unit).items())


@pytest.mark.parametrize("product", ["DCMTK", "pynetdicom"])
def test_golden_bytes_show_every_pdu_of_each_peer(product: str) -> None:
    """P030: seven types; and for each, bytes that must come back unchanged."""
    canonical = {
        entry["pdu_type"]
        for entry in INDEX
        if entry["product"] == product and is_canonical(entry, (GOLDEN / entry["file"]).read_bytes())
    }
    assert canonical == set(NAMES.values())


def test_golden_acceptances_repeat_the_titles_of_the_request() -> None:
    """P036: both peers send back the 64 bytes that we keep as ``as_received``."""
    pairs = 0
    for entry in INDEX:
        if entry["pdu_type"] == "A-ASSOCIATE-AC":
            request = GOLDEN / f"{entry['scenario']}-requestor-01-a-associate-rq.bin"
            if request.exists():
                asked, answer = decode(request.read_bytes()), decode((GOLDEN / entry["file"]).read_bytes())
                assert isinstance(asked, AssociateRQ)
                assert isinstance(answer, AssociateAC)
                assert answer.reserved == asked.as_received
                pairs += 1
    assert pairs > 10


CONTEXT = ProposedContext(1, "1.2", ("1.3",))
CONTEXT_BYTES = b"\x20\x00\x00\x12\x01\x00\x00\x00\x30\x00\x00\x031.2\x40\x00\x00\x031.3"
THIRD = ProposedContext(3, "1.2", ("1.3",))
THIRD_BYTES = b"\x20\x00\x00\x12\x03\x00\x00\x00\x30\x00\x00\x031.2\x40\x00\x00\x031.3"
APPLICATION = b"\x10\x00\x00\x151.2.840.10008.3.1.1.1"
USER = b"\x50\x00\x00\x08\x51\x00\x00\x04\x00\x00\x40\x00"
TITLES = b"CALLED          CALLING         "
OURS = "1.2.840.10008.3.1.1.1"
REQUEST = AssociateRQ("CALLED", "CALLING", (CONTEXT,), (MaximumLength(16384),))
ACCEPTANCE = AssociateAC((ContextResult(1, 0, "1.3"),), (MaximumLength(16384),), TITLES + bytes(32))
RESULT_BYTES = b"\x21\x00\x00\x0b\x01\x00\x00\x00\x40\x00\x00\x031.3"


def request_bytes(*variable: bytes, version: bytes = b"\x00\x01", titles: bytes = TITLES) -> bytes:
    body = version + bytes(2) + titles + bytes(32) + b"".join(variable)
    return b"\x01\x00" + len(body).to_bytes(4, "big") + body


def acceptance_bytes(*variable: bytes, reserved: bytes = TITLES + bytes(32)) -> bytes:
    return b"\x02" + request_bytes(*variable)[1:10] + reserved + b"".join(variable)


# Bytes as the tables of PS3.8 section 9.3 lay them out.
CASES: dict[str, tuple[bytes, PDU]] = {
    "A-ASSOCIATE-RQ": (request_bytes(APPLICATION, CONTEXT_BYTES, USER), REQUEST),
    "A-ASSOCIATE-AC": (acceptance_bytes(APPLICATION, RESULT_BYTES, USER), ACCEPTANCE),
    "A-ASSOCIATE-RJ": (b"\x03\x00\x00\x00\x00\x04\x00\x02\x03\x01", AssociateRJ(2, 3, 1)),
    "P-DATA-TF": (
        b"\x04\x00\x00\x00\x00\x0a\x00\x00\x00\x06\x01\x03abcd",
        PDataTF((DataValue(1, True, True, b"abcd"),)),
    ),
    "P-DATA-TF of three values": (
        b"\x04\x00\x00\x00\x00\x16\x00\x00\x00\x04\x05\x01ab\x00\x00\x00\x02\x05\x03\x00\x00\x00\x04\x05\x00cd",
        PDataTF(
            (
                DataValue(5, True, False, b"ab"),
                DataValue(5, True, True, b""),
                DataValue(5, False, False, b"cd"),
            )
        ),
    ),
    "A-RELEASE-RQ": (b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00", ReleaseRQ()),
    "A-RELEASE-RP": (b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00", ReleaseRP()),
    "A-ABORT by the user": (b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00", Abort(0)),
    "A-ABORT by the provider": (b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x06", Abort(2, 6)),
}

TOLERATED: dict[str, tuple[bytes, PDU]] = {
    "P031 reserved byte of the header": (b"\x05\xff\x00\x00\x00\x04\x00\x00\x00\x00", ReleaseRQ()),
    "P031 reserved bytes of A-ASSOCIATE-RJ": (
        b"\x03\xff\x00\x00\x00\x04\xff\x01\x01\x07",
        AssociateRJ(1, 1, 7),
    ),
    "P031 reserved bytes of A-RELEASE-RQ": (b"\x05\x00\x00\x00\x00\x04\xff\xff\xff\xff", ReleaseRQ()),
    "P031 reserved bytes of A-RELEASE-RP": (b"\x06\x00\x00\x00\x00\x04\xff\xff\xff\xff", ReleaseRP()),
    "P031 reserved bytes of A-ABORT": (b"\x07\xff\x00\x00\x00\x04\xff\xff\x02\x01", Abort(2, 1)),
    "P032 unknown items": (
        request_bytes(
            b"\x7f\x00\x00\x01?", APPLICATION, b"\x21\x00\x00\x00", CONTEXT_BYTES, USER, b"\xff\x00\x00\x00"
        ),
        REQUEST,
    ),
    "P032 unknown items of the answer": (
        acceptance_bytes(APPLICATION, b"\x20\x00\x00\x00", RESULT_BYTES, b"\x60\x00\x00\x00", USER),
        ACCEPTANCE,
    ),
    "P033 items in another order": (request_bytes(USER, CONTEXT_BYTES, APPLICATION), REQUEST),
    "P034 a version of which bit 0 is one of many": (
        request_bytes(APPLICATION, CONTEXT_BYTES, USER, version=b"\x80\x03"),
        AssociateRQ("CALLED", "CALLING", (CONTEXT,), (MaximumLength(16384),), protocol_version=0x8003),
    ),
    "P034 a version that is not ours is for the state machine": (
        request_bytes(APPLICATION, CONTEXT_BYTES, USER, version=b"\x00\x02"),
        AssociateRQ("CALLED", "CALLING", (CONTEXT,), (MaximumLength(16384),), protocol_version=2),
    ),
    "P035 leading spaces of titles": (
        request_bytes(APPLICATION, CONTEXT_BYTES, USER, titles=b"         CALLED  CALLING        "),
        REQUEST,
    ),
    "P037 another application context is for negotiation": (
        request_bytes(b"\x10\x00\x00\x051.2.3", CONTEXT_BYTES, USER),
        AssociateRQ("CALLED", "CALLING", (CONTEXT,), (MaximumLength(16384),), "1.2.3"),
    ),
    "P039 values outside the table": (b"\x03\x00\x00\x00\x00\x04\x00\x09\x08\xff", AssociateRJ(9, 8, 255)),
    "P052 an abstract syntax in several contexts": (
        request_bytes(
            APPLICATION, CONTEXT_BYTES, CONTEXT_BYTES.replace(b"\x01\x00\x00\x00", b"\x03\x00\x00\x00"), USER
        ),
        AssociateRQ(
            "CALLED", "CALLING", (CONTEXT, ProposedContext(3, "1.2", ("1.3",))), (MaximumLength(16384),)
        ),
    ),
    "P053 an answer that rejects every context": (
        acceptance_bytes(APPLICATION, b"\x21\x00\x00\x04\x01\x00\x03\x00", USER),
        AssociateAC((ContextResult(1, 3, ""),), (MaximumLength(16384),), TITLES + bytes(32)),
    ),
    "P057 no maximum length": (
        request_bytes(APPLICATION, CONTEXT_BYTES, b"\x50\x00\x00\x00"),
        AssociateRQ("CALLED", "CALLING", (CONTEXT,), ()),
    ),
    "P062 bits 2 to 7 of the message control header": (
        b"\x04\x00\x00\x00\x00\x08\x00\x00\x00\x04\x01\xfeab",
        PDataTF((DataValue(1, False, True, b"ab"),)),
    ),
    "P064 an odd fragment": (
        b"\x04\x00\x00\x00\x00\x07\x00\x00\x00\x03\x01\x02a",
        PDataTF((DataValue(1, False, True, b"a"),)),
    ),
}

BROKEN: dict[str, bytes] = {
    "P038 nothing but a header": b"\x01\x00\x00\x00\x00\x00",
    "P044 an A-ASSOCIATE-RJ of 3": b"\x03\x00\x00\x00\x00\x03\x00\x01\x01",
    "P044 an A-ASSOCIATE-RJ of 5": b"\x03\x00\x00\x00\x00\x05\x00\x01\x01\x01\x00",
    "P044 an A-RELEASE-RQ of 0": b"\x05\x00\x00\x00\x00\x00",
    "P044 an A-RELEASE-RQ of 5": b"\x05\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00",
    "P044 an A-RELEASE-RP of 3": b"\x06\x00\x00\x00\x00\x03\x00\x00\x00",
    "P044 an A-RELEASE-RP of 8": b"\x06\x00\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00",
    "P044 an A-ABORT of 2": b"\x07\x00\x00\x00\x00\x02\x00\x00",
    "P044 an A-ABORT of 6": b"\x07\x00\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00",
    "P060 no presentation data value": b"\x04\x00\x00\x00\x00\x00",
    "P060 a value of 0": b"\x04\x00\x00\x00\x00\x04\x00\x00\x00\x00",
    "P060 a value of 1": b"\x04\x00\x00\x00\x00\x05\x00\x00\x00\x01\x01",
    "P060 a value that passes its PDU": b"\x04\x00\x00\x00\x00\x08\x00\x00\x00\x05\x01\x03ab",
    "P060 a value of 4 GiB": b"\x04\x00\x00\x00\x00\x08\xff\xff\xff\xff\x01\x03ab",
    "P060 half a header behind a value": b"\x04\x00\x00\x00\x00\x0b\x00\x00\x00\x04\x01\x03ab\x00\x00\x00",
    "an item that passes its PDU": request_bytes(
        APPLICATION, CONTEXT_BYTES, b"\x50\x00\x00\x09\x51\x00\x00\x04\x00\x00\x40\x00"
    ),
    "an item header that passes its PDU": request_bytes(APPLICATION, CONTEXT_BYTES, USER, b"\x20\x00\x00"),
    "a context that passes its PDU": request_bytes(APPLICATION, USER, b"\x20\x00\x00\x40\x03\x00\x00\x00"),
    "a PDU that ends in its AE titles": b"\x01\x00\x00\x00\x00\x14\x00\x01\x00\x00" + TITLES[:16],
}


@pytest.mark.parametrize("name", CASES)
def test_reader(name: str) -> None:
    content, value = CASES[name]
    assert decode(content) == value


@pytest.mark.parametrize("name", CASES)
def test_writer(name: str) -> None:
    content, value = CASES[name]
    assert value.encode() == content


def test_the_table_has_every_pdu() -> None:
    """P030."""
    assert {content[0] for content, _ in CASES.values()} == set(PDU_TYPES) == set(range(1, 8))


@pytest.mark.parametrize("name", TOLERATED)
def test_reader_takes_what_is_allowed_or_harmless(name: str) -> None:
    content, value = TOLERATED[name]
    assert decode(content) == value


@pytest.mark.parametrize("name", BROKEN)
def test_reader_refuses(name: str) -> None:
    """P043: invalid PDU parameter value."""
    with pytest.raises(ProtocolError) as caught:
        decode(BROKEN[name])
    assert (caught.value.source, caught.value.reason) == (2, 6)


@pytest.mark.parametrize("pdu_type", [0, 8, 0x16, 0x47, 0xFF])
def test_an_unknown_type_is_refused_as_unrecognised(pdu_type: int) -> None:
    """P043: reason 1."""
    with pytest.raises(ProtocolError, match=f"0x{pdu_type:02X}") as caught:
        decode_pdu(pdu_type, memoryview(bytes(4)))
    assert caught.value.reason == 1


def test_a_request_is_written_with_titles_of_16_bytes_and_reserved_zeros() -> None:
    """P031, P035."""
    content = REQUEST.encode()
    assert content[6:10] == b"\x00\x01\x00\x00"
    assert content[10:42] == TITLES
    assert content[42:74] == bytes(32)


@given(st.binary(min_size=64, max_size=64))
def test_the_reserved_bytes_of_an_answer_are_kept_and_not_tested(reserved: bytes) -> None:
    """P036."""
    unit = decode(acceptance_bytes(APPLICATION, RESULT_BYTES, USER, reserved=reserved))
    assert isinstance(unit, AssociateAC)
    assert unit.reserved == reserved
    assert unit.encode()[10:74] == reserved


@given(st.binary(min_size=32, max_size=32))
def test_titles_of_any_bytes_are_read_and_can_be_repeated(titles: bytes) -> None:
    """P036: the answer repeats them even where they could not be sent as ours."""
    unit = decode(request_bytes(APPLICATION, CONTEXT_BYTES, USER, titles=titles))
    assert isinstance(unit, AssociateRQ)
    assert unit.as_received == titles + bytes(32)
    for title in (unit.called_ae_title, unit.calling_ae_title):
        assert len(title) <= 16
        assert title == title.strip()


def test_128_contexts_fit() -> None:
    """P046."""
    contexts = tuple(
        ProposedContext(number, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)) for number in range(1, 256, 2)
    )
    unit = decode(AssociateRQ("A", "B", contexts, (MaximumLength(0),)).encode())
    assert isinstance(unit, AssociateRQ)
    assert unit.contexts == contexts
    assert len(unit.contexts) == 128


UNSENDABLE: dict[str, Callable[[], PDU]] = {
    "no called AE title": lambda: AssociateRQ("", "B", (CONTEXT,), ()),
    "a calling AE title of 17": lambda: AssociateRQ("A", "x" * 17, (CONTEXT,), ()),
    "an AE title with a NUL": lambda: AssociateRQ("A\0", "B", (CONTEXT,), ()),
    "no presentation context": lambda: AssociateRQ("A", "B", (), ()),
    "P045 a context ID twice": lambda: AssociateRQ("A", "B", (CONTEXT, CONTEXT), ()),
    "no application context": lambda: AssociateRQ("A", "B", (CONTEXT,), (), application_context=""),
    "no application context in the answer": lambda: AssociateAC((), (), application_context=""),
    "a result over one byte": lambda: AssociateRJ(256, 1, 1),
    "a negative source": lambda: Abort(-1),
    "a context ID over one byte": lambda: PDataTF((DataValue(256, True, True, b""),)),
}


@pytest.mark.parametrize("name", UNSENDABLE)
def test_what_does_not_fit_is_refused_when_it_is_built_or_written(name: str) -> None:
    with pytest.raises(ValueError):
        UNSENDABLE[name]().encode()


EMPTY_CONTEXT = b"\x20\x00\x00\x00"
# A request or answer; the contexts and the number of user items that are left, its application context, its faults.
DAMAGED: dict[str, tuple[bytes, tuple[int, ...], int, str, int]] = {
    "P038 no application context": (request_bytes(CONTEXT_BYTES, USER), (1,), 1, "", 1),
    "P038 no user information": (request_bytes(APPLICATION, CONTEXT_BYTES), (1,), 0, OURS, 1),
    "P038 no presentation context": (request_bytes(APPLICATION, USER), (), 1, OURS, 0),
    "P038 no variable items": (request_bytes(), (), 0, "", 2),
    "P038 no application context in the answer": (acceptance_bytes(RESULT_BYTES, USER), (1,), 1, "", 1),
    "P038 no user information in the answer": (acceptance_bytes(APPLICATION, RESULT_BYTES), (1,), 0, OURS, 1),
    "P045 a context ID twice": (
        request_bytes(APPLICATION, CONTEXT_BYTES, CONTEXT_BYTES, USER),
        (1, 1),
        1,
        OURS,
        0,
    ),
    "a context without an ID": (
        request_bytes(APPLICATION, EMPTY_CONTEXT, THIRD_BYTES, USER),
        (3,),
        1,
        OURS,
        1,
    ),
    "a result without an ID": (
        acceptance_bytes(APPLICATION, b"\x21\x00\x00\x00", RESULT_BYTES, USER),
        (1,),
        1,
        OURS,
        1,
    ),
    "a context whose sub-item passes its end": (
        request_bytes(APPLICATION, CONTEXT_BYTES.replace(b"\x031.3", b"\xff1.3"), THIRD_BYTES, USER),
        (1, 3),
        1,
        OURS,
        1,
    ),
    "an empty application context": (request_bytes(b"\x10\x00\x00\x00", CONTEXT_BYTES, USER), (1,), 1, "", 0),
    "an application context that is not ASCII": (
        request_bytes(b"\x10\x00\x00\x03\xfe\xff1", CONTEXT_BYTES, USER),
        (1,),
        1,
        "þÿ1",
        0,
    ),
    "two application contexts": (
        request_bytes(APPLICATION, b"\x10\x00\x00\x031.2", CONTEXT_BYTES, USER),
        (1,),
        1,
        OURS,
        1,
    ),
    "two application contexts, ours last": (
        request_bytes(b"\x10\x00\x00\x031.2", APPLICATION, CONTEXT_BYTES, USER),
        (1,),
        1,
        OURS,
        1,
    ),
    "user information twice": (request_bytes(APPLICATION, CONTEXT_BYTES, USER, USER), (1,), 2, OURS, 1),
    "user information that is cut off": (
        request_bytes(APPLICATION, CONTEXT_BYTES, b"\x50\x00\x00\x02\x51\x00"),
        (1,),
        0,
        OURS,
        1,
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_inside_the_framing_costs_what_is_damaged(name: str) -> None:
    content, contexts, user_items, application_context, faults = DAMAGED[name]
    unit = decode(content)
    assert isinstance(unit, AssociateRQ | AssociateAC)
    assert tuple(each.context_id for each in unit.contexts) == contexts
    assert len(unit.user_items) == user_items
    assert unit.application_context == application_context
    assert len(unit.faults) == faults, unit.faults


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"CALLED\0junk\xff\0\1".ljust(16), "CALLED"),
        (b"CALLED".ljust(16, b"\0"), "CALLED"),
        (b"\0CALLED".ljust(16), ""),
        (b" CALLED \0 CALLED".ljust(16), "CALLED"),
        (b"CALLED\r\n".ljust(16), "CALLED"),
        (b"CALL\xc9E".ljust(16), "CALLÉE"),
    ],
)
def test_an_ae_title_ends_at_the_first_nul(sent: bytes, read: str) -> None:
    """P035; and it is repeated as it came (PS3.8 section 9.3.3)."""
    unit = decode(request_bytes(APPLICATION, CONTEXT_BYTES, USER, titles=sent + sent[::-1]))
    assert isinstance(unit, AssociateRQ)
    assert unit.called_ae_title == read
    assert unit.encode()[10:42] == sent + sent[::-1]


uids = st.from_regex(r"[0-2](\.(0|[1-9][0-9]{0,8})){1,6}", fullmatch=True)
titles = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x5B), min_size=1, max_size=16)
bytes_ = st.integers(0, 255)
odd_ids = st.lists(st.integers(0, 127).map(lambda n: 2 * n + 1), min_size=1, max_size=6, unique=True)
user_item_tuples = st.lists(
    st.one_of(
        st.builds(MaximumLength, st.integers(0, 0xFFFFFFFF)),
        st.builds(ImplementationClassUID, uids),
        st.builds(UserIdentityRQ, bytes_, st.binary(max_size=9), st.binary(max_size=9), st.booleans()),
        st.builds(UserIdentityAC, st.binary(max_size=9)),
    ),
    max_size=4,
    unique_by=lambda each: each.item_type,
).map(lambda each: tuple(sorted(each, key=lambda item: item.item_type)))


@st.composite
def proposals(draw: st.DrawFn) -> tuple[ProposedContext, ...]:
    syntaxes = st.lists(uids, min_size=1, max_size=3).map(tuple)
    return tuple(ProposedContext(number, draw(uids), draw(syntaxes)) for number in draw(odd_ids))


@st.composite
def results(draw: st.DrawFn) -> tuple[ContextResult, ...]:
    return tuple(
        ContextResult(number, result, draw(uids) if result == 0 else "")
        for number, result in ((number, draw(st.integers(0, 4))) for number in draw(odd_ids))
    )


versions = st.integers(0, 0xFFFF)
data_values = st.builds(DataValue, bytes_, st.booleans(), st.booleans(), st.binary(max_size=40))
pdus: st.SearchStrategy[PDU] = st.one_of(
    st.builds(AssociateRQ, titles, titles, proposals(), user_item_tuples, uids, versions),
    st.builds(AssociateAC, results(), user_item_tuples, st.binary(min_size=64, max_size=64), uids, versions),
    st.builds(AssociateRJ, bytes_, bytes_, bytes_),
    st.builds(PDataTF, st.lists(data_values, min_size=1, max_size=5).map(tuple)),
    st.just(ReleaseRQ()),
    st.just(ReleaseRP()),
    st.builds(Abort, bytes_, bytes_),
)


@given(pdus)
def test_round_trip(unit: PDU) -> None:
    content = unit.encode()
    assert content[:2] == bytes((unit.pdu_type, 0))
    assert decode(content) == unit


@given(pdus)
def test_a_decoded_pdu_does_not_depend_on_the_buffer(unit: PDU) -> None:
    content = bytearray(unit.encode())
    titles = bytes(content[10:74])
    decoded = decode_pdu(content[0], memoryview(content)[6:])
    content[:] = b"\xee" * len(content)
    assert decoded == unit
    if isinstance(decoded, AssociateRQ):
        assert decoded.as_received == titles


@given(pdus, st.data())
def test_a_pdu_cut_short_is_a_value_or_a_protocol_error(unit: PDU, data: st.DataObject) -> None:
    body = unit.encode()[6:]
    try:
        decode_pdu(unit.pdu_type, memoryview(body)[: data.draw(st.integers(0, len(body)))])
    except ProtocolError:
        pass


@given(st.integers(0, 9), st.binary(max_size=200))
def test_random_content_is_a_value_or_a_protocol_error(pdu_type: int, content: bytes) -> None:
    try:
        decode_pdu(pdu_type, memoryview(content))
    except ProtocolError:
        pass


@given(st.sampled_from(INDEX), st.lists(st.tuples(st.integers(0, 20_000), bytes_), min_size=1, max_size=6))
def test_mutated_golden_pdu_is_a_value_or_a_protocol_error(
    entry: dict[str, Any], changes: list[tuple[int, int]]
) -> None:
    content = bytearray((GOLDEN / entry["file"]).read_bytes())
    for at, byte in changes:
        content[6 + at % (len(content) - 6)] = byte
    try:
        decode_pdu(content[0], memoryview(content)[6:])
    except ProtocolError:
        pass


def outcome_of(decode_body: Callable[[], PDU]) -> object:
    """The PDU with what is not compared of it, or the error."""
    try:
        unit = decode_body()
    except ProtocolError as error:
        return str(error), error.reason
    return unit, getattr(unit, "as_received", b""), getattr(unit, "reserved", b"")


@given(
    st.one_of(
        pdus.map(lambda unit: unit.encode()),
        st.sampled_from(INDEX).map(lambda e: (GOLDEN / e["file"]).read_bytes()),
    ),
    st.lists(st.tuples(st.integers(0, 20_000), bytes_), max_size=3),
    st.integers(0, 20_000),
)
def test_what_comes_again_is_decoded_as_the_first_time(
    content: bytes, changes: list[tuple[int, int]], length: int
) -> None:
    body = bytearray(content[6 : 6 + length])
    for at, byte in changes:
        if body:
            body[at % len(body)] = byte
    cls = PDU_TYPES[content[0]]
    expected = outcome_of(lambda: cls.decode(memoryview(bytes(body))))
    for _ in range(2):
        assert outcome_of(lambda: decode_pdu(content[0], memoryview(body))) == expected
    assert len(pdu_module._kept) <= pdu_module._MOST_KEPT


def request_of(*items: UserItem, title: str = "A") -> bytes:
    contexts = (ProposedContext(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),)
    return AssociateRQ(title, "B", contexts, items).encode()[6:]


def test_strangers_cannot_fill_the_memory_with_requests() -> None:
    for number in range(100):
        decode_pdu(1, memoryview(request_of(title=f"T{number}")))
    assert len(pdu_module._kept) <= pdu_module._MOST_KEPT
    long = request_of(*(SOPClassExtendedNegotiation(f"1.{n}", bytes(60_000)) for n in range(1)))
    decode_pdu(1, memoryview(long))
    assert all(len(body) <= pdu_module._LONGEST_KEPT for _, body, _ in pdu_module._kept)


@pytest.mark.parametrize("item", [UserIdentityRQ(2, b"name", b"secret"), UserIdentityAC(b"secret")])
def test_secrets_are_not_kept(item: UserItem) -> None:
    decode_pdu(1, memoryview(request_of(MaximumLength(7), item)))
    assert not any(b"secret" in body for _, body, _ in pdu_module._kept)


def test_what_may_be_a_secret_is_not_kept_of_an_item_that_is_left_out() -> None:
    body = request_of(MaximumLength(7), UserIdentityRQ(2, b"name", b"secret")).replace(
        b"\x00\x06secret", b"\x00\x07secret"
    )
    unit = decode_pdu(1, memoryview(body))
    assert isinstance(unit, AssociateRQ)
    assert unit.user_items == (MaximumLength(7),)
    assert "secret" not in repr(unit.faults)
    assert not any(b"secret" in body for _, body, _ in pdu_module._kept)


def test_a_codec_that_is_named_later_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    body = request_of(ImplementationClassUID("1.2.3")).replace(b"1.2.3", b"1.2\xe93")
    monkeypatch.setattr(_config, "CODECS", ("latin-1",))
    known = decode_pdu(1, memoryview(body))
    assert isinstance(known, AssociateRQ)
    assert known.user_items == (ImplementationClassUID("1.23"),)
    monkeypatch.setattr(_config, "CODECS", ("ascii",))
    other = decode_pdu(1, memoryview(body))
    assert isinstance(other, AssociateRQ)
    (item,) = other.user_items
    assert isinstance(item, ImplementationClassUID)
    assert item.uid == "1.2é3"
