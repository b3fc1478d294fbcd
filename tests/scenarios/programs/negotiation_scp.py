from common import say, serve
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    MRImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    Verification,
)

lines = []


def note(*words):
    """The order in which these handlers are called is nobody's business."""
    lines.append(" ".join(map(str, words)))


def handle_async(event):
    note("window", event.nr_invoked, event.nr_performed)
    return 1, 1


def handle_extended(event):
    note("extended", {str(uid): info for uid, info in event.app_info.items()})
    return dict.fromkeys(event.app_info, b"\x01\x00")


def handle_common(event):
    for uid, item in event.items.items():
        note("common", uid, item.service_class_uid, item.related_general_sop_class_identification)
    return {}


def handle_requested(event):
    requestor = event.assoc.requestor
    say("contexts", [(each.context_id, str(each.abstract_syntax)) for each in requestor.requested_contexts])
    say("roles", {str(uid): (item.scu_role, item.scp_role) for uid, item in requestor.role_selection.items()})
    say(requestor.maximum_length, requestor.implementation_class_uid, requestor.implementation_version_name)


ae = AE(ae_title="NEGOTIATOR")
ae.add_supported_context(Verification, ["1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1"])
ae.add_supported_context(CTImageStorage, scu_role=True, scp_role=True)
ae.add_supported_context(MRImageStorage, scu_role=False, scp_role=True)
ae.add_supported_context(PatientRootQueryRetrieveInformationModelFind)
handlers = [
    (evt.EVT_ASYNC_OPS, handle_async),
    (evt.EVT_SOP_EXTENDED, handle_extended),
    (evt.EVT_SOP_COMMON, handle_common),
    (evt.EVT_REQUESTED, handle_requested),
]
serve(ae, handlers, lambda: say(*sorted(lines)))
