"""The service classes of the DIMSE-N services, under the name of the module that has them in pynetdicom."""

from __future__ import annotations

from .service_class import (
    ApplicationEventLoggingServiceClass as ApplicationEventLoggingServiceClass,
)
from .service_class import (
    DisplaySystemManagementServiceClass as DisplaySystemManagementServiceClass,
)
from .service_class import (
    InstanceAvailabilityNotificationServiceClass as InstanceAvailabilityNotificationServiceClass,
)
from .service_class import (
    MediaCreationManagementServiceClass as MediaCreationManagementServiceClass,
)
from .service_class import PrintManagementServiceClass as PrintManagementServiceClass
from .service_class import ProcedureStepServiceClass as ProcedureStepServiceClass
from .service_class import RTMachineVerificationServiceClass as RTMachineVerificationServiceClass
from .service_class import ServiceClass as ServiceClass
from .service_class import StorageCommitmentServiceClass as StorageCommitmentServiceClass
from .service_class import StorageManagementServiceClass as StorageManagementServiceClass
from .service_class import UnifiedProcedureStepServiceClass as UnifiedProcedureStepServiceClass
