"""The keys of a query on the command line: values to match, and attributes to return. Reading them loads pydicom."""

from __future__ import annotations

import argparse
from typing import Any

from ..encoding.vrs import NUMBERS
from .arguments import UsageError

Keys = dict[str, Any]


def add_key_option(group: argparse._ArgumentGroup, what: str) -> None:
    """Add the option ``-k``; `what` is its help."""
    group.add_argument(
        "-k",
        "--key",
        dest="keys",
        type=key,
        action="append",
        default=[],
        metavar="KEYWORD[=VALUE]",
        help=what,
    )


def add_model_options(group: argparse._ArgumentGroup, what: str) -> None:
    """Add the options for the level and the root of the information model; `what` is the help of the level."""
    group.add_argument("-L", "--level", choices=("patient", "study", "series", "image"), help=what)
    group.add_argument(
        "-M",
        "--model",
        choices=("study", "patient"),
        help="root of the information model (study, but patient for the patient level)",
    )
    group.add_argument(
        "-P", dest="model", action="store_const", const="patient", help="the same as --model patient"
    )
    group.add_argument(
        "-S", dest="model", action="store_const", const="study", help="the same as --model study"
    )


def read_keys(options: argparse.Namespace) -> Keys:
    """The keys by keyword, as `build_keys` takes them; raises UsageError if one is not valid."""
    keys: Keys = {}
    for name, value in options.keys:
        *sequences, last = [keyword_of(part.removesuffix("[0]")) for part in name.split(".")]
        inside = keys
        for sequence in sequences:
            if _vr(sequence) != "SQ":
                raise UsageError(f"{name!r}: {sequence} is not a sequence")
            inside[sequence] = inside.get(sequence) or {}
            inside = inside[sequence]
        if _vr(last) == "SQ" and isinstance(inside.get(last), dict) and not value:
            continue
        inside[last] = key_value(last, value)
    return keys


def key(text: str) -> tuple[str, str | None]:
    """A key as it is written, and its value; raises ArgumentTypeError."""
    name, equals, value = text.partition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not a key; write KEYWORD=VALUE or KEYWORD")
    return name, value if equals else None


def _vr(keyword: str) -> str:
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    return dictionary_VR(tag_for_keyword(keyword) or 0)


def keyword_of(name: str) -> str:
    """The keyword of an attribute that is given by its keyword or tag; raises UsageError if it is unknown."""
    from pydicom.datadict import keyword_for_tag, tag_for_keyword

    if tag_for_keyword(name) is not None:
        return name
    if name.endswith("]"):
        raise UsageError(f"{name!r}: the sequence of a key has a single item, which is written as [0]")
    digits = name.strip("()").replace(",", "")
    try:
        keyword = keyword_for_tag(int(digits, 16)) if len(digits) == 8 else ""
    except ValueError:
        keyword = ""
    if not keyword:
        raise UsageError(f"{name!r} is not the keyword or tag of a DICOM attribute")
    return keyword


def key_value(name: str, text: str | None) -> object:
    """A key's value as `build_query` takes it; raises UsageError if the attribute cannot have such a value."""
    import struct

    if not text:
        return None
    vr = _vr(name)
    if vr == "SQ" or vr.startswith(("O", "UN")) or "or" in vr:
        raise UsageError(
            f"{name} cannot be matched by a value (its VR is {vr}); use -k {name} to have it returned"
        )
    form = NUMBERS.get(vr)
    if form is None or not text.strip("*"):
        return text
    try:
        number = float(text) if vr in ("FL", "FD") else int(text)
        struct.pack(form, number)
    except (ValueError, OverflowError, struct.error):
        raise UsageError(f"{text!r} is not a number that {name} can have (its VR is {vr})") from None
    return number
