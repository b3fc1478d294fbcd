"""Negotiation, as functions, and beside the acceptor of pynetdicom."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pynetdicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.damaged import (
    ANSWERS,
    APPLICATION,
    BOTH,
    CLASS_UID,
    DAMAGED,
    LENGTH,
    answer_of,
    associate,
    context,
    item,
    role,
)
from tests.grids import grid
from tests.sockets import RawPeer

from dicomnet.upper_layer.negotiation import (
    Acceptor,
    Agreement,
    NegotiatedContext,
    Result,
    SupportedContext,
    accept,
    conclude_as_requestor,
    first_of,
    identification_items,
    items_of,
    refuse_names,
    supports_version,
)
from dicomnet.values import replace
from dicomnet.wire.items import (
    AsynchronousOperationsWindow,
    ContextResult,
    ImplementationClassUID,
    ImplementationVersionName,
    MaximumLength,
    ProposedContext,
    RoleSelection,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserItem,
)
from dicomnet.wire.pdu import AssociateAC, AssociateRJ, AssociateRQ, decode_pdu

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
US = "1.2.840.10008.5.1.4.1.1.6.1"
NM = "1.2.840.10008.5.1.4.1.1.20"
UNKNOWN = "1.2.3.4.5.6"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"

IDENTIFICATION = identification_items(16384, "1.2.3", "TEST")
# An abstract syntax of its own for each pair of roles that an acceptor can grant.
ROLE_CLASSES = {
    f"1.2.9.{number}": roles
    for number, roles in enumerate([(None, None), *itertools.product((False, True), repeat=2)], 1)
}
SUPPORTED = {
    VERIFICATION: SupportedContext((IMPLICIT, EXPLICIT)),
    CT: SupportedContext((EXPLICIT, IMPLICIT)),
    MR: SupportedContext((JPEG,)),
    US: SupportedContext((IMPLICIT,), True, True),
} | {uid: SupportedContext((IMPLICIT,), scu, scp) for uid, (scu, scp) in ROLE_CLASSES.items()}
ACCEPTOR = Acceptor(SUPPORTED, IDENTIFICATION)
LIKE_PYNETDICOM = Acceptor(
    {uid: replace(context, is_ordered=True) for uid, context in SUPPORTED.items()}, IDENTIFICATION
)


def request(*contexts: tuple[str, tuple[str, ...]], items: tuple[UserItem, ...] = ()) -> AssociateRQ:
    return AssociateRQ(
        "CALLED",
        "CALLING",
        tuple(ProposedContext(2 * i + 1, uid, syntaxes) for i, (uid, syntaxes) in enumerate(contexts)),
        (*identification_items(32768, "1.2.4", None), *items),
    )


@pytest.fixture(scope="module")
def pynetdicom_port() -> Iterator[int]:
    """pynetdicom's acceptor, with the same things supported."""
    ae = pynetdicom.AE()
    for uid, supported in SUPPORTED.items():
        ae.add_supported_context(
            uid, list(supported.transfer_syntaxes), supported.scu_role, supported.scp_role
        )
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    yield server.server_address[1]
    server.shutdown()


def answer_of_pynetdicom(port: int, asked: AssociateRQ) -> AssociateAC:
    with RawPeer.connect(port) as peer:
        peer.send(asked.encode())
        pdu = peer.read_pdu()
        peer.send(bytes.fromhex("07000000000400000000"))
    answer = decode_pdu(pdu[0], memoryview(pdu)[6:])
    assert isinstance(answer, AssociateAC)
    return answer


def essence(
    answer: AssociateAC,
) -> tuple[list[tuple[int, int, str]], dict[str, tuple[bool, bool]]]:
    """Results, accepted transfer syntaxes, and granted roles; the rest is each side's own."""
    contexts = [(c.context_id, c.result, c.transfer_syntax if c.result == 0 else "") for c in answer.contexts]
    roles = items_of(answer.user_items, RoleSelection)
    return sorted(contexts), {role.sop_class: (role.scu_role, role.scp_role) for role in roles}


