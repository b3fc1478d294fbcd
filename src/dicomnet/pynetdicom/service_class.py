"""The service classes of PS3.4 as types, which name one; their rules lie in ``services``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ..services.service_names import ServiceName
from ..services.statuses import GENERAL, statuses_of


class ServiceClass:
    """Base of the service classes, and the service class of a SOP class that is not known.

    Attributes
    ----------
    service
        Which service class it is, None here.
    uid
        Service Class UID where the standard gives one, else empty.
    statuses
        Status code to (status class, meaning).
    """

    service: ClassVar[ServiceName | None] = None
    uid: ClassVar[str] = ""
    statuses: ClassVar[Mapping[int, tuple[str, str]]] = GENERAL

    def __init_subclass__(cls, service: ServiceName | None = None, uid: str = "") -> None:
        if service is None:
            return
        cls.service = service
        cls.statuses = statuses_of(service)
        _BY_NAME[service] = cls
        if uid:
            cls.uid = uid
            _BY_UID[uid] = cls


_BY_NAME: dict[ServiceName, type[ServiceClass]] = {}
_BY_UID: dict[str, type[ServiceClass]] = {}


def service_class_named(service: ServiceName) -> type[ServiceClass]:
    """The type of a service class; :class:`ServiceClass` where it has none."""
    return _BY_NAME.get(service, ServiceClass)


def service_class_with_uid(uid: str) -> type[ServiceClass]:
    """The type of the service class with this Service Class UID; :class:`ServiceClass` where there is none."""
    return _BY_UID.get(uid, ServiceClass)


class VerificationServiceClass(ServiceClass, service=ServiceName.VERIFICATION):
    """PS3.4 Annex A."""


class StorageServiceClass(ServiceClass, service=ServiceName.STORAGE, uid="1.2.840.10008.4.2"):
    """PS3.4 Annex B."""


class QueryRetrieveServiceClass(ServiceClass, service=ServiceName.QUERY_RETRIEVE):
    """PS3.4 Annexes C, Y and Z."""


class ProcedureStepServiceClass(ServiceClass, service=ServiceName.PROCEDURE_STEP):
    """PS3.4 Annex F."""


class PrintManagementServiceClass(ServiceClass, service=ServiceName.PRINT_MANAGEMENT):
    """PS3.4 Annex H."""


class StorageCommitmentServiceClass(ServiceClass, service=ServiceName.STORAGE_COMMITMENT):
    """PS3.4 Annex J."""


class BasicWorklistManagementServiceClass(
    QueryRetrieveServiceClass, service=ServiceName.BASIC_WORKLIST_MANAGEMENT
):
    """PS3.4 Annex K."""


class ApplicationEventLoggingServiceClass(ServiceClass, service=ServiceName.APPLICATION_EVENT_LOGGING):
    """PS3.4 Annex P."""


class RelevantPatientInformationQueryServiceClass(
    ServiceClass, service=ServiceName.RELEVANT_PATIENT_INFORMATION_QUERY
):
    """PS3.4 Annex Q."""


class InstanceAvailabilityNotificationServiceClass(
    ServiceClass, service=ServiceName.INSTANCE_AVAILABILITY_NOTIFICATION
):
    """PS3.4 Annex R."""


class MediaCreationManagementServiceClass(ServiceClass, service=ServiceName.MEDIA_CREATION_MANAGEMENT):
    """PS3.4 Annex S."""


class HangingProtocolQueryRetrieveServiceClass(
    QueryRetrieveServiceClass, service=ServiceName.HANGING_PROTOCOL_QUERY_RETRIEVE
):
    """PS3.4 Annex U."""


class SubstanceAdministrationQueryServiceClass(
    QueryRetrieveServiceClass, service=ServiceName.SUBSTANCE_ADMINISTRATION_QUERY
):
    """PS3.4 Annex V."""


class ColorPaletteQueryRetrieveServiceClass(
    QueryRetrieveServiceClass, service=ServiceName.COLOR_PALETTE_QUERY_RETRIEVE
):
    """PS3.4 Annex X."""


class ImplantTemplateQueryRetrieveServiceClass(
    QueryRetrieveServiceClass, service=ServiceName.IMPLANT_TEMPLATE_QUERY_RETRIEVE
):
    """PS3.4 Annex BB."""


class UnifiedProcedureStepServiceClass(
    ServiceClass, service=ServiceName.UNIFIED_PROCEDURE_STEP, uid="1.2.840.10008.5.1.4.34.6"
):
    """PS3.4 Annex CC."""


class RTMachineVerificationServiceClass(ServiceClass, service=ServiceName.RT_MACHINE_VERIFICATION):
    """PS3.4 Annex DD."""


class DisplaySystemManagementServiceClass(ServiceClass, service=ServiceName.DISPLAY_SYSTEM_MANAGEMENT):
    """PS3.4 Annex EE."""


class NonPatientObjectStorageServiceClass(
    StorageServiceClass, service=ServiceName.NON_PATIENT_OBJECT_STORAGE
):
    """PS3.4 Annex GG."""


class DefinedProcedureProtocolQueryRetrieveServiceClass(
    QueryRetrieveServiceClass, service=ServiceName.DEFINED_PROCEDURE_PROTOCOL_QUERY_RETRIEVE
):
    """PS3.4 Annex HH."""


class ProtocolApprovalQueryRetrieveServiceClass(
    QueryRetrieveServiceClass, service=ServiceName.PROTOCOL_APPROVAL_QUERY_RETRIEVE
):
    """PS3.4 Annex II."""


class InventoryQueryRetrieveServiceClass(
    QueryRetrieveServiceClass, service=ServiceName.INVENTORY_QUERY_RETRIEVE
):
    """Query and retrieval of inventories (PS3.4)."""


class StorageManagementServiceClass(ServiceClass, service=ServiceName.STORAGE_MANAGEMENT):
    """Creation of inventories (PS3.4)."""
