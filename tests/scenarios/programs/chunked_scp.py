import os

from common import say, serve
from pydicom import dcmread
from pynetdicom import AE, _config, evt
from pynetdicom.dsutils import create_file_meta

_config.STORE_RECV_CHUNKED_DATASET = True
_config.UNRESTRICTED_STORAGE_SERVICE = True
seen = []


def handle_store(event):
    path = event.dataset_path
    seen.append(path)
    dataset = dcmread(path)
    say(
        dataset.SOPClassUID,
        dataset.PatientName,
        dataset.file_meta.TransferSyntaxUID.name,
        len(dataset.PixelData),
    )
    meta = create_file_meta(
        sop_class_uid=event.request.AffectedSOPClassUID,
        sop_instance_uid=event.request.AffectedSOPInstanceUID,
        transfer_syntax=event.context.transfer_syntax,
    )
    say(meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID)
    return 0x0000


ae = AE()
serve(ae, [(evt.EVT_C_STORE, handle_store)], at_end=lambda: say([os.path.exists(path) for path in seen]))
