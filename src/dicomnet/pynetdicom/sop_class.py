"""SOP classes for users: each is a constant of this module, named by its keyword in PS3.6 Table A-1."""

from __future__ import annotations

from keyword import iskeyword
from typing import Any

from pydicom.uid import UID

from ..services.service_names import ServiceName, SOPClassRow
from ..services.sop_classes import ALIASES, SOP_CLASSES
from .service_class import (
    QueryRetrieveServiceClass,
    ServiceClass,
    service_class_named,
    service_class_with_uid,
)

# Well-known SOP instances (PS3.6 Table A-1)
DisplaySystemInstance = UID("1.2.840.10008.5.1.1.40.1")
PrinterConfigurationRetrievalInstance = UID("1.2.840.10008.5.1.1.17.376")
PrinterInstance = UID("1.2.840.10008.5.1.1.17")
ProceduralEventLoggingInstance = UID("1.2.840.10008.1.40.1")
StorageCommitmentPushModelInstance = UID("1.2.840.10008.1.20.1.1")
StorageManagementInstance = UID("1.2.840.10008.5.1.4.1.1.201.1.1")
SubstanceAdministrationLoggingInstance = UID("1.2.840.10008.1.42.1")
UPSFilteredGlobalSubscriptionInstance = UID("1.2.840.10008.5.1.4.34.5.1")
UPSGlobalSubscriptionInstance = UID("1.2.840.10008.5.1.4.34.5")

_OPERATIONS = {"Find": "C-FIND", "Move": "C-MOVE", "Get": "C-GET"}
_UIDS = {row.keyword: uid for uid, row in SOP_CLASSES.items()} | ALIASES
_CONSTANTS: dict[str, SOPClass] = {}
# Names of dictionaries, keyword to UID, that programs import though pynetdicom does not document them.
_BY_SERVICE = {
    "_APPLICATION_EVENT_CLASSES": ServiceName.APPLICATION_EVENT_LOGGING,
    "_BASIC_WORKLIST_CLASSES": ServiceName.BASIC_WORKLIST_MANAGEMENT,
    "_COLOR_PALETTE_CLASSES": ServiceName.COLOR_PALETTE_QUERY_RETRIEVE,
    "_DEFINED_PROCEDURE_CLASSES": ServiceName.DEFINED_PROCEDURE_PROTOCOL_QUERY_RETRIEVE,
    "_DISPLAY_SYSTEM_CLASSES": ServiceName.DISPLAY_SYSTEM_MANAGEMENT,
    "_HANGING_PROTOCOL_CLASSES": ServiceName.HANGING_PROTOCOL_QUERY_RETRIEVE,
    "_IMPLANT_TEMPLATE_CLASSES": ServiceName.IMPLANT_TEMPLATE_QUERY_RETRIEVE,
    "_INSTANCE_AVAILABILITY_CLASSES": ServiceName.INSTANCE_AVAILABILITY_NOTIFICATION,
    "_INVENTORY_CLASSES": ServiceName.INVENTORY_QUERY_RETRIEVE,
    "_MEDIA_CREATION_CLASSES": ServiceName.MEDIA_CREATION_MANAGEMENT,
    "_MEDIA_STORAGE_CLASSES": ServiceName.MEDIA_STORAGE,
    "_NON_PATIENT_OBJECT_CLASSES": ServiceName.NON_PATIENT_OBJECT_STORAGE,
    "_PRINT_MANAGEMENT_CLASSES": ServiceName.PRINT_MANAGEMENT,
    "_PROCEDURE_STEP_CLASSES": ServiceName.PROCEDURE_STEP,
    "_PROTOCOL_APPROVAL_CLASSES": ServiceName.PROTOCOL_APPROVAL_QUERY_RETRIEVE,
    "_QR_CLASSES": ServiceName.QUERY_RETRIEVE,
    "_RELEVANT_PATIENT_QUERY_CLASSES": ServiceName.RELEVANT_PATIENT_INFORMATION_QUERY,
    "_RT_MACHINE_VERIFICATION_CLASSES": ServiceName.RT_MACHINE_VERIFICATION,
    "_STORAGE_CLASSES": ServiceName.STORAGE,
    "_STORAGE_COMMITMENT_CLASSES": ServiceName.STORAGE_COMMITMENT,
    "_STORAGE_MANAGEMENT_CLASSES": ServiceName.STORAGE_MANAGEMENT,
    "_SUBSTANCE_ADMINISTRATION_CLASSES": ServiceName.SUBSTANCE_ADMINISTRATION_QUERY,
    "_UNIFIED_PROCEDURE_STEP_CLASSES": ServiceName.UNIFIED_PROCEDURE_STEP,
    "_VERIFICATION_CLASSES": ServiceName.VERIFICATION,
}


