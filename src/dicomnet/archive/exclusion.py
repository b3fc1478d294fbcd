"""How processes that change the same folder keep out of each other's way."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep others who do the same in a folder out meanwhile, as far as the platform can.

    Parameters
    ----------
    folder
        The folder. Whoever ends, however he does it, keeps nobody out any more.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
