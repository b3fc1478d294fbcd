"""`dicomnet find`: query (C-FIND). The only command of a requestor that needs pydicom, which it loads when it runs."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

from .arguments import OK, Parser, UsageError, count
from .requestor import add_peer_options, open_peer
from .terminal import complain, is_terminal, printable, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset

# The struct format that a number of each VR must fit.
BINARY_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
# What a table does not show: it is the same in each row, or says nothing.
HEADINGS = {
    "ModalitiesInStudy": "Modalities",
    "NumberOfPatientRelatedStudies": "Studies",
    "NumberOfStudyRelatedSeries": "Series",
    "NumberOfStudyRelatedInstances": "Instances",
    "NumberOfSeriesRelatedInstances": "Instances",
}
HIDDEN = ("QueryRetrieveLevel", "RetrieveAETitle", "InstanceAvailability")


def configure(parser: Parser) -> None:
    """Tell the parser about this command."""
    parser.explain(
        "Query a peer (C-FIND). The matches are a table on a terminal, and otherwise a line of JSON each, with the\n"
        "keywords of the attributes as names. The usual attributes of the level are asked for besides the keys.",
        "dicomnet find PACS@127.0.0.1:11112 -k 'PatientName=DOE*' -k StudyDate=20260101-\n"
        "dicomnet find PACS@127.0.0.1:11112 --level series -k StudyInstanceUID=1.2.3 -k BodyPartExamined\n"
        "dicomnet find PACS@127.0.0.1:11112 -k ModalitiesInStudy=CT | jq -r .PatientID",
    )
    add_peer_options(parser)
    group = parser.add_argument_group("query")
    group.add_argument(
        "-k",
        "--key",
        dest="keys",
        type=_key,
        action="append",
        default=[],
        metavar="KEYWORD[=VALUE]",
        help="match an attribute by a value, a wildcard or a range, or ask for it; gggg,eeee is understood, too",
    )
    group.add_argument(
        "-L", "--level", choices=("patient", "study", "series", "image"), help="what is looked for (study)"
    )
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
    group.add_argument("--limit", type=count, metavar="N", help="cancel the query after N matches")
    group.add_argument("--json", action="store_true", help="lines of JSON on a terminal, too")


def run(options: argparse.Namespace) -> int:
    """Perform the command; returns the exit status."""
    from ..requests import find_model

    identifier = _identifier(options)
    model = find_model(identifier.QueryRetrieveLevel, options.model)
    with (
        open_peer(options) as peer,
        closing(peer.find_identifier(identifier, model)) as matches,
    ):
        found = map(plain, islice(matches, options.limit))
        if options.json or not is_terminal(sys.stdout):
            _write_lines(found)
        else:
            _write_matches(list(found), options)
    return OK


def plain(match: Dataset) -> dict[str, object]:
    """A match by keywords, with values that JSON knows; text is decoded, so there is no character set."""
    from pydicom.datadict import keyword_for_tag

    return {
        keyword_for_tag(tag) or f"{tag >> 16:04X},{tag & 0xFFFF:04X}": _value_of(match, tag)
        for tag in sorted(match.keys())
        # Not the character set, nor group lengths.
        if tag != 0x00080005 and tag & 0xFFFF
    }


def _value_of(match: Dataset, tag: int) -> object:
    try:
        return _plain_value(match[tag].value)
    except Exception:  # noqa: BLE001
        # pydicom raises whatever the peer's bytes lead to; they are shown as they came.
        raw = match.get_item(tag).value
        return bytes(raw or b"").decode("ascii", "backslashreplace")


def _plain_value(value: Any) -> object:
    from pydicom.dataset import Dataset
    from pydicom.multival import MultiValue
    from pydicom.sequence import Sequence
    from pydicom.tag import BaseTag

    if isinstance(value, MultiValue | Sequence | list):
        return [_plain_value(each) for each in value]
    if isinstance(value, Dataset):
        return plain(value)
    if isinstance(value, BaseTag):
        return f"{value >> 16:04X},{value & 0xFFFF:04X}"
    if isinstance(value, bytes):
        from base64 import b64encode

        return b64encode(value).decode("ascii")
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if value - value == 0 else str(value)
    return None if value is None else str(value) or None


def _write_lines(found: Iterator[dict[str, object]]) -> None:
    import json

    for match in found:
        print(json.dumps(match))


def _write_matches(found: list[dict[str, object]], options: argparse.Namespace) -> None:
    """A table of what the user asked for, then of all that has a value in any match."""
    filled = {name for match in found for name, value in match.items() if value not in (None, [])}
    asked = [name for name, _ in options.keys]
    names = dict.fromkeys([*asked, *(name for match in found for name in match)])
    columns = [name for name in names if name in filled and name not in HIDDEN]
    # UIDs are long, and seldom what one looks for.
    columns.sort(key=lambda name: name.endswith("UID"))
    if columns:
        headings = [HEADINGS.get(name, name) for name in columns]
        write_table(headings, [[_cell(match.get(name)) for name in columns] for match in found])
    if not options.quiet:
        complain(f"{len(found)} match{'' if len(found) == 1 else 'es'}")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        if any(isinstance(each, dict) for each in value):
            return f"{len(value)} items" if len(value) > 1 else "1 item"
        return ", ".join(map(_cell, value))
    return printable(str(value))


def _key(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not a key; write KEYWORD=VALUE or KEYWORD")
    return name, value if equals else None


def _identifier(options: argparse.Namespace) -> Dataset:
    from ..requests import build_query

    options.keys = [(_keyword(name), value) for name, value in options.keys]
    keys = dict(options.keys)
    level = keys.pop("QueryRetrieveLevel", None)
    try:
        return build_query(
            options.level or level or "study", {name: _key_value(name, value) for name, value in keys.items()}
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _keyword(name: str) -> str:
    """The keyword of an attribute that is named by it, or by its tag."""
    from pydicom.datadict import keyword_for_tag, tag_for_keyword

    if tag_for_keyword(name) is not None:
        return name
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

    from pydicom.datadict import dictionary_VR, tag_for_keyword

    if not text:
        return None
    vr = dictionary_VR(tag_for_keyword(name) or 0)
    if vr == "SQ" or vr.startswith(("O", "UN")) or "or" in vr:
        raise UsageError(f"{name} cannot be matched by a value (its VR is {vr}); ask for it with -k {name}")
    form = BINARY_NUMBERS.get(vr)
    if form is None:
        return text
    try:
        number = float(text) if vr in ("FL", "FD") else int(text)
        struct.pack(form, number)
    except (ValueError, OverflowError, struct.error):
        raise UsageError(f"{text!r} is not a number that {name} can have (its VR is {vr})") from None
    return number
