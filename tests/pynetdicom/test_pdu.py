"""The PDUs and items that events show, against those of pynetdicom 3.0.4: the same bytes read through both."""

from __future__ import annotations

from typing import Any

import pynetdicom.pdu
import pynetdicom.pdu_items
import pytest
from tests.associations import associated, serving_ae
from tests.pdus import PDUS, TEXTS, attributes, same, value_of
from tests.sockets import VERIFICATION

import dicomnet.pynetdicom.pdu
import dicomnet.pynetdicom.pdu_items
from dicomnet import evt
from dicomnet.pynetdicom.events import Event
from dicomnet.pynetdicom.pdu import PDU, PDU_TYPES, view_of
from dicomnet.pynetdicom.pdu_items import PDU_ITEM_TYPES
from dicomnet.pynetdicom.presentation import build_context

"""Attributes whose words are our own."""


@pytest.mark.parametrize("name", PDUS)
def test_a_pdu_shows_what_it_shows_in_pynetdicom(name: str) -> None:
    encoded = PDUS[name].encode()
    ours = view_of(PDUS[name])
    theirs = getattr(pynetdicom.pdu, type(ours).__name__)()
    theirs.decode(encoded)
    same(ours, theirs, name)


@pytest.mark.parametrize("name", PDUS)
def test_a_pdu_is_what_its_bytes_are(name: str) -> None:
    view = view_of(PDUS[name])
    again = type(view)()
    again.decode(view.encode())
    assert again.encode() == view.encode()
    assert again == view
    assert again != object()
    from_primitive = type(view)(view.to_primitive())
    assert from_primitive.encode() == view.encode()


CLASSES = [
    (module, name)
    for module in ("pdu", "pdu_items")
    for name, cls in vars(getattr(pynetdicom, module)).items()
    if isinstance(cls, type) and cls.__module__ == f"pynetdicom.{module}" and name not in ("PDU", "PDUItem")
]


@pytest.mark.parametrize(("module", "name"), CLASSES)
def test_an_empty_view_says_what_it_says_in_pynetdicom(module: str, name: str) -> None:
    ours = getattr(getattr(dicomnet, module), name)()
    theirs = getattr(getattr(pynetdicom, module), name)()
    for attribute in attributes(theirs):
        if attribute not in TEXTS | {"pdu_length", "item_length"}:
            same(value_of(ours, attribute), value_of(theirs, attribute), f"{name}.{attribute}")
    if ours.wire is None and name != "UserInformationItem":
        # What has no content has no length either; pynetdicom counts the fields that are always there.
        with pytest.raises(ValueError):
            ours.encode()


def test_the_types_are_those_of_pynetdicom() -> None:
    assert {view.__name__: code for view, code in PDU_TYPES.items()} == {
        view.__name__: code for view, code in pynetdicom.pdu.PDU_TYPES.items()
    }
    assert {code: view.__name__ for code, view in PDU_ITEM_TYPES.items()} == {
        code: view.__name__ for code, view in pynetdicom.pdu_items.PDU_ITEM_TYPES.items()
    }


def test_a_handler_written_for_pynetdicom_reads_the_pdus_of_an_association() -> None:
    told: list[str] = []

    def received(event: Event) -> None:
        pdu: Any = event.pdu
        if isinstance(pdu, dicomnet.pynetdicom.pdu.A_ASSOCIATE_RQ):
            assert pdu.user_information is not None
            contexts = [(each.context_id, each.abstract_syntax.name) for each in pdu.presentation_context]
            told.append(f"{pdu.calling_ae_title} {contexts} {pdu.user_information.maximum_length}")
        elif isinstance(pdu, dicomnet.pynetdicom.pdu.P_DATA_TF):
            (value,) = pdu.presentation_data_value_items
            told.append(f"{value.presentation_context_id} {value.message_control_header_byte}")
        else:
            assert isinstance(pdu, PDU)
            told.append(f"{type(pdu).__name__} {pdu.pdu_type} {pdu.pdu_length}")

    with serving_ae([(evt.EVT_PDU_RECV, received)]) as server:
        with associated(server, contexts=[build_context(VERIFICATION)]) as assoc:
            assoc.send_c_echo()
            assoc.release()
    assert told == [
        "CLIENT [(1, 'Verification SOP Class')] 16382",
        "1 00000011",
        "A_RELEASE_RQ 5 4",
    ]
