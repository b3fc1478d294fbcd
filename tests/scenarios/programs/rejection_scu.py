from common import HOST, PORTS, say
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification


def ask(title, called, uid=Verification):
    ae = AE(ae_title=title)
    ae.add_requested_context(uid)
    assoc = ae.associate(HOST, PORTS[0], ae_title=called)
    if assoc.is_rejected:
        # Not by EVT_ACSE_RECV, which pynetdicom leaves out at times when the peer hangs up behind its rejection.
        answer = assoc.acceptor.primitive
        say("answer", answer.result, answer.result_source, answer.diagnostic)
    say(title, called, assoc.is_established, assoc.is_rejected, assoc.is_aborted)
    return assoc


ask("FRIEND", "WRONG")
ask("ENEMY", "STRICT")
ask("FRIEND", "STRICT", CTImageStorage)
assoc = ask("OTHER", "STRICT")
say(f"0x{assoc.send_c_echo(msg_id=98).Status:04X}")
say("Status" in assoc.send_c_echo(msg_id=99))
assoc.join(10)
say(assoc.is_established, assoc.is_aborted)
