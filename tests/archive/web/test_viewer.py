"""The full viewer is served from its folder: its files, in their types, and nothing else."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from tests.archive.viewers import CODE, FILES, packed
from tests.archive.web.page.visits import Visited, visited
from tests.support import wait_until

from dicomnet.archive.terms import Terms
from dicomnet.archive.users import UsersFile, new_user
from dicomnet.archive.viewer import install, remove
from dicomnet.archive.web.access.policy import WebPolicy

BUNDLE = "/ohif/app.bundle.0123456789abcdef.js"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An installed viewer."""
    release = packed(tmp_path / "a.tgz")
    install(tmp_path / "a.tgz", tmp_path / "ohif", release)
    return tmp_path / "ohif"


@pytest.fixture
def node(tmp_path: Path, folder: Path) -> Iterator[Visited]:
    with visited(tmp_path / "node", Terms(web=WebPolicy(viewer=folder))) as made:
        yield made


def fetched(
    node: Visited, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """A response, of which the path is sent as it is."""
    connection = HTTPConnection("127.0.0.1", node.port, timeout=30)
    try:
        connection.request(
            method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        response = connection.getresponse()
        return (
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", "text/html; charset=utf-8"),
        ("index.html", "text/html; charset=utf-8"),
        ("viewer?StudyInstanceUIDs=1.2.3", "text/html; charset=utf-8"),
        ("segmentation/dicomweb", "text/html; charset=utf-8"),
        ("app-config.js", "text/javascript; charset=utf-8"),
        ("app.bundle.css", "text/css; charset=utf-8"),
        ("0123456789abcdef.wasm", "application/wasm"),
        ("fedcba9876543210.woff2", "font/woff2"),
        ("manifest.json", "application/json"),
        ("assets/a.png", "image/png"),
        ("LICENSE", "application/octet-stream"),
    ],
)
def test_files_have_their_types(node: Visited, folder: Path, path: str, kind: str) -> None:
    status, headers, body = fetched(node, f"/ohif/{path}")
    assert (status, headers["content-type"]) == (200, kind)
    name = path if (folder / path).is_file() else "index.html"
    assert body == (folder / name).read_bytes()
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_what_has_a_digest_in_its_name_is_kept(node: Visited) -> None:
    kept = {BUNDLE, "/ohif/0123456789abcdef.wasm", "/ohif/fedcba9876543210.woff2"}
    for path in (*kept, "/ohif/", "/ohif/app-config.js", "/ohif/app.bundle.css", "/ohif/assets/a.png"):
        _, headers, _ = fetched(node, path)
        assert ("immutable" in headers["cache-control"]) is (path in kept), path
        status, _, body = fetched(node, path, If_None_Match=headers["etag"])
        assert (status, body) == (304, b"")


def test_text_is_compressed_for_those_who_take_it(node: Visited) -> None:
    plain = CODE.replace(b'p = "/"', b'p = "/ohif/"')
    status, headers, body = fetched(node, BUNDLE)
    assert (status, body) == (200, plain)
    assert "content-encoding" not in headers
    status, zipped, body = fetched(node, BUNDLE, Accept_Encoding="gzip, br")
    assert (status, zipped["content-encoding"]) == (200, "gzip")
    assert int(zipped["content-length"]) == len(body) < len(plain)
    assert gzip.decompress(body) == plain
    assert zipped["vary"] == headers["vary"] == "Accept-Encoding"
    assert zipped["etag"] != headers["etag"]
    status, head, body = fetched(node, BUNDLE, "HEAD")
    assert (status, head["content-length"], body) == (200, str(len(plain)), b"")


@pytest.mark.parametrize(
    "path",
    [
        "../secret.js",
        "..%2fsecret.js",
        "%2e%2e/secret.js",
        "assets/../../secret.js",
        "..%5csecret.js",
        "/etc/secret.js",
        "%2fetc%2fpasswd.js",
        "secret.js%00.png",
        "viewer.json",
        "missing.js",
        "ort/ort.js",
        "link.js",
        "behind/x.js",
    ],
)
def test_nothing_else_is_given_out(node: Visited, folder: Path, path: str) -> None:
    secret = folder.parent / "secret.js"
    secret.write_text("secret")
    (folder / "link.js").symlink_to(secret)
    (folder / "behind").symlink_to(folder.parent)
    status, _, body = fetched(node, f"/ohif/{path}")
    assert status == 404
    assert b"secret" not in body


def test_a_listed_file_that_became_a_link(node: Visited, folder: Path) -> None:
    secret = folder.parent / "secret"
    secret.write_text("secret")
    (folder / "app.bundle.css").unlink()
    (folder / "app.bundle.css").symlink_to(secret)
    status, _, body = fetched(node, "/ohif/app.bundle.css")
    assert status == 404
    assert b"missing" in body


def test_another_viewer_is_there_at_once(node: Visited, folder: Path) -> None:
    release = packed(folder.parent / "b.tgz", {**FILES, "package/dist/new.js": b"new"}, version="2")
    assert fetched(node, "/ohif/new.js")[0] == 404
    install(folder.parent / "b.tgz", folder, release)
    assert fetched(node, "/ohif/new.js")[2] == b"new"
    remove(folder)
    status, _, body = fetched(node, "/ohif/")
    assert status == 404
    assert b"dicomnet viewer install" in body


# Installs a viewer, and is killed before a call of a function, the first or the second one.
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from dicomnet.archive import viewer
tarball, folder, digest, where, count = sys.argv[1:]
owner = {"rename": Path, "rmtree": shutil}.get(where, viewer)
function, left = getattr(owner, where), int(count)
def counted(*arguments, **options):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*arguments, **options)
setattr(owner, where, counted)
viewer.install(Path(tarball), Path(folder), viewer.Release("@ohif/app", "2.0.0", digest))
"""


@pytest.mark.parametrize(
    ("where", "count", "served"),
    [
        # Nothing is in its place yet; neither of both is; the new one is.
        ("_rewrite", 1, "old"),
        ("rename", 1, "old"),
        ("rename", 2, None),
        ("rmtree", 1, "new"),
    ],
)
def test_an_installer_that_is_killed_leaves_no_half_of_a_viewer(
    node: Visited, folder: Path, tmp_path: Path, where: str, count: int, served: str | None
) -> None:
    newer = packed(tmp_path / "b.tgz", {**FILES, "package/dist/new.js": b"new"}, version="2.0.0")
    old = fetched(node, "/ohif/")[2]
    words = (str(tmp_path / "b.tgz"), str(folder), newer.digest, where, str(count))
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    status, _, body = fetched(node, "/ohif/")
    assert (status, body) == ((404, body) if served is None else (200, old))
    assert fetched(node, "/ohif/new.js")[0] == (200 if served == "new" else 404)
    # Another run sets it right, and takes away what was left.
    install(tmp_path / "b.tgz", folder, newer)
    assert fetched(node, "/ohif/")[::2] == (200, old)
    assert fetched(node, "/ohif/new.js")[::2] == (200, b"new")
    assert {path.name for path in tmp_path.iterdir()} == {"a.tgz", "b.tgz", "node", "ohif"}


def test_the_address_without_a_slash(node: Visited) -> None:
    status, headers, _ = fetched(node, "/ohif")
    assert (status, headers["location"]) == (308, "/ohif/")


def test_only_those_who_may_read(tmp_path: Path, folder: Path) -> None:
    users = UsersFile(tmp_path / "users.toml")
    with users.changing() as (known, _):
        known["eve"] = new_user("eve", "sender", "a long password")
        known["bob"] = new_user("bob", "viewer", "a long password")
    with visited(tmp_path / "node", Terms(web=WebPolicy(viewer=folder, users=users))) as node:
        for path in ("/ohif/", BUNDLE):
            assert fetched(node, path)[0] == 401
            for name, status in (("eve", 403), ("bob", 200)):
                credentials = b64encode(f"{name}:a long password".encode()).decode()
                assert fetched(node, path, Authorization=f"Basic {credentials}")[0] == status
        status, headers, _ = fetched(node, "/ohif/viewer?StudyInstanceUIDs=1.2", Accept="text/html")
        assert status == 303
        assert headers["location"].startswith("/login?next=/ohif/viewer")


def test_the_page_of_a_study_leads_there(node: Visited, folder: Path, make: Callable[..., Dataset]) -> None:
    node.store([make(StudyInstanceUID="1.2.3")])
    pattern = r"/ohif/.*"
    assert node.visit("/studies/1.2.3").links(pattern) == ["/ohif/viewer?StudyInstanceUIDs=1.2.3"]
    remove(folder)
    assert not node.visit("/studies/1.2.3").links(pattern)


def test_clients_that_leave_cost_no_descriptor(node: Visited, folder: Path) -> None:
    (folder / "app.bundle.css").write_bytes(b" " * 20_000_000)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        connection = HTTPConnection("127.0.0.1", node.port, timeout=30)
        connection.request("GET", "/ohif/app.bundle.css")
        connection.getresponse().read(10)
        connection.close()
    assert fetched(node, "/ohif/app-config.js")[0] == 200
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before + 1)
