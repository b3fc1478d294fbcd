"""After a crash, whatever it left behind: each acknowledged object has its file, byte for byte, and its row, once."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.archive.archives import (
    Archive,
    Encode,
    Make,
    Send,
    Sent,
    archive_in,
    files_of,
    indexed_in,
    objects_of,
    staged_in,
)
from tests.archive.conftest import SENDER

from dicomnet.archive import journal
from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.conflicts import OtherContent
from dicomnet.archive.entries import decode_description, read_entry
from dicomnet.archive.filing import Progress
from dicomnet.archive.intake import Intake
from dicomnet.archive.journal import Journal
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.replay import NOT_AS_RECEIVED
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.store import ObjectName
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.encoding.scan import HeaderScanner

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
Crash = Callable[[Path, Sequence[Sent]], None]


def _whole(sent: Sent, make: Make, encode: Encode) -> bytes:
    """The file of an object."""
    return encode_file_header(CT, sent.uid, EXPLICIT, SENDER.ae_title) + sent.data(make, encode)


@pytest.fixture(scope="session")
def crash(make: Make, encode: Encode, send: Send) -> Crash:
    """Make a store whose process ended when it had acknowledged objects, and filed none of them."""

    def left(root: Path, group: Sequence[Sent]) -> None:
        with archive_in(root) as archive:
            (root / "objects").rmdir()
            (root / "objects").write_text("in the way")
            for sent in group:
                assert sent.session(archive.intake, make, encode, send).commit() == 0
            assert not archive.intake.close()
        (root / "objects").unlink()
        (root / "objects").mkdir()

    return left


@contextmanager
def _recovered(root: Path) -> Iterator[Archive]:
    """The archive after its recovery, and then once more, which must change nothing."""
    with archive_in(root) as archive:
        archive.intake.recover()
        first = archive.contents()
        assert archive.intake.recover() == 0
        assert archive.contents() == first
        yield archive
    with archive_in(root) as archive:
        assert archive.intake.recover() == 0
        assert archive.contents() == first


def _is_as_acknowledged(archive: Archive, group: Sequence[Sent], make: Make, encode: Encode) -> None:
    """All of them have their files and rows, once; no journal and no staged file is left."""
    for sent in group:
        assert Path(archive.storage.path(sent.name)).read_bytes() == _whole(sent, make, encode)
    by_uid = sorted((sent.name for sent in group), key=lambda name: name.instance)
    assert indexed_in(archive.index) == by_uid
    stored = [path for path in files_of(archive.root) if path.startswith("objects")]
    assert len(stored) == len(group)
    assert staged_in(archive.root) == []
    assert not list(archive.local.journals.glob("*"))
    assert not archive.local.needs_recovery


# What a crash may leave of an object's file: nothing, all, only the beginning, other bytes; and whether it has its row
# and, of a large one, whether the staged file is there still.
FILES = ["missing", "whole", "cut", "empty", "other", "another object"]
LEFT = st.tuples(st.booleans(), st.sampled_from(FILES), st.integers(0, 1 << 20), st.booleans(), st.booleans())


@settings(max_examples=6)
@given(st.lists(LEFT, min_size=1, max_size=6))
@example(
    [
        (is_large, file, 900, has_row, True)
        for is_large, file, has_row in itertools.product((False, True), FILES, (False, True))
    ]
)
@example(
    [
        (True, file, 900, has_row, False)
        for file, has_row in itertools.product(("missing", "whole"), (False, True))
    ]
)
def test_whatever_a_crash_has_left(
    crash: Crash, make: Make, encode: Encode, left: list[tuple[bool, str, int, bool, bool]]
) -> None:
    group = [
        Sent(number, series=1 + number % 3, is_large=is_large)
        for number, (is_large, *_) in enumerate(left, 1)
    ]
    strangers: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        crash(root, group)
        with LocalFolder(root, sync=False) as local, Index(root / "index.sqlite") as index:
            storage = FolderStorage.of(local)
            scanner = HeaderScanner(index.wanted)
            for sent, (_, file, length, has_row, is_staged) in zip(group, left, strict=True):
                whole = _whole(sent, make, encode)
                path = Path(storage.path(sent.name))
                path.parent.mkdir(parents=True, exist_ok=True)
                if has_row:
                    path.write_bytes(whole)
                    index.add([read_entry(storage, sent.name, scanner)])
                contents = {
                    "whole": whole,
                    "cut": whole[: length % len(whole)],
                    "empty": b"",
                    "other": b"of somebody else " + os.urandom(8),
                    "another object": _whole(Sent(sent.instance, patient="C"), make, encode),
                }
                if file == "missing":
                    path.unlink(missing_ok=True)
                else:
                    path.write_bytes(contents[file])
                if file in ("other", "another object"):
                    strangers[sent.uid] = contents[file]
                if not is_staged and file == "whole":
                    for each in (root / "staging").iterdir():
                        if each.read_bytes() == whole:
                            each.unlink()
        # Of a large object without a staged file that has not its own file either, nothing is left at all: such a
        # one was removed by somebody.
        with _recovered(root) as archive:
            _is_as_acknowledged(archive, group, make, encode)
            found = archive.quarantine()
            assert {each.instance: (archive.root / each.location).read_bytes() for each in found} == strangers
            assert {(each.reason, each.status) for each in found} <= {(NOT_AS_RECEIVED, None)}


def test_what_was_removed_since_does_not_come_back(crash: Crash, tmp_path: Path) -> None:
    """A large object whose staged file and whose own file are gone was filed, and removed after that."""
    crash(tmp_path, [Sent(1, is_large=True)])
    for path in (tmp_path / "staging").iterdir():
        path.unlink()
    with _recovered(tmp_path) as archive:
        assert archive.contents() == {"rows": [], "files": {}, "staged": [], "needs recovery": False}
        assert not list(archive.local.journals.glob("*"))


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("study", [1, 2])
@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("state", ["filed", "not filed", "version kept", "cut", "missing"])
def test_records_of_objects_that_took_the_place_of_others(
    tmp_path: Path,
    make: Make,
    encode: Encode,
    send: Send,
    is_large: bool,
    study: int,
    length: int,
    state: str,
) -> None:
    """The last one has the place, and each of the others is a version, wherever it was interrupted."""
    row = [
        Sent(is_large=is_large),
        Sent(study=study, patient="B", is_large=is_large),
        Sent(study=study, patient="C", is_large=is_large),
        Sent(is_large=is_large),
    ][: length + 1]
    last = row[-1]
    live, root = tmp_path / "live", tmp_path / "copy"
    with archive_in(live, other_content=OtherContent.REPLACE) as archive:
        for sent in row:
            if sent is last:
                assert archive.intake.wait_for_all()
                before = tmp_path / "before"
                shutil.copytree(live, before)
            assert sent.session(archive.intake, make, encode, send).commit() == 0
        assert archive.intake.wait_for_all()
        shutil.copytree(live, root)
    # The last one, which may be filed, or not yet, or by half.
    path, old = (
        Path(FolderStorage.path(archive.storage, name)).relative_to(live)
        for name in (last.name, row[-2].name)
    )
    whole = (root / path).read_bytes()
    if state in ("not filed", "version kept"):
        (root / path).unlink()
        shutil.copytree(before / "objects", root / "objects", dirs_exist_ok=True)
        for name in ("index.sqlite", "index.sqlite-wal"):
            shutil.copy(before / name, root / name)
        (root / "index.sqlite-shm").unlink()
        if is_large:
            # By the name that its record says.
            *_, record = journal.read(root / "journal" / "0")
            name = decode_description(record.description).staged
            (root / "staging" / name).write_bytes(whole)
        if state == "not filed":
            shutil.rmtree(root / "versions")
            if (before / "versions").exists():
                shutil.copytree(before / "versions", root / "versions")
    elif is_large and state != "filed":
        # Its content is in no journal: it was flushed before it was acknowledged.
        return
    elif state == "cut":
        (root / path).write_bytes(whole[: len(whole) - 20])
    elif state == "missing":
        (root / path).unlink()
    with _recovered(root) as archive:
        _is_as_acknowledged(archive, [last], make, encode)
        assert old == path or not (root / old).exists()
        digests = {hashlib.sha256(_whole(sent, make, encode)).hexdigest(): sent for sent in row[:-1]}
        for digest, sent in digests.items():
            kept = root / "versions" / sent.uid / f"{digest}.dcm"
            assert kept.read_bytes() == _whole(sent, make, encode)
        assert {each.digest for each in archive.versions()} == set(digests)
        quarantined = [path for path in files_of(root) if path.startswith("quarantine")]
        assert quarantined == []


def test_a_damaged_record_and_odd_segments(crash: Crash, make: Make, encode: Encode, tmp_path: Path) -> None:
    """What follows damage was not acknowledged; an empty segment and an unknown file are nothing."""
    group = [Sent(number) for number in range(1, 5)]
    crash(tmp_path, group)
    [segment] = (tmp_path / "journal" / "0").iterdir()
    content = bytearray(segment.read_bytes())
    content[content.index(group[-1].data(make, encode)) + 40] ^= 0xFF
    segment.write_bytes(content)
    (segment.parent / "7.segment").write_bytes(b"")
    (segment.parent / "8.segment").write_bytes(bytes(journal.SEGMENT_LENGTH))
    with _recovered(tmp_path) as archive:
        _is_as_acknowledged(archive, group[:3], make, encode)


def test_segments_are_read_in_the_order_in_which_they_were_written(
    make: Make, encode: Encode, send: Send, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their names are: of two records of one object the later one counts."""
    monkeypatch.setattr(journal, "SEGMENT_LENGTH", 1 << 11)
    first, others, last = Sent(), [Sent(number) for number in range(2, 14)], Sent(patient="B")
    live, root = tmp_path / "live", tmp_path / "copy"
    with archive_in(live, other_content=OtherContent.REPLACE) as archive:
        # So that no segment is used again.
        monkeypatch.setattr(FolderStorage, "make_durable", _fails)
        for sent in [first, *others, last]:
            assert sent.session(archive.intake, make, encode, send).commit() == 0
        assert archive.intake.wait_for_all()
        shutil.copytree(live, root)
        monkeypatch.undo()
    monkeypatch.setattr(journal, "SEGMENT_LENGTH", 1 << 11)
    segments = sorted((root / "journal" / "0").iterdir(), key=lambda path: int(path.stem))
    assert len(segments) > 3
    for number, path in enumerate(reversed(segments)):
        path.rename(path.with_name(f"{number}-.segment"))
    for folder in ("objects", "versions"):
        shutil.rmtree(root / folder)
    for name in ("index.sqlite", "index.sqlite-wal", "index.sqlite-shm"):
        (root / name).unlink()
    with _recovered(root) as archive:
        _is_as_acknowledged(archive, [*others, last], make, encode)
        assert len(list((root / "versions").rglob("*.dcm"))) == 1


