"""The C-STORE of a `Peer` as operations: the objects of one plan on one association after the other, or on several."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from functools import partial

from ..errors import AssociationClosed, AssociationError, NetworkError
from ..services import user
from ..services.steps import Work
from .lanes import Lanes, Place
from .operations import LEAVE, NEXT, RELEASE, Begin, Lease, Leave, Operation, Pause, Report, Spawn, Use, Wait
from .storing import FIRST_LOOK, SCAN_AHEAD, StoreQueue, Supply, Transmission

_log = logging.getLogger(__name__)

# The longest wait, in seconds, through which an association is kept: a peer may end one that is idle.
KEPT = 10.0
# The shortest and the longest time, in seconds, after which it is asked again whether something may be sent: several
# objects together cost less, and somebody may end the store, or set the clock.
_SHORTEST_NAP, _LONGEST_NAP = 0.002, 0.2


def store(supply: Supply, window: int, retries: int, jobs: int) -> Operation[None]:
    """Store files (C-STORE). Reports a `StoreResult` for each.

    Parameters
    ----------
    supply
        The files.
    window
        How many requests may be outstanding.
    retries
        How often an object is sent again that was outstanding when its association was lost.
    jobs
        How many associations may be open side by side.
    """
    may_raise = supply.patience is None
    try:
        part = yield Work(partial(supply.part, FIRST_LOOK))
        while part is not None:
            skipped, plans = part
            for result in skipped:
                yield Report(result)
            for plan in plans:
                queue = StoreQueue(plan, retries, supply)
                lanes = min(jobs, len(plan.objects))
                if lanes > 1:
                    yield from store_side_by_side(Lanes(queue, window, lanes), may_raise=may_raise)
                else:
                    yield from _store_one_by_one(queue, window, may_raise=may_raise)
                may_raise = False
            part = yield Work(partial(supply.part, SCAN_AHEAD))
    finally:
        # Left early, nothing more is sent.
        supply.end(AssociationClosed())


def store_here(supply: Supply, lease: Lease, window: int) -> Operation[None]:
    """Store on the association that there is, and no other: the sub-operations of a C-GET. Reports as `store`.

    Parameters
    ----------
    lease
        That association.
    """
    while (part := (yield Work(partial(supply.part, FIRST_LOOK)))) is not None:
        skipped, plans = part
        for result in skipped:
            yield Report(result)
        for plan in plans:
            queue = StoreQueue(plan, 0, supply)
            yield from _send(queue, lease, window)
            queue.fail(queue.ended or AssociationClosed())
            while (result := queue.take_result()) is not None:
                yield Report(result)


def _store_one_by_one(queue: StoreQueue, window: int, *, may_raise: bool) -> Operation[None]:
    while (yield from _has_work(queue)):
        if queue.wait():
            yield RELEASE
            yield from _rest(queue)
            continue
        begun = queue.now()
        try:
            lease: Lease = yield Use(queue.proposal, window)
        except (NetworkError, AssociationError) as error:
            if queue.tries_again(error, begun):
                continue
            if may_raise:
                raise
            queue.unreachable(error)
            break
        may_raise = False
        yield from _send(queue, lease, window)
    yield LEAVE
    queue.fail(queue.ended or AssociationClosed())
    while (result := queue.take_result()) is not None:
        yield Report(result)


def _has_work(queue: StoreQueue) -> Operation[bool]:
    while queue.can_look and not queue.has_objects:
        yield Work(queue.look_on)
    return queue.ended is None and not queue.is_empty


def _rest(queue: StoreQueue) -> Operation[None]:
    """Wait until something may be sent, or nothing is left to be."""
    if (wait := queue.wait()) > KEPT:
        queue.tell(f"nothing is sent until {datetime.now() + timedelta(seconds=wait):%H:%M}")
    while queue.has_objects and (wait := queue.wait()):
        yield Pause(min(max(wait, _SHORTEST_NAP), _LONGEST_NAP))


def _send(queue: StoreQueue, lease: Lease, window: int, place: Place | None = None) -> Operation[bool]:
    """Send what waits on one association, until nothing does or it is over; whether another one is worth trying then.

    Parameters
    ----------
    place
        That of the lane which sends, None where there are no others.
    """
    goes_on = True
    sending = Transmission(queue, lease.agreement, lease.next_message_id, window, is_proven=place is None)
    try:
        while True:
            sending.renew()
            yield Begin(user.pipeline(sending.requests(), sending.window, sending.unusable, sending.ahead))
            while (response := (yield NEXT)) is not None:
                lease.has_answer = True
                sending.answered(response)
                while (result := queue.take_result()) is not None:
                    yield Report(result)
            if not sending.is_held or queue.wait() > KEPT:
                break
            yield from _rest(queue)
    except (NetworkError, AssociationError) as error:
        if place is not None:
            goes_on = yield Wait(partial(place.lost, lease))
            if not goes_on:
                _log.info("a further association was lost before anything was answered on it: %s", error)
        sending.lost(error, may_blame=goes_on and not lease.is_stale)
        queue.lost(error, sending.begun, has_answer=lease.has_answer)
    while (result := queue.take_result()) is not None:
        yield Report(result)
    return goes_on


def store_side_by_side(lanes: Lanes, *, may_raise: bool) -> Operation[None]:
    """Store the objects of one plan on several associations; the others are opened when there is a first one."""
    yield Spawn(lanes, partial(lane, lanes))
    while taken := (yield Wait(lanes.take)):
        yield Report(taken[0])
    lanes.finish(may_raise=may_raise)
    while (result := lanes.queue.take_result()) is not None:
        yield Report(result)


def lane(lanes: Lanes) -> Operation[None]:
    """Send what waits in the queue of some lanes, on one association after the other.

    It ends where it gets none, or none that the peer answers on, and leaves its objects to the others. While it has
    nothing to send it waits, as another may lose its association and leave it something.
    """
    queue, place = lanes.queue, lanes.enter()
    try:
        while True:
            if (yield from _has_work(queue)) and queue.wait():
                yield RELEASE
                yield from _rest(queue)
            if not (yield Wait(lanes.begin)):
                return
            begun = queue.now()
            try:
                lease: Lease = yield Use(queue.proposal, lanes.window)
            except (NetworkError, AssociationError) as error:
                if (yield Wait(partial(place.refused, error, begun))):
                    return
                continue
            for _ in range(place.opened(lease)):
                yield Spawn(lanes, partial(lane, lanes))
            goes_on = yield from _send(queue, lease, lanes.window, place)
            yield Leave(is_proven=lease.is_known_to_work)
            yield Wait(place.pause)
            if not goes_on:
                return
    finally:
        place.lease = None
