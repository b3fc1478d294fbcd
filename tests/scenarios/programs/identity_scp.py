from common import say, serve
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification


def handle_identity(event):
    say("identity", event.user_id_type, event.primary_field, event.secondary_field)
    if event.user_id_type == 1:
        return event.primary_field == b"alice", None
    if event.user_id_type == 2:
        return (event.primary_field, event.secondary_field) == (b"alice", b"secret"), None
    return True, b"ticket for " + event.primary_field


ae = AE()
ae.add_supported_context(Verification)
serve(ae, [(evt.EVT_USER_ID, handle_identity)])
