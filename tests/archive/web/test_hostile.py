"""What a hostile browser, client or peer tries at the port for HTTP, and what becomes of it."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from tests.archive.web.page.visits import Visited, visited, written
from tests.archive.web.test_rights import VALUES, routes_of

from dicomnet import Peer
from dicomnet.archive.terms import Terms
from dicomnet.archive.web.access.policy import WebPolicy

EVIL = '"><img src=x onerror=alert(1)>'
TITLE = "<img src=x>"
TEXTS = (
    *("PatientName", "PatientID", "StudyDescription", "SeriesDescription", "AccessionNumber"),
    *("BodyPartExamined", "Modality", "PatientSex", "StudyDate", "StudyTime", "ContentLabel"),
)
VIEWER = "https://viewer.example"
# What is put in the place of each part of each path.
PARTS = [
    "..",
    "../..",
    "%2e%2e",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%252e%252e%252fetc",
    "..\\..\\windows",
    "..%5c..%5cwindows",
    "%00",
    "1.2.3%00",
    "1.2.3%0d%0aSet-Cookie:%20x=1",
    "%2fetc%2fpasswd",
    "C:%5cwindows",
    "1" * 65,
    "1." * 9000,
    "%c3%a9",
    "%ff%fe",
    "%e2%80%ae1.2",
    "%3Cscript%3E",
    "1.2.3;x=1",
    "*",
]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, make: Callable[..., Dataset]) -> Iterator[Visited]:
    policy = WebPolicy(origins=(VIEWER,), hosts=("pacs.example",), may_delete=True, viewer=Path("nowhere"))
    with visited(tmp_path_factory.mktemp("archive"), Terms(web=policy)) as made:
        made.store([_hostile(make(InstanceNumber=1))])
        yield made


def _hostile(data_set: Dataset) -> Dataset:
    """With texts that are none of their VR, of which pydicom would warn."""
    for keyword in TEXTS:
        vr = dictionary_VR(keyword)
        data_set[keyword] = DataElement(keyword, vr, EVIL, validation_mode=config.IGNORE)
    return data_set


def answer(node: Visited, text: str) -> bytes:
    """What is answered to a request as it is written here."""
    with socket.create_connection(("127.0.0.1", node.port), 20) as connection:
        connection.sendall(text.replace("\n", "\r\n").encode("latin-1"))
        found = b""
        while block := connection.recv(1 << 16):
            found += block
    return found


def status(node: Visited, text: str) -> int:
    return int(answer(node, text).split(b" ", 2)[1])


@contextmanager
def canary() -> Iterator[tuple[int, socket.socket]]:
    """A port at which nobody may ask."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener.getsockname()[1], listener
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (["localhost"], 200),
        (["LocalHost.:8080"], 200),
        (["127.0.0.1:"], 200),
        (["[::1]:8080"], 200),
        (["[::ffff:127.0.0.1]"], 200),
        (["pacs.example:443"], 200),
        (["evil.example"], 421),
        (["localhost.evil.example"], 421),
        (["2130706433"], 421),
        (["localhost", "evil.example"], 400),
        (["localhost", "localhost"], 400),
        (["[localhost]"], 400),
        (["[::1"], 400),
        (["localhost:80:80"], 400),
        (["user@localhost"], 400),
        (['localhost/"><script>'], 400),
        (["localhost evil.example"], 400),
        (["l\xf6calhost"], 400),
        ([], 400),
    ],
)
def test_the_header_host(node: Visited, hosts: list[str], expected: int) -> None:
    """Of two, the first was believed; an odd one got into URLs of answers."""
    lines = "".join(f"Host: {each}\n" for each in hosts)
    assert status(node, f"GET /dicom-web/capabilities HTTP/1.1\n{lines}Connection: close\n\n") == expected


@pytest.mark.parametrize(
    "target", ["http://evil.example/dicom-web/studies", "*", "//evil.example/", "evil.example:80"]
)
def test_a_target_of_another_form_leads_nowhere_else(node: Visited, target: str) -> None:
    for method in ("GET", "OPTIONS", "CONNECT"):
        found = answer(node, f"{method} {target} HTTP/1.1\nHost: localhost\nConnection: close\n\n")
        assert int(found.split(b" ", 2)[1]) in (200, 204, 400, 404, 405)
        assert b"evil.example" not in found


