from common import CT, HOST, PORTS, ct_image, say
from pynetdicom import AE, _config, register_uid
from pynetdicom.service_class import StorageServiceClass

_config.STORE_SEND_CHUNKED_DATASET = True
register_uid("1.2.826.0.1.3680043.8.498.1", "PrivateImageStorage", StorageServiceClass)
from pynetdicom.sop_class import PrivateImageStorage  # noqa: E402

ae = AE()
ae.add_requested_context(CT, "1.2.840.10008.1.2.1")
ae.add_requested_context(PrivateImageStorage, "1.2.840.10008.1.2.1")
assoc = ae.associate(HOST, PORTS[0])
for uid in (CT, PrivateImageStorage):
    dataset = ct_image()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid
    dataset.PixelData = bytes(1 << 20)
    dataset.save_as("large.dcm", enforce_file_format=True)
    say(f"0x{assoc.send_c_store('large.dcm').Status:04X}")
assoc.release()
