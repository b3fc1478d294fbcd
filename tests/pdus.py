"""One PDU of each kind with each item, and whether two libraries show the same of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pynetdicom.pdu
import pynetdicom.pdu_items
from pydicom.uid import UID
from tests.sockets import CT_IMAGE_STORAGE, EXPLICIT_VR_LE, IMPLICIT_VR_LE, VERIFICATION

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
