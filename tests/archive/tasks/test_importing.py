"""Import: what lies in files and folders is stored as it is, once, and all else is named."""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from tests.archive.tasks.imports import LARGE, Import
from tests.archive.tasks.kept import Kept
from tests.faults.objects import file_of, uid, write_objects
from tests.support import data_set_of, dicomnet, digest, quarantined, run_tool, stored

from dicomnet.archive.conflicts import OtherContent
from dicomnet.archive.holdings import Holdings
from dicomnet.archive.tasks.importing import import_files
from dicomnet.archive.tasks.task import TaskFailed, TaskStopped
from dicomnet.encoding.file_header import decode_file_header, encode_file_header


def _root(holdings: Holdings) -> Path:
    return holdings.local.root


def test_a_folder_with_all_that_may_lie_in_one(tmp_path: Path, holdings: Holdings, run: Import) -> None:
    folder = tmp_path / "in"
    write_objects(folder / "a", 1, 70)
    write_objects(folder / "b" / "deep", 2, 3, LARGE)
    (folder / "notes.txt").write_text("no image")
    (folder / "empty").touch()
    (folder / "folder.dcm").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "b" / "loop").symlink_to(folder)
    (folder / "nowhere").symlink_to(tmp_path / "nothing")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        found = run(folder)
    assert found.counts == {"stored": 73, "skipped": 4, "unreadable": 1}
    assert found.reasons("skipped") == {
        "notes.txt": "not a DICOM file",
        "empty": "not a DICOM file",
        "pipe": "not a file",
        "socket": "not a file",
    }
    assert found.reasons("unreadable") == {"nowhere": "it cannot be read: No such file or directory"}
    assert stored(_root(holdings)) == _digests(folder)
    assert holdings.index is not None
    assert holdings.index.count() == 73


def test_what_orthanc_has_compressed_is_not_passed_over(tmp_path: Path, run: Import) -> None:
    """It was skipped as no DICOM file, and an archive that was moved lacked it without a word."""
    whole = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
    cut = whole[: whole.index(b"\xe0\x7f\x10\x00OW")]
    contents = {
        "object": whole,
        "without-pixels": cut,
        "summary": b'{"0010,0010": {"Name": "PatientName"}}' * 20,
        "zeros": bytes(5000),
    }
    (folder := tmp_path / "orthanc" / "0d" / "e7").mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(len(content).to_bytes(8, "little") + zlib.compress(content))
    (folder / "index").write_bytes(b"SQLite format 3\0" + bytes(4080))
    (folder / "plain").write_bytes(whole)
    found = run(tmp_path / "orthanc")
    assert found.counts == {"stored": 1, "skipped": 3, "refused": 2}
    assert found.reasons("refused").keys() == {"object", "without-pixels"}
    assert all("compressed by Orthanc" in reason for reason in found.reasons("refused").values())


def test_what_orthanc_keeps_of_an_object_in_front_of_its_pixels_is_not_taken_for_the_object(
    tmp_path: Path, run: Import
) -> None:
    """It was stored as an image without pixels, and the image itself went into quarantine."""
    whole = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
    (folder := tmp_path / "bucket").mkdir()
    (folder / "0de72b5f.dcm.head").write_bytes(whole[: whole.index(b"\xe0\x7f\x10\x00OW")])
    (folder / "a1658865.dcm").write_bytes(whole)
    found = run(folder)
    assert found.counts == {"stored": 1, "refused": 1}
    assert found.reasons("refused").keys() == {"0de72b5f.dcm.head"}


def test_a_second_import_writes_nothing(tmp_path: Path, holdings: Holdings, run: Import) -> None:
    folder = tmp_path / "in"
    write_objects(folder / "small", 1, 70)
    write_objects(folder / "large", 2, 3, LARGE)
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as file:
        for path in sorted(folder.rglob("*.dcm")):
            file.write(path)
    assert run(folder).counts == {"stored": 73}
    root = _root(holdings)
    written = [root / "staging", root / "journal", *root.rglob("*.dcm")]
    before = [(each.stat().st_ino, each.stat().st_mtime_ns) for each in written]
    assert run(folder, tmp_path / "in.zip").counts == {"already_there": 146}
    assert [(each.stat().st_ino, each.stat().st_mtime_ns) for each in written] == before


def test_an_object_whose_file_was_lost_is_stored_again(
    tmp_path: Path, holdings: Holdings, run: Import
) -> None:
    write_objects(tmp_path / "in", 1, 2)
    (large,) = write_objects(tmp_path / "in", 1, 1, LARGE, first=3)
    run(tmp_path / "in")
    for path in (_root(holdings) / "objects").rglob("*.dcm"):
        if path.stem in (uid(1, 1), uid(1, 3)):
            path.unlink()
    assert run(tmp_path / "in").counts == {"stored": 2, "already_there": 1}
    assert stored(_root(holdings)) == _digests(tmp_path / "in")
    assert digest(data_set_of(large)) in stored(_root(holdings)).values()


