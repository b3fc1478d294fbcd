"""``dicomnet.pynetdicom.presentation`` against pynetdicom 3.0.4: the same value, or the same type of exception."""

from __future__ import annotations

import copy
import itertools
import logging
import warnings
from typing import TYPE_CHECKING, Any

import pynetdicom
import pynetdicom.presentation as reference
import pytest
from pydicom.uid import UID

from dicomnet.pynetdicom import presentation
from dicomnet.pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from dicomnet.pynetdicom.presentation import (
    CONTEXT_LISTS,
    PresentationContext,
    PresentationContextTuple,
    StoragePresentationContexts,
    build_context,
    build_role,
)
from dicomnet.upper_layer.negotiation import NegotiatedContext
from dicomnet.wire.items import ProposedContext

if TYPE_CHECKING:
    from collections.abc import Callable

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

VALUES: list[Any] = [
    *(None, 0, 1, 2, 3, 254, 255, 256, 257, -1, True, False, "1", "", b"", b"1.2", b"\xff"),
    *(
        "1.2.3",
        " 1.2.3 ",
        "1.2.840.10008.1.1",
        IMPLICIT,
        "abc",
        "1.2.03",
        "1." * 32 + "1",
        "1" * 64,
        "1" * 65,
    ),
    *(
        UID(IMPLICIT),
        [],
        [IMPLICIT],
        (IMPLICIT,),
        {IMPLICIT},
        [b"1.2"],
        [1],
        [""],
        ["1.2.3"],
        [None],
        [b"\xff"],
    ),
    *([IMPLICIT, IMPLICIT], [EXPLICIT, "bad.."], ["1" * 65], [UID(EXPLICIT), IMPLICIT], [["1.2"]], [CT]),
]


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a call gives: its value, or the type of what it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about UIDs that break the rules
        try:
            return function(*arguments)
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            return type(error)


def set_and_get(context: Any, attribute: str, value: Any) -> Any:
    setattr(context, attribute, value)
    return getattr(context, attribute)


@pytest.mark.parametrize(
    "attribute",
    [
        *("context_id", "abstract_syntax", "transfer_syntax", "scu_role", "scp_role", "result"),
        *("as_scu", "as_scp", "status", "as_tuple"),
    ],
)
def test_what_an_attribute_takes(attribute: str) -> None:
    for value in VALUES:
        ours = outcome(set_and_get, PresentationContext(), attribute, value)
        theirs = outcome(set_and_get, reference.PresentationContext(), attribute, value)
        assert (type(ours), ours) == (type(theirs), theirs), repr(value)


def test_a_context_id_that_could_not_be_sent_is_refused() -> None:
    for value in (1.0, 3.0):
        assert outcome(set_and_get, PresentationContext(), "context_id", value) is TypeError, value


def test_adding_a_transfer_syntax() -> None:
    def added(module: Any, value: Any) -> list[str]:
        context = module.build_context(CT, "1.2.840.10008.1.2.4.50")
        context.add_transfer_syntax(value)
        return [str(uid) for uid in context.transfer_syntax]

    for value in VALUES:
        ours = outcome(added, presentation, value)
        assert ours == outcome(added, reference, value), repr(value)


def test_what_is_no_transfer_syntax_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    context = build_context(CT, [])
    with caplog.at_level(logging.WARNING, "dicomnet.pynetdicom.presentation"):
        context.add_transfer_syntax(CT)
        context.add_transfer_syntax(5)  # type: ignore[arg-type]
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert context.transfer_syntax == [CT]


def test_building_a_context() -> None:
    def built(module: Any, arguments: tuple[Any, ...]) -> Any:
        context = module.build_context(*arguments)
        return context.abstract_syntax, context.transfer_syntax

    for arguments in [*((value,) for value in VALUES), *((CT, value) for value in VALUES)]:
        ours = outcome(built, presentation, arguments)
        assert ours == outcome(built, reference, arguments), arguments


def test_contexts_do_not_share_their_transfer_syntaxes() -> None:
    one, other = build_context(CT), build_context(CT)
    one.transfer_syntax.append(UID("1.2.3"))
    assert other.transfer_syntax == pynetdicom.DEFAULT_TRANSFER_SYNTAXES
    given = other.transfer_syntax
    other.transfer_syntax = given
    assert other.transfer_syntax is not given


def contexts(module: Any) -> list[Any]:
    """Contexts that differ from each other in one value each, the first two of them equal."""
    made = [module.build_context(CT), module.build_context(CT)]
    for attribute, value in [
        *(("_context_id", 1), ("_context_id", 3), ("_abstract_syntax", UID(IMPLICIT)), ("result", 0)),
        *(("_transfer_syntax", [UID(EXPLICIT)]), ("_transfer_syntax", []), ("result", 1), ("result", 5)),
        *(
            ("_scu_role", True),
            ("_scu_role", False),
            ("_scp_role", True),
            ("_as_scu", True),
            ("_as_scp", True),
        ),
    ]:
        made.append(module.build_context(CT))
        setattr(made[-1], attribute, value)
    return [*made, module.PresentationContext(), module.build_context("1.2.3", ["1.2.4", EXPLICIT])]


