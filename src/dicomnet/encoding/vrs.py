"""The table of the value representations (PS3.5 section 6.2). Whatever else needs to know of them is taken from it."""

from __future__ import annotations

from itertools import starmap

from ..values import frozen


@frozen
class ValueRepresentation:
    """A row of the table.

    Parameters
    ----------
    name
        Its two letters.
    has_long_length
        Whether the length field has 32 bits, behind two reserved bytes, where the VR is explicit (section 7.1.2).
    unit
        The size in bytes of what is in the byte order of the transfer syntax (section 7.3); 1 where that is nothing.
    number
        The `struct` format character of one value, empty where values are not binary numbers.
    padding
        The byte that makes a value's length even.
    is_text
        Whether values are text.
    has_character_set
        Whether Specific Character Set (0008,0005) applies to them (section 6.1.2.2).
    is_separated
        Whether values are separated by backslashes and padded with spaces in front as well.
    """

    name: str
    has_long_length: bool
    unit: int
    number: str = ""
    padding: bytes = b"\0"
    is_text: bool = False
    has_character_set: bool = False
    is_separated: bool = False


_SHORT, _LONG = False, True
_PLAIN_TEXT = ("", b" ", True, False, True)
_LOCAL_TEXT = ("", b" ", True, True, True)
_LOCAL_PROSE = ("", b" ", True, True, False)

VRS: dict[str, ValueRepresentation] = {
    row.name: row
    for row in starmap(
        ValueRepresentation,
        (
            ("AE", _SHORT, 1, *_PLAIN_TEXT),
            ("AS", _SHORT, 1, *_PLAIN_TEXT),
            ("AT", _SHORT, 2),
            ("CS", _SHORT, 1, *_PLAIN_TEXT),
            ("DA", _SHORT, 1, *_PLAIN_TEXT),
            ("DS", _SHORT, 1, *_PLAIN_TEXT),
            ("DT", _SHORT, 1, *_PLAIN_TEXT),
            ("FD", _SHORT, 8, "d"),
            ("FL", _SHORT, 4, "f"),
            ("IS", _SHORT, 1, *_PLAIN_TEXT),
            ("LO", _SHORT, 1, *_LOCAL_TEXT),
            ("LT", _SHORT, 1, *_LOCAL_PROSE),
            ("OB", _LONG, 1),
            ("OD", _LONG, 8),
            ("OF", _LONG, 4),
            ("OL", _LONG, 4),
            ("OV", _LONG, 8),
            ("OW", _LONG, 2),
            ("PN", _SHORT, 1, *_LOCAL_TEXT),
            ("SH", _SHORT, 1, *_LOCAL_TEXT),
            ("SL", _SHORT, 4, "i"),
            ("SQ", _LONG, 1),
            ("SS", _SHORT, 2, "h"),
            ("ST", _SHORT, 1, *_LOCAL_PROSE),
            ("SV", _LONG, 8, "q"),
            ("TM", _SHORT, 1, *_PLAIN_TEXT),
            ("UC", _LONG, 1, *_LOCAL_TEXT),
            ("UI", _SHORT, 1, "", b"\0", True, False, True),
            ("UL", _SHORT, 4, "I"),
            ("UN", _LONG, 1),
            ("UR", _LONG, 1, "", b" ", True, False, False),
            ("US", _SHORT, 2, "H"),
            ("UT", _LONG, 1, *_LOCAL_PROSE),
            ("UV", _LONG, 8, "Q"),
        ),
    )
}

SHORT_LENGTH = frozenset(row.name for row in VRS.values() if not row.has_long_length)
"""The VRs whose length field has 16 bits."""

LONG_LENGTH = VRS.keys() - SHORT_LENGTH
"""The VRs whose length field has 32 bits."""

# What is named Other is the same for all of them: bytes, words or numbers that are not values one by one.
ENCAPSULATED = frozenset(name for name in VRS if name.startswith("O"))
"""The VRs of which a value may have an undefined length and be in fragments (section A.4)."""

NUMBERS: dict[str, str] = {row.name: row.number for row in VRS.values() if row.number}
"""The VRs of binary numbers, and the `struct` format character of each."""

BINARY = ENCAPSULATED | {"UN"}
"""The VRs whose values are bytes, and not text, numbers or items."""