class SOPClass(UID):
    """A SOP class: its UID, and the service class it belongs to."""

    @property
    def service_class(self) -> type[ServiceClass]:
        """The service class, :class:`~dicomnet.pynetdicom.service_class.ServiceClass` itself where it is not known."""
        return uid_to_service_class(self)


def __getattr__(name: str) -> Any:
    """A SOP class by its keyword, or the dictionary of those of a service by its name in `_BY_SERVICE`."""
    if name in _BY_SERVICE:
        service = _BY_SERVICE[name]
        return {keyword: uid for keyword, uid in _UIDS.items() if SOP_CLASSES[uid].service is service}
    uid = _UIDS.get(name)
    if uid is None:
        raise AttributeError(f"module {__name__!r} has no SOP class {name!r}")
    return uid_to_sop_class(uid)


def __dir__() -> list[str]:
    return sorted({*globals(), *_UIDS})


def uid_to_sop_class(uid: str) -> SOPClass:
    """The SOP class with this UID, which may be one that is not known.

    Parameters
    ----------
    uid
        SOP Class UID.

    Raises
    ------
    TypeError
        If it is not a str.
    """
    constant = _CONSTANTS.get(uid)
    if constant is None:
        constant = SOPClass(uid)
        if uid in SOP_CLASSES:
            _CONSTANTS[uid] = constant
    return constant


def uid_to_service_class(uid: str) -> type[ServiceClass]:
    """The service class of a SOP class.

    Parameters
    ----------
    uid
        SOP Class UID or Service Class UID.

    Returns
    -------
    type[ServiceClass]
        :class:`~dicomnet.pynetdicom.service_class.ServiceClass` itself where the UID is not known.
    """
    row = SOP_CLASSES.get(uid)
    return service_class_with_uid(uid) if row is None else service_class_named(row.service)


def register_uid(uid: str, keyword: str, service_class: type[ServiceClass], dimse_msg_type: str = "") -> None:
    """Make a private SOP class known, so that associations offer its service and this module its constant.

    Parameters
    ----------
    uid
        SOP Class UID. If it is known already, what is said here replaces what was known.
    keyword
        Name of the new constant.
    service_class
        The service class whose rules it follows.
    dimse_msg_type
        ``C-FIND``, ``C-MOVE`` or ``C-GET``: what the SOP class is for. Needed with
        `QueryRetrieveServiceClass`; with the query/retrieve service classes of other information models the end of
        the keyword can say it too.

    Raises
    ------
    TypeError
        If the UID is not a str, or the service class not a subclass of ServiceClass.
    ValueError
        If the keyword cannot be a constant of this module, the service class stands for no service, or
        ``dimse_msg_type`` is needed and is none of the three.
    """
    if not keyword.isidentifier() or iskeyword(keyword) or keyword in globals():
        raise ValueError(f"{keyword!r} cannot be the name of a SOP class")
    if not isinstance(service_class, type) or not issubclass(service_class, ServiceClass):
        raise TypeError(f"a service class is a subclass of ServiceClass, not {service_class!r}")
    if service_class.service is None:
        raise ValueError(f"{service_class.__name__} stands for no service of PS3.4")
    if service_class is QueryRetrieveServiceClass and dimse_msg_type not in _OPERATIONS.values():
        raise ValueError(f"a query/retrieve SOP class is for C-FIND, C-MOVE or C-GET, not {dimse_msg_type!r}")
    operation = dimse_msg_type
    if not operation and issubclass(service_class, QueryRetrieveServiceClass):
        operation = next((op for end, op in _OPERATIONS.items() if keyword.endswith(end)), "")
    uid = str(SOPClass(uid))
    is_listed = uid in SOP_CLASSES and SOP_CLASSES[uid].is_listed
    SOP_CLASSES[uid] = SOPClassRow(uid, keyword, service_class.service, operation, is_listed)
    _UIDS[keyword] = uid
    if keyword not in __all__:
        __all__.append(keyword)


# What `from … import *` gives: the constants too, which are made when they are first asked for.
__all__ = sorted({name for name in globals() if name[0].isupper() or name.endswith("uid")} | _UIDS.keys())
