"""Checks that hang, fail and come back: nobody who asks waits for them, and what they found last is known."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic

import pytest
from tests.support import PROMPT, wait_until

from dicomnet.archive.watch import probing
from dicomnet.archive.watch.probing import PATIENCE, Finding, Level, Probe, Probes, Result, is_ready, level_of
from dicomnet.errors import DatabaseFailure, Trouble

WELL = Finding(Level.OK, "well")


def results(*probes: Probe) -> list[Result]:
    return asyncio.run(Probes(probes).results())


def test_a_check_that_hangs_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a file system or a database that does not answer."""
    monkeypatch.setattr(probing, "OVERDUE", 2 * PATIENCE)
    goes_on = threading.Event()

    def hang() -> Finding:
        goes_on.wait()
        return WELL

    hanging = Probe("hanging", hang)
    probes = Probes([hanging, Probe("other", lambda: WELL)])
    try:
        begun = monotonic()
        first = asyncio.run(probes.results())
        assert monotonic() - begun < PATIENCE + PROMPT
        assert [each.finding.message for each in first] == ["not known yet", "well"]
        assert first[0].age is None
        # Who comes later does not wait for it at all, and one thread is lost to it, not many.
        threads = threading.active_count()
        begun = monotonic()
        for _ in range(20):
            asyncio.run(probes.results())
        assert monotonic() - begun < PROMPT
        assert threading.active_count() <= threads + 1
        wait_until(lambda: "no answer for" in hanging.result().finding.message, what="it is overdue")
        assert hanging.result().finding.level is Level.FAILED
    finally:
        goes_on.set()
    wait_until(lambda: hanging.result().finding == WELL, what="it has come back")


def test_what_was_found_before_is_shown_with_its_age_while_a_check_hangs() -> None:
    goes_on = threading.Event()
    calls: list[int] = []

    def check() -> Finding:
        calls.append(1)
        if len(calls) > 1:
            goes_on.wait()
        return WELL

    probe = Probe("x", check, fresh=0.0)
    try:
        results(probe)
        (found,) = results(probe)
        assert found.finding == WELL
        assert found.age is not None
        assert found.age >= PATIENCE * 0.9
    finally:
        goes_on.set()


def test_a_check_is_not_run_again_at_once() -> None:
    calls: list[int] = []

    def check() -> Finding:
        calls.append(1)
        return WELL

    probe = Probe("x", check, fresh=60.0)
    for _ in range(5):
        results(probe)
    assert len(calls) == 1


def raising(error: Exception) -> Callable[[], Finding]:
    def check() -> Finding:
        raise error

    return check


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(5, "Input/output error", "/srv/secret"), "it cannot be used now; the log says why"),
        (
            DatabaseFailure("/srv/secret", Trouble.UNAVAILABLE, "gone"),
            "it cannot be used now; the log says why",
        ),
        (KeyError("/srv/secret"), "the check itself has failed"),
    ],
)
def test_what_goes_wrong_is_for_the_log(
    error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each cause once, as pages are asked for all the time."""
    with caplog.at_level(logging.WARNING):
        probe = Probe("x", raising(error), fresh=0.0)
        for _ in range(3):
            (found,) = results(probe)
    assert found.finding == Finding(Level.FAILED, said)
    assert len([each for each in caplog.records if each.getMessage().startswith("health: x")]) == 1


def test_the_log_says_when_the_node_is_not_ready_and_when_it_is_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    level = Level.OK
    probes = Probes([Probe("x", lambda: Finding(level, "so it is"), fresh=0.0)])
    with caplog.at_level(logging.WARNING):
        for level in (Level.OK, Level.FAILED, Level.FAILED, Level.WARNING, Level.OK, Level.FAILED):
            found = asyncio.run(probes.results())
            assert is_ready(found) is (level is not Level.FAILED)
            assert level_of(found) is level
    said = [each.getMessage() for each in caplog.records]
    assert said == ["not ready: x: so it is", "ready again", "not ready: x: so it is"]


def test_what_fails_while_something_else_does_is_said_too(caplog: pytest.LogCaptureFixture) -> None:
    levels = {"x": Level.FAILED, "y": Level.OK}

    def check(name: str) -> Finding:
        return Finding(levels[name], name)

    probes = Probes([Probe(name, partial(check, name), fresh=0.0) for name in levels])
    with caplog.at_level(logging.WARNING):
        for levels["x"], levels["y"] in (
            (Level.FAILED, Level.OK),
            (Level.FAILED, Level.FAILED),
            (Level.OK, Level.FAILED),
        ):
            asyncio.run(probes.results())
    assert [each.getMessage() for each in caplog.records] == ["not ready: x: x", "not ready: y: y"]
