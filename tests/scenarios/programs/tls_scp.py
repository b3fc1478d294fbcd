import os
import ssl

from common import say, serve
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

folder = os.environ["CERTIFICATES"]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=f"{folder}/authority.pem")
context.verify_mode = ssl.CERT_REQUIRED
context.load_cert_chain(f"{folder}/certificate.pem", f"{folder}/key.pem")


def handle_echo(event):
    say("echo", event.message_id)
    return 0x0000


ae = AE()
ae.add_supported_context(Verification)
serve(ae, [(evt.EVT_C_ECHO, handle_echo)], ssl_context=context)
