"""`dicomnet store` of zip and tar files and of a DICOMDIR: what arrives at DCMTK's storescp, and what is said."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import UID
from tests.cli.command import run
from tests.cli.conftest import CT, MR, TEST_FILES, StoreSCP

from dicomnet import Peer
from dicomnet.exchange.member_files import Member
from dicomnet.exchange.searching import find_objects

Content = Sequence[tuple[str, bytes]]


def as_zip(path: Path, content: Content) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made, warnings.catch_warnings():
        # Of members of one name.
        warnings.simplefilter("ignore")
        for name, data in content:
            made.writestr(name, data)


def as_tar(mode: str) -> Callable[[Path, Content], None]:
    def make(path: Path, content: Content) -> None:
        with tarfile.open(path, mode) as made:  # type: ignore[call-overload]
            for name, data in content:
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                made.addfile(entry, io.BytesIO(data))

    return make


FORMS: dict[str, Callable[[Path, Content], None]] = {
    "a.zip": as_zip,
    "a.tar": as_tar("w"),
    "a.tar.gz": as_tar("w:gz"),
    "a.tbz2": as_tar("w:bz2"),
    "A.TAR.XZ": as_tar("w:xz"),
}


def objects(count: int, path: Path = CT) -> dict[str, bytes]:
    """So many objects by their UIDs, as files."""
    made: dict[str, bytes] = {}
    for number in range(count):
        found = dcmread(path)
        uid = UID(f"{found.SOPInstanceUID}.{number}")
        found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = uid
        content = io.BytesIO()
        found.save_as(content)
        made[uid] = content.getvalue()
    return made


@pytest.mark.parametrize("form", FORMS)
def test_the_members_arrive_as_they_are(form: str, storescp: StoreSCP, tmp_path: Path) -> None:
    """Beside what is none, and members of one name; nothing is written to disk."""
    made = objects(40) | objects(3, MR)
    names = [f"st/{number % 20}.dcm" for number in range(len(made))]
    content: list[tuple[str, bytes]] = [*zip(names, made.values(), strict=True), ("notes.txt", b"no image")]
    FORMS[form](tmp_path / form, content)
    before = set(tmp_path.iterdir())
    done = run("store", "--json", storescp.address, tmp_path / form)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {each["path"] for each in lines} == {str(tmp_path / form)}
    assert sorted(each["member"] for each in lines) == sorted([*names, "notes.txt"])
    assert [each["member"] for each in lines if each["outcome"] == "skipped"] == ["notes.txt"]
    assert set(tmp_path.iterdir()) == before
    received = {str(found.SOPInstanceUID): found for found in map(dcmread, storescp.folder.iterdir())}
    assert received.keys() == made.keys()
    for uid, content_of in made.items():
        # DCMTK leaves out the padding behind the last element.
        sent = dcmread(io.BytesIO(content_of))
        sent.pop("DataSetTrailingPadding", None)
        assert received[uid] == sent


@pytest.mark.parametrize("form", FORMS)
def test_a_second_run_with_the_journal_sends_what_is_missing(
    form: str, storescp: StoreSCP, tmp_path: Path
) -> None:
    made = list(objects(30).values())
    # Two of one name are two.
    content = [(f"{number // 2}.dcm", data) for number, data in enumerate(made)]
    FORMS[form](tmp_path / form, content)
    arguments = ("store", "--journal", tmp_path / "j", storescp.address, tmp_path / form)
    assert "sent 30 " in run(*arguments).stdout
    report = ("--report", tmp_path / "r.csv")
    assert "sent 0 (0 with warnings), stored before 30" in run(*arguments, *report).stdout
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["outcome"] for row in rows] == ["stored before"] * 30
    assert sorted(row["member"] for row in rows) == sorted(name for name, _ in content)
    # What was changed is sent again.
    FORMS[form](tmp_path / form, content[:3])
    assert "sent 3 " in run(*arguments).stdout


@pytest.mark.parametrize("form", FORMS)
def test_side_by_side(form: str, storescp: StoreSCP, tmp_path: Path) -> None:
    made = objects(60)
    FORMS[form](tmp_path / form, [(f"{uid}.dcm", data) for uid, data in made.items()])
    assert run("store", "--jobs", "3", storescp.address, tmp_path / form).returncode == 0
    assert storescp.received() == made.keys()


def test_a_damaged_member_costs_itself_alone(storescp: StoreSCP, tmp_path: Path) -> None:
    """Its checksum is behind its last byte, when much of it is on its way already."""
    made = objects(5)
    FORMS["a.zip"](tmp_path / "a.zip", [(f"{uid}.dcm", data) for uid, data in made.items()])
    content = bytearray((tmp_path / "a.zip").read_bytes())
    with zipfile.ZipFile(tmp_path / "a.zip") as opened:
        third = opened.infolist()[2]
        # The bytes before the end of its data, which the pixels are in.
        at = opened.infolist()[3].header_offset - 40
    content[at : at + 8] = bytes(8)
    (tmp_path / "a.zip").write_bytes(content)
    done = run("store", "--json", storescp.address, tmp_path / "a.zip")
    outcomes = {each["member"]: each["outcome"] for each in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1
    assert outcomes.pop(third.filename) == "failed"
    assert set(outcomes.values()) == {"stored"}
    assert len(storescp.received()) == 4


@pytest.mark.parametrize("form", ["a.tar", "a.tar.gz"])
def test_one_that_is_cut_off(form: str, storescp: StoreSCP, tmp_path: Path) -> None:
    made = objects(6)
    FORMS[form](tmp_path / form, [(f"{uid}.dcm", data) for uid, data in made.items()])
    content = (tmp_path / form).read_bytes()
    (tmp_path / form).write_bytes(content[: len(content) // 2])
    shutil.copy(MR, tmp_path / "mr.dcm")
    done = run("store", storescp.address, tmp_path / form, tmp_path / "mr.dcm")
    assert done.returncode == 1
    assert "damaged" in done.stderr or "cut off" in done.stderr
    assert str(dcmread(MR).SOPInstanceUID) in storescp.received()
    assert len(storescp.received()) >= 2


BOMB = """
import sys, zipfile, zlib, io
with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED) as made:
    with made.open("zeros.dcm", "w", force_zip64=True) as member:
        for _ in range(2000):
            member.write(bytes(1 << 20))
    made.write(sys.argv[2], "ct.dcm")
