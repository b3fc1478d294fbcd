"""Presentation contexts that a program gives to an application entity, against pynetdicom 3.0.4."""

from __future__ import annotations

from typing import Any

import pytest
from tests.outcomes import outcome
from tests.sockets import (
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    VERIFICATION,
)

from dicomnet import AE, build_context


def contexts(kind: str, *arguments: object, **roles: object) -> Any:
    def act(package: Any) -> object:
        ae = package.AE()
        getattr(ae, f"add_{kind}_context")(*arguments, **roles)
        return [
            (
                str(c.abstract_syntax),
                [str(s) for s in c.transfer_syntax],
                c.context_id,
                c.scu_role,
                c.scp_role,
            )
            for c in getattr(ae, f"{kind}_contexts")
        ]

    return act


@pytest.mark.parametrize("kind", ["requested", "supported"])
@pytest.mark.parametrize(
    "arguments",
    [
        (VERIFICATION,),
        (VERIFICATION, []),
        (VERIFICATION, IMPLICIT_VR_LE),
        (VERIFICATION, [IMPLICIT_VR_LE, EXPLICIT_VR_LE]),
        (VERIFICATION, [IMPLICIT_VR_LE, IMPLICIT_VR_LE]),
        (VERIFICATION, [5]),
        ("1" * 65,),
        (None,),
        (5,),
    ],
)
def test_a_context_is_added_as_in_pynetdicom(kind: str, arguments: tuple[object, ...]) -> None:
    act = contexts(kind, *arguments)
    assert outcome("dicomnet", act) == outcome("pynetdicom", act)


@pytest.mark.parametrize(
    "roles", [{}, {"scu_role": True}, {"scu_role": True, "scp_role": False}, {"scu_role": 1}]
)
def test_roles_are_supported_as_in_pynetdicom(roles: dict[str, object]) -> None:
    act = contexts("supported", VERIFICATION, **roles)
    assert outcome("dicomnet", act) == outcome("pynetdicom", act)


@pytest.mark.parametrize("kind", ["requested", "supported"])
@pytest.mark.parametrize(
    "arguments",
    [
        (VERIFICATION,),
        (VERIFICATION, IMPLICIT_VR_LE),
        (VERIFICATION, [IMPLICIT_VR_LE, EXPLICIT_VR_LE, "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"]),
        ("1.2.3",),
    ],
)
def test_a_context_is_removed_as_in_pynetdicom(kind: str, arguments: tuple[Any, ...]) -> None:
    def act(package: Any) -> object:
        ae = package.AE()
        getattr(ae, f"add_{kind}_context")(VERIFICATION)
        getattr(ae, f"remove_{kind}_context")(*arguments)
        return [[str(s) for s in c.transfer_syntax] for c in getattr(ae, f"{kind}_contexts")]

    assert outcome("dicomnet", act) == outcome("pynetdicom", act)


def test_there_is_room_for_128_contexts() -> None:
    ae = AE()
    for number in range(128):
        ae.add_requested_context(f"1.2.{number + 1}")
    with pytest.raises(ValueError):
        ae.add_requested_context(VERIFICATION)
    with pytest.raises(ValueError):
        ae.requested_contexts = [*ae.requested_contexts, build_context(VERIFICATION)]


def test_transfer_syntaxes_add_up_for_a_supported_context_only() -> None:
    ae = AE()
    for syntax in (IMPLICIT_VR_LE, EXPLICIT_VR_LE):
        ae.add_supported_context(VERIFICATION, syntax)
        ae.add_requested_context(VERIFICATION, syntax)
    assert [c.transfer_syntax for c in ae.supported_contexts] == [[IMPLICIT_VR_LE, EXPLICIT_VR_LE]]
    assert [c.transfer_syntax for c in ae.requested_contexts] == [[IMPLICIT_VR_LE], [EXPLICIT_VR_LE]]
