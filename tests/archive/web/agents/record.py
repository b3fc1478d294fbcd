"""Record anew what user agents ask: ``python -m tests.archive.web.agents.record [python] [npm] [ohif]``.

It is called in the root folder of the repository. Those of npm need the network. Each file is written as a whole.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.archive.web.agents import npm_calls, python_calls
from tests.archive.web.agents.holding import Holding, holding
from tests.archive.web.agents.ohif import installed, looked_at
from tests.archive.web.agents.recording import FOLDER, Recorder, recorder, written


def _python(held: Holding, recording: Recorder, folder: Path) -> None:
    for call in (*python_calls.CALLS, *python_calls.CHANGES):
        python_calls.called(call, python_calls.client_of(recording.url), held)


def _npm(held: Holding, recording: Recorder, folder: Path) -> None:
    npm_calls.called(npm_calls.installed(folder), recording.url, held, folder)


def _ohif(held: Holding, recording: Recorder, folder: Path) -> None:
    looked_at(recording.origin)


AGENTS: Mapping[str, Callable[[Holding, Recorder, Path], None]] = {
    "python": _python,
    "npm": _npm,
    "ohif": _ohif,
}


def main() -> None:
    """Record the agents that are named, or all."""
    for agent in sys.argv[1:] or AGENTS:
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            viewer = installed(folder / "viewer") if agent == "ohif" else None
            with holding(folder / "held", viewer) as held, recorder(held.node.address) as recording:
                AGENTS[agent](held, recording, folder)
                requests = recording.requests
        if agent == "ohif":
            # It asks for many things at once, in an order that is another one each time.
            requests.sort(key=lambda each: (each.target, sorted(each.headers.items())))
        path = FOLDER / f"{agent}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(written(requests))
        print(f"{path}: {len(requests)} requests", file=sys.stderr)


if __name__ == "__main__":
    main()
