"""The description of the interface, and whether the node keeps to it, which schemathesis tries out, too."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import BaseRoute, Mount, Route
from tests.archive.web.clients import ask
from tests.archive.web.served import Served, address_of, sample, served

from dicomnet.archive.terms import Terms
from dicomnet.archive.web.application import application

FILES = ("CT_small.dcm", "test-SR.dcm", "examples_jpeg2k.dcm", "SC_rgb_rle_2frame.dcm", "ExplVR_BigEnd.dcm")
# The routes that no program needs.
PAGES = (
    "/login",
    "/logout",
    "/ohif",
    "/static",
    "/upload",
    "/quarantine",
    "/remotes",
    "/activity",
    "/storage",
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("node")) as running:
        running.store([sample(name) for name in FILES])
        yield running


def _description(node: Served) -> dict[str, Any]:
    answer = node.ask("/api/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    found = answer.json
    assert isinstance(found, dict)
    return found


def _address(path: str, name: str) -> str:
    """A path of the description with the UIDs of a file."""
    _, _, study, _, series, _, instance = address_of(sample(name)).split("/")
    values = {"study": study, "series": series, "instance": instance, "frames": "1", "place": "7FE00010"}
    return path.format(**values)


def _operations(node: Served) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in _description(node)["paths"].items():
        for method, operation in operations.items():
            yield method.upper(), path, operation


def _routes(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    for route in routes:
        if isinstance(route, Mount):
            yield from _routes(route.routes, prefix + route.path)
        else:
            assert isinstance(route, Route)
            for method in (route.methods or set()) - {"HEAD", "OPTIONS"}:
                yield method, prefix + re.sub(r":\w+}", "}", route.path)


def test_each_route_is_described_and_nothing_else(node: Served) -> None:
    made = application(node.node.holdings, Terms(), "NODE", node.node.activity)
    routes = set(_routes(made._router.routes))
    described = {(method, path) for method, path, _ in _operations(node)}
    assert described <= routes
    others = {path for _, path in routes - described}
    assert not {path for path in others if path.startswith(("/dicom-web", "/api"))}


def test_who_may_is_described(tmp_path: Path) -> None:
    with served(tmp_path / "open") as everybody:
        assert _description(everybody)["security"] == []
        assert _description(everybody)["servers"] == [{"url": everybody.url.removesuffix("/dicom-web")}]
        tag = everybody.ask("/api/openapi.json").headers["etag"]
        assert everybody.ask("/api/openapi.json", If_None_Match=tag).status == 304


def test_each_media_type_is_given_as_described(node: Served) -> None:
    """Each answer is of a status and a media type that the description has, whatever is accepted."""
    seen = set()
    for method, path, operation in _operations(node):
        if method != "GET":
            continue
        query = ""
        if path in ("/dicom-web/", "/dicom-web/wado"):
            query = "?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance}"
        kinds = {kind for response in operation["responses"].values() for kind in response.get("content", {})}
        inner = ("application/dicom", "application/dicom+xml", "application/octet-stream", "image/jpeg")
        accepts = [
            *sorted(kinds - {"multipart/related"}),
            *(f'multipart/related; type="{kind}"' for kind in inner),
        ]
        for name in FILES:
            for accept in (*(accepts if name == FILES[2] else ()), "*/*", "image/nothing"):
                answer = node.ask(_address(path + query, name), accept)
                assert answer.status < 500, (path, accept, answer)
                if accept == "image/nothing":
                    assert answer.status in (406, 404), (path, answer)
                responses = operation["responses"]
                assert str(answer.status) in responses, (path, accept, answer)
                kind = answer.headers.get("content-type", "").partition(";")[0]
                content = responses[str(answer.status)].get("content", {})
                assert kind in content or (not kind and not content), (path, accept, answer.status, kind)
                if answer.status == 200:
                    seen.add((path, kind))
    # It did not only refuse.
    assert len({path for path, _ in seen}) == len([0 for method, *_ in _operations(node) if method == "GET"])


def test_a_method_that_is_not_there_is_refused_and_the_others_are_named(node: Served) -> None:
    for path, operations in _description(node)["paths"].items():
        known = {method.upper() for method in operations}
        known |= {"HEAD"} if "GET" in known else set()
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - known:
            address = _address(path, FILES[0])
            for body in ({}, {"Content-Type": "application/dicom", "Content-Length": "0"}):
                answer = node.ask(address, None, method, **body)
                assert answer.status == 405, (method, path, answer)
                assert {each.strip() for each in answer.headers["allow"].split(",")} - {"OPTIONS"} == known
        if "GET" in operations:
            assert node.ask(_address(path, FILES[0]), method="HEAD").status != 405


@pytest.mark.parametrize("path", ["/studies", "/studies/1.2.3"])
def test_a_body_that_is_not_stored_is_refused_with_what_is(node: Served, path: str) -> None:
    for kind in ("text/plain", "image/png", 'multipart/related; type="image/png"; boundary=x'):
        answer = ask(node.address, "POST", path, b"--x\r\n\r\n\r\n--x--", {"Content-Type": kind})
        assert answer.status == 415
        assert "application/dicom" in answer.headers["accept"]
    method_with_a_body = ask(node.address, "TRACE", path, b"body", {"Content-Type": "application/dicom"})
    assert method_with_a_body.status == 405


# One of those whose handler has others, and no WADO-URI, whose parameters are many.
FEW = (
    r"^/api/|^/dicom-web/(capabilities|studies|studies/.study./series)$|^/dicom-web/studies/.study.$"
    r"|/series/.series./(instances|metadata|bulkdata)$|/instances/.instance./(rendered|bulkdata/.place.|frames/.frames.)$"
)
CONFIGURATION = """\
[[operations]]
include-path-regex = "/dicom-web/(wado)?$|/dicom-web/studies(/.study.)?$"
[operations.checks]
# Window center and width go together, and a body of a media type may be any bytes to it.
positive_data_acceptance.enabled = false

