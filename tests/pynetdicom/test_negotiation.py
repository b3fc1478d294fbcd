"""Negotiation of the blocking face, with pynetdicom on either side: each side sees and gets what the standard says."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pydicom.config
import pynetdicom
import pynetdicom.events
import pynetdicom.pdu_primitives
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID
from tests.associations import associated, ct_image, serving_ae
from tests.damaged import ANSWERS, DAMAGED, LENGTH, answer_of, item, with_user_items
from tests.sockets import (
    CT_IMAGE_STORAGE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    MR_IMAGE_STORAGE,
    PATIENT_ROOT_FIND,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    RawPeer,
)
from tests.support import run_tool, tool, wait_until

import dicomnet
import dicomnet.pynetdicom.events
import dicomnet.pynetdicom.pdu_primitives
from dicomnet import AE, Peer, build_context, build_role, evt
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.errors import AssociationRejected
from dicomnet.pynetdicom import pdu
from dicomnet.pynetdicom.events import Event, EventHandlerType
from dicomnet.pynetdicom.presentation import PresentationContext
from dicomnet.pynetdicom.service_user import ServiceUser
from dicomnet.pynetdicom.views import Shown, View
from dicomnet.wire.pdu import AssociateAC, AssociateRQ, decode_pdu

DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
RAW_DATA = "1.2.840.10008.5.1.4.1.1.66"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
STORAGE_SERVICE_CLASS = "1.2.840.10008.4.2"


class Library:
    """One of the two libraries, with the same names."""

    def __init__(self, package: ModuleType) -> None:
        self.package: Any = package
        self.evt: Any = package.evt
        self.items: Any = package.pdu_primitives

    @contextlib.contextmanager
    def serving(
        self, contexts: Sequence[tuple[Any, ...]], handlers: Sequence[tuple[str, Any]] = ()
    ) -> Iterator[Any]:
        """A server; gives its port."""
        ae = self.package.AE("SERVER")
        for uid, syntaxes, *roles in contexts:
            ae.add_supported_context(uid, syntaxes, *roles)
        bound = [(getattr(self.evt, name), handler) for name, handler in handlers]
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=bound)
        try:
            yield server
        finally:
            ae.shutdown()

    @contextlib.contextmanager
    def associated(
        self,
        server: Any,
        contexts: Sequence[tuple[str, Any]],
        items: Sequence[Any] = (),
        handlers: Sequence[tuple[str, Any]] = (),
        **properties: Any,
    ) -> Iterator[Any]:
        """A requestor with an association, established or not."""
        ae = self.package.AE("CLIENT")
        for name, value in properties.items():
            setattr(ae, name, value)
        proposed = [self.package.build_context(uid, syntaxes) for uid, syntaxes in contexts]
        bound = [(getattr(self.evt, name), handler) for name, handler in handlers]
        port = server.server_address[1]
        assoc = ae.associate("127.0.0.1", port, proposed, ext_neg=list(items), evt_handlers=bound)
        try:
            yield assoc
        finally:
            if assoc.is_established:
                assoc.release()


OURS, THEIRS = Library(dicomnet), Library(pynetdicom)
PAIRS = pytest.mark.parametrize(
    ("scu", "scp"),
    [
        pytest.param(OURS, OURS, id="ours to ours"),
        pytest.param(OURS, THEIRS, id="ours to pynetdicom"),
        pytest.param(THEIRS, OURS, id="pynetdicom to ours"),
    ],
)
ECHO = ((VERIFICATION, IMPLICIT_VR_LE),)


@pytest.mark.parametrize("scu", [OURS, THEIRS], ids=["ours", "pynetdicom"])
@pytest.mark.parametrize("name", ["EVT_REQUESTED", "EVT_USER_ID"])
def test_a_handler_rejects_for_now(scu: Library, name: str) -> None:
    """408: the association was accepted all the same, and EVT_ACCEPTED told of it."""
    told: list[str] = []

    def reject(event: Event) -> tuple[bool, None]:
        event.assoc.acse.send_reject(2, 3, 1)
        return True, None

    def tell(event: Event) -> None:
        told.append(event.event.name)

    handlers = [(name, reject), ("EVT_ACCEPTED", tell), ("EVT_REJECTED", tell), ("EVT_ESTABLISHED", tell)]
    identity = scu.items.UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field = 1, b"user"
    with OURS.serving(ECHO, handlers) as server, scu.associated(server, ECHO, [identity]) as assoc:
        assert assoc.is_rejected
        answer = assoc.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 1)
        wait_until(lambda: told == ["EVT_REJECTED"])
        assert not any(each.is_established for each in server.active_associations)
    if scu is OURS:
        assert isinstance(assoc.failure, AssociationRejected)
        assert assoc.failure.is_transient


@pytest.mark.parametrize(
    "given", [(0, 1, 1), (3, 1, 1), (1, 4, 1), (1, 1, 4), (1, 2, 7), (2, 3, 3), ("x", 1, 1)]
)
def test_only_rejections_of_the_standard_are_sent(given: tuple[Any, int, int]) -> None:
    """P039: Table 9-21."""
    raised: list[type[Exception]] = []

    def reject(event: Event) -> None:
        try:
            event.assoc.acse.send_reject(*given)
        except ValueError as error:
            raised.append(type(error))

    with serving_ae([(evt.EVT_REQUESTED, reject)]) as server, associated(server) as assoc:
        assert assoc.is_established
    assert raised == [ValueError]


def test_an_association_that_is_there_cannot_be_rejected() -> None:
    with serving_ae() as server, associated(server) as assoc:
        wait_until(lambda: any(each.is_established for each in server.active_associations))
        for each in (assoc, server.active_associations[0]):
            with pytest.raises(RuntimeError):
                each.acse.send_reject(1, 1, 1)


def replace(event: Any) -> None:
    event.assoc.acceptor.supported_contexts = [dicomnet.build_context(VERIFICATION)]


def shorten(event: Any) -> None:
    contexts = event.assoc.acceptor.supported_contexts
    contexts[:] = [context for context in contexts if context.abstract_syntax == VERIFICATION]


def no_transfer_syntax(event: Any) -> None:
    for context in event.assoc.acceptor.supported_contexts:
        if context.abstract_syntax != VERIFICATION:
            context.transfer_syntax = [JPEG]


@pytest.mark.parametrize("change", [replace, shorten, no_transfer_syntax])
def test_a_handler_changes_what_is_supported_for_one_association(change: Callable[[Any], None]) -> None:
    with serving_ae() as server:
        server.bind(evt.EVT_REQUESTED, change)
        with associated(server) as assoc:
            assert [cx.abstract_syntax for cx in assoc.accepted_contexts] == [VERIFICATION]
            (accepted,) = server.active_associations
            assert [cx.abstract_syntax for cx in accepted.accepted_contexts] == [VERIFICATION]
        server.unbind(evt.EVT_REQUESTED, change)
        with associated(server) as assoc:
            assert len(assoc.accepted_contexts) == 3


def test_a_handler_knows_who_asks_for_what() -> None:
    seen: list[Any] = []

    def requested(event: Event) -> None:
        requestor = event.assoc.requestor
        primitive = requestor.primitive
        assert primitive is not None
        names = [context.abstract_syntax for context in primitive.presentation_context_definition_list]
        seen.append((requestor.ae_title, primitive.called_ae_title, names, requestor.role_selection))

    with serving_ae([(evt.EVT_REQUESTED, requested)]) as server:
        with associated(server, ext_neg=[build_role(CT_IMAGE_STORAGE, scp_role=True)], ae_title="CALLED"):
            ((calling, called, names, roles),) = seen
    assert (calling, called, len(names), list(roles)) == ("CLIENT", "CALLED", 3, [CT_IMAGE_STORAGE])


def encoded_as(syntax: str) -> Dataset:
    image = ct_image(100)
    image.SOPInstanceUID = f"1.2.3.{len(syntax)}.{syntax[-2:].strip('.')}"
    image.file_meta.TransferSyntaxUID = UID(syntax)
    if syntax == JPEG:
        image.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
        image["PixelData"].VR = "OB"
        image["PixelData"].is_undefined_length = True
    return image


@PAIRS
def test_one_sop_class_in_several_contexts(scu: Library, scp: Library) -> None:
    """P052: each object goes on the context that has its transfer syntax."""
    syntaxes = [IMPLICIT_VR_LE, EXPLICIT_VR_LE, DEFLATED, JPEG]
    got: list[tuple[str, str]] = []

    def store(event: Any) -> int:
        got.append((str(event.context.transfer_syntax), str(event.dataset.SOPInstanceUID)))
        return 0

    with scp.serving([(CT_IMAGE_STORAGE, syntaxes)], [("EVT_C_STORE", store)]) as server:
        with scu.associated(server, [(CT_IMAGE_STORAGE, syntax) for syntax in syntaxes]) as assoc:
            accepted = [(cx.context_id, str(cx.transfer_syntax[0])) for cx in assoc.accepted_contexts]
            assert accepted == [(2 * at + 1, syntax) for at, syntax in enumerate(syntaxes)]
            for syntax in reversed(syntaxes):
                assert assoc.send_c_store(encoded_as(syntax)).Status == 0
    assert got == [(syntax, str(encoded_as(syntax).SOPInstanceUID)) for syntax in reversed(syntaxes)]


@PAIRS
def test_an_acceptor_takes_its_own_order_of_transfer_syntaxes(scu: Library, scp: Library) -> None:
    with scp.serving([(VERIFICATION, [EXPLICIT_VR_LE, IMPLICIT_VR_LE])]) as server:
        with scu.associated(server, [(VERIFICATION, [IMPLICIT_VR_LE, EXPLICIT_VR_LE])]) as assoc:
            (context,) = assoc.accepted_contexts
            assert context.transfer_syntax == [EXPLICIT_VR_LE]


@PAIRS
def test_contexts_are_rejected_for_their_reasons(scu: Library, scp: Library) -> None:
    """P049 P053: the association is accepted although no context is."""
    with scp.serving([(VERIFICATION, [IMPLICIT_VR_LE])]) as server:
        proposed = [(VERIFICATION, [JPEG]), (CT_IMAGE_STORAGE, [IMPLICIT_VR_LE])]
        with scu.associated(server, proposed, handlers=()) as assoc:
            # Either requestor aborts an association of no use.
            assert not assoc.is_established
            assert not assoc.is_rejected
            assert [(cx.context_id, cx.result) for cx in assoc.rejected_contexts] == [(1, 4), (3, 3)]


def test_128_contexts_are_negotiated_and_the_129th_is_refused() -> None:
    """P046."""
    uids = [f"1.2.840.10008.5.1.4.1.1.{number}" for number in range(128)]
    with (
        serving_ae(uids=uids) as server,
        associated(server, contexts=[build_context(uid) for uid in uids]) as assoc,
    ):
        assert [cx.context_id for cx in assoc.accepted_contexts] == list(range(1, 256, 2))
    with pytest.raises(ValueError, match="128"):
        AE().associate("127.0.0.1", 1, [build_context("1.2.3")] * 129)


def test_150_kinds_of_objects_reach_pynetdicom_in_one_store(tmp_path: Path) -> None:
    """P046: `Peer.store` splits what needs more than 128 contexts."""
    classes = [str(context.abstract_syntax) for context in dicomnet.AllStoragePresentationContexts[:50]]
    syntaxes = [IMPLICIT_VR_LE, EXPLICIT_VR_LE, JPEG]
    files: list[Path] = []
    for uid in classes:
        for syntax in syntaxes:
            instance = f"{uid}.{len(files)}"
            path = tmp_path / f"{len(files)}.dcm"
            value = instance.encode() + b"\0" * (len(instance) % 2)
            vr = b"" if syntax == IMPLICIT_VR_LE else b"UI"
            length = len(value).to_bytes(2 if vr else 4, "little")
            path.write_bytes(
                encode_file_header(uid, instance, syntax) + b"\x08\x00\x18\x00" + vr + length + value
            )
            files.append(path)
    got: list[tuple[str, str]] = []
    associations: list[int] = []

    def store(event: Any) -> int:
        got.append((str(event.request.AffectedSOPClassUID), str(event.context.transfer_syntax)))
        return 0

    def accepted(event: Any) -> None:
        associations.append(len(event.assoc.requestor.primitive.presentation_context_definition_list))

    handlers = [("EVT_C_STORE", store), ("EVT_ACCEPTED", accepted)]
    with THEIRS.serving([(uid, syntaxes) for uid in classes], handlers) as server:
        with Peer(f"SERVER@127.0.0.1:{server.server_address[1]}") as peer:
            results = list(peer.store(files))
    assert len(results) == 150
    assert {(result.status, result.comment) for result in results} == {(0, "")}
    assert sorted(got) == sorted((uid, syntax) for uid in classes for syntax in syntaxes)
    # The second may propose other transfer syntaxes besides, where there is room.
    assert (len(associations), max(associations)) == (2, 128)
    assert sum(associations) >= 150


@PAIRS
@pytest.mark.parametrize(
    ("supported", "proposed", "expected"),
    [
        ((True, True), (True, True), (True, True)),
        ((True, True), (False, True), (False, True)),
        ((False, True), (True, True), (False, True)),
        ((True, False), (True, True), (True, False)),
        ((None, None), (True, True), (True, False)),
        ((True, True), None, (True, False)),
    ],
)
def test_roles_are_what_both_sides_want(
    scu: Library,
    scp: Library,
    supported: Any,
    proposed: tuple[bool, bool] | None,
    expected: tuple[bool, bool],
) -> None:
    """Q004: what was not proposed is not granted; without an answer the requestor is SCU (PS3.7 D.3.3.4)."""
    items = [scu.package.build_role(CT_IMAGE_STORAGE, *proposed)] if proposed else []
    with scp.serving([(CT_IMAGE_STORAGE, IMPLICIT_VR_LE, *supported)]) as server:
        with scu.associated(server, [(CT_IMAGE_STORAGE, IMPLICIT_VR_LE)], items) as assoc:
            (context,) = assoc.accepted_contexts
            assert (context.as_scu, context.as_scp) == expected
            wait_until(lambda: any(each.is_established for each in server.active_associations))
            (accepted,) = server.active_associations
            (mirrored,) = accepted.accepted_contexts
            assert (mirrored.as_scp, mirrored.as_scu) == expected
            answered = supported != (None, None) and proposed is not None
            assert list(assoc.acceptor.role_selection) == ([CT_IMAGE_STORAGE] if answered else [])


@pytest.mark.parametrize("scp", [OURS, THEIRS], ids=["ours", "pynetdicom"])
def test_an_acceptor_sends_to_a_requestor_that_is_scp(scp: Library) -> None:
    """Q004: the roles are used, not only agreed on."""
    received: list[str] = []
    statuses: list[int] = []

    def store(event: Any) -> int:
        received.append(str(event.request.AffectedSOPInstanceUID))
        return 0xB000

    def find(event: Any) -> Iterator[tuple[int, None]]:
        statuses.append(event.assoc.send_c_store(ct_image(), 42).Status)
        yield 0x0000, None

    contexts: list[tuple[Any, ...]] = [
        (PATIENT_ROOT_FIND, IMPLICIT_VR_LE),
        (CT_IMAGE_STORAGE, IMPLICIT_VR_LE, True, True),
    ]
    role = build_role(CT_IMAGE_STORAGE, scp_role=True)
    asked = Dataset()
    asked.QueryRetrieveLevel = "PATIENT"
    with scp.serving(contexts, [("EVT_C_FIND", find)]) as server:
        proposed = [(uid, syntax) for uid, syntax, *_ in contexts]
        with OURS.associated(server, proposed, [role], [("EVT_C_STORE", store)]) as assoc:
            found = [status.Status for status, _ in assoc.send_c_find(asked, PATIENT_ROOT_FIND)]
            assert found == [0x0000]
    assert (statuses, received) == ([0xB000], ["1.2.3.4"])


def test_a_requestor_that_is_only_scp_cannot_send() -> None:
    supported = [build_context(CT_IMAGE_STORAGE)]
    supported[0].scu_role = supported[0].scp_role = True
    with serving_ae(uids=[], supported_contexts=supported) as server:
        role = build_role(CT_IMAGE_STORAGE, scp_role=True)
        with associated(server, contexts=supported, ext_neg=[role]) as assoc:
            with pytest.raises(ValueError):
                assoc.send_c_store(ct_image())


@PAIRS
def test_extended_negotiation_is_answered_by_the_handler(scu: Library, scp: Library) -> None:
    """Q005: for each SOP class that was proposed; what the handler says of others is not sent."""
    seen: list[dict[Any, bytes]] = []

    def extended(event: Any) -> dict[UID, bytes]:
        seen.append(dict(event.app_info))
        return {UID(PATIENT_ROOT_FIND): b"\x01\x00\x01", UID(PATIENT_ROOT_GET): b"\x00"}

    items = []
    for uid, info in ((PATIENT_ROOT_FIND, b"\x01\x01\x01"), (PATIENT_ROOT_GET, b"\x01")):
        item = scu.items.SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = uid, info
        items.append(item)
    contexts = [(PATIENT_ROOT_FIND, IMPLICIT_VR_LE), (PATIENT_ROOT_GET, IMPLICIT_VR_LE)]
    with scp.serving(contexts, [("EVT_SOP_EXTENDED", extended)]) as server:
        with scu.associated(server, contexts, items) as assoc:
            assert assoc.acceptor.sop_class_extended == {
                PATIENT_ROOT_FIND: b"\x01\x00\x01",
                PATIENT_ROOT_GET: b"\x00",
            }
    assert seen == [{PATIENT_ROOT_FIND: b"\x01\x01\x01", PATIENT_ROOT_GET: b"\x01"}]


@PAIRS
def test_common_extended_negotiation_is_only_in_the_request(scu: Library, scp: Library) -> None:
    """Q006: the acceptor knows what it took, and answers nothing."""
    accepted: list[Any] = []

    def common(event: Any) -> Any:
        return {uid: item for uid, item in event.items.items() if uid == CT_IMAGE_STORAGE}

    def established(event: Any) -> None:
        accepted.append(event.assoc.acceptor.accepted_common_extended)

    items = []
    for uid in (CT_IMAGE_STORAGE, MR_IMAGE_STORAGE):
        item = scu.items.SOPClassCommonExtendedNegotiation()
        item.sop_class_uid, item.service_class_uid = uid, STORAGE_SERVICE_CLASS
        item.related_general_sop_class_identification = [RAW_DATA]
        items.append(item)
    handlers = [("EVT_SOP_COMMON", common), ("EVT_ESTABLISHED", established)]
    with scp.serving([(CT_IMAGE_STORAGE, IMPLICIT_VR_LE)], handlers) as server:
        with scu.associated(server, [(CT_IMAGE_STORAGE, IMPLICIT_VR_LE)], items) as assoc:
            assert assoc.is_established
            assert assoc.acceptor.sop_class_common_extended == {}
            wait_until(lambda: bool(accepted))
    assert accepted == [{CT_IMAGE_STORAGE: (STORAGE_SERVICE_CLASS, [RAW_DATA])}]


@PAIRS
@pytest.mark.parametrize("identity_type", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("wants_answer", [True, False])
def test_user_identity_is_known_and_answered(
    scu: Library, scp: Library, identity_type: int, wants_answer: bool
) -> None:
    """Q007."""
    seen: list[tuple[int, bytes, bytes]] = []

    def user(event: Any) -> tuple[bool, bytes | None]:
        seen.append((event.user_id_type, event.primary_field, event.secondary_field or b""))
        return True, b"ticket" if identity_type > 2 else None

    item = scu.items.UserIdentityNegotiation()
    item.user_identity_type, item.primary_field = identity_type, b"first"
    item.secondary_field = b"second" if identity_type == 2 else b""
    item.positive_response_requested = wants_answer
    with scp.serving(ECHO, [("EVT_USER_ID", user)]) as server, scu.associated(server, ECHO, [item]) as assoc:
        assert assoc.is_established
        answer = assoc.acceptor.user_identity
        if wants_answer and identity_type > 2:
            assert answer.server_response == b"ticket"
        elif not wants_answer:
            assert answer is None
        assert assoc.send_c_echo().Status == 0
    assert seen == [(identity_type, b"first", b"second" if identity_type == 2 else b"")]


# A server of pynetdicom's that is shut down before a rejected association is gone raises in a thread of its own.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@PAIRS
def test_a_user_who_is_refused_is_rejected(scu: Library, scp: Library) -> None:
    """Q007: by A-ASSOCIATE-RJ (PS3.7 D.3.3.7); the ACSE refuses for now, so that clients ask again as they did."""
    item = scu.items.UserIdentityNegotiation()
    item.user_identity_type, item.primary_field = 1, b"nobody"
    handlers = [("EVT_USER_ID", lambda event: (False, None))]
    with scp.serving(ECHO, handlers) as server, scu.associated(server, ECHO, [item]) as assoc:
        assert assoc.is_rejected
        answer = assoc.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 2, 1)


@PAIRS
def test_a_window_that_is_asked_for_is_answered(scu: Library, scp: Library) -> None:
    """Q002 Q003: equal to or less than what was proposed; one where nobody says more."""
    item = scu.items.AsynchronousOperationsWindowNegotiation()
    item.maximum_number_operations_invoked = item.maximum_number_operations_performed = 7
    for handlers in ([], [("EVT_ASYNC_OPS", lambda event: (5, 2))]):
        with scp.serving(ECHO, handlers) as server, scu.associated(server, ECHO, [item]) as assoc:
            invoked, performed = assoc.acceptor.asynchronous_operations
            assert (invoked, performed) in ((1, 1), (5, 2))
            if scp is OURS:
                assert (invoked, performed) == ((5, 2) if handlers else (1, 1))
    with (
        scp.serving(ECHO, [("EVT_ASYNC_OPS", lambda event: (5, 2))]) as server,
        scu.associated(server, ECHO) as assoc,
    ):
        kinds = {type(each).__name__ for each in assoc.acceptor.user_information}
        assert "AsynchronousOperationsWindowNegotiation" not in kinds


@PAIRS
@pytest.mark.parametrize("version", ["SOME_VERSION", None])
def test_implementations_are_known_to_each_other(scu: Library, scp: Library, version: str | None) -> None:
    """Q001: the class UID is in both PDUs, the version name where there is one."""
    seen: list[tuple[Any, Any]] = []

    def requested(event: Any) -> None:
        requestor = event.assoc.requestor
        seen.append((requestor.implementation_class_uid, requestor.implementation_version_name))

    properties: dict[str, Any] = {
        "implementation_class_uid": "1.2.3.4.5",
        "implementation_version_name": version,
    }
    with scp.serving(ECHO, [("EVT_REQUESTED", requested)]) as server:
        with scu.associated(server, ECHO, **properties) as assoc:
            acceptor = assoc.acceptor
            assert acceptor.implementation_class_uid == server.ae.implementation_class_uid
            assert acceptor.implementation_version_name == server.ae.implementation_version_name
    assert seen == [("1.2.3.4.5", version)]


@pytest.mark.usefixtures("unregistered")
@pytest.mark.parametrize("scu", [OURS, THEIRS], ids=["ours", "pynetdicom"])
def test_unrestricted_storage_takes_private_classes(scu: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomnet._config, "UNRESTRICTED_STORAGE_SERVICE", True)
    got: list[str] = []

    def store(event: Any) -> int:
        got.append(str(event.request.AffectedSOPClassUID))
        return 0

    private = ct_image()
    private.SOPClassUID = "1.2.3.4.5.6"
    with OURS.serving([], [("EVT_C_STORE", store)]) as server:
        if scu is THEIRS:
            pynetdicom.register_uid(
                "1.2.3.4.5.6", "PrivateStorage", pynetdicom.service_class.StorageServiceClass
            )
        with scu.associated(
            server, [("1.2.3.4.5.6", IMPLICIT_VR_LE), (VERIFICATION, IMPLICIT_VR_LE)]
        ) as assoc:
            assert [cx.abstract_syntax for cx in assoc.accepted_contexts] == ["1.2.3.4.5.6"]
            assert assoc.send_c_store(private).Status == 0
    assert got == ["1.2.3.4.5.6"]


def test_an_association_has_what_a_thread_has() -> None:
    with serving_ae() as server, associated(server) as assoc:
        names = {assoc.name, server.active_associations[0].name}
        assert len(names) == 2
        assoc.name = "mine"
        assert (assoc.name, assoc.daemon, assoc.ident, assoc.native_id) == ("mine", True, None, None)
        assert assoc.is_alive()
        assoc.join(0)
        assoc.release()
        assoc.join(10)
        assert not assoc.is_alive()


DCMTK_IDENTITIES: dict[str, tuple[list[str], tuple[int, bytes, bytes]]] = {
    "user": (["--user", "joe"], (1, b"joe", b"")),
    "passcode": (["--user", "joe", "--password", "sesame"], (2, b"joe", b"sesame")),
    "Kerberos": (["--kerberos", "{ticket}"], (3, b"a ticket", b"")),
    "SAML": (["--saml", "{ticket}"], (4, b"a ticket", b"")),
    "JSON web token": (["--jwt", "{ticket}"], (5, b"a ticket", b"")),
}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("wants_answer", [True, False])
@pytest.mark.parametrize("name", DCMTK_IDENTITIES)
def test_a_user_of_dcmtk_is_known(name: str, wants_answer: bool, known: bool, tmp_path: Path) -> None:
    """Q007."""
    options, identity = DCMTK_IDENTITIES[name]
    ticket, image = tmp_path / "ticket", tmp_path / "image.dcm"
    ticket.write_bytes(b"a ticket")
    dataset = ct_image(100)
    dataset.file_meta.TransferSyntaxUID = UID(EXPLICIT_VR_LE)
    dataset.save_as(image, enforce_file_format=True)
    seen: list[tuple[int, bytes, bytes]] = []

    def user(event: Event) -> tuple[bool, bytes]:
        seen.append((event.user_id_type, event.primary_field, event.secondary_field))
        return known, b"granted"

    arguments = [each.format(ticket=ticket) for each in options] + ["--pos-response"] * wants_answer
    with serving_ae([(evt.EVT_USER_ID, user), (evt.EVT_C_STORE, lambda event: 0)]) as server:
        port = str(server.server_address[1])
        done = run_tool([tool("storescu"), "-v", "-R", *arguments, "127.0.0.1", port, str(image)])
    assert seen == [identity]
    assert ("Received Store Response (Success)" in done.stdout + done.stderr) is known
    assert (done.returncode == 0) is known


def shown(view: Any) -> int:
    """Read all that a view documents, and what is below it; how many attributes that were."""
    count = 1
    assert str(view)
    if isinstance(view, View):
        assert len(view) == len(view.encode())
        assert bool(view)
    for name in dir(type(view)):
        attribute = getattr(type(view), name)
        if name.startswith("_") or (callable(attribute) and not isinstance(attribute, Shown)):
            continue
        value = getattr(view, name)
        count += 1
        for each in value if isinstance(value, list) else [value]:
            count += shown(each) if isinstance(each, View | PresentationContext) else 0
            repr(each)
    return count


@pytest.mark.parametrize("name", DAMAGED)
def test_a_view_raised_on_what_a_peer_proposed_badly(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attribute can be read, whatever pydicom is told to think of bad values."""
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    encoded = DAMAGED[name].pdu
    wire = decode_pdu(encoded[0], memoryview(encoded)[6:])
    assert isinstance(wire, AssociateRQ)
    view = pdu.view_of(wire)
    assert isinstance(view, pdu.A_ASSOCIATE_RQ)
    assert shown(view) > 10
    assert view.user_information is not None
    for proposed in view.presentation_context:
        assert proposed.to_primitive().context_id == proposed.context_id
    assert len(view.user_information.to_primitive()) == len(view.user_information.user_data)
    requestor = ServiceUser(None, "requestor")
    requestor.negotiated(wire)
    assert [each.context_id for each in requestor.requested_contexts] == [
        each.context_id for each in view.presentation_context
    ]
    for each in requestor.requested_contexts:
        assert f"{each}{each!r}"
        assert each.abstract_syntax is not None
    assert repr(requestor.primitive)
    names = ("info", "user_information", "role_selection", "sop_class_extended", "sop_class_common_extended")
    for name in (
        *names,
        "asynchronous_operations",
        "user_identity",
        "extended_negotiation",
        "maximum_length",
    ):
        getattr(requestor, name)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_view_raised_on_what_a_peer_answered_badly(name: str) -> None:
    encoded = ANSWERS[name][0]
    wire = decode_pdu(encoded[0], memoryview(encoded)[6:])
    assert isinstance(wire, AssociateAC)
    view = pdu.view_of(wire)
    assert isinstance(view, pdu.A_ASSOCIATE_AC)
    assert shown(view) > 10
    for concluded in view.presentation_context:
        assert concluded.to_primitive().result == concluded.result
    acceptor = ServiceUser(None, "acceptor")
    acceptor.negotiated(wire)
    assert len(acceptor.supported_contexts) == len(view.presentation_context)