def test_equality_and_hash() -> None:
    ours, theirs = contexts(presentation), contexts(reference)
    for (one, other), (their_one, their_other) in zip(
        itertools.product(ours, repeat=2), itertools.product(theirs, repeat=2), strict=True
    ):
        assert (one == other) == (their_one == their_other)
        assert (one != other) == (their_one != their_other)
        assert one != other or hash(one) == hash(other)
    assert ours[0] != CT
    assert ours[0] != object()


def test_text() -> None:
    for ours, theirs in zip(contexts(presentation), contexts(reference), strict=True):
        assert str(ours) == str(theirs)
        if theirs.abstract_syntax is not None:
            assert repr(ours) == repr(theirs)
    assert repr(PresentationContext()) == "(none)"


def test_text_and_status_of_a_negotiated_context() -> None:
    def texts(module: Any, *negotiated: Any) -> tuple[str, str]:
        context = module.build_context(CT, IMPLICIT)
        context._as_scu, context._as_scp, context.result = negotiated
        return str(context), context.status

    roles = [None, True, False]
    for row in itertools.product(roles, roles, [None, 0, 1, 2, 3, 4, 5, -1]):
        assert texts(presentation, *row) == texts(reference, *row), row


def test_as_tuple() -> None:
    context = build_context(CT, [EXPLICIT, IMPLICIT])
    context.context_id = 7
    assert context.as_tuple == PresentationContextTuple(7, UID(CT), UID(EXPLICIT))
    assert PresentationContextTuple._fields == reference.PresentationContextTuple._fields
    assert outcome(lambda: PresentationContext().as_tuple) is IndexError


def test_a_copy_is_equal_and_apart() -> None:
    context = build_context(CT)
    context.context_id, context.scp_role = 5, True
    twin = copy.deepcopy(context)
    assert twin == context
    twin.transfer_syntax.pop()
    assert twin != context


def test_the_lists_are_those_of_pynetdicom() -> None:
    assert set(CONTEXT_LISTS) == {name for name in dir(reference) if name.endswith("PresentationContexts")}
    assert len(CONTEXT_LISTS) == 24
    assert set(CONTEXT_LISTS) <= set(dir(presentation))


def test_a_list_has_the_contexts_of_pynetdicom_in_their_order() -> None:
    for name in CONTEXT_LISTS:
        ours, theirs = getattr(presentation, name), getattr(reference, name)
        assert type(ours) is list, name
        assert ours is getattr(presentation, name), name
        assert [c.abstract_syntax for c in ours] == [c.abstract_syntax for c in theirs], name
        assert [c.transfer_syntax for c in ours] == [c.transfer_syntax for c in theirs], name
        assert all(type(c) is PresentationContext and c.status == "Pending" for c in ours), name


def test_a_list_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="HoroscopePresentationContexts"):
        presentation.HoroscopePresentationContexts  # noqa: B018
    assert len(StoragePresentationContexts) == 120


ROLES: list[tuple[Any, ...]] = [
    *(("1.2.3",), ("1.2.3", True), ("1.2.3", False, True), ("1.2.3", True, True), ("1.2.3", None, None)),
    *(("1.2.3", 1, 0), ("1.2.3", "x", True), (None,), (1,), (b"1.2.3", True), ("1" * 65,), ("abc",)),
]


def test_building_a_role_selection() -> None:
    def built(build: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        role = build(*arguments)
        return role.sop_class_uid, role.scu_role, role.scp_role

    for arguments in ROLES:
        ours = outcome(built, build_role, arguments)
        assert ours == outcome(built, reference.build_role, arguments), arguments


def test_a_role_selection_is_of_the_class_that_users_build() -> None:
    assert type(build_role(CT, scp_role=True)) is SCP_SCU_RoleSelectionNegotiation


def test_a_context_is_proposed_by_its_item() -> None:
    context = build_context(CT, [EXPLICIT, IMPLICIT])
    assert context.to_item(9) == ProposedContext(9, CT, (EXPLICIT, IMPLICIT))
    for incomplete in (PresentationContext(), build_context(CT, [])):
        with pytest.raises(ValueError):
            incomplete.to_item(9)


def test_a_negotiated_context_shows_what_was_agreed() -> None:
    accepted = PresentationContext.from_negotiated(
        NegotiatedContext(3, CT, 0, EXPLICIT, as_scu=True, as_scp=False, proposed=(IMPLICIT, EXPLICIT))
    )
    assert accepted.as_tuple == PresentationContextTuple(3, UID(CT), UID(EXPLICIT))
    assert (accepted.transfer_syntax, accepted.status) == ([EXPLICIT], "Accepted")
    assert (accepted.as_scu, accepted.as_scp) == (True, False)
    rejected = PresentationContext.from_negotiated(NegotiatedContext(5, CT, 3, proposed=(IMPLICIT,)))
    assert (rejected.transfer_syntax, rejected.result) == ([IMPLICIT], 3)
