"""`dicomnet export`: copies of what is stored, which pydicom and DCMTK read as a File-set."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydicom.fileset import FileSet
from tests.cli.command import complaint, run, run_on_terminal
from tests.cli.conftest import CT, MR, TEST_FILES
from tests.faults.objects import study_uid, uid, write_objects
from tests.support import dicomnet, run_tool, serving, tool

from dicomnet import Peer

HOW = pytest.mark.parametrize("how", [(), ("--workers", "2"), None], ids=["node", "workers", "no node"])


def _stored(store: Path) -> dict[str, bytes]:
    """The files of an archive by their SOP Instance UIDs."""
    return {path.stem: path.read_bytes() for path in (store / "objects").rglob("*.dcm")}


def _below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with two studies of three objects each."""
    folder = tmp_path_factory.mktemp("imported")
    write_objects(folder / "in", 1, 3)
    write_objects(folder / "in2", 2, 3, 300_000)
    assert run("import", "--data", folder / "store", folder / "in", folder / "in2").returncode == 0
    return folder / "store"


@pytest.fixture
def store(tmp_path: Path, imported: Path) -> Path:
    """A copy of it for each test."""
    shutil.copytree(imported, tmp_path / "store")
    return tmp_path / "store"


@HOW
def test_what_was_acknowledged_is_exported_at_once_as_it_is(
    tmp_path: Path, how: tuple[str, ...] | None
) -> None:
    paths = write_objects(tmp_path / "in", 1, 50)
    other = write_objects(tmp_path / "in2", 2, 2)
    store = tmp_path / "store"
    with ExitStack() as stack:
        if how is None:
            assert run("import", "--data", store, tmp_path / "in", tmp_path / "in2").returncode == 0
            node = None
        else:
            node = stack.enter_context(serving(tmp_path, *how))
            with Peer(node.address) as peer:
                assert all(each.is_stored for each in peer.store(map(str, (*other, *paths))))
        result = run("export", "--data", store, "PatientID=P1", tmp_path / "out")
        if node is not None:
            node.end()
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("50 exported, 0 already there, 0 in the way, 0 failed, 0 missing: ")
    series = f"{study_uid(1)}/{study_uid(1)}.1"
    assert _below(tmp_path / "out") == {
        f"{series}/{name}.dcm": content
        for name, content in _stored(store).items()
        if name.startswith(uid(1, 1)[:20])
    }
    assert len(_below(tmp_path / "out")) == 50


@HOW
def test_media_are_read_by_pydicom_and_dcmtk(tmp_path: Path, how: tuple[str, ...] | None) -> None:
    names = ("rtplan.dcm", "rtstruct.dcm", "test-SR.dcm", "waveform_ecg.dcm", "JPEG2000.dcm", "image_dfl.dcm")
    write_objects(tmp_path / "in", 1, 40)
    store = tmp_path / "store"
    with ExitStack() as stack:
        if how is not None:
            stack.enter_context(serving(tmp_path, *how))
        paths = [tmp_path / "in", CT, MR, *(TEST_FILES / each for each in names)]
        assert run("import", "--data", store, *paths).returncode == 0
        result = run("export", "--data", store, "--all", "--media", tmp_path / "out", "--json")
    assert result.returncode == 0, result.stderr
    *lines, _ = map(json.loads, result.stdout.splitlines())
    expected = _stored(store)
    assert len(expected) == 48
    file_set = FileSet(tmp_path / "out" / "DICOMDIR")
    try:
        found = {str(each.SOPInstanceUID): Path(each.path) for each in file_set}
        assert {each: path.read_bytes() for each, path in found.items()} == expected
        assert {str(each.load().SOPInstanceUID) for each in file_set} == expected.keys()
        kinds = {each.node.record_type for each in file_set}
        assert kinds == {"IMAGE", "RT PLAN", "RT STRUCTURE SET", "SR DOCUMENT", "WAVEFORM"}
    finally:
        file_set._stage["t"].cleanup()
    assert {each["uid"]: each["path"] for each in lines} == {each: str(path) for each, path in found.items()}
    dump = run_tool([tool("dcmdump"), str(tmp_path / "out" / "DICOMDIR")])
    assert (dump.returncode, dump.stderr) == (0, "")
    assert dump.stdout.count("ReferencedSOPInstanceUIDInFile") == 48
    # It reads the DICOMDIR, compares each record with its file, and writes it anew: as many records as before.
    images = [path.relative_to(tmp_path / "out").as_posix() for path in found.values()]
    options = ["--update", "--invent", "--no-xfer-check", "--no-encoding-check"]
    made = run_tool([tool("dcmmkdir"), *options, *images], cwd=tmp_path / "out")
    assert made.returncode == 0, made.stderr
    assert "E:" not in made.stderr
    again = run_tool([tool("dcmdump"), str(tmp_path / "out" / "DICOMDIR")])
    for kind in ("PATIENT", "STUDY", "SERIES", "IMAGE"):
        assert again.stdout.count(f"[{kind}]") == dump.stdout.count(f"[{kind}]") > 0


def test_media_go_back_into_an_archive(tmp_path: Path, store: Path) -> None:
    assert run("export", "--data", store, "--all", "--media", tmp_path / "out").returncode == 0
    result = run("import", "--data", tmp_path / "copy", tmp_path / "out" / "DICOMDIR")
    assert result.stdout.startswith("6 stored, ")
    assert _stored(tmp_path / "copy") == _stored(store)


