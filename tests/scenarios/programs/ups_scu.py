from common import HOST, PORTS, say
from pydicom.dataset import Dataset
from pynetdicom import AE, UnifiedProcedurePresentationContexts
from pynetdicom.sop_class import UnifiedProcedureStepPull, UnifiedProcedureStepPush

ae = AE()
ae.requested_contexts = UnifiedProcedurePresentationContexts
assoc = ae.associate(HOST, PORTS[0])
for uid in ("1.2.3.1", "1.2.3.2"):
    step = Dataset()
    step.ProcedureStepState = "SCHEDULED"
    step.ScheduledProcedureStepPriority = "HIGH"
    status, attributes = assoc.send_n_create(step, UnifiedProcedureStepPush, uid)
    say("create", f"0x{status.Status:04X}", attributes)

claim = Dataset()
claim.ProcedureStepState = "IN PROGRESS"
claim.TransactionUID = "1.2.3.99"
for uid in ("1.2.3.1", "1.2.3.3"):
    status, reply = assoc.send_n_action(
        claim, 1, UnifiedProcedureStepPush, uid, meta_uid=UnifiedProcedureStepPull
    )
    say("action", f"0x{status.Status:04X}", reply.TransactionUID if status.Status == 0 else reply)

query = Dataset()
query.ProcedureStepState = "SCHEDULED"
for status, match in assoc.send_c_find(query, UnifiedProcedureStepPull):
    say("find", f"0x{status.Status:04X}", match.SOPInstanceUID if match else None)

change = Dataset()
change.ScheduledProcedureStepPriority = "LOW"
status, attributes = assoc.send_n_set(
    change, UnifiedProcedureStepPush, "1.2.3.1", meta_uid=UnifiedProcedureStepPull
)
say("set", f"0x{status.Status:04X}", attributes)
status, attributes = assoc.send_n_get(
    [0x00741000, 0x00741200, 0x00100010],
    UnifiedProcedureStepPush,
    "1.2.3.1",
    meta_uid=UnifiedProcedureStepPull,
)
say("get", f"0x{status.Status:04X}", attributes.ProcedureStepState, attributes.ScheduledProcedureStepPriority)
assoc.release()
