from common import say, serve
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification


def handle_echo(event):
    requestor = event.assoc.requestor
    say("echo", requestor.ae_title, event.message_id, event.context.abstract_syntax.name)
    say(type(event.timestamp).__name__, event.event.name, str(event.event), event.assoc.is_acceptor)
    return 0x0000


def handle_closed(event, word):
    say("closed", word)


ae = AE(ae_title="ECHOSCP")
ae.add_supported_context(Verification)
serve(ae, [(evt.EVT_C_ECHO, handle_echo), (evt.EVT_CONN_CLOSE, handle_closed, ["bye"])])