def test_handlers_of_negotiation_see_what_a_peer_asked_for_badly() -> None:
    """A bad UID in extended negotiation cost the answers to all the others, or raised before the handler was called."""
    asked: list[Any] = []

    def extended(event: Event) -> dict[UID, bytes]:
        asked.append(event.app_info)
        return dict.fromkeys(event.app_info, b"yes")

    def common(event: Event) -> dict[UID, Any]:
        asked.append(event.items)
        return dict(event.items)

    def requested(event: Event) -> None:
        asked.append([str(each.abstract_syntax) for each in event.assoc.requestor.requested_contexts])

    sent = with_user_items(
        LENGTH,
        item(0x56, b"\x00\x04\xff123!"),
        item(0x56, b"\x00\x00!"),
        item(0x56, b"\x00\x111.2.840.10008.1.1!"),
        item(0x57, b"\x00\x04\xff123\x00\x00\x00\x05\x00\x03\xfe.1"),
    )
    handlers: list[EventHandlerType] = [
        (evt.EVT_SOP_EXTENDED, extended),
        (evt.EVT_SOP_COMMON, common),
        (evt.EVT_REQUESTED, requested),
    ]
    with serving_ae(handlers) as server, RawPeer.connect(server.server_address[1]) as peer:
        peer.send(sent)
        answer = peer.read_pdu()
        peer.send(RELEASE_RQ)
        assert peer.read_pdu() == RELEASE_RP
    assert answer_of(answer) == {1: 0}
    assert asked == [
        ["1.2.840.10008.1.1"],
        {"\xff123": asked[1]["\xff123"]},
        {"\xff123": b"!", "": b"!", "1.2.840.10008.1.1": b"!"},
    ]
    assert answer.count(b"\x56\x00") == 1
    assert b"\x001.2.840.10008.1.1yes" not in answer
    assert b"\x00\x111.2.840.10008.1.1yes" in answer
