"""The items of PDUs that events show, against those of pynetdicom 3.0.4."""

from __future__ import annotations

import pynetdicom.pdu
import pynetdicom.pdu_items
import pytest
from tests.pdus import ANSWER, IDENTITY, USER_ITEMS, same
from tests.sockets import CT_IMAGE_STORAGE, EXPLICIT_VR_LE, IMPLICIT_VR_LE

import dicomnet.pynetdicom.pdu
import dicomnet.pynetdicom.pdu_items
from dicomnet.pynetdicom.pdu_items import PDUItem
from dicomnet.pynetdicom.presentation import build_context
from dicomnet.pynetdicom.user_information import ServiceParameter
from dicomnet.pynetdicom.user_information import view_of as parameter_of
from dicomnet.wire.items import ContextResult, UserItem


@pytest.mark.parametrize("item", [*USER_ITEMS, IDENTITY, ANSWER])
def test_a_sub_item_comes_from_its_primitive_and_gives_it_back(item: UserItem) -> None:
    parameter = parameter_of(item)
    view = parameter.from_primitive()
    theirs = getattr(pynetdicom.pdu_items, type(view).__name__)()
    theirs.decode(item.encode())
    same(view, theirs, type(view).__name__)
    again = type(view)()
    again.decode(view.encode())
    assert isinstance(again, PDUItem)
    primitive: ServiceParameter = again.to_primitive()
    assert primitive == parameter
    again.from_primitive(parameter)
    assert again == view


def test_contexts_come_from_their_primitives_and_give_them_back() -> None:
    proposed = build_context(CT_IMAGE_STORAGE, [IMPLICIT_VR_LE, EXPLICIT_VR_LE])
    proposed.context_id = 5
    request = dicomnet.pynetdicom.pdu_items.PresentationContextItemRQ()
    request.from_primitive(proposed)
    assert request.to_primitive() == proposed
    proposed.result = 0
    proposed.transfer_syntax = [IMPLICIT_VR_LE]
    answer = dicomnet.pynetdicom.pdu_items.PresentationContextItemAC()
    answer.from_primitive(proposed)
    assert answer.to_primitive().transfer_syntax == [IMPLICIT_VR_LE]
    assert (answer.to_primitive().context_id, answer.to_primitive().result) == (5, 0)
    proposed.result = None
    with pytest.raises(ValueError):
        answer.from_primitive(proposed)
    whole = dicomnet.pynetdicom.pdu_items.UserInformationItem()
    whole.from_primitive([parameter_of(each) for each in USER_ITEMS])
    assert whole.to_primitive() == [parameter_of(each) for each in USER_ITEMS]
    whole.decode(whole.encode())
    assert whole.maximum_length == 16382


def test_the_transfer_syntax_of_a_rejected_context_says_nothing() -> None:
    """P050."""
    encoded = ContextResult(3, 4, EXPLICIT_VR_LE).encode()
    context = dicomnet.pynetdicom.pdu_items.PresentationContextItemAC()
    context.decode(encoded)
    assert (context.result, context.transfer_syntax) == (4, None)
    assert context.transfer_syntax_sub_item[0].transfer_syntax is None
    assert context.transfer_syntax_sub_item[0].encode() == b"\x40\x00\x00\x00"
