from common import CT, HOST, PORTS, numbers, say
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    CompositeInstanceRetrieveWithoutBulkDataGet,
    PatientRootQueryRetrieveInformationModelGet,
)

ANSWER = [0x0000]


def handle_store(event):
    say([f"{element.tag:08X}" for element in event.dataset if element.tag.group >= 0x5000])
    return ANSWER[0]


ae = AE()
ae.add_requested_context(PatientRootQueryRetrieveInformationModelGet)
ae.add_requested_context(CompositeInstanceRetrieveWithoutBulkDataGet)
ae.add_requested_context(CT)
roles = [build_role(CT, scp_role=True)]
assoc = ae.associate(HOST, PORTS[0], ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, handle_store)])
say(assoc.is_established)
query = Dataset()
query.QueryRetrieveLevel = "PATIENT"
for answer in (0x0000, 0xA700, 0xB000):
    ANSWER[0] = answer
    for end in ("nothing", "all-B000", "all-0000", "all-A702", "raise", "none"):
        query.PatientID = end
        *_, (status, _) = assoc.send_c_get(query, PatientRootQueryRetrieveInformationModelGet)
        say(hex(answer), end, numbers(status))
ANSWER[0] = 0x0000
query.PatientID = "all-0000"
*_, (status, _) = assoc.send_c_get(query, CompositeInstanceRetrieveWithoutBulkDataGet)
say(numbers(status))
assoc.release()
