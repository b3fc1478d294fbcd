"""The settings of a node on the command line: options made from their table, and the file that is named."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from ..settings.kinds import FLAG, Text, Unfit, nearest
from ..settings.table import BY_NAME, SECTIONS, SETTINGS, Setting
from ..settings.users import CONFIG_VARIABLE
from .arguments import Parser
from .configuration import config_file

if TYPE_CHECKING:
    from argparse import Namespace

    from ..settings.values import Settings

_HEADINGS = {"tls": "TLS"}
_BY_OUTPUT = {"quiet": "error", "verbose": "info", "debug": "debug"}


def add_setting_options(parser: Parser, *, has_index: bool, names: Collection[str] = BY_NAME) -> None:
    """Add the options that settings have, in a group for each section.

    Parameters
    ----------
    has_index
        Whether they are for a node that answers queries.
    names
        The settings that the command knows; by default all.
    """
    for section in SECTIONS:
        rows = [
            each
            for each in SETTINGS
            if each.section == section
            and each.name in names
            and each.options
            and (has_index or not each.needs_index)
        ]
        group = parser.add_argument_group(_HEADINGS.get(section, section)) if rows else None
        for row in rows:
            assert group is not None
            metavar = row.metavar or f"{{{','.join(row.kind.words)}}}"
            more: dict[str, Any] = {"metavar": metavar, "type": _checked(row)}
            if row.kind is FLAG:
                more = {"action": "store_const", "const": True}
            elif row.kind.is_list and row.name in _REPEATED:
                more["action"] = "append"
            shown = "" if row.kind is FLAG else f" ({row.shown_default.replace('%', '%%')})"
            group.add_argument(*row.options, dest=row.name, help=f"{row.help}{shown}", **more)


def add_config_options(parser: Parser) -> None:
    """Add the options for a file, and for settings that have no option of their own."""
    group = parser.add_argument_group("configuration")
    group.add_argument(
        "--config",
        metavar="FILE",
        help=f"a TOML file with all settings, as dicomnet config example shows ({CONFIG_VARIABLE}, or none)",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        type=_assignment,
        dest="assignments",
        metavar="KEY=VALUE",
        help="any setting by its name in the file, such as limits.idle_timeout=90",
    )


def given_by(options: Namespace, *, with_output: bool = True) -> dict[str, Text | bool]:
    """What the options say, by the name of the setting.

    Parameters
    ----------
    with_output
        Whether ``-q``, ``-v`` and ``-d`` are the log's level.
    """
    found: dict[str, Text | bool] = dict(getattr(options, "assignments", ()))
    if with_output:
        for option, level in _BY_OUTPUT.items():
            if getattr(options, option):
                found["logging.level"] = Text(level)
        if options.log_identifiers:
            found["logging.identifiers"] = True
    for row in SETTINGS:
        value = getattr(options, row.name, None)
        if value is not None:
            found[row.name] = Text(_REPEATED[row.name].join(value)) if isinstance(value, list) else value
    return found


def read_settings(options: Namespace) -> Settings:
    """The settings of a node by options, environment and file; raises Mistakes and OSError."""
    from ..settings.reading import read

    return read(config_file(options), given_by(options))


# Options that may be given several times, each with a part of the list, and what is between items in a text.
_REPEATED = {"queries.keep_keys": " ", "retrieval.destinations": ","}


def _checked(row: Setting) -> Callable[[str], Text]:
    """An option's type that only checks: the text is read with those of other sources."""
    import argparse

    def check(text: str) -> Text:
        try:
            row.kind.check(Text(text))
        except Unfit as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return Text(text)

    return check


def _assignment(text: str) -> tuple[str, Text]:
    import argparse

    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    if name not in BY_NAME:
        near = nearest(name, BY_NAME)
        raise argparse.ArgumentTypeError(
            f"{name!r} is not a setting" + (f"; did you mean {near}?" if near else "")
        )
    return name, _checked(BY_NAME[name])(value)
