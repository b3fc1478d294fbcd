"""What the archive may rely on, whatever kind of store it has."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.archive.archives import objects_of, staged_in
from tests.archive.stores import KINDS, Open

from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.comparison import Comparison, compare, is_cut_off
from dicomnet.archive.storage.staging import StagedFile
from dicomnet.archive.storage.store import ObjectName, Storage
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.encoding.identity import is_uid

NAME = ObjectName("1.2.3", "1.2.3.4", "1.2.3.4.5")
CLASS, SYNTAX = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalFolder]:
    with LocalFolder(tmp_path) as opened:
        yield opened


@pytest.fixture(params=KINDS)
def open_store(request: pytest.FixtureRequest) -> Open:
    return KINDS[request.param]()


@pytest.fixture
def storage(open_store: Open, local: LocalFolder) -> Storage:
    return open_store(local)


def _file(content: bytes, name: ObjectName = NAME, sender: str = "A") -> list[bytes]:
    return [encode_file_header(CLASS, name.instance, SYNTAX, sender), b"a data set of ", content]


def _whole(content: bytes) -> bytes:
    return b"".join(_file(content))


def _staged(local: LocalFolder, content: bytes) -> StagedFile:
    staged = local.staging.stage()
    staged.write(_file(content))
    staged.finish(sync=local.sync)
    return staged


def _kept(storage: Storage, name: ObjectName = NAME) -> bytes:
    with storage.open(name) as file:
        return file.read()


def _aside(storage: Storage, location: str) -> bytes:
    with storage.open_aside(location) as file:
        return file.read()


def _compared(storage: Storage, content: list[bytes]) -> Comparison:
    return compare(storage, BytesIO(b"".join(content)), NAME)


@pytest.mark.parametrize(
    "text",
    [
        "../../x",
        "/etc/passwd",
        "",
        "1" * 65,
        "1.2\0",
        "1.2\n",
        "１.２",
        "1..2",
        ".1",
        "1.",
        "1.2/3",
        "a.b",
        " 1",
        "1.2 ",
        "..",
    ],
)
def test_what_is_no_uid_names_nothing(text: str) -> None:
    assert not is_uid(text)
    for names in ((text, "1.2", "1.3"), ("1.2", text, "1.3"), ("1.2", "1.3", text)):
        with pytest.raises(ValueError):
            ObjectName(*names)


@given(st.text(alphabet="0123456789./\\~\0 aä%", max_size=70))
def test_a_uid_cannot_leave_its_folder(text: str) -> None:
    if is_uid(text):
        assert text not in (".", "..", "")
        assert set(text) <= set("0123456789.")
        assert len(text) <= 64


@pytest.mark.parametrize("text", ["1.2.840.10008.1.2", "0.01.002", "1" * 64, "7"])
def test_uids_of_real_devices(text: str) -> None:
    assert is_uid(text)


def test_a_file_is_read_as_a_whole_if_it_is_as_long_as_was_said(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read(NAME, 5)
    storage.keep(NAME, _file(b"first"))
    whole = _whole(b"first")
    assert storage.read(NAME, len(whole)) == whole
    for other in (0, 1, len(whole) - 1, len(whole) + 1, 1 << 20):
        assert storage.read(NAME, other) is None


@pytest.mark.parametrize("is_staged", [False, True])
def test_a_name_is_given_once(storage: Storage, local: LocalFolder, is_staged: bool) -> None:
    """Nothing is overwritten, and what is refused leaves nothing, but what was staged before."""

    def keep(content: bytes) -> bool:
        if not is_staged:
            return storage.keep(NAME, _file(content))
        staged = _staged(local, content)
        is_kept = storage.keep(NAME, staged)
        assert (local.staging.find(staged.name) is None) is is_kept
        staged.discard()
        staged.discard()
        return is_kept

    assert not storage.has(NAME)
    assert keep(b"one")
    assert storage.has(NAME)
    for content in (b"one", b"two", b"on"):
        assert not keep(content)
    assert _kept(storage) == _whole(b"one")
    assert objects_of(storage) == [(("1.2.3", "1.2.3.4"), ["1.2.3.4.5"])]
    assert _compared(storage, _file(b"one", sender="B")) is Comparison.SAME
    assert [_compared(storage, _file(content)) for content in (b"two", b"on")] == [Comparison.OTHER] * 2
    assert staged_in(local.root) == []


def test_another_store_on_the_same_place_has_what_is_kept(open_store: Open, local: LocalFolder) -> None:
    before = time() - 1
    first = open_store(local)
    first.keep(NAME, _file(b"one"))
    first.make_durable()
    kept = first.quarantine_content("1.2", _file(b"two"))
    second = open_store(local)
    assert _kept(second) == _whole(b"one")
    assert second.digest(NAME) == sha256(_whole(b"one")).hexdigest()
    assert before <= second.written_at(NAME) <= time() + 1
    assert list(second.quarantined()) == [kept]
    assert not second.keep(NAME, _file(b"three"))


def test_any_part_of_an_object_is_read(storage: Storage) -> None:
    storage.keep(NAME, _file(b"one"))
    whole = _whole(b"one")
    with storage.open(NAME) as file:
        assert file.seek(0, 2) == len(whole)
        for start, length in ((0, 4), (128, 4), (len(whole) - 3, 10), (2, 0)):
            file.seek(start)
            assert file.read(length) == whole[start : start + length]
            view = bytearray(length)
            file.seek(start)
            assert view[: file.readinto(view)] == whole[start : start + length]


def test_an_object_that_is_not_there(storage: Storage) -> None:
    for call in (storage.open, storage.written_at, storage.keep_version):
        with pytest.raises(FileNotFoundError):
            call(NAME)
    assert storage.digest(NAME) == ""
    assert storage.quarantine(NAME) is None
    storage.remove(NAME)
    assert objects_of(storage) == []
    # Nor does one with a name that begins in the same way count for it.
    storage.keep(ObjectName("1.2.3", "1.2.3.4", "1.2.3.4.55"), _file(b"one"))
    assert not storage.has(NAME)


def test_what_is_staged_and_gone_is_an_error(storage: Storage, local: LocalFolder) -> None:
    staged = _staged(local, b"one")
    staged.discard()
    assert local.staging.find(staged.name) is None
    with pytest.raises(FileNotFoundError):
        storage.keep(NAME, staged)
    assert not storage.has(NAME)


def test_an_object_that_is_only_the_beginning_of_another(storage: Storage) -> None:
    storage.keep(NAME, _file(b"o"))
    assert is_cut_off(storage, BytesIO(_whole(b"one")), NAME)
    for content in (b"o", b"", b"two"):
        assert not is_cut_off(storage, BytesIO(_whole(content)), NAME)


def test_all_series_are_walked(storage: Storage) -> None:
    names = [ObjectName(f"1.{n % 2}", f"1.2.{n % 4}", f"1.3.{n}") for n in range(12)]
    for name in names:
        assert storage.keep(name, _file(b"one", name))
    found = {
        ObjectName(*series, instance) for series, instances in objects_of(storage) for instance in instances
    }
    assert found == set(names)
    assert len(objects_of(storage)) == 4


def test_quarantine_keeps_each_content_once(storage: Storage, local: LocalFolder) -> None:
    kept = [
        storage.quarantine_content("1.2", _file(b"one")),
        storage.quarantine_content("1.2", _staged(local, b"one")),
        storage.quarantine_content("1.2", _staged(local, b"two")),
        storage.quarantine_content("1.2", _file(b"two")),
        storage.quarantine_content("1.3", _file(b"two")),
    ]
    contents = (("1.2", b"one"), ("1.2", b"one"), ("1.2", b"two"), ("1.2", b"two"), ("1.3", b"two"))
    for each, (instance, content) in zip(kept, contents, strict=True):
        assert each.instance == instance
        assert each.digest == sha256(_whole(content)).hexdigest()
        assert each.size == len(_whole(content))
        assert _aside(storage, each.location) == _whole(content)
        assert storage.where_aside(each.location)
    assert len({each.location for each in kept}) == 3
    assert {each.location for each in storage.quarantined()} == {each.location for each in kept}
    assert [each.location for each in storage.quarantined("1.3")] == [kept[-1].location]
    assert list(storage.quarantined("1.4")) == []
    assert staged_in(local.root) == []
    for _ in range(2):
        storage.drop_aside(kept[-1].location)
        assert storage.where_aside(kept[-1].location) is None
        with pytest.raises(FileNotFoundError):
            storage.open_aside(kept[-1].location)
    assert len(list(storage.quarantined())) == 2


def test_moving_into_quarantine(storage: Storage) -> None:
    storage.keep(NAME, _file(b"one"))
    kept = storage.quarantine(NAME)
    assert kept is not None
    assert _aside(storage, kept.location) == _whole(b"one")
    assert storage.quarantine(NAME) is None
    assert not storage.has(NAME)
    assert list(storage.quarantined()) == [kept]
    assert [instances for _, instances in objects_of(storage) if instances] == []


@pytest.mark.parametrize("is_staged", [False, True])
def test_an_object_that_is_replaced_is_kept_as_a_version(
    storage: Storage, local: LocalFolder, is_staged: bool
) -> None:
    storage.keep(NAME, _file(b"one"))
    digest = sha256(_whole(b"one")).hexdigest()
    written_at = storage.written_at(NAME)
    assert storage.digest(NAME) == digest
    assert not storage.has_version(NAME.instance, digest)
    for _ in range(2):
        kept = storage.keep_version(NAME)
        assert (kept.instance, kept.digest, kept.written_at) == (NAME.instance, digest, written_at)
    storage.replace(NAME, _staged(local, b"two") if is_staged else _file(b"two"))
    assert _aside(storage, kept.location) == _whole(b"one")
    assert _kept(storage) == _whole(b"two")
    assert storage.has_version(NAME.instance, digest)
    assert storage.digest(NAME) == sha256(_whole(b"two")).hexdigest()
    assert list(storage.quarantined()) == []
    storage.remove(NAME)
    storage.remove(NAME)
    assert storage.digest(NAME) == ""
    assert staged_in(local.root) == []


@pytest.mark.parametrize("contents", [[b"same"] * 16, [bytes([number]) for number in range(16)]])
@pytest.mark.parametrize("is_staged", [False, True])
def test_sixteen_at_once(
    storage: Storage, local: LocalFolder, contents: list[bytes], is_staged: bool
) -> None:
    found: list[tuple[bool, bytes]] = []
    start = threading.Barrier(len(contents))

    def run(content: bytes) -> None:
        whole = _staged(local, content) if is_staged else _file(content)
        start.wait()
        found.append((storage.keep(NAME, whole), content))

    threads = [threading.Thread(target=run, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = [content for is_kept, content in found if is_kept]
    assert len(found) == 16
    assert _kept(storage) == _whole(winner)
    # Of the losers, only those that were staged are there, for whoever decides what becomes of them.
    assert len(staged_in(local.root)) == (15 if is_staged else 0)


def test_what_was_set_aside_is_listed_and_can_be_put_there_again(
    storage: Storage, local: LocalFolder
) -> None:
    storage.keep(NAME, _file(b"first"))
    version = storage.keep_version(NAME)
    quarantined = storage.quarantine(NAME)
    assert quarantined is not None
    assert (list(storage.versions()), list(storage.quarantined())) == ([version], [quarantined])
    for location in (version.location, quarantined.location):
        storage.drop_aside(location)
        storage.put_aside_again(location, _staged(local, b"first"))
        assert _aside(storage, location) == _whole(b"first")
        # What is there is left, and what was staged is not staged any more.
        storage.put_aside_again(location, _file(b"second"))
        assert _aside(storage, location) == _whole(b"first")
    assert [each.digest for each in storage.versions()] == [version.digest]
    assert staged_in(local.root) == []


@pytest.mark.parametrize(
    "location",
    [
        "../x",
        "/etc/passwd",
        "objects/00/11/1.2/1.3/1.4.dcm",
        "index.sqlite",
        f"other/../quarantine/1.2/{'0' * 64}.dcm",
    ],
)
def test_nothing_is_put_aside_elsewhere(storage: Storage, location: str) -> None:
    with pytest.raises(ValueError):
        storage.put_aside_again(location, _file(b"x"))


def test_an_object_under_the_name_of_another_gets_its_own(storage: Storage) -> None:
    other = ObjectName(NAME.study, "1.2.3.5", "1.2.3.4.6")
    storage.keep(other, _file(b"content"))
    assert storage.put_in_place(storage.location(other), NAME)
    assert [each for each in objects_of(storage) if each[1]] == [((NAME.study, NAME.series), [NAME.instance])]
    assert _kept(storage) == _whole(b"content")
    storage.keep(other, _file(b"second"))
    assert not storage.put_in_place(storage.location(other), NAME)
    assert _kept(storage, other) == _whole(b"second")


def test_the_series_of_one_study(storage: Storage) -> None:
    names = [ObjectName(f"1.{study}", f"1.{study}.{series}", "1") for study in (1, 2) for series in (1, 2)]
    for name in names:
        storage.keep(name, _file(b"", name))
    assert list(storage.series(study="1.2")) == [("1.2", "1.2.1"), ("1.2", "1.2.2")]
    assert list(storage.series(study="1.3")) == []
    assert sorted(storage.series()) == [(name.study, name.series) for name in names]
