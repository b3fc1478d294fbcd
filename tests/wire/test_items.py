"""Items of the A-ASSOCIATE PDUs: one table of bytes and values drives the reader and the writer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnet.errors import ProtocolError
from dicomnet.wire.items import (
    USER_ITEMS,
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
    decode_user_information,
    encode_user_information,
)

Item = ProposedContext | ContextResult | UserItem

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

# Bytes as the tables of PS3.8 sections 9.3.2, 9.3.3 and D.1 and PS3.7 Annex D.3.3 lay them out.
CASES: dict[str, tuple[bytes, Item]] = {
    "proposed context": (
        (
            b"\x20\x00\x00\x45\x01\x00\x00\x00"
            b"\x30\x00\x00\x111.2.840.10008.1.1"
            b"\x40\x00\x00\x111.2.840.10008.1.2"
            b"\x40\x00\x00\x131.2.840.10008.1.2.1"
        ),
        ProposedContext(1, VERIFICATION, (IMPLICIT, EXPLICIT)),
    ),
    "last context ID": (
        b"\x20\x00\x00\x12\xff\x00\x00\x00\x30\x00\x00\x031.2\x40\x00\x00\x031.3",
        ProposedContext(255, "1.2", ("1.3",)),
    ),
    "accepted context": (
        b"\x21\x00\x00\x19\x03\x00\x00\x00\x40\x00\x00\x111.2.840.10008.1.2",
        ContextResult(3, 0, IMPLICIT),
    ),
    "rejected context": (
        b"\x21\x00\x00\x08\x05\x00\x04\x00\x40\x00\x00\x00",
        ContextResult(5, 4, ""),
    ),
    "maximum length": (b"\x51\x00\x00\x04\x00\x00\x40\x00", MaximumLength(16384)),
    "no maximum length": (b"\x51\x00\x00\x04\x00\x00\x00\x00", MaximumLength(0)),
    "largest maximum length": (b"\x51\x00\x00\x04\xff\xff\xff\xff", MaximumLength(0xFFFFFFFF)),
    "implementation class UID": (b"\x52\x00\x00\x071.2.3.4", ImplementationClassUID("1.2.3.4")),
    "asynchronous operations": (b"\x53\x00\x00\x04\x00\x02\x01\x03", AsynchronousOperationsWindow(2, 0x103)),
    "role of SCU": (b"\x54\x00\x00\x07\x00\x031.2\x01\x00", RoleSelection("1.2", True, False)),
    "role of SCP": (b"\x54\x00\x00\x07\x00\x031.2\x00\x01", RoleSelection("1.2", False, True)),
    "implementation version name": (b"\x55\x00\x00\x05NAME1", ImplementationVersionName("NAME1")),
    "extended negotiation": (
        b"\x56\x00\x00\x08\x00\x031.2\x01\x00\x02",
        SOPClassExtendedNegotiation("1.2", b"\x01\x00\x02"),
    ),
    "extended negotiation without information": (
        b"\x56\x00\x00\x05\x00\x031.2",
        SOPClassExtendedNegotiation("1.2", b""),
    ),
    "common extended negotiation": (
        b"\x57\x00\x00\x17\x00\x031.2\x00\x031.3\x00\x0b\x00\x031.4\x00\x041.55",
        SOPClassCommonExtendedNegotiation("1.2", "1.3", ("1.4", "1.55")),
    ),
    "common extended negotiation without related classes": (
        b"\x57\x00\x00\x0c\x00\x031.2\x00\x031.3\x00\x00",
        SOPClassCommonExtendedNegotiation("1.2", "1.3"),
    ),
    "user name": (b"\x58\x00\x00\x0a\x01\x00\x00\x04user\x00\x00", UserIdentityRQ(1, b"user")),
    "user name and passcode": (
        b"\x58\x00\x00\x0e\x02\x01\x00\x04user\x00\x04pass",
        UserIdentityRQ(2, b"user", b"pass", True),
    ),
    "JSON web token": (
        b"\x58\x00\x00\x0b\x05\x01\x00\x05a.b.c\x00\x00",
        UserIdentityRQ(5, b"a.b.c", b"", True),
    ),
    "user identity response": (b"\x59\x00\x00\x04\x00\x02ok", UserIdentityAC(b"ok")),
    "empty user identity response": (b"\x59\x00\x00\x02\x00\x00", UserIdentityAC(b"")),
}

# What some peers send and a reader has to take, with what it means.
TOLERATED: dict[str, tuple[bytes, Item]] = {
    "P031 reserved bytes are not tested": (
        b"\x20\xff\x00\x12\x01\xff\xff\xff\x30\xff\x00\x031.2\x40\xff\x00\x031.3",
        ProposedContext(1, "1.2", ("1.3",)),
    ),
    "P031 reserved bytes of a result are not tested": (
        b"\x21\xff\x00\x0b\x01\xff\x00\xff\x40\xff\x00\x031.3",
        ContextResult(1, 0, "1.3"),
    ),
    "P032 unknown sub-items of a context are skipped": (
        b"\x20\x00\x00\x1c\x01\x00\x00\x00\x7f\x00\x00\x02??\x30\x00\x00\x031.2\x40\x00\x00\x031.3\x31\x00\x00\x00",
        ProposedContext(1, "1.2", ("1.3",)),
    ),
    "P050 transfer syntax of a rejected context is not significant": (
        b"\x21\x00\x00\x0b\x01\x00\x03\x00\x40\x00\x00\x03\xff\xfe\xfd",
        ContextResult(1, 3, ""),
    ),
    "P050 a rejected context without transfer syntax": (
        b"\x21\x00\x00\x04\x01\x00\x01\x00",
        ContextResult(1, 1, ""),
    ),
    "P055 padded UIDs": (
        b"\x20\x00\x00\x14\x01\x00\x00\x00\x30\x00\x00\x041.2\x00\x40\x00\x00\x041.3 ",
        ProposedContext(1, "1.2", ("1.3",)),
    ),
    "P055 padded UID of a role": (
        b"\x54\x00\x00\x08\x00\x041.2\x00\x01\x01",
        RoleSelection("1.2", True, True),
    ),
    "a padded implementation version name": (
        b"\x55\x00\x00\x08NAME1 \x00\x00",
        ImplementationVersionName("NAME1"),
    ),
    "Q005 application information of any length": (
        b"\x56\x00\x00\x0d\x00\x031.2\x01\x01\x01\x01\x01\x07\x08\x09",
        SOPClassExtendedNegotiation("1.2", b"\x01\x01\x01\x01\x01\x07\x08\x09"),
    ),
    "Q006 sub-item version and what a later one may add": (
        b"\x57\x05\x00\x0e\x00\x031.2\x00\x031.3\x00\x00\xaa\xbb",
        SOPClassCommonExtendedNegotiation("1.2", "1.3"),
    ),
    "Q007 an unknown type of user identity": (
        b"\x58\x00\x00\x07\x63\x00\x00\x01x\x00\x00",
        UserIdentityRQ(0x63, b"x"),
    ),
}

# What a reader makes of contexts that break the standard: negotiation refuses each by itself.
KEPT_AS_IT_CAME: dict[str, tuple[bytes, int, str, tuple[str, ...]]] = {
    "P045 context ID 0": (
        b"\x20\x00\x00\x12\x00\x00\x00\x00\x30\x00\x00\x031.2\x40\x00\x00\x031.3",
        0,
        "1.2",
        ("1.3",),
    ),
    "P045 even context ID": (
        b"\x20\x00\x00\x12\x02\x00\x00\x00\x30\x00\x00\x031.2\x40\x00\x00\x031.3",
        2,
        "1.2",
        ("1.3",),
    ),
    "P047 no abstract syntax": (
        b"\x20\x00\x00\x0b\x01\x00\x00\x00\x40\x00\x00\x031.3",
        1,
        "",
        ("1.3",),
    ),
    "P047 an empty abstract syntax": (
        b"\x20\x00\x00\x0f\x01\x00\x00\x00\x30\x00\x00\x00\x40\x00\x00\x031.3",
        1,
        "",
        ("1.3",),
    ),
    "P047 the same abstract syntax twice": (
        b"\x20\x00\x00\x19\x01\x00\x00\x00\x30\x00\x00\x031.2\x30\x00\x00\x031.2\x40\x00\x00\x031.3",
        1,
        "1.2",
        ("1.3",),
    ),
    "P047 two abstract syntaxes": (
        b"\x20\x00\x00\x19\x01\x00\x00\x00\x30\x00\x00\x031.2\x30\x00\x00\x031.4\x40\x00\x00\x031.3",
        1,
        "1.2\\1.4",
        ("1.3",),
    ),
    "P047 no transfer syntax": (
        b"\x20\x00\x00\x0b\x01\x00\x00\x00\x30\x00\x00\x031.2",
        1,
        "1.2",
        (),
    ),
    "P047 an empty transfer syntax": (
        b"\x20\x00\x00\x0f\x01\x00\x00\x00\x30\x00\x00\x031.2\x40\x00\x00\x00",
        1,
        "1.2",
        (),
    ),
    "a sub-item that passes its context": (
        b"\x20\x00\x00\x12\x01\x00\x00\x00\x30\x00\x00\x031.2\x40\x00\x00\x041.3",
        1,
        "1.2",
        (),
    ),
    "bytes behind the last sub-item": (
        b"\x20\x00\x00\x15\x01\x00\x00\x00\x30\x00\x00\x031.2\x40\x00\x00\x031.3\x00\x00\x00",
        1,
        "1.2",
        ("1.3",),
    ),
    "a context that ends behind its ID": (b"\x20\x00\x00\x02\x03\x00", 3, "", ()),
    "an abstract syntax of 65 characters": (
        b"\x20\x00\x00\x50\x01\x00\x00\x00\x30\x00\x00\x41" + b"1" * 65 + b"\x40\x00\x00\x031.3",
        1,
        "1" * 65,
        ("1.3",),
    ),
    "an abstract syntax that is not ASCII": (
        b"\x20\x00\x00\x12\x01\x00\x00\x00\x30\x00\x00\x031.\xff\x40\x00\x00\x031.3",
        1,
        "1.ÿ",
        ("1.3",),
    ),
    "a no-break space is no padding": (
        b"\x20\x00\x00\x13\x01\x00\x00\x00\x30\x00\x00\x041.2\xa0\x40\x00\x00\x031.3",
        1,
        "1.2\xa0",
        ("1.3",),
    ),
    "what stands behind a NUL": (
        b"\x20\x00\x00\x16\x01\x00\x00\x00\x30\x00\x00\x071.2\x00\xff.5\x40\x00\x00\x031.3",
        1,
        "1.2",
        ("1.3",),
    ),
}

RESULTS_AS_THEY_CAME: dict[str, tuple[bytes, int, int, str]] = {
    "P045 even context ID": (b"\x21\x00\x00\x0b\x02\x00\x00\x00\x40\x00\x00\x031.3", 2, 0, "1.3"),
    "P048 accepted without transfer syntax": (b"\x21\x00\x00\x04\x01\x00\x00\x00", 1, 0, ""),
    "P048 accepted with an empty one": (b"\x21\x00\x00\x08\x01\x00\x00\x00\x40\x00\x00\x00", 1, 0, ""),
    "accepted with two": (
        b"\x21\x00\x00\x12\x01\x00\x00\x00\x40\x00\x00\x031.3\x40\x00\x00\x031.4",
        1,
        0,
        "1.3\\1.4",
    ),
    "accepted with the same twice": (
        b"\x21\x00\x00\x12\x01\x00\x00\x00\x40\x00\x00\x031.3\x40\x00\x00\x031.3",
        1,
        0,
        "1.3",
    ),
    "accepted with one that is not ASCII": (
        b"\x21\x00\x00\x0b\x01\x00\x00\x00\x40\x00\x00\x031.\xff",
        1,
        0,
        "1.ÿ",
    ),
    "accepted with one that passes the item": (
        b"\x21\x00\x00\x0b\x01\x00\x00\x00\x40\x00\x00\x411.3",
        1,
        0,
        "",
    ),
    "a result that ends behind it": (b"\x21\x00\x00\x03\x01\x00\x00", 1, 0, ""),
    "a result that the table does not have": (b"\x21\x00\x00\x04\x01\x00\x63\x00", 1, 0x63, ""),
}

BROKEN: dict[str, bytes] = {
    "a context without an ID": b"\x20\x00\x00\x00",
    "a result without an ID": b"\x21\x00\x00\x00",
    "a context ID without a result": b"\x21\x00\x00\x02\x01\x00",
    "a short maximum length": b"\x51\x00\x00\x03\x00\x00\x40",
    "a maximum length of 5": b"\x51\x00\x00\x05\x00\x00\x40\x00\x00",
    "a maximum length of 8": b"\x51\x00\x00\x08\x00\x00\x00\x00\x00\x00\x40\x00",
    "an empty maximum length": b"\x51\x00\x00\x00",
    "a window of 6": b"\x53\x00\x00\x06\x00\x01\x00\x01\x00\x01",
    "a short window": b"\x53\x00\x00\x03\x00\x01\x00",
    "a role without roles": b"\x54\x00\x00\x05\x00\x031.2",
    "a role with one of two": b"\x54\x00\x00\x06\x00\x031.2\x01",
    "a role of 2": b"\x54\x00\x00\x07\x00\x031.2\x02\x01",
    "a role of 255": b"\x54\x00\x00\x07\x00\x031.2\x00\xff",
    "a role whose UID passes the item": b"\x54\x00\x00\x04\x00\xff1.",
    "extended negotiation whose UID passes the item": b"\x56\x00\x00\x04\x00\x031.",
    "common extended negotiation that ends early": b"\x57\x00\x00\x0a\x00\x031.2\x00\x031.3",
    "related classes that pass their field": (b"\x57\x00\x00\x11\x00\x031.2\x00\x031.3\x00\x05\x00\x041.4"),
    "half a length in the related classes": b"\x57\x00\x00\x0d\x00\x031.2\x00\x031.3\x00\x01\x00",
    "user identity without fields": b"\x58\x00\x00\x02\x01\x00",
    "user identity without secondary field": b"\x58\x00\x00\x08\x01\x00\x00\x04user",
    "user identity whose field passes the item": b"\x58\x00\x00\x08\x01\x00\xff\xffuser",
    "user identity response without its length": b"\x59\x00\x00\x00",
}

TYPES: dict[int, type[Item]] = {0x20: ProposedContext, 0x21: ContextResult, **USER_ITEMS}


def decode(content: bytes) -> Item:
    """Decode one whole item, with other bytes directly behind it."""
    length = int.from_bytes(content[2:4], "big")
    assert length == len(content) - 4, "the case itself is wrong"
    return TYPES[content[0]].decode(memoryview(content + b"\x99behind")[4 : 4 + length])


@pytest.mark.parametrize("name", CASES)
def test_reader(name: str) -> None:
    content, value = CASES[name]
    assert decode(content) == value


@pytest.mark.parametrize("name", CASES)
def test_writer(name: str) -> None:
    """P031: reserved bytes are sent as 0."""
    content, value = CASES[name]
    assert value.encode() == content


def test_the_table_has_every_item() -> None:
    assert {content[0] for content, _ in CASES.values()} == {0x20, 0x21, *range(0x51, 0x5A)}
    assert set(TYPES) == {0x20, 0x21, *range(0x51, 0x5A)}


@pytest.mark.parametrize("name", TOLERATED)
def test_reader_takes_what_is_allowed_or_harmless(name: str) -> None:
    content, value = TOLERATED[name]
    assert decode(content) == value


@pytest.mark.parametrize("name", KEPT_AS_IT_CAME)
def test_a_context_that_is_wrong_is_kept_as_it_came(name: str) -> None:
    """Our own constructor refuses most of these; a peer's are for negotiation to judge."""
    content, *expected = KEPT_AS_IT_CAME[name]
    context = decode(content)
    assert isinstance(context, ProposedContext)
    assert [context.context_id, context.abstract_syntax, context.transfer_syntaxes] == expected
    # An event's view is written again, whatever it holds.
    again = ProposedContext.decode(memoryview(context.encode())[4:])
    assert again.context_id == context.context_id
    assert again.transfer_syntaxes == context.transfer_syntaxes