PROPOSALS = {
    "accepted": request((CT, (IMPLICIT,))),
    "the order of transfer syntaxes": request((CT, (IMPLICIT, EXPLICIT)), (CT, (EXPLICIT, IMPLICIT))),
    "first one that is supported": request((CT, (BIG, JPEG, EXPLICIT))),
    "abstract syntax not supported": request((UNKNOWN, (IMPLICIT,))),
    "transfer syntaxes not supported": request((CT, (BIG, JPEG)), (MR, (IMPLICIT,))),
    "everything at once": request(
        (VERIFICATION, (IMPLICIT,)), (UNKNOWN, (IMPLICIT,)), (MR, (IMPLICIT, JPEG)), (CT, (BIG,))
    ),
    "same abstract syntax in several contexts": request(
        (CT, (IMPLICIT,)), (CT, (EXPLICIT,)), (CT, (BIG,)), (CT, (IMPLICIT, EXPLICIT))
    ),
    "128 contexts": request(*[(CT, (IMPLICIT,))] * 128),
    "role selection of what is not supported": request(
        (UNKNOWN, (IMPLICIT,)), items=(RoleSelection(UNKNOWN, True, True),)
    ),
}


@pytest.mark.parametrize("name", PROPOSALS)
def test_the_answer_is_that_of_pynetdicom(pynetdicom_port: int, name: str) -> None:
    asked = PROPOSALS[name]
    ours, agreement = accept(asked, LIKE_PYNETDICOM)
    assert essence(ours) == essence(answer_of_pynetdicom(pynetdicom_port, asked))
    assert list(agreement.contexts) == [c.context_id for c in asked.contexts]


@pytest.mark.parametrize("proposed", [(True, True), (True, False), (False, True)])
def test_roles_are_granted_as_by_pynetdicom(pynetdicom_port: int, proposed: tuple[bool, bool]) -> None:
    """But for a proposal of neither role, which is passed over here."""
    asked = request(
        *((uid, (IMPLICIT,)) for uid in ROLE_CLASSES),
        items=tuple(RoleSelection(uid, *proposed) for uid in ROLE_CLASSES),
    )
    ours, _ = accept(asked, LIKE_PYNETDICOM)
    assert essence(ours) == essence(answer_of_pynetdicom(pynetdicom_port, asked))


@pytest.mark.parametrize(("uid", "granted"), ROLE_CLASSES.items())
@pytest.mark.parametrize("proposed", [(True, True), (True, False), (False, True), None])
def test_a_role_is_never_granted_that_was_not_proposed(
    uid: str, granted: tuple[bool | None, bool | None], proposed: tuple[bool, bool] | None
) -> None:
    """Q004: PS3.7 Annex D.3.3.4."""
    items = () if proposed is None else (RoleSelection(uid, *proposed),)
    answer, agreement = accept(request((uid, (IMPLICIT,)), items=items), ACCEPTOR)
    context = agreement.contexts[1]
    role = first_of(answer.user_items, RoleSelection)
    if not context.is_accepted:
        assert role is None
        assert (context.as_scu, context.as_scp) == (False, False)
    elif role is None:
        # The default: the requestor is SCU, so this side is SCP.
        assert (context.as_scu, context.as_scp) == (False, True)
    else:
        assert proposed is not None
        assert proposed[0] or not role.scu_role
        assert proposed[1] or not role.scp_role
        assert (context.as_scu, context.as_scp) == (role.scp_role, role.scu_role)


@pytest.mark.parametrize("roles", [*itertools.product((True, False), repeat=2), None])
def test_both_sides_conclude_the_same(roles: tuple[bool, bool] | None) -> None:
    items = () if roles is None else (RoleSelection(US, *roles),)
    asked = request((US, (IMPLICIT,)), (CT, (EXPLICIT,)), (UNKNOWN, (IMPLICIT,)), items=items)
    answer, theirs = accept(asked, ACCEPTOR)
    ours = conclude_as_requestor(asked, answer)
    for context_id, mine in ours.contexts.items():
        other = theirs.contexts[context_id]
        assert (mine.result, mine.transfer_syntax) == (other.result, other.transfer_syntax)
        assert (mine.as_scu, mine.as_scp) == (other.as_scp, other.as_scu)


