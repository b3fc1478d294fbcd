"""What a node gives out to DCMTK and pynetdicom, by C-GET and C-MOVE: byte for byte what it has stored."""

from __future__ import annotations

import os
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
    is_listening,
    run_tool,
    running_process,
    serving,
    stored,
    tool,
    wait_until,
)

from dicomnet import Peer

from .corpus import EXPECTED, PADDED, sendables
from .peers import FOREIGN_SCPS, send_by_dcmtk

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


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "JPEG-LL.dcm"])
def test_what_dcmtk_has_stored_it_finds_at_each_level_and_gets_back(tmp_path: Path, name: str) -> None:
    """storescu, findscu, movescu with storescp, and getscu for a native object: byte for byte.

    storescu encodes some objects anew, so it sends the object to storescp, too. getscu proposes compressed transfer
    syntaxes only beside native ones in one context, of which the node takes a native one.
    """
    path = Path(str(get_testdata_file(name)))
    got = tmp_path / "got"
    got.mkdir()
    with (
        FOREIGN_SCPS["DCMTK"](tmp_path / "scp") as (port, received),
        serving(tmp_path / "node", "--destination", f"SCP@127.0.0.1:{port}") as node,
    ):
        peer = ["127.0.0.1", str(node.port)]
        assert [send_by_dcmtk(each, [path], tmp_path) for each in (port, node.port)] == [[0], [0]]
        for level in LEVELS:
            keys = keys_of(path, "-P", level)
            found = run_tool([tool("findscu"), "-v", "-P", *keys, *peer])
            said = found.stdout + found.stderr
            assert ("Find Response: 1 (Pending)" in said, "Find Response: 2" in said) == (True, False), said
        keys = keys_of(path, "-P", "STUDY")
        done = run_tool([tool("movescu"), "-v", "-P", "-aem", "SCP", *keys, *peer])
        assert done.returncode == 0, done.stdout + done.stderr
        wait_until(lambda: len(list(received.iterdir())) == 2)
        if name == "CT_small.dcm":
            done = run_tool([tool("getscu"), "-v", "-P", "+B", "-od", str(got), *keys, *peer])
            assert done.returncode == 0, done.stdout + done.stderr
            assert len(list(got.iterdir())) == 1
    assert len({data_set_of(each) for folder in (received, got) for each in folder.iterdir()}) == 1


@pytest.mark.parametrize("decompress", ["if-needed", "never"])
def test_compressed_objects_to_programs_of_dcmtk_that_take_native_ones_only(
    tmp_path: Path, decompress: str
) -> None:
    """They are decompressed or not sent at all, as configured; beside them, native ones are sent as they are."""
    compressed, native = (Path(str(get_testdata_file(name))) for name in ("MR_small_RLE.dcm", "MR_small.dcm"))
    got, received, port = tmp_path / "got", tmp_path / "received", free_port()
    got.mkdir()
    received.mkdir()
    arguments = [tool("storescp"), "--bit-preserving", "-od", str(received), str(port)]
    options = ("--destination", f"SCP@127.0.0.1:{port}", "--decompress", decompress)
    path = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if "lean" not in each]
    with_decoders = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    with (
        running_process(arguments, tmp_path),
        serving(tmp_path / "node", *options, environment=with_decoders) as node,
    ):
        wait_until(lambda: is_listening(port), what="storescp listens")
        peer = ["127.0.0.1", str(node.port)]
        with Peer(node.address) as sender:
            assert all(result.is_stored for result in sender.store([compressed, CT]))
        read = [pydicom.dcmread(path) for path in (compressed, CT)]
        keys = ["-k", "QueryRetrieveLevel=STUDY"]
        keys += ["-k", "StudyInstanceUID=" + "\\".join(each.StudyInstanceUID for each in read)]
        moved = run_tool([tool("movescu"), "-v", "-S", "-aem", "SCP", *keys, *peer])
        gotten = run_tool([tool("getscu"), "-v", "-S", "+B", "-od", str(got), *keys, *peer])
    is_sent = decompress == "if-needed"
    # DCMTK's exit status tells of a warning, too.
    assert (moved.returncode == 0) is is_sent, moved.stdout + moved.stderr
    said = gotten.stdout + gotten.stderr
    assert ("Received C-GET Response (Success)" in said) is is_sent, said
    for folder in (received, got):
        files = {pydicom.dcmread(each).SOPInstanceUID: each for each in folder.iterdir()}
        assert len(files) == 1 + is_sent
        assert data_set_of(files[read[1].SOPInstanceUID]) == data_set_of(CT)
        if is_sent:
            found = pydicom.dcmread(files[read[0].SOPInstanceUID])
            assert not found.file_meta.TransferSyntaxUID.is_compressed
            assert found.PixelData == pydicom.dcmread(native).PixelData


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
