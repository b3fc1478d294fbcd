"""The task of making the index anew from the files."""

from __future__ import annotations

from collections.abc import Mapping
from time import sleep
from typing import Any

from ..holdings import Holdings
from .task import PACE, Reporter


def reindex(holdings: Holdings, reporter: Reporter) -> Mapping[str, Any]:
    """Throw the index of an archive away, and make it anew from the files.

    Objects are received meanwhile; queries are refused until it is done. If it is interrupted, the next node goes on.

    Parameters
    ----------
    holdings
        The archive.
    reporter
        Told how many objects are indexed.

    Returns
    -------
    mapping
        ``indexed``: the number of objects.
    """
    index = holdings.index
    assert index is not None
    index.renew()
    if not holdings.is_kept_up:
        holdings.begin_upkeep()
    while not index.is_complete:
        reporter.progress(index.count())
        sleep(PACE)
    return {"indexed": index.count()}
