from common import HOST, PORTS, say
from pynetdicom import AE
from pynetdicom.sop_class import Verification

ae = AE(ae_title="ASKER")
ae.add_requested_context(Verification)
associations = [ae.associate(HOST, PORTS[0]) for _ in range(3)]
say([assoc.is_established for assoc in associations], [assoc.is_rejected for assoc in associations])
# Not by EVT_ACSE_RECV, which pynetdicom leaves out at times when the peer hangs up behind its rejection.
answer = associations[-1].acceptor.primitive
say("answer", answer.result, answer.result_source, answer.diagnostic)
say(len(ae.active_associations))
for assoc in associations:
    assoc.release()
