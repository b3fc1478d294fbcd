from __future__ import annotations

import gc
import struct
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file, get_testdata_files
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomnet.encoding import known_headers, walk
from dicomnet.encoding.elements import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from dicomnet.encoding.file_header import decode_file_header
from dicomnet.encoding.known_headers import ITEM_MARK, Table
from dicomnet.encoding.scan import Header, HeaderScanner, scan
from dicomnet.errors import ServiceRefusal, UnusableObject

UNDEFINED = 0xFFFFFFFF
TAGS = {
    0x00080018: "UI",
    0x00081140: "SQ",
    0x00100020: "LO",
    0x00111001: "UN",
    0x300A0070: "SQ",
    0x00081155: "UI",
    0x00200013: "IS",
    0x00280010: "US",
}


def _outcome(
    data: bytes | bytearray, syntax: str, learned: HeaderScanner | None = None
) -> Header | tuple[int, str]:
    """What a scanner makes of a data set; without one, what the scan says that learns nothing."""
    try:
        return learned.scan(data, syntax) if learned else scan(data, syntax, TAGS)
    except ServiceRefusal as refusal:
        return refusal.status, str(refusal)


def _files() -> list[tuple[str, bytes, str]]:
    found = []
    for path in map(Path, sorted(get_testdata_files())):
        if not path.is_file():
            continue
        whole = path.read_bytes()
        try:
            header = decode_file_header(whole)
        except UnusableObject:
            continue
        if header.transfer_syntax_uid:
            found.append((path.name, whole[header.offset :], header.transfer_syntax_uid))
    return found


def test_every_file_scans_alike_once_it_is_known() -> None:
    """All of them with one scanner, so that one finds what others have left there."""
    learned = HeaderScanner(TAGS)
    files = _files()
    assert len(files) > 80
    for _ in range(3):
        for name, data, syntax in files:
            assert _outcome(data, syntax, learned) == _outcome(data, syntax), name


def _small(name: str) -> tuple[bytes, str]:
    found = get_testdata_file(name)
    assert isinstance(found, str)
    whole = Path(found).read_bytes()
    header = decode_file_header(whole)
    return whole[header.offset :][:6000], header.transfer_syntax_uid


SMALL = [
    _small(name) for name in ("rtplan.dcm", "reportsi.dcm", "MR_small_implicit.dcm", "ExplVR_BigEnd.dcm")
]

# Bytes that mean something where a header or an item begins.
_TELLING = (
    ITEM_MARK,
    b"SQ",
    b"UN",
    b"OB",
    b"\xff\xff\xff\xff",
    b"\xfe\xff\x0d\xe0",
    b"\xfe\xff\xdd\xe0",
    b"\0\0\0\0",
)
_changes = st.lists(
    st.tuples(
        st.integers(0, 1 << 16),
        st.one_of(st.sampled_from(_TELLING), st.binary(min_size=1, max_size=2)),
    ),
    max_size=4,
)


def _changed(whole: bytes, changes: list[tuple[int, bytes]]) -> bytearray:
    mutated = bytearray(whole)
    for place, content in changes:
        at = place % (len(mutated) + 1)
        mutated[at : at + len(content)] = content
    return mutated


def _compare(contents: list[bytearray], syntax: str) -> None:
    """Scan one after the other, and each again, with what the ones before have taught."""
    learned = HeaderScanner(TAGS)
    for content in (*contents, *contents):
        assert _outcome(content, syntax, learned) == _outcome(content, syntax)


@settings(max_examples=150, deadline=None)
@given(which=st.sampled_from(SMALL), variants=st.lists(st.tuples(_changes, st.integers(0, 6000)), max_size=4))
def test_damaged_files_scan_alike_whatever_is_known(
    which: tuple[bytes, str], variants: list[tuple[list[tuple[int, bytes]], int]]
) -> None:
    whole, syntax = which
    contents = [bytearray(whole)]
    for changes, cut in variants:
        contents += [_changed(whole, changes), _changed(whole, changes)[:cut]]
    _compare(contents, syntax)


def _head(form: str, tag: int, vr: bytes, length: int) -> bytes:
    order = ">" if form == "big" else "<"
    if form == "implicit":
        return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length)
    if vr in (b"SQ", b"UN", b"OB"):
        return struct.pack(order + "HH2s2xL", tag >> 16, tag & 0xFFFF, vr, length)
    return struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, vr, length & 0xFFFF)


def _mark(form: str, element: int, length: int) -> bytes:
    return struct.pack((">" if form == "big" else "<") + "HHL", 0xFFFE, element, length)


_tags = st.sampled_from([*TAGS, 0x00080100, 0x00111002, 0x7FE00010, 0x00010010, 0x00020010, 0xFFFC0001])
_values = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [
            b"1.2\0",
            b"12345678",
            ITEM_MARK + bytes(4),
            ITEM_MARK + b"\x08\0\0\0" + b"\x08\0\x18\0\0\0\0\0",
            ITEM_MARK + b"\xff\xff\xff\xff",
        ]
    ),
)


