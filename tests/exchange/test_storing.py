"""The objects of a store on their way, without a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BufferedReader, BytesIO
from itertools import count, islice
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
from dicomnet.exchange.results import StoreResult
from dicomnet.exchange.sendable import WHOLE_FILE, Identity, KnownObject, Sendable
from dicomnet.exchange.storing import StorePlan, StoreQueue, Supply, Transmission
from dicomnet.services.steps import Work
from dicomnet.upper_layer.negotiation import Agreement, NegotiatedContext, Result
from dicomnet.values import replace

CONTEXT = NegotiatedContext(1, CT_IMAGE_STORAGE, Result.ACCEPTANCE, IMPLICIT_VR_LE, True, False)
AGREEMENT = Agreement({1: CONTEXT}, 16384)


def queue_of(number: int, retries: int = 1, sop_class: str = CT_IMAGE_STORAGE) -> StoreQueue:
    plan = StorePlan()
    for index in range(number):
        header = FileHeader(sop_class, f"1.2.{index}", IMPLICIT_VR_LE, 0)
        assert plan.takes(StoredObject(Path(f"{index}.dcm"), header, 10))
    return StoreQueue(plan, retries)


def sending(queue: StoreQueue, agreement: Agreement = AGREEMENT) -> Transmission:
    """One association's part of a queue, with message IDs of its own."""
    return Transmission(queue, agreement, count(1).__next__, 4)


def requests_of(transmission: Transmission) -> Iterator[Message]:
    """The requests, with the work between them done."""
    for request in transmission.requests():
        if isinstance(request, Work):
            request.function()
        else:
            yield request


def results_of(queue: StoreQueue) -> list[StoreResult]:
    """The results that are there."""
    return list(iter(queue.take_result, None))


def answer(request: Message) -> Message:
    return Message(C_STORE_RSP, {"MessageIDBeingRespondedTo": request.message_id, "Status": 0}, 1)


@given(st.data(), st.integers(0, 12), st.integers(0, 2))
def test_each_object_has_one_result_whatever_happens(data: st.DataObject, number: int, retries: int) -> None:
    queue = queue_of(number, retries)
    results: list[StoreResult] = []
    while not queue.is_empty:
        outstanding: list[Message] = []
        transmission = sending(queue)
        for request in requests_of(transmission):
            if data.draw(st.booleans()):
                outstanding.append(request)
            else:
                transmission.unusable(request, UnusableObject("gone"))
            while data.draw(st.booleans()) and outstanding:
                which: int = data.draw(st.integers(0, len(outstanding) - 1))
                transmission.answered(answer(outstanding.pop(which)))
            if data.draw(st.integers(0, 9)) == 0:
                break
        if data.draw(st.booleans()):
            for request in outstanding:
                transmission.answered(answer(request))
            outstanding.clear()
        transmission.lost(AssociationAborted(None))
        results += results_of(queue)
    assert sorted(result.path for result in results) == sorted(f"{n}.dcm" for n in range(number))


@given(st.data(), st.integers(0, 12), st.integers(0, 2))
def test_associations_beside_each_other_report_each_object_once(
    data: st.DataObject, number: int, retries: int
) -> None:
    queue = queue_of(number, retries)
    used = [sending(queue) for _ in range(3)]
    requests: list[Iterator[Message]] = [requests_of(each) for each in used]
    outstanding: list[list[Message]] = [[], [], []]
    for _ in range(data.draw(st.integers(0, 40))):
        which: int = data.draw(st.integers(0, 2))
        step = data.draw(st.sampled_from(["send", "answer", "lose"]))
        if step == "send":
            outstanding[which] += [each for each in [next(requests[which], None)] if each is not None]
        elif step == "answer" and outstanding[which]:
            used[which].answered(answer(outstanding[which].pop()))
        elif step == "lose":
            used[which].lost(AssociationAborted(None))
            outstanding[which].clear()
            used[which] = sending(queue)
            requests[which] = requests_of(used[which])
    # In the end there is one that nothing happens to.
    for each in used:
        each.lost(AssociationAborted(None))
    last = sending(queue)
    for request in requests_of(last):
        last.answered(answer(request))
    results = results_of(queue)
    assert sorted(result.path for result in results) == sorted(f"{n}.dcm" for n in range(number))