"""


LARGE = """
import sys, tarfile
from pydicom import dcmread
large = dcmread(sys.argv[2])
large.NumberOfFrames = (300 << 20) // (128 * 128 * 2)
large.PixelData = bytes(300 << 20)
large.save_as(sys.argv[1] + "/large.dcm")
with tarfile.open(sys.argv[1] + "/a.tgz", "w:gz", compresslevel=1) as made:
    made.add(sys.argv[1] + "/large.dcm", "large.dcm")
"""
# The command with 280 MB of address space, of which libraries take the most.
LIMITED = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (280 << 20, 280 << 20));"
    "from dicomnet.cli.main import main; sys.exit(main())"
)


def test_a_bomb_costs_neither_memory_nor_the_others(storescp: StoreSCP, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", BOMB, tmp_path / "b.zip", str(CT)], check=True)
    assert (tmp_path / "b.zip").stat().st_size < 4 << 20
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "store", storescp.address, str(tmp_path / "b.zip")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, f"skipped: {tmp_path}/b.zip: zeros.dcm: not a DICOM file\n")
    assert len(storescp.received()) == 1


def test_a_large_member_takes_little_memory(storescp: StoreSCP, tmp_path: Path) -> None:
    """Of 300 MB, in a compressed tar, sent as it is decompressed."""
    subprocess.run([sys.executable, "-c", LARGE, tmp_path, str(CT)], check=True)
    assert (tmp_path / "a.tgz").stat().st_size < 8 << 20
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "store", "-q", storescp.address, str(tmp_path / "a.tgz")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (path,) = storescp.folder.iterdir()
    assert path.stat().st_size > 300 << 20


def test_a_dicomdir_that_is_named(storescp: StoreSCP, tmp_path: Path) -> None:
    """Its files alone; one that is missing has failed. In a folder that is named, it is skipped as ever."""
    media = tmp_path / "media"
    shutil.copytree(TEST_FILES / "dicomdirtests", media, ignore=shutil.ignore_patterns("DICOMDIR-*"))
    done = run("store", "--dry-run", "--json", storescp.address, media / "DICOMDIR")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    planned = {each["path"] for each in lines if each["outcome"] == "planned"}
    assert len(planned) == len(lines) == 31
    assert str(media / "DICOMDIR") not in planned
    lost = Path(sorted(planned)[0])
    lost.unlink()
    done = run("store", storescp.address, media / "DICOMDIR")
    assert done.returncode == 1
    assert "DICOMDIR refers to it" in done.stderr
    assert len(storescp.received()) == 30
    assert "a DICOMDIR, which is not for sending" in run("store", storescp.address, media).stderr


def test_what_is_planned_is_what_is_sent(storescp: StoreSCP, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    as_zip(folder / "a.zip", [("ct.dcm", CT.read_bytes()), ("x", b"x")])
    shutil.copy(MR, folder / "mr.dcm")
    dry = run("store", "--dry-run", "--json", storescp.address, folder).stdout.splitlines()
    planned = [json.loads(line) for line in dry]
    assert [(each["member"], each["outcome"]) for each in planned] == [
        ("ct.dcm", "planned"),
        ("x", "skipped"),
        (None, "planned"),
    ]
    with Peer(storescp.address) as peer:
        results = {each.name: each.is_stored for each in peer.store(folder)}
    assert results == {
        f"{folder}/a.zip: ct.dcm": True,
        f"{folder}/a.zip: x": False,
        f"{folder}/mr.dcm": True,
    }


def test_an_archive_that_is_not_there(tmp_path: Path) -> None:
    result = run("store", "127.0.0.1:1", tmp_path / "none.zip")
    assert result.returncode == 1
    assert result.stderr == f"failed: {tmp_path}/none.zip: it cannot be read: No such file or directory\n"
    (tmp_path / "no.zip").write_bytes(b"not one")
    (found,) = find_objects([tmp_path / "no.zip"])
    assert found == str(tmp_path / "no.zip")


@pytest.mark.parametrize("form", FORMS)
def test_any_place_of_a_member_is_read(form: str, tmp_path: Path) -> None:
    """In whatever order several readers go through a compressed file."""
    made = list(objects(8).values())
    FORMS[form](tmp_path / form, [(f"{number}.dcm", data) for number, data in enumerate(made)])
    members = []
    for found in find_objects([tmp_path / form]):
        assert not isinstance(found, str)
        assert hasattr(found, "file")
        assert isinstance(found.file, Member)
        members.append(found.file)
    streams = [each.open() for each in members]
    for at in (0, 20_000, 5_000, 38_000, 1):
        for number in (3, 0, 7, 5, 1, 2, 6, 4):
            streams[number].seek(at)
            assert streams[number].read(700) == made[number][at : at + 700], (at, number)
    for each in streams:
        each.close()
    assert members[4].read(len(made[4])) == made[4]
    assert members[4].read(1) is None