@pytest.mark.parametrize("length", [1024, LARGE])
def test_an_object_that_lies_there_several_times_is_stored_once(
    tmp_path: Path, holdings: Holdings, run: Import, length: int
) -> None:
    (one,) = write_objects(tmp_path / "a", 1, 1, length)
    for number in range(3):
        shutil.copy(one, tmp_path / "a" / f"copy{number}")
    other = tmp_path / "z.dcm"
    other.write_bytes(file_of(1, 1, length, PatientName="Other"))
    found = run(tmp_path / "a", other)
    assert found.counts == {"stored": 1, "already_there": 3, "quarantined": 1}
    assert quarantined(_root(holdings)) == {(uid(1, 1), digest(data_set_of(other)))}
    holdings.other_content = OtherContent.REFUSE
    assert run(other).reasons("refused") == {"z.dcm": "another object has this SOP Instance UID"}
    holdings.other_content = OtherContent.REPLACE
    assert run(other).counts == {"stored": 1}
    assert stored(_root(holdings)) == {uid(1, 1): digest(data_set_of(other))}


def test_files_without_meta_information(
    tmp_path: Path,
    holdings: Holdings,
    run: Import,
    make: Callable[..., Dataset],
    encode: Callable[..., bytes],
) -> None:
    little, big = (get_testdata_file(f"ExplVR_{each}EndNoMeta.dcm") or "" for each in ("Lit", "Big"))
    implicit = tmp_path / "implicit"
    implicit.write_bytes(encode(make(), ImplicitVRLittleEndian))
    wrong = get_testdata_file("meta_missing_tsyntax.dcm") or ""
    found = run(little, implicit, wrong)
    assert found.counts == {"stored": 2, "refused": 1}
    assert found.reasons("refused") == {
        "meta_missing_tsyntax.dcm": "its transfer syntax is not known: the file does not say it"
    }
    assert set(stored(_root(holdings)).values()) == {
        digest(Path(path).read_bytes()) for path in (little, implicit)
    }
    # What is stored can be read by whoever needs the file meta information.
    for path in (_root(holdings) / "objects").rglob("*.dcm"):
        assert dcmread(path).SOPInstanceUID == path.stem
    # It is the same object in another form.
    assert run(big).counts == {"already_there": 1}


def _digests(folder: Path) -> dict[str, str]:
    """The digests of the data sets of all objects below a folder, by their SOP Instance UIDs."""
    return {
        str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): digest(data_set_of(path))
        for path in folder.rglob("*.dcm")
        if path.is_file()
    }


def test_what_lies_in_the_archive_is_not_imported_into_it(
    tmp_path: Path, holdings: Holdings, run: Import
) -> None:
    (path,) = write_objects(tmp_path / "in", 1, 1)
    run(path)
    root = _root(holdings)
    (tmp_path / "link").symlink_to(root / "objects")
    for inside in (root, root / "objects", tmp_path / "link"):
        assert list(run(inside).reasons("refused").values()) == [
            "it lies in the folder of the archive itself"
        ]
    # One that lies beside, and above, is searched; a second way to the archive is closed, too.
    (tmp_path / "link").unlink()
    (tmp_path / "in" / "way").symlink_to(root)
    assert run(tmp_path).counts == {"already_there": 1}


def test_what_cannot_be_stored_now_ends_the_import_and_the_next_one_goes_on(
    tmp_path: Path, holdings: Holdings, run: Import
) -> None:
    write_objects(tmp_path / "in", 1, 100)
    journal = _root(holdings) / "journal"
    journal.write_text("in the way")
    with pytest.raises(
        TaskFailed, match="cannot store anything now: the object cannot be written; stored before: 0 objects"
    ):
        run(tmp_path / "in")
    journal.unlink()
    assert run(tmp_path / "in").counts == {"stored": 100}


def test_a_file_for_which_there_is_no_room_is_refused_before_it_is_written(
    tmp_path: Path, holdings: Holdings, run: Import
) -> None:
    (sparse,) = write_objects(tmp_path / "in", 1, 1, LARGE)
    write_objects(tmp_path / "in", 1, 1, first=2)
    os.truncate(sparse, shutil.disk_usage(tmp_path).free + (1 << 30))
    found = run(tmp_path / "in")
    assert found.counts == {"stored": 1, "refused": 1}
    assert "no space left" in found.reasons("refused")["1.dcm"]


