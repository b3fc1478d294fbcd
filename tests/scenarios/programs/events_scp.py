import threading

from common import say, serve
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import CTImageStorage, Verification

lock, counts = threading.Lock(), {}


def count(event, word=""):
    name = event.event.name
    if name.startswith("EVT_ACSE"):
        name += f" {type(event.primitive).__name__}"
    elif name.startswith("EVT_DIMSE"):
        name += f" {type(event.message).__name__}"
    with lock:
        counts[name + word] = counts.get(name + word, 0) + 1


def at_end():
    for name in sorted(counts):
        say(name, counts[name])


def handle_echo(event):
    # One more echo is unheard from now on
    event.assoc.unbind(evt.EVT_C_ECHO, handle_echo)
    say("first echo", (count, None) in event.assoc.get_handlers(evt.EVT_ACCEPTED))
    return 0x0110


NAMES = ["EVT_ABORTED", "EVT_ACCEPTED", "EVT_ACSE_RECV", "EVT_ACSE_SENT", "EVT_CONN_CLOSE", "EVT_CONN_OPEN"]
NAMES += [
    "EVT_DIMSE_RECV",
    "EVT_DIMSE_SENT",
    "EVT_ESTABLISHED",
    "EVT_REJECTED",
    "EVT_RELEASED",
    "EVT_REQUESTED",
]
handlers = [(getattr(evt, name), count) for name in NAMES]
handlers += [(evt.EVT_RELEASED, count, [" again"]), (evt.EVT_C_ECHO, handle_echo)]
ae = AE()
serve(ae, handlers, at_end, contexts=[build_context(Verification), build_context(CTImageStorage)])
