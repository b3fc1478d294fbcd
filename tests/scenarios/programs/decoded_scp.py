from common import say, serve
from pynetdicom import AE, _config, evt

_config.STORE_RECV_CHUNKED_DATASET = True
_config.UNRESTRICTED_STORAGE_SERVICE = True


def handle_store(event):
    dataset = event.dataset
    say(dataset.PatientID, dataset.PatientName, len(dataset.PixelData), event.dataset == dataset)
    dataset.file_meta = event.file_meta
    dataset.save_as("received.dcm")
    return 0x0000


ae = AE()
serve(ae, [(evt.EVT_C_STORE, handle_store)])
