"""A-ASSOCIATE PDUs with one thing wrong ended the association; over sockets, in both drivers, in both roles."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.associations import associated, ct_image, serving_ae
from tests.damaged import (
    ANSWERS,
    APPLICATION,
    BROKEN_FRAMING,
    CLASS_UID,
    CT,
    DAMAGED,
    EXPLICIT,
    GOOD,
    IMPLICIT,
    LENGTH,
    VERIFICATION,
    answer_of,
    associate,
    context,
    item,
    proposing,
    role,
)
from tests.interop.peers import aio_server
from tests.retrieving import SCUS
from tests.scripted import Arrived
from tests.sockets import (
    RELEASE_RP,
    RELEASE_RQ,
    RawPeer,
    echo_pdus,
    message_pdus,
    raw_server,
    request_pdu,
    status_of,
    store_pdus,
)

from dicomnet import Peer, aio, build_context, evt
from dicomnet.archive.node import Node
from dicomnet.archive.terms import Terms
from dicomnet.datasets.codec import encode
from dicomnet.dimse.messages import C_STORE_RQ, Message
from dicomnet.exchange.addresses import MAXIMUM_LENGTH
from dicomnet.upper_layer.negotiation import Acceptor, SupportedContext, accept, identification_items
from dicomnet.values import replace
from dicomnet.wire.items import MaximumLength, RoleSelection
from dicomnet.wire.pdu import Abort, AssociateRQ, PDataTF, decode_pdu
from dicomnet.wire.scanner import PDU_EXCESS

SYNTAXES = [IMPLICIT, EXPLICIT]


@contextlib.contextmanager
def ae_acceptor(folder: Path) -> Iterator[int]:
    with serving_ae(uids=(VERIFICATION, CT)) as server:
        yield server.server_address[1]


@contextlib.contextmanager
def aio_acceptor(folder: Path) -> Iterator[int]:
    with aio_server({VERIFICATION: SYNTAXES, CT: SYNTAXES}, {"C-ECHO": lambda request: 0}) as port:
        yield port


@contextlib.contextmanager
def node(folder: Path, terms: Terms | None = None) -> Iterator[int]:
    made = Node(folder, address=("127.0.0.1", 0), has_index=False, sync=False, terms=terms)
    made.start()
    try:
        yield made.address[1]
    finally:
        made.shutdown()


ACCEPTORS: dict[str, Callable[[Path], contextlib.AbstractContextManager[int]]] = {
    "AE": ae_acceptor,
    "aio": aio_acceptor,
    "node": node,
}


@pytest.fixture(scope="module", params=ACCEPTORS)
def acceptor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with ACCEPTORS[request.param](tmp_path_factory.mktemp("acceptor")) as port:
        yield port


@pytest.mark.parametrize("name", DAMAGED)
def test_one_bad_detail_of_a_request_ended_the_association(name: str, acceptor: int) -> None:
    """What is left serves: a C-ECHO, and release."""
    pdu, expected, _ = DAMAGED[name]
    with RawPeer.connect(acceptor) as peer:
        peer.send(pdu)
        answer = peer.read_pdu()
        assert answer_of(answer) == expected
        if isinstance(expected, tuple):
            return
        # Titles and reserved bytes are repeated as they came (PS3.8 section 9.3.3).
        assert answer[10:74] == pdu[10:74]
        if expected.get(1) == 0:
            peer.send(echo_pdus())
            assert status_of(peer.read_pdu()) == 0
        peer.send(RELEASE_RQ)
        assert peer.read_pdu() == RELEASE_RP


@pytest.mark.parametrize("name", BROKEN_FRAMING)
def test_a_request_whose_lengths_contradict_each_other_is_aborted(name: str, acceptor: int) -> None:
    """PS3.8 Table 9-10, event 19 in Sta2: action AA-1, an A-ABORT of the service user."""
    with RawPeer.connect(acceptor) as peer:
        peer.send(BROKEN_FRAMING[name])
        assert peer.read_pdu() == Abort(0).encode()


@pytest.mark.parametrize("private", ["1.2.3\xff", "", "word", "1" * 65, "1.2.840.10008.5.1.4.1.1.2 "])
def test_a_node_that_takes_private_classes_takes_uids_only(private: str, tmp_path: Path) -> None:
    """One that is only padded is the class that it pads."""
    with node(tmp_path, Terms(accepts_private=True)) as port, RawPeer.connect(port) as peer:
        peer.send(proposing(GOOD, context(3, private, IMPLICIT)))
        assert answer_of(peer.read_pdu()) == {1: 0, 3: 0 if private.endswith(" ") else 3}


def gives_back(request: aio.AssociationRequest) -> aio.Acceptance:
    identity = request.identity.primary_field if request.identity else None
    return aio.Acceptance(identity=identity, extended=request.extended)


@contextlib.contextmanager
def aio_that_gives_back() -> Iterator[int]:
    with aio_server({VERIFICATION: SYNTAXES}, {}, admit=gives_back) as port:
        yield port


def supports_what_is_asked(event: Any) -> None:
    asked = list(event.assoc.requestor.requested_contexts)
    for each in asked:
        each.scu_role = each.scp_role = True
    event.assoc.acceptor.supported_contexts = asked


@contextlib.contextmanager
def ae_that_gives_back() -> Iterator[int]:
    handlers: list[Any] = [
        (evt.EVT_REQUESTED, supports_what_is_asked),
        (evt.EVT_SOP_EXTENDED, lambda event: event.app_info),
        (evt.EVT_SOP_COMMON, lambda event: event.items),
        (evt.EVT_USER_ID, lambda event: (True, event.primary_field)),
    ]
    with serving_ae(handlers, uids=(VERIFICATION,)) as server:
        yield server.server_address[1]


def named(kind: int, uid: bytes, rest: bytes) -> bytes:
    return item(kind, len(uid).to_bytes(2, "big") + uid + rest)


BAD_NAMES = [b"1.\xff2", b"1." + b"2" * 68, b"", b"hello world", b"1.2\\1.3", b"\0", b"1..2", "1.２".encode()]
# The sub-items behind the SOP class, and what the proposal has besides.
GIVEN_BACK: dict[str, Callable[[bytes], tuple[bytes, ...]]] = {
    "extended": lambda uid: (GOOD, user(named(0x56, uid, b"\1"), named(0x56, b"1.2.3", b"\2"))),
    "common extended": lambda uid: (GOOD, user(named(0x57, uid, named(0, uid, b"")[4:] + b"\0\0"))),
    "role": lambda uid: (GOOD, context(3, uid, IMPLICIT), user(role(uid, 1, 1), role(VERIFICATION, 1, 1))),
    "transfer syntax": lambda uid: (context(1, VERIFICATION, uid, IMPLICIT), user()),
}


def user(*sub_items: bytes) -> bytes:
    return item(0x50, b"".join((LENGTH, CLASS_UID, *sub_items)))


@pytest.mark.parametrize("face", [aio_that_gives_back, ae_that_gives_back])
@pytest.mark.parametrize("what", GIVEN_BACK)
def test_a_bad_item_that_a_handler_gave_back_ended_the_association(face: Any, what: str) -> None:
    """It is not answered; what is good is."""
    with face() as port:
        for uid in BAD_NAMES:
            with RawPeer.connect(port) as peer:
                peer.send(associate(APPLICATION, *GIVEN_BACK[what](uid)))
                answer = peer.read_pdu()
                assert answer_of(answer)[1] == 0, uid
                if what == "extended":
                    assert named(0x56, b"1.2.3", b"\2") in answer
                    assert answer.count(b"\x56\0") == 1
                if what == "role" and not uid.startswith((b"hello", b"1..")):
                    assert answer_of(answer) != {1: 0, 3: 0}
                peer.send(echo_pdus())
                assert status_of(peer.read_pdu()) == 0


@pytest.mark.parametrize("face", [aio_that_gives_back, ae_that_gives_back])
def test_an_answer_too_long_for_our_own_items_ended_the_association(face: Any) -> None:
    """The peer's items had just enough room; ours that say who we are take more."""
    long = [
        [named(0x56, b"1.2.3", bytes(65_470))],
        [named(0x56, b"1.2.3", bytes(32_000)), named(0x56, b"1.2.4", bytes(33_450))],
        [item(0x58, b"\3\1" + named(0, bytes(65_470), b"\0\0")[4:])],
    ]
    with face() as port:
        for items in long:
            with RawPeer.connect(port) as peer:
                peer.send(associate(APPLICATION, GOOD, item(0x50, b"".join((LENGTH, *items)))))
                answer = peer.read_pdu()
                assert answer_of(answer) == {1: 0}
                assert (named(0x56, b"1.2.3", bytes(32_000)) in answer) == (len(items) == 2)
                peer.send(echo_pdus())
                assert status_of(peer.read_pdu()) == 0


