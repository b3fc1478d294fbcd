from common import say, serve
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityPerformedProcedureStep

steps = {}


def handle_create(event):
    request = event.request
    say("create", request.AffectedSOPInstanceUID, event.attribute_list.PerformedProcedureStepStatus)
    if request.AffectedSOPInstanceUID is None:
        return 0x0106, None
    if request.AffectedSOPInstanceUID in steps:
        return 0x0111, None
    if event.attribute_list.PerformedProcedureStepStatus != "IN PROGRESS":
        return 0x0106, None
    step = Dataset()
    step.SOPClassUID = ModalityPerformedProcedureStep
    step.SOPInstanceUID = request.AffectedSOPInstanceUID
    step.update(event.attribute_list)
    steps[request.AffectedSOPInstanceUID] = step
    return 0x0000, step


def handle_set(event):
    request = event.request
    say("set", request.RequestedSOPInstanceUID, event.modification_list.PerformedProcedureStepStatus)
    if request.RequestedSOPInstanceUID not in steps:
        return 0x0112, None
    step = steps[request.RequestedSOPInstanceUID]
    step.update(event.modification_list)
    return 0x0000, step


ae = AE()
ae.add_supported_context(ModalityPerformedProcedureStep)
serve(ae, [(evt.EVT_N_CREATE, handle_create), (evt.EVT_N_SET, handle_set)])
