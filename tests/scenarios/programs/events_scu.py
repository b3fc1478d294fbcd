from common import HOST, PORTS, say
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

states, sizes, order = [], {"sent": 0, "received": 0}, []


def on_transition(event):
    states.append((event.current_state, event.fsm_event, event.action, event.next_state))


def on_sent(event):
    sizes["sent"] += len(event.data)


def on_received(event):
    sizes["received"] += len(event.data)


def on_anything(event):
    order.append(event.event.name)


def broken(event):
    raise RuntimeError("a mistake in a handler")


handlers = [
    (evt.EVT_FSM_TRANSITION, on_transition),
    (evt.EVT_DATA_SENT, on_sent),
    (evt.EVT_DATA_RECV, on_received),
    (evt.EVT_ESTABLISHED, on_anything),
    (evt.EVT_ACCEPTED, on_anything),
    (evt.EVT_REQUESTED, on_anything),
    (evt.EVT_RELEASED, on_anything),
    (evt.EVT_CONN_OPEN, on_anything),
    (evt.EVT_ESTABLISHED, broken),
]
ae = AE()
ae.add_requested_context(Verification, "1.2.840.10008.1.2")
assoc = ae.associate(HOST, PORTS[0], evt_handlers=handlers)
say(f"0x{assoc.send_c_echo().Status:04X}", f"0x{assoc.send_c_echo().Status:04X}")
assoc.unbind(evt.EVT_RELEASED, on_anything)
assoc.bind(evt.EVT_RELEASED, on_anything)
say({event for event, *_ in handlers} <= set(assoc.get_events()))
assoc.release()
say(sorted(order))
# What the state machine of PS3.8 did from the request to the release
say([row for row in states if row[2] in ("AE-1", "AE-2", "AE-3", "AR-1", "AR-3")])
say(sizes["received"] > 0, sizes["sent"] > 0)

assoc = ae.associate(HOST, PORTS[0])
assoc.abort()
say(assoc.is_aborted)
ae.associate(
    HOST, PORTS[0], evt_handlers=[(evt.EVT_C_STORE, on_anything), (evt.EVT_C_STORE, broken)]
).release()
say(str(evt.EVT_C_STORE), evt.EVT_C_STORE.is_intervention, evt.EVT_CONN_OPEN.is_notification)
