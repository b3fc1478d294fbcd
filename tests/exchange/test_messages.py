"""From data sets and files to requests: which context, and which bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import UID
from tests.associations import ct_image, match
from tests.sockets import CT_IMAGE_STORAGE, EXPLICIT_VR_LE, IMPLICIT_VR_LE, PATIENT_ROOT_FIND

from dicomnet.dimse.datasets import FileRange, MemorySink
from dicomnet.dimse.messages import C_FIND_RSP, Message
from dicomnet.errors import NoAcceptedContext, UnusableObject
from dicomnet.exchange.messages import (
    cancel_request,
    decode_from,
    find_request,
    identifier_of,
    status_of,
    store_request,
)
from dicomnet.services.steps import Work
from dicomnet.upper_layer.negotiation import Agreement, NegotiatedContext, Result

JPEG = "1.2.840.10008.1.2.4.50"


def context(number: int, abstract: str, transfer: str, as_scu: bool = True) -> NegotiatedContext:
    return NegotiatedContext(number, abstract, Result.ACCEPTANCE, transfer, as_scu, not as_scu)


def agreement(*contexts: NegotiatedContext) -> Agreement:
    return Agreement({each.context_id: each for each in contexts}, 16384)


def write(path: Path, transfer: str) -> Path:
    image = ct_image(10)
    image.file_meta.TransferSyntaxUID = UID(transfer)
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(path, enforce_file_format=True, implicit_vr=transfer == IMPLICIT_VR_LE, little_endian=True)
    return path


def test_a_file_goes_as_it_is_where_its_transfer_syntax_was_accepted(tmp_path: Path) -> None:
    path = write(tmp_path / "image", EXPLICIT_VR_LE)
    both = agreement(
        context(1, CT_IMAGE_STORAGE, IMPLICIT_VR_LE), context(3, CT_IMAGE_STORAGE, EXPLICIT_VR_LE)
    )
    request = store_request(both, path, 5, 1, "MOVER", 9)
    assert request.context_id == 3
    assert isinstance(request.data, FileRange)
    assert request.command == {
        "AffectedSOPClassUID": CT_IMAGE_STORAGE,
        "MessageID": 5,
        "Priority": 1,
        "AffectedSOPInstanceUID": "1.2.3.4",
        "MoveOriginatorApplicationEntityTitle": "MOVER",
        "MoveOriginatorMessageID": 9,
    }


def test_a_native_object_is_encoded_anew_where_that_loses_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "image", EXPLICIT_VR_LE)
    implicit = context(1, CT_IMAGE_STORAGE, IMPLICIT_VR_LE)
    request = store_request(agreement(implicit), path, 1)
    assert isinstance(request.data, Work)
    converted = request.data.function()
    assert isinstance(converted, bytes)
    assert decode_from(implicit, converted) == ct_image(10)
    assert store_request(agreement(implicit), ct_image(10), 1).data == converted


@pytest.mark.parametrize(
    "accepted", [context(1, CT_IMAGE_STORAGE, JPEG), context(1, PATIENT_ROOT_FIND, IMPLICIT_VR_LE)]
)
def test_an_object_that_no_context_fits(accepted: NegotiatedContext, tmp_path: Path) -> None:
    path = write(tmp_path / "image", EXPLICIT_VR_LE)
    for what in (path, ct_image()):
        with pytest.raises(NoAcceptedContext):
            store_request(agreement(accepted), what, 1)


def test_a_context_of_the_other_role_is_not_used() -> None:
    with pytest.raises(NoAcceptedContext):
        store_request(agreement(context(1, CT_IMAGE_STORAGE, IMPLICIT_VR_LE, False)), ct_image(), 1)


def test_objects_that_cannot_be_sent(tmp_path: Path) -> None:
    accepted = agreement(context(1, CT_IMAGE_STORAGE, IMPLICIT_VR_LE))
    image = ct_image()
    image.TransferSyntaxUID = IMPLICIT_VR_LE
    with pytest.raises(ValueError, match="0002"):
        store_request(accepted, image, 1)
    image = ct_image()
    del image.file_meta
    with pytest.raises(AttributeError, match="TransferSyntaxUID"):
        store_request(accepted, image, 1)
    (tmp_path / "text").write_text("text")
    with pytest.raises(UnusableObject):
        store_request(accepted, tmp_path / "text", 1)


def test_queries_and_their_answers() -> None:
    found = context(5, PATIENT_ROOT_FIND, EXPLICIT_VR_LE)
    request, on = find_request(agreement(found), match("A"), PATIENT_ROOT_FIND, 3)
    assert on is found
    assert isinstance(request.data, bytes)
    sink = MemorySink(1000)
    sink.write(memoryview(request.data))
    command = {"MessageIDBeingRespondedTo": 3, "Status": 0xFF00, "ErrorComment": "none"}
    response = Message(C_FIND_RSP, command, 5, sink)
    assert identifier_of(response, found) == match("A")
    assert (status_of(response).Status, status_of(response).ErrorComment) == (0xFF00, "none")
    assert "MessageIDBeingRespondedTo" not in status_of(response)
    assert identifier_of(Message(C_FIND_RSP, {"Status": 0}, 5, sink), found) is None
    cancel = cancel_request(5, 3)
    assert (cancel.message_id, cancel.data) == (3, None)