def _element(form: str, items: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    def plain(tag: int, vr: bytes, value: bytes) -> bytes:
        return _head(form, tag, vr, len(value)) + value

    def sequence(tag: int, vr: bytes, contents: list[tuple[bytes, bool]], is_undefined: bool) -> bytes:
        body = b""
        for content, is_open in contents:
            if is_open:
                body += _mark(form, 0xE000, UNDEFINED) + content + _mark(form, 0xE00D, 0)
            else:
                body += _mark(form, 0xE000, len(content)) + content
        if is_undefined:
            return _head(form, tag, vr, UNDEFINED) + body + _mark(form, 0xE0DD, 0)
        return _head(form, tag, vr, len(body)) + body

    vrs = st.sampled_from([b"UI", b"LO", b"IS", b"UN", b"OB", b"SQ", b"??"])
    return st.one_of(
        st.builds(plain, _tags, vrs, _values),
        st.builds(
            sequence,
            _tags,
            st.sampled_from([b"SQ", b"SQ", b"UN", b"OB"]),
            st.lists(st.tuples(items, st.booleans()), max_size=3),
            st.booleans(),
        ),
    )


def _data_sets(form: str) -> st.SearchStrategy[bytes]:
    def level(items: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
        return st.lists(_element(form, items), max_size=5).map(b"".join)

    return level(level(level(st.just(b""))))


FORMS = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
}


@settings(max_examples=150, deadline=None)
@given(data=st.data(), form=st.sampled_from(sorted(FORMS)))
def test_made_up_data_sets_scan_alike_whatever_is_known(data: st.DataObject, form: str) -> None:
    wholes = data.draw(st.lists(_data_sets(form), min_size=1, max_size=3))
    contents = [bytearray(whole) for whole in wholes]
    for whole in wholes:
        changed = _changed(whole, data.draw(_changes))
        contents += [changed, changed[: data.draw(st.integers(0, len(changed)))]]
    # Two in one: known stretches follow one another in orders that no object had.
    contents.append(bytearray(b"".join(wholes)))
    _compare(contents, FORMS[form])


@pytest.mark.parametrize("syntax", FORMS.values())
def test_a_cut_object_is_refused_when_it_is_known(
    syntax: str, make: Callable[..., Dataset], encode: Callable[..., bytes]
) -> None:
    whole = encode(make(), syntax)
    learned = HeaderScanner(TAGS)
    for _ in range(3):
        learned.scan(whole, syntax)
    for end in range(len(whole)):
        assert _outcome(whole[:end], syntax, learned) == _outcome(whole[:end], syntax), end


def _short(tag: int, vr: bytes, value: bytes) -> bytes:
    return _head("explicit", tag, vr, len(value)) + value


@pytest.mark.parametrize("form", ["explicit", "implicit"])
def test_a_value_that_looks_like_a_sequence_is_looked_into_where_a_known_one_did_not(form: str) -> None:
    learned = HeaderScanner(TAGS)
    before = _head(form, 0x00080018, b"UI", 4) + b"1.2\0" + _head(form, 0x00111001, b"UN", 8)
    vrs = []
    for value in (bytes(8), b"87654321", ITEM_MARK + bytes(4), ITEM_MARK + b"\x04\0\0\0", bytes(8)):
        header = learned.scan(before + value, FORMS[form])
        assert header == scan(before + value, FORMS[form], TAGS)
        vrs.append(header.values[0x00111001][0])
    assert vrs == ["UN", "UN", "SQ", "UN", "UN"]


def test_a_known_attribute_that_is_there_twice_is_refused_if_it_differs() -> None:
    one, other = (_short(0x00080018, b"UI", value) for value in (b"1.2\0", b"1.3\0"))
    learned = HeaderScanner(TAGS)
    assert learned.scan(one + one, ExplicitVRLittleEndian).uid(0x00080018) == "1.2"
    for data in (one + other, other + one):
        with pytest.raises(ServiceRefusal, match="twice"):
            learned.scan(data, ExplicitVRLittleEndian)


@pytest.mark.parametrize("count", [1, 7, 40])
def test_the_number_of_known_elements_is_limited_as_that_of_others(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequence = _head("explicit", 0x00081140, b"SQ", 24) + ITEM_MARK + struct.pack("<L", 16)
    data = (sequence + _short(0x00080100, b"SH", b"12345678")) * count + _short(
        0x00111001, b"LO", b""
    ) * count
    learned = HeaderScanner(TAGS)
    for _ in range(4):
        learned.scan(data, ExplicitVRLittleEndian)
    outcomes = set()
    for limit in range(2 * count, 10 * count):
        monkeypatch.setattr(walk, "ELEMENT_LIMIT", limit)
        expected = _outcome(data, ExplicitVRLittleEndian)
        assert _outcome(data, ExplicitVRLittleEndian, learned) == expected
        outcomes.add(isinstance(expected, Header))
    assert outcomes == {True, False}


def _nested(tag: int, levels: int, inner: bytes) -> bytes:
    for _ in range(levels):
        item = ITEM_MARK + struct.pack("<L", len(inner)) + inner
        inner = _head("explicit", tag, b"SQ", len(item)) + item
    return inner


@pytest.mark.parametrize(("inner_levels", "outer"), [(40, range(20, 35)), (20, range(40, 50))])
def test_known_sequences_have_a_depth_limit(inner_levels: int, outer: range) -> None:
    """What is learned near the top may not make a data set deeper that has it further inside."""
    learned = HeaderScanner(TAGS)
    for value in (b"1 ", b"1234") * 4:
        # It differs on each level, so what is inside is learned by itself.
        learned.scan(_nested(0x00081140, 4, _short(0x00080100, b"SH", value)), ExplicitVRLittleEndian)
    known = _nested(0x00081150, inner_levels, _short(0x00080102, b"SH", b"DCM "))
    for _ in range(3):
        learned.scan(_nested(0x00081140, 2, known), ExplicitVRLittleEndian)
    outcomes = set()
    for levels in outer:
        data = _nested(0x00081140, levels, known)
        expected = _outcome(data, ExplicitVRLittleEndian)
        assert _outcome(data, ExplicitVRLittleEndian, learned) == expected
        outcomes.add(isinstance(expected, Header))
    assert outcomes == {True, False}


def _tables(learned: HeaderScanner) -> list[Table]:
    return [
        learned._known.table(encoding, is_top)
        for encoding in (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
        for is_top in (True, False)
    ]


def _size(learned: HeaderScanner) -> int:
    return sum(
        1 if one is None else 1 + len(one.spans) for table in _tables(learned) for one in table.values()
    )


@pytest.mark.parametrize("form", ["explicit", "implicit"])
def test_what_strangers_can_have_learned_is_bounded(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_headers, "TABLE_LIMIT", 500)
    learned = HeaderScanner(TAGS)
    biggest = 0
    for number in range(300):
        item = b"".join(_head(form, 0x00090000 + number * 40 + at, b"LO", 0) for at in range(40))
        sequence = _head(form, 0x00081140, b"SQ", UNDEFINED) + _mark(form, 0xE000, len(item)) + item
        data = item + sequence + _mark(form, 0xE0DD, 0)
        learned.scan(data, FORMS[form])
        biggest = max(biggest, _size(learned))
    assert 100 < biggest <= 2 * 500


def test_a_sequence_of_many_empty_items_counts_for_what_it_takes() -> None:
    learned = HeaderScanner(TAGS)
    items = (ITEM_MARK + bytes(4)) * 400
    tracemalloc.start()
    try:
        for number in range(1_000):
            sequence = _head("explicit", 0x00090000 + number, b"SQ", len(items)) + items
            learned.scan(sequence, ExplicitVRLittleEndian)
        assert tracemalloc.get_traced_memory()[0] < 2 << 20
    finally:
        tracemalloc.stop()


def test_no_value_and_no_data_set_is_kept() -> None:
    """Not of what is wanted, of sequences with many items, nor of encapsulated pixel data in an item."""
    secret = b"a value nobody may keep "
    items = b"".join(ITEM_MARK + struct.pack("<L", 32) + _short(0x00080100, b"LO", secret) for _ in range(3))
    fragments = (
        _head("explicit", 0x00111001, b"OB", UNDEFINED) + ITEM_MARK + struct.pack("<L", len(secret)) + secret
    )
    end = _mark("explicit", 0xE0DD, 0)
    icon = ITEM_MARK + struct.pack("<L", len(fragments) + 8) + fragments + end
    data = b"".join(
        (
            _short(0x00080018, b"UI", secret),
            _head("explicit", 0x00081140, b"SQ", len(items)) + items,
            _head("explicit", 0x00081150, b"SQ", len(icon)) + icon,
            _short(0x00100020, b"LO", secret),
        )
    )
    learned = HeaderScanner(TAGS)
    for _ in range(3):
        learned.scan(data, ExplicitVRLittleEndian)
    assert _size(learned) > 4
    seen: set[int] = set()
    waiting: list[object] = [*_tables(learned)]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen.add(id(one))
        assert not isinstance(one, bytearray | memoryview)
        assert not (isinstance(one, bytes) and secret[:8] in one)
        waiting += gc.get_referents(one)


def test_learning_begins_anew_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_headers, "REFRESH", 3)
    learned = HeaderScanner(TAGS)
    known = []
    for _ in range(6):
        known.append(len(learned._known.table(EXPLICIT_LITTLE, True)))
        learned.scan(_short(0x00080018, b"UI", b"1.2\0"), ExplicitVRLittleEndian)
    assert 0 in known
    assert 1 in known


def test_threads_share_what_is_learned() -> None:
    learned = HeaderScanner(TAGS)
    expected = {index: _outcome(data, syntax) for index, (data, syntax) in enumerate(SMALL)}

    def work(_: int) -> bool:
        return all(
            _outcome(data, syntax, learned) == expected[index]
            for _ in range(5)
            for index, (data, syntax) in enumerate(SMALL)
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(16)))
