from common import HOST, PORTS, say
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification


def handle_primitive(event):
    primitive = event.primitive
    if type(primitive).__name__ == "A_ASSOCIATE" and primitive.result:
        say("answer", primitive.result, primitive.result_source, primitive.diagnostic)


ae = AE(ae_title="ASKER")
ae.add_requested_context(Verification)
associations = [
    ae.associate(HOST, PORTS[0], evt_handlers=[(evt.EVT_ACSE_RECV, handle_primitive)]) for _ in range(3)
]
say([assoc.is_established for assoc in associations], [assoc.is_rejected for assoc in associations])
say(len(ae.active_associations))
for assoc in associations:
    assoc.release()
