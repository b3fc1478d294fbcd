import os
import ssl

from common import HOST, PORTS, say
from pynetdicom import AE
from pynetdicom.sop_class import Verification

folder = os.environ["CERTIFICATES"]
ae = AE()
ae.acse_timeout = 10
ae.add_requested_context(Verification)

context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=f"{folder}/authority.pem")
context.load_cert_chain(f"{folder}/certificate.pem", f"{folder}/key.pem")
assoc = ae.associate(HOST, PORTS[0], tls_args=(context, "localhost"))
say(assoc.is_established)
say(f"0x{assoc.send_c_echo(5).Status:04X}")
assoc.release()
say(assoc.is_released)

# A name that the certificate does not have
assoc = ae.associate(HOST, PORTS[0], tls_args=(context, "elsewhere"))
say(assoc.is_established, assoc.is_aborted)
# No certificate of ours, and no TLS at all
bare = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=f"{folder}/authority.pem")
say(ae.associate(HOST, PORTS[0], tls_args=(bare, "localhost")).is_established)
say(ae.associate(HOST, PORTS[0]).is_established)