SYNTAXES = st.lists(st.sampled_from([IMPLICIT, EXPLICIT, BIG, JPEG]), min_size=1, max_size=4, unique=True)


@given(st.lists(st.tuples(st.sampled_from([*SUPPORTED, UNKNOWN]), SYNTAXES), min_size=1, max_size=20))
def test_every_proposed_context_is_answered(proposals: list[tuple[str, list[str]]]) -> None:
    """P048 P051: one item for each (PS3.8 section 9.3.3.2), the same IDs; an accepted transfer syntax was proposed."""
    asked = request(*((uid, tuple(syntaxes)) for uid, syntaxes in proposals))
    answer, agreement = accept(asked, ACCEPTOR)
    assert [c.context_id for c in answer.contexts] == [c.context_id for c in asked.contexts]
    for proposed, result in zip(asked.contexts, answer.contexts, strict=True):
        supported = SUPPORTED.get(proposed.abstract_syntax)
        if supported is None:
            assert result.result == Result.ABSTRACT_SYNTAX_NOT_SUPPORTED
        elif not set(proposed.transfer_syntaxes) & set(supported.transfer_syntaxes):
            assert result.result == Result.TRANSFER_SYNTAXES_NOT_SUPPORTED
        else:
            assert result.result == Result.ACCEPTANCE
            assert result.transfer_syntax in proposed.transfer_syntaxes
        assert agreement.contexts[proposed.context_id].result == result.result
    received = decode_pdu(2, memoryview(answer.encode())[6:])
    assert isinstance(received, AssociateAC)
    assert essence(received) == essence(answer)


def conclude(*results: ContextResult, items: tuple[UserItem, ...] = IDENTIFICATION) -> Agreement:
    asked = request((CT, (IMPLICIT, EXPLICIT)), (MR, (JPEG,)))
    return conclude_as_requestor(asked, AssociateAC(results, items, bytes(64)))


@pytest.mark.parametrize("code", [1, 2, 3, 4])
def test_each_rejection_makes_a_context_unusable(code: int) -> None:
    """P049: PS3.8 Table 9-18; the transfer syntax of a context that is not accepted is not significant."""
    agreement = conclude(ContextResult(1, code, BIG), ContextResult(3, 0, JPEG))
    assert agreement.contexts[1] == NegotiatedContext(1, CT, code, "", False, False, (IMPLICIT, EXPLICIT))
    assert [c.context_id for c in agreement.accepted] == [3]


@pytest.mark.parametrize(
    ("proposed", "answered", "expected"),
    [
        (None, (True, True), (True, False)),
        (None, (False, True), (True, False)),
        ((True, False), (True, True), (True, False)),
        ((False, True), (True, True), (False, True)),
        ((True, True), (True, False), (True, False)),
        ((True, True), None, (True, False)),
    ],
)
def test_an_answer_to_a_role_that_was_not_proposed_is_ignored(
    proposed: tuple[bool, bool] | None, answered: tuple[bool, bool] | None, expected: tuple[bool, bool]
) -> None:
    """Q004: PS3.7 Annex D.3.3.4."""
    asked = request((CT, (IMPLICIT,)), items=(RoleSelection(CT, *proposed),) if proposed else ())
    items = (*IDENTIFICATION, *((RoleSelection(CT, *answered),) if answered else ()))
    context = conclude_as_requestor(asked, AssociateAC((ContextResult(1, 0, IMPLICIT),), items)).contexts[1]
    assert (context.as_scu, context.as_scp) == expected


def test_a_context_without_an_answer_is_unusable() -> None:
    agreement = conclude(ContextResult(3, 0, JPEG))
    assert agreement.contexts[1].result == Result.NO_REASON
    assert not agreement.contexts[1].as_scu


