import io
import warnings

from common import HOST, PORTS, ct_image, say
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, Association, StoragePresentationContexts, _config, build_context, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContextTuple
from pynetdicom.sop_class import _QR_CLASSES, _STORAGE_CLASSES, _VERIFICATION_CLASSES, Verification
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    ae = AE(b"WARNED")
    say([each.category.__name__ for each in caught], ae.ae_title)
warnings.simplefilter("ignore", DeprecationWarning)

say(AE().ae_title)
say(_STORAGE_CLASSES["CTImageStorage"], _VERIFICATION_CLASSES["Verification"])
say(_QR_CLASSES["PatientRootQueryRetrieveInformationModelFind"])
say(isinstance(STORAGE_SERVICE_CLASS_STATUS, dict), STORAGE_SERVICE_CLASS_STATUS[0xB000][0])
STORAGE_SERVICE_CLASS_STATUS[0xC999] = ("Failure", "of our own")
say(STORAGE_SERVICE_CLASS_STATUS[0xC999], 0xC998 in STORAGE_SERVICE_CLASS_STATUS)

context = build_context("1.2.840.10008.5.1.4.1.1.2")
context.note = "kept"
say(context.note)

request = C_STORE()
request.AffectedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
request.AffectedSOPInstanceUID = "1.2.3"
request.DataSet = io.BytesIO(b"\x10\x00\x20\x00\x02\x00\x00\x0012")
accepted = PresentationContextTuple(1, UID("1.2.840.10008.5.1.4.1.1.2"), UID("1.2.840.10008.1.2"))
event = evt.Event(None, evt.EVT_C_STORE, {"request": request, "context": accepted})
say(event.dataset.PatientID, event.encoded_dataset(False), event.encoded_dataset()[128:132])

ae = AE()
ae.add_requested_context(Verification)
ae.requested_contexts = StoragePresentationContexts[:2]
ae.add_requested_context("1.2.840.10008.5.1.4.1.1.2")
say([each.abstract_syntax.name for each in ae.requested_contexts])

nobody = Association(ae, "requestor")
nobody.requestor.ae_title = b"LATER"
say(nobody.requestor.ae_title, nobody.mode)

assoc = ae.associate(HOST, PORTS[0], ae_title=b"CALLED")
say(assoc.is_established, assoc.remote["ae_title"], assoc.local["ae_title"])
say([each.context_id for each in assoc.requestor.requested_contexts])
say([each.abstract_syntax.name for each in assoc.accepted_contexts])
say(hex(assoc.send_c_echo().Status))
image = ct_image()
for priority in (5, -1, "low"):
    try:
        assoc.send_c_store(image, priority=priority)
    except ValueError:
        say("priority", priority)
query = Dataset()
query.QueryRetrieveLevel = "STUDY"
say(hex(assoc.send_c_store(image, originator_aet=b"MOVER", originator_id=7).Status))
say(hex(assoc.send_c_store(image, originator_aet="X" * 17, originator_id=7).Status))
_config.ENFORCE_UID_CONFORMANCE = True
image.SOPInstanceUID = "1.2.03"
try:
    assoc.send_c_store(image)
except ValueError:
    say("not a UID")
_config.ENFORCE_UID_CONFORMANCE = False
assoc.abort()
say(assoc.is_alive(), ae.active_associations)

unanswered = ae.associate(HOST, 1)
say(unanswered.is_aborted, [each.context_id for each in unanswered.requestor.requested_contexts])

ae.requested_contexts = []
say(ae.requested_contexts)
