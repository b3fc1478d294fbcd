"""`Peer.fetch` in both faces and `fetch` side by side and at a rate, from DCMTK's archive and from our node."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from tests.cli.command import complaint, run
from tests.cli.test_fetch import STUDIES, Archive
from tests.cli.test_fetch import archive as archive
from tests.fetching.corpus import objects_below, pixels
from tests.support import wait_until

from dicomnet import Peer, aio
from dicomnet.errors import ConnectionFailed
from dicomnet.fetching.fetcher import Event
from dicomnet.fetching.folder import REPORT

SOME = STUDIES[:6]
ROWS = [{"StudyInstanceUID": study.uid} for study in SOME]


def fetched(face: str, address: str, to: Path, rows: Any = ROWS, **options: Any) -> list[Event]:
    if face == "blocking":
        with Peer(address) as peer:
            return list(peer.fetch(rows, to, **options))

    async def main() -> list[Event]:
        async with aio.Peer(address) as peer:
            return [each async for each in peer.fetch(rows, to, **options)]

    return asyncio.run(main())


def kinds(events: Sequence[Event], kind: str) -> list[Event]:
    return [each for each in events if each.kind == kind]


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
@pytest.mark.parametrize("jobs", [1, 3])
def test_a_list_is_retrieved_and_not_again(archive: Archive, face: str, jobs: int, tmp_path: Path) -> None:
    events = fetched(face, archive.address, tmp_path / "to", jobs=jobs)
    assert [each.values["outcome"] for each in kinds(events, "row")] == ["complete"] * len(SOME)
    assert objects_below(tmp_path / "to") == pixels(SOME)
    assert len(kinds(events, "object")) == sum(len(study.objects()) for study in SOME)
    assert (tmp_path / "to" / REPORT).read_text("utf-8-sig").count("complete") == len(SOME)
    again = fetched(face, archive.address, tmp_path / "to", jobs=jobs)
    assert kinds(again, "object") == []
    assert len(kinds(again, "row")) == len(SOME)


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
def test_by_c_move(archive: Archive, face: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"StudyInstanceUID\n{STUDIES[0].uid}\n{STUDIES[1].uid}\n")
    receiver = ("127.0.0.1", archive.here)
    events = fetched(
        face, archive.address, tmp_path / "to", tmp_path / "list.csv", move="HERE", receiver=receiver
    )
    assert [each.values["outcome"] for each in kinds(events, "row")] == ["complete"] * 2
    assert objects_below(tmp_path / "to") == pixels(STUDIES[:2])


def test_duplicates_are_found_side_by_side(archive: Archive, tmp_path: Path) -> None:
    rows = [{"StudyInstanceUID": STUDIES[number % 4].uid} for number in range(20)]
    events = fetched("blocking", archive.address, tmp_path / "to", rows, jobs=4)
    outcomes = [str(each.values["outcome"]) for each in kinds(events, "row")]
    assert sorted(outcomes) == ["complete"] * 4 + ["duplicate"] * 16
    assert objects_below(tmp_path / "to") == pixels(STUDIES[:4])


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
@pytest.mark.parametrize("way", ["get", "move"])
def test_no_faster_than_the_rate(archive: Archive, face: str, way: str, tmp_path: Path) -> None:
    """Though the peer sends all objects of a series on one association."""
    count = sum(len(study.objects()) for study in SOME[:2])
    options: dict[str, Any] = {}
    if way == "move":
        options = {"move": "HERE", "receiver": ("127.0.0.1", archive.here)}
    begin = monotonic()
    events = fetched(face, archive.address, tmp_path / "to", ROWS[:2], rate="20/s", **options)
    duration = monotonic() - begin
    assert len(kinds(events, "object")) == count
    # What was not used may be used a quarter of a second later.
    assert duration >= (count - 1) / 20 * 0.95 - 0.25


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
@pytest.mark.parametrize("jobs", [1, 3])
def test_left_early_nothing_stays_behind(archive: Archive, face: str, jobs: int, tmp_path: Path) -> None:
    before = threading.active_count()
    if face == "blocking":
        with Peer(archive.address) as peer:
            for event in peer.fetch(ROWS, tmp_path / "to", jobs=jobs):
                if event.kind == "object":
                    break
    else:

        async def main() -> None:
            async with aio.Peer(archive.address) as peer:
                events = peer.fetch(ROWS, tmp_path / "to", jobs=jobs)
                async for event in events:
                    if event.kind == "object":
                        break
                await events.aclose()

        asyncio.run(main())
    # Another run may work in the folder, and completes it.
    fetched(face, archive.address, tmp_path / "to")
    assert objects_below(tmp_path / "to") == pixels(SOME)
    wait_until(lambda: threading.active_count() <= before + 2, what="the threads have ended")


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
def test_a_peer_that_is_not_there(face: str, tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed):
        fetched(face, "127.0.0.1:1", tmp_path / "to", jobs=2)


def test_the_command_side_by_side(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("StudyInstanceUID\n" + "\n".join(study.uid for study in SOME))
    arguments = ("fetch", archive.address, "--list", tmp_path / "list.csv", "--to", tmp_path / "to")
    done = run(*arguments, "--jobs", "3", "--rate", "500/s", "--between", "00:00-23:59")
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["rows"] == {"complete": len(SOME)}
    assert objects_below(tmp_path / "to") == pixels(SOME)
    said = complaint(run(*arguments, "--jobs", "2", "--move", "HERE"), 2)
    assert "--jobs is for C-GET" in said
