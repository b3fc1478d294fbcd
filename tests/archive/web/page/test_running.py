"""The pages on how the archive is run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from tests.archive.web.page.visits import Visited, visit, visited, written
from tests.settings.nodes import configured
from tests.support import free_port, wait_until

from dicomnet import Peer
from dicomnet.archive.applied import terms_of
from dicomnet.archive.terms import Terms
from dicomnet.errors import DicomnetError
from dicomnet.settings.reading import read

CONFIGURATION = """
[storage]
database = "postgresql://dicomnet:hunter2@localhost/dicomnet"
[server]
ae_titles = ["NODE"]
[remotes.OTHER]
host = "127.0.0.1"
port = {port}
[remotes.GONE]
host = "127.0.0.1"
port = {gone}
[[access]]
title = "PAGE"
allow = ["echo", "store"]
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visited]:
    """A node with a configuration, and another one that it knows."""
    folder = tmp_path_factory.mktemp("nodes")
    with visited(folder / "other", ae_title="OTHER") as other:
        file = folder / "node.toml"
        file.write_text(CONFIGURATION.format(port=other.node.address[1], gone=free_port()))
        with visited(folder / "node", terms_of(read(file, {}))) as made:
            yield made


def test_what_was_refused_is_shown_with_who_and_why(node: Visited, make: Callable[..., Dataset]) -> None:
    node.store([make()])
    with (
        pytest.raises(DicomnetError),
        Peer(f"NODE@127.0.0.1:{node.node.address[1]}", calling="<b>STRANGER") as stranger,
    ):
        stranger.echo()
    page = node.visit("/activity")
    assert re.search(r"<b>STRANGER 127.0.0.1 NODE association .*calling AE title", page.shown, re.IGNORECASE)
    assert "b" not in {name for name, _ in page.elements}


def test_what_was_refused_by_http(make: Callable[..., Dataset], tmp_path: Path) -> None:
    file = written(make(SOPInstanceUID="1.2.6.6", StudyInstanceUID=None), tmp_path / "file").read_bytes()
    body = b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n--b--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    with visited(tmp_path / "store") as node:
        assert node.visit("/dicom-web/studies", "POST", body, Content_Type=kind).status == 409
        assert "object 1.2.6.6" in node.visit("/activity").shown


def test_open_associations(node: Visited) -> None:
    # One of another test may be about to end.
    wait_until(lambda: "None is open." in node.visit("/activity").shown)
    with Peer(f"NODE@127.0.0.1:{node.node.address[1]}", calling="PAGE") as peer:
        peer.echo()
        assert "PAGE NODE 127.0.0.1" in node.visit("/activity").shown


def test_an_echo_of_one_that_answers_and_of_one_that_does_not(node: Visited) -> None:
    assert "OTHER@127.0.0.1" in node.visit("/remotes").shown
    assert "OTHER answered within" in node.send_form("/remotes", "/remotes/echo", {"remote": "OTHER"}).shown
    assert "GONE did not answer:" in node.send_form("/remotes", "/remotes/echo", {"remote": "GONE"}).shown
    assert node.send_form("/remotes", "/remotes/echo", {"remote": "X@192.0.2.1:104"}).status == 400
    assert node.visit("/remotes/echo", "POST", b"remote=OTHER").status == 403


def test_which_layer_fails(node: Visited) -> None:
    well = node.send_form("/remotes", "/remotes/diagnose", {"remote": "OTHER"}).shown
    assert re.search(
        r"TCP: 127.0.0.1 port \d+: connected \(.* TLS: not used .*C-ECHO: the peer answered", well
    )
    gone = node.send_form("/remotes", "/remotes/diagnose", {"remote": "GONE"}).shown
    assert re.search(r"TCP: .*connection refused: .* association: not tried", gone)
    assert node.send_form("/remotes", "/remotes/diagnose", {"remote": "X@192.0.2.1:104"}).status == 400
    assert node.visit("/remotes/diagnose", "POST", b"remote=OTHER").status == 403


def test_storage_and_index(node: Visited, make: Callable[..., Dataset]) -> None:
    node.store([make(SOPInstanceUID="1.2.8.1", StudyInstanceUID="1.2.8", SeriesInstanceUID="1.2.8.0")])
    shown = node.visit("/storage").shown
    assert re.search(r"Studies [1-9]", shown)
    assert "index it is complete" in shown
    assert "MiB are free" in shown


def test_the_configuration_without_its_secrets(node: Visited) -> None:
    page = node.visit("/configuration")
    assert "remotes.OTHER.host" in page.shown
    assert "node.toml" in page.shown
    assert "postgresql://dicomnet:***@localhost/dicomnet" in page.shown
    assert "hunter2" not in page.text


def test_a_node_of_a_program_has_no_configuration(tmp_path: Path) -> None:
    with visited(tmp_path, Terms()) as node:
        assert "without a configuration" in node.visit("/configuration").shown


def test_what_workers_do_is_seen_in_each_of_them(tmp_path: Path) -> None:
    with configured(tmp_path, "server.workers = 2", "--http", "0") as node:
        node.wait_for("DICOMweb: http://127.0.0.1:")
        found = re.search(r"pages for a browser: http://127.0.0.1:(\d+)/\n", node.said)
        assert found is not None
        with Peer(node.address, calling="ONE") as one, Peer(node.address, calling="TWO") as two:
            one.echo()
            two.echo()
            for _ in range(6):
                shown = visit(int(found[1]), "/activity").shown
                assert "ONE DICOMNET" in shown
                assert "TWO DICOMNET" in shown
        # A form that one of them made is taken by all of them.
        loaded = visit(int(found[1]), "/remotes")
        token = re.search(r'data-token="([0-9a-f]+)"', loaded.text)
        assert token is not None
        cookie = loaded.headers["set-cookie"].partition(";")[0]
        for _ in range(6):
            body = f"token={token[1]}&remote=X".encode()
            assert visit(int(found[1]), "/remotes/echo", "POST", body, Cookie=cookie).status == 400
