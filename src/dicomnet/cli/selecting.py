"""Which objects of an archive a command is about: keys of a query, UIDs, or all; the same for all such commands."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..encoding.identity import is_uid
from .arguments import Parser, UsageError
from .keys import add_key_option, key, read_keys

if TYPE_CHECKING:
    from argparse import Namespace, _ArgumentGroup

LEVELS = ("study", "series", "image")


def add_query_argument(parser: Parser) -> None:
    """Add the argument for keys and UIDs."""
    parser.add_argument(
        "query",
        nargs="*",
        metavar="QUERY",
        help="a key as KEYWORD=VALUE, as with -k; or a UID of a study, a series or an object",
    )


def add_selection_options(group: _ArgumentGroup) -> None:
    """Add the options that say which objects are meant."""
    add_key_option(group, "match an attribute by a value, a wildcard or a range, as dicomnet find does")
    group.add_argument(
        "-L",
        "--level",
        choices=LEVELS,
        help="what has to match (what is highest among those that have all keys: study, series, image)",
    )
    group.add_argument(
        "--uids", metavar="FILE", help="UIDs of studies, series or objects, one a line; - is standard input"
    )
    group.add_argument("--all", action="store_true", help="everything")


def selection(options: Namespace, verb: str) -> dict[str, Any]:
    """What is meant, as parameters of a task that finds it.

    Parameters
    ----------
    options
        Those of the functions above.
    verb
        What is done with it, for messages.

    Raises
    ------
    UsageError
        If nothing is named, or it is not clear what.
    """
    uids = [word for word in options.query if is_uid(word)]
    for word in options.query:
        if "=" in word:
            options.keys.append(key(word))
        elif not is_uid(word):
            raise UsageError(f"{word!r} is neither KEYWORD=VALUE nor a UID")
    if options.uids is not None:
        uids += listed(options.uids)
    if bool(uids) + bool(options.keys) + options.all != 1:
        raise UsageError(f"say what to {verb}: keys, UIDs or --all, and only one of these")
    if options.level and not options.keys:
        raise UsageError("--level needs a key")
    return {"keys": _keys(options), "level": options.level} if options.keys else {"uids": uids}


def listed(name: str) -> list[str]:
    """The UIDs in a file."""
    with sys.stdin if name == "-" else open(name, encoding="utf-8-sig", errors="replace") as file:
        words = file.read().split()
    wrong = next((word for word in words if not is_uid(word)), None)
    if not words:
        raise UsageError(f"--uids: {name} has no UID")
    if wrong is not None:
        # It may be another file than was meant, and its content is nobody's.
        raise UsageError(f"--uids: {wrong[:64]!r} is not a UID")
    return words


def _keys(options: Namespace) -> dict[str, Any]:
    from ..datasets.queries import build_identifier

    keys = read_keys(options)
    empty = [name for name, value in keys.items() if value is None or value == {}]
    if empty:
        raise UsageError(f"{empty[0]} has no value to match")
    try:
        build_identifier("study", keys)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return keys
