"""Runs the tool that is asked for; what fails becomes one line and an exit status, as for the `dicomnet` command."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import import_module

from .. import _config
from ..cli.main import guarded
from ..exchange.logs import debug_logger, outermost_logger
from .options import Tool, build_parser, level_of


def main(arguments: Sequence[str]) -> int:
    """Run a tool.

    Parameters
    ----------
    arguments
        Its name, and what comes behind it on the command line.

    Returns
    -------
    int
        The exit status: 0 all went well, 1 something failed, 2 the command line is wrong.
    """
    name, *words = arguments
    return guarded(name, lambda: _run(name, words))


def _run(name: str, words: Sequence[str]) -> int:
    tool: Tool = import_module(f".{name}", __package__).TOOL
    options = build_parser(name, tool).parse_args(words)
    level = level_of(options, tool.level)
    _config.LOG_IDENTIFIERS = options.log_identifiers
    debug_logger()
    outermost_logger().setLevel(level)
    # pydicom warns of values that it finds wrong, and shows them: patients' data.
    warnings.simplefilter("ignore")
    return tool.run(options)
