"""``python -m dicomnet`` is the `dicomnet` command, and ``python -m dicomnet echoscu`` one of the eight tools."""

from __future__ import annotations

import gc
import sys

from dicomnet.apps import TOOLS

# How many objects more than before there must be for a look for cycles of garbage among them.
_MORE_OBJECTS = 20_000


def main() -> int:
    """Run the command or the tool that the process was started for; gives the exit status."""
    # Nearly all that is made while a command starts stays: to look through it again and again, and once more at the
    # exit, takes a sixth of the time of a short one.
    gc.set_threshold(_MORE_OBJECTS, 10, 10)
    try:
        return _run()
    finally:
        gc.freeze()


def _run() -> int:
    if sys.argv[1:2] and sys.argv[1] in TOOLS:
        from dicomnet.apps.main import main as run_tool

        return run_tool(sys.argv[1:])
    from dicomnet.cli.main import main as run_command

    return run_command()


if __name__ == "__main__":
    sys.exit(main())