@pytest.mark.parametrize("name", RESULTS_AS_THEY_CAME)
def test_a_result_that_is_wrong_is_kept_as_it_came(name: str) -> None:
    content, *expected = RESULTS_AS_THEY_CAME[name]
    result = decode(content)
    assert isinstance(result, ContextResult)
    assert [result.context_id, result.result, result.transfer_syntax] == expected
    assert ContextResult.decode(memoryview(result.encode())[4:]) == result


def test_a_refusal_repeats_the_id_that_it_refuses() -> None:
    assert ContextResult.answering(4, 2, "1.2").encode() == b"\x21\0\0\x0b\x04\0\x02\0\x40\0\0\x031.2"
    with pytest.raises(ValueError):
        ContextResult.answering(5, 2, "1.ÿ")


@pytest.mark.parametrize("name", BROKEN)
def test_reader_refuses(name: str) -> None:
    """Q008: a malformed item is a ProtocolError that knows its A-ABORT, reason 6 (P043)."""
    with pytest.raises(ProtocolError) as caught:
        decode(BROKEN[name])
    assert (caught.value.source, caught.value.reason) == (2, 6)


@pytest.mark.parametrize("name", CASES)
def test_an_item_cut_short_is_a_value_or_a_protocol_error(name: str) -> None:
    content, _ = CASES[name]
    for length in range(len(content) - 4):
        try:
            TYPES[content[0]].decode(memoryview(content)[4 : 4 + length])
        except ProtocolError:
            pass


