"""What a node gives out to DCMTK and pynetdicom, by C-GET and C-MOVE: byte for byte what it has stored."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from tests.support import (
    ServedNode,
    data_set_of,
    digests_below,
    free_port,
    run_tool,
    serving,
    stored,
    tool,
    wait_until,
)

from dicomnet import Peer

from .corpus import EXPECTED, PADDED, sendables
from .peers import FOREIGN_SCPS

CT, MR = (Path(str(get_testdata_file(name))) for name in ("CT_small.dcm", "MR_small.dcm"))
# By level, the keywords of its unique key and of those above.
LEVELS = {
    "PATIENT": ("PatientID",),
    "STUDY": ("PatientID", "StudyInstanceUID"),
    "SERIES": ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"),
    "IMAGE": ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
}
ROOTS = {"-P": "PATIENT", "-S": "STUDY"}
ROWS = [
    (root, level)
    for root, top in ROOTS.items()
    for level in LEVELS
    if not (top == "STUDY" and level == "PATIENT")
]
of_each_level = pytest.mark.parametrize(("root", "level"), ROWS)


@contextmanager
def filled(folder: Path, *files: Path, **destinations: int) -> Iterator[ServedNode]:
    options = [
        word
        for title, port in destinations.items()
        for word in ("--destination", f"{title}@127.0.0.1:{port}")
    ]
    with serving(folder / "node", *options) as node:
        with Peer(node.address) as peer:
            assert all(result.is_stored for result in peer.store(files))
        yield node


def keys_of(path: Path, root: str, level: str) -> list[str]:
    """The options of DCMTK's tools that select an object."""
    read = pydicom.dcmread(path)
    top = ROOTS[root]
    words = ["-k", f"QueryRetrieveLevel={level}"]
    for keyword in LEVELS[level]:
        if not (top == "STUDY" and keyword == "PatientID"):
            words += ["-k", f"{keyword}={read[keyword].value}"]
    return words


@of_each_level
def test_getscu_of_dcmtk(tmp_path: Path, root: str, level: str) -> None:
    got = tmp_path / "got"
    got.mkdir()
    with filled(tmp_path, CT, MR) as node:
        words = [root, "+B", "-od", str(got), *keys_of(CT, root, level)]
        done = run_tool([tool("getscu"), "-v", *words, "127.0.0.1", str(node.port)])
    assert done.returncode == 0, done.stdout + done.stderr
    assert [data_set_of(path) for path in got.iterdir()] == [data_set_of(CT)]


@of_each_level
def test_movescu_of_dcmtk_to_storescp_of_dcmtk(tmp_path: Path, root: str, level: str) -> None:
    with (
        FOREIGN_SCPS["DCMTK"](tmp_path / "scp") as (port, received),
        filled(tmp_path, CT, MR, SCP=port) as node,
    ):
        words = [root, "-aem", "SCP", *keys_of(CT, root, level)]
        done = run_tool([tool("movescu"), "-v", *words, "127.0.0.1", str(node.port)])
        assert done.returncode == 0, done.stdout + done.stderr
        wait_until(lambda: len(list(received.iterdir())) == 1)
    assert [data_set_of(path) for path in received.iterdir()] == [data_set_of(CT)]


@pytest.mark.parametrize("syntaxes", ["+xs", "+xv", "+xe"])
def test_getscu_of_dcmtk_that_would_rather_have_compressed_objects(tmp_path: Path, syntaxes: str) -> None:
    """It proposes all of them in one context, and for native objects one of the others is of no use."""
    got = tmp_path / "got"
    got.mkdir()
    with filled(tmp_path, CT, MR) as node:
        words = ["-S", "+B", syntaxes, "-od", str(got), *keys_of(CT, "-S", "STUDY")]
        done = run_tool([tool("getscu"), "-v", *words, "127.0.0.1", str(node.port)])
    assert done.returncode == 0, done.stdout + done.stderr
    assert [data_set_of(path) for path in got.iterdir()] == [data_set_of(CT)]


def test_movescu_of_dcmtk_to_itself(tmp_path: Path) -> None:
    port = free_port()
    with filled(tmp_path, CT, MR, HERE=port) as node:
        words = ["-S", "+B", "+xe", "--port", str(port), "-aem", "HERE", *keys_of(MR, "-S", "STUDY")]
        got = tmp_path / "got"
        got.mkdir()
        done = run_tool([tool("movescu"), "-v", *words, "127.0.0.1", str(node.port)], cwd=got)
        assert done.returncode == 0, done.stdout + done.stderr
        assert [data_set_of(path) for path in got.iterdir()] == [data_set_of(MR)]
        # Nobody listens there now.
        done = run_tool(
            [
                tool("movescu"),
                "-d",
                *words[:3],
                "-aem",
                "HERE",
                *keys_of(MR, "-S", "STUDY"),
                "127.0.0.1",
                str(node.port),
            ]
        )
        assert done.returncode != 0
        assert "0xa702" in (done.stdout + done.stderr).lower()


@pytest.mark.parametrize("scp", FOREIGN_SCPS)
def test_all_kinds_of_objects_come_out_as_they_went_in(tmp_path: Path, scp: str) -> None:
    """In all transfer syntaxes, in one C-MOVE."""
    files = [each for each in sendables() if EXPECTED[each.path.name] == 0]
    with (
        FOREIGN_SCPS[scp](tmp_path / "scp") as (port, received),
        serving(tmp_path / "node", "--destination", f"SCP@127.0.0.1:{port}") as node,
    ):
        with Peer(node.address) as peer:
            sent = [result for result in peer.store([each.path for each in files]) if result.is_stored]
            studies = [match.StudyInstanceUID for match in peer.find("study")]
            last = list(peer.move("SCP", "study", StudyInstanceUID=studies))[-1]
        count = len({result.sop_instance_uid for result in sent})
        assert (last.status, last.completed, last.failed) == (0, count, 0), last
        wait_until(lambda: len(list(received.iterdir())) == count)
        kept = stored(node.store)
    expected = Counter(kept.values())
    found = Counter(digests_below(received).values())
    # One of an odd length cannot be sent as it is.
    assert sum((expected - found).values()) <= len(PADDED)


def test_getscu_of_pynetdicom(tmp_path: Path) -> None:
    got = tmp_path / "got"
    with filled(tmp_path, CT, MR) as node:
        words = ["-S", "-od", str(got), *keys_of(CT, "-S", "STUDY")]
        done = run_tool(
            [sys.executable, "-m", "pynetdicom", "getscu", "-v", *words, "127.0.0.1", str(node.port)]
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [pydicom.dcmread(path) for path in got.iterdir()] == [pydicom.dcmread(CT)]


def test_movescu_of_pynetdicom(tmp_path: Path) -> None:
    with (
        FOREIGN_SCPS["pynetdicom"](tmp_path / "scp") as (port, received),
        filled(tmp_path, CT, MR, SCP=port) as node,
    ):
        words = ["-S", "-aem", "SCP", *keys_of(CT, "-S", "STUDY")]
        done = run_tool(
            [sys.executable, "-m", "pynetdicom", "movescu", "-v", *words, "127.0.0.1", str(node.port)]
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert [data_set_of(path) for path in received.iterdir()] == [data_set_of(CT)]