# -- as requestor


def by_ae(port: int) -> list[tuple[int, str]]:
    contexts = [build_context(VERIFICATION, SYNTAXES), build_context(VERIFICATION, SYNTAXES)]
    with associated(port, contexts=contexts) as assoc:
        assert assoc.send_c_echo().Status == 0
        return [(int(each.context_id or 0), str(each.transfer_syntax[0])) for each in assoc.accepted_contexts]


def by_aio(port: int) -> list[tuple[int, str]]:
    async def run() -> list[tuple[int, str]]:
        proposed = {VERIFICATION: SYNTAXES, CT: SYNTAXES}
        async with await aio.connect(f"SCP@127.0.0.1:{port}", proposed) as assoc:
            if any(each.abstract_syntax == VERIFICATION for each in assoc.accepted_contexts):
                assert (await assoc.send_c_echo()).Status == 0
            return [(each.context_id, each.transfer_syntax) for each in assoc.accepted_contexts]

    return asyncio.run(run())


@pytest.mark.parametrize("requestor", [by_ae, by_aio])
@pytest.mark.parametrize("name", [name for name, (_, usable) in ANSWERS.items() if usable])
def test_one_bad_detail_of_an_acceptance_ended_the_association(
    name: str, requestor: Callable[[int], list[tuple[int, str]]]
) -> None:
    pdu, usable = ANSWERS[name]

    def serve(peer: RawPeer) -> None:
        peer.read_pdu()
        peer.send(pdu)
        while (received := peer.read_pdu())[:1] == b"\x04":
            peer.send(Arrived(0, 0, received[10], received).response())
        peer.send(RELEASE_RP)

    with raw_server(serve) as port:
        assert requestor(port) == list(usable.items())