UNBUILDABLE: dict[str, Callable[[], object]] = {
    "P045 context ID 0": lambda: ProposedContext(0, "1.2", ("1.3",)),
    "P045 even context ID": lambda: ProposedContext(2, "1.2", ("1.3",)),
    "P045 context ID over 255": lambda: ProposedContext(257, "1.2", ("1.3",)),
    "P045 even context ID of a result": lambda: ContextResult(128, 0, "1.3"),
    "P047 no transfer syntax": lambda: ProposedContext(1, "1.2", ()),
    "P047 an empty abstract syntax": lambda: ProposedContext(1, "", ("1.3",)),
    "an abstract syntax of 65 characters": lambda: ProposedContext(1, "1" * 65, ("1.3",)),
    "a negative maximum length": lambda: MaximumLength(-1),
    "a maximum length over 4 bytes": lambda: MaximumLength(1 << 32),
    "a negative window": lambda: AsynchronousOperationsWindow(-1, 1),
    "a window over 2 bytes": lambda: AsynchronousOperationsWindow(1, 1 << 16),
}

UNSENDABLE: dict[str, Callable[[], Item]] = {
    "an empty transfer syntax": lambda: ProposedContext(1, "1.2", ("",)),
    "a transfer syntax that is not ASCII": lambda: ContextResult(1, 0, "1.é"),
    "a result over one byte": lambda: ContextResult(1, 256, "1.2"),
    "an empty implementation class UID": lambda: ImplementationClassUID(""),
    "Q001 an empty implementation version name": lambda: ImplementationVersionName(""),
    "Q001 an implementation version name of 17 characters": lambda: ImplementationVersionName("x" * 17),
    "an implementation version name that is not ASCII": lambda: ImplementationVersionName("é"),
    "a role for no SOP class": lambda: RoleSelection("", True, True),
    "extended negotiation over 64 KiB": lambda: SOPClassExtendedNegotiation("1.2", bytes(0xFFFF)),
    "user identity over 64 KiB": lambda: UserIdentityRQ(3, bytes(0x10000)),
    "a passcode over 64 KiB": lambda: UserIdentityRQ(2, b"u", bytes(0x10000)),
    "a type of user identity over one byte": lambda: UserIdentityRQ(256, b"u"),
    "a user identity response over 64 KiB": lambda: UserIdentityAC(bytes(0x10000)),
}