def test_a_transfer_syntax_that_was_not_proposed_is_unusable() -> None:
    """P051."""
    agreement = conclude(ContextResult(1, 0, BIG), ContextResult(3, 0, JPEG))
    assert not agreement.contexts[1].is_accepted
    assert agreement.contexts_for(CT) == ()


@pytest.mark.parametrize(("is_ordered", "chosen"), [(False, IMPLICIT), (True, EXPLICIT)])
def test_either_side_may_have_the_order_of_preference(is_ordered: bool, chosen: str) -> None:
    supported = SupportedContext((BIG, EXPLICIT, IMPLICIT), is_ordered=is_ordered)
    assert supported.choose((JPEG, IMPLICIT, EXPLICIT)) == chosen
    assert supported.choose((JPEG,)) is None


def test_an_answer_to_nothing_is_ignored() -> None:
    agreement = conclude(ContextResult(1, 0, IMPLICIT), ContextResult(99, 0, IMPLICIT))
    assert set(agreement.contexts) == {1, 3}


def test_the_same_abstract_syntax_is_found_in_each_of_its_contexts() -> None:
    asked = request((CT, (IMPLICIT,)), (CT, (EXPLICIT,)), (CT, (BIG,)))
    agreement = conclude_as_requestor(asked, accept(asked, ACCEPTOR)[0])
    assert [c.transfer_syntax for c in agreement.contexts_for(CT)] == [IMPLICIT, EXPLICIT]


@pytest.mark.parametrize(
    ("asked", "limit", "granted"),
    [
        ((1, 1), 1, (1, 1)),
        ((5, 1), 1, (1, 1)),
        ((5, 5), 3, (3, 1)),
        ((2, 1), 8, (2, 1)),
        ((0, 0), 8, (8, 1)),
        ((5, 1), 0, (5, 1)),
        ((0, 0), 0, (0, 1)),
    ],
)
def test_the_window_is_what_was_asked_or_less(
    asked: tuple[int, int], limit: int, granted: tuple[int, int]
) -> None:
    """Q002: PS3.7 Annex D.3.3.3, where 0 is no limit."""
    asking = request((CT, (IMPLICIT,)), items=(AsynchronousOperationsWindow(*asked),))
    answer, agreement = accept(asking, Acceptor(SUPPORTED, IDENTIFICATION, performed_window=limit))
    window = first_of(answer.user_items, AsynchronousOperationsWindow)
    assert window == AsynchronousOperationsWindow(*granted)
    # The requestor invokes what the acceptor performs.
    assert (agreement.performed, agreement.invoked) == granted
    concluded = conclude_as_requestor(asking, answer)
    assert (concluded.invoked, concluded.performed) == granted


@pytest.mark.parametrize(
    ("asked", "wanted", "granted"), [(1, 16, 1), (5, 16, 5), (5, 3, 3), (0, 16, 16), (5, 0, 5), (0, 0, 0)]
)
def test_an_acceptor_that_invokes_operations_itself_takes_what_the_requestor_performs(
    asked: int, wanted: int, granted: int
) -> None:
    """As for the C-STOREs of a C-GET."""
    asking = request((CT, (IMPLICIT,)), items=(AsynchronousOperationsWindow(1, asked),))
    answer, agreement = accept(asking, Acceptor(SUPPORTED, IDENTIFICATION, invoked_window=wanted))
    assert (agreement.performed, agreement.invoked) == (1, granted)
    concluded = conclude_as_requestor(asking, answer)
    assert (concluded.invoked, concluded.performed) == (1, granted)