def test_media_are_made_in_an_empty_folder(tmp_path: Path, store: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").touch()
    said = complaint(run("export", "--data", store, "--all", "--media", out), 1)
    assert said == f"dicomnet export: {out}: the folder is not empty; --force writes into it all the same"
    for _ in range(2):
        assert run("export", "--data", store, "--all", "--media", "--force", out).returncode == 0
    assert len(_below(out)) == 8


def test_an_export_goes_on_and_replaces_nothing(tmp_path: Path, store: Path) -> None:
    out = tmp_path / "out"
    arguments: list[str | Path] = ["export", "--data", store, f"StudyInstanceUID={study_uid(1)}", out]
    assert run(*arguments).returncode == 0
    one, two, _ = sorted(out.rglob("*.dcm"))
    one.unlink()
    two.write_bytes(b"other")
    result = run(*arguments)
    assert result.returncode == 1
    assert result.stdout.startswith("1 exported, 1 already there, 1 in the way, 0 failed, 0 missing")
    assert (
        result.stderr == f"in the way: {two.stem}: {two}: another file has this name; --force replaces it\n"
    )
    assert run(*arguments, "--force").stdout.startswith("3 exported, ")
    assert {path.stem: path.read_bytes() for path in out.rglob("*.dcm")}.items() <= _stored(store).items()


def test_a_zip_file(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "out.zip"
    result = run("export", "--data", store, study_uid(2), "--zip", path)
    assert result.returncode == 0
    with zipfile.ZipFile(path) as file:
        content = {Path(name).stem: file.read(name) for name in file.namelist()}
    assert content == {name: each for name, each in _stored(store).items() if name.startswith(uid(2, 1)[:20])}
    assert complaint(run("export", "--data", store, "--all", "--zip", path), 1).endswith("File exists")
    assert run("import", "--data", tmp_path / "copy", path).stdout.startswith("3 stored, ")


def test_uids_come_from_a_file_or_standard_input(tmp_path: Path, store: Path) -> None:
    uids = f"{uid(1, 2)}\n\n{study_uid(2)}\n1.2.3\n"
    (tmp_path / "uids.txt").write_text(uids)
    result = run("export", "--data", store, "--uids", tmp_path / "uids.txt", tmp_path / "out")
    assert result.returncode == 1
    assert result.stderr == "missing: 1.2.3: the archive does not have it\n"
    assert result.stdout.startswith("4 exported, 0 already there, 0 in the way, 0 failed, 1 missing")
    piped = subprocess.run(
        dicomnet("export", "--data", store, "--uids", "-", tmp_path / "out2", "-q"),
        input=uids,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert piped.returncode == 1
    assert _below(tmp_path / "out2") == _below(tmp_path / "out")


def test_nothing_that_matches_is_said_and_leaves_no_folder(tmp_path: Path, store: Path) -> None:
    said = complaint(run("export", "--data", store, "PatientID=nobody", tmp_path / "out"), 1)
    assert said == "dicomnet export: the archive has nothing that matches"
    assert not (tmp_path / "out").exists()
    assert "not the folder of an archive" in complaint(run("export", "--data", tmp_path, "--all", "out"), 1)


def test_an_object_whose_file_is_gone_costs_only_itself(tmp_path: Path, store: Path) -> None:
    next((store / "objects").rglob(f"{uid(1, 2)}.dcm")).unlink()
    result = run("export", "--data", store, "--all", "--media", tmp_path / "out")
    assert result.returncode == 1
    assert result.stderr == f"failed: {uid(1, 2)}: it has been removed meanwhile, or its file is missing\n"
    assert len(_below(tmp_path / "out")) == 6


@pytest.mark.parametrize("way", [(), ("--media",), ("--zip",)], ids=str)
def test_a_disk_that_is_full_is_one_line_and_leaves_nothing_by_half(
    tmp_path: Path, store: Path, way: tuple[str, ...]
) -> None:
    """A limit for the size of files is met in the same way, and in any file system."""
    out = tmp_path / "out"
    with serving(tmp_path):
        limited = (
            "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
            "from dicomnet.cli.main import main; sys.exit(main())"
        )
        arguments = ["export", "--data", str(store), "--all", *way, str(out)]
        if way == ("--zip",):
            # What is compressed is short.
            limited = limited.replace("100_000", "1000")
        result = run_tool([sys.executable, "-c", limited, *arguments])
    said = complaint(result, 1)
    assert said.startswith(f"dicomnet export: {out}")
    assert "File too large" in said
    assert said.endswith("there is no zip file" if way == ("--zip",) else "exported 3 of 6 objects")
    written = [] if way == ("--zip",) else [path for path in out.rglob("*") if path.is_file()]
    assert {path.read_bytes() for path in written} <= set(_stored(store).values())
    assert not list(tmp_path.rglob("*.part"))
    assert not (out / "DICOMDIR").exists()


def test_progress_is_shown_on_a_terminal(tmp_path: Path, store: Path) -> None:
    shown = run_on_terminal("export", "--data", store, "--all", tmp_path / "out")
    assert "exporting" in shown.text
    assert "6/6" in shown.text
    assert "6 exported, " in shown.text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "DIR"),
        (("out",), "keys, UIDs or --all"),
        (("--all", "PatientID=1", "out"), "only one"),
        (("1.2.3", "-k", "PatientID=1", "out"), "only one"),
        (("word", "out"), "'word'"),
        (("PatientID=", "out"), "PatientID has no value"),
        (("-k", "PatientID", "out"), "PatientID has no value"),
        (("Bogus=1", "out"), "'Bogus'"),
        (("Rows=many", "out"), "'many'"),
        (("--level", "study", "--all", "out"), "--level"),
        (("--media", "--zip", "--all", "out"), "--media and --zip"),
        (("--uids", "/dev/null", "out"), "no UID"),
    ],
    ids=str,
)
def test_a_wrong_command_line(tmp_path: Path, arguments: tuple[str, ...], named: str) -> None:
    assert named in complaint(run("export", "--data", tmp_path, *arguments, cwd=tmp_path), 2)
