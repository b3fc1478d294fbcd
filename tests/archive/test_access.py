"""Who may do what at a node: the rules by themselves, and row by row over sockets."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from tests.grids import grid
from tests.sockets import (
    RELEASE_RP,
    RELEASE_RQ,
    Certificates,
    RawPeer,
    make_certificates,
    message_pdus,
    request_pdu,
    status_of,
    store_pdus,
)
from tests.support import stored

from dicomnet import AE, Peer
from dicomnet.archive.access import (
    EVERYTHING,
    NOT_AUTHORIZED,
    OPERATIONS,
    Access,
    Rule,
    limited,
    names_in,
    networks_of,
)
from dicomnet.archive.node import Node
from dicomnet.archive.terms import Terms
from dicomnet.dimse.messages import C_ECHO_RQ, C_FIND_RQ, C_GET_RQ, C_MOVE_RQ, C_STORE_RQ, Message
from dicomnet.drivers.tls import ServerCertificate, client_context
from dicomnet.errors import NoAcceptedContext
from dicomnet.pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)
from dicomnet.upper_layer.negotiation import Acceptor, Result, SupportedContext, accept
from dicomnet.wire.items import ProposedContext, RoleSelection
from dicomnet.wire.pdu import AssociateAC, AssociateRQ

CT = dcmread(str(get_testdata_file("CT_small.dcm")))
CLASSES = {
    Verification: "echo",
    CTImageStorage: "store",
    StudyRootQueryRetrieveInformationModelFind: "find",
    StudyRootQueryRetrieveInformationModelGet: "get",
    StudyRootQueryRetrieveInformationModelMove: "move",
}
EXPLICIT, STUDY_GET = "1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.1.2.2.3"


def rule(
    *words: str, title: str | None = None, address: str | None = None, certificate: str | None = None
) -> Rule:
    networks = None if address is None else networks_of(address)
    return Rule(title, networks, certificate, frozenset(OPERATIONS[word] for word in words))


# -- the rules by themselves


def test_without_rules_everybody_may_do_everything() -> None:
    assert Access().allowed("ANY", "10.0.0.1") == EVERYTHING
    assert Access(()).allowed("ANY", "10.0.0.1") == frozenset()


@pytest.mark.parametrize(
    ("place", "address", "fits"),
    [
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5", "10.0.0.50", False),
        ("10.0.0.5", "::ffff:10.0.0.5", True),
        ("fd00::/8", "fd00::1", True),
        ("fd00::/8", "10.0.0.5", False),
        ("fe80::1", "fe80::1%eth0", True),
        ("127.0.0.1", "not an address", False),
    ],
)
def test_addresses(place: str, address: str, fits: bool) -> None:
    assert bool(Access((rule("echo", address=place),)).allowed("A", address)) is fits


def test_a_host_name_means_its_addresses(caplog: pytest.LogCaptureFixture) -> None:
    assert Access((rule("echo", address="localhost"),)).allowed("A", "127.0.0.1")
    assert networks_of("nowhere.invalid") == ()
    assert "nowhere.invalid is not known" in caplog.text
    assert not Access((rule("echo", address="nowhere.invalid"),)).allowed("A", "127.0.0.1")


@pytest.mark.parametrize("title", ["ct1", "CT1 ", "CT", "CT11", ""])
def test_a_title_is_compared_exactly(title: str) -> None:
    access = Access((rule("echo", title="CT1"),))
    assert access.allowed("CT1", "10.0.0.1")
    assert not access.allowed(title, "10.0.0.1")


def test_no_name_can_be_taken_for_a_subject() -> None:
    """Who is given a certificate with a common name of his choice is not another one."""

    def names(common: str, *alternatives: tuple[str, str]) -> frozenset[str]:
        subject = ((("commonName", common),), (("organizationName", "Hospital"),))
        return names_in({"subject": subject, "subjectAltName": alternatives})

    assert names("ct1", ("DNS", "ct1.example"), ("IP Address", "10.0.0.1")) == {
        "ct1",
        "CN=ct1,O=Hospital",
        "ct1.example",
        "10.0.0.1",
    }
    assert names("ct1,O=Hospital") == {"CN=ct1\\,O\\=Hospital,O=Hospital"}
    assert "CN=ct1,O=Hospital" not in names("CN=ct1,O=Hospital", ("DNS", "CN=ct1,O=Hospital"))
    assert names_in({}) == frozenset()


@pytest.mark.parametrize(
    ("words", "role", "result"),
    [
        (("get",), (True, True), Result.ACCEPTANCE),
        (("get",), (False, True), Result.ACCEPTANCE),
        (("get",), (True, False), Result.USER_REJECTION),
        (("get",), None, Result.USER_REJECTION),
        (("echo",), (False, True), Result.USER_REJECTION),
        (("get", "store"), (True, True), Result.ACCEPTANCE),
        (("get", "store"), None, Result.ACCEPTANCE),
    ],
)
def test_a_retriever_may_receive_and_not_store(
    words: Sequence[str], role: tuple[bool, bool] | None, result: Result
) -> None:
    acceptor = Acceptor(
        {STUDY_GET: SupportedContext((EXPLICIT,)), CTImageStorage: SupportedContext((EXPLICIT,))}, ()
    )
    items = () if role is None else (RoleSelection(CTImageStorage, *role),)
    request = AssociateRQ("NODE", "A", (ProposedContext(1, CTImageStorage, (EXPLICIT,)),), items)
    allowed = frozenset(OPERATIONS[each] for each in words)
    operations = {STUDY_GET: "C-GET", CTImageStorage: "C-STORE"}
    answer, agreement = accept(request, limited(acceptor, operations, allowed, request))
    assert isinstance(answer, AssociateAC)
    context = agreement.contexts[1]
    assert context.result == result
    if "store" not in words:
        # The node is the SCU of what it sends, and never the SCP.
        assert not context.as_scp


# -- over sockets


RULES = (
    rule(title="BANNED"),
    rule("echo", "store", "find", "get", "move", certificate="CN=admin,O=Hospital"),
    rule("find", "get", title="VIEWER", certificate="viewer.hospital.example"),
    rule("echo", "store", title="CT1", address="127.0.0.2", certificate="ct1"),
    rule("echo", "store", title="CT1", address="127.0.0.2/31"),
    rule("echo", title="MONITOR"),
    rule("echo", "find", address="127.0.0.4"),
    rule("find", "move", title="WORKSTATION", address="127.0.0.8/29"),
    rule("store", certificate="ct1.hospital.example"),
)
# Title, address, certificate, and what the peer may do; None where it is rejected.
WHO: dict[str, tuple[str, str, str | None, set[str] | None]] = {
    "nobody that is known": ("STRANGER", "127.0.0.1", None, None),
    "a title with other letters": ("monitor", "127.0.0.1", None, None),
    "a title that goes on": ("MONITOR2", "127.0.0.1", None, None),
    "by title alone": ("MONITOR", "127.0.0.9", None, {"echo"}),
    "by title and address": ("CT1", "127.0.0.2", None, {"echo", "store"}),
    "by title and network": ("CT1", "127.0.0.3", None, {"echo", "store"}),
    "the title from elsewhere": ("CT1", "127.0.0.1", None, None),
    "the address with another title": ("CT2", "127.0.0.2", None, None),
    "by address alone": ("WHOEVER", "127.0.0.4", None, {"echo", "find"}),
    "banned, though the address may": ("BANNED", "127.0.0.4", None, None),
    "by the subject": ("WHOEVER", "127.0.0.1", "admin", set(CLASSES.values())),
    "banned, though the subject may": ("BANNED", "127.0.0.1", "admin", None),
    "by alternative name and title": ("VIEWER", "127.0.0.1", "viewer", {"find", "get"}),
    "the title without the certificate": ("VIEWER", "127.0.0.1", None, None),
    "the title with another certificate": ("VIEWER", "127.0.0.1", "ct1", {"store"}),
    "the certificate with another title": ("CT9", "127.0.0.1", "viewer", None),
    "by title and a longer network": ("WORKSTATION", "127.0.0.15", None, {"find", "move"}),
    "the title from behind the network": ("WORKSTATION", "127.0.0.16", None, None),
    "by certificate alone": ("WORKSTATION", "127.0.0.1", "ct1", {"store"}),
    "by all three": ("CT1", "127.0.0.2", "ct1", {"echo", "store"}),
    "a later rule, as the certificate is another": ("CT1", "127.0.0.2", "viewer", {"echo", "store"}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"), others=("admin", "viewer", "ct1"))


@pytest.fixture(scope="module")
def node(made: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    shown = ServerCertificate(
        str(made.certificate), str(made.key), None, str(made.authority), ssl.CERT_OPTIONAL
    )
    with running(
        tmp_path_factory.mktemp("store"), tls=shown.context(), terms=Terms(access=Access(RULES))
    ) as started:
        yield started


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Node]:
    started = Node(folder, address=("127.0.0.1", 0), **options)
    started.start()
    try:
        yield started
    finally:
        started.shutdown()


def query(study: str = "") -> Dataset:
    keys = Dataset()
    keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", study
    return keys


# What each operation of a peer that may do it ends with: nothing is stored of that study, and the destination of a
# C-MOVE is none of the node's.
ENDS = {"echo": 0x0000, "store": 0x0000, "find": 0x0000, "get": 0x0000, "move": 0xA801}


def performed(association: Any) -> Mapping[str, int]:
    """The status of each operation whose context was accepted."""
    accepted = {CLASSES[each.abstract_syntax]: each.abstract_syntax for each in association.accepted_contexts}
    perform: dict[str, Callable[[], int]] = {
        "echo": lambda: int(association.send_c_echo().Status),
        "store": lambda: int(association.send_c_store(CT).Status),
        "find": lambda: _last(association.send_c_find(query(), accepted["find"])),
        "get": lambda: _last(association.send_c_get(query("1.2.3"), accepted["get"])),
        "move": lambda: _last(association.send_c_move(query("1.2.3"), "ELSEWHERE", accepted["move"])),
    }
    return {word: perform[word]() for word in accepted}


def _last(responses: Iterable[tuple[Dataset, Dataset | None]]) -> int:
    """The last status of several."""
    return int([status.Status for status, _ in responses][-1])


def outcome(
    node: Node, made: Certificates, title: str, address: str, certificate: str | None
) -> set[str] | None:
    """What a peer may do, as it finds out by proposing and doing all that there is; None if it is rejected."""
    context = client_context(made.authority)
    context.check_hostname = False
    if certificate is not None:
        context.load_cert_chain(made.of(certificate))
    ae = AE(title)
    for each in CLASSES:
        ae.add_requested_context(each)
    association = ae.associate(
        "127.0.0.1", node.address[1], bind_address=(address, 0), tls_args=(context, "localhost")
    )
    if not association.is_established:
        assert association.is_rejected
        rejection: Any = association.acceptor.primitive
        # PS3.8 Table 9-21: permanently, by the user, calling AE title not recognized.
        assert (rejection.result, rejection.result_source, rejection.diagnostic) == (1, 1, 3)
        return None
    try:
        may = performed(association)
        assert may == {word: ENDS[word] for word in may}
        refused = {CLASSES[each.abstract_syntax]: each.result for each in association.rejected_contexts}
        assert refused == dict.fromkeys(set(CLASSES.values()) - set(may), Result.USER_REJECTION)
        return set(may)
    finally:
        association.release()


@grid("who", WHO)
def test_who_may_do_what(node: Node, made: Certificates, who: str) -> None:
    title, address, certificate, expected = WHO[who]
    assert outcome(node, made, title, address, certificate) == expected


# Who may do what of echo, store, find, get and move, by the first letters: all titles, addresses and certificates with
# each other. A hyphen stands for a rejection.
COLUMNS = [(address, name) for address in ("1", "2", "4", "9") for name in (None, "admin", "viewer", "ct1")]
TABLE = """
            ---------- .1 ----------  ---------- .2 ----------  ---------- .4 ----------  ---------- .9 ----------
            -    admin  viewer  ct1   -    admin  viewer  ct1   -    admin  viewer  ct1   -    admin  viewer  ct1
