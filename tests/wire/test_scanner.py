"""The scanner gives the same PDUs and fragments however the stream is cut, and refuses from the header."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.grids import grid

from dicomnet.errors import ProtocolError
from dicomnet.wire.items import ImplementationClassUID, MaximumLength, ProposedContext
from dicomnet.wire.pdu import (
    PDU,
    Abort,
    AssociateRQ,
    DataValue,
    PDataTF,
    ReleaseRP,
    ReleaseRQ,
    decode_pdu,
)
from dicomnet.wire.scanner import Fragment, Scanner

GOLDEN = Path(__file__).parents[1] / "golden"
INDEX: list[dict[str, Any]] = json.loads((GOLDEN / "index.json").read_text())


def golden_streams() -> dict[str, list[bytes]]:
    """What each peer sent on one connection, as a list of PDUs."""
    entries = sorted(INDEX, key=lambda entry: (entry["scenario"], entry["sender"], entry["number"]))
    return {
        f"{scenario}-{sender}": [(GOLDEN / entry["file"]).read_bytes() for entry in group]
        for (scenario, sender), group in groupby(
            entries, key=lambda entry: (entry["scenario"], entry["sender"])
        )
    }


STREAMS = golden_streams()

# What one stream means: PDUs, and (context, is command, content, is last) of the data between them.
Meaning = list[PDU | tuple[int, bool, bytes, bool]]


def scan(
    pieces: Iterable[bytes], scanner: Scanner | None = None
) -> Iterator[PDU | tuple[int, bool, bytes, bool]]:
    """Feed from one buffer that is overwritten after each piece, as a receive buffer is."""
    scanner = scanner or Scanner()
    for piece in pieces:
        buffer = bytearray(piece)
        for found in scanner.feed(memoryview(buffer)):
            if isinstance(found, Fragment):
                yield found.context_id, found.is_command, bytes(found.data), found.is_last
            else:
                yield found
        buffer[:] = b"\xee" * len(buffer)


def joined(parts: Iterable[PDU | tuple[int, bool, bytes, bool]]) -> Meaning:
    """With the parts of each command set and data set joined."""
    whole: Meaning = []
    for part in parts:
        last = whole[-1] if whole else None
        if isinstance(part, tuple) and isinstance(last, tuple) and last[:2] == part[:2] and not last[3]:
            whole[-1] = (*part[:2], last[2] + part[2], part[3])
        else:
            whole.append(part)
    return whole


def meaning(pdus: Iterable[bytes]) -> Meaning:
    """The same from PDUs that are decoded one by one."""
    parts: Meaning = []
    for content in pdus:
        unit = decode_pdu(content[0], memoryview(content)[6:])
        if isinstance(unit, PDataTF):
            parts += [
                (value.context_id, value.is_command, value.data, value.is_last) for value in unit.values
            ]
        else:
            parts.append(unit)
    return joined(parts)


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    ends = sorted({place % (len(stream) + 1) for place in places} | {0, len(stream)})
    return [stream[start:end] for start, end in pairwise(ends)]


@grid("name", STREAMS)
def test_golden_stream_whole(name: str) -> None:
    """P061: all PDUs in one segment, each directly behind the one before."""
    scanner = Scanner()
    assert joined(scan([b"".join(STREAMS[name])], scanner)) == meaning(STREAMS[name])
    assert scanner.is_between_pdus


@grid("name", STREAMS)
def test_golden_stream_byte_by_byte(name: str) -> None:
    """P061: segments of one byte."""
    stream = b"".join(STREAMS[name])
    assert joined(scan(stream[at : at + 1] for at in range(len(stream)))) == meaning(STREAMS[name])


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 20_000), max_size=12))
def test_golden_stream_at_random_cuts(name: str, places: list[int]) -> None:
    """P061."""
    pdus = STREAMS[name]
    assert joined(scan(cut(b"".join(pdus), places))) == meaning(pdus)


@grid("entry", INDEX)
def test_golden_pdu_with_the_next_one_behind_it(entry: dict[str, Any]) -> None:
    content = (GOLDEN / entry["file"]).read_bytes()
    behind = ReleaseRQ().encode()
    assert joined(scan([content + behind[:3], behind[3:]])) == [*meaning([content]), ReleaseRQ()]


data_values = st.builds(
    DataValue, st.integers(0, 255), st.booleans(), st.booleans(), st.binary(max_size=30).map(bytes)
)
streams = st.lists(
    st.one_of(
        st.builds(PDataTF, st.lists(data_values, min_size=1, max_size=5).map(tuple)),
        st.sampled_from([ReleaseRQ(), ReleaseRP(), Abort(2, 6)]),
        st.just(
            AssociateRQ("A", "B", (ProposedContext(1, "1.2", ("1.3",)),), (ImplementationClassUID("1.4"),))
        ),
    ),
    max_size=6,
)


@given(streams, st.lists(st.integers(0, 2000), max_size=20))
def test_any_stream_means_the_same_at_any_cuts(units: list[PDU], places: list[int]) -> None:
    """P061: many values in a PDU, many PDUs in a segment, and the other way round."""
    pdus = [unit.encode() for unit in units]
    scanner = Scanner()
    assert joined(scan(cut(b"".join(pdus), places), scanner)) == meaning(pdus)
    assert scanner.is_between_pdus


DATA = PDataTF((DataValue(3, False, True, b"abcdefgh"),)).encode()


def test_a_part_is_handed_on_before_the_rest_has_arrived() -> None:
    assert list(scan([DATA[:15], DATA[15:18], DATA[18:]])) == [
        (3, False, b"abc", False),
        (3, False, b"def", False),
        (3, False, b"gh", True),
    ]


def test_the_end_of_a_value_that_is_not_the_last_fragment_is_not_marked() -> None:
    content = PDataTF((DataValue(3, True, False, b"ab"), DataValue(3, True, True, b"cd"))).encode()
    assert list(scan([content])) == [(3, True, b"ab", False), (3, True, b"cd", True)]


def test_an_empty_last_fragment_is_handed_on() -> None:
    content = PDataTF((DataValue(3, False, False, b"ab"), DataValue(3, False, True, b""))).encode()
    assert list(scan([content])) == [(3, False, b"ab", False), (3, False, b"", True)]


def test_bits_2_to_7_of_the_message_control_header_are_not_checked() -> None:
    """P062."""
    assert list(scan([b"\x04\x00\x00\x00\x00\x08\x00\x00\x00\x04\x01\xfdab"])) == [(1, True, b"ab", False)]


def test_a_fragment_is_a_view_of_what_was_fed() -> None:
    buffer = bytearray(DATA)
    (found,) = Scanner().feed(memoryview(buffer))
    assert isinstance(found, Fragment)
    assert found.data.obj is buffer
    buffer[12:20] = b"ABCDEFGH"
    assert bytes(found.data) == b"ABCDEFGH"


@pytest.mark.parametrize("name", ["dcmtk-echo-requestor", "dcmtk-store-requestor"])
def test_between_pdus_is_nowhere_inside_one(name: str) -> None:
    scanner = Scanner()
    for content in STREAMS[name]:
        for at in range(len(content)):
            list(scanner.feed(memoryview(content)[at : at + 1]))
            assert scanner.is_between_pdus == (at == len(content) - 1)


def test_nothing_fed_is_nothing_found() -> None:
    scanner = Scanner()
    assert list(scanner.feed(memoryview(b""))) == []
    assert scanner.is_between_pdus


# Headers that are refused with no byte behind them: type, length, reason (P043).
REFUSED: dict[str, tuple[bytes, int]] = {
    "P044 A-ASSOCIATE-RJ of 3": (b"\x03\x00\x00\x00\x00\x03", 6),
    "P044 A-ASSOCIATE-RJ of 5": (b"\x03\x00\x00\x00\x00\x05", 6),
    "P044 A-ASSOCIATE-RJ of 4 GiB": (b"\x03\x00\xff\xff\xff\xff", 6),
    "P044 A-RELEASE-RQ of 0": (b"\x05\x00\x00\x00\x00\x00", 6),
    "P044 A-RELEASE-RQ of 4 GiB": (b"\x05\x00\xff\xff\xff\xff", 6),
    "P044 A-RELEASE-RP of 6": (b"\x06\x00\x00\x00\x00\x06", 6),
    "P044 A-RELEASE-RP of 4 GiB": (b"\x06\x00\xff\xff\xff\xff", 6),
    "P044 A-ABORT of 3": (b"\x07\x00\x00\x00\x00\x03", 6),
    "P044 A-ABORT of 4 GiB": (b"\x07\x00\xff\xff\xff\xff", 6),
    "P059 P-DATA-TF over what was announced": (b"\x04\x00\x00\x00\x40\x01", 6),
    "P060 P-DATA-TF of 0": (b"\x04\x00\x00\x00\x00\x00", 6),
    "P060 P-DATA-TF of 5": (b"\x04\x00\x00\x00\x00\x05", 6),
    "P066 A-ASSOCIATE-RQ over the limit": (b"\x01\x00\x00\x00\x10\x01", 6),
    "P066 A-ASSOCIATE-RQ of 4 GiB": (b"\x01\x00\xff\xff\xff\xff", 6),
    "P066 A-ASSOCIATE-AC of 4 GiB": (b"\x02\x00\xff\xff\xff\xff", 6),
    "P066 P-DATA-TF of 4 GiB": (b"\x04\x00\xff\xff\xff\xff", 6),
    "an unknown type": (b"\x08\x00\x00\x00\x00\x04", 1),
    "type 0": (b"\x00\x00\x00\x00\x00\x04", 1),
    "an unknown type of 4 GiB": (b"\x99\x00\xff\xff\xff\xff", 1),
    "P060 a value of 0": (b"\x04\x00\x00\x00\x00\x08\x00\x00\x00\x00\x01\x03", 6),
    "P060 a value of 1": (b"\x04\x00\x00\x00\x00\x08\x00\x00\x00\x01\x01\x03", 6),
    "P060 a value that passes its PDU": (b"\x04\x00\x00\x00\x00\x08\x00\x00\x00\x05\x01\x03", 6),
    "P060 a value of 4 GiB": (b"\x04\x00\x00\x00\x00\x08\xff\xff\xff\xff\x01\x03", 6),
    "P060 one byte behind a value": (b"\x04\x00\x00\x00\x00\x08\x00\x00\x00\x03\x01\x03", 6),
    "P060 five bytes behind a value": (b"\x04\x00\x00\x00\x00\x0b\x00\x00\x00\x02\x01\x03", 6),
}


def limited() -> Scanner:
    return Scanner(maximum_length=0x4000, associate_limit=0x1000)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_from_the_header(name: str) -> None:
    header, reason = REFUSED[name]
    with pytest.raises(ProtocolError) as caught:
        list(limited().feed(memoryview(header)))
    assert (caught.value.source, caught.value.reason) == (2, reason)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_from_the_header_byte_by_byte_with_more_behind(name: str) -> None:
    """The PDU before is still delivered, and nothing of the bad one is."""
    header, reason = REFUSED[name]
    content = ReleaseRQ().encode() + header + bytes(50)
    for pieces in ([content], [content[at : at + 1] for at in range(len(content))]):
        found = scan(pieces, limited())
        assert next(found) == ReleaseRQ()
        with pytest.raises(ProtocolError) as caught:
            next(found)
        assert caught.value.reason == reason


@pytest.mark.parametrize("name", REFUSED)
def test_refusing_keeps_nothing(name: str) -> None:
    """4 GiB are announced; memory stays flat."""
    header, _ = REFUSED[name]
    scanner = limited()
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            list(scanner.feed(memoryview(header)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_an_associate_pdu_grows_with_what_arrived_not_with_what_was_announced() -> None:
    scanner = Scanner(associate_limit=1 << 30)
    tracemalloc.start()
    try:
        list(scanner.feed(memoryview(b"\x01\x00\x40\x00\x00\x00")))
        list(scanner.feed(memoryview(bytes(1000))))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_a_p_data_pdu_without_limit_is_never_kept() -> None:
    """P057: with no limit announced 4 GiB are allowed, and pass through."""
    scanner = Scanner()
    block = memoryview(bytes(1 << 16))
    list(scanner.feed(memoryview(b"\x04\x00\xff\xff\xff\xff\xff\xff\xff\xfb\x01\x00")))
    tracemalloc.start()
    try:
        passed = sum(
            len(found.data)
            for _ in range(100)
            for found in scanner.feed(block)
            if isinstance(found, Fragment)
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert passed == 100 << 16
    assert peak < 100_000


def test_limits_are_reached_but_not_passed() -> None:
    """P056: the limit is on the PDU-length, and the two limits are independent."""
    scanner = limited()
    full = PDataTF((DataValue(1, False, True, bytes(0x4000 - 6)),)).encode()
    assert int.from_bytes(full[2:6], "big") == 0x4000
    assert joined(scan([full], scanner)) == [(1, False, bytes(0x4000 - 6), True)]
    big = AssociateRQ(
        "A",
        "B",
        tuple(ProposedContext(number, "1.2", ("1.3",)) for number in range(1, 256, 2)),
        (MaximumLength(0),),
    ).encode()
    length = int.from_bytes(big[2:6], "big")
    assert len(list(Scanner(associate_limit=length).feed(memoryview(big)))) == 1
    with pytest.raises(ProtocolError):
        list(Scanner(associate_limit=length - 1).feed(memoryview(big)))


FOREIGN = {
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc": "TLS handshake",
    b"\x15\x03\x03\x00\x02\x02\x28": "TLS alert",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n": "HTTP",
    b"POST /dicom-web/studies HTTP/1.1\r\n": "HTTP",
    b"HEAD / HTTP/1.1\r\n": "HTTP",
    b"DELETE / HTTP/1.1\r\n": "HTTP",
    b"OPTIONS * HTTP/1.1\r\n": "HTTP",
    b"CONNECT x:1 HTTP/1.1\r\n": "HTTP",
    b"TRACE / HTTP/1.1\r\n": "HTTP",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": "HTTP",
    b"HTTP/1.1 400 Bad Request\r\n": "HTTP",
}


@grid("content", FOREIGN)
@grid("length", [1, 5, 6, None])
def test_another_protocol_is_named(content: bytes, length: int | None) -> None:
    """TLS and HTTP on a plain port: known from the first byte, as an unrecognised PDU (P043)."""
    with pytest.raises(ProtocolError, match=FOREIGN[content]) as caught:
        list(Scanner().feed(memoryview(content)[:length]))
    assert caught.value.reason == 1


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_random_bytes_are_values_or_a_protocol_error(pieces: list[bytes]) -> None:
    try:
        list(scan(pieces, limited()))
    except ProtocolError:
        pass


@given(
    st.sampled_from(sorted(STREAMS)),
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), min_size=1, max_size=6),
    st.lists(st.integers(0, 20_000), max_size=6),
)
def test_mutated_streams_are_values_or_a_protocol_error(
    name: str, changes: list[tuple[int, int]], places: list[int]
) -> None:
    """What comes out is never more than what went in."""
    stream = bytearray(b"".join(STREAMS[name]))
    for at, byte in changes:
        stream[at % len(stream)] = byte
    size = 0
    try:
        for found in scan(cut(bytes(stream), places)):
            size += len(found[2]) if isinstance(found, tuple) else 0
    except ProtocolError:
        pass
    assert size <= len(stream)


@pytest.mark.parametrize("cut", [6, 7, 12, 1000, None])
def test_some_excess_is_taken_where_that_is_wanted_and_no_more(cut: int | None) -> None:
    """The limit is then that of what was announced and the excess; how far a peer went is known."""
    whole = PDataTF((DataValue(1, False, True, bytes(0x4000 - 6 + 100)),)).encode()
    pieces = [whole] if cut is None else [whole[:cut], whole[cut:]]
    scanner = Scanner(0x4000, excess=100)
    usual = PDataTF((DataValue(1, True, True, b"ab"),)).encode()
    assert joined(scan([usual], scanner)) == [(1, True, b"ab", True)]
    assert scanner.longest_excess == 0
    assert joined(scan(pieces, scanner)) == [(1, False, bytes(0x4000 - 6 + 100), True)]
    assert scanner.longest_excess == 0x4000 + 100
    with pytest.raises(ProtocolError, match="over the limit of 16384"):
        list(Scanner(0x4000, excess=99).feed(memoryview(whole)))
    with pytest.raises(ProtocolError, match="over the limit of 16384"):
        list(Scanner(0x4000).feed(memoryview(whole)))
