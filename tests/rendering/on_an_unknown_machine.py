"""A process apart that makes pictures, on a machine of which the numbers of system calls are not known."""

from __future__ import annotations

import platform

from dicomnet.rendering.process import answer

__all__ = ["answer"]

platform.machine = lambda: "unknown"
