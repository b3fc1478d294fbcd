from common import HOST, PORTS, say
from pydicom.dataset import Dataset
from pynetdicom import AE, ModalityPerformedPresentationContexts
from pynetdicom.sop_class import ModalityPerformedProcedureStep

ae = AE()
ae.requested_contexts = ModalityPerformedPresentationContexts
assoc = ae.associate(HOST, PORTS[0])
say(len(assoc.accepted_contexts))
started = Dataset()
started.PerformedProcedureStepStatus = "IN PROGRESS"
started.PerformedProcedureStepID = "STEP1"
for uid in ("1.2.3.1", "1.2.3.1"):
    status, attributes = assoc.send_n_create(started, ModalityPerformedProcedureStep, uid)
    say(f"0x{status.Status:04X}", attributes.PerformedProcedureStepID if status.Status == 0 else attributes)
done = Dataset()
done.PerformedProcedureStepStatus = "COMPLETED"
for uid in ("1.2.3.1", "1.2.3.2"):
    status, attributes = assoc.send_n_set(done, ModalityPerformedProcedureStep, uid, msg_id=5)
    say(
        f"0x{status.Status:04X}",
        attributes.PerformedProcedureStepStatus if status.Status == 0 else attributes,
    )
started.PerformedProcedureStepStatus = "COMPLETED"
status, attributes = assoc.send_n_create(started, ModalityPerformedProcedureStep, "1.2.3.3")
say(f"0x{status.Status:04X}", attributes)
assoc.release()