@pytest.mark.parametrize("name", UNBUILDABLE)
def test_constructor_refuses(name: str) -> None:
    with pytest.raises(ValueError):
        UNBUILDABLE[name]()


@pytest.mark.parametrize("name", UNSENDABLE)
def test_what_cannot_be_sent_is_refused_when_it_is_built_or_written(name: str) -> None:
    with pytest.raises(ValueError):
        UNSENDABLE[name]().encode()


def test_secrets_do_not_show() -> None:
    """Passcodes, tickets and tokens never reach a log."""
    shown = repr(UserIdentityRQ(2, b"somebody", b"hunter2", True)) + repr(UserIdentityAC(b"ticket"))
    for secret in ("somebody", "hunter2", "ticket"):
        assert secret not in shown


def test_user_information_is_sent_in_increasing_order_of_type() -> None:
    """P033."""
    items = tuple(value for content, value in CASES.values() if content[0] in USER_ITEMS)
    content = encode_user_information(items[::-1])
    kinds = []
    at = 4
    while at < len(content):
        kinds.append(content[at])
        at += 4 + int.from_bytes(content[at + 2 : at + 4], "big")
    assert content[:2] == b"\x50\x00"
    assert int.from_bytes(content[2:4], "big") == len(content) - 4
    assert kinds == sorted(kinds)
    assert set(kinds) == set(USER_ITEMS)


