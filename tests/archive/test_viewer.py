"""The full viewer is installed as a whole or not at all, and no package leads out of its folder."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from tests.archive.viewers import CODE, FILES, member, packed

from dicomnet.archive.viewer import MANIFEST, Release, install, read, remove, usual_folder
from dicomnet.errors import ViewerUnusable


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def test_what_is_written(tmp_path: Path) -> None:
    release = packed(tmp_path / "a.tgz")
    folder = tmp_path / "data" / "ohif"
    viewer = install(tmp_path / "a.tgz", folder, release)
    code = "app.bundle.0123456789abcdef.js"
    wanted = {
        "LICENSE",
        "index.html",
        "app-config.js",
        "app-config.js.gz",
        code,
        f"{code}.gz",
        "app.bundle.css",
    }
    wanted |= {"fedcba9876543210.woff2", "0123456789abcdef.wasm", "manifest.json", "assets/a.png"}
    assert set(viewer.files) | {MANIFEST} == names_in(folder) == wanted | {MANIFEST}
    assert read(folder) == viewer
    assert viewer.version == "1.0.0"
    page = (folder / "index.html").read_text()
    assert "service-worker" not in page
    assert "<script>" not in page
    assert 'src="/ohif/app-config.js"' in page
    assert 'href="/ohif/app.bundle.css"' in page
    assert '"/app' not in page
    rewritten = CODE.replace(b'p = "/"', b'p = "/ohif/"')
    assert (folder / code).read_bytes() == gzip.decompress((folder / f"{code}.gz").read_bytes()) == rewritten
    assert (folder / "app.bundle.css").read_text() == "@font-face{src:url(/ohif/fedcba9876543210.woff2)}"
    assert json.loads((folder / "manifest.json").read_text())["icons"][0]["src"] == "/ohif/assets/a.png"
    configuration = (folder / "app-config.js").read_text()
    assert "demo.example" not in configuration
    assert '"wadoRoot": "/dicom-web"' in configuration


@pytest.mark.parametrize(
    ("other", "said"),
    {
        "above": (member("package/dist/../../../evil.js"), "outside"),
        "absolute": (member("/tmp/evil.js"), "outside"),
        "backslashes": (member("package\\dist\\..\\evil.js"), "outside"),
        "a symbolic link": (member("package/dist/evil", tarfile.SYMTYPE, "/etc"), "link"),
        "a hard link": (member("package/dist/evil", tarfile.LNKTYPE, "/etc/passwd"), "link"),
        "a device": (member("package/dist/evil", tarfile.CHRTYPE), "device"),
        "a pipe": (member("package/dist/evil", tarfile.FIFOTYPE), "device"),
        "two of a name": (member("package/dist/index.html"), "two files"),
        "a file in place of a folder": (member("package/dist/assets"), "two files"),
    }.values(),
)
def test_a_hostile_package_leaves_nothing(tmp_path: Path, other: tarfile.TarInfo, said: str) -> None:
    release = packed(tmp_path / "a.tgz", others=[other])
    with pytest.raises(ViewerUnusable, match=said):
        install(tmp_path / "a.tgz", tmp_path / "data" / "ohif", release)
    assert names_in(tmp_path) == {"a.tgz"}
    assert not list((tmp_path / "data").iterdir())


def test_a_package_that_inflates_without_end(tmp_path: Path) -> None:
    large = member("package/dist/zeros")
    large.size = 1 << 40
    with pytest.raises(OSError, match="unexpected end of data"):
        packed(tmp_path / "a.tgz", others=[large])
    release = Release("@ohif/app", "1", _digest(tmp_path / "a.tgz"))
    with pytest.raises(ViewerUnusable, match="more in it"):
        install(tmp_path / "a.tgz", tmp_path / "ohif", release)
    assert names_in(tmp_path) == {"a.tgz"}


def _digest(path: Path) -> str:
    import hashlib

    return hashlib.sha512(path.read_bytes()).hexdigest()


def test_a_package_that_is_cut_off(tmp_path: Path) -> None:
    packed(tmp_path / "a.tgz")
    cut = tmp_path / "b.tgz"
    cut.write_bytes((tmp_path / "a.tgz").read_bytes()[:600])
    with pytest.raises(ViewerUnusable, match="cannot be unpacked"):
        install(cut, tmp_path / "ohif", Release("@ohif/app", "1", _digest(cut)))
    assert names_in(tmp_path) == {"a.tgz", "b.tgz"}


def test_another_package_is_refused(tmp_path: Path) -> None:
    packed(tmp_path / "a.tgz")
    with pytest.raises(ViewerUnusable, match=r"not the tarball of @ohif/app@3\.13\.2"):
        install(tmp_path / "a.tgz", tmp_path / "ohif")
    assert names_in(tmp_path) == {"a.tgz"}


def test_one_without_a_page_is_refused(tmp_path: Path) -> None:
    release = packed(tmp_path / "a.tgz", {"package/dist/x.js": b""})
    with pytest.raises(ViewerUnusable, match=r"no dist/index\.html"):
        install(tmp_path / "a.tgz", tmp_path / "ohif", release)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    release = packed(tmp_path / "a.tgz")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "letter.txt").write_text("mine")
    with pytest.raises(ViewerUnusable, match="something else"):
        install(tmp_path / "a.tgz", folder, release)
    assert not remove(folder)
    assert names_in(tmp_path) == {"a.tgz", "mine/letter.txt"}


def test_another_one_takes_the_place_and_a_failure_leaves_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "ohif"
    install(tmp_path / "a.tgz", folder, packed(tmp_path / "a.tgz"))
    bad = packed(tmp_path / "b.tgz", others=[member("../x")], version="2.0.0")
    with pytest.raises(ViewerUnusable):
        install(tmp_path / "b.tgz", folder, bad)
    found = read(folder)
    assert found is not None
    assert found.version == "1.0.0"
    newer = packed(tmp_path / "c.tgz", {**FILES, "package/dist/new.js": b"new"}, version="2.0.0")
    assert install(tmp_path / "c.tgz", folder, newer).version == "2.0.0"
    assert (folder / "new.js").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"a.tgz", "b.tgz", "c.tgz", "ohif"}
    assert remove(folder)
    assert read(folder) is None
    assert {path.name for path in tmp_path.iterdir()} == {"a.tgz", "b.tgz", "c.tgz"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"form": 1, "version": "1", "files": {"../x": 1}}',
        b'{"form": 2, "version": "1", "files": {}}',
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(ViewerUnusable):
        read(tmp_path)


def test_the_usual_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert usual_folder() == Path("/data/dicomnet/ohif")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/x")
    assert usual_folder() == Path("/home/x/.local/share/dicomnet/ohif")


def test_the_command_says_what_it_cannot_do(tmp_path: Path) -> None:
    packed(tmp_path / "a.tgz")
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data"), "PATH": str(tmp_path)}
    for words, said in (
        (["show"], "there is no viewer in"),
        (["remove"], "there is no viewer in"),
        (["install"], "npm is not installed here"),
        (["install", "--from", "a.tgz"], "not the tarball of"),
        (["install", "--from", "b.tgz"], "b.tgz: no such file"),
    ):
        command = [sys.executable, "-m", "dicomnet", "viewer", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 1
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    assert names_in(tmp_path) == {"a.tgz"}
