"""Views of PDUs and items: read-only, and without secrets in their text."""

from __future__ import annotations

from typing import Any

import pytest
from tests.pdus import PDUS, USER_ITEMS

import dicomnet.pynetdicom.pdu
import dicomnet.pynetdicom.pdu_items
from dicomnet.errors import ProtocolError
from dicomnet.pynetdicom.pdu import view_of
from dicomnet.pynetdicom.pdu_primitives import A_ABORT, A_RELEASE
from dicomnet.pynetdicom.user_information import view_of as parameter_of
from dicomnet.wire.pdu import (
    AssociateRJ,
)


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
