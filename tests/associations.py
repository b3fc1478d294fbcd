"""Associations of the blocking face for tests: a server with handlers, and a client beside it, in one process."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Sequence
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from tests.sockets import CT_IMAGE_STORAGE, IMPLICIT_VR_LE, PATIENT_ROOT_FIND, VERIFICATION

from dicomnet import AE, build_context
from dicomnet.drivers.blocking.link import Link
from dicomnet.drivers.blocking.server import Server
from dicomnet.pynetdicom.association import Association
from dicomnet.pynetdicom.events import EventHandlerType
from dicomnet.pynetdicom.presentation import PresentationContext
from dicomnet.pynetdicom.transport import AssociationServer

CONTEXTS = (VERIFICATION, CT_IMAGE_STORAGE, PATIENT_ROOT_FIND)


@contextlib.contextmanager
def serving_ae(
    handlers: Sequence[EventHandlerType] = (),
    *,
    tls: ssl.SSLContext | None = None,
    uids: Sequence[str] = CONTEXTS,
    **properties: Any,
) -> Iterator[AssociationServer]:
    """A server on a free port of the loopback interface; ``properties`` are set on its AE."""
    ae = AE("SERVER")
    for name, value in properties.items():
        setattr(ae, name, value)
    for uid in uids:
        ae.add_supported_context(uid)
    server = ae.start_server(("127.0.0.1", 0), block=False, ssl_context=tls, evt_handlers=list(handlers))
    assert server is not None
    try:
        yield server
    finally:
        ae.shutdown()


@contextlib.contextmanager
def associated(
    server: AssociationServer | int,
    handlers: Sequence[EventHandlerType] = (),
    *,
    contexts: Sequence[PresentationContext] | None = None,
    must_be_established: bool = True,
    properties: dict[str, Any] | None = None,
    **arguments: Any,
) -> Iterator[Association]:
    """An association with a server, or with what listens on a port; aborted at the end if it is still open."""
    ae = AE("CLIENT")
    for name, value in (properties or {}).items():
        setattr(ae, name, value)
    port = server if isinstance(server, int) else server.server_address[1]
    proposed = contexts or [build_context(uid) for uid in CONTEXTS]
    assoc = ae.associate("127.0.0.1", port, list(proposed), evt_handlers=list(handlers), **arguments)
    try:
        assert assoc.is_established or not must_be_established, assoc.failure
        yield assoc
    finally:
        assoc.abort()


def link_of(assoc: Association) -> Link:
    """The link below an association, for what no program sees: sockets, threads, buffers, what is remembered."""
    return assoc.state.live()


def links_of(server: AssociationServer) -> list[Link]:
    """The links of a server that is this process itself, among them those of peers that have not asked for anything."""
    assert isinstance(server._server, Server)
    return server._server.links


def ct_image(size: int = 0) -> Dataset:
    """A CT image with ``size`` bytes of pixels."""
    dataset = Dataset()
    dataset.SOPClassUID = CT_IMAGE_STORAGE
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.PatientName = "Test^Image"
    if size:
        dataset.add_new(0x7FE00010, "OW", bytes(size))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(IMPLICIT_VR_LE)
    return dataset


def query() -> Dataset:
    """An Identifier at the patient level."""
    dataset = Dataset()
    dataset.QueryRetrieveLevel = "PATIENT"
    dataset.PatientName = ""
    return dataset


def match(name: str = "Match^One") -> Dataset:
    """What a query finds."""
    dataset = query()
    dataset.PatientName = name
    return dataset
