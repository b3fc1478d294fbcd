import contextlib
import os
import signal
import sys
import threading

from common import ct_image, say
from pydicom.dataset import Dataset
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.sop_class import (
    CompositeInstanceRetrieveWithoutBulkDataGet,
    PatientRootQueryRetrieveInformationModelGet,
)


def with_bulk(number):
    image = ct_image(number)
    image.add_new(0x60003000, "OW", bytes(8))
    image.add_new(0x60023000, "OW", bytes(8))
    image.add_new(0x50003000, "OW", bytes(8))
    image.add_new(0x5000200C, "OW", bytes(8))
    image.add_new(0x56000020, "OF", bytes(8))
    image.add_new(0x60000010, "US", 4)
    group = Dataset()
    group.NumberOfWaveformSamples = 4
    group.add_new(0x54001010, "OW", bytes(8))
    image.WaveformSequence = [group]
    return image


def handle_get(event):
    # What to end with is asked for by the key.
    end = event.identifier.PatientID
    say("get", end)
    count = 0 if end.startswith("none") else 2
    yield count
    for number in range(count):
        yield 0xFF00, with_bulk(number + 1)
    if end == "raise":
        raise RuntimeError("the program has a fault")
    if "-" in end:
        yield int(end.partition("-")[2], 16), None


ae = AE()
ae.supported_contexts = StoragePresentationContexts
for context in ae.supported_contexts:
    context.scu_role = context.scp_role = True
ae.add_supported_context(PatientRootQueryRetrieveInformationModelGet)
ae.add_supported_context(CompositeInstanceRetrieveWithoutBulkDataGet)
server = ae.make_server(("127.0.0.1", 0), evt_handlers=[(evt.EVT_C_GET, handle_get)])
print(server.server_address[1], flush=True)
serving = threading.Thread(target=server.serve_forever)
serving.start()
sys.stdin.read()
with contextlib.suppress(ValueError):
    # pynetdicom's own wants to forget a server that it never knew.
    server.shutdown()
serving.join(20)
say("ended", not serving.is_alive())

threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
say("interrupted", ae.start_server(("127.0.0.1", 0), block=True))