BANNED      -    -      -       -     -    -      -       -     -    -      -       -     -    -      -       -
VIEWER      -    esfgm  fg      s     -    esfgm  fg      s     ef   esfgm  fg      ef    -    esfgm  fg      s
CT1         -    esfgm  -       s     es   esfgm  es      es    ef   esfgm  ef      ef    -    esfgm  -       s
MONITOR     e    esfgm  e       e     e    esfgm  e       e     e    esfgm  e       e     e    esfgm  e       e
WORKSTATION -    esfgm  -       s     -    esfgm  -       s     ef   esfgm  ef      ef    fm   esfgm  fm      fm
STRANGER    -    esfgm  -       s     -    esfgm  -       s     ef   esfgm  ef      ef    -    esfgm  -       s
"""
CELLS = {title: cells for title, *cells in map(str.split, TABLE.strip().splitlines()[2:])}


@pytest.mark.parametrize("title", CELLS)
def test_titles_addresses_and_certificates_with_each_other(
    node: Node, made: Certificates, title: str
) -> None:
    letters = {word[0]: word for word in CLASSES.values()}
    wrong = {}
    for (address, certificate), cell in zip(COLUMNS, CELLS[title], strict=True):
        expected = None if cell == "-" else {letters[each] for each in cell}
        found = outcome(node, made, title, f"127.0.0.{address}", certificate)
        if found != expected:
            wrong[address, certificate] = found
    assert wrong == {}


@pytest.mark.parametrize("proposed", [CTImageStorage, Verification])
def test_who_may_not_store_and_does_so_all_the_same(tmp_path: Path, proposed: str) -> None:
    """On the context that a C-GET needs, in which the peer is the SCP, and on one of another service."""
    request = AssociateRQ(
        "NODE",
        "GETTER",
        (ProposedContext(1, proposed, (EXPLICIT,)),),
        (RoleSelection(CTImageStorage, True, True),),
    )
    with running(tmp_path, terms=Terms(access=Access((rule("echo", "get"),)))) as started:
        with RawPeer.connect(started.address[1]) as peer:
            peer.send(request.encode())
            assert peer.read_pdu()[:1] == b"\2"
            peer.send(store_pdus(b"\x08\0\x18\0UI\6\0001.2.3\0", instance="1.2.3"))
            assert status_of(peer.read_pdu()) != 0
            peer.send(RELEASE_RQ)
            assert peer.read_pdu() == RELEASE_RP
        assert stored(tmp_path) == {}


IMPLICIT_QUERY = b"\x08\0\x52\0\6\0\0\0STUDY " + b"\x20\0\x0d\0\6\0\0\x001.2.3\0"


def _request(word: str, sop_class: str, message_id: int) -> bytes:
    """A request for an operation on context 1."""
    command: dict[str, Any] = {"AffectedSOPClassUID": sop_class, "MessageID": message_id}
    if word != "echo":
        command["Priority"] = 2
    if word == "store":
        command["AffectedSOPInstanceUID"] = "1.2.3"
    if word == "move":
        command["MoveDestination"] = "ELSEWHERE"
    kinds = {"echo": C_ECHO_RQ, "store": C_STORE_RQ, "find": C_FIND_RQ, "get": C_GET_RQ, "move": C_MOVE_RQ}
    return message_pdus(Message(kinds[word], command, 1, None if word == "echo" else IMPLICIT_QUERY))


@pytest.mark.parametrize("word", CLASSES.values())
def test_who_may_do_one_thing_and_does_the_others_all_the_same(tmp_path: Path, word: str) -> None:
    """On the context of what is allowed, as there is no other; the association goes on."""
    uids = {name: uid for uid, name in CLASSES.items()}
    with running(tmp_path, terms=Terms(access=Access((rule(word),)))) as started:
        with RawPeer.connect(started.address[1]) as peer:
            peer.send(request_pdu((1, uids[word])))
            assert peer.read_pdu()[:1] == b"\2"
            others = [each for each in CLASSES.values() if each != word]
            for number, other in enumerate(others, 1):
                peer.send(_request(other, uids[other], number))
                # A C-ECHO is refused for its SOP class, which the context is not for, before anybody asks who may.
                assert status_of(peer.read_pdu()) == (0x0122 if other == "echo" else NOT_AUTHORIZED), other
            peer.send(RELEASE_RQ)
            assert peer.read_pdu() == RELEASE_RP
        assert stored(tmp_path) == {}


@pytest.mark.parametrize(("word", "may"), [("get", True), ("find", False)])
def test_who_may_get_has_what_is_stored_and_cannot_move_it(tmp_path: Path, word: str, may: bool) -> None:
    access = Access((rule("store", title="CT1"), rule(word)))
    with running(tmp_path / "node", terms=Terms(access=access)) as started:
        address = f"127.0.0.1:{started.address[1]}"
        with Peer(address, calling="CT1") as sender:
            assert [each.status for each in sender.store(str(get_testdata_file("CT_small.dcm")))] == [0]
        with Peer(address, calling="VIEWER") as peer:
            with pytest.raises(NoAcceptedContext):
                list(peer.move("VIEWER", "study", StudyInstanceUID=CT.StudyInstanceUID))
            if may:
                last = list(peer.get("study", StudyInstanceUID=CT.StudyInstanceUID, to=tmp_path / "got"))[-1]
                assert (last.status, last.completed, last.received) == (0, 1, 1)
            else:
                with pytest.raises(NoAcceptedContext):
                    list(peer.get("study", StudyInstanceUID=CT.StudyInstanceUID, to=tmp_path / "got"))
