"""The journal of a store: what it has is not sent again, and a file that is none is left as it is."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dicomnet.drivers.reading import state_of
from dicomnet.errors import JournalUnusable
from dicomnet.exchange.journal import FORMAT, Journal
from dicomnet.exchange.notes import Row, decode, encode, name_of
from dicomnet.exchange.results import StoreResult

PEER = "PACS@127.0.0.1:11112"


def files(folder: Path, count: int) -> list[str]:
    folder.mkdir(exist_ok=True)
    paths = []
    for number in range(count):
        path = folder / f"{number}.dcm"
        path.write_bytes(b"x" * (number + 1))
        paths.append(str(path))
    return paths


def result(name: str, status: int | None = 0, uid: str = "1.2", comment: str = "") -> StoreResult:
    """That of a file, as it was opened."""
    return StoreResult(name, status, uid, comment, state=state_of(os.stat(name)))


def store(path: Path, names: list[str], statuses: dict[str, int | None]) -> list[Any]:
    """One run: what is missing, noted with these statuses."""
    with Journal(str(path), PEER) as journal:
        found = list(journal.missing(names))
        for each in found:
            if isinstance(each, str) and each in statuses:
                journal.add(result(each, statuses[each], f"1.2.{len(each)}"), "some")
    return found


def test_what_was_stored_is_not_sent_again(tmp_path: Path) -> None:
    first, second, third, fourth = names = files(tmp_path / "study", 4)
    path = tmp_path / "sent.db"
    assert store(path, names, {first: 0, second: 0xB000, third: 0xA700}) == names
    # A warning is stored, a refusal not; the fourth had no answer.
    again = store(path, names, {third: 0, fourth: None})
    assert [each if isinstance(each, str) else each.path for each in again] == names
    assert [isinstance(each, StoreResult) and each.was_stored for each in again] == [True, True, False, False]
    known = again[1]
    assert isinstance(known, StoreResult)
    assert (known.status, known.length, known.is_stored) == (0xB000, 2, True)
    assert [each for each in store(path, names, {}) if isinstance(each, str)] == [fourth]


def test_a_path_that_is_given_twice_is_stored_all_the_same(tmp_path: Path) -> None:
    names = files(tmp_path / "study", 1) * 2
    path = tmp_path / "sent.db"
    assert store(path, names, {names[0]: 0}) == names
    assert not [each for each in store(path, names, {}) if isinstance(each, str)]


@pytest.mark.parametrize("change", ["content", "time"])
def test_a_file_that_has_changed_is_sent_again(change: str, tmp_path: Path) -> None:
    names = files(tmp_path / "study", 2)
    path = tmp_path / "sent.db"
    store(path, names, dict.fromkeys(names, 0))
    status = os.stat(names[0])
    if change == "content":
        Path(names[0]).write_bytes(b"other content")
        os.utime(names[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        os.utime(names[0], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert [each for each in store(path, names, {names[0]: 0}) if isinstance(each, str)] == [names[0]]
    assert [each for each in store(path, names, {}) if isinstance(each, str)] == []


def test_a_path_means_the_same_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = files(tmp_path / "study", 1)
    monkeypatch.chdir(tmp_path)
    store(tmp_path / "sent.db", ["study/0.dcm"], {"study/0.dcm": 0})
    (found,) = store(tmp_path / "sent.db", names, {})
    assert isinstance(found, StoreResult)
    assert found.path == names[0]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    strange = os.path.join(tmp_path, os.fsdecode(b"a\xff'\n.dcm"))
    Path(strange).write_bytes(b"x")
    path = tmp_path / "sent.db"
    assert store(path, [strange], {strange: 0}) == [strange]
    (found,) = store(path, [strange], {})
    assert isinstance(found, StoreResult)
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT path FROM objects").fetchall() == [(os.fsencode(strange),)]
    database.close()


def test_a_journal_is_of_one_peer(tmp_path: Path) -> None:
    path = tmp_path / "sent.db"
    store(path, [], {})
    with pytest.raises(JournalUnusable, match=r"it is that of PACS@127\.0\.0\.1:11112, not of OTHER@h:1"):
        Journal(str(path), "OTHER@h:1")


def test_a_journal_in_use(tmp_path: Path) -> None:
    path = str(tmp_path / "sent.db")
    with Journal(path, PEER), pytest.raises(JournalUnusable, match="another run uses it"):
        Journal(path, PEER)
    Journal(path, PEER).close()


def test_a_journal_of_a_newer_format(tmp_path: Path) -> None:
    path = tmp_path / "sent.db"
    store(path, [], {})
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    database.close()
    with pytest.raises(
        JournalUnusable, match=f"a newer version of dicomnet has written it .format {FORMAT + 1};"
    ):
        Journal(str(path), PEER)


def test_other_files_are_left_as_they_are(tmp_path: Path) -> None:
    text, other = tmp_path / "text", tmp_path / "other.db"
    text.write_text("no journal " * 1000)
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE objects (name)")
    database.close()
    for path, cause in (
        (text, "it is no journal, or damaged"),
        (other, "it is a database of another program"),
    ):
        before = path.read_bytes()
        with pytest.raises(JournalUnusable, match=cause):
            Journal(str(path), PEER)
        assert path.read_bytes() == before
    with pytest.raises(JournalUnusable, match="it cannot be opened"):
        Journal(str(tmp_path / "missing" / "sent.db"), PEER)
    with pytest.raises(JournalUnusable, match="it cannot be opened"):
        Journal(str(tmp_path), PEER)


def test_a_damaged_journal(tmp_path: Path) -> None:
    names = files(tmp_path / "study", 200)
    path = tmp_path / "sent.db"
    store(path, names, dict.fromkeys(names, 0))
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    with pytest.raises(JournalUnusable, match="it is damaged"):
        store(path, names, {})


def test_a_journal_that_cannot_grow_is_an_error_at_once(tmp_path: Path) -> None:
    names = files(tmp_path / "study", 3)
    journal = Journal(str(tmp_path / "sent.db"), PEER)
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")

    def add_many() -> None:
        with journal:
            for _ in range(100_000):
                list(journal.missing(names))
                journal.add(result(names[0], comment="long" * 10_000), "stored")

    with pytest.raises(JournalUnusable, match="there is no space left for it"):
        add_many()


ENDS = ("", "-wal", "-notes1", "-notes2")


def copy_of(path: Path) -> Path:
    """The files of a journal as a kill would leave them."""
    for end in ENDS:
        (path.parent / f"copy.db{end}").write_bytes(Path(f"{path}{end}").read_bytes())
    return path.parent / "copy.db"


def test_a_kill_behind_an_answer_costs_nothing(tmp_path: Path) -> None:
    """What has been added is known to the next run, whatever the threads of the journal have done by then."""
    names = files(tmp_path / "study", 50)
    with Journal(str(tmp_path / "sent.db"), PEER) as journal:
        list(journal.missing(names))
        for number, name in enumerate(names, 1):
            journal.add(result(name, comment="a\0b"), "stored")
            if number in (1, 2, 50):
                found = store(copy_of(tmp_path / "sent.db"), names, {})
                assert [isinstance(each, StoreResult) for each in found] == [True] * number + [False] * (
                    50 - number
                )
    assert [each for each in store(tmp_path / "sent.db", names, {}) if isinstance(each, str)] == []


def test_nothing_lies_beside_a_journal_that_was_closed(tmp_path: Path) -> None:
    names = files(tmp_path / "study", 3)
    store(tmp_path / "sent.db", names, dict.fromkeys(names, 0))
    assert {each.name for each in tmp_path.iterdir()} == {"study", "sent.db"}


def test_notes_of_what_was_forgotten_bring_nothing_back(tmp_path: Path) -> None:
    (name,) = files(tmp_path / "study", 1)
    path = tmp_path / "sent.db"
    with Journal(str(path), PEER) as journal:
        list(journal.missing([name]))
        journal.add(result(name), "stored")
        notes = copy_of(path)
        journal.forget([name])
        # The kill comes before the notes are emptied.
        for end in ("", "-wal"):
            Path(f"{notes}{end}").write_bytes(Path(f"{path}{end}").read_bytes())
    assert Path(f"{notes}-notes1").stat().st_size + Path(f"{notes}-notes2").stat().st_size > 0
    assert store(notes, [name], {}) == [name]


def test_notes_that_did_not_become_whole(tmp_path: Path) -> None:
    """A power cut leaves the end of a file short, or without its content: what is before that counts."""
    names = files(tmp_path / "study", 3)
    with Journal(str(tmp_path / "sent.db"), PEER) as journal:
        list(journal.missing(names))
        for name in names:
            journal.add(result(name), "stored")
        notes = Path(f"{copy_of(tmp_path / 'sent.db')}-notes1")
    whole = notes.read_bytes()
    length = len(whole) // 3
    kept = {}
    for what, data in {
        "short": whole[:-1],
        "empty": whole[: 2 * length] + bytes(length),
        "changed": whole[: length + 40] + b"?" + whole[length + 41 :],
    }.items():
        for end in ENDS:
            Path(tmp_path / f"{what}.db{end}").write_bytes((tmp_path / f"copy.db{end}").read_bytes())
        (tmp_path / f"{what}.db-notes1").write_bytes(data)
        kept[what] = sum(isinstance(each, StoreResult) for each in store(tmp_path / f"{what}.db", names, {}))
    assert kept == {"short": 2, "empty": 2, "changed": 1}


@pytest.mark.parametrize("name", ["a", "ä\n", os.fsdecode(b"\xff\xc3"), "None"])
def test_a_note_is_the_row(name: str) -> None:
    row: Row = (
        name_of(f"/{name}"),
        name_of(name),
        1,
        2**62,
        "1.2",
        name,
        0xB000,
        "x\0y",
        1.5e9 + 0.25,
        None,
        2**61,
    )
    nothing: Row = ("/a", "", None, None, None, "failed", None, None, 0.0, "1.2.3", None)
    data = encode(7, row) + encode(2**40, nothing)
    assert list(decode(data)) == [(7, row), (2**40, nothing)]
    assert list(decode(data[:-1])) == [(7, row)]


def test_many_results_are_all_there(tmp_path: Path) -> None:
    """More than go to the database together, and a kill when some have gone there."""
    names = [str(tmp_path / str(number)) for number in range(5000)]
    with Journal(str(tmp_path / "sent.db"), PEER) as journal:
        for each in journal.missing(StoreResult(name, 0) for name in names):
            assert isinstance(each, StoreResult)
            journal.add(each, "stored")
        notes = copy_of(tmp_path / "sent.db")
    for path in (notes, tmp_path / "sent.db"):
        Journal(str(path), PEER).close()
        with closing(sqlite3.connect(path)) as database:
            assert {name for (name,) in database.execute("SELECT path FROM objects")} == set(names)


@pytest.mark.parametrize("version", [1, 2])
def test_a_journal_of_an_older_format_goes_on(version: int, tmp_path: Path) -> None:
    (name,) = files(tmp_path / "study", 1)
    path = tmp_path / "sent.db"
    store(path, [name], {name: 0})
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE noted")
        database.execute("ALTER TABLE objects DROP COLUMN ctime_ns")
        if version == 1:
            database.execute("ALTER TABLE objects DROP COLUMN committed")
            database.execute("ALTER TABLE objects DROP COLUMN sop_class_uid")
        database.execute(f"PRAGMA user_version = {version}")
        database.commit()
    other = files(tmp_path / "other", 1)
    found = store(path, [name, *other], dict.fromkeys(other, 0))
    assert [isinstance(each, StoreResult) for each in found] == [True, False]
    assert [each for each in store(path, [name, *other], {}) if isinstance(each, str)] == []


_INTERRUPTED = """
import faulthandler, sys
from itertools import count
from dicomnet.exchange.journal import Journal
from dicomnet.exchange.results import StoreResult

def trace(frame, event, value):
    global left
    left -= 1
    if left < 0:
        sys.settrace(None)
        raise KeyboardInterrupt

# What hangs is told, and ends.
faulthandler.dump_traceback_later(40, exit=True)
result = StoreResult(sys.argv[1], 0, sop_instance_uid="1.2")
for turn in count():
    with Journal(f"{sys.argv[1]}/journal.db", "PEER@host:1") as journal:
        list(journal.missing(sys.argv[1:2]))
        left = turn
        try:
            sys.settrace(trace)
            journal.add(result, "stored")
            journal.forget([sys.argv[1]])
            sys.settrace(None)
            break
        except KeyboardInterrupt:
            pass
print(turn)
"""


def test_an_interrupt_anywhere_leaves_a_journal_that_can_be_closed(tmp_path: Path) -> None:
    """At each call in turn. It was waited for without end: a condition of the standard library may stay locked then."""
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 10