@pytest.mark.parametrize(("granted", "window"), [(0, 4), (1, 1), (3, 3), (4, 4), (200, 4), (0xFFFF, 4)])
def test_no_more_are_outstanding_than_were_asked_for_whatever_the_peer_grants(
    granted: int, window: int
) -> None:
    assert sending(queue_of(9), replace(AGREEMENT, invoked=granted)).window == window


def test_after_a_loss_one_at_a_time() -> None:
    queue = queue_of(3)
    first = sending(queue)
    assert first.window == AGREEMENT.invoked
    next(requests_of(first))
    first.lost(AssociationAborted(None))
    assert sending(queue).window == 1


def test_an_association_with_several_outstanding_takes_no_suspect() -> None:
    """It would fall under suspicion what is outstanding beside it."""
    queue = queue_of(3)
    lost, other = sending(queue), sending(queue)
    next(requests_of(lost))
    lost.lost(AssociationAborted(None))
    assert [each.command["AffectedSOPInstanceUID"] for each in requests_of(other)] == ["1.2.1", "1.2.2"]
    assert [each.command["AffectedSOPInstanceUID"] for each in requests_of(sending(queue))] == ["1.2.0"]


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_an_object_is_sent_as_often_as_there_are_retries(retries: int) -> None:
    queue = queue_of(1, retries)
    for _ in range(retries + 1):
        assert queue.take_result() is None
        transmission = sending(queue)
        (request,) = requests_of(transmission)
        transmission.lost(AssociationAborted(None))
    assert queue.is_empty
    (result,) = results_of(queue)
    assert result.status is None
    assert request.command["AffectedSOPInstanceUID"] == "1.2.0"


def test_the_losses_of_an_object_are_not_those_of_another() -> None:
    queue = queue_of(2)
    for _ in range(2):
        transmission = sending(queue)
        request = next(requests_of(transmission))
        transmission.lost(AssociationAborted(None))
        again = sending(queue)
        assert next(requests_of(again)).command == request.command
        again.answered(answer(request))
    assert [result.status for result in results_of(queue)] == [0, 0]


def test_the_end_of_an_old_association_is_no_objects_fault() -> None:
    queue = queue_of(2, retries=0)
    stale = sending(queue)
    next(requests_of(stale))
    stale.lost(AssociationAborted(None), may_blame=False)
    assert results_of(queue) == []
    again = sending(queue)
    assert again.window == AGREEMENT.invoked
    assert [each.command["AffectedSOPInstanceUID"] for each in requests_of(again)] == ["1.2.0", "1.2.1"]


def test_an_association_that_is_not_known_to_work_begins_with_an_object_that_has_cost_none() -> None:
    """So a loss tells whether the association or the object is to blame."""
    queue = queue_of(3)
    first = sending(queue)
    next(requests_of(first))
    first.lost(AssociationAborted(None))
    again = Transmission(queue, AGREEMENT, count(1).__next__, 4, is_proven=False)
    order = []
    for request in requests_of(again):
        order.append(request.command["AffectedSOPInstanceUID"])
        again.answered(answer(request))
    assert order == ["1.2.1", "1.2.0", "1.2.2"]


def test_an_object_that_meets_the_end_of_two_associations_beside_each_other_is_sent_again() -> None:
    """A peer that ends each association after some objects did so twice with the same one, which then had failed."""

    def sent(transmission: Transmission, requests: Iterator[Message], number: int) -> None:
        for request in islice(requests, number):
            transmission.answered(answer(request))

    one_at_a_time = replace(AGREEMENT, invoked=1)
    queue = queue_of(6)
    first, other = sending(queue, one_at_a_time), sending(queue, one_at_a_time)
    next(requests_of(other))
    other.lost(AssociationAborted(None))
    other = Transmission(queue, one_at_a_time, count(1).__next__, 4, is_proven=False)
    others = requests_of(other)
    sent(other, others, 3)
    requests = requests_of(first)
    sent(first, requests, 1)
    assert next(requests).command["AffectedSOPInstanceUID"] == "1.2.4"
    first.lost(AssociationAborted(None))
    assert next(others).command["AffectedSOPInstanceUID"] == "1.2.4"
    other.lost(AssociationAborted(None))
    again = sending(queue)
    sent(again, requests_of(again), 9)
    assert sorted((result.sop_instance_uid, result.status) for result in results_of(queue)) == [
        (f"1.2.{number}", 0) for number in range(6)
    ]