@pytest.mark.parametrize(
    ("roles", "proposed", "chosen"),
    [
        ((False, True), (JPEG, BIG, IMPLICIT), IMPLICIT),
        ((False, True), (JPEG, IMPLICIT, EXPLICIT), EXPLICIT),
        ((False, True), (JPEG, BIG), JPEG),
        ((True, True), (JPEG, IMPLICIT), JPEG),
        (None, (JPEG, IMPLICIT), JPEG),
    ],
)
def test_what_is_sent_to_a_requestor_gets_a_context_that_fits_most(
    roles: tuple[bool, bool] | None, proposed: tuple[str, ...], chosen: str
) -> None:
    supported = SupportedContext((IMPLICIT, EXPLICIT, JPEG, BIG), True, True, to_send=(EXPLICIT, IMPLICIT))
    items = () if roles is None else (RoleSelection(CT, *roles),)
    _, agreement = accept(request((CT, proposed), items=items), Acceptor({CT: supported}, IDENTIFICATION))
    assert [context.transfer_syntax for context in agreement.accepted] == [chosen]


def test_a_window_that_was_not_asked_for_is_not_answered() -> None:
    """Q002."""
    answer, agreement = accept(
        request((CT, (IMPLICIT,))), Acceptor(SUPPORTED, IDENTIFICATION, performed_window=9)
    )
    assert first_of(answer.user_items, AsynchronousOperationsWindow) is None
    assert (agreement.invoked, agreement.performed) == (1, 1)


def test_a_window_that_is_granted_unasked_is_not_used() -> None:
    agreement = conclude(
        ContextResult(1, 0, IMPLICIT), items=(*IDENTIFICATION, AsynchronousOperationsWindow(9, 9))
    )
    assert (agreement.invoked, agreement.performed) == (1, 1)


@pytest.mark.parametrize("items", [(), (MaximumLength(0),), (MaximumLength(4096),)])
def test_the_maximum_length_is_the_others(items: tuple[UserItem, ...]) -> None:
    """PS3.8 Annex D.1: 0 is no limit. Who says nothing gets what every implementation takes."""
    expected = items[0].maximum_length if items else 16384  # type: ignore[attr-defined]
    asked = AssociateRQ("A", "B", (ProposedContext(1, CT, (IMPLICIT,)),), items)
    assert accept(asked, ACCEPTOR)[1].peer_maximum_length == expected
    assert conclude(ContextResult(1, 0, IMPLICIT), items=items).peer_maximum_length == expected


def test_identification_is_sent_with_and_without_a_version_name() -> None:
    """Q001."""
    assert identification_items(1, "1.2", "V") == (
        MaximumLength(1),
        ImplementationClassUID("1.2"),
        ImplementationVersionName("V"),
    )
    assert identification_items(0, "1.2", None) == (MaximumLength(0), ImplementationClassUID("1.2"))


def test_extended_negotiation_and_identity_are_passed_on() -> None:
    extended = SOPClassExtendedNegotiation(CT, b"\x01\x00")
    identity = UserIdentityAC(b"ticket")
    answer, _ = accept(request((CT, (IMPLICIT,))), ACCEPTOR, extended=[extended], identity=identity)
    assert items_of(answer.user_items, SOPClassExtendedNegotiation) == (extended,)
    assert first_of(answer.user_items, UserIdentityAC) == identity


@pytest.mark.parametrize(
    ("version", "supported"), [(1, True), (3, True), (0xFFFF, True), (2, False), (0, False)]
)
def test_only_bit_0_of_the_version_counts(version: int, supported: bool) -> None:
    """PS3.8 section 9.3.2."""
    asked = AssociateRQ(
        "A", "B", (ProposedContext(1, CT, (IMPLICIT,)),), IDENTIFICATION, protocol_version=version
    )
    assert supports_version(asked) is supported


