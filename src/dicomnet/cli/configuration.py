"""The option for the configuration file of a command that calls a peer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..settings.users import CONFIG_VARIABLE, Configuration, UnknownRemote
from .arguments import UsageError

if TYPE_CHECKING:
    import argparse

    from ..settings.values import Remote


def add_config_option(group: argparse._ActionsContainer) -> None:
    """Add the option for the file of a tool."""
    group.add_argument(
        "--config",
        metavar="FILE",
        help=f"a TOML file with remotes and settings ({CONFIG_VARIABLE}, or ~/.config/dicomnet/config.toml)",
    )


def config_file(options: argparse.Namespace) -> str | None:
    """The file that is named, by option or environment."""
    return options.config or os.environ.get(CONFIG_VARIABLE) or None


def remote_of(configuration: Configuration, name: str) -> Remote:
    """The remote of a name; raises UsageError if there is none."""
    try:
        return configuration.remote(name)
    except UnknownRemote as error:
        raise UsageError(str(error)) from None