def test_what_no_context_was_accepted_for() -> None:
    queue = queue_of(2, sop_class="1.2.3")
    assert list(requests_of(sending(queue))) == []
    assert ["no presentation context" in result.comment for result in results_of(queue)] == [True, True]


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


def names(units: Iterable[Sendable | StoreResult]) -> list[str]:
    paths = (unit.path if isinstance(unit, StoreResult) else str(unit.file) for unit in units)
    return [Path(path).stem.lstrip("0") or "0" for path in paths]


def test_a_queue_goes_on_with_what_its_plan_proposes_and_the_rest_is_for_the_next_part(
    tmp_path: Path,
) -> None:
    supply = supplied(tmp_path, "ab-aacb-ac")
    part = supply.part(2)
    assert part is not None
    skipped, (plan,) = part
    assert (skipped, names(plan.objects)) == ([], ["0", "1"])
    queue = StoreQueue(plan, 1, supply)
    sent = list(requests_of(sending(queue, accepting("1.2.97", "1.2.98"))))
    assert [message.command["AffectedSOPInstanceUID"] for message in sent] == [
        f"1.3.{number}" for number in (0, 1, 3, 4, 6, 8)
    ]
    assert names(results_of(queue)) == ["2", "7"]
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
    queue = StoreQueue(part[1][0], 1, supply)
    assert len(list(requests_of(sending(queue, accepting("1.2.97"))))) == 1
    assert queue.is_empty
    rest = supply.part(100)
    assert rest is not None
    assert names(rest[1][0].objects) == ["1", "2", "3", "4", "5", "6"]


def test_a_queue_that_has_failed_looks_at_no_further_files(tmp_path: Path) -> None:
    supply = supplied(tmp_path, "aaaa")
    part = supply.part(1)
    assert part is not None
    queue = StoreQueue(part[1][0], 1, supply)
    queue.fail(AssociationClosed())
    assert names(results_of(queue)) == ["0"]
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
    queue = StoreQueue(part[1][0], 1, supply)
    transmission = sending(queue, accepting("1.2.97"))
    requests = requests_of(transmission)
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
    transmission.lost(AssociationAborted(None))
    again = list(requests_of(sending(queue, accepting("1.2.97"))))
    assert [type(request.data) for request in again] == [FileRange] * 4


def test_what_is_put_aside_is_not_kept_in_memory(tmp_path: Path) -> None:
    supply = supplied(tmp_path, "abba")
    part = supply.part(1)
    assert part is not None
    queue = StoreQueue(part[1][0], 1, supply)
    assert len(list(requests_of(sending(queue, accepting("1.2.97"))))) == 2
    rest = supply.part(100)
    assert rest is not None
    later = StoreQueue(rest[1][0], 1, supply)
    sent = list(requests_of(sending(later, accepting("1.2.98"))))
    assert [type(request.data) for request in sent] == [FileRange] * 2


def known(number: int) -> KnownObject:
    return KnownObject(Unread(), Identity(CT_IMAGE_STORAGE, f"1.2.{number}", IMPLICIT_VR_LE))


class Unread:
    """A file that must not be read."""

    def open(self) -> BufferedReader:
        raise AssertionError("it is read too early")

    def read(self, length: int) -> bytes | None:
        raise AssertionError("it is read too early")


