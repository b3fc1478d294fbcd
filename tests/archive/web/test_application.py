"""What holds for all of the web face: capabilities, pages of other addresses, compression, what is not there."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.archive.web.served import Served, sample, served
from tests.archive.web.test_searching import ask

from dicomnet.archive.terms import Terms
from dicomnet.archive.web.access.policy import WebPolicy

SPACE = "{http://wadl.dev.java.net/2009/02}"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("application") / "store") as node:
        node.store([sample("CT_small.dcm"), sample("MR_small.dcm")])
        yield node


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/capabilities"), ("OPTIONS", "/"), ("OPTIONS", "/studies")]
)
def test_capabilities(archive: Served, method: str, path: str) -> None:
    """PS3.18 section 8.9: a WADL document."""
    answer = archive.get(path, method=method)
    assert answer.headers["content-type"] == "application/vnd.sun.wadl+xml"
    root = ElementTree.fromstring(answer.body)
    assert root.tag == f"{SPACE}application"
    (resources,) = root.findall(f"{SPACE}resources")
    assert resources.get("base") == archive.url
    studies = resources.find(f"{SPACE}resource[@path='studies']")
    assert studies is not None
    assert {each.get("name") for each in studies.findall(f"{SPACE}method")} >= {"GET", "POST"}
    names = {each.get("name") for each in studies.iterfind(f"{SPACE}method/{SPACE}request/{SPACE}param")}
    assert names >= {"limit", "offset", "fuzzymatching", "includefield"}
    assert studies.find(f"{SPACE}resource[@path='{{study}}']/{SPACE}resource[@path='series']") is not None


def test_capabilities_as_json(archive: Served) -> None:
    found = archive.get("/capabilities", "application/json").json
    assert {each["path"] for each in found["resources"]} >= {"studies", "series", "instances"}
    assert archive.get("/capabilities", "image/png").status == 406


@pytest.mark.parametrize("path", ["/nothing", "/studies/1.2/nothing", "/../etc/passwd"])
def test_what_is_not_there(archive: Served, path: str) -> None:
    answer = archive.get(path)
    assert (answer.status, answer.body) == (404, b"there is nothing at this address\n")
    assert answer.headers["cache-control"] == "private, no-store"
    assert "server" not in answer.headers


def test_what_is_not_done(archive: Served) -> None:
    answer = archive.get("/series", method="DELETE")
    assert (answer.status, answer.body) == (405, b"this method is not allowed here\n")
    assert "GET" in answer.headers["allow"]


def test_an_error_of_ours_is_a_sentence(
    archive: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise LookupError("a secret")

    monkeypatch.setattr(archive.node.holdings, "index_to_search", fail)
    answer = archive.get("/studies")
    assert (answer.status, answer.body) == (
        500,
        b"the archive could not answer because of an error of its own; its log says more\n",
    )
    assert "a secret" in caplog.text


def test_an_index_that_is_being_made(archive: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from dicomnet.errors import ServiceRefusal

    def refuse() -> None:
        raise ServiceRefusal(0xA700, "the index is being made from the files; try later")

    monkeypatch.setattr(archive.node.holdings, "index_to_search", refuse)
    answer = archive.get("/studies")
    assert (answer.status, answer.body) == (503, b"the index is being made from the files; try later\n")
    assert answer.headers["retry-after"] == "5"


# -- pages of other addresses


def test_no_page_of_another_address_may_read(archive: Served) -> None:
    answer = archive.get("/studies", Origin="https://viewer.example")
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        (("https://viewer.example",), "https://viewer.example", "https://viewer.example"),
        (("https://viewer.example",), "https://viewer.example.evil.example", None),
        (("https://viewer.example",), "null", None),
        (("*",), "https://any.example", "*"),
    ],
)
def test_pages_that_may(tmp_path: Path, origins: tuple[str, ...], origin: str, allowed: str | None) -> None:
    with served(tmp_path, terms=Terms(web=WebPolicy(origins))) as node:
        for path in ("/studies", "/nothing", "/studies?limit=x"):
            answer = node.get(path, Origin=origin)
            assert answer.headers.get("access-control-allow-origin") == allowed
            assert "access-control-allow-credentials" not in answer.headers
        before = node.get("/studies", method="OPTIONS", Origin=origin, Access_Control_Request_Method="POST")
        assert before.status == 204
        assert before.headers.get("access-control-allow-origin") == allowed
        assert ("POST" in before.headers.get("access-control-allow-methods", "")) is (allowed is not None)
        node.node.change(Terms())
        assert "access-control-allow-origin" not in node.get("/studies", Origin=origin).headers


# -- compression


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        ("gzip", True),
        ("deflate, gzip;q=0.5, br", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("br", False),
        ("identity", False),
    ],
)
def test_text_is_compressed_for_those_who_accept_it(
    archive: Served, accepted: str, is_compressed: bool
) -> None:
    path = "/instances?includefield=all"
    plain = archive.get(path)
    answer = archive.get(path, Accept_Encoding=accepted)
    assert answer.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert (answer.headers.get("content-encoding") == "gzip") is is_compressed
    body = gzip.decompress(answer.body) if is_compressed else answer.body
    assert body == plain.body
    assert json.loads(body) == ask(archive, path)


def test_what_is_short_or_no_text_is_not_compressed(archive: Served) -> None:
    for path in ("/studies?limit=x", f"/studies/{ask(archive, '/studies')[0]['0020000D']['Value'][0]}"):
        assert "content-encoding" not in archive.get(path, Accept_Encoding="gzip").headers


def test_a_head_says_nothing_of_a_body(archive: Served) -> None:
    answer = archive.get("/instances?includefield=all", method="HEAD", Accept_Encoding="gzip")
    assert (answer.status, answer.body) == (200, b"")
