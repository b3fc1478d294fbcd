"""Objects with one SOP Instance UID and different content, under each policy: none is lost without a word."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from tests.archive.archives import (
    Archive,
    Encode,
    Make,
    Send,
    Sent,
    files_of,
    indexed_in,
    new_archive,
    staged_in,
    status_of,
)
from tests.archive.conftest import SENDER
from tests.support import wait_until

from dicomnet.archive.conflicts import OtherContent
from dicomnet.archive.entries import read_entry
from dicomnet.archive.filing import OTHER_CONTENT, OTHER_STUDY

KEEP_FIRST, REPLACE, REFUSE = OtherContent.KEEP_FIRST, OtherContent.REPLACE, OtherContent.REFUSE

# Where the other object says that it is: in the same series, or in another study.
PLACES = pytest.mark.parametrize("study", [1, 2])
SIZES = pytest.mark.parametrize("is_large", [False, True])


def _put(archive: Archive, sent: Sent, make: Make, encode: Encode, send: Send) -> int:
    return status_of(sent.session(archive.intake, make, encode, send).commit)


def _stored(archive: Archive, sent: Sent) -> bytes:
    return Path(archive.storage.path(sent.name)).read_bytes()


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


@contextmanager
def _nothing_filed(archive: Archive) -> Iterator[None]:
    """Within the block, no object gets a file; what was filed before is there again behind it."""
    folder, away = archive.root / "objects", archive.root / "away"
    folder.rename(away)
    folder.write_text("in the way")
    try:
        yield
    finally:
        folder.unlink()
        away.rename(folder)


@PLACES
@SIZES
def test_the_first_is_kept_and_others_are_in_quarantine(
    make: Make, encode: Encode, send: Send, study: int, is_large: bool
) -> None:
    first = Sent(is_large=is_large)
    other = Sent(study=study, patient="B", is_large=is_large)
    with new_archive() as archive:
        assert _put(archive, first, make, encode, send) == 0
        assert [_put(archive, other, make, encode, send) for _ in range(2)] == [0xB000] * 2
        assert _put(archive, first, make, encode, send) == 0
        assert archive.intake.wait_for_all()
        assert _stored(archive, first).endswith(first.data(make, encode))
        assert indexed_in(archive.index) == [first.name]
        [found] = archive.quarantine()
        content = (archive.root / found.location).read_bytes()
        assert content.endswith(other.data(make, encode))
        assert (found.digest, found.size) == (_digest(content), len(content))
        assert (found.instance, found.study, found.series) == (other.uid, other.name.study, other.name.series)
        assert (found.reason, found.status, found.source) == (OTHER_CONTENT, 0xB000, SENDER)
        assert found.arrivals == 2
        assert len(files_of(archive.root)) == 2
        assert staged_in(archive.root) == []
        assert archive.versions() == []


@PLACES
@SIZES
def test_the_other_one_takes_the_place_of_the_first(
    make: Make, encode: Encode, send: Send, study: int, is_large: bool
) -> None:
    """Several times in a row, and the last time it is what it was at first."""
    row = [
        Sent(is_large=is_large),
        Sent(study=study, patient="B", is_large=is_large),
        Sent(study=study, patient="C", is_large=not is_large),
        Sent(is_large=is_large),
    ]
    with new_archive(other_content=REPLACE) as archive:
        contents = []
        for sent in row:
            assert _put(archive, sent, make, encode, send) == 0
            assert archive.intake.wait_for_all()
            contents.append(_stored(archive, sent))
            assert contents[-1].endswith(sent.data(make, encode))
            assert indexed_in(archive.index) == [sent.name]
        assert contents[0] == contents[3]
        versions = archive.versions()
        assert [each.digest for each in versions] == [_digest(content) for content in contents[:3]]
        for each, content, sent in zip(versions, contents[:3], row[:3], strict=True):
            assert each.location == f"versions/{sent.uid}/{each.digest}.dcm"
            assert (archive.root / each.location).read_bytes() == content
            assert (each.instance, each.study, each.series) == (sent.uid, sent.name.study, sent.name.series)
            assert (each.size, each.stored_at is not None) == (len(content), True)
        # The versions, and one object.
        assert len(files_of(archive.root)) == 3 + 1
        assert archive.quarantine() == []
        assert staged_in(archive.root) == []


@pytest.mark.parametrize("study", [1, 2], ids=["same study", "other study"])
@pytest.mark.parametrize("is_large", [False, True], ids=["small", "large"])
def test_an_object_was_replaced_without_a_word(
    study: int, is_large: bool, make: Make, encode: Encode, send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    with new_archive(other_content=REPLACE) as archive:
        first, second = Sent(is_large=is_large), Sent(study=study, patient="B", is_large=is_large)
        for sent in (first, first, second):
            assert _put(archive, sent, make, encode, send) == 0
            assert archive.intake.wait_for_all()
        (version,) = archive.versions()
    (record,) = [each for each in caplog.records if "replaces" in each.message]
    assert record.levelname == "WARNING"
    assert record.message.endswith(
        f"replaces another one with its SOP Instance UID {first.uid}, which is kept as the version {version.location}"
    )


def test_the_row_of_an_object_without_a_file_gives_way(make: Make, encode: Encode, send: Send) -> None:
    """In another study: the object that was to take its place waited for a file that is not there."""
    first, second = Sent(), Sent(study=2, patient="B")
    with new_archive(other_content=REPLACE) as archive:
        assert _put(archive, first, make, encode, send) == 0
        assert archive.intake.wait_for_all()
        os.unlink(archive.storage.path(first.name))
        assert _put(archive, second, make, encode, send) == 0
        assert archive.intake.wait_for_all()
        assert _stored(archive, second).endswith(second.data(make, encode))
        assert indexed_in(archive.index) == [second.name]
        assert (archive.versions(), archive.quarantine()) == ([], [])


def test_a_place_is_taken_twice_before_anything_is_filed(make: Make, encode: Encode, send: Send) -> None:
    """In one group, and nobody waits in between."""
    row = [Sent(patient=patient) for patient in "ABC"]
    with new_archive(other_content=REPLACE) as archive:
        sessions = [sent.session(archive.intake, make, encode, send) for sent in row]
        assert archive.intake.commit(sessions) == [0, 0, 0]
        assert archive.intake.wait_for_all()
        assert _stored(archive, row[2]).endswith(row[2].data(make, encode))
        kept = [(archive.root / each.location).read_bytes() for each in archive.versions()]
        assert len(kept) == 2
        assert all(
            content.endswith(sent.data(make, encode)) for content, sent in zip(kept, row[:2], strict=True)
        )


@PLACES
@SIZES
def test_the_other_one_is_refused_and_leaves_nothing(
    make: Make, encode: Encode, send: Send, study: int, is_large: bool
) -> None:
    first = Sent(is_large=is_large)
    with new_archive(other_content=REFUSE) as archive:
        assert _put(archive, first, make, encode, send) == 0
        before = archive.contents()
        other = Sent(study=study, patient="B", is_large=is_large)
        assert [_put(archive, other, make, encode, send) for _ in range(2)] == [0x0111] * 2
        assert _put(archive, first, make, encode, send) == 0
        assert archive.contents() == before
        assert len(before["files"]) == 1
        assert [*archive.quarantine(), *archive.versions()] == []


@pytest.mark.parametrize("policy", OtherContent)
@pytest.mark.parametrize("studies", [1, 3])
@SIZES
def test_sixteen_others_at_once(
    make: Make, encode: Encode, send: Send, policy: OtherContent, studies: int, is_large: bool
) -> None:
    """One is stored and indexed; what became of the others is what they were told."""
    sent = [Sent(study=1 + number % studies, patient=f"P{number}", is_large=is_large) for number in range(16)]
    data = [each.data(make, encode) for each in sent]
    with new_archive(other_content=policy) as archive:
        found: dict[int, int] = {}
        start = threading.Barrier(16)

        def run(number: int) -> None:
            start.wait()
            session = send(archive.intake, data[number], instance=sent[number].uid)
            found[number] = status_of(session.commit)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert archive.intake.wait_for_all()
        statuses = sorted(found.values())
        expected = {KEEP_FIRST: [0] + [0xB000] * 15, REPLACE: [0] * 16, REFUSE: [0] + [0x0111] * 15}
        assert statuses == expected[policy]
        [name] = indexed_in(archive.index)
        stored = {path: content for path, content in files_of(archive.root).items() if path[0] == "o"}
        [content] = stored.values()
        assert archive.root / next(iter(stored)) == Path(archive.storage.path(name))
        winner = next(number for number in range(16) if content.endswith(data[number]))
        assert sent[winner].name == name
        assert found[winner] == 0
        # Nothing is recorded where nothing is kept.
        recorded = [each.location for each in archive.quarantine()]
        recorded += [each.location for each in archive.versions()]
        folder = {KEEP_FIRST: "quarantine", REPLACE: "versions", REFUSE: ""}[policy]
        assert all(location.startswith(f"{folder}/") for location in recorded)
        kept = sorted((archive.root / location).read_bytes()[-len(data[0]) :] for location in recorded)
        others = [data[number][-len(data[0]) :] for number in range(16) if number != winner]
        assert kept == ([] if policy is REFUSE else sorted(others))
        assert len(files_of(archive.root)) == 1 + len(recorded)
        assert staged_in(archive.root) == []


@pytest.mark.parametrize("policy", OtherContent)
def test_the_same_object_in_another_form_is_no_other_object(
    make: Make, encode: Encode, send: Send, policy: OtherContent
) -> None:
    with new_archive(other_content=policy) as archive:
        assert send(archive.intake, encode(make())).commit() == 0
        before = archive.contents()
        implicit = "1.2.840.10008.1.2"
        assert send(archive.intake, encode(make(), implicit), syntax=implicit).commit() == 0
        assert archive.contents() == before


@SIZES
def test_a_file_that_came_between_is_not_overwritten(
    make: Make, encode: Encode, send: Send, is_large: bool
) -> None:
    """The object was acknowledged, so that its sender cannot be told; the ledger says so."""
    sent = Sent(is_large=is_large)
    with new_archive() as archive:
        path = Path(archive.storage.path(sent.name))
        with _nothing_filed(archive):
            assert _put(archive, sent, make, encode, send) == 0
            away = archive.root / "away" / path.relative_to(archive.root / "objects")
            away.parent.mkdir(parents=True)
            away.write_bytes(b"somebody else's")
        wait_until(archive.intake.wait_for_all, 10, "it is filed")
        assert path.read_bytes() == b"somebody else's"
        [found] = archive.quarantine()
        assert (archive.root / found.location).read_bytes().endswith(sent.data(make, encode))
        assert (found.reason, found.status, found.source) == (OTHER_CONTENT, None, SENDER)
        assert staged_in(archive.root) == []


def test_a_row_that_came_between_is_not_overwritten(make: Make, encode: Encode, send: Send) -> None:
    """Another study has the UID by then: the index has each of them once."""
    sent, rival = Sent(), Sent(study=2)
    with new_archive() as archive, new_archive() as elsewhere:
        assert _put(elsewhere, rival, make, encode, send) == 0
        assert elsewhere.intake.wait_for_all()
        with _nothing_filed(archive):
            assert _put(archive, sent, make, encode, send) == 0
            entry = read_entry(elsewhere.storage, rival.name, elsewhere.intake.scanner)
            assert archive.index.add([entry]) == [True]
        wait_until(archive.intake.wait_for_all, 10, "it is filed")
        assert indexed_in(archive.index) == [rival.name]
        assert not archive.storage.has(sent.name)
        [found] = archive.quarantine()
        assert (archive.root / found.location).read_bytes().endswith(sent.data(make, encode))
        assert (found.reason, found.status, found.source) == (OTHER_STUDY, None, SENDER)


def test_a_ledger_that_is_locked(
    make: Make, encode: Encode, send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    """What goes to quarantine is kept all the same; nothing is replaced before that can be recorded."""
    for policy, answer in ((KEEP_FIRST, 0xB000), (REPLACE, 0)):
        with new_archive(other_content=policy) as archive:
            first, second = Sent(), Sent(patient="B")
            assert _put(archive, first, make, encode, send) == 0
            assert archive.intake.wait_for_all()
            other = sqlite3.connect(archive.root / "ledger.sqlite", isolation_level=None)
            other.execute("BEGIN EXCLUSIVE")
            assert _put(archive, second, make, encode, send) == answer
            assert archive.intake.wait_for_all() is (policy is KEEP_FIRST)
            assert _stored(archive, first).endswith(first.data(make, encode))
            other.execute("ROLLBACK")
            other.close()
            wait_until(archive.intake.wait_for_all, 10, "it is filed")
            stored = first if policy is KEEP_FIRST else second
            assert _stored(archive, stored).endswith(stored.data(make, encode))
            assert len(files_of(archive.root)) == 2
            assert [len(archive.quarantine()), len(archive.versions())] == [0, int(policy is REPLACE)]
    assert "cannot be recorded" in caplog.text


def test_a_quarantine_that_cannot_be_written_refuses_the_other_one(
    make: Make, encode: Encode, send: Send
) -> None:
    """It would be lost else."""
    with new_archive() as archive:
        assert _put(archive, Sent(), make, encode, send) == 0
        assert archive.intake.wait_for_all()
        os.rmdir(archive.root / "quarantine")
        (archive.root / "quarantine").write_text("in the way")
        for is_large in (False, True):
            assert _put(archive, Sent(patient="B", is_large=is_large), make, encode, send) == 0xA700
        (archive.root / "quarantine").unlink()
        assert staged_in(archive.root) == []
        assert _put(archive, Sent(patient="B"), make, encode, send) == 0xB000
        assert len(archive.quarantine()) == 1