def test_unknown_sub_items_of_user_information_are_skipped() -> None:
    """P032: they shall not cause a rejection (PS3.8 Annex D.2)."""
    content = b"\x5f\x00\x00\x03???\x51\x00\x00\x04\x00\x00\x40\x00\xff\x00\x00\x00\x52\x00\x00\x031.2\x50\x00\x00\x00"
    assert decode_user_information(memoryview(content)) == (
        MaximumLength(16384),
        ImplementationClassUID("1.2"),
    )


USER_ITEMS_BROKEN = [name for name, content in BROKEN.items() if content[0] in USER_ITEMS]


@pytest.mark.parametrize("name", USER_ITEMS_BROKEN)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_user_item_that_is_damaged_costs_no_other(name: str, is_first: bool) -> None:
    """What is said of it has nothing of its content, which may be a passcode."""
    sound = b"\x52\x00\x00\x031.2"
    faults: list[str] = []
    content = BROKEN[name] + sound if is_first else sound + BROKEN[name]
    assert decode_user_information(memoryview(content), faults) == (ImplementationClassUID("1.2"),)
    assert len(faults) == 1
    assert "user" not in faults[0].replace("the user identity", "")


def test_a_user_item_that_passes_the_end_costs_itself_and_what_follows() -> None:
    faults: list[str] = []
    content = b"\x51\x00\x00\x04\x00\x00\x40\x00\x52\x00\x00\x091.2"
    assert decode_user_information(memoryview(content), faults) == (MaximumLength(16384),)
    assert len(faults) == 1


