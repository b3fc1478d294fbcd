"""DICOM networking: a library, command-line tools and an archive node.

Names are loaded when they are first used, so that a program pays only for what it uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from .as_pynetdicom import install_as_pynetdicom as install_as_pynetdicom
    from .blocking.peer import Peer as Peer
    from .dicomweb.credentials import Basic as Basic
    from .dicomweb.credentials import Bearer as Bearer
    from .drivers.deadline import Timeouts as Timeouts
    from .encoding.transfer_syntaxes import ALL_TRANSFER_SYNTAXES as ALL_TRANSFER_SYNTAXES
    from .encoding.transfer_syntaxes import DEFAULT_TRANSFER_SYNTAXES as DEFAULT_TRANSFER_SYNTAXES
    from .exchange.logs import debug_logger as debug_logger
    from .exchange.receiving import ReceivedObject as ReceivedObject
    from .exchange.results import LocalFailure as LocalFailure
    from .exchange.results import RetrieveProgress as RetrieveProgress
    from .exchange.results import StoreResult as StoreResult
    from .peers.commitment import Commitment as Commitment
    from .pynetdicom import evt as evt
    from .pynetdicom import sop_class as sop_class
    from .pynetdicom import status as status
    from .pynetdicom.ae import AE as AE
    from .pynetdicom.ae import ApplicationEntity as ApplicationEntity
    from .pynetdicom.association import Association as Association
    from .pynetdicom.connect import connect as connect
    from .pynetdicom.presentation import build_context as build_context
    from .pynetdicom.presentation import build_role as build_role
    from .pynetdicom.sop_class import register_uid as register_uid

# Where our own names lie; every other name is one of `dicomnet.pynetdicom`.
_HOMES = {
    "Basic": "dicomweb.credentials",
    "Bearer": "dicomweb.credentials",
    "Commitment": "peers.commitment",
    "LocalFailure": "exchange.results",
    "Peer": "blocking.peer",
    "ReceivedObject": "exchange.receiving",
    "RetrieveProgress": "exchange.results",
    "StoreResult": "exchange.results",
    "Timeouts": "drivers.deadline",
    "connect": "pynetdicom.connect",
    "install_as_pynetdicom": "as_pynetdicom",
}
_MODULES = ("_config", "aio", "errors", "pynetdicom")


def __getattr__(name: str) -> Any:
    value: Any
    if name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    elif name in _MODULES:
        value = import_module(f".{name}", __name__)
    elif name == "__all__":
        value = ["__version__", "evt", "sop_class", "status", *_HOMES, *_pynetdicom().NAMES]
    elif name in _pynetdicom().NAMES or name in _pynetdicom().MODULES:
        value = getattr(_pynetdicom(), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _pynetdicom() -> Any:
    return import_module(".pynetdicom", __name__)


def __dir__() -> list[str]:
    return sorted(__getattr__("__all__"))
