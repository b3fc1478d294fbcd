"""Which picture the query parameters of a request ask for, and in which turn it is made."""

from __future__ import annotations

import asyncio
import threading

import pytest
from starlette.datastructures import QueryParams
from starlette.requests import Request
from tests.grids import grid

from dicomnet.archive.web.dicomweb.rendered import _WAITING, _Kept, _Turns
from dicomnet.archive.web.dicomweb.views import frames_of, uri_view_of
from dicomnet.archive.web.http.problems import Problem
from dicomnet.archive.web.http.threads import have_threads
from dicomnet.rendering.renderers import Picture
from dicomnet.rendering.view import View, Viewport, Window


@grid(
    "query, view",
    [
        ("", View()),
        ("frameNumber=7&imageQuality=30", View(frame=7, quality=30)),
        ("windowCenter=40&windowWidth=400.5", View(window=Window(40, 400.5))),
        ("rows=100&columns=200", View(viewport=Viewport(200, 100))),
        ("rows=100", View(viewport=Viewport(None, 100))),
        (
            "region=0.25,0,0.75,0.5",
            View(viewport=Viewport(None, None, 0.25, 0, 0.5, 0.5, is_relative=True)),
        ),
        (
            "columns=64&region=0,0,1,1&annotation=patient",
            View(viewport=Viewport(64, None, 0, 0, 1, 1, is_relative=True)),
        ),
    ],
)
def test_the_parameters_of_the_uri_service(query: str, view: View) -> None:
    assert uri_view_of(QueryParams(query)).to_json() == view.to_json()


@grid(
    "query, words",
    [
        ("frameNumber=0", "from 1 on"),
        ("frameNumber=1,2", "one frame"),
        ("imageQuality=101", "from 1 to 100"),
        ("windowCenter=1", "go together"),
        ("windowWidth=1", "go together"),
        ("windowCenter=1&windowWidth=0", "1 or more"),
        ("rows=0", "from 1 to"),
        ("rows=x", "whole numbers"),
        ("columns=-5", "whole numbers"),
        ("region=0,0,1", "xmin,ymin,xmax,ymax"),
        ("region=0,0,1,2", "xmin,ymin,xmax,ymax"),
        ("region=0.5,0,0.5,1", "xmin,ymin,xmax,ymax"),
        ("region=nan,0,1,1", "xmin,ymin,xmax,ymax"),
    ],
)
def test_what_is_wrong_with_the_parameters_of_the_uri_service(query: str, words: str) -> None:
    with pytest.raises(Problem, match=words) as caught:
        uri_view_of(QueryParams(query))
    assert caught.value.status == 400


def test_frames() -> None:
    assert frames_of("3,1,2") == [3, 1, 2]
    for text in ("", "0", "1,", "-1", "1.5", "²", "9" * 5000):
        with pytest.raises(Problem):
            frames_of(text)


def test_each_waits_for_its_turn_and_too_many_are_turned_away() -> None:
    """Nobody who only looks something up waits for pictures."""

    async def run() -> None:
        have_threads()
        turns = _Turns(1)
        is_let_go = threading.Event()
        made: list[int] = []

        def make(number: int) -> None:
            assert is_let_go.wait(20)
            made.append(number)

        waiting = [asyncio.ensure_future(turns.run(make, number)) for number in range(_WAITING + 1)]
        await asyncio.sleep(0)
        # The first one is being made.
        with pytest.raises(Problem) as caught:
            await turns.run(make, -1, request=Request({"type": "http"}))
        assert caught.value.status == 503
        assert caught.value.headers is not None
        assert "retry-after" in caught.value.headers
        assert await turns.run_now(lambda may: may) is False
        waiting[5].cancel()
        is_let_go.set()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert made == [number for number in range(_WAITING + 1) if number != 5]
        assert await turns.run_now(lambda may: may) is True

    asyncio.run(run())


def test_so_many_bytes_of_pictures_are_kept_and_those_that_were_asked_for_last() -> None:
    kept = _Kept()
    pictures = [Picture("image/png", bytes(3 << 20)) for _ in range(30)]
    for number, picture in enumerate(pictures):
        kept.keep(f"{number}", picture)
        assert kept.get("0") is picture or kept.get("0") is pictures[0]
    there = [number for number in range(30) if kept.get(f"{number}")]
    assert there == [0, *range(10, 30)]
    kept.keep("large", Picture("image/png", bytes(5 << 20)))
    assert kept.get("large") is None
