"""The archive on each kind of store: what it receives, answers and recovers is the same on all of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from tests.archive.archives import (
    ArchiveOn,
    Encode,
    Make,
    Put,
    Send,
    Sent,
    archive_on,
    indexed_in,
    rows_of,
    staged_in,
    statuses_of,
)
from tests.archive.conftest import SENDER
from tests.archive.stores import KINDS, Bucket, MemoryStorage, Open
from tests.support import wait_until

from dicomnet.archive import holdings as holdings_module
from dicomnet.archive.catalogue.filling import Filling
from dicomnet.archive.catalogue.index import Index, discard
from dicomnet.archive.catalogue.kept import configured
from dicomnet.archive.catalogue.query import find
from dicomnet.archive.conflicts import OtherContent
from dicomnet.archive.entries import read_entry
from dicomnet.archive.holdings import Holdings
from dicomnet.archive.quarantine import Quarantine
from dicomnet.archive.replay import NOT_AS_RECEIVED
from dicomnet.archive.storage.store import Storage
from dicomnet.archive.upkeep import bring_in_line
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.encoding.scan import HeaderScanner

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


@pytest.fixture(params=KINDS)
def open_store(request: pytest.FixtureRequest) -> Open:
    return KINDS[request.param]()


def _kept(storage: Storage, sent: Sent) -> bytes:
    with storage.open(sent.name) as file:
        return file.read()


def _whole(sent: Sent, make: Make, encode: Encode) -> bytes:
    """The file of an object."""
    return encode_file_header(CT, sent.uid, EXPLICIT, SENDER.ae_title) + sent.data(make, encode)


def _images(index: Index, sent: Sent, *also: str) -> list[Dataset]:
    """What a query for an object answers."""
    keys = Dataset()
    keys.QueryRetrieveLevel = "IMAGE"
    keys.StudyInstanceUID, keys.SeriesInstanceUID = sent.name.study, sent.name.series
    keys.SOPInstanceUID, keys.PatientID = sent.uid, ""
    for keyword in also:
        setattr(keys, keyword, None)
    return [match for _, match in find(index, "STUDY", keys) if match is not None]


@pytest.mark.parametrize("is_large", [False, True])
def test_what_is_stored_is_found_and_read(
    open_store: Open, tmp_path: Path, make: Make, encode: Encode, send: Send, is_large: bool
) -> None:
    group = [Sent(number, series=1 + number % 2, is_large=is_large) for number in range(1, 6)]
    with archive_on(open_store, tmp_path, sync=True) as archive:
        sessions = [sent.session(archive.intake, make, encode, send) for sent in group]
        assert statuses_of(archive.intake.commit(sessions)) == [0] * 5
        assert archive.intake.wait_for_all()
        for sent in group:
            assert _kept(archive.storage, sent) == _whole(sent, make, encode)
            [found] = _images(archive.index, sent)
            assert (found.SOPInstanceUID, found.PatientID) == (sent.uid, sent.patient)
        assert len(archive.files()) == 5
        assert staged_in(tmp_path) == []


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("other_content", OtherContent)
def test_two_objects_with_one_uid(
    open_store: Open,
    tmp_path: Path,
    make: Make,
    encode: Encode,
    send: Send,
    is_large: bool,
    other_content: OtherContent,
) -> None:
    first, second = Sent(is_large=is_large), Sent(patient="B", is_large=is_large)
    expected = {OtherContent.KEEP_FIRST: 0xB000, OtherContent.REPLACE: 0, OtherContent.REFUSE: 0x0111}
    with archive_on(open_store, tmp_path, other_content=other_content) as archive:
        for sent, status in ((first, 0), (first, 0), (second, expected[other_content])):
            session = sent.session(archive.intake, make, encode, send)
            assert statuses_of(archive.intake.commit([session])) == [status]
            assert archive.intake.wait_for_all()
        is_replaced = other_content is OtherContent.REPLACE
        stays, other = (second, first) if is_replaced else (first, second)
        assert _kept(archive.storage, stays) == _whole(stays, make, encode)
        assert indexed_in(archive.index) == [first.name]
        aside = [each.location for each in archive.quarantine()]
        aside += [each.location for each in archive.versions()]
        assert len(aside) == (0 if other_content is OtherContent.REFUSE else 1)
        for location in aside:
            with archive.storage.open_aside(location) as file:
                assert file.read() == _whole(other, make, encode)
        assert len(list(archive.storage.quarantined())) == len(archive.quarantine())


@contextmanager
def _out_of_reach(archive: ArchiveOn[Any]) -> Iterator[None]:
    """Within the block, no object gets its name."""
    if isinstance(archive.storage, MemoryStorage):
        archive.storage.bucket.is_away = True
        yield
        archive.storage.bucket.is_away = False
    else:
        objects = archive.root / "objects"
        objects.rename(archive.root / "away")
        objects.write_text("in the way")
        yield
        objects.unlink()
        (archive.root / "away").rename(objects)


@pytest.mark.parametrize("is_large", [False, True])
def test_a_store_that_is_away_for_a_while(
    open_store: Open, tmp_path: Path, make: Make, encode: Encode, send: Send, is_large: bool
) -> None:
    """What is acknowledged all the same is filed when the store is back, and what was refused is taken then."""
    sent = Sent(is_large=is_large)
    with archive_on(open_store, tmp_path) as archive:
        session = sent.session(archive.intake, make, encode, send)
        is_bucket = isinstance(archive.storage, MemoryStorage)
        with _out_of_reach(archive):
            # A folder says that it has no such object; a bucket cannot be asked, and nobody can say.
            assert statuses_of(archive.intake.commit([session])) == [0xA700 if is_bucket else 0]
            assert archive.intake.wait_for_all(0.1) is is_bucket
        wait_until(archive.intake.wait_for_all, 10, "it is filed")
        assert statuses_of(archive.intake.commit([sent.session(archive.intake, make, encode, send)])) == [0]
        assert archive.intake.wait_for_all()
        assert _kept(archive.storage, sent) == _whole(sent, make, encode)


# What a crash may leave of an object in the store: nothing, all, only the beginning, other bytes; and its row.
LEFT = st.tuples(
    st.booleans(), st.sampled_from(["missing", "whole", "cut", "other"]), st.integers(0, 5_000), st.booleans()
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(st.lists(LEFT, min_size=1, max_size=4))
def test_what_was_acknowledged_is_there_after_a_kill(
    kind: str,
    make: Make,
    encode: Encode,
    send: Send,
    tmp_path_factory: pytest.TempPathFactory,
    left: list[tuple[bool, str, int, bool]],
) -> None:
    root, open_store = tmp_path_factory.mktemp("killed"), KINDS[kind]()
    group = [Sent(number, is_large=is_large) for number, (is_large, *_) in enumerate(left, 1)]
    with archive_on(open_store, root) as archive:
        held = threading.Event()
        # The process is killed before any of them is filed: all that it leaves is in its journal.
        archive.intake._filing.file_now = partial(_never, held)  # type: ignore[method-assign]
        sessions = [sent.session(archive.intake, make, encode, send) for sent in group]
        assert statuses_of(archive.intake.commit(sessions)) == [0] * len(group)
        held.wait(10)
        assert not archive.intake.close()
        scanner = HeaderScanner(archive.index.wanted)
        for sent, (_, what, length, has_row) in zip(group, left, strict=True):
            whole = _whole(sent, make, encode)
            if has_row:
                archive.storage.keep(sent.name, [whole])
                archive.index.add([read_entry(archive.storage, sent.name, scanner)])
                archive.storage.remove(sent.name)
            contents = {"whole": whole, "cut": whole[: length % len(whole)], "other": b"of somebody else"}
            if what != "missing":
                archive.storage.keep(sent.name, [contents[what]])
    for _ in range(2):
        with archive_on(open_store, root) as archive:
            archive.intake.recover()
            for sent in group:
                assert _kept(archive.storage, sent) == _whole(sent, make, encode)
            assert indexed_in(archive.index) == [sent.name for sent in group]
            others = [sent.uid for sent, (_, what, *_) in zip(group, left, strict=True) if what == "other"]
            assert sorted(each.instance for each in archive.storage.quarantined()) == others
            assert {each.reason for each in archive.quarantine()} <= {NOT_AS_RECEIVED}
            assert staged_in(root) == []
            assert not list(archive.local.journals.glob("*"))
            assert not archive.local.needs_recovery


def _never(held: threading.Event, objects: Any) -> None:
    held.set()
    raise OSError(f"{len(objects)} objects cannot be filed")


def test_an_index_that_is_lost_is_made_from_the_store(
    open_store: Open, tmp_path: Path, make: Make, encode: Encode, send: Send
) -> None:
    """A file that cannot be indexed goes into quarantine, and of two with one UID the newer one does."""
    group = [Sent(number, series=1 + number % 2, is_large=number == 3) for number in range(1, 6)]
    with archive_on(open_store, tmp_path) as archive:
        sessions = [sent.session(archive.intake, make, encode, send) for sent in group]
        assert statuses_of(archive.intake.commit(sessions)) == [0] * 5
        assert archive.intake.wait_for_all()
        before = rows_of(archive.index)
    discard(tmp_path / "index.sqlite")
    with archive_on(open_store, tmp_path) as archive:
        archive.storage.keep(Sent(7).name, [b"damaged"])
        archive.storage.remove(group[0].name)
        archive.local.needs_recovery = True
        bring_in_line(archive.index, archive.intake)
        assert not archive.local.needs_recovery
        # The study has four objects instead of five.
        left = [row.replace(", 2, 5, ", ", 2, 4, ") for row in before if f"'{group[0].uid}'" not in row]
        assert rows_of(archive.index) == left
        assert [each.instance for each in archive.storage.quarantined()] == [Sent(7).uid]


def test_attributes_that_are_kept_later_are_read_from_the_store(
    open_store: Open, tmp_path: Path, make: Make, encode: Encode, put: Put
) -> None:
    """Also of large objects, and of those in a form that the scan has not met before."""
    group = [Sent(1), Sent(2)]
    with archive_on(open_store, tmp_path) as archive:
        for sent, syntax in zip(group, (EXPLICIT, "1.2.840.10008.1.2"), strict=True):
            name, pixels = sent.name, bytes(200_000)
            data_set = make(
                StudyInstanceUID=name.study,
                SeriesInstanceUID=name.series,
                SOPInstanceUID=sent.uid,
                KVP=str(sent.instance),
                PixelData=pixels,
            )
            assert put(archive.intake, encode(data_set, syntax), instance=sent.uid, syntax=syntax) == 0
        assert archive.intake.wait_for_all()
        with Index(tmp_path / "index.sqlite", kept=configured(["KVP@IMAGE"])) as index:
            Filling(index, archive.storage).run(threading.Event())
            for sent in group:
                [found] = _images(index, sent, "KVP")
                assert sent.instance == found.KVP


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """The store of all archives that are opened: where they are opened is the one place that knows the kind."""
    made = Bucket()

    class InBucket(MemoryStorage):
        of = staticmethod(made.open)

        @staticmethod
        def beside(folder: Path) -> Storage:
            assert folder.exists()
            return MemoryStorage(made)

    monkeypatch.setattr(holdings_module, "FolderStorage", InBucket)
    return made


def test_the_quarantine_of_another_kind_of_store(
    bucket: Bucket, tmp_path: Path, make: Make, encode: Encode, send: Send
) -> None:
    """An object is released from it, and another one dropped; of the folder nothing is needed but what is local."""
    first, second, third = Sent(), Sent(patient="B"), Sent(patient="C", is_large=True)
    with Holdings(tmp_path) as holdings:
        for sent, status in ((first, 0), (second, 0xB000), (third, 0xB000)):
            session = sent.session(holdings.intake, make, encode, send)
            assert statuses_of(holdings.intake.commit([session])) == [status]
    with closing(Quarantine(tmp_path)) as quarantine:
        aside = {found.digest: found for found in quarantine.objects()}
        for found in aside.values():
            assert quarantine.kept(found) == first.name
            assert quarantine.storage.where_aside(found.location) == f"memory:{found.location}"
        quarantine.release(aside[sha256(_whole(second, make, encode)).hexdigest()])
        quarantine.drop(aside[sha256(_whole(third, make, encode)).hexdigest()])
        assert quarantine.objects() == []
    with Holdings(tmp_path) as holdings:
        assert _kept(holdings.storage, first) == _whole(second, make, encode)
        [found_by_query] = _images(holdings.index_to_search(), first)
        assert found_by_query.PatientID == "B"
    kinds = sorted(key.partition("/")[0] for key in bucket.contents())
    assert kinds == ["objects", "versions"]
    assert not (tmp_path / "objects").exists()
