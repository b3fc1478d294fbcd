"""A DICOMweb service as a remote of a node and of its tools: by its URL in the configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from tests.archive.web.served import Served, served
from tests.cli.command import run
from tests.settings.nodes import configured
from tests.web import Asked, Says, web

from dicomnet import Peer
from dicomnet.errors import ServiceRefusal

FILES = [Path(str(get_testdata_file(name, download=False))) for name in ("CT_small.dcm", "JPEG2000.dcm")]


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "cloud") as running:
        yield running


def _moved(address: str, title: str) -> list[int | None]:
    """What becomes of the objects of each study that is moved to a destination: how many are completed."""
    with Peer(address) as peer:
        assert all(each.is_stored for each in peer.store(FILES))
        completed: list[int | None] = []
        for path in FILES:
            study = dcmread(path).StudyInstanceUID
            *_, last = peer.move(title, "study", StudyInstanceUID=study)
            completed.append(last.completed)
        return completed


def test_a_node_stores_to_a_dicomweb_service(cloud: Served, tmp_path: Path) -> None:
    """C-MOVE to the title of a remote that is a URL: by STOW-RS, as the objects are stored."""
    content = (
        f'[remotes.CLOUD]\nurl = "{cloud.url}/"\n[remotes.other]\nurl = "{cloud.url}"\nae_title = "CLOUD 2"\n'
    )
    with configured(tmp_path, content) as node:
        assert _moved(node.address, "CLOUD") == [1, 1]
        assert _moved(node.address, "CLOUD 2") == [1, 1]
    with Peer(cloud.url) as peer:
        for path in FILES:
            own = dcmread(path)
            *_, last = peer.get("study", to=tmp_path / "got", StudyInstanceUID=str(own.StudyInstanceUID))
            assert last.is_complete
            got = dcmread(tmp_path / "got" / f"{own.SOPInstanceUID}.dcm")
            assert got.file_meta.TransferSyntaxUID == own.file_meta.TransferSyntaxUID
            assert got.PixelData == own.PixelData


def test_a_node_shows_its_token_to_a_dicomweb_service(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Says:
        return Says(401)

    (tmp_path / "token").write_text("a-token\n")
    (tmp_path / "token").chmod(0o600)
    with web(answer) as server:
        content = f'[remotes.CLOUD]\nurl = "{server.url}"\ntoken_file = "token"\n'
        with configured(tmp_path, content) as node:
            address = node.address
            with pytest.raises(ServiceRefusal):
                _moved(address, "CLOUD")
            assert {each.headers["Authorization"] for each in server.asked} == {"Bearer a-token"}
            # Without it nothing is sent at all, and it is said.
            (tmp_path / "token").unlink()
            count = len(server.asked)
            with pytest.raises(ServiceRefusal):
                _moved(address, "CLOUD")
            assert len(server.asked) == count


def test_tools_know_it_by_its_name(cloud: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "tools.toml"
    file.write_text("")
    by = ("--config", str(file))
    assert run("remotes", "add", "cloud", f"{cloud.url}/", "jobs=2", *by).returncode == 0
    assert f'url = "{cloud.url}"' in file.read_text()
    (line,) = run("remotes", "list", "--json", *by).stdout.splitlines()
    row = json.loads(line)
    assert (row["name"], row["url"], row["port"]) == ("cloud", cloud.url, cloud.address[1])
    assert run("store", "cloud", str(FILES[0]), *by).returncode == 0
    found = run("find", "cloud", "-L", "study", "--json", *by)
    assert dcmread(FILES[0]).StudyInstanceUID in found.stdout
    assert run("remotes", "test", "cloud", *by).returncode == 0
    assert run("worklist", "cloud", *by).returncode == 2
    monkeypatch.setenv("DICOMNET_CONFIG", str(file))
    with Peer("cloud") as peer:
        assert peer.echo() > 0


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", None),
        ("port = 104", "port: it is for associations, and there is url"),
        ('calling = "A"', "calling: it is for associations, and there is url"),
        ('ca = "x.pem"', "ca: it needs https"),
        ('token_variable = "T"\nuser = "me"', "token_variable: there is user, too"),
        ('token_variable = "T"\ntoken_file = "t"', "token_variable: there is token_file, too"),
    ],
)
def test_what_does_not_go_together_is_said(tmp_path: Path, lines: str, said: str | None) -> None:
    file = tmp_path / "tools.toml"
    file.write_text(f'[remotes.cloud]\nurl = "http://127.0.0.1:1/dicom-web"\n{lines}\n')
    ran = run("remotes", "list", "--config", str(file), "--json")
    if said is None:
        assert ran.returncode == 0, ran.stderr
    else:
        assert ran.returncode != 0
        assert said in ran.stderr


def test_a_token_is_for_dicomweb_and_an_address_has_to_be_one(tmp_path: Path) -> None:
    file = tmp_path / "tools.toml"
    for content, said in (
        ('host = "127.0.0.1"\nport = 104\ntoken_file = "t"', "token_file: it needs url"),
        ('url = "pacs.example/dicom-web"', "url: found"),
        ('url = "https://me:secret@pacs.example"', "url: found"),
    ):
        file.write_text(f"[remotes.x]\n{content}\n")
        ran = run("remotes", "list", "--config", str(file), "--json")
        assert ran.returncode != 0
        assert said in ran.stderr