def test_objects_that_are_known_are_not_read_before_their_turn() -> None:
    """Neither when they are planned, nor where they fail without being sent."""
    supply = Supply((known(number) for number in range(9)), Transcoding.NEVER, patience=2)
    part = supply.part(3)
    assert part is not None
    queue = StoreQueue(part[1][0], 1, supply)
    work = next(iter(sending(queue, AGREEMENT).requests()))
    assert isinstance(work, Message)
    assert isinstance(work.data, Work)
    queue.unreachable(AssociationClosed())
    assert [result.sop_instance_uid for result in results_of(queue)] == ["1.2.1", "1.2.2"]
    rest = supply.part(100)
    assert rest is not None
    assert [result.sop_instance_uid for result in rest[0]] == [f"1.2.{number}" for number in range(3, 9)]
    assert all(result.status is None for result in rest[0])


def test_a_peer_that_ends_each_association_before_an_answer_is_given_up() -> None:
    patient, impatient = (Supply((), Transcoding.NEVER, patience=patience) for patience in (None, 2))
    for supply, ends in ((patient, False), (impatient, True)):
        for has_answer in (False, True):
            supply.lost(AssociationClosed(), 0.0, has_answer=has_answer)
            assert supply.ended is None
        supply.lost(AssociationClosed(), 0.0, has_answer=False)
        assert (supply.ended is not None) is ends


def test_nothing_is_said_of_what_is_dropped() -> None:
    supply = Supply((known(number) for number in range(9)), Transcoding.NEVER)
    part = supply.part(3)
    assert part is not None
    queue = StoreQueue(part[1][0], 1, supply)
    requests = sending(queue, AGREEMENT)
    assert len(list(islice(requests.requests(), 1))) == 1
    supply.drop(AssociationClosed())
    assert list(requests.requests()) == []
    requests.lost(AssociationClosed())
    queue.fail(AssociationClosed())
    # That one was on its way.
    assert [result.sop_instance_uid for result in results_of(queue)] == ["1.2.0"]
    assert supply.part(100) is None


class Files:
    """Files that are not reached by a path, and which of them were read."""

    def __init__(self) -> None:
        self.read_of: list[int] = []

    def known(self, number: int, length: int = 0, harm: str = "") -> KnownObject:
        header = Identity(CT_IMAGE_STORAGE, f"1.2.{number}", EXPLICIT_VR_LITTLE_ENDIAN)
        content = encode_file_header(CT_IMAGE_STORAGE, header.sop_instance_uid, EXPLICIT_VR_LITTLE_ENDIAN)
        content += b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100"
        return KnownObject(File(self, number, content + harm.encode()), header, length or len(content))


class File:
    """One of them."""

    def __init__(self, files: Files, number: int, content: bytes) -> None:
        self._files, self._number, self._content = files, number, content

    def open(self) -> BufferedReader:
        self._files.read_of.append(self._number)
        return BufferedReader(BytesIO(self._content))

    def read(self, length: int) -> bytes | None:
        self._files.read_of.append(self._number)
        return self._content if length == len(self._content) else None


def with_known(*objects: KnownObject) -> StoreQueue:
    supply = Supply(objects, Transcoding.NEVER)
    part = supply.part(100)
    assert part is not None
    return StoreQueue(part[1][0], 0, supply)


EXPLICIT_AGREEMENT = accepting(CT_IMAGE_STORAGE)


def do_ahead(transmission: Transmission) -> bool:
    """Do what is to be done ahead, if there is anything."""
    work = transmission.ahead()
    if work is not None:
        work.function()
    return work is not None


def test_the_next_object_is_read_while_one_is_on_its_way() -> None:
    files = Files()
    transmission = sending(with_known(*map(files.known, range(3))), EXPLICIT_AGREEMENT)
    assert not do_ahead(transmission)
    requests = requests_of(transmission)
    first = next(requests)
    assert files.read_of == []
    assert do_ahead(transmission)
    assert files.read_of == [1]
    transmission.answered(answer(first))
    second = next(requests)
    assert isinstance(second.data, memoryview)
    assert bytes(second.data) == b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100"
    content = ref(second.data)
    del second
    assert isinstance(next(requests).data, Work)
    # It waits for its answer, and what was read is not kept for that.
    assert content() is None
    assert files.read_of == [1]


