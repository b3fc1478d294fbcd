from common import HOST, PORTS, say
from pynetdicom import AE, VerificationPresentationContexts
from pynetdicom.sop_class import Verification

ae = AE(ae_title="ECHOSCU")
ae.requested_contexts = VerificationPresentationContexts
assoc = ae.associate(HOST, PORTS[0], ae_title="ECHOSCP")
say(assoc.is_established, assoc.is_requestor, assoc.mode, assoc.acceptor.ae_title, assoc.requestor.ae_title)
for context in assoc.accepted_contexts:
    say(context.context_id, context.abstract_syntax.name, context.transfer_syntax[0].name)
for number in (1, 7, 65535):
    status = assoc.send_c_echo(msg_id=number)
    say(f"0x{status.Status:04x}")
assoc.release()
say(assoc.is_released, assoc.is_established, assoc.is_aborted, assoc.is_rejected)
try:
    assoc.send_c_echo()
except RuntimeError:
    say("it is over")

# A second one, with contexts of its own, aborted
ae.requested_contexts = []
ae.add_requested_context(Verification, ["1.2.840.10008.1.2.1"])
assoc = ae.associate(HOST, PORTS[0])
say(assoc.accepted_contexts[0].transfer_syntax)
assoc.abort()
say(assoc.is_aborted)

# Nobody listens there
assoc = AE().associate(HOST, 1, contexts=VerificationPresentationContexts)
say(assoc.is_established, assoc.is_aborted, assoc.is_rejected)
