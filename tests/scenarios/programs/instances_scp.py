"""Like pynetdicom's qrscp: what is stored is found and retrieved. The first port is that of the move destination."""

from common import CT, HOST, PORTS, say, serve
from pydicom.dataset import Dataset
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    Verification,
)

instances = []


def matching(identifier):
    wanted = identifier.get("PatientID") or ""
    if wanted.endswith("*"):
        return [each for each in instances if each.PatientID.startswith(wanted[:-1])]
    return [each for each in instances if each.PatientID == wanted]


def handle_store(event):
    dataset = event.dataset
    dataset.file_meta = event.file_meta
    instances.append(dataset)
    return 0x0000


def handle_find(event):
    for each in matching(event.identifier):
        if event.is_cancelled:
            yield 0xFE00, None
            return
        match = Dataset()
        match.QueryRetrieveLevel = event.identifier.QueryRetrieveLevel
        match.PatientID = each.PatientID
        match.PatientName = each.PatientName
        yield 0xFF00, match


def handle_get(event):
    say("get", event.identifier.PatientID)
    found = matching(event.identifier)
    yield len(found)
    for each in found:
        yield 0xFF00, each


def handle_move(event):
    say("move", event.identifier.PatientID, event.move_destination)
    if event.move_destination != "DESTINATION":
        yield None, None
        return
    yield HOST, PORTS[0]
    found = matching(event.identifier)
    yield len(found)
    for each in found:
        yield 0xFF00, each
    if event.identifier.PatientID == "P*":
        status = Dataset()
        status.Status = 0x0000
        yield status, None


ae = AE(ae_title="INSTANCES")
ae.requested_contexts = StoragePresentationContexts
ae.add_supported_context(Verification)
ae.add_supported_context(CT, scu_role=True, scp_role=True)
for model in (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
):
    ae.add_supported_context(model)
handlers = [
    (evt.EVT_C_STORE, handle_store),
    (evt.EVT_C_FIND, handle_find),
    (evt.EVT_C_GET, handle_get),
    (evt.EVT_C_MOVE, handle_move),
]
serve(ae, handlers)
