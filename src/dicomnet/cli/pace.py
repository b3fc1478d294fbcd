"""The options of commands that say how fast, and at which times of the day, objects are moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .arguments import parsed

if TYPE_CHECKING:
    import argparse

    from ..exchange.pacing import Pacing, Rate, Times
    from ..peers.target import Target


def add_pacing_options(group: argparse._ActionsContainer, what: str) -> None:
    """Add the options.

    Parameters
    ----------
    what
        What is done with objects.
    """
    add_rate_option(group, what)
    group.add_argument(
        "--between",
        type=_times,
        metavar="TIMES",
        help=f"{what} at these times of the day only, such as 19:00-06:00; wait at others, without an association",
    )


def add_rate_option(group: argparse._ActionsContainer, what: str) -> None:
    """Add the one that says how fast; parameter as of `add_pacing_options`."""
    group.add_argument(
        "--rate",
        type=_rate,
        metavar="RATE",
        help=f"{what} no more than that in a second: objects (50/s) or bytes (10MB/s)",
    )


def _rate(text: str) -> Rate:
    from ..exchange.pacing import Rate

    return parsed(Rate.parse, text)


def _times(text: str) -> Times:
    from ..exchange.pacing import Times

    return parsed(Times.parse, text)


def pacing_of(options: argparse.Namespace, target: Target) -> Pacing | None:
    """What the options say, and where they do not, the remote; None where neither does."""
    if (options.rate or target.rate) is None and (options.between or target.between) is None:
        return None
    from ..exchange.pacing import Pacing, Rate, Times

    rate = options.rate or (target.rate and Rate.parse(target.rate))
    times = options.between or (target.between and Times.parse(target.between))
    return Pacing(rate or None, times or None)
