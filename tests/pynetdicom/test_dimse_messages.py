"""The 23 message classes against pynetdicom 3.0.4: command sets, parts for PDUs, and the way to primitives and back."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pynetdicom.dimse_messages as reference
import pynetdicom.dimse_primitives as their_primitives
import pynetdicom.pdu_primitives as their_pdus
import pytest
from tests.grids import grid

from dicomnet.dimse.datasets import FileRange, MemorySink
from dicomnet.dimse.messages import C_FIND_RQ, C_STORE_RQ, MESSAGE_TYPES, Message, MessageType
from dicomnet.errors import ProtocolError
from dicomnet.pynetdicom import dimse_messages, dimse_primitives
from dicomnet.pynetdicom.dimse_messages import DIMSEMessage, view_of
from dicomnet.pynetdicom.pdu_primitives import P_DATA

TYPES = list(MESSAGE_TYPES.values())
VALUES: dict[str, Any] = {
    "US": 1,
    "UI": "1.2.840.10008.5.1.4.1.1.2",
    "AE": "TITLE",
    "LO": "A comment",
    "AT": [0x00100010, 0x00100020],
}
DATA = b"\x08\x00\x16\x00\x04\x00\x00\x001.2\x00" * 12


def class_name(kind: MessageType) -> str:
    return kind.name.replace("-", "_")


def primitive_for(module: Any, kind: MessageType) -> Any:
    """A primitive with all that a message can hold."""
    primitive = getattr(module, kind.service.replace("-", "_"))()
    for row in kind.parameters:
        setattr(primitive, row.parameter.keyword, VALUES[row.parameter.vr])
    if kind.data_set:
        setattr(primitive, kind.data_set, BytesIO(DATA))
    return primitive


def elements(command_set: Any) -> list[tuple[int, str, Any]]:
    return [(int(each.tag), each.VR, each.value) for each in command_set]


def filled(library: Any, primitives: Any, kind: MessageType) -> Any:
    message = getattr(library, class_name(kind))()
    message.primitive_to_message(primitive_for(primitives, kind))
    return message


def test_the_classes_are_those_of_pynetdicom() -> None:
    theirs = {each.__name__ for each in reference.DIMSEMessage.__subclasses__()}
    assert {each.__name__ for each in DIMSEMessage.__subclasses__()} == theirs
    assert all(issubclass(getattr(dimse_messages, name), DIMSEMessage) for name in theirs)


@pytest.mark.parametrize("kind", TYPES, ids=class_name)
def test_a_new_message_has_its_elements_without_values(kind: MessageType) -> None:
    ours, theirs = getattr(dimse_messages, class_name(kind))(), getattr(reference, class_name(kind))()
    # Offending Element is one of the status fields that pynetdicom leaves out of some messages.
    known = {tag for tag, _, _ in elements(theirs.command_set)}
    assert known <= {tag for tag, _, _ in elements(ours.command_set)}
    assert all(each.value is None for each in ours.command_set)
    assert ours.context_id is theirs.context_id is None
    assert ours.data_set.getvalue() == b""


@pytest.mark.parametrize("kind", TYPES, ids=class_name)
def test_the_command_set_is_pynetdicoms(kind: MessageType) -> None:
    ours, theirs = filled(dimse_messages, dimse_primitives, kind), filled(reference, their_primitives, kind)
    known = {tag for tag, _, _ in elements(theirs.command_set)}
    assert [each for each in elements(ours.command_set)[1:] if each[0] in known] == elements(
        theirs.command_set
    )[1:]
    if len(known) == len(ours.command_set):
        assert ours.command_set.CommandGroupLength == theirs.command_set.CommandGroupLength
    assert ours.data_set.getvalue() == theirs.data_set.getvalue()


@grid("kind", TYPES)
@grid("maximum", [0, 16382, 60])
def test_parts_are_put_together_by_pynetdicom(kind: MessageType, maximum: int) -> None:
    theirs: Any = reference.DIMSEMessage()
    results = []
    for part in filled(dimse_messages, dimse_primitives, kind).encode_msg(3, maximum):
        ((context_id, value),) = part.presentation_data_value_list
        assert not maximum or len(value) + 5 <= maximum
        taken: Any = their_pdus.P_DATA()
        taken.presentation_data_value_list = [[context_id, value]]
        results.append(theirs.decode_msg(taken))
    assert results == [False] * (len(results) - 1) + [True]
    assert type(theirs).__name__ == class_name(kind)
    assert theirs.data_set.getvalue() == (DATA if kind.data_set else b"")


@grid("kind", TYPES)
@grid("maximum", [0, 60])
def test_pynetdicoms_parts_are_put_together(kind: MessageType, maximum: int) -> None:
    theirs = filled(reference, their_primitives, kind)
    ours = DIMSEMessage()
    for part in theirs.encode_msg(5, maximum):
        taken = P_DATA()
        taken.presentation_data_value_list = [list(pair) for pair in part.presentation_data_value_list]
        is_complete = ours.decode_msg(taken)
    assert is_complete
    assert type(ours) is getattr(dimse_messages, class_name(kind))
    assert ours.context_id == 5
    assert elements(ours.command_set) == elements(theirs.command_set)
    primitive: Any = ours.message_to_primitive()
    expected = theirs.message_to_primitive()
    assert type(primitive).__name__ == type(expected).__name__
    # Some primitives have no Offending Element, though their message may.
    for keyword in [each for each in kind.keywords if hasattr(expected, each)]:
        assert getattr(primitive, keyword) == getattr(expected, keyword)
    if kind.data_set:
        assert getattr(primitive, kind.data_set).getvalue() == DATA


def store_message(data: object) -> Message:
    command = {
        "MessageID": 7,
        "AffectedSOPClassUID": "1.2.3",
        "AffectedSOPInstanceUID": "1.2.4",
        "Priority": 0,
    }
    return Message(C_STORE_RQ, command, 1, data)


def test_a_data_set_is_read_from_its_file_when_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "data"
    view = view_of(store_message(FileRange(path, 2, 3)))
    assert view.command_set.CommandDataSetType == 1
    path.write_bytes(b"..abc..")
    assert view.data_set.getvalue() == b"abc"


def test_a_data_set_outlives_the_sink_that_took_it() -> None:
    sink = MemorySink(100)
    sink.write(memoryview(b"abc"))
    view = view_of(store_message(sink))
    sink.abort()
    assert view.data_set.getvalue() == b"abc"


def test_what_is_changed_in_a_message_is_in_its_primitive() -> None:
    view = view_of(store_message(b"abc"))
    view.command_set.MessageID = 8
    view.data_set = BytesIO(b"xyz")
    primitive = view.message_to_primitive()
    assert isinstance(primitive, dimse_primitives.C_STORE)
    assert primitive.MessageID == 8
    assert primitive.DataSet is not None
    assert primitive.DataSet.getvalue() == b"xyz"


def test_a_faulty_uid_of_a_peer_is_shown_without_a_warning() -> None:
    command = {"MessageID": 7, "AffectedSOPClassUID": "1.2.03", "Priority": 0}
    assert view_of(Message(C_FIND_RQ, command, 1, b"")).command_set.AffectedSOPClassUID == "1.2.03"


def test_a_primitive_of_another_message_is_refused() -> None:
    with pytest.raises(ValueError):
        dimse_messages.C_ECHO_RQ().primitive_to_message(primitive_for(dimse_primitives, C_STORE_RQ))
    with pytest.raises(ValueError):
        DIMSEMessage().message_to_primitive()
    assert len(DIMSEMessage().command_set) == 0


def test_a_malformed_message_is_noticed() -> None:
    part = P_DATA()
    part.presentation_data_value_list = [[1, b"\x03abc"]]
    with pytest.raises(ProtocolError):
        DIMSEMessage().decode_msg(part)
