"""STOW-RS while there is no space: each object is answered for, nothing is there by half, and then all goes on."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.archive.web.clients import WebNode, ask, content_type, multipart
from tests.archive.web.processes import serving_web, store_files
from tests.faults.objects import CT_IMAGE_STORAGE, file_of, study_uid, uid, write_objects
from tests.support import ServedNode, data_set_of, digest, staged, stored, wait_until

LARGE = 3 << 20


def limit(node: ServedNode, length: int) -> None:
    """Let no file of a node grow beyond a length, which it is told as it is told of a full disk."""
    _, hard = resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (length, hard))


def described(number: int, bulk: str) -> dict[str, Any]:
    """The metadata of an object whose pixel data are elsewhere in the body."""
    texts = {"00080016": CT_IMAGE_STORAGE, "00080018": uid(1, number), "0020000D": study_uid(1)}
    model: dict[str, Any] = {tag: {"vr": "UI", "Value": [text]} for tag, text in texts.items()}
    series = {"vr": "UI", "Value": [study_uid(1) + ".1"]}
    return model | {"0020000E": series, "7FE00010": {"vr": "OB", "BulkDataURI": bulk}}


def test_each_object_of_an_upload_to_a_full_disk_has_its_outcome(tmp_path: Path) -> None:
    small = write_objects(tmp_path / "small", 1, 4)
    large = write_objects(tmp_path / "large", 2, 2, LARGE)
    with serving_web(tmp_path) as (node, address):
        assert store_files(address, small[:1]).status == 200
        limit(node, 1 << 20)
        answer = store_files(address, [large[0], *small[1:], large[1]])
        assert (answer.status, answer.failed) == (202, {uid(2, 1): 0xA700, uid(2, 2): 0xA700})
        assert answer.stored == [uid(1, number) for number in (2, 3, 4)]
        answer = store_files(address, large)
        assert (answer.status, answer.headers["retry-after"]) == (503, "30")
        assert not staged(node.store)
        limit(node, resource.RLIM_INFINITY)
        assert store_files(address, [*small, *large]).status == 200
        node.end()
    assert stored(node.store) == {
        uid(int(path.parent.name == "large") + 1, int(path.stem)): digest(data_set_of(path))
        for path in (*small, *large)
    }


def test_bulk_data_for_which_there_is_no_space_cost_only_the_objects_that_have_them(tmp_path: Path) -> None:
    """And these are refused as such for which there is no room, which a client tries again."""
    with serving_web(tmp_path) as (node, address):
        assert ask(address, "GET", "/studies").status == 204
        models = [described(number, f"bulk{number}") for number in (1, 2, 3)]
        kind = "Content-Type: application/octet-stream\r\nContent-Location: bulk"
        body = multipart(
            [
                ("Content-Type: application/dicom+json", json.dumps(models).encode()),
                (f"{kind}1", bytes(LARGE)),
                (f"{kind}2", bytes(100_000)),
                (f"{kind}3", bytes(LARGE)),
                file_of(1, 4),
            ]
        )
        head = {"Content-Type": content_type("application/dicom+json")}
        limit(node, 1 << 20)
        # The journal has no segment yet, and each has more bytes than a file may have now.
        assert ask(address, "POST", "/studies", body, head).status == 503
        limit(node, resource.RLIM_INFINITY)
        assert ask(address, "POST", "/studies", multipart([file_of(1, 5)]), head).status == 200
        limit(node, 1 << 20)
        answer = ask(address, "POST", "/studies", body, head)
        assert (answer.status, answer.failed) == (202, {uid(1, 1): 0xA700, uid(1, 3): 0xA700})
        assert sorted(answer.stored) == [uid(1, 2), uid(1, 4)]
        limit(node, resource.RLIM_INFINITY)
        answer = ask(address, "POST", "/studies", body, head)
        assert (answer.status, len(answer.stored)) == (200, 4)
        node.end()
    assert stored(node.store).keys() == {uid(1, number) for number in range(1, 6)}
    assert not staged(node.store)


def test_what_was_acknowledged_and_cannot_be_filed_is_not_taken_for_what_is_not_there(
    web_node: Callable[..., WebNode],
) -> None:
    """Studies without it were answered as whole, and it was said that there is no such series."""
    node = web_node()
    there, stuck = f"/studies/{study_uid(1)}", f"/studies/{study_uid(1)}/series/1.2.3"
    image = {"Rows": 32, "Columns": 32, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}
    node.store([file_of(1, 1, 1024, **image), file_of(2, 1)])
    assert node.objects == [uid(1, 1), uid(2, 1)]
    (path,) = node.folder.rglob(f"{uid(1, 1)}.dcm")
    in_the_way = path.parents[1] / "1.2.3"
    in_the_way.write_text("a series cannot have its folder")
    assert node.store([file_of(1, 2, 1024, **image, SeriesInstanceUID="1.2.3")]).status == 200
    files: dict[str, str] = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    pixels = {"Accept": 'multipart/related; type="application/octet-stream"'}
    requests: tuple[tuple[str, dict[str, str]], ...] = (
        (there, files),
        (f"{there}/metadata", {}),
        (f"{there}/pixeldata", pixels),
    )
    for path_, headers in requests:
        answer = node.ask("GET", path_, None, headers)
        assert answer.status == 206
        assert answer.headers["warning"] == '299 - "objects that were received lately cannot be found yet"'
        assert "etag" not in answer.headers
    warned = node.ask("GET", f"{there}/series")
    assert warned.headers["warning"].endswith(": objects that were received lately cannot be found yet")
    alone = node.ask("GET", stuck, None, files)
    assert (alone.status, alone.headers["retry-after"]) == (503, "5")
    # Other studies are whole.
    assert node.ask("GET", f"/studies/{study_uid(2)}", None, files).status == 200
    assert "warning" not in node.ask("GET", f"/studies/{study_uid(2)}/series").headers
    in_the_way.unlink()
    wait_until(lambda: node.ask("GET", stuck, None, files).status == 200, 10, "it is filed")
    for path_, headers in requests:
        assert node.ask("GET", path_, None, headers).status == 200
