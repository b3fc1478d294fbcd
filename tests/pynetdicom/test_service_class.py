"""``dicomnet.pynetdicom.service_class`` and ``service_class_n`` against pynetdicom 3.0.4."""

from __future__ import annotations

import pynetdicom.service_class
import pynetdicom.service_class_n

from dicomnet.pynetdicom import service_class, service_class_n
from dicomnet.pynetdicom.service_class import (
    ServiceClass,
)
from dicomnet.services.service_names import ServiceName

SERVICE_CLASSES = {
    name: (module, kind)
    for module in (pynetdicom.service_class, pynetdicom.service_class_n)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, pynetdicom.service_class.ServiceClass)
}
# Their statuses are those of more services than one here.
BROADER = ("QueryRetrieveServiceClass", "BasicWorklistManagementServiceClass")


def test_each_service_class_of_pynetdicom_has_a_namesake() -> None:
    assert len(SERVICE_CLASSES) == 23 + 1
    for name, (module, theirs) in SERVICE_CLASSES.items():
        ours = getattr(service_class, name)
        assert issubclass(ours, ServiceClass), name
        assert [base.__name__ for base in ours.__mro__] == [base.__name__ for base in theirs.__mro__]
        if name not in BROADER:
            assert set(ours.statuses) == set(theirs.statuses), name
        if module is pynetdicom.service_class_n:
            assert getattr(service_class_n, name) is ours, name


def test_every_service_with_a_dimse_service_has_a_type() -> None:
    types = {service: service_class.service_class_named(service) for service in ServiceName}
    assert [service for service, kind in types.items() if kind is ServiceClass] == [ServiceName.MEDIA_STORAGE]
    assert all(kind.service is service for service, kind in types.items() if kind is not ServiceClass)
