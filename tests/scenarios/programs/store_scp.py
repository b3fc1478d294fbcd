import hashlib

from common import say, serve
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt


def handle_store(event):
    dataset = event.dataset
    dataset.file_meta = event.file_meta
    say("store", dataset.PatientName, event.request.AffectedSOPInstanceUID, event.request.Priority)
    say(event.context.transfer_syntax.name, dataset.file_meta.MediaStorageSOPClassUID.name)
    say(event.request.MoveOriginatorApplicationEntityTitle, event.request.MoveOriginatorMessageID)
    name = f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(name, enforce_file_format=True)
    again = dcmread(name)
    say(again == dataset, hashlib.sha256(again.PixelData).hexdigest())
    say(hashlib.sha256(event.encoded_dataset(include_meta=False)).hexdigest())
    with open("encoded.dcm", "wb") as file:
        file.write(event.encoded_dataset())
    say(dcmread("encoded.dcm") == dataset)
    if dataset.PatientID == "P3":
        status = Dataset()
        status.Status = 0xB000
        status.ErrorComment = "coerced"
        return status
    if dataset.PatientID == "P4":
        raise ValueError("a mistake")
    if dataset.PatientID == "P5":
        return "no status"
    return 0xA700 if dataset.PatientID == "P6" else 0x0000


ae = AE()
for context in AllStoragePresentationContexts:
    ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
ae.remove_supported_context("1.2.840.10008.5.1.4.1.1.4")
serve(ae, [(evt.EVT_C_STORE, handle_store)])
