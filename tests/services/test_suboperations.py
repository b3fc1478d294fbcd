"""Sub-operations as a procedure, step by step, without a driver: what is counted, and what the responses say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pydicom import uid

from dicomnet.datasets.codec import decode
from dicomnet.dimse.messages import C_GET_RQ, C_MOVE_RQ, C_STORE_RSP, Message
from dicomnet.encoding.transfer_syntaxes import transfer_syntax
from dicomnet.errors import AssociationAborted, NoAcceptedContext, ServiceRefusal, UnusableObject
from dicomnet.services.provider import provide
from dicomnet.services.steps import (
    STILL_SEARCHING,
    Answer,
    Cancelled,
    Finish,
    Handle,
    Next,
    Performed,
    Send,
    Step,
    Store,
    SubOperation,
)
from dicomnet.services.suboperations import encode_failed
from dicomnet.upper_layer.negotiation import NegotiatedContext

GET = "1.2.840.10008.5.1.4.1.2.1.3"
IMPLICIT = "1.2.840.10008.1.2"
MOVE = "1.2.840.10008.5.1.4.1.2.1.2"


class Script:
    """Plays the driver and the floor above it: gives outcomes, and keeps what is sent.

    Parameters
    ----------
    answers
        What `Next` gives, one after the other, or raises.
    stores
        Statuses of the C-STOREs, or what they raise.
    count
        What the handler counts, by default the sub-operations among the answers.
    cancelled_after
        How many pending responses there are before the C-CANCEL.
    last
        What `Finish` gives.
    """

    def __init__(
        self,
        answers: Sequence[Any],
        stores: Sequence[Any] = (),
        *,
        count: int | None = None,
        cancelled_after: int | None = None,
        last: Performed | None = None,
    ) -> None:
        self.last = last
        self.answers = list(answers)
        self.stores = list(stores)
        self.count = sum(isinstance(each, SubOperation) for each in answers) if count is None else count
        self.cancelled_after = cancelled_after
        self.sent: list[Message] = []
        self.steps: list[type] = []
        self.aborts = 0

    def abort(self) -> None:
        self.aborts += 1

    def perform(self, step: Step) -> Any:
        self.steps.append(type(step))
        match step:
            case Handle():
                return self
            case Next():
                return _outcome(self.answers.pop(0)) if self.answers else None
            case Cancelled():
                return self.cancelled_after is not None and len(self.sent) >= self.cancelled_after
            case Store():
                return Message(C_STORE_RSP, {"Status": _outcome(self.stores.pop(0))}, 3)
            case Finish():
                return self.last
            case Send():
                self.sent.append(step.message)
        return None

    def run(self, kind: Any = C_GET_RQ) -> list[dict[str, Any]]:
        """Run the procedure; the command sets of the responses."""
        model = GET if kind is C_GET_RQ else MOVE
        command = {"AffectedSOPClassUID": model, "MessageID": 7, "Priority": 1}
        context = NegotiatedContext(1, model, 0, IMPLICIT, False, True)
        procedure = provide(Message(kind, command, 1, b"data"), context, lambda *_: None)
        outcome, error = None, None
        while True:
            try:
                step = procedure.send(outcome) if error is None else procedure.throw(error)
            except StopIteration:
                return [message.command for message in self.sent]
            outcome, error = None, None
            try:
                outcome = self.perform(step)
            except (ServiceRefusal, AssociationAborted, NoAcceptedContext, UnusableObject) as failure:
                error = failure


def _outcome(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


def objects(count: int) -> list[SubOperation]:
    return [SubOperation(None, f"1.2.{number}") for number in range(1, count + 1)]


def counts(command: dict[str, Any]) -> tuple[int | None, ...]:
    names = ("Remaining", "Completed", "Failed", "Warning")
    return tuple(command.get(f"NumberOf{name}Suboperations") for name in names)


def failed(message: Message) -> list[str]:
    assert isinstance(message.data, bytes)
    value = decode(message.data, True, True, False).FailedSOPInstanceUIDList
    return [value] if isinstance(value, str) else list(value)


def test_each_object_has_a_pending_response_and_the_final_one_has_no_remaining() -> None:
    """M020 S034."""
    script = Script(objects(3), [0, 0xB000, 0xA700])
    responses = script.run()
    assert [each["Status"] for each in responses] == [0xFF00, 0xFF00, 0xFF00, 0xB000]
    assert [counts(each) for each in responses] == [
        (2, 1, 0, 0),
        (1, 1, 0, 1),
        (0, 1, 1, 1),
        (None, 1, 1, 1),
    ]
    assert all(each["MessageIDBeingRespondedTo"] == 7 for each in responses)
    assert all(each["AffectedSOPClassUID"] == GET for each in responses)
    assert [message.data for message in script.sent[:3]] == [None] * 3
    assert failed(script.sent[3]) == ["1.2.3"]
    # The destination is let go before the requestor is told that all is done.
    assert script.steps[-2:] == [Finish, Send]


@pytest.mark.parametrize(
    ("stores", "status"),
    [
        ([], 0x0000),
        ([0, 0], 0x0000),
        ([0, 0xB007], 0xB000),
        ([0xB000, 0xB006], 0xB000),
        ([0x0107, 0], 0xB000),
        ([0xC000, 0], 0xB000),
        ([0xC000, 0xB000], 0xB000),
        ([0xA700, 0xC123], 0xA702),
        ([0x0122, 0x0110], 0xA702),
        ([0x1234, 0xFF00], 0xA702),
    ],
)
def test_the_final_status_says_what_became_of_the_objects(stores: list[int], status: int) -> None:
    """S032: PS3.4 sections C.4.2.3.1 and C.4.3.3.1: success, failure of all, and a warning for what is between."""
    script = Script(objects(len(stores)), stores)
    final = script.run()[-1]
    assert final["Status"] == status
    has_failed = any(each >> 12 not in (0x0, 0xB) or each in (0x0122, 0x0110) for each in stores)
    assert (script.sent[-1].data is not None) is has_failed


@pytest.mark.parametrize(
    "error", [AssociationAborted(0), NoAcceptedContext("1.2"), UnusableObject("no"), 0xC000]
)
def test_an_object_that_is_not_stored_does_not_keep_the_others(error: Any) -> None:
    script = Script(objects(3), [0, error, 0])
    responses = script.run()
    assert counts(responses[-1]) == (None, 2, 1, 0)
    assert responses[-1]["Status"] == 0xB000
    assert failed(script.sent[-1]) == ["1.2.2"]


def test_a_destination_that_cannot_be_reached_ends_it() -> None:
    script = Script(objects(3), [ServiceRefusal(0xA801, "not there")])
    (final,) = script.run(C_MOVE_RQ)
    assert final["Status"] == 0xA801
    assert final["ErrorComment"] == "not there"
    assert counts(final) == (None, 0, 3, 0)
    assert failed(script.sent[-1]) == ["1.2.1"]


def test_a_destination_that_is_lost_later_leaves_what_was_sent() -> None:
    """S036."""
    script = Script(objects(3), [0, ServiceRefusal(0xA801)])
    final = script.run(C_MOVE_RQ)[-1]
    assert final["Status"] == 0xB000
    assert counts(final) == (None, 1, 2, 0)


@pytest.mark.parametrize(("after", "remaining"), [(0, 3), (1, 2), (2, 1)])
def test_a_cancel_takes_effect_before_the_next_object(after: int, remaining: int) -> None:
    """M020 S033."""
    script = Script(objects(3), [0, 0xA700, 0], cancelled_after=after)
    final = script.run()[-1]
    assert final["Status"] == 0xFE00
    assert counts(final) == (remaining, min(after, 1), after // 2, 0)
    assert (script.sent[-1].data is None) is (after < 2)
    assert Finish in script.steps


def test_a_cancel_after_the_last_object_changes_nothing() -> None:
    assert Script(objects(2), [0, 0], cancelled_after=2).run()[-1]["Status"] == 0x0000


@pytest.mark.parametrize("own", [Answer(0xFE00, failed=("1.9",)), Answer(0xC001), ServiceRefusal(0xC411)])
def test_a_handler_that_looks_for_the_cancel_ends_in_its_own_way(own: Answer | ServiceRefusal) -> None:
    """It was closed without a look where the library noticed the cancel first."""
    script = Script([*objects(2), own], [0], count=5, cancelled_after=1)
    assert script.run()[-1]["Status"] == own.status
    assert not script.answers


@pytest.mark.parametrize("more", [objects(3), [], [Answer(0)]])
def test_any_other_handler_is_ended(more: list[Any]) -> None:
    script = Script([*objects(2), *more], [0], count=5, cancelled_after=1)
    assert script.run()[-1]["Status"] == 0xFE00
    assert len(script.answers) == max(0, len(more) - 1)


@pytest.mark.parametrize("is_refusal", [True, False])
@pytest.mark.parametrize("status", [0xA701, 0xA900, 0xC411])
def test_a_failure_of_the_handler_fails_what_remains(status: int, is_refusal: bool) -> None:
    end = ServiceRefusal(status) if is_refusal else Answer(status, failed=("1.9.1", "1.9.2"))
    script = Script([*objects(1), end], [0], count=3)
    final = script.run()[-1]
    assert final["Status"] == status
    assert counts(final) == (None, 1, 2, 0)
    assert is_refusal or failed(script.sent[-1]) == ["1.9.1", "1.9.2"]


@pytest.mark.parametrize("end", [[], [Answer(0)]])
def test_a_handler_that_gives_less_than_it_counted_has_failed_the_rest(end: list[Answer]) -> None:
    final = Script([*objects(2), *end], [0, 0], count=5).run()[-1]
    assert final["Status"] == 0xB000
    assert counts(final) == (None, 2, 3, 0)


def test_a_handler_that_gives_more_than_it_counted_is_stopped() -> None:
    script = Script(objects(3), [0, 0], count=2)
    assert counts(script.run()[-1]) == (None, 2, 0, 0)


def test_more_objects_than_a_count_can_say() -> None:
    """M021: The counts are of two bytes."""
    responses = Script(objects(1), [0], count=70_000).run()
    assert counts(responses[0]) == (65535, 1, 0, 0)


def test_the_destination_is_aborted_with_the_association_of_the_request() -> None:
    """Whoever performs the procedure drops it when its association is lost."""

    class Lost(Script):
        def perform(self, step: Step) -> Any:
            if isinstance(step, Send):
                raise AssociationAborted(None)
            return super().perform(step)

    script = Lost(objects(2), [0, 0])
    with pytest.raises(AssociationAborted):
        script.run()
    assert script.aborts


def _explicit(count: int) -> list[str]:
    return [f"1.2.840.{number:058d}"[:64].replace(".0", ".1", 1) for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 1007, 1008, 2000])
@pytest.mark.parametrize(
    "syntax",
    [
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    ],
)
def test_the_failed_list_as_pydicom_reads_it(syntax: uid.UID, count: int) -> None:
    uids = _explicit(count)
    encoded = encode_failed(uids, transfer_syntax(syntax))
    assert len(encoded) % 2 == 0
    dataset = decode(encoded, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    found = dataset[0x00080058].value
    if isinstance(found, bytes):
        # Too long for UI in explicit VR, and so UN.
        assert len(found) > 0xFFFF
        found = found.rstrip(b"\0").decode().split("\\")
    assert ([found] if isinstance(found, str) else list(found)) == uids


def performed(*statuses: int | None, first: int = 1) -> Performed:
    return Performed([(status, f"1.2.{number}") for number, status in enumerate(statuses, first)])


def test_sub_operations_that_are_performed_elsewhere_are_told_of_together() -> None:
    """Nothing is told where nothing has happened, and the last of them are told by the final response."""
    answers = [Performed([]), STILL_SEARCHING, performed(0, 0, 0xA700), performed(None, 0xB000, 0, first=4)]
    script = Script(answers, count=6)
    responses = script.run(C_MOVE_RQ)
    assert [each["Status"] for each in responses] == [0xFF00, 0xFF00, 0xB000]
    assert [counts(each) for each in responses] == [(6, 0, 0, 0), (3, 2, 1, 0), (None, 3, 2, 1)]
    assert failed(script.sent[-1]) == ["1.2.3", "1.2.4"]


def test_what_was_on_its_way_when_they_were_cancelled_counts() -> None:
    script = Script(
        [performed(0), performed(0, first=2)], count=9, cancelled_after=1, last=performed(0, None)
    )
    responses = script.run(C_MOVE_RQ)
    assert [each["Status"] for each in responses] == [0xFF00, 0xFE00]
    assert counts(responses[-1]) == (5, 3, 1, 0)


def test_a_cancel_behind_the_last_of_them_finds_nothing_to_cancel() -> None:
    assert Script([performed(0, 0)], count=2, cancelled_after=0).run()[-1]["Status"] == 0x0000


def test_those_that_are_missing_in_the_end_have_failed() -> None:
    assert counts(Script([performed(0, 0)], count=5).run()[-1]) == (None, 2, 3, 0)


def test_more_of_them_than_sixteen_bits_count() -> None:
    """The counts stop at what they can say; the outcome and the list of what has failed are right."""
    many = [Performed([(0, f"1.2.{number}")] * 1000) for number in range(70)]
    script = Script([*many, performed(0xA700)], count=70_001)
    responses = script.run(C_MOVE_RQ)
    assert counts(responses[0]) == (0xFFFF, 1000, 0, 0)
    assert counts(responses[-1]) == (None, 0xFFFF, 1, 0)
    assert responses[-1]["Status"] == 0xB000
    assert failed(script.sent[-1]) == ["1.2.1"]
