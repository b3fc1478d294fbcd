"""What the programs share; each is otherwise written as users of pynetdicom write theirs."""

import sys
import time

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

PORTS = [int(word) for word in sys.argv[1:]]
HOST = "127.0.0.1"
CT = "1.2.840.10008.5.1.4.1.1.2"


def serve(ae, handlers=(), at_end=None, **options):
    """Listen on a free port, tell it, and serve until standard input ends and all peers have gone."""
    server = ae.start_server((HOST, 0), block=False, evt_handlers=list(handlers), **options)
    print(server.server_address[1], flush=True)
    sys.stdin.read()
    while server.active_associations:
        time.sleep(0.01)
    if at_end is not None:
        at_end()
    server.shutdown()


def say(*words):
    """Write a line of what is compared."""
    print(*words, flush=True)


def ct_image(number=1, syntax=ExplicitVRLittleEndian):
    """A small object."""
    dataset = Dataset()
    dataset.SOPClassUID = CT
    dataset.SOPInstanceUID = f"1.2.3.4.{number}"
    dataset.StudyInstanceUID = "1.2.3"
    dataset.SeriesInstanceUID = "1.2.3.4"
    dataset.PatientID = f"P{number}"
    dataset.PatientName = f"Scenario^{number}"
    dataset.Modality = "CT"
    dataset.Rows = dataset.Columns = 4
    dataset.BitsAllocated = 8
    dataset.PixelRepresentation = 0
    dataset.PixelData = bytes(range(16))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = CT
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def numbers(status):
    """The status of a response and what it counts, as text."""
    if "Status" not in status:
        return "no response"
    counts = [
        f"{name.lower()}={status.get(f'NumberOf{name}Suboperations')}"
        for name in ("Completed", "Failed", "Warning")
    ]
    return f"0x{status.Status:04X} " + " ".join(counts)
