"""Runs a module as `python -m` does, with cProfile in all of its threads: ``OUT MODULE [ARGUMENT]...``.

cProfile observes a single thread, so each thread that begins gets a profile of its own; OUT receives their sum.
"""

from __future__ import annotations

import cProfile
import pstats
import runpy
import sys
import threading
from types import FrameType


def main() -> None:
    """Run the module, and write the profile when it ends, however it does."""
    path, module, *arguments = sys.argv[1:]
    profiles = [cProfile.Profile()]

    def begin(frame: FrameType, event: str, argument: object) -> None:
        # Called once in each new thread, since the profile takes the place of this function.
        profile = cProfile.Profile()
        profiles.append(profile)
        profile.enable()

    threading.setprofile(begin)
    sys.argv = [module, *arguments]
    profiles[0].enable()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        threading.setprofile(None)
        profiles[0].disable()
        pstats.Stats(*profiles).dump_stats(path)


if __name__ == "__main__":
    main()