@pytest.mark.parametrize(
    "origins",
    [
        ["https://evil.example"],
        ["null"],
        ["http://[::1"],
        ["http://localhost.evil.example"],
        ["http://localhost", "https://evil.example"],
        ["https://viewer.example.evil.example"],
        ["https://viewer.example:8443"],
        [""],
    ],
)
@pytest.mark.parametrize("path", ["/dicom-web/studies", "/login", "/logout", "/remotes/echo"])
def test_a_page_of_another_origin_changes_nothing(node: Visited, origins: list[str], path: str) -> None:
    """One that is no URL was an error of ours."""
    lines = "".join(f"Origin: {each}\n" for each in origins)
    text = f"POST {path} HTTP/1.1\nHost: localhost\n{lines}Content-Length: 0\nConnection: close\n\n"
    assert status(node, text) == 403


def test_the_page_of_a_viewer_reaches_dicomweb_and_neither_pages_nor_login(node: Visited) -> None:
    """It could log its visitors in and out, and read the configuration."""
    allowed = node.visit("/dicom-web/studies?limit=1", Origin=VIEWER)
    assert allowed.headers["access-control-allow-origin"] == VIEWER
    assert node.visit("/dicom-web/studies", "POST", b"", Origin=VIEWER).status == 400
    for path in ("/", "/configuration", "/login", "/studies/1.2.3", "/static/page.js"):
        found = node.visit(path, Origin=VIEWER)
        assert "access-control-allow-origin" not in found.headers
        assert found.headers["cross-origin-resource-policy"] == "same-origin"
        asked = node.visit(path, "OPTIONS", Origin=VIEWER, Access_Control_Request_Method="POST")
        assert not any(name.startswith("access-control") for name in asked.headers)
    for path in ("/login", "/logout", "/studies/1.2.3/delete", "/studies/1.2.3/send", "/remotes/echo"):
        assert node.visit(path, "POST", b"", Origin=VIEWER).status == 403


def test_no_part_of_a_path_leads_anywhere_else(node: Visited) -> None:
    web = node.node._web
    assert web is not None
    paths = {each.pattern for each in routes_of(web._application._router.routes, "") if each.method == "GET"}
    assert len(paths) > 40
    for path in sorted(each for each in paths if "{" in each):
        for name in re.findall(r"\{(\w+)[^}]*\}", path):
            for part in PARTS:
                asked = _with(path, {**VALUES, name: part})
                found = node.visit(asked)
                assert found.status in (400, 404), (asked[:100], found.status)
                assert "set-cookie" not in found.headers or "x=1" not in found.headers["set-cookie"]


def _with(path: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)[^}]*\}", lambda found: values.get(found[1], "1"), path)


def test_what_every_answer_says_to_browsers(node: Visited) -> None:
    web = node.node._web
    assert web is not None
    asked = {each.path for each in routes_of(web._application._router.routes, "") if each.method == "GET"}
    for path in sorted(asked | {"/nothing", "/dicom-web/nothing", "/studies/x", "/dicom-web/studies/x"}):
        headers = node.visit(path).headers
        assert headers["cache-control"].startswith(("private", "no-cache")), path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-frame-options"] in ("DENY", "SAMEORIGIN")
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'"), path
        assert "unsafe" not in policy
        assert "frame-ancestors" in policy


def test_no_page_runs_what_a_peer_has_sent(
    node: Visited, make: Callable[..., Dataset], tmp_path: Path
) -> None:
    other = make(PatientName=EVIL, PatientID="other")
    address = f"NODE@127.0.0.1:{node.node.address[1]}"
    with Peer(address, calling=TITLE) as peer:
        # Its UID is that of another one, so that it is set aside.
        assert [each.status for each in peer.store([written(other, tmp_path / "x")])] == [0xB000]
        assert node.node.holdings.intake.wait_for_all()
        series = f"/studies/{other.StudyInstanceUID}/series/{other.SeriesInstanceUID}"
        sought = urlencode(dict.fromkeys(("name", "id", "accession", "description", "modality"), EVIL))
        study = f"/studies/{other.StudyInstanceUID}"
        pages = [
            *("/", "/?part=rows", f"/?{sought}", f"/?from={quote(EVIL)}", "/?name=nobody"),
            *(study, series, f"{series}/instances/{other.SOPInstanceUID}", f"{study}/delete", "/upload"),
            *("/quarantine", "/remotes", "/activity", "/storage", "/configuration"),
            *(f"/login?next=/{quote(EVIL)}", f"/studies/{quote(EVIL)}", f"/{quote(EVIL)}"),
        ]
        shown = 0
        for page in pages:
            found = node.visit(page)
            shown += EVIL in found.shown or TITLE in found.shown
            if not found.headers["content-type"].startswith("text/html"):
                continue
            for name, attributes in found.elements:
                assert attributes.get("src", "/").startswith(("/static/", "/dicom-web/", "/")), page
                assert attributes.get("src") != "x", page
                assert name != "script" or attributes["src"].startswith("/static/page.js?v="), page
                assert not any(each.startswith("on") or each == "style" for each in attributes), page
                for each in ("href", "action"):
                    assert re.match(r"/(?!/)|#", attributes.get(each, "/")), page
        assert shown >= 8