[[operations]]
include-path-regex = "/(rendered|thumbnail)$"
[operations.checks]
# The region that is to be shown may lie outside of the image.
positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "406", "5xx"]
"""


def _try_out(node: Served, folder: Path, *options: str, parameters: bool = True) -> None:
    """Let schemathesis try it out; its report is the message of the failure."""
    configuration = CONFIGURATION
    if parameters:
        _, _, study, _, series, _, instance = address_of(sample(FILES[2])).split("/")
        names = {"study": study, "series": series, "instance": instance, "frames": "1", "place": "7FE00010"}
        names |= {"studyUID": study, "seriesUID": series, "objectUID": instance}
        configuration = f"{configuration}[parameters]\n"
        configuration += "".join(f"{name} = {json.dumps(value)}\n" for name, value in names.items())
    (folder / "schemathesis.toml").write_text(configuration)
    # What it stores comes to nothing, as it is no object; nor may it delete.
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / "schemathesis.toml")),
            *("run", node.url.replace("/dicom-web", "/api/openapi.json")),
            *("--continue-on-failure", "--no-color", "--generation-deterministic", *options),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "SCHEMATHESIS_HOOKS": "bodies"},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bodies.py").write_text(BODIES)
    return tmp_path


BODIES = '''
"""Bodies of the media types that are stored, of what schemathesis makes up."""
import schemathesis


def _content(value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@schemathesis.serializer("application/dicom", "application/dicom+json", "application/dicom+xml")
def plain(context, value):
    return _content(value)


@schemathesis.serializer("multipart/related")
def related(context, value):
    return b"--x\\r\\nContent-Type: application/dicom\\r\\n\\r\\n" + _content(value) + b"\\r\\n--x--\\r\\n"
'''


def test_schemathesis_finds_nothing(node: Served, folder: Path) -> None:
    _try_out(node, folder, "--phases", "coverage", "--include-path-regex", FEW)


def test_schemathesis_finds_nothing_in_long(node: Served, folder: Path) -> None:
    _try_out(node, folder, "--phases", "coverage,fuzzing", "--max-examples", "30")
    _try_out(node, folder, "--phases", "coverage,fuzzing", "--max-examples", "30", parameters=False)
