"""The keys of a query on the command line: what matches, and what is asked for. To read them takes pydicom."""

from __future__ import annotations

import argparse
from typing import Any

from ..encoding.vrs import NUMBERS
from .arguments import UsageError

Keys = dict[str, Any]


def add_key_option(group: argparse._ArgumentGroup, what: str) -> None:
    """The option ``-k``."""
    group.add_argument(
        "-k",
        "--key",
        dest="keys",
        type=_key,
        action="append",
        default=[],
        metavar="KEYWORD[=VALUE]",
        help=what,
    )


def add_model_options(group: argparse._ArgumentGroup, what: str) -> None:
    """The level and the root of the information model."""
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
    """The keys by keyword, as `build_keys` takes them; raises UsageError for what they cannot be."""
    keys: Keys = {}
    for name, value in options.keys:
        *sequences, last = [_keyword(part.removesuffix("[0]")) for part in name.split(".")]
        inside = keys
        for sequence in sequences:
            if _vr(sequence) != "SQ":
                raise UsageError(f"{name!r}: {sequence} is no sequence")
            inside[sequence] = inside.get(sequence) or {}
            inside = inside[sequence]
        if _vr(last) == "SQ" and isinstance(inside.get(last), dict) and not value:
            continue
        inside[last] = _key_value(last, value)
    return keys


def _key(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not a key; write KEYWORD=VALUE or KEYWORD")
    return name, value if equals else None


def _vr(keyword: str) -> str:
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    return dictionary_VR(tag_for_keyword(keyword) or 0)


def _keyword(name: str) -> str:
    """The keyword of an attribute that is named by it, or by its tag."""
    from pydicom.datadict import keyword_for_tag, tag_for_keyword

    if tag_for_keyword(name) is not None:
        return name
    if name.endswith("]"):
        raise UsageError(f"{name!r}: a key has one item, which is written as [0]")
    digits = name.strip("()").replace(",", "")
    try:
        keyword = keyword_for_tag(int(digits, 16)) if len(digits) == 8 else ""
    except ValueError:
        keyword = ""
    if not keyword:
        raise UsageError(f"{name!r} is not in the dictionary of DICOM's attributes")
    return keyword


def _key_value(name: str, text: str | None) -> object:
    """A key's value as `build_query` takes it; raises UsageError for what the attribute cannot have."""
    import struct

    if not text:
        return None
    vr = _vr(name)
    if vr == "SQ" or vr.startswith(("O", "UN")) or "or" in vr:
        raise UsageError(f"{name} cannot be matched by a value (its VR is {vr}); ask for it with -k {name}")
    form = NUMBERS.get(vr)
    if form is None:
        return text
    try:
        number = float(text) if vr in ("FL", "FD") else int(text)
        struct.pack(form, number)
    except (ValueError, OverflowError, struct.error):
        raise UsageError(f"{text!r} is not a number that {name} can have (its VR is {vr})") from None
    return number
