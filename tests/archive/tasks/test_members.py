"""Import of zip and tar files: their members are stored without being unpacked, as far as they are whole."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from tests.archive.tasks.imports import LARGE, Import
from tests.faults.objects import file_of, uid
from tests.support import stored

from dicomnet.archive.holdings import Holdings

OPENERS: dict[str, Callable[..., Any]] = {"tar": open, "tgz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
KINDS = ["zip", *OPENERS]


def packed(path: Path, kind: str, files: dict[str, bytes]) -> Path:
    """A zip or tar file with these members; a name that ends in a slash is of a folder."""
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in files.items():
                file.writestr(name, content)
        return path
    with OPENERS[kind](path, "wb") as plain, tarfile.open(fileobj=plain, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.size = len(content)
            tar.addfile(member, BytesIO(content))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_stored_and_their_names_lead_nowhere(
    tmp_path: Path, holdings: Holdings, run: Import, kind: str
) -> None:
    names = ["a/1.dcm", "../../evil.dcm", "/etc/evil.dcm", "C:\\evil.dcm", "a/\u00fc.dcm", "x" * 300]
    directory = Path(get_testdata_file("DICOMDIR") or "").read_bytes()
    files = {"folder/": b"", **{name: file_of(1, number) for number, name in enumerate(names)}}
    files |= {"large.dcm": file_of(1, 100, LARGE), "notes.txt": b"no image"}
    files |= {"inner.zip": b"PK\x03\x04 of another one", "DICOMDIR": directory}
    path = packed(tmp_path / "packed", kind, files)
    outside = [each for each in tmp_path.parent.rglob("*") if not each.is_relative_to(tmp_path / "store")]
    found = run(path)
    assert found.counts == {"stored": 7, "skipped": 3}
    assert found.reasons("skipped") == {
        "notes.txt": "not a DICOM file",
        "inner.zip": "not a DICOM file",
        "DICOMDIR": "a DICOMDIR, which is not stored",
    }
    assert {each["member"] for each in found.items} == files.keys() - {"folder/"}
    assert set(stored(tmp_path / "store")) == {uid(1, number) for number in (*range(6), 100)}
    assert [
        each for each in tmp_path.parent.rglob("*") if not each.is_relative_to(tmp_path / "store")
    ] == outside
    assert not Path("/etc/evil.dcm").exists()
    # Found in a folder it is the same, and what was stored is there.
    assert run(tmp_path).counts == {"already_there": 7, "skipped": 3}


@pytest.mark.parametrize("kind", OPENERS)
def test_a_tar_file_that_is_cut_off_anywhere_is_told_and_what_came_before_is_stored(
    tmp_path: Path, holdings: Holdings, run: Import, kind: str
) -> None:
    files = {f"{number}.dcm": file_of(1, number) for number in range(4)}
    files["5.dcm"] = file_of(1, 5, LARGE)
    whole = packed(tmp_path / "whole", "tar", files).read_bytes()
    member = len(files["0.dcm"])
    of_one = 512 + member + -member % 512
    # Inside of a header, at a member's end, inside of one, inside of the padding, inside of the last one, at its end.
    ends = (of_one + 100, 2 * of_one, 2 * of_one + 1000, of_one - 10, 4 * of_one + LARGE // 2)
    last = 4 * of_one + 512 + len(files["5.dcm"]) + -len(files["5.dcm"]) % 512
    for end, kept in zip((*ends, last), (1, 2, 2, 1, 4, 5), strict=True):
        path = tmp_path / f"cut{end}"
        with OPENERS[kind](path, "wb") as file:
            file.write(whole[:end])
        found = run(path)
        assert sum(found.counts.get(each, 0) for each in ("stored", "already_there")) == kept, end
        assert found.counts["unreadable"] in (1, 2)
        assert "the tar is damaged" in found.reasons("unreadable")[path.name]
    assert len(stored(tmp_path / "store")) == 5


@pytest.mark.parametrize("kind", ["tgz", "bz2", "xz"])
def test_a_compressed_file_that_is_cut_off_or_changed_is_told(tmp_path: Path, run: Import, kind: str) -> None:
    content = packed(tmp_path / "whole", kind, {"1.dcm": file_of(1, 1), "2.dcm": file_of(1, 2, LARGE)})
    whole = content.read_bytes()
    for number, damaged in enumerate((whole[: len(whole) // 2], whole[:-6], whole[:10] + b"\0" * 10)):
        path = tmp_path / f"damaged{number}"
        path.write_bytes(damaged)
        assert "is damaged" in run(path).reasons("unreadable")[path.name]
    if kind == "tgz":
        # Only the checksum behind all the rest is wrong.
        path.write_bytes(whole[:-8] + b"\0\0\0\0" + whole[-4:])
        found = run(path)
        assert sum(found.counts.get(each, 0) for each in ("stored", "already_there")) == 2
        assert "CRC" in found.reasons("unreadable")[path.name]


def test_a_damaged_header_in_a_tar_file_is_not_taken_for_its_end(tmp_path: Path, run: Import) -> None:
    content = packed(tmp_path / "whole", "tar", {f"{each}.dcm": file_of(1, each) for each in range(3)})
    whole = bytearray(content.read_bytes())
    whole[whole.index(b"1.dcm")] = 0x58
    (tmp_path / "damaged").write_bytes(whole)
    found = run(tmp_path / "damaged")
    assert found.counts == {"stored": 1, "unreadable": 1}
    assert found.reasons("unreadable")["damaged"].endswith("it is cut off, or a header is damaged")


def test_links_and_devices_in_a_tar_file_are_skipped(tmp_path: Path, run: Import) -> None:
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        for name, kind in (("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("null", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    found = run(tmp_path / "in.tar")
    assert found.counts == {"skipped": 3}
    assert set(found.reasons("skipped").values()) == {"not a file, but a link or a device"}


def test_a_member_of_a_zip_file_that_is_damaged_or_locked_costs_only_itself(
    tmp_path: Path, holdings: Holdings, run: Import
) -> None:
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w") as file:
        for number in range(1, 7):
            file.writestr(f"{number}.dcm", file_of(1, number, LARGE if number % 2 else 1024))
        places = {each.filename: each.header_offset for each in file.infolist()}
    content = bytearray(path.read_bytes())
    # A byte of the pixels of a small one and of a large one, a local header, and one that is said to be encrypted.
    for name in ("1.dcm", "2.dcm"):
        content[places[name] + 900] ^= 0xFF
    content[places["3.dcm"]] ^= 0xFF
    entry = content.rindex(b"4.dcm") - 46
    struct.pack_into("<H", content, entry + 8, 1)
    path.write_bytes(content)
    found = run(path)
    assert found.counts == {"stored": 2, "unreadable": 4}
    reasons = found.reasons("unreadable")
    assert "CRC" in reasons["1.dcm"]
    assert "CRC" in reasons["2.dcm"]
    assert "encrypted" in reasons["4.dcm"]
    assert set(stored(tmp_path / "store")) == {uid(1, 5), uid(1, 6)}
    cut = tmp_path / "cut.zip"
    cut.write_bytes(content[: len(content) // 2])
    assert "the zip is damaged" in run(cut).reasons("unreadable")["cut.zip"]


def test_files_that_only_begin_like_a_tar_file(tmp_path: Path, run: Import) -> None:
    (tmp_path / "log.gz").write_bytes(gzip.compress(b"no tar" * 1000))
    (tmp_path / "empty.gz").write_bytes(gzip.compress(b""))
    (tmp_path / "zeros").write_bytes(bytes(4096))
    (tmp_path / "empty.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    found = run(tmp_path)
    assert found.reasons("skipped") == {
        "log.gz": "a compressed file that is not a tar",
        "empty.gz": "a compressed file that is not a tar",
        "zeros": "not a DICOM file",
        **{
            path.name: "not a DICOM file"
            for path in (tmp_path / "store").rglob("*")
            if path.is_file() and not path.is_relative_to(tmp_path / "store")
        },
    }


def test_an_object_whose_preamble_is_the_beginning_of_another_format_is_an_object(
    tmp_path: Path, run: Import
) -> None:
    """A preamble is free for such use (PS3.10 section 7.1)."""
    for name, mark in (("zip", b"PK\x03\x04"), ("gz", b"\x1f\x8b"), ("tiff", b"II*\0")):
        content = file_of(1, len(name))
        (tmp_path / name).write_bytes(mark + content[len(mark) :])
    assert run(tmp_path / "zip", tmp_path / "gz", tmp_path / "tiff").counts == {"stored": 3}


def test_a_name_without_end_in_a_tar_file_is_not_read_into_memory(tmp_path: Path, run: Import) -> None:
    member = tarfile.TarInfo("name")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    (tmp_path / "in.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert run(tmp_path / "in.tar").reasons("unreadable")["in.tar"].endswith("a name is too long")
