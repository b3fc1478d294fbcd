from common import HOST, PORTS, say
from pydicom.dataset import Dataset
from pynetdicom import AE

MPPS = "1.2.840.10008.3.1.2.3.3"
COMMITMENT = "1.2.840.10008.1.20.1"

ae = AE()
ae.add_requested_context(MPPS)
ae.add_requested_context(COMMITMENT)
assoc = ae.associate(HOST, PORTS[0])
changes = Dataset()
changes.PerformedProcedureStepStatus = "COMPLETED"
status, reply = assoc.send_n_set(changes, MPPS, "1.2.3.4")
say(hex(status.Status), status.ErrorComment, "OffendingElement" in status, reply)
information = Dataset()
information.PatientID = "P1"
status, reply = assoc.send_n_action(information, 1, COMMITMENT, "1.2.840.10008.1.20.1.1")
say(hex(status.Status), reply)
status, reply = assoc.send_n_event_report(information, 1, COMMITMENT, "1.2.840.10008.1.20.1.1")
say(hex(status.Status), reply)
assoc.release()
