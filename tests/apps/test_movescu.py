"""`movescu`: with an SCP of pynetdicom that sends to a destination, which may be the tool itself."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import evt
from tests.apps.tools import CT, MR, PACKAGES, foreign_scp, run, running_scp
from tests.support import free_port

NAMES = {
    "CT.1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322",
    "MR.1.3.6.1.4.1.5962.1.1.4.1.1.20040826185059.5457",
}
KEYS = ("-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=*")


def moving(destinations: dict[str, int], asked: queue.SimpleQueue[Any]) -> Any:
    """The handler of an SCP that knows destinations."""

    def move(event: Any) -> Iterator[Any]:
        asked.put((event.move_destination, event.request.AffectedSOPClassUID))
        port = destinations.get(event.move_destination)
        yield (None, None) if port is None else ("127.0.0.1", port)
        yield 2
        for path in (CT, MR):
            yield 0xFF00, dcmread(path)

    return (evt.EVT_C_MOVE, move)


@pytest.mark.parametrize("package", PACKAGES)
def test_it_may_be_the_destination_itself(package: str, tmp_path: Path) -> None:
    store, asked = free_port(), queue.SimpleQueue[Any]()
    with foreign_scp([moving({"HERE": store}, asked)]) as port:
        options = (
            "--store",
            "--store-port",
            str(store),
            "--store-aet",
            "HERE",
            "-aem",
            "HERE",
            "-od",
            "received",
        )
        done = run("movescu", "127.0.0.1", str(port), *KEYS, *options, "-S", package=package, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "received").iterdir()} == NAMES
    assert asked.get(timeout=10) == ("HERE", "1.2.840.10008.5.1.4.1.2.2.2")


def test_the_destination_may_be_another(tmp_path: Path) -> None:
    asked = queue.SimpleQueue[Any]()
    with running_scp(tmp_path, "storescp", "-od", "received") as store:
        with foreign_scp([moving({"STORESCP": store}, asked)]) as port:
            done = run("movescu", "127.0.0.1", str(port), *KEYS)
    assert done.returncode == 0, done.stderr
    assert "I: sub-operations: remaining 0, completed 2, failed 0, warning 0" in done.stderr
    assert {path.name for path in (tmp_path / "received").iterdir()} == NAMES


def test_a_destination_that_the_peer_does_not_know() -> None:
    with foreign_scp([moving({}, queue.SimpleQueue[Any]())]) as port:
        done = run("movescu", "127.0.0.1", str(port), *KEYS, "-aem", "NOWHERE")
    assert "E: C-MOVE: 0xA801 (Failure)\n" in done.stderr
    assert done.returncode == 1


def test_a_port_of_the_destination_that_is_taken(tmp_path: Path) -> None:
    with running_scp(tmp_path, "storescp") as taken:
        done = run("movescu", "127.0.0.1", str(taken), *KEYS, "--store", "--store-port", str(taken))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