def test_an_import_that_is_stopped_leaves_what_is_stored_and_nothing_else(
    tmp_path: Path, holdings: Holdings, run: Import
) -> None:
    write_objects(tmp_path / "in" / "a", 1, 100)
    write_objects(tmp_path / "in" / "b", 2, 10, LARGE)

    class Stopping(Kept):
        """Stops at the first large object."""

        def item(self, **fields: Any) -> None:
            super().item(**fields)
            if len(self.items) == 64:
                raise TaskStopped

    with pytest.raises(TaskStopped):
        import_files(holdings, Stopping(), paths=[str(tmp_path / "in")], tells_all=True)
    assert run(tmp_path / "in").counts == {"stored": 46, "already_there": 64}
    assert stored(_root(holdings)) == _digests(tmp_path / "in")
    assert not [path for path in (_root(holdings) / "staging").iterdir() if path.stat().st_size]


def test_names_that_are_not_text_are_told_as_they_are(tmp_path: Path, run: Import) -> None:
    folder = os.fsencode(tmp_path) + b"/f\xff"
    os.mkdir(folder)
    with open(folder + b"/\xfe.dcm", "wb") as file:
        file.write(file_of(1, 1))
    found = run(os.fsdecode(folder))
    assert found.counts == {"stored": 1}
    assert os.fsencode(found.items[0]["path"]) == folder + b"/\xfe.dcm"


def test_a_linked_file_is_the_same_file_and_is_kept_as_it_is(
    tmp_path: Path, holdings: Holdings, run: Import
) -> None:
    paths = write_objects(tmp_path / "in", 1, 5) + write_objects(tmp_path / "in", 1, 2, LARGE, first=6)
    target = tmp_path / "other" / "elsewhere.dcm"
    target.parent.mkdir()
    paths[0].rename(target)
    paths[0].symlink_to(target)
    found = run(tmp_path / "in", link=True)
    assert found.counts == {"stored": 7}
    assert found.summary["linked"] == 7
    objects = {path.stem: path for path in (_root(holdings) / "objects").rglob("*.dcm")}
    for number, path in enumerate(paths, 1):
        assert objects[uid(1, number)].samefile(path)
        assert not objects[uid(1, number)].is_symlink()
    assert _rows(holdings) == {
        uid(1, number): digest(path.read_bytes()) for number, path in enumerate(paths, 1)
    }
    assert run(tmp_path / "in", link=True).counts == {"already_there": 7}
    # What was linked is there for those who copy, and the other way round.
    assert run(tmp_path / "in").counts == {"already_there": 7}
    assert not list((_root(holdings) / "staging").glob("*-*-*-*/*"))


def test_a_file_whose_meta_information_has_no_vrs_gets_one_that_all_can_read(
    tmp_path: Path, holdings: Holdings, run: Import
) -> None:
    """It was refused; linked as it is, it would be given away so by WADO-RS."""
    content = file_of(1, 1)
    header = decode_file_header(content)
    meta = b"".join(
        struct.pack("<HHL", 2, number, len(value) + len(value) % 2) + value + b"\0" * (len(value) % 2)
        for number, value in (
            (2, header.sop_class_uid.encode()),
            (3, header.sop_instance_uid.encode()),
            (0x10, header.transfer_syntax_uid.encode()),
        )
    )
    (tmp_path / "one.dcm").write_bytes(content[:132] + meta + content[header.offset :])
    found = run(tmp_path / "one.dcm", link=True)
    assert found.counts == {"stored": 1}
    (kept,) = (_root(holdings) / "objects").rglob("*.dcm")
    assert kept.read_bytes()[136:138] == b"UL"
    assert decode_file_header(kept.read_bytes()).sop_instance_uid == header.sop_instance_uid


def test_linked_files_are_on_the_medium_before_their_records_are(tmp_path: Path) -> None:
    """Others wrote them, perhaps a moment ago, and one flush is enough for all."""
    write_objects(tmp_path / "in", 1, 5)
    trace, store = tmp_path / "trace.txt", tmp_path / "store"
    calls = "trace=link,linkat,syncfs,pwritev,pwritev2,fdatasync"
    options = ["strace", "-f", "-y", "-s", "4096", "-e", calls, "-o", str(trace)]
    done = run_tool([*options, *dicomnet("import", "--data", store, "--link", tmp_path / "in")])
    assert done.stdout.startswith("5 stored (5 linked)"), done.stderr
    lines = trace.read_text().splitlines()
    staged = {
        match[1]: number
        for number, line in enumerate(lines)
        if (match := re.search(rf'link\("{tmp_path}/in/.*"{store}/staging/([-\w]+)"', line))
    }
    assert len(staged) == 5
    records = [number for number, line in enumerate(lines) if "pwritev" in line and ".segment>" in line]
    records = [number for number in records if any(name in lines[number] for name in staged)]
    assert len(records) == 5
    flushed = [
        number for number, line in enumerate(lines) if re.search(r"syncfs\(\d+<.*/staging>\) += 0", line)
    ]
    assert max(staged.values()) < flushed[0] < min(records)
    assert any(
        number > max(records) and "fdatasync" in line and ".segment>" in line
        for number, line in enumerate(lines)
    )


