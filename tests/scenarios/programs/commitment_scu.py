import threading

from common import CT, HOST, PORTS, say
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

over = threading.Event()


def handle_report(event):
    information = event.event_information
    say("report", event.event_type, information.TransactionUID)
    say([str(item.ReferencedSOPInstanceUID) for item in information.ReferencedSOPSequence])
    return 0x0000, None


listener = AE()
listener.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
handlers = [(evt.EVT_N_EVENT_REPORT, handle_report), (evt.EVT_RELEASED, lambda event: over.set())]
server = listener.start_server((HOST, 0), block=False, evt_handlers=handlers)

request = Dataset()
request.TransactionUID = "1.2.3.4"
request.ReferencedSOPSequence = [Dataset(), Dataset()]
for number, item in enumerate(request.ReferencedSOPSequence):
    item.ReferencedSOPClassUID = CT
    item.ReferencedSOPInstanceUID = f"1.2.3.4.{number}"
ae = AE(ae_title=f"SCU{server.server_address[1]}")
ae.add_requested_context(StorageCommitmentPushModel)
assoc = ae.associate(HOST, PORTS[0])
status, reply = assoc.send_n_action(
    request, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
)
say(f"0x{status.Status:04X}", reply)
assoc.release()
say("told", over.wait(20))
server.shutdown()
