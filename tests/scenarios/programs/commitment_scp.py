import threading

from common import HOST, say, serve
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

reporters = []


def report(port, information):
    """Tell the result on an association of our own, as SCP."""
    ae = AE(ae_title="COMMITTER")
    ae.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    assoc = ae.associate(HOST, port, ext_neg=[role])
    (context,) = assoc.accepted_contexts
    say("roles", context.as_scu, context.as_scp)
    status, reply = assoc.send_n_event_report(
        information, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
    )
    say("reported", f"0x{status.Status:04X}", reply)
    assoc.release()


def handle_action(event):
    information = event.action_information
    say("action", event.action_type, information.TransactionUID, len(information.ReferencedSOPSequence))
    result = Dataset()
    result.TransactionUID = information.TransactionUID
    result.ReferencedSOPSequence = information.ReferencedSOPSequence
    # The port is said by the AE title, as a configuration would
    port = int(event.assoc.requestor.ae_title.removeprefix("SCU"))
    reporters.append(threading.Thread(target=report, args=(port, result)))
    reporters[-1].start()
    return 0x0000, None


def at_end():
    for each in reporters:
        each.join()


ae = AE()
ae.add_supported_context(StorageCommitmentPushModel)
serve(ae, [(evt.EVT_N_ACTION, handle_action)], at_end)
