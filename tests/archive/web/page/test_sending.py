"""Sending a study to another archive by a form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from pydicom.dataset import Dataset
from tests.archive.web.page.visits import Visited, visited
from tests.support import free_port

from dicomnet.archive.services.retrieve import RetrievePolicy, destinations_of
from dicomnet.archive.terms import Terms


@pytest.fixture
def nodes(tmp_path: Path, make: Callable[..., Dataset]) -> Iterator[tuple[Visited, Visited]]:
    """A node with a study of five objects, and the one that it knows as OTHER; nobody is GONE."""
    with visited(tmp_path / "other") as other:
        places = [f"OTHER@127.0.0.1:{other.node.address[1]}", f"GONE@127.0.0.1:{free_port()}"]
        terms = Terms(retrieval=RetrievePolicy(destinations_of(places)))
        with visited(tmp_path / "node", terms) as node:
            node.store(make(SOPInstanceUID=f"1.2.3.4.{number}") for number in range(5))
            yield node, other


def test_a_study_is_sent(nodes: tuple[Visited, Visited]) -> None:
    node, other = nodes
    assert "OTHER" in node.visit("/studies/1.2.3").shown
    answer = node.send_form("/studies/1.2.3", "/studies/1.2.3/send", {"destination": "OTHER"})
    assert answer.status == 200
    assert "Done: 5 of 5 sent, 0 not." in answer.shown
    assert other.node.holdings.intake.wait_for_all()
    assert "5 objects" in other.visit("/studies/1.2.3").shown


def test_a_destination_that_is_not_there(nodes: tuple[Visited, Visited]) -> None:
    node, _ = nodes
    answer = node.send_form("/studies/1.2.3", "/studies/1.2.3/send", {"destination": "GONE"})
    assert "Done: 0 of 5 sent, 5 not." in answer.shown
    assert "refused" in answer.shown


def test_a_destination_that_the_configuration_does_not_have(nodes: tuple[Visited, Visited]) -> None:
    node, _ = nodes
    answer = node.send_form("/studies/1.2.3", "/studies/1.2.3/send", {"destination": "X@192.0.2.1:104"})
    assert answer.status == 400


def test_a_form_that_is_not_ours_sends_nothing(nodes: tuple[Visited, Visited]) -> None:
    """Without the token, with that of another browser, from another origin, by GET: nothing is sent."""
    node, other = nodes
    path = "/studies/1.2.3/send"
    token = re.search(r'data-token="([0-9a-f]+)"', node.visit("/studies/1.2.3").text)
    assert token is not None
    form = urlencode({"token": token[1], "destination": "OTHER"}).encode()
    answers = [
        node.visit(path, "POST", b"destination=OTHER"),
        node.visit(path, "POST", b"destination=OTHER", Origin="https://foreign.example"),
        node.visit(f"{path}?destination=OTHER"),
        node.send_form("/studies/1.2.3", path, {"destination": "OTHER", "token": "0" * 64}),
        node.send_form("/studies/1.2.3", path, {"destination": "OTHER"}, Origin="https://foreign.example"),
        node.send_form("/studies/1.2.3", path, {"destination": "OTHER"}, Origin="null"),
        node.visit(path, "POST", form, Origin=node.url, Cookie="dicomnet_page=" + "a" * 43),
        node.send_form("/studies/1.2.3", path, {"destination": "OTHER"}, Sec_Fetch_Site="cross-site"),
    ]
    assert [answer.status for answer in answers] == [403, 403, 405, 403, 403, 403, 403, 403]
    assert other.visit("/studies/1.2.3").status == 404
