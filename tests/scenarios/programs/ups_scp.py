from common import say, serve
from pydicom.dataset import Dataset
from pynetdicom import AE, UnifiedProcedurePresentationContexts, evt

steps = {}


def handle_create(event):
    uid = event.request.AffectedSOPInstanceUID
    say("create", uid, event.attribute_list.ProcedureStepState)
    steps[uid] = event.attribute_list
    return 0x0000, Dataset()


def handle_find(event):
    say("find", event.identifier.ProcedureStepState)
    for uid in sorted(steps):
        if steps[uid].ProcedureStepState == event.identifier.ProcedureStepState:
            match = Dataset()
            match.SOPInstanceUID = uid
            match.ProcedureStepState = steps[uid].ProcedureStepState
            yield 0xFF00, match


def handle_action(event):
    say("action", event.action_type, event.context.abstract_syntax.name)
    uid = event.request.RequestedSOPInstanceUID
    if uid not in steps:
        return 0xC307, None
    steps[uid].ProcedureStepState = event.action_information.ProcedureStepState
    reply = Dataset()
    reply.TransactionUID = event.action_information.TransactionUID
    return 0x0000, reply


def handle_get(event):
    step = steps[event.request.RequestedSOPInstanceUID]
    wanted = Dataset()
    for tag in event.attribute_identifiers:
        if tag in step:
            wanted.add(step[tag])
    return 0x0000, wanted


def handle_set(event):
    steps[event.request.RequestedSOPInstanceUID].update(event.modification_list)
    return 0x0001, None


ae = AE()
ae.supported_contexts = UnifiedProcedurePresentationContexts
handlers = [
    (evt.EVT_N_CREATE, handle_create),
    (evt.EVT_C_FIND, handle_find),
    (evt.EVT_N_ACTION, handle_action),
    (evt.EVT_N_GET, handle_get),
    (evt.EVT_N_SET, handle_set),
]
serve(ae, handlers)
