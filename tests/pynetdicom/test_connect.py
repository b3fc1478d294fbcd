"""`dicomnet.connect`: an association that raises typed errors, with values that a program can act on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.associations import ct_image, match, query, serving_ae
from tests.sockets import (
    CT_IMAGE_STORAGE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    MR_IMAGE_STORAGE,
    PATIENT_ROOT_FIND,
    VERIFICATION,
    RawPeer,
    raw_server,
)
from tests.support import free_port, wait_until

import dicomnet
from dicomnet import evt
from dicomnet.drivers.deadline import Timeouts
from dicomnet.errors import (
    AssociationAborted,
    AssociationClosed,
    AssociationRejected,
    ConnectionFailed,
    DeadlineExceeded,
    NoAcceptedContext,
)
from dicomnet.pynetdicom.events import Event
from dicomnet.pynetdicom.transport import AssociationServer
from dicomnet.wire.pdu import Abort

CONTEXTS = [VERIFICATION, CT_IMAGE_STORAGE, PATIENT_ROOT_FIND]


def at(server: AssociationServer, title: str = "SERVER") -> str:
    return f"{title}@127.0.0.1:{server.server_address[1]}"


def test_an_association_is_released_with_its_block() -> None:
    with serving_ae([(evt.EVT_C_STORE, lambda event: 0)]) as server:
        with dicomnet.connect(at(server), CONTEXTS, calling="CALLER") as assoc:
            assert assoc.is_established
            assert assoc.send_c_echo().Status == 0
            assert assoc.send_c_store(ct_image()).Status == 0
            assert (assoc.requestor.ae_title, assoc.acceptor.ae_title) == ("CALLER", "SERVER")
        assert assoc.is_released
        with pytest.raises(AssociationClosed):
            assoc.send_c_echo()


def test_a_block_that_raises_aborts() -> None:
    with serving_ae() as server:
        with pytest.raises(KeyError), dicomnet.connect(at(server), CONTEXTS) as assoc:
            raise KeyError("a bug")
        assert assoc.is_aborted


def test_transfer_syntaxes_and_roles_are_proposed() -> None:
    with serving_ae() as server:
        server.ae.add_supported_context(CT_IMAGE_STORAGE, scu_role=True, scp_role=True)
        contexts = {CT_IMAGE_STORAGE: [EXPLICIT_VR_LE], VERIFICATION: [IMPLICIT_VR_LE]}
        with dicomnet.connect(at(server), contexts, roles={CT_IMAGE_STORAGE: (False, True)}) as assoc:
            assert [list(cx.transfer_syntax) for cx in assoc.accepted_contexts] == [
                [EXPLICIT_VR_LE],
                [IMPLICIT_VR_LE],
            ]
            role = assoc.requestor.role_selection[dicomnet.build_context(CT_IMAGE_STORAGE).abstract_syntax]  # type: ignore[index]
            assert (role.scu_role, role.scp_role) == (False, True)


@pytest.mark.parametrize(
    ("result", "source", "reason"),
    [(1, 1, 1), (1, 1, 2), (1, 1, 3), (1, 1, 7), (1, 2, 1), (1, 2, 2), (2, 3, 1), (2, 3, 2), (2, 1, 1)],
)
def test_a_rejection_says_what_the_peer_says(result: int, source: int, reason: int) -> None:
    """P039."""

    def reject(event: Event) -> None:
        event.assoc.acse.send_reject(result, source, reason)

    with serving_ae([(evt.EVT_REQUESTED, reject)]) as server:
        with pytest.raises(AssociationRejected) as raised:
            dicomnet.connect(at(server), CONTEXTS)
    error = raised.value
    assert (error.result, error.source, error.reason) == (result, source, reason)
    assert error.is_transient is (result == 2)


def test_an_abort_instead_of_an_answer_says_who_and_why() -> None:
    def abort(peer: RawPeer) -> None:
        peer.read_pdu()
        peer.send(Abort(2, 6).encode())
        peer.read_to_end()

    with raw_server(abort) as port, pytest.raises(AssociationAborted) as raised:
        dicomnet.connect(f"127.0.0.1:{port}", CONTEXTS)
    assert (raised.value.source, raised.value.reason) == (2, 6)


def say_nothing(peer: RawPeer) -> None:
    peer.read_to_end()


def test_a_peer_that_is_not_there_or_says_nothing() -> None:
    with pytest.raises(ConnectionFailed):
        dicomnet.connect(f"127.0.0.1:{free_port()}", CONTEXTS)
    with raw_server(say_nothing) as port:
        with pytest.raises(DeadlineExceeded) as raised:
            dicomnet.connect(f"127.0.0.1:{port}", CONTEXTS, timeouts=Timeouts(association=0.2))
    assert raised.value.stage == "association"


def test_what_is_not_accepted_cannot_be_sent() -> None:
    with serving_ae() as server, dicomnet.connect(at(server), [VERIFICATION, MR_IMAGE_STORAGE]) as assoc:
        with pytest.raises(NoAcceptedContext) as raised:
            assoc.send_c_store(ct_image())
        assert (raised.value.abstract_syntax, raised.value.accepted) == (CT_IMAGE_STORAGE, ())


@pytest.mark.parametrize("operation", ["echo", "store", "find"])
def test_an_association_that_is_lost_raises_instead_of_an_empty_status(operation: str) -> None:
    def end(event: Event) -> int:
        event.assoc.abort()
        return 0

    def find(event: Event) -> object:
        yield 0xFF00, match()
        event.assoc.abort()

    handlers = [(evt.EVT_C_ECHO, end), (evt.EVT_C_STORE, end), (evt.EVT_C_FIND, find)]
    with serving_ae(handlers) as server:
        assoc = dicomnet.connect(at(server), CONTEXTS)
        requests: dict[str, Callable[[], object]] = {
            "echo": assoc.send_c_echo,
            "store": lambda: assoc.send_c_store(ct_image()),
            "find": lambda: list(assoc.send_c_find(query(), PATIENT_ROOT_FIND)),
        }
        with pytest.raises(AssociationAborted) as raised:
            requests[operation]()
    assert raised.value.source == 0
    assert assoc.failure is raised.value


def test_mistakes_of_the_caller() -> None:
    for address, contexts, calling in (
        ("nowhere", CONTEXTS, "US"),
        ("127.0.0.1:11112", ["1.2.3"] * 129, "US"),
        ("127.0.0.1:11112", CONTEXTS, "A TITLE THAT IS TOO LONG"),
    ):
        with pytest.raises(ValueError):
            dicomnet.connect(address, contexts, calling=calling)


def test_the_release_of_what_is_over_does_nothing() -> None:
    with serving_ae() as server:
        assoc = dicomnet.connect(at(server), CONTEXTS)
        wait_until(lambda: bool(server.active_associations))
        server.active_associations[0].abort()
        wait_until(lambda: not assoc.is_established)
        assoc.release()  # is over already
        assert assoc.is_aborted
