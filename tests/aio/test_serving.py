"""What `aio.serve` accepts: limits, and a handler of negotiation that sees each request for an association."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pynetdicom import AE as ForeignAE  # noqa: N811
from pynetdicom.pdu_primitives import (
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from tests.loops import in_loop
from tests.sockets import CT_IMAGE_STORAGE, IMPLICIT_VR_LE, VERIFICATION

from dicomnet import aio
from dicomnet.errors import AssociationRejected

CONTEXTS = (VERIFICATION, CT_IMAGE_STORAGE)
TICKET, NAME_AND_PASSCODE = 3, 2


async def serving(admit: Any, **options: Any) -> aio.AssociationServer:
    return await aio.serve(("127.0.0.1", 0), CONTEXTS, ae_title="LOOP", admit=admit, **options)


def connect(server: aio.AssociationServer, **options: Any) -> Any:
    return aio.connect(f"LOOP@127.0.0.1:{server.address[1]}", CONTEXTS, **options)


def identity(
    kind: int, primary: bytes, secondary: bytes = b"", *, is_asked: bool = True
) -> UserIdentityNegotiation:
    item = UserIdentityNegotiation()
    item.user_identity_type = kind
    item.primary_field = primary
    if secondary:
        item.secondary_field = secondary
    item.positive_response_requested = is_asked
    return item


def extended(uid: str, information: bytes) -> SOPClassExtendedNegotiation:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = uid
    item.service_class_application_information = information
    return item


async def ask(server: aio.AssociationServer, *items: Any, calling: str = "FOREIGN") -> Any:
    """What pynetdicom sees of the answer: its acceptor, or the result, source and reason of a rejection."""

    def run() -> Any:
        ae = ForeignAE(ae_title=calling)
        for uid in CONTEXTS:
            ae.add_requested_context(uid, IMPLICIT_VR_LE)
        assoc = ae.associate("127.0.0.1", server.address[1], ae_title="LOOP", ext_neg=list(items))
        if assoc.is_established:
            assert assoc.send_c_echo().Status == 0
            assoc.release()
            return assoc.acceptor
        primitive = assoc.acceptor.primitive
        assert assoc.is_rejected
        assert primitive is not None
        return primitive.result, primitive.result_source, primitive.diagnostic

    return await asyncio.to_thread(run)


@in_loop
async def test_what_the_handler_sees() -> None:
    seen: list[aio.AssociationRequest] = []

    async def admit(request: aio.AssociationRequest) -> None:
        seen.append(request)

    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = CT_IMAGE_STORAGE, "1.2.840.10008.4.2"
    common.related_general_sop_class_identification = ["1.2.840.10008.5.1.4.1.1.4"]
    async with await serving(admit) as server:
        acceptor = await ask(
            server,
            identity(NAME_AND_PASSCODE, b"doe", b"secret"),
            extended(CT_IMAGE_STORAGE, b"\x01\x02"),
            common,
        )
    (request,) = seen
    assert (request.calling, request.called, request.address[0]) == ("FOREIGN", "LOOP", "127.0.0.1")
    assert request.identity is not None
    assert (request.identity.primary_field, request.identity.secondary_field) == (b"doe", b"secret")
    assert request.extended == {CT_IMAGE_STORAGE: b"\x01\x02"}
    (item,) = request.common_extended
    assert (item.sop_class, item.service_class) == (CT_IMAGE_STORAGE, "1.2.840.10008.4.2")
    assert item.related_general_sop_classes == ("1.2.840.10008.5.1.4.1.1.4",)
    assert [each.abstract_syntax for each in request.pdu.contexts] == list(CONTEXTS)
    # Nothing was answered, as the handler has answered nothing.
    assert acceptor.user_identity is None
    assert acceptor.sop_class_extended == {}


@in_loop
async def test_a_request_without_further_negotiation() -> None:
    seen: list[aio.AssociationRequest] = []
    async with await serving(seen.append) as server, await connect(server, calling="ME") as assoc:
        assert (await assoc.send_c_echo()).Status == 0
    assert [(each.calling, each.identity, each.extended, each.common_extended) for each in seen] == [
        ("ME", None, {}, ())
    ]


@pytest.mark.parametrize(
    ("kind", "is_asked", "answer", "received"),
    [
        (TICKET, True, b"server ticket", b"server ticket"),
        (TICKET, False, b"server ticket", None),
        (TICKET, True, None, None),
        # A user name has no server response.
        (NAME_AND_PASSCODE, True, b"ignored", b""),
    ],
)
def test_the_answer_to_a_user_identity(
    kind: int, is_asked: bool, answer: bytes | None, received: bytes | None
) -> None:
    @in_loop
    async def test() -> None:
        async with await serving(lambda request: aio.Acceptance(identity=answer)) as server:
            passcode = b"secret" if kind == NAME_AND_PASSCODE else b""
            acceptor = await ask(server, identity(kind, b"who", passcode, is_asked=is_asked))
        item = acceptor.user_identity
        # pynetdicom gives None for an empty response.
        assert (None if item is None else item.server_response or b"") == received

    test()


@in_loop
async def test_an_identity_that_nobody_offered_is_not_answered() -> None:
    async with await serving(lambda request: aio.Acceptance(identity=b"x")) as server:
        assert (await ask(server)).user_identity is None


@in_loop
async def test_the_answer_to_extended_negotiation() -> None:
    """Only what was asked for is answered."""
    answers = {CT_IMAGE_STORAGE: b"\x02", VERIFICATION: b"\x03"}
    async with await serving(lambda request: aio.Acceptance(extended=answers)) as server:
        acceptor = await ask(server, extended(CT_IMAGE_STORAGE, b"\x01"))
    assert acceptor.sop_class_extended == {CT_IMAGE_STORAGE: b"\x02"}


# What docs/asyncio.md shows.
PASSWORDS = {b"doe": b"secret"}


async def admit(request: aio.AssociationRequest) -> aio.Acceptance | None:
    identity = request.identity
    if identity is None or PASSWORDS.get(identity.primary_field) != identity.secondary_field:
        raise AssociationRejected(result=1, source=1, reason=1)
    return aio.Acceptance(identity=b"", extended=request.extended)


@in_loop
async def test_the_example_of_the_manual() -> None:
    async with await serving(admit) as server:
        assert await ask(server) == (1, 1, 1)
        assert await ask(server, identity(NAME_AND_PASSCODE, b"doe", b"wrong")) == (1, 1, 1)
        acceptor = await ask(
            server, identity(NAME_AND_PASSCODE, b"doe", b"secret"), extended(CT_IMAGE_STORAGE, b"\x01")
        )
        assert acceptor.user_identity is not None
        assert acceptor.sop_class_extended == {CT_IMAGE_STORAGE: b"\x01"}


async def _rejects(request: aio.AssociationRequest) -> None:
    await asyncio.sleep(0)
    raise AssociationRejected(2, 3, 1)


def _rejects_in_a_thread(request: aio.AssociationRequest) -> None:
    assert threading.current_thread() is not threading.main_thread()
    raise AssociationRejected(2, 3, 1)


def _fails(request: aio.AssociationRequest) -> None:
    raise RuntimeError("broken")


def _rejects_as_nobody_may(request: aio.AssociationRequest) -> None:
    raise AssociationRejected(1, 2, 99)


@pytest.mark.parametrize(
    ("admit", "expected"),
    [
        (_rejects, (2, 3, 1)),
        (_rejects_in_a_thread, (2, 3, 1)),
        (_fails, (1, 1, 1)),
        (_rejects_as_nobody_may, (1, 1, 1)),
        (lambda request: "yes", (1, 1, 1)),
        (
            lambda request: aio.Acceptance(extended=dict.fromkeys([CT_IMAGE_STORAGE], bytes(70_000))),
            (1, 1, 1),
        ),
    ],
)
def test_an_association_that_is_rejected(
    admit: Callable[[aio.AssociationRequest], Any], expected: tuple[int, int, int]
) -> None:
    @in_loop
    async def test() -> None:
        async with await serving(admit) as server:
            assert await ask(server, extended(CT_IMAGE_STORAGE, b"\x01")) == expected
            assert server.established == 0

    test()


@in_loop
async def test_our_own_requestor_is_rejected() -> None:
    async def admit(request: aio.AssociationRequest) -> None:
        if request.calling != "KNOWN":
            raise AssociationRejected(1, 1, 3)

    async with await serving(admit) as server:
        with pytest.raises(AssociationRejected) as raised:
            await connect(server, calling="STRANGER")
        assert (raised.value.result, raised.value.source, raised.value.reason) == (1, 1, 3)
        async with await connect(server, calling="KNOWN") as assoc:
            assert (await assoc.send_c_echo()).Status == 0


@in_loop
async def test_the_limit_holds_for_those_that_are_admitted_at_the_same_time() -> None:
    both = asyncio.Barrier(2)

    async def admit(request: aio.AssociationRequest) -> None:
        await both.wait()

    async with await serving(admit, maximum_associations=1) as server:
        answers = await asyncio.gather(connect(server), connect(server), return_exceptions=True)
        (rejected,) = [each for each in answers if isinstance(each, AssociationRejected)]
        assert (rejected.result, rejected.source, rejected.reason) == (2, 3, 2)
        (assoc,) = [each for each in answers if isinstance(each, aio.Association)]
        await assoc.release()


@in_loop
async def test_the_title_is_checked_before_the_handler_is_called() -> None:
    seen: list[aio.AssociationRequest] = []
    async with await serving(seen.append, require_called=True) as server:
        with pytest.raises(AssociationRejected) as raised:
            await aio.connect(f"OTHER@127.0.0.1:{server.address[1]}", CONTEXTS)
        assert (raised.value.source, raised.value.reason) == (1, 7)
    assert seen == []
