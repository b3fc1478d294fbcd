"""What a program touches of the layers below an association: ``acse``, ``dul`` and ``dimse``."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from pydicom.uid import UID
from tests.associations import associated, serving_ae
from tests.sockets import (
    VERIFICATION,
)
from tests.support import wait_until

from dicomnet import evt
from dicomnet.pynetdicom.events import Event
from dicomnet.pynetdicom.transport import AssociationServer


def test_the_upper_layer_of_an_association() -> None:
    seen: list[Any] = []

    def opened(event: Event) -> None:
        dul: Any = event.assoc.dul
        sock = dul.socket.socket
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        seen.append((event.assoc.dul.state_machine.current_state, sock.fileno() >= 0))

    with serving_ae([(evt.EVT_CONN_OPEN, opened)]) as server:
        with associated(server, [(evt.EVT_CONN_OPEN, opened)]) as assoc:
            assert assoc.dul.state_machine.current_state == "Sta6"
            assert assoc.dul.is_alive()
            assert not assoc.dul.stop_dul()
            assert assoc.dul.network_timeout == assoc.network_timeout
            assert assoc.dul.assoc is assoc.acse.assoc is assoc
            assert (assoc.acse.acse_timeout, assoc.dimse.dimse_timeout) == (30, 30)
            assert assoc.dimse.maximum_pdu_size == 16382
            assert (assoc.acse.requestor, assoc.acse.acceptor) == (assoc.requestor, assoc.acceptor)
            assert not assoc.acse.is_aborted()
            assert not assoc.acse.is_release_requested()
            assoc.acse.send_release(is_response=True)
            assoc.acse.send_release()
            assert assoc.is_released
            assert assoc.acse.is_release_requested()
            assert assoc.dul.stop_dul()
    assert [is_open for _, is_open in seen] == [True, True]


def aborted_by(server: AssociationServer, abort: Callable[[Any], None]) -> Any:
    with associated(server) as assoc:
        wait_until(lambda: any(each.is_established for each in server.active_associations))
        (accepted,) = server.active_associations
        abort(accepted)
        wait_until(lambda: assoc.is_aborted)
        return assoc


@pytest.mark.parametrize(
    ("abort", "source", "reason", "kind"),
    [
        (lambda accepted: accepted.acse.send_abort(0), 0, 0, "a-abort"),
        (lambda accepted: accepted.acse.send_abort(2), 2, 0, "a-p-abort"),
        (lambda accepted: accepted.acse.send_ap_abort(6), 2, 6, "a-p-abort"),
        (lambda accepted: accepted.dul.kill_dul(), 0, 0, "a-abort"),
        (lambda accepted: accepted.dul.socket.close(), None, 0, "a-p-abort"),
    ],
)
def test_an_abort_is_of_the_kind_that_was_asked_for(
    abort: Callable[[Any], None], source: int | None, reason: int, kind: str
) -> None:
    """P042 P043."""
    with serving_ae() as server:
        assoc = aborted_by(server, abort)
    assert (assoc.failure.source, assoc.failure.reason) == (source, reason)
    assert assoc.acse.is_aborted()
    assert assoc.acse.is_aborted(kind)
    assert not assoc.acse.is_aborted("a-abort" if kind == "a-p-abort" else "a-p-abort")


def test_aborts_that_the_standard_does_not_have() -> None:
    with serving_ae() as server, associated(server) as assoc:
        for source in (1, 3, -1):
            with pytest.raises(ValueError):
                assoc.acse.send_abort(source)
        for reason in (3, 7, -1):
            with pytest.raises(ValueError):
                assoc.acse.send_ap_abort(reason)
        assert assoc.is_established


def test_messages_without_a_response_are_sent_from_below() -> None:
    from dicomnet.pynetdicom.dimse_primitives import C_CANCEL, C_ECHO

    with serving_ae() as server, associated(server) as assoc:
        cancel = C_CANCEL()
        cancel.MessageIDBeingRespondedTo = 5
        assoc.dimse.send_msg(cancel, 1)
        echo = C_ECHO()
        echo.MessageID, echo.AffectedSOPClassUID = 1, UID(VERIFICATION)
        with pytest.raises(ValueError):
            assoc.dimse.send_msg(echo, 1)
        assert assoc.send_c_echo().Status == 0
