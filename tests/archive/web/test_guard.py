"""Requests that a foreign web page has a browser make."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.archive.web.page.visits import Visited, visited

from dicomnet.archive.terms import Terms
from dicomnet.archive.web.access.policy import WebPolicy


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visited]:
    policy = WebPolicy(origins=("https://viewer.example",), hosts=("pacs.example",))
    with visited(tmp_path_factory.mktemp("archive"), Terms(web=policy)) as made:
        yield made


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("[::1]:8080", 200),
        ("pacs.example", 200),
        ("rebound.example:8080", 421),
        ("localhost.rebound.example", 421),
        ("127.0.0.1.rebound.example", 421),
    ],
)
def test_a_name_that_has_come_to_mean_our_address(node: Visited, host: str, status: int) -> None:
    assert node.visit("/", Host=host).status == status
    assert (node.visit("/dicom-web/nothing", Host=host).status == 421) is (status == 421)


@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        ({}, False),
        ({"Origin": "https://foreign.example"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "https://viewer.example"}, False),
        ({"Origin": "https://foreign.example", "Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, False),
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_another_origin_changes_nothing(
    node: Visited, method: str, headers: dict[str, str], is_refused: bool
) -> None:
    answer = node.visit("/dicom-web/nothing", method, b"", **headers)
    assert (answer.status == 403) is is_refused


def test_our_own_origin(node: Visited) -> None:
    assert node.visit("/dicom-web/nothing", "POST", b"", Origin=node.url).status != 403
    assert node.visit("/dicom-web/nothing", "POST", b"", Origin="http://127.0.0.1:1").status == 403


def test_headers_of_a_page(node: Visited) -> None:
    headers = node.visit("/").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "private, no-store"
    assert "HttpOnly" in headers["set-cookie"]
    assert "SameSite=strict" in headers["set-cookie"]
