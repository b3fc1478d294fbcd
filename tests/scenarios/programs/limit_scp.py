from common import say, serve
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

ae = AE()
ae.maximum_associations = 2
ae.add_supported_context(Verification)
serve(ae, [(evt.EVT_REJECTED, lambda event: say("rejected", event.assoc.requestor.ae_title))])
