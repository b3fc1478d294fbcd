"""C-STORE over a line with a long round trip, which the asynchronous operations window hides."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from .model import OURS, Case, Group, Measure, Metric, Workspace
from .processes import HOST, free_port, python, run, serving
from .subjects import CLIENTS, SERVERS, Sender

_WHOLE = Metric("command", "whole command, process start to exit", "s")
_ROUND_TRIP = 0.020
_COUNT, _LENGTH = 200, 100_000


def _sending(window: int) -> Measure:
    return _over_the_line(
        lambda port, folder: python(
            "-m", "dicomnet", "store", f"{HOST}:{port}", folder, "--quiet", "--window", window
        ),
        OURS,
    )


def _over_the_line(client: Sender, server: str) -> Measure:
    def measure(workspace: Workspace) -> Mapping[str, float]:
        folder = workspace.objects.folder(_COUNT, _LENGTH, "line")
        port, target = free_port(), free_port()
        with ExitStack() as stack:
            received = stack.enter_context(workspace.destination())
            stack.enter_context(serving(SERVERS[server](target, received), target))
            proxy = python("-m", "benchmarks.delay", port, target, _ROUND_TRIP / 2)
            stack.enter_context(serving(proxy, port))
            return {_WHOLE.key: run(client(port, folder)).seconds}

    return measure


def groups(quick: bool) -> tuple[Group, ...]:
    """Group j."""
    dcmtk = CLIENTS["DCMTK NODELAY"].command
    assert dcmtk is not None
    return (
        Group(
            "j",
            f"C-STORE of {_COUNT} x {_LENGTH / 1e6:g} MB over a line with a round trip of {_ROUND_TRIP * 1000:g} ms",
            (_WHOLE,),
            (
                Case(f"{OURS} --window 16", _sending(16)),
                Case(f"{OURS} --window 1", _sending(1)),
                Case(
                    "DCMTK NODELAY",
                    _over_the_line(dcmtk, "DCMTK NODELAY +B"),
                    "the server with +B",
                    is_slow=True,
                ),
            ),
        ),
    )