def test_a_peer_cannot_fill_the_log() -> None:
    faults: list[str] = []
    assert decode_user_information(memoryview(b"\x51\x00\x00\x00" * 1000), faults) == ()
    assert 0 < len(faults) < 100


def test_user_information_may_be_empty() -> None:
    assert decode_user_information(memoryview(b"")) == ()
    assert encode_user_information(()) == b"\x50\x00\x00\x00"


uids = st.from_regex(r"[0-2](\.(0|[1-9][0-9]{0,8})){1,6}", fullmatch=True)
context_ids = st.integers(0, 127).map(lambda number: 2 * number + 1)
words = st.integers(0, 0xFFFF)
short_bytes = st.binary(max_size=50)
names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=16)

user_items: st.SearchStrategy[UserItem] = st.one_of(
    st.builds(MaximumLength, st.integers(0, 0xFFFFFFFF)),
    st.builds(ImplementationClassUID, uids),
    st.builds(AsynchronousOperationsWindow, words, words),
    st.builds(RoleSelection, uids, st.booleans(), st.booleans()),
    st.builds(ImplementationVersionName, names),
    st.builds(SOPClassExtendedNegotiation, uids, short_bytes),
    st.builds(SOPClassCommonExtendedNegotiation, uids, uids, st.lists(uids, max_size=4).map(tuple)),
    st.builds(UserIdentityRQ, st.integers(0, 255), short_bytes, short_bytes, st.booleans()),
    st.builds(UserIdentityAC, short_bytes),
)
items: st.SearchStrategy[Item] = st.one_of(
    st.builds(ProposedContext, context_ids, uids, st.lists(uids, min_size=1, max_size=5).map(tuple)),
    st.builds(ContextResult, context_ids, st.just(0), uids),
    st.builds(ContextResult, context_ids, st.integers(1, 255), st.just("")),
    user_items,
)


@given(items)
def test_round_trip(value: Item) -> None:
    content = value.encode()
    assert content[0] == value.item_type
    assert decode(content) == value


@given(st.lists(user_items, max_size=8))
def test_round_trip_of_user_information(values: list[UserItem]) -> None:
    content = encode_user_information(tuple(values))
    assert decode_user_information(memoryview(content)[4:]) == tuple(
        sorted(values, key=lambda i: i.item_type)
    )


@given(st.sampled_from(sorted(TYPES)), st.binary(max_size=120))
def test_random_content_is_a_value_or_a_protocol_error(item_type: int, content: bytes) -> None:
    try:
        TYPES[item_type].decode(memoryview(content))
    except ProtocolError:
        pass


@given(items, st.data())
def test_mutated_content_is_a_value_or_a_protocol_error(value: Item, data: st.DataObject) -> None:
    content = bytearray(value.encode()[4:])
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4)):
        if content:
            content[at % len(content)] = byte
    try:
        type(value).decode(memoryview(content))
        decode_user_information(memoryview(content))
    except ProtocolError:
        pass


@given(items)
def test_a_decoded_item_does_not_depend_on_the_buffer(value: Item) -> None:
    """The receive buffer is overwritten by what comes next."""
    content = bytearray(value.encode())
    decoded = type(value).decode(memoryview(content)[4:])
    content[:] = b"\xee" * len(content)
    assert decoded == value