@pytest.mark.parametrize(
    ("called", "calling", "application_context", "rejection"),
    [
        ((), (), "1.2.840.10008.3.1.1.1", None),
        (("CALLED",), ("CALLING",), "1.2.840.10008.3.1.1.1", None),
        (("  CALLED ",), ("CALLING  ",), "1.2.840.10008.3.1.1.1", None),
        (("OTHER",), (), "1.2.840.10008.3.1.1.1", AssociateRJ(1, 1, 7)),
        ((), ("OTHER",), "1.2.840.10008.3.1.1.1", AssociateRJ(1, 1, 3)),
        (("OTHER",), ("OTHER",), "1.2.3", AssociateRJ(1, 1, 2)),
        (("called",), (), "1.2.840.10008.3.1.1.1", AssociateRJ(1, 1, 7)),
    ],
)
def test_names_are_refused_for_their_reasons(
    called: tuple[str, ...],
    calling: tuple[str, ...],
    application_context: str,
    rejection: AssociateRJ | None,
) -> None:
    """P037 P040: PS3.8 Table 9-21."""
    asked = AssociateRQ(
        "CALLED", "CALLING", (ProposedContext(1, CT, (IMPLICIT,)),), IDENTIFICATION, application_context
    )
    assert refuse_names(asked, called=called, calling=calling) == rejection


def test_an_unknown_abstract_syntax_is_taken_where_that_is_wanted() -> None:
    acceptor = Acceptor(SUPPORTED, IDENTIFICATION, lambda uid: uid.startswith("1.2.3"))
    answer, _ = accept(request((UNKNOWN, (JPEG, IMPLICIT)), ("1.9", (IMPLICIT,))), acceptor)
    assert [(c.result, c.transfer_syntax) for c in answer.contexts] == [(0, JPEG), (3, IMPLICIT)]


def test_the_answer_repeats_the_names_of_the_request() -> None:
    """PS3.8 section 9.3.3: what the requestor shall not test."""
    sent = request((CT, (IMPLICIT,))).encode()
    asked = decode_pdu(sent[0], memoryview(sent)[6:])
    assert isinstance(asked, AssociateRQ)
    answer = accept(asked, ACCEPTOR)[0].encode()
    assert answer[10:74] == sent[10:74]


# What an acceptor offers that takes whatever a storage SOP class may be called.
TAKES_ALL = Acceptor(
    {VERIFICATION: SupportedContext((IMPLICIT, EXPLICIT)), CT: SupportedContext((IMPLICIT, EXPLICIT))},
    IDENTIFICATION,
    lambda uid: True,
)
TAKES_TWO = replace(TAKES_ALL, accepts_unknown=None)


def answered(pdu: bytes, acceptor: Acceptor) -> AssociateAC | AssociateRJ:
    """What an acceptor answers to the bytes of a request."""
    asked = decode_pdu(pdu[0], memoryview(pdu)[6:])
    assert isinstance(asked, AssociateRQ)
    if not supports_version(asked):
        return AssociateRJ(1, 2, 2)
    return refuse_names(asked) or accept(asked, acceptor)[0]


@grid("name", DAMAGED)
def test_what_is_damaged_is_refused_and_the_rest_is_served(name: str) -> None:
    pdu, expected, _ = DAMAGED[name]
    answer = answered(pdu, TAKES_TWO).encode()
    assert answer_of(answer) == expected
    if answer[0] == 2:
        assert answer[10:42] == pdu[10:42]