def _fails(*_: object) -> None:
    raise OSError("the medium is broken")


def test_the_journal_of_a_process_that_is_not_there_any_more(
    crash: Crash, make: Make, encode: Encode, tmp_path: Path
) -> None:
    """There were more workers at the time. Only a worker that takes another's place leaves the others' alone."""
    crash(tmp_path, [Sent(1), Sent(2, is_large=True)])
    (tmp_path / "journal" / "0").rename(tmp_path / "journal" / "12")
    with LocalFolder(tmp_path, sync=False) as local:
        local.staging.process = 3
        with Intake(local, FolderStorage.of(local), progress=Progress(4), process=3) as worker:
            assert worker.recover() == 0
        assert (tmp_path / "journal" / "12").exists()
        assert staged_in(tmp_path) != []
        local.needs_recovery = False
    with _recovered(tmp_path) as archive:
        _is_as_acknowledged(archive, [Sent(1), Sent(2, is_large=True)], make, encode)


@pytest.mark.parametrize("trouble", ["index locked", "folder not writable"])
def test_what_cannot_be_filed_now_is_left_for_the_next_time(
    crash: Crash, make: Make, encode: Encode, tmp_path: Path, trouble: str
) -> None:
    """The rest is filed, what comes meanwhile is received, and no staged file that is needed is removed."""
    group = [Sent(number, study=1 + number % 2, is_large=number > 3) for number in range(1, 7)]
    crash(tmp_path, group)
    # Of nobody: its process was killed while it received it.
    (tmp_path / "staging" / "0-77-1").write_bytes(b"half")
    blocked = [sent for sent in group if trouble == "index locked" or sent.study == 1]
    with archive_in(tmp_path) as archive:
        if trouble == "index locked":
            other = sqlite3.connect(archive.root / "index.sqlite", isolation_level=None)
            other.execute("BEGIN EXCLUSIVE")
            in_the_way = None
        else:
            in_the_way = Path(archive.storage.path(blocked[0].name)).parent
            in_the_way.parent.mkdir(parents=True)
            in_the_way.write_text("in the way")
        archive.intake.recover()
        assert len(staged_in(tmp_path)) >= sum(sent.is_large for sent in blocked if in_the_way)
        assert "0-77-1" not in staged_in(tmp_path)
        if in_the_way is None:
            other.execute("ROLLBACK")
            other.close()
        else:
            in_the_way.unlink()
            assert [name.instance for name in indexed_in(archive.index)] == ["1.2.3.1", "1.2.3.3", "1.2.3.5"]
        assert list(archive.local.journals.glob("*"))
    with _recovered(tmp_path) as archive:
        _is_as_acknowledged(archive, group, make, encode)


