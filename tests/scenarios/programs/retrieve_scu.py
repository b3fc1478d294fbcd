from common import CT, HOST, PORTS, ct_image, numbers, say
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
)


def handle_store(event):
    say("received", event.dataset.PatientName, event.file_meta.MediaStorageSOPInstanceUID)
    return 0xA700 if event.dataset.PatientID == "P2" else 0x0000


def query(patient):
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "PATIENT"
    identifier.PatientID = patient
    return identifier


ae = AE(ae_title="RETRIEVER")
ae.add_requested_context(CT)
ae.add_requested_context(PatientRootQueryRetrieveInformationModelFind)
ae.add_requested_context(PatientRootQueryRetrieveInformationModelGet)
ae.add_requested_context(PatientRootQueryRetrieveInformationModelMove)
store = ae.associate(HOST, PORTS[-1])
for number in (1, 2, 3):
    say(f"0x{store.send_c_store(ct_image(number)).Status:04X}")
for status, match in store.send_c_find(query("P*"), PatientRootQueryRetrieveInformationModelFind):
    say(f"0x{status.Status:04X}", match.PatientName if match else None)
store.release()

role = build_role(CT, scu_role=True, scp_role=True)
assoc = ae.associate(HOST, PORTS[-1], ext_neg=[role], evt_handlers=[(evt.EVT_C_STORE, handle_store)])
for patient in ("P1", "NOBODY", "P*"):
    for status, identifier in assoc.send_c_get(query(patient), PatientRootQueryRetrieveInformationModelGet):
        say("get", patient, numbers(status), identifier.get("FailedSOPInstanceUIDList") if identifier else "")
for patient, destination in (
    ("P1", "DESTINATION"),
    ("P1", "NOWHERE"),
    ("NOBODY", "DESTINATION"),
    ("P*", "DESTINATION"),
):
    responses = assoc.send_c_move(
        query(patient), destination, PatientRootQueryRetrieveInformationModelMove, msg_id=77
    )
    for status, identifier in responses:
        say(
            "move", patient, numbers(status), identifier.get("FailedSOPInstanceUIDList") if identifier else ""
        )
assoc.release()
say(assoc.is_released)
