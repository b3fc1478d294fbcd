"""Entry point: ``python -m dicomnet`` runs the `dicomnet` command, ``python -m dicomnet echoscu`` one of the tools."""

from __future__ import annotations

import gc
import sys

from dicomnet.apps import TOOLS

# The first threshold of the garbage collector: it runs after this many net allocations of container objects.
_COLLECT_AFTER = 20_000


def main() -> int:
    """Run the command or tool that the process was started for, and return its exit status."""
    # Nearly all objects made while a command starts live until it ends. Collecting among them repeatedly, and once
    # more at the exit, takes a sixth of the time of a short command.
    gc.set_threshold(_COLLECT_AFTER, 10, 10)
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