@grid("name", [name for name, case in DAMAGED.items() if case.ours != BOTH])
def test_who_takes_any_sop_class_takes_none_without_a_uid(name: str) -> None:
    """Nothing that is accepted is anything but a UID, so all of the answer can be written."""
    answer = answered(DAMAGED[name].pdu, TAKES_ALL)
    received = decode_pdu(answer.encode()[0], memoryview(answer.encode())[6:])
    assert isinstance(received, AssociateAC | AssociateRJ)
    if isinstance(received, AssociateAC):
        accepted = [each for each in received.contexts if each.result == 0]
        assert all(each.context_id % 2 for each in accepted)
        assert all(set(each.transfer_syntax) <= set("0123456789.") for each in accepted)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "abstract syntax with the byte A0",
            r"context 3 has the abstract syntax '1.2.840.10008.5.1.4.1.1.2\xa0'",
        ),
        ("empty abstract syntax", "context 3 has the abstract syntax ''"),
        ("only a transfer syntax with the byte FF", r"the transfer syntax '1.2.840.10008.1.2.1\xff'"),
        ("no transfer syntax", "context 3 has no transfer syntax"),
        ("even ID", "context 2 has an even ID"),
        ("an ID twice", "context 1 is proposed more than once"),
        ("a transfer syntax that passes its context", "context 3 has a sub-item that passes its end"),
        ("no user information", "there are 0 user information items"),
        ("maximum length 7", "the maximum length is 7"),
        ("window of 3 bytes", "the asynchronous operations window sub-item has a length of 3, not 4"),
        ("role without its last byte", "a role selection sub-item is shorter than the fields in it"),
    ],
)
def test_what_is_wrong_is_said(name: str, said: str) -> None:
    pdu = DAMAGED[name].pdu
    asked = decode_pdu(pdu[0], memoryview(pdu)[6:])
    assert isinstance(asked, AssociateRQ)
    faults = accept(asked, TAKES_TWO)[1].faults
    assert said in "; ".join(faults)
    assert all(each.isprintable() and each.isascii() and len(each) < 200 for each in faults)


def test_nothing_is_said_of_what_is_right() -> None:
    for asked in PROPOSALS.values():
        answer, agreement = accept(asked, ACCEPTOR)
        assert agreement.faults == ()
        assert conclude_as_requestor(asked, answer).faults == ()


def parts_of(pdu: bytes, begin: int) -> list[tuple[int, int]]:
    """Where the content of each item lies."""
    found = []
    while begin < len(pdu):
        end = begin + 4 + int.from_bytes(pdu[begin + 2 : begin + 4], "big")
        found.append((begin + 4, end))
        begin = end
    return found


SOUND = associate(
    APPLICATION,
    *(
        context(2 * n + 1, uid, IMPLICIT, EXPLICIT)
        for n, uid in enumerate((VERIFICATION, CT, MR, UNKNOWN, US))
    ),
    item(0x50, LENGTH + CLASS_UID + item(0x53, b"\0\2\0\1") + role(UNKNOWN, 1, 1) + item(0x55, "NAME")),
)
WITH_MR = replace(TAKES_TWO, supported={**TAKES_TWO.supported, MR: SupportedContext((EXPLICIT,))})


@settings(max_examples=400)
@given(st.data())
def test_no_damage_of_one_item_reaches_another(data: st.DataObject) -> None:
    """Whatever stands in it: nothing is aborted, and the contexts beside it have the results that they have without."""
    before = answer_of(answered(SOUND, WITH_MR).encode())
    begin, end = data.draw(st.sampled_from(parts_of(SOUND, 74)))
    content = bytearray(SOUND[begin:end])
    for kind, at, byte in data.draw(
        st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=6
        )
    ):
        at %= len(content) + 1
        content[at : at + min(kind, 1)] = b"" if kind == 2 else bytes((byte,))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    body = SOUND[:begin][:-2] + len(content).to_bytes(2, "big") + content + SOUND[end:]
    pdu = body[:2] + (len(body) - 6).to_bytes(4, "big") + body[6:]
    answer = answered(pdu, WITH_MR).encode()
    kind = SOUND[begin - 4]
    if kind == 0x10:
        assert answer_of(answer) in (before, (1, 1, 2))
        return
    after = answer_of(answer)
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    touched = {SOUND[begin], *content[:1]} if kind == 0x20 else set()
    assert {n: after.get(n) for n in before if n not in touched} == {
        n: before[n] for n in before if n not in touched
    }


@pytest.mark.parametrize("name", ANSWERS)
def test_what_is_damaged_in_an_acceptance_is_not_used_and_the_rest_is(name: str) -> None:
    pdu, usable = ANSWERS[name]
    answer = decode_pdu(pdu[0], memoryview(pdu)[6:])
    assert isinstance(answer, AssociateAC)
    agreement = conclude_as_requestor(request((CT, (IMPLICIT, EXPLICIT)), (CT, (IMPLICIT, EXPLICIT))), answer)
    assert {each.context_id: each.transfer_syntax for each in agreement.accepted} == usable
    assert set(agreement.contexts) == {1, 3}
    silent = ("nothing wrong", "padded", "the same one twice", "the same result twice", "no result")
    assert bool(agreement.faults) == (name not in (*silent, "a result that the table does not have"))


