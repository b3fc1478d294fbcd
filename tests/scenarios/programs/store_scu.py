from pathlib import Path

from common import CT, HOST, PORTS, ct_image, say
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pynetdicom import AE, StoragePresentationContexts, build_context
from pynetdicom.sop_class import CTImageStorage, MRImageStorage

ae = AE(ae_title="STORESCU")
ae.requested_contexts = StoragePresentationContexts
assoc = ae.associate(HOST, PORTS[0], max_pdu=0)
say(len(assoc.accepted_contexts), len(assoc.rejected_contexts))
for number in range(1, 7):
    status = assoc.send_c_store(ct_image(number), msg_id=number, priority=number % 3)
    say(number, f"0x{status.Status:04X}", status.ErrorComment if number == 3 else "")
ct_image(7).save_as("image.dcm", enforce_file_format=True)
for path in ("image.dcm", Path("image.dcm")):
    status = assoc.send_c_store(path, originator_aet="MOVESCU", originator_id=99)
    say("file", f"0x{status.Status:04X}")
assoc.release()

# One transfer syntax after another
for syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
    assoc = ae.associate(HOST, PORTS[0], contexts=[build_context(CTImageStorage, syntax)])
    dataset = ct_image(8, syntax)
    status = assoc.send_c_store(dataset)
    say(syntax.name, f"0x{status.Status:04X}")
    assoc.release()

# What does not fit
assoc = ae.associate(HOST, PORTS[0], contexts=[build_context(MRImageStorage), build_context(CT)])
other = ct_image(9)
other.SOPClassUID = MRImageStorage
try:
    assoc.send_c_store(other)
except ValueError:
    say("no context fits")
incomplete = ct_image(9)
del incomplete.SOPInstanceUID
try:
    assoc.send_c_store(incomplete)
except AttributeError:
    say("no instance")
assoc.release()
