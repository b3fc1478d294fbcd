from common import HOST, PORTS, say
from pynetdicom import AE
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import Verification

for kind, primary, secondary in (
    (1, b"alice", None),
    (1, b"mallory", None),
    (2, b"alice", b"secret"),
    (2, b"alice", b"wrong"),
    (3, b"kerberos", None),
    (5, b"json", None),
):
    identity = UserIdentityNegotiation()
    identity.user_identity_type = kind
    identity.primary_field = primary
    if secondary is not None:
        identity.secondary_field = secondary
    identity.positive_response_requested = kind > 2
    ae = AE()
    ae.add_requested_context(Verification)
    assoc = ae.associate(HOST, PORTS[0], ext_neg=[identity])
    if assoc.is_rejected:
        # Not by EVT_ACSE_RECV, which pynetdicom leaves out at times when the peer hangs up behind its rejection.
        rejection = assoc.acceptor.primitive
        say("answer", rejection.result, rejection.result_source, rejection.diagnostic)
    answer = assoc.acceptor.user_identity
    say(kind, primary, assoc.is_established, assoc.is_rejected, answer and answer.server_response)
    assoc.release()
