from common import HOST, PORTS, say
from pydicom.dataset import Dataset
from pynetdicom import AE, QueryRetrievePresentationContexts
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)
from pynetdicom.status import code_to_category

ae = AE(ae_title="FINDSCU")
ae.requested_contexts = QueryRetrievePresentationContexts
assoc = ae.associate(HOST, PORTS[0], ae_title="FINDSCP")
say(len(assoc.accepted_contexts), len(assoc.rejected_contexts))
for name in ("DOE*", "NOBODY", "FAIL", "RAISE", ""):
    query = Dataset()
    query.QueryRetrieveLevel = "PATIENT"
    query.PatientName = name
    query.PatientID = ""
    for status, identifier in assoc.send_c_find(query, PatientRootQueryRetrieveInformationModelFind):
        category = code_to_category(status.Status)
        if category == "Pending":
            say(f"0x{status.Status:04X}", category, identifier.PatientName, repr(identifier.PatientID))
        else:
            say(f"0x{status.Status:04X}", category, identifier)

query.PatientName = "ENDLESS"
statuses = []
for status, _ in assoc.send_c_find(query, PatientRootQueryRetrieveInformationModelFind, msg_id=12):
    statuses.append(status.Status)
    if len(statuses) == 3:
        assoc.send_c_cancel(12, query_model=PatientRootQueryRetrieveInformationModelFind)
say("at last", f"0x{statuses[-1]:04X}", len(statuses) < 1000)
try:
    list(assoc.send_c_find(query, StudyRootQueryRetrieveInformationModelFind))
except ValueError:
    say("no context")
assoc.release()
