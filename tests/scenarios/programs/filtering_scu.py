from common import HOST, PORTS, say
from pynetdicom import AE
from pynetdicom.sop_class import Verification

ae = AE()
ae.acse_timeout = 20
ae.add_requested_context(Verification)
assoc = ae.associate(HOST, PORTS[0])
say(assoc.is_established)
assoc = ae.associate(HOST, PORTS[0])
say(assoc.is_established, hex(assoc.send_c_echo().Status))
assoc.release()
say(assoc.is_released)
