import contextlib
import sys
import threading

from common import say
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification
from pynetdicom.transport import AssociationServer, RequestHandler, ThreadedAssociationServer

SEEN = []


class Filtering(ThreadedAssociationServer):
    def server_bind(self):
        SEEN.append("bind")
        super().server_bind()

    def verify_request(self, request, client_address):
        SEEN.append(("verify", client_address[0]))
        return len(SEEN) > 2

    def process_request(self, request, client_address):
        SEEN.append("process")
        super().process_request(request, client_address)


class Noting(RequestHandler):
    def setup(self):
        SEEN.append("setup")
        super().setup()

    def handle(self):
        SEEN.append("handle")
        super().handle()


ae = AE()
ae.add_supported_context(Verification)
server = ae.make_server(("127.0.0.1", 0), server_class=Filtering, request_handler=Noting)
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever).start()
sys.stdin.read()
with contextlib.suppress(ValueError):
    # pynetdicom's own wants to forget a server that it never knew.
    server.shutdown()
say(issubclass(Filtering, AssociationServer), server.request_queue_size > 0)
say(SEEN)

with ae.make_server(("127.0.0.1", 0), evt_handlers=[(evt.EVT_C_ECHO, lambda event: 0x0000)]) as once:
    once.timeout = 0.01
    once.handle_request()
    client = AE()
    client.add_requested_context(Verification)
    answered = []

    def ask():
        assoc = client.associate(*once.server_address[:2])
        answered.append((assoc.is_established, hex(assoc.send_c_echo().Status)))
        assoc.release()

    asking = threading.Thread(target=ask)
    asking.start()
    once.timeout = 20
    once.handle_request()
    asking.join(20)
    say(answered)
