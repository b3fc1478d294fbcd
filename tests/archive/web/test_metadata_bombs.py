"""Metadata of uploads that are small and would take much memory or time."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from dicomnet.archive.web.dicomweb import assembling
from dicomnet.archive.web.dicomweb.assembling import BulkData, Described, DescriptionUnusable
from dicomnet.archive.web.http.problems import Problem
from dicomnet.datasets import xml_model
from dicomnet.datasets.xml_model import from_xml
from dicomnet.dicomweb.multipart_reading import MediaType

UID = '"00080018":{"vr":"UI","Value":["1.2"]}'


def in_json(content: bytes) -> None:
    for each in Described.in_json(content):
        each.made(BulkData(None))  # type: ignore[arg-type]


def peak(call: Callable[[], object]) -> int:
    """How much memory a call takes that is refused, in MiB."""
    tracemalloc.start()
    try:
        with pytest.raises((DescriptionUnusable, ValueError)):
            call()
        return tracemalloc.get_traced_memory()[1] >> 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("empty", [b"[],", b"{},", b"1,", b'"",'])
def test_many_values_in_json(empty: bytes) -> None:
    """32 MiB of them took 0.8 GiB of memory and half a minute, and may be sent as 100 kB by gzip."""
    content = b'{"00080018":{"vr":"UI","Value":[' + empty * 2_000_001 + b"1]}}"
    assert peak(lambda: in_json(content)) < 16


def test_many_data_sets_in_json() -> None:
    """Each of ten million empty ones was kept."""
    assert peak(lambda: in_json(b"[" + b"{}," * 1_000_000 + b"{}]")) < 16


@pytest.mark.parametrize(
    "text",
    [
        '{"00081140":{"vr":"SQ","Value":' + "[" * 100_000,
        '{"00081140":' * 100_000,
        '{"00081140":{"vr":"SQ","Value":[' * 100 + "{}" + "]}}" * 100,
        '{"00200013":{"vr":"IS","Value":[' + "9" * 100_000 + "]}}",
        '{"00280010":{"vr":"US","Value":[' + "9" * 4_000 + "]}}",
        '{"00280010":{"vr":"US","Value":[1e400]}}',
        '{"00280010":{"vr":"US","Value":[NaN]}}',
        '{"00280010":{"vr":"US","Value":[-1]}}',
        '{"00189074":{"vr":"FD","Value":["x"]}}',
        '{"00100010":{"vr":"PN","Value":["\\ud800"]}}',
        '{"../../x":{"vr":"PN"}}',
        "[[]]",
        "NaN",
        "",
    ],
)
def test_json_that_is_none_of_the_model(text: str) -> None:
    with pytest.raises(DescriptionUnusable):
        in_json(text.encode())


@pytest.mark.parametrize("empty", [b"<a/>", b'<Value number="1"/>'])
def test_many_elements_in_xml(empty: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight million of them took gigabytes."""
    monkeypatch.setattr(xml_model, "_ELEMENTS_LIMIT", 1000)
    content = b"<NativeDicomModel>" + empty * 2000 + b"</NativeDicomModel>"
    with pytest.raises(ValueError, match="more than 1000 elements"):
        from_xml(content)


@pytest.mark.parametrize(
    "content",
    [
        b"<NativeDicomModel " + b" ".join(b'a%d=""' % number for number in range(10_000)) + b"/>",
        b"<" + b"a" * 10_000 + b"/>",
        b"<a>" * 10_000,
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><NativeDicomModel>&b;</NativeDicomModel>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><NativeDicomModel/>',
        b'<?xml version="1.0" encoding="UTF-7"?><NativeDicomModel/>',
        b'<?xml version="1.0" encoding="x-none"?><NativeDicomModel/>',
        b'<?xml version="1.0" encoding="base64"?><NativeDicomModel/>',
        b"<NativeDicomModel>&x;</NativeDicomModel>",
        b"\xff\xfe",
    ],
)
def test_xml_that_is_none_of_the_model(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"XML|encoding"):
        from_xml(content)


def test_many_parts_with_bulk_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million of 60 bytes each took half a gigabyte."""
    monkeypatch.setattr(assembling, "_PARTS_LIMIT", 10)
    bulk = BulkData(None)  # type: ignore[arg-type]
    kind = MediaType.parse("application/octet-stream")
    for number in range(10):
        bulk.part(f"x{number}", kind).end()
    with pytest.raises(Problem, match="more than 10 parts"):
        bulk.part("x", kind).end()
