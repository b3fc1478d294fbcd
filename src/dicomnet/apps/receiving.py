"""The common part of the tools that receive objects: their files, and a server that runs until a signal ends it."""

from __future__ import annotations

import errno
import logging
import os
import signal
import threading
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

from ..cli.arguments import OK
from ..dimse.datasets import OUT_OF_RESOURCES
from ..encoding.identity import is_uid
from ..encoding.scan import HeaderScanner
from ..errors import ServiceRefusal
from ..exchange.reasons import reason
from ..exchange.receiving import IDENTIFYING_UIDS, require_object
from ..exchange.results import LocalFailure, Receipt
from ..pynetdicom.ae import AE
from ..pynetdicom.events import EVT_C_STORE, Event, EventHandlerType
from ..pynetdicom.hooks import OpenUserSink
from ..pynetdicom.transport import AssociationServer
from ..services.registry import INVALID_SOP_INSTANCE, SUCCESS
from ..services.sop_classes import SOP_CLASSES

_log = logging.getLogger(__name__)

CANNOT_UNDERSTAND = 0xC000

# What the name of a file begins with, by the keyword of the SOP class; others begin with UN.
PREFIXES = {
    "ComputedRadiographyImageStorage": "CR",
    "CTImageStorage": "CT",
    "EnhancedCTImageStorage": "CTE",
    "EnhancedMRImageStorage": "MRE",
    "EnhancedPETImageStorage": "PTE",
    "EnhancedUSVolumeStorage": "USE",
    "EnhancedXAImageStorage": "XAE",
    "MRImageStorage": "MR",
    "NuclearMedicineImageStorage": "NM",
    "PositronEmissionTomographyImageStorage": "PT",
    "RTDoseStorage": "RD",
    "RTImageStorage": "RI",
    "RTPlanStorage": "RP",
    "RTStructureSetStorage": "RS",
    "SecondaryCaptureImageStorage": "SC",
    "UltrasoundImageStorage": "US",
    "XRayAngiographicImageStorage": "XA",
}


def store_handler(options: Namespace, receipt: Receipt | None = None) -> EventHandlerType:
    """The handler that writes received objects where the options of `OUTPUT` say.

    Parameters
    ----------
    receipt
        What is told of each object, for those who have asked for it.
    """
    return (EVT_C_STORE, _store, [options.ignore, Path(options.output_directory), receipt or Receipt()])


def file_name(sop_class_uid: str, sop_instance_uid: str) -> str:
    """The name of an object's file."""
    known = SOP_CLASSES.get(sop_class_uid)
    return f"{PREFIXES.get(known.keyword if known else '', 'UN')}.{sop_instance_uid}"


def _store(event: Event, ignores: bool, folder: Path, receipt: Receipt) -> int:
    uid = str(event.request.AffectedSOPInstanceUID)
    try:
        _check(event, uid)
    except ServiceRefusal as refusal:
        _log.error("refused an object: %r: %s", uid, refusal.comment)
        receipt.failures.append(LocalFailure(uid, refusal))
        return refusal.status
    name = file_name(str(event.request.AffectedSOPClassUID), uid)
    try:
        if not ignores:
            write_whole(folder, name, event.encoded_dataset())
    except OSError as error:
        _log.error("%s could not be written: %s", name, error)
        receipt.failures.append(LocalFailure(uid, error, os.fspath(folder / name)))
        return OUT_OF_RESOURCES
    _log.info("received %s" if ignores else "stored %s", name)
    receipt.kept.add(uid)
    return SUCCESS


def _check(event: Event, uid: str) -> None:
    """Raise ServiceRefusal unless the object has a UID, and its data set is that object, to the end."""
    if not is_uid(uid):
        raise ServiceRefusal(INVALID_SOP_INSTANCE, "the SOP Instance UID is not a UID")
    data = memoryview(event.encoded_dataset(include_meta=False))
    header = HeaderScanner(IDENTIFYING_UIDS).scan(data, str(event.context.transfer_syntax))
    require_object(header, str(event.request.AffectedSOPClassUID), uid)


def write_whole(folder: Path, name: str, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / name
    if target.exists():
        _log.warning("%s is there already and is replaced", name)
    part = folder / f"{name}.{os.getpid()}-{threading.get_ident()}.part"
    try:
        part.write_bytes(content)
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class _Server(AssociationServer):
    trouble_level = logging.WARNING


def serve(
    ae: AE,
    address: tuple[str, int],
    handlers: Iterable[EventHandlerType] = (),
    *,
    open_sink: OpenUserSink | None = None,
) -> int:
    """Serve until SIGTERM or Ctrl-C; returns the exit status.

    Raises
    ------
    OSError
        If the address cannot be used.
    """
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        server = None
        try:
            server = ae.make_server(
                address, evt_handlers=list(handlers), open_sink=open_sink, server_class=_Server
            )
            server.serve_forever()
        except KeyboardInterrupt:
            _log.info("the server is shut down by an interrupt")
        finally:
            if server is not None:
                server.shutdown()
            signal.signal(signal.SIGTERM, before)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OSError(f"port {address[1]} is in use already") from error
        if error.filename is None:
            host = address[0] or "any address"
            raise OSError(f"cannot listen on port {address[1]} of {host}: {reason(error)}") from error
        raise
    return OK
