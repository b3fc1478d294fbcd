from common import say, serve
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

ae = AE(ae_title="STRICT")
ae.require_called_aet = True
ae.require_calling_aet = ["FRIEND", "OTHER"]
ae.add_supported_context(Verification)


def handle_echo(event):
    if event.message_id == 99:
        event.assoc.abort()
    return 0x0000


# Each is told behind its answer, so the next one may be told before it.
rejected = []
serve(
    ae,
    [
        (evt.EVT_REJECTED, lambda event: rejected.append(event.assoc.requestor.ae_title)),
        (evt.EVT_C_ECHO, handle_echo),
    ],
    lambda: say("rejected", *sorted(rejected)),
)