def test_what_is_left_twice_in_a_row(
    crash: Crash, make: Make, encode: Encode, send: Send, tmp_path: Path
) -> None:
    """And what is received between the two recoveries is not taken for it."""
    crash(tmp_path, [Sent(1), Sent(2, is_large=True)])
    with archive_in(tmp_path) as archive:
        other = sqlite3.connect(archive.root / "index.sqlite", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        archive.intake.recover()
        archive.intake.recover()
        assert Sent(3, is_large=True).session(archive.intake, make, encode, send).commit() == 0
        assert not archive.intake.close()
        other.execute("ROLLBACK")
        other.close()
    with _recovered(tmp_path) as archive:
        _is_as_acknowledged(archive, [Sent(1), Sent(2, is_large=True), Sent(3, is_large=True)], make, encode)


def test_what_was_filed_of_a_journal_that_is_left_is_not_put_back(
    crash: Crash, make: Make, encode: Encode, send: Send, tmp_path: Path
) -> None:
    """It displaced the object that had taken its place since, as long as another one could not be filed."""
    stays, blocked, newer = Sent(1), Sent(2, study=2), Sent(1, patient="B")
    crash(tmp_path, [stays, blocked])
    with archive_in(tmp_path, other_content=OtherContent.REPLACE) as archive:
        in_the_way = Path(archive.storage.path(blocked.name)).parent
        in_the_way.parent.mkdir(parents=True)
        in_the_way.write_text("in the way")
        assert archive.intake.recover() == 1
        assert newer.session(archive.intake, make, encode, send).commit() == 0
        assert archive.intake.wait_for_all()
        for _ in range(2):
            archive.intake.recover_rest()
            assert Path(archive.storage.path(newer.name)).read_bytes() == _whole(newer, make, encode)
        in_the_way.unlink()
        archive.intake.recover_rest()
        assert archive.quarantine() == []
        assert [each.instance for each in archive.versions()] == [newer.uid]
    with _recovered(tmp_path) as archive:
        _is_as_acknowledged(archive, [newer, blocked], make, encode)


def test_a_process_in_the_place_of_another_spares_the_staged_files_of_journals_that_are_left(
    make: Make, encode: Encode, send: Send, tmp_path: Path
) -> None:
    """It removed them as those of nobody, and with them large objects that had been acknowledged."""
    sent = Sent(1, is_large=True)
    with archive_in(tmp_path) as archive:
        progress = Progress(3)
        in_the_way = Path(archive.storage.path(sent.name)).parent
        in_the_way.parent.mkdir(parents=True)
        in_the_way.write_text("in the way")
        for _ in range(3):
            # The first one is killed, and so are those that come in its place.
            archive.local.staging.process = 1
            intake = Intake(archive.local, archive.storage, archive.index, progress=progress, process=1)
            intake.recover()
            if not list(archive.local.journals.glob("1*")):
                assert sent.session(intake, make, encode, send).commit() == 0
            intake.close()
        in_the_way.unlink()
        archive.local.staging.process = 0
        archive.intake.recover_rest()
        assert Path(archive.storage.path(sent.name)).read_bytes() == _whole(sent, make, encode)
        assert indexed_in(archive.index) == [sent.name]


def test_a_journal_that_cannot_be_read_keeps_the_staged_files(
    crash: Crash, make: Make, encode: Encode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of them it needs is not known, and they were removed."""
    group = [Sent(1, is_large=True), Sent(2)]
    crash(tmp_path, group)
    with monkeypatch.context() as patch, archive_in(tmp_path) as archive:
        patch.setattr("dicomnet.archive.replay.read", _fails)
        assert archive.intake.recover() == 0
    with _recovered(tmp_path) as archive:
        _is_as_acknowledged(archive, group, make, encode)


def test_without_an_index(crash: Crash, make: Make, encode: Encode, tmp_path: Path) -> None:
    """And the index that is made later is compared with the files."""
    group = [Sent(1), Sent(2, is_large=True)]
    crash(tmp_path, group)
    with (
        LocalFolder(tmp_path, sync=False) as local,
        Intake(local, storage := FolderStorage.of(local)) as intake,
    ):
        assert intake.recover() == 2
        for sent in group:
            assert Path(storage.path(sent.name)).read_bytes() == _whole(sent, make, encode)
        assert local.needs_recovery
    assert not list((tmp_path / "journal").glob("*"))


def test_the_source_survives(crash: Crash, tmp_path: Path, make: Make, encode: Encode) -> None:
    crash(tmp_path, [Sent(1)])
    with LocalFolder(tmp_path) as local, Index(tmp_path / "index.sqlite") as index:
        rival, storage = Sent(1, study=2), FolderStorage.of(local)
        storage.keep(rival.name, [_whole(rival, make, encode)])
        index.add([read_entry(storage, rival.name, HeaderScanner(index.wanted))])
    with _recovered(tmp_path) as archive:
        _is_as_acknowledged(archive, [rival], make, encode)
        [found] = archive.quarantine()
        assert (archive.root / found.location).read_bytes() == _whole(Sent(1), make, encode)
        assert found.source == SENDER


KILLED = """
import hashlib, sys, threading
from pathlib import Path
from dicomnet.archive import journal
from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.conflicts import OtherContent
from dicomnet.archive.intake import Intake
from dicomnet.archive.ledger.ledger import Ledger, ledger_url
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
# So that segments are used again.
journal.SEGMENT_LENGTH = 1 << 14
root, run = Path(sys.argv[1]), sys.argv[3]
objects = [(Path(sys.argv[2]) / name).read_bytes() for name in ("small", "large", "other")]
local = LocalFolder(root)
storage, index, ledger = FolderStorage.of(local), Index(root / "index.sqlite"), Ledger(ledger_url(root))
intake = Intake(local, storage, index, other_content=OtherContent.REPLACE, ledger=ledger)
intake.recover()
lock = threading.Lock()
def store(thread):
    for number in range(100000):
        uid = f"1.2.3.{run}.{thread}.{number:05}"
        # Every tenth one is large, and every seventh is replaced.
        for data in (objects[number % 10 == 9], *([objects[2]] if number % 7 == 6 else [])):
            data = data.replace(b"1.2.3.1000.1.55555", uid.encode())
            session = intake.open("1.2.840.10008.5.1.4.1.1.2", uid, "1.2.840.10008.1.2.1")
            session.write(memoryview(data))
            assert session.commit() == 0
            with lock:
                print(uid, hashlib.sha256(data).hexdigest(), flush=True)
for thread in (1, 2):
    threading.Thread(target=store, args=(thread,)).start()
"""


def test_a_process_that_is_killed_at_many_moments(tmp_path: Path, make: Make, encode: Encode) -> None:
    """S001. Each start but the last one is killed, too, also while it recovers."""
    uid = "1.2.3.1000.1.55555"
    for name, attributes in (("small", {}), ("large", {"PixelData": bytes(150_000)}), ("other", {"Rows": 7})):
        (tmp_path / name).write_bytes(encode(make(SOPInstanceUID=uid, **attributes)))
    root = tmp_path / "store"
    acknowledged: dict[str, list[str]] = {}
    chance = random.Random(7)
    for run in range(1000, 1005):
        arguments = [sys.executable, "-c", KILLED, str(root), str(tmp_path), str(run)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(chance.randrange(1, 40))]
            # Somewhere between two answers.
            end = monotonic() + chance.random() / 50
            while monotonic() < end:
                pass
            process.kill()
            for line in (*said, *process.stdout.read().splitlines()):
                found, digest = [*line.split(), "", ""][:2]
                if len(digest) == 64:
                    acknowledged.setdefault(found, []).append(digest)
    assert len(acknowledged) > 5
    with (
        LocalFolder(root) as local,
        Index(root / "index.sqlite") as index,
        Intake(local, storage := FolderStorage.of(local), index) as intake,
    ):
        assert not local.was_unclean
        intake.recover()
        names = indexed_in(index)
        assert len({name.instance for name in names}) == len(names)
        assert acknowledged.keys() <= {name.instance for name in names}
        stored = {uid for _, instances in objects_of(storage) for uid in instances}
        assert stored == {name.instance for name in names}

        for found, digests in acknowledged.items():
            whole = Path(storage.path(ObjectName("1.2.3", "1.2.3.4", found))).read_bytes()

            kept = [whole, *(path.read_bytes() for path in (root / "versions" / found).glob("*.dcm"))]
            # One that was about to take the place may have taken it.
            known = [
                hashlib.sha256(each[len(encode_file_header(CT, found, EXPLICIT)) :]).hexdigest()
                for each in kept
            ]
            assert set(digests) <= set(known)
            assert len(digests) < 2 or known[0] == digests[-1]
        assert list(storage.quarantined()) == []
        assert staged_in(root) == []
        assert not list((root / "journal").glob("*"))


def test_a_journal_that_cannot_be_read_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalFolder(tmp_path) as local:
        own = Journal(tmp_path / "journal" / "0")
        own.flush(own.append(b"{}", (b"",)).number)
        own.close(is_filed=False)
        with Intake(local, FolderStorage.of(local)) as intake:
            monkeypatch.setattr(journal, "read", _fails)
            monkeypatch.setattr("dicomnet.archive.replay.read", _fails)
            assert intake.recover() == 0
        assert [path.name for path in (tmp_path / "journal").iterdir()] == ["0.left0"]