# -- roles that a peer does not answer


def sends_objects(
    answered: RoleSelection | None,
    statuses: list[int],
    see: Callable[[bytes], None] = lambda pdu: None,
    over: int | None = None,
) -> Callable[[RawPeer], None]:
    """An SCP of C-GET that sends one object, whatever it says of roles; in a PDU that is over the limit by ``over``."""

    def serve(peer: RawPeer) -> None:
        pdu = peer.read_pdu()
        asked = decode_pdu(pdu[0], memoryview(pdu)[6:])
        assert isinstance(asked, AssociateRQ)
        supported = {
            each.abstract_syntax: SupportedContext(each.transfer_syntaxes) for each in asked.contexts
        }
        answer, _ = accept(asked, Acceptor(supported, identification_items(16384, "1.2.3", None)))
        if answered is not None:
            answer = replace(answer, user_items=(*answer.user_items, answered))
        peer.send(answer.encode())
        received = peer.read_pdu()
        request = Arrived(0, 0, received[10], received)
        peer.read_pdu()
        (stored,) = [each for each in asked.contexts if each.abstract_syntax == CT]
        is_implicit = answer.contexts[asked.contexts.index(stored)].transfer_syntax == IMPLICIT
        length = 16384
        if over is not None:
            (maximum,) = [each for each in asked.user_items if isinstance(each, MaximumLength)]
            length = maximum.maximum_length + over
        data = encode(ct_image(0 if over is None else length), is_implicit, True)
        command = {
            "AffectedSOPClassUID": CT,
            "MessageID": 1,
            "Priority": 2,
            "AffectedSOPInstanceUID": "1.2.3.4",
        }
        peer.send(message_pdus(Message(C_STORE_RQ, command, stored.context_id, data), length))
        response = peer.read_pdu()
        statuses.append(status_of(response))
        see(response)
        peer.send(request.response(0))
        peer.read_pdu()
        peer.send(RELEASE_RP)

    return serve


