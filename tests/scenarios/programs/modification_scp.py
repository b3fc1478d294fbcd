from common import say, serve
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

MPPS = "1.2.840.10008.3.1.2.3.3"


def handle_set(event):
    say(
        "set",
        event.attribute_list.PerformedProcedureStepStatus,
        event.modification_list == event.attribute_list,
    )
    say(event.request.AttributeList == event.request.ModificationList)
    status = Dataset()
    status.Status = 0x0106
    status.OffendingElement = [0x00400252]
    status.ErrorComment = "not that"
    return status, None


def handle_action(event):
    say(
        "action",
        event.action_information.PatientID,
        event.request.ActionReply == event.request.ActionInformation,
    )
    return 0x0000, None


def handle_report(event):
    information = event.request.EventInformation
    say("report", event.event_information.PatientID, event.request.EventReply == information)
    return 0x0000, None


ae = AE()
ae.add_supported_context(MPPS)
ae.add_supported_context("1.2.840.10008.1.20.1")
handlers = [
    (evt.EVT_N_SET, handle_set),
    (evt.EVT_N_ACTION, handle_action),
    (evt.EVT_N_EVENT_REPORT, handle_report),
]
serve(ae, handlers)
