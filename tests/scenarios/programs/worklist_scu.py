from common import HOST, PORTS, say
from pydicom.dataset import Dataset
from pynetdicom import AE, BasicWorklistManagementPresentationContexts
from pynetdicom.sop_class import ModalityWorklistInformationFind

query = Dataset()
query.PatientName = "*"
query.ScheduledProcedureStepSequence = [Dataset()]
item = query.ScheduledProcedureStepSequence[0]
item.ScheduledStationAETitle = "CTSCANNER"
item.ScheduledProcedureStepStartDate = "20260101-20260131"
item.Modality = "CT"

ae = AE()
ae.requested_contexts = BasicWorklistManagementPresentationContexts
assoc = ae.associate(HOST, PORTS[0])
for status, match in assoc.send_c_find(query, ModalityWorklistInformationFind):
    say(f"0x{status.Status:04X}")
    if status.Status in (0xFF00, 0xFF01):
        say(match.PatientName, match.AccessionNumber, match.ScheduledProcedureStepSequence[0].Modality)
assoc.release()
