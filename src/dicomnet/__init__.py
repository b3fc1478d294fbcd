"""DICOM networking: a library, command-line tools and an archive node.

Names are loaded when they are first used, so that a program pays only for what it uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from . import events as evt
    from . import status
    from .ae import AE as AE
    from .ae import ApplicationEntity as ApplicationEntity
    from .as_pynetdicom import install_as_pynetdicom as install_as_pynetdicom
    from .association import Association as Association
    from .connecting import connect as connect
    from .logs import debug_logger as debug_logger
    from .peer import Peer as Peer
    from .presentation import build_context as build_context
    from .presentation import build_role as build_role
    from .services.transfer_syntaxes import ALL_TRANSFER_SYNTAXES as ALL_TRANSFER_SYNTAXES
    from .services.transfer_syntaxes import DEFAULT_TRANSFER_SYNTAXES as DEFAULT_TRANSFER_SYNTAXES
    from .sop_class import register_uid as register_uid

_HOMES = {
    "AE": "ae",
    "ALL_TRANSFER_SYNTAXES": "services.transfer_syntaxes",
    "ApplicationEntity": "ae",
    "Association": "association",
    "DEFAULT_TRANSFER_SYNTAXES": "services.transfer_syntaxes",
    "PYNETDICOM_IMPLEMENTATION_UID": "compatibility",
    "PYNETDICOM_IMPLEMENTATION_VERSION": "compatibility",
    "PYNETDICOM_UID_PREFIX": "compatibility",
    "Peer": "peer",
    "build_context": "presentation",
    "connect": "connecting",
    "build_role": "presentation",
    "debug_logger": "logs",
    "install_as_pynetdicom": "as_pynetdicom",
    "register_uid": "sop_class",
}
# The modules that a program may name after `import dicomnet` alone.
_MODULES = {"evt": "events"} | {
    name: name
    for name in (
        "_config",
        "_globals",
        "ae",
        "aio",
        "association",
        "dimse_messages",
        "dimse_primitives",
        "dsutils",
        "errors",
        "events",
        "pdu",
        "pdu_items",
        "pdu_primitives",
        "presentation",
        "service_class",
        "service_class_n",
        "sop_class",
        "status",
        "transport",
        "utils",
    )
}
_CONTEXT_LISTS = tuple(
    f"{name}PresentationContexts"
    for name in (
        "AllStorage",
        "ApplicationEventLogging",
        "BasicWorklistManagement",
        "ColorPalette",
        "DefinedProcedureProtocol",
        "DisplaySystem",
        "HangingProtocol",
        "ImplantTemplate",
        "InstanceAvailability",
        "MediaCreationManagement",
        "MediaStorage",
        "ModalityPerformed",
        "NonPatientObject",
        "PrintManagement",
        "ProcedureStep",
        "ProtocolApproval",
        "QueryRetrieve",
        "RelevantPatientInformation",
        "RTMachineVerification",
        "Storage",
        "StorageCommitment",
        "SubstanceAdministration",
        "UnifiedProcedure",
        "Verification",
    )
)

__all__ = ["__version__", "evt", "sop_class", "status", *_HOMES, *_CONTEXT_LISTS]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    elif name in _MODULES:
        value = import_module(f".{_MODULES[name]}", __name__)
    elif name in _CONTEXT_LISTS:
        value = getattr(import_module(".presentation", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