def test_what_is_read_ahead_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number, however many associations have to wait, and by length."""
    monkeypatch.setattr(storing, "MADE_AHEAD", 2)
    files = Files()
    queue = with_known(*map(files.known, range(9)))
    used = [sending(queue, EXPLICIT_AGREEMENT) for _ in range(3)]
    for each in used:
        next(requests_of(each))
    assert [do_ahead(each) for each in used] == [True, True, False]
    assert files.read_of == [3, 4]
    large = files.known(1, length=WHOLE_FILE + 1)
    transmission = sending(with_known(files.known(0), large), EXPLICIT_AGREEMENT)
    next(requests_of(transmission))
    assert not do_ahead(transmission)


def test_an_object_that_cannot_be_read_ahead_costs_itself_when_it_is_its_turn() -> None:
    files = Files()
    transmission = sending(with_known(files.known(0), files.known(1, harm="harm")), EXPLICIT_AGREEMENT)
    requests = requests_of(transmission)
    next(requests)
    assert do_ahead(transmission)
    work = next(requests).data
    assert isinstance(work, Work)
    with pytest.raises(UnusableObject, match="bytes instead of"):
        work.function()


def test_an_object_that_another_association_takes_while_it_is_read_ahead() -> None:
    """It is sent by that one, which reads it, and not kept by the other."""
    files = Files()
    queue = with_known(*map(files.known, range(3)))
    one, other = (sending(queue, EXPLICIT_AGREEMENT) for _ in range(2))
    requests = requests_of(one)
    next(requests)
    work = one.ahead()
    assert work is not None
    taken = next(requests_of(other))
    assert isinstance(taken.data, Work)
    work.function()
    assert isinstance(next(requests).data, Work)


def test_what_was_read_ahead_for_an_association_that_is_lost_is_sent_on_another() -> None:
    files = Files()
    queue = with_known(*map(files.known, range(3)))
    lost = sending(queue, EXPLICIT_AGREEMENT)
    next(requests_of(lost))
    assert do_ahead(lost)
    lost.lost(AssociationAborted(None))
    again = sending(queue, EXPLICIT_AGREEMENT)
    sent = list(requests_of(again))
    assert [each.command["AffectedSOPInstanceUID"] for each in sent] == ["1.2.1", "1.2.2"]
    assert isinstance(sent[0].data, memoryview)
    # Where it takes another transfer syntax, it is made for that.
    queue = with_known(*map(files.known, range(2)))
    lost = sending(queue, EXPLICIT_AGREEMENT)
    next(requests_of(lost))
    assert do_ahead(lost)
    lost.lost(AssociationAborted(None))
    (request,) = requests_of(sending(queue))
    assert isinstance(request.data, Work)
    made = request.data.function()
    assert bytes(made) == b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100"


def test_what_is_made_late_for_one_association_is_not_sent_in_the_transfer_syntax_of_another() -> None:
    """Its data set was sent as if it were in the syntax for which another association had it made."""
    files = Files()
    queue = with_known(*map(files.known, range(3)))
    explicit, implicit = sending(queue, EXPLICIT_AGREEMENT), sending(queue)
    next(requests_of(explicit))
    late = explicit.ahead()
    assert late is not None
    # Another association takes the object, and gives it back unsent.
    waiting = queue.take(is_careful=False)
    assert waiting is not None
    queue.put_back([waiting])
    requests = requests_of(implicit)
    sent = next(requests)
    assert sent.command["AffectedSOPInstanceUID"] == "1.2.1"
    queue.put_back([waiting])
    assert implicit.ahead() is not None
    late.function()
    again = next(requests)
    assert isinstance(again.data, Work)
    assert bytes(again.data.function()) == b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100"


def test_further_files_are_looked_at_while_the_last_one_is_on_its_way(tmp_path: Path) -> None:
    supply = supplied(tmp_path, "aaa")
    part = supply.part(1)
    assert part is not None
    transmission = sending(StoreQueue(part[1][0], 1, supply), accepting("1.2.97"))
    units = transmission.requests()
    assert isinstance(next(units), Message)
    assert do_ahead(transmission)
    assert not do_ahead(transmission)
    (tmp_path / "0001.dcm").unlink()
    assert isinstance(next(units), Message)
