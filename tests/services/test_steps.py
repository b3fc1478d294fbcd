"""A refusal as the response that it becomes."""

from __future__ import annotations

import pytest

from dicomnet.dimse.codec import decode_command, encode_command
from dicomnet.dimse.messages import C_STORE_RSP
from dicomnet.errors import ServiceRefusal
from dicomnet.services.steps import answer_of


@pytest.mark.parametrize(
    ("refusal", "elements"),
    [
        (ServiceRefusal(0xA700), {}),
        (ServiceRefusal(0xA900, "not this one"), {"ErrorComment": "not this one"}),
        (
            ServiceRefusal(0xC000, "what is this", offending=(0x00100020, 0x00080018)),
            {"ErrorComment": "what is this", "OffendingElement": [0x00100020, 0x00080018]},
        ),
    ],
)
def test_a_refusal_becomes_a_response_without_a_data_set(
    refusal: ServiceRefusal, elements: dict[str, object]
) -> None:
    """Its elements are such that a C-STORE-RSP takes them (PS3.7 Table 9.3-2 and section C.4.2)."""
    answer = answer_of(refusal)
    assert (answer.status, answer.data, answer.failed) == (refusal.status, None, ())
    assert answer.elements == elements
    command = {"MessageIDBeingRespondedTo": 1, "Status": answer.status, **answer.elements}
    assert decode_command(encode_command(C_STORE_RSP, command, False))[1].items() >= command.items()