def test_the_script_of_the_pages_makes_no_html_of_texts(node: Visited) -> None:
    script = node.visit("/static/page.js").text
    assert len(script) > 1000
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert word not in script


def test_names_of_files_are_uids_whatever_patients_are_called(node: Visited) -> None:
    for path, name in (
        ("/studies/1.2.3?accept=application/zip", "1.2.3.zip"),
        ("/studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.5?accept=application/dicom", "1.2.3.4.5.dcm"),
    ):
        with socket.create_connection(("127.0.0.1", node.port), 20) as connection:
            connection.sendall(f"HEAD /dicom-web{path} HTTP/1.0\r\n\r\n".encode())
            head = connection.recv(1 << 16).decode().lower()
        assert f'content-disposition: attachment; filename="{name}"' in head


@pytest.mark.parametrize("way", ["http", "file", "association"])
def test_nobody_is_asked_whom_a_client_names(node: Visited, way: str) -> None:
    """Neither for bulk data, nor as the destination of a study, nor by C-ECHO."""
    with canary() as (port, _):
        if way == "association":
            for page, path, field in (
                ("/studies/1.2.3", "/studies/1.2.3/send", "destination"),
                ("/remotes", "/remotes/echo", "remote"),
            ):
                for name in (f"ANY@127.0.0.1:{port}", f"127.0.0.1:{port}", f"http://127.0.0.1:{port}/", ""):
                    assert node.send_form(page, path, {field: name}).status == 400
            return
        uri = f"http://127.0.0.1:{port}/x" if way == "http" else "file:///etc/passwd"
        model = {
            "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.7"]},
            "00080018": {"vr": "UI", "Value": ["1.2.99"]},
            "0020000D": {"vr": "UI", "Value": ["1.2.9"]},
            "0020000E": {"vr": "UI", "Value": ["1.2.9.9"]},
            "00420011": {"vr": "OB", "BulkDataURI": uri},
        }
        found = node.visit(
            "/dicom-web/studies", "POST", json.dumps([model]).encode(), Content_Type="application/dicom+json"
        )
        assert found.status == 409


def test_neither_secrets_nor_patients_are_in_the_log(node: Visited, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for path in ("/?name=SECRETNAME", "/dicom-web/studies?PatientName=SECRETNAME", "/dicom-web/SECRETNAME"):
        node.visit(path, Authorization="Bearer SECRETTOKEN", Cookie="dicomnet-session=SECRETCOOKIE")
    node.visit("/login", "POST", b"name=alice&password=SECRETPASSWORD", Origin=node.url)
    node.visit("/login?next=/?name=SECRETNAME")
    answer(node, "GET /SECRETNAME HTTP/1.1\nHost: localhost\nX: SECRET\xff\x01\n\n")
    assert "SECRET" not in caplog.text


def test_an_error_of_ours_tells_nothing_of_the_inside(node: Visited, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("/srv/secret DOE^JANE")

    monkeypatch.setattr(type(node.node.holdings), "index_to_search", fail)
    for path in ("/", "/studies/1.2.3", "/dicom-web/studies", "/dicom-web/studies/1.2.3/metadata"):
        found = node.visit(path)
        assert found.status == 500
        assert not re.search("secret|DOE|Traceback|RuntimeError|/srv", found.text)


@pytest.mark.parametrize(
    "key", ["%", "_", "a%", "'", "' OR 1=1 --", '"', "a\0b", "*abc\0def*", "\u202e", "*?" * 500]
)
def test_what_has_a_meaning_in_sql_has_none_in_a_query(node: Visited, key: str) -> None:
    """A NUL within a key was a failure of the index."""
    for name in ("PatientID", "PatientName", "StudyDescription", "AccessionNumber", "StudyInstanceUID"):
        found = node.visit(f"/dicom-web/studies?{urlencode({name: key})}")
        assert found.status == 204 or (found.status == 400 and name == "StudyInstanceUID"), name
    for name in ("id", "name", "accession", "description", "modality"):
        assert node.visit(f"/?{urlencode({name: key})}").status == 200
