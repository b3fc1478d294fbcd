"""pynetdicom's documented modules under their names.

A program that moves by hand writes ``dicomnet.pynetdicom`` where it wrote ``pynetdicom``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .. import _config
from .._version import __version__

if TYPE_CHECKING:
    from ..encoding.transfer_syntaxes import ALL_TRANSFER_SYNTAXES as ALL_TRANSFER_SYNTAXES
    from ..encoding.transfer_syntaxes import DEFAULT_TRANSFER_SYNTAXES as DEFAULT_TRANSFER_SYNTAXES
    from ..exchange.logs import debug_logger as debug_logger
    from . import events as evt
    from . import sop_class as sop_class
    from . import status as status
    from .ae import AE as AE
    from .ae import ApplicationEntity as ApplicationEntity
    from .association import Association as Association
    from .presentation import build_context as build_context
    from .presentation import build_role as build_role
    from .sop_class import register_uid as register_uid

# The same module and not a copy: a flag that is set here is set for the whole package.
sys.modules[f"{__name__}._config"] = _config

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

# Each name that a program may import from here, and the module that has it.
NAMES = {
    "AE": ".ae",
    "ALL_TRANSFER_SYNTAXES": "..encoding.transfer_syntaxes",
    "ApplicationEntity": ".ae",
    "Association": ".association",
    "DEFAULT_TRANSFER_SYNTAXES": "..encoding.transfer_syntaxes",
    "PYNETDICOM_IMPLEMENTATION_UID": ".compatibility",
    "PYNETDICOM_IMPLEMENTATION_VERSION": ".compatibility",
    "PYNETDICOM_UID_PREFIX": ".compatibility",
    "build_context": ".presentation",
    "build_role": ".presentation",
    "debug_logger": "..exchange.logs",
    "register_uid": ".sop_class",
} | dict.fromkeys(_CONTEXT_LISTS, ".presentation")
# The modules that a program may name after `import pynetdicom` alone.
MODULES = {"evt": "events"} | {
    name: name
    for name in (
        "_globals",
        "ae",
        "association",
        "dimse_messages",
        "dimse_primitives",
        "dsutils",
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

__all__ = ["__version__", "_config", "evt", "sop_class", "status", *NAMES]


def __getattr__(name: str) -> Any:
    value: Any
    if name in NAMES:
        value = getattr(import_module(NAMES[name], __name__), name)
    elif name in MODULES:
        value = import_module(f".{MODULES[name]}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
