"""``dicomnet.pynetdicom.sop_class`` against pynetdicom 3.0.4."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pynetdicom.service_class
import pynetdicom.service_class_n
import pynetdicom.sop_class as reference
import pytest
from pydicom.uid import UID
from tests.grids import grid

from dicomnet.pynetdicom import service_class, sop_class
from dicomnet.pynetdicom.service_class import (
    ColorPaletteQueryRetrieveServiceClass,
    NonPatientObjectStorageServiceClass,
    QueryRetrieveServiceClass,
    ServiceClass,
    StorageServiceClass,
    VerificationServiceClass,
)
from dicomnet.pynetdicom.sop_class import (
    CTImageStorage,
    SOPClass,
    register_uid,
    uid_to_service_class,
    uid_to_sop_class,
)
from dicomnet.services.service_names import SOPClassRow
from dicomnet.services.sop_classes import SOP_CLASSES

CONSTANTS: dict[str, Any] = {name: uid for name, uid in vars(reference).items() if isinstance(uid, UID)}
SERVICE_CLASSES = {
    name: kind
    for module in (pynetdicom.service_class, pynetdicom.service_class_n)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, pynetdicom.service_class.ServiceClass)
}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, SOPClassRow]:
    """The table of SOP classes for one test alone, so that no other sees its registrations."""
    own = dict(SOP_CLASSES)
    monkeypatch.setattr(sop_class, "SOP_CLASSES", own)
    for name in ("_UIDS", "_CONSTANTS"):
        monkeypatch.setattr(sop_class, name, dict(getattr(sop_class, name)))
    monkeypatch.setattr(sop_class, "__all__", list(sop_class.__all__))
    return own


def test_there_are_constants_to_compare() -> None:
    assert len(CONSTANTS) == 252 + 9


@grid("name", CONSTANTS)
def test_each_constant_of_pynetdicom_is_one_here(name: str) -> None:
    theirs, ours = CONSTANTS[name], getattr(sop_class, name)
    assert ours == theirs
    assert isinstance(ours, SOPClass) == isinstance(theirs, reference.SOPClass)
    assert ours.name == theirs.name
    if isinstance(ours, SOPClass):
        assert ours.service_class.__name__ == theirs.service_class.__name__
        assert uid_to_sop_class(str(theirs)) is ours


def test_a_constant_is_one_object_and_is_listed() -> None:
    assert sop_class.CTImageStorage is CTImageStorage
    assert {"CTImageStorage", "ModalityWorklistInformationFind", "uid_to_sop_class"} <= set(dir(sop_class))
    assert set(CONSTANTS) <= set(dir(sop_class))
    with pytest.raises(AttributeError, match="NoSuchStorage"):
        sop_class.NoSuchStorage  # noqa: B018


def test_a_sop_class_keeps_its_service_class_through_copies() -> None:
    for twin in (copy.deepcopy(CTImageStorage), pickle.loads(pickle.dumps(CTImageStorage))):
        assert twin == CTImageStorage
        assert type(twin) is SOPClass
        assert twin.service_class is StorageServiceClass
    assert SOPClass("1.2.840.10008.1.1").service_class is VerificationServiceClass


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.1.1",
        "1.2.840.10008.4.2",
        "1.2.840.10008.5.1.4.34.6",
        "1.2.840.10008.5.1.4.34.5",
        "1.2.840.10008.1.3.10",
        "1.2.840.10008.1.2",
        "1.2.3",
        "",
        b"1.2.840.10008.1.1",
        None,
        1,
    ],
)
def test_service_class_of_any_uid(uid: Any) -> None:
    assert uid_to_service_class(uid).__name__ == reference.uid_to_service_class(uid).__name__
    if isinstance(uid, str):
        ours, theirs = uid_to_sop_class(uid), reference.uid_to_sop_class(uid)
        assert str(ours) == str(theirs)
        assert type(ours) is SOPClass
    else:
        for module in (reference, sop_class):
            with pytest.raises(TypeError):
                module.uid_to_sop_class(uid)


@pytest.mark.usefixtures("table")
def test_a_registered_sop_class_is_a_constant_with_its_service() -> None:
    register_uid("1.2.3.4", "FooStorage", StorageServiceClass)
    assert sop_class.FooStorage == "1.2.3.4"
    assert sop_class.FooStorage.service_class is StorageServiceClass
    assert uid_to_service_class("1.2.3.4") is StorageServiceClass
    assert "FooStorage" in dir(sop_class)
    register_uid("1.2.3.4", "FooStorage2", VerificationServiceClass)
    assert uid_to_service_class("1.2.3.4") is VerificationServiceClass


def test_a_keyword_can_be_given_to_another_uid_and_back(table: dict[str, SOPClassRow]) -> None:
    register_uid("1.2.3.16", "CTImageStorage", StorageServiceClass)
    assert sop_class.CTImageStorage == "1.2.3.16"
    assert uid_to_sop_class("1.2.840.10008.5.1.4.1.1.2") == "1.2.840.10008.5.1.4.1.1.2"
    register_uid("1.2.840.10008.5.1.4.1.1.2", "CTImageStorage", StorageServiceClass)
    assert sop_class.CTImageStorage == "1.2.840.10008.5.1.4.1.1.2"
    assert table[sop_class.CTImageStorage].is_listed


@pytest.mark.parametrize(
    ("keyword", "kind", "given", "operation"),
    [
        ("Anything", QueryRetrieveServiceClass, "C-GET", "C-GET"),
        ("PrivateFind", QueryRetrieveServiceClass, "C-MOVE", "C-MOVE"),
        ("PrivateFind", ColorPaletteQueryRetrieveServiceClass, "", "C-FIND"),
        ("PrivateMove", ColorPaletteQueryRetrieveServiceClass, "C-GET", "C-GET"),
        ("Private", ColorPaletteQueryRetrieveServiceClass, "", ""),
        ("PrivateGet", NonPatientObjectStorageServiceClass, "", ""),
    ],
)
def test_what_a_registered_sop_class_is_for(
    table: dict[str, SOPClassRow], keyword: str, kind: type[ServiceClass], given: str, operation: str
) -> None:
    register_uid("1.2.3.4", keyword, kind, dimse_msg_type=given)
    assert table["1.2.3.4"].operation == operation


@pytest.mark.usefixtures("table")
def test_a_subclass_of_a_service_class_follows_its_rules() -> None:
    class Ours(StorageServiceClass):
        pass

    register_uid("1.2.3.4", "OurStorage", Ours)
    assert sop_class.OurStorage.service_class is StorageServiceClass


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("1.2.3", "not an identifier", "StorageServiceClass"), ValueError),
        (("1.2.3", "class", "StorageServiceClass"), ValueError),
        (("1.2.3", "1abc", "StorageServiceClass"), ValueError),
        (("1.2.3", "", "StorageServiceClass"), ValueError),
        ((5, "Kw", "StorageServiceClass"), TypeError),
        ((None, "Kw", "StorageServiceClass"), TypeError),
        ((b"1.2.3", "Kw", "StorageServiceClass"), TypeError),
        (("1.2.3", "Kw", str), TypeError),
        (("1.2.3", "Kw", None), TypeError),
        (("1.2.3", "Kw", 1), TypeError),
        (("1.2.3", "Kw", "QueryRetrieveServiceClass"), ValueError),
        (("1.2.3", "Kw", "QueryRetrieveServiceClass", "C-STORE"), ValueError),
        (("1.2.3", "Kw", "QueryRetrieveServiceClass", "c-find"), ValueError),
    ],
)
@pytest.mark.usefixtures("unregistered")
def test_mistakes_in_a_registration_raise_as_in_pynetdicom(
    table: dict[str, SOPClassRow], arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    uid, keyword, kind, *rest = arguments
    with pytest.raises(error):
        reference.register_uid(uid, keyword, SERVICE_CLASSES.get(kind, kind), *rest)
    with pytest.raises(error):
        register_uid(uid, keyword, getattr(service_class, kind) if isinstance(kind, str) else kind, *rest)
    assert "1.2.3" not in table


@pytest.mark.usefixtures("table")
def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="no service"):
        register_uid("1.2.3", "Kw", ServiceClass)
    with pytest.raises(ValueError, match="uid_to_sop_class"):
        register_uid("1.2.3", "uid_to_sop_class", StorageServiceClass)