def test_what_cannot_be_linked_is_copied(tmp_path: Path, holdings: Holdings, run: Import) -> None:
    no_meta = Path(get_testdata_file("ExplVR_LitEndNoMeta.dcm") or "")
    folder = tmp_path / "in"
    (whole,) = write_objects(folder, 1, 1)
    shutil.copy(no_meta, folder / "no_meta.dcm")
    # Its meta information names another object than its data set.
    wrong = file_of(2, 2).replace(uid(2, 2).encode(), uid(2, 3).encode(), 1)
    (folder / "wrong.dcm").write_bytes(wrong)
    packed = folder / "packed.zip"
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("1.dcm", file_of(3, 1))
    found = run(folder, link=True)
    assert found.counts == {"stored": 4}
    assert found.summary["linked"] == 1
    objects = {path.stem: path for path in (_root(holdings) / "objects").rglob("*.dcm")}
    assert objects[uid(1, 1)].samefile(whole)
    assert objects[uid(2, 2)].stat().st_nlink == 1
    assert dcmread(objects[uid(2, 2)]).file_meta.MediaStorageSOPInstanceUID == uid(2, 2)


def test_a_file_on_another_file_system_is_copied_and_the_summary_says_why(
    tmp_path: Path, holdings: Holdings, run: Import
) -> None:
    memory = Path("/dev/shm")
    assert memory.stat().st_dev != tmp_path.stat().st_dev
    with TemporaryDirectory(dir=memory) as folder:
        write_objects(Path(folder), 1, 2)
        found = run(folder, link=True)
        assert found.counts == {"stored": 2}
        assert (found.summary["linked"], found.summary["not_linked"]) == (0, "Invalid cross-device link")
        assert stored(_root(holdings)) == _digests(Path(folder))


def test_linked_files_that_differ_go_into_quarantine_or_are_refused(
    tmp_path: Path, holdings: Holdings, run: Import
) -> None:
    write_objects(tmp_path / "a", 1, 2, LARGE)
    other = tmp_path / "other.dcm"
    other.write_bytes(file_of(1, 1, LARGE, PatientName="Other"))
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(file_of(1, 3, LARGE)[:-1000])
    run(tmp_path / "a", link=True)
    found = run(other, cut, link=True)
    assert found.counts == {"quarantined": 1, "refused": 1}
    assert quarantined(_root(holdings)) == {(uid(1, 1), digest(data_set_of(other)))}
    assert cut.exists()
    assert other.exists()
    holdings.other_content = OtherContent.REPLACE
    assert run(other, link=True).counts == {"stored": 1}
    assert stored(_root(holdings))[uid(1, 1)] == digest(data_set_of(other))


def _rows(holdings: Holdings) -> dict[str, str | None]:
    """The digests that the index has of objects."""
    assert holdings.index is not None
    instances = [path.stem for path in (_root(holdings) / "objects").rglob("*.dcm")]
    return {uid: each.digest for uid, each in holdings.index.files_of(instances).items()}


def test_a_file_without_a_data_set_was_blamed_on_its_meta_information(tmp_path: Path, run: Import) -> None:
    deflated, native = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.1"
    files = {
        "deflated.dcm": (deflated, b"\x03\0"),
        "padded.dcm": (deflated, b"\x03\0\0"),
        "cut-off.dcm": (deflated, b"\x4b"),
        "none.dcm": (native, b""),
        "begun.dcm": (native, b"\x08\0\x16"),
    }
    folder = tmp_path / "files"
    folder.mkdir()
    for name, (syntax, data) in files.items():
        header = encode_file_header("1.2.840.10008.5.1.4.1.1.7", "1.2.3", syntax)
        (folder / name).write_bytes(header + data)
    assert run(folder).reasons("refused") == {
        "deflated.dcm": "the data set is empty or has no SOP Instance UID",
        "padded.dcm": "the data set is empty or has no SOP Instance UID",
        "cut-off.dcm": "the deflated data set ends too early",
        "none.dcm": "the data set is empty or has no SOP Instance UID",
        "begun.dcm": "the first element is longer than all of it",
    }
