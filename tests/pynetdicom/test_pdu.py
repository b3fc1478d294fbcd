"""The PDUs and items that events show, against those of pynetdicom 3.0.4: the same bytes read through both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pynetdicom.pdu
import pynetdicom.pdu_items
import pytest
from pydicom.uid import UID
from tests.associations import associated, serving_ae
from tests.sockets import CT_IMAGE_STORAGE, EXPLICIT_VR_LE, IMPLICIT_VR_LE, VERIFICATION

import dicomnet.pynetdicom.pdu
import dicomnet.pynetdicom.pdu_items
from dicomnet import evt
from dicomnet.errors import ProtocolError
from dicomnet.pynetdicom.events import Event
from dicomnet.pynetdicom.pdu import PDU, PDU_TYPES, view_of
from dicomnet.pynetdicom.pdu_items import PDU_ITEM_TYPES, PDUItem
from dicomnet.pynetdicom.pdu_primitives import A_ABORT, A_RELEASE
from dicomnet.pynetdicom.presentation import build_context
from dicomnet.pynetdicom.user_information import ServiceParameter
from dicomnet.pynetdicom.user_information import view_of as parameter_of
from dicomnet.wire import items
from dicomnet.wire import pdu as wire_pdu
from dicomnet.wire.items import ContextResult, ProposedContext, UserItem
from dicomnet.wire.pdu import (
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    DataValue,
    PDataTF,
    ReleaseRP,
    ReleaseRQ,
)

USER_ITEMS: tuple[UserItem, ...] = (
    items.MaximumLength(16382),
    items.ImplementationClassUID("1.2.3.4"),
    items.AsynchronousOperationsWindow(5, 3),
    items.RoleSelection(CT_IMAGE_STORAGE, True, False),
    items.ImplementationVersionName("VERSION_1"),
    items.SOPClassExtendedNegotiation(CT_IMAGE_STORAGE, b"\x01\x00"),
    items.SOPClassCommonExtendedNegotiation(CT_IMAGE_STORAGE, "1.2.840.10008.4.2", ("1.2.3", "1.2.4.5")),
)
IDENTITY = items.UserIdentityRQ(2, b"joe", b"sesame", True)
ANSWER = items.UserIdentityAC(b"ticket")

PDUS: dict[str, wire_pdu.PDU] = {
    "A-ASSOCIATE-RQ": AssociateRQ(
        "CALLED",
        "CALLING",
        (
            ProposedContext(1, VERIFICATION, (IMPLICIT_VR_LE, EXPLICIT_VR_LE)),
            ProposedContext(3, CT_IMAGE_STORAGE, (IMPLICIT_VR_LE,)),
        ),
        (*USER_ITEMS, IDENTITY),
    ),
    "A-ASSOCIATE-AC": AssociateAC(
        (ContextResult(1, 0, IMPLICIT_VR_LE), ContextResult(3, 0, EXPLICIT_VR_LE)),
        (*USER_ITEMS[:6], ANSWER),
        b"CALLED".ljust(16) + b"CALLING".ljust(16) + bytes(32),
    ),
    "A-ASSOCIATE-RJ": AssociateRJ(2, 3, 1),
    "P-DATA-TF": PDataTF((DataValue(1, True, True, b"ab"), DataValue(3, False, False, b"cdef"))),
    "A-RELEASE-RQ": ReleaseRQ(),
    "A-RELEASE-RP": ReleaseRP(),
    "A-ABORT by the user": Abort(0),
    "A-ABORT by the provider": Abort(2, 6),
}
TEXTS = {"result_str", "source_str", "reason_str", "id_type_str"}
"""Attributes whose words are our own."""
OWN = {"wire", "wire_type", "kind"}


def attributes(view: Any) -> Iterator[str]:
    for name in dir(view):
        if not (name.startswith("_") or name in OWN or callable(getattr(type(view), name, None))):
            yield name


def value_of(view: Any, name: str) -> Any:
    try:
        return getattr(view, name)
    except (ValueError, NotImplementedError) as error:
        return type(error)


def same(ours: Any, theirs: Any, path: str) -> None:
    """Both say the same, down to the last sub-item; theirs decide what there is to compare."""
    if isinstance(theirs, pynetdicom.pdu.PDU | pynetdicom.pdu_items.PDUItem):
        assert type(ours).__name__ == type(theirs).__name__, path
        for name in attributes(theirs):
            if name in TEXTS:
                assert isinstance(value_of(ours, name), str), f"{path}.{name}"
            else:
                same(value_of(ours, name), value_of(theirs, name), f"{path}.{name}")
        assert ours.encode() == theirs.encode(), path
        assert len(ours) == len(theirs), path
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), path
        for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            same(mine, other, f"{path}[{index}]")
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs), path
        for key in theirs:
            same(ours[key], theirs[key], f"{path}[{key}]")
    else:
        assert ours == theirs, path
        assert isinstance(ours, UID) == isinstance(theirs, UID), path


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


def test_what_a_pdu_says_is_not_changed() -> None:
    view: Any = view_of(PDUS["A-ASSOCIATE-RJ"])
    with pytest.raises(AttributeError):
        view.result = 1
    with pytest.raises(ValueError):
        dicomnet.pynetdicom.pdu.A_ABORT_RQ(A_RELEASE())
    with pytest.raises(ValueError):
        dicomnet.pynetdicom.pdu.A_ASSOCIATE_RQ().to_primitive()
    with pytest.raises(ProtocolError):
        dicomnet.pynetdicom.pdu.A_ASSOCIATE_RQ().decode(b"\x01\x00\x00\x00\x00\x00")
    with pytest.raises(TypeError):
        dicomnet.pynetdicom.pdu_items.MaximumLengthSubItem().from_primitive(parameter_of(USER_ITEMS[1]))
    with pytest.raises(ValueError):
        dicomnet.pynetdicom.pdu_items.MaximumLengthSubItem().to_primitive()
    odd = view_of(AssociateRJ(9, 9, 9))
    for name in ("result_str", "source_str", "reason_str"):
        with pytest.raises(ValueError):
            getattr(odd, name)


def test_the_text_of_a_pdu_tells_what_is_in_it_and_no_secret() -> None:
    text = str(view_of(PDUS["A-ASSOCIATE-RQ"]))
    for part in (
        "CALLED",
        "CALLING",
        "Verification SOP Class",
        "Explicit VR Little Endian",
        "VERSION_1",
        "16382",
    ):
        assert part in text
    assert "joe" not in text
    assert "sesame" not in text
    assert "ticket" not in str(view_of(PDUS["A-ASSOCIATE-AC"]))
    assert "context_id: 3" in str(view_of(PDUS["P-DATA-TF"]))
    assert "local limit" in str(view_of(AssociateRJ(2, 3, 2)).reason_str)  # type: ignore[attr-defined]
    abort = A_ABORT()
    abort.abort_source = 0
    assert "service user" in str(dicomnet.pynetdicom.pdu.A_ABORT_RQ(abort))


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
