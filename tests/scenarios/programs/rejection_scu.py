from common import HOST, PORTS, say
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification


def handle_primitive(event):
    primitive = event.primitive
    if type(primitive).__name__ == "A_ASSOCIATE" and primitive.result:
        say("answer", primitive.result, primitive.result_source, primitive.diagnostic)


def ask(title, called, uid=Verification):
    ae = AE(ae_title=title)
    ae.add_requested_context(uid)
    handlers = [(evt.EVT_ACSE_RECV, handle_primitive)]
    assoc = ae.associate(HOST, PORTS[0], ae_title=called, evt_handlers=handlers)
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
