"""The table of transfer syntaxes against pydicom's dictionary and pynetdicom's lists."""

from __future__ import annotations

import pynetdicom
from pydicom.uid import UID
from tests.grids import grid

from dicomnet.encoding.transfer_syntaxes import (
    ALL_TRANSFER_SYNTAXES,
    DEFAULT_TRANSFER_SYNTAXES,
    TRANSFER_SYNTAXES,
    transfer_syntax,
)

# PS3.5 Annex A: the data set of both is deflated. pydicom says that of Deflated Explicit VR Little Endian alone.
DEFLATED_JPIP = {"1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}


def test_the_lists_are_those_of_pynetdicom() -> None:
    assert pynetdicom.ALL_TRANSFER_SYNTAXES == ALL_TRANSFER_SYNTAXES
    assert pynetdicom.DEFAULT_TRANSFER_SYNTAXES == DEFAULT_TRANSFER_SYNTAXES
    assert type(ALL_TRANSFER_SYNTAXES) is type(DEFAULT_TRANSFER_SYNTAXES) is list


@grid("uid", ALL_TRANSFER_SYNTAXES)
def test_the_facts_are_those_of_pydicom(uid: str) -> None:
    known, row = UID(uid), TRANSFER_SYNTAXES[uid]
    assert row.uid == uid
    assert row.name == known.name
    assert row.is_implicit == known.is_implicit_VR
    assert row.is_little_endian == known.is_little_endian
    assert row.is_encapsulated == known.is_encapsulated
    assert row.is_deflated == (known.is_deflated or uid in DEFLATED_JPIP)


def test_an_unknown_transfer_syntax_is_left_alone() -> None:
    unknown = transfer_syntax("1.2.3.4")
    assert (unknown.uid, unknown.name) == ("1.2.3.4", "1.2.3.4")
    assert unknown.is_encapsulated
    assert not unknown.is_implicit
    assert not unknown.is_deflated
    assert transfer_syntax("1.2.840.10008.1.2").is_implicit
