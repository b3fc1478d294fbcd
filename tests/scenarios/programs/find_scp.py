import time

from common import say, serve
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import PatientRootQueryRetrieveInformationModelFind

NAMES = ["CITIZEN^JAN", "DOE^JANE", "DOE^JOHN"]


def handle_find(event):
    identifier = event.identifier
    say("find", identifier.QueryRetrieveLevel, identifier.PatientName, event.message_id)
    if "QueryRetrieveLevel" not in identifier or identifier.PatientName == "FAIL":
        yield 0xC000, None
        return
    if identifier.PatientName == "RAISE":
        raise ValueError("a mistake")
    if identifier.PatientName == "ENDLESS":
        for number in range(100000):
            if event.is_cancelled:
                say("cancelled")
                yield 0xFE00, None
                return
            match = Dataset()
            match.PatientID = str(number)
            yield 0xFF00, match
            time.sleep(0.001)
    for name in NAMES:
        if str(identifier.PatientName).rstrip("*") in name:
            match = Dataset()
            match.QueryRetrieveLevel = identifier.QueryRetrieveLevel
            match.PatientName = name
            match.PatientID = None
            yield 0xFF01, match


ae = AE(ae_title="FINDSCP")
ae.add_supported_context(PatientRootQueryRetrieveInformationModelFind)
serve(ae, [(evt.EVT_C_FIND, handle_find)])
