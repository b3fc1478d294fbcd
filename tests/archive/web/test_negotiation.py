"""What is accepted: headers as clients send them, PS3.18 section 8.7 and RFC 9110 section 12.5.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from dicomnet.archive.web.http.negotiation import (
    Alternative,
    MediaRange,
    Offer,
    alternatives,
    chosen,
    parsed,
    ranges_of,
)
from dicomnet.archive.web.http.problems import Problem

EXPLICIT, JPEG_2000 = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"
OCTETS = "application/octet-stream"
DICOM = Offer("application/dicom", is_multipart=True)
JSON, PLAIN_JSON = Offer("application/dicom+json"), Offer("application/json")
XML = Offer("application/dicom+xml", is_multipart=True)


def _request(accept: str | None, query: str = "") -> Request:
    headers = [] if accept is None else [(b"accept", accept.encode())]
    return Request({"type": "http", "headers": headers, "query_string": query.encode()})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # OHIF, without quotation marks as it is told to be for some servers.
        (
            "multipart/related; type=application/octet-stream; transfer-syntax=*",
            MediaRange(OCTETS, True, "*"),
        ),
        (
            'multipart/related; type="application/octet-stream"; transfer-syntax=*',
            MediaRange(OCTETS, True, "*"),
        ),
        # dicomweb-client.
        (
            f'multipart/related; type="image/jp2"; transfer-syntax={JPEG_2000}',
            MediaRange("image/jp2", True, JPEG_2000),
        ),
        ('multipart/related; type="*/*"', MediaRange("*/*", True, "*")),
        ('multipart/related; type="image/"', None),
        # Orthanc.
        (
            f'multipart/related; type="application/octet-stream; transfer-syntax={EXPLICIT}"',
            MediaRange(OCTETS, True, EXPLICIT),
        ),
        (
            f'Multipart/Related;TYPE="Application/DICOM";Transfer-Syntax="{EXPLICIT}"',
            MediaRange("application/dicom", True, EXPLICIT),
        ),
        ("multipart/related", MediaRange("*/*", True, "*")),
        ("image/*;q=0.5", MediaRange("image/*", False, "*", 0.5)),
        ("*/*", MediaRange("*/*", None, "*")),
        ("application/dicom; boundary=**", MediaRange("application/dicom", False)),
        ("text", None),
        ("image/png;q=7", None),
        ('"', None),
        ("", None),
    ],
)
def test_each_form(text: str, expected: MediaRange | None) -> None:
    assert parsed(text) == ([] if expected is None else [expected])


def test_a_list_is_in_the_order_of_quality() -> None:
    text = 'a/b;q=0.3, multipart/related; type="c/d, e"; q=0.9, f/g , , h/i;q=0.9'
    assert [(each.kind, each.quality) for each in parsed(text)] == [("f/g", 1.0), ("h/i", 0.9), ("a/b", 0.3)]


def test_without_accept_anything_will_do() -> None:
    assert ranges_of(_request(None)) == ranges_of(_request("")) == [MediaRange("*/*", None, "*")]
    assert chosen(ranges_of(_request(None)), [JSON, XML]) == JSON


def test_the_query_parameter_goes_before_the_header() -> None:
    asked = _request(
        "*/*", "accept=application/dicom%2Bxml&accept=multipart/related;type=application/dicom%2Bxml"
    )
    assert chosen(ranges_of(asked), [JSON, XML]) == XML
    # What it has is not offered: the header counts.
    assert chosen(ranges_of(_request("*/*", "accept=image/png")), [JSON, XML]) == JSON


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/dicom+json, application/json", JSON),
        ("application/json", PLAIN_JSON),
        ("application/json;q=0.5, application/dicom+json", JSON),
        ("application/dicom+json;q=0.2, */*", PLAIN_JSON),
        ("application/dicom+json;q=0, application/*", PLAIN_JSON),
        ('multipart/related; type="application/dicom+xml"', XML),
        ("multipart/related;type=application/dicom+xml;q=0.9, application/dicom+json;q=0.1", XML),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8", JSON),
    ],
)
def test_the_best_is_chosen(accept: str, expected: Offer) -> None:
    assert chosen(ranges_of(_request(accept)), [JSON, PLAIN_JSON, XML]) == expected


def test_each_transfer_syntax_is_an_alternative() -> None:
    accept = (
        f'multipart/related; type="application/dicom"; transfer-syntax={JPEG_2000}; q=0.5,'
        f'multipart/related; type="application/dicom"; transfer-syntax={EXPLICIT}'
    )
    assert alternatives(parsed(accept), [DICOM]) == [
        Alternative(DICOM, EXPLICIT),
        Alternative(DICOM, JPEG_2000),
    ]


@pytest.mark.parametrize("accept", ["image/png", "application/dicom", "*/*;q=0", "application/dicom+xml"])
def test_nothing_of_what_is_offered(accept: str) -> None:
    with pytest.raises(Problem, match='these are: multipart/related; type="application/dicom"') as raised:
        alternatives(parsed(accept), [DICOM])
    assert raised.value.status == 406


@given(st.text(st.sampled_from('abc/*;,="\\ q=0.'), max_size=60))
def test_any_text_is_read(text: str) -> None:
    for each in parsed(text):
        assert "/" in each.kind
        assert 0 <= each.quality <= 1
