"""The queue of a store and the pool of associations, without a network."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from pathlib import Path
from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sockets import CT_IMAGE_STORAGE, IMPLICIT_VR_LE

from dicomnet.dimse.datasets import FileRange
from dicomnet.dimse.messages import C_STORE_RSP, Message
from dicomnet.drivers.files import StoredObject
from dicomnet.encoding.file_header import FileHeader, encode_file_header
from dicomnet.encoding.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, Transcoding
from dicomnet.errors import AssociationAborted, AssociationClosed, UnusableObject
from dicomnet.exchange import storing
from dicomnet.exchange.files import Look
from dicomnet.exchange.results import StoreResult
from dicomnet.exchange.storing import Pool, StorePlan, StoreQueue, Supply
from dicomnet.upper_layer.negotiation import Agreement, NegotiatedContext, Result

CONTEXT = NegotiatedContext(1, CT_IMAGE_STORAGE, Result.ACCEPTANCE, IMPLICIT_VR_LE, True, False)
AGREEMENT = Agreement({1: CONTEXT}, 16384)


def queue_of(number: int, retries: int = 1, sop_class: str = CT_IMAGE_STORAGE) -> StoreQueue:
    plan = StorePlan()
    for index in range(number):
        header = FileHeader(sop_class, f"1.2.{index}", IMPLICIT_VR_LE, 0)
        assert plan.takes(StoredObject(Path(f"{index}.dcm"), header, 10))
    return StoreQueue(plan, 4, retries)


def answer(request: Message) -> Message:
    return Message(C_STORE_RSP, {"MessageIDBeingRespondedTo": request.message_id, "Status": 0}, 1)


@given(st.data(), st.integers(0, 12), st.integers(0, 2))
def test_each_object_has_one_result_whatever_happens(data: st.DataObject, number: int, retries: int) -> None:
    queue = queue_of(number, retries)
    results: list[StoreResult] = []
    while not queue.is_empty:
        outstanding: list[Message] = []
        for request in queue.requests(AGREEMENT, count(1).__next__):
            if data.draw(st.booleans()):
                outstanding.append(request)
            else:
                queue.unusable(request, UnusableObject("gone"))
            while data.draw(st.booleans()) and outstanding:
                which: int = data.draw(st.integers(0, len(outstanding) - 1))
                queue.answered(answer(outstanding.pop(which)))
            if data.draw(st.integers(0, 9)) == 0:
                break
        if data.draw(st.booleans()):
            for request in outstanding:
                queue.answered(answer(request))
            outstanding.clear()
        queue.lost(AssociationAborted(None))
        results += list(queue.results())
    assert sorted(result.path for result in results) == sorted(f"{n}.dcm" for n in range(number))


def test_after_a_loss_one_at_a_time() -> None:
    queue = queue_of(3)
    assert queue.window(AGREEMENT) == AGREEMENT.invoked
    next(queue.requests(AGREEMENT, count(1).__next__))
    queue.lost(AssociationAborted(None))
    assert queue.window(AGREEMENT) == 1


def test_the_losses_of_an_object_that_is_done_are_not_those_of_a_new_one() -> None:
    """They are counted by identity, and a new object may come to lie where an old one was."""
    new: list[StoredObject] = []

    class Later(Supply):
        def more(self, plan: StorePlan) -> Look | None:
            return (new.pop(), None) if new else None

    plan = queue_of(1)._plan
    queue = StoreQueue(plan, 4, 1, Later((), Transcoding.NEVER))
    identity = id(plan.objects.pop())
    numbers = count(1).__next__

    def send(*, is_lost: bool) -> None:
        queue.window(AGREEMENT)
        (request,) = queue.requests(AGREEMENT, numbers)
        if is_lost:
            queue.lost(AssociationAborted(None))
        else:
            queue.answered(answer(request))

    header, path = FileHeader(CT_IMAGE_STORAGE, "1.3.1", IMPLICIT_VR_LE, 0), Path("new.dcm")
    others: list[StoredObject] = []
    send(is_lost=True)
    send(is_lost=False)
    while len(others) < 1000 and identity not in map(id, others):
        others.append(StoredObject(path, header, 10))
    new.append(others[-1])
    send(is_lost=True)
    send(is_lost=False)
    assert [result.status for result in queue.results()] == [0, 0]


def test_the_end_of_an_old_association_is_no_objects_fault() -> None:
    queue = queue_of(2, retries=0)
    next(queue.requests(AGREEMENT, count(1).__next__))
    queue.lost(AssociationAborted(None), was_stale=True)
    assert list(queue.results()) == []
    assert [
        each.command["AffectedSOPInstanceUID"] for each in queue.requests(AGREEMENT, count(1).__next__)
    ] == [
        "1.2.0",
        "1.2.1",
    ]


def test_what_no_context_was_accepted_for() -> None:
    queue = queue_of(2, sop_class="1.2.3")
    assert list(queue.requests(AGREEMENT, count(1).__next__)) == []
    assert ["no presentation context" in result.comment for result in queue.results()] == [True, True]


def test_a_pool_keeps_one_idle_association() -> None:
    pool: Pool[str] = Pool()
    first, second = (("1", ("2",)),), (("3", ("4",)),)
    for link in ("a", "b"):
        pool.add(link)
    assert pool.take(first) is None
    assert pool.give_back(first, "a") == []
    assert pool.give_back(second, "b") == ["a"]
    assert pool.take(second) == "b"
    pool.add("c")
    assert sorted(pool.clear()) == ["b", "c"]
    # What was in use when all were ended is not kept.
    assert pool.give_back(second, "b") == ["b"]
    assert pool.clear() == []


def supplied(folder: Path, kinds: str) -> Supply:
    """A file for each letter, which stands for its SOP class."""
    paths = []
    for number, kind in enumerate(kinds):
        path = folder / f"{number:04}.dcm"
        header = encode_file_header(f"1.2.{ord(kind)}", f"1.3.{number}", EXPLICIT_VR_LITTLE_ENDIAN)
        path.write_bytes(header + b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" if kind != "-" else b"no DICOM")
        paths.append(str(path))
    return Supply(paths, Transcoding.NEVER)


def accepting(*sop_classes: str) -> Agreement:
    contexts = {
        2 * number + 1: NegotiatedContext(
            2 * number + 1, uid, Result.ACCEPTANCE, EXPLICIT_VR_LITTLE_ENDIAN, True, False
        )
        for number, uid in enumerate(sop_classes)
    }
    return Agreement(contexts, 16384)


def names(units: Iterable[StoredObject | StoreResult]) -> list[str]:
    return [Path(unit.path).stem.lstrip("0") or "0" for unit in units]


def test_a_queue_goes_on_with_what_its_plan_proposes_and_the_rest_is_for_the_next_part(
    tmp_path: Path,
) -> None:
    supply = supplied(tmp_path, "ab-aacb-ac")
    part = supply.part(2)
    assert part is not None
    skipped, (plan,) = part
    assert (skipped, names(plan.objects)) == ([], ["0", "1"])
    queue = StoreQueue(plan, 16, 1, supply)
    sent = list(queue.requests(accepting("1.2.97", "1.2.98"), iter(range(1, 100)).__next__))
    assert [message.command["AffectedSOPInstanceUID"] for message in sent] == [
        f"1.3.{number}" for number in (0, 1, 3, 4, 6, 8)
    ]
    assert names(queue.results()) == ["2", "7"]
    assert queue.is_empty
    rest = supply.part(100)
    assert rest is not None
    assert names(rest[1][0].objects) == ["5", "9"]
    assert supply.part(100) is None


def test_what_is_put_aside_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "SCAN_AHEAD", 3)
    supply = supplied(tmp_path, "a" + "b" * 5 + "a")
    part = supply.part(1)
    assert part is not None
    queue = StoreQueue(part[1][0], 16, 1, supply)
    assert len(list(queue.requests(accepting("1.2.97"), iter(range(1, 100)).__next__))) == 1
    assert queue.is_empty
    rest = supply.part(100)
    assert rest is not None
    assert names(rest[1][0].objects) == ["1", "2", "3", "4", "5", "6"]


def test_a_queue_that_has_failed_looks_at_no_further_files(tmp_path: Path) -> None:
    supply = supplied(tmp_path, "aaaa")
    part = supply.part(1)
    assert part is not None
    queue = StoreQueue(part[1][0], 16, 1, supply)
    queue.fail(AssociationClosed())
    assert names(queue.results()) == ["0"]
    assert queue.is_empty
    rest = supply.part(100)
    assert rest is not None
    assert names(rest[1][0].objects) == ["1", "2", "3"]


def test_a_small_object_that_is_looked_at_when_its_turn_comes_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "SMALL_FILE", 4096)
    supply = supplied(tmp_path, "aaaa")
    (tmp_path / "0002.dcm").write_bytes((tmp_path / "0002.dcm").read_bytes().ljust(4098, b"\0"))
    part = supply.part(1)
    assert part is not None
    queue = StoreQueue(part[1][0], 16, 1, supply)
    requests = queue.requests(accepting("1.2.97"), count(1).__next__)
    assert isinstance(next(requests).data, FileRange)
    second = next(requests)
    (tmp_path / "0001.dcm").unlink()
    assert isinstance(second.data, memoryview)
    assert bytes(second.data) == b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100"
    content = ref(second.data)
    del second
    assert isinstance(next(requests).data, FileRange)
    # It waits for its answer, and what was read is not kept for that.
    assert content() is None
    next(requests)
    queue.lost(AssociationAborted(None))
    queue.window(AGREEMENT)
    again = list(queue.requests(accepting("1.2.97"), count(1).__next__))
    assert [type(request.data) for request in again] == [FileRange] * 4


def test_what_is_put_aside_is_not_kept_in_memory(tmp_path: Path) -> None:
    supply = supplied(tmp_path, "abba")
    part = supply.part(1)
    assert part is not None
    queue = StoreQueue(part[1][0], 16, 1, supply)
    assert len(list(queue.requests(accepting("1.2.97"), count(1).__next__))) == 2
    rest = supply.part(100)
    assert rest is not None
    later = StoreQueue(rest[1][0], 16, 1, supply)
    sent = list(later.requests(accepting("1.2.98"), count(1).__next__))
    assert [type(request.data) for request in sent] == [FileRange] * 2
