from common import say, serve
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind


def scheduled(number, modality):
    item = Dataset()
    item.PatientName = f"Worklist^{number}"
    item.AccessionNumber = f"A{number}"
    step = Dataset()
    step.Modality = modality
    step.ScheduledStationAETitle = "CTSCANNER"
    step.ScheduledProcedureStepStartDate = "20260102"
    item.ScheduledProcedureStepSequence = [step]
    return item


def handle_find(event):
    (wanted,) = event.identifier.ScheduledProcedureStepSequence
    say("worklist", wanted.ScheduledStationAETitle, wanted.Modality)
    for number, modality in enumerate(("CT", "MR", "CT")):
        if modality == wanted.Modality:
            yield 0xFF00, scheduled(number, modality)
    yield 0x0000, None


ae = AE()
ae.add_supported_context(ModalityWorklistInformationFind)
serve(ae, [(evt.EVT_C_FIND, handle_find)])
