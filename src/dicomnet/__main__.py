"""``python -m dicomnet`` is the `dicomnet` command, and ``python -m dicomnet echoscu`` one of the eight tools."""

from __future__ import annotations

import sys

from .apps import TOOLS


def main() -> int:
    """Run the command or the tool that the process was started for; gives the exit status."""
    if sys.argv[1:2] and sys.argv[1] in TOOLS:
        from .apps.main import main as run_tool

        return run_tool(sys.argv[1:])
    from .cli.main import main as run_command

    return run_command()


if __name__ == "__main__":
    sys.exit(main())
