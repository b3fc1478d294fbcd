"""The same object sent again in another form, by us, DCMTK and pynetdicom: Success, and one copy."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE as ForeignAE  # noqa: N811
from tests.support import dicomnet, quarantined, run_tool, serving, staged, stored, tool, wait_for_files

from dicomnet.drivers.files import open_object

from .corpus import FILES

NAMES = ("CT_small.dcm", "MR_small_bigendian.dcm", "rtplan.dcm", "reportsi.dcm", "rtdose.dcm", "rtstruct.dcm")
OPTIONS = ("-xe", "-xi", "-xb", "-xd")
TARGETS = {"-xe": "+te", "-xi": "+ti", "-xb": "+tb", "-xd": "+td"}
SYNTAXES = {"-xe": ".1", "-xi": "", "-xb": ".2", "-xd": ".1.99"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Real objects of several SOP classes, one of them with Data Set Trailing Padding."""
    folder = tmp_path_factory.mktemp("files")
    found = []
    for name in NAMES:
        [path] = [each for each in FILES if each.name == name]
        if not dcmread(path, force=True, stop_before_pixels=True).file_meta.get("TransferSyntaxUID"):
            continue
        found.append(Path(shutil.copy(path, folder)))
    assert len(found) > 4
    return found


def send(port: int, files: list[Path]) -> None:
    done = run_tool(dicomnet("store", "--json", f"NODE@127.0.0.1:{port}", *map(str, files)))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["status"] for row in rows] == [0] * len(files)


def send_by_dcmtk(port: int, files: list[Path], option: str) -> None:
    done = run_tool([tool("storescu"), "-v", option, "127.0.0.1", str(port), *map(str, files)])
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("Received Store Response (Success)") == len(files)


def converted(files: list[Path], option: str, folder: Path) -> list[Path]:
    folder.mkdir()
    made = []
    for path in files:
        done = run_tool([tool("dcmconv"), TARGETS[option], "-e", "+g", str(path), str(folder / path.name)])
        assert done.returncode == 0, done.stderr
        made.append(folder / path.name)
    return made


def send_by_pynetdicom(port: int, files: list[Path]) -> None:
    """It sends what it reads of each file; what it gives to the network is the encoding of the file."""
    ae = ForeignAE()
    for path in files:
        header = open_object(path).header
        ae.add_requested_context(header.sop_class_uid, header.transfer_syntax_uid)
    assoc = ae.associate("127.0.0.1", port)
    assert assoc.is_established
    for path in files:
        assert assoc.send_c_store(str(path)).Status == 0, path
    assoc.release()


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("command", ["serve", "receive"])
def test_what_we_sent_others_can_send_again(
    option: str, command: str, files: list[Path], tmp_path: Path
) -> None:
    with serving(tmp_path / "node", command=command) as node:
        send(node.port, files)
        wait_for_files(node.store, len(files))
        before = stored(node.store)
        send_by_dcmtk(node.port, files, option)
        send_by_pynetdicom(node.port, converted(files, option, tmp_path / "converted"))
        send(node.port, files)
        assert stored(node.store) == before
        assert len(before) == len(files)
        assert not quarantined(node.store)


@pytest.mark.parametrize("option", OPTIONS)
def test_what_others_sent_we_can_send_again(option: str, files: list[Path], tmp_path: Path) -> None:
    with serving(tmp_path / "node") as node:
        send_by_dcmtk(node.port, files, option)
        wait_for_files(node.store, len(files))
        before = stored(node.store)
        send(node.port, files)
        send_by_pynetdicom(node.port, files)
        assert stored(node.store) == before
        assert not quarantined(node.store)


def test_other_content_in_another_form_is_a_conflict(files: list[Path], tmp_path: Path) -> None:
    with serving(tmp_path / "node") as node:
        send(node.port, files)
        wait_for_files(node.store, len(files))
        before = stored(node.store)
        changed = converted(files, "-xi", tmp_path / "changed")
        for path in changed:
            done = run_tool([tool("dcmodify"), "-nb", "-m", "(0010,0010)=Somebody^Else", str(path)])
            assert done.returncode == 0, done.stderr
        command = [tool("storescu"), "-v", "-nh", "-xi", "127.0.0.1", str(node.port), *map(str, changed)]
        done = run_tool(command)
        assert (done.stdout + done.stderr).count("Warning: CoercionOfDataElements") == len(files)
        assert stored(node.store) == before
        assert len(quarantined(node.store)) == len(files)


@pytest.mark.parametrize("workers", [1, 2])
def test_sixteen_senders_in_four_syntaxes_at_once(workers: int, files: list[Path], tmp_path: Path) -> None:
    with serving(tmp_path / "node", "--workers", str(workers)) as node:

        def run(number: int) -> None:
            send_by_dcmtk(node.port, files, OPTIONS[number % 4])

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(run, range(16)))
        wait_for_files(node.store, len(files))
        assert len(stored(node.store)) == len(files)
        assert not quarantined(node.store)
        assert not staged(node.store)