@pytest.mark.parametrize(
    ("answered", "expected"),
    [(None, True), ((True, True), False), ((True, False), False), ((False, False), False)],
)
@pytest.mark.parametrize("code", [0, 3])
def test_a_role_that_has_no_answer_is_known_as_such(
    answered: tuple[bool, bool] | None, expected: bool, code: int
) -> None:
    """The default roles hold (PS3.7 Annex D.3.3.4); that the peer may take the other one all the same is said once."""
    asked = request((CT, (IMPLICIT,)), (MR, (IMPLICIT,)), items=(RoleSelection(CT, True, True),))
    items = () if answered is None else (RoleSelection(CT, *answered),)
    results = (ContextResult(1, code, IMPLICIT), ContextResult(3, 0, IMPLICIT))
    agreement = conclude_as_requestor(asked, AssociateAC(results, (*IDENTIFICATION, *items)))
    assert agreement.contexts[1].is_role_unanswered is (expected and code == 0)
    assert not agreement.contexts[3].is_role_unanswered
    assert sum("role of SCP" in fault for fault in agreement.faults) == (expected and code == 0)


@pytest.mark.parametrize("supported", [(None, None), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("uid", [CT, US, MR])
def test_a_role_selection_for_no_role_cost_its_context(
    uid: str, supported: tuple[bool | None, bool | None]
) -> None:
    """PS3.7 section D.3.3.4 has SCU, SCP and both; DCMTK passes over it, too."""
    acceptor = replace(ACCEPTOR, supported={uid: SupportedContext((IMPLICIT,), *supported)})
    asked = request((uid, (IMPLICIT,)), items=(RoleSelection(uid, False, False),))
    answer, agreement = accept(AssociateRQ.decode(memoryview(asked.encode())[6:]), acceptor)
    context = agreement.contexts[1]
    assert (context.is_accepted, context.as_scu, context.as_scp) == (True, False, True)
    assert first_of(answer.user_items, RoleSelection) is None
    (fault,) = agreement.faults
    assert fault == f"the role selection of '{uid}' is for no role: not looked at"


@pytest.mark.parametrize("roles", [(2, 1), (0, 255), (7, 7)])
def test_a_role_that_is_no_role_cost_its_context(roles: tuple[int, int]) -> None:
    """It was taken for a refusal of the role, so that the context was rejected, or what came on it was refused."""
    damaged = RoleSelection(US, True, True).encode().replace(b"\x01\x01", bytes(roles))
    asked = request((US, (IMPLICIT,)), items=(RoleSelection(US, True, True),))
    sent = asked.encode().replace(RoleSelection(US, True, True).encode(), damaged)
    answer, agreement = accept(AssociateRQ.decode(memoryview(sent)[6:]), ACCEPTOR)
    assert agreement.contexts[1].is_accepted
    assert first_of(answer.user_items, RoleSelection) is None
    assert any("must be 0 or 1: left out" in fault for fault in agreement.faults)
    items = (*IDENTIFICATION, RoleSelection(US, True, True))
    sent = AssociateAC((ContextResult(1, 0, IMPLICIT),), items).encode()
    sent = sent.replace(RoleSelection(US, True, True).encode(), damaged)
    agreement = conclude_as_requestor(asked, AssociateAC.decode(memoryview(sent)[6:]))
    assert agreement.contexts[1].is_role_unanswered


def test_the_first_of_two_roles_counts() -> None:
    asked = request((US, (IMPLICIT,)), items=(RoleSelection(US, False, True), RoleSelection(US, True, False)))
    answer, _ = accept(asked, ACCEPTOR)
    assert items_of(answer.user_items, RoleSelection) == (RoleSelection(US, False, True),)