@pytest.mark.parametrize("scu", SCUS)
@pytest.mark.parametrize(
    ("answered", "status"),
    [(None, 0), (RoleSelection(CT, True, False), 0x0122), (RoleSelection(CT, False, True), 0)],
)
def test_objects_of_a_peer_that_answers_no_role_were_refused(
    scu: str, answered: RoleSelection | None, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Taken where we asked for the role and nothing was said to that, and said once; a no is a no."""
    statuses: list[int] = []
    arrived: list[str] = []

    def store(uid: str) -> int:
        arrived.append(uid)
        return 0

    with caplog.at_level(logging.WARNING, "dicomnet"), raw_server(sends_objects(answered, statuses)) as port:
        SCUS[scu](port, "C-GET", store)
    assert statuses == [status]
    assert arrived == ([] if status else ["1.2.3.4"])
    said = [record for record in caplog.records if "role of SCP" in record.getMessage()]
    assert len(said) == (answered is None)


@pytest.mark.parametrize("scu", SCUS)
def test_a_refused_role_was_explained_as_another_sop_class(scu: str) -> None:
    comments: list[bytes] = []
    answered = RoleSelection(CT, True, False)
    with raw_server(sends_objects(answered, [], comments.append)) as port:
        SCUS[scu](port, "C-GET", lambda uid: 0)
    (comment,) = comments
    assert b"not given the role of SCU" in comment


@pytest.mark.parametrize("face", ["Peer", "aio.Peer"])
def test_get_takes_objects_of_a_peer_that_answers_no_role(face: str, tmp_path: Path) -> None:
    statuses: list[int] = []

    async def get(address: str) -> None:
        async with aio.Peer(address) as peer:
            async for _ in peer.get("patient", to=tmp_path, contexts={CT: [IMPLICIT]}, PatientID="1"):
                pass

    with raw_server(sends_objects(None, statuses)) as port:
        if face == "Peer":
            with Peer(f"SCP@127.0.0.1:{port}") as peer:
                list(peer.get("patient", to=tmp_path, contexts={CT: [IMPLICIT]}, PatientID="1"))
        else:
            asyncio.run(get(f"SCP@127.0.0.1:{port}"))
    assert statuses == [0]
    assert [path.name for path in tmp_path.glob("*.dcm")] == ["1.2.3.4.dcm"]


# -- PDUs that are longer than announced


def image_of(size: int) -> bytes:
    data = ct_image(size)
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.9"
    encoded = encode(data, True, True)
    assert encoded is not None
    return encoded


@pytest.mark.parametrize("over", [2, 14, 100_000, MAXIMUM_LENGTH])
def test_a_pdu_somewhat_longer_than_announced_ended_the_association(
    over: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Up to 786432 bytes more than announced are taken, which is said once."""
    data = image_of(MAXIMUM_LENGTH + over - 6 - len(image_of(0)) - 8)
    assert len(data) == MAXIMUM_LENGTH + over - 6
    with node(tmp_path) as port, RawPeer.connect(port) as peer:
        peer.send(request_pdu((1, CT)))
        peer.read_pdu()
        for message_id in (1, 2):
            pdus = store_pdus(
                data, instance="1.2.3.4", message_id=message_id, maximum_length=2 * MAXIMUM_LENGTH
            )
            assert (MAXIMUM_LENGTH + over).to_bytes(4, "big") in pdus[:400]
            peer.send(pdus)
            assert status_of(peer.read_pdu()) == 0
        peer.send(RELEASE_RQ)
        assert peer.read_pdu() == RELEASE_RP
    assert caplog.text.count("though 786432 were announced") == 1


@pytest.mark.parametrize(
    ("terms", "length"), [(Terms(), 2 * MAXIMUM_LENGTH + 1), (Terms(excess=0), MAXIMUM_LENGTH + 1)]
)
def test_a_pdu_beyond_all_bounds_still_ends_it(terms: Terms, length: int, tmp_path: Path) -> None:
    with node(tmp_path, terms) as port, RawPeer.connect(port) as peer:
        peer.send(request_pdu((1, CT)))
        peer.read_pdu()
        peer.send(b"\x04\0" + length.to_bytes(4, "big"))
        assert peer.read_pdu() == Abort(2, 6).encode()


@pytest.mark.parametrize("acceptor_of", [ae_acceptor, aio_acceptor])
def test_the_library_took_what_it_announces_and_no_more(
    acceptor_of: Callable[[Path], contextlib.AbstractContextManager[int]], tmp_path: Path
) -> None:
    """Each acceptor takes as much more as the node does, and nothing beyond."""
    with acceptor_of(tmp_path) as port, RawPeer.connect(port) as peer:
        peer.send(request_pdu((1, CT)))
        answer = peer.read_pdu()
        announced = int.from_bytes(answer[answer.index(b"\x51\0\0\4") + 4 :][:4], "big")
        data = image_of(announced + PDU_EXCESS - 6 - len(image_of(0)) - 8)
        peer.send(store_pdus(data, instance="1.2.3.4", maximum_length=announced + PDU_EXCESS))
        assert peer.read_pdu()[0] == PDataTF.pdu_type
        peer.send(b"\x04\0" + (announced + PDU_EXCESS + 1).to_bytes(4, "big"))
        assert peer.read_pdu() == Abort(2, 6).encode()


@pytest.mark.parametrize("scu", SCUS)
@pytest.mark.parametrize("over", [2, (1 << 20) - MAXIMUM_LENGTH, PDU_EXCESS])
def test_an_object_in_pdus_longer_than_announced_ended_a_retrieval(scu: str, over: int) -> None:
    """The requestor takes as much more as the node does: many SCPs of C-GET send PDUs of a length of their own."""
    statuses: list[int] = []
    arrived: list[str] = []

    def store(uid: str) -> int:
        arrived.append(uid)
        return 0

    with raw_server(sends_objects(None, statuses, over=over)) as port:
        SCUS[scu](port, "C-GET", store)
    assert statuses == [0]
    assert arrived == ["1.2.3.4"]
