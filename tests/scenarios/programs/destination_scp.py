from common import CT, say, serve
from pynetdicom import AE, evt


def handle_store(event):
    say("store", event.dataset.PatientName, event.request.MoveOriginatorMessageID)
    return (
        0xA700 if event.dataset.PatientID == "P3" else 0xB000 if event.dataset.PatientID == "P2" else 0x0000
    )


ae = AE(ae_title="DESTINATION")
ae.add_supported_context(CT)
serve(ae, [(evt.EVT_C_STORE, handle_store)])
